//! The body of a response, as an application in Rust returns it.

use std::fs::File;
use std::os::fd::IntoRawFd;

use crate::base::error::Result;
use crate::base::octets::{CHUNK_FILE, Chunk, OwnedChunk};
use crate::sys::file;

use super::abi::BodyFrame;
use super::app;

/// What an application returns.  Its octets are released, and its iterator dropped, exactly once,
/// whatever happens to the request.
#[derive(Debug)]
pub struct Body(BodyFrame);

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Body(BodyFrame::EMPTY)
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
        let len = file::clamp_range(&file, offset, len)?;
        let fd = file.into_raw_fd();
        let chunk = Chunk {
            len,
            offset: offset as i64,
            fd,
            flags: CHUNK_FILE,
            release: Some(file::close_arg),
            arg: fd as usize as *mut _,
            ..Chunk::EMPTY
        };
        Ok(Body(BodyFrame { first: chunk, ..BodyFrame::EMPTY }))
    }

    /// Chunks that are asked for one by one, as fast as the client takes them.
    pub fn from_chunks(
        chunks: impl IntoIterator<Item = Result<Vec<u8>>, IntoIter: Send + 'static>,
    ) -> Self {
        Body(app::frame_of(Box::new(chunks.into_iter())))
    }

    fn first(chunk: OwnedChunk) -> Self {
        Body(BodyFrame { first: chunk.into_raw(), ..BodyFrame::EMPTY })
    }

    pub(super) fn into_frame(mut self) -> BodyFrame {
        std::mem::replace(&mut self.0, BodyFrame::EMPTY)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.0.finish();
    }
}
