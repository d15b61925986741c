//! What cargo cannot say in its manifest: how `libgateway.so` is linked, and the C header.
//!
//! The header is rendered into `OUT_DIR` and compared with `include/gateway.h`.  The source tree is
//! written only when `GATEWAY_HEADER=update` asks for it, and a header that cannot be rendered is a
//! warning: who builds the library need not be able to generate its header.

#[path = "build/header.rs"]
mod header;
#[path = "build/layout.rs"]
mod layout;

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The N of `libgateway.so.N`, and `GW_ABI`.
const ABI: u32 = 0;

const HEADER: &str = "include/gateway.h";
const UPDATE: &str = "GATEWAY_HEADER=update cargo check";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed={HEADER}");
    println!("cargo::rerun-if-env-changed=GATEWAY_HEADER");
    println!("cargo::rustc-env=GATEWAY_ABI={ABI}");
    for source in layout::sources() {
        println!("cargo::rerun-if-changed={source}");
    }

    link();
    if let Err(problem) = header() {
        println!("cargo::warning={HEADER}: {problem}");
    }
}

/// The shared library has a soname, and stays once it is loaded: the standard library leaves
/// destructors of thread-locals behind, which a finishing thread would call after a dlclose.  Exports
/// need no word here: rustc restricts a cdylib's to the `no_mangle` items (tests/abi.rs looks).
fn link() {
    let elf = ["linux", "android", "freebsd", "netbsd", "openbsd", "dragonfly", "illumos"];
    let os = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if elf.contains(&os.as_str()) {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libgateway.so.{ABI}");
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}

fn header() -> Result<(), String> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let text = header::render(&root, &version()?)?;

    let rendered = Path::new(&variable("OUT_DIR")?).join("gateway.h");
    fs::write(&rendered, &text).map_err(|e| format!("write {}: {e}", rendered.display()))?;

    let committed = root.join(HEADER);
    if fs::read_to_string(&committed).is_ok_and(|old| old == text) {
        return Ok(());
    }
    if env::var("GATEWAY_HEADER").as_deref() != Ok("update") {
        return Err(format!("is not what the sources say; run: {UPDATE}"));
    }
    fs::write(&committed, &text).map_err(|e| format!("write: {e}"))
}

/// The first section of the header: what only the manifest knows.
fn version() -> Result<String, String> {
    let mut text = String::new();
    for part in ["MAJOR", "MINOR", "PATCH"] {
        let number = variable(&format!("CARGO_PKG_VERSION_{part}"))?;
        text += &format!("#define GW_VERSION_{part} {number}\n");
    }
    text += "#define GW_VERSION_NUMBER \\\n    \
             ((GW_VERSION_MAJOR << 16) | (GW_VERSION_MINOR << 8) | GW_VERSION_PATCH)\n";
    text += &header::comment_right(&format!("#define GW_ABI {ABI}"), "the N of libgateway.so.N");
    Ok(text)
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("cargo did not set {name}"))
}
