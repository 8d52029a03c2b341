//! Compressing pieces so that they can be patched.

use bytes::Bytes;

use super::Piece;
use super::locate::locate;
use super::patch::{SamplePatch, SampleSlot, ZERO, put};
use crate::prompb::wire;
use crate::series::TargetId;

/// A piece in its compressed form.
pub(in crate::batch) enum PressedPiece {
    /// All its samples were found, so it can be patched for the next scrape.
    Again(Piece),
    /// It has a sample of another form, or one that was not found, and is used for one batch only.
    Once(Bytes),
}

/// Compresses pieces. It keeps its buffers from one piece to the next.
#[derive(Debug)]
pub(in crate::batch) struct PiecePress {
    encoder: snap::raw::Encoder,
    noisy: Vec<u8>,
    out: Vec<u8>,
}

impl Default for PiecePress {
    fn default() -> Self {
        Self {
            encoder: snap::raw::Encoder::new(),
            noisy: Vec::new(),
            out: Vec::new(),
        }
    }
}

impl PiecePress {
    /// Bytes held.
    pub(in crate::batch) fn memory(&self) -> usize {
        self.noisy.capacity() + self.out.capacity()
    }

    /// Compresses a piece. With slots for all its samples the result can be patched.
    ///
    /// # Errors
    /// Fails only when the piece is larger than snappy's 4 GiB.
    pub(in crate::batch) fn compress(
        &mut self,
        raw: &[u8],
        slots: Option<&mut [SampleSlot]>,
    ) -> Result<PressedPiece, snap::Error> {
        let Some(slots) = slots else {
            return self.plain(raw);
        };
        // Values and timestamps become noise before the piece is compressed. Noise repeats nothing,
        // so the compressor finds no copy in it and must write it as it is.
        self.noisy.clear();
        self.noisy.extend_from_slice(raw);
        for (number, slot) in (1..).zip(&*slots) {
            put(
                &mut self.noisy,
                usize::from(slot.end),
                &noise(number, *slot),
            );
        }
        let noisy = std::mem::take(&mut self.noisy);
        let pressed = self.press(&noisy);
        self.noisy = noisy;
        let (from, to) = pressed?;
        let pressed = &mut self.out[from..to];
        // Noise that happens to be part of a copy after all cannot be patched.
        if !locate(pressed, slots) {
            return self.plain(raw);
        }
        // The true bytes go where the noise was found.
        for slot in &*slots {
            let (start, end, at) = (slot.start(), usize::from(slot.end), usize::from(slot.at));
            pressed[at - (end - start)..at].copy_from_slice(&raw[start..end]);
        }
        Ok(PressedPiece::Again(Piece {
            elements: Bytes::copy_from_slice(pressed),
            slots: Box::from(&*slots),
            used: 0,
            target: TargetId(0),
        }))
    }

    fn plain(&mut self, raw: &[u8]) -> Result<PressedPiece, snap::Error> {
        let (from, to) = self.press(raw)?;
        Ok(PressedPiece::Once(Bytes::copy_from_slice(
            &self.out[from..to],
        )))
    }

    /// Compresses into `out`, and returns where its elements start and end. A block starts with its
    /// uncompressed length, which is written once for the whole batch.
    fn press(&mut self, raw: &[u8]) -> Result<(usize, usize), snap::Error> {
        let bound = snap::raw::max_compress_len(raw.len());
        if self.out.len() < bound {
            self.out.resize(bound, 0);
        }
        let to = self.encoder.compress(raw, &mut self.out)?;
        Ok((wire::varint_len(raw.len() as u64), to))
    }
}

/// Bytes that nothing else in a piece looks like (splitmix64). They depend on the sample's number
/// alone, so that the same samples always give the same bytes.
///
/// The first and the last byte are the number itself. The bytes around two samples are often equal,
/// and a copy of them must end before it reaches into the noise.
fn noise(number: u64, slot: SampleSlot) -> SamplePatch {
    let mix = |number: u64| {
        let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    };
    let [a, b, c, d, e, ..] = mix(2 * number);
    let ([_, value @ ..], edge) = (mix(2 * number + 1), number as u8);
    let [p, q, r, s, t, u, v] = value;
    if slot.series & ZERO == 0 {
        SamplePatch {
            value: Some([edge, p, q, r, s, t, u, v]),
            time: [e, a, b, c, d, edge],
        }
    } else {
        SamplePatch {
            value: None,
            time: [edge, a, b, c, d, edge],
        }
    }
}
