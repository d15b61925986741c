//! Heads: request lines, targets, fields, and what they say about connection and expectation.

use crate::table::Table;

#[test]
fn request_lines() {
    let mut t = Table::default();
    t.line("RFC 9112 3: method SP target SP version", "GET / HTTP/1.1", "GET / 1.1 keep");
    t.line("RFC 9110 9.1: any token is a method", "M-SEARCH / HTTP/1.1", "M-SEARCH / 1.1 keep");
    t.line("RFC 9110 9.1: methods are case-sensitive", "get / HTTP/1.1", "get / 1.1 keep");
    t.line("RFC 9110 5.6.2: all tchar", "!#$%&'*+-.^_`|~0aZ / HTTP/1.1", "!#$%&\\'*+-.^_`|~0aZ / 1.1 keep");
    t.line("RFC 9110 9.3.2: HEAD", "HEAD /x HTTP/1.1", "HEAD /x 1.1 keep");
    t.line("RFC 9110 9.1: lower-case head is another method", "head / HTTP/1.1", "head / 1.1 keep");
    for octet in 0..=255_u8 {
        let token = octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet);
        if !token && octet != b'\n' && octet != b' ' {
            let line = [b"G", &[octet][..], b"T / HTTP/1.1"].concat();
            t.line(&format!("RFC 9110 5.6.2: octet {octet:#04x} in a method"), line, "400");
            let line = [&[octet][..], b"GET / HTTP/1.1"].concat();
            t.line(&format!("RFC 9112 3: octet {octet:#04x} before the method"), line, "400");
        }
    }
    t.line("RFC 9112 3: white space before the method", " GET / HTTP/1.1", "400");
    t.line("RFC 9112 3: two spaces before the target", "GET  / HTTP/1.1", "400");
    t.line("RFC 9112 3: two spaces before the version", "GET /  HTTP/1.1", "400");
    t.line("RFC 9112 3: a tab before the target", "GET\t/ HTTP/1.1", "400");
    t.line("RFC 9112 3: a tab before the version", "GET /\tHTTP/1.1", "400");
    t.line("RFC 9112 3: space behind the version", "GET / HTTP/1.1 ", "400");
    t.line("RFC 9112 3: four words", "GET / / HTTP/1.1", "400");
    t.line("RFC 9112 3: no method", "/ HTTP/1.1", "400");
    t.line("RFC 9112 3: no target", "GET HTTP/1.1", "400");
    t.line("RFC 9112 3: empty target", "GET  HTTP/1.1", "400");
    t.line("RFC 9112 3: only a method", "GET", "400");
    t.line("RFC 9112 3: method and space", "GET ", "400");
    t.line("RFC 9112 3: HTTP/0.9", "GET /", "400");
    t.line("RFC 9112 3: only a version", "HTTP/1.1", "400");
    t.line("RFC 9112 3: a response", "HTTP/1.1 200 OK", "400");
    t.line("RFC 9112 2.2: bare CR in the request line", "GET /\r HTTP/1.1", "400");
    t.line("RFC 9112 2.2: CR CR LF", "GET / HTTP/1.1\r", "400");
    t.add("RFC 9112 2.2: bare LF", "GET / HTTP/1.1\nHost: h\r\n\r\n", "400");
    t.add("5.10: one empty line is tolerated", "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / 1.1 keep");
    t.add("5.10: two empty lines", "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "400");
    t.add("5.10: an empty line ended by LF", "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "400");
    t.add("5.10: CRLF, then LF", "\r\n\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "400");
    t.add("5.10: CRLF, then CR", "\r\n\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", "400");
    t.add("5.10: CR alone before a request", "\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", "400");
    t.add("5.10: a lone CRLF is idleness", "\r\n", "");
    t.add("5.10: half of it, too", "\r", "");
    t.add("5.10: a second CR is none", "\r\n\r", "waiting");
    t.add("nothing at all", "", "");
    t.add("the first octet ends idleness", "G", "waiting");
    t.add("RFC 9112 2: a head without its end", "GET / HTTP/1.1\r\nHost: h\r\n", "waiting");
    t.add("RFC 9112 2: a head without its last LF", "GET / HTTP/1.1\r\nHost: h\r\n\r", "waiting");
    t.add("another protocol: TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "400");
    t.add("another protocol: the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505");
    t.add("another protocol: SSH", "SSH-2.0-OpenSSH_9.6\r\n", "400");
    t.add("another protocol: PROXY", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "400");
    t.run();
}

#[test]
fn versions() {
    let mut t = Table::default();
    t.line("RFC 9112 2.3: 1.1", "GET / HTTP/1.1", "GET / 1.1 keep");
    t.line("RFC 9112 2.3: 1.0", "GET / HTTP/1.0", "GET / 1.0 close");
    for minor in 2..=9 {
        t.line(&format!("RFC 9110 2.5: 1.{minor} is read as 1.1"), format!("GET / HTTP/1.{minor}"), "GET / 1.1 keep");
    }
    for version in ["0.9", "2.0", "3.0", "9.9", "0.0", "2.1"] {
        t.line(&format!("RFC 9110 15.6.6: version {version}"), format!("GET / HTTP/{version}"), "505");
    }
    for version in [
        "HTTP/1.", "HTTP/.1", "HTTP/1", "HTTP/11", "HTTP/1.10", "HTTP/01.1", "HTTP/1.1.1", "http/1.1", "Http/1.1",
        "HTTP 1.1", "HTTPS/1.1", "HTTP/1,1", "HTTP/a.1", "HTTP/1.a", "HTTP\\1.1", "HTTP/-1.1", "HTTP/ 1.1", "HTTP/2",
        "XTTP/1.1", "HTTP/1.1;", "HTTP/\u{661}.1",
    ] {
        t.line(&format!("RFC 9112 2.3: malformed {version}"), format!("GET / {version}"), "400");
    }
    t.run();
}

#[test]
fn targets() {
    let mut t = Table::default();
    t.line("RFC 9112 3.2.1: path and query", "GET /a/b?c=d&e HTTP/1.1", "GET /a/b?c=d&e 1.1 keep");
    t.line("RFC 9112 3.2.1: an empty query", "GET /a? HTTP/1.1", "GET /a 1.1 keep");
    t.line("RFC 3986 3.4: a question mark in a query", "GET /?a?b HTTP/1.1", "GET /?a?b 1.1 keep");
    t.line("RFC 9112 3.2.1: two slashes are a path", "GET //a HTTP/1.1", "GET //a 1.1 keep");
    t.line("RFC 3986 3.3: dots are the application's", "GET /../a/./b HTTP/1.1", "GET /../a/./b 1.1 keep");
    t.line("RFC 3986 2.1: encoded octets stay", "GET /%41%7e%2F%ff HTTP/1.1", "GET /%41%7e%2F%ff 1.1 keep");
    t.line("RFC 3986 3.3: pchar", "GET /:@-._~!$&'()*+,;= HTTP/1.1", "GET /:@-._~!$&\\'()*+,;= 1.1 keep");
    t.line("5.10: visible ASCII that browsers send", "GET /|^`{}\"<>[]\\ HTTP/1.1", "GET /|^`{}\\\"<>[]\\\\ 1.1 keep");
    t.line("the query is not decoded: a percent sign may be anything", "GET /?100%&%zz%00 HTTP/1.1", "GET /?100%&%zz%00 1.1 keep");
    for octet in (0..=0x20_u8).chain(0x7F..=0xFF) {
        if octet == b'\n' {
            continue;
        }
        let line = [b"GET /a", &[octet][..], b"b HTTP/1.1"].concat();
        t.line(&format!("5.10: octet {octet:#04x} in a path"), line, "400");
        let line = [b"GET /?a", &[octet][..], b"b HTTP/1.1"].concat();
        t.line(&format!("5.10: octet {octet:#04x} in a query"), line, "400");
    }
    for path in ["/%", "/%4", "/%4g", "/%g4", "/%%41", "/a%2", "/%u0041", "/% 41", "/%0x", "/%?"] {
        t.line(&format!("RFC 3986 2.1: malformed {path}"), format!("GET {path} HTTP/1.1"), "400");
    }
    t.line("no NUL reaches a C string: %00", "GET /a%00b HTTP/1.1", "400");
    t.line("no NUL: %00 at the end", "GET /%00 HTTP/1.1", "400");
    t.line("RFC 9112 3.2: a fragment", "GET /a#b HTTP/1.1", "400");
    t.line("RFC 9112 3.2: a fragment behind a query", "GET /a?b#c HTTP/1.1", "400");
    t.line("RFC 9112 3.2: a fragment alone", "GET # HTTP/1.1", "400");

    for target in ["a", "a/b", "?a", "./", "../a", "example.com", "example.com:80", "%2F", ".", "@"]
    {
        t.line(&format!("5.10: relative target {target}"), format!("GET {target} HTTP/1.1"), "400");
    }

    t.line("RFC 9112 3.2.2: absolute form", "GET http://a.b/c?d HTTP/1.1", "GET absolute //a.b /c?d 1.1 keep");
    t.line("RFC 9112 3.2.2: https", "GET https://a.b/c HTTP/1.1", "GET absolute //a.b /c 1.1 keep");
    t.line("RFC 3986 3.1: schemes ignore case", "GET HtTp://a/ HTTP/1.1", "GET absolute //a / 1.1 keep");
    t.line("RFC 9112 3.2.2: with a port", "GET http://a:81/ HTTP/1.1", "GET absolute //a:81 / 1.1 keep");
    t.line("RFC 3986 3.2.3: an empty port", "GET http://a:/ HTTP/1.1", "GET absolute //a: / 1.1 keep");
    t.line("RFC 9110 4.2.3: no path", "GET http://a HTTP/1.1", "GET absolute //a  1.1 keep");
    t.line("RFC 9110 4.2.3: no path, a query", "GET http://a?b HTTP/1.1", "GET absolute //a ?b 1.1 keep");
    t.line("RFC 3986 3.2.2: IPv6", "GET http://[::1]:80/ HTTP/1.1", "GET absolute //[::1]:80 / 1.1 keep");
    t.line("RFC 9112 3.2.4: OPTIONS for a host", "OPTIONS http://a HTTP/1.1", "OPTIONS absolute //a  1.1 keep");
    for target in [
        "http:///a", "http://", "http://:80/", "http:/a", "http:a", "ftp://a/", "ws://a/", "file:///a", "httpx://a/",
        "://a/", "http//a/", "urn:a:b", "http://a:b/", "http://a:65536/", "http://a:1:2/", "http://u@a/",
        "http://u:p@a/", "http://[::1/", "http://::1/", "http://[::1]a/", "http://[::g]/", "http://a%/",
        "http://a%4/", "http://a/#b", "http://a#b", "http://a?b#c", "http://a/%", "http://a/%00", "http://a\\b/",
        "http://<a>/", "http://a|b/", "http://a,/%2", "https://", "http://?a",
    ] {
        t.line(&format!("RFC 9112 3.2.2: malformed {target}"), format!("GET {target} HTTP/1.1"), "400");
    }
    t.add("RFC 9112 3.2.2: the target's authority wins over Host", "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", "GET absolute //a / 1.1 keep");
    t.add("RFC 9112 3.2: Host is required in the absolute form, too", "GET http://a/ HTTP/1.1\r\n\r\n", "400");

    t.line("RFC 9112 3.2.3: CONNECT", "CONNECT a.b:443 HTTP/1.1", "CONNECT authority //a.b:443  1.1 close");
    t.line("RFC 9112 3.2.3: CONNECT to IPv6", "CONNECT [::1]:1 HTTP/1.1", "CONNECT authority //[::1]:1  1.1 close");
    t.line("RFC 9110 9.1: lower-case connect is another method", "connect /a HTTP/1.1", "connect /a 1.1 keep");
    for target in [
        "a", "a:", "a:0", "a:x", "a:65536", ":443", "/", "/a", "*", "http://a/", "http://a:80", "u@a:443", "a:443/",
        "a:443?", "[::1]", "a b:1", "a:+1", "a:1#", "[::1]443",
    ] {
        t.line(&format!("RFC 9110 9.3.6: CONNECT {target}"), format!("CONNECT {target} HTTP/1.1"), "400");
    }

    t.line("RFC 9112 3.2.4: OPTIONS *", "OPTIONS * HTTP/1.1", "OPTIONS * 1.1 keep");
    t.line("RFC 9112 3.2.4: OPTIONS of a path", "OPTIONS /a HTTP/1.1", "OPTIONS /a 1.1 keep");
    for method in ["GET", "HEAD", "POST", "options", "TRACE"] {
        t.line(&format!("5.10: {method} *"), format!("{method} * HTTP/1.1"), "400");
    }
    t.line("RFC 9112 3.2.4: two asterisks", "OPTIONS ** HTTP/1.1", "400");
    t.line("RFC 9112 3.2.4: an asterisk with a query", "OPTIONS *?a HTTP/1.1", "400");
    t.run();
}

#[test]
fn hosts() {
    let mut t = Table::default();
    for host in [
        "a", "a.b.c", "a:80", "a:", "1.2.3.4", "1.2.3.4:80", "[::1]", "[::1]:80", "[2001:db8::1]:",
        "[::ffff:1.2.3.4]", "[v7.a:b]", "a_b", "xn--caf-dma", "caf%C3%A9", "a-b.c~d!$&'()*+,;=", "a:65535", "a:0",
        "A.B", "a.",
    ] {
        t.host(&format!("RFC 9110 7.2: Host {host}"), &format!("Host: {host}"), "GET / 1.1 keep");
    }
    t.host("RFC 9110 7.2: an empty Host", "Host:", "GET / 1.1 keep");
    t.host("RFC 9110 5.5: white space around the value", "Host: \t a \t ", "GET / 1.1 keep");
    t.host("RFC 9110 5.1: names ignore case", "hOsT: a", "GET / 1.1 keep");
    for host in [
        "a b", "a, b", "a/b", "a/", "http://a", "u@a", "a:b", "a:65536", "a:99999999999999999999", "a:1:2", ":80",
        ":", "[::1", "::1", "[::1]a", "[]", "[::g]", "[fe80::1%25eth0]", "[1.2.3.4]", "[v.a]", "[vg.a]", "[v1.]",
        "a%", "a%4", "a%zz", "a?b", "a#b", "a\\b", "<a>", "a\"b", "a|b", "a^b", "`a`", "{a}", "caf\u{e9}", "a\tb",
        "a:80 ,b", "a:-1", "a:8 0",
    ] {
        t.host(&format!("RFC 9112 3.2: malformed Host {host}"), &format!("Host: {host}"), "400");
    }
    t.host("RFC 9112 3.2: no Host in 1.1", "", "400");
    t.host("RFC 9112 3.2: no Host, another field", "X-Host: a", "400");
    t.host("5.10: two Hosts", "Host: a\r\nHost: b", "400");
    t.host("5.10: the same Host twice", "Host: a\r\nhost: a", "400");
    t.host("5.10: a Host and an empty one", "Host: a\r\nHost:", "400");
    t.add("RFC 9112 3.2: 1.0 needs none", "GET / HTTP/1.0\r\n\r\n", "GET / 1.0 close");
    t.add("RFC 9112 3.2: two Hosts in 1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", "400");
    t.add("RFC 9112 3.2: malformed Host in 1.0", "GET / HTTP/1.0\r\nHost: a b\r\n\r\n", "400");
    t.add("RFC 9110 2.5: 1.9 needs Host", "GET / HTTP/1.9\r\n\r\n", "400");
    t.run();
}

#[test]
fn field_lines() {
    let mut t = Table::default();
    t.get("RFC 9112 5: name, colon, value", "A: b", "GET / 1.1 keep");
    t.get("RFC 9110 5.5: an empty value", "A:", "GET / 1.1 keep");
    t.get("RFC 9110 5.5: a value of white space", "A: \t ", "GET / 1.1 keep");
    t.get("RFC 9112 5: no white space behind the colon", "A:b", "GET / 1.1 keep");
    t.get("RFC 9110 5.6.2: tchar in a name", "!#$%&'*+-.^_`|~0: b", "GET / 1.1 keep");
    t.get("RFC 9110 5.5: obs-text in a value", b"A: \x80\xff\xc3\xa9", "GET / 1.1 keep");
    t.get("RFC 9110 5.5: a tab in a value", "A: b\tc", "GET / 1.1 keep");
    t.get("RFC 9110 5.5: colons in a value", "A: b:c: d", "GET / 1.1 keep");
    t.get("RFC 9110 5.3: a field twice", "A: b\r\nA: c", "GET / 1.1 keep");
    t.get("RFC 9110 8.3: one Content-Type", "Content-Type: a/b", "GET / 1.1 keep");
    t.get("5.10: two Content-Types", "Content-Type: a/b\r\nContent-Type: a/b", "400");
    t.get("5.10: Content-Type in another spelling", "Content-Type: a/b\r\nCONTENT-TYPE: c/d", "400");
    for octet in 0..=255_u8 {
        let token = octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet);
        if !token && octet != b':' && octet != b'\n' {
            let line = [b"A", &[octet][..], b"B: c"].concat();
            t.get(&format!("RFC 9112 5: octet {octet:#04x} in a name"), line, "400");
        }
        let control = (octet < 0x20 && octet != b'\t') || octet == 0x7F;
        if control && octet != b'\n' {
            let line = [b"A: b", &[octet][..], b"c"].concat();
            t.get(&format!("5.10: octet {octet:#04x} in a value"), line, "400");
            let line = [b"A: ", &[octet][..]].concat();
            t.get(&format!("5.10: a value of octet {octet:#04x}"), line, "400");
            let line = [b"A:", &[octet][..], b" b"].concat();
            t.get(&format!("5.10: octet {octet:#04x} before a value"), line, "400");
        }
    }
    t.get("5.10: space before the colon", "A : b", "400");
    t.get("5.10: tab before the colon", "A\t: b", "400");
    t.get("RFC 9112 5.1: a name of space", " : b", "400");
    t.get("RFC 9112 5: an empty name", ": b", "400");
    t.get("RFC 9112 5: no colon", "A", "400");
    t.get("RFC 9112 5: no colon, two words", "A b", "400");
    t.get("5.10: folded with a space", "A: b\r\n c", "400");
    t.get("5.10: folded with a tab", "A: b\r\n\tc", "400");
    t.get("5.10: folded behind an empty value", "A:\r\n b", "400");
    t.get("5.10: a line of white space", "A: b\r\n \r\nC: d", "400");
    t.host("RFC 9112 2.2: white space before the first field", " Host: h", "400");
    t.host("RFC 9112 2.2: a folded request line", " x\r\nHost: h", "400");
    t.get("5.10: bare LF behind a field", "A: b\nC: d", "400");
    t.get("5.10: bare LF at the end of the head", "A: b\r\n\n", "400");
    t.get("5.10: LF LF", "A: b\n", "400");
    t.get("5.10: bare LF in a name", "A\nB: c", "400");
    t.get("5.10: bare CR in a name", "A\rB: c", "400");
    t.get("5.10: bare CR in a value", "A: b\rc", "400");
    t.get("5.10: CR CR LF behind a value", "A: b\r", "400");
    t.get("5.10: CR before the colon", "A\r: b", "400");
    t.get("5.10: LF CR", "A: b\n\rC: d", "400");
    t.add("RFC 9112 2.2: CR CR LF ends no head", "GET / HTTP/1.1\r\nHost: h\r\n\r\r\n\r\n", "400");
    t.add("5.10: CR, then more", "GET / HTTP/1.1\r\nHost: h\r\n\rA: b\r\n\r\n", "400");
    t.get("5.10: NUL in a value", "A: b\0c", "400");
    t.get("RFC 9112 5: a name in quotes", "\"A\": b", "400");
    t.get("underscores are for the environ to judge", "A_B: c", "GET / 1.1 keep");
    t.run();
}

#[test]
fn connections() {
    let mut t = Table::default();
    t.get("RFC 9112 9.3: 1.1 keeps", "A: b", "GET / 1.1 keep");
    for value in [
        "close", "Close", "CLOSE", "close, TE", "TE, close", "keep-alive, close", "close,keep-alive", " , close",
        "close,,", "\tclose\t", "upgrade ,close",
    ] {
        t.get(&format!("RFC 9110 7.6.1: Connection {value:?}"), format!("Connection: {value}"), "GET / 1.1 close");
    }
    for value in
        ["keep-alive", "TE", "", ",", "closed", "close-x", "x-close", "Upgrade, HTTP2-Settings"]
    {
        t.get(&format!("RFC 9110 7.6.1: Connection {value:?}"), format!("Connection: {value}"), "GET / 1.1 keep");
    }
    for value in ["close;a", "close close", "\"close\"", "close=1", "close, a b", "@", "close/1"] {
        t.get(&format!("RFC 9110 7.6.1: malformed {value:?}"), format!("Connection: {value}"), "400");
    }
    t.get("RFC 9110 7.6.1: two fields", "Connection: TE\r\nConnection: close", "GET / 1.1 close");
    t.get("RFC 9110 7.6.1: any spelling of the name", "CONNECTION: close", "GET / 1.1 close");
    let old = |fields: &str| format!("GET / HTTP/1.0\r\n{fields}\r\n\r\n");
    t.add("RFC 9112 9.3: 1.0 closes", old("A: b"), "GET / 1.0 close");
    t.add("RFC 9112 9.3: 1.0 keeps when asked", old("Connection: keep-alive"), "GET / 1.0 keep");
    t.add("RFC 9112 9.3: in any spelling", old("Connection: Keep-Alive"), "GET / 1.0 keep");
    t.add("RFC 9112 9.3: among others", old("Connection: TE, keep-alive"), "GET / 1.0 keep");
    t.add("RFC 9112 9.3: close wins", old("Connection: keep-alive, close"), "GET / 1.0 close");
    t.add("RFC 9112 9.3: Keep-Alive is not Connection", old("Keep-Alive: timeout=5"), "GET / 1.0 close");
    t.add("5.10: CONNECT never keeps", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", "CONNECT authority //a:1  1.1 close");
    t.add("RFC 9112 9.3.2: pipelined", "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n", "GET /1 1.1 keep | GET /2 1.1 keep");
    t.add("RFC 9112 9.3.2: with an empty line between", "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n", "GET /1 1.1 keep | GET /2 1.1 keep");
    t.add("RFC 9112 9.3.2: with two", "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n", "GET /1 1.1 keep | 400");
    t.run();
}

#[test]
fn expectations() {
    let mut t = Table::default();
    let post = |version: &str, fields: &str, rest: &str| {
        format!("POST / HTTP/{version}\r\nHost: h\r\n{fields}\r\n\r\n{rest}")
    };
    let want = "POST / 1.1 keep length=1 expect body=a";
    for value in ["100-continue", "100-Continue", "100-CONTINUE", " 100-continue ", "100-continue,"]
    {
        t.add(&format!("RFC 9110 10.1.1: {value:?}"), post("1.1", &format!("Expect: {value}\r\nContent-Length: 1"), "a"), want);
    }
    t.add("RFC 9110 10.1.1: chunked", post("1.1", "Expect: 100-continue\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), "POST / 1.1 keep chunked expect");
    t.add("RFC 9110 10.1.1: twice", post("1.1", "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 1", "a"), want);
    t.add("RFC 9110 10.1.1: 1.0 does not know it", post("1.0", "Expect: 100-continue\r\nContent-Length: 1", "a"), "POST / 1.0 close length=1 body=a");
    t.add("RFC 9110 10.1.1: no body", post("1.1", "Expect: 100-continue", ""), "POST / 1.1 keep");
    t.add("RFC 9110 10.1.1: an empty body", post("1.1", "Expect: 100-continue\r\nContent-Length: 0", ""), "POST / 1.1 keep length=0");
    t.add("RFC 9110 10.1.1: an empty expectation", post("1.1", "Expect:\r\nContent-Length: 1", "a"), "POST / 1.1 keep length=1 body=a");
    for value in [
        "100-continu", "100-continue2", "200-ok", "100-continue, x", "x, 100-continue", "100 continue",
        "100-continue;a=b", "x=y",
    ] {
        t.add(&format!("5.10: expectation {value:?}"), post("1.1", &format!("Expect: {value}\r\nContent-Length: 1"), "a"), "417");
    }
    t.add("5.10: another in a second field", post("1.1", "Expect: 100-continue\r\nExpect: x\r\nContent-Length: 1", "a"), "417");
    t.add("a malformed head is 400 before 417", post("1.1", "Expect: x\r\nContent-Length: a", ""), "400");
    t.run();
}
