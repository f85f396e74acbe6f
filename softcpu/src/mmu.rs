//! Stage-1 translation.

use aarch64::{Gpa, Saved};
use memory::{Grant, Mode};

use crate::cpu::{Cpu, Stop};
use crate::mem::{Direction, Translation};

impl Cpu {
    /// Where a virtual address leads for an access in the current mode.
    pub(crate) fn translate(
        &mut self,
        va: u64,
        _direction: Direction,
    ) -> Result<Translation, Stop> {
        let grant = Grant {
            readable: true,
            writable: true,
            global: true,
            device: false,
        };
        Ok(Translation {
            gpa: Gpa(va),
            grant,
        })
    }

    /// Whose rights accesses are made with.
    pub(crate) fn mode(&self) -> Mode {
        match (self.el(), self.pstate & aarch64::pstate::PAN) {
            (0, _) => Mode::User,
            (_, 0) => Mode::Kernel,
            _ => Mode::KernelPan,
        }
    }

    /// Makes accesses with the rights of `mode` from here on.
    pub(crate) fn set_access_mode(&mut self, mode: Mode) {
        self.frames.set_mode(mode);
    }

    /// Whether misaligned accesses to normal memory are allowed (`SCTLR_EL1.A`).
    pub(crate) fn may_misalign(&self) -> bool {
        self.sys[Saved::SctlrEl1] & 2 == 0
    }

    /// Recomputes what depends on the mode and the translation registers. To be called after any
    /// change of PSTATE's mode or PAN, `SCTLR_EL1`, `TCR_EL1`, `TTBRn_EL1`, `CPACR_EL1`.
    pub(crate) fn refresh(&mut self) {
        self.set_access_mode(self.mode());
        let fp = self.fp_enabled();
        self.context = u64::from(self.epoch) << 32 | self.el() << 1 | u64::from(fp);
    }

    /// Whether `CPACR_EL1.FPEN` allows FP at the current exception level.
    pub(crate) fn fp_enabled(&self) -> bool {
        match self.sys[Saved::CpacrEl1] >> 20 & 3 {
            3 => true,
            1 => self.el() != 0,
            _ => false,
        }
    }
}
