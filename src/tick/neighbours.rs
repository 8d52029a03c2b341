//! The forwarders that share the memory of a process.

/// Other forwarders of the process, which rest while this one runs.
pub trait Neighbours {
    /// Makes the others hold at most `most` bytes together. They forget what they know of their
    /// series, those first that have rested longest, and will be cold when they run again.
    fn give_way(&self, most: usize);
}
