use proptest::prelude::*;

use super::*;

/// Decodes a block that arrives in chunks of this size. The consumer leaves up to `keep` bytes
/// each time, as if they were an entry that is not whole yet.
fn decode(block: &[u8], chunk: usize, keep: usize) -> Result<Vec<u8>, SnappyError> {
    let mut decoder = SnappyDecoder::new(1 << 30);
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

fn compressed(plain: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(plain).unwrap()
}

fn sample_text(lines: usize) -> Vec<u8> {
    (0..lines)
        .flat_map(|at| format!("metric_{}{{pod=\"pod-{at}\"}} {at}\n", at % 7).into_bytes())
        .collect()
}

proptest! {
    #[test]
    fn what_the_library_compresses_comes_back(
        plain in prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), any::<u8>()], 0..5_000),
        chunk in 1..5_000_usize,
        keep in 0..100_000_usize,
    ) {
        prop_assert_eq!(decode(&compressed(&plain), chunk, keep), Ok(plain));
    }

    #[test]
    fn damaged_blocks_are_errors_or_other_bytes_and_never_panic(
        lines in 0..200_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        chunk in 1..300_usize,
    ) {
        let mut block = compressed(&sample_text(lines));
        for (at, byte) in damage {
            let at = at.index(block.len());
            block[at] = byte;
        }
        let whole = snap::raw::Decoder::new().decompress_vec(&block);
        let streamed = decode(&block, chunk, 0);
        match (whole, streamed) {
            (Ok(whole), Ok(streamed)) => prop_assert_eq!(whole, streamed),
            (Ok(_), Err(error)) => {
                let refused = matches!(error, SnappyError::TooLong { .. });
                prop_assert!(refused, "{}", error);
            }
            (Err(_), Ok(_)) => prop_assert!(false, "the library refuses it"),
            (Err(_), Err(_)) => {}
        }
    }
}

/// An element that reaches beyond the aim of a fill must be its last one: there is room for one.
#[test]
fn elements_end_everywhere_around_the_aim() {
    let copies = |of: usize, number: usize| {
        [(of as u8 - 1) << 2 | 2, 64, 0].repeat(number) // 64 bytes back
    };
    for len in 1..=MAX_COPY {
        let (before, after) = (2 * BLOCK / MAX_COPY - 1, 2 * BLOCK / len);
        let expected = MAX_COPY * (1 + before) + len * after;
        let mut head = Vec::new();
        crate::prompb::wire::varint(&mut head, expected as u64);
        for half in [0_u8, 32] {
            head.push(31 << 2);
            head.extend(half..half + 32);
        }
        // Chunks of half a block lead to a place where there is no more room than is needed.
        let mut chunks: Vec<_> = [before / 4, before / 4, before / 4, before - before / 4 * 3]
            .map(|number| copies(MAX_COPY, number))
            .into();
        chunks.insert(0, head);
        chunks.push(copies(len, after));
        let mut decoder = SnappyDecoder::new(1 << 30);
        let mut produced = 0;
        for chunk in chunks {
            decoder.push(Bytes::from(chunk));
            while decoder.fill().unwrap() {
                for (at, byte) in (produced..).zip(decoder.buffer()) {
                    assert_eq!(usize::from(*byte), at % MAX_COPY, "{len}");
                }
                produced += decoder.buffer().len();
                decoder.consume(decoder.buffer().len());
            }
        }
        assert_eq!((decoder.finish(), produced), (Ok(()), expected));
    }
}

#[test]
fn long_bodies_pass_through_a_small_window() {
    let plain = sample_text(100_000);
    let block = compressed(&plain);
    for (chunk, keep) in [(1_460, 0), (16 << 10, 1_000), (1 << 20, 70_000)] {
        assert!(decode(&block, chunk, keep) == Ok(plain.clone()), "{chunk}");
    }
    let mut decoder = SnappyDecoder::new(1 << 30);
    decoder.push(Bytes::from(block));
    while decoder.fill().unwrap() {
        let len = decoder.buffer().len();
        decoder.consume(len);
    }
    assert!(
        decoder.output.len() < 4 * WINDOW,
        "{}",
        decoder.output.len()
    );
}

#[test]
fn every_cut_is_noticed() {
    let block = compressed(&sample_text(50));
    for len in 0..block.len() {
        let error = decode(&block[..len], 10, 0).unwrap_err();
        assert!(
            matches!(error, SnappyError::Truncated { .. } | SnappyError::Preamble),
            "{len}: {error}"
        );
    }
}

#[test]
fn each_kind_of_damage_has_its_error() {
    let cases: [(&[u8], SnappyError); 6] = [
        (b"\xff\xff\xff\xff\xff", SnappyError::Preamble),
        (b"\xff\xff\xff\xff\x1f", SnappyError::Preamble),
        (
            b"\xff\xff\xff\xff\x0f",
            SnappyError::TooLong {
                expected: u64::from(u32::MAX),
                limit: 1 << 30,
            },
        ),
        (b"\x01\x04ab", SnappyError::Overrun { expected: 1 }),
        (
            b"\x05\x00a\x01\x02",
            SnappyError::Offset {
                offset: 2,
                produced: 1,
            },
        ),
        (
            b"\x05\x00a\x01\x00",
            SnappyError::Offset {
                offset: 0,
                produced: 1,
            },
        ),
    ];
    for (block, error) in cases {
        assert_eq!(decode(block, 1, 0), Err(error), "{block:x?}");
    }
}

#[test]
fn a_copy_beyond_the_window_is_refused_however_much_is_buffered() {
    // 70,000 literal bytes, then a copy of 4 bytes from 65,537 back.
    let (literal, offset) = (70_000_u32, 65_537_u32);
    let mut block = vec![0xf4, 0xa2, 0x04, 0xf8];
    block.extend_from_slice(&(literal - 1).to_le_bytes()[..3]);
    block.extend(std::iter::repeat_n(7, literal as usize));
    block.push(3 << 2 | 3);
    block.extend_from_slice(&offset.to_le_bytes());
    assert!(snap::raw::Decoder::new().decompress_vec(&block).is_ok());
    for keep in [0, 200_000] {
        assert_eq!(
            decode(&block, 1 << 20, keep),
            Err(SnappyError::BeyondWindow { offset: 65_537 })
        );
    }
}

#[test]
fn an_entry_has_a_longest_length() {
    let block = compressed(&vec![7; 3 * MAX_UNCONSUMED]);
    assert_eq!(
        decode(&block, 1 << 20, usize::MAX),
        Err(SnappyError::EntryTooLong)
    );
}
