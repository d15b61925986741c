//! Every limit, at it and one past it.

use gateway::wire::Limits;

use crate::table::{Table, chunked};
use crate::wire_support::LIMITS;

#[test]
fn limits() {
    let mut t = Table::default();
    let head = |line: &str, fields: &str| format!("{line}\r\n{fields}\r\n\r\n");
    let h = "Host: h";

    // "GET /aaaaaaaaaaa HTTP/1.1" is 25 octets.
    let line = |n: usize| format!("GET /{} HTTP/1.1", "a".repeat(n - 14));
    let small = Limits { line: 25, ..LIMITS };
    t.limited(small, "limit_request_line: at", head(&line(25), h), "GET /aaaaaaaaaaa 1.1 keep");
    t.limited(small, "limit_request_line: past", head(&line(26), h), "414 Line");
    t.limited(small, "limit_request_line: far past", head(&line(400), h), "414 Line");
    t.limited(small, "limit_request_line: no end yet", "A".repeat(26), "414 Line");
    t.limited(small, "limit_request_line: may still end", "A".repeat(25), "waiting");
    t.limited(small, "limit_request_line: CR at the limit", format!("{}\r", line(25)), "waiting");
    t.limited(small, "limit_request_line: CR at the limit, no LF", format!("{}\rx", line(25)), "414 Line");
    t.limited(small, "limit_request_line: CR CR LF", format!("{}\r\r\n", line(25)), "414 Line");
    t.limited(small, "limit_request_line: LF at the limit", format!("{}\n", line(25)), "400");
    t.limited(small, "limit_request_line: LF past it", format!("{}\n", line(26)), "414 Line");
    t.limited(small, "limit_request_line: behind an empty line", format!("\r\n{}", head(&line(25), h)), "GET /aaaaaaaaaaa 1.1 keep");
    t.limited(small, "limit_request_line: past, behind an empty line", format!("\r\n{}", head(&line(26), h)), "414 Line");
    t.add("limit_request_line: gunicorn's, at", head(&line(4094), h), &format!("GET /{} 1.1 keep", "a".repeat(4080)));
    t.add("limit_request_line: gunicorn's, past", head(&line(4095), h), "414 Line");
    let unlimited = Limits { line: 0, ..LIMITS };
    t.limited(unlimited, "limit_request_line: none", head(&line(9000), h), &format!("GET /{} 1.1 keep", "a".repeat(8986)));
    t.limited(unlimited, "limit_request_line: none, but the head's", line(70000), "414 Head");

    let fields = |n: usize| format!("{h}{}", "\r\nA: b".repeat(n - 1));
    let few = Limits { fields: 3, ..LIMITS };
    t.limited(few, "limit_request_fields: at", head("GET / HTTP/1.1", &fields(3)), "GET / 1.1 keep");
    t.limited(few, "limit_request_fields: past", head("GET / HTTP/1.1", &fields(4)), "431 Fields");
    t.limited(few, "limit_request_fields: before the head ends", format!("GET / HTTP/1.1\r\n{}\r\n", fields(4)), "431 Fields");
    for n in [8, 9, 24, 25, 99, 100] {
        t.add(&format!("limit_request_fields: gunicorn's, {n}"), head("GET / HTTP/1.1", &fields(n)), "GET / 1.1 keep");
    }
    t.add("limit_request_fields: gunicorn's, past", head("GET / HTTP/1.1", &fields(101)), "431 Fields");
    let unlimited = Limits { fields: 0, ..LIMITS };
    t.limited(unlimited, "limit_request_fields: none", head("GET / HTTP/1.1", &fields(5000)), "GET / 1.1 keep");

    let field = |n: usize| format!("{h}\r\nA: {}", "b".repeat(n - 3));
    let narrow = Limits { field_size: 20, ..LIMITS };
    t.limited(narrow, "limit_request_field_size: at", head("GET / HTTP/1.1", &field(20)), "GET / 1.1 keep");
    t.limited(narrow, "limit_request_field_size: past", head("GET / HTTP/1.1", &field(21)), "431 FieldSize");
    t.limited(narrow, "limit_request_field_size: no end yet", format!("GET / HTTP/1.1\r\n{}", field(21)), "431 FieldSize");
    t.limited(narrow, "limit_request_field_size: may still end", format!("GET / HTTP/1.1\r\n{}", field(20)), "waiting");
    t.limited(narrow, "limit_request_field_size: CR at the limit", format!("GET / HTTP/1.1\r\n{}\r", field(20)), "waiting");
    t.limited(narrow, "limit_request_field_size: CR, no LF", format!("GET / HTTP/1.1\r\n{}\rx", field(20)), "431 FieldSize");
    t.limited(narrow, "limit_request_field_size: LF at the limit", format!("GET / HTTP/1.1\r\n{}\n", field(20)), "400");
    t.add("limit_request_field_size: gunicorn's, at", head("GET / HTTP/1.1", &field(8190)), "GET / 1.1 keep");
    t.add("limit_request_field_size: gunicorn's, past", head("GET / HTTP/1.1", &field(8191)), "431 FieldSize");
    let unlimited = Limits { field_size: 0, ..LIMITS };
    t.limited(unlimited, "limit_request_field_size: none", head("GET / HTTP/1.1", &field(60000)), "GET / 1.1 keep");
    t.limited(unlimited, "limit_request_field_size: none, but the head's", head("GET / HTTP/1.1", &field(70000)), "431 Head");

    // "GET / HTTP/1.1\r\n" is 16 octets, "Host: h\r\n" 9, the empty line 2.
    let tight = |head: usize| Limits { head, ..LIMITS };
    let octets = head("GET / HTTP/1.1", h);
    assert_eq!(octets.len(), 27);
    t.limited(tight(27), "limit_request_head: at", &octets, "GET / 1.1 keep");
    t.limited(tight(26), "limit_request_head: past", &octets, "431 Head");
    t.limited(tight(20), "limit_request_head: in a field", &octets, "431 Head");
    t.limited(tight(16), "limit_request_head: behind the request line", &octets, "431 Head");
    t.limited(tight(15), "limit_request_head: in the request line", &octets, "414 Head");
    t.limited(tight(3), "limit_request_head: in the method", &octets, "414 Head");
    t.limited(tight(27), "limit_request_head: an empty line before it is not counted", format!("\r\n{octets}"), "GET / 1.1 keep");
    t.limited(tight(27), "limit_request_head: a body is not counted", "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET", "GET / 1.1 keep | waiting");
    let both = Limits { line: 10, head: 12, ..LIMITS };
    t.limited(both, "two limits: the line's is reached first", &octets, "414 Line");
    let both = Limits { line: 12, head: 10, ..LIMITS };
    t.limited(both, "two limits: the head's is reached first", &octets, "414 Head");
    let both = Limits { field_size: 5, head: 19, ..LIMITS };
    t.limited(both, "two limits in a field: the head's first", &octets, "431 Head");
    let both = Limits { field_size: 3, head: 20, ..LIMITS };
    t.limited(both, "two limits in a field: the field's first", &octets, "431 FieldSize");

    let body = |n: u64| Limits { body: n, ..LIMITS };
    let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    t.limited(body(5), "max_body: at", post, "POST / 1.1 keep length=5 body=hello");
    t.limited(body(4), "max_body: past, before reading", post, "413 Body");
    t.limited(body(4), "max_body: past, nothing read", &post[..post.len() - 5], "413 Body");
    t.limited(body(4), "max_body: with an expectation", "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", "413 Body");
    t.limited(body(5), "max_body: chunked, at", chunked(b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"), "POST / 1.1 keep chunked body=hello");
    t.limited(body(4), "max_body: chunked, at the chunk that goes past", chunked(b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"), "POST / 1.1 keep chunked body=hel unfinished | 413 Body");
    t.limited(body(4), "max_body: one chunk that goes past", chunked(b"5\r\n"), "POST / 1.1 keep chunked unfinished | 413 Body");
    t.limited(body(5), "max_body: the last chunk is nothing", chunked(b"5\r\nhello\r\n0\r\n\r\n"), "POST / 1.1 keep chunked body=hello");

    let ext = |n: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(n - 2));
    t.chunks("5.10: a chunk-size line at its limit", ext(1024), "POST / 1.1 keep chunked body=a");
    t.chunks("5.10: a chunk-size line past its limit", ext(1025), "POST / 1.1 keep chunked unfinished | 400 ChunkOverhead");
    t.chunks("5.10: a chunk-size line without an end", format!("1;{}", "x".repeat(1023)), "POST / 1.1 keep chunked unfinished | 400 ChunkOverhead");
    t.chunks("5.10: it may still end", format!("1;{}\r", "x".repeat(1022)), "POST / 1.1 keep chunked unfinished | waiting");
    t.chunks("5.10: many chunks of one octet", "1\r\na\r\n".repeat(5000) + "0\r\n\r\n", &format!("POST / 1.1 keep chunked body={}", "a".repeat(5000)));
    let heavy = format!("1;{}\r\na\r\n", "x".repeat(500));
    t.chunks("5.10: a body of extensions", heavy.repeat(40), &format!("POST / 1.1 keep chunked body={} unfinished | 400 ChunkOverhead", "a".repeat(33)));
    t.run();
}
