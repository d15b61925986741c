//! Links the program with `libgateway.so`: with the one that cargo has built by then, since the package
//! depends on it; or, without the feature `library`, with that of the directory `GATEWAY_LIBRARY_DIR`,
//! or of the system.
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
    println!("cargo::rerun-if-env-changed=GATEWAY_LIBRARY_DIR");
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN:$ORIGIN/../lib");
    println!("cargo::rustc-link-arg=-Wl,--enable-new-dtags");
    let directory = match (env::var_os("CARGO_FEATURE_LIBRARY"), env::var_os("GATEWAY_LIBRARY_DIR"))
    {
        (Some(_), _) => profile.join("deps"),
        (None, Some(directory)) => PathBuf::from(directory),
        (None, None) => return Ok(()),
    };
    let library = directory.join("libgateway.so");
    for (directory, name) in [(&*out, "libgateway.so"), (&*out, SONAME), (profile, SONAME)] {
        link(&library, &directory.join(name))?;
    }
    // For the linker; and cargo lets what it runs (tests) find the soname there.
    println!("cargo::rustc-link-search=native={}", out.display());
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
