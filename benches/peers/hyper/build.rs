//! hyper does not say its version; the lock file does.

fn main() {
    println!("cargo:rerun-if-changed=Cargo.lock");
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    let after = lock.split("name = \"hyper\"\nversion = \"").nth(1).unwrap_or("unknown\"");
    let version = after.split('"').next().unwrap_or("unknown");
    println!("cargo:rustc-env=HYPER_VERSION={version}");
}
