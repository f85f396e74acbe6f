//! The CPU interface's system registers as a vCPU accesses them.

use aarch64::gic::{BANK, END_OF_SPIS};
use aarch64::gic::{Icc, IccAccess, SPURIOUS, SRE_VALUE, SgiRequest, SgiTargets};
use aarch64::{SysReg, VcpuId};

use super::{Bank, CpuInterface, Gic, Group, Groups};

impl Gic {
    /// What a vCPU reads from a system register. `None` when the access is undefined.
    pub fn icc_read(&mut self, vcpu: VcpuId, reg: SysReg) -> Option<u64> {
        let reg = Icc::from_sysreg(reg)?;
        if reg.access() == IccAccess::Wo {
            return None;
        }
        let cpu = &mut self.cpus[vcpu.index()];
        let value = match reg {
            Icc::Iar0 => self.acknowledge(vcpu, Group::Zero),
            Icc::Iar1 => self.acknowledge(vcpu, Group::One),
            Icc::Hppir0 => CpuInterface::highest_pending(cpu.best, Group::Zero),
            Icc::Hppir1 => CpuInterface::highest_pending(cpu.best, Group::One),
            Icc::Pmr => cpu.icc.priority_mask().into(),
            Icc::Rpr => cpu.icc.running_priority().into(),
            Icc::Bpr0 => cpu.icc.binary_point(Group::Zero).into(),
            Icc::Bpr1 => cpu.icc.binary_point(Group::One).into(),
            Icc::Ap0r0 => *cpu.icc.active_priorities(Group::Zero),
            Icc::Ap1r0 => *cpu.icc.active_priorities(Group::One),
            Icc::Ctlr => cpu.icc.control(),
            Icc::Igrpen0 => cpu.icc.enabled().group0.into(),
            Icc::Igrpen1 => cpu.icc.enabled().group1.into(),
            Icc::Sre => return Some(SRE_VALUE),
            Icc::Eoir0 | Icc::Eoir1 | Icc::Dir | Icc::Sgi0r | Icc::Sgi1r | Icc::Asgi1r => {
                return None;
            }
        };
        Some(value.into())
    }

    /// A vCPU's write to a system register. `None` when the access is undefined.
    pub fn icc_write(&mut self, vcpu: VcpuId, reg: SysReg, data: u64) -> Option<()> {
        let reg = Icc::from_sysreg(reg)?;
        if reg.access() == IccAccess::Ro {
            return None;
        }
        let cpu = &mut self.cpus[vcpu.index()];
        let [byte, ..] = data.to_le_bytes();
        let word = data as u32;
        match reg {
            Icc::Eoir0 => self.end(vcpu, Group::Zero, word),
            Icc::Eoir1 => self.end(vcpu, Group::One, word),
            Icc::Dir => {
                if cpu.icc.split_eoi() {
                    self.deactivate(vcpu, word);
                }
            }
            Icc::Sgi1r => self.send_sgi(vcpu, SgiRequest::decode(data), Groups::BOTH),
            Icc::Sgi0r | Icc::Asgi1r => self.send_sgi(vcpu, SgiRequest::decode(data), Groups::ZERO),
            Icc::Pmr => cpu.icc.set_priority_mask(byte),
            Icc::Bpr0 => cpu.icc.set_binary_point(Group::Zero, byte),
            Icc::Bpr1 => cpu.icc.set_binary_point(Group::One, byte),
            Icc::Ap0r0 => *cpu.icc.active_priorities(Group::Zero) = word,
            Icc::Ap1r0 => *cpu.icc.active_priorities(Group::One) = word,
            Icc::Ctlr => cpu.icc.set_control(word),
            Icc::Igrpen0 => self.enable_group(vcpu, Group::Zero, word & 1 != 0),
            Icc::Igrpen1 => self.enable_group(vcpu, Group::One, word & 1 != 0),
            Icc::Sre => (),
            Icc::Iar0 | Icc::Iar1 | Icc::Hppir0 | Icc::Hppir1 | Icc::Rpr => return None,
        }
        self.touched.insert(vcpu);
        self.settle();
        Some(())
    }

    /// `ICC_IAR<group>_EL1`: takes the most urgent interrupt if it is signalled and of this group.
    fn acknowledge(&mut self, vcpu: VcpuId, group: Group) -> u32 {
        let cpu = &mut self.cpus[vcpu.index()];
        let taken = cpu
            .best
            .filter(|best| best.group == group && cpu.icc.signals(*best));
        let Some(pending) = taken else {
            return SPURIOUS;
        };
        cpu.icc.activate(pending);
        self.touched.insert(vcpu);
        self.with_interrupt(vcpu, pending.intid, Bank::acknowledge);
        pending.intid
    }

    /// `ICC_EOIR<group>_EL1`.
    fn end(&mut self, vcpu: VcpuId, group: Group, value: u32) {
        let cpu = &mut self.cpus[vcpu.index()];
        // What is no interrupt was never acknowledged.
        if intid(value) < END_OF_SPIS {
            cpu.icc.drop_priority(group);
            if !cpu.icc.split_eoi() {
                self.deactivate(vcpu, value);
            }
        }
    }

    fn deactivate(&mut self, vcpu: VcpuId, value: u32) {
        self.with_interrupt(vcpu, intid(value), Bank::deactivate);
    }

    /// Changes an interrupt as seen from a vCPU, and settles.
    fn with_interrupt(&mut self, vcpu: VcpuId, intid: u32, change: fn(&mut Bank, u32)) {
        if intid < BANK {
            change(&mut self.cpus[vcpu.index()].private, intid);
            self.touched.insert(vcpu);
            self.settle();
        } else if intid < END_OF_SPIS {
            self.with_spi(intid, change);
        }
    }

    /// An enable of `ICC_IGRPEN<group>_EL1`.
    fn enable_group(&mut self, vcpu: VcpuId, group: Group, on: bool) {
        self.cpus[vcpu.index()].icc.set_enabled(group, on);
        self.elect_takers();
    }

    /// Makes an SGI pending at those of its targets where it is in one of `groups`.
    fn send_sgi(&mut self, sender: VcpuId, request: SgiRequest, groups: Groups) {
        match request.targets {
            SgiTargets::Others => {
                for target in (0..self.vcpus())
                    .map(VcpuId)
                    .filter(|target| *target != sender)
                {
                    self.receive_sgi(target, request.intid, groups);
                }
            }
            SgiTargets::List { cluster, aff0 } => {
                for aff0 in super::bits(aff0.into()) {
                    let affinity = cluster | u64::from(aff0);
                    if let Some(target) = VcpuId::from_affinity(affinity, self.vcpus()) {
                        self.receive_sgi(target, request.intid, groups);
                    }
                }
            }
        }
    }

    fn receive_sgi(&mut self, target: VcpuId, sgi: u32, groups: Groups) {
        let bank = &mut self.cpus[target.index()].private;
        if groups.select(bank.group()) >> sgi & 1 == 1 {
            bank.latch(sgi);
            self.touched.insert(target);
        }
    }
}

/// The INTID in a value written to an end-of-interrupt or deactivate register.
fn intid(value: u32) -> u32 {
    value & 0xff_ffff
}
