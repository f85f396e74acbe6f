//! What a ring is given, and gives back.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use memory::{Pieces, Way};

/// Bytes to move.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Which way.
    pub way: Way,
    /// The memory.
    pub pieces: Pieces,
    /// Which bytes of it.
    pub range: Range<u64>,
    /// The file.
    pub file: Arc<File>,
    /// Where in the file.
    pub at: u64,
}

impl Transfer {
    /// Bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    /// Whether there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A transfer that is over.
#[derive(Debug)]
pub struct Done<T> {
    /// What it was begun with.
    pub token: T,
    /// How many bytes were moved, from the first on; it may be fewer than asked for.
    pub moved: io::Result<u64>,
}
