//! Requests in flight, and those that have ended, as the flight recorder has them.

use std::ffi::c_char;

use super::guard::{Growing, grown};
use crate::base::error::{Error, Kind, Result};
use crate::gateway::flight::{Info, Phase};

/// a request, as its worker has written it down
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct gw_request_info {
    pub size: u32,
    /// its worker's place, from 0
    pub worker: u32,
    /// its worker's process
    pub pid: i32,
    /// counts reloads
    pub generation: u32,
    /// of the worker, from 1, that is in the application with it; 0: none, or the loop
    pub thread: u32,
    /// GW_PHASE_*
    pub phase: u32,
    /// of the answer, when it has ended; 504 also while its application still runs; else 0
    pub status: u32,
    /// 0
    pub reserved: u32,
    /// since its head was there
    pub age_ns: u64,
    /// from then to its end; 0: it has not ended
    pub took_ns: u64,
    /// these are cut to what there is room for, and end in a NUL
    pub method: [c_char; 16],
    pub target: [c_char; 256],
    /// what names it in log lines: gateway.request_id
    pub id: [c_char; 40],
    /// address:port; [address]:port; unix:
    pub peer: [c_char; 64],
}

/// its body is awaited
pub const GW_PHASE_READ: u32 = 1;
/// it waits for a thread
pub const GW_PHASE_QUEUE: u32 = 2;
/// its application was called, and has not begun to answer
pub const GW_PHASE_APP: u32 = 3;
/// the answer has begun
pub const GW_PHASE_WRITE: u32 = 4;
/// whoever has its gw_deferred is to answer, or to take it
pub const GW_PHASE_LATER: u32 = 5;
/// it has ended
pub const GW_PHASE_ENDED: u32 = 6;
/// its worker has ended, and it had not
pub const GW_PHASE_LOST: u32 = 7;

const _: () = assert!(
    GW_PHASE_READ == Phase::Read as u32
        && GW_PHASE_QUEUE == Phase::Queue as u32
        && GW_PHASE_APP == Phase::App as u32
        && GW_PHASE_WRITE == Phase::Write as u32
        && GW_PHASE_LATER == Phase::Later as u32
        && GW_PHASE_ENDED == Phase::Ended as u32
        && GW_PHASE_LOST == Phase::Lost as u32
);

// SAFETY: repr(C), `size` first, numbers and characters.
unsafe impl Growing for gw_request_info {
    const FIRST: usize = 424;
}

/// As C has it.  Async-signal-safe.
pub(super) fn info_of(info: &Info) -> gw_request_info {
    let mut id = [0; 40];
    for (n, digit) in id[..16].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(info.id >> (60 - 4 * n) & 15) as usize] as c_char;
    }
    let mut peer = [0; 64];
    let (address, port) = (info.address(), info.port());
    let is_v6 = !port.is_empty() && address.contains(&b':');
    let (before, after): (&[u8], &[u8]) = match (port.is_empty(), is_v6) {
        (true, _) => (b"", b""),
        (_, true) => (b"[", b"]:"),
        _ => (b"", b":"),
    };
    put(&mut peer, &[before, address, after, port]);
    let (mut method, mut target) = ([0; 16], [0; 256]);
    put(&mut method, &[info.method()]);
    put(&mut target, &[info.target()]);
    gw_request_info {
        size: size_of::<gw_request_info>() as u32,
        worker: info.slot as u32,
        pid: info.pid as i32,
        generation: info.generation,
        thread: info.thread,
        phase: info.phase as u32,
        status: u32::from(info.status),
        reserved: 0,
        age_ns: info.age_ns,
        took_ns: info.took_ns,
        method,
        target,
        id,
        peer,
    }
}

/// The pieces in front of a NUL, as far as there is room.
fn put(to: &mut [c_char], pieces: &[&[u8]]) {
    let room = to.len() - 1;
    let octets = pieces.iter().copied().flatten();
    for (to, octet) in to[..room].iter_mut().zip(octets) {
        *to = *octet as c_char;
    }
}

/// A caller's array of these, of which the first says how large each is.
pub(super) struct Rows {
    out: *mut gw_request_info,
    size: usize,
    cap: usize,
    /// How many were written down.
    pub(super) count: usize,
    /// There were more.
    pub(super) is_full: bool,
}

impl Rows {
    /// # Safety
    /// Unless `cap` is 0, `out` is NULL, or begins with `out->size`, and has room for `cap` of that
    /// size, as long as this lives.
    pub(super) unsafe fn new(out: *mut gw_request_info, cap: usize) -> Result<Self> {
        let mut rows = Rows { out, size: 0, cap, count: 0, is_full: false };
        if cap > 0 {
            // SAFETY: the caller's promise.
            unsafe { grown(out, "out") }?;
            // SAFETY: not NULL, and `size` is the first member.
            rows.size = unsafe { out.cast::<u32>().read_unaligned() } as usize;
            let align = align_of::<gw_request_info>();
            if !rows.size.is_multiple_of(align) || !out.is_aligned() {
                let text = format!("out->size is {}, or out is not aligned", rows.size);
                return Err(Error::new(Kind::Invalid, text));
            }
        }
        Ok(rows)
    }

    /// Write one down, if there is room.
    pub(super) fn push(&mut self, info: &Info) {
        if self.count == self.cap {
            self.is_full = true;
            return;
        }
        let info = gw_request_info { size: self.size as u32, ..info_of(info) };
        let known = self.size.min(size_of::<gw_request_info>());
        // SAFETY: there is room for `cap` of `size` octets, of which this is one.
        unsafe {
            let to = self.out.cast::<u8>().add(self.count * self.size);
            std::ptr::copy_nonoverlapping((&raw const info).cast::<u8>(), to, known);
            std::ptr::write_bytes(to.add(known), 0, self.size - known);
        }
        self.count += 1;
    }
}
