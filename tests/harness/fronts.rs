//! Web servers in front of `tests/c/suite.c`, with the configurations of `examples/fronts`.
//!
//! Each has a directory and a loopback address of its own, runs in the foreground as a child of the
//! test, and is ended by its process id.  `scripts/setup` installs the servers, or unpacks them in
//! `target/peers`.

use std::fs::{self, File, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::{PATIENCE, SIGKILL, SIGTERM, Server, kill, support};

/// A directory that everybody can enter (a server may change its user), removed in the end.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new() -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("gateway-front-{}-{count}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("create a directory");
        fs::set_permissions(&path, Permissions::from_mode(0o777)).expect("open the directory");
        Dir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // What a test that fails leaves is wanted.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// How a front reaches the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// TCP; the application gets bodies of requests when they are complete.
    Tcp,
    /// Unix sockets; the application reads bodies of requests while they arrive.
    Unix,
}

/// `tests/c/suite.c`, which listens for every protocol, on TCP and unix sockets.
pub struct App {
    pub server: Server,
    dir: Dir,
    over: Over,
}

/// Its protocols, and their ports beside the 8000 of HTTP.
const PROTOCOLS: [(&str, u16); 4] =
    [("http", 8000), ("uwsgi", 8001), ("fastcgi", 8002), ("scgi", 8003)];

impl App {
    pub fn start(over: Over, options: &[&str]) -> App {
        let dir = Dir::new();
        let mut args = Vec::new();
        for (protocol, port) in PROTOCOLS {
            let path = dir.path().join(protocol).display().to_string();
            args.push(format!("bind={protocol}://{{ip}}:{port}"));
            args.push(format!("bind={protocol}+unix:{path}.sock?mode=666"));
        }
        if over == Over::Unix {
            args.push("request_buffering=0".to_owned());
        }
        args.extend(options.iter().map(|&option| option.to_owned()));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let server = Server::start(program(), &args);
        App { server, dir, over }
    }

    pub fn ip(&self) -> &str {
        self.server.address().split(':').next().expect("an address has a host")
    }

    fn port(protocol: &str) -> u16 {
        PROTOCOLS.iter().find(|it| it.0 == protocol).expect("a protocol").1
    }

    /// Where it is reached, as `host:port` or with the path of a socket in `unix`.
    pub fn address(&self, protocol: &str, unix: &str) -> String {
        match self.over {
            Over::Tcp => format!("{}:{}", self.ip(), App::port(protocol)),
            Over::Unix => format!("{unix}{}/{protocol}.sock", self.dir.path().display()),
        }
    }
}

/// `suite.c`, compiled so that a copy of it beside a copy of the library runs anywhere.
pub fn program() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let source = support::root().join("tests/c/suite.c");
        let out = support::scratch_dir().join(format!("suite-{}", std::process::id()));
        support::compile_c(&source, &out, &["-Wl,-rpath,$ORIGIN"]);
        // Under a name that stays, for as long as another test program does not need it anew.
        let place = support::scratch_dir().join("suite");
        fs::rename(&out, &place).expect("put the program in place");
        place
    })
}

/// A server that runs.
pub struct Front {
    child: Child,
    name: &'static str,
    dir: Dir,
    ip: String,
}

/// A server's program and its modules, wherever they are.
fn find(program: &str) -> Option<PathBuf> {
    let peers = support::root()
        .join(std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned()) + "/peers");
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').map(PathBuf::from);
    let usual = ["/usr/sbin", "/usr/bin"].map(PathBuf::from);
    let ours = ["usr/sbin", "usr/bin"].map(|it| peers.join(it));
    let mut all = places.chain(usual).chain(ours).map(|it| it.join(program));
    all.find(|it| it.is_file())
}

/// The path of a program that `scripts/setup test` provides.
pub fn installed(program: &str) -> PathBuf {
    find(program).unwrap_or_else(|| panic!("no {program}: run scripts/setup test"))
}

/// The directory of a server's modules: `../lib/...` of where its program is.
fn modules(program: &Path, below: &str) -> PathBuf {
    program.parent().and_then(Path::parent).expect("usr/sbin").join("lib").join(below)
}

impl Front {
    /// Start `name` ("nginx", "apache", "lighttpd", "haproxy") before this application; `also` are
    /// further names of its configuration.
    pub fn start(name: &'static str, app: &App, also: &[(&str, String)]) -> Front {
        let dir = Dir::new();
        let run = dir.path().display().to_string();
        let (file, server) = match name {
            "nginx" => ("nginx.conf", installed("nginx")),
            "apache" => ("apache.conf", installed("apache2")),
            "lighttpd" => ("lighttpd.conf", installed("lighttpd")),
            "haproxy" => ("haproxy.cfg", installed("haproxy")),
            other => panic!("no server named {other}"),
        };
        let mut text = fs::read_to_string(support::root().join("examples/fronts").join(file))
            .expect("read a configuration");
        let below = if name == "apache" { "apache2/modules" } else { "lighttpd" };
        let modules = modules(&server, below).display().to_string();
        let mut names = vec![
            ("RUN".to_owned(), run.clone()),
            ("IP".to_owned(), app.ip().to_owned()),
            ("MODULES".to_owned(), modules.clone()),
        ];
        names.extend(also.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        for protocol in ["http", "uwsgi", "fastcgi", "scgi"] {
            names.extend(reach(name, app, protocol));
        }
        for (key, value) in &names {
            text = text.replace(&format!("${{{key}}}"), value);
        }
        // Without a second instance the first is both.
        text = text.replace("${SECOND}", &app.address("http", "unix:"));
        text = text.replace("${PROXY}", &app.address("http", "unix@"));
        let left = text.lines().find(|line| line.contains("${") && !line.starts_with('#'));
        assert!(left.is_none(), "{file}: {left:?}");
        let config = dir.path().join(file);
        fs::write(&config, text).expect("write the configuration");
        let cgi = dir.path().join("cgi");
        fs::create_dir(&cgi).expect("create a directory");
        fs::copy(program(), cgi.join("app")).expect("copy the program");
        fs::copy(support::library(), cgi.join(support::SONAME)).expect("copy the library");

        let config = config.display().to_string();
        let mut command = Command::new(&server);
        match name {
            "nginx" => command.args(["-p", &run, "-e", &format!("{run}/nginx.log")]).args([
                "-c",
                &config,
                "-g",
                "daemon off;",
            ]),
            "apache" => command.args(["-DFOREGROUND", "-f", &config]),
            "lighttpd" => command.args(["-D", "-m", &modules, "-f", &config]),
            _ => command.args(["-db", "-f", &config]),
        };
        let said = File::create(dir.path().join("said")).expect("create a file");
        let child = command
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(said.try_clone().expect("share the file"))
            .stderr(said)
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", server.display()));
        Front { child, name, dir, ip: app.ip().to_owned() }
    }

    /// Its address with this port, once it listens there.
    pub fn address(&mut self, port: u16) -> String {
        let address = format!("{}:{port}", self.ip);
        let since = Instant::now();
        while TcpStream::connect(&address).is_err() {
            if let Some(status) = self.child.try_wait().expect("wait for the server") {
                panic!("{} ended with {status}: {}", self.name, self.said());
            }
            assert!(since.elapsed() < PATIENCE, "{} does not listen: {}", self.name, self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
        address
    }

    /// What it has said, and logged.
    pub fn said(&self) -> String {
        let files = ["said".to_owned(), format!("{}.log", self.name)];
        let read = |file: &String| fs::read(self.dir.path().join(file)).unwrap_or_default();
        let all = files.iter().map(read).collect::<Vec<_>>().concat();
        String::from_utf8_lossy(&all).into_owned()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(pid, SIGTERM);
        let since = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if since.elapsed() > Duration::from_secs(20) {
                kill(pid, SIGKILL);
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The names by which a configuration knows where the application listens.
fn reach(front: &str, app: &App, protocol: &str) -> Vec<(String, String)> {
    let key = protocol.to_uppercase();
    let unix = app.over == Over::Unix;
    match front {
        "nginx" => vec![(key, app.address(protocol, "unix:"))],
        "haproxy" => vec![(key, app.address(protocol, "unix@"))],
        "apache" => {
            let scheme = if protocol == "fastcgi" { "fcgi" } else { protocol };
            let host = if unix { "app".to_owned() } else { app.address(protocol, "") };
            let socket = if unix { app.address(protocol, "unix:") + "|" } else { String::new() };
            vec![(key, format!("{socket}{scheme}://{host}"))]
        }
        _ => {
            let host = if unix { app.address(protocol, "") } else { app.ip().to_owned() };
            let port = if unix { 0 } else { App::port(protocol) };
            vec![(format!("{key}_HOST"), host), (format!("{key}_PORT"), port.to_string())]
        }
    }
}
