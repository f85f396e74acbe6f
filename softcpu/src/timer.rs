//! The generic timers as the guest reads and writes them (D12): `CNTV` and `CNTP`, which count
//! alike since the model has no EL2 to set an offset.
//!
//! The CPU keeps the registers and notices when an output changes ([`Event::Timer`]); the owner
//! wires the outputs to its interrupt controller. There is no event stream: WFE never waits.

use aarch64::Saved;
use aarch64::timer::{CTL_ENABLE, CTL_ISTATUS, TIMERS, Timer};

use crate::cpu::{Cpu, Event, Stop};

/// `CNTKCTL_EL1.EL0PCTEN`: EL0 may read the physical counter.
const EL0PCTEN: u64 = 1 << 0;
/// `CNTKCTL_EL1.EL0VCTEN`: EL0 may read the virtual counter.
const EL0VCTEN: u64 = 1 << 1;
/// `CNTKCTL_EL1.EL0VTEN`: EL0 may use the virtual timer.
const EL0VTEN: u64 = 1 << 8;
/// `CNTKCTL_EL1.EL0PTEN`: EL0 may use the physical timer.
const EL0PTEN: u64 = 1 << 9;

/// One of the two timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// `CNTV_*`
    Virtual,
    /// `CNTP_*`
    Physical,
}

impl Which {
    fn ctl(self) -> Saved {
        match self {
            Self::Virtual => Saved::CntvCtlEl0,
            Self::Physical => Saved::CntpCtlEl0,
        }
    }

    fn cval(self) -> Saved {
        match self {
            Self::Virtual => Saved::CntvCvalEl0,
            Self::Physical => Saved::CntpCvalEl0,
        }
    }

    fn el0_bit(self) -> u64 {
        match self {
            Self::Virtual => EL0VTEN,
            Self::Physical => EL0PTEN,
        }
    }
}

impl Cpu {
    /// The counter.
    pub(crate) fn counter(&self) -> u64 {
        self.clock.counter_at(self.retired)
    }

    /// `CNTVCT_EL0`
    pub(crate) fn read_virtual_counter(&mut self) -> Result<u64, Stop> {
        self.check_timer_access(EL0VCTEN)?;
        Ok(self.counter())
    }

    /// `CNTPCT_EL0`
    pub(crate) fn read_physical_counter(&mut self) -> Result<u64, Stop> {
        self.check_timer_access(EL0PCTEN)?;
        Ok(self.counter())
    }

    /// `CNTFRQ_EL0`
    pub(crate) fn read_counter_frequency(&mut self) -> Result<u64, Stop> {
        self.check_timer_access(EL0PCTEN | EL0VCTEN)?;
        Ok(self.clock.frequency())
    }

    /// `CNTx_CTL_EL0`
    pub(crate) fn read_timer_ctl(&mut self, which: Which) -> Result<u64, Stop> {
        self.check_timer_access(which.el0_bit())?;
        let ctl = self.sys[which.ctl()];
        let met = ctl & CTL_ENABLE != 0 && self.counter() >= self.sys[which.cval()];
        Ok(if met { ctl | CTL_ISTATUS } else { ctl })
    }

    /// `CNTx_CTL_EL0`
    pub(crate) fn write_timer_ctl(&mut self, which: Which, value: u64) -> Result<(), Stop> {
        self.check_timer_access(which.el0_bit())?;
        self.set_saved(which.ctl(), value);
        Ok(())
    }

    /// `CNTx_CVAL_EL0`
    pub(crate) fn read_timer_cval(&mut self, which: Which) -> Result<u64, Stop> {
        self.check_timer_access(which.el0_bit())?;
        Ok(self.sys[which.cval()])
    }

    /// `CNTx_CVAL_EL0`
    pub(crate) fn write_timer_cval(&mut self, which: Which, value: u64) -> Result<(), Stop> {
        self.check_timer_access(which.el0_bit())?;
        self.set_saved(which.cval(), value);
        Ok(())
    }

    /// `CNTx_TVAL_EL0`: ticks until the compare value, 32 bits.
    pub(crate) fn read_timer_tval(&mut self, which: Which) -> Result<u64, Stop> {
        self.check_timer_access(which.el0_bit())?;
        let left = self.sys[which.cval()].wrapping_sub(self.counter());
        Ok(left & 0xffff_ffff)
    }

    /// `CNTx_TVAL_EL0`
    pub(crate) fn write_timer_tval(&mut self, which: Which, value: u64) -> Result<(), Stop> {
        self.check_timer_access(which.el0_bit())?;
        let ticks = i64::from(value as u32 as i32);
        let cval = self.counter().wrapping_add_signed(ticks);
        self.set_saved(which.cval(), cval);
        Ok(())
    }

    /// The outputs of the timers at this moment: those of [`TIMERS`].
    #[must_use]
    pub fn timer_outputs(&self) -> [bool; TIMERS.len()] {
        let idle = TIMERS.iter().all(|t| self.sys[t.ctl] & CTL_ENABLE == 0);
        if idle {
            return [false; TIMERS.len()];
        }
        let now = self.counter();
        TIMERS.map(|t| {
            let timer = Timer {
                ctl: self.sys[t.ctl],
                cval: self.sys[t.cval],
            };
            timer.output(now)
        })
    }

    /// An event if an output differs from what the owner was told last.
    pub(crate) fn check_timers(&mut self) -> Option<Event> {
        let outputs = self.timer_outputs();
        if outputs == self.reported_outputs {
            return None;
        }
        self.reported_outputs = outputs;
        Some(Event::Timer)
    }

    /// EL0 needs one of these bits of `CNTKCTL_EL1`.
    fn check_timer_access(&mut self, bits: u64) -> Result<(), Stop> {
        if self.el() == 0 && self.sys[Saved::CntkctlEl1] & bits == 0 {
            return Err(self.system_trap());
        }
        Ok(())
    }
}
