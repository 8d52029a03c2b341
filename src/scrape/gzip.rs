//! A gzip stream (RFC 1952), decoded as it arrives: members, their headers, and their checksums
//! around raw deflate.
//!
//! Follows Go's reader, which Prometheus reads bodies with (`compress/gzip/gunzip.go`): members may
//! follow one another, reserved flags mean nothing, and neither a name nor a comment is longer than
//! 511 bytes.
//!
//! The inflater does not see the frame, because its own checksum costs more than inflating does.
//! Here it is computed by carry-less multiplication.

use crc32fast::Hasher;
use flate2::{Decompress, FlushDecompress, Status};

/// Bytes that every header has.
const HEADER: usize = 10;

/// Bytes behind the deflated ones: checksum and length.
const TRAILER: usize = 8;

/// Longest name or comment with the NUL that ends it (`gunzip.go` `readString`).
const LONGEST_STRING: usize = 512;

// `gunzip.go`
const FLAG_HEADER_CHECKSUM: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;

/// Why a stream is no whole gzip.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GzipError {
    /// A member does not start as gzip does, or the checksum of its header is wrong.
    #[error("invalid header")]
    Header,
    /// The compressed bytes of a member are damaged.
    #[error("{0}")]
    Deflate(String),
    /// A member has other bytes than its checksum or its length says.
    #[error("invalid checksum")]
    Checksum,
}

/// What one call of [`GzipDecoder::decode`] has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct GzipProgress {
    /// Bytes of the input that were taken.
    pub(super) consumed: usize,
    /// Bytes of the room that were filled.
    pub(super) produced: usize,
}

/// What comes next in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GzipField {
    /// The bytes that every header has.
    Header,
    ExtraLength,
    /// The extra field, of which this many bytes are still to come.
    Extra(u16),
    /// The name, of which this many bytes have come.
    Name(usize),
    /// The comment, of which this many bytes have come.
    Comment(usize),
    HeaderChecksum,
    Deflated,
    Trailer,
}

/// Decodes a stream of members.
#[derive(Debug)]
pub(super) struct GzipDecoder {
    field: GzipField,
    /// The first bytes of a field of fixed length that has not come whole.
    held: [u8; HEADER],
    held_len: usize,
    /// The flags of the member's header.
    flags: u8,
    inflate: Decompress,
    /// CRC-32 of the header so far, or of the member's uncompressed bytes so far.
    digest: Hasher,
    /// Uncompressed bytes of the member so far, modulo 2^32.
    length: u32,
}

impl GzipDecoder {
    /// A stream of which nothing has arrived yet.
    pub(super) fn new() -> Self {
        Self {
            field: GzipField::Header,
            held: [0; HEADER],
            held_len: 0,
            flags: 0,
            inflate: Decompress::new(false),
            digest: Hasher::new(),
            length: 0,
        }
    }

    /// Whether the stream may end here: before its first member, or between two.
    pub(super) fn is_between_members(&self) -> bool {
        self.field == GzipField::Header && self.held_len == 0
    }

    /// Decodes until the input is used up or the room is full. In the latter case there may be more
    /// output for input that was taken: decode again, without input if there is none.
    ///
    /// # Errors
    /// [`GzipError`] ends the stream.
    pub(super) fn decode(
        &mut self,
        input: &[u8],
        room: &mut [u8],
    ) -> Result<GzipProgress, GzipError> {
        let (mut rest, mut produced) = (input, 0);
        loop {
            if self.field == GzipField::Deflated {
                let progress = self.inflate(rest, &mut room[produced..])?;
                rest = &rest[progress.consumed..];
                produced += progress.produced;
                if self.field == GzipField::Deflated {
                    break;
                }
            }
            if rest.is_empty() {
                break;
            }
            self.frame(&mut rest)?;
        }
        Ok(GzipProgress {
            consumed: input.len() - rest.len(),
            produced,
        })
    }

    fn inflate(&mut self, input: &[u8], room: &mut [u8]) -> Result<GzipProgress, GzipError> {
        let (total_in, total_out) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(input, room, FlushDecompress::None)
            .map_err(|error| GzipError::Deflate(error.to_string()))?;
        let progress = GzipProgress {
            consumed: (self.inflate.total_in() - total_in) as usize,
            produced: (self.inflate.total_out() - total_out) as usize,
        };
        self.digest.update(&room[..progress.produced]);
        self.length = self.length.wrapping_add(progress.produced as u32);
        if status == Status::StreamEnd {
            self.field = GzipField::Trailer;
        }
        Ok(progress)
    }

    /// Takes bytes of a header or a trailer, as far as they have come.
    fn frame(&mut self, rest: &mut &[u8]) -> Result<(), GzipError> {
        match self.field {
            GzipField::Header => {
                if let Some(header) = self.fixed::<HEADER>(rest) {
                    self.begin_member(header)?;
                }
            }
            GzipField::ExtraLength => {
                if let Some(length) = self.fixed::<2>(rest) {
                    self.digest.update(&length);
                    self.extra(u16::from_le_bytes(length));
                }
            }
            GzipField::Extra(left) => {
                let (extra, behind) = rest.split_at(rest.len().min(usize::from(left)));
                self.digest.update(extra);
                *rest = behind;
                self.extra(left - extra.len() as u16);
            }
            GzipField::Name(length) => match self.string(rest, length)? {
                Some(length) => self.field = GzipField::Name(length),
                None => self.behind_name(),
            },
            GzipField::Comment(length) => match self.string(rest, length)? {
                Some(length) => self.field = GzipField::Comment(length),
                None => self.behind_comment(),
            },
            GzipField::HeaderChecksum => {
                if let Some(checksum) = self.fixed::<2>(rest) {
                    // The low half of the header's CRC-32.
                    if u16::from_le_bytes(checksum) != self.checksum() as u16 {
                        return Err(GzipError::Header);
                    }
                    self.begin_deflated();
                }
            }
            GzipField::Deflated => {}
            GzipField::Trailer => {
                if let Some(trailer) = self.fixed::<TRAILER>(rest) {
                    self.end_member(u64::from_le_bytes(trailer))?;
                }
            }
        }
        Ok(())
    }

    /// A field of fixed length, once all of its bytes have come.
    fn fixed<const LENGTH: usize>(&mut self, rest: &mut &[u8]) -> Option<[u8; LENGTH]> {
        let lacking = &mut self.held[self.held_len..LENGTH];
        let (taken, behind) = rest.split_at(rest.len().min(lacking.len()));
        lacking[..taken.len()].copy_from_slice(taken);
        *rest = behind;
        self.held_len += taken.len();
        if self.held_len < LENGTH {
            return None;
        }
        self.held_len = 0;
        self.held.first_chunk().copied()
    }

    fn begin_member(&mut self, header: [u8; HEADER]) -> Result<(), GzipError> {
        // Magic number and method, flags, time, extra flags and operating system.
        let [0x1f, 0x8b, 8, flags, ..] = header else {
            return Err(GzipError::Header);
        };
        self.flags = flags;
        self.digest.reset();
        self.digest.update(&header);
        if self.flags & FLAG_EXTRA == 0 {
            self.behind_extra();
        } else {
            self.field = GzipField::ExtraLength;
        }
        Ok(())
    }

    /// The extra field, of which this many bytes are still to come.
    fn extra(&mut self, left: u16) {
        if left == 0 {
            self.behind_extra();
        } else {
            self.field = GzipField::Extra(left);
        }
    }

    fn behind_extra(&mut self) {
        if self.flags & FLAG_NAME == 0 {
            self.behind_name();
        } else {
            self.field = GzipField::Name(0);
        }
    }

    fn behind_name(&mut self) {
        if self.flags & FLAG_COMMENT == 0 {
            self.behind_comment();
        } else {
            self.field = GzipField::Comment(0);
        }
    }

    fn behind_comment(&mut self) {
        if self.flags & FLAG_HEADER_CHECKSUM == 0 {
            self.begin_deflated();
        } else {
            self.field = GzipField::HeaderChecksum;
        }
    }

    /// Takes bytes of a string up to its NUL. Without one it returns the length so far.
    fn string(&mut self, rest: &mut &[u8], length: usize) -> Result<Option<usize>, GzipError> {
        let nul = memchr::memchr(0, rest);
        let (taken, behind) = rest.split_at(nul.map_or(rest.len(), |nul| nul + 1));
        let length = length + taken.len();
        // One that is as long as Go's buffer must end with it.
        if length > LONGEST_STRING || (nul.is_none() && length == LONGEST_STRING) {
            return Err(GzipError::Header);
        }
        self.digest.update(taken);
        *rest = behind;
        Ok(nul.is_none().then_some(length))
    }

    /// The digest of the bytes so far.
    fn checksum(&self) -> u32 {
        self.digest.clone().finalize()
    }

    fn begin_deflated(&mut self) {
        self.digest.reset();
        self.length = 0;
        self.inflate.reset(false);
        self.field = GzipField::Deflated;
    }

    fn end_member(&mut self, trailer: u64) -> Result<(), GzipError> {
        let (checksum, length) = (trailer as u32, (trailer >> 32) as u32);
        if checksum != self.checksum() || length != self.length {
            return Err(GzipError::Checksum);
        }
        self.field = GzipField::Header;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
