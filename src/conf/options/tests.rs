use super::*;

#[test]
fn numbers_and_names_are_fixed() {
    // What was released stays.  New options are added at the end.
    let table: Vec<_> = options().iter().map(|o| (o.id(), o.name(), o.kind())).collect();
    assert_eq!(
        table,
        [
            (1, "workers", "int"),
            (2, "worker_model", "enum"),
            (3, "threads", "int"),
            (4, "heartbeat_timeout", "ms"),
            (5, "graceful_timeout", "ms"),
            (6, "keepalive", "ms"),
            (7, "max_requests", "int"),
            (8, "max_body", "size"),
            (9, "signals", "bool"),
            (10, "bind", "list"),
            (11, "backlog", "int"),
            (12, "worker_connections", "int"),
            (13, "limit_request_line", "size"),
            (14, "limit_request_fields", "int"),
            (15, "limit_request_field_size", "size"),
            (16, "limit_request_head", "size"),
            (17, "header_timeout", "ms"),
            (18, "body_timeout", "ms"),
            (19, "write_timeout", "ms"),
            (20, "request_buffering", "bool"),
            (21, "body_buffer", "size"),
            (22, "spool_dir", "path"),
            (23, "accesslog", "text"),
            (24, "errorlog", "text"),
            (25, "loglevel", "enum"),
            (26, "access_log_format", "text"),
            (27, "output_buffer", "size"),
            (28, "queue_limit", "int"),
            (29, "queue_timeout", "ms"),
            (30, "preload", "bool"),
            (31, "boot_timeout", "ms"),
            (32, "reload_parallel", "int"),
            (33, "max_requests_jitter", "int"),
            (34, "max_recycling", "int"),
            (35, "max_lifetime", "ms"),
            (36, "request_timeout", "ms"),
            (37, "stream_timeout", "ms"),
            (38, "fork_unsafe", "bool"),
            (39, "pidfile", "path"),
            (40, "user", "text"),
            (41, "group", "text"),
            (42, "umask", "int"),
            (43, "systemd", "bool"),
            (44, "reap_orphans", "bool"),
            (50, "lame_duck", "ms"),
            (51, "accept_mode", "enum"),
            (52, "worker_requests", "int"),
            (53, "health_path", "text"),
            (60, "memory_soft", "size"),
            (61, "memory_hard", "size"),
            (70, "forwarded_allow_ips", "text"),
            (71, "proxy_protocol", "enum"),
            (72, "proxy_allow_ips", "text"),
            (73, "forwarded_for", "bool"),
            (80, "timings", "bool"),
            (81, "metrics_path", "text"),
            (82, "stats_path", "text"),
            (83, "stats_only", "bool"),
            (84, "slow_request", "ms"),
            (90, "control_socket", "path"),
        ]
    );
    assert!(table.is_sorted_by_key(|row| row.0));
}

#[test]
fn every_option_is_found_and_documented() {
    for option in options() {
        assert_eq!(by_name(option.name()).unwrap().id(), option.id());
        assert_eq!(by_id(option.id()).unwrap().name(), option.name());
        assert!(option.help().ends_with('.'), "{}", option.name());
        assert!(!option.help().contains("  "), "{}", option.name());
        assert!(!option.accepts().is_empty());
        let c = option.c_strings().map(|c| c.to_str().unwrap());
        assert_eq!(c, [option.name(), option.kind(), option.preset(), option.help()]);
    }
    for id in [0, 1000, u32::MAX] {
        let error = by_id(id).unwrap_err();
        assert_eq!(error.kind(), Kind::Unknown);
        assert_eq!(error.message(), format!("no option has the number {id}"));
    }
}

#[test]
fn an_unknown_name_suggests_the_nearest() {
    let long = "workers".repeat(1000);
    for (name, meant) in [
        ("worker", Some("workers")),
        ("Workers", Some("workers")),
        ("--workers", Some("workers")),
        ("wrokers", Some("workers")),
        ("keep_alive", Some("keepalive")),
        ("keep-alive", Some("keepalive")),
        ("max-body", Some("max_body")),
        ("limit_request_field", Some("limit_request_fields")),
        ("limit_request_field_sise", Some("limit_request_field_size")),
        ("access_log", Some("accesslog")),
        ("bnd", Some("bind")),
        ("log-level", Some("loglevel")),
        ("x", None),
        ("", None),
        ("-", None),
        ("dogstatsd_tags", None),
        (&long, None),
        ("\n\x1b[1m", None),
    ] {
        let error = by_name(name).unwrap_err();
        assert_eq!(error.kind(), Kind::Unknown);
        let expected = match meant {
            Some(meant) => {
                format!("no option named {}; did you mean '{meant}'?", Quoted(name))
            }
            None => format!("no option named {}", Quoted(name)),
        };
        assert_eq!(error.message(), expected);
        assert!(error.message().len() < 200);
    }
}
