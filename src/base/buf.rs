//! The two buffers of a connection: octets that were read, octets that wait to be sent.
//!
//! A request's strings are views of the read buffer.  While a request runs its head is *pinned*:
//! those octets neither move nor change until they are unpinned.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::octets::{Octets, OwnedChunk};

/// Room that a buffer starts with: several pipelined requests, or a large browser's head.
const READ_ROOM: usize = 16 * 1024;

/// A buffer that grew beyond this is given back to the system when it falls idle.
const KEEP: usize = 64 * 1024;

/// Octets that were read from a connection and not dealt with yet.
#[derive(Debug, Default)]
pub struct ReadBuf {
    data: Vec<u8>,
    /// Offset of the first unread octet.
    start: usize,
    /// The octets from `first` to before `pinned` are pinned; both are 0 when none are.
    first: usize,
    pinned: usize,
}

impl ReadBuf {
    /// What has not been consumed.
    #[inline]
    pub fn unread(&self) -> &[u8] {
        &self.data[self.start..]
    }

    /// The first `n` unread octets are dealt with.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        self.start += n;
        debug_assert!(self.start <= self.data.len());
    }

    /// Everything unread is dealt with.
    pub fn discard(&mut self) {
        self.start = self.data.len();
    }

    /// The storage to read more octets into, with at least `room` to spare behind what is there.
    /// Pinned octets stay where they are: then, and only then, the room may be less.
    pub fn fill(&mut self, room: usize) -> &mut Vec<u8> {
        if self.start == self.data.len() {
            self.data.truncate(self.pinned);
            self.start = self.pinned;
        }
        if self.data.capacity() - self.data.len() < room {
            self.make_room(room);
        }
        &mut self.data
    }

    fn make_room(&mut self, room: usize) {
        if self.start > self.pinned {
            self.data.copy_within(self.start.., self.pinned);
            self.data.truncate(self.data.len() - (self.start - self.pinned));
            self.start = self.pinned;
        }
        if self.pinned == 0 {
            self.data.reserve(room.max(READ_ROOM));
        }
    }

    /// Pin the first `n` unread octets, of which `room` octets more may be read behind (a body).
    /// Until [`unpin`](Self::unpin) they stay where they are, also when consumed.
    #[inline]
    pub fn pin(&mut self, n: usize, room: usize) {
        debug_assert_eq!(self.pinned, 0);
        if room > 0 && self.data.capacity() < self.start + n + room {
            self.make_room(n + room);
        }
        assert!(n <= self.data.len() - self.start);
        self.first = self.start;
        self.pinned = self.start + n;
    }

    /// Pin `n` further octets behind the pinned ones: a body that came with its head.
    pub fn pin_more(&mut self, n: usize) {
        assert!(n <= self.data.len() - self.pinned);
        self.pinned += n;
    }

    /// A view of `len` pinned octets, from the one at `offset` of those that were pinned.
    #[inline]
    pub fn view(&self, offset: usize, len: usize) -> Octets<'static> {
        let pinned = self.pinned - self.first;
        assert!(offset <= pinned && len <= pinned - offset);
        // SAFETY: within `data`, as all pinned octets are.
        let view =
            unsafe { std::slice::from_raw_parts(self.data.as_ptr().add(self.first + offset), len) };
        // SAFETY: pinned octets are neither moved (`fill` appends within the capacity and
        // `make_room` does not grow a pinned buffer) nor overwritten before `unpin`, which the
        // connection calls when the request that holds the views is over.
        unsafe { Octets::new(view).erase() }
    }

    /// A view of the last `len` pinned octets.
    pub fn view_last(&self, len: usize) -> Octets<'static> {
        self.view(self.pinned - self.first - len, len)
    }

    /// No view is in use any more.
    #[inline]
    pub fn unpin(&mut self) {
        (self.first, self.pinned) = (0, 0);
    }

    /// Forget everything; keep the storage unless it is large.
    pub fn clear(&mut self) {
        self.unpin();
        self.start = 0;
        self.data.clear();
        if self.data.capacity() > KEEP {
            self.data.shrink_to(KEEP);
        }
    }
}

/// Append the pieces, one behind the other; looks for room once.
#[inline(always)]
pub fn append<const N: usize>(out: &mut Vec<u8>, pieces: [&[u8]; N]) {
    let len = pieces.iter().fold(0_usize, |len, piece| len.saturating_add(piece.len()));
    out.reserve(len);
    // SAFETY: there is room for all pieces, and each begins where the one before it ends; they are
    // borrowed, so none of them lies in the storage of `out`.
    unsafe {
        let mut end = out.as_mut_ptr().add(out.len());
        for piece in pieces {
            end.copy_from_nonoverlapping(piece.as_ptr(), piece.len());
            end = end.add(piece.len());
        }
        out.set_len(out.len() + len);
    }
}

/// What to send next.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it never leaves the stack of one send")]
pub enum Front<'a> {
    /// Nothing waits.
    Empty,
    /// These octets, and nothing behind them.
    One(&'a [u8]),
    /// The first `.1` slices.
    Many([IoSlice<'a>; OutQueue::SLICES], usize),
    /// This range of a file; `more` waits behind it.
    File(&'a OwnedChunk),
}

/// A piece of what [`OutQueue::hand_over`] moves out.
#[derive(Debug)]
pub enum HandedOver {
    /// Octets that were copied behind each other; not none.
    Text(Vec<u8>),
    /// A chunk by reference.
    Reference(OwnedChunk),
}

/// Octets that wait to be sent: small ones copied one behind the other, large ones by reference.
#[derive(Debug, Default)]
pub struct OutQueue {
    /// Copied octets; those before `sent` are gone.
    bytes: Vec<u8>,
    sent: usize,
    /// Chunks by reference, each with the offset in `bytes` that it goes out at.
    chunks: VecDeque<(usize, OwnedChunk)>,
    /// Octets of `chunks`.
    referenced: u64,
    /// How many of `chunks` have no release, and so must be sent before their giver is asked again.
    borrowed: usize,
    /// Chunks that are sent and not yet released.
    spent: Vec<OwnedChunk>,
    /// Keep what is sent for [`Self::release_spent`].
    defers: bool,
}

impl OutQueue {
    /// As many slices as one send takes.
    pub const SLICES: usize = 16;

    /// Where to append octets that are to be copied.
    #[inline]
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Append a chunk by reference.
    pub fn push(&mut self, chunk: OwnedChunk) {
        self.referenced += chunk.len();
        self.borrowed += usize::from(!chunk.has_release());
        self.chunks.push_back((self.bytes.len(), chunk));
    }

    /// From now on a chunk that is sent is released at once, or, when `on`, by
    /// [`Self::release_spent`]: in the thread that may run what its giver has written.
    #[inline]
    pub fn defer_releases(&mut self, on: bool) {
        self.defers = on;
    }

    /// Release what was sent.
    #[inline]
    pub fn release_spent(&mut self) {
        self.spent.clear();
    }

    /// Whether a chunk is still to be released, sent or not.
    pub fn owes_release(&self) -> bool {
        !self.spent.is_empty() || self.chunks.iter().any(|(_, chunk)| chunk.has_release())
    }

    /// Octets that wait.
    #[inline]
    pub fn len(&self) -> u64 {
        (self.bytes.len() - self.sent) as u64 + self.referenced
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a chunk waits that is only valid until its giver is called again.
    #[inline]
    pub fn holds_borrowed(&self) -> bool {
        self.borrowed > 0
    }

    /// Whether a chunk by reference waits.
    #[inline]
    pub fn holds_chunks(&self) -> bool {
        !self.chunks.is_empty()
    }

    /// Whether a file range waits.
    pub fn has_file(&self) -> bool {
        self.chunks.iter().any(|(_, chunk)| chunk.is_file())
    }

    /// What to send next.
    #[inline]
    pub fn front(&self) -> Front<'_> {
        if self.chunks.is_empty() {
            return match &self.bytes[self.sent..] {
                [] => Front::Empty,
                rest => Front::One(rest),
            };
        }
        self.front_of_many()
    }

    fn front_of_many(&self) -> Front<'_> {
        if self.chunks[0].0 == self.sent && self.chunks[0].1.is_file() {
            return Front::File(&self.chunks[0].1);
        }
        let mut slices = [IoSlice::new(&[]); Self::SLICES];
        let mut count = 0;
        let mut at = self.sent;
        for (position, chunk) in &self.chunks {
            if count + 2 > Self::SLICES {
                return Front::Many(slices, count);
            }
            if *position > at {
                slices[count] = IoSlice::new(&self.bytes[at..*position]);
                at = *position;
                count += 1;
            }
            if chunk.is_file() {
                return Front::Many(slices, count);
            }
            slices[count] = IoSlice::new(chunk.octets());
            count += 1;
        }
        if at < self.bytes.len() && count < Self::SLICES {
            slices[count] = IoSlice::new(&self.bytes[at..]);
            count += 1;
        }
        Front::Many(slices, count)
    }

    /// The first `n` octets are sent.
    #[inline]
    pub fn advance(&mut self, n: u64) {
        let left = if self.holds_chunks() { self.advance_chunks(n) } else { n };
        self.sent += left as usize;
        debug_assert!(self.sent <= self.bytes.len());
        // Chunks that are left say where in `bytes` they go out.
        if self.sent == self.bytes.len() && !self.holds_chunks() {
            self.bytes.clear();
            self.sent = 0;
        }
    }

    /// The same as far as there are chunks; says how many octets of `bytes` behind that are sent.
    fn advance_chunks(&mut self, mut n: u64) -> u64 {
        while let Some((position, chunk)) = self.chunks.front_mut() {
            let before = (*position - self.sent) as u64;
            if n < before {
                return n;
            }
            self.sent = *position;
            n -= before;
            if n < chunk.len() {
                chunk.advance(n);
                self.referenced -= n;
                return 0;
            }
            n -= chunk.len();
            self.referenced -= chunk.len();
            self.borrowed -= usize::from(!chunk.has_release());
            if let Some((_, chunk)) = self.chunks.pop_front()
                && self.defers
                && chunk.has_release()
            {
                self.spent.push(chunk);
            }
        }
        n
    }

    /// Move everything out, in order; `empty` gives vectors for what is not a chunk by reference.
    pub fn hand_over(
        &mut self,
        mut empty: impl FnMut() -> Vec<u8>,
        mut to: impl FnMut(HandedOver),
    ) {
        self.compact();
        if self.chunks.is_empty() {
            if !self.bytes.is_empty() {
                to(HandedOver::Text(std::mem::replace(&mut self.bytes, empty())));
            }
            return;
        }
        let mut at = 0;
        for (position, chunk) in self.chunks.drain(..) {
            if position > at {
                let mut text = empty();
                text.extend_from_slice(&self.bytes[at..position]);
                to(HandedOver::Text(text));
                at = position;
            }
            to(HandedOver::Reference(chunk));
        }
        if at < self.bytes.len() {
            let mut text = empty();
            text.extend_from_slice(&self.bytes[at..]);
            to(HandedOver::Text(text));
        }
        self.bytes.clear();
        (self.referenced, self.borrowed) = (0, 0);
    }

    /// Forget, and release (see [`Self::defer_releases`]), what waits.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
        if self.holds_chunks() {
            self.drop_chunks();
        }
    }

    #[cold]
    fn drop_chunks(&mut self) {
        self.spent.extend(self.chunks.drain(..).map(|(_, chunk)| chunk));
        if !self.defers {
            self.spent.clear();
        }
        self.referenced = 0;
        self.borrowed = 0;
    }

    /// Copied octets sent long ago are in the way of a response that never ends.
    pub fn compact(&mut self) {
        if self.sent > 0 {
            self.bytes.copy_within(self.sent.., 0);
            self.bytes.truncate(self.bytes.len() - self.sent);
            for (position, _) in &mut self.chunks {
                *position -= self.sent;
            }
            self.sent = 0;
        }
    }

    /// Give large storage back to the system.
    #[inline]
    pub fn shrink(&mut self) {
        if self.bytes.capacity() > KEEP {
            self.bytes.shrink_to(KEEP);
        }
        if self.chunks.capacity() > Self::SLICES {
            self.chunks.shrink_to(Self::SLICES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent_whole(queue: &mut OutQueue, step: u64) -> Vec<u8> {
        let mut wire = Vec::new();
        loop {
            let piece: Vec<u8> = match queue.front() {
                Front::Empty => return wire,
                Front::One(rest) => rest.to_vec(),
                Front::Many(slices, count) => {
                    slices[..count].iter().flat_map(|s| s.to_vec()).collect()
                }
                Front::File(_) => unreachable!("no file in this test"),
            };
            let n = step.min(piece.len() as u64);
            wire.extend_from_slice(&piece[..n as usize]);
            queue.advance(n);
        }
    }

    #[test]
    fn what_was_queued_leaves_in_order_however_it_is_cut() {
        for step in 1..40 {
            let mut queue = OutQueue::default();
            let mut expected = Vec::new();
            for i in 0..30u8 {
                let text = vec![b'a' + i % 26; usize::from(i % 5)];
                expected.extend_from_slice(&text);
                if i % 3 == 0 && !text.is_empty() {
                    queue.push(OwnedChunk::from_vec(text));
                } else {
                    queue.buffer().extend_from_slice(&text);
                }
            }
            assert_eq!(queue.len(), expected.len() as u64);
            assert_eq!(sent_whole(&mut queue, step), expected, "step {step}");
            assert!(queue.is_empty());
        }
    }

    #[test]
    fn releases_wait_for_the_thread_that_may_run_them() {
        for cleared in [false, true] {
            let mut queue = OutQueue::default();
            queue.defer_releases(true);
            queue.push(OwnedChunk::from_vec(vec![0; 10]));
            assert!(queue.owes_release());
            match cleared {
                true => queue.clear(),
                false => queue.advance(10),
            }
            assert!(queue.is_empty() && !queue.holds_chunks() && queue.owes_release());
            queue.release_spent();
            assert!(!queue.owes_release());
        }
    }

    #[test]
    fn what_was_queued_is_handed_over_in_order() {
        for chunks in 0..6 {
            let (mut queue, mut expected) = (OutQueue::default(), Vec::new());
            for i in 0..chunks {
                let text = vec![b'a' + i; usize::from(i % 3)];
                queue.buffer().extend_from_slice(&text);
                expected.extend_from_slice(&text);
                queue.push(OwnedChunk::from_static(b"chunk"));
                expected.extend_from_slice(b"chunk");
            }
            queue.buffer().extend_from_slice(b"end");
            expected.extend_from_slice(b"end");
            let mut got = Vec::new();
            queue.hand_over(Vec::new, |piece| match piece {
                HandedOver::Text(text) => {
                    assert!(!text.is_empty());
                    got.extend(text);
                }
                HandedOver::Reference(chunk) => got.extend_from_slice(chunk.octets()),
            });
            assert_eq!(got, expected);
            assert!(queue.is_empty() && !queue.holds_borrowed() && !queue.holds_chunks());
            queue.hand_over(Vec::new, |_| panic!("there is nothing left"));
        }
    }

    #[test]
    fn a_chunk_without_release_is_reported_until_it_is_sent() {
        let mut queue = OutQueue::default();
        queue.buffer().extend_from_slice(b"head ");
        queue.push(OwnedChunk::from_static(b"body"));
        assert!(queue.holds_borrowed());
        queue.advance(8);
        assert!(queue.holds_borrowed());
        queue.advance(1);
        assert!(!queue.holds_borrowed());
    }

    #[test]
    fn a_queue_that_is_never_empty_does_not_grow() {
        let mut queue = OutQueue::default();
        for _ in 0..10_000 {
            queue.buffer().extend_from_slice(b"3e8\r\n");
            queue.push(OwnedChunk::from_vec(vec![b'x'; 1000]));
            queue.buffer().extend_from_slice(b"\r\n");
            // The client is always half a chunk behind.
            queue.advance(queue.len() - 500);
            queue.compact();
        }
        assert_eq!(queue.len(), 500);
        assert!(queue.bytes.len() < 100, "{} octets are kept", queue.bytes.len());
        assert_eq!(sent_whole(&mut queue, 7), [[b'x'; 498].as_slice(), b"\r\n"].concat());
    }

    #[test]
    fn pinned_octets_stay_while_a_body_is_read_behind_them() {
        let mut buf = ReadBuf::default();
        buf.fill(1).extend_from_slice(b"old HEAD");
        buf.consume(4);
        buf.pin(4, 4096);
        let head = buf.view(0, 4);
        buf.consume(4);
        for round in 0..1000 {
            let room = buf.fill(1);
            assert!(room.capacity() - room.len() >= 1000);
            room.extend_from_slice(&[round as u8; 1000]);
            assert!(buf.unread().iter().all(|octet| *octet == round as u8));
            buf.consume(1000);
        }
        assert_eq!(head.as_slice(), b"HEAD");
        buf.unpin();
        assert_eq!(buf.unread(), b"");
    }

    #[test]
    fn unread_octets_survive_growth_and_compaction() {
        let mut buf = ReadBuf::default();
        buf.fill(1).extend_from_slice(b"abc");
        buf.consume(1);
        let room = 3 * READ_ROOM;
        assert!(buf.fill(room).spare_capacity_mut().len() >= room);
        assert_eq!(buf.unread(), b"bc");
        buf.discard();
        assert_eq!(buf.unread(), b"");
    }
}
