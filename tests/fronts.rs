//! The application behind every web server that it may stand behind: the requests of
//! `fronts/requests.toml` go through each, and the answers are those that it gives where nothing is in
//! front, but for what `fronts/differences.toml` names.
//!
//! The servers run with `examples/fronts`.  Where they reach the application by TCP it gets bodies of
//! requests when they are complete; where by unix sockets, it reads them while they arrive.

#[path = "fronts/ask.rs"]
mod ask;
#[path = "fronts/cases.rs"]
mod cases;
#[path = "fronts/compare.rs"]
mod compare;
mod harness;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::OnceLock;

use ask::{Outcome, cgi, http};
use cases::{Case, Difference};
use compare::{check, compare};
use harness::client::Client;
use harness::fronts::{App, Front, Over, installed, program};
use harness::load::{Habit, Load};
use harness::nginx::Nginx;
use harness::until;

const SIGHUP: i32 = 1;

/// The prefix of a front, and whether the application is told of it.
#[derive(Clone, Copy)]
enum Mount {
    /// It is taken away: that is all that HTTP can do.
    Stripped,
    /// It is SCRIPT_NAME.
    Told,
}
use Mount::{Stripped, Told};

/// What comes of all requests where nothing is in front.
fn expected() -> &'static [(Case, Outcome)] {
    static ALL: OnceLock<Vec<(Case, Outcome)>> = OnceLock::new();
    ALL.get_or_init(|| {
        let app = App::start(Over::Tcp, &["worker_model=inline"]);
        let address = app.address("http", "");
        let ask = |case: Case| {
            let outcome = http(&address, "", &case);
            (case, outcome)
        };
        let all = cases::cases().into_iter().map(ask).collect();
        ended(app);
        all
    })
}

/// The same below a prefix of which the application is told.
fn told_of(prefix: &str, outcome: &Outcome) -> Outcome {
    let mut outcome = outcome.clone();
    if let Outcome::Answer(answer) = &mut outcome
        && answer.body.starts_with(b"method: ")
    {
        let text = String::from_utf8(answer.body.clone()).expect("a report is text");
        let text = text.replace("script_name: \"\"", &format!("script_name: \"{prefix}\""));
        answer.body = text.replace("request_uri: \"/", &format!("request_uri: \"{prefix}/")).into();
    }
    outcome
}

/// Every request by this way: `ask` has a prefix, and a request.
fn all(front: &str, mount: Mount, always: &str, ask: impl Fn(&str, &Case) -> Outcome) {
    let all: Vec<Difference> = cases::differences();
    let only = std::env::var("GATEWAY_CASE").ok();
    let mut wrong = Vec::new();
    for (case, here) in expected() {
        if only.as_ref().is_some_and(|only| *only != case.name) {
            continue;
        }
        let of_case: Vec<_> = all.iter().filter(|it| it.is_of(front, case)).collect();
        let prefix = if case.mounted && always.is_empty() { "/mounted" } else { always };
        let here = match mount {
            Told if !prefix.is_empty() => told_of(prefix, here),
            _ => here.clone(),
        };
        let there = ask(prefix, case);
        if let Err(problem) = compare(case, &here, &there, &of_case) {
            wrong.push(format!("{}: {problem}", case.name));
        }
    }
    let (count, of) = (wrong.len(), expected().len());
    assert!(wrong.is_empty(), "{front}: {count} of {of} differ:\n    {}", wrong.join("\n    "));
}

/// Nothing is left open, and it stops.
fn ended(app: App) {
    let idle = || app.server.get("/counts").starts_with("open 0 later 0 ");
    until("nothing is under way", idle);
    app.server.stop();
}

/// All requests through a server: the port is that of its configuration.
fn through(name: &str, server: &'static str, port: u16, over: Over, mount: Mount, always: &str) {
    let app = App::start(over, &["worker_model=inline"]);
    let mut front = Front::start(server, &app, &[]);
    let address = front.address(port);
    let ask = |prefix: &str, case: &Case| http(&address, prefix, case);
    let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        all(name, mount, always, ask);
    }));
    if let Err(panic) = asked {
        let said = front.said();
        let from = said.len().saturating_sub(3000);
        eprintln!("{name}: {}", String::from_utf8_lossy(&said.as_bytes()[from..]));
        std::panic::resume_unwind(panic);
    }
    drop(front);
    ended(app);
}

#[test]
fn the_data_is_whole() {
    let cases = cases::cases();
    assert!(cases.len() >= 120, "{} cases", cases.len());
    let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), cases.len(), "two have the same name");
    for difference in cases::differences() {
        let why = &difference.why;
        assert!(!why.is_empty() && !difference.fronts.is_empty());
        for name in &difference.cases {
            assert!(names.contains(name), "{why}: no case {name:?}");
        }
    }
}

#[test]
fn http_direct() {
    let wrong: Vec<_> = expected()
        .iter()
        .filter_map(|(case, outcome)| {
            let problem = check(case, outcome).err()?;
            Some(format!("{}: {problem}", case.name))
        })
        .collect();
    assert!(wrong.is_empty(), "{} are wrong:\n    {}", wrong.len(), wrong.join("\n    "));
}

#[test]
fn http_streamed() {
    let app = App::start(Over::Tcp, &["worker_model=inline", "request_buffering=0"]);
    let address = app.address("http", "");
    all("http_streamed", Stripped, "", |prefix, case| {
        http(&address, if case.mounted { "" } else { prefix }, case)
    });
    ended(app);
}

macro_rules! fronts {
    ($($name:ident: $server:literal $port:literal $over:ident $mount:ident $always:literal;)*) => {$(
        #[test]
        fn $name() {
            through(stringify!($name), $server, $port, Over::$over, $mount, $always);
        }
    )*};
}

fronts! {
    nginx_http_tcp: "nginx" 8081 Tcp Stripped "";
    nginx_http_unix: "nginx" 8081 Unix Stripped "";
    nginx_uwsgi_tcp: "nginx" 8082 Tcp Told "";
    nginx_uwsgi_unix: "nginx" 8082 Unix Told "";
    nginx_fastcgi_keep_tcp: "nginx" 8083 Tcp Told "";
    nginx_fastcgi_keep_unix: "nginx" 8083 Unix Told "";
    nginx_fastcgi_tcp: "nginx" 8084 Tcp Told "";
    nginx_fastcgi_unix: "nginx" 8084 Unix Told "";
    nginx_scgi_tcp: "nginx" 8085 Tcp Told "";
    nginx_scgi_unix: "nginx" 8085 Unix Told "";
    apache_http_tcp: "apache" 8081 Tcp Stripped "";
    apache_http_unix: "apache" 8081 Unix Stripped "";
    apache_uwsgi_tcp: "apache" 8082 Tcp Told "";
    apache_uwsgi_unix: "apache" 8082 Unix Told "";
    apache_fastcgi_tcp: "apache" 8083 Tcp Told "";
    apache_fastcgi_unix: "apache" 8083 Unix Told "";
    apache_scgi_tcp: "apache" 8084 Tcp Told "";
    apache_scgi_unix: "apache" 8084 Unix Told "";
    apache_cgi: "apache" 8085 Tcp Told "";
    lighttpd_http_tcp: "lighttpd" 8081 Tcp Stripped "";
    lighttpd_http_unix: "lighttpd" 8081 Unix Stripped "";
    lighttpd_fastcgi_tcp: "lighttpd" 8082 Tcp Told "";
    lighttpd_fastcgi_unix: "lighttpd" 8082 Unix Told "";
    lighttpd_scgi_tcp: "lighttpd" 8083 Tcp Told "";
    lighttpd_scgi_unix: "lighttpd" 8083 Unix Told "";
    lighttpd_cgi: "lighttpd" 8084 Tcp Told "/mounted";
    haproxy_http_tcp: "haproxy" 8081 Tcp Stripped "";
    haproxy_http_unix: "haproxy" 8081 Unix Stripped "";
    haproxy_fastcgi_tcp: "haproxy" 8082 Tcp Told "";
    haproxy_fastcgi_unix: "haproxy" 8082 Unix Told "";
    haproxy_proxy_tcp: "haproxy" 8083 Tcp Stripped "";
    haproxy_proxy_unix: "haproxy" 8083 Unix Stripped "";
}

/// All requests to the application inside of nginx.
fn inside(name: &str, location: &str) {
    let nginx = Nginx::start(&format!(
        "keepalive_timeout 5s;
        server {{
            listen ${{IP}}:8087;
            gateway_module ${{SUITE}} {location}
            location / {{ }}
            location /mounted/ {{ gateway_module ${{SUITE}} {location} }}
        }}"
    ));
    let address = nginx.address(8087);
    all(name, Told, "", |prefix, case| http(&address, prefix, case));
    let idle = || Client::connect(&address).get("/counts").text().starts_with("open 0 later 0 ");
    until("nothing is under way", idle);
    nginx.stop_with(|_| true);
}

#[test]
fn nginx_module_loop() {
    inside("nginx_module_loop", ";");
}

#[test]
fn nginx_module_streamed() {
    inside("nginx_module_streamed", "; gateway_request_buffering off;");
}

#[test]
fn nginx_module_threads() {
    inside("nginx_module_threads", "blocks; gateway_threads 4;");
}

/// Requests as a web server hands them to a CGI program.
fn as_cgi(front: &str, command: impl Fn() -> Command) {
    all(front, Told, "", |prefix, case| {
        if case.leaves.is_some() {
            return Outcome::Left;
        }
        cgi(command(), prefix, case)
    });
}

#[test]
fn cgi_direct() {
    as_cgi("cgi_direct", || Command::new(program()));
}

#[test]
fn cgi_fcgi_tcp() {
    through_cgi_fcgi("cgi_fcgi_tcp", Over::Tcp);
}

#[test]
fn cgi_fcgi_unix() {
    through_cgi_fcgi("cgi_fcgi_unix", Over::Unix);
}

fn through_cgi_fcgi(name: &str, over: Over) {
    let app = App::start(over, &["worker_model=inline"]);
    let (tool, address) = (installed("cgi-fcgi"), app.address("fastcgi", ""));
    as_cgi(name, || {
        let mut command = Command::new(&tool);
        command.args(["-bind", "-connect", &address]);
        command
    });
    ended(app);
}

/// The client is who it is, whatever stands between, where the front is believed.
#[test]
fn every_front_that_can_tells_who_the_client_is() {
    let app = App::start(Over::Unix, &["worker_model=inline"]);
    for (server, ports) in [
        ("nginx", &[8082, 8083, 8084, 8085][..]),
        ("apache", &[8082, 8083, 8084]),
        ("haproxy", &[8083]),
    ] {
        let mut front = Front::start(server, &app, &[]);
        for &port in ports {
            let mut client = Client::connect(&front.address(port));
            let own = client.sender().local_addr().expect("the client's address");
            let told = client.get("/who").text();
            let line = format!("remote_port: \"{}\"", own.port());
            assert!(told.lines().any(|it| it == line), "{server} {port}: {line} in {told}");
            let line = format!("remote_addr: \"{}\"", own.ip());
            assert!(told.lines().any(|it| it == line), "{server} {port}: {line} in {told}");
        }
    }
    ended(app);
}

/// Two instances behind nginx are reloaded again and again, and no request fails.
#[test]
fn nginx_balances_over_two_that_are_reloaded() {
    const HABITS: [Habit; 6] = [
        Habit::Keeps("/load"),
        Habit::Keeps("/load"),
        Habit::Keeps("/load"),
        Habit::ComesAndGoes("/load"),
        Habit::ComesAndGoes("/load"),
        Habit::ComesAndGoes("/load"),
    ];
    let apps = [0, 1].map(|_| App::start(Over::Tcp, &["workers=2"]));
    let second = [("SECOND", apps[1].address("http", "unix:"))];
    let mut front = Front::start("nginx", &apps[0], &second);
    let address = front.address(8086);
    let load = Load::of(&address, &HABITS, |load| {
        // Whoever has answered has all that it catches signals with.
        until("both serve", || load.answered().len() == 4);
        for round in 0..6 {
            let server = &apps[round % 2].server;
            let before = server.workers();
            let answers = load.answers();
            server.signal(SIGHUP);
            until("there are other workers", || {
                let now = server.workers();
                now.len() == 2 && now.iter().all(|pid| !before.contains(pid))
            });
            until("requests go on", || load.answers() > answers + 200);
        }
        load.forget_who_answered();
        until("all four workers answer", || load.answered().len() == 4);
    });
    load.assert_no_failure();
    drop(front);
    for app in apps {
        app.server.stop();
    }
}
