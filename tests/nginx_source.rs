//! The module in a source tree of nginx's, of another version than the one that is installed: built as
//! nginx's own build does it, and served with that nginx.

mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::client::Client;
use harness::nginx::{Build, Nginx};
use harness::support;

/// nginx and its module, from the tree that `scripts/setup` has unpacked.
fn build() -> Build {
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let tree = support::root().join(target).join("peers/nginx-src/nginx");
    assert!(tree.is_dir(), "no {}: run scripts/setup test", tree.display());
    let out = support::scratch_dir().join("nginx-tree");
    let options = format!(
        "--builddir={} --add-dynamic-module={}",
        out.display(),
        support::root().join("bindings/nginx").display()
    );
    // Again and again the same: what is made already is not made anew.
    let made = out.join("nginx");
    let has_options = |path: &Path| std::fs::read_to_string(path).is_ok_and(|it| it == options);
    let stamp = out.with_extension("options");
    if !made.is_file() || !has_options(&stamp) {
        support::run(
            Command::new("auto/configure")
                .args(options.split(' '))
                .env("GATEWAY_INC", support::include_dir())
                .env("GATEWAY_LIB", support::library_dir())
                .current_dir(&tree),
        );
        std::fs::write(&stamp, &options).expect("write a stamp");
    }
    let makefile = out.join("Makefile");
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    support::run(
        Command::new("make")
            .args(["-s", &format!("-j{jobs}"), "-f"])
            .arg(&makefile)
            .args(["binary", "modules"])
            .env("LD_RUN_PATH", support::library_dir())
            .current_dir(&tree),
    );
    let module: PathBuf = out.join("ngx_http_gateway_module.so");
    Build { program: made, module }
}

#[test]
fn a_tree_of_nginx_builds_the_module_and_serves_with_it() {
    let http = "server { listen ${IP}:8090; location / { gateway_module ${SUITE}; } }";
    let nginx = Nginx::launch_as(build(), "", http).listening();
    let mut client = Client::connect(&nginx.address(8090));
    let hello = client.get("/hello");
    assert_eq!((hello.status, hello.body.len()), (200, 13));
    assert_ne!(hello.header("server"), Some("nginx/1.22.1"));
    let body: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    assert_eq!(client.post("/echo", &body).body, body);
    let streamed = client.get("/stream?n=20&size=10000");
    assert_eq!((streamed.status, streamed.body.len()), (200, 200_000));
    nginx.stop();
}
