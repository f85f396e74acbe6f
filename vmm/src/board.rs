//! What a vCPU's exits reach: the machine around the vCPUs, behind one trait.
//!
//! The run loop knows nothing else of the machine, so that it can be tested exit by exit against
//! a board of a few lines.

use aarch64::{Gpa, Intid, Size, SysReg, VcpuId};

use crate::power::Entry;

/// The machine around the vCPUs. Every vCPU thread calls it at once.
///
/// No call may block for long or panic, whatever the guest asks. `None` from an access means that
/// nothing is there: the guest takes an external abort or an undefined-instruction exception.
pub trait Board: Send + Sync {
    /// A load from where no memory is.
    fn mmio_read(&self, gpa: Gpa, size: Size) -> Option<u64>;
    /// A store to where no memory is.
    fn mmio_write(&self, gpa: Gpa, size: Size, data: u64) -> Option<()>;
    /// A read of a system register that no backend owns.
    fn sysreg_read(&self, vcpu: VcpuId, reg: SysReg) -> Option<u64>;
    /// A write to a system register that no backend owns.
    fn sysreg_write(&self, vcpu: VcpuId, reg: SysReg, data: u64) -> Option<()>;
    /// Holds a private interrupt input of a vCPU high or low.
    fn set_ppi(&self, vcpu: VcpuId, intid: Intid, high: bool);
    /// A vCPU was turned off: its interface to the interrupt controller starts over.
    fn reset_cpu_interface(&self, vcpu: VcpuId);
    /// The vCPUs were stopped, or are about to go. What acts by itself (input, alarms) does nothing
    /// while they are stopped, so that the machine has one state.
    fn set_stopped(&self, stopped: bool);
    /// Presses the power key, and lets it go. Only while the vCPUs run.
    fn press_power_key(&self);
    /// Whether a core can start at `gpa`.
    fn is_memory(&self, gpa: Gpa) -> bool;
    /// Puts memory, devices and the interrupt controller into their state at power-on, and says
    /// where vCPU 0 starts. No vCPU runs meanwhile.
    ///
    /// # Errors
    /// A line for the user when the host does not give what the machine needs.
    fn reset(&self) -> Result<Entry, String>;
}
