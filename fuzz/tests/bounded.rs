//! Every target for a bounded time. `ARMLET_FUZZ_SECONDS` is the time of all of them together, and
//! `ARMLET_FUZZ_SEED` asks for other inputs. `cargo xtask test` gives it minutes.

use std::cmp::Reverse;
use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use armlet_fuzz::campaign::{Campaign, Failure, run};
use armlet_fuzz::{TARGETS, Target};

/// For runs that ask for no time: enough to see that the targets work.
const SECONDS: u64 = 2;

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn every_target_survives_its_campaign() {
    let seed = number("ARMLET_FUZZ_SEED", 1);
    let seconds = number("ARMLET_FUZZ_SECONDS", SECONDS);
    // The longest first, so that no thread is left with one at the end.
    let mut targets: Vec<&'static Target> = TARGETS.iter().collect();
    targets.sort_by_key(|target| Reverse(target.weight));
    let weights: u32 = TARGETS.iter().map(|target| target.weight).sum();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let slice = Duration::from_secs(seconds) * threads as u32 / weights;
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            let time = slice * target.weight;
            match run(target, Campaign { seed, time }) {
                Ok(count) => println!("{}: survived {count} inputs of seed {seed}", target.name),
                Err(Failure(path)) => {
                    let line = format!("{}: fails on {}", target.name, path.display());
                    failures.lock().unwrap().push(line);
                }
            }
        }
    };
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
