//! The pieces of random guests.

use aarch64::machine::{
    GICD, GICR_BASE, GICV2M, GITS, GPIO, MAX_VCPUS, RAM_BASE, RTC, UART, VIRTIO_MMIO_BASE,
};
use aarch64::{Saved, SysReg, VcpuId};

use super::{LOADED_AT, TABLES_AT, asm, instruction, tables};
use crate::bytes::Bytes;

/// `TLBI VMALLE1`
const FLUSH: u32 = 0xd508_871f;
/// `SCTLR_EL1` with the MMU and caches on.
const MMU_ON: u64 = 0x30d0_1805;

/// One piece of some kind.
pub fn any(bytes: &mut Bytes<'_>) -> Vec<u32> {
    match bytes.below(24) {
        0..=7 => device_access(bytes),
        8..=10 => system_register(bytes),
        11 => interrupts(bytes),
        12 | 13 => call(bytes),
        14 => timer(bytes),
        15 => mmu(bytes),
        16 => repeat(bytes),
        17 if bytes.below(4) == 0 => wild_jump(bytes),
        18 if bytes.below(4) == 0 => other_mode(bytes),
        19 => [
            asm::set(bytes.u32() % 32, address(bytes)),
            vec![bytes.u32()],
        ]
        .concat(),
        _ => (0..1 + bytes.below(4))
            .map(|_| instruction::any(bytes))
            .collect(),
    }
}

/// An address that is most likely one of a device, of RAM, or at an edge.
fn address(bytes: &mut Bytes<'_>) -> u64 {
    let gicr = GICR_BASE.0 + bytes.below(8) * 0x1_0000;
    let base = bytes.pick(&[
        GICD.base.0,
        GICD.base.0,
        gicr,
        gicr,
        GICV2M.base.0,
        GITS.base.0,
        UART.base.0,
        RTC.base.0,
        GPIO.base.0,
        VIRTIO_MMIO_BASE.0,
        RAM_BASE.0,
        LOADED_AT,
        TABLES_AT,
    ]);
    match bytes.below(16) {
        0 => bytes.value(),
        1 => base.wrapping_sub(1 + bytes.below(16)),
        2 => base + bytes.below(0x1_0000),
        3..=6 => base + bytes.below(0x40) * 4,
        _ => base + (bytes.below(0x1_0000) & !7),
    }
}

/// An access of any form to an address.
fn device_access(bytes: &mut Bytes<'_>) -> Vec<u32> {
    let mut code = asm::set(1, address(bytes));
    code.extend(asm::set(0, bytes.value()));
    let size = bytes.u32() % 4;
    code.push(match bytes.below(12) {
        // STR and LDR of all sizes: [x1].
        0..=3 => 0x3900_0020 | size << 30,
        4..=7 => 0x3940_0020 | size << 30,
        // LDRS, LDP and STP of two words, LDR and STR of a vector register, with writeback.
        8 => 0x3880_0020 | size << 30,
        9 => 0x2880_0020 | bytes.u32() & 0xc07f_7c00,
        10 => 0x3c80_0420 | bytes.u32() & 0xc040_001f,
        // Exclusives, acquire and release, and LSE on [x1].
        _ => bytes.pick(&[0x0800_7c20, 0x085f_7c20, 0x3820_0020, 0x089f_fc20]) | size << 30,
    });
    code
}

fn system_register(bytes: &mut Bytes<'_>) -> Vec<u32> {
    let reg = instruction::system_register(bytes);
    // Another place for the vectors is where most guests would end.
    if reg == instruction::VBAR_EL1 && bytes.below(8) != 0 {
        return vec![asm::mrs(reg, 0)];
    }
    write(reg, bytes.value(), asm::mrs(reg, 2))
}

fn write(reg: SysReg, value: u64, then: u32) -> Vec<u32> {
    let mut code = asm::set(0, value);
    code.extend([asm::msr(reg, 0), then]);
    code
}

/// Everything on: groups, CPU interface, some interrupts; then one comes, or the guest waits.
fn interrupts(bytes: &mut Bytes<'_>) -> Vec<u32> {
    let store = |at: u64, value: u64| {
        let mut code = asm::set(1, at);
        code.extend(asm::set(0, value));
        // str w0, [x1]
        code.push(0xb900_0020);
        code
    };
    let icc = |crn, crm, op2| SysReg::new(3, 0, crn, crm, op2);
    let mut code = store(GICD.base.0, 3);
    code.extend(store(GICD.base.0 + 0x104, u64::MAX));
    code.extend(store(GICR_BASE.0 + 0x1_0100, u64::MAX));
    code.extend(write(icc(4, 6, 0), 0xff, asm::ISB));
    code.extend(write(icc(12, 12, 7), 1, asm::ISB));
    // ICC_SGI1R_EL1 to anybody.
    code.extend(write(icc(12, 11, 5), bytes.value(), asm::UNMASK));
    let acknowledge = asm::mrs(icc(12, 12, 0), 0);
    code.extend([acknowledge, asm::msr(icc(12, 12, 1), 0)]);
    code
}

/// `CPU_ON` of a vCPU, somewhere into the code.
pub fn start(vcpu: u16, bytes: &mut Bytes<'_>) -> Vec<u32> {
    let entry = LOADED_AT + 0x1000 + bytes.below(0x100) * 4;
    hvc([0xc400_0003, VcpuId(vcpu).affinity(), entry, bytes.value()])
}

fn hvc(arguments: [u64; 4]) -> Vec<u32> {
    let registers = (0..).zip(arguments);
    let mut code: Vec<u32> = registers
        .flat_map(|(reg, value)| asm::set(reg, value))
        .collect();
    code.push(asm::HVC);
    code
}

/// A firmware call, most likely of PSCI.
fn call(bytes: &mut Bytes<'_>) -> Vec<u32> {
    let family = bytes.pick(&[0x8400_0000, 0xc400_0000, 0x8000_0000]);
    let function = match bytes.below(4) {
        0 => bytes.value(),
        // CPU_ON of another vCPU, into the middle of this program or somewhere else.
        1 => 0xc400_0003,
        _ => family + bytes.below(0x18),
    };
    let target = match bytes.below(4) {
        0 => bytes.value(),
        1 => VcpuId(bytes.below(u64::from(MAX_VCPUS)) as u16).affinity(),
        _ => bytes.below(4),
    };
    let entry = match bytes.below(4) {
        0 => address(bytes),
        _ => LOADED_AT + 0x1000 + bytes.below(0x100) * 4,
    };
    let mut code = hvc([function, target, entry, bytes.value()]);
    match bytes.below(8) {
        0 => code.push(asm::SMC),
        1 => code.push(asm::HVC | bytes.u32() & 0x1f_ffe0),
        _ => {}
    }
    code
}

/// A timer that rings soon, and perhaps waiting for it.
fn timer(bytes: &mut Bytes<'_>) -> Vec<u32> {
    let physical = bytes.below(2) as u8;
    let register = |op2| SysReg::new(3, 3, 14, 2 + physical, op2);
    let ticks = bytes.value() & bytes.pick(&[0xff, 0xffff, u64::MAX]);
    let mut code = write(register(0), ticks, asm::ISB);
    let last = bytes.pick(&[asm::WFI, asm::UNMASK, asm::ISB]);
    code.extend(write(register(1), bytes.value() & 7 | 1, last));
    code
}

/// Turns the MMU on with tables that may be sound, or changes a part of it.
fn mmu(bytes: &mut Bytes<'_>) -> Vec<u32> {
    let table = TABLES_AT + 0x1000 * bytes.below(2 * tables::TABLES as u64);
    let (elsewhere, change) = (address(bytes), bytes.value());
    let table = bytes.pick(&[TABLES_AT, TABLES_AT, table, elsewhere]);
    let tcr = bytes.pick(&[tables::TCR, tables::TCR, tables::TCR ^ change]);
    let sctlr = bytes.pick(&[MMU_ON, MMU_ON, MMU_ON & !1, MMU_ON ^ change]);
    let values = [
        (Saved::MairEl1, tables::MAIR),
        (Saved::TcrEl1, tcr),
        (Saved::Ttbr0El1, table | bytes.below(4) << 48),
        (Saved::Ttbr1El1, table),
        (Saved::SctlrEl1, sctlr),
    ];
    let mut code: Vec<u32> = values
        .into_iter()
        .flat_map(|(reg, value)| write(reg.sysreg(), value, asm::ISB))
        .collect();
    code.push(FLUSH);
    code
}

/// Something several times over.
fn repeat(bytes: &mut Bytes<'_>) -> Vec<u32> {
    let count = 1 + bytes.below(300);
    let body = match bytes.below(2) {
        0 => device_access(bytes),
        _ => vec![instruction::known(bytes)],
    };
    let mut code = asm::set(27, count);
    code.extend(&body);
    code.extend(asm::count_down(27, body.len()));
    code
}

/// To where no code is.
fn wild_jump(bytes: &mut Bytes<'_>) -> Vec<u32> {
    let mut code = asm::set(1, address(bytes));
    code.push(asm::jump(1));
    code
}

/// `ERET` with any PSTATE, to the instruction after it.
fn other_mode(bytes: &mut Bytes<'_>) -> Vec<u32> {
    // adr x1, .+16
    let mut code = vec![0x1000_0081, asm::msr(Saved::ElrEl1.sysreg(), 1)];
    let wild = bytes.value();
    let spsr = bytes.pick(&[0x0, 0x3c0, 0x5, 0x4, wild]);
    let rest = write(Saved::SpsrEl1.sysreg(), spsr, asm::ERET);
    // The address is that of the end, wherever that is.
    code[0] = 0x1000_0001 | ((rest.len() as u32 + 2) << 5);
    code.extend(rest);
    code
}
