use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn batch(body: &[u8], samples: u32) -> Batch {
    Batch {
        body: Bytes::copy_from_slice(body).into(),
        samples,
        raw_len: 2 * body.len() as u32,
        min_ms: 1_000 - i64::from(samples),
        max_ms: 1_000,
    }
}

fn small() -> Bytes {
    write(
        &[batch(b"first body", 3), batch(b"2", 1)],
        Some(&Note {
            status: 400,
            message: "out of bounds é".to_owned(),
        }),
    )
}

fn any_batch() -> impl Strategy<Value = Batch> {
    let meta = (any::<u32>(), any::<u32>(), any::<i64>(), any::<i64>());
    (proptest::collection::vec(any::<u8>(), 0..200), meta).prop_map(
        |(body, (samples, raw_len, min_ms, max_ms))| Batch {
            samples: samples % (1 + SAMPLES_PER_BYTE as u32 * body.len() as u32),
            body: body.into(),
            raw_len,
            min_ms,
            max_ms,
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        batches in proptest::collection::vec(any_batch(), 0..20),
        note in proptest::option::of((any::<u16>(), ".{0,40}")),
    ) {
        let note = note.map(|(status, message)| Note { status, message });
        let bytes = write(&batches, note.as_ref());
        prop_assert_eq!(read(&bytes), Ok(Segment { batches: batches.clone(), note: note.clone() }));
        prop_assert!(note.is_some() || bytes.len() == size(&batches));
        let start = &bytes[..bytes.len().min(peek_bytes(batches.len()))];
        let index = peek(start).unwrap();
        prop_assert_eq!(index.len(), batches.len());
        for (entry, batch) in index.iter().zip(&batches) {
            prop_assert_eq!(entry.samples, batch.samples);
            prop_assert_eq!(entry.length, batch.body.len() as u64);
        }
    }

    #[test]
    fn strange_bytes_are_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        prefixed in any::<bool>(),
    ) {
        let bytes = if prefixed { [&small()[..PREFIX], &bytes].concat() } else { bytes };
        prop_assert!(read(&Bytes::from(bytes)).is_err());
    }

    #[test]
    fn parts_are_within_the_bound_and_lose_nothing(
        batches in proptest::collection::vec(any_batch(), 0..30),
        bytes in 0_usize..600,
    ) {
        let parts = parts(batches.clone(), bytes);
        for part in &parts {
            prop_assert!(part.len() == 1 || (!part.is_empty() && write(part, None).len() <= bytes));
        }
        // As few as that: no two neighbours would fit into one.
        for pair in parts.windows(2) {
            let joined = [pair[0].as_slice(), &pair[1][..1]].concat();
            prop_assert!(size(&joined) > bytes);
        }
        prop_assert_eq!(parts.concat(), batches);
    }
}

#[test]
fn bodies_are_not_copied() {
    let bytes = small();
    let within = bytes.as_ptr_range();
    for batch in read(&bytes).unwrap().batches {
        assert!(within.contains(&batch.body.to_bytes().as_ptr()));
    }
}

#[test]
fn every_truncation_is_told() {
    let bytes = small();
    for end in 0..bytes.len() {
        let error = read(&bytes.slice(..end)).unwrap_err();
        assert!(
            matches!(
                error,
                SegmentError::Truncated { found, expected }
                    if found == end as u64 && expected > found
            ),
            "{end}: {error}"
        );
    }
    let longer = Bytes::from([&bytes[..], b"x"].concat());
    assert_eq!(
        read(&longer),
        Err(SegmentError::Trailing {
            expected: bytes.len() as u64,
            found: bytes.len() as u64 + 1
        })
    );
}

#[test]
fn every_flipped_bit_is_told() {
    let bytes = small();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = read(&Bytes::from(flipped)).unwrap_err();
        // A newer program is never made up by damage.
        assert!(
            !matches!(error, SegmentError::Newer(_)),
            "bit {bit}: {error}"
        );
        assert_eq!(
            matches!(error, SegmentError::Foreign),
            bit < 64,
            "bit {bit}: {error}"
        );
    }
}

#[test]
fn a_page_of_zeros_is_told_where_it_is() {
    let whole = write(&[batch(&[7; 100], 1), batch(&[8; 100], 1)], None);
    let mut torn = whole.to_vec();
    let length = torn.len();
    torn[length - 50..].fill(0);
    assert_eq!(
        read(&Bytes::from(torn)),
        Err(SegmentError::Checksum(ChecksumScope::Batch(1)))
    );
    assert_eq!(read(&Bytes::from(vec![0; 400])), Err(SegmentError::Foreign));
}

#[test]
fn a_newer_version_is_told_whatever_follows() {
    let mut newer = [&MAGIC[..], &[2, 0, 0, 0]].concat();
    newer.extend(crc(&newer).to_le_bytes());
    assert_eq!(
        read(&Bytes::from(newer.clone())),
        Err(SegmentError::Newer(2))
    );
    newer.extend(b"what version 2 has to say");
    assert_eq!(peek(&newer), Err(SegmentError::Newer(2)));
}

#[test]
fn a_whole_segment_that_contradicts_itself_is_malformed() {
    let mut lying = write(&[batch(b"ab", 1)], None).to_vec();
    lying[HEAD] = 1;
    let end = HEAD + ENTRY;
    let sum = crc(&lying[..end]);
    lying[end..end + CRC].copy_from_slice(&sum.to_le_bytes());
    assert!(matches!(
        read(&Bytes::from(lying)),
        Err(SegmentError::Malformed(_))
    ));
}

#[test]
fn an_index_that_would_fill_memory_or_the_ledger_is_malformed() {
    let empty = Batch {
        samples: 0,
        ..batch(b"", 0)
    };
    let most = write(&vec![empty.clone(); MAX_BATCHES], None);
    assert_eq!(read(&most).unwrap().batches.len(), MAX_BATCHES);
    let parts = parts(vec![empty.clone(); MAX_BATCHES + 1], usize::MAX);
    assert_eq!(parts.len(), 2, "more would not be read");
    for refused in [
        write(&vec![empty; MAX_BATCHES + 1], None),
        write(&[batch(b"ab", u32::MAX)], None),
        write(&[batch(b"", 1)], None),
    ] {
        for error in [peek(&refused).unwrap_err(), read(&refused).unwrap_err()] {
            assert!(matches!(error, SegmentError::Malformed(_)), "{error}");
        }
    }
}

#[test]
fn a_peek_says_how_much_it_needs() {
    let bytes = small();
    let Err(SegmentError::Truncated { expected, .. }) = peek(&bytes[..40]) else {
        panic!("40 bytes are not enough")
    };
    assert_eq!(peek(&bytes[..expected as usize]).unwrap().len(), 2);
}

#[test]
fn long_messages_are_cut_between_characters() {
    let note = Note {
        status: 400,
        message: "é".repeat(MAX_MESSAGE),
    };
    let read = read(&write(&[], Some(&note))).unwrap().note.unwrap();
    assert_eq!(read.message, "é".repeat(MAX_MESSAGE / 2));
}
