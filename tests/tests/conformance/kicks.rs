//! Kicks: how another thread gets a vCPU out of the guest. None is lost, none is late.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use aarch64::{Size, VcpuId};
use armlet_diff::rng::Rng;
use armlet_tests::bare::asm::X;
use armlet_tests::bare::{
    Cpu, DATA, DEV, MEM, Machine, Program, guest, random_seed, watched, watched_for,
};
use hv_backend::api::{Exit, Resume};

/// Kicks of the storm, over all vCPUs, unless `ARMLET_KICKS` says otherwise.
const KICKS: u64 = 100_000;
const VCPUS: u16 = 2;
/// What the storm may take. An idle host needs some seconds, an emulated one a minute.
const STORM: Duration = Duration::from_secs(900);
/// A kick that takes longer is as good as lost. Hosts have hiccups of tens of milliseconds.
const LATE: Duration = Duration::from_secs(20);

#[test]
fn a_kick_before_the_run_ends_it_at_once() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.report(MEM);
        });
        cpu.machine.vm().kick(VcpuId(0));
        cpu.machine.vm().kick(VcpuId(0));
        assert_eq!(cpu.enter(Resume::Done), Exit::Kicked);
        assert_eq!(cpu.pc(), 0, "the guest did not run");
        assert_eq!(cpu.report(), DATA.0);
    });
}

#[test]
fn a_kick_gets_a_vcpu_out_of_an_endless_loop() {
    watched(|| {
        let mut cpu = guest(|_| {});
        let machine = cpu.machine.clone();
        let kicker = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            machine.vm().kick(VcpuId(0));
        });
        assert_eq!(cpu.enter(Resume::Done), Exit::Kicked);
        kicker.join().expect("it only kicks");
    });
}

#[test]
fn a_kick_does_not_lose_the_answer_to_the_last_exit() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.load(Size::D, X(0), DEV, 0).report(X(0));
        });
        assert!(matches!(cpu.go(), Exit::MmioRead { .. }));
        cpu.machine.vm().kick(VcpuId(0));
        // The kick may be served before or after the load is finished, but the load gets its answer.
        assert_eq!(cpu.enter(Resume::Data(0x99)), Exit::Kicked);
        assert_eq!(cpu.report(), 0x99);
    });
}

#[test]
fn settling_keeps_a_kick_for_the_next_run() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.load(Size::D, X(0), DEV, 0).report(X(0));
        });
        assert!(matches!(cpu.go(), Exit::MmioRead { .. }));
        cpu.machine.vm().kick(VcpuId(0));
        cpu.settle(Resume::Data(3));
        assert_eq!((cpu.pc(), cpu.x(0)), (4, 3));
        assert_eq!(cpu.enter(Resume::Done), Exit::Kicked);
        assert_eq!(cpu.report(), 3);
    });
}

/// One vCPU of the storm as the kicker sees it.
#[derive(Default)]
struct Target {
    /// How often the vCPU came back for a kick; one for having been bound.
    seen: AtomicU64,
    over: AtomicBool,
}

/// A guest that computes, uses memory together with the others, and leaves now and then.
fn busy() -> Program {
    Program::new(|a| {
        let top = a.here();
        a.mov(X(0), 500);
        let inner = a.here();
        a.mov(X(1), 1).fetch_add(X(2), X(1), MEM);
        a.sub_imm(X(0), X(0), 1).cbnz(X(0), inner);
        a.report(X(2)).b(top);
    })
}

/// Runs a vCPU until it is over, and tells `kicker` of its kicks.
fn run_until_over(machine: &Arc<Machine>, id: VcpuId, target: &Target, kicker: &Thread) {
    let mut cpu = Cpu::bind(machine, id);
    target.seen.fetch_add(1, SeqCst);
    kicker.unpark();
    let mut reports = 0_u64;
    while !target.over.load(SeqCst) {
        let exit = cpu.enter(Resume::Done);
        if exit == Exit::Kicked {
            target.seen.fetch_add(1, SeqCst);
            kicker.unpark();
        } else {
            assert!(matches!(exit, Exit::MmioWrite { .. }), "{id}: {exit:?}");
            reports += 1;
        }
        if reports % 64 == 63 {
            // As when the VMM looks at a vCPU, at any moment.
            reports += 1;
            cpu.settle(Resume::Done);
            assert!(cpu.pc() < 0x100, "whole registers");
        }
    }
}

/// Waits until each of these vCPUs was kicked more often than `before`; an error if one is late.
fn wait(targets: &[(VcpuId, &Target)], before: &[u64]) -> Result<(), String> {
    let start = Instant::now();
    for ((id, target), before) in targets.iter().zip(before) {
        while target.seen.load(SeqCst) == *before {
            if start.elapsed() > LATE {
                return Err(format!("a kick of {id} is lost"));
            }
            thread::park_timeout(LATE);
        }
    }
    Ok(())
}

/// Kicks one vCPU or all, at random moments, each time when the last kick has come through.
fn storm(machine: &Machine, all: &[(VcpuId, &Target)], seed: u64) -> Result<(), String> {
    let wanted = env::var("ARMLET_KICKS").map_or(KICKS, |text| text.parse().expect("a number"));
    let mut rng = Rng::new(seed, 0);
    wait(all, &vec![0; all.len()])?;
    let (start, mut worst) = (Instant::now(), Duration::ZERO);
    let mut kicks = 0;
    while kicks < wanted {
        for _ in 0..rng.bits() % 3000 {
            std::hint::spin_loop();
        }
        let one = (rng.bits() % (all.len() as u64 + 1)) as usize;
        let kicked = all.get(one..=one).unwrap_or(all);
        let before: Vec<u64> = kicked.iter().map(|(_, t)| t.seen.load(SeqCst)).collect();
        let begun = Instant::now();
        for (id, _) in kicked {
            machine.vm().kick(*id);
        }
        wait(kicked, &before).map_err(|error| format!("{error}: kick {kicks}"))?;
        worst = worst.max(begun.elapsed());
        kicks += kicked.len() as u64;
    }
    let (took, waited) = (start.elapsed(), worst.as_millis());
    eprintln!(
        "kicks: {kicks} in {:.1} s, the slowest {waited} ms",
        took.as_secs_f64()
    );
    Ok(())
}

#[test]
fn of_a_hundred_thousand_random_kicks_none_is_lost_or_late() {
    let seed = random_seed("kicks");
    watched_for(STORM, move || {
        let machine = Machine::new(VCPUS, &busy());
        let targets: Vec<Target> = (0..VCPUS).map(|_| Target::default()).collect();
        let all: Vec<(VcpuId, &Target)> = (0..VCPUS).map(VcpuId).zip(&targets).collect();
        let kicker = thread::current();
        let outcome = thread::scope(|scope| {
            for (id, target) in all.clone() {
                let (machine, kicker) = (&machine, &kicker);
                scope.spawn(move || run_until_over(machine, id, target, kicker));
            }
            let outcome = storm(&machine, &all, seed);
            for (id, target) in &all {
                target.over.store(true, SeqCst);
                machine.vm().kick(*id);
            }
            outcome
        });
        assert_eq!(outcome, Ok(()), "seed {seed:#x}");
    });
}
