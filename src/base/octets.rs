//! Octets that cross the C boundary: a string, a pair of strings, a piece of a body.
//!
//! These three structs are frozen: C programs copy and embed them.  In Rust a lifetime says how
//! long the octets live; what lives "as long as the request" is `'static` inside the library and is
//! only handed out behind a borrow of the request (see `base::arena` and `base::buf`).
//!
//! Their documentation is also the C header's, where they are `gw_str`, `gw_pair` and `gw_chunk`, and
//! the constants have the prefix `GW_`.

use std::ffi::{c_char, c_void};
use std::fmt;
use std::marker::PhantomData;

/// Octets, not NUL-terminated.  A value that is missing has no `data`; an empty one has.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Octets<'a> {
    data: *const c_char,
    len: usize,
    lifetime: PhantomData<&'a [u8]>,
}

// SAFETY: an Octets is a shared slice of plain octets, and `&[u8]` is Send and Sync.
unsafe impl Send for Octets<'_> {}
// SAFETY: as above.
unsafe impl Sync for Octets<'_> {}

impl<'a> Octets<'a> {
    /// No value: `data` is NULL.
    pub const MISSING: Octets<'a> =
        Octets { data: std::ptr::null(), len: 0, lifetime: PhantomData };

    /// A view of `text`.
    #[inline]
    pub const fn new(text: &'a [u8]) -> Self {
        Octets { data: text.as_ptr().cast(), len: text.len(), lifetime: PhantomData }
    }

    /// The octets; empty when the value is missing.
    #[inline]
    pub const fn as_slice(&self) -> &'a [u8] {
        if self.data.is_null() {
            return &[];
        }
        // SAFETY: `new` took the pointer and length from a slice that lives for 'a, and whoever
        // receives an Octets from C (ffi/) promises the same for the lifetime it writes down; any
        // pointer but NULL will do for no octets.
        unsafe { std::slice::from_raw_parts(self.data.cast(), self.len) }
    }

    /// Whether there is no value (an empty value is one).
    #[inline]
    pub const fn is_missing(&self) -> bool {
        self.data.is_null()
    }

    /// Whether it says that there are octets, and not where.
    pub(crate) const fn is_torn(&self) -> bool {
        self.data.is_null() && self.len > 0
    }

    /// The same octets under another lifetime.
    ///
    /// # Safety
    /// The memory must neither move nor be freed or written while the result is in use.
    #[inline]
    pub const unsafe fn erase<'b>(self) -> Octets<'b> {
        Octets { data: self.data, len: self.len, lifetime: PhantomData }
    }
}

impl Default for Octets<'_> {
    fn default() -> Self {
        Octets::MISSING
    }
}

impl<'a> From<&'a [u8]> for Octets<'a> {
    fn from(text: &'a [u8]) -> Self {
        Octets::new(text)
    }
}

impl<'a> From<&'a str> for Octets<'a> {
    fn from(text: &'a str) -> Self {
        Octets::new(text.as_bytes())
    }
}

impl fmt::Debug for Octets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_missing() {
            return f.write_str("missing");
        }
        write!(f, "\"{}\"", self.as_slice().escape_ascii())
    }
}

/// a header, or a variable
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Pair<'a> {
    #[allow(missing_docs)]
    pub name: Octets<'a>,
    #[allow(missing_docs)]
    pub value: Octets<'a>,
}

impl<'a> Pair<'a> {
    /// A pair of views.
    pub const fn new(name: &'a [u8], value: &'a [u8]) -> Self {
        Pair { name: Octets::new(name), value: Octets::new(value) }
    }
}

/// a piece of a body
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    /// memory; NULL for a file range
    pub data: *const c_void,
    /// octets of either
    pub len: u64,
    /// of a file range
    pub offset: i64,
    /// of a file range; unused otherwise
    pub fd: i32,
    /// GW_CHUNK_*
    pub flags: u32,
    /// NULL: see the call that uses it
    pub release: Option<unsafe extern "C" fn(arg: *mut c_void)>,
    /// of `release`
    pub arg: *mut c_void,
}

/// fd + offset + len, not data + len
pub const CHUNK_FILE: u32 = 1 << 0;
/// do not wait for company
pub const CHUNK_FLUSH: u32 = 1 << 1;
/// nothing follows
pub const CHUNK_LAST: u32 = 1 << 2;

impl Chunk {
    /// A chunk of nothing, as C programs receive one to fill.
    pub const EMPTY: Chunk = Chunk {
        data: std::ptr::null(),
        len: 0,
        offset: 0,
        fd: 0,
        flags: 0,
        release: None,
        arg: std::ptr::null_mut(),
    };
}

/// A chunk that releases itself: `release` runs once, when this is dropped.
#[derive(Debug)]
pub struct OwnedChunk(Chunk);

// SAFETY: who hands a chunk to the library lets it release the chunk on any thread (the header's
// rules page), and the octets are only read.
unsafe impl Send for OwnedChunk {}

impl OwnedChunk {
    /// Takes over the duty to call `release`.
    ///
    /// # Safety
    /// `data` and `len` (or `fd`, `offset` and `len`) must stay valid until `release` is called, or,
    /// where there is none, until this is dropped.
    pub unsafe fn new(chunk: Chunk) -> Self {
        OwnedChunk(chunk)
    }

    /// Static octets.
    pub fn from_static(text: &'static [u8]) -> Self {
        OwnedChunk(Chunk { data: text.as_ptr().cast(), len: text.len() as u64, ..Chunk::EMPTY })
    }

    /// Octets on the heap, freed with the chunk.
    pub fn from_vec(text: Vec<u8>) -> Self {
        unsafe extern "C" fn free(arg: *mut c_void) {
            // SAFETY: `arg` is the box made below, and a chunk is released once.
            drop(unsafe { Box::from_raw(arg.cast::<Vec<u8>>()) });
        }
        let (data, len) = (text.as_ptr().cast(), text.len() as u64);
        let arg = Box::into_raw(Box::new(text)).cast();
        OwnedChunk(Chunk { data, len, release: Some(free), arg, ..Chunk::EMPTY })
    }

    /// What it is.
    pub fn as_raw(&self) -> &Chunk {
        &self.0
    }

    /// Octets of memory, or of the file range.
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Whether it is a range of a file.
    pub fn is_file(&self) -> bool {
        self.0.flags & CHUNK_FILE != 0
    }

    /// Whether somebody must be told when it is no longer needed.  A chunk without is only valid
    /// until its giver is called again.
    pub fn has_release(&self) -> bool {
        self.0.release.is_some()
    }

    /// Whether it can be sent at all: memory that exists and fits into an address space, or a range
    /// that a file can have.
    pub fn is_sound(&self) -> bool {
        if self.is_file() {
            let end = u64::try_from(self.0.offset).ok().and_then(|at| at.checked_add(self.0.len));
            return self.0.fd >= 0 && end.is_some_and(|end| i64::try_from(end).is_ok());
        }
        self.0.len == 0 || !self.0.data.is_null() && isize::try_from(self.0.len).is_ok()
    }

    /// The octets of a memory chunk; empty for a file range.
    pub fn octets(&self) -> &[u8] {
        if self.is_file() || self.0.len == 0 || self.0.data.is_null() {
            return &[];
        }
        // SAFETY: the promise of `new`.
        unsafe { std::slice::from_raw_parts(self.0.data.cast(), self.0.len as usize) }
    }

    /// Leave the first `n` octets out: they are sent.
    pub fn advance(&mut self, n: u64) {
        debug_assert!(n <= self.0.len);
        if self.is_file() {
            self.0.offset += n as i64;
        } else {
            self.0.data = self.0.data.cast::<u8>().wrapping_add(n as usize).cast();
        }
        self.0.len -= n;
    }

    /// Leave out all but the first `n` octets.
    pub fn truncate(&mut self, n: u64) {
        self.0.len = self.0.len.min(n);
    }

    /// The first `n` octets as a chunk of their own, without release: valid until what is left is
    /// dropped.
    pub fn split(&mut self, n: u64) -> OwnedChunk {
        let first = Chunk { len: n, release: None, ..self.0 };
        self.advance(n);
        OwnedChunk(first)
    }

    /// Give up the duty to release.
    pub fn into_raw(self) -> Chunk {
        let raw = self.0;
        std::mem::forget(self);
        raw
    }
}

/// What a chunk is made of that is lent to somebody: its release gives it back.
pub trait Loan: Send {
    /// The octets or the range, which are there until it comes back.
    fn lent(&self) -> Lent<'_>;
    /// Its time is over.
    fn back(self: Box<Self>);
}

/// See [`Loan`].
#[derive(Debug)]
pub enum Lent<'a> {
    /// Memory.
    Octets(&'a [u8]),
    /// Another chunk, whose release is not the borrower's business.
    Other(&'a OwnedChunk),
}

/// A chunk with these flags whose release, called once and from any thread, gives the loan back.
pub fn lend<L: Loan + 'static>(loan: Box<L>, flags: u32) -> OwnedChunk {
    unsafe extern "C" fn back<L: Loan>(arg: *mut c_void) {
        // SAFETY: `arg` is the box made below, and a chunk is released once.
        let loan = unsafe { Box::from_raw(arg.cast::<L>()) };
        // What the giver's release function does is contained there; a bug of ours ends here.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| loan.back()));
    }
    let chunk = match loan.lent() {
        Lent::Octets(octets) => {
            Chunk { data: octets.as_ptr().cast(), len: octets.len() as u64, ..Chunk::EMPTY }
        }
        Lent::Other(chunk) => {
            let known = CHUNK_FILE | CHUNK_FLUSH;
            Chunk { flags: chunk.0.flags & known, ..chunk.0 }
        }
    };
    let (flags, arg) = (chunk.flags | flags, Box::into_raw(loan).cast());
    OwnedChunk(Chunk { flags, release: Some(back::<L>), arg, ..chunk })
}

impl Drop for OwnedChunk {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            // SAFETY: the giver's function and argument, called once: `self` is going away.
            unsafe { release(self.0.arg) };
        }
    }
}
