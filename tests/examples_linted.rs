//! Every example once more, asked as in `examples.rs`, with lint around its applications: it finds
//! nothing.  The harness sees to both.

#[path = "examples.rs"]
mod examples;

/// And would find something: the harness looks.
#[test]
#[should_panic(expected = "lint: header-name-underscore: ")]
fn a_breach_is_found() {
    use examples::harness::{Server, program};
    let args = ["bind={}", "worker_model=inline", "errorlog=-"];
    let server = Server::start(&program(&["tests/c/builtin.c"]), &args);
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: h\r\nSay: X_Y: 1\r\n\r\n");
    assert_eq!(client.response("GET").header("x_y"), Some("1"));
    server.stop();
}
