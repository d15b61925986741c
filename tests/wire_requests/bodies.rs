//! Framing of bodies: Content-Length, Transfer-Encoding, chunks, trailers.

use crate::table::Table;

#[test]
fn lengths() {
    let mut t = Table::default();
    let post =
        |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n{body}");
    let mut add = |rule: &str, fields: &str, body: &str, want: &str| {
        t.add(rule, post(fields, body), want);
    };
    add("RFC 9112 6.2: Content-Length", "Content-Length: 5", "hello", "POST / 1.1 keep length=5 body=hello");
    add("RFC 9112 6.2: zero", "Content-Length: 0", "", "POST / 1.1 keep length=0");
    add("RFC 9110 8.6: leading zeros", "Content-Length: 0000000000000000000000005", "hello", "POST / 1.1 keep length=5 body=hello");
    add("RFC 9110 5.1: names ignore case", "cOnTeNt-LeNgTh:5", "hello", "POST / 1.1 keep length=5 body=hello");
    add("RFC 9112 6.2: what follows is a request", "Content-Length: 1", "aGET /b HTTP/1.0\r\n\r\n", "POST / 1.1 keep length=1 body=a | GET /b 1.0 close");
    add("RFC 9112 8: a short body", "Content-Length: 5", "hell", "POST / 1.1 keep length=5 body=hell unfinished | waiting");
    add("RFC 9112 8: no body at all", "Content-Length: 5", "", "POST / 1.1 keep length=5 unfinished | waiting");
    add("RFC 9112 6.3: a body can look like anything", "Content-Length: 4", "\r\n\r\n", "POST / 1.1 keep length=4 body=\\r\\n\\r\\n");
    add("RFC 9110 8.6: the largest", "Content-Length: 18446744073709551615", "", "POST / 1.1 keep length=18446744073709551615 unfinished | waiting");
    for length in [
        "", "+5", "-5", "-0", "5 5", "5,5", "5, 5", "5,", ",5", "5;a", "0x5", "5.0", "5e0", "five", "5a", "a5",
        "\"5\"", "18446744073709551616", "99999999999999999999999999", "5_0", "\u{665}", "5\t5", "5\u{b}", "'5'",
        "NaN",
    ] {
        add(&format!("RFC 9112 6.3: malformed length {length:?}"), &format!("Content-Length: {length}"), "hello", "400");
    }
    add("5.10: two that agree", "Content-Length: 5\r\nContent-Length: 5", "hello", "400");
    add("5.10: two that differ", "Content-Length: 5\r\nContent-Length: 6", "hello", "400");
    add("5.10: two zeros", "Content-Length: 0\r\ncontent-length: 0", "", "400");
    add("RFC 9112 6.3: space before the colon", "Content-Length : 5", "hello", "400");
    add("RFC 9112 6.3: no framing is no body", "A: b", "", "POST / 1.1 keep");
    t.get("RFC 9110 9.3.1: a GET may have a body", "Content-Length: 2\r\n\r\nab", "GET / 1.1 keep length=2 body=ab | 400");
    t.add("1.0 with a body", "POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab", "POST / 1.0 close length=2 body=ab");
    t.run();
}

#[test]
fn transfer_codings() {
    let mut t = Table::default();
    let ok = "POST / 1.1 keep chunked body=a";
    let mut add = |rule: &str, fields: &str, want: &str| {
        let octets = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n1\r\na\r\n0\r\n\r\n");
        t.add(rule, octets, want);
    };
    add("RFC 9112 7.1: chunked", "Transfer-Encoding: chunked", ok);
    add("RFC 9112 7: codings ignore case", "Transfer-Encoding: ChUnKeD", ok);
    add("RFC 9110 5.1: names ignore case", "tRANSFER-eNCODING:chunked", ok);
    add("RFC 9110 5.5: white space around the value", "Transfer-Encoding: \t chunked \t", ok);
    add("5.10: with Content-Length", "Content-Length: 6\r\nTransfer-Encoding: chunked", "400");
    add("5.10: before Content-Length", "Transfer-Encoding: chunked\r\nContent-Length: 6", "400");
    add("5.10: with Content-Length: 0", "Transfer-Encoding: chunked\r\nContent-Length: 0", "400");
    add("5.10: identity with Content-Length", "Transfer-Encoding: identity\r\nContent-Length: 6", "400");
    for value in [
        "identity", "gzip", "deflate", "x", "chunked, gzip", "chunked, identity", "chunked,x", "xchunked", "chunkedx",
        "chunk",
    ] {
        add(&format!("5.10: the last is not chunked: {value}"), &format!("Transfer-Encoding: {value}"), "400");
    }
    for value in [
        "chunked, chunked", "chunked,chunked", "gzip, chunked, chunked", "chunked, gzip, chunked", "CHUNKED, chunked",
    ] {
        add(&format!("5.10: stacked: {value}"), &format!("Transfer-Encoding: {value}"), "400");
    }
    add("5.10: stacked in two fields", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "400");
    add("5.10: the last field counts", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "400");
    for value in [
        "gzip, chunked", "deflate,chunked", "compress, chunked", "identity, chunked", "x, chunked", "br, chunked",
        "x;a=b, chunked", "x;a=\"b\", chunked", "x ; a=b , chunked",
    ] {
        add(&format!("5.10: unknown coding: {value}"), &format!("Transfer-Encoding: {value}"), "501");
    }
    add("5.10: unknown coding in another field", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", "501");
    for value in [
        "", ",", "chunked,", ",chunked", "chunked, ,", "\"chunked\"", "chunked;", "chunked;a=b", "chunked ;a=b",
        "chunked chunked", "chunked\u{b}", "\u{b}chunked", "[chunked]", "'chunked", "=chunked", "chunked=1",
        "chunked\0", "x,,chunked", "(x) chunked", ";chunked", "chunked\u{a0}", "\u{ff43}hunked", "x;a=\"b,chunked",
    ] {
        let want = if value.starts_with("x;") { "501" } else { "400" };
        add(&format!("RFC 9112 6.1: malformed {value:?}"), &format!("Transfer-Encoding: {value}"), want);
    }
    add("5.10: space before the colon", "Transfer-Encoding : chunked", "400");
    add("5.10: folded", "Transfer-Encoding:\r\n chunked", "400");
    t.add("another field is no framing", "POST / HTTP/1.1\r\nHost: h\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n", "POST / 1.1 keep | 400");
    t.add("5.10: chunked in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400");
    t.add("5.10: chunked in 1.0, kept alive", "POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400");
    t.add("RFC 9112 6.1: a GET, too", "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "GET / 1.1 keep chunked");
    t.run();
}

#[test]
fn chunks() {
    let mut t = Table::default();
    let ok = "POST / 1.1 keep chunked body=hello";
    let none = "POST / 1.1 keep chunked";
    let refused = "POST / 1.1 keep chunked unfinished | 400";
    let late = "POST / 1.1 keep chunked body=hello unfinished | 400";
    t.chunks("RFC 9112 7.1: one chunk", "5\r\nhello\r\n0\r\n\r\n", ok);
    t.chunks("RFC 9112 7.1: several", "2\r\nhe\r\n1\r\nl\r\n2\r\nlo\r\n0\r\n\r\n", ok);
    t.chunks("RFC 9112 7.1: none", "0\r\n\r\n", none);
    t.chunks("RFC 9112 7.1: leading zeros", "0005\r\nhello\r\n000\r\n\r\n", ok);
    t.chunks("RFC 9112 7.1: sixteen digits", "0000000000000005\r\nhello\r\n0\r\n\r\n", ok);
    t.chunks("RFC 9112 7.1: hexadecimal", "a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n", "POST / 1.1 keep chunked body=01234567890123456789a");
    t.chunks("RFC 9112 7.1: data can look like framing", "5\r\n0\r\n\r\n\r\n0\r\n\r\n", "POST / 1.1 keep chunked body=0\\r\\n\\r\\n");
    t.chunks("RFC 9112 9.3: a request follows", "5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.0\r\n\r\n", "POST / 1.1 keep chunked body=hello | GET / 1.0 close");
    for ext in [
        ";a", ";a=b", ";a=\"b\"", ";a=\"b;c\"", ";a=\"\"", ";a=\"\\\"\"", ";a=\"\\\\\"", ";a;b=c;d", " ;a",
        "\t; a = b", ";\ta =\"b c\" ;d", ";a=\"\t\"", ";!#$%&'*+-.^_`|~=1", ";a=b;a=b", ";a=\"\u{e9}\"",
    ] {
        t.chunks(&format!("RFC 9112 7.1.1: extension {ext:?}"), format!("5{ext}\r\nhello\r\n0{ext}\r\n\r\n"), ok);
    }
    for line in [
        "", " ", " 5", "5 ", "5\t", "g", "0x5", "+5", "-5", "5g", "5.", "5,", "5:", "5=a", "5\0", "\u{665}",
        "00000000000000005", "10000000000000000", "fffffffffffffffff", "5;", "5; ", "5;;", "5;;a", "5;a;", "5;=b",
        "5;a=", "5;a=;", "5;a==b", "5;a=\"", "5;a=\"b", "5;a=\"b\"c", "5;a=b\"", "5;a=\"\\\"", "5;a b", "5;a=b c",
        "5;a ", "5;a=b ", "5;a=\"b\" ", "5;\"a\"", "5;a=(", "5;a=\"\u{7f}\"", "5;a=\"\0\"", "5;a\0", "5 5", "5 a=b",
        "5;a=\"\\\u{1}\"", "_5", "5_", "5h", "5;a='b c'", "5;/", "5@", ";a",
    ] {
        t.chunks(&format!("RFC 9112 7.1: chunk-size line {line:?}"), format!("{line}\r\nhello\r\n0\r\n\r\n"), refused);
    }
    t.chunks("5.10: bare LF behind the size", "5\nhello\r\n0\r\n\r\n", refused);
    t.chunks("5.10: bare LF in an extension", "5;a\nhello\r\n0\r\n\r\n", refused);
    t.chunks("5.10: bare LF in a quoted extension", "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", refused);
    t.chunks("5.10: bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n", refused);
    t.chunks("5.10: bare CR in a quoted extension", "5;a=\"\r\"\r\nhello\r\n0\r\n\r\n", refused);
    t.chunks("5.10: bare CR behind the size", "5\r\r\nhello\r\n0\r\n\r\n", refused);
    t.chunks("5.10: bare LF behind the data", "5\r\nhello\n0\r\n\r\n", late);
    t.chunks("5.10: bare CR behind the data", "5\r\nhello\r0\r\n\r\n", late);
    t.chunks("5.10: nothing behind the data", "5\r\nhello0\r\n\r\n", late);
    t.chunks("RFC 9112 7.1: data longer than its size", "4\r\nhello\r\n0\r\n\r\n", "POST / 1.1 keep chunked body=hell unfinished | 400");
    t.chunks("RFC 9112 7.1: data shorter than its size", "6\r\nhello\r\n0\r\n\r\n", "POST / 1.1 keep chunked body=hello\\r unfinished | 400");
    t.chunks("5.10: bare LF behind the last chunk", "5\r\nhello\r\n0\n\r\n", late);
    t.chunks("5.10: bare LF at the end", "5\r\nhello\r\n0\r\n\n", late);
    t.chunks("5.10: cut behind the last chunk", "5\r\nhello\r\n0\r\n", "POST / 1.1 keep chunked body=hello unfinished | waiting");
    t.chunks("RFC 9112 8: cut in the data", "5\r\nhel", "POST / 1.1 keep chunked body=hel unfinished | waiting");
    t.chunks("RFC 9112 8: cut in a size line", "5", "POST / 1.1 keep chunked unfinished | waiting");
    t.chunks("RFC 9112 8: no body", "", "POST / 1.1 keep chunked unfinished | waiting");
    t.chunks("the largest chunk", "ffffffffffffffff\r\nhello", "POST / 1.1 keep chunked body=hello unfinished | waiting");
    t.chunks("the sum of chunks overflows", "1\r\na\r\nffffffffffffffff\r\nb", "POST / 1.1 keep chunked body=a unfinished | 413 Body");
    t.run();
}

#[test]
fn trailers() {
    let mut t = Table::default();
    let ok = "POST / 1.1 keep chunked";
    let refused = "POST / 1.1 keep chunked unfinished | 400";
    let with = |trailers: &[u8]| [b"0\r\n", trailers, b"\r\n\r\n"].concat();
    for trailer in [
        "A: b", "A:", "A: b\r\nC: d", "X-Checksum: abc", "Content-Digest: sha-256=:AA==:", "Server-Timing: a",
        "A: \u{e9}\tb", "ETag: \"a\"", "Hosted: a", "Ifx: a", "Contents: a", "TEx: a",
    ] {
        t.chunks(&format!("RFC 9112 7.1.2: trailer {trailer:?}"), with(trailer.as_bytes()), ok);
    }
    for name in [
        "Transfer-Encoding", "Content-Length", "Host", "Content-Type", "Content-Encoding", "Content-Range",
        "Content-Language", "Trailer", "TE", "Connection", "Keep-Alive", "Upgrade", "Expect", "Max-Forwards",
        "Cache-Control", "Pragma", "Range", "If-Match", "If-Modified-Since", "Authorization", "Proxy-Authorization",
        "Cookie", "Set-Cookie", "Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "hOST", "CONTENT-LENGTH", "Via",
        "X-Real-IP", "Proxy-Connection", "WWW-Authenticate",
    ] {
        t.chunks(&format!("RFC 9110 6.5.1: trailer {name}"), with(format!("{name}: a").as_bytes()), refused);
    }
    for trailer in [
        &b"A : b"[..], b"A", b" A: b", b"A: b\r\n c", b"A: b\r\n\tc", b": b", b"A b: c", b"A: b\0", b"A: b\x7f",
        b"A: b\rc", b"A\r: b", b"A: b\r", b"A: b\nC: d", b"A: b\n", b"A(: b", b"\"A\": b", b"A\x80: b", b"\tA: b",
        b"A: \x01",
    ] {
        t.chunks(&format!("RFC 9112 7.1.2: malformed trailer {}", trailer.escape_ascii()), with(trailer), refused);
    }
    t.chunks("5.10: cut in the trailer section", "0\r\nA: b\r\n", "POST / 1.1 keep chunked unfinished | waiting");
    t.chunks("5.10: CR without LF at the end", "0\r\nA: b\r\n\rX\r\n", refused);
    t.chunks("RFC 9112 7.1.2: a request follows", "0\r\nA: b\r\n\r\nGET / HTTP/1.0\r\n\r\n", "POST / 1.1 keep chunked | GET / 1.0 close");
    t.chunks("5.10: 64 trailers", with("A: b\r\n".repeat(64).trim_end().as_bytes()), ok);
    t.chunks("5.10: 65 trailers", with("A: b\r\n".repeat(65).trim_end().as_bytes()), "POST / 1.1 keep chunked unfinished | 431 ChunkOverhead");
    t.chunks("5.10: 8192 octets of trailers", with(format!("A: {}", "b".repeat(8187)).as_bytes()), ok);
    t.chunks("5.10: 8193 octets of trailers", with(format!("A: {}", "b".repeat(8190)).as_bytes()), "POST / 1.1 keep chunked unfinished | 431 ChunkOverhead");
    t.chunks("5.10: trailers without an end", format!("0\r\n{}", "a".repeat(9000)), "POST / 1.1 keep chunked unfinished | 431 ChunkOverhead");
    t.run();
}
