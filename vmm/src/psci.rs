//! What the machine's firmware answers to HVC and SMC: PSCI 1.1 (DEN 0022) and the two calls of
//! SMCCC 1.1 (DEN 0028) that every firmware has.
//!
//! [`decide`] is policy only: from the registers of a call and the facts about the vCPUs to a
//! [`Decision`], which the vCPU's thread then carries out. Choices within the specification:
//! - `CPU_SUSPEND` treats every power state as standby: the caller waits for an interrupt and
//!   returns `SUCCESS`. Section 5.4.2 allows this for power-down states too, as if the interrupt
//!   had come before the power went.
//! - `SYSTEM_RESET2` knows the architectural warm reset only, and does what `SYSTEM_RESET` does.
//! - `AFFINITY_INFO` answers for groups of cores as well.

use aarch64::psci::{self, AffinityState, Call, Code};
use aarch64::{Gpa, VcpuId, smccc};

use crate::power::{Entry, Power};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It returns this in X0.
    Return(u64),
    /// `target` starts at `entry`; the caller gets `SUCCESS`.
    Start {
        /// Who starts; it is off.
        target: VcpuId,
        /// Where.
        entry: Entry,
    },
    /// The caller waits for an interrupt, and gets `SUCCESS` then.
    Suspend,
    /// The caller turns itself off and does not return.
    TurnOff,
    /// The machine turns off.
    PowerOff,
    /// The machine starts again.
    Reset,
}

/// Decides what the call with these registers X0 to X3 does.
#[must_use]
pub fn decide(x: [u64; 4], powers: &[Power], is_memory: impl Fn(Gpa) -> bool) -> Decision {
    use Decision::Return;
    match psci::decode(x) {
        None => Return(architecture_call(x)),
        Some(Call::Version) => Return(psci::VERSION_1_1),
        Some(Call::Features { function }) => Return(features(function)),
        Some(Call::MigrateInfoType) => Return(psci::NO_MIGRATION),
        Some(Call::CpuOn {
            target,
            entry,
            context,
        }) => cpu_on(
            target,
            Entry {
                pc: entry,
                x0: context,
            },
            powers,
            is_memory,
        ),
        Some(Call::CpuOff) => Decision::TurnOff,
        Some(Call::CpuSuspend) => Decision::Suspend,
        Some(Call::AffinityInfo {
            target,
            lowest_level,
        }) => {
            let state = affinity_info(target, lowest_level, powers);
            Return(state.map_or(Code::InvalidParameters.x0(), |state| state as u64))
        }
        Some(Call::SystemOff) => Decision::PowerOff,
        Some(Call::SystemReset | Call::SystemReset2 { kind: 0 }) => Decision::Reset,
        Some(Call::SystemReset2 { .. }) => Return(Code::InvalidParameters.x0()),
    }
}

fn cpu_on(
    target: u64,
    entry: Entry,
    powers: &[Power],
    is_memory: impl Fn(Gpa) -> bool,
) -> Decision {
    let count = u16::try_from(powers.len()).unwrap_or(u16::MAX);
    let code = match VcpuId::from_affinity(target, count).map(|id| (id, powers[id.index()])) {
        None => Code::InvalidParameters,
        Some((_, Power::On)) => Code::AlreadyOn,
        Some((_, Power::Pending(_))) => Code::OnPending,
        Some((target, Power::Off)) if entry.pc.is_multiple_of(4) && is_memory(Gpa(entry.pc)) => {
            return Decision::Start { target, entry };
        }
        Some((_, Power::Off)) => Code::InvalidAddress,
    };
    Decision::Return(code.x0())
}

/// The state of all vCPUs whose affinity agrees with `target` from `lowest_level` up; on as soon
/// as one of them is.
fn affinity_info(target: u64, lowest_level: u64, powers: &[Power]) -> Option<AffinityState> {
    const FIELDS: u64 = 0xff_00ff_ffff;
    let compared = match lowest_level {
        0 => FIELDS,
        1 => FIELDS & !0xff,
        2 => FIELDS & !0xffff,
        3 => FIELDS & !0xff_ffff,
        _ => return None,
    };
    if target & !FIELDS != 0 {
        return None;
    }
    let in_group = |id: u16| (VcpuId(id).affinity() ^ target) & compared == 0;
    let state = |power: &Power| match power {
        Power::On => AffinityState::On,
        Power::Pending(_) => AffinityState::OnPending,
        Power::Off => AffinityState::Off,
    };
    let members = (0..)
        .zip(powers)
        .filter(|(id, _)| in_group(*id))
        .map(|(_, power)| state(power));
    members.min_by_key(|state| match state {
        AffinityState::On => 0,
        AffinityState::OnPending => 1,
        AffinityState::Off => 2,
    })
}

/// `PSCI_FEATURES`: for `CPU_SUSPEND` the flags happen to be 0 as well (the original format of
/// its parameter, no OS-initiated mode).
fn features(function: u32) -> u64 {
    let known = psci::exists(function) || function == smccc::VERSION;
    if known {
        Code::Success.x0()
    } else {
        Code::NotSupported.x0()
    }
}

fn architecture_call(x: [u64; 4]) -> u64 {
    let low = |x: u64| (x & 0xffff_ffff) as u32;
    match low(x[0]) {
        smccc::VERSION => smccc::VERSION_1_1,
        smccc::ARCH_FEATURES => match low(x[1]) {
            smccc::VERSION | smccc::ARCH_FEATURES => smccc::result(smccc::SUCCESS),
            _ => smccc::result(smccc::NOT_SUPPORTED),
        },
        _ => smccc::result(smccc::NOT_SUPPORTED),
    }
}

#[cfg(test)]
mod tests {
    use aarch64::psci::id;

    use super::*;

    const WIDE: u64 = smccc::CONVENTION_64 as u64;
    const ENTRY: Entry = Entry {
        pc: 0x4020_0000,
        x0: 77,
    };

    fn ask(x: [u64; 4], powers: &[Power]) -> Decision {
        decide(x, powers, |gpa| gpa.0 >= 0x4000_0000)
    }

    fn returned(function: u64, x1: u64, x2: u64) -> i64 {
        let powers = [Power::On, Power::Off, Power::Pending(ENTRY)];
        let decision = ask([function, x1, x2, 0], &powers);
        let Decision::Return(x0) = decision else {
            panic!("{decision:?}")
        };
        x0.cast_signed()
    }

    fn cpu_on(target: u64, pc: u64) -> Decision {
        let powers = [Power::On, Power::Off, Power::Pending(ENTRY)];
        ask(
            [u64::from(id::CPU_ON) | WIDE, target, pc, ENTRY.x0],
            &powers,
        )
    }

    #[test]
    fn cpu_on_starts_a_core_that_is_off() {
        let start = Decision::Start {
            target: VcpuId(1),
            entry: ENTRY,
        };
        assert_eq!(cpu_on(1, ENTRY.pc), start);
    }

    #[test]
    fn cpu_on_refuses_by_name() {
        for (target, pc, code) in [
            (0, ENTRY.pc, Code::AlreadyOn),
            (2, ENTRY.pc, Code::OnPending),
            (3, ENTRY.pc, Code::InvalidParameters),
            (1 << 31, ENTRY.pc, Code::InvalidParameters),
            (1, 0x0900_0000, Code::InvalidAddress),
            (1, ENTRY.pc + 2, Code::InvalidAddress),
        ] {
            assert_eq!(
                cpu_on(target, pc),
                Decision::Return(code.x0()),
                "{target:#x} {pc:#x}"
            );
        }
    }

    #[test]
    fn affinity_info_answers_for_cores_and_groups() {
        let function = u64::from(id::AFFINITY_INFO) | WIDE;
        for (target, level, state) in [
            (0, 0, 0),
            (1, 0, 1),
            (2, 0, 2),
            (1, 1, 0),
            (0x1234, 3, 0),
            (3, 0, -2),
            (0x100, 1, -2),
            (0, 4, -2),
            (1 << 31, 0, -2),
        ] {
            assert_eq!(
                returned(function, target, level),
                state,
                "{target:#x} level {level}"
            );
        }
    }

    #[test]
    fn versions_and_features() {
        assert_eq!(returned(id::VERSION.into(), 0, 0), 0x1_0001);
        assert_eq!(returned(smccc::VERSION.into(), 0, 0), 0x1_0001);
        assert_eq!(returned(id::MIGRATE_INFO_TYPE.into(), 0, 0), 2);
        for function in [smccc::VERSION, smccc::ARCH_FEATURES] {
            assert_eq!(returned(smccc::ARCH_FEATURES.into(), function.into(), 0), 0);
        }
        assert_eq!(returned(smccc::ARCH_FEATURES.into(), 0x8000_8000, 0), -1);
        for function in [
            id::CPU_SUSPEND,
            id::SYSTEM_RESET2,
            smccc::VERSION,
            id::FEATURES,
        ] {
            assert_eq!(returned(id::FEATURES.into(), function.into(), 0), 0);
        }
        for unknown in [0x8400_0005, 0x8400_000f, 0x8600_0000] {
            assert_eq!(returned(id::FEATURES.into(), unknown, 0), -1);
            assert_eq!(returned(unknown, 0, 0), -1);
        }
    }

    #[test]
    fn calls_that_do_not_return() {
        let on = [Power::On];
        let call = |function: u32, x1| ask([function.into(), x1, 0, 0], &on);
        assert_eq!(call(id::SYSTEM_OFF, 0), Decision::PowerOff);
        assert_eq!(call(id::SYSTEM_RESET, 0), Decision::Reset);
        assert_eq!(call(id::SYSTEM_RESET2, 0), Decision::Reset);
        let vendor = Decision::Return(Code::InvalidParameters.x0());
        assert_eq!(call(id::SYSTEM_RESET2, 1 << 31), vendor);
        assert_eq!(call(id::CPU_OFF, 0), Decision::TurnOff);
        assert_eq!(call(id::CPU_SUSPEND, 0), Decision::Suspend);
    }
}
