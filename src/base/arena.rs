//! Memory of one request: taken piece by piece, given back all at once.
//!
//! What it hands out is `'static` in name only: it lives until [`Arena::reset`], which the owner of
//! the request calls when nobody can hold a piece any more.  Inside the library the pieces are only
//! reachable through the request.

use std::alloc::Layout;
use std::ptr::NonNull;

use bumpalo::Bump;

use super::octets::Octets;

/// More than this is given back to the system between requests.
const KEEP: usize = 64 * 1024;

/// What `malloc` guarantees too: enough for every C type.
const ALIGN: usize = 16;

/// Bump memory, reused from request to request.
#[derive(Debug, Default)]
pub struct Arena {
    bump: Bump,
}

impl Arena {
    /// An arena that owns nothing yet.
    pub fn new() -> Self {
        Arena::default()
    }

    /// `size` octets, aligned for anything and not zeroed; `None` when there is no memory.
    pub fn alloc(&self, size: usize) -> Option<NonNull<u8>> {
        let layout = Layout::from_size_align(size, ALIGN).ok()?;
        self.bump.try_alloc_layout(layout).ok()
    }

    /// A copy of `text`.
    pub fn copy(&self, text: &[u8]) -> Octets<'static> {
        self.keep(self.bump.alloc_slice_copy(text))
    }

    /// The pieces, one behind the other.
    pub fn concat(&self, pieces: &[&[u8]]) -> Octets<'static> {
        let len = pieces.iter().map(|piece| piece.len()).sum();
        self.build(len, |mut rest| {
            for piece in pieces {
                let (front, back) = rest.split_at_mut(piece.len());
                front.copy_from_slice(piece);
                rest = back;
            }
            len
        })
    }

    /// `len` octets that `write` fills, of which it says how many it used.
    pub fn build(&self, len: usize, write: impl FnOnce(&mut [u8]) -> usize) -> Octets<'static> {
        let room = self.room(len);
        let used = write(room).min(len);
        self.keep(&raw const room[..used])
    }

    fn room(&self, len: usize) -> &mut [u8] {
        self.bump.alloc_slice_fill_copy(len, 0)
    }

    /// Room for `len` octets of copies, which costs once what each of them would cost.
    #[inline]
    pub fn copies(&self, len: usize) -> Copies<'_> {
        let at = self.bump.alloc_layout(Layout::array::<u8>(len).unwrap_or_else(|_| too_much()));
        Copies { arena: self, at, left: len }
    }

    /// A value that needs no drop.
    #[allow(clippy::mut_from_ref, reason = "each call hands out memory of its own")]
    pub fn hold<T>(&self, value: T) -> &mut T {
        const { assert!(!std::mem::needs_drop::<T>()) };
        self.bump.alloc(value)
    }

    /// Views of a copy of `value`.
    #[inline]
    pub fn views<T: Copy + 'static, const N: usize>(
        &self,
        value: &T,
        views: impl FnOnce(&T) -> [&[u8]; N],
    ) -> [Octets<'static>; N] {
        let copy = &self.bump.alloc_slice_copy(std::slice::from_ref(value))[0];
        views(copy).map(|view| self.keep(view))
    }

    /// A copy of a slice.
    pub fn copy_slice<T: Copy>(&self, source: &[T]) -> &mut [T] {
        self.bump.alloc_slice_copy(source)
    }

    /// Take everything back.
    pub fn reset(&mut self) {
        if self.bump.allocated_bytes() > KEEP {
            self.bump = Bump::new();
        } else {
            self.bump.reset();
        }
    }

    #[inline(always)]
    fn keep(&self, piece: *const [u8]) -> Octets<'static> {
        // SAFETY: the piece was just taken from `bump` (or is static), whose memory neither moves nor
        // is freed before `reset` or drop.  Both need the arena mutably: its owner, the exchange, does that
        // only when the request is over and the environ that held these views has been emptied.
        unsafe { Octets::new(&*piece).erase() }
    }
}

/// See [`Arena::copies`].
#[derive(Debug)]
pub struct Copies<'a> {
    arena: &'a Arena,
    at: NonNull<u8>,
    left: usize,
}

impl Copies<'_> {
    /// One more; what does not fit lies elsewhere.
    #[inline]
    pub fn copy(&mut self, text: &[u8]) -> Octets<'static> {
        if text.len() > self.left {
            return self.arena.copy(text);
        }
        // SAFETY: `left` octets from `at` on were taken from the arena for this, and nobody else has
        // them; `text` is older, and so elsewhere.
        let piece = unsafe {
            self.at.copy_from_nonoverlapping(NonNull::from(text).cast(), text.len());
            let piece = NonNull::slice_from_raw_parts(self.at, text.len());
            self.at = self.at.add(text.len());
            piece
        };
        self.left -= text.len();
        self.arena.keep(piece.as_ptr())
    }
}

#[cold]
fn too_much() -> ! {
    panic!("more octets than there can be");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_lie_side_by_side_and_where_there_is_room() {
        let arena = Arena::new();
        let text: Vec<u8> = (0..=255).collect();
        let mut copies = arena.copies(500);
        let all: Vec<_> = (0..40).map(|len| copies.copy(&text[len..2 * len])).collect();
        for (len, copy) in all.iter().enumerate() {
            assert_eq!(copy.as_slice(), &text[len..2 * len]);
        }
        assert_eq!(arena.copies(0).copy(&text).as_slice(), text);
    }

    #[test]
    fn pieces_keep_their_octets_until_reset() {
        let mut arena = Arena::new();
        let one = arena.copy(b"one");
        let two = arena.concat(&[b"t", b"", b"wo"]);
        assert_eq!(one.as_slice(), b"one");
        assert_eq!(two.as_slice(), b"two");
        arena.reset();
        assert_eq!(arena.copy(b"").as_slice(), b"");
    }

    #[test]
    fn memory_is_aligned_and_absurd_sizes_are_refused() {
        let arena = Arena::new();
        arena.copy(b"x");
        assert_eq!(arena.alloc(24).map(|p| p.as_ptr() as usize % ALIGN), Some(0));
        assert!(arena.alloc(usize::MAX).is_none());
        assert!(arena.alloc(isize::MAX as usize).is_none());
    }
}
