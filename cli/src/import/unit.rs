//! NGINX Unit's JSON: listeners become addresses, routes become mounts, applications become what a
//! module is told, each where its meaning stays the same.

mod json;
mod routes;
mod table;

use super::draft::{Draft, Table, Toml};
use super::rules::How::{No, Own};
use super::rules::{Unit, exact};
use super::{HEARTBEAT, Import, Source, address};
use json::{Json, Node};
pub(super) use table::RULES;

/// What the configuration becomes.
pub(super) fn import(source: &Source<'_>) -> Result<Import, String> {
    let whole = json::read(source.text)?;
    // What Unit says of itself has the configuration as one of its members.
    let root = match whole.get("config") {
        Some(config) if whole.get("listeners").is_none() => config,
        _ => &whole,
    };
    if !matches!(root.json, Json::Map(_)) {
        return Err(format!("{}: it is no object", root.line));
    }
    let mut unit = UnitFile { root, draft: super::draft(source) };
    for (name, node) in root.members() {
        match (name.as_str(), &node.json) {
            ("listeners" | "routes" | "applications", _) => {}
            ("access_log", Json::Map(_)) | ("settings", _) => unit.tree(name, name, node),
            ("access_log" | "upstreams", _) => unit.leaf(name, name, node),
            _ => unit.draft.unmapped(node.line, name, UNKNOWN),
        }
    }
    unit.serve();
    Ok(super::done(unit.draft))
}

const UNKNOWN: &str = "It is no member that is known here.";

const EXTERNAL: &str = "A program made with libunit becomes a module, which is loaded and not started: \
                        gateway_module in gateway.h, and module = \"./libapp.so\".";

const NO_USER: &str =
    "Unit's default is an unprivileged user; here it is the one who starts it: set user.";

const TRUSTED_FOR_MORE: &str = "trust= lets X-Forwarded-Proto and Forwarded of these peers decide wsgi.url_scheme, too, \
                                which they do not in Unit without `protocol`: let the web server in front set or \
                                remove them.";

/// The file, and what has become of it.
struct UnitFile<'a> {
    root: &'a Node,
    draft: Draft<'a>,
}

/// Listeners that pass to the same: a server, or a pool of one.
struct Group<'a> {
    target: &'a str,
    line: usize,
    addresses: Vec<String>,
}

/// Where an option goes.
enum Place<'t> {
    Head,
    Pool(&'t mut Table),
}

impl<'a> UnitFile<'a> {
    /// A member by its rule, `pattern`; `path` is how it is called.
    fn leaf(&mut self, pattern: &str, path: &str, node: &Node) {
        match exact(&RULES, pattern).map(|rule| rule.how) {
            None => self.draft.unmapped(node.line, path, UNKNOWN),
            Some(Own(_)) => {}
            Some(how) => how.apply(&mut self.draft, node.line, path, &node.value()),
        }
    }

    /// All members of an object, and of objects in it.
    fn tree(&mut self, pattern: &str, path: &str, node: &Node) {
        let has_rule = |pattern: &str| RULES.iter().any(|rule| rule.key == pattern);
        for (name, member) in node.members() {
            let (pattern, path) = (format!("{pattern}.{name}"), format!("{path}.{name}"));
            match member.json {
                Json::Map(_) if !has_rule(&pattern) => self.tree(&pattern, &path, member),
                _ => self.leaf(&pattern, &path, member),
            }
        }
    }

    fn serve(&mut self) {
        let groups = self.groups();
        let applications = self.root.get("applications").map_or(&[][..], Node::members);
        let is_one = groups.len() < 2;
        let mut pools: Vec<Table> = Vec::new();
        let mut owners: Vec<Option<usize>> = vec![None; applications.len()];
        if is_one {
            if let Some(group) = groups.first() {
                let list = group.addresses.iter().cloned().map(Toml::Text).collect();
                self.draft.set("bind", Toml::List(list));
            }
        } else {
            self.draft.say(
                "Listeners pass to different things, and so each is a pool: workers of its own, with \
                 listeners of their own.",
            );
            for name in pool_names(&groups) {
                pools.push(Table::new("pool").set("name", Toml::Text(name)));
            }
        }
        // An application has the workers of a pool if the pool is its alone.
        for (n, (name, _)) in applications.iter().enumerate() {
            let reached = routes::reached(self.root, &groups, name);
            owners[n] = match reached[..] {
                [group] if routes::applications(self.root, groups[group].target).len() == 1 => {
                    Some(group)
                }
                _ => None,
            };
        }
        for (n, (name, node)) in applications.iter().enumerate() {
            let place = match owners[n] {
                Some(_) if is_one => Some(Place::Head),
                Some(group) => pools.get_mut(group).map(Place::Pool),
                None => None,
            };
            application(&mut self.draft, name, node, place, applications.len() == 1);
        }
        // Also where no listener maps: somebody will write one.
        let serves = ["listeners", "applications"].iter().find_map(|name| self.root.get(name));
        let line = groups.first().map(|group| group.line).or(serves.map(|node| node.line));
        if let (Some(line), true, false) = (line, is_one, self.draft.says_of("user")) {
            self.draft.unmapped(line, "user", NO_USER);
        }
        self.draft.begin_tables();
        for (n, group) in groups.iter().enumerate() {
            if let Some(pool) = pools.get(n) {
                if !pool.says("user") {
                    self.draft.unmapped(group.line, "user", NO_USER);
                }
                self.draft.table(pool.clone());
                for address in &group.addresses {
                    let listen = Table::new("pool.listen");
                    self.draft.table(listen.set("address", Toml::text(address)));
                }
            }
            let mount = if is_one { "mount" } else { "pool.mount" };
            routes::write(self.root, &mut self.draft, group, mount);
        }
        self.unused(&groups);
    }

    /// Routes that no listener comes to.
    fn unused(&mut self, groups: &[Group<'_>]) {
        let Some(routes) = self.root.get("routes") else { return };
        if !groups.iter().any(|group| group.target.split('/').next() == Some("routes")) {
            self.draft.unmapped(routes.line, "routes", "No listener that maps passes to them.");
        }
    }

    /// Listeners by what they pass to, in order.
    fn groups(&mut self) -> Vec<Group<'a>> {
        let mut groups: Vec<Group<'a>> = Vec::new();
        for (address, node) in self.root.get("listeners").map_or(&[][..], Node::members) {
            let path = format!("listeners.{address}");
            for (name, member) in node.members() {
                let pattern = format!("listeners.*.{name}");
                self.leaf(&pattern, &format!("{path}.{name}"), member);
            }
            let target = node.get("pass").or(node.get("application")).and_then(Node::text);
            let target = target.unwrap_or_default();
            let why = match self.address(address, &path, node) {
                _ if node.get("tls").is_some() => continue,
                Ok(_) if target.is_empty() || target.contains('$') => {
                    "What it passes to is not known before a request."
                }
                Ok(written) => {
                    match groups.iter_mut().find(|group| group.target == target) {
                        Some(group) => group.addresses.push(written),
                        None => {
                            let addresses = vec![written];
                            groups.push(Group { target, line: node.line, addresses });
                        }
                    }
                    continue;
                }
                Err(why) => why,
            };
            self.draft.unmapped(node.line, &path, why);
        }
        groups
    }

    /// An address as we write it, with its options.
    fn address(&mut self, text: &str, path: &str, node: &Node) -> Result<String, &'static str> {
        let address = match text.strip_prefix("unix:") {
            Some(path) => address::unix(path),
            None => text.rsplit_once(':').and_then(|(host, port)| {
                address::tcp(if host == "*" { "0.0.0.0" } else { host }, port)
            }),
        };
        let address = address.ok_or("It cannot be written as an address here.")?;
        let mut options = Vec::new();
        if let Some(backlog) = node.get("backlog") {
            match Unit::Int(1, 65535).convert(&backlog.value()) {
                Ok(Some(Toml::Int(n))) => options.push(format!("backlog={n}")),
                Ok(_) => {}
                // Unit's -1 is the system's.
                Err(why) => self.draft.unmapped(backlog.line, &format!("{path}.backlog"), &why),
            }
        }
        for name in ["forwarded", "client_ip"] {
            if let Some(node) = node.get(name) {
                match forwarded(name, node) {
                    Some(mut found) => {
                        if node.get("protocol").is_none() {
                            let path = format!("{path}.{name}");
                            self.draft.unmapped(node.line, &path, TRUSTED_FOR_MORE);
                        }
                        options.append(&mut found);
                    }
                    None => {
                        let why = "Its field is not X-Forwarded-For, or its source no list of networks: \
                                   forwarded_for and trust= are what there is.";
                        self.draft.unmapped(node.line, &format!("{path}.{name}"), why);
                    }
                }
            }
        }
        Ok(match options.is_empty() {
            true => address,
            false => format!("{address}?{}", options.join("&")),
        })
    }
}

/// Names for pools, each once: 1 to 32 letters, digits, `_`, `-` and `.`, and not `main`, which is the
/// instance's own.
fn pool_names(groups: &[Group<'_>]) -> Vec<String> {
    let plain = |text: &str| -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        text.chars().map(|c| if is_plain(c) { c } else { '-' }).take(32).collect()
    };
    let mut names: Vec<String> = Vec::new();
    for (n, group) in groups.iter().enumerate() {
        let last = group.target.rsplit('/').next().unwrap_or_default();
        let mut found = [plain(last), plain(group.target)]
            .into_iter()
            .find(|name| !name.is_empty() && name != "main" && !names.contains(name));
        let mut next = n;
        while found.as_ref().is_none_or(|name| names.contains(name)) {
            next += 1;
            found = Some(format!("pool-{next}"));
        }
        names.extend(found);
    }
    names
}

/// Options of an address whose front says who the client is.
fn forwarded(name: &str, node: &Node) -> Option<Vec<String>> {
    let sources = node.get("source")?.texts()?;
    if sources.is_empty() || !sources.iter().all(|text| address::is_network(text)) {
        return None;
    }
    let is = |member: &str, field: &str| match node.get(member) {
        None => false,
        Some(node) => node.text().is_some_and(|text| text.eq_ignore_ascii_case(field)),
    };
    let (client, proto) =
        if name == "forwarded" { ("client_ip", "protocol") } else { ("header", "") };
    let has = |member: &str| node.get(member).is_some();
    if has(client) && !is(client, "X-Forwarded-For")
        || has(proto) && !is(proto, "X-Forwarded-Proto")
    {
        return None;
    }
    let mut options = vec![format!("trust={}", sources.join(","))];
    if has(client) {
        options.push("forwarded_for=1".to_owned());
    }
    Some(options)
}

/// What is said of an application: options of `place`, if it has one of its own.
fn application(
    draft: &mut Draft<'_>,
    name: &str,
    node: &Node,
    mut place: Option<Place<'_>>,
    is_only: bool,
) {
    let mut told = false;
    let mut set =
        |draft: &mut Draft<'_>, node: &Node, path: &str, found: Vec<(&str, Toml)>| match &mut place
        {
            Some(Place::Head) => {
                found.into_iter().for_each(|(option, toml)| draft.set(option, toml))
            }
            Some(Place::Pool(pool)) => {
                for (option, toml) in found {
                    **pool = pool.clone().set(option, toml);
                }
            }
            None => {
                let why = if std::mem::replace(&mut told, true) {
                    "See above."
                } else {
                    "Applications of one listener share its workers, and so their options."
                };
                draft.unmapped(node.line, path, why);
            }
        };
    for (member, node) in node.members() {
        let pattern = format!("applications.*.{member}");
        let path = format!("applications.{name}.{member}");
        let nested = match (member.as_str(), &node.json) {
            ("processes" | "limits", Json::Map(members)) => members.as_slice(),
            _ => &[],
        };
        for (inner, node) in nested {
            let (pattern, path) = (format!("{pattern}.{inner}"), format!("{path}.{inner}"));
            single(draft, &pattern, &path, node, &mut set);
        }
        match (member.as_str(), &node.json) {
            ("processes" | "limits", Json::Map(_)) => {}
            ("environment", Json::Map(members)) if is_only => {
                for (name, node) in members {
                    match node.text() {
                        Some(value) => draft.env(name, value),
                        None => {
                            draft.unmapped(node.line, &format!("{path}.{name}"), "It is no text.")
                        }
                    }
                }
            }
            ("working_directory", _) if is_only => match Unit::Text.convert(&node.value()) {
                Ok(Some(toml)) => draft.set("chdir", toml),
                _ => draft.unmapped(node.line, &path, "It is not a path."),
            },
            ("environment" | "working_directory", _) => {
                let why = "A server has one environment and one directory for all applications.";
                draft.unmapped(node.line, &path, why);
            }
            ("type", _) => {
                let language = node.text().unwrap_or_default();
                if language == "external" {
                    draft.unmapped(node.line, &path, EXTERNAL);
                    continue;
                }
                let Some(No(why)) = exact(&RULES, &pattern).map(|rule| rule.how) else { continue };
                draft.unmapped(node.line, &path, &format!("{language}: {why}"));
            }
            _ => single(draft, &pattern, &path, node, &mut set),
        }
    }
}

/// A member of an application.
fn single<'a>(
    draft: &mut Draft<'a>,
    pattern: &str,
    path: &str,
    node: &Node,
    set: &mut impl FnMut(&mut Draft<'a>, &Node, &str, Vec<(&'static str, Toml)>),
) {
    let value = node.value();
    let unit = match pattern.trim_start_matches("applications.*.") {
        "processes" | "processes.max" => Some(("workers", Unit::Int(1, 1024))),
        "threads" => Some(("threads", Unit::Int(1, 1024))),
        "limits.requests" => Some(("max_requests", Unit::Int(0, 2_147_483_647))),
        "limits.timeout" => Some(("request_timeout", Unit::Int(0, 8760 * 3600 - HEARTBEAT))),
        "user" => Some(("user", Unit::Name)),
        "group" => Some(("group", Unit::Name)),
        _ => None,
    };
    let Some((option, unit)) = unit else {
        return match exact(&RULES, pattern).map(|rule| rule.how) {
            Some(how) if !matches!(how, Own(_)) => how.apply(draft, node.line, path, &value),
            _ => draft.unmapped(node.line, path, UNKNOWN),
        };
    };
    match unit.convert(&value) {
        Ok(Some(Toml::Int(seconds))) if option == "request_timeout" => {
            set(draft, node, path, super::times_of(seconds));
        }
        Ok(Some(toml)) => set(draft, node, path, vec![(option, toml)]),
        Ok(None) => {}
        Err(why) => draft.unmapped(node.line, path, &why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_have_names_that_pools_can_have() {
        let targets =
            ["routes/main", "a/b", "b/b", "c/b", "a/ä", "a/-", "applications/pool-8", "main"];
        let group = |target| Group { target, line: 1, addresses: Vec::new() };
        let long = "x".repeat(40);
        let groups: Vec<_> = targets.into_iter().chain([long.as_str()]).map(group).collect();
        let names = pool_names(&groups);
        assert_eq!(
            names[..8],
            ["routes-main", "b", "b-b", "c-b", "-", "a--", "pool-8", "pool-9"].map(str::to_owned)
        );
        assert_eq!(names[8], "x".repeat(32));
    }
}
