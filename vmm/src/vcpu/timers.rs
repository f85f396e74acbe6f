//! A vCPU's timers: their interrupt inputs follow their registers.
//!
//! The registers belong to the backend, the interrupts to the GIC. The outputs are worked out from
//! the registers when the backend says one may have changed, and before the thread parks.

use std::time::Duration;

use aarch64::timer::{self, TIMERS, Timer};
use aarch64::{Intid, VcpuId};
use hv_backend::api::{HostError, Vcpu, Vm};

use crate::board::Board;

/// The outputs as last driven; `None` when the GIC may think otherwise.
#[derive(Debug, Default)]
pub struct Timers([Option<bool>; TIMERS.len()]);

impl Timers {
    /// Drives every output again at the next update: the GIC was reset.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Drives the outputs, and says how long until the next one goes high by itself.
    pub fn update(
        &mut self,
        id: VcpuId,
        vcpu: &dyn Vcpu,
        vm: &dyn Vm,
        board: &dyn Board,
    ) -> Result<Option<Duration>, HostError> {
        let counter = vm.counter();
        let mut next: Option<u64> = None;
        for (spec, driven) in TIMERS.iter().zip(&mut self.0) {
            let timer = Timer {
                ctl: vcpu.sysreg(spec.ctl.sysreg())?,
                cval: vcpu.sysreg(spec.cval.sysreg())?,
            };
            drive(board, id, spec.intid, driven, timer.output(counter.value));
            let deadline = timer.deadline(counter.value);
            next = [next, deadline].into_iter().flatten().min();
        }
        Ok(next.map(|at| {
            let nanos = timer::nanoseconds(at - counter.value, counter.frequency);
            Duration::from_nanos(nanos)
        }))
    }
}

fn drive(board: &dyn Board, id: VcpuId, intid: Intid, driven: &mut Option<bool>, high: bool) {
    if *driven != Some(high) {
        *driven = Some(high);
        board.set_ppi(id, intid, high);
    }
}
