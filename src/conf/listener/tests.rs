use std::net::IpAddr;

use super::*;
use crate::conf::Settings;

fn name(name: &str, port: u16) -> Address {
    Address::Tcp { host: Host::Name(name.into()), port }
}

fn ip(ip: &str, port: u16) -> Address {
    let host = match ip.parse().unwrap() {
        IpAddr::V4(ip) => Host::V4(ip),
        IpAddr::V6(ip) => Host::V6(ip, String::new()),
    };
    Address::Tcp { host, port }
}

#[test]
fn addresses_are_read_and_written() {
    let zoned = Host::V6("fe80::1".parse().unwrap(), "eth0".into());
    for (text, address, shown) in [
        ("127.0.0.1:8000", ip("127.0.0.1", 8000), "127.0.0.1:8000"),
        ("127.0.0.1:0", ip("127.0.0.1", 0), "127.0.0.1:0"),
        ("0.0.0.0:65535", ip("0.0.0.0", 65535), "0.0.0.0:65535"),
        (":8000", ip("0.0.0.0", 8000), "0.0.0.0:8000"),
        ("[::1]:8000", ip("::1", 8000), "[::1]:8000"),
        ("[0:0::0:1]:80", ip("::1", 80), "[::1]:80"),
        ("[::]:8000", ip("::", 8000), "[::]:8000"),
        ("[::ffff:1.2.3.4]:1", ip("::ffff:1.2.3.4", 1), "[::ffff:1.2.3.4]:1"),
        ("[fe80::1%eth0]:80", Address::Tcp { host: zoned, port: 80 }, "[fe80::1%eth0]:80"),
        ("localhost:8000", name("localhost", 8000), "localhost:8000"),
        ("My-Host.example.:80", name("my-host.example.", 80), "my-host.example.:80"),
        ("a_b:1", name("a_b", 1), "a_b:1"),
        ("127.0.0.1.example:1", name("127.0.0.1.example", 1), "127.0.0.1.example:1"),
        ("tcp://127.0.0.1:8000", ip("127.0.0.1", 8000), "127.0.0.1:8000"),
        ("http://127.0.0.1:8000", ip("127.0.0.1", 8000), "127.0.0.1:8000"),
        ("HTTP://[::1]:8000", ip("::1", 8000), "[::1]:8000"),
        ("http://:8000", ip("0.0.0.0", 8000), "0.0.0.0:8000"),
        ("unix:/run/x.sock", Address::Unix("/run/x.sock".into()), "unix:/run/x.sock"),
        ("unix:///run/x.sock", Address::Unix("/run/x.sock".into()), "unix:/run/x.sock"),
        ("unix:@app x", Address::Abstract("app x".into()), "unix:@app x"),
        ("unix://@app", Address::Abstract("app".into()), "unix:@app"),
        ("unix:./@app", Address::Unix("./@app".into()), "unix:./@app"),
        ("unix:x.sock", Address::Unix("x.sock".into()), "unix:x.sock"),
        ("unix:/a b+c:1", Address::Unix("/a b+c:1".into()), "unix:/a b+c:1"),
        ("unix:/http://x", Address::Unix("/http://x".into()), "unix:/http://x"),
        ("http+unix:/run/x.sock", Address::Unix("/run/x.sock".into()), "unix:/run/x.sock"),
        ("fd://3", Address::Fd(3), "fd://3"),
        ("http+fd://0", Address::Fd(0), "fd://0"),
        ("systemd:", Address::Passed(String::new()), "systemd:"),
        ("systemd:web", Address::Passed("web".into()), "systemd:web"),
        ("fd://web", Address::Passed("web".into()), "systemd:web"),
        ("http+SYSTEMD:web.socket", Address::Passed("web.socket".into()), "systemd:web.socket"),
    ] {
        let listener: Listener = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(listener, Listener::new(address), "{text}");
        assert_eq!(listener.to_string(), shown);
        assert_eq!(shown.parse::<Listener>().unwrap(), listener);
    }
}

#[test]
fn what_is_not_an_address_is_refused_with_a_hint() {
    let long_path = format!("unix:/{}", "x".repeat(107));
    let long_name_of_socket = format!("unix:@{}", "x".repeat(108));
    let long_name = format!("{}:1", "abcd.".repeat(51));
    let long_label = format!("{}:1", "x".repeat(64));
    for (text, message) in [
        ("", "address '': it is empty: write 127.0.0.1:8000"),
        ("http://", "address 'http://': it is empty: write 127.0.0.1:8000"),
        (
            "8000",
            "address '8000': a port alone: write 127.0.0.1:8000 for this machine only, \
             :8000 for all interfaces",
        ),
        ("127.0.0.1", "address '127.0.0.1': no port: write 127.0.0.1:8000"),
        ("localhost", "address 'localhost': no port: write localhost:8000"),
        ("[::1]", "address '[::1]': no port: write [::1]:8000"),
        ("[::1]8000", "address '[::1]8000': after ']' comes ':' and the port"),
        ("[::1", "address '[::1': no ']' after the IPv6 address"),
        ("::1", "address '::1': an IPv6 address stands in brackets: [::1]:8000"),
        ("::1:8000", "address '::1:8000': an IPv6 address stands in brackets: [::1]:8000"),
        ("[1.2.3.4]:80", "address '[1.2.3.4]:80': '1.2.3.4' is not an IPv6 address"),
        ("[::1%]:80", "address '[::1%]:80': '' is not the name of an interface"),
        ("[::1%..]:80", "address '[::1%..]:80': '..' is not the name of an interface"),
        ("[::1%a/b]:80", "address '[::1%a/b]:80': an address has no path: write [::1%a"),
        ("localhost:", "address 'localhost:': the port is missing after ':'"),
        ("localhost:http", "address 'localhost:http': 'http' is not a port (0 to 65535)"),
        ("localhost:65536", "address 'localhost:65536': '65536' is not a port (0 to 65535)"),
        ("localhost:+80", "address 'localhost:+80': '+80' is not a port (0 to 65535)"),
        (":99999999999999999999", "'99999999999999999999' is not a port (0 to 65535)"),
        ("999.1.1.1:80", "address '999.1.1.1:80': '999.1.1.1' is not an IPv4 address"),
        ("127.1:80", "address '127.1:80': '127.1' is not an IPv4 address"),
        ("*:80", "address '*:80': all interfaces are written :80"),
        ("a b:80", "address 'a b:80': 'a b' is not the name of a host"),
        ("-a:80", "'-a' is not the name of a host"),
        ("a..b:80", "'a..b' is not the name of a host"),
        ("é:80", "'é' is not the name of a host"),
        (&long_name, "is not the name of a host"),
        (&long_label, "is not the name of a host"),
        ("127.0.0.1:80/", "an address has no path: write 127.0.0.1:80"),
        ("http://127.0.0.1:80/x", "an address has no path: write 127.0.0.1:80"),
        ("/run/x", "address '/run/x': a socket in the file system is written unix:/run/x"),
        ("unix:", "address 'unix:': no path: write unix:/run/app.sock"),
        ("unix://", "address 'unix://': no path: write unix:/run/app.sock"),
        ("unix:/a\nb", "address 'unix:/a\\nb': it contains the control character '\\n'"),
        ("unix:@", "address 'unix:@': no name: write unix:@name"),
        (&long_name_of_socket, "the name of a socket has 107 octets at most, this one has 108"),
        ("unix:\0x", "a socket in the abstract namespace is written unix:@name"),
        ("unix:/a\0b", "it contains the control character '\\0'"),
        (&long_path, "the path of a socket has 107 octets at most, this one has 108"),
        ("fd://", "address 'fd://': a descriptor is a number: fd://3"),
        ("fd://-1", "address 'fd://-1': a descriptor is a number: fd://3"),
        ("fd://2147483648", "a descriptor is a number: fd://3"),
        ("fd://3x", "a descriptor is a number: fd://3"),
        ("systemd:a:b", "address 'systemd:a:b': 'a:b' is not the name of a socket"),
        ("fd://a b", "'a b' is not the name of a socket"),
    ] {
        let error = text.parse::<Listener>().expect_err(text);
        assert_eq!(error.kind(), Kind::Invalid, "{text}");
        if message.starts_with("address") {
            assert_eq!(error.message(), message);
        } else {
            assert!(error.message().ends_with(message), "{}", error.message());
        }
    }
}

#[test]
fn protocols_are_known_by_name_and_number() {
    for (text, kind, message) in [
        ("https://:443", Kind::Unsupported, "https (TLS) is not in this version"),
        ("gopher://:70", Kind::Unknown, "no protocol named 'gopher'"),
        ("x+unix:/x", Kind::Unknown, "no protocol named 'x'"),
    ] {
        let error = text.parse::<Listener>().expect_err(text);
        assert_eq!(error.kind(), kind, "{text}");
        assert!(error.message().ends_with(message), "{}", error.message());
    }
    for (code, protocol) in [
        (0, Protocol::Http),
        (1, Protocol::Uwsgi),
        (2, Protocol::FastCgi),
        (3, Protocol::Scgi),
        (4, Protocol::Auto),
    ] {
        assert_eq!(Protocol::from_code(code).unwrap(), protocol);
        assert_eq!(Protocol::from_name(protocol.name()).unwrap(), protocol);
    }
    for text in [
        "uwsgi://127.0.0.1:3031",
        "uwsgi+unix:/run/app.sock",
        "fastcgi://[::1]:9000",
        "scgi+fd://3",
        "scgi://[::1]:9",
        "auto://[::1]:9",
        "auto+unix:/run/app.sock",
        "uwsgi+unix:@app",
        "fastcgi+systemd:web",
    ] {
        assert_eq!(text.parse::<Listener>().unwrap().to_string(), text);
    }
    assert_eq!(Protocol::from_code(5).unwrap_err().kind(), Kind::Unknown);
    // Where the text does not say, somebody else may have.
    let read = |text| Listener::read(text, Protocol::Uwsgi).unwrap().protocol;
    assert_eq!((read("unix:/x"), read("scgi+unix:/x")), (Protocol::Uwsgi, Protocol::Scgi));
}

#[test]
fn addresses_resolve_when_they_are_bound() {
    let resolve = |text: &str| text.parse::<Listener>().unwrap().address.resolve();
    assert_eq!(resolve("127.0.0.1:80").unwrap(), ["127.0.0.1:80".parse().unwrap()]);
    assert_eq!(resolve("[::1]:80").unwrap(), ["[::1]:80".parse().unwrap()]);
    assert_eq!(resolve("[fe80::1%7]:80").unwrap(), ["[fe80::1%7]:80".parse().unwrap()]);
    assert!(resolve("localhost:80").unwrap().iter().all(|a| a.ip().is_loopback()));
    assert_eq!(resolve("unix:/x").unwrap(), []);
    assert_eq!(resolve("fd://3").unwrap(), []);
    let error = resolve("[fe80::1%nosuchif]:80").unwrap_err();
    assert_eq!(error.kind(), Kind::Io);
    assert!(error.message().starts_with("look up the network interface nosuchif: "));
}

#[test]
fn options_are_read_and_shown() {
    let all = "127.0.0.1:80?backlog=64&nodelay=0&defer_accept=5&fastopen=16&rcvbuf=65536&\
               sndbuf=131072&reuse_port=1";
    let listener: Listener = all.parse().unwrap();
    assert_eq!((listener.backlog, listener.reuse_port, listener.mode), (64, true, 0));
    let socket = Tuning {
        nodelay: Some(false),
        defer_accept: Some(5),
        fastopen: Some(16),
        rcvbuf: Some(65_536),
        sndbuf: Some(131_072),
    };
    assert_eq!(listener.socket, socket);
    assert_eq!(listener.to_string(), all);
    // Options that have another value here.
    let own = "uwsgi://127.0.0.1:80?trust=10.0.0.0/8,::1&proxy_protocol=v2&proxy_allow_ips=unix&\
               forwarded_for=1&max_body=8k&limit_request_fields=9&header_timeout=5s&keepalive=0";
    let listener: Listener = own.parse().unwrap();
    assert!(listener.has_own());
    let shown = own.replace("keepalive=0", "keepalive=0s");
    let settings = Settings::default().of(&listener);
    let value = |name| settings.get(name).unwrap();
    assert_eq!(value("forwarded_allow_ips"), "10.0.0.0/8,::1");
    assert_eq!((value("proxy_protocol"), value("proxy_allow_ips")), ("v2".into(), "unix".into()));
    assert_eq!((settings.max_body, settings.limit_request_fields), (8192, 9));
    assert_eq!(shown.parse::<Listener>().unwrap(), listener);
    assert_eq!(listener.to_string().parse::<Listener>().unwrap(), listener);
    // The last one counts, and a list of listeners knows what belongs to one of them.
    let mut settings = Settings::default();
    settings
        .set("bind", ":1?trust=10.0.0.1, ::1,unix&max_body=1&max_body=2,:2,:3?trust=*")
        .unwrap();
    let bound: Vec<_> = settings.listeners.iter().map(Listener::to_string).collect();
    let expected =
        ["0.0.0.0:1?trust=10.0.0.1,::1,unix&max_body=2", "0.0.0.0:2", "0.0.0.0:3?trust=*"];
    assert_eq!(bound, expected);

    let text = "unix:/x?mode=660&owner=www-data:adm";
    let listener: Listener = text.parse().unwrap();
    assert_eq!((listener.mode, listener.address.clone()), (0o660, Address::Unix("/x".into())));
    assert_eq!(listener.owner, Some(("www-data".into(), "adm".into())));
    assert_eq!(listener.to_string(), text);
    // As the text of the struct has it.
    let mut other = Listener::new(Address::Unix("/x".into()));
    other.set_options("  mode=660\towner=www-data:adm\n", char::is_whitespace).unwrap();
    assert_eq!(other, listener);
    for (text, shown) in [
        ("unix:/x?", "unix:/x"),
        ("http://:80?nodelay=off&rcvbuf=8k", "0.0.0.0:80?nodelay=0&rcvbuf=8192"),
        ("fd://3?backlog=7&defer_accept=1m", "fd://3?backlog=7&defer_accept=60"),
        ("unix:/x?owner=:33&mode=0600", "unix:/x?mode=600&owner=:33"),
    ] {
        let listener: Listener = text.parse().unwrap();
        assert_eq!(listener.to_string(), shown);
        assert_eq!(shown.parse::<Listener>().unwrap(), listener);
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for (text, kind, message) in [
        (":1?backlog=0", Kind::Invalid, "backlog = '0': expected a whole number from 1 to 65535"),
        (":1?backlog=65536", Kind::Invalid, "expected a whole number from 1 to 65535"),
        (":1?nodelay=maybe", Kind::Invalid, "nodelay = 'maybe': expected 1 or 0"),
        (":1?defer_accept=500ms", Kind::Invalid, "expected whole seconds, up to 1h"),
        (":1?defer_accept=2h", Kind::Invalid, "expected whole seconds, up to 1h"),
        (":1?fastopen=-1", Kind::Invalid, "expected a whole number from 0 to 65535"),
        (":1?rcvbuf=100", Kind::Invalid, "rcvbuf = '100': expected a size from 1k to 1g"),
        (":1?sndbuf=2g", Kind::Invalid, "expected a size from 1k to 1g"),
        ("unix:/x?mode=8", Kind::Invalid, "mode = '8': expected octal digits up to 777"),
        ("unix:/x?mode=1777", Kind::Invalid, "expected octal digits up to 777"),
        ("unix:/x?mode=0", Kind::Invalid, "expected octal digits up to 777"),
        ("unix:/x?owner=", Kind::Invalid, "owner = '': expected user, user:group or :group"),
        ("unix:/x?owner=:", Kind::Invalid, "expected user, user:group or :group"),
        ("unix:/x?owner=a:b:c", Kind::Invalid, "expected user, user:group or :group"),
        (
            ":1?trust=10.0.0.0/33",
            Kind::Invalid,
            "trust = '10.0.0.0/33': expected addresses, networks (10.0.0.0/8) and unix, separated \
             by commas, * for everybody, or none",
        ),
        (
            ":1?proxy_protocol=v3",
            Kind::Invalid,
            "proxy_protocol = 'v3': expected off, v1, v2, auto, 0 or 1",
        ),
        (":1?backlog", Kind::Invalid, "'backlog': write key=value"),
        (
            ":1?reuseport=1",
            Kind::Unknown,
            "no listener option 'reuseport': known are backlog, nodelay, defer_accept, fastopen, \
             rcvbuf, sndbuf, reuse_port, mode, owner, trust, forwarded_for, proxy_protocol, \
             proxy_allow_ips, max_body, limit_request_line, limit_request_fields, \
             limit_request_field_size, limit_request_head, header_timeout, body_timeout, \
             write_timeout, keepalive, metrics_path, stats_path, stats_only",
        ),
    ] {
        let error = text.parse::<Listener>().expect_err(text);
        assert_eq!(error.kind(), kind, "{text}");
        assert!(error.message().starts_with(&format!("address '{text}': ")), "{error}");
        assert!(error.message().ends_with(message), "{error}");
    }
}
