//! The program is linked with the shared library, and has no copy of it; what it declares of the
//! library is what the header says.

#[path = "../../tests/harness/mod.rs"]
mod harness;

mod command;
#[allow(dead_code)]
#[path = "../src/ffi.rs"]
mod ffi;

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::process::Command;

use harness::support;

#[test]
fn the_program_needs_the_shared_library() {
    let dynamic = support::run(Command::new("readelf").arg("-dW").arg(command::gateway()));
    let needed = format!("Shared library: [{}]", support::SONAME);
    assert!(dynamic.contains("(NEEDED)") && dynamic.contains(&needed), "{dynamic}");
    assert!(dynamic.contains("[$ORIGIN:$ORIGIN/../lib]"), "{dynamic}");
}

#[test]
fn the_program_has_no_second_copy() {
    let symbols = support::run(Command::new("readelf").arg("-sW").arg(command::gateway()));
    let mut used = 0;
    for line in symbols.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, value, _, _, _, _, section, name, ..] = *words else { continue };
        if name.starts_with("gw_") {
            assert_eq!((section, value), ("UND", "0000000000000000"), "{line}");
            used += 1;
        }
        for inside in ["6server6engine", "7arbiter7arbiter", "4wire6packet"] {
            assert!(!name.contains(inside), "{line}");
        }
    }
    assert!(used > 10, "{used}");
    // It is what these names are called by.
    let library = support::run(Command::new("readelf").arg("-sW").arg(support::library()));
    assert!(library.contains("6server6engine") || library.contains("server..engine"));
}

/// The numbers of a C program.
fn of_c(expressions: &[String]) -> BTreeMap<String, i64> {
    let lines: String = expressions
        .iter()
        .map(|it| format!("    printf(\"%s=%lld\\n\", \"{it}\", (long long) ({it}));\n"))
        .collect();
    let text = format!(
        "#include <gateway.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void)\n{{\n{lines}\n    \
         return 0;\n}}\n"
    );
    let source = support::write_source("command-layout.c", &text);
    let program = support::scratch_dir().join("command-layout");
    support::compile_c(&source, &program, &[]);
    let said = support::run(&mut Command::new(program));
    let pairs = said.lines().filter_map(|line| line.rsplit_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
}

#[test]
fn structs_and_constants_are_those_of_the_header() {
    let mut here: BTreeMap<String, i64> = BTreeMap::new();
    macro_rules! of {
        ($type:ident: $($member:ident),*) => {
            here.insert(format!("sizeof({})", stringify!($type)), size_of::<ffi::$type>() as i64);
            $(
                let name = format!("offsetof({}, {})", stringify!($type), stringify!($member));
                here.insert(name, offset_of!(ffi::$type, $member) as i64);
            )*
        };
    }
    of!(gw_error: size, code, os_errno, exit_status, message);
    of!(gw_app: size, flags, call, ctx, drop, name);
    of!(gw_hooks: size, reserved, ctx, drop, pre_request, access, worker_init, worker_exit);
    here.insert(
        "offsetof(gw_hooks, on_starting)".into(),
        offset_of!(ffi::gw_hooks, on_starting) as i64,
    );
    // It is the beginning of the header's.
    here.remove("sizeof(gw_hooks)");
    of!(gw_listener: size, protocol, address, fd, backlog, flags, mode, options);
    of!(gw_option: size, id, name, kind, preset, help);
    macro_rules! constants {
        ($($name:ident),*) => { $(here.insert(stringify!($name).to_owned(), ffi::$name.into());)* };
    }
    constants!(GW_OK, GW_EOF, GW_PROTO_HTTP, GW_PROTO_UWSGI, GW_PROTO_FASTCGI, GW_PROTO_SCGI);
    constants!(GW_PROTO_AUTO);
    let names: Vec<_> = here.keys().cloned().collect();
    assert_eq!(here, of_c(&names));
}

/// Parameters of a declaration by its name: pointers and numbers, in their order.
fn parameters(text: &str, is_rust: bool) -> BTreeMap<String, Vec<&'static str>> {
    let mut found = BTreeMap::new();
    let begin = if is_rust { "fn gw_" } else { "gw_" };
    for (at, _) in text.match_indices(begin) {
        let rest = &text[at + if is_rust { 3 } else { 0 }..];
        let Some((name, rest)) = rest.split_once('(') else { continue };
        let is_name = name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_');
        let Some((list, end)) = rest.split_once(')') else { continue };
        let ends = if is_rust { end.starts_with([' ', ';']) } else { end.starts_with(';') };
        // A parameter that is a function is one of a pointer.
        let list = if list.contains("(*") { continue } else { list };
        if !is_name || !ends {
            continue;
        }
        let list = list.split(',').map(str::trim).filter(|it| !["", "void"].contains(it));
        let kinds = list.map(|it| match it {
            it if it.contains('*') || it.contains("_fn") || it.contains("drop_fn") => "pointer",
            it if it.contains("u32") || it.contains("uint32") => "u32",
            it if it.contains("i64") || it.contains("int64") => "i64",
            it if it.contains("i32") || it.contains("int32") || it.contains("gw_result") => "i32",
            it if it.contains("usize") || it.contains("size_t") => "usize",
            _ => "something else",
        });
        found.insert(name.to_owned(), kinds.collect());
    }
    found
}

#[test]
fn functions_have_the_parameters_of_the_header() {
    let read = |path: &str| std::fs::read_to_string(support::root().join(path)).expect("a file");
    let (ours, header) = (read("cli/src/ffi.rs"), read("include/gateway.h"));
    // A function as a parameter is a pointer like others.
    let header = header.replace("void (*drop)(void *ctx)", "drop_fn drop");
    let header =
        header.replace("void (*report)(void *ctx, const gw_error *problem)", "report_fn r");
    let ours = ours.replace("Option<drop_fn>", "drop_fn").replace("Option<report_fn>", "report_fn");
    let (ours, header) = (parameters(&ours, true), parameters(&header, false));
    assert!(ours.len() > 20, "{ours:?}");
    for (name, list) in ours {
        assert_eq!(header.get(&name), Some(&list), "{name}");
    }
}
