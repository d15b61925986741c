//! Parts of a page that are requests of their own: in order, each held back until it is its turn.

use crate::harness::client::Client;
use crate::harness::nginx::Nginx;
use crate::harness::until;
use crate::{PORT, app, count};

/// Chunks of a part, and their octets.
const N: u64 = 256;
const SIZE: u64 = 16 * 1024;
/// What an application may be ahead of nginx.
const AHEAD: u64 = 64 * 1024;
/// What may lie in the sockets between.
const SOCKETS: u64 = 1024 * 1024;

/// `tests/c/nginx_load_app.c` with pages of files beside it.
fn start(more: &str) -> Nginx {
    let nginx = Nginx::start(&format!(
        "server {{ listen ${{IP}}:{PORT} sndbuf=16k; ssi on; output_buffers 2 16k;
            gateway_set output_buffer {AHEAD};
            location / {{ gateway_module {0}; }}
            location /blocks {{ gateway_module {0} blocks; gateway_threads 4; }}
            location /pages/ {{ root ${{RUN}}; default_type text/html; }}
            {more}
        }}",
        app()
    ));
    std::fs::create_dir(nginx.path().join("pages")).expect("a directory for pages");
    nginx
}

fn include(path: &str) -> String {
    format!("<!--# include virtual=\"{path}\" -->")
}

/// A page of two streams, which the application makes at once.
fn page(prefix: &str, also: &str) -> String {
    let of = |id| include(&format!("{prefix}/flow?id={id}&n={N}&size={SIZE}{also}"));
    format!("<p>{}|{}</p>\n", of('a'), of('b'))
}

fn expected() -> Vec<u8> {
    let chunk = |id: char, n| {
        let head = format!("{id}{n:07}");
        head.clone() + &id.to_string().repeat(SIZE as usize - head.len())
    };
    let of = |id| (0..N).map(|n| chunk(id, n)).collect::<String>();
    format!("<p>{}|{}</p>\n", of('a'), of('b')).into_bytes()
}

/// All of an answer, which is read so slowly that nothing of it is made in advance.
fn read_slowly(client: &mut Client, address: &str) {
    assert_eq!(client.head().status, 200);
    let mut got = Vec::new();
    // The second stream has begun beside the first, of which nothing was read.
    until("both have begun", || count(address, "made", "b") > 0);
    loop {
        let chunk = client.chunk();
        if chunk.is_empty() {
            break;
        }
        let before = got.len() as u64;
        got.extend(chunk);
        // Not more often than is needed to see that it goes on like this.
        let now = got.len() as u64;
        if now / (256 * 1024) == before / (256 * 1024) {
            continue;
        }
        let [a, b] = ["a", "b"].map(|id| count(address, "made", id) * SIZE);
        let most = AHEAD + 2 * SIZE;
        assert!(a <= now + SOCKETS + most, "{a} octets of the first, {now} were read");
        if now + SOCKETS < N * SIZE {
            assert!(b <= most, "{b} octets of the second, {now} of the first were read");
        } else if now > N * SIZE {
            assert!(b <= now - N * SIZE + SOCKETS + most, "{b} of the second, {now} were read");
        }
    }
    assert!(got == expected(), "{} octets", got.len());
}

/// Every chunk was released once, and every stream closed once.
fn assert_released(address: &str) {
    for id in ["a", "b"] {
        until("all is released", || {
            count(address, "released", id) == count(address, "made", id)
                && count(address, "closed", id) == count(address, "opened", id)
        });
        assert_eq!(count(address, "twice", id), 0);
        assert_eq!(count(address, "opened", id), 1);
        assert_eq!(count(address, "made", id), N);
    }
}

fn both(page_of: impl Fn(&Nginx) -> String, more: &str) {
    let nginx = start(more);
    let address = nginx.address(PORT);
    let target = page_of(&nginx);
    let mut client = Client::connect(&address);
    client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
    read_slowly(&mut client, &address);
    assert_released(&address);
    // The connection is good for another.
    assert!(client.get("/?1").text().starts_with("first "));
    nginx.stop();
}

fn of_a_file(nginx: &Nginx, text: &str) -> String {
    std::fs::write(nginx.path().join("pages/page"), text).expect("write a page");
    "/pages/page".to_owned()
}

fn of_the_application(text: &str) -> String {
    let text = text.replace('#', "%23").replace('&', "%26").replace(' ', "+");
    format!("/say?text={text}").replace('\n', "%0a").replace('"', "%22").replace('<', "%3c")
}

#[test]
fn two_streams_in_a_file() {
    both(|nginx| of_a_file(nginx, &page("", "")), "");
}

#[test]
fn two_streams_in_an_answer() {
    both(|_| of_the_application(&page("", "&rest=1")), "");
}

#[test]
fn two_streams_of_threads() {
    both(|_| of_the_application(&page("/blocks", "")), "");
}

/// A client that leaves takes all parts along.
#[test]
fn a_page_that_nobody_reads_to_its_end() {
    let nginx = start("");
    let address = nginx.address(PORT);
    for (n, prefix) in ["", "/blocks", "", "/blocks", "", "/blocks"].into_iter().enumerate() {
        let target = of_the_application(&page(prefix, ""));
        let mut client = Client::connect(&address);
        client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        client.at_least(1 + n * 50_000).expect("a part of the page");
        for id in ["a", "b"] {
            until("it has begun", || count(&address, "opened", id) == n as u64 + 1);
        }
        drop(client);
        for id in ["a", "b"] {
            until("it is over", || {
                count(&address, "closed", id) == n as u64 + 1
                    && count(&address, "released", id) == count(&address, "made", id)
            });
            assert_eq!(count(&address, "twice", id), 0);
        }
    }
    nginx.stop();
}

/// The page itself comes in pieces and later than its parts, and parts have parts.
#[test]
fn parts_within_parts() {
    let nginx = start("");
    let address = nginx.address(PORT);
    let inner = of_the_application(&format!("[{}]", include("/flow?id=b&n=2&size=8&rest=1")));
    let outer = format!(
        "1{}2{}3{}4",
        include("/flow?id=a&n=3&size=8&rest=1"),
        include(&inner),
        include("/nowhere/flow?none"),
    );
    let target = of_the_application(&outer.replace('%', "%25"));
    for method in ["GET", "POST"] {
        let mut client = Client::connect(&address);
        let body = if method == "POST" { "0123456789" } else { "" };
        let length = body.len();
        client.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        let text = client.response(method).text();
        let (before, after) = text.split_once('3').expect("a page");
        assert_eq!(before, "1a0000000a0000001a00000022[b0000000b0000001]", "{text}");
        assert!(after.starts_with("first ") && after.ends_with(" none\n4"), "{text}");
    }
    nginx.stop();
}
