//! Real programs with known answers: what the Debian guest runs, and its host the same.

/// The packages whose programs run; apt adds what they need.
pub(crate) const PACKAGES: [&str; 4] = ["openssl", "python3", "xz-utils", "sqlite3"];

/// A shell script that leaves its results as files in the directory it is given. It gives the same
/// bytes on every machine that has the same programs.
pub const USERLAND_SCRIPT: &str = include_str!("../files/userland.sh");

/// The guest's action `userland`: runs the script on every CPU at once and prints the sums.
pub(crate) const ACTION: &str = include_str!("../files/userland-action");
