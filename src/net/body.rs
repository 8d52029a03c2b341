//! The body of a request, in the pieces that it was made of.
//!
//! The pieces of the last scrape's batches are kept, to be patched by the next one: bodies that
//! share them need no memory of their own.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// Pieces that follow each other. Its clones share them.
#[derive(Debug, Clone, Default)]
pub struct Body {
    pieces: Arc<[Bytes]>,
    len: usize,
}

impl Body {
    /// Bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces, in order.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter()
    }

    /// All of it in one piece: copied, unless it is one.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match &self.pieces[..] {
            [whole] => whole.clone(),
            pieces => pieces.concat().into(),
        }
    }

    /// Whether it is not just equal, but of the same pieces in memory.
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

impl FromIterator<Bytes> for Body {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let pieces: Arc<[Bytes]> = pieces.into_iter().collect();
        let len = pieces.iter().map(Bytes::len).sum();
        Self { pieces, len }
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(whole: B) -> Self {
        Self::from_iter([whole.into()])
    }
}

impl From<Body> for reqwest::Body {
    fn from(body: Body) -> Self {
        match &body.pieces[..] {
            [whole] => whole.clone().into(),
            _ => Self::wrap(Sending {
                left: body.len,
                next: 0,
                pieces: body.pieces,
            }),
        }
    }
}

/// Hands its pieces over as they are.
struct Sending {
    pieces: Arc<[Bytes]>,
    next: usize,
    left: usize,
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.get(self.next).cloned();
        self.next += 1;
        self.left -= piece.as_ref().map_or(0, Bytes::len);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    /// Exact: it becomes the Content-Length.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

/// By content, however it is cut.
impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || (self.len == other.len && self.to_bytes() == other.to_bytes())
    }
}

impl Eq for Body {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_what_its_pieces_are_together() {
        let whole = Body::from(&b"abcdef"[..]);
        let cut: Body = [&b"abc"[..], b"", b"def"]
            .map(Bytes::from_static)
            .into_iter()
            .collect();
        let other: Body = [&b"abc"[..], b"dex"]
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
        assert!(Body::default().is_empty() && Body::default().to_bytes().is_empty());
    }
}
