//! The body of a request, in the pieces that it was made of.
//!
//! Compressed pieces of a scrape's batches are kept, and the next scrape patches them. Bodies that
//! share such pieces need no memory of their own.

use std::sync::Arc;

use bytes::Bytes;

/// A request body as a sequence of pieces. Clones share the pieces.
#[derive(Debug, Clone, Default)]
pub struct RequestBody {
    pieces: Arc<[Bytes]>,
    len: usize,
}

impl RequestBody {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the body has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces in their order.
    #[must_use]
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// The whole body in one piece. The bytes are copied unless the body has a single piece.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match &self.pieces[..] {
            [whole] => whole.clone(),
            pieces => pieces.concat().into(),
        }
    }

    /// Whether both bodies consist of the same pieces in memory, not merely of equal bytes.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let place = |piece: &Bytes| (piece.as_ptr(), piece.len());
        self.pieces.len() == other.pieces.len()
            && self
                .pieces
                .iter()
                .zip(&*other.pieces)
                .all(|(one, other)| place(one) == place(other))
    }
}

impl FromIterator<Bytes> for RequestBody {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let pieces: Arc<[Bytes]> = pieces.into_iter().collect();
        let len = pieces.iter().map(Bytes::len).sum();
        Self { pieces, len }
    }
}

impl<B: Into<Bytes>> From<B> for RequestBody {
    fn from(whole: B) -> Self {
        Self::from_iter([whole.into()])
    }
}

/// Bodies are equal when their bytes are, however these are cut into pieces.
impl PartialEq for RequestBody {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || (self.len == other.len && self.to_bytes() == other.to_bytes())
    }
}

impl Eq for RequestBody {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_what_its_pieces_are_together() {
        let whole = RequestBody::from(&b"abcdef"[..]);
        let cut: RequestBody = [&b"abc"[..], b"", b"def"]
            .map(Bytes::from_static)
            .into_iter()
            .collect();
        let other: RequestBody = [&b"abc"[..], b"dex"]
            .map(Bytes::from_static)
            .into_iter()
            .collect();
        assert_eq!(
            (cut.len(), cut.to_bytes()),
            (6, Bytes::from_static(b"abcdef"))
        );
        assert_eq!(whole, cut);
        assert_ne!(cut, other);
        assert!(cut.is_same(&cut.clone()) && !cut.is_same(&whole));
        assert!(RequestBody::default().is_empty() && RequestBody::default().to_bytes().is_empty());
    }
}
