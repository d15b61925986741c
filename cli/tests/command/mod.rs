//! The program, and what its tests give it: modules, and directories with files.

#![allow(dead_code)] // Each test program uses its own part of this.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::harness::support;

/// The program that cargo has built.
pub fn gateway() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_gateway"))
}

/// What it says and returns.
pub fn run(args: &[&str]) -> (i32, String, String) {
    run_in(Path::new("/"), args)
}

pub fn run_in(directory: &Path, args: &[&str]) -> (i32, String, String) {
    let output: Output =
        Command::new(gateway()).args(args).current_dir(directory).output().expect("run gateway");
    let text = |octets: Vec<u8>| String::from_utf8(octets).expect("it says text");
    let status = output.status.code().unwrap_or_else(|| panic!("{:?}", output.status));
    (status, text(output.stdout), text(output.stderr))
}

/// An empty directory of this test.
pub fn directory(test: &str) -> PathBuf {
    let path = support::scratch_dir().join(format!("command-{test}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("create a directory");
    path
}

/// A module made of a source below the project's top.
pub fn module(source: &str, out: &Path) {
    let fresh = out.with_extension("fresh");
    support::compile_c(&support::root().join(source), &fresh, &["-shared", "-fPIC"]);
    // Never over a file that a process may have loaded.
    fs::rename(fresh, out).expect("put the module in place");
}

/// A directory with `app.so`, of `tests/c/module.c`, and `app.toml`.
pub fn site(test: &str, text: &str) -> PathBuf {
    let path = directory(test);
    module("cli/tests/c/module.c", &path.join("app.so"));
    fs::write(path.join("app.toml"), text).expect("write app.toml");
    path
}
