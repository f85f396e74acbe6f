//! Entries into the guest.

use super::{Asked, HvfVcpu};
use crate::api::{Exit, HostError};
use crate::hvf::abi::{ExitRecord, interrupt, reason, status};
use crate::hvf::sys::Failure;
use crate::hvf::timer::Change;

impl HvfVcpu {
    /// Runs the guest until the VMM is concerned.
    ///
    /// What is looked at before each entry, in this order: exits that wait to be told, the counter's
    /// offset, timers, kicks. The kick's flag comes last, after anything that takes time, and again
    /// after each exit, because a kick that meets the vCPU on its way out is lost by the framework.
    pub(super) fn enter(&mut self) -> Result<Exit, HostError> {
        loop {
            if let Some((asked, exit)) = self.held.take() {
                self.asked = asked;
                return Ok(exit);
            }
            self.follow_time()?;
            let looked = self.timer_unsure || self.timer.is_masked();
            if looked && self.look_at_timer()? || self.seat()?.take_alarm() {
                return Ok(Exit::Timer);
            }
            if self.seat()?.take_kick() {
                return Ok(Exit::Kicked);
            }
            self.prepare_debugging()?;
            self.raise_interrupts()?;
            let record = self.raw.run().map_err(|failure| self.cannot_run(failure))?;
            let Some((asked, exit)) = self.left(record)? else {
                continue;
            };
            // The guest may have made the timer's output low without an exit. The VMM hears of that
            // before it acts on this exit, which may be the guest asking what is pending.
            if asked != Asked::Nothing && self.timer.is_masked() && self.look_at_timer()? {
                self.held = Some((asked, exit));
                return Ok(Exit::Timer);
            }
            self.asked = asked;
            return Ok(exit);
        }
    }

    /// Looks into why the guest was left. `None` when that concerns nobody else.
    fn left(&mut self, record: ExitRecord) -> Result<Option<(Asked, Exit)>, HostError> {
        match record.reason {
            // Somebody wanted it to look at something: it does so before each entry.
            reason::CANCELED => Ok(None),
            reason::EXCEPTION => self.trapped(record),
            reason::VTIMER_ACTIVATED => {
                self.timer.fired();
                Ok(Some((Asked::Nothing, Exit::Timer)))
            }
            // UNKNOWN comes, among other reasons, when the timer fires while that is not looked for.
            other => {
                self.timer_unsure = true;
                if self.patience.is_lost(self.pc()?, 0) {
                    let line = format!(
                        "Hypervisor.framework stops {} again and again for reason {other}",
                        self.id
                    );
                    return Err(HostError::BadState(line));
                }
                Ok(None)
            }
        }
    }

    /// Takes over a new offset of the counter.
    pub(super) fn follow_time(&mut self) -> Result<(), HostError> {
        if let Some((offset, version)) = self.shared.time.changed_since(self.time_version) {
            self.raw.set_counter_offset(offset)?;
            self.time_version = version;
            self.timer_unsure = true;
            // Its alarm is set in the host's ticks.
            self.arm_physical_timer()?;
        }
        Ok(())
    }

    /// Compares the virtual timer's output with what the VMM believes. Whether the VMM has to look.
    fn look_at_timer(&mut self) -> Result<bool, HostError> {
        let output = self.virtual_timer()?.output(self.counter());
        self.timer_unsure = false;
        let change = self.timer.look(output);
        match change {
            None => {}
            Some(Change::Rose) => self.raw.set_timer_mask(true)?,
            Some(Change::Fell) => self.raw.set_timer_mask(false)?,
        }
        Ok(change.is_some())
    }

    /// Makes interrupts pending whose inputs are high. The framework forgets them on every exit.
    fn raise_interrupts(&mut self) -> Result<(), HostError> {
        for (kind, high) in [interrupt::IRQ, interrupt::FIQ].into_iter().zip(self.lines) {
            if high {
                self.raw.set_pending(kind, true)?;
            }
        }
        Ok(())
    }

    fn cannot_run(&self, failure: Failure) -> HostError {
        if failure.code != status::ILLEGAL_GUEST_STATE {
            return failure.into();
        }
        let (pc, pstate) = (self.pc().unwrap_or(0), self.pstate().unwrap_or(0));
        HostError::BadState(format!(
            "the processor does not take the registers of {}: PC {pc:#x}, PSTATE {pstate:#x}",
            self.id
        ))
    }
}
