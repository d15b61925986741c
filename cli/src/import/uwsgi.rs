//! `uwsgi.ini`: the section `[uwsgi]`, its placeholders, and the options that people use.

mod ini;
mod table;

use super::draft::{Draft, Table, Toml};
use super::rules::How::Own;
use super::rules::{Rule, Unit, Value, find, mode};
use super::{HEARTBEAT, Import, Source, address};
use ini::Directive;
pub(super) use table::RULES;

/// What the section becomes.
pub(super) fn import(source: &Source<'_>) -> Import {
    let mut draft = super::draft(source);
    let directives = ini::read(source);
    let all = All::of(&directives);
    for directive in &directives {
        let Directive { line, key, value, is_passed_over } = directive;
        if let (Err(why), true) = (value, is_passed_over) {
            draft.unmapped(*line, key, why);
            continue;
        }
        let Some(rule) = find(&RULES, key) else {
            if !ini::is_placeholder(source.text, key) {
                let why = "It is no option of uWSGI that is known here, and no placeholder.";
                draft.unmapped(*line, key, why);
            }
            continue;
        };
        let value = match value {
            Ok(value) => value,
            Err(why) => {
                draft.unmapped(*line, key, reason(rule).unwrap_or(why));
                continue;
            }
        };
        match rule.how {
            Own(_) => {
                if matches!(key.as_str(), "static-map" | "static-map2" | "cgi" | "mount") {
                    draft.begin_tables();
                }
                all.own(&mut draft, *line, key, value, source.cpus);
                draft.end_tables();
            }
            how => how.apply(&mut draft, *line, key, &Value::text(value)),
        }
    }
    all.finish(&mut draft, &directives);
    super::done(draft)
}

/// What is said of a web server on another machine.
const FAR_PEERS: &str = "uWSGI believes whoever connects; here HTTPS, REMOTE_ADDR, REMOTE_USER and their like count \
                         from this machine and unix sockets alone, unless trust= behind the address names others: \
                         set trust= to the addresses of the web server.";

/// Why a setting does not map, whatever its value.
fn reason(rule: &Rule) -> Option<&'static str> {
    match rule.how {
        super::rules::How::No(why) => Some(why),
        _ => None,
    }
}

/// What some options have to know of others.
struct All {
    /// `?mode=`, of unix sockets.
    mode: Option<String>,
    owner: Option<String>,
    /// What `socket` speaks.
    protocol: &'static str,
    /// Arguments of all static files.
    files: String,
    logs_requests: bool,
    /// What a request may take, in seconds.
    harakiri: i64,
}

impl All {
    fn of(directives: &[Directive]) -> All {
        let last = |names: &[&str]| {
            let found = directives
                .iter()
                .rev()
                .find(|it| it.value.is_ok() && names.contains(&it.key.as_str()));
            found.and_then(|it| it.value.as_deref().ok())
        };
        let is_on = |names: &[&str]| last(names).is_some_and(is_true);
        let bits = last(&["chmod-socket", "chmod"]).and_then(socket_mode);
        let protocol = match last(&["protocol", "socket-protocol"]) {
            Some("http") => "http",
            Some("fastcgi") => "fastcgi",
            Some("scgi") => "scgi",
            _ => "uwsgi",
        };
        let mut files = String::new();
        let indexes: Vec<_> = directives
            .iter()
            .filter(|it| it.key == "static-index")
            .filter_map(|it| it.value.as_deref().ok())
            .filter(|name| is_word(name) && !name.contains(['/', ',']))
            .collect();
        // uWSGI has no index unless one is named.
        let names = if indexes.is_empty() { "none".to_owned() } else { indexes.join(",") };
        files.push_str(&format!(" index={names}"));
        let expires = directives.iter().rev().filter(|it| is_expires(&it.key));
        let mut ages = expires.filter_map(|it| max_age(it.value.as_deref().ok()?));
        if let Some(seconds) = ages.next() {
            files.push_str(&format!(" max_age={seconds}s"));
        }
        All {
            mode: bits.map(|bits| format!("{bits:o}")),
            owner: last(&["chown-socket"])
                .filter(|owner| address::is_owner(owner))
                .map(str::to_owned),
            protocol,
            files,
            logs_requests: !is_on(&["disable-logging"]),
            harakiri: last(&["harakiri"]).and_then(|n| n.parse().ok()).unwrap_or(0),
        }
    }

    fn own(&self, draft: &mut Draft<'_>, line: usize, key: &str, value: &str, cpus: usize) {
        match key {
            "processes" | "workers" => match Unit::Int(1, 1024).convert(&Value::text(value)) {
                Ok(Some(Toml::Int(n)))
                    if usize::try_from(n) == Ok(cpus) && draft.says(line, "%k") =>
                {
                    draft.remark(line, "One for each CPU.");
                    draft.set("workers", Toml::Int(0));
                }
                Ok(Some(toml)) => draft.set("workers", toml),
                Ok(None) => {}
                Err(why) => draft.unmapped(line, key, &why),
            },
            "chmod-socket" | "chmod" => {
                if socket_mode(value).is_none() {
                    draft.unmapped(line, key, "Its value is not permissions from 0 to 777.");
                }
            }
            "chown-socket" => {
                if !address::is_owner(value) {
                    draft.unmapped(line, key, "Its value is neither user nor user:group.");
                }
            }
            "protocol" | "socket-protocol" => {
                if !matches!(value, "uwsgi" | "http" | "fastcgi" | "scgi") {
                    draft.unmapped(line, key, "It is none of uwsgi, http, fastcgi and scgi.");
                }
            }
            "socket" => self.bind(draft, line, key, value, self.protocol),
            "uwsgi-socket" => self.bind(draft, line, key, value, "uwsgi"),
            "http-socket" | "http11-socket" => self.bind(draft, line, key, value, "http"),
            "http" => {
                draft.remark(line, "There is no router: the workers speak HTTP themselves.");
                self.bind(draft, line, key, value, "http");
            }
            "fastcgi-socket" => self.bind(draft, line, key, value, "fastcgi"),
            "scgi-socket" => self.bind(draft, line, key, value, "scgi"),
            "stats" | "stats-server" => match address(value) {
                Some(address) => {
                    draft.remark(line, "JSON with uWSGI's keys, by HTTP, as with stats-http.");
                    draft.push("bind", Toml::Text(format!("{address}?stats_path=/&stats_only=1")));
                }
                None => draft.unmapped(line, key, "It is not an address."),
            },
            "harakiri" => {
                match Unit::Int(0, 8760 * 3600 - HEARTBEAT).convert(&Value::text(value)) {
                    Ok(Some(Toml::Int(seconds))) => {
                        draft.remark(
                        line,
                        "The client gets a 504, and only then a worker is ended whose thread does not \
                         come back.",
                    );
                        for (option, toml) in super::times_of(seconds) {
                            draft.set(option, toml);
                        }
                    }
                    Ok(_) => {}
                    Err(why) => draft.unmapped(line, key, &why),
                }
            }
            "http-keepalive" if matches!(value, "true" | "1") => {
                draft.remark(line, "So it is here, unless keepalive is 0.");
            }
            "http-keepalive" => match Unit::Seconds.convert(&Value::text(value)) {
                Ok(Some(toml)) => draft.set("keepalive", toml),
                Ok(None) => {}
                Err(why) => draft.unmapped(line, key, &why),
            },
            "socket-timeout" => match Unit::Seconds.convert(&Value::text(value)) {
                Ok(Some(toml)) => {
                    draft.set("body_timeout", toml.clone());
                    draft.set("write_timeout", toml);
                }
                Ok(None) => {}
                Err(why) => draft.unmapped(line, key, &why),
            },
            "reuse-port" => {
                let mode = if is_true(value) { "reuseport" } else { "shared" };
                draft.set("accept_mode", Toml::text(mode));
            }
            "enable-proxy-protocol" | "http-enable-proxy-protocol" => {
                let mode = if is_true(value) { "auto" } else { "off" };
                draft.set("proxy_protocol", Toml::text(mode));
            }
            "lazy" | "lazy-apps" => draft.set("preload", Toml::Bool(!is_true(value))),
            "env" => match value.split_once('=') {
                Some((name, value)) if !name.trim().is_empty() => {
                    draft.env(name.trim(), value.trim());
                }
                _ => draft.unmapped(line, key, "It is not NAME=value."),
            },
            "logto" | "logto2" => {
                draft.set("errorlog", Toml::text(value));
                if self.logs_requests {
                    draft.remark(line, "Requests and errors are two logs, which may be one file.");
                    draft.set("accesslog", Toml::text(value));
                }
            }
            "logger" | "req-logger" => {
                let option = if key == "logger" { "errorlog" } else { "accesslog" };
                match value.split_once(':') {
                    Some(("file", path)) if is_word(path) => draft.set(option, Toml::text(path)),
                    None if value == "stdio" => draft.set(option, Toml::text("-")),
                    _ => draft.unmapped(line, key, "Logs go to files and descriptors only."),
                }
            }
            "disable-logging" => {
                draft.remark(line, "There is no log of requests unless accesslog names one.");
            }
            "static-index" => {
                if !is_word(value) || value.contains(['/', ',']) {
                    draft.unmapped(line, key, "It is not the name of a file.");
                }
            }
            key if is_expires(key) => {
                if max_age(value).is_none() {
                    let why =
                        "Files of a mount are fresh for one time, max_age; patterns are not known.";
                    draft.unmapped(line, key, why);
                }
            }
            "static-map" | "static-map2" => self.files(draft, line, key, value),
            "cgi" => {
                let (at, root) = value.split_once('=').unwrap_or(("/", value));
                match (place(at), is_word(root)) {
                    (Some(at), true) => draft.table(
                        Table::new("mount")
                            .set("at", Toml::Text(at))
                            .set("builtin", Toml::text("cgi"))
                            .set(
                                "args",
                                Toml::Text(format!("root={}", root.trim_end_matches('/'))),
                            ),
                    ),
                    _ => {
                        draft.unmapped(line, key, "It cannot be mounted: write /prefix=/directory.")
                    }
                }
            }
            "mount" => {
                let why = "What is mounted is a module (.so), of which gateway-python.so has applications of \
                           Python, or one of the ready-made applications.";
                draft.unmapped(line, key, why);
                if let Some(at) = value.split_once('=').and_then(|(at, _)| place(at)) {
                    draft.table(
                        Table::new("mount")
                            .set("at", Toml::Text(at))
                            .set("module", Toml::text("./libapp.so"))
                            .proposed(),
                    );
                }
            }
            _ => unreachable!("{key} is one of the rules"),
        }
    }

    fn bind(&self, draft: &mut Draft<'_>, line: usize, key: &str, value: &str, protocol: &str) {
        let Some(address) = address(value) else {
            return draft.unmapped(line, key, "It is not an address.");
        };
        let is_file = address.starts_with("unix:") && !address.starts_with("unix:@");
        if protocol != "http" {
            match address.split_once(':') {
                Some(("unix", _)) => {}
                Some(("fd", _)) => draft.remark(line, FAR_PEERS),
                _ if address::is_loopback(&address) => {}
                _ => draft.unmapped(line, key, FAR_PEERS),
            }
        }
        let mut written = address::speaking(protocol, address);
        if is_file {
            let mode = self.mode.as_ref().map(|mode| format!("mode={mode}"));
            let owner = self.owner.as_ref().map(|owner| format!("owner={owner}"));
            let options: Vec<_> = mode.into_iter().chain(owner).collect();
            if !options.is_empty() {
                written.push_str(&format!("?{}", options.join("&")));
            }
        }
        draft.push("bind", Toml::Text(written));
    }

    fn files(&self, draft: &mut Draft<'_>, line: usize, key: &str, value: &str) {
        let Some((at, root)) = value.split_once('=') else {
            return draft.unmapped(line, key, "It is not /prefix=/directory.");
        };
        let (Some(at), root) = (place(at), root.trim().trim_end_matches('/')) else {
            return draft.unmapped(line, key, "It is not /prefix=/directory.");
        };
        let last = at.rsplit('/').next().unwrap_or_default();
        if last.contains('.') && root.ends_with(&format!("/{last}")) {
            let why = "It maps one file, and what is mounted is a directory: let the web server in front \
                       have it, or the application.";
            return draft.unmapped(line, key, why);
        }
        let root = if key == "static-map2" { format!("{root}{at}") } else { root.to_owned() };
        if !is_word(&root) || root.is_empty() {
            let why = "A directory whose name has white space cannot be written.";
            return draft.unmapped(line, key, why);
        }
        draft.remark(line, "A file that is not there is a 404, and not the application's.");
        draft.table(
            Table::new("mount")
                .set("at", Toml::Text(at))
                .set("builtin", Toml::text("static"))
                .set("args", Toml::Text(format!("root={root}{}", self.files))),
        );
    }

    /// Where uWSGI's presets are others.
    fn finish(&self, draft: &mut Draft<'_>, directives: &[Directive]) {
        if !draft.has("workers") {
            draft.say(
                "uWSGI has 1 worker unless something is said; this server has one for each CPU.",
            );
        }
        if self.harakiri == 0 {
            draft.say(
                "Without harakiri a request may take any time; this server ends a worker whose thread is \
                 silent for heartbeat_timeout, 30 s.",
            );
        }
        let logs = ["logto", "logto2", "req-logger", "disable-logging", "daemonize"];
        if self.logs_requests && !directives.iter().any(|it| logs.contains(&it.key.as_str())) {
            draft.say("uWSGI logs requests unless it is told not to; here accesslog = \"-\" does.");
        }
    }
}

fn is_true(value: &str) -> bool {
    !matches!(value.to_ascii_lowercase().as_str(), "false" | "0" | "off" | "no")
}

/// Without what cannot be written among arguments.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !text.chars().any(|c| c.is_whitespace() || c.is_control() || "?&,".contains(c))
}

/// Permissions; without a value everybody may connect.
fn socket_mode(value: &str) -> Option<i64> {
    match value {
        "true" => Some(0o666),
        digits => mode(&Value::text(digits)).ok().filter(|bits| *bits > 0),
    }
}

fn is_expires(key: &str) -> bool {
    matches!(key, "static-expires" | "static-expires-uri" | "static-expires-path-info")
}

/// Seconds, if the pattern is for everything.
fn max_age(value: &str) -> Option<u32> {
    let (pattern, seconds) = value.rsplit_once(char::is_whitespace)?;
    let is_all = matches!(pattern.trim(), "/*" | ".*" | "/.*" | "^/.*" | "^.*$" | "*" | "^.*");
    seconds.parse().ok().filter(|_| is_all)
}

/// An address as we write it.
fn address(value: &str) -> Option<String> {
    if value.starts_with("fd://") {
        return address::fd(value);
    }
    match value.rsplit_once(':') {
        Some((host, port)) if !value.starts_with('@') => {
            address::tcp(if host == "*" { "" } else { host }, port)
        }
        _ if value.starts_with('=') => None,
        _ => address::unix(value),
    }
}

/// Where something is mounted: "/prefix", "host/prefix".
fn place(at: &str) -> Option<String> {
    let at = at.trim().trim_end_matches('/');
    match at {
        "" => Some("/".to_owned()),
        at if !is_word(at) || at.contains("://") || at.contains('%') => None,
        at if at.contains('/') => Some(at.to_owned()),
        host => Some(format!("{host}/")),
    }
}
