//! The environ of a request that a foreign server in this process describes: a copy of the one that it
//! has filled, for its client may go before the application does.

use std::cell::RefCell;

use crate::base::arena::Arena;
use crate::base::octets::{Octets, Pair};
use crate::gateway::abi::{ENV_HAS_BODY, ENV_MULTIPROCESS, ENV_RUN_ONCE, Environ};

use super::named_by;
use super::params::{OURS, rebuilt};

/// What only the foreign server knows.
const GIVEN: u32 = ENV_MULTIPROCESS | ENV_RUN_ONCE | ENV_HAS_BODY;

/// Octets of an ordinary request: they are copied side by side.
const USUAL: usize = 2048;

/// Fill `env`, which has the worker's flags, from `given`; what is missing there and never empty is
/// made up.  The rest is as in [`super::build`].
pub(in crate::gateway) fn build(
    env: &mut Environ,
    given: &Environ,
    arena: &Arena,
    headers: &mut Vec<Pair<'static>>,
    vars: &mut Vec<Pair<'static>>,
) {
    let copies = RefCell::new(arena.copies(USUAL));
    let copy = |text: Octets<'_>| match text.as_slice() {
        b"" if text.is_missing() => Octets::MISSING,
        b"" => Octets::new(b""),
        octets => copies.borrow_mut().copy(octets),
    };
    let or = |text: Octets<'_>, other: Octets<'static>| match text.as_slice() {
        b"" => other,
        octets => copies.borrow_mut().copy(octets),
    };
    let there = |text| or(text, Octets::new(b""));

    headers.clear();
    headers.extend(
        given.headers().iter().map(|it| Pair { name: copy(it.name), value: copy(it.value) }),
    );
    vars.clear();
    vars.extend(given.vars().iter().filter_map(|it| {
        let name = it.name.as_slice();
        let is_ours =
            OURS.contains(&name) || name.starts_with(b"wsgi.") || name.starts_with(b"gateway.");
        (!is_ours).then(|| Pair { name: copy(it.name), value: copy(it.value) })
    }));
    env.set_headers(headers.as_slice());
    env.set_vars(vars.as_slice());

    env.flags |= given.flags & GIVEN;
    env.request_method = match given.request_method() {
        b"GET" => Octets::new(b"GET"),
        b"POST" => Octets::new(b"POST"),
        _ => copy(given.request_method),
    };
    env.script_name = there(given.script_name);
    env.path_info = there(given.path_info);
    env.query_string = there(given.query_string);
    env.request_uri = match given.request_uri.as_slice() {
        b"" => rebuilt(env, arena),
        uri => copies.borrow_mut().copy(uri),
    };
    let content_type = || {
        let is_it = |it: &&Pair<'static>| it.name.as_slice().eq_ignore_ascii_case(b"content-type");
        headers.iter().find(is_it).map_or(Octets::MISSING, |it| it.value)
    };
    env.content_type = match given.content_type.is_missing() {
        true => content_type(),
        false => copy(given.content_type),
    };
    env.server_protocol = match given.server_protocol() {
        b"HTTP/1.1" => Octets::new(b"HTTP/1.1"),
        _ => or(given.server_protocol, Octets::new(b"HTTP/1.1")),
    };
    env.url_scheme = match given.url_scheme.as_slice() {
        b"https" => Octets::new(b"https"),
        b"http" => Octets::new(b"http"),
        _ => or(given.url_scheme, Octets::new(b"http")),
    };
    env.remote_addr = there(given.remote_addr);
    env.remote_port = there(given.remote_port);
    let [name, port] = [given.server_name, given.server_port];
    [env.server_name, env.server_port] =
        match name.as_slice().is_empty() || port.as_slice().is_empty() {
            false => [copy(name), copy(port)],
            true => {
                let is_it = |it: &&Pair<'static>| it.name.as_slice().eq_ignore_ascii_case(b"host");
                let (said, its_port) = named_by(headers.iter().find(is_it).map(|it| it.value));
                [or(name, said), or(port, its_port)]
            }
        };
    env.content_length = given.content_length.max(-1);
    if env.content_length >= 0 {
        env.flags |= ENV_HAS_BODY;
    }
}
