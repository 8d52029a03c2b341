use super::*;

/// The catalogue's check values: the checksums of `123456789`.
const CHECKS: [(CrcAlgorithm, u64); 3] = [
    (CrcAlgorithm::Crc32Iscsi, 0xe306_9283),
    (CrcAlgorithm::Crc32IsoHdlc, 0xcbf4_3926),
    (CrcAlgorithm::Crc64Nvme, 0xae8b_1486_0a79_9888),
];

#[test]
fn checksums_are_those_of_the_catalogue() {
    for (algorithm, expected) in CHECKS {
        assert_eq!(checksum(algorithm, b"123456789"), expected, "{algorithm:?}");
        assert_eq!(checksum(algorithm, b""), 0, "{algorithm:?}");
    }
}

#[test]
fn pieces_give_what_the_whole_gives() {
    let bytes: Vec<u8> = (0..10_000_u32).map(|at| (at * at) as u8).collect();
    for (algorithm, _) in CHECKS {
        for length in [1, 7, 64, 1000, 9999] {
            let mut digest = Digest::new(algorithm);
            bytes.chunks(length).for_each(|piece| digest.update(piece));
            assert_eq!(
                digest.finalize(),
                checksum(algorithm, &bytes),
                "{algorithm:?} in pieces of {length}"
            );
        }
    }
}
