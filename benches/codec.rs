//! What the wire layer makes of a request, for benches/codec.py, which counts its instructions: the
//! same request and answer in each protocol, decoded and encoded so many times.
//!
//!     codec http|uwsgi|scgi|fastcgi times

use std::hint::black_box;

use gateway::wire::front::{AnyHead, Decoders, Speech};
use gateway::wire::{Encoder as _, Event, Limits, ResponseHead, scgi};

/// What nginx says of a GET, in its order (uwsgi_params), and the headers of a browser.
const VARS: [(&str, &str); 20] = [
    ("QUERY_STRING", "page=2"),
    ("REQUEST_METHOD", "GET"),
    ("CONTENT_TYPE", ""),
    ("REQUEST_URI", "/articles/list?page=2"),
    ("PATH_INFO", "/articles/list"),
    ("DOCUMENT_ROOT", "/usr/share/nginx/html"),
    ("SERVER_PROTOCOL", "HTTP/1.1"),
    ("REQUEST_SCHEME", "http"),
    ("REMOTE_ADDR", "192.0.2.1"),
    ("REMOTE_PORT", "52114"),
    ("SERVER_PORT", "80"),
    ("SERVER_NAME", "example.org"),
    ("HTTP_HOST", "example.org"),
    ("HTTP_USER_AGENT", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("HTTP_ACCEPT", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("HTTP_ACCEPT_LANGUAGE", "en-GB,en;q=0.5"),
    ("HTTP_ACCEPT_ENCODING", "gzip, deflate, br"),
    ("HTTP_REFERER", "http://example.org/articles"),
    ("HTTP_COOKIE", "session=0123456789abcdef0123456789abcdef"),
    ("HTTP_CACHE_CONTROL", "max-age=0"),
];

/// The same to us directly.
fn http() -> Vec<u8> {
    let mut octets = b"GET /articles/list?page=2 HTTP/1.1\r\n".to_vec();
    for (name, value) in
        VARS.iter().filter_map(|(name, value)| Some((name.strip_prefix("HTTP_")?, value)))
    {
        let words: Vec<_> = name
            .split('_')
            .map(|word| format!("{}{}", &word[..1], word[1..].to_lowercase()))
            .collect();
        octets.extend(format!("{}: {value}\r\n", words.join("-")).bytes());
    }
    octets.extend(b"\r\n");
    octets
}

fn uwsgi() -> Vec<u8> {
    let mut octets = vec![0; 4];
    for text in VARS.iter().flat_map(|(name, value)| [name, value]) {
        octets.extend((text.len() as u16).to_le_bytes());
        octets.extend(text.bytes());
    }
    let len = (octets.len() - 4) as u16;
    octets[1..3].copy_from_slice(&len.to_le_bytes());
    octets
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let len = (content.len() as u16).to_be_bytes();
    let padding = content.len().wrapping_neg() % 8;
    [&[1, kind, 0, 1, len[0], len[1], padding as u8, 0], content, &vec![0; padding]].concat()
}

fn fastcgi() -> Vec<u8> {
    let mut params = Vec::new();
    for (name, value) in VARS {
        params.extend([name.len() as u8, value.len() as u8]);
        params.extend([name.as_bytes(), value.as_bytes()].concat());
    }
    let begin = record(1, &[0, 1, 1, 0, 0, 0, 0, 0]);
    [begin, record(4, &params), record(4, b""), record(5, b"")].concat()
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (protocol, times) = (args.next().unwrap_or_default(), args.next());
    let vars = VARS.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    let (speech, octets) = match protocol.as_str() {
        "http" => (Speech::Http, http()),
        "uwsgi" => (Speech::Uwsgi, uwsgi()),
        "scgi" => (Speech::Scgi, scgi::encode(b"0", &vars)),
        "fastcgi" => (Speech::FastCgi(0), fastcgi()),
        // `cargo test` runs it without arguments.
        _ => return,
    };
    let times: u32 = times.and_then(|n| n.parse().ok()).unwrap_or(1);
    let limits = Limits { line: 8190, fields: 100, field_size: 8190, head: 65_536, body: 1 << 20 };
    let mut decoders = Decoders::new(limits);
    let mut out = Vec::with_capacity(4096);
    let head = ResponseHead {
        status: 200,
        reason: b"",
        fields: b"Content-Type: text/plain\r\n",
        content_length: None,
        has_date: false,
    };
    for _ in 0..times {
        decoders.reset();
        decoders.speak(speech);
        out.clear();
        let unread = black_box(octets.as_slice());
        let step = decoders.decode(unread);
        assert_eq!(step.event, Event::Head);
        let headers = match decoders.head() {
            AnyHead::Http(head) => head.fields.len(),
            AnyHead::Params(params) => params.headers.len(),
            AnyHead::Elsewhere(params, _) => params.headers.len(),
        };
        assert_eq!(headers, 8);
        let (asked, encoder) = (decoders.asked(), decoders.speech());
        let framed =
            encoder.head(&mut out, &asked, &head, Some(13), b"Sun, 06 Nov 1994 08:49:37 GMT");
        encoder.before(&mut out, framed.body, 13);
        out.extend_from_slice(b"hello, world\n");
        encoder.after(&mut out, framed.body);
        encoder.end(&mut out, framed.body);
        decoders.finish();
        black_box(&out);
    }
}
