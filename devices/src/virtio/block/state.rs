//! What a snapshot holds of a disk, beside its queues: not what is on it, which stays in its file.

/// A disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockState {
    /// Its sectors: whoever takes the state up must have a disk as large.
    pub sectors: u64,
    /// Writes last only once flushed.
    pub writeback: bool,
}
