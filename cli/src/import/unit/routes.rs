//! Routes as mounts.  A route's first step that fits decides, and among mounts the longest match does:
//! what would be another choice does not map.

use super::json::{Json, Node};
use super::{Group, UNKNOWN, table};
use crate::import::address;
use crate::import::draft::{Draft, Table, Toml};
use crate::import::rules::How::{No, Own};
use crate::import::rules::{Value, exact};

/// Routes within routes.
const DEPTH_MAX: usize = 16;

/// Which requests: of a host, or hosts below one, and below a prefix.
#[derive(Clone, Debug, Default, PartialEq)]
struct Place {
    /// "example.org", "*.example.org"; nothing: all.
    host: Option<String>,
    /// "", or a slash and no slash at the end.
    prefix: String,
}

impl Place {
    fn at(&self) -> String {
        let path = if self.prefix.is_empty() { "/" } else { &self.prefix };
        format!("{}{path}", self.host.as_deref().unwrap_or_default())
    }

    /// How early it counts among mounts.
    fn rank(&self) -> (u8, usize, usize) {
        let (kind, len) = match self.host.as_deref() {
            None => (0, 0),
            Some(host) if host.starts_with('*') => (1, host.len()),
            Some(_) => (2, 0),
        };
        (kind, len, self.prefix.len())
    }

    /// Whether all requests of `other` are its, too.
    fn covers(&self, other: &Place) -> bool {
        let host = match (self.host.as_deref(), other.host.as_deref()) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(all), Some(one)) => {
                all == one || all.strip_prefix('*').is_some_and(|end| one.ends_with(end))
            }
        };
        host && below(&other.prefix, &self.prefix)
    }

    /// Whether there are requests of both.
    fn meets(&self, other: &Place) -> bool {
        let free = |place: &Place| Place { prefix: String::new(), ..place.clone() };
        let hosts = free(self).covers(&free(other)) || free(other).covers(&free(self));
        hosts && (below(&self.prefix, &other.prefix) || below(&other.prefix, &self.prefix))
    }
}

/// Whether a prefix is another, or below it.
fn below(prefix: &str, other: &str) -> bool {
    prefix.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The steps of a route.
fn steps<'a>(root: &'a Node, target: &str) -> Option<&'a [Node]> {
    let routes = root.get("routes")?;
    let list = match target.strip_prefix("routes") {
        Some("") => routes,
        Some(name) => routes.get(name.strip_prefix('/')?)?,
        None => return None,
    };
    match &list.json {
        Json::List(steps) => Some(steps),
        _ => None,
    }
}

/// The applications that a target leads to.
pub(super) fn applications(root: &Node, target: &str) -> Vec<String> {
    fn add(root: &Node, target: &str, names: &mut Vec<String>, seen: &mut Vec<String>) {
        if let Some(name) = target.strip_prefix("applications/") {
            let name = name.split('/').next().unwrap_or_default();
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        } else if !seen.iter().any(|known| known == target) && seen.len() < DEPTH_MAX {
            seen.push(target.to_owned());
            for step in steps(root, target).unwrap_or_default() {
                let mut action = step.get("action");
                for _ in 0..DEPTH_MAX {
                    let Some(node) = action else { break };
                    if let Some(target) = node.get("pass").and_then(Node::text) {
                        add(root, target, names, seen);
                    }
                    action = node.get("fallback");
                }
            }
        }
    }
    let mut names = Vec::new();
    add(root, target, &mut names, &mut Vec::new());
    names
}

/// The groups that lead to an application.
pub(super) fn reached(root: &Node, groups: &[Group<'_>], name: &str) -> Vec<usize> {
    let leads = |group: &Group<'_>| applications(root, group.target).iter().any(|it| it == name);
    (0..groups.len()).filter(|n| leads(&groups[*n])).collect()
}

/// The mounts of what a group's listeners pass to.
pub(super) fn write(root: &Node, draft: &mut Draft<'_>, group: &Group<'_>, mount: &str) {
    let mut mounts = Mounts { root, draft, mount, places: Vec::new() };
    mounts.pass(group.line, "listeners", group.target, &Place::default(), 0);
}

struct Mounts<'a, 's, 'd> {
    root: &'a Node,
    draft: &'d mut Draft<'s>,
    mount: &'a str,
    /// What has been mounted, and by which line.
    places: Vec<(Place, usize)>,
}

impl Mounts<'_, '_, '_> {
    fn table(&self, place: &Place) -> Table {
        Table::new(self.mount).set("at", Toml::Text(place.at()))
    }

    /// What `pass` says, for the requests of `place`.
    fn pass(&mut self, line: usize, path: &str, target: &str, place: &Place, depth: usize) {
        if let Some(name) = target.strip_prefix("applications/") {
            let name: String = name
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
                .collect();
            let module = Toml::Text(format!("./{name}.so"));
            self.draft.table(self.table(place).set("module", module).proposed());
            return;
        }
        let why = match steps(self.root, target) {
            Some(_) if *place != Place::default() => {
                "It is a route within a route: write its steps where it is passed to."
            }
            Some(_) if depth == DEPTH_MAX => "It is a route within too many others.",
            Some(steps) => return self.steps(target, steps, depth),
            None if target.starts_with("upstreams/") => {
                return self.forward(line, path, upstreams(self.root, target), place);
            }
            None => "There is nothing of this name.",
        };
        self.draft.unmapped(line, path, why);
    }

    fn steps(&mut self, target: &str, steps: &[Node], depth: usize) {
        for (n, step) in steps.iter().enumerate() {
            let path = format!("{}[{n}]", target.replace('/', "."));
            for (name, node) in step.members() {
                if name != "match" && name != "action" {
                    self.draft.unmapped(node.line, &format!("{path}.{name}"), UNKNOWN);
                }
            }
            let Some(places) = self.matched(&path, step.get("match")) else { continue };
            let Some(action) = step.get("action") else {
                self.draft.unmapped(step.line, &path, "It has no action.");
                continue;
            };
            for place in places {
                if self.is_in_order(&path, step.line, &place) {
                    self.action(&format!("{path}.action"), action, &place, depth);
                    self.places.push((place, step.line));
                }
            }
        }
    }

    /// Whether the first step that fits is the longest match, too.
    fn is_in_order(&mut self, path: &str, line: usize, place: &Place) -> bool {
        let at = place.at();
        for (earlier, by) in &self.places {
            if earlier.covers(place) {
                let why = format!("{at} is never reached: the step of line {by} is before it.");
                self.draft.unmapped(line, path, &why);
                return false;
            }
            if earlier.meets(place) && place.rank() > earlier.rank() {
                let why = format!(
                    "{at} would count before {} of line {by}, which is the first step: hosts count \
                     before paths, and then the longest match.",
                    earlier.at()
                );
                self.draft.unmapped(line, path, &why);
                return false;
            }
        }
        true
    }

    /// The places of a match; nothing if they cannot be said, which is told.
    fn matched(&mut self, path: &str, node: Option<&Node>) -> Option<Vec<Place>> {
        let (mut hosts, mut prefixes) = (vec![None], vec![String::new()]);
        let mut is_sayable = true;
        for (name, node) in node.map_or(&[][..], Node::members) {
            let path = format!("{path}.match.{name}");
            let found = match (name.as_str(), node.texts()) {
                ("host", Some(texts)) => {
                    texts.into_iter().map(host).collect::<Option<_>>().map(|found| hosts = found)
                }
                ("uri", Some(texts)) => texts
                    .into_iter()
                    .map(prefix)
                    .collect::<Option<_>>()
                    .map(|found| prefixes = found),
                _ => None,
            };
            if found.is_some() {
                continue;
            }
            is_sayable = false;
            let why = match exact(&table::RULES, &format!("routes.*.match.{name}")).map(|it| it.how)
            {
                _ if table::MATCHES.contains(&name.as_str()) => {
                    "A mount is for a host or all below it (*.example.org), and for all below a prefix \
                     (/prefix/*), and not for other patterns."
                }
                Some(No(why)) => why,
                _ => UNKNOWN,
            };
            self.draft.unmapped(node.line, &path, why);
        }
        if !is_sayable {
            return None;
        }
        let mut places = Vec::new();
        for host in &hosts {
            for prefix in &prefixes {
                let place = Place { host: host.clone(), prefix: prefix.clone() };
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        Some(places)
    }

    fn action(&mut self, path: &str, node: &Node, place: &Place, depth: usize) {
        for (name, member) in node.members() {
            let how = exact(&table::RULES, &format!("routes.*.action.{name}")).map(|rule| rule.how);
            let is_404 = member.get("return").is_some_and(|code| code.value() == Value::Int(404));
            match how {
                _ if name == "fallback" && is_404 => {
                    self.draft.remark(member.line, "What is not there is a 404.");
                }
                None => self.draft.unmapped(member.line, &format!("{path}.{name}"), UNKNOWN),
                Some(Own(_)) => {}
                Some(how) => {
                    // What is not the default counts, whether on or off.
                    let value = match member.value() {
                        Value::Bool(_) if name != "chroot" => Value::text("set"),
                        value => value,
                    };
                    how.apply(self.draft, member.line, &format!("{path}.{name}"), &value);
                }
            }
        }
        if let Some(target) = node.get("pass") {
            let path = format!("{path}.pass");
            match target.text() {
                Some(text) if !text.contains('$') => {
                    self.pass(target.line, &path, text, place, depth + 1);
                }
                _ => {
                    let why = "What it passes to is not known before a request.";
                    self.draft.unmapped(target.line, &path, why);
                }
            }
        } else if let Some(share) = node.get("share") {
            self.share(&format!("{path}.share"), share, node, place, depth);
        } else if let Some(status) = node.get("return") {
            self.redirect(&format!("{path}.return"), status, node.get("location"), place);
        } else if let Some(proxy) = node.get("proxy") {
            let server = proxy.text().and_then(|url| server(url.strip_prefix("http://")?));
            let servers = server.map(|server| vec![server]).ok_or(NO_SERVER);
            self.forward(proxy.line, &format!("{path}.proxy"), servers, place);
        }
    }

    /// What goes on to other servers, with the whole path.
    fn forward(
        &mut self,
        line: usize,
        path: &str,
        servers: Result<Vec<String>, &'static str>,
        place: &Place,
    ) {
        let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"/-._".contains(&octet);
        let why = match servers {
            Ok(servers) if place.prefix.bytes().all(is_plain) => {
                let url = |server: &String| format!("http://{server}{}", place.prefix);
                let to = servers.iter().map(url).collect::<Vec<_>>().join(",");
                self.draft.remark(line, table::FORWARD);
                let table = self
                    .table(place)
                    .set("builtin", Toml::text("forward"))
                    .set("args", Toml::Text(format!("to={to}")));
                return self.draft.table(table);
            }
            Ok(_) => "Its prefix cannot be written as part of a URL.",
            Err(why) => why,
        };
        self.draft.unmapped(line, path, why);
    }

    fn share(&mut self, path: &str, share: &Node, action: &Node, place: &Place, depth: usize) {
        let fallback = action.get("fallback");
        let is_other =
            |node: &&Node| node.get("return").is_none_or(|code| code.value() != Value::Int(404));
        let fallback = fallback.filter(is_other);
        if let (Some(fallback), true) = (fallback, place.prefix.is_empty() && depth < DEPTH_MAX) {
            let why =
                "Files and what is asked for the others are two mounts: give the files a prefix.";
            self.draft.unmapped(share.line, path, why);
            return self.action(
                &format!("{}.fallback", path.trim_end_matches(".share")),
                fallback,
                place,
                depth + 1,
            );
        }
        let root = match share.texts().as_deref() {
            Some([root]) => match root.strip_suffix("$uri") {
                Some(root) => Ok(format!("{}{}", root.trim_end_matches('/'), place.prefix)),
                None if root.contains('$') => Err("Only $uri, at its end, is known."),
                None => {
                    Err("Without $uri it is one file for all requests (or of a Unit before 1.26): \
                             name the directory.")
                }
            },
            _ => Err("Several places are looked at for a file; static has one directory."),
        };
        let root =
            root.and_then(|root| match root.contains('$') || root.contains(char::is_whitespace) {
                true => Err("Only $uri, at its end, is known, and no white space."),
                false if root.is_empty() => Ok("/".to_owned()),
                false => Ok(root),
            });
        match root {
            Ok(root) => {
                let index = action.get("index").and_then(Node::text).unwrap_or_default();
                let is_name = !index.contains(['/', ',']) && !index.contains(char::is_whitespace);
                let index = if !index.is_empty() && is_name {
                    format!(" index={index}")
                } else {
                    String::new()
                };
                let args = Toml::Text(format!("root={root}{index}"));
                let table =
                    self.table(place).set("builtin", Toml::text("static")).set("args", args);
                self.draft.table(table);
            }
            Err(why) => self.draft.unmapped(share.line, path, why),
        }
    }

    fn redirect(&mut self, path: &str, status: &Node, location: Option<&Node>, place: &Place) {
        let code = match status.value() {
            Value::Int(code) => code,
            _ => 0,
        };
        if code == 404 && location.is_none() && *place == Place::default() {
            return self.draft.remark(status.line, "What matches no mount is a 404.");
        }
        let location = location.and_then(Node::text);
        let why = match location {
            Some(to) if [301, 302, 303, 307, 308].contains(&code) => {
                match target(to, &place.prefix) {
                    Some(args) => {
                        let args = Toml::Text(format!("{args} status={code}"));
                        let table = self
                            .table(place)
                            .set("builtin", Toml::text("redirect"))
                            .set("args", args);
                        return self.draft.table(table);
                    }
                    None => {
                        "Of variables redirect knows $uri and $request_uri only, at the end of a URL."
                    }
                }
            }
            _ => {
                "There is no application for this answer: redirect has 301, 302, 303, 307 and 308."
            }
        };
        self.draft.unmapped(status.line, path, why);
    }
}

const NO_SERVER: &str =
    "It is no server that forward can ask: to=http://host:port, and no unix socket.";

/// `host:port` of a server that requests go on to.
fn server(text: &str) -> Option<String> {
    let has_port = text.rfind(':').is_some_and(|colon| text.rfind(']').is_none_or(|it| it < colon));
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if has_port => (host, port),
        _ => (text, "80"),
    };
    address::tcp(host, port).filter(|_| !host.is_empty())
}

/// The servers of one of the upstreams, if each has the same share.
fn upstreams(root: &Node, target: &str) -> Result<Vec<String>, &'static str> {
    let name = target.strip_prefix("upstreams/").unwrap_or_default();
    let upstream = root.get("upstreams").and_then(|all| all.get(name));
    let upstream = upstream.ok_or("There is nothing of this name.")?;
    let servers = upstream.get("servers").map_or(&[][..], Node::members);
    let weight = |node: &Node| node.get("weight").map_or(Value::Int(1), Node::value);
    let is_odd = |node: &Node| {
        node.members().iter().any(|(name, _)| name != "weight")
            || servers.first().is_none_or(|(_, first)| weight(first) != weight(node))
    };
    if servers.iter().any(|(_, node)| is_odd(node) || weight(node) == Value::Int(0)) {
        return Err("forward asks its servers one after another, each as often as the others.");
    }
    let found: Option<Vec<_>> = servers.iter().map(|(text, _)| server(text)).collect();
    found.filter(|found| !found.is_empty()).ok_or(NO_SERVER)
}

/// Arguments of redirect.
fn target(to: &str, prefix: &str) -> Option<String> {
    let (base, keep) = match (to.strip_suffix("$request_uri"), to.strip_suffix("$uri")) {
        (Some(base), _) => (base, " keep=path,query"),
        (None, Some(base)) => (base, " keep=path"),
        (None, None) => (to, ""),
    };
    // The path that is kept is what follows the mount's prefix.
    let to = if keep.is_empty() { base.to_owned() } else { format!("{base}{prefix}") };
    let is_url = to.bytes().all(|octet| octet.is_ascii_graphic() && !b"\\$".contains(&octet));
    let has_place = ["http://", "https://"].iter().any(|scheme| {
        to.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    }) || to.starts_with('/') && !to.starts_with("//");
    let is_whole = keep.is_empty() || !to.contains(['?', '#']);
    (is_url && has_place && is_whole).then(|| format!("to={to}{keep}"))
}

/// A pattern of hosts, if it can be said; nothing in that is all.
fn host(pattern: &str) -> Option<Option<String>> {
    if pattern == "*" {
        return Some(None);
    }
    let name = pattern.strip_prefix("*.").unwrap_or(pattern);
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (!name.is_empty() && name.chars().all(is_name)).then(|| Some(pattern.to_ascii_lowercase()))
}

/// A pattern of paths that is all below a prefix.
fn prefix(pattern: &str) -> Option<String> {
    let prefix = match pattern {
        "*" => "",
        pattern => pattern.strip_suffix("/*")?,
    };
    let is_sayable = prefix.is_empty() || prefix.starts_with('/') && !prefix.ends_with('/');
    let is_plain =
        !prefix.chars().any(|c| c.is_whitespace() || c.is_control() || "*!~%?#".contains(c));
    (is_sayable && is_plain).then(|| prefix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(at: &str) -> Place {
        let (host, prefix) = at.split_at(at.find('/').unwrap());
        let host = (!host.is_empty()).then(|| host.to_owned());
        Place { host, prefix: prefix.trim_end_matches('/').to_owned() }
    }

    #[test]
    fn places_cover_and_meet_each_other() {
        for (one, other, covers, meets) in [
            ("/", "/a", true, true),
            ("/a", "/", false, true),
            ("/a", "/ab", false, false),
            ("/a", "h/a/b", true, true),
            ("h/", "/a", false, true),
            ("h/", "i/", false, false),
            ("*.h/", "a.h/b", true, true),
            ("*.h/", "h/", false, false),
            ("*.h/b", "a.h/", false, true),
        ] {
            let got = (place(one).covers(&place(other)), place(one).meets(&place(other)));
            assert_eq!(got, (covers, meets), "{one} {other}");
        }
        assert!(place("h/").rank() > place("*.h/a").rank());
        assert!(place("*.a.h/").rank() > place("*.h/a").rank());
        assert!(place("/a").rank() > place("/").rank());
    }

    #[test]
    fn patterns_are_places_or_nothing() {
        let prefixes = ["*", "/*", "/a/*", "/a", "/a*", "~^/a", "!/a/*", "/a/*/b/*", "a/*", "//*"];
        let found: Vec<_> = prefixes.iter().map(|it| prefix(it)).collect();
        assert_eq!(found[..3], [Some(String::new()), Some(String::new()), Some("/a".to_owned())]);
        assert!(found[3..].iter().all(Option::is_none), "{found:?}");
        assert_eq!(host("*"), Some(None));
        assert_eq!(host("*.A.org"), Some(Some("*.a.org".to_owned())));
        assert_eq!([host("a*"), host("!a"), host("~a"), host("")], [const { None }; 4]);
    }

    #[test]
    fn where_a_redirect_goes() {
        for (to, args) in [
            ("https://a.org$request_uri", Some("to=https://a.org/p keep=path,query")),
            ("https://a.org/b$uri", Some("to=https://a.org/b/p keep=path")),
            ("/new", Some("to=/new")),
            ("https://$host$request_uri", None),
            ("//evil", None),
            ("/a?b$uri", None),
            ("$uri/", None),
        ] {
            assert_eq!(target(to, "/p").as_deref(), args, "{to}");
        }
    }
}
