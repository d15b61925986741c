//! Links the program with `libgateway.so`, which cargo has built by then: the package depends on it.
//!
//! The library is found at run time beside the program (a link to it is put there), or in the `lib`
//! beside the directory that the program is installed in, or where the system looks.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The name that programs are linked with; the library's own build script says the same.
const SONAME: &str = "libgateway.so.0";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // target/<profile>/build/gateway-cli-<hash>/out
    let profile = out.ancestors().nth(3).expect("OUT_DIR is in target/<profile>/build");
    let library = profile.join("deps/libgateway.so");
    for (directory, name) in [(&*out, "libgateway.so"), (&*out, SONAME), (profile, SONAME)] {
        link(&library, &directory.join(name))?;
    }
    // For the linker; and cargo lets what it runs (tests) find the soname there.
    println!("cargo::rustc-link-search=native={}", out.display());
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN:$ORIGIN/../lib");
    println!("cargo::rustc-link-arg=-Wl,--enable-new-dtags");
    Ok(())
}

/// Also where `target` is not there yet.
fn link(target: &Path, link: &Path) -> io::Result<()> {
    if fs::read_link(link).is_ok_and(|there| there == target) {
        return Ok(());
    }
    if fs::symlink_metadata(link).is_ok() {
        fs::remove_file(link)?;
    }
    symlink(target, link)
}
