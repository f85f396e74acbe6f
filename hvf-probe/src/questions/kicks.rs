//! Whether a kick is ever lost: a guest that calls all the time, so that many a kick meets it on its
//! way out for another reason.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use hv_backend::hvf::abi::reason;
use serde_json::{Value, json};

use crate::Options;
use crate::guest::{Back, Guest, hvc, with};
use crate::raw::{Answer, Raw, outcome};

/// `mov x1, #n; sub x1, x1, #1; cbnz x1, .-4; hvc #0; b .-16`: calls, after 2n instructions.
const BUSY: [u32; 5] = [0xd280_0801, 0xd100_0421, 0xb5ff_ffe1, hvc(0), 0x17ff_fffc];
/// How long a kick may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// What the two threads share.
#[derive(Debug, Default)]
struct Race {
    /// Returns that said "canceled".
    canceled: AtomicU32,
    over: AtomicBool,
}

/// Kicks, each sent when the last one has been seen, or has not for long.
pub fn ask(raw: Raw, options: &Options) -> Value {
    with(raw, &BUSY, |guest| {
        let race = Race::default();
        let handle = guest.vcpu.handle();
        // A kick before the first entry is to be kept for it.
        let early = outcome(raw.kick(handle));
        let first = guest.run()?.show();
        let kicks = options.kicks;
        let (ran, kicked) = thread::scope(|scope| {
            let kicker = scope.spawn(|| kick(raw, handle, kicks, &race));
            let ran = run(guest, &race);
            race.over.store(true, SeqCst);
            (ran, kicker.join())
        });
        let (calls, unknown) = ran?;
        let Ok((lost, slowest)) = kicked else {
            return Ok(json!("the kicking thread failed"));
        };
        Ok(json!({
            "kick_before_the_first_entry": { "returned": early, "then": first },
            "kicks": kicks,
            "lost": lost,
            "slowest_us": slowest.as_micros() as u64,
            "calls_meanwhile": calls,
            "unknown_exits": unknown,
        }))
    })
}

/// Runs the guest until the kicks are over; how often it called and how often nobody knows why it
/// came back.
fn run(guest: &mut Guest, race: &Race) -> Answer<(u64, u64)> {
    let (mut calls, mut unknown) = (0, 0);
    while !race.over.load(SeqCst) {
        match guest.run()? {
            Back::Called(_) => calls += 1,
            Back::Other(record) if record.reason == reason::CANCELED => {
                race.canceled.fetch_add(1, SeqCst);
            }
            Back::Other(_) | Back::Exception(_) | Back::Trapped(_) => unknown += 1,
        }
    }
    Ok((calls, unknown))
}

/// Sends kicks; how many were lost, and how long the slowest other one took.
fn kick(raw: Raw, handle: u64, kicks: u32, race: &Race) -> (u32, Duration) {
    let (mut lost, mut slowest) = (0, Duration::ZERO);
    // Delays that follow no pattern the guest's loop could fall into step with.
    let mut random = 0x9e37_79b9_u32;
    for _ in 0..kicks {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        for _ in 0..random % 512 {
            std::hint::spin_loop();
        }
        let seen = race.canceled.load(SeqCst);
        let start = Instant::now();
        if raw.kick(handle).is_err() || race.over.load(SeqCst) {
            break;
        }
        while race.canceled.load(SeqCst) == seen && start.elapsed() < PATIENCE {
            thread::yield_now();
        }
        if race.canceled.load(SeqCst) == seen {
            lost += 1;
        } else {
            slowest = slowest.max(start.elapsed());
        }
    }
    race.over.store(true, SeqCst);
    // The guest may be inside; it is to come out and see that.
    let _ = raw.kick(handle);
    (lost, slowest)
}
