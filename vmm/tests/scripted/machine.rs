//! The composed machine on the scripted backend: real devices, GIC, boot and console, no CPU.

use std::fs;
use std::path::PathBuf;

use crate::harness::{call, now, power_off};
use aarch64::psci::id;
use aarch64::timer::CTL_ENABLE;
use aarch64::{Gpa, Saved, Size, SysReg, VcpuId, machine};
use hv_backend::api::{Exit, IrqLine, Resume};
use hv_backend::scripted::{Event, Script, Scripted, Step};
use vmm::config::{MachineConfig, RawConfig};
use vmm::machine::{Machine, StartError};
use vmm::outcome::Outcome;

const V0: VcpuId = VcpuId(0);
/// What the test's kernel begins with, at the start of RAM.
const FIRST_INSTRUCTION: u32 = 0x1400_0000;
/// In RAM, far from anything that is loaded.
const FAR: Gpa = Gpa(machine::RAM_BASE.0 + (24 << 20));

/// A machine's files, in a directory of the test's own.
pub struct Files(PathBuf);

impl Files {
    pub fn new(test: &str) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
        fs::create_dir_all(&dir).unwrap();
        // An arm64 Image of 4 KiB: one branch to itself.
        let mut image = vec![0; 4096];
        image[..4].copy_from_slice(&FIRST_INSTRUCTION.to_le_bytes());
        image[16..24].copy_from_slice(&4096_u64.to_le_bytes());
        image[24..32].copy_from_slice(&0b1010_u64.to_le_bytes());
        image[56..60].copy_from_slice(b"ARM\x64");
        fs::write(dir.join("Image"), image).unwrap();
        Self(dir)
    }

    pub fn config(&self, no_reboot: bool) -> MachineConfig {
        let raw = RawConfig {
            kernel: Some(self.0.join("Image")),
            cmdline: Some("hello".into()),
            memory: Some("32M".into()),
            accel: Some("soft".into()),
            serial: Some(format!("file:{}", self.serial().display())),
            no_reboot: Some(no_reboot),
            ..RawConfig::default()
        };
        MachineConfig::try_from(raw).unwrap()
    }

    fn serial(&self) -> PathBuf {
        self.0.join("serial")
    }
}

fn store(script: Script, gpa: u64, data: u64) -> Script {
    script.exit(Exit::MmioWrite {
        gpa: Gpa(gpa),
        size: Size::W,
        data,
    })
}

fn print(script: Script, text: &str) -> Script {
    text.bytes().fold(script, |script, byte| {
        store(script, machine::UART.base.0, byte.into())
    })
}

#[test]
fn what_the_guest_prints_is_in_the_file_at_the_end() {
    let files = Files::new("prints");
    let text = "hello, world\n".repeat(500);
    let scripted = Scripted::new(vec![power_off(print(Script::new(), &text))], now);
    let machine = Machine::on(&scripted, files.config(false)).unwrap();
    assert_eq!(machine.run(), Ok(Outcome::PoweredOff));
    assert_eq!(fs::read_to_string(files.serial()).unwrap(), text);
}

#[test]
fn the_kernel_and_the_device_tree_are_where_vcpu_0_starts() {
    let files = Files::new("boots");
    let scripted = Scripted::new(vec![power_off(Script::new())], now);
    let machine = Machine::on(&scripted, files.config(false)).unwrap();
    assert_eq!(machine.run(), Ok(Outcome::PoweredOff));
    let starts = starts(&scripted);
    assert_eq!(starts.len(), 1);
    let layout = scripted.layout();
    let mut first = [0; 4];
    layout.read(Gpa(starts[0].0), &mut first).unwrap();
    assert_eq!(u32::from_le_bytes(first), FIRST_INSTRUCTION);
    let mut tree = vec![0; 64 << 10];
    layout.read(Gpa(starts[0].1), &mut tree).unwrap();
    assert_eq!(tree[..4], 0xd00d_feed_u32.to_be_bytes());
    assert!(
        tree.windows(6).any(|bytes| bytes == b"hello\0"),
        "the command line is in the tree"
    );
}

/// PC and X0 of each start of vCPU 0.
fn starts(scripted: &Scripted) -> Vec<(u64, u64)> {
    let start = |event| match event {
        Event::Core(pc, x0) if pc != 0 => Some((pc, x0)),
        Event::Core(..) | Event::Run(_) | Event::Settle(_) | Event::Irq(..) | Event::Sys(..) => {
            None
        }
    };
    scripted.log(V0).into_iter().filter_map(start).collect()
}

#[test]
fn a_reset_loads_the_guest_anew_into_clean_memory() {
    let files = Files::new("resets");
    let reset = [u64::from(id::SYSTEM_RESET), 0, 0, 0];
    let script = print(call(print(Script::new(), "one "), reset), "two");
    let scripted = Scripted::new(vec![power_off(script)], now);
    let machine = Machine::on(&scripted, files.config(false)).unwrap();
    let before = scripted.layout();
    before.write(machine::RAM_BASE, b"damage").unwrap();
    before.write(FAR, b"left over").unwrap();
    assert_eq!(machine.run(), Ok(Outcome::PoweredOff));
    let starts = starts(&scripted);
    assert_eq!(starts.len(), 2);
    assert_eq!(starts[0], starts[1]);
    let (mut first, mut far) = ([0; 4], [0xff; 9]);
    scripted
        .layout()
        .read(Gpa(starts[1].0), &mut first)
        .unwrap();
    scripted.layout().read(FAR, &mut far).unwrap();
    assert_eq!(
        (u32::from_le_bytes(first), far),
        (FIRST_INSTRUCTION, [0; 9])
    );
    assert_eq!(fs::read_to_string(files.serial()).unwrap(), "one two");
}

#[test]
fn a_reset_ends_the_machine_with_no_reboot() {
    let files = Files::new("no-reboot");
    let reset = [u64::from(id::SYSTEM_RESET), 0, 0, 0];
    let scripted = Scripted::new(vec![call(Script::new(), reset)], now);
    let machine = Machine::on(&scripted, files.config(true)).unwrap();
    assert_eq!(machine.run(), Ok(Outcome::ResetRefused));
}

#[test]
fn a_timer_interrupts_through_the_gic_and_ends_with_its_acknowledgement() {
    const IAR1: SysReg = SysReg::new(3, 0, 12, 12, 0);
    const PMR: SysReg = SysReg::new(3, 0, 4, 6, 0);
    const IGRPEN1: SysReg = SysReg::new(3, 0, 12, 12, 7);
    let files = Files::new("interrupts");
    // Affinity routing and group 1 on in GICD_CTLR; PPI 27 on in GICR_ISENABLER0.
    let script = store(Script::new(), machine::GICD.base.0, 0x12);
    let script = store(script, machine::GICR_BASE.0 + 0x1_0100, 1 << 27);
    let script = script
        .exit(Exit::SysRegWrite {
            reg: PMR,
            data: 0xf0,
        })
        .exit(Exit::SysRegWrite {
            reg: IGRPEN1,
            data: 1,
        })
        .then(Step::Sys(Saved::CntvCtlEl0, CTL_ENABLE))
        .then(Step::Sys(Saved::CntvCvalEl0, now() + 20_000_000))
        .exit(Exit::Wfi)
        .exit(Exit::SysRegRead { reg: IAR1 });
    let scripted = Scripted::new(vec![power_off(script)], now);
    let machine = Machine::on(&scripted, files.config(false)).unwrap();
    assert_eq!(machine.run(), Ok(Outcome::PoweredOff));
    let log = scripted.log(V0);
    let irq = |high| {
        log.iter()
            .position(|e| *e == Event::Irq(IrqLine::Irq, high))
            .unwrap()
    };
    let read = log
        .iter()
        .position(|e| *e == Event::Run(Resume::Data(27)))
        .unwrap();
    assert!(irq(true) < read && irq(false) < read, "{log:?}");
}

#[test]
fn a_serial_file_that_cannot_be_written_is_bad_input() {
    let files = Files::new("serial");
    let mut config = files.config(false);
    config.serial = vmm::config::Serial::File("/nowhere/serial".into());
    let scripted = Scripted::new(vec![Script::new()], now);
    let Err(StartError::Input(line)) = Machine::on(&scripted, config) else {
        panic!("it opened")
    };
    assert!(line.contains("/nowhere/serial"), "{line}");
}

#[test]
fn a_full_disk_ends_the_machine() {
    let files = Files::new("full");
    let mut config = files.config(false);
    config.serial = vmm::config::Serial::File("/dev/full".into());
    let script = print(Script::new(), "x").then(Step::UntilKicked);
    let scripted = Scripted::new(vec![script], now);
    let machine = Machine::on(&scripted, config).unwrap();
    let Ok(Outcome::HostFailed(line)) = machine.run() else {
        panic!("it was written")
    };
    assert!(line.contains("/dev/full"), "{line}");
}
