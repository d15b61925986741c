//! What sockets listen, as the kernel has them.

use std::ffi::c_char;
use std::sync::{Arc, Weak};

use super::guard::{Growing, fill, out, reference};
use super::result::{GW_EOF, GW_OK, gw_result};
use crate::base::error::Result;
use crate::sys::listen::Listening;

/// a socket that listens, as the kernel has it now
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gw_listener_info {
    pub size: u32,
    /// GW_PROTO_*
    pub protocol: u32,
    /// "127.0.0.1:8000", "unix:/path", "unix:@name", with the port that the system chose
    pub address: [c_char; 120],
    /// 0: a unix socket
    pub port: u32,
    /// which of several sockets at this address, from 0: accept_mode=reuseport
    pub seat: u32,
    /// how many connections may wait; 0: a unix socket, the kernel does not tell
    pub backlog: u32,
    /// how many do
    pub waiting: u32,
    /// TCP_NODELAY
    pub nodelay: u32,
    /// TCP_DEFER_ACCEPT, in seconds
    pub defer_accept: u32,
    /// TCP_FASTOPEN
    pub fastopen: u32,
    /// SO_REUSEPORT
    pub reuse_port: u32,
    /// SO_RCVBUF: the kernel doubles what is asked for
    pub rcvbuf: u32,
    /// SO_SNDBUF
    pub sndbuf: u32,
    /// of the file of a unix socket; here and below
    pub mode: u32,
    /// its owner
    pub uid: u32,
    pub gid: u32,
}

// SAFETY: repr(C), `size` first, numbers.
unsafe impl Growing for gw_listener_info {
    const FIRST: usize = 180;
}

impl gw_listener_info {
    /// None: it is closed.
    fn of(listening: &Listening) -> Option<Self> {
        let info = listening.info().ok()?;
        let mut address = [0; 120];
        let room = address.len() - 1;
        for (to, from) in address[..room].iter_mut().zip(listening.local().bytes()) {
            *to = from as c_char;
        }
        Some(gw_listener_info {
            size: 0,
            protocol: listening.spoken(),
            address,
            port: info.port.into(),
            seat: listening.seat().unwrap_or(0),
            backlog: info.backlog,
            waiting: info.waiting,
            nodelay: info.nodelay.into(),
            defer_accept: info.defer_accept,
            fastopen: info.fastopen,
            reuse_port: info.reuse_port.into(),
            rcvbuf: info.rcvbuf,
            sndbuf: info.sndbuf,
            mode: info.mode,
            uid: info.uid,
            gid: info.gid,
        })
    }
}

/// The one at the cursor, or the next that is open.
///
/// # Safety
/// The header's rules page, for both pointers.
pub(super) unsafe fn next(
    listeners: &[Weak<Listening>],
    cursor: *mut u32,
    info: *mut gw_listener_info,
) -> Result<gw_result> {
    // SAFETY: the caller's promise.
    let at = *unsafe { reference(cursor, "cursor") }?;
    let rest = listeners.iter().zip(1u32..).skip(at as usize);
    let open = |(listening, next): (&Weak<Listening>, u32)| {
        let listening: Arc<Listening> = listening.upgrade()?;
        Some((gw_listener_info::of(&listening)?, next))
    };
    let Some((row, next)) = rest.filter_map(open).next() else {
        return Ok(GW_EOF);
    };
    // SAFETY: the caller's promise.
    unsafe {
        fill(info, &row, "out")?;
        out(cursor, "cursor")?.set(next);
    }
    Ok(GW_OK)
}
