//! What comes before a request, and about it from others: a header of the PROXY protocol, the first
//! octets where several protocols are spoken, and what a front that is trusted says of its client.

use std::net::IpAddr;

use crate::conf::trust::ProxyProtocol;
use crate::gateway::environ::Variable;
use crate::server::engine::Core;
use crate::server::slot::Slot;
use crate::server::terms::Terms;
use crate::sys::sock::Peer;
use crate::wire::front::{AnyHead, Speech};
use crate::wire::proxy::{self, Header, Tls, addition};
use crate::wire::{Reject, forwarded, opening};

use super::{Conn, Local};

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A request.
    Over,
    /// A PROXY header.
    Proxy,
    /// One, or a request of any protocol.
    Any,
    /// A request of any protocol.
    Request,
}

/// What is known of a connection's other end.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    stage: Stage,
    /// It is believed to speak of others.
    pub(super) trusted: bool,
    /// What it has said of them, if it has.
    pub(super) said: Option<Box<Said>>,
}

/// Of whom a connection's requests are.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// The client speaks TLS to a proxy, which has told us at the beginning.
    is_https: bool,
    /// What else it has told: variables for the environ of all requests.
    pub(super) told: Vec<Variable>,
    /// The client of the request at hand, and its scheme.
    pub(super) client: Peer,
    pub(super) scheme: &'static [u8],
}

/// Whether the first request may begin.
pub(super) enum Opened {
    /// It may.
    Over,
    /// More must come.
    More,
    /// There will be none.
    Refused,
}

/// What looking at the first octets came to.
enum Step {
    /// Look again.
    Next,
    /// More must come.
    More,
    /// There will be no request.
    Refused,
}

impl Opening {
    pub(super) fn new(terms: &Terms, ip: Option<IpAddr>) -> Self {
        let stage = match (terms.proxy, terms.speech) {
            (ProxyProtocol::Off, Some(_)) => Stage::Over,
            (ProxyProtocol::Off, None) => Stage::Request,
            (_, Some(_)) => Stage::Proxy,
            (_, None) => Stage::Any,
        };
        let trusted = terms.trusted.contain(ip);
        Opening { stage, trusted, said: None }
    }

    /// Whether something comes before the first request.
    #[inline]
    pub(super) fn is_before(&self) -> bool {
        self.stage != Stage::Over
    }
}

impl Conn {
    /// Go as far as the first request.
    #[cold]
    pub(super) fn open(&mut self, slot: &mut Slot, core: &mut Core) -> Opened {
        loop {
            let step = match self.opening.stage {
                Stage::Over => return Opened::Over,
                Stage::Proxy => self.read_proxy(slot, core),
                Stage::Any | Stage::Request => self.recognise(slot, core),
            };
            match step {
                Step::Next => {}
                Step::More => return Opened::More,
                Step::Refused => return Opened::Refused,
            }
        }
    }

    fn read_proxy(&mut self, slot: &mut Slot, core: &mut Core) -> Step {
        if !self.terms.proxies.contain(self.peer.ip()) {
            let reason = "the PROXY protocol from a peer that is none of proxy_allow_ips";
            return self.turn_away(slot, core, Reject { status: 403, reason, limit: None });
        }
        let found = {
            let unread = slot.buf.get_mut().unread();
            proxy::header(unread).and_then(|header| match header {
                Some(header) => self.take_proxy(&header, &unread[..header.len]).map(Some),
                None => Ok(None),
            })
        };
        match found {
            Ok(None) => Step::More,
            Ok(Some(len)) => {
                slot.buf.get_mut().consume(len);
                let is_known = self.terms.speech.is_some();
                self.opening.stage = if is_known { Stage::Over } else { Stage::Request };
                Step::Next
            }
            // Nobody there would understand an answer.
            Err(reject) => {
                self.give_up(slot, core, reject);
                Step::Refused
            }
        }
    }

    /// From here on the client is whom the header names.  Says how long that is.
    fn take_proxy(&mut self, header: &Header, octets: &[u8]) -> Result<usize, Reject> {
        let wrong = match (self.terms.proxy, octets.first()) {
            (ProxyProtocol::V1, Some(b'\r')) => "a PROXY header of version 2, where 1 is spoken",
            (ProxyProtocol::V2, Some(b'P')) => "a PROXY header of version 1, where 2 is spoken",
            _ => "",
        };
        if !wrong.is_empty() {
            return Err(Reject { status: 400, reason: wrong, limit: None });
        }
        let mut told = Vec::new();
        let mut tell = |name, value: &[u8]| {
            if !value.is_empty() {
                told.push((name, value.to_vec()));
            }
        };
        if let Some((client, server)) = header.ends {
            tell("PROXY_PROTOCOL", if client.is_ipv4() { b"TCP4" } else { b"TCP6" });
            let [client, server] = [client, server].map(|mut end| {
                end.set_ip(proxy::plain(end.ip()));
                Peer::internet(end)
            });
            tell("PROXY_ADDR", server.address());
            tell("PROXY_PORT", server.port());
            (self.peer, self.local) = (client, Local::Adopted(server));
        }
        if !header.is_local {
            // Whatever it says from now on are the client's words, and none of the proxy's.
            let is_named = header.ends.is_some();
            self.opening.trusted = is_named && self.terms.trusted.contain(self.peer.ip());
        }
        for (kind, value) in proxy::additions(octets, header.additions).flatten() {
            let value = value.of(octets);
            match (kind, Tls::of(value)) {
                (addition::AUTHORITY, _) => tell("PROXY_AUTHORITY", value),
                (addition::UNIQUE_ID, _) => tell("PROXY_UNIQUE_ID", value),
                (addition::SSL, Some(tls)) => {
                    tell("SSL_PROTOCOL", tls.version);
                    tell("SSL_CIPHER", tls.cipher);
                    tell("SSL_CLIENT_S_DN_CN", tls.name);
                    let verified = match tls.verified {
                        None => &b"NONE"[..],
                        Some(true) => b"SUCCESS",
                        Some(false) => b"FAILED",
                    };
                    tell("SSL_CLIENT_VERIFY", verified);
                }
                _ => {}
            }
        }
        if header.is_tls || !told.is_empty() {
            self.said().is_https = header.is_tls;
            self.said().told = told;
        }
        Ok(header.len)
    }

    fn recognise(&mut self, slot: &mut Slot, core: &mut Core) -> Step {
        let may_proxy = self.opening.stage == Stage::Any;
        let speech = match opening::recognise(slot.buf.get_mut().unread(), may_proxy) {
            opening::Opening::More => return Step::More,
            opening::Opening::Proxy => {
                self.opening.stage = Stage::Proxy;
                return Step::Next;
            }
            opening::Opening::Request(speech) => speech,
        };
        let name = match speech {
            Speech::Http | Speech::Hosted => "",
            Speech::Uwsgi => "uwsgi from a peer that is not trusted",
            Speech::Scgi => "SCGI from a peer that is not trusted",
            Speech::FastCgi(_) => "FastCGI from a peer that is not trusted",
        };
        if speech != Speech::Http && !self.opening.trusted {
            return self.turn_away(slot, core, Reject { status: 400, reason: name, limit: None });
        }
        self.opening.stage = Stage::Over;
        self.speech = speech;
        self.speak(slot, core);
        Step::Next
    }

    /// The peer may not do what it wants.  It is told in HTTP, unless something else is spoken here.
    #[cold]
    fn turn_away(&mut self, slot: &mut Slot, core: &mut Core, reject: Reject) -> Step {
        core.context.service.counters().untrusted.up();
        self.opening.stage = Stage::Over;
        match self.speech {
            Speech::Http => self.refuse(slot, core, reject, false),
            _ => self.give_up(slot, core, reject),
        }
        Step::Refused
    }

    fn said(&mut self) -> &mut Said {
        let (is_https, told, client, scheme) = (false, Vec::new(), self.peer, &b"http"[..]);
        self.opening.said.get_or_insert_with(|| Box::new(Said { is_https, told, client, scheme }))
    }

    /// Of whom the request is whose head is complete: a front that is trusted may have said it there.
    /// False: it is refused.
    #[cold]
    pub(super) fn heed(&mut self, slot: &mut Slot, core: &mut Core) -> bool {
        let (is_https, client) = match self.claims(slot) {
            Ok(claims) => claims,
            Err(reject) => {
                let is_head = slot.decoder.get_mut().asked().is_head;
                self.refuse(slot, core, reject, is_head);
                return false;
            }
        };
        let client = client.map_or(self.peer, Peer::without_port);
        let said = self.said();
        said.client = client;
        said.scheme = if is_https.unwrap_or(said.is_https) { b"https" } else { b"http" };
        true
    }

    /// Whether the client speaks TLS, and who it is.
    fn claims(&self, slot: &mut Slot) -> Result<(Option<bool>, Option<IpAddr>), Reject> {
        let Slot { buf, decoder, .. } = slot;
        let (buf, decoder) = (buf.get_mut(), decoder.get_mut());
        let head = match decoder.head() {
            AnyHead::Http(head) if self.opening.trusted => head,
            _ => return Ok((None, None)),
        };
        let octets = buf.unread();
        let fields = head.fields.iter().map(|it| (it.name.of(octets), it.value.of(octets)));
        let client = match self.terms.forwarded_for {
            true => {
                let is_trusted = |ip| self.terms.trusted.contain(Some(ip));
                forwarded::client(fields.clone(), is_trusted)?
            }
            false => None,
        };
        Ok((forwarded::is_https(fields)?, client))
    }
}
