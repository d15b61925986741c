//! What a server shows of itself: the pages for Prometheus and with statistics, the access log as JSON,
//! the log of slow requests, the trace that a request belongs to.

mod harness;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use harness::client::{Client, Response};
use harness::fronts::installed;
use harness::load::{Load, connect};
use harness::{SIGKILL, Server, kill, program, support, until};

/// What a worker is, where there is an arbiter.
const MODELS: [&str; 3] = ["worker_model=fork", "worker_model=exec", "worker_model=threads"];

const SIGHUP: i32 = 1;

const PAGES: [&str; 2] = ["metrics_path=/metrics", "stats_path=/stats"];

fn master(options: &[&str]) -> Server {
    let options = [&["{}", "signals=1", "errorlog=-"], options].concat();
    let server = Server::start(&program(&["tests/c/master.c"]), &options);
    server.get("/");
    server
}

/// The numbers of a page, once Prometheus' own tool has found nothing wrong with it.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let mut tool = Command::new(installed("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start promtool");
    let mut stdin = tool.stdin.take().expect("its input");
    stdin.write_all(page.as_bytes()).expect("give it the page");
    drop(stdin);
    let output = tool.wait_with_output().expect("wait for promtool");
    assert!(output.status.success(), "{output:?}\n{page}");
    parsed(page)
}

fn parsed(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        (name.to_owned(), value.parse().expect("a number"))
    };
    lines.map(sample).collect()
}

/// What Python's reader makes of JSON, one value a line: the expression `it` of each.
fn read_json(text: &str, expression: &str) -> Vec<String> {
    let program = format!(
        "import json, sys\ndef no(name): raise ValueError(name)\n\
         for line in sys.stdin.buffer:\n    \
         it = json.loads(line.decode('utf-8'), parse_constant=no)\n    print({expression})"
    );
    let mut python = Command::new("python3")
        .args(["-c", &program])
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start python3");
    let mut stdin = python.stdin.take().expect("its input");
    stdin.write_all(text.as_bytes()).expect("give it the text");
    drop(stdin);
    let output = python.wait_with_output().expect("wait for python3");
    assert!(output.status.success(), "not JSON: {text}");
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

fn ask(client: &mut Client, method: &str, target: &str) -> Response {
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
    client.response(method)
}

fn scratch(name: &str) -> PathBuf {
    let path = support::scratch_dir().join(format!("metrics-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

#[test]
fn the_worker_answers_and_not_the_application() {
    let server = Server::app(&PAGES);
    let mut client = server.connect();
    assert_eq!(ask(&mut client, "GET", "/").status, 200);
    let page = ask(&mut client, "GET", "/metrics");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(page.header("Cache-Control"), Some("no-store"));
    let page = samples(&page.text());
    assert_eq!(page["gateway_requests_total"], 2.0);
    assert_eq!(page["gateway_connections"], 1.0);
    assert_eq!(page["gateway_requests_in_flight"], 1.0, "this one");
    assert_eq!(page["gateway_responses_total{class=\"2xx\"}"], 1.0);
    // The page itself never came to the application.
    assert_eq!(page["gateway_request_phase_seconds_count{phase=\"app\"}"], 1.0);
    assert!(!page.contains_key("gateway_worker_starts_total"), "there is no arbiter");

    let head = ask(&mut client, "HEAD", "/metrics");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(head.header("Content-Length").is_some());
    for page in ["/metrics", "/stats"] {
        assert_eq!(ask(&mut client, "DELETE", page).status, 405);
    }
    assert_eq!(ask(&mut client, "GET", "/metrics/").status, 404, "the application's");
    assert_eq!(ask(&mut client, "GET", "/metrics?x=1").status, 200);
    let stats = ask(&mut client, "GET", "/stats");
    assert_eq!(stats.header("Content-Type"), Some("application/json"));
    let worker = "(it['pid'], [(w['id'], w['pid'], w['status'], len(w['cores']), w['accepting'], \
                  w['requests'], w['cores'][0]['vars'][:2]) for w in it['workers']])";
    let pid = server.pid();
    let expected = format!(
        "({pid}, [(1, {pid}, 'busy', 1, 1, 8, ['REQUEST_METHOD=GET', 'REQUEST_URI=/stats'])])"
    );
    assert_eq!(read_json(&stats.text(), worker), [expected]);
    drop(client);
    server.stop();
}

#[test]
fn what_is_refused_and_what_fails_is_counted() {
    let server = Server::app(&["metrics_path=/metrics", "limit_request_line=100"]);
    let long = format!("/{}", "x".repeat(200));
    assert_eq!(ask(&mut server.connect(), "GET", &long).status, 414);
    assert_eq!(ask(&mut server.connect(), "GET", "/fail").status, 500);
    assert_eq!(ask(&mut server.connect(), "GET", "/nothing").status, 404);
    let mut client = server.connect();
    assert_eq!(client.post("/echo", b"12345").status, 200);
    let mut waits = server.connect();
    let expects = "Host: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    waits.send(format!("POST /echo HTTP/1.1\r\n{expects}"));
    assert_eq!(waits.response("POST").status, 100);
    waits.send("body");
    assert_eq!(waits.response("POST").status, 200);
    assert_eq!(ask(&mut waits, "GET", "/early").status, 103);
    assert_eq!(waits.response("GET").status, 200);
    let page = samples(&server.get("/metrics"));
    for (name, value) in [
        ("gateway_limits_hit_total{limit=\"limit_request_line\"}", 1.0),
        ("gateway_requests_rejected_total", 1.0),
        ("gateway_responses_total{class=\"1xx\"}", 2.0),
        ("gateway_responses_total{class=\"2xx\"}", 3.0),
        ("gateway_responses_total{class=\"4xx\"}", 2.0),
        ("gateway_responses_total{class=\"5xx\"}", 1.0),
        ("gateway_application_errors_total", 1.0),
        ("gateway_request_body_bytes_total", 9.0),
    ] {
        assert_eq!(page[name], value, "{name}");
    }
    assert!(page["gateway_response_body_bytes_total"] >= 5.0);
    drop(client);
    server.stop();
}

#[test]
fn a_listener_may_be_there_for_nothing_else() {
    let own = "bind={ip}:9090?metrics_path=/metrics&stats_path=/&stats_only=1";
    let server = Server::app(&[own]);
    // A request that is answered: all listeners are there.
    assert_eq!(
        ask(&mut server.connect(), "GET", "/metrics").status,
        404,
        "the other knows nothing"
    );
    assert!(!server.get("/").is_empty(), "which has the application");
    let address = server.address().replace(":8000", ":9090");
    let mut client = Client::connect(&address);
    let page = samples(&ask(&mut client, "GET", "/metrics").text());
    // Measured since there is a page somewhere.
    assert_eq!(page["gateway_request_phase_seconds_count{phase=\"app\"}"], 2.0);
    read_json(&ask(&mut client, "GET", "/").text(), "it['version']");
    assert_eq!(ask(&mut client, "GET", "/query").status, 404, "not the application's");
    drop(client);
    server.stop();
}

#[test]
fn nothing_is_measured_unless_that_is_asked_for() {
    let server = Server::app(&["metrics_path=/metrics", "timings=0"]);
    server.get("/");
    let page = server.get("/metrics");
    assert!(!page.contains("phase"), "{page}");
    assert_eq!(samples(&page)["gateway_requests_total"], 2.0);
    server.stop();
}

#[test]
fn connections_that_wait_to_be_accepted_are_seen() {
    let server = Server::app(&["worker_connections=1", "backlog=7", PAGES[0], PAGES[1]]);
    let mut client = server.connect();
    assert_eq!(ask(&mut client, "GET", "/").status, 200);
    let waiting = [server.connect(), server.connect()];
    let name = |name: &str| format!("{name}{{listener=\"{}\"}}", server.address());
    let mut page = BTreeMap::new();
    // The last step of a connection is the system's, and nobody waits for it.
    until("both wait", || {
        page = samples(&ask(&mut client, "GET", "/metrics").text());
        page[&name("gateway_listen_queue_connections")] == 2.0
    });
    assert_eq!(page[&name("gateway_listen_queue_limit_connections")], 7.0);
    let stats = ask(&mut client, "GET", "/stats").text();
    let socket = "(it['listen_queue'], [(s['queue'], s['max_queue']) for s in it['sockets']])";
    assert_eq!(read_json(&stats, socket), ["(2, [(2, 7)])"]);
    drop((client, waiting));
    server.stop();
}

#[test]
fn time_in_the_queue_and_in_the_application_is_told_apart() {
    let server = master(&["worker_model=fork", "workers=1", "threads=1", PAGES[0]]);
    let name = "gateway_request_phase_seconds";
    let longer = |page: &BTreeMap<String, f64>, phase: &str| {
        let shorter = format!("{name}_bucket{{phase=\"{phase}\",le=\"0.01\"}}");
        page[&format!("{name}_count{{phase=\"{phase}\"}}")] - page[&shorter]
    };
    // One after the other, 20 ms each, for whoever was quick enough to come meanwhile.
    until("one has waited", || {
        let mut clients = [server.connect(), server.connect(), server.connect()];
        for client in &mut clients {
            client.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        clients.iter_mut().for_each(|it| assert_eq!(it.response("GET").status, 200));
        longer(&parsed(&server.get("/metrics")), "queue") >= 1.0
    });
    let page = samples(&server.get("/metrics"));
    assert!(longer(&page, "app") >= 3.0);
    let sum = |phase: &str| page[&format!("{name}_sum{{phase=\"{phase}\"}}")];
    assert!(sum("app") >= 0.06 && sum("queue") >= 0.01);
    server.stop();
}

#[test]
fn nothing_goes_backwards_while_workers_are_killed() {
    for model in ["worker_model=fork", "worker_model=exec"] {
        let options = [&[model, "workers=2"][..], &PAGES].concat();
        let server = master(&options);
        let mut before: BTreeMap<String, f64> = BTreeMap::new();
        let mut kills = 0;
        let load = Load::during(server.address(), |_| {
            while kills < 6 {
                until("a page", || {
                    let Ok(mut client) = Client::try_connect(server.address()) else {
                        return false;
                    };
                    if !client.try_send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") {
                        return false;
                    }
                    let Ok(response) = client.try_response("GET") else { return false };
                    assert_eq!(response.status, 200);
                    let now = samples(&response.text());
                    for (name, value) in &before {
                        let grows = ["_total", "_bucket", "_sum", "_count"];
                        let bare = name.split('{').next().unwrap_or_default();
                        if grows.iter().any(|end| bare.ends_with(end)) {
                            assert!(now[name] >= *value, "{model}: {name}: {value} {}", now[name]);
                        }
                    }
                    before = now;
                    true
                });
                // Another one only when it is known that the last one is gone.
                if before["gateway_worker_exits_total{cause=\"own\"}"] >= f64::from(kills)
                    && before["gateway_workers{state=\"ready\"}"] == 2.0
                    && let Some(worker) = server.workers().first()
                {
                    kill(*worker, SIGKILL);
                    kills += 1;
                }
            }
            until("all of them are buried and replaced", || {
                let page = parsed(&page_of(&server));
                page["gateway_worker_exits_total{cause=\"own\"}"] == 6.0
                    && page["gateway_worker_starts_total"] == 8.0
                    && page["gateway_workers{state=\"ready\"}"] == 2.0
            });
        });
        assert!(load.answers() > 0);
        let page = samples(&page_of(&server));
        assert!(page["gateway_requests_total"] >= load.answers() as f64, "{model}");
        let spawned = "sum(w['respawn_count'] for w in it['workers'])";
        assert_eq!(read_json(&server.get("/stats"), spawned), ["8"], "{model}");
        server.stop();
    }
}

/// By a worker that lives.
fn page_of(server: &Server) -> String {
    let mut page = None;
    until("a page", || {
        let Ok(mut client) = Client::try_connect(server.address()) else { return false };
        let sent = client.try_send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        page = client.try_response("GET").ok().filter(|it| sent && it.status == 200);
        page.is_some()
    });
    page.map(|it| it.text()).unwrap_or_default()
}

#[test]
fn every_worker_tells_of_all() {
    for model in MODELS {
        let server = master(&[&[model, "workers=3"][..], &PAGES].concat());
        until("all are ready", || {
            parsed(&server.get("/metrics"))["gateway_workers{state=\"ready\"}"] == 3.0
        });
        server.signal(SIGHUP);
        until("it has reloaded", || {
            parsed(&server.get("/metrics"))["gateway_reloads_total{result=\"ok\"}"] == 1.0
        });
        let page = samples(&server.get("/metrics"));
        assert_eq!(page["gateway_worker_starts_total"], 6.0, "{model}");
        until("the old ones are buried", || {
            parsed(&server.get("/metrics"))["gateway_worker_exits_total{cause=\"told\"}"] == 3.0
        });
        let what = "(it['pid'], sorted(set(w['generation'] for w in it['workers'] if w['status'] != 'cheap')), it['reloads'])";
        let expected = format!("({}, [1], 1)", server.pid());
        assert_eq!(read_json(&server.get("/stats"), what), [expected], "{model}");
        server.stop();
    }
}

#[test]
fn a_request_that_hangs_is_seen_and_so_is_who_has_it() {
    let server =
        master(&[&["worker_model=fork", "workers=2", "heartbeat_timeout=0"], &PAGES[..]].concat());
    let mut stuck = server.connect();
    stuck.send("GET /hang?secret HTTP/1.1\r\nHost: x\r\n\r\n");
    let hangs = "[(w['pid'], c['phase'], c['vars'][1]) for w in it['workers'] for c in w['cores'] \
                 if '/hang' in c['vars'][1]]";
    let mut seen = String::new();
    until("it is in the application", || {
        seen = read_json(&server.get("/stats"), hangs).concat();
        seen.contains("'app', 'REQUEST_URI=/hang?secret'")
    });
    let who = server.workers().into_iter().find(|pid| seen.contains(&format!("({pid}, ")));
    kill(who.expect("one of the workers"), SIGKILL);
    until("it is gone with its worker", || read_json(&server.get("/stats"), hangs) == ["[]"]);
    drop(stuck);
    server.stop();
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// `gateway.NAME` of a request with these header fields.
fn variable(client: &mut Client, name: &str, fields: &str) -> String {
    client.send(format!("GET /variable?name=gateway.{name} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
    client.response("GET").text()
}

#[test]
fn the_trace_of_a_request_is_handed_on_if_it_is_one() {
    let log = scratch("trace");
    let accesslog = format!("accesslog={}", log.display());
    let format = "access_log_format=%(m)s %({gateway.trace_id}e)s %({gateway.tracestate}e)s";
    let server = Server::app(&["bind=scgi://{ip}:9092", &accesslog, format]);
    let mut client = server.connect();
    let good = format!("Traceparent: {PARENT}\r\ntracestate: a=1\r\ntracestate: b=2\r\n");
    for (name, value) in [
        ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
        ("parent_id", "b7ad6b7169203331"),
        ("trace_flags", "01"),
        ("tracestate", "a=1,b=2"),
    ] {
        assert_eq!(variable(&mut client, name, &good), value);
    }
    let missing = variable(&mut client, "trace_id", "");
    assert!(missing.starts_with("GW_"), "{missing}");
    for bad in [
        format!("traceparent: {}\r\ntracestate: a=1\r\n", PARENT.to_uppercase()),
        format!("traceparent: {PARENT}\r\ntraceparent: {PARENT}\r\ntracestate: a=1\r\n"),
        "tracestate: a=1\r\n".to_owned(),
    ] {
        for name in ["trace_id", "parent_id", "trace_flags", "tracestate"] {
            assert_eq!(variable(&mut client, name, &bad), missing, "{name} {bad}");
        }
    }
    let state = format!("traceparent: {PARENT}\r\ntracestate: a=1,a=2\r\n");
    assert_eq!(variable(&mut client, "tracestate", &state), missing);
    assert_eq!(variable(&mut client, "trace_flags", &state), "01", "which stands for itself");
    drop(client);
    // A web server in front may have asked.
    let query = "name=gateway.trace_id";
    let variables = [
        "CONTENT_LENGTH",
        "0",
        "SCGI",
        "1",
        "REQUEST_METHOD",
        "GET",
        "PATH_INFO",
        "/variable",
        "QUERY_STRING",
        query,
        "HTTP_TRACEPARENT",
        PARENT,
    ];
    let head: String = variables.iter().map(|it| format!("{it}\0")).collect();
    let mut front = connect(&server.address().replace(":8000", ":9092")).expect("connect");
    front.write_all(format!("{}:{head},", head.len()).as_bytes()).expect("send");
    let mut answer = String::new();
    front.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("\r\n\r\n0af7651916cd43dd8448eb211c80319c"), "{answer}");
    server.stop();
    let lines = std::fs::read_to_string(&log).expect("the log");
    assert_eq!(lines.lines().next(), Some("GET 0af7651916cd43dd8448eb211c80319c a=1,b=2"));
    assert_eq!(lines.lines().nth(4), Some("GET - -"));
    let _ = std::fs::remove_file(log);
}

#[test]
fn every_line_is_an_object_whatever_clients_send() {
    let log = scratch("json");
    let accesslog = format!("accesslog={}", log.display());
    // A thread, so that there is a queue.
    let options = ["access_log_format=json", &accesslog, "threads=1"];
    let server = Server::app(&options);
    let mut client = server.connect();
    let hostile: Vec<u8> = (0x80..=0xff).chain(*b"\"\\\t{}</script>").collect();
    let request = [
        format!("GET /?%22%0a\\ HTTP/1.1\r\nHost: x\r\ntraceparent: {PARENT}\r\nUser-Agent: ")
            .as_bytes(),
        &hostile,
        "\r\nReferer: \u{e9}\u{2028}\u{9b}\r\n\r\n".as_bytes(),
    ]
    .concat();
    client.send(&request);
    assert_eq!(client.response("GET").status, 200);
    client.post("/echo", b"12345");
    drop(client);
    let mut rude = server.connect();
    rude.send(b"\xff\"\\ \x01\x1b[2J\r\n\r\n");
    assert_eq!(rude.response("GET").status, 400);
    drop(rude);
    server.stop();
    let lines = std::fs::read_to_string(&log).expect("UTF-8");
    assert_eq!(lines.lines().count(), 3, "{lines}");
    let status = read_json(&lines, "(it.get('method'), it['status'], it.get('trace_id'))");
    let expected = [
        "('GET', 200, '0af7651916cd43dd8448eb211c80319c')",
        "('POST', 200, None)",
        "(None, 400, None)",
    ];
    assert_eq!(status, expected);
    let agent = "ascii(it.get('user_agent'))";
    assert!(read_json(&lines, agent)[0].contains(r"\\x80\\x81"), "{lines}");
    assert_eq!(read_json(&lines, "ascii(it.get('referer'))")[0], r"'\xe9\u2028\x9b'");
    // The phases are all of the time, to a nanosecond.
    let sums = "'read' not in it or abs(sum(it[p] for p in ('read', 'queue', 'app', 'write')) - \
                it['duration']) < 1e-9";
    assert_eq!(read_json(&lines, sums), ["True"; 3], "{lines}");
    let phases = "all(p in it for p in ('read', 'queue', 'app', 'write'))";
    assert_eq!(read_json(&lines, phases), ["True", "True", "False"]);
    let _ = std::fs::remove_file(log);
}

#[test]
fn a_slow_request_has_a_line_that_says_where_the_time_went() {
    // The application sleeps for 20 ms; the page is never made by it.
    let server = master(&["worker_model=fork", "workers=1", "slow_request=15ms"]);
    server.get("/slow?first");
    server.get("/slow");
    let ended = server.stop();
    let slow: Vec<_> =
        ended.stderr.lines().filter(|it| it.contains("slow request: GET /slow")).collect();
    assert_eq!(slow.len(), 2, "{ended:?}");
    for line in slow {
        assert!(line.contains("status 200 (slow_request = 15ms)"), "{line}");
        let app = line.split("app ").nth(1).and_then(|it| it.split(',').next());
        let app: u64 = app.and_then(|it| it.parse().ok()).expect("milliseconds");
        assert!(app >= 20, "{line}");
        assert!(line.contains("[WARN"), "{line}");
    }
}
