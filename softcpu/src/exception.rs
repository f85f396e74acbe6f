//! Exceptions.

use aarch64::syndrome::{Ec, esr};

use crate::cpu::{Cpu, Exception, Stop};
use crate::mem::Direction;

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

    /// The instruction is undefined.
    pub(crate) fn undefined(&mut self) -> Stop {
        self.raise(Ec::Unknown, 0, None)
    }

    /// An access is misaligned.
    pub(crate) fn alignment_fault(&mut self, va: u64, direction: Direction) -> Stop {
        self.data_abort(va, direction, 0x21)
    }

    /// An atomic or exclusive access meets a device.
    pub(crate) fn unsupported_atomic(&mut self, va: u64) -> Stop {
        self.data_abort(va, Direction::Update, 0x35)
    }

    /// A device refused an access.
    pub(crate) fn external_abort(&mut self, va: u64, write: bool) -> Stop {
        self.data_abort(
            va,
            if write {
                Direction::Write
            } else {
                Direction::Read
            },
            0x10,
        )
    }

    /// A data abort with this fault status.
    pub(crate) fn data_abort(&mut self, va: u64, direction: Direction, status: u32) -> Stop {
        let ec = if self.el() == 0 {
            Ec::DataAbortLower
        } else {
            Ec::DataAbortSame
        };
        let wnr = u32::from(direction.writes()) << 6;
        self.raise(ec, wnr | status, Some(va))
    }

    /// The stack pointer is misaligned.
    pub(crate) fn sp_alignment_fault(&mut self) -> Stop {
        self.raise(Ec::SpAlignment, 0, None)
    }

    /// Takes the exception that `stop` stands for; the PC is at the instruction.
    pub(crate) fn take_pending(&mut self, _stop: Stop) {}
}

impl Cpu {
    /// FP is disabled at this exception level.
    pub(crate) fn fp_trap(&mut self) -> Stop {
        // CV is set and COND is 0b1110 for A64 (D17.2.37, "ISS encoding for an exception from
        // trapped SVE, SIMD or floating-point").
        self.raise(Ec::FpAccess, 1 << 24 | 0xe << 20, None)
    }
}
