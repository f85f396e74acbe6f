//! The vCPU run loop and the coordinator, exit by exit, on the scripted backend.

use std::time::Duration;

use crate::harness::{BOOT, Harness, Seen, call, power_off};
use aarch64::psci::{Code, id};
use aarch64::timer::CTL_ENABLE;
use aarch64::{Gpa, Intid, Saved, Size, SysReg, VcpuId, machine};
use hv_backend::api::{Conduit, Exit, GuestFault, IrqLine, Resume};
use hv_backend::scripted::{Event, Script, Step};
use vmm::coordinator::{OnReset, Standing};
use vmm::outcome::{Outcome, WhilePaused};
use vmm::power::Power;

const V0: VcpuId = VcpuId(0);
const V1: VcpuId = VcpuId(1);
/// A register no board of these tests has.
const STRANGE: SysReg = SysReg::new(3, 0, 15, 15, 7);

fn success() -> Resume {
    Resume::Call([0, 0, 0, 0])
}

#[test]
fn vcpu_0_starts_at_the_boards_entry_with_reset_registers() {
    let h = Harness::new(vec![power_off(Script::new())]);
    assert_eq!(h.run(), Outcome::PoweredOff);
    let log = h.scripted.log(V0);
    let first_run = log
        .iter()
        .position(|e| *e == Event::Run(Resume::Done))
        .unwrap();
    assert_eq!(log[first_run - 1], Event::Core(BOOT.pc, BOOT.x0));
    let sctlr = Event::Sys(Saved::SctlrEl1.sysreg(), Saved::SctlrEl1.reset_value());
    assert!(log[..first_run].contains(&sctlr));
}

#[test]
fn accesses_reach_the_board_and_its_answers_the_vcpu() {
    let (gpa, size) = (crate::harness::DEVICE, Size::W);
    let hole = Gpa(0x0666_0000);
    let script = Script::new()
        .exit(Exit::MmioRead { gpa, size })
        .exit(Exit::MmioWrite { gpa, size, data: 5 })
        .exit(Exit::MmioRead { gpa: hole, size })
        .exit(Exit::MmioWrite {
            gpa: hole,
            size,
            data: 5,
        })
        .exit(Exit::SysRegRead {
            reg: crate::harness::REGISTER,
        })
        .exit(Exit::SysRegWrite {
            reg: crate::harness::REGISTER,
            data: 6,
        })
        .exit(Exit::SysRegRead { reg: STRANGE })
        .exit(Exit::SysRegWrite {
            reg: STRANGE,
            data: 6,
        });
    let h = Harness::new(vec![power_off(script)]);
    assert_eq!(h.run(), Outcome::PoweredOff);
    let answers = [
        Resume::Done,
        Resume::Data(crate::harness::VALUE),
        Resume::Done,
        Resume::ExternalAbort,
        Resume::ExternalAbort,
        Resume::Data(crate::harness::VALUE),
        Resume::Done,
        Resume::Undefined,
        Resume::Undefined,
    ];
    assert_eq!(h.scripted.resumes(V0), answers);
    assert!(h.board.seen().contains(&Seen::Mmio(gpa, 5)));
    assert!(
        h.board
            .seen()
            .contains(&Seen::SysReg(V0, crate::harness::REGISTER, 6))
    );
}

#[test]
fn both_conduits_answer_and_unknown_immediates_do_not() {
    let version = u64::from(id::VERSION);
    let script = Script::new()
        .then(Step::X(0, version))
        .then(Step::X(2, 22))
        .exit(Exit::Call {
            conduit: Conduit::Hvc,
            imm: 0,
        })
        .then(Step::X(0, version))
        .exit(Exit::Call {
            conduit: Conduit::Smc,
            imm: 0,
        })
        .exit(Exit::Call {
            conduit: Conduit::Hvc,
            imm: 1,
        });
    let h = Harness::new(vec![power_off(script)]);
    assert_eq!(h.run(), Outcome::PoweredOff);
    let answers = [
        Resume::Done,
        Resume::Call([0x1_0001, 0, 22, 0]),
        Resume::Call([0x1_0001, 0, 22, 0]),
        Resume::Call([u64::MAX, 0, 22, 0]),
    ];
    assert_eq!(h.scripted.resumes(V0), answers);
}

#[test]
fn cpu_on_starts_the_other_vcpu_and_cpu_off_stops_it() {
    let on = [u64::from(id::CPU_ON), 1, machine::RAM_BASE.0 + 8, 42];
    let boot = call(Script::new(), on).then(Step::UntilKicked);
    let other = power_off(call(Script::new(), [id::CPU_OFF.into(), 0, 0, 0]));
    let h = Harness::new(vec![boot, other]).started();
    h.wait(|h| h.scripted.log(V1).contains(&Event::Core(on[2], on[3])));
    h.wait(|h| h.scripted.log(V1).contains(&Event::Settle(success())));
    assert_eq!(
        h.scripted.resumes(V1),
        [Resume::Done],
        "it runs no more after CPU_OFF"
    );
    h.control().end(Outcome::Left);
    assert_eq!(h.finish(), Outcome::Left);
}

#[test]
fn a_vcpu_that_is_on_cannot_be_started() {
    let on = [u64::from(id::CPU_ON), 0, machine::RAM_BASE.0, 0];
    let h = Harness::new(vec![power_off(call(Script::new(), on))]);
    assert_eq!(h.run(), Outcome::PoweredOff);
    let answer = Resume::Call([Code::AlreadyOn.x0(), 0, machine::RAM_BASE.0, 0]);
    assert_eq!(h.scripted.resumes(V0)[1], answer);
}

#[test]
fn turning_the_last_vcpu_off_ends_the_machine() {
    let h = Harness::new(vec![call(Script::new(), [id::CPU_OFF.into(), 0, 0, 0])]);
    let Outcome::GuestFailed { reason, .. } = h.run() else {
        panic!("the guest failed")
    };
    assert!(reason.contains("last CPU"), "{reason}");
}

#[test]
fn wfi_waits_for_an_interrupt_input() {
    let h = Harness::new(vec![power_off(Script::new().exit(Exit::Wfi))]).started();
    h.wait(|h| !h.scripted.resumes(V0).is_empty());
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(h.scripted.resumes(V0), [Resume::Done], "it waits");
    h.fleet.set_line(V0, IrqLine::Irq, true);
    assert_eq!(h.finish(), Outcome::PoweredOff);
    assert_eq!(h.scripted.resumes(V0), [Resume::Done, Resume::Done]);
    assert!(h.scripted.log(V0).contains(&Event::Irq(IrqLine::Irq, true)));
}

#[test]
fn wfi_waits_no_longer_than_the_timer() {
    let script = Script::new()
        .then(Step::Sys(Saved::CntvCtlEl0, CTL_ENABLE))
        .then(Step::Sys(
            Saved::CntvCvalEl0,
            crate::harness::now() + 30_000_000,
        ))
        .exit(Exit::Wfi);
    let h = Harness::new(vec![power_off(script)]).ppis_raise_irq();
    let start = crate::harness::now();
    assert_eq!(h.run(), Outcome::PoweredOff);
    assert!(crate::harness::now() - start >= 20_000_000);
    let ppis = h.board.ppis(machine::VIRTUAL_TIMER_INTID);
    assert_eq!(
        ppis,
        [false, true],
        "low from the reset on, high after the wait"
    );
}

#[test]
fn suspend_waits_like_wfi_and_succeeds() {
    let suspend = [u64::from(id::CPU_SUSPEND), 1 << 16, 0, 0];
    let h = Harness::new(vec![power_off(call(Script::new(), suspend))]).started();
    h.wait(|h| !h.scripted.resumes(V0).is_empty());
    h.fleet.set_line(V0, IrqLine::Fiq, true);
    assert_eq!(h.finish(), Outcome::PoweredOff);
    assert_eq!(h.scripted.resumes(V0)[1], Resume::Call([0, 1 << 16, 0, 0]));
}

#[test]
fn a_timer_exit_moves_the_timers_inputs_both_ways() {
    let script = Script::new()
        .then(Step::Sys(Saved::CntpCtlEl0, CTL_ENABLE))
        .exit(Exit::Timer)
        .then(Step::Sys(Saved::CntpCvalEl0, u64::MAX))
        .exit(Exit::Timer)
        .exit(Exit::Timer);
    let h = Harness::new(vec![power_off(script)]);
    assert_eq!(h.run(), Outcome::PoweredOff);
    assert_eq!(h.board.ppis(Intid(30)), [false, true, false]);
}

#[test]
fn an_interrupt_kicks_a_vcpu_out_of_the_guest() {
    let h = Harness::new(vec![power_off(Script::new().then(Step::UntilKicked))]).started();
    h.wait(|h| !h.scripted.resumes(V0).is_empty());
    h.fleet.set_line(V0, IrqLine::Irq, true);
    assert_eq!(h.finish(), Outcome::PoweredOff);
    assert!(h.scripted.log(V0).contains(&Event::Irq(IrqLine::Irq, true)));
}

#[test]
fn a_reset_starts_vcpu_0_over_and_leaves_the_others_off() {
    let on = [u64::from(id::CPU_ON), 1, machine::RAM_BASE.0, 0];
    let reset = [u64::from(id::SYSTEM_RESET), 0, 0, 0];
    let boot = power_off(call(call(Script::new(), on).exit(Exit::Timer), reset));
    let h = Harness::new(vec![boot, Script::new()]);
    assert_eq!(h.run(), Outcome::PoweredOff);
    assert_eq!(h.board.resets(), 2);
    let starts = |id| {
        let log = h.scripted.log(id);
        log.iter()
            .filter(|e| matches!(e, Event::Core(pc, _) if *pc != 0))
            .count()
    };
    assert_eq!(starts(V0), 2);
    assert!(starts(V1) <= 1);
}

#[test]
fn a_reset_ends_the_machine_when_asked_to() {
    let reset = [u64::from(id::SYSTEM_RESET2), 0, 0, 0];
    let h = Harness::new(vec![call(Script::new(), reset)]).on_reset(OnReset::End);
    assert_eq!(h.run(), Outcome::ResetRefused);
}

#[test]
fn a_fault_ends_the_machine_with_registers() {
    let fault = Exit::Fault(GuestFault::ExceptionLoop(0x200));
    let h = Harness::new(vec![
        Script::new().then(Step::X(7, 0xabc)).exit(fault),
        Script::new(),
    ]);
    let Outcome::GuestFailed { reason, registers } = h.run() else {
        panic!("the guest failed")
    };
    assert!(reason.contains("0x200"), "{reason}");
    assert!(registers.contains("X7 0000000000000abc"), "{registers}");
}

#[test]
fn a_failing_vcpu_ends_the_machine_with_its_reason() {
    for step in [Step::Fail("the host has no more of it"), Step::Panic] {
        let on = [u64::from(id::CPU_ON), 1, machine::RAM_BASE.0, 0];
        let boot = call(Script::new(), on);
        let h = Harness::new(vec![boot, Script::new().then(step)]);
        let Outcome::HostFailed(reason) = h.run() else {
            panic!("the host failed")
        };
        assert!(reason.contains("vcpu1"), "{reason}");
    }
}

#[test]
fn a_failing_reset_ends_the_machine() {
    let h = Harness::new(vec![Script::new()]);
    h.board.fail_resets("no memory left");
    assert_eq!(h.run(), Outcome::HostFailed("no memory left".into()));
}

#[test]
fn pausing_settles_the_exit_and_resuming_goes_on() {
    let script = Script::new()
        .then(Step::UntilKicked)
        .then(Step::UntilKicked);
    let h = Harness::new(vec![power_off(script)]).started();
    h.wait(|h| h.scripted.resumes(V0).len() == 1);
    assert!(h.control().pause());
    assert_eq!(
        h.scripted.log(V0).last(),
        Some(&Event::Settle(Resume::Done))
    );
    h.control().resume();
    h.wait(|h| h.scripted.resumes(V0).len() == 2);
    h.fleet.rouse(V0);
    assert_eq!(h.finish(), Outcome::PoweredOff);
    assert!(!h.control().pause(), "the machine is over");
}

#[test]
fn a_paused_machine_can_be_visited_and_a_running_one_not() {
    let h = Harness::new(vec![Script::new(), Script::new()]).started();
    h.wait(|h| h.scripted.resumes(V0).len() == 1);
    assert_eq!(h.control().visit(|_| ()), None, "it runs");
    assert!(h.control().pause());
    assert!(h.control().pause(), "once more is no harm");
    let set_and_read = |standing: &Standing<'_>| {
        let visited = standing.fleet.visit(V1, |vcpu| {
            let mut core = vcpu.core().unwrap();
            core.x[7] = 77;
            vcpu.set_core(&core).unwrap();
        });
        assert_eq!(visited, Some(()));
        let read = standing.fleet.visit(V1, |vcpu| vcpu.core().unwrap().x[7]);
        assert_eq!(
            standing.fleet.visit(VcpuId(2), |_| ()),
            None,
            "no such vCPU"
        );
        (read, standing.fleet.power().of(V1))
    };
    let visited = h.control().visit(set_and_read);
    assert_eq!(visited, Some((Some(77), Power::Off)));
    h.control().resume();
    assert_eq!(h.control().visit(|_| ()), None, "it runs again");
    h.control().end(Outcome::Left);
    assert_eq!(h.finish(), Outcome::Left);
    assert_eq!(h.control().visit(|_| ()), None, "it is over");
    let stopped = |seen: &Seen| matches!(seen, Seen::Stopped(_));
    let stops: Vec<Seen> = h.board.seen().into_iter().filter(stopped).collect();
    let [on, off] = [Seen::Stopped(true), Seen::Stopped(false)];
    assert_eq!(
        stops,
        [on, off, on, off],
        "before the start, and in the pause"
    );
}

#[test]
fn a_visitor_has_a_running_machine_stand_still_and_go_on() {
    let h = Harness::new(vec![Script::new()]).started();
    h.wait(|h| h.scripted.resumes(V0).len() == 1);
    let look = |standing: &Standing<'_>| standing.fleet.visit(V0, |vcpu| vcpu.core().is_ok());
    assert_eq!(h.control().while_still(look), Some(Some(true)));
    assert_eq!(h.control().visit(|_| ()), None, "it runs again");
    assert!(h.control().pause());
    assert_eq!(h.control().while_still(look), Some(Some(true)));
    assert_eq!(
        h.control().visit(|_| ()),
        Some(()),
        "who paused it resumes it"
    );
    h.control().resume();
    h.control().end(Outcome::Left);
    assert_eq!(h.finish(), Outcome::Left);
    assert_eq!(h.control().while_still(|_| ()), None, "it is over");
    let stopped = |seen: &Seen| matches!(seen, Seen::Stopped(_));
    let stops: Vec<Seen> = h.board.seen().into_iter().filter(stopped).collect();
    let [on, off] = [Seen::Stopped(true), Seen::Stopped(false)];
    assert_eq!(stops, [on, off, on, off, on, off]);
}

#[test]
fn guest_time_stands_still_or_runs_on_while_paused() {
    const NAP: Duration = Duration::from_millis(30);
    let h = Harness::new(vec![Script::new()]).started();
    h.wait(|h| h.scripted.resumes(V0).len() == 1);
    for (time, stands) in [
        (WhilePaused::TimeStands, true),
        (WhilePaused::TimeRuns, false),
    ] {
        assert!(h.control().pause_with(time));
        let seen = || {
            h.control()
                .visit(|standing| standing.counter.value)
                .unwrap()
        };
        let before = seen();
        std::thread::sleep(NAP);
        assert_eq!(seen() == before, stands, "{time:?}");
        h.control().resume();
        // The first visit that is refused comes after the vCPUs went.
        assert_eq!(h.control().visit(|_| ()), None);
        let after = h.fleet.vm().counter().value - before;
        // The counter of the scripts runs at 1 GHz.
        assert_eq!(Duration::from_nanos(after) < NAP, stands, "{time:?}");
    }
    h.control().end(Outcome::Left);
    assert_eq!(h.finish(), Outcome::Left);
}

#[test]
fn a_request_of_the_guest_is_done_before_a_pause_is_confirmed() {
    for _ in 0..50 {
        let reset = [u64::from(id::SYSTEM_RESET), 0, 0, 0];
        let h = Harness::new(vec![call(Script::new(), reset)]).started();
        // The pause may meet the guest before, in and after its reset.
        assert!(h.control().pause());
        let visited = h.control().visit(|standing| {
            let pc = standing.fleet.visit(V0, |vcpu| vcpu.core().unwrap().pc);
            (standing.fleet.power().of(V0), pc)
        });
        let (power, pc) = visited.unwrap();
        let running = power == Power::On && h.board.resets() <= 2;
        let to_start = power == Power::Pending(BOOT) && pc == Some(0);
        assert!(running || to_start, "{power:?} {pc:?}");
        h.control().resume();
        h.wait(|h| h.board.resets() == 2);
        h.control().end(Outcome::Left);
        assert_eq!(h.finish(), Outcome::Left);
    }
}

#[test]
fn a_parked_and_an_off_vcpu_can_be_paused_and_ended() {
    let h = Harness::new(vec![Script::new().exit(Exit::Wfi), Script::new()]).started();
    h.wait(|h| h.scripted.resumes(V0).len() == 1);
    assert!(h.control().pause());
    h.control().resume();
    h.control().end(Outcome::Signal(15));
    assert_eq!(h.finish(), Outcome::Signal(15));
}

#[test]
fn pauses_and_interrupts_from_everywhere_lose_nothing() {
    let busy = || (0..500).fold(Script::new(), |script, _| script.then(Step::UntilKicked));
    let waiting = (0..500).fold(Script::new(), |script, _| script.exit(Exit::Wfi));
    let on = [u64::from(id::CPU_ON), 1, machine::RAM_BASE.0, 0];
    let boot = (0..500).fold(call(Script::new(), on), |script, _| {
        script.then(Step::UntilKicked)
    });
    let h = Harness::new(vec![boot, waiting, busy()]).started();
    h.wait(|h| !h.scripted.resumes(V1).is_empty());
    std::thread::scope(|scope| {
        for id in [V0, V1] {
            let fleet = &h.fleet;
            scope.spawn(move || {
                for round in 0..2000 {
                    fleet.set_line(id, IrqLine::Irq, round % 2 == 0);
                }
            });
        }
        for _ in 0..200 {
            assert!(h.control().pause());
            let before = (h.scripted.resumes(V0).len(), h.scripted.resumes(V1).len());
            std::thread::yield_now();
            let after = (h.scripted.resumes(V0).len(), h.scripted.resumes(V1).len());
            assert_eq!(before, after, "nobody runs while paused");
            h.control().resume();
        }
    });
    h.control().end(Outcome::Left);
    assert_eq!(h.finish(), Outcome::Left);
}
