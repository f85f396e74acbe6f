//! What only a guest can tell: how its counter runs. A VM of one page and one vCPU is asked, and goes
//! away again.

use std::sync::Arc;

use aarch64::cpu_model::{MPIDR_EL1, mpidr};
use aarch64::trap::Trap;
use aarch64::{VcpuId, machine};
use memory::Region;

use super::abi::{PAGE_SIZE, reason, reg};
use super::clock::{GuestClock, Sighting, tick_frequency};
use super::obstacle::Obstacle;
use super::reset::reset;
use super::sys::vcpu::{RawVcpu, Stop};
use super::sys::{Backing, Failure, Framework, Rights};

/// `isb; mrs x1, cntvct_el0; mrs x0, cntfrq_el0; hvc #0`
const GUEST: [u32; 4] = [0xd503_3fdf, 0xd53b_e041, 0xd53b_e000, 0xd400_0002];
/// How far the counter is set back, in ticks: enough to tell an offset in one unit from another.
const SET_BACK: u64 = 1 << 20;
/// How often the guest is entered for its four instructions before that is given up.
const ENTRIES: u32 = 1000;

/// How the guest's counter runs on this host.
///
/// # Errors
/// What stands in the way of any guest.
pub fn counter(framework: Framework, address_bits: u8) -> Result<(GuestClock, u64), Obstacle> {
    let timebase = framework.timebase().map_err(Obstacle::Call)?;
    let tick_hz = tick_frequency(timebase).ok_or(Obstacle::NoTime)?;
    framework
        .create_vm(address_bits.into())
        .map_err(Obstacle::of_vm)?;
    let seen = sight(framework);
    // The VM goes whatever came of it.
    let gone = framework.destroy_vm().map_err(Obstacle::Call);
    let seen = seen?;
    gone?;
    let clock = GuestClock::recognise(tick_hz, seen);
    let clock = clock.ok_or(Obstacle::UnknownCounter {
        guest_hz: seen.frequency,
        tick_hz,
    })?;
    Ok((clock, tick_hz))
}

fn sight(framework: Framework) -> Result<Sighting, Obstacle> {
    let region = Region::new(PAGE_SIZE).map_err(|error| Obstacle::Host(error.to_string()))?;
    for (word, at) in GUEST.iter().zip((0..).step_by(4)) {
        let written = region.write(at, &word.to_le_bytes());
        written.map_err(|error| Obstacle::Host(error.to_string()))?;
    }
    framework.publish_code(&region);
    let gpa = machine::RAM_BASE.0;
    let page = Backing {
        region: &region,
        offset: 0,
        bytes: PAGE_SIZE,
    };
    framework
        .map(gpa, page, Rights::ReadExecute)
        .map_err(Obstacle::Call)?;
    let seen = run(framework, gpa);
    framework.unmap(gpa, PAGE_SIZE).map_err(Obstacle::Call)?;
    seen
}

fn run(framework: Framework, entry: u64) -> Result<Sighting, Obstacle> {
    let vcpu = RawVcpu::new(framework, Arc::new(Stop::default()));
    let mut vcpu = vcpu.map_err(Obstacle::Call)?;
    let offset = start(framework, &mut vcpu, entry).map_err(Obstacle::Call)?;
    for _ in 0..ENTRIES {
        let before = framework.awake_ticks();
        let record = vcpu.run().map_err(Obstacle::Call)?;
        let after = framework.awake_ticks();
        let called = Trap::decode(record.syndrome) == Trap::Hvc(0);
        if record.reason == reason::EXCEPTION && called {
            let read = |n| vcpu.reg(n).map_err(Obstacle::Call);
            return Ok(Sighting {
                frequency: read(0)?,
                counter: read(1)?,
                offset,
                ticks: (before, after),
            });
        }
        // It was left for another reason, which may have been between its instructions.
        vcpu.set_reg(reg::PC, entry).map_err(Obstacle::Call)?;
    }
    Err(Obstacle::Host(
        "a guest of four instructions does not end".into(),
    ))
}

/// Sets up the vCPU; the offset of its counter.
fn start(framework: Framework, vcpu: &mut RawVcpu, entry: u64) -> Result<u64, Failure> {
    reset(vcpu)?;
    vcpu.set_sysreg(MPIDR_EL1, mpidr(VcpuId(0)))?;
    vcpu.set_timer_mask(true)?;
    let offset = framework.awake_ticks().wrapping_sub(SET_BACK);
    vcpu.set_counter_offset(offset)?;
    vcpu.set_reg(reg::PC, entry)?;
    Ok(offset)
}
