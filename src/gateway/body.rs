//! The body of a response, as an application in Rust returns it.

use std::fmt;
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};

use crate::base::error::{Error, Kind, Result};
use crate::base::octets::OwnedChunk;
use crate::sys::file;

use super::abi::BodyFrame;
use super::app::{self, Chunks};
use super::exchange::Exchange;

/// What an application returns.  Its octets are released, and its iterator dropped, exactly once,
/// whatever happens to the request.
pub struct Body(Content);

enum Content {
    First(OwnedChunk),
    Chunks(Chunks),
    Later,
}

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Body::from_static(b"")
    }

    /// Octets that live as long as the program: they are not copied.
    pub fn from_static(text: &'static [u8]) -> Self {
        Body::first(OwnedChunk::from_static(text))
    }

    /// Octets, which are not copied again.
    pub fn from_vec(text: Vec<u8>) -> Self {
        Body::first(OwnedChunk::from_vec(text))
    }

    /// `len` octets of a file from `offset`, sent by sendfile where that is possible; to its end
    /// when `len` is `u64::MAX`.  A file that shrinks meanwhile cuts the response.
    pub fn from_file(file: File, offset: u64, len: u64) -> Result<Self> {
        Ok(Body::first(Piece::from_file(file, offset, len)?.0))
    }

    /// Chunks that are asked for one by one, as fast as the client takes them.
    pub fn from_chunks(
        chunks: impl IntoIterator<Item = Result<Vec<u8>>, IntoIter: Send + 'static>,
    ) -> Self {
        let pieces = chunks.into_iter().map(|chunk| chunk.map(Piece::from_vec));
        Body(Content::Chunks(Box::new(pieces)))
    }

    /// The same, of memory and files.
    pub(crate) fn from_pieces(
        pieces: impl Iterator<Item = Result<Piece>> + Send + 'static,
    ) -> Self {
        Body(Content::Chunks(Box::new(pieces)))
    }

    /// None yet: the answer comes through the handle that [`Environ::defer`] gave.
    ///
    /// [`Environ::defer`]: super::abi::Environ::defer
    pub fn later() -> Self {
        Body(Content::Later)
    }

    fn first(chunk: OwnedChunk) -> Self {
        Body(Content::First(chunk))
    }

    /// As C has it, returned to the request of `x`; none when the answer comes later.
    pub(crate) fn into_frame(self, x: Option<&Exchange>) -> Option<BodyFrame> {
        match self.0 {
            Content::First(chunk) => {
                Some(BodyFrame { first: chunk.into_raw(), ..BodyFrame::EMPTY })
            }
            Content::Chunks(chunks) => Some(app::frame_of(chunks, x)),
            Content::Later => None,
        }
    }
}

/// A piece of a body: memory, or a range of a file.
#[derive(Debug)]
pub(crate) struct Piece(pub(super) OwnedChunk);

impl Piece {
    pub(crate) fn from_vec(text: Vec<u8>) -> Self {
        Piece(OwnedChunk::from_vec(text))
    }

    /// See [`Body::from_file`].
    pub(crate) fn from_file(file: File, offset: u64, len: u64) -> Result<Self> {
        let len = to_the_end(file.as_raw_fd(), offset, len)?;
        Ok(Piece(app::file_chunk(file.into(), offset, len)))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Content::First(chunk) => f.debug_tuple("First").field(chunk).finish(),
            Content::Chunks(_) => f.write_str("Chunks(..)"),
            Content::Later => f.write_str("Later"),
        }
    }
}

/// The length of a file range; `u64::MAX` means to the end of the file as it is now.
pub(crate) fn to_the_end(fd: RawFd, offset: u64, len: u64) -> Result<u64> {
    if i64::try_from(offset).is_err() {
        return Err(Error::new(Kind::Invalid, "file body: the offset is out of range"));
    }
    if len != u64::MAX {
        return Ok(len);
    }
    let size = file::file_len(fd).map_err(|source| Error::os("file body: fstat", &source))?;
    Ok(size.saturating_sub(offset))
}
