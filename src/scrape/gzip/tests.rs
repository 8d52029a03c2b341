use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::DeflateEncoder;
use proptest::prelude::*;

use super::*;

/// The optional fields of a header.
#[derive(Debug, Clone, Default)]
struct Fields {
    extra: Option<Vec<u8>>,
    name: Option<Vec<u8>>,
    comment: Option<Vec<u8>>,
    checksum: bool,
    /// Flags that mean nothing: text, and those that are reserved.
    more_flags: u8,
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn header(fields: &Fields) -> Vec<u8> {
    let flags = fields.more_flags
        | if fields.checksum { 2 } else { 0 }
        | if fields.extra.is_some() { 4 } else { 0 }
        | if fields.name.is_some() { 8 } else { 0 }
        | if fields.comment.is_some() { 16 } else { 0 };
    let mut header = vec![0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 255];
    if let Some(extra) = &fields.extra {
        header.extend_from_slice(&(extra.len() as u16).to_le_bytes());
        header.extend_from_slice(extra);
    }
    for string in [&fields.name, &fields.comment].into_iter().flatten() {
        header.extend_from_slice(string);
        header.push(0);
    }
    if fields.checksum {
        header.extend_from_slice(&(crc32(&header) as u16).to_le_bytes());
    }
    header
}

fn member(fields: &Fields, text: &[u8], level: u32) -> Vec<u8> {
    let mut deflater = DeflateEncoder::new(header(fields), Compression::new(level));
    deflater.write_all(text).unwrap();
    let mut member = deflater.finish().unwrap();
    member.extend_from_slice(&crc32(text).to_le_bytes());
    member.extend_from_slice(&(text.len() as u32).to_le_bytes());
    member
}

/// Decodes a stream that comes in chunks into a room of this size. None when it does not end
/// between members.
fn decode(wire: &[u8], chunk: usize, room: usize) -> Result<Option<Vec<u8>>, GzipError> {
    let (mut decoder, mut out, mut room) = (GzipDecoder::new(), Vec::new(), vec![0; room]);
    for mut input in wire.chunks(chunk) {
        loop {
            let progress = decoder.decode(input, &mut room)?;
            out.extend_from_slice(&room[..progress.produced]);
            input = &input[progress.consumed..];
            if input.is_empty() && progress.produced < room.len() {
                break;
            }
        }
    }
    Ok(decoder.is_between_members().then_some(out))
}

const TEXT: &[u8] = b"foo 1\nfoo 2\nfoo 3\nbar{a=\"b\"} 4\n";

#[test]
fn every_field_of_a_header_is_taken() {
    let some = |bytes: &[u8]| Some(bytes.to_vec());
    for chosen in 0..32_u8 {
        for more_flags in [0, 1, 0xe0] {
            let has = |bit: u8| chosen & bit != 0;
            let fields = Fields {
                extra: has(1).then(|| some(b"extra\0field")).flatten(),
                name: has(2).then(|| some(b"federate.txt")).flatten(),
                comment: has(4).then(|| some("é".as_bytes())).flatten(),
                checksum: has(8),
                more_flags,
            };
            // A second member with the same header.
            let mut wire = member(&fields, TEXT, 6);
            let mut expected = TEXT.to_vec();
            if has(16) {
                wire.extend(member(&fields, b"second 1\n", 0));
                expected.extend_from_slice(b"second 1\n");
            }
            for (chunk, room) in [(1, 1), (1, 100), (7, 3), (1000, 1), (1000, 1000)] {
                let decoded = decode(&wire, chunk, room);
                assert_eq!(
                    decoded,
                    Ok(Some(expected.clone())),
                    "{fields:?} {chunk} {room}"
                );
            }
        }
    }
}

#[test]
fn fields_have_the_lengths_that_go_takes() {
    let extra = |length| Fields {
        extra: Some(vec![7; length]),
        checksum: true,
        ..Fields::default()
    };
    let name = |length| Fields {
        name: Some(vec![b'n'; length]),
        ..Fields::default()
    };
    let comment = |length| Fields {
        comment: Some(vec![b'c'; length]),
        ..Fields::default()
    };
    let taken = Ok(Some(TEXT.to_vec()));
    let refused = Err(GzipError::Header);
    for (fields, expected) in [
        (extra(0), &taken),
        (extra(65_535), &taken),
        (name(0), &taken),
        (name(511), &taken),
        (name(512), &refused),
        (name(600), &refused),
        (comment(511), &taken),
        (comment(512), &refused),
    ] {
        for chunk in [1, 511, 512, 100_000] {
            let decoded = decode(&member(&fields, TEXT, 6), chunk, 100);
            let lengths = [fields.extra.as_ref(), fields.name.as_ref()].map(|it| it.map(Vec::len));
            assert_eq!(&decoded, expected, "{lengths:?} {chunk}");
        }
    }
}

#[test]
fn damage_is_found() {
    let fields = Fields {
        name: Some(b"name".to_vec()),
        checksum: true,
        ..Fields::default()
    };
    let start = header(&fields).len();
    let whole = member(&fields, TEXT, 6);
    let (checksum, length) = (whole.len() - 8, whole.len() - 4);
    for (place, expected) in [
        (0, GzipError::Header),
        (1, GzipError::Header),
        (2, GzipError::Header),
        // The time, the name and the checksum of the header.
        (5, GzipError::Header),
        (11, GzipError::Header),
        (start - 1, GzipError::Header),
        (checksum, GzipError::Checksum),
        (checksum + 3, GzipError::Checksum),
        (length, GzipError::Checksum),
        (length + 3, GzipError::Checksum),
    ] {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x40;
        for chunk in [1, 1000] {
            assert_eq!(
                decode(&damaged, chunk, 10),
                Err(expected.clone()),
                "{place}"
            );
        }
    }
    let mut damaged = whole.clone();
    // A block of a type that there is not.
    damaged[start] |= 6;
    assert!(matches!(
        decode(&damaged, 1000, 10),
        Err(GzipError::Deflate(_))
    ));
    for behind in [&b"garbage behind it"[..], &[0; 10]] {
        let wire = [&whole, behind].concat();
        assert_eq!(decode(&wire, 1000, 10), Err(GzipError::Header));
    }
    assert_eq!(decode(b"foo 1\nfoo 2\n", 3, 10), Err(GzipError::Header));
}

#[test]
fn a_stream_ends_between_members_only() {
    let fields = Fields {
        extra: Some(vec![1, 2, 3]),
        name: Some(b"name".to_vec()),
        comment: Some(b"comment".to_vec()),
        checksum: true,
        more_flags: 0,
    };
    let one = member(&fields, TEXT, 6);
    let wire = [&one[..], &one].concat();
    for length in 0..=wire.len() {
        let ended = decode(&wire[..length], 5, 10).unwrap().is_some();
        let expected = length % one.len() == 0;
        assert_eq!(ended, expected, "{length} of {} bytes", wire.len());
    }
}

fn field() -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(proptest::collection::vec(1..=255_u8, 0..20))
}

prop_compose! {
    fn any_fields()(extra in field(), name in field(), comment in field(), checksum: bool) -> Fields {
        Fields { extra, name, comment, checksum, more_flags: 0 }
    }
}

proptest! {
    /// Whatever the inflater's own gzip reader takes or refuses is taken or refused here, damaged
    /// streams included.
    #[test]
    fn streams_are_read_as_the_library_reads_them(
        members in proptest::collection::vec((any_fields(), "[a-c0-9{} \n]{0,300}", 0..10_u32), 1..4),
        chunk in 1..200_usize,
        room in 1..200_usize,
        damage in proptest::option::of((any::<proptest::sample::Index>(), 1..=255_u8)),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let mut wire = Vec::new();
        let mut flags = Vec::new();
        for (fields, text, level) in &members {
            flags.push(wire.len() + 3);
            wire.extend(member(fields, text.as_bytes(), *level));
        }
        if let Some((place, change)) = damage {
            let place = place.index(wire.len());
            // Go takes the reserved flags, and flate2 does not.
            let change = if flags.contains(&place) { change & 0x1f } else { change };
            wire[place] ^= change;
        }
        if let Some(cut) = cut {
            wire.truncate(cut.index(wire.len()) + 1);
        }
        let mut expected = Vec::new();
        let expected = MultiGzDecoder::new(&wire[..]).read_to_end(&mut expected).ok().map(|_| expected);
        prop_assert_eq!(decode(&wire, chunk, room).ok().flatten(), expected);
    }
}
