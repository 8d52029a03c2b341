//! The streaming decoder of snappy agrees with the library that decodes a block as a whole, however
//! the block arrives, except that it refuses copies beyond its window.
#![no_main]

use amp_forwarder::read::snappy::{SnappyDecoder, SnappyError};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// Longest output that is decoded, so that no input takes long.
const LIMIT: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((&sizes, block)) = data.split_first() else {
        return;
    };
    let (chunk, keep) = (
        1 + usize::from(sizes & 15) * 7,
        usize::from(sizes >> 4) * 100,
    );
    let streamed = decode(block, chunk, keep);
    if snap::raw::decompress_len(block).is_ok_and(|len| len as u64 > LIMIT) {
        assert!(streamed.is_err());
        return;
    }
    match (snap::raw::Decoder::new().decompress_vec(block), streamed) {
        (Ok(whole), Ok(streamed)) => assert_eq!(whole, streamed),
        (Ok(_), Err(error)) => assert!(matches!(error, SnappyError::BeyondWindow { .. })),
        (Err(_), Err(_)) => {}
        // The library takes no empty input; nor does the decoder.
        (Err(error), Ok(_)) => panic!("the library refuses it: {error}"),
    }
});

fn decode(block: &[u8], chunk: usize, keep: usize) -> Result<Vec<u8>, SnappyError> {
    let mut decoder = SnappyDecoder::new(LIMIT);
    let mut out = Vec::new();
    for chunk in block.chunks(chunk) {
        decoder.push(Bytes::copy_from_slice(chunk));
        while decoder.fill()? {
            let len = decoder.buffer().len().saturating_sub(keep);
            out.extend_from_slice(&decoder.buffer()[..len]);
            decoder.consume(len);
        }
    }
    out.extend_from_slice(decoder.buffer());
    decoder.finish().map(|()| out)
}
