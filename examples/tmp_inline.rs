use gateway::base::{error::Result, octets::Pair};
use gateway::gateway::{
    abi::{Environ, Response, StartResponse},
    app::Application,
    body::Body,
    config::Config,
    counters::Counters,
};
use std::sync::Arc;
struct C(Counters);
impl AsRef<Counters> for C {
    fn as_ref(&self) -> &Counters {
        &self.0
    }
}
fn main() {
    let mut config = Config::new();
    config.settings_mut().serve_presets();
    config.set("worker_model", "inline").unwrap();
    if std::env::args().nth(1).as_deref() == Some("log") {
        config.set("accesslog", "-").unwrap();
    }
    config.application(
        Application::new(|env: &Environ, start: &StartResponse<'_>| -> Result<Body> {
            match env.path_info.as_slice() {
                b"/echo" => {
                    let mut all = Vec::new();
                    let mut buf = [0; 4096];
                    loop {
                        let n = env.read(&mut buf)?;
                        if n == 0 {
                            break;
                        }
                        all.extend_from_slice(&buf[..n]);
                    }
                    start.respond(&Response::new(
                        200,
                        &[Pair::new(b"Content-Type", b"text/plain")],
                    ))?;
                    Ok(Body::from_vec(all))
                }
                b"/stream" => {
                    start.respond(&Response::new(
                        200,
                        &[Pair::new(b"Content-Type", b"text/plain")],
                    ))?;
                    Ok(Body::from_chunks((0..10).map(|i| Ok(format!("{i}\n").into_bytes()))))
                }
                _ => {
                    start.respond(&Response::new(
                        200,
                        &[Pair::new(b"Content-Type", b"text/plain")],
                    ))?;
                    Ok(Body::from_static(b"hello, world\n"))
                }
            }
        })
        .nonblocking(),
    );
    let setup = Arc::new(gateway::server::setup::Setup::new(config).unwrap());
    let listeners = setup.bind().unwrap().into_iter().map(Arc::new).collect();
    let mut engine =
        gateway::server::engine::Engine::new(setup, listeners, Arc::new(C(Counters::default())))
            .unwrap();
    engine.run().unwrap();
}
