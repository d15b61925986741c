//! What several integration tests need: the built shared library, and the machine's C compiler.
//!
//! `cargo test` builds `libgateway.so` beside the test programs (`target/<profile>/deps`) because
//! they depend on the crate.  The dynamic linker looks for the soname, so the library is offered
//! under that name, too, through links in a directory of our own.

#![allow(dead_code)] // Each test program uses its own part of this.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The name that programs are linked with; `readelf -d` on the library says the same.
pub(crate) const SONAME: &str = "libgateway.so.0";

/// What every C file of the project must compile under.
pub(crate) const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// The top of the source tree, also for the tests of the command.
pub(crate) fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().filter(|top| top.join("include/gateway.h").exists()).unwrap_or(package)
}

/// The directory of `gateway.h`.
pub(crate) fn include_dir() -> PathBuf {
    root().join("include")
}

/// A place for what tests make, one per profile; it stays, so that a failure can be looked at.
pub(crate) fn scratch_dir() -> PathBuf {
    let profile = profile_dir();
    let profile = profile.file_name().expect("target/<profile> has a name");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(profile);
    fs::create_dir_all(&dir).expect("create the scratch directory");
    dir
}

/// `libgateway.so` as cargo built it for this test run.
pub(crate) fn library() -> PathBuf {
    let path = profile_dir().join("deps/libgateway.so");
    assert!(path.exists(), "{} is not there: run the tests with cargo", path.display());
    path
}

/// The directory to link with: `libgateway.so` and its soname, both links to [`library`].
pub(crate) fn library_dir() -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = scratch_dir().join("lib");
        fs::create_dir_all(&dir).expect("create the library directory");
        for name in ["libgateway.so", SONAME] {
            link(&library(), &dir.join(name));
        }
        dir
    })
    .clone()
}

/// Compile a C11 program against the header and the shared library, strictly; `extra` goes to the
/// compiler after everything else.  Panics with the compiler's words when it refuses.
pub(crate) fn compile_c(source: &Path, out: &Path, extra: &[&str]) {
    let mut args = vec!["-std=c11"];
    args.extend(STRICT);
    build("cc", &args, source, out, extra);
}

/// The same for a C++11 program.
pub(crate) fn compile_cxx(source: &Path, out: &Path, extra: &[&str]) {
    let mut args = vec!["-std=c++11", "-x", "c++"];
    args.extend(STRICT);
    build("c++", &args, source, out, extra);
}

/// Write `text` into the scratch directory and return its path.
pub(crate) fn write_source(name: &str, text: &str) -> PathBuf {
    let path = scratch_dir().join(name);
    fs::write(&path, text).expect("write a source file");
    path
}

/// Run a program to its end and return what it printed; panics unless it ended with 0.
pub(crate) fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("output is text")
}

/// Run a program to its end, whatever that is.
pub(crate) fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn build(compiler: &str, language: &[&str], source: &Path, out: &Path, extra: &[&str]) {
    let dir = library_dir();
    run(Command::new(compiler)
        .args(language)
        .args(["-g", "-O1"])
        .arg("-I")
        .arg(include_dir())
        .arg(source)
        .arg("-o")
        .arg(out)
        .args(["-x", "none"])
        .arg("-L")
        .arg(&dir)
        .arg(format!("-Wl,-rpath,{}", dir.display()))
        .args(["-lgateway", "-pthread"])
        .args(extra));
}

/// `target/<profile>`: this program is in its `deps`.
fn profile_dir() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this program");
    program.ancestors().nth(2).expect("target/<profile>/deps/program").to_path_buf()
}

/// Point `link` at `target`, so that nobody who looks meanwhile finds nothing.
fn link(target: &Path, link: &Path) {
    let fresh = link.with_extension(format!("{}.new", std::process::id()));
    let _ = fs::remove_file(&fresh);
    std::os::unix::fs::symlink(target, &fresh).expect("link the library");
    fs::rename(&fresh, link).expect("put the link in place");
}
