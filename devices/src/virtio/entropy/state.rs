//! What a snapshot holds of an entropy source: nothing but its queue, which is not its own. How far
//! it has used up its limit is the host's business.

/// There is nothing in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntropyState {}
