//! Pausing and resuming a busy machine of several vCPUs, at random moments: every pause comes to
//! its end, and the guest goes on after it. This is the one behaviour here that goes through `vmm`.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use aarch64::machine::UART;
use aarch64::psci::id;
use aarch64::{Size, VcpuId};
use armlet_diff::rng::Rng;
use armlet_tests::bare::asm::{Asm, X};
use armlet_tests::bare::{accelerator, random_seed, watched_for};
use armlet_tests::moving::{Guest, Place, Running};
use armlet_tests::program::Scratch;

/// Pairs of a pause and a resume, unless `ARMLET_PAUSES` says otherwise.
const PAUSES: u64 = 10_000;
/// A pause that takes longer is as good as lost.
const LATE: Duration = Duration::from_secs(20);
/// What all of them may take.
const LIMIT: Duration = Duration::from_secs(900);
/// `CPU_ON` with arguments of 64 bits.
const CPU_ON: u64 = id::CPU_ON as u64 | 0x4000_0000;
/// What each vCPU writes.
const LETTERS: [u8; 2] = *b"ab";

/// Two vCPUs that compute, and write to the serial port now and then.
fn busy() -> Vec<u8> {
    let (letter, port, count) = (X(0), X(1), X(2));
    let [first, second] = LETTERS.map(u64::from);
    let mut a = Asm::new();
    let both = a.label();
    a.mov(X(0), CPU_ON).mov(X(1), VcpuId(1).affinity());
    a.adr(X(2), both).mov(X(3), second).hvc(0);
    a.mov(letter, first).place(both).mov(port, UART.base.0);
    let top = a.here();
    a.mov(count, 30_000);
    let inner = a.here();
    a.sub_imm(count, count, 1).cbnz(count, inner);
    a.store(Size::B, letter, port, 0).b(top);
    a.bytes()
}

/// How often each vCPU has written.
fn written(running: &Running) -> [usize; 2] {
    let printed = running.printed();
    LETTERS.map(|letter| printed.bytes().filter(|byte| *byte == letter).count())
}

#[test]
fn of_ten_thousand_random_pauses_none_is_lost_or_late() {
    let seed = random_seed("pauses");
    let wanted = env::var("ARMLET_PAUSES").map_or(PAUSES, |text| text.parse().expect("a number"));
    watched_for(LIMIT, move || {
        let scratch = Scratch::new("pauses");
        let guest = Guest {
            kernel: scratch.file("kernel", &busy()).into(),
            initrd: None,
            cmdline: String::new(),
            cpus: 2,
            memory_mib: 64,
            counter_frequency: None,
            devices: true,
        };
        let place = Place::new("pauses-of", guest);
        let running = place.start(&*accelerator());
        for letter in LETTERS {
            running.expect(&char::from(letter).to_string());
        }
        let before = written(&running);
        let control = running.control();
        let mut rng = Rng::new(seed, 0);
        for pause in 0..wanted {
            thread::sleep(Duration::from_micros(rng.bits() % 300));
            let start = Instant::now();
            assert!(control.pause(), "pause {pause}, seed {seed:#x}: it is over");
            let took = start.elapsed();
            assert!(took < LATE, "pause {pause}, seed {seed:#x}: {took:?}");
            control.resume();
        }
        // Both go on after the last one, too.
        while written(&running)
            .iter()
            .zip(before)
            .any(|(now, before)| *now <= before)
        {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = running.leave();
    });
}
