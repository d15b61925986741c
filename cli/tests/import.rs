//! `gateway import` as a program: what it prints, what it says, and how it exits.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{fs, process};

fn import(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gateway")).arg("import").args(args).output().unwrap()
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import").join(name)
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

/// A file of this content, removed at the end.
struct File(PathBuf);

impl File {
    fn new(name: &str, content: &[u8]) -> File {
        let path = std::env::temp_dir().join(format!("gateway-import-{}-{name}", process::id()));
        fs::write(&path, content).unwrap();
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn the_toml_goes_out_and_what_does_not_map_is_said_line_by_line() {
    for name in ["flask.ini", "site.json"] {
        let path = sample(name);
        let path = path.to_str().unwrap();
        let out = import(&[path]);
        assert_eq!(out.status.code(), Some(0));
        let expected = fs::read_to_string(sample(&format!("{name}.toml"))).unwrap();
        assert_eq!(text(&out.stdout), expected);
        let said: Vec<_> = text(&out.stderr).lines().collect();
        let (last, lines) = said.split_last().unwrap();
        assert_eq!(*last, format!("{path}: {} settings do not map as they are", lines.len()));
        let mut before = 0;
        for line in lines {
            let rest = line.strip_prefix(&format!("{path}:")).expect(line);
            let (number, rest) = rest.split_once(": ").expect(line);
            let number: usize = number.parse().expect(line);
            assert!(number >= before && rest.contains(": ") && rest.ends_with('.'), "{line}");
            before = number;
        }
    }
}

#[test]
fn strict_is_for_what_does_not_map() {
    let daemon = File::new("daemon.py", b"workers = 2\ndaemon = True\n");
    assert_eq!(import(&[daemon.path()]).status.code(), Some(0));
    let out = import(&["--strict", daemon.path()]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stdout).contains("\nworkers = 2\n"), "{out:?}");
    let said = format!("{}:2: daemon: A server stays in the foreground", daemon.path());
    assert!(text(&out.stderr).starts_with(&said), "{out:?}");
    let plain = File::new("plain.py", b"workers = 2\n");
    let out = import(&["--strict", plain.path()]);
    assert_eq!(out.status.code(), Some(0));
    assert_eq!(text(&out.stderr), format!("{}: everything maps\n", plain.path()));
}

#[test]
fn whose_file_it_is_may_be_said() {
    let file = File::new("conf", b"user = 33\n");
    let out = import(&["--from", "gunicorn", file.path()]);
    assert!(text(&out.stdout).contains("\nuser = \"33\"\n"), "{out:?}");
    let file = File::new("other", b"something else\n");
    let out = import(&[file.path()]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("use --from gunicorn, uwsgi or unit"), "{out:?}");
    assert_eq!(import(&["--from", "apache", file.path()]).status.code(), Some(2));
    assert_eq!(import(&[]).status.code(), Some(2));
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let broken = File::new("broken.json", b"{\n\"listeners\": \n}");
    let out = import(&[broken.path()]);
    assert_eq!((out.status.code(), text(&out.stdout)), (Some(1), ""));
    let said = format!("{}:3: expected value\n", broken.path());
    assert_eq!(text(&out.stderr), said);
    let octets = File::new("octets.ini", b"[uwsgi]\n\xff\xfe = \x00\n");
    let out = import(&[octets.path()]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("UTF-8"), "{out:?}");
    let out = import(&["/nowhere/at/all.py"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).starts_with("gateway: /nowhere/at/all.py: No such file"), "{out:?}");
}
