//! What is said of every setting: by tables, by the documentation, and by the library itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use proptest::prelude::*;

use super::rules::{How, Rule, find};
use super::*;
use crate::library::Config;
use crate::plan::Setting;

/// As many CPUs as in all tests.
const CPUS: usize = 4;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it is in the tree").to_path_buf()
}

fn read(form: Form, text: &str) -> Import {
    let path = match form {
        Form::Gunicorn => "/etc/app/gunicorn.conf.py",
        Form::Uwsgi => "/etc/app/uwsgi.ini",
        Form::Unit => "/etc/app/unit.json",
    };
    import(form, &Source { text, path, cpus: CPUS }).expect("it can be read")
}

/// The options of the table, by its page in the documentation.
fn options() -> BTreeSet<String> {
    let page = fs::read_to_string(top().join("docs/options.md")).unwrap();
    let names = page.lines().filter_map(|line| Some(line.strip_prefix("| [")?.split_once(']')?.0));
    let names: BTreeSet<String> = names.map(str::to_owned).collect();
    assert!(names.len() > 50 && names.contains("bind"), "{names:?}");
    names
}

/// What is left of a TOML without its comments, which has to be one, and nothing but what is agreed.
fn checked(toml: &str) -> String {
    let table: toml::Table = toml.parse().unwrap_or_else(|error| panic!("{error}\n{toml}"));
    let options = options();
    let keys = |table: &toml::Table, known: &[&str]| {
        for key in table.keys() {
            let is_known = known.contains(&key.as_str()) || options.contains(key);
            assert!(is_known, "{key} is no key:\n{toml}");
        }
    };
    keys(&table, &["args", "chdir", "env", "listen", "module", "mount", "pool", "use"]);
    let tables = |table: &toml::Table, name: &str| -> Vec<toml::Table> {
        let found = table.get(name).map(|found| found.as_array().expect("it is [[...]]").clone());
        found.unwrap_or_default().iter().map(|it| it.as_table().unwrap().clone()).collect()
    };
    let only = |table: &toml::Table, known: &[&str]| {
        assert!(table.keys().all(|key| known.contains(&key.as_str())), "{table:?}");
    };
    for mount in tables(&table, "mount") {
        only(&mount, &["at", "builtin", "args"]);
    }
    for pool in tables(&table, "pool") {
        keys(&pool, &["name", "listen", "mount"]);
        let name = pool["name"].as_str().unwrap();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        assert!((1..33).contains(&name.len()) && name != "main" && name.chars().all(is_plain));
        for mount in tables(&pool, "mount") {
            only(&mount, &["at", "builtin", "args"]);
        }
        for listen in tables(&pool, "listen") {
            only(&listen, &["address"]);
        }
    }
    let counts = |line: &&str| !line.is_empty() && !line.starts_with('#');
    toml.lines().filter(counts).collect::<Vec<_>>().join("\n")
}

/// What reads the file finds nothing wrong with it, and the library takes what is set.
fn accepted(toml: &str) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("gateway-import-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
    let path = std::env::temp_dir().join(name);
    fs::write(&path, toml).unwrap();
    let (plan, problems) = crate::file::read(&path);
    fs::remove_file(&path).unwrap();
    assert_eq!(problems, [], "{toml}");
    let of_pools = plan.pools.iter().flat_map(|pool| &pool.plan.settings);
    for Setting { name, value, .. } in plan.settings.iter().chain(of_pools) {
        let done = Config::new().set(name, value);
        assert!(done.is_ok(), "{name} = {value}: {done:?}");
    }
    for listen in plan.pools.iter().flat_map(|pool| &pool.plan.listens) {
        let done = Config::new().set("bind", &listen.address);
        assert!(done.is_ok(), "{listen:?}: {done:?}");
    }
}

/// What does not map, as "key: reason".
fn told(import: &Import) -> Vec<String> {
    import.unmapped.iter().map(|it| format!("{}: {}", it.key, it.reason)).collect()
}

/// What a line becomes: its TOML; what does not map is "- key: reason", in part.
fn verdicts(form: Form, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let import = read(form, text);
        let toml = checked(&import.toml);
        accepted(&import.toml);
        match expected.strip_prefix("- ") {
            None => {
                assert_eq!(toml, *expected, "{text}");
                // Of Unit's users there is a test of their own.
                let counts = |it: &&Line| form != Form::Unit || it.key != "user";
                let unmapped: Vec<_> = import.unmapped.iter().filter(counts).collect();
                assert!(unmapped.is_empty(), "{text}: {unmapped:?}");
            }
            Some(expected) => {
                let told = told(&import);
                assert!(
                    told.iter().any(|told| told.contains(expected)),
                    "{text}: {told:?}\n{toml}"
                );
            }
        }
    }
}

#[test]
fn lines_of_gunicorn() {
    verdicts(
        Form::Gunicorn,
        &[
            ("bind = ':80'", "bind = [\":80\"]"),
            ("bind = 'localhost'", "bind = [\"localhost:8000\"]"),
            ("bind = 'a:1,b:2'", "bind = [\"a:1\", \"b:2\"]"),
            (
                "bind = ('[::1]:80', 'tcp://h:1', 'fd://3')",
                "bind = [\"[::1]:80\", \"h:1\", \"fd://3\"]",
            ),
            ("bind = 'unix:/a.sock'", "bind = [\"unix:/a.sock?mode=777\"]"),
            ("umask = '027'\nbind = 'unix://@a'", "bind = [\"unix:./@a?mode=750\"]"),
            ("umask = 0\nbind = 'unix:/a'", "bind = [\"unix:/a?mode=777\"]"),
            ("umask = 0", ""),
            ("bind = '127.0.0.1:80'\nprotocol = 'uwsgi'", "bind = [\"uwsgi://127.0.0.1:80\"]"),
            ("bind = '[::1]'\nprotocol = 'uwsgi'", "bind = [\"uwsgi://[::1]:8000\"]"),
            ("protocol = 'uwsgi'", "bind = [\"uwsgi://127.0.0.1:8000\"]"),
            ("bind = ':80'\nprotocol = 'uwsgi'", "- bind: gunicorn lets 127.0.0.1 and ::1 alone"),
            ("bind = ':80'\nprotocol = 'uwsgi'\nuwsgi_allow_ips = '*'", "bind = [\"uwsgi://:80\"]"),
            (
                "bind = ':80'\nprotocol = 'uwsgi'\nuwsgi_allow_ips = ''",
                "- uwsgi_allow_ips: gunicorn lets",
            ),
            (
                "bind = 'a'\nprotocol = 'uwsgi'\nuwsgi_allow_ips = '10.0.0.1'",
                "- uwsgi_allow_ips: gunicorn lets",
            ),
            ("protocol = 'uwsgi'\nuwsgi_allow_ips = None", "- uwsgi_allow_ips: gunicorn lets"),
            ("protocol = x\nbind = ':1'", "- bind: gunicorn lets"),
            (
                "bind = 'unix:a'\nprotocol = 'uwsgi'\nuwsgi_allow_ips = ''",
                "bind = [\"uwsgi+unix:a?mode=777\"]",
            ),
            ("uwsgi_allow_ips = ''", ""),
            ("secure_scheme_headers = {}", "- secure_scheme_headers: X-Forwarded-Proto"),
            ("if a: umask = 0\nbind = 'unix:a'", "- umask: It is set under `if`"),
            ("protocol = 'uwsgi'\nbind = 'unix:a'", "bind = [\"uwsgi+unix:a?mode=777\"]"),
            ("protocol = 'fastcgi'", "- protocol: It is neither http nor uwsgi."),
            ("bind = 'a:b'", "- bind: \"a:b\" cannot be written"),
            ("bind = 80", "- bind: It has no address that can"),
            ("bind = ':443'\ncertfile = '/c'", "- bind: TLS is not in this version"),
            ("certfile = None", ""),
            ("bind = ':443'\ncertfile = ''\nkeyfile = None", "bind = [\":443\"]"),
            ("workers = 3", "workers = 3"),
            ("workers = '3'", "workers = 3"),
            ("workers = 2000", "- workers: 2000 is not from 1 to 1024."),
            ("import os\nworkers = os.cpu_count()", "workers = 0"),
            ("import os\nworkers = os.cpu_count() * 2", "workers = 8"),
            (
                "from os import getenv\nworkers = int(getenv('N', '2'))",
                "- workers: The environment is not asked for N any more: its default counts. It is 2.",
            ),
            ("import os\nworkers = os.environ['N']", "- workers: The environment has it, as N"),
            ("workers = count()", "- workers: `count()` is a call"),
            ("workers = 1\nworkers = 2", "workers = 2"),
            ("if a:\n  workers = 2", "- workers: It is set under `if`"),
            ("worker_class = 'sync'", ""),
            ("worker_class = 'gthread'\nthreads = 8", "threads = 8"),
            ("worker_class = 'gevent'", "- worker_class: Green threads are Python's"),
            ("worker_class = 'a.B'", "- worker_class: Workers of other classes"),
            ("timeout = 0", "heartbeat_timeout = \"0s\""),
            ("timeout = 1.5", "- timeout: Its value is not a whole number."),
            ("keepalive = 2", "keepalive = \"2s\""),
            ("limit_request_line = 0", "limit_request_line = \"1g\""),
            ("limit_request_fields = 0", "- limit_request_fields: 0 is not from 1 to 32768."),
            ("limit_request_field_size = 8192", "limit_request_field_size = \"8k\""),
            ("loglevel = 'CRITICAL'", "loglevel = \"error\""),
            ("loglevel = 'trace'", "- loglevel: It is none of"),
            ("accesslog = None", ""),
            ("errorlog = '/a b'", "errorlog = \"/a b\""),
            ("user = 33", "user = \"33\""),
            ("umask = 18\nbind = 'unix:a'", "bind = [\"unix:a?mode=755\"]"),
            ("umask = '18'\nbind = 'unix:a'", "bind = [\"unix:a?mode=755\"]"),
            ("raw_env = ['A=b', 'C=']", "[env]\nA = \"b\"\nC = \"\""),
            ("raw_env = 'A'", "- raw_env: An entry is not NAME=value."),
            ("chdir = '/srv'", "chdir = \"/srv\""),
            ("reuse_port = True", "accept_mode = \"reuseport\""),
            ("proxy_protocol = False", "proxy_protocol = \"off\""),
            ("proxy_protocol = 'v2'", "proxy_protocol = \"v2\""),
            ("forwarded_allow_ips = '10.0.0.1'", "forwarded_allow_ips = \"10.0.0.1,unix\""),
            ("forwarded_allow_ips = '*'", "forwarded_allow_ips = \"*\""),
            ("daemon = True", "- daemon: A server stays in the foreground"),
            ("daemon = False", ""),
            ("reload = True", "- reload: Files are not watched"),
            ("sendfile = False", "- sendfile: Files go out by sendfile."),
            ("sendfile = True", ""),
            ("worker_tmp_dir = '/dev/shm'", ""),
            (
                "wsgi_app = 'a:b'",
                "- wsgi_app: An application of Python is one of gateway-python.so",
            ),
            (
                "def on_exit(server): pass",
                "- on_exit: A hook is a function of a module here: on_exit",
            ),
            ("pre_request = lambda w, r: None", "- pre_request: A hook"),
            ("def helper(): pass\nnothing = 1", ""),
            ("preload_app = True", "preload = true"),
            ("monkey.patch_all()", "- monkey.patch_all: Python runs this"),
            ("from base import *", "- from base: What `base` has"),
        ],
    );
}

#[test]
fn lines_of_uwsgi() {
    let cases = [
        ("socket = 127.0.0.1:3031", "bind = [\"uwsgi://127.0.0.1:3031\"]"),
        ("socket = :3031\nprotocol = http", "bind = [\":3031\"]"),
        ("socket = /a.sock", "bind = [\"uwsgi+unix:/a.sock\"]"),
        ("chmod-socket\nsocket = /a.sock", "bind = [\"uwsgi+unix:/a.sock?mode=666\"]"),
        (
            "socket = /a.sock\nchmod-socket = 660\nchown-socket = a:b",
            "bind = [\"uwsgi+unix:/a.sock?mode=660&owner=a:b\"]",
        ),
        ("chmod-socket = 999", "- chmod-socket: Its value is not permissions"),
        ("socket = @name", "bind = [\"uwsgi+unix:@name\"]"),
        ("uwsgi-socket = fd://3", "bind = [\"uwsgi+fd://3\"]"),
        ("http = *:80\nhttp-socket = h:1", "bind = [\":80\", \"h:1\"]"),
        (
            "fastcgi-socket = /a\nscgi-socket = [::1]:2",
            "bind = [\"fastcgi+unix:/a\", \"scgi://[::1]:2\"]",
        ),
        ("socket = :3031", "- socket: uWSGI believes whoever connects"),
        ("uwsgi-socket = 10.0.0.1:1", "- uwsgi-socket: uWSGI believes whoever connects"),
        ("fastcgi-socket = *:1", "- fastcgi-socket: uWSGI believes whoever connects"),
        ("scgi-socket = h:1", "- scgi-socket: uWSGI believes whoever connects"),
        ("socket = a:b", "- socket: It is not an address."),
        ("https = :443,a,b", "- https: TLS is not in this version"),
        ("raw-socket = :1", "- raw-socket: This protocol is not spoken"),
        ("listen = 100", "backlog = 100"),
        ("processes = 3", "workers = 3"),
        ("workers = %k", "workers = 0"),
        ("workers = 4", "workers = 4"),
        ("processes = x", "- processes: Its value is not a whole number."),
        ("master", ""),
        ("master = false", "- master: There is an arbiter."),
        ("harakiri = 20", "request_timeout = \"20s\""),
        ("harakiri = 30", "request_timeout = \"30s\"\nheartbeat_timeout = \"60s\""),
        ("harakiri = soon", "- harakiri: Its value is not a whole number."),
        ("reload-on-rss = 256", "memory_soft = \"256m\""),
        ("limit-as = 256", "- limit-as: Address space is not measured"),
        ("limit-as = 0", ""),
        ("buffer-size = 65535", "limit_request_head = 65535"),
        ("limit-post = 1048576", "max_body = \"1m\""),
        ("http-keepalive = 15", "keepalive = \"15s\""),
        ("socket-timeout = 10", "body_timeout = \"10s\"\nwrite_timeout = \"10s\""),
        ("stats = :9191", "bind = [\":9191?stats_path=/&stats_only=1\"]"),
        ("stats = /s.sock\nstats-http = 1", "bind = [\"unix:/s.sock?stats_path=/&stats_only=1\"]"),
        ("logto = /l", "errorlog = \"/l\"\naccesslog = \"/l\""),
        ("logto = /l\ndisable-logging", "errorlog = \"/l\""),
        ("req-logger = file:/a\nlogger = stdio", "accesslog = \"/a\"\nerrorlog = \"-\""),
        ("logger = syslog:a", "- logger: Logs go to files"),
        ("env = A = b", "[env]\nA = \"b\""),
        ("env = A", "- env: It is not NAME=value."),
        ("uid = 33\ngid = www", "user = \"33\"\ngroup = \"www\""),
        ("umask = 027", "umask = \"027\""),
        ("lazy-apps = true", "preload = false"),
        ("reuse-port", "accept_mode = \"reuseport\""),
        (
            "static-map = /s=/srv/s/",
            "[[mount]]\nat = \"/s\"\nbuiltin = \"static\"\nargs = \"root=/srv/s index=none\"",
        ),
        (
            "static-map2 = /s=/srv\nstatic-index = i.html\nstatic-expires = .* 60",
            "[[mount]]\nat = \"/s\"\nbuiltin = \"static\"\nargs = \"root=/srv/s index=i.html max_age=60s\"",
        ),
        ("static-map = /favicon.ico=/srv/favicon.ico", "- static-map: It maps one file"),
        ("static-map = /s=/a b", "- static-map: A directory whose name has white space"),
        ("static-expires = \\.css$ 60", "- static-expires: Files of a mount"),
        ("check-static = /srv", "- check-static: Static files are mounts"),
        (
            "cgi = /cgi-bin=/srv/cgi",
            "[[mount]]\nat = \"/cgi-bin\"\nbuiltin = \"cgi\"\nargs = \"root=/srv/cgi\"",
        ),
        ("cgi = /srv/cgi", "[[mount]]\nat = \"/\"\nbuiltin = \"cgi\"\nargs = \"root=/srv/cgi\""),
        ("mount = /a=b.py", "- mount: What is mounted is a module"),
        ("module = a:b", "- module: An application of Python is one of gateway-python.so"),
        ("virtualenv = /v", "- virtualenv: An application of Python is one of gateway-python.so"),
        ("a = 1\nlisten = %(a)0", "backlog = 10"),
        ("set = a=1\nset-ph = b=%(a)2\nlisten = %(b)", "backlog = 12"),
        ("chdir = %d../%n", "chdir = \"/etc/app/../uwsgi\""),
        ("chdir = %(a)", "- chdir: It needs %(a), which no line before sets."),
        ("pidfile = $(HOME)/a", "- pidfile: It needs the variable HOME of the environment"),
        ("pidfile = @(/a)", "- pidfile: It needs the content of /a"),
        ("pidfile = /%h", "- pidfile: It needs %h, which is known to uWSGI only"),
        ("pidfile = 100%", "pidfile = \"100%\""),
        ("if-env = A\nworkers = 2\nendif", "- workers: It is under `if-env` of line 2."),
        ("for = a b\nenv = %(_)\nendfor\nworkers = 2", "- for: Blocks are not executed"),
        ("procesess = 2", "- procesess: It is no option of uWSGI"),
        ("cheaper = 2", "- cheaper: The number of workers stays"),
        ("cheaper-algo = busyness", "- cheaper-algo: The number of workers stays"),
        ("emperor = /etc/vassals", "- emperor: An instance for each application"),
        ("mules = 2", "- mules: A web server has no queue"),
        ("cron2 = minute=1 a", "- cron2: cron, or a timer"),
        ("route-uri = ^/a b:", "- route-uri: Requests are not rewritten"),
        ("# nothing\n; here", ""),
    ];
    let cases: Vec<_> = cases.iter().map(|(text, is)| (format!("[uwsgi]\n{text}"), *is)).collect();
    let cases: Vec<_> = cases.iter().map(|(text, is)| (text.as_str(), *is)).collect();
    verdicts(Form::Uwsgi, &cases);
    verdicts(
        Form::Uwsgi,
        &[
            ("workers = 2\n", "- workers: It is in no section"),
            ("[app]\nworkers = 2\n", "- [app]: Only the section [uwsgi] is read."),
        ],
    );
}

#[test]
fn members_of_unit() {
    let routes = |routes: &str| {
        format!("{{\"listeners\": {{\"*:80\": {{\"pass\": \"routes\"}}}}, \"routes\": [{routes}]}}")
    };
    let application = |members: &str| {
        format!(
            "{{\"listeners\": {{\"*:80\": {{\"pass\": \"applications/a\"}}}}, \
             \"applications\": {{\"a\": {{{members}}}}}}}"
        )
    };
    let listener = |name: &str, members: &str| {
        format!("{{\"listeners\": {{\"{name}\": {{\"pass\": \"applications/a\"{members}}}}}}}")
    };
    let upstreams = |servers: &str| {
        format!(
            "{{\"listeners\": {{\"*:80\": {{\"pass\": \"upstreams/u\"}}}}, \
             \"upstreams\": {{\"u\": {{\"servers\": {{{servers}}}}}}}}}"
        )
    };
    let settings = |members: &str| format!("{{\"settings\": {{\"http\": {{{members}}}}}}}");
    let mount = |rest: &str| format!("bind = [\"0.0.0.0:80\"]\n[[mount]]\n{rest}");
    let with = |rest: &str| format!("bind = [\"0.0.0.0:80\"]\n{rest}");
    let s = str::to_owned;
    let cases = [
        (listener("*:80", ""), s("bind = [\"0.0.0.0:80\"]")),
        (listener("[::1]:80", ""), s("bind = [\"[::1]:80\"]")),
        (listener("unix:/a", ", \"backlog\": 9"), s("bind = [\"unix:/a?backlog=9\"]")),
        (
            listener(
                "*:80",
                ", \"forwarded\": {\"client_ip\": \"x-forwarded-for\", \"protocol\": \
                 \"X-Forwarded-Proto\", \"source\": \"10.0.0.0/8\"}",
            ),
            s("bind = [\"0.0.0.0:80?trust=10.0.0.0/8&forwarded_for=1\"]"),
        ),
        (
            listener(
                "*:80",
                ", \"client_ip\": {\"header\": \"x-forwarded-for\", \"source\": \"10.0.0.0/8\"}",
            ),
            s("- listeners.*:80.client_ip: trust= lets X-Forwarded-Proto"),
        ),
        (
            listener(
                "*:80",
                ", \"forwarded\": {\"client_ip\": \"X-Forwarded-For\", \"source\": \"::1\"}",
            ),
            s("- listeners.*:80.forwarded: trust= lets X-Forwarded-Proto"),
        ),
        (
            listener("*:80", ", \"client_ip\": {\"header\": \"X-Real-IP\", \"source\": \"::1\"}"),
            s("- listeners.*:80.client_ip: Its field is not"),
        ),
        (
            listener("*:80", ", \"tls\": {\"certificate\": \"a\"}"),
            s("- listeners.*:80.tls: TLS is not in this version"),
        ),
        (listener("*:80", ", \"odd\": 1"), s("- listeners.*:80.odd: It is no member")),
        (
            s("{\"listeners\": {\"*:1\": {\"pass\": \"applications/a\"}, \"*:2\": {\"pass\": \
               \"applications/b\"}}, \"applications\": {\"a\": {\"processes\": 2}, \"b\": {\"user\": \
               \"u\", \"limits\": {\"timeout\": 5}}}}"),
            s("[[pool]]\nname = \"a\"\nworkers = 2\n[[pool.listen]]\naddress = \"0.0.0.0:1\"\n\
               [[pool]]\nname = \"b\"\nuser = \"u\"\nrequest_timeout = \"5s\"\n\
               [[pool.listen]]\naddress = \"0.0.0.0:2\""),
        ),
        (listener("80", ""), s("- listeners.80: It cannot be written")),
        (
            s("{\"listeners\": {\"*:80\": {\"pass\": \"applications/$host\"}}}"),
            s("- listeners.*:80: What it passes to"),
        ),
        (
            s("{\"listeners\": {\"*:80\": {\"pass\": \"upstreams/a\"}}}"),
            s("- listeners: There is nothing of this name."),
        ),
        (
            upstreams("\"10.0.0.1:81\": {}, \"[::1]:82\": {\"weight\": 1}"),
            mount(
                "at = \"/\"\nbuiltin = \"forward\"\nargs = \"to=http://10.0.0.1:81,http://[::1]:82\"",
            ),
        ),
        (
            upstreams("\"10.0.0.1:81\": {}, \"10.0.0.2:81\": {\"weight\": 2}"),
            s("- listeners: forward asks its servers one after another"),
        ),
        (upstreams("\"10.0.0.1:81\": {\"weight\": 0}"), s("- listeners: forward asks its")),
        (upstreams("\"unix:/a\": {}"), s("- listeners: It is no server that forward")),
        (upstreams(""), s("- listeners: It is no server that forward")),
        (
            s("{\"listeners\": {\"*:80\": {\"pass\": \"routes/a\"}}}"),
            s("- listeners: There is nothing of this name."),
        ),
        (
            routes("{\"match\": {\"uri\": \"/s/*\"}, \"action\": {\"share\": \"/srv$uri\"}}"),
            mount("at = \"/s\"\nbuiltin = \"static\"\nargs = \"root=/srv/s\""),
        ),
        (
            routes(
                "{\"match\": {\"host\": \"H.org\"}, \"action\": {\"share\": [\"/srv$uri\"], \"index\": \"i.htm\"}}",
            ),
            mount("at = \"h.org/\"\nbuiltin = \"static\"\nargs = \"root=/srv index=i.htm\""),
        ),
        (
            routes("{\"action\": {\"share\": \"/srv\"}}"),
            s("- routes[0].action.share: Without $uri"),
        ),
        (
            routes("{\"action\": {\"share\": \"/srv/$host$uri\"}}"),
            s("- routes[0].action.share: Only $uri"),
        ),
        (
            routes("{\"action\": {\"share\": [\"/a$uri\", \"/b$uri\"]}}"),
            s("- routes[0].action.share: Several places"),
        ),
        (
            routes("{\"action\": {\"share\": \"/a$uri\", \"follow_symlinks\": false}}"),
            s("- routes[0].action.follow_symlinks: Links within"),
        ),
        (
            routes("{\"action\": {\"return\": 308, \"location\": \"https://a.org$request_uri\"}}"),
            mount(
                "at = \"/\"\nbuiltin = \"redirect\"\nargs = \"to=https://a.org keep=path,query status=308\"",
            ),
        ),
        (
            routes("{\"action\": {\"return\": 403}}"),
            s("- routes[0].action.return: There is no application"),
        ),
        (routes("{\"action\": {\"return\": 404}}"), with("").trim_end().to_owned()),
        (
            routes(
                "{\"match\": {\"host\": \"h\", \"uri\": \"/ws/*\"}, \"action\": {\"proxy\": \"http://a:1\"}}",
            ),
            mount("at = \"h/ws\"\nbuiltin = \"forward\"\nargs = \"to=http://a:1/ws\""),
        ),
        (
            routes("{\"action\": {\"proxy\": \"http://[::1]\"}}"),
            mount("at = \"/\"\nbuiltin = \"forward\"\nargs = \"to=http://[::1]:80\""),
        ),
        (
            routes("{\"match\": {\"uri\": \"/a,b/*\"}, \"action\": {\"proxy\": \"http://a:1\"}}"),
            s("- routes[0].action.proxy: Its prefix cannot"),
        ),
        (
            routes("{\"action\": {\"proxy\": \"http://unix:/a\"}}"),
            s("- routes[0].action.proxy: It is no server"),
        ),
        (
            routes("{\"action\": {\"proxy\": \"http://a:1/b\"}}"),
            s("- routes[0].action.proxy: It is no server"),
        ),
        (
            routes("{\"match\": {\"method\": \"GET\"}, \"action\": {\"share\": \"/a$uri\"}}"),
            s("- routes[0].match.method: Requests are matched"),
        ),
        (
            routes("{\"match\": {\"uri\": \"/a\"}, \"action\": {\"share\": \"/a$uri\"}}"),
            s("- routes[0].match.uri: A mount is for"),
        ),
        (
            routes(
                "{\"match\": {\"uri\": \"/a/*\"}, \"action\": {\"share\": \"/x$uri\"}}, {\"match\": {\"uri\": \"/a/b/*\"}, \"action\": {\"share\": \"/y$uri\"}}",
            ),
            s("- routes[1]: /a/b is never reached"),
        ),
        (
            routes(
                "{\"match\": {\"uri\": \"/a/*\"}, \"action\": {\"share\": \"/x$uri\"}}, {\"match\": {\"host\": \"h\"}, \"action\": {\"share\": \"/y$uri\"}}",
            ),
            s("- routes[1]: h/ would count before /a"),
        ),
        (
            routes("{\"action\": {\"share\": \"/a$uri\", \"fallback\": {\"share\": \"/b$uri\"}}}"),
            s("- routes[0].action.share: Files and what is asked"),
        ),
        (
            routes("{\"action\": {\"pass\": \"routes\"}}"),
            s("- routes[0].action.pass: It is a route within too many others."),
        ),
        (routes("{\"actoin\": {}}"), s("- routes[0].actoin: It is no member")),
        (application("\"processes\": 2"), with("workers = 2")),
        (application("\"processes\": {\"max\": 3}"), with("workers = 3")),
        (
            application("\"processes\": {\"spare\": 3}"),
            s("- applications.a.processes.spare: The number of workers stays"),
        ),
        (
            application("\"limits\": {\"timeout\": 60, \"requests\": 9}"),
            with("request_timeout = \"60s\"\nheartbeat_timeout = \"90s\"\nmax_requests = 9"),
        ),
        (
            application("\"user\": \"a\", \"group\": \"b\", \"threads\": 2"),
            with("user = \"a\"\ngroup = \"b\"\nthreads = 2"),
        ),
        (
            application("\"environment\": {\"A\": \"b\"}, \"working_directory\": \"/a\""),
            with("chdir = \"/a\"\n[env]\nA = \"b\""),
        ),
        (
            application("\"type\": \"external\""),
            s("- applications.a.type: A program made with libunit"),
        ),
        (application("\"type\": \"php\""), s("- applications.a.type: php: There is no binding")),
        (
            routes("{\"action\": {\"share\": \"/a$uri\", \"fallback\": {\"return\": 404}}}"),
            mount("at = \"/\"\nbuiltin = \"static\"\nargs = \"root=/a\""),
        ),
        (application("\"module\": \"a\""), s("- applications.a.module: It is about the language")),
        (
            settings("\"idle_timeout\": 9, \"max_body_size\": 1024"),
            s("keepalive = \"9s\"\nmax_body = \"1k\""),
        ),
        (
            settings("\"send_timeout\": \"x\""),
            s("- settings.http.send_timeout: Its value is not a whole number."),
        ),
        (settings("\"websocket\": {\"a\": 1}"), s("- settings.http.websocket: WebSockets")),
        (settings("\"odd\": {\"a\": 1}"), s("- settings.http.odd.a: It is no member")),
        (s("{\"access_log\": \"/a\"}"), s("accesslog = \"/a\"")),
        (
            s("{\"access_log\": {\"path\": \"/a\", \"if\": \"$x\"}}"),
            s("- access_log.if: All requests are logged."),
        ),
        (s("{\"odd\": 1}"), s("- odd: It is no member")),
        (s("{\"routes\": []}"), s("- routes: No listener that maps")),
    ];
    let cases: Vec<_> = cases.iter().map(|(text, is)| (text.as_str(), is.as_str())).collect();
    verdicts(Form::Unit, &cases);
}

#[test]
fn what_spoke_tls_is_not_listened_on_without_it() {
    for tls in [
        "certfile = '/c'",
        "keyfile = '/k'",
        "certfile = find()",
        "if live:\n  certfile = '/c'",
        "certfile = None\nif live:\n  keyfile = '/k'",
        "from site import certfile",
        "certfile, keyfile = files",
        "def ssl_context(conf, make): pass",
        "ssl_context = make",
    ] {
        for text in [format!("bind = ':443'\n{tls}\n"), format!("{tls}\nbind = ':443'\n")] {
            let import = read(Form::Gunicorn, &text);
            assert_eq!(checked(&import.toml), "", "{text}");
            let told = told(&import);
            assert!(
                told.iter().any(|it| it.starts_with("bind: TLS is not in")),
                "{text}: {told:?}"
            );
        }
    }
}

#[test]
fn of_a_umask_that_is_not_known_no_mode_is_made() {
    for umask in ["umask = find()", "if live:\n  umask = 0o77", "umask = 0o1000"] {
        let import = read(Form::Gunicorn, &format!("bind = 'unix:/a'\n{umask}\n"));
        assert_eq!(checked(&import.toml), "bind = [\"unix:/a\"]", "{umask}");
        assert!(import.unmapped.iter().any(|it| it.key == "umask"), "{umask}");
    }
}

#[test]
fn who_runs_what_unit_gave_to_nobody_is_said_once_for_each() {
    let listeners = |list: &str| {
        format!(
            "{{\"listeners\": {{{list}}}, \"routes\": {{\"s\": [{{\"action\": \
        {{\"share\": \"/s$uri\"}}}}]}}, \"applications\": {{\"a\": {{\"user\": \"u\"}}, \
        \"b\": {{\"processes\": 2}}, \"c\": {{\"user\": \"\"}}}}}}"
        )
    };
    for (list, times) in [
        ("\"*:80\": {\"pass\": \"applications/a\"}", 0),
        ("\"*:80\": {\"pass\": \"applications/b\"}", 1),
        ("\"*:80\": {\"pass\": \"applications/c\"}", 1),
        ("\"*:80\": {\"pass\": \"routes/s\"}", 1),
        ("\"*:80\": {\"pass\": \"routes/s\"}, \"*:81\": {\"pass\": \"applications/a\"}", 1),
        ("\"*:80\": {\"pass\": \"routes/s\"}, \"*:81\": {\"pass\": \"applications/c\"}", 2),
        ("\"*:80\": {\"pass\": \"routes/s\"}, \"*:81\": {\"pass\": \"routes/s\"}", 1),
        ("\"*:80\": {\"pass\": \"routes/s\", \"tls\": {}}", 1),
    ] {
        let import = read(Form::Unit, &listeners(list));
        accepted(&import.toml);
        let said = "user: Unit's default is an unprivileged user; here it is the one who starts it: set user.";
        let told = told(&import);
        assert_eq!(told.iter().filter(|it| *it == said).count(), times, "{list}: {told:?}");
    }
    assert_eq!(read(Form::Unit, "{\"settings\": {}}").unmapped, []);
}

#[test]
fn what_is_no_json_has_a_line() {
    for (text, why) in [("{\n \"a\": }", "2: expected value"), ("[]", "1: it is no object")] {
        let error = import(Form::Unit, &Source { text, path: "/u", cpus: 1 }).unwrap_err();
        assert_eq!(error, why);
    }
}

#[test]
fn a_form_is_known_by_name_or_content() {
    for (name, text, form) in [
        ("gunicorn.conf.py", "", Some(Form::Gunicorn)),
        ("a.INI", "", Some(Form::Uwsgi)),
        ("a.json", "", Some(Form::Unit)),
        ("a", "; x\n\n[uwsgi]", Some(Form::Uwsgi)),
        ("a", "// x\n{}", Some(Form::Unit)),
        ("a", " {", Some(Form::Unit)),
        ("a", "# x\nimport os", Some(Form::Gunicorn)),
        ("a.conf", "x = 1\nworkers = 2", Some(Form::Gunicorn)),
        ("a.conf", "server { listen 80; }", None),
        ("a", "", None),
    ] {
        assert_eq!(form_of(name, text), form, "{name} {text}");
    }
}

#[test]
fn all_settings_of_gunicorn_have_a_rule_that_does_something() {
    let names: Vec<_> = gunicorn::RULES.iter().map(|rule| rule.key).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(names, sorted, "by name, and each once");
    // Some value maps, or there is a reason; nothing is passed over in silence.
    for name in names {
        let values =
            ["True", "1", "'a:80'", "['A=b']", "'info'", "'sync'", "'h1'", "'drop'", "{'a': 1}"];
        let says = values.iter().any(|value| {
            let import = read(Form::Gunicorn, &format!("{name} = {value}"));
            checked(&import.toml);
            !import.unmapped.is_empty()
                || import.toml.contains(&format!("# 1: {name} = "))
                || !checked(&import.toml).is_empty()
        });
        assert!(says, "{name}");
    }
}

#[test]
fn all_options_of_uwsgi_with_a_rule_do_something() {
    for rule in &uwsgi::RULES {
        let key = rule.key.trim_end_matches('*');
        let found = find(&uwsgi::RULES, key).unwrap();
        assert_eq!(found.key, rule.key, "{key} has one rule");
        for value in ["true", "1", "a:80", "/a=/b", "A=b", "http", "660"] {
            let import = read(Form::Uwsgi, &format!("[uwsgi]\n{key} = {value}"));
            checked(&import.toml);
            assert!(!import.unmapped.iter().any(|it| it.reason.contains("no option")), "{key}");
        }
    }
}

/// Options of ours that a rule names, or its words.
#[test]
fn rules_name_options_that_there_are() {
    let options = options();
    let agreed = ["chdir", "[env]", "[[mount]]", "[[pool]]"];
    let all = gunicorn::RULES.iter().chain(&uwsgi::RULES).chain(&unit::RULES);
    for Rule { key, how } in all {
        match how {
            How::To(option, _) | How::But(option, _, _) => {
                assert!(options.contains(*option) || agreed.contains(option), "{key}: {option}");
            }
            How::No(why) | How::Other(why) | How::Needless(why) | How::Same(_, why) => {
                assert!(why.ends_with('.') && why.contains(' '), "{key}: {why}");
            }
            How::Own(words) => {
                assert!(!words.is_empty() && !words.ends_with('.'), "{key}: {words}")
            }
        }
    }
}

fn samples() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import");
    let mut found: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "py" || it == "ini" || it == "json"))
        .collect();
    found.sort();
    assert!(found.len() >= 6, "{found:?}");
    found
}

/// `UPDATE_DOCS=1` writes what is expected again: read the difference.
fn expect(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, text).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == text,
        "{} is another: UPDATE_DOCS=1 writes it again\n{text}",
        path.display()
    );
}

#[test]
fn samples_become_what_is_beside_them() {
    for path in samples() {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy();
        let form = form_of(&name, &text).unwrap();
        let at = format!("/etc/app/{name}");
        let import = import(form, &Source { text: &text, path: &at, cpus: CPUS }).unwrap();
        checked(&import.toml);
        accepted(&import.toml);
        expect(
            &path.with_extension(format!("{}.toml", path.extension().unwrap().display())),
            &import.toml,
        );
    }
}

#[test]
fn the_page_is_the_tables() {
    let path = top().join("docs/migrating.md");
    let page = fs::read_to_string(&path).unwrap();
    let mut written = String::new();
    let mut rest = page.as_str();
    let tables: [(&str, &[Rule]); 3] =
        [("gunicorn", &gunicorn::RULES), ("uwsgi", &uwsgi::RULES), ("unit", &unit::RULES)];
    for (name, rules) in tables {
        let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->\n"));
        let (before, behind) = rest.split_once(&begin).expect("the table begins");
        written.push_str(before);
        written.push_str(&begin);
        written.push_str("| setting | here |\n| --- | --- |\n");
        for rule in rules {
            let words = rule.how.words().replace('|', "\\|");
            written.push_str(&format!("| `{}` | {} |\n", rule.key, words));
        }
        written.push_str(&end);
        rest = behind.split_once(&end).expect("the table ends").1;
    }
    written.push_str(rest);
    expect(&path, &written);
}

proptest! {
    #[test]
    fn no_text_is_too_much(text in any::<String>(), path in any::<String>()) {
        for form in [Form::Gunicorn, Form::Uwsgi, Form::Unit] {
            let source = Source { text: &text, path: &path, cpus: 2 };
            if let Ok(import) = import(form, &source) {
                checked(&import.toml);
            }
        }
        form_of(&path, &text);
    }

    #[test]
    fn octets_that_are_no_text_are_not_too_much(octets in any::<Vec<u8>>()) {
        let text = String::from_utf8_lossy(&octets);
        for form in [Form::Gunicorn, Form::Uwsgi, Form::Unit] {
            let _ = import(form, &Source { text: &text, path: "/a", cpus: 2 });
        }
    }

    #[test]
    fn any_value_of_any_setting_becomes_toml(n in 0_usize..10_000, value in "\\PC{0,12}|[0-9]{1,20}|[/a-z]{1,4}[=:][/a-z0-9]{1,5}") {
        let rule = &gunicorn::RULES[n % gunicorn::RULES.len()];
        let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
        let import = read(Form::Gunicorn, &format!("{} = '{quoted}'", rule.key));
        checked(&import.toml);
        accepted(&import.toml);
        let key = uwsgi::RULES[n % uwsgi::RULES.len()].key.trim_end_matches('*');
        let import = read(Form::Uwsgi, &format!("[uwsgi]\n{key} = {value}"));
        checked(&import.toml);
        accepted(&import.toml);
        let json = serde_json::to_string(&value).unwrap();
        let key = unit::RULES[n % unit::RULES.len()].key;
        let mut text = json;
        for part in key.rsplit('.') {
            let name = if part == "*" { serde_json::to_string(&value).unwrap() } else { format!("\"{part}\"") };
            text = match part {
                "*" if key.starts_with("routes") => format!("[{text}]"),
                _ => format!("{{{name}: {text}}}"),
            };
        }
        let import = read(Form::Unit, &text);
        checked(&import.toml);
        accepted(&import.toml);
    }
}
