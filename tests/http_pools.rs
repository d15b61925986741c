//! Pools: several groups of workers of one arbiter, each with its own number, listeners, application,
//! user and limits; what happens in one of them, and what all of them do together.
//!
//! `tests/c/pools.c` serves what it is told to.

mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use harness::again::lives;
use harness::client::{Client, Response};
use harness::life::unique;
use harness::load::Load;
use harness::{Ended, SIGKILL, SIGTERM, Server, Under, kill, program, under, until};

const SIGHUP: i32 = 1;
const SIGUSR1: i32 = 10;
const SIGUSR2: i32 = 12;
const SIGTTIN: i32 = 21;
const SIGTTOU: i32 = 22;

const MODELS: [&str; 3] = ["worker_model=fork", "worker_model=exec", "worker_model=threads"];

/// What the instance says: it has no application, and its pages are in all pools.
const INSTANCE: [&str; 3] = ["errorlog=-", "metrics_path=/metrics", "stats_path=/stats"];

const RED: [&str; 3] = ["pool=red", "app=red", "bind={}"];
const BLUE: [&str; 3] = ["pool=blue", "app=blue", "bind={ip}:8001"];

fn pools() -> PathBuf {
    program(&["tests/c/pools.c"])
}

/// Red and blue pools of so many workers, and what else these and the instance say.
fn start(also: &[&str], red: (usize, &[&str]), blue: (usize, &[&str])) -> Server {
    let numbers = [red.0, blue.0].map(|n| format!("workers={n}"));
    let red_words = [&RED[..], &[&numbers[0]], red.1].concat();
    let blue_words = [&BLUE[..], &[&numbers[1]], blue.1].concat();
    let words = [&INSTANCE[..], also, &red_words, &blue_words].concat();
    let server = Server::start(&pools(), &words);
    until_there_are(&server, red.0, blue.0);
    server
}

fn until_there_are(server: &Server, red: usize, blue: usize) {
    until("so many workers are ready", || {
        [workers_of(server, "red").len(), workers_of(server, "blue").len()] == [red, blue]
    });
}

fn launch(words: &[&str]) -> Ended {
    Server::launch(&pools(), words).end()
}

/// The address with another port.
fn at(server: &Server, port: u16) -> String {
    server.address().replace(":8000", &format!(":{port}"))
}

fn asked(address: &str, target: &str) -> Response {
    let mut client = Client::connect(address);
    client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    client.response("GET")
}

/// The name, the process, the user, and whether there are several.
fn answer(address: &str) -> Vec<String> {
    let response = asked(address, "/");
    assert_eq!(response.status, 200, "{response:?}");
    response.text().split_whitespace().map(str::to_owned).collect()
}

/// A page about the server.  Whoever has the connection may be the one that is killed.
fn page(server: &Server, target: &str) -> String {
    let mut text = None;
    until("a page", || {
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let response = Client::try_connect(server.address()).and_then(|mut client| {
            client.try_send(request);
            client.try_response("GET")
        });
        text = response.ok().filter(|it| it.status == 200).map(|it| it.text());
        text.is_some()
    });
    text.unwrap()
}

/// The processes of the workers of a pool that are ready, as the page with statistics has them.
fn workers_of(server: &Server, pool: &str) -> BTreeSet<i32> {
    let page = page(server, "/stats");
    let its = page.split("{\"id\":").filter(|it| it.contains(&format!("\"pool\":\"{pool}\"")));
    let serves = |it: &&str| ["idle", "busy"].iter().any(|how| it.contains(&format!("\"{how}\"")));
    let pid = |it: &str| it.split("\"pid\":").nth(1)?.split(',').next()?.parse().ok();
    its.filter(serves).map(|it| pid(it).expect("a process")).collect()
}

/// A number of the page for Prometheus.
fn sample(server: &Server, name: &str) -> u64 {
    let page = page(server, "/metrics");
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no {name}: {page}"))
}

/// Sends a request that is not answered; the connection stays.
fn send_to(address: &str, target: &str) -> Client {
    let mut client = Client::connect(address);
    client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
    client
}

fn is_root(test: &str) -> bool {
    let is_root = fs::metadata("/proc/self").expect("/proc").uid() == 0;
    if !is_root {
        eprintln!("NOT TESTED, SINCE THIS IS NOT ROOT: {test}");
    }
    is_root
}

#[test]
fn each_pool_has_its_own_application_address_number_and_limits() {
    for model in MODELS {
        let instance = ["app=own", "bind={ip}:8002", "workers=1", "max_body=1k", model];
        let red = [&RED[..], &["workers=1"]].concat();
        let blue = [&BLUE[..], &["workers=3", "max_body=10"]].concat();
        let words = [&INSTANCE[..], &instance, &red, &blue].concat();
        let server = Server::start(&pools(), &words);
        for (port, name, several, longest) in
            [(8000, "red", false, 1024), (8001, "blue", true, 10), (8002, "own", false, 1024)]
        {
            let address = at(&server, port);
            let (seen, is_process) = (answer(&address), model != MODELS[2]);
            let is_several = seen[3] == "several";
            assert_eq!((&*seen[0], is_several), (name, several && is_process), "{model}");
            for (length, status) in [(longest, 200), (longest + 1, 413)] {
                let response = Client::connect(&address).post("/", "x".repeat(length));
                assert_eq!(response.status, status, "{model} {name} {length}");
            }
        }
        if model != MODELS[2] {
            let numbers = || ["main", "red", "blue"].map(|pool| workers_of(&server, pool).len());
            until("all are ready", || numbers() == [1, 1, 3]);
            let all: BTreeSet<i32> =
                ["main", "red", "blue"].iter().flat_map(|pool| workers_of(&server, pool)).collect();
            assert_eq!(all, server.workers().into_iter().collect(), "{model}");
        }
        let said = server.stop().stderr;
        assert_eq!(said.matches("max_body = 10)").count(), 1, "{model}: {said}");
        assert_eq!(said.matches("max_body = 1k)").count(), 2, "{model}: {said}");
    }
}

#[test]
fn a_pool_has_its_own_user() {
    if !is_root("a_pool_has_its_own_user") {
        return;
    }
    let passwd = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let nobody = passwd.lines().find_map(|line| line.strip_prefix("nobody:x:"));
    let nobody = nobody.and_then(|rest| rest.split(':').next()).expect("the number of nobody");
    for model in &MODELS[..2] {
        let server = start(&[model], (1, &["user=nobody"]), (1, &[]));
        assert_eq!(answer(server.address())[2], nobody, "{model}");
        assert_eq!(answer(&at(&server, 8001))[2], "0", "{model}");
        server.stop();
    }
}

#[test]
fn a_worker_has_no_socket_of_another_pool() {
    for model in &MODELS[..2] {
        let server = start(&[model], (2, &[]), (2, &[]));
        let [a, b, c, d]: [u8; 4] = server
            .address()
            .split([':', '.'])
            .take(4)
            .map(|n| n.parse().unwrap())
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        let table = fs::read_to_string("/proc/net/tcp").expect("the sockets");
        let sockets = [8000, 8001].map(|port| {
            // As the kernel shows it, with what is listening (0A).
            let local = format!("{d:02X}{c:02X}{b:02X}{a:02X}:{port:04X}");
            let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let line = lines.find(|it| it[1] == local && it[3] == "0A");
            format!("socket:[{}]", line.expect("it listens")[9])
        });
        for (own, pool) in ["red", "blue"].iter().enumerate() {
            for pid in workers_of(&server, pool) {
                let fds = fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors");
                let links = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
                let there: Vec<_> = links
                    .map(|link| link.display().to_string())
                    .filter(|link| sockets.contains(link))
                    .collect();
                assert_eq!(there, [sockets[own].as_str()], "{model} {pool}");
            }
        }
        server.stop();
    }
}

#[test]
fn a_worker_that_dies_is_replaced_in_its_pool() {
    for model in &MODELS[..2] {
        let server = start(&[model, "hook=exits"], (2, &[]), (2, &[]));
        let (red, blue) = (workers_of(&server, "red"), workers_of(&server, "blue"));
        for victim in &red {
            kill(*victim, SIGKILL);
            until("there is another", || {
                let now = workers_of(&server, "red");
                now.len() == 2 && !now.contains(victim)
            });
        }
        assert!(workers_of(&server, "red").is_disjoint(&red), "{model}");
        assert_eq!(workers_of(&server, "blue"), blue, "{model}");
        for (pool, starts, ends) in [("red", 4, 2), ("blue", 2, 0)] {
            let labels = format!("{{pool=\"{pool}\"}}");
            assert_eq!(sample(&server, &format!("gateway_worker_starts_total{labels}")), starts);
            let labels = format!("{{pool=\"{pool}\",cause=\"own\"}}");
            assert_eq!(sample(&server, &format!("gateway_worker_exits_total{labels}")), ends);
        }
        let ended = server.stop();
        let said = ended.stderr;
        assert_eq!(said.matches(", pool red) was sent SIGKILL").count(), 2, "{said}");
        // The instance's hook hears of all.
        let [red, blue] = ["red", "blue"].map(|pool| format!("a worker of {pool} has ended\n"));
        let told = [red, blue].map(|line| ended.stdout.matches(&line).count());
        assert_eq!(told, [4, 2], "{}", ended.stdout);
    }
}

#[test]
fn a_hang_is_ended_where_the_pool_says_so() {
    let server = start(&[], (2, &["heartbeat_timeout=3s"]), (2, &["heartbeat_timeout=0"]));
    let (red, blue) = (workers_of(&server, "red"), workers_of(&server, "blue"));
    let in_blue = send_to(&at(&server, 8001), "/hang");
    let in_red = send_to(server.address(), "/hang");
    let ended = "gateway_worker_exits_total{pool=\"red\",cause=\"silent\"}";
    until("it is ended", || sample(&server, ended) == 1);
    until_there_are(&server, 2, 2);
    assert_eq!(workers_of(&server, "red").intersection(&red).count(), 1);
    assert_eq!(workers_of(&server, "blue"), blue);
    let in_flight = "gateway_requests_in_flight{pool=\"blue\"}";
    assert_eq!(sample(&server, in_flight), 1, "it hangs on");
    drop((in_red, in_blue));
    server.signal(3);
    let ended = server.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert_eq!(ended.stderr.matches("heartbeat_timeout").count(), 2, "{ended:?}");
    assert!(ended.stderr.contains(", pool red), its threads: one has been"), "{ended:?}");
}

#[test]
fn memory_is_limited_where_the_pool_says_so() {
    let server = start(&["heartbeat_timeout=0"], (2, &["memory_hard=100m"]), (2, &[]));
    let blue = workers_of(&server, "blue");
    let grown = asked(&at(&server, 8001), "/grow");
    assert_eq!(grown.status, 200);
    let _in_red = send_to(server.address(), "/grow");
    let ended = "gateway_worker_exits_total{pool=\"red\",cause=\"memory\"}";
    until("it is ended", || sample(&server, ended) == 1);
    until_there_are(&server, 2, 2);
    assert_eq!(workers_of(&server, "blue"), blue);
    assert!(sample(&server, "gateway_workers_resident_bytes{pool=\"blue\"}") > 128 << 20);
    server.stop();
}

#[test]
fn a_reload_changes_the_numbers_of_all_pools_and_loses_no_request() {
    for model in [MODELS[0], MODELS[2]] {
        let server = &mut start_arbiter(model, 1, 3);
        let (address, other) = (server.address().to_owned(), at(server, 8001));
        let ip = address.trim_end_matches(":8000").to_owned();
        let numbers = |server: &Server, red, blue| {
            let name = |pool| format!("gateway_workers{{pool=\"{pool}\",state=\"ready\"}}");
            until("so many workers", || {
                [sample(server, &name("red")), sample(server, &name("blue"))] == [red, blue]
            });
        };
        numbers(server, 1, 3);
        let before = sample(server, "gateway_requests_total{pool=\"blue\"}");
        let words = words_again(&ip, model, "workers=3", "workers=1");
        let more = format!("pool=green app=green bind={ip}:8003 workers=2");
        let both = Load::during(&other, |of_blue| {
            let of_red = Load::during(&address, |_| {
                server.stdin(&format!("reload {words} {more}\n"));
                until("the third pool is there", || TcpStream::connect(at(server, 8003)).is_ok());
                numbers(server, 3, 1);
                let enough = of_blue.answers() + 50;
                until("some requests", || of_blue.answers() > enough);
            });
            of_red.assert_no_failure();
        });
        both.assert_no_failure();
        assert_eq!(answer(&at(server, 8003))[0], "green", "{model}");
        assert!(sample(server, "gateway_requests_total{pool=\"blue\"}") > before + 50);
        let reloaded = |n| {
            move |server: &Server| {
                until("it is done", || sample(server, "gateway_reloads_total{result=\"ok\"}") == n);
            }
        };
        reloaded(1)(server);
        // And without the third one, which closes its address.
        server.stdin(&format!("reload {words}\n"));
        reloaded(2)(server);
        until("nobody listens there", || TcpStream::connect(at(server, 8003)).is_err());
        numbers(server, 3, 1);
        let labels = "{pool=\"green\",state=\"ready\"}";
        until("nobody is left", || sample(server, &format!("gateway_workers{labels}")) == 0);
        let kept = sample(server, "gateway_requests_total{pool=\"green\"}");
        assert!(kept > 0, "what was counted is not lost: {kept}");
        server.stdin("end\n");
        until("it has ended", || !lives(server.pid()));
    }
}

/// With the same words again.
fn words_again(ip: &str, model: &str, red: &str, blue: &str) -> String {
    let words = [&INSTANCE[..], &[model], &RED, &[red], &BLUE, &[blue]].concat().join(" ");
    words.replace("{}", &format!("{ip}:8000")).replace("{ip}", ip)
}

fn start_arbiter(model: &str, red: usize, blue: usize) -> Server {
    let numbers = [red, blue].map(|n| format!("workers={n}"));
    let red = [&RED[..], &[&numbers[0]]].concat();
    let blue = [&BLUE[..], &[&numbers[1]]].concat();
    let words = [&["arbiter", model, "signals=1"], &INSTANCE[..], &red, &blue].concat();
    let server = Server::start(&pools(), &words);
    answer(server.address());
    server
}

#[test]
fn a_reload_that_fails_leaves_all_pools_as_they_were() {
    let mut server = start_arbiter(MODELS[0], 2, 2);
    until_there_are(&server, 2, 2);
    let ip = server.address().trim_end_matches(":8000").to_owned();
    let words = words_again(&ip, MODELS[0], "workers=3", "workers=1");
    let new = words.replace("app=red", "app=crimson").replace("app=blue", "app=navy");
    let other = at(&server, 8001);
    let load = Load::during(&other, |_| {
        // The last one cannot boot, when the others have.
        let bad = format!("{new} pool=green app=green bind={ip}:8003 workers=1 init=fails");
        server.stdin(&format!("reload {bad}\n"));
        until("it has failed", || sample(&server, "gateway_reloads_total{result=\"failed\"}") == 1);
    });
    load.assert_no_failure();
    until_there_are(&server, 2, 2);
    // Those that were to come have gone.
    until("there are four", || server.workers().len() == 4);
    for _ in 0..20 {
        let names = [answer(server.address()), answer(&other)];
        assert_eq!(names.map(|it| it[0].clone()), ["red", "blue"]);
    }
    assert!(TcpStream::connect(at(&server, 8003)).is_err());
    // What cannot even begin is refused at once.
    server.stdin(&format!("reload {words} pidfile=/nowhere/x\n"));
    server.stdin("end\n");
    let ended = server.end();
    let answers: Vec<_> = ended.stdout.lines().filter(|it| it.starts_with("reload")).collect();
    assert_eq!(answers, ["reload: GW_OK", "reload: GW_ERR_INVALID"]);
    let failed = "pool green) exited with code 3";
    assert!(ended.stderr.contains(failed), "{ended:?}");
    assert!(ended.stderr.contains("Reload failed: what was there serves on"), "{ended:?}");
}

#[test]
fn a_pool_that_does_not_boot_fails_the_start() {
    for model in MODELS {
        let bad = [&BLUE[..], &["workers=1", "init=fails"]].concat();
        let words = [&["errorlog=-", model], &RED[..], &["workers=2"], &bad].concat();
        let ended = launch(&words);
        assert_eq!(ended.status, Some(3), "{model}: {ended:?}");
        let said = "GW_ERR_APP: pool blue: Worker failed to boot.\n";
        assert!(ended.stdout.ends_with(said), "{model}: {ended:?}");
        assert!(ended.stdout.contains("a worker of blue is refused\n"), "{model}: {ended:?}");
    }
}

#[test]
fn one_pool_is_scaled_and_signals_are_for_the_first() {
    let mut server = start_arbiter(MODELS[0], 1, 2);
    until_there_are(&server, 1, 2);
    server.stdin("scale blue 3\n");
    until_there_are(&server, 1, 3);
    for (signal, red) in [(SIGTTIN, 2), (SIGTTIN, 3), (SIGTTOU, 2)] {
        server.signal(signal);
        until_there_are(&server, red, 3);
    }
    server.stdin("scale blue 1\n");
    until_there_are(&server, 2, 1);
    let before = workers_of(&server, "red");
    server.signal(SIGHUP);
    until("all are new", || {
        sample(&server, "gateway_reloads_total{result=\"ok\"}") == 1
            && workers_of(&server, "red").is_disjoint(&before)
    });
    until_there_are(&server, 2, 1);
    server.stdin("scale green 1\n");
    server.stdin("scale red 0\n");
    server.stdin("end\n");
    let said = server.end().stdout;
    let answers = "scale blue: GW_OK\nscale blue: GW_OK\n\
                   scale green: GW_ERR_NOT_FOUND\nscale red: GW_ERR_INVALID\n";
    assert_eq!(said, answers);
}

#[test]
fn an_upgrade_takes_the_sockets_of_all_pools() {
    let path = unique("pools-ready");
    let nth = |n: usize| {
        let mut pid = None;
        until("an arbiter is ready", || {
            let text = fs::read_to_string(&path).unwrap_or_default();
            pid = text.lines().nth(n).and_then(|line| line.parse::<i32>().ok());
            pid.is_some()
        });
        pid.unwrap()
    };
    let unix = unique("pools-unix");
    let also = format!("bind=unix:{unix}");
    let server = start(&[&format!("ready={path}")], (2, &[]), (1, &[&also]));
    let old = nth(0);
    assert_eq!(old, server.pid());
    let (address, other) = (server.address().to_owned(), at(&server, 8001));
    let before = [workers_of(&server, "red"), workers_of(&server, "blue")];
    let mut new = 0;
    let blue = Load::during(&other, |_| {
        let red = Load::during(&address, |_| {
            kill(old, SIGUSR2);
            new = nth(1);
            server.signal(SIGTERM);
            until("the old one has ended", || !lives(old));
        });
        red.assert_no_failure();
    });
    blue.assert_no_failure();
    until_there_are(&server, 2, 1);
    assert!(workers_of(&server, "red").is_disjoint(&before[0]));
    assert!(workers_of(&server, "blue").is_disjoint(&before[1]));
    assert_eq!([answer(&address)[0].as_str(), &answer(&other)[0]], ["red", "blue"]);
    assert!(harness::life::ask_unix(&unix).contains("\r\n\r\nblue "));
    kill(new, SIGTERM);
    let ended = server.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(!fs::exists(&unix).unwrap(), "its file goes with the last one");
    let _ = fs::remove_file(path);
}

#[test]
fn logs_are_a_pools_own_and_opened_again() {
    let [red, blue] = ["red", "blue"].map(|name| unique(&format!("pools-{name}-log")));
    let (to_red, to_blue) = (format!("accesslog={red}"), format!("accesslog={blue}"));
    let server = start(&[], (1, &[&to_red]), (1, &[&to_blue]));
    let lines = |path: &str, of: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().filter(|line| line.contains(of)).count()
    };
    asked(server.address(), "/?first");
    asked(&at(&server, 8001), "/?second");
    until("both are there", || lines(&red, "?first") == 1 && lines(&blue, "?second") == 1);
    assert_eq!(lines(&red, "?second") + lines(&blue, "?first"), 0);
    let moved = [&red, &blue].map(|path| format!("{path}.1"));
    fs::rename(&red, &moved[0]).unwrap();
    fs::rename(&blue, &moved[1]).unwrap();
    server.signal(SIGUSR1);
    until("the files are there again", || {
        asked(server.address(), "/?third");
        asked(&at(&server, 8001), "/?fourth");
        lines(&red, "?third") > 0 && lines(&blue, "?fourth") > 0
    });
    server.stop();
    for path in [&red, &blue, &moved[0], &moved[1]] {
        let _ = fs::remove_file(path);
    }
}

#[test]
fn numbers_never_go_backwards_and_are_a_pools_own() {
    let server = start(&[], (1, &["max_requests=20"]), (2, &[]));
    let of = |pool: &str| {
        ["requests", "connections_accepted"]
            .map(|name| sample(&server, &format!("gateway_{name}_total{{pool=\"{pool}\"}}")))
    };
    let first = of("blue");
    let mut before = of("red");
    for _ in 0..60 {
        answer(server.address());
        let now = of("red");
        assert!(now[0] > before[0] && now[1] > before[1], "{before:?} {now:?}");
        before = now;
    }
    assert_eq!(of("blue"), first, "nobody asked there");
    let phases = "gateway_request_phase_seconds_count{pool=\"red\",phase=\"app\"}";
    assert_eq!(sample(&server, phases), 60);
    let ended = "gateway_worker_exits_total{pool=\"red\",cause=\"own\"}";
    assert!(sample(&server, ended) > 0, "workers came and went");
    server.stop();
}

#[test]
fn workers_with_sockets_of_their_own_share_none_with_another_pool() {
    let server = start(&[], (2, &[]), (3, &["accept_mode=reuseport"]));
    let address = at(&server, 8001);
    let all = workers_of(&server, "blue");
    let mut seen = BTreeSet::new();
    until("each of them has had a request", || {
        seen.insert(answer(&address)[1].parse().unwrap());
        seen == all
    });
    // Whoever comes after one that has died has its socket.
    let victim = *all.first().unwrap();
    kill(victim, SIGKILL);
    let mut all = BTreeSet::new();
    until("there is another", || {
        all = workers_of(&server, "blue");
        all.len() == 3 && !all.contains(&victim)
    });
    seen.clear();
    until("each of them has had a request", || {
        seen.insert(answer(&address)[1].parse().unwrap());
        seen == all
    });
    server.stop();
}

/// What gw_config_check says.
fn problems(words: &[&str]) -> Vec<String> {
    let ended = launch(&[&["check"], words].concat());
    assert_eq!(ended.status, Some(0), "{ended:?}");
    ended.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn every_problem_names_its_pool() {
    let fine = [&RED[..], &BLUE[..]].concat();
    assert_eq!(problems(&fine), ["GW_OK"]);
    let instance = ["app=own", "bind={}", "health_path=x"];
    let bad = [
        &[
            "pool=blue",
            "app=blue",
            "bind={}",
            "pidfile=/x",
            "systemd=auto",
            "hook=exits",
            "inner=z",
        ],
        &["pool=green", "workers=1024", "limit_request_line=1m", "health_path=y", "init=fails"][..],
        &["pool=none", "bind={ip}:8005"],
    ]
    .concat();
    let ip = "127.9.9.9";
    let words = [&instance[..], &bad].concat();
    let words: Vec<_> =
        words.iter().map(|word| word.replace("{}", "127.9.9.9:8000").replace("{ip}", ip)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let found = problems(&words);
    let cpus = found.iter().find(|it| it.contains("in all pools")).expect("too many workers");
    assert!(cpus.ends_with(" in all pools: an arbiter has at most 1024"), "{cpus}");
    let known = [
        "health_path = x: a path begins with /",
        "pool blue: bind: 127.9.9.9:8000: pool main listens there",
        "pool blue: pidfile: an option of the whole process; set it for the instance",
        "pool blue: systemd: an option of the whole process; set it for the instance",
        "pool blue: it has pools: a pool has none of its own",
        "pool blue: child_exit: a hook of the arbiter; set it for the instance",
        "pool green: limit_request_line = 1048576: more than the whole head may have \
         (limit_request_head = 65536)",
        "pool green: health_path = y: a path begins with /",
        "pool green: there is nothing to listen on: set bind, or add a listener",
        "pool none: there is no application: gw_config_app comes first, or a hook that sees to the \
         requests being taken: worker_init, which may start threads, or worker_run",
    ];
    let others: Vec<_> = found.iter().filter(|it| *it != cpus).collect();
    let (verdict, others) = others.split_last().expect("a verdict");
    assert_eq!(*verdict, "GW_ERR_INVALID");
    let others: Vec<_> = others.iter().map(|it| it.strip_prefix("GW_ERR_INVALID: ")).collect();
    assert_eq!(others, known.map(Some), "{found:?}");
}

#[test]
fn what_pools_cannot_be_is_refused() {
    let one = |words: &[&str]| {
        let found = problems(words);
        assert_eq!(found.len(), 2, "{found:?}");
        found[0].strip_prefix("GW_ERR_INVALID: ").expect("a problem").to_owned()
    };
    let fine = [&RED[..], &BLUE[..]].concat();
    assert_eq!(
        one(&[&["worker_model=inline"], &fine[..]].concat()),
        "worker_model = inline has no workers, and so no pools"
    );
    let silent = one(&[&["bind={ip}:8009"], &fine[..]].concat());
    assert!(silent.contains("there is no application to serve it"), "{silent}");
    let threads = one(&[&["worker_model=threads"], &fine[..], &["user=nobody"]].concat());
    assert!(threads.starts_with("pool blue: user: workers that are threads"), "{threads}");

    let refused = |words: &[&str]| {
        let ended = launch(words);
        assert_eq!(ended.status, Some(1), "{ended:?}");
        ended.stdout
    };
    let said = refused(&["pool=main", "app=x"]);
    assert!(said.contains("pool main: the instance's own application is called that"), "{said}");
    let said = refused(&["pool=a b", "app=x"]);
    assert!(said.contains("pool 'a b': a name has 1 to 32 letters"), "{said}");
    let said = refused(&["pool=a", "app=x", "pool=a"]);
    assert!(said.contains("pool a: there is one already"), "{said}");
    let said = refused(&[&["server"], &fine[..]].concat());
    assert!(said.starts_with("GW_ERR_UNSUPPORTED: pools are an arbiter's"), "{said}");
    let said = refused(&[&["worker_model=inline"], &fine[..]].concat());
    assert!(said.contains("worker_model = inline has no workers"), "{said}");
}

#[test]
fn prometheus_own_tool_accepts_the_page() {
    if under() != Under::Nothing {
        return;
    }
    let server = start(&[], (1, &[]), (2, &[]));
    answer(&at(&server, 8001));
    let page = page(&server, "/metrics");
    let file = unique("pools-page");
    fs::write(&file, page).unwrap();
    let tool = harness::fronts::installed("promtool");
    let mut command = std::process::Command::new(tool);
    let command = command.args(["check", "metrics"]).stdin(fs::File::open(&file).unwrap());
    let output = command.output().expect("run promtool");
    assert!(output.status.success(), "{output:?}");
    let _ = fs::remove_file(file);
    server.stop();
}
