//! `gateway check`, which says all that is wrong at once; `gateway options`, and what is generated.

#[path = "../../tests/harness/mod.rs"]
mod harness;

mod command;

use std::fs;
use std::process::Command;

use command::{directory, gateway, run, run_in, site};
use harness::support;

/// Everything that can be wrong with a file, each on the line that it is about.
const WRONG: &str = r#"bnd = "127.0.0.1:1"
workers = 5000
threads = true
max_body = "big"
module = "./none.so"
heartbeat_timeout = "soon"
accesslog = "/nowhere/at/all/log"
keepalive = 99999999999999999999
user = "gw-nobody-is-called-so"
pidfile = "/nowhere/pid"
[env]
A = 1
"B=" = "x"
[[mount]]
at = "/shop"
module = "./app.so"
args = "fail"
[[mount]]
at = "/shop/"
module = "./app.so"
[[mount]]
at = "shop"
modul = "./app.so"
builtin = "health"
[[mount]]
at = "/x"
builtin = "sttic"
[[mount]]
at = "/y"
[[mount]]
module = "./app.so"
[[mount]]
at = "/z"
builtin = "health"
module = "./app.so"
[[mount]]
at = "/crash"
module = "./app.so"
args = "segfault"
[[mount.use]]
builtin = "access"
args = "alow=1"
[[use]]
args = "allow=*"
[[use]]
builtin = "acces"
[[listen]]
address = "127.77.0.1:99999"
[[listen]]
address = "unix:/nowhere/at/all.sock"
[[listen]]
address = "127.77.77.1:8014"
protocol = "uwsg"
backlg = 5
backlog = 0
nodelay = "a b"
[[listen]]
protocol = "http"
[[uses]]
"#;

#[test]
fn all_that_is_wrong_is_said_at_once_with_its_line() {
    let site = site("wrong", WRONG);
    let expected = [
        "1: bnd: there is no such key; did you mean bind?",
        "2: workers: '5000': expected a whole number from 0 to 1024",
        "3: threads: expected a whole number, and this is a boolean",
        "4: max_body: 'big': expected a size",
        "5: module: load module ",
        "6: heartbeat_timeout: 'soon': expected a duration",
        "7: accesslog: /nowhere/at/all/log: No such file or directory",
        "8: keepalive: the number is too large",
        "9: user: gw-nobody-is-called-so: there is no such user",
        "10: pidfile: /nowhere/pid: No such file",
        "12: A: expected a string, and this is an integer",
        "13: B=: no variable of an environment is called so",
        "16: module: load module ",
        "19: at: /shop/ has an application already, on line 15",
        "22: at: mount point 'shop': there is no slash",
        "23: modul: there is no such key; did you mean module?",
        "27: builtin: no application 'sttic': there are static",
        "29: at: no application: set module, or builtin",
        "30: mount: at is missing: at = ",
        "35: module: either module or builtin",
        "38: module: load the application's module: the process that tried it was killed by SIGSEGV",
        "41: builtin: access: 'alow=1': write allow=",
        "43: use: which middleware? set builtin = ",
        "46: builtin: no middleware 'acces': there are",
        "48: address: address '127.77.0.1:99999': '99999' is not a port",
        "50: address: unix:/nowhere/at/all.sock: No such file",
        "53: protocol: no protocol \"uwsg\": there are http, uwsgi, fastcgi, scgi, auto; did you mean uwsgi?",
        "54: backlg: there is no such key; did you mean backlog?",
        "55: backlog: '0': expected a whole number from 1 to 65535",
        "56: nodelay: \"a b\": no white space here",
        "57: listen: address is missing: address = ",
        "59: uses: there is no such key; did you mean use?",
    ];
    let (status, stdout, stderr) = run_in(&site, &["check", "app.toml"]);
    let said: Vec<_> = stderr.lines().collect();
    assert_eq!((status, &*stdout), (1, ""), "{stderr}");
    for (said, expected) in said.iter().zip(expected) {
        let expected = format!("app.toml:{expected}");
        assert!(said.starts_with(&expected), "{expected}\n{said}\nof\n{stderr}");
    }
    assert_eq!(said.len(), expected.len(), "{stderr}");
    // Serving says the same.
    let (status, stdout, again) = run_in(&site, &["run", "app.toml"]);
    assert_eq!((status, &*stdout, again), (1, "", stderr));
}

#[test]
fn what_the_library_finds_is_about_a_line() {
    let site = site("finds", "");
    for (text, says) in [
        (
            "module = './app.so'\nworkers = 2\nworker_model = 'inline'",
            "2: workers: 2: worker_model = inline has one",
        ),
        ("module = './app.so'\nbind = ['unix:s', 'unix:s']", "2: bind: unix:s twice"),
        ("module = './app.so'\nmetrics_path = 'm'", "2: metrics_path: m: a path begins with /"),
        (
            "module = './app.so'\nmemory_hard = '1m'\nmemory_soft = '2m'",
            "3: memory_soft: 2097152: a worker would be killed first",
        ),
        ("workers = 1", " there is no application: set module = "),
        ("args = 'x'", "1: args: of which module? set module, too"),
        ("module = './app.so'\nworkers = 1\nworkers = 2", "3: "),
        ("module = ", "1: "),
        ("module = './app.so'\nmount = 1", "2: mount: write [[mount]]: there may be several"),
        ("module = './app.so'\nenv = 1", "2: env: [env] is a table, and this is an integer"),
        ("module = './app.so'\nchdir = 'none'", "2: chdir: No such file or directory"),
    ] {
        fs::write(site.join("app.toml"), format!("{text}\n")).unwrap();
        let (status, _, said) = run_in(&site, &["check", "app.toml"]);
        assert_eq!(status, 1, "{text}: {said}");
        let expected = format!("app.toml:{says}");
        assert!(said.lines().any(|it| it.starts_with(&expected)), "{text}: {said}");
    }
    for (octets, says) in [(&b"\xff"[..], "app.toml: it is not UTF-8"), (b"\0", "app.toml:1: ")] {
        fs::write(site.join("app.toml"), octets).unwrap();
        let (status, _, said) = run_in(&site, &["check", "app.toml"]);
        assert!(status == 1 && said.starts_with(says), "{said}");
    }
}

/// Pools: each problem is on the line of the pool that has it.
#[test]
fn what_is_wrong_with_a_pool_is_about_its_line() {
    let text = r#"pidfile = "s.pid"
[[pool]]
name = "api"
pidfile = "mine.pid"
worker = 2
threads = -1
chdir = "/"
module = "./none.so"
[[pool.listen]]
address = "127.0.0.1:0"
[[pool]]
name = "a b"
module = "./app.so"
bind = ":0"
[[pool]]
module = "./app.so"
[[pool]]
name = "jobs"
[[pool.mount]]
at = "/x"
builtin = "sttic"
[[pool]]
name = "other"
module = "./app.so"
control_socket = "other.sock"
[[pool]]
name = "jobs"
module = "./app.so"
bind = ":0"
[[pool.use]]
builtin = "acces"
"#;
    let site = site("pools-wrong", text);
    let (status, _, stderr) = run_in(&site, &["check", "app.toml"]);
    let expected = [
        "4: pidfile: an option of the whole process; set it for the instance",
        "5: worker: there is no such key; did you mean workers?",
        "6: threads: '-1': expected a whole number",
        "7: chdir: that is the whole program's: write it above, outside of pools",
        "8: module: load module ",
        "12: name: pool 'a b': a name has 1 to 32 letters",
        "15: pool: name is missing: name = ",
        "18: name: there is nothing to listen on: set bind, or add a listener",
        "21: builtin: no application 'sttic': there are static",
        "23: name: there is nothing to listen on: set bind, or add a listener",
        "25: control_socket: an option of the whole process; set it for the instance",
        "27: name: pool jobs",
        "31: builtin: no middleware 'acces': there are",
    ];
    let said: Vec<_> = stderr.lines().collect();
    for (said, expected) in said.iter().zip(expected) {
        let expected = format!("app.toml:{expected}");
        assert!(said.starts_with(&expected), "{expected}\n{said}\nof\n{stderr}");
    }
    assert_eq!((status, said.len()), (1, expected.len()), "{stderr}");
}

#[test]
fn a_good_file_has_no_problem() {
    let site = site(
        "good",
        "module = './app.so'\numask = 0o022\nkeepalive = 1.5\npreload = true\n\
        forwarded_allow_ips = ['10.0.0.0/8', '127.0.0.1']\nbind = [':0', 'uwsgi://127.0.0.1:0']\n\
        [[listen]]\naddress = 'unix:s.sock'\nmode = 0o660\nmax_body = '1m'\ntrust = ['unix']\n",
    );
    let (status, stdout, stderr) = run_in(&site, &["check", "app.toml"]);
    assert_eq!((status, &*stdout, &*stderr), (0, "app.toml: no problem\n", ""));
    assert!(!site.join("s.sock").exists());
}

#[test]
fn the_table_is_the_library_s() {
    let (status, json, _) = run(&["options", "--format", "json"]);
    assert_eq!(status, 0);
    let table: serde_json::Value = serde_json::from_str(&json).unwrap();
    let table = table.as_array().unwrap();
    // A page that a test keeps equal with the library's own table.
    let page = fs::read_to_string(support::root().join("docs/options.md")).unwrap();
    let names: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let ours: Vec<_> = table.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(ours, names);
    let (_, text, _) = run(&["options"]);
    let (_, help, _) = run(&["run", "--help"]);
    for option in table {
        let (name, kind) = (option["name"].as_str().unwrap(), option["kind"].as_str().unwrap());
        assert!(text.lines().any(|it| it.starts_with(name) && it.contains(kind)), "{name}");
        assert!(
            help.contains(&format!("--{} ", name.replace('_', "-"))) || kind == "bool",
            "{name}"
        );
        assert!(help.contains(&format!("--{}", name.replace('_', "-"))), "{name}");
    }
    let (status, _, said) = run(&["options", "wrkers"]);
    assert_eq!(
        (status, &*said),
        (1, "gateway: there is no option wrkers; did you mean workers?\n")
    );
}

/// Without its marks the template is a file that says the presets.
#[test]
fn the_template_is_a_file_of_presets() {
    let site = site("template", "");
    let (_, template, _) = run(&["options", "--format", "toml"]);
    fs::write(site.join("app.toml"), &template).unwrap();
    let (_, _, said) = run_in(&site, &["check", "app.toml"]);
    assert!(said.starts_with("app.toml: there is no application"), "{said}");
    // Those of options, up to the first table.
    let options = template.split_once("\n# An application").unwrap().0;
    let lines = options.lines().filter_map(|it| it.strip_prefix('#'));
    let set: Vec<_> = lines.filter(|it| !it.starts_with(' ')).collect();
    assert!(set.len() > 50, "{template}");
    let text = format!("{}\nmodule = './app.so'\n", set.join("\n"));
    fs::write(site.join("app.toml"), text.replace("bind = []", "bind = ':0'")).unwrap();
    let (status, stdout, stderr) = run_in(&site, &["check", "app.toml"]);
    assert_eq!((status, &*stdout), (0, "app.toml: no problem\n"), "{stderr}");
    // The others are TOML, too.
    let tables = template.split_once("\n# An application").unwrap().1;
    let lines = tables.lines().filter_map(|it| it.strip_prefix('#'));
    let set: Vec<_> = lines.filter(|it| !it.starts_with(' ')).collect();
    let table: toml::Table = set.join("\n").parse().unwrap();
    assert_eq!(table["mount"].as_array().unwrap().len(), 2);
}

#[test]
fn completions_are_those_of_the_shells() {
    let directory = directory("completions");
    for (shell, check) in [("bash", &["-n"][..]), ("zsh", &["-n"]), ("fish", &["--no-execute"])] {
        let (status, text, _) = run(&["completions", shell]);
        assert_eq!(status, 0);
        for word in ["max-body", "check", "completions"] {
            assert!(text.contains(word), "{shell}: {word}");
        }
        let file = directory.join(shell);
        fs::write(&file, text).unwrap();
        support::run(Command::new(shell).args(check).arg(&file));
    }
}

/// `UPDATE_DOCS=1 cargo test -p gateway-cli --test check` writes it again.
#[test]
fn the_manual_page_is_the_command() {
    let path = support::root().join("docs/man/gateway.1");
    let (status, page, _) = run(&["man"]);
    assert_eq!(status, 0);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "{} is not what {} says: run UPDATE_DOCS=1 cargo test -p gateway-cli --test check",
        path.display(),
        gateway().display()
    );
}
