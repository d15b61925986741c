//! `examples/apps`: three applications behind nginx, by HTTP and by the uwsgi protocol.

#[path = "../../tests/harness/mod.rs"]
mod harness;

mod command;

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use command::{gateway, module};
use harness::client::Client;
use harness::fronts::{Dir, installed};
use harness::load::{Habit, Load};
use harness::{PATIENCE, SIGTERM, Server, kill, support, until};

const SIGHUP: i32 = 1;

/// nginx with `examples/fronts/nginx.conf`.
struct Nginx {
    child: Child,
    dir: Dir,
}

impl Nginx {
    fn start(ip: &str) -> Nginx {
        let dir = Dir::new();
        let run = dir.path().display().to_string();
        let mut text =
            fs::read_to_string(support::root().join("examples/fronts/nginx.conf")).unwrap();
        let (http, uwsgi) = (format!("{ip}:8000"), format!("{ip}:8001"));
        for (key, value) in [
            ("RUN", &*run),
            ("IP", ip),
            ("HTTP", &http),
            ("UWSGI", &uwsgi),
            // Not asked.
            ("FASTCGI", "127.0.0.1:9"),
            ("SCGI", "127.0.0.1:9"),
            ("SECOND", &http),
        ] {
            text = text.replace(&format!("${{{key}}}"), value);
        }
        let config = dir.path().join("nginx.conf");
        fs::write(&config, text).unwrap();
        let said = File::create(dir.path().join("said")).unwrap();
        let child = Command::new(installed("nginx"))
            .args(["-p", &run, "-e", &format!("{run}/nginx.log"), "-g", "daemon off;", "-c"])
            .arg(&config)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn()
            .unwrap();
        let mut nginx = Nginx { child, dir };
        let since = Instant::now();
        while TcpStream::connect(format!("{ip}:8081")).is_err() {
            let ended = nginx.child.try_wait().unwrap();
            assert!(ended.is_none() && since.elapsed() < PATIENCE, "{}", nginx.said());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        nginx
    }

    fn said(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        read("said") + &read("nginx.log")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        kill(i32::try_from(self.child.id()).unwrap(), SIGTERM);
        let _ = self.child.wait();
    }
}

/// One request by this server of nginx; the body.
fn get(ip: &str, port: u16, target: &str) -> String {
    let mut client = Client::connect(&format!("{ip}:{port}"));
    client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    let response = client.response("GET");
    assert_eq!(response.status, 200, "{target}: {response:?}");
    response.text()
}

/// The same without the process.
fn place(ip: &str, port: u16, target: &str) -> String {
    let text = get(ip, port, target);
    let (before, rest) = text.split_once("SCRIPT_NAME ").unwrap_or_else(|| panic!("{text}"));
    assert!(before.starts_with("where "), "{text}");
    rest.trim_end().to_owned()
}

#[test]
fn three_applications_behind_two_protocols() {
    let dir = Dir::new();
    for (source, name) in [
        ("examples/module.c", "greeter.so"),
        ("examples/apps/where.c", "where.so"),
        ("examples/apps/count.c", "count.so"),
    ] {
        module(source, &dir.path().join(name));
    }
    let text = fs::read_to_string(support::root().join("examples/apps/apps.toml")).unwrap();
    let file = dir.path().join("apps.toml");
    // The address is known when it is started.
    let script = format!(
        "sed s/127.0.0.1:8/{{ip}}:8/ {0} >{0}.new && mv {0}.new {0} && exec {1} run {0}",
        file.display(),
        gateway().display()
    );
    fs::write(&file, &text).unwrap();
    let server = Server::launch(Path::new("/bin/sh"), &["-c", &script]).listening();
    let ip = server.address().split(':').next().unwrap().to_owned();
    let ip = ip.as_str();
    let text = fs::read_to_string(&file).unwrap();
    let nginx = Nginx::start(ip);

    for port in [8081, 8082] {
        assert!(get(ip, port, "/").starts_with("welcome from "), "{port}");
        assert!(get(ip, port, "/whereabouts").starts_with("welcome from "), "{port}");
        assert_eq!(get(ip, port, "/count?3"), "1\n2\n3\n", "{port}");
        let all = [
            ("/where?q", "\"/where\" PATH_INFO \"\" QUERY_STRING q"),
            ("/where/it/is?q", "\"/where\" PATH_INFO \"/it/is\" QUERY_STRING q"),
            ("/where/%69t%2Fis?q", "\"/where\" PATH_INFO \"/it/is\" QUERY_STRING q"),
        ];
        for (target, expected) in all {
            assert_eq!(place(ip, port, target), expected, "{port} {target}");
        }
    }
    // A prefix of nginx's own: HTTP does not tell of it.
    let below = "/mounted/where/x?q";
    assert_eq!(place(ip, 8081, below), "\"/where\" PATH_INFO \"/x\" QUERY_STRING q");
    assert_eq!(place(ip, 8082, below), "\"/mounted/where\" PATH_INFO \"/x\" QUERY_STRING q");

    // Both go on while the file is read again and again.
    const HABITS: [Habit; 4] = [
        Habit::Keeps("/where"),
        Habit::Keeps("/where/x"),
        Habit::ComesAndGoes("/where"),
        Habit::ComesAndGoes("/where/x"),
    ];
    let uwsgi = format!("{ip}:8082");
    let by_uwsgi = Load::of(&uwsgi, &HABITS, |by_uwsgi| {
        let by_http = Load::of(&format!("{ip}:8081"), &HABITS, |by_http| {
            for n in 0..3 {
                let greeting = format!("release-{n}");
                fs::write(&file, text.replace("welcome", &greeting)).unwrap();
                let answers = [by_http.answers(), by_uwsgi.answers()];
                server.signal(SIGHUP);
                until("both protocols are reloaded", || {
                    (0..10).all(|_| {
                        [8081, 8082].iter().all(|port| get(ip, *port, "/").starts_with(&greeting))
                    })
                });
                until("requests go on", || {
                    by_http.answers() > answers[0] + 50 && by_uwsgi.answers() > answers[1] + 50
                });
            }
        });
        by_http.assert_no_failure();
    });
    by_uwsgi.assert_no_failure();
    drop(nginx);
    let ended = server.stop();
    assert!(!ended.stderr.contains("not reloaded"), "{ended:?}");
}
