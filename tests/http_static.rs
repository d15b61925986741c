//! Static files: `gw_app_builtin("static")` through `tests/c/builtin.c`, octets in and octets out.

mod harness;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use harness::client::{Framing, Response};
use harness::{Ended, Server, Under, program, support, under};

/// 1994-11-06 08:49:37: when every file of the tests was written.
const WRITTEN: u64 = 784_111_777;
const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

/// A directory of files, and a server for them.
struct Site {
    server: Server,
    top: PathBuf,
}

fn write(path: &Path, text: &[u8]) {
    fs::write(path, text).unwrap();
    let written = SystemTime::UNIX_EPOCH + Duration::from_secs(WRITTEN);
    File::options().write(true).open(path).unwrap().set_modified(written).unwrap();
}

impl Site {
    /// With these arguments beside the root, and these of the server.
    fn start(args: &str, options: &[&str]) -> Site {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let top = support::scratch_dir().join(format!("static-{}-{count}", std::process::id()));
        let root = top.join("root");
        fs::create_dir_all(root.join("dir/empty")).unwrap();
        fs::create_dir_all(root.join(".well-known")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        fs::create_dir_all(top.join("root-two")).unwrap();
        for (name, text) in [
            ("root/ten.txt", "0123456789"),
            ("root/empty.txt", ""),
            ("root/page.html", "<p>"),
            ("root/data.json", "{}"),
            ("root/noise.qqq", "?"),
            ("root/plain", "?"),
            ("root/a b%.txt", "odd"),
            ("root/dir/index.html", "the index"),
            ("root/dir/other.htm", "the other"),
            ("root/.hidden", "hidden"),
            ("root/.git/config", "hidden"),
            ("root/.well-known/known", "known"),
            ("root/dir/.well-known", "hidden"),
            ("secret.txt", "secret"),
            ("root-two/secret.txt", "secret"),
        ] {
            write(&top.join(name), text.as_bytes());
        }
        for (to, name) in [
            ("ten.txt", "near"),
            ("../secret.txt", "up"),
            ("../root-two", "beside"),
            ("/etc", "far"),
            ("/proc/self/root", "magic"),
            ("round", "round"),
            ("nothing", "dangling"),
            ("../ten.txt", "dir/back"),
        ] {
            symlink(to, root.join(name)).unwrap();
        }
        let app = format!("app=static root={} {args}", root.display());
        let args = [&["bind={}", "workers=1", "errorlog=-", &app], options].concat();
        Site { server: Server::start(&program(&["tests/c/builtin.c"]), &args), top }
    }

    /// One request on a connection of its own.
    fn ask(&self, method: &str, target: &str, fields: &str) -> Response {
        let mut client = self.server.connect();
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n"));
        client.response(method)
    }

    fn get(&self, target: &str) -> Response {
        self.ask("GET", target, "")
    }

    /// The same with field lines, which may have the file's ETag as "ETAG".
    fn get_if(&self, target: &str, fields: &[&str]) -> Response {
        let etag = self.get(target).header("etag").unwrap().to_owned();
        let fields: String = fields.iter().map(|it| format!("{it}\r\n")).collect();
        self.ask("GET", target, &fields.replace("ETAG", &etag))
    }

    fn stop(self) -> Ended {
        let ended = self.server.stop();
        let _ = fs::remove_dir_all(self.top);
        ended
    }
}

fn log_lines(ended: &Ended, text: &str) -> usize {
    ended.stderr.lines().filter(|line| line.contains(text)).count()
}

#[test]
fn a_file_is_said_to_be_what_it_is() {
    let site = Site::start("max_age=1h", &[]);
    let told = site.get("/ten.txt");
    assert_eq!((told.status, &*told.text(), told.framing), (200, "0123456789", Framing::Length));
    let is = fs::metadata(site.top.join("root/ten.txt")).unwrap();
    let etag = format!("\"{:x}.{:x}-a\"", is.mtime(), is.mtime_nsec());
    for (name, value) in [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", "10"),
        ("Last-Modified", MODIFIED),
        ("Accept-Ranges", "bytes"),
        ("Cache-Control", "max-age=3600"),
        ("ETag", &etag),
    ] {
        assert_eq!(told.header(name), Some(value), "{name}");
    }
    let head = site.ask("HEAD", "/ten.txt", "");
    assert_eq!((head.status, &head.body[..]), (200, &b""[..]));
    let same = |it: &Response| {
        let fields = it.headers.iter().filter(|it| it.0 != "Date");
        fields.cloned().collect::<Vec<_>>()
    };
    assert_eq!(same(&head), same(&told));
    for (target, kind) in [
        ("/page.html", "text/html; charset=utf-8"),
        ("/data.json", "application/json"),
        ("/noise.qqq", "application/octet-stream"),
        ("/plain", "application/octet-stream"),
    ] {
        assert_eq!(site.get(target).header("content-type"), Some(kind), "{target}");
    }
    assert_eq!(site.get("/a%20b%25.txt").text(), "odd");
    assert_eq!(site.get("/empty.txt").text(), "");
    // Links that stay below the root, where the kernel holds them there; valgrind may not know how.
    for link in ["/near", "/dir/back"] {
        let told = site.get(link);
        let is_walked = under() == Under::Valgrind && told.status == 404;
        assert!(is_walked || told.body == b"0123456789", "{link}: {told:?}");
    }
    site.stop();

    let site = Site::start("charset=none type=text/x", &[]);
    assert_eq!(site.get("/page.html").header("content-type"), Some("text/html"));
    assert_eq!(site.get("/noise.qqq").header("content-type"), Some("text/x"));
    assert_eq!(site.get("/ten.txt").header("cache-control"), None);
    site.stop();
}

#[test]
fn files_in_every_model() {
    for model in [
        &["worker_model=inline"][..],
        &["worker_model=threads", "workers=2"],
        &["worker_model=fork", "workers=2"],
        &["worker_model=exec", "workers=2"],
    ] {
        let site = Site::start("", model);
        assert_eq!(site.get("/ten.txt").text(), "0123456789", "{model:?}");
        assert_eq!(site.get("/up").status, 404, "{model:?}");
        site.stop();
    }
}

#[test]
fn paths_that_are_no_files() {
    let site = Site::start("", &[]);
    for (target, status) in [
        ("/", 403),
        ("", 403),
        ("/dir/empty/", 403),
        ("/dir/empty", 301),
        ("/missing", 404),
        ("/ten.txt/", 404),
        ("/ten.txt/x", 404),
        ("/ten.txt%00", 400),
        ("/ten.txt%00.html", 400),
        ("/dangling", 404),
        // Names with dots.
        ("/.hidden", 404),
        ("/.git/config", 404),
        ("/.git/", 404),
        ("/dir/.well-known", 404),
        ("/.well-known/known", 200),
        // Ways out.
        ("/..", 404),
        ("/../secret.txt", 404),
        ("/%2e%2e/secret.txt", 404),
        ("/..%2fsecret.txt", 404),
        ("/dir/../../secret.txt", 404),
        ("/dir/..%2f..%2fsecret.txt", 404),
        ("//etc/passwd", 404),
        ("/%2fetc/passwd", 404),
        ("/../root/ten.txt", 404),
        ("/dir/../ten.txt", 404),
        ("/%252e%252e/secret.txt", 404),
        ("/..%5csecret.txt", 404),
        ("/up", 404),
        ("/beside/secret.txt", 404),
        ("/beside/", 404),
        ("/far/passwd", 404),
        ("/magic/etc/passwd", 404),
        ("/round", 404),
        // None at all.
        ("//ten.txt", 200),
        ("/dir//index.html", 200),
    ] {
        let target = if target.is_empty() { "http://h" } else { target };
        let told = site.get(target);
        assert_eq!(told.status, status, "{target}: {told:?}");
        let text = String::from_utf8_lossy(&told.body);
        assert!(!text.contains("secret") && !text.contains("root:"), "{target}: {text}");
    }
    // Root may read everything.
    let locked = site.top.join("root/locked");
    write(&locked, b"x");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    let expected = if File::open(&locked).is_ok() { 200 } else { 403 };
    assert_eq!(site.get("/locked").status, expected);
    let ended = site.stop();
    let out = "it leads out of the root";
    for path in ["/up", "/beside/secret.txt", "/beside/", "/far/passwd", "/magic/etc/passwd"] {
        assert_eq!(log_lines(&ended, &format!("404: {path}: {out}")), 1, "{path} {ended:?}");
    }
    assert_eq!(log_lines(&ended, "404: /../secret.txt: the path has dots in it"), 3);
    assert_eq!(log_lines(&ended, "/missing"), 0, "{ended:?}");
}

#[test]
fn a_fifo_is_not_waited_for() {
    let site = Site::start("", &[]);
    let fifo = site.top.join("root/fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(site.top.join("root/socket")).unwrap();
    assert_eq!(site.get("/fifo").status, 404);
    assert_eq!(site.get("/socket").status, 404);
    assert_eq!(log_lines(&site.stop(), "404: /fifo: neither a file nor a directory"), 1);
}

#[test]
fn directories_have_an_index_and_a_slash() {
    let site = Site::start("index=index.html,other.htm", &[]);
    let told = site.get("/dir/");
    assert_eq!(
        (&*told.text(), told.header("content-type")),
        ("the index", Some("text/html; charset=utf-8"))
    );
    for (target, location) in [
        ("/dir", "/dir/"),
        ("/dir?a=%20b", "/dir/?a=%20b"),
        ("//dir", "/dir/"),
        ("/dir/empty", "/dir/empty/"),
        ("//dir//empty", "/dir//empty/"),
    ] {
        let told = site.get(target);
        assert_eq!((told.status, told.header("location")), (301, Some(location)), "{target}");
    }
    fs::remove_file(site.top.join("root/dir/index.html")).unwrap();
    assert_eq!(site.get("/dir/").text(), "the other");
    // An index that leads out is none.
    symlink("../../secret.txt", site.top.join("root/dir/index.html")).unwrap();
    assert_eq!(site.get("/dir/").status, 404);
    site.stop();
    let site = Site::start("index=none dotfiles=on", &[]);
    assert_eq!(site.get("/dir/").status, 403);
    assert_eq!(site.get("/.git/config").text(), "hidden");
    assert_eq!(site.get("/../secret.txt").status, 404);
    site.stop();
}

#[test]
fn other_methods_are_refused() {
    let site = Site::start("", &[]);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "get", "PATCH"] {
        let told = site.ask(method, "/ten.txt", "Content-Length: 0\r\n");
        assert_eq!((told.status, told.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    site.stop();
}

#[test]
fn conditions_in_their_order() {
    let site = Site::start("max_age=5s", &[]);
    let (before, modified, after) = (
        |name: &str| format!("{name}: {BEFORE}"),
        |name: &str| format!("{name}: {MODIFIED}"),
        |name: &str| format!("{name}: {AFTER}"),
    );
    let (ius, ims) = ("If-Unmodified-Since", "If-Modified-Since");
    for (fields, status) in [
        (vec!["If-Match: ETAG".to_owned()], 200),
        (vec!["If-Match: \"x\", ETAG".into()], 200),
        (vec!["If-Match: *".into()], 200),
        (vec!["If-Match: \"x\"".into()], 412),
        (vec!["If-Match: W/ETAG".into()], 412),
        (vec![before(ius)], 412),
        (vec![modified(ius)], 200),
        (vec!["If-Match: ETAG".into(), before(ius)], 200),
        (vec!["If-None-Match: ETAG".into()], 304),
        (vec!["If-None-Match: W/ETAG".into()], 304),
        (vec!["If-None-Match: \"x\"".into(), "If-None-Match: ETAG".into()], 304),
        (vec!["If-None-Match: *".into()], 304),
        (vec!["If-None-Match: \"x\"".into()], 200),
        (vec![before(ims)], 200),
        (vec![modified(ims)], 304),
        (vec![after(ims)], 304),
        (vec!["If-Modified-Since: soon".into()], 200),
        (vec!["If-None-Match: \"x\"".into(), after(ims)], 200),
        (vec!["If-Match: \"x\"".into(), "If-None-Match: ETAG".into()], 412),
        (vec![after(ius), after(ims)], 304),
        // Conditions come before the range.
        (vec!["If-None-Match: ETAG".into(), "Range: bytes=0-1".into()], 304),
        (vec!["If-Match: \"x\"".into(), "Range: bytes=0-1".into()], 412),
        (vec!["If-None-Match: ETAG".into(), "Range: bytes=99-".into()], 304),
    ] {
        let fields: Vec<_> = fields.iter().map(String::as_str).collect();
        let told = site.get_if("/ten.txt", &fields);
        assert_eq!(told.status, status, "{fields:?}");
        assert_eq!(told.header("cache-control"), Some("max-age=5"), "{fields:?}");
        if status == 304 {
            assert!(told.header("etag").is_some() && told.header("content-length").is_none());
            assert_eq!(told.header("last-modified"), Some(MODIFIED));
        }
    }
    // A connection goes on after a 304.
    let mut client = site.server.connect();
    client.send("GET /ten.txt HTTP/1.1\r\nHost: h\r\nIf-None-Match: *\r\n\r\n");
    assert_eq!(client.response("GET").status, 304);
    assert_eq!(client.get("/ten.txt").text(), "0123456789");
    site.stop();
}

#[test]
fn one_range() {
    let site = Site::start("", &[]);
    let strict = format!("If-Range: {MODIFIED}");
    let (older, newer) = (format!("If-Range: {BEFORE}"), format!("If-Range: {AFTER}"));
    for (fields, status, range, body) in [
        (&["Range: bytes=0-3"][..], 206, Some("bytes 0-3/10"), "0123"),
        (&["Range: bytes=4-"], 206, Some("bytes 4-9/10"), "456789"),
        (&["Range: bytes=-2"], 206, Some("bytes 8-9/10"), "89"),
        (&["Range: bytes=0-99"], 206, Some("bytes 0-9/10"), "0123456789"),
        (&["Range: bytes=10-"], 416, Some("bytes */10"), "the file does not have this range\n"),
        (&["Range: bytes=-0"], 416, Some("bytes */10"), "the file does not have this range\n"),
        (&["Range: bytes=3-2"], 200, None, "0123456789"),
        (&["Range: lines=1-2"], 200, None, "0123456789"),
        (&["Range: bytes=0-1", "If-Range: ETAG"], 206, Some("bytes 0-1/10"), "01"),
        (&["Range: bytes=0-1", &strict], 206, Some("bytes 0-1/10"), "01"),
        (&["Range: bytes=0-1", "If-Range: \"x\""], 200, None, "0123456789"),
        (&["Range: bytes=0-1", "If-Range: W/ETAG"], 200, None, "0123456789"),
        (&["Range: bytes=0-1", &older], 200, None, "0123456789"),
        (&["Range: bytes=0-1", &newer], 200, None, "0123456789"),
        (&["Range: bytes=99-", "If-Range: \"x\""], 200, None, "0123456789"),
        (&["If-Range: ETAG"], 200, None, "0123456789"),
    ] {
        let told = site.get_if("/ten.txt", fields);
        assert_eq!((told.status, &*told.text()), (status, body), "{fields:?}");
        assert_eq!(told.header("content-range"), range, "{fields:?}");
    }
    let head = site.ask("HEAD", "/ten.txt", "Range: bytes=0-1\r\n");
    assert_eq!((head.status, head.header("content-length")), (200, Some("10")));
    assert_eq!(site.ask("GET", "/empty.txt", "Range: bytes=0-\r\n").status, 200);
    site.stop();
}

/// The parts of a multipart/byteranges body: range, type, octets.
fn parts(told: &Response) -> Vec<(String, String, Vec<u8>)> {
    let kind = told.header("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let text = String::from_utf8(told.body.clone()).unwrap();
    let (text, end) = text.rsplit_once(&format!("\r\n--{boundary}--\r\n")).unwrap();
    assert_eq!(end, "");
    let delimiter = format!("\r\n--{boundary}\r\n");
    let mut parts = text.split(&delimiter);
    assert_eq!(parts.next(), Some(""));
    let part = |text: &str| {
        let (head, octets) = text.split_once("\r\n\r\n").unwrap();
        let field = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.to_owned()
        };
        (field("Content-Range: "), field("Content-Type: "), octets.as_bytes().to_vec())
    };
    parts.map(part).collect()
}

#[test]
fn several_ranges() {
    let site = Site::start("", &[]);
    let told = site.ask("GET", "/ten.txt", "Range: bytes=8-9, 0-0 ,-1\r\n");
    assert_eq!((told.status, told.framing), (206, Framing::Length));
    assert_eq!(told.header("content-range"), None);
    let part = |range: &str, octets: &[u8]| {
        (range.to_owned(), "text/plain; charset=utf-8".to_owned(), octets.to_vec())
    };
    assert_eq!(
        parts(&told),
        [part("bytes 8-9/10", b"89"), part("bytes 0-0/10", b"0"), part("bytes 9-9/10", b"9")]
    );
    // One of them is there; more than the file has; two fields are one list.
    let told = site.ask("GET", "/ten.txt", "Range: bytes=0-1,99-\r\n");
    assert_eq!((told.status, told.header("content-range")), (206, Some("bytes 0-1/10")));
    assert_eq!(site.ask("GET", "/ten.txt", "Range: bytes=0-9,0-0\r\n").status, 200);
    let many = format!("Range: bytes={}\r\n", vec!["0-0"; 65].join(","));
    assert_eq!(site.ask("GET", "/ten.txt", &many).status, 200);
    // Far apart in a large file, on a connection that is kept; descriptors are given back.
    let path = site.top.join("root/large.bin");
    let content: Vec<u8> = (0..3_000_000_u32).map(|i| b'a' + (i % 23) as u8).collect();
    write(&path, &content);
    let mut client = site.server.connect();
    for _ in 0..20 {
        let range = "0-999999,1500000-1500009,2999990-";
        client.send(format!("GET /large.bin HTTP/1.1\r\nHost: h\r\nRange: bytes={range}\r\n\r\n"));
        let told = client.response("GET");
        let got: Vec<_> = parts(&told).into_iter().map(|part| part.2).collect();
        assert!(got[0] == content[..1_000_000] && got[1] == content[1_500_000..1_500_010]);
        assert!(got.len() == 3 && got[2] == content[2_999_990..]);
    }
    let told = client.get("/large.bin");
    assert!(told.body == content);
    drop(client);
    let worker = site.server.workers()[0];
    let open = || {
        let fds = fs::read_dir(format!("/proc/{worker}/fd")).unwrap();
        let names = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        names.filter(|name| name.starts_with(&site.top)).count()
    };
    harness::until("no file stays open", || open() == 0);
    site.stop();
}

#[test]
fn a_root_that_is_replaced_is_the_new_one() {
    let site = Site::start("", &[]);
    assert_eq!(site.get("/ten.txt").text(), "0123456789");
    fs::rename(site.top.join("root"), site.top.join("root-old")).unwrap();
    symlink("root-two", site.top.join("root")).unwrap();
    assert_eq!(site.get("/secret.txt").text(), "secret");
    assert_eq!(site.get("/ten.txt").status, 404);
    site.stop();
}

#[test]
fn a_front_asks_the_same() {
    use std::io::{Read, Write};
    let path = support::scratch_dir().join(format!("static-scgi-{}", std::process::id()));
    let site = Site::start("", &[&format!("bind=scgi+unix:{}", path.display())]);
    let etag = site.get("/ten.txt").header("etag").unwrap().to_owned();
    let head = site.get("/ten.txt");
    for (name, value, status, ends) in [
        ("HTTP_RANGE", "bytes=2-3", "Status: 206 ", "\r\n\r\n23"),
        ("HTTP_IF_NONE_MATCH", &etag, "Status: 304 ", "\r\n\r\n"),
        ("HTTP_IF_MATCH", "\"x\"", "Status: 412 ", "\n"),
        ("HTTP_HOST", "h", "Status: 200 ", "\r\n\r\n0123456789"),
    ] {
        let variables: String = [
            ("CONTENT_LENGTH", "0"),
            ("SCGI", "1"),
            ("REQUEST_METHOD", "GET"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REQUEST_URI", "/ten.txt"),
            (name, value),
        ]
        .map(|(name, value)| format!("{name}\0{value}\0"))
        .concat();
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        write!(stream, "{}:{variables},", variables.len()).unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).unwrap();
        assert!(told.starts_with(status) && told.ends_with(ends), "{name}: {told}");
        let etag = head.header("etag").unwrap();
        assert_eq!(told.contains(etag), status != "Status: 412 ", "{name}: {told}");
    }
    site.stop();
}
