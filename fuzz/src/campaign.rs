//! Fuzzing for a bounded time without coverage: many inputs, each a function of the seed and its
//! number, so that a run can be repeated.
//!
//! An input that makes its target panic, or that takes longer than [`SLOWEST`], is kept in
//! `target/fuzz`. The program of this crate runs such a file again.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Target;
use crate::mutate;
use crate::random::Random;

/// A run of a target takes microseconds to milliseconds; one that takes this long hangs.
pub const SLOWEST: Duration = Duration::from_secs(30);

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// Where the random numbers start.
    pub seed: u64,
    /// When to stop.
    pub time: Duration,
}

/// An input that its target did not survive, kept in this file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub PathBuf);

/// Who runs what since when, for the watchdog.
#[derive(Debug, Default)]
struct Current(Option<(Instant, Vec<u8>)>);

/// Fuzzes `target`. How many inputs it survived.
///
/// # Errors
/// With the first input that it did not survive. A hang ends the process.
pub fn run(target: &'static Target, campaign: Campaign) -> Result<u64, Failure> {
    let Campaign { seed, time } = campaign;
    let seeds = (target.seeds)();
    let current = Arc::new(Mutex::new(Current::default()));
    watch(target, &current);
    let start = Instant::now();
    let mut count = 0;
    while count == 0 || start.elapsed() < time {
        let data = nth_input(target, &seeds, seed, count);
        set(&current, Some((Instant::now(), data.clone())));
        let survived = catch_unwind(AssertUnwindSafe(|| (target.run)(&data)));
        set(&current, None);
        if survived.is_err() {
            return Err(Failure(keep(target, &data)));
        }
        count += 1;
    }
    Ok(count)
}

/// Input number `count` of a campaign with this seed.
fn nth_input(target: &Target, seeds: &[Vec<u8>], seed: u64, count: u64) -> Vec<u8> {
    let mut random = Random::new(seed.wrapping_shl(40) ^ count);
    mutate::input(&mut random, seeds, target.longest)
}

fn set(current: &Mutex<Current>, to: Option<(Instant, Vec<u8>)>) {
    current.lock().unwrap_or_else(PoisonError::into_inner).0 = to;
}

/// Ends the process when an input takes too long. The thread ends with its campaign.
fn watch(target: &'static Target, current: &Arc<Mutex<Current>>) {
    let current = Arc::downgrade(current);
    std::thread::spawn(move || {
        while let Some(current) = current.upgrade() {
            let slow = {
                let current = current.lock().unwrap_or_else(PoisonError::into_inner);
                let Current(running) = &*current;
                running
                    .as_ref()
                    .filter(|(since, _)| since.elapsed() > SLOWEST)
                    .map(|(_, data)| data.clone())
            };
            if let Some(data) = slow {
                let path = keep(target, &data);
                eprintln!("{}: hangs on {}", target.name, path.display());
                std::process::abort();
            }
            drop(current);
            std::thread::sleep(Duration::from_millis(200));
        }
    });
}

/// Writes an input to a file of its own and returns the path.
fn keep(target: &Target, data: &[u8]) -> PathBuf {
    // FNV-1a: the same input gets the same name.
    let hash = data.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    let directory = directory();
    let path = directory.join(format!("{}-{hash:016x}", target.name));
    // Without its file a failure is still a failure; the seed finds it again.
    if let Err(error) = fs::create_dir_all(&directory).and_then(|()| fs::write(&path, data)) {
        eprintln!("cannot write {}: {error}", path.display());
    }
    path
}

fn directory() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")),
        PathBuf::from,
    );
    target.join("fuzz")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target = Target {
        name: "self_test",
        run: |data| assert!(data.len() < 100, "long"),
        seeds: Vec::new,
        longest: 200,
        weight: 1,
    };

    #[test]
    fn a_failure_is_kept_and_found_again() {
        let campaign = Campaign {
            seed: 1,
            time: Duration::from_secs(30),
        };
        let Err(Failure(path)) = run(&TARGET, campaign) else {
            panic!("it survives")
        };
        assert!(fs::read(&path).unwrap().len() >= 100);
        assert_eq!(run(&TARGET, campaign), Err(Failure(path.clone())));
        fs::remove_file(path).unwrap();
    }
}
