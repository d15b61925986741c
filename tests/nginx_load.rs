//! nginx with applications inside of its workers, under load and through its life: reloads, upgrades and
//! stops with requests in flight, clients that leave, that are slow, or that all wait, and what valgrind
//! says of all of it.  `tests/c/nginx_load_app.c` is what is asked, and `tests/c/suite.c`.

#[path = "nginx_load/bodies.rs"]
mod bodies;
#[path = "nginx_load/clients.rs"]
mod clients;
mod harness;
#[path = "nginx_load/life.rs"]
mod life;
#[path = "nginx_load/memory.rs"]
mod memory;
#[path = "nginx_load/ssi.rs"]
mod ssi;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use harness::client::Client;
use harness::nginx::{Nginx, application};

const PORT: u16 = 8088;

/// `tests/c/nginx_load_app.c`.
fn app() -> &'static str {
    static MADE: OnceLock<String> = OnceLock::new();
    MADE.get_or_init(|| application("tests/c/nginx_load_app.c").display().to_string())
}

/// A server with the application at `/`, and what else there is to say.
fn server(more: &str) -> String {
    format!("server {{ listen ${{IP}}:{PORT}; gateway_module {}; {more} location / {{ }} }}", app())
}

/// A file that requests wait for.
struct Gate(PathBuf);

impl Gate {
    fn of(nginx: &Nginx) -> Gate {
        Gate(nginx.path().join("gate"))
    }

    fn open(&self) {
        std::fs::write(&self.0, "").expect("create a file");
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// A connection with a request below `prefix` that is answered when the gate is open.
    fn hold(&self, address: &str, prefix: &str) -> Client {
        let mut client = Client::connect(address);
        let path = self.path().display();
        client.send(format!("GET {prefix}/hold?until={path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        client
    }
}

/// A count of `/counts`: of the application, or of a stream.
fn count(address: &str, name: &str, id: &str) -> u64 {
    let text = Client::connect(address).get(&format!("/counts?id={id}")).text();
    let mut words = text.split(' ').skip_while(|word| *word != name).skip(1);
    words.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
}

/// A number of `/proc/PID/status`, in KiB.
fn memory_of(pid: i32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("a number")
}
