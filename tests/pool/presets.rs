//! Where an application runs, and what it is told about that.

use gateway::base::error::Kind;
use gateway::gateway::abi::{
    APP_NONBLOCKING, APP_SERIAL, APP_THREADSAFE, ENV_MAY_BLOCK, ENV_MULTITHREAD,
};
use gateway::gateway::app::Application;
use gateway::gateway::config::Config;
use gateway::server::setup::Setup;

use super::harness::*;
use super::tools::*;

fn named(flags: u32) -> Application {
    capp::with_flags(flags, |_, start, _| {
        start.respond(&gateway::gateway::abi::Response::new(200, &TEXT))
    })
    .named("shop")
}

fn setup(flags: u32, threads: Option<&str>) -> Result<usize, gateway::base::error::Error> {
    let mut config = Config::new();
    if let Some(threads) = threads {
        config.set("threads", threads).unwrap();
    }
    config.application(named(flags));
    Setup::new(config)?.threads()
}

#[test]
fn the_preset_follows_from_what_the_application_may_do() {
    assert_eq!(setup(APP_NONBLOCKING, None).unwrap(), 0);
    assert_eq!(setup(APP_SERIAL, None).unwrap(), 0);
    assert_eq!(setup(APP_NONBLOCKING | APP_THREADSAFE, None).unwrap(), 0);
    assert_eq!(setup(0, None).unwrap(), 1);
    assert_eq!(setup(APP_THREADSAFE, None).unwrap(), 1);
    assert_eq!(setup(0, Some("auto")).unwrap(), 1);
}

#[test]
fn a_number_of_threads_is_taken_where_it_can_be() {
    assert_eq!(setup(APP_THREADSAFE, Some("7")).unwrap(), 7);
    assert_eq!(setup(0, Some("1")).unwrap(), 1);
    assert_eq!(setup(APP_NONBLOCKING, Some("1")).unwrap(), 1);
    assert_eq!(setup(APP_NONBLOCKING, Some("0")).unwrap(), 0);
    assert_eq!(setup(APP_SERIAL, Some("0")).unwrap(), 0);
    assert_eq!(setup(APP_NONBLOCKING | APP_THREADSAFE, Some("2")).unwrap(), 2);
}

#[test]
fn what_cannot_be_is_an_error_that_names_the_application() {
    for (flags, threads, why) in [
        (0, "0", "may block"),
        (APP_THREADSAFE, "0", "may block"),
        (0, "2", "GW_APP_THREADSAFE"),
        (APP_NONBLOCKING, "2", "GW_APP_THREADSAFE"),
        (APP_SERIAL, "1", "GW_APP_SERIAL"),
        (APP_SERIAL | APP_THREADSAFE, "4", "GW_APP_SERIAL"),
    ] {
        let error = setup(flags, Some(threads)).expect_err("this cannot work");
        assert_eq!(error.kind(), Kind::Invalid);
        let text = error.message();
        for part in ["\"shop\"", &format!("threads = {threads}"), why] {
            assert!(text.contains(part), "no {part} in: {text}");
        }
    }
}

/// The flags that a request sees.
fn told(flags: u32, config: &str) -> u32 {
    let app = capp::with_flags(flags, |env, start, body| {
        let text = Box::leak(env.flags().to_string().into_boxed_str());
        body.first = Some(capp::lent(text.as_bytes()));
        start.respond(&gateway::gateway::abi::Response::new(200, &TEXT))
    });
    let mut server = Server::with(options(config), app);
    server.ask(GET).text().parse().unwrap()
}

#[test]
fn the_environ_says_whether_it_may_block_and_whether_others_run_beside_it() {
    let both = ENV_MAY_BLOCK | ENV_MULTITHREAD;
    assert_eq!(told(APP_NONBLOCKING, "") & both, 0);
    assert_eq!(told(APP_SERIAL, "") & both, ENV_MAY_BLOCK);
    assert_eq!(told(0, "") & both, ENV_MAY_BLOCK);
    assert_eq!(told(APP_NONBLOCKING, "threads=1") & both, ENV_MAY_BLOCK);
    assert_eq!(told(APP_THREADSAFE, "threads=2") & both, both);
    assert_eq!(told(APP_NONBLOCKING | APP_THREADSAFE, "threads=2") & both, both);
}
