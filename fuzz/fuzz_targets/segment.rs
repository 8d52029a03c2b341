//! Any bytes are a segment or an error. A segment that was read is written back to the same bytes,
//! and a peek agrees with a read.
#![no_main]

use amp_forwarder::spool::segment::{peek, read, write};
use bytes::Bytes;
use crc32c::crc32c;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    check(&Bytes::copy_from_slice(data));
    // The same bytes with valid checksums, or the fuzzer would never get past them.
    let mut data = data.to_vec();
    let Some(head) = data.get_mut(..32) else {
        return;
    };
    head[..10].copy_from_slice(b"AMPFWSEG\x01\x00");
    let sum = crc32c(&head[..12]);
    head[12..16].copy_from_slice(&sum.to_le_bytes());
    let batches = u32::from_le_bytes([head[24], head[25], head[26], head[27]]) as usize;
    let message = usize::from(u16::from_le_bytes([head[30], head[31]]));
    let end = 32 + batches * 36 + message;
    if end + 4 <= data.len() {
        let length = data.len() as u64;
        data[16..24].copy_from_slice(&length.to_le_bytes());
        let sum = crc32c(&data[..end]);
        data[end..end + 4].copy_from_slice(&sum.to_le_bytes());
    }
    check(&Bytes::from(data));
});

fn check(bytes: &Bytes) {
    let peeked = peek(bytes);
    if let Ok(segment) = read(bytes) {
        let peeked = peeked.expect("a segment that can be read can be peeked at");
        assert_eq!(peeked.len(), segment.batches.len());
        if segment
            .note
            .as_ref()
            .is_none_or(|note| note.message.len() <= 4096)
        {
            assert_eq!(write(&segment.batches, segment.note.as_ref()), bytes);
        }
    }
}
