//! What a snapshot holds of a balloon, beside its queues. Which pages are in it is the guest's to
//! know. A round of hints does not outlive a save: the restored guest finds it done.

use super::spec::{PAGE, hint};

/// A balloon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BalloonState {
    /// Pages of 4 KiB that the host wants it to have.
    pub target: u32,
    /// Pages of 4 KiB that the guest says it has.
    pub actual: u32,
    /// The round of hints that the guest was asked for last, or none ([`hint::STOP`]).
    pub hint_id: u32,
}

impl BalloonState {
    /// Why no balloon of a guest with so much RAM can be so.
    pub(super) fn fault(&self, ram_bytes: u64) -> Option<String> {
        let Self {
            target,
            actual: _,
            hint_id,
        } = *self;
        if u64::from(target) * PAGE > ram_bytes {
            return Some(format!("{target} pages are more than the guest's memory"));
        }
        let known = hint_id == hint::STOP || hint_id >= hint::FIRST;
        (!known).then(|| format!("there is no round {hint_id} of hints"))
    }
}
