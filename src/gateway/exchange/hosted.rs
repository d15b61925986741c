//! A request of a foreign server in this process.

use crate::base::error::{Error, Kind, Result};
use crate::gateway::abi::{ENV_HAS_BODY, ENV_MAY_BLOCK, Environ};
use crate::gateway::environ::hosted;
use crate::gateway::mounts::Apps;
use crate::wire::front::Speech;
use crate::wire::{Asked, Version, http1};

use super::{Exchange, Outcome, Phase};

impl Exchange {
    /// Begin a request that `given` describes, of which all is copied.  `id` names it in log lines.
    pub fn begin_hosted(&self, given: &Environ, id: u64) -> Result<()> {
        debug_assert_eq!(self.phase.get(), Phase::Idle);
        if !http1::is_token(given.request_method()) {
            return Err(Error::new(Kind::Invalid, "env->request_method is not a token"));
        }
        let service = &*self.service;
        let mut env = self.env.borrow_mut();
        env.flags = service.env_flags;
        let (mut headers, mut vars) = (self.headers.borrow_mut(), self.vars.borrow_mut());
        hosted::build(&mut env, given, &self.arena, &mut headers, &mut vars);
        let version = match env.server_protocol() {
            b"HTTP/1.0" | b"HTTP/0.9" => Version::Http10,
            _ => Version::Http11,
        };
        let is_head = env.request_method() == b"HEAD";
        self.asked.set(Asked { version, is_head, is_connect: false, keep_alive: false });
        self.speech.set(Speech::Hosted);
        self.expects.set(false);
        env.bind(&self.handle, self);
        if let Apps::Mounted(mounts) = &service.apps {
            self.route(&mut env, mounts);
        }
        self.request_id.set(id);
        self.trusted.set(true);
        self.outcome.set(Outcome::Close);
        self.phase.set(Phase::Reading);
        let counters = service.counters();
        counters.requests.plus(1);
        counters.in_flight.plus(1);
        Ok(())
    }

    /// All of the body, where the foreign server has it in one piece of memory: a copy that stays.
    pub fn take_body(&self, body: &[u8]) {
        let mut input = self.input();
        input.set_view(self.arena.copy(body));
        input.complete();
    }

    /// Whether a body was announced.
    pub fn has_body(&self) -> bool {
        self.env.borrow().flags & ENV_HAS_BODY != 0
    }

    /// It is called in a thread that somebody else needs.
    pub fn forbid_blocking(&self) {
        self.must_not_block.set(true);
        self.env.borrow_mut().flags &= !ENV_MAY_BLOCK;
    }

    /// Whether the answer is a page of ours about an error.
    pub fn excuses(&self) -> bool {
        self.excuses.get()
    }
}
