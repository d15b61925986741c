use super::*;

fn set(name: &str, value: &str) -> Result<String> {
    let mut settings = Settings::default();
    settings.set(name, value)?;
    settings.get(name)
}

fn refused(name: &str, value: &str) -> (Kind, String) {
    let mut settings = Settings::default();
    let error = settings.set(name, value).expect_err(value);
    assert_eq!(settings, Settings::default(), "a refused value changed something");
    (error.kind(), error.message().to_owned())
}

#[test]
fn the_presets_are_the_tables() {
    let settings = Settings::default();
    for option in options() {
        assert_eq!(settings.get(option.name()).unwrap(), option.preset(), "{}", option.name());
    }
    assert_eq!(settings.graceful_timeout, Duration::from_secs(30));
    assert_eq!(settings.keepalive, Duration::from_secs(5));
    assert_eq!(settings.limit_request_head, 65_536);
    assert_eq!(settings.worker_model, WorkerModel::Fork);
    assert_eq!(settings.signals, None);
    assert_eq!(settings.errorlog, None);
    assert!(settings.request_buffering);
    assert!(settings.check().is_empty());
}

#[test]
fn every_kind_is_set_and_read_back() {
    for (name, value, shown) in [
        ("workers", "4", "4"),
        ("workers", "0", "0"),
        ("workers", "1024", "1024"),
        ("worker_model", "inline", "inline"),
        ("worker_model", "threads", "threads"),
        ("worker_model", "FORK", "fork"),
        ("graceful_timeout", "1.5", "1500ms"),
        ("keepalive", "0", "0"),
        ("max_body", "10m", "10m"),
        ("max_body", "9223372036854775807", "9223372036854775807"),
        ("signals", "yes", "1"),
        ("signals", "off", "0"),
        ("signals", "auto", "auto"),
        ("systemd", "1", "1"),
        ("systemd", "auto", "auto"),
        ("user", "www-data", "www-data"),
        ("group", "33", "33"),
        ("umask", "27", "027"),
        ("umask", "auto", "auto"),
        ("pidfile", "/run/x.pid", "/run/x.pid"),
        ("bind", " 127.0.0.1:1 , unix:/x,[::1]:2", "127.0.0.1:1,unix:/x,[::1]:2"),
        ("backlog", "1", "1"),
        ("limit_request_line", "8k", "8k"),
        ("limit_request_fields", "32768", "32768"),
        ("request_buffering", "false", "0"),
        ("spool_dir", "/var/tmp", "/var/tmp"),
        ("spool_dir", "", ""),
        ("accesslog", "-", "-"),
        ("accesslog", "fd:3", "fd:3"),
        ("accesslog", "auto", "auto"),
        ("errorlog", "", ""),
        ("errorlog", "/var/log/x", "/var/log/x"),
        ("errorlog", "auto", "auto"),
        ("loglevel", "debug", "debug"),
        ("loglevel", "WARNING", "warn"),
        ("access_log_format", "%(h)s é", "%(h)s é"),
    ] {
        assert_eq!(set(name, value).unwrap(), shown, "{name} = {value}");
        assert_eq!(set(name, shown).unwrap(), shown);
    }
}

#[test]
fn refusals_name_the_option_the_value_and_what_is_accepted() {
    let truth = "expected 1, true, on, yes, or 0, false, off, no";
    for (name, value, message) in [
        ("workers", "abc", "workers = 'abc': expected a whole number from 0 to 1024"),
        ("workers", "1025", "workers = '1025': expected a whole number from 0 to 1024"),
        ("workers", "-1", "workers = '-1': expected a whole number from 0 to 1024"),
        ("workers", "", "workers = '': expected a whole number from 0 to 1024"),
        (
            "limit_request_fields",
            "32769",
            "limit_request_fields = '32769': expected a whole number from 1 to 32768",
        ),
        (
            "worker_model",
            "gevent",
            "worker_model = 'gevent': expected inline, threads, fork or exec",
        ),
        (
            "loglevel",
            "critical",
            "loglevel = 'critical': expected error, warn, warning, info or debug",
        ),
        (
            "keepalive",
            "5 s",
            "keepalive = '5 s': expected a duration up to 8760h: 30s, 500ms, 2m, 1h, or seconds",
        ),
        ("max_body", "1t", "max_body = '1t': expected a size from 0: octets, or 8k, 1m, 1g"),
        (
            "output_buffer",
            "0",
            "output_buffer = '0': expected a size from 1 to 1g: octets, or 8k, 1m, 1g",
        ),
        ("request_buffering", "maybe", &format!("request_buffering = 'maybe': {truth}")),
        ("request_buffering", "auto", &format!("request_buffering = 'auto': {truth}")),
        ("signals", "2", &format!("signals = '2': {truth}, or auto")),
        ("accesslog", "fd:x", "accesslog = 'fd:x': expected -, fd:N, a path, or nothing"),
        ("errorlog", "a\nb", "errorlog = 'a\\nb': expected -, fd:N, a path, or nothing, or auto"),
        (
            "access_log_format",
            "%(h)s\n",
            "access_log_format = '%(h)s\\n': expected text without control characters",
        ),
        (
            "spool_dir",
            "\0",
            "spool_dir = '\\0': expected a path without control characters, or nothing",
        ),
        ("bind", "", "bind: address '': it is empty: write 127.0.0.1:8000"),
        ("bind", ":80,", "bind: address '': it is empty: write 127.0.0.1:8000"),
        ("bind", ":80,x", "bind: address 'x': no port: write x:8000"),
    ] {
        assert_eq!(refused(name, value), (Kind::Invalid, message.into()));
    }
    assert_eq!(
        refused("worker_model", "prefork"),
        (Kind::Invalid, "worker_model = 'prefork': expected inline, threads, fork or exec".into())
    );
    assert_eq!(refused("bind", "https://:1").0, Kind::Unsupported);
    assert_eq!(
        refused("worker", "4"),
        (Kind::Unknown, "no option named 'worker'; did you mean 'workers'?".into())
    );
    assert_eq!(Settings::default().get("nope").unwrap_err().kind(), Kind::Unknown);
}

#[test]
fn numbers_are_set_by_number() {
    for (id, value, name, shown) in [
        (1, 4, "workers", "4"),
        (2, 0, "worker_model", "inline"),
        (2, 1, "worker_model", "threads"),
        (2, 2, "worker_model", "fork"),
        (2, 3, "worker_model", "exec"),
        (5, 1500, "graceful_timeout", "1500ms"),
        (6, 0, "keepalive", "0"),
        (8, i64::MAX, "max_body", "9223372036854775807"),
        (9, 1, "signals", "1"),
        (9, 0, "signals", "0"),
        (20, 0, "request_buffering", "0"),
        (25, 4, "loglevel", "debug"),
    ] {
        let mut settings = Settings::default();
        settings.set_id(id, value).unwrap();
        assert_eq!(settings.get(name).unwrap(), shown, "{id} = {value}");
    }
    for (id, value, kind, message) in [
        (1, -1, Kind::Invalid, "workers = -1: expected a whole number from 0 to 1024"),
        (1, i64::MAX, Kind::Invalid, "expected a whole number from 0 to 1024"),
        (2, 4, Kind::Invalid, "worker_model = 4: expected inline, threads, fork or exec"),
        (5, -1, Kind::Invalid, "graceful_timeout = -1: expected a duration "),
        (5, 31_536_000_001, Kind::Invalid, "graceful_timeout = 31536000001: "),
        (8, -1, Kind::Invalid, "max_body = -1: expected a size from 0"),
        (9, 2, Kind::Invalid, "signals = 2: expected 1"),
        (25, 0, Kind::Invalid, "loglevel = 0: expected "),
        (10, 80, Kind::Invalid, "bind = 80: its kind is list: set it by name"),
        (24, 2, Kind::Invalid, "errorlog = 2: its kind is text: set it by name"),
        (3, 1025, Kind::Invalid, "threads = 1025: expected a whole number from 0 to 1024, or auto"),
        (99, 1, Kind::Unknown, "no option has the number 99"),
    ] {
        let mut settings = Settings::default();
        let error = settings.set_id(id, value).unwrap_err();
        assert_eq!(error.kind(), kind, "{id} = {value}");
        assert!(error.message().contains(message), "{}", error.message());
        assert_eq!(settings, Settings::default());
    }
}

#[test]
fn bind_adds() {
    let mut settings = Settings::default();
    settings.set("bind", "127.0.0.1:1").unwrap();
    settings.set("bind", "127.0.0.1:2,127.0.0.1:3").unwrap();
    settings.set("bind", "127.0.0.1:4,nonsense").unwrap_err();
    assert_eq!(settings.get("bind").unwrap(), "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3");
}

#[test]
fn serving_has_presets_of_its_own() {
    let mut settings = Settings::default();
    settings.serve_presets();
    assert_eq!(settings.signals, Some(true));
    assert_eq!(settings.errorlog, Some(Output::Standard));
    assert_eq!(settings.systemd, Some(true));
    assert_eq!(settings.get("bind").unwrap(), "127.0.0.1:8000");

    let mut settings = Settings::default();
    for (name, value) in [("signals", "0"), ("errorlog", ""), ("bind", ":1"), ("systemd", "0")] {
        settings.set(name, value).unwrap();
    }
    let before = settings.clone();
    settings.serve_presets();
    assert_eq!(settings, before);
}

#[test]
fn values_that_follow_from_the_system() {
    let mut settings = Settings::default();
    assert!(settings.worker_count() >= 1);
    settings.workers = 3;
    assert_eq!(settings.worker_count(), 3);
    settings.worker_model = WorkerModel::Inline;
    assert_eq!(settings.worker_count(), 1);
    assert_eq!(settings.body_limit(), 1 << 30);
    settings.max_body = 0;
    assert_eq!(settings.body_limit(), u64::MAX);
    assert_eq!(settings.spool_directory(), std::env::temp_dir());
    settings.set("spool_dir", "/x").unwrap();
    assert_eq!(settings.spool_directory(), PathBuf::from("/x"));
    let mut listener = Listener::new(Address::Fd(3));
    assert_eq!(settings.backlog_of(&listener), 2048);
    listener.backlog = 5;
    assert_eq!(settings.backlog_of(&listener), 5);
}

#[test]
fn check_finds_every_problem() {
    let mut settings = Settings::default();
    for (name, value) in [
        ("worker_model", "inline"),
        ("workers", "2"),
        ("limit_request_head", "4k"),
        ("limit_request_line", "8k"),
        ("spool_dir", "/nonexistent"),
        ("bind", "127.0.0.1:1,127.0.0.1:1,127.0.0.1:0,127.0.0.1:0,unix:/x,fd://3"),
    ] {
        settings.set(name, value).unwrap();
    }
    settings.backlog = 0;
    settings.keepalive = Duration::from_micros(1) + value_too_long();
    settings.listeners[0].mode = 0o600;
    settings.listeners[4].mode = 0o1777;
    settings.listeners[4].reuse_port = true;
    settings.listeners[5].address = Address::Fd(-1);
    settings.listeners[5].backlog = 70_000;
    let found = settings.check();
    assert!(found.iter().all(|problem| problem.kind() == Kind::Invalid));
    let found: Vec<_> = found.iter().map(Error::message).collect();
    assert_eq!(
        found,
        [
            "keepalive = '8761h': expected a duration up to 8760h: 30s, 500ms, 2m, 1h, or seconds",
            "backlog = '0': expected a whole number from 1 to 65535",
            "workers = 2: worker_model = inline has one, the calling thread",
            "limit_request_line = 8192: more than the whole head may have \
             (limit_request_head = 4096)",
            "limit_request_field_size = 8190: more than the whole head may have \
             (limit_request_head = 4096)",
            "spool_dir = /nonexistent: there is no such directory",
            "bind: 127.0.0.1:1: only a unix socket in the file system has a mode",
            "bind: 127.0.0.1:1 twice",
            "bind: unix:/x: mode 1777 is more than 777",
            "bind: unix:/x: only a TCP address can be bound more than once",
            "bind: fd://-1: backlog 70000 is more than 65535",
            "bind: fd://-1: a descriptor is not negative",
        ]
    );
}

fn value_too_long() -> Duration {
    Duration::from_secs(8761 * 3600)
}

#[test]
fn the_same_address_twice_is_right_when_both_share_it() {
    let mut settings = Settings::default();
    settings.set("bind", "127.0.0.1:1,127.0.0.1:1").unwrap();
    assert_eq!(settings.check().len(), 1);
    for listener in &mut settings.listeners {
        listener.reuse_port = true;
    }
    assert!(settings.check().is_empty());
}

#[test]
fn what_one_listener_says_for_itself_is_checked_with_the_rest() {
    let mut settings = Settings::default();
    settings.set("limit_request_head", "9k").unwrap();
    settings
        .set("bind", ":1?limit_request_line=10k,:2?max_body=1,unix:@x?nodelay=1&mode=600")
        .unwrap();
    let found = settings.check();
    let found: Vec<_> = found.iter().map(Error::message).collect();
    assert_eq!(
        found,
        [
            "bind: 0.0.0.0:1: limit_request_line = 10240: more than the whole head may have \
             (limit_request_head = 9216)",
            "bind: unix:@x: only a unix socket in the file system has a mode",
            "bind: unix:@x: nodelay has no meaning for a unix socket",
        ]
    );
}

#[test]
fn options_that_a_socket_cannot_have_are_found() {
    let mut settings = Settings::default();
    let bind = "unix:/x?nodelay=1&defer_accept=1&fastopen=1&rcvbuf=4k&sndbuf=4k,\
                127.0.0.1:1?mode=600&owner=root,fd://3?nodelay=0&reuse_port=1&owner=:root";
    settings.set("bind", bind).unwrap();
    assert_eq!(settings.get("bind").unwrap().replace("4096", "4k"), bind);
    let found = settings.check();
    let found: Vec<_> = found.iter().map(Error::message).collect();
    assert_eq!(
        found,
        [
            "bind: unix:/x: nodelay has no meaning for a unix socket",
            "bind: unix:/x: defer_accept has no meaning for a unix socket",
            "bind: unix:/x: fastopen has no meaning for a unix socket",
            "bind: unix:/x: rcvbuf has no meaning for a unix socket",
            "bind: unix:/x: sndbuf has no meaning for a unix socket",
            "bind: 127.0.0.1:1: only a unix socket in the file system has a mode",
            "bind: 127.0.0.1:1: only a unix socket in the file system has an owner",
            "bind: fd://3: only a unix socket in the file system has an owner",
            "bind: fd://3: only a TCP address can be bound more than once",
        ]
    );
}

#[test]
fn pages_have_paths_of_their_own_and_are_measured() {
    let problems = |settings: &Settings| -> Vec<String> {
        settings.check().iter().map(|error| error.message().to_owned()).collect()
    };
    let mut settings = Settings::default();
    assert!(!settings.has_pages() && !settings.measures());
    settings.set("timings", "1").unwrap();
    assert!(!settings.has_pages() && settings.measures());
    settings.set("timings", "auto").unwrap();
    for own in ["metrics_path=/m", "stats_path=/s", "stats_only=1"] {
        let mut settings = settings.clone();
        settings.set("bind", &format!("127.0.0.1:1?{own}")).unwrap();
        assert!(settings.has_pages() && settings.measures(), "{own}");
        assert!(problems(&settings).is_empty(), "{own}");
        settings.set("timings", "0").unwrap();
        assert!(!settings.measures());
    }
    settings.set("bind", "127.0.0.1:1?stats_path=/m").unwrap();
    settings.set("metrics_path", "/m").unwrap();
    let twice = "bind: 127.0.0.1:1: stats_path = /m: metrics_path is there";
    assert_eq!(problems(&settings), [twice]);
    settings.set("metrics_path", "m").unwrap();
    assert_eq!(problems(&settings), ["metrics_path = m: a path begins with /"]);
}

#[test]
fn a_control_socket_is_the_process_s() {
    let mut settings = Settings::default();
    assert_eq!(settings.of_a_process(), None);
    settings.set("control_socket", "/run/x.control").unwrap();
    assert_eq!(settings.of_a_process(), Some("control_socket"));
    settings.set("bind", "unix:/run/x.control").unwrap();
    let problems: Vec<_> = settings.check().iter().map(|it| it.message().to_owned()).collect();
    assert_eq!(problems, ["control_socket = /run/x.control: a listener is there (bind)"]);
}
