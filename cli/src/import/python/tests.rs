use proptest::prelude::*;

use super::*;

fn value(text: &str) -> Known {
    let bindings = read(text, 4);
    let found = bindings.into_iter().rfind(|binding| binding.name == "x");
    match found.expect("x is set").what {
        Bound::Value(value, assumed) => Ok((value, assumed)),
        Bound::Unread(why) | Bound::Statement(why) => Err(why),
        Bound::Perhaps(keyword) => Err(format!("under {keyword}")),
    }
}

fn texts(items: &[&str]) -> Value {
    Value::List(items.iter().copied().map(Value::text).collect())
}

#[test]
fn literals_have_pythons_values() {
    for (text, is) in [
        ("x = 'a'", Value::text("a")),
        ("x = u\"a\" 'b' r'\\n' # c", Value::text("ab\\n")),
        ("x = ('a'\n  'b')", Value::text("ab")),
        ("x = 'a' \\\n 'b'", Value::text("ab")),
        ("x = '''a\nb'c'''", Value::text("a\nb'c")),
        ("x = \"\"\"a\\\nb\"\"\"", Value::text("ab")),
        (r"x = 'a\tb\x41\u00e9\101\'\q\\'", Value::text("a\tbAéA'\\q\\")),
        ("x = '#'", Value::text("#")),
        ("x = 1_000", Value::Int(1000)),
        ("x = 0x1F", Value::Int(31)),
        ("x = 0o022", Value::Int(18)),
        ("x = 0b11", Value::Int(3)),
        ("x = -1", Value::Int(-1)),
        ("x = 1.5", Value::Float(1.5)),
        ("x = 1e-3", Value::Float(0.001)),
        ("x = .5", Value::Float(0.5)),
        ("x = True", Value::Bool(true)),
        ("x = not True", Value::Bool(false)),
        ("x = None", Value::None),
        ("x = ['a', 'b',]", texts(&["a", "b"])),
        ("x = ('a',)", texts(&["a"])),
        ("x = ()", texts(&[])),
        ("x = 'a', 'b'", texts(&["a", "b"])),
        (
            "x = {'a': 1,\n 'b': [2]}",
            Value::Dict(vec![
                (Value::text("a"), Value::Int(1)),
                (Value::text("b"), Value::List(vec![Value::Int(2)])),
            ]),
        ),
        ("x: int = 3", Value::Int(3)),
        ("y = x = 3", Value::Int(3)),
        ("import os; x = 3; y = 4", Value::Int(3)),
        ("\u{feff}x = 3\r\n", Value::Int(3)),
        ("def x(server):\n    pass", Value::Function),
        ("async def x(server): pass", Value::Function),
        ("x = lambda server: server.x", Value::Function),
    ] {
        assert_eq!(value(text), Ok((is, Vec::new())), "{text}");
    }
}

#[test]
fn simple_expressions_are_computed() {
    for (text, is) in [
        ("x = 2 * (3 + 4) // 4 - 2 ** 2 % 3", Value::Int(2)),
        ("x = -7 // 2", Value::Int(-4)),
        ("x = 7 / 2", Value::Float(3.5)),
        ("x = 1024 * 1024 * 8", Value::Int(8 << 20)),
        ("x = int(2.7 * 2)", Value::Int(5)),
        ("x = max(2, 3)", Value::Int(3)),
        ("p = 80\nx = f'0.0.0.0:{p}'", Value::text("0.0.0.0:80")),
        ("p = 80\nx = f\"{{{p + 1}}}\"", Value::text("{81}")),
        ("p = 80\nx = '0.0.0.0:' + str(p)", Value::text("0.0.0.0:80")),
        ("x = '%s:%d' % ('a', 80)", Value::text("a:80")),
        ("x = '{}:{}'.format('a', 80)", Value::text("a:80")),
        ("x = 'A'.lower().strip()", Value::text("a")),
        ("x = 'a,b'.split(',')", texts(&["a", "b"])),
        ("x = ['a'] + ['b']", texts(&["a", "b"])),
        ("x = 1\nx += 2 * 3", Value::Int(7)),
        ("import os.path\nx = os.path.join('/a', 'b')", Value::text("/a/b")),
        ("d = '/a'\nx = d or '/b'", Value::text("/a")),
        ("x = 'a' if 1 == 1 else 'b'", Value::text("a")),
        ("x = 1\nx = 2", Value::Int(2)),
    ] {
        assert_eq!(value(text), Ok((is, Vec::new())), "{text}");
    }
}

#[test]
fn what_was_assumed_is_told() {
    let of = |name: &str| vec![Assumed::Environment(name.to_owned())];
    for (text, is, assumed) in [
        ("import os\nx = os.environ.get('A', '1')", Value::text("1"), of("A")),
        ("x = int(os.getenv('A', 4))", Value::Int(4), of("A")),
        ("from os import environ as e\nx = e.get('A') or 3", Value::Int(3), of("A")),
        ("import os\np = os.getenv('A', '80')\nx = f':{p}'", Value::text(":80"), of("A")),
        ("x = multiprocessing.cpu_count() * 2 + 1", Value::Int(9), vec![Assumed::Cpus]),
        ("import multiprocessing as m\nx = m.cpu_count()", Value::Int(4), vec![Assumed::Cpus]),
        (
            "from multiprocessing import cpu_count\nx = cpu_count()",
            Value::Int(4),
            vec![Assumed::Cpus],
        ),
    ] {
        assert_eq!(value(text), Ok((is, assumed)), "{text}");
    }
}

#[test]
fn what_only_python_knows_is_said_to_be_so() {
    for (text, why) in [
        ("x = open('/a').read()", "`open()` is a call"),
        ("x = os.environ['A']", "as A, and there is no default"),
        ("x = [y for y in (1, 2)]", "is known to Python only"),
        ("x = settings.WORKERS", "`settings.WORKERS` is known to Python only"),
        ("from a.b import x", "comes from `a.b`"),
        ("from a import (y,\n  z as x)", "comes from `a`"),
        ("x, y = 1, 2", "together with others"),
        ("x = {}\nx['a'] = 1", "in part"),
        ("if True:\n    x = 1", "under if"),
        ("try:\n  if a:\n    x = 1\nexcept E: pass", "under if"),
        ("if a: x = 1", "under if"),
        ("for x in y:\n  z = 1\nwhile 1:\n  x = 1", "under while"),
        ("if a:\n  def x(): pass", "under if"),
        ("if a: y = 1\nx = y", "line 1 sets only perhaps"),
        ("x = b'a'", "bytes"),
        ("x = 'a\n", "does not end on its line"),
        ("x = '''a", "does not end"),
        ("x = 1j", "a number that is not read"),
        ("x = 10 ** 100", "not read"),
        ("x = 1 // 0", "not read"),
        ("x = f'{1:>3}'", "f-string"),
        ("x = 1 2", "not read"),
        ("x =", "not read"),
        ("x = ((((((((((((((((((((((((((((((((((((((((((((((1", "too many levels"),
    ] {
        let got = value(text).expect_err(text);
        assert!(got.contains(why), "{text}: {got}");
    }
}

#[test]
fn functions_have_names_of_their_own() {
    let text =
        "class A:\n  x = 1\ndef f(a=1):\n  x = 2\n  def g():\n    x = 3\n  x = 4\n@d\ndef x(): ...";
    assert_eq!(value(text), Ok((Value::Function, Vec::new())));
}

#[test]
fn statements_are_told_with_their_lines() {
    let text = "'''doc'''\n\nimport a\nmonkey.patch_all()\nfrom b import *\npass\n";
    let told: Vec<_> = read(text, 1).into_iter().map(|it| (it.line, it.name)).collect();
    assert_eq!(told, [(4, "monkey.patch_all".to_owned()), (5, "from b".to_owned())]);
}

#[test]
fn a_value_cannot_grow_without_end() {
    let mut text = String::from("x = 'aaaaaaaa'\n");
    text.push_str(&"x = x + x\n".repeat(60));
    assert!(value(&text).unwrap_err().contains("too long"));
    let mut text = String::from("x = [1]\n");
    text.push_str(&"x = [x]\n".repeat(100_000));
    assert!(value(&text).unwrap_err().contains("too long"));
}

proptest! {
    #[test]
    fn no_text_is_too_much(text in "\\PC*") {
        read(&text, 2);
    }

    #[test]
    fn nothing_that_looks_like_python_is_too_much(
        parts in prop::collection::vec(prop::sample::select(vec![
            "x", " = ", "'", "\"", "'''", "f'", "{", "}", "(", ")", "[", "]", "\n", "  ", "\\", "#",
            "if", ":", "def f", "1", "0x", "e+", "+", "**", "%", ".format", ",", "é", "lambda", "or",
            "os.environ", ".get", "import", "from", "*", ";", "\t", "\r", "\\x", "b'",
        ]), 0..40),
    ) {
        read(&parts.concat(), 2);
    }
}
