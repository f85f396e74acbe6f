//! A VM for one question: a few instructions, exception vectors that call back with their number,
//! and one vCPU at EL1 with its MMU off.

use ::memory::Region;
use aarch64::{Saved, machine, pstate};
use hv_backend::hvf::abi::{ExitRecord, memory, reason, reg};
use serde_json::{Value, json};

use crate::raw::{Answer, Raw, Vcpu, code};

/// Where the code begins.
pub const CODE: u64 = machine::RAM_BASE.0;
/// Where the vectors are, aligned to 2 KiB.
const VECTORS: u64 = CODE + 0x1000;
/// Where guests may keep data.
pub const DATA: u64 = CODE + 0x2000;
/// Bytes of memory: one of the framework's pages.
pub const MEMORY: usize = 0x4000;
/// Addresses with nothing behind them.
pub const NOTHING: u64 = 0x0a00_0000;
/// Vectors call with this and the vector's number.
const VECTOR: u16 = 0x100;

/// `hvc #n`
pub const fn hvc(n: u16) -> u32 {
    0xd400_0002 | (n as u32) << 5
}

/// A guest.
#[derive(Debug)]
pub struct Guest {
    raw: Raw,
    /// The vCPU.
    pub vcpu: Vcpu,
    /// Its memory, from [`CODE`] on.
    pub memory: Region,
}

/// Why the guest came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// It executed `hvc #n`.
    Called(u16),
    /// It took an exception at this vector's offset.
    Exception(u16),
    /// It trapped otherwise.
    Trapped(ExitRecord),
    /// The framework says something else.
    Other(ExitRecord),
}

impl Back {
    fn of(record: ExitRecord) -> Self {
        if record.reason != reason::EXCEPTION {
            return Self::Other(record);
        }
        let (class, immediate) = (record.syndrome >> 26, record.syndrome as u16);
        match class {
            0x16 if immediate >= VECTOR => Self::Exception((immediate - VECTOR) * 0x80),
            0x16 => Self::Called(immediate),
            _ => Self::Trapped(record),
        }
    }

    /// As the report shows it.
    pub fn show(self) -> Value {
        match self {
            Self::Called(n) => json!({ "hvc": n }),
            Self::Exception(vector) => json!({ "exception": format!("vector {vector:#x}") }),
            Self::Trapped(record) => json!({
                "class": format!("{:#x}", record.syndrome >> 26),
                "syndrome": format!("{:#x}", record.syndrome),
                "va": format!("{:#x}", record.virtual_address),
                "ipa": format!("{:#x}", record.physical_address),
            }),
            Self::Other(record) => json!({ "reason": record.reason }),
        }
    }
}

/// Asks a question of a guest that executes `code`, and shows what went wrong if it does not start.
pub fn with(raw: Raw, code: &[u32], ask: impl FnOnce(&mut Guest) -> Answer<Value>) -> Value {
    let answer = Guest::new(raw, code).and_then(|mut guest| ask(&mut guest));
    let ended = raw.destroy_vm();
    let mut answer = answer.unwrap_or_else(|refusal| json!({ "refused": self::code(refusal) }));
    if let (Err(refusal), Some(answer)) = (ended, answer.as_object_mut()) {
        answer.insert("hv_vm_destroy".into(), self::code(refusal));
    }
    answer
}

impl Drop for Guest {
    /// Guest memory goes before the host's does.
    fn drop(&mut self) {
        let _ = self.raw.unmap(CODE, MEMORY);
    }
}

impl Guest {
    /// Makes the VM and everything in it.
    fn new(raw: Raw, code: &[u32]) -> Answer<Self> {
        raw.create_vm(None)?;
        let memory =
            Region::new(MEMORY as u64).map_err(|_| hv_backend::hvf::abi::status::NO_RESOURCES)?;
        let all = memory::READ | memory::WRITE | memory::EXEC;
        raw.map(&memory, 0, CODE, MEMORY, all)?;
        let vcpu = raw.create_vcpu()?;
        let mut guest = Self { raw, vcpu, memory };
        for vector in 0..16 {
            guest.write(VECTORS + u64::from(vector) * 0x80, &[hvc(VECTOR + vector)]);
        }
        guest.load(code)?;
        Ok(guest)
    }

    /// Replaces the guest's code and starts from its beginning, with interrupts masked.
    pub fn load(&mut self, code: &[u32]) -> Answer<()> {
        self.write(CODE, code);
        self.raw.publish_code(&self.memory);
        for register in [Saved::SctlrEl1, Saved::CntvCtlEl0, Saved::CntkctlEl1] {
            self.vcpu
                .set_sysreg(register.sysreg().0, register.reset_value())?;
        }
        self.vcpu.set_sysreg(Saved::VbarEl1.sysreg().0, VECTORS)?;
        // FP and SIMD without a trap.
        self.vcpu.set_sysreg(Saved::CpacrEl1.sysreg().0, 3 << 20)?;
        self.vcpu.set_timer_mask(true)?;
        self.vcpu.set_reg(reg::CPSR, pstate::RESET)?;
        self.vcpu.set_reg(reg::PC, CODE)
    }

    /// Enters it.
    pub fn run(&mut self) -> Answer<Back> {
        self.vcpu.run().map(Back::of)
    }

    fn write(&self, at: u64, code: &[u32]) {
        for (word, at) in code.iter().zip((at - CODE..).step_by(4)) {
            // What does not fit is cut off; no question's code is longer than a page.
            let _ = self.memory.write(at, &word.to_le_bytes());
        }
    }
}
