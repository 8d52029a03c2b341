//! Sends a [`RequestBody`] piece by piece, without joining the pieces.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::prompb::RequestBody;

impl From<RequestBody> for reqwest::Body {
    fn from(body: RequestBody) -> Self {
        match body.pieces() {
            [whole] => whole.clone().into(),
            _ => Self::wrap(OutgoingBody {
                bytes_left: body.len(),
                next: 0,
                body,
            }),
        }
    }
}

/// Hands the pieces to the HTTP client as they are.
struct OutgoingBody {
    body: RequestBody,
    next: usize,
    bytes_left: usize,
}

impl http_body::Body for OutgoingBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.body.pieces().get(self.next).cloned();
        self.next += 1;
        self.bytes_left -= piece.as_ref().map_or(0, Bytes::len);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes_left == 0
    }

    /// The hint is exact, so the client can send it as `Content-Length`.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes_left as u64)
    }
}
