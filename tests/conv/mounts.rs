//! Several applications of one server, as a program in Rust mounts them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use gateway::base::error::{Kind, Result};
use gateway::gateway::abi::{AppFrame, Environ, Response as Head, StartResponse};
use gateway::gateway::app::Application;
use gateway::gateway::body::Body;
use gateway::gateway::config::Config;
use gateway::server::setup::Setup;

use super::harness::*;

/// Says its name, and its place.
fn named(name: &'static str) -> Application {
    Application::new(move |env: &Environ, start: &StartResponse<'_>| {
        start.respond(&Head::new(200, &TEXT))?;
        let text = [name.as_bytes(), b" ", env.script_name(), b" ", env.path_info()].concat();
        Ok(Body::from_vec(text))
    })
    .nonblocking()
    .named(name)
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// A middleware that counts how often it is called, and changes nothing.
fn counting(calls: &Arc<AtomicU32>) -> gateway::Middleware {
    let calls = Arc::clone(calls);
    Box::new(move |inner: &AppFrame, outer: &mut AppFrame| {
        calls.fetch_add(1, SeqCst);
        *outer = AppFrame { drop: None, ..*inner };
        Ok(())
    })
}

#[test]
fn requests_find_their_application() {
    let (all, one) = (Arc::default(), Arc::default());
    let mut server = Server::made_of(|config| {
        config.mount("/a", named("a")).unwrap();
        config.wrap(counting(&all));
        config.mount("h/a/b", named("b")).unwrap();
        config.wrap_at("/a", counting(&one)).unwrap();
        config.mount("other/", named("other")).unwrap();
    });
    assert_eq!((all.load(SeqCst), one.load(SeqCst)), (3, 1));
    let mut client = server.connect();
    for (target, expected) in [("/a/x", "a /a /x"), ("/a/b", "b /a/b "), ("/a/bc", "a /a /bc")] {
        assert_eq!(server.ask_on(&mut client, get(target)).text(), expected);
    }
    assert_eq!(server.counters.unmounted.get(), 0);
    assert_eq!(server.ask_on(&mut client, get("/b")).status, 404);
    assert_eq!(server.counters.unmounted.get(), 1);
    assert_eq!(server.counters.status[4].get(), 1);
    assert_eq!(server.counters.app_errors.get(), 0);
}

/// The body of a request that nobody gets is read, and the next request on the connection is found.
#[test]
fn a_body_that_nobody_gets_is_no_request() {
    for buffering in ["0", "1"] {
        let mut server = Server::made_of(|config| {
            config.set("request_buffering", buffering).unwrap();
            config.mount("/a", named("a")).unwrap();
        });
        let mut client = server.connect();
        let body = "GET /a HTTP/1.1\r\n\r\n";
        client.send(format!(
            "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}{}",
            body.len(),
            get("/a/last")
        ));
        assert_eq!(server.reply(&mut client).status, 404, "{buffering}");
        assert_eq!(server.reply(&mut client).text(), "a /a /last", "{buffering}");
    }
}

/// `health_path` is a path as clients ask for it, not one below a mount.
#[test]
fn the_health_path_is_whole() {
    let mut server = Server::made_of(|config| {
        config.set("health_path", "/a/health").unwrap();
        config.mount("/a", named("a")).unwrap();
        config.mount("/a/a", named("aa")).unwrap();
        config.mount("/b", named("b")).unwrap();
    });
    server.engine.lame_when(|| true);
    let mut client = server.connect();
    for (target, status) in [
        ("/a/health", 503),
        ("/a/a/health", 200),
        ("/b/a/health", 200),
        ("/b/health", 200),
        ("/a/healthy", 200),
        ("/health", 404),
    ] {
        assert_eq!(server.ask_on(&mut client, get(target)).status, status, "{target}");
    }
    // Also where no application is.
    let mut server = Server::made_of(|config| {
        config.set("health_path", "/health").unwrap();
        config.mount("/a", named("a")).unwrap();
    });
    server.engine.lame_when(|| true);
    let mut client = server.connect();
    for (target, status) in [("/health", 503), ("/a/health", 200), ("/", 404)] {
        assert_eq!(server.ask_on(&mut client, get(target)).status, status, "{target}");
    }
}

#[test]
fn what_cannot_be_mounted_is_said() {
    let mut config = Config::new();
    config.mount("/a", named("one")).unwrap();
    let error = config.mount("/a/", named("two")).unwrap_err();
    let text = "mount point '/a/': application \"two\" cannot be where application \"one\" is";
    assert_eq!((error.kind(), error.message()), (Kind::Invalid, text));
    let error = config.mount("a", named("two")).unwrap_err();
    assert!(error.message().starts_with("mount point 'a': there is no slash"), "{error}");
    let error = config.wrap_at("/", counting(&Arc::default())).unwrap_err();
    let text = "mount point '/': nothing is mounted there yet; there is /a";
    assert_eq!((error.kind(), error.message()), (Kind::NotFound, text));
    // SAFETY: it is never loaded.
    let error = unsafe { config.mount_module("/a", "./a.so", "") }.unwrap_err();
    let text = "mount point '/a': a module cannot be where application \"one\" is";
    assert_eq!((error.kind(), error.message()), (Kind::Invalid, text));
    // What was refused has changed nothing.
    config.set("worker_model", "inline").unwrap();
    assert_eq!(Setup::new(config).unwrap().stack.apps.all().len(), 1);
}

/// A middleware that fails says for which of them.
#[test]
fn a_middleware_that_fails_is_told_with_its_place() {
    let fails = || -> gateway::Middleware {
        Box::new(|_: &AppFrame, _: &mut AppFrame| -> Result<()> {
            Err(gateway::base::error::Error::new(Kind::Io, "no key"))
        })
    };
    for (at, text) in [
        ("/a", "middleware around application \"a\" at /a: no key"),
        ("/", "middleware around application \"root\": no key"),
    ] {
        let mut config = Config::new();
        config.set("worker_model", "inline").unwrap();
        config.mount("/a", named("a")).unwrap().mount("/", named("root")).unwrap();
        config.wrap_at(at, fails()).unwrap();
        let error = Setup::new(config).unwrap_err();
        assert_eq!((error.kind(), error.message()), (Kind::Io, text));
    }
}
