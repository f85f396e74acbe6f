//! libFuzzer's entries to the targets of `armlet-fuzz`, one program each.

#![forbid(unsafe_code)]

/// Runs the target `name`.
///
/// # Panics
/// When there is no such target, or it does not survive `data`.
pub fn run(name: &str, data: &[u8]) {
    let target = armlet_fuzz::find(name).expect("each program is named for its target");
    (target.run)(data);
}
