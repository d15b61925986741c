//! The eight octets at the front of each record.

/// Octets of a record's head.
pub const HEAD: usize = 8;
/// The version that there is.
pub(crate) const VERSION: u8 = 1;
/// The role that is ours.
pub(crate) const RESPONDER: u16 = 1;
/// The flag of a BEGIN_REQUEST record, its third octet: the connection stays open after the request.
pub const KEEP_CONN: u8 = 1;
/// The most octets of content that a record of ours has: what 16 bits say, so that the next one is
/// aligned.
pub(crate) const CONTENT_MAX: usize = 65_528;

/// Types of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the specification's names")]
pub enum Kind {
    BeginRequest = 1,
    AbortRequest = 2,
    EndRequest = 3,
    Params = 4,
    Stdin = 5,
    Stdout = 6,
    Stderr = 7,
    Data = 8,
    GetValues = 9,
    GetValuesResult = 10,
    UnknownType = 11,
}

impl Kind {
    /// The type with this number.
    #[inline]
    pub fn of(number: u8) -> Option<Kind> {
        Some(match number {
            1 => Kind::BeginRequest,
            2 => Kind::AbortRequest,
            3 => Kind::EndRequest,
            4 => Kind::Params,
            5 => Kind::Stdin,
            6 => Kind::Stdout,
            7 => Kind::Stderr,
            8 => Kind::Data,
            9 => Kind::GetValues,
            10 => Kind::GetValuesResult,
            11 => Kind::UnknownType,
            _ => return None,
        })
    }
}

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Of the protocol.
    pub version: u8,
    /// A [`Kind`], or something else.
    pub kind: u8,
    /// The request's; 0: the connection's own business.
    pub id: u16,
    /// Octets of content.
    pub len: u16,
    /// Octets behind it that mean nothing.
    pub padding: u8,
}

impl Head {
    /// The head at the front of `octets`.
    #[inline]
    pub fn read(octets: &[u8]) -> Option<Head> {
        let &[version, kind, id1, id0, len1, len0, padding, _] = octets.first_chunk::<HEAD>()?;
        let (id, len) = (u16::from_be_bytes([id1, id0]), u16::from_be_bytes([len1, len0]));
        Some(Head { version, kind, id, len, padding })
    }

    /// One of ours.
    #[inline]
    pub fn octets(kind: Kind, id: u16, len: usize) -> [u8; HEAD] {
        debug_assert!(len <= usize::from(u16::MAX));
        let ([id1, id0], [len1, len0]) = (id.to_be_bytes(), (len as u16).to_be_bytes());
        [VERSION, kind as u8, id1, id0, len1, len0, 0, 0]
    }

    /// Octets of the whole record.
    #[inline]
    pub fn size(self) -> usize {
        HEAD + usize::from(self.len) + usize::from(self.padding)
    }
}
