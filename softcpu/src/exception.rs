//! Exceptions to EL1 and the return from them (D1.3, D1.4).
//!
//! An instruction raises one by describing it in [`Cpu::exception`] and leaving with
//! [`Stop::Exception`]; the run loop then takes it. All exceptions go to EL1: the model has
//! neither EL2 nor EL3, and nothing raises SErrors.

use aarch64::exception::{self, Taken, Vector};
use aarch64::syndrome::{Ec, esr};
use aarch64::{Gpa, Saved, pstate};

use crate::cpu::{Cpu, Exception, Stop};
use crate::hypervised::Stage2Access;
use crate::mem::Direction;
use crate::walk::Fault;

/// Synchronous exceptions in a row, with no instruction between, before the CPU counts as caught in
/// a loop. Addresses do not matter: with a tagged `VBAR_EL1`, or two vectors that fault in turn, the
/// CPU is caught as well.
const MOST_REPEATS: u32 = 100;
/// ISS of data aborts: the access was a write.
const WNR: u32 = 1 << 6;
/// ISS of data aborts: the access was cache maintenance or address translation.
const CM: u32 = 1 << 8;
/// Fault status of a synchronous external abort.
const EXTERNAL: u32 = 0x10;
const ALIGNMENT: u32 = 0x21;
const UNSUPPORTED_ATOMIC: u32 = 0x35;

impl Cpu {
    /// Prepares an exception of the instruction at the PC.
    pub(crate) fn raise(&mut self, ec: Ec, iss: u32, far: Option<u64>) -> Stop {
        self.exception = Exception {
            esr: esr(ec, iss),
            far,
            retires: false,
        };
        Stop::Exception
    }

    /// Prepares an exception whose class says where it came from.
    pub(crate) fn raise_from(&mut self, lower: Ec, same: Ec, iss: u32, far: Option<u64>) -> Stop {
        let ec = if self.el() == 0 { lower } else { same };
        self.raise(ec, iss, far)
    }

    /// Prepares an exception after which the instruction counts as done.
    pub(crate) fn raise_retiring(&mut self, ec: Ec, iss: u32) -> Stop {
        let stop = self.raise(ec, iss, None);
        self.exception.retires = true;
        stop
    }

    /// The instruction is undefined.
    pub(crate) fn undefined(&mut self) -> Stop {
        self.raise(Ec::Unknown, 0, None)
    }

    /// An access is misaligned.
    pub(crate) fn alignment_fault(&mut self, va: u64, direction: Direction) -> Stop {
        self.data_abort(va, direction, ALIGNMENT)
    }

    /// An atomic or exclusive access meets a device.
    pub(crate) fn unsupported_atomic(&mut self, va: u64) -> Stop {
        if let Some(stop) = self.stage2_fault_at(va, Stage2Access::Data) {
            return stop;
        }
        self.data_abort(va, Direction::Update, UNSUPPORTED_ATOMIC)
    }

    /// A device refused an access.
    pub(crate) fn external_abort(&mut self, va: u64, write: bool) -> Stop {
        let direction = if write {
            Direction::Write
        } else {
            Direction::Read
        };
        self.data_abort(va, direction, EXTERNAL)
    }

    /// There is no memory where an instruction should be.
    pub(crate) fn fetch_abort(&mut self, pc: u64, gpa: Gpa) -> Stop {
        if let Some(stop) = self.stage2_fault(pc, gpa, Stage2Access::Fetch) {
            return stop;
        }
        self.translation_abort(pc, Direction::Execute, Fault(EXTERNAL))
    }

    /// A data abort with this fault status.
    pub(crate) fn data_abort(&mut self, va: u64, direction: Direction, status: u32) -> Stop {
        let iss = match direction {
            Direction::Read | Direction::Execute => status,
            Direction::Write | Direction::Update => WNR | status,
            Direction::Maintain => CM | WNR | status,
        };
        self.raise_from(Ec::DataAbortLower, Ec::DataAbortSame, iss, Some(va))
    }

    /// A translation failed.
    pub(crate) fn translation_abort(
        &mut self,
        va: u64,
        direction: Direction,
        Fault(status): Fault,
    ) -> Stop {
        if direction == Direction::Execute {
            self.raise_from(Ec::InsnAbortLower, Ec::InsnAbortSame, status, Some(va))
        } else {
            self.data_abort(va, direction, status)
        }
    }

    /// The stack pointer is misaligned.
    pub(crate) fn sp_alignment_fault(&mut self) -> Stop {
        self.raise(Ec::SpAlignment, 0, None)
    }

    /// FP is disabled at this exception level.
    pub(crate) fn fp_trap(&mut self) -> Stop {
        // CV is set and COND is 0b1110 for A64 (D17.2.37, "ISS encoding for an exception from
        // trapped SVE, SIMD or floating-point").
        self.raise(Ec::FpAccess, 1 << 24 | 0xe << 20, None)
    }

    /// Takes the exception that was prepared; the PC is at the instruction.
    pub(crate) fn take_pending(&mut self) {
        let Exception { esr, far, retires } = self.exception;
        if retires {
            self.pc = self.pc.wrapping_add(4);
            self.retired += 1;
            self.pstate &= !pstate::SS;
        }
        self.sys[Saved::EsrEl1] = esr;
        if let Some(far) = far {
            self.sys[Saved::FarEl1] = far;
        }
        self.enter_vector(Vector::Synchronous);
        let stuck = self.retired == self.loop_guard.retired;
        self.loop_guard.retired = self.retired;
        self.loop_guard.repeats = if stuck {
            self.loop_guard.repeats.saturating_add(1)
        } else {
            0
        };
    }

    /// The vector that synchronous exceptions are caught at for ever, if they are.
    pub(crate) fn exception_loop(&mut self) -> Option<u64> {
        if self.loop_guard.repeats < MOST_REPEATS {
            return None;
        }
        self.loop_guard.repeats = 0;
        Some(self.pc)
    }

    /// Takes an interrupt if one is pending and not masked.
    pub(crate) fn take_interrupt(&mut self) -> bool {
        if self.irq && self.pstate & pstate::I == 0 {
            self.enter_vector(Vector::Irq);
            return true;
        }
        if self.fiq && self.pstate & pstate::F == 0 {
            self.enter_vector(Vector::Fiq);
            return true;
        }
        false
    }

    /// Enters EL1 at a vector; the PC is where to return to.
    fn enter_vector(&mut self, vector: Vector) {
        let old = self.pstate | self.nzcv_bits();
        let (vbar, sctlr) = (self.sys[Saved::VbarEl1], self.sys[Saved::SctlrEl1]);
        let Taken {
            pc,
            pstate,
            elr,
            spsr,
        } = exception::take(vector, self.pc, old, vbar, sctlr);
        self.sys[Saved::SpsrEl1] = spsr;
        self.sys[Saved::ElrEl1] = elr;
        self.set_mode_bits(pstate);
        self.pc = pc;
    }

    /// `ERET`. The PC must not be advanced afterwards.
    pub(crate) fn exception_return(&mut self) -> Result<(), Stop> {
        if self.el() == 0 {
            return Err(self.undefined());
        }
        let spsr = self.sys[Saved::SpsrEl1];
        let target = self.sys[Saved::ElrEl1];
        let legal = matches!(
            spsr & pstate::MODE,
            pstate::EL0T | pstate::EL1T | pstate::EL1H
        );
        let mut new = if legal {
            spsr
        } else {
            // The mode stays, and the next instruction takes an illegal state exception.
            spsr & !pstate::MODE | self.pstate & 0xf | pstate::IL
        };
        if !self.step_survives_return(new) {
            new &= !pstate::SS;
        }
        self.monitor = None;
        self.seat().send_event();
        self.set_pstate(new);
        self.pc = target;
        if self.irq || self.fiq {
            self.look_up_soon();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aarch64::Saved;
    use memory::Layout;

    use crate::cluster::{Clock, Cluster};
    use crate::{Cpu, Event, Interpreter};

    #[derive(Debug)]
    struct Still;

    impl Clock for Still {
        fn counter(&self) -> u64 {
            0
        }
        fn frequency(&self) -> u64 {
            1
        }
    }

    /// The vector at which a CPU without memory is caught.
    fn caught_at(vbar: u64, tcr: u64, sctlr: u64) -> Event {
        let layout = Arc::new(Layout::default());
        let mut cpu = Cpu::new(0, Arc::new(Cluster::new(1)), Arc::new(Still), layout);
        cpu.set_saved(Saved::VbarEl1, vbar);
        cpu.set_saved(Saved::TcrEl1, tcr);
        cpu.set_saved(Saved::SctlrEl1, sctlr);
        Interpreter::new(16).run(&mut cpu)
    }

    #[test]
    fn a_vector_without_memory_ends_the_run() {
        assert_eq!(caught_at(0x1000, 0, 0), Event::ExceptionLoop(0x1200));
    }

    #[test]
    fn a_vector_with_a_tag_ends_the_run() {
        const TBI0: u64 = 1 << 37;
        let event = caught_at(0x1d00_0000_0000_1000, TBI0 | 25, 1);
        assert!(matches!(event, Event::ExceptionLoop(_)), "{event:?}");
    }
}
