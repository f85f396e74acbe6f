//! A GIC that answers user space as KVM's does (Linux, arch/arm64/kvm/vgic), one struct for each
//! interrupt. It shares no code with what it tests, and finds registers by their attributes'
//! numbers.

use std::cell::{Cell, RefCell};

use aarch64::machine::SPIS;

use super::super::gic_registers::{Register, Registers, Width};
use crate::api::HostError;

#[derive(Clone, Debug, Default)]
struct Irq {
    group1: bool,
    enabled: bool,
    latch: bool,
    line: bool,
    active: bool,
    edge: bool,
    priority: u8,
    affinity: u64,
    /// A timer's, of a vCPU that has run.
    hardware: bool,
}

#[derive(Clone, Debug)]
struct Cpu {
    private: Vec<Irq>,
    ctlr: u64,
    pmr: u64,
    bpr: [u64; 2],
    enabled: [u64; 2],
    active: [u64; 2],
}

/// The fake.
pub struct Fake {
    enabled: Cell<bool>,
    spis: RefCell<Vec<Irq>>,
    cpus: RefCell<Vec<Cpu>>,
    pub writes: Cell<usize>,
}

/// `ICC_CTLR_EL1` of a host: A3V, 16-bit INTIDs.
const HOST: u64 = 1 << 15;

impl Fake {
    pub fn new(vcpus: usize, priority_bits: u64) -> Self {
        let irq = |sgi, edge| Irq {
            group1: true,
            enabled: sgi,
            edge,
            ..Irq::default()
        };
        let cpu = Cpu {
            private: (0..32).map(|n| irq(n < 16, n < 16)).collect(),
            ctlr: HOST | (priority_bits - 1) << 8,
            pmr: 0,
            bpr: [0; 2],
            enabled: [0; 2],
            active: [0; 2],
        };
        Self {
            enabled: Cell::new(false),
            spis: vec![irq(false, true); SPIS.into()].into(),
            cpus: vec![cpu; vcpus].into(),
            writes: Cell::new(0),
        }
    }

    /// The vCPUs run for the first time: the kernel takes hold of their timers' interrupts.
    pub fn run(&self) {
        for cpu in self.cpus.borrow_mut().iter_mut() {
            cpu.private[27].hardware = true;
            cpu.private[30].hardware = true;
        }
    }

    /// A register of interrupts: changes, or only looks at, those that it covers.
    fn interrupts<R>(&self, cpu: Option<usize>, at: u64, visit: impl FnOnce(&mut [Irq]) -> R) -> R {
        match cpu {
            Some(cpu) => visit(&mut self.cpus.borrow_mut()[cpu].private),
            // The distributor's registers of SGIs and PPIs are not there.
            None => {
                let mut all = vec![Irq::default(); 32];
                all.append(&mut self.spis.borrow_mut());
                let result = visit(&mut all);
                *self.spis.borrow_mut() = all.split_off(32);
                assert!(at >= 4, "the table never asks for these");
                result
            }
        }
    }

    fn frame_read(&self, cpu: Option<usize>, offset: u64) -> u64 {
        let flags = |base: u64, get: fn(&Irq) -> bool| {
            let first = (offset - base) as usize * 8;
            self.interrupts(cpu, offset, |irqs| {
                (0..32).map(|i| u64::from(get(&irqs[first + i])) << i).sum()
            })
        };
        match offset {
            0 => 0x50 + 2 * u64::from(self.enabled.get()),
            8 => 0x4b00_343b,
            0x80..0x100 => flags(0x80, |irq| irq.group1),
            0x100..0x180 => flags(0x100, |irq| irq.enabled),
            0x200..0x280 => flags(0x200, |irq| irq.latch),
            0x300..0x380 => flags(0x300, |irq| irq.active),
            0x400..0x800 => self.interrupts(cpu, offset, |irqs| {
                let bytes = &irqs[(offset - 0x400) as usize..][..4];
                (0..)
                    .zip(bytes)
                    .map(|(i, irq)| u64::from(irq.priority) << (8 * i))
                    .sum()
            }),
            0xc00..0xd00 => self.interrupts(cpu, offset, |irqs| {
                let pairs = &irqs[(offset - 0xc00) as usize * 4..][..16];
                (0..)
                    .zip(pairs)
                    .map(|(i, irq)| u64::from(irq.edge) << (2 * i + 1))
                    .sum()
            }),
            0x6100.. => self.spis.borrow()[(offset - 0x6100) as usize / 8].affinity,
            _ => panic!("KVM has nothing at {offset:#x}"),
        }
    }

    fn frame_write(&self, cpu: Option<usize>, offset: u64, value: u64) {
        let flags = |base: u64, set: &dyn Fn(&mut Irq, bool)| {
            let first = (offset - base) as usize * 8;
            self.interrupts(cpu, offset, |irqs| {
                (0..32).for_each(|i| set(&mut irqs[first + i], value >> i & 1 == 1));
            });
        };
        match offset {
            0 => self.enabled.set(value & 2 != 0),
            8 => assert_eq!(value, 0x4b00_343b, "what was read"),
            0x80..0x100 => flags(0x80, &|irq, on| irq.group1 = on),
            0x100..0x180 => flags(0x100, &|irq, on| irq.enabled |= on),
            0x180..0x200 => flags(0x180, &|irq, on| irq.enabled &= !on),
            0x200..0x280 => flags(0x200, &|irq, on| irq.latch = on),
            0x280..0x300 => (),
            0x300..0x380 => flags(0x300, &|irq, on| irq.active |= on && !irq.hardware),
            0x380..0x400 => flags(0x380, &|irq, on| irq.active &= !on || irq.hardware),
            0x400..0x800 => self.interrupts(cpu, offset, |irqs| {
                let bytes = &mut irqs[(offset - 0x400) as usize..][..4];
                for (i, irq) in (0..).zip(bytes) {
                    irq.priority = (value >> (8 * i)) as u8 & 0xf8;
                }
            }),
            0xc00..0xd00 if cpu.is_some() => (),
            0xc00..0xd00 => self.interrupts(cpu, offset, |irqs| {
                let pairs = &mut irqs[(offset - 0xc00) as usize * 4..][..16];
                for (i, irq) in (0..).zip(pairs) {
                    irq.edge = value >> (2 * i + 1) & 1 == 1;
                }
            }),
            0x6100.. => {
                let mut spis = self.spis.borrow_mut();
                spis[(offset - 0x6100) as usize / 8].affinity = value & 0xff_ffff;
            }
            _ => panic!("KVM has nothing at {offset:#x}"),
        }
    }

    fn icc_read(&self, cpu: usize, encoding: u64) -> u64 {
        let cpu = &self.cpus.borrow()[cpu];
        match encoding {
            0xc230 => cpu.pmr,
            0xc643 => cpu.bpr[0],
            0xc663 if cpu.ctlr & 1 == 1 => 7.min(cpu.bpr[0] + 1),
            0xc663 => cpu.bpr[1],
            0xc644 => cpu.active[0],
            0xc648 => cpu.active[1],
            0xc664 => cpu.ctlr,
            0xc666 => cpu.enabled[0],
            0xc667 => cpu.enabled[1],
            _ => panic!("KVM has no {encoding:#x}"),
        }
    }

    fn icc_write(&self, cpu: usize, encoding: u64, value: u64) {
        let cpu = &mut self.cpus.borrow_mut()[cpu];
        match encoding {
            0xc230 => cpu.pmr = value & 0xff,
            0xc643 => cpu.bpr[0] = value & 7,
            0xc663 if cpu.ctlr & 1 == 1 => (),
            0xc663 => cpu.bpr[1] = value & 7,
            0xc644 => cpu.active[0] = value & 0xffff_ffff,
            0xc648 => cpu.active[1] = value & 0xffff_ffff,
            0xc664 => {
                assert_eq!(value & !3, cpu.ctlr & !3, "KVM refuses another host's");
                cpu.ctlr = value;
            }
            0xc666 => cpu.enabled[0] = value & 1,
            0xc667 => cpu.enabled[1] = value & 1,
            _ => panic!("KVM has no {encoding:#x}"),
        }
    }

    /// The wires of a bank. What is edge-triggered reads zero, but can be written.
    fn wires(&self, cpu: usize, first: usize, change: Option<u64>) -> u64 {
        let cpu = (first == 0).then_some(cpu);
        self.interrupts(cpu, 4, |irqs| {
            let bank = &mut irqs[first..first + 32];
            for (i, irq) in bank.iter_mut().enumerate() {
                if let Some(levels) = change
                    && first + i >= 16
                {
                    irq.line = levels >> i & 1 == 1;
                }
            }
            (0..)
                .zip(bank)
                .map(|(i, irq)| u64::from(irq.line && !irq.edge) << i)
                .sum()
        })
    }
}

/// The vCPU of an attribute.
fn cpu(number: u64) -> usize {
    let affinity = (number >> 32) as usize;
    (affinity >> 8) * 16 + (affinity & 15)
}

impl Registers for Fake {
    fn get(&self, register: Register) -> Result<u64, HostError> {
        let (group, number, width) = register.attribute();
        let low = number & 0xffff_ffff;
        let value = match group {
            1 => self.frame_read(None, low),
            5 => self.frame_read(Some(cpu(number)), low - 0x1_0000),
            6 => self.icc_read(cpu(number), low),
            7 => self.wires(cpu(number), low as usize, None),
            _ => panic!("group {group}"),
        };
        assert!(width == Width::Double || value >> 32 == 0);
        Ok(value)
    }

    fn set(&self, register: Register, value: u64) -> Result<(), HostError> {
        self.writes.set(self.writes.get() + 1);
        let (group, number, width) = register.attribute();
        assert!(width == Width::Double || value >> 32 == 0, "{register:?}");
        let low = number & 0xffff_ffff;
        match group {
            1 => self.frame_write(None, low, value),
            5 => self.frame_write(Some(cpu(number)), low - 0x1_0000, value),
            6 => self.icc_write(cpu(number), low, value),
            7 => drop(self.wires(cpu(number), low as usize, Some(value))),
            _ => panic!("group {group}"),
        }
        Ok(())
    }
}
