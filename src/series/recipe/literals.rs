//! What recipes copy that is not in the raw bytes of their series.

use hashbrown::HashTable;

/// Encoded bytes that series share, each kept once.
#[derive(Debug, Default)]
pub(in crate::series) struct LiteralPool {
    bytes: Vec<u8>,
    /// End of each literal in `bytes`. It starts where the one before ends.
    ends: Vec<u32>,
    ids: HashTable<u32>,
}

fn hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

impl LiteralPool {
    /// The literal with this id.
    pub(super) fn get(&self, id: u64) -> &[u8] {
        let id = id as usize;
        let start = if id == 0 {
            0
        } else {
            self.ends[id - 1] as usize
        };
        &self.bytes[start..self.ends[id] as usize]
    }

    /// The id of a literal, which is kept from now on.
    pub(super) fn id(&mut self, literal: &[u8]) -> u64 {
        let Self { bytes, ends, ids } = self;
        let at = |id: u32| {
            let start = if id == 0 {
                0
            } else {
                ends[id as usize - 1] as usize
            };
            &bytes[start..ends[id as usize] as usize]
        };
        let hashed = hash(literal);
        if let Some(&id) = ids.find(hashed, |&id| at(id) == literal) {
            return u64::from(id);
        }
        let id = ends.len() as u32;
        ids.insert_unique(hashed, id, |&id| hash(at(id)));
        bytes.extend_from_slice(literal);
        ends.push(bytes.len() as u32);
        u64::from(id)
    }

    /// Bytes held.
    pub(in crate::series) fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * 4 + self.ids.capacity() * 6
    }
}
