//! The smallest server in Rust: one application, pre-forked workers.
//!
//! ```text
//! cargo run --release --example hello -- 127.0.0.1:8000
//! curl -i 'http://127.0.0.1:8000/?name=you'
//! ```
//!
//! Ctrl-C or TERM stops it; requests under way are finished first on TERM.

use gateway::{Application, Body, Config, Environ, Pair, Response, Result, StartResponse};

fn hello(env: &Environ, start_response: &StartResponse<'_>) -> Result<Body> {
    let headers = [Pair::new(b"Content-Type", b"text/plain")];
    start_response.respond(&Response::new(200, &headers))?;
    let name = env.query(b"name");
    let name = if name.is_missing() { b"world" } else { name.as_slice() };
    Ok(Body::from_vec([b"hello, ", name, b"\n"].concat()))
}

fn main() {
    let mut config = Config::new();
    config.application(Application::new(hello).nonblocking().named("hello"));
    let address = std::env::args().nth(1).unwrap_or_else(|| String::from("127.0.0.1:8000"));
    let served = config
        .set("bind", &address)
        .and_then(|config| config.set("workers", "2").map(|_| ()))
        .and_then(|()| gateway::serve(config));
    if let Err(error) = served {
        eprintln!("hello: {error}");
        std::process::exit(error.exit_status());
    }
}
