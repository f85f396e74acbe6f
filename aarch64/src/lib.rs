//! Facts of the AArch64 architecture and of the armlet machine, as plain data and pure functions.
//!
//! Nothing here knows an operating system, a hypervisor or a device model; nothing does I/O.
//! References such as "D17.2.37" are sections of the Arm Architecture Reference Manual for
//! A-profile (DDI 0487).

#![forbid(unsafe_code)]

pub mod addr;
pub mod cpu_model;
pub mod exception;
pub mod gic;
pub mod gic_state;
pub mod id_contract;
pub mod ids;
pub mod machine;
pub mod portable;
pub mod psci;
pub mod pstate;
pub mod size;
pub mod smccc;
pub mod state;
pub mod syndrome;
pub mod sysreg;
pub mod timer;
pub mod trap;

pub use addr::{Gpa, PAGE_SIZE};
pub use ids::{Intid, VcpuId};
pub use size::Size;
pub use sysreg::{Saved, SysReg};
