//! Takes the place of the crate `crc-fast` under the AWS SDK (`[patch.crates-io]` in the root's
//! Cargo.toml).
//!
//! That crate chooses among fifty algorithms while it runs, so a linker must keep the tables of all
//! of them: 600 kB that do not compress, an eighth of the function's zip. The SDK
//! (`aws-smithy-checksums`) calls three of them, and these are here under the same names. The two
//! that protect data of S3 by default are computed by processor instructions, as they are there.

#[cfg(test)]
mod tests;

/// A checksum, named as in the catalogue of parametrised CRC algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrcAlgorithm {
    /// CRC-32C.
    Crc32Iscsi,
    /// CRC-32 of gzip and zip.
    Crc32IsoHdlc,
    /// CRC-64/NVME. A byte at a time: S3 sends it only for objects that were uploaded with it, and
    /// the forwarder does not ask for it.
    Crc64Nvme,
}

/// A checksum of bytes that come piece by piece.
#[derive(Debug, Clone)]
pub struct Digest(State);

#[derive(Debug, Clone)]
enum State {
    Iscsi(u32),
    IsoHdlc(crc32fast::Hasher),
    Nvme(u64),
}

impl Digest {
    /// The checksum of nothing.
    #[must_use]
    pub fn new(algorithm: CrcAlgorithm) -> Self {
        Self(match algorithm {
            CrcAlgorithm::Crc32Iscsi => State::Iscsi(0),
            CrcAlgorithm::Crc32IsoHdlc => State::IsoHdlc(crc32fast::Hasher::new()),
            CrcAlgorithm::Crc64Nvme => State::Nvme(u64::MAX),
        })
    }

    /// Appends bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Iscsi(crc) => *crc = crc32c::crc32c_append(*crc, bytes),
            State::IsoHdlc(hasher) => hasher.update(bytes),
            State::Nvme(crc) => {
                *crc = bytes.iter().fold(*crc, |crc, &byte| {
                    (crc >> 8) ^ NVME[usize::from(crc as u8 ^ byte)]
                });
            }
        }
    }

    /// The checksum so far. One of 32 bits is in the lower half.
    #[must_use]
    pub fn finalize(&self) -> u64 {
        match &self.0 {
            State::Iscsi(crc) => u64::from(*crc),
            State::IsoHdlc(hasher) => u64::from(hasher.clone().finalize()),
            State::Nvme(crc) => !crc,
        }
    }
}

/// The checksum of bytes that are all there.
#[must_use]
pub fn checksum(algorithm: CrcAlgorithm, bytes: &[u8]) -> u64 {
    let mut digest = Digest::new(algorithm);
    digest.update(bytes);
    digest.finalize()
}

/// What a byte adds to a CRC-64/NVME.
const NVME: [u64; 256] = {
    // The polynomial 0xad93d23594c93659 with its bits reversed.
    const POLYNOMIAL: u64 = 0x9a6c_9329_ac4b_c9b5;
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};
