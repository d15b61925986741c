//! What `docs/operations.md` says of service managers, with the managers themselves: the files of
//! `examples/deploy/` are started as they are, but for their paths and addresses.

mod harness;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use harness::client::Client;
use harness::{Ended, PATIENCE, SIGKILL, SIGTERM, Server, kill, program, support, until};

fn serve() -> PathBuf {
    program(&["examples/serve.c"])
}

/// A directory, an address of its own, and the files of `examples/deploy/` for them.
struct Place {
    dir: PathBuf,
    address: String,
}

impl Place {
    fn new(name: &str) -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Short: there will be sockets in it.
        let dir = std::env::temp_dir().join(format!("gateway-{name}-{pid}"));
        fs::create_dir_all(&dir).unwrap();
        let address = format!("127.{}.{}.{}:8000", 1 + (pid >> 8) % 254, pid % 256, 1 + count);
        Place { dir, address }
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Puts a file there, with this place's names; its text.
    fn deploy(&self, name: &str) -> String {
        let text = fs::read_to_string(support::root().join("examples/deploy").join(name)).unwrap();
        let text = text.replace("/usr/local/bin/serve", &serve().display().to_string());
        let text = text.replace("127.0.0.1:8000", &self.address);
        let text = text.replace("/var/log/serve.log", &self.path("serve.log"));
        fs::write(self.dir.join(name), &text).unwrap();
        text
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    /// The worker that answers; 0: nobody does.
    fn worker(&self) -> i32 {
        let Ok(mut client) = Client::try_connect(&self.address) else { return 0 };
        if !client.try_send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") {
            return 0;
        }
        let response = client.try_response("GET").map(|response| response.text());
        let text = response.unwrap_or_default();
        text.trim_end().strip_prefix("worker ").map_or(0, |pid| pid.parse().unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn end(&mut self) -> Option<i32> {
        kill(self.pid(), SIGTERM);
        until("it ends", || self.0.try_wait().unwrap().is_some());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            kill(self.pid(), SIGTERM);
            let _ = self.0.wait();
        }
    }
}

fn is_there(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// 0: there is none, for it has ended.
fn parent(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap();
    fields.split_whitespace().nth(1).map_or(0, |pid| pid.parse().unwrap())
}

#[test]
fn supervisord_starts_reloads_restarts_and_stops_it() {
    let place = Place::new("supervisord");
    place.deploy("supervisord.conf");
    let socket = place.path("socket");
    let main = format!(
        "[supervisord]\nlogfile={}\npidfile={}\nchildlogdir={}\n\
         [unix_http_server]\nfile={socket}\n\
         [rpcinterface:supervisor]\n\
         supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
         [supervisorctl]\nserverurl=unix://{socket}\n\
         [include]\nfiles={}\n",
        place.path("supervisord.log"),
        place.path("supervisord.pid"),
        place.dir.display(),
        place.path("supervisord.conf"),
    );
    let config = place.path("main.conf");
    fs::write(&config, main).unwrap();
    let supervisord = Command::new("supervisord")
        .args(["-n", "-c", &config])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("supervisord: make setup installs it");
    let mut supervisord = Running(supervisord);
    let ctl = |args: &[&str]| {
        let ended = support::output(Command::new("supervisorctl").args(["-c", &config]).args(args));
        String::from_utf8(ended.stdout).unwrap()
    };
    let said = |what: &str| place.read("serve.log").contains(what);

    until("it serves", || place.worker() > 0);
    until("it runs", || ctl(&["status", "serve"]).contains("RUNNING"));
    let arbiter = parent(place.worker());
    assert_eq!(parent(arbiter), supervisord.pid());

    // A reload: other workers, the same arbiter.
    let first = place.worker();
    assert!(ctl(&["signal", "HUP", "serve"]).contains("signalled"));
    until("it has reloaded", || said("Reloaded: all workers are of generation 1"));
    until("the first one is gone", || !is_there(first));
    until("others serve", || parent(place.worker()) == arbiter);

    // An arbiter that dies takes its workers along, and another one comes.
    kill(arbiter, SIGKILL);
    // Who is still to die has another parent, too, and not one that supervisord has started.
    let (before, mut worker) = (arbiter, 0);
    until("another one serves", || {
        worker = place.worker();
        parent(worker) != before && parent(parent(worker)) == supervisord.pid()
    });
    until("it runs", || ctl(&["status", "serve"]).contains("RUNNING"));
    let arbiter = parent(worker);
    assert!(ctl(&["stop", "serve"]).contains("stopped"));
    assert!(!is_there(arbiter) && !is_there(worker));
    let said = "stopped: serve (exit status 0)";
    until("it is logged", || place.read("supervisord.log").contains(said));
    assert_eq!(place.worker(), 0);
    assert_eq!(supervisord.end(), Some(0));
}

/// The value of a line of a unit.
fn value<'a>(unit: &'a str, name: &str) -> &'a str {
    let mut lines = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let value = lines.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(lines.next().is_none(), "{name} twice");
    value
}

/// The part of systemd is played: the socket is passed by its own tool, the commands are those of
/// the unit, and what the server says is heard.
#[test]
fn the_units_start_reload_and_stop_it() {
    let place = Place::new("systemd");
    let (service, socket) = (place.deploy("serve.service"), place.deploy("serve.socket"));
    let name = place.path("notify");
    let manager = UnixDatagram::bind(&name).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = |word: &str| loop {
        let mut octets = [0; 4096];
        let n = manager.recv(&mut octets).expect(word);
        let text = String::from_utf8(octets[..n].to_vec()).unwrap();
        if text.lines().any(|line| line == word) {
            return text;
        }
    };
    assert_eq!(value(&service, "Type"), "notify");
    let started = Command::new("systemd-socket-activate")
        .args(["-l", value(&socket, "ListenStream")])
        .args(["-E", &format!("NOTIFY_SOCKET={name}"), "-E", "WATCHDOG_USEC=200000", "--"])
        .args(value(&service, "ExecStart").split(' '))
        .stdin(Stdio::null())
        .stderr(fs::File::create(place.path("journal")).unwrap())
        .spawn()
        .expect("systemd-socket-activate: make setup installs it");
    let mut server = Running(started);

    // Clients wait until it is there.
    until("the socket is there", || Client::try_connect(&place.address).is_ok());
    let first = place.worker();
    let pid = server.pid();
    assert_eq!(parent(first), pid);
    assert!(hear("READY=1").contains(&format!("MAINPID={pid}\n")));
    hear("WATCHDOG=1");

    let reload = value(&service, "ExecReload").replace("$MAINPID", &pid.to_string());
    let words: Vec<_> = reload.split(' ').collect();
    support::run(Command::new(words[0]).args(&words[1..]));
    // What Type=notify-reload waits for.
    assert!(hear("RELOADING=1").contains("MONOTONIC_USEC="));
    hear("READY=1");
    until("the first one is gone", || !is_there(first));
    until("others serve", || parent(place.worker()) == pid);

    assert!(value(&service, "KillMode") == "mixed" && !service.contains("KillSignal"));
    assert_eq!(server.end(), Some(0), "{}", place.read("journal"));
    hear("STOPPING=1");
    let drop_in = place.deploy("notify-reload.conf");
    assert_eq!((value(&drop_in, "Type"), value(&drop_in, "ExecReload")), ("notify-reload", ""));
}

/// The table of the manual: what main returns is what a supervisor sees.
#[test]
fn exit_statuses_say_what_is_wrong() {
    let run = |options: &[&str]| -> Ended { Server::launch(&serve(), options).end() };
    let good = Server::start(&serve(), &["bind={}", "workers=1"]);
    let taken = format!("bind={}", good.address());
    for options in [&["bind={}", "workers=many"][..], &["bind={}", "no_option=1"], &[&taken]] {
        let ended = run(options);
        assert_eq!(ended.status, Some(1), "{options:?}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
    good.stop();
}

/// What systemd itself thinks of the units.
#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let place = Place::new("verify");
    place.deploy("serve.service");
    place.deploy("serve.socket");
    let units = ["serve.service", "serve.socket"].map(|name| place.path(name));
    let ended = support::output(Command::new("systemd-analyze").arg("verify").args(&units));
    let said = [ended.stdout, ended.stderr].concat();
    assert_eq!((ended.status.code(), &*String::from_utf8_lossy(&said)), (Some(0), ""));
    // It would have said so.
    let text = place.read("serve.service").replace("KillMode=mixed", "KillMode=mixes");
    fs::write(&units[0], text).unwrap();
    let ended = support::output(Command::new("systemd-analyze").arg("verify").args(&units));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("mixes"), "{ended:?}");
}
