//! The vCPUs of a machine that stands still, to and from data.
//!
//! Registers are read and set on the thread that holds the vCPU. A `portable` vCPU's state holds
//! only what that model has ([`aarch64::portable`]), so that it is the same on every accelerator,
//! and nothing that follows from the rest: no `ISTATUS` of a timer. After setting, everything is
//! read back: what a vCPU does not take is refused by name, not lost.

use aarch64::cpu_model::CpuModel;
use aarch64::gic_state::GicState;
use aarch64::state::{CoreRegs, CounterState, SimdRegs, SysRegFile, VcpuState};
use aarch64::timer::{CTL_ISTATUS, TIMERS, Timer};
use aarch64::{Saved, SysReg, VcpuId, portable};
use hv_backend::api::{HostError, Vcpu};

use super::contract::CpuContract;
use super::{RestoreError, SaveError, SavedVcpu};
use crate::coordinator::Standing;
use crate::power::Power;

/// Saves every vCPU of a machine with this CPU model.
///
/// # Errors
/// When the host fails.
pub fn save(standing: &Standing<'_>, model: CpuModel) -> Result<Vec<SavedVcpu>, SaveError> {
    let save = |vcpu| {
        let read = standing.fleet.visit(vcpu, move |held| read(held, model));
        let read = read.ok_or(SaveError::Gone(vcpu))?;
        let registers = read.map_err(|source| SaveError::Vcpu { vcpu, source })?;
        let power = standing.fleet.power().of(vcpu);
        Ok(SavedVcpu { registers, power })
    };
    standing.fleet.ids().map(save).collect()
}

/// Sets every vCPU of a machine with this CPU model, and turns it on or off.
///
/// # Errors
/// When a vCPU does not take what was saved. The machine must not run then.
pub fn restore(
    standing: &Standing<'_>,
    saved: &[SavedVcpu],
    model: CpuModel,
) -> Result<(), RestoreError> {
    standing.fleet.power().with(|powers| {
        for (power, saved) in powers.iter_mut().zip(saved) {
            *power = saved.power;
        }
    });
    for (vcpu, saved) in standing.fleet.ids().zip(saved) {
        let wanted = saved.registers.clone();
        let work = move |held: &mut dyn Vcpu| {
            write(held, &wanted)?;
            Ok(difference(&wanted, &read(held, model)?))
        };
        let differs = standing.fleet.visit(vcpu, work);
        let differs = differs.ok_or(RestoreError::Gone(vcpu))?;
        let differs = differs.map_err(|source| RestoreError::Vcpu { vcpu, source })?;
        if let Some(register) = differs {
            return Err(RestoreError::Register { vcpu, register });
        }
    }
    Ok(())
}

/// What can be known of saved vCPUs before there is any to set.
///
/// # Errors
/// When they are not as many as expected, or none is on.
pub fn check(saved: &[SavedVcpu], expected: u16) -> Result<(), RestoreError> {
    let found = saved.len();
    if found != usize::from(expected) {
        return Err(RestoreError::Vcpus { found, expected });
    }
    if saved.iter().all(|vcpu| vcpu.power == Power::Off) {
        return Err(RestoreError::AllOff);
    }
    Ok(())
}

/// What the processor of a machine with this CPU model says of itself.
///
/// # Errors
/// When the host fails.
pub fn processor(standing: &Standing<'_>, model: CpuModel) -> Result<CpuContract, SaveError> {
    let id_registers = match model {
        CpuModel::Portable => Vec::new(),
        CpuModel::Host => {
            let vcpu = VcpuId(0);
            let read = standing.fleet.visit(vcpu, |held| read_identification(held));
            let read = read.ok_or(SaveError::Gone(vcpu))?;
            read.map_err(|source| SaveError::Vcpu { vcpu, source })?
        }
    };
    Ok(CpuContract {
        model,
        id_registers,
    })
}

/// Holds the timers' wires as the timers have them at `counter`. Nobody else can drive them, so they
/// follow from the registers; but an accelerator may look at its timers only when a vCPU runs.
pub fn set_timer_wires(gic: &mut GicState, vcpus: &[SavedVcpu], counter: CounterState) {
    for (gic, saved) in gic.vcpus.iter_mut().zip(vcpus) {
        for spec in TIMERS {
            let sys = &saved.registers.sys;
            let (ctl, cval) = (sys[spec.ctl], sys[spec.cval]);
            let bit = 1_u32.checked_shl(spec.intid.0).unwrap_or(0);
            if (Timer { ctl, cval }).output(counter.value) {
                gic.private.level |= bit;
            } else {
                gic.private.level &= !bit;
            }
        }
    }
}

fn read(vcpu: &dyn Vcpu, model: CpuModel) -> Result<VcpuState, HostError> {
    let mut sys = SysRegFile::default();
    for reg in Saved::ALL {
        sys[*reg] = vcpu.sysreg(reg.sysreg())?;
    }
    for spec in TIMERS {
        sys[spec.ctl] &= !CTL_ISTATUS;
    }
    let (core, simd) = (vcpu.core()?, vcpu.simd()?);
    let mut state = VcpuState { core, simd, sys };
    match model {
        CpuModel::Portable => portable::drop_others(&mut state),
        CpuModel::Host => {}
    }
    Ok(state)
}

fn write(vcpu: &mut dyn Vcpu, state: &VcpuState) -> Result<(), HostError> {
    let VcpuState { core, simd, sys } = state;
    vcpu.set_core(core)?;
    vcpu.set_simd(simd)?;
    for reg in Saved::ALL {
        vcpu.set_sysreg(reg.sysreg(), sys[*reg])?;
    }
    Ok(())
}

/// The first register in which two states differ.
fn difference(a: &VcpuState, b: &VcpuState) -> Option<String> {
    let VcpuState { core, simd, sys } = a;
    let CoreRegs { x, pc, pstate } = core;
    let SimdRegs { v, fpcr, fpsr } = simd;
    let differ = |name: &str, same: bool| (!same).then(|| name.to_owned());
    let x = x.iter().zip(&b.core.x).position(|(a, b)| a != b);
    let v = v.iter().zip(&b.simd.v).position(|(a, b)| a != b);
    let sys = Saved::ALL.iter().find(|reg| sys[**reg] != b.sys[**reg]);
    x.map(|n| format!("X{n}"))
        .or_else(|| differ("PC", *pc == b.core.pc))
        .or_else(|| differ("PSTATE", *pstate == b.core.pstate))
        .or_else(|| v.map(|n| format!("V{n}")))
        .or_else(|| differ("FPCR", *fpcr == b.simd.fpcr))
        .or_else(|| differ("FPSR", *fpsr == b.simd.fpsr))
        .or_else(|| sys.map(|reg| reg.name().to_owned()))
}

/// Every identification register that the vCPU has.
fn read_identification(vcpu: &dyn Vcpu) -> Result<Vec<(SysReg, u64)>, HostError> {
    let features = (1..8).flat_map(|crm| (0..8).map(move |op2| SysReg::new(3, 0, 0, crm, op2)));
    let mut found = Vec::new();
    for reg in features {
        match vcpu.sysreg(reg) {
            Ok(value) => found.push((reg, value)),
            Err(HostError::NoRegister(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use aarch64::machine::VIRTUAL_TIMER_INTID;
    use aarch64::timer::CTL_ENABLE;

    use super::*;

    fn vcpu(power: Power) -> SavedVcpu {
        let registers = VcpuState::default();
        SavedVcpu { registers, power }
    }

    #[test]
    fn the_first_difference_is_named() {
        let same = VcpuState::default();
        assert_eq!(difference(&same, &same), None);
        let differs = |change: fn(&mut VcpuState)| {
            let mut other = same.clone();
            change(&mut other);
            difference(&same, &other)
        };
        for (difference, name) in [
            (differs(|s| s.core.x[30] = 1), "X30"),
            (differs(|s| s.core.pc = 4), "PC"),
            (differs(|s| s.core.pstate = 0), "PSTATE"),
            (differs(|s| s.simd.v[31] = 1), "V31"),
            (differs(|s| s.simd.fpcr = 1), "FPCR"),
            (differs(|s| s.simd.fpsr = 1), "FPSR"),
            (differs(|s| s.sys[Saved::TpidrEl0] = 1), "TPIDR_EL0"),
        ] {
            assert_eq!(difference.as_deref(), Some(name));
        }
    }

    #[test]
    fn what_is_no_set_of_vcpus_is_refused() {
        assert!(check(&[vcpu(Power::On), vcpu(Power::Off)], 2).is_ok());
        let refused = check(&[vcpu(Power::On)], 2).unwrap_err();
        assert!(matches!(
            refused,
            RestoreError::Vcpus {
                found: 1,
                expected: 2
            }
        ));
        let refused = check(&[vcpu(Power::Off)], 1).unwrap_err();
        assert!(matches!(refused, RestoreError::AllOff));
    }

    #[test]
    fn timer_wires_follow_the_counter() {
        let mut saved = vcpu(Power::On);
        saved.registers.sys[Saved::CntvCtlEl0] = CTL_ENABLE;
        saved.registers.sys[Saved::CntvCvalEl0] = 100;
        let mut gic = GicState::at_reset(1);
        for (value, high) in [(99, false), (100, true), (5, false)] {
            let frequency = 1;
            set_timer_wires(
                &mut gic,
                std::slice::from_ref(&saved),
                CounterState { value, frequency },
            );
            let level = gic.vcpus[0].private.level;
            assert_eq!(
                level == 1 << VIRTUAL_TIMER_INTID.0,
                high,
                "{level:#x} at {value}"
            );
        }
    }
}
