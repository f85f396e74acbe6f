//! What `xtask/files/meter.c` prints, and what is asked of it.

use std::collections::BTreeMap;

/// What its line begins with.
pub const METER: &str = "METER";

/// What is asked of a number.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// It is for information.
    None,
    /// It is at most so many times QEMU's.
    Ratio(f64),
    /// It is less.
    Below(f64),
}

/// The values called `key` of the measurements behind lines of these words.
pub fn values(output: &str, whose: &[&str], key: &str) -> Vec<f64> {
    let mut wanted = false;
    let mut found = Vec::new();
    for line in output.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.first() != Some(&METER) {
            wanted = words == whose;
        } else if wanted {
            let pairs: BTreeMap<&str, &str> =
                words.iter().filter_map(|w| w.split_once('=')).collect();
            found.extend(pairs.get(key).and_then(|value| value.parse::<f64>().ok()));
        }
    }
    found
}

/// Whether there is such a line, so that numbers have to follow.
pub fn is_begun(output: &str, whose: &[&str]) -> bool {
    let mut lines = output.lines();
    lines.any(|line| line.split_whitespace().eq(whose.iter().copied()))
}

impl Target {
    /// A word on whether it is met, and whether it is.
    pub fn judge(self, ours: f64, theirs: f64) -> (String, bool) {
        let (asked, good) = match self {
            Self::None => return (String::new(), true),
            Self::Ratio(limit) => (format!("ratio at most {limit}"), ours <= limit * theirs),
            Self::Below(limit) => (format!("less than {limit}"), ours < limit),
        };
        let verdict = if good { "met" } else { "MISSED" };
        (format!("{asked}: {verdict}"), good)
    }
}
