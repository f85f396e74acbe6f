//! The GIC: a guest's accesses in any order and of any size, and saved states.

use aarch64::gic_state::{GicBank, GicState, GicVcpuState, IccState};
use aarch64::machine::GICR_STRIDE;
use aarch64::{Intid, Size, SysReg, VcpuId};
use devices::gic::Gic;

use crate::bytes::Bytes;

/// What guests and devices do to a GIC leaves it in a state that can be saved and restored.
pub fn accesses(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let vcpus = bytes.pick(&[1, 2, 4, 17, 123]);
    let mut gic = Gic::new(vcpus);
    while !bytes.is_empty() {
        operation(&mut gic, &mut bytes);
    }
    check_restores(&gic);
}

/// A saved state with damage is refused, or is a GIC that works.
pub fn state(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let mut gic = Gic::new(bytes.pick(&[1, 3, 123]));
    for _ in 0..bytes.below(32) {
        operation(&mut gic, &mut bytes);
    }
    let mut state = gic.save();
    for _ in 0..bytes.below(8) {
        damage(&mut state, &mut bytes);
    }
    if let Ok(mut gic) = Gic::try_from(&state) {
        while !bytes.is_empty() {
            operation(&mut gic, &mut bytes);
        }
        check_restores(&gic);
    }
}

fn check_restores(gic: &Gic) {
    let saved = gic.save();
    let restored = Gic::try_from(&saved).expect("what was saved can be restored");
    assert_eq!(restored.save(), saved);
    for vcpu in (0..gic.vcpus()).map(VcpuId) {
        assert_eq!(restored.outputs(vcpu), gic.outputs(vcpu), "{vcpu}");
        assert_eq!(restored.wakes(vcpu), gic.wakes(vcpu), "{vcpu}");
    }
}

fn operation(gic: &mut Gic, bytes: &mut Bytes<'_>) {
    let vcpus = u64::from(gic.vcpus());
    let vcpu = VcpuId(bytes.below(vcpus) as u16);
    let frames = vcpus * GICR_STRIDE;
    match bytes.below(12) {
        0 => drop(gic.dist_read(offset(bytes, 0x1_0000), size(bytes))),
        1 | 2 => gic.dist_write(offset(bytes, 0x1_0000), size(bytes), bytes.value()),
        3 => drop(gic.redist_read(offset(bytes, frames), size(bytes))),
        4 | 5 => gic.redist_write(offset(bytes, frames), size(bytes), bytes.value()),
        6 => drop(gic.icc_read(vcpu, icc(bytes))),
        7 | 8 => drop(gic.icc_write(vcpu, icc(bytes), bytes.value())),
        9 => gic.set_spi(intid(bytes), bytes.flag()),
        10 => gic.set_ppi(vcpu, intid(bytes), bytes.flag()),
        _ => match bytes.below(5) {
            0 => gic.pulse_spi(intid(bytes)),
            1 => gic.reset_cpu_interface(vcpu),
            2 => drop(gic.v2m_read(offset(bytes, 0x1000), size(bytes))),
            3 => gic.v2m_write(offset(bytes, 0x1000), size(bytes), bytes.value()),
            _ => gic.reset(),
        },
    }
    for moved in gic.take_changed() {
        let _ = (gic.irq(moved), gic.fiq(moved));
    }
}

/// Mostly aligned to a word, and now and then past the end.
fn offset(bytes: &mut Bytes<'_>, frame: u64) -> u64 {
    match bytes.below(8) {
        0 => bytes.value(),
        1 => bytes.below(frame),
        2 => bytes.below(0x400) * 4,
        _ => bytes.below(frame) & !3,
    }
}

/// Mostly a word.
fn size(bytes: &mut Bytes<'_>) -> Size {
    bytes.pick(&[Size::B, Size::H, Size::W, Size::D, Size::W, Size::W])
}

fn intid(bytes: &mut Bytes<'_>) -> Intid {
    Intid(match bytes.below(4) {
        0 => bytes.u32(),
        _ => bytes.below(64) as u32,
    })
}

/// Mostly one of the registers that there are: CRn 12 and the priority mask.
fn icc(bytes: &mut Bytes<'_>) -> SysReg {
    match bytes.below(8) {
        0 => SysReg(bytes.u16()),
        1 => SysReg::new(3, 0, 4, 6, 0),
        _ => SysReg::new(3, 0, 12, 8 + bytes.u8() % 5, bytes.u8() % 8),
    }
}

pub(super) fn damage(state: &mut GicState, bytes: &mut Bytes<'_>) {
    let GicState {
        ctlr,
        spis,
        routes,
        vcpus,
    } = state;
    match bytes.below(7) {
        0 => *ctlr ^= bytes.value() as u32,
        1 => match bytes.below(3) {
            0 => drop(spis.pop()),
            1 => drop(routes.pop()),
            _ => drop(vcpus.pop()),
        },
        2 | 3 => {
            let index = bytes.below(spis.len() as u64 + 1) as usize;
            if let Some(bank) = spis.get_mut(index) {
                damage_bank(bank, bytes);
            }
        }
        4 => {
            let index = bytes.below(routes.len() as u64 + 1) as usize;
            if let Some(route) = routes.get_mut(index) {
                *route ^= bytes.value();
            }
        }
        _ => {
            let index = bytes.below(vcpus.len() as u64 + 1) as usize;
            if let Some(vcpu) = vcpus.get_mut(index) {
                damage_vcpu(vcpu, bytes);
            }
        }
    }
}

fn damage_bank(bank: &mut GicBank, bytes: &mut Bytes<'_>) {
    let GicBank {
        group,
        enabled,
        latch,
        level,
        active,
        edge,
        priority,
    } = bank;
    let words = [group, enabled, latch, level, active, edge];
    match bytes.below(7) {
        6 => priority[bytes.below(32) as usize] ^= bytes.u8(),
        word => *words.into_iter().nth(word as usize).expect("six words") ^= bytes.value() as u32,
    }
}

fn damage_vcpu(vcpu: &mut GicVcpuState, bytes: &mut Bytes<'_>) {
    let GicVcpuState { private, icc } = vcpu;
    let IccState {
        pmr,
        bpr0,
        bpr1,
        ctlr,
        igrpen0,
        igrpen1,
        ap0r0,
        ap1r0,
    } = icc;
    match bytes.below(9) {
        0 => *igrpen0 ^= true,
        1 => *igrpen1 ^= true,
        2 => *pmr ^= bytes.u8(),
        3 => *bpr0 ^= bytes.u8(),
        4 => *bpr1 ^= bytes.u8(),
        5 => *ctlr ^= bytes.value() as u32,
        6 => *ap0r0 ^= bytes.value() as u32,
        7 => *ap1r0 ^= bytes.value() as u32,
        _ => damage_bank(private, bytes),
    }
}
