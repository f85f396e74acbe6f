//! The tree as a kernel, and as the device tree compiler, reads it.

use std::io::Write;
use std::process::{Command, Stdio};

use aarch64::{Gpa, machine};
use proptest::prelude::*;

use super::*;
use crate::reader::{Node, parse};

fn ram(size: u64) -> Span {
    Span {
        base: machine::RAM_BASE,
        size,
    }
}

fn small() -> Machine {
    Machine {
        vcpus: 1,
        memory: vec![ram(1 << 28)],
        chosen: Chosen::default(),
        virtio_mmio: Vec::new(),
        pcie: None,
    }
}

/// Pins that are told from each other by their interrupts.
fn pcie() -> Pcie {
    let intid = |device: u32, pin: u32| Intid::spi(3 + (device + pin) as u16 % 4);
    Pcie {
        intx: [0, 1, 2, 3].map(|device| [0, 1, 2, 3].map(|pin| intid(device, pin))),
    }
}

fn full() -> Machine {
    let slots = (0..machine::VIRTIO_MMIO_SLOTS).map(|n| VirtioMmio {
        span: Span {
            base: Gpa(machine::VIRTIO_MMIO_BASE.0 + u64::from(n) * machine::VIRTIO_MMIO_STRIDE),
            size: machine::VIRTIO_MMIO_STRIDE,
        },
        intid: Intid(machine::VIRTIO_MMIO_INTID.0 + u32::from(n)),
    });
    Machine {
        vcpus: machine::MAX_VCPUS,
        memory: vec![
            ram(1 << 32),
            Span {
                base: Gpa(1 << 36),
                size: 1 << 30,
            },
        ],
        chosen: Chosen {
            bootargs: "console=ttyAMA0 quiet".into(),
            initrd: Some(Span {
                base: Gpa(0x4800_0000),
                size: 0x1234,
            }),
            seeds: Some(Seeds {
                rng: [7; 64],
                kaslr: 0x0123_4567_89ab_cdef,
            }),
        },
        virtio_mmio: slots.collect(),
        pcie: Some(pcie()),
    }
}

fn cells(node: &Node<'_>, path: &str, name: &str) -> Vec<u32> {
    node.find(path)
        .and_then(|n| n.cells(name))
        .unwrap_or_else(|| panic!("{path} {name}"))
}

#[test]
fn a_kernel_finds_its_console_initrd_and_seeds() {
    let fdt = full().to_fdt().unwrap();
    let root = parse(&fdt).unwrap();
    assert_eq!(root.strings("compatible").unwrap(), ["linux,dummy-virt"]);
    let chosen = root.find("/chosen").unwrap();
    assert_eq!(
        chosen.strings("bootargs").unwrap(),
        ["console=ttyAMA0 quiet"]
    );
    assert_eq!(chosen.strings("stdout-path").unwrap(), ["/pl011@9000000"]);
    assert_eq!(
        chosen.cells("linux,initrd-start").unwrap(),
        [0, 0x4800_0000]
    );
    assert_eq!(chosen.cells("linux,initrd-end").unwrap(), [0, 0x4800_1234]);
    assert_eq!(chosen.property("rng-seed").unwrap(), [7; 64]);
    assert_eq!(
        chosen.cells("kaslr-seed").unwrap(),
        [0x0123_4567, 0x89ab_cdef]
    );
    assert_eq!(
        root.find("/aliases").unwrap().strings("serial0").unwrap(),
        ["/pl011@9000000"]
    );
    assert!(root.find("/pl011@9000000").is_some());
}

#[test]
fn what_a_guest_has_not_is_not_in_the_tree() {
    let fdt = small().to_fdt().unwrap();
    let root = parse(&fdt).unwrap();
    let chosen = root.find("/chosen").unwrap();
    for name in ["bootargs", "linux,initrd-start", "rng-seed", "kaslr-seed"] {
        assert_eq!(chosen.property(name), None, "{name}");
    }
    for name in ["virtio", "pcie"] {
        assert!(!root.children.iter().any(|n| n.name.starts_with(name)));
    }
}

#[test]
fn every_cpu_is_named_by_its_affinity_and_started_by_psci() {
    let fdt = full().to_fdt().unwrap();
    let root = parse(&fdt).unwrap();
    let cpus = root.find("/cpus").unwrap();
    assert_eq!(cpus.children.len(), 123);
    let cpu = root.find("/cpus/cpu@70a").unwrap();
    assert_eq!(cpu.cells("reg").unwrap(), [0x70a]);
    assert_eq!(cpu.strings("enable-method").unwrap(), ["psci"]);
    assert_eq!(
        root.find("/psci").unwrap().strings("method").unwrap(),
        ["hvc"]
    );
    let timer = cells(&root, "/timer", "interrupts");
    let ppis: Vec<_> = timer.chunks(3).map(|i| (i[0], i[1], i[2])).collect();
    assert_eq!(ppis, [(1, 13, 4), (1, 14, 4), (1, 11, 4), (1, 10, 4)]);
}

#[test]
fn addresses_and_interrupts_are_those_of_the_machine() {
    let fdt = full().to_fdt().unwrap();
    let root = parse(&fdt).unwrap();
    let gic = "/intc@8000000";
    let redistributors = 123 * 0x2_0000;
    assert_eq!(
        cells(&root, gic, "reg"),
        [
            0,
            0x0800_0000,
            0,
            0x1_0000,
            0,
            0x080a_0000,
            0,
            redistributors
        ]
    );
    let v2m = "/intc@8000000/v2m@8020000";
    assert_eq!(cells(&root, v2m, "arm,msi-base-spi"), [80]);
    assert_eq!(cells(&root, v2m, "arm,msi-num-spis"), [128]);
    assert_eq!(cells(&root, "/pl011@9000000", "interrupts"), [0, 1, 4]);
    assert_eq!(cells(&root, "/pl031@9010000", "interrupts"), [0, 2, 4]);
    assert_eq!(cells(&root, "/pl061@9030000", "interrupts"), [0, 7, 4]);
    assert_eq!(
        cells(&root, "/virtio_mmio@a000200", "interrupts"),
        [0, 17, 1]
    );
    assert_eq!(
        cells(&root, "/virtio_mmio@a000200", "reg"),
        [0, 0x0a00_0200, 0, 0x200]
    );
    let key = "/gpio-keys/poweroff";
    let gpio = cells(&root, "/pl061@9030000", "phandle")[0];
    assert_eq!(cells(&root, key, "gpios"), [gpio, 3, 0]);
    assert_eq!(cells(&root, key, "linux,code"), [116]);
    assert_eq!(
        cells(&root, "/memory@40000000", "reg"),
        [0, 0x4000_0000, 1, 0]
    );
    assert_eq!(
        cells(&root, "/memory@1000000000", "reg"),
        [0x10, 0, 0, 0x4000_0000]
    );
}

#[test]
fn a_kernel_finds_the_host_bridge_its_windows_and_its_interrupts() {
    let fdt = full().to_fdt().unwrap();
    let root = parse(&fdt).unwrap();
    let pcie = "/pcie@3f000000";
    let node = root.find(pcie).unwrap();
    assert_eq!(
        node.strings("compatible").unwrap(),
        ["pci-host-ecam-generic"]
    );
    assert_eq!(node.property("dma-coherent"), Some(&[][..]));
    assert_eq!(cells(&root, pcie, "reg"), [0, 0x3f00_0000, 0, 0x100_0000]);
    assert_eq!(cells(&root, pcie, "bus-range"), [0, 15]);
    let ranges = cells(&root, pcie, "ranges");
    assert_eq!(
        ranges[..7],
        [0x0100_0000, 0, 0, 0, 0x3eff_0000, 0, 0x1_0000]
    );
    let memory = [0x0200_0000, 0, 0x1000_0000, 0, 0x1000_0000, 0, 0x2eff_0000];
    assert_eq!(ranges[7..], memory);
    let v2m = cells(&root, "/intc@8000000/v2m@8020000", "phandle")[0];
    assert_eq!(cells(&root, pcie, "msi-map"), [0, v2m, 0, 0x1_0000]);
    let gic = cells(&root, "/intc@8000000", "phandle")[0];
    assert_eq!(cells(&root, pcie, "interrupt-map-mask"), [0x1800, 0, 0, 7]);
    let map = cells(&root, pcie, "interrupt-map");
    let entries: Vec<_> = map.chunks(10).collect();
    assert_eq!(entries.len(), 16);
    assert_eq!(entries[0], [0, 0, 0, 1, gic, 0, 0, 0, 3, 4]);
    // Device 3, INTB: the first wire again.
    assert_eq!(entries[13], [0x1800, 0, 0, 2, gic, 0, 0, 0, 3, 4]);
}

#[test]
fn a_nul_in_the_command_line_is_refused() {
    let mut machine = small();
    machine.chosen.bootargs = "a\0b".into();
    assert_eq!(machine.to_fdt(), Err(Error::NulInBootargs));
}

/// The device tree compiler knows the rules of the bindings; it must find nothing to warn of.
#[test]
fn dtc_reads_it_back_without_a_warning() {
    for machine in [small(), full()] {
        let child = Command::new("dtc")
            .args(["-I", "dtb", "-O", "dts"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("SKIPPED: dtc is not installed (package device-tree-compiler)");
            return;
        };
        // Nothing comes out before all has gone in, so this cannot get stuck.
        child
            .stdin
            .take()
            .unwrap()
            .write_all(&machine.to_fdt().unwrap())
            .unwrap();
        let out = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stderr), "");
        assert!(out.status.success());
        assert!(String::from_utf8_lossy(&out.stdout).contains("compatible = \"arm,gic-v3\";"));
    }
}

proptest! {
    #[test]
    fn the_reader_survives_damage(
        at in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut fdt = small().to_fdt().unwrap();
        prop_assert!(parse(&fdt[..cut.index(fdt.len())]).is_err());
        let at = at.index(fdt.len());
        fdt[at] = value;
        if let Ok(root) = parse(&fdt) {
            prop_assert!(root.children.len() <= fdt.len() / 4);
        }
    }

    #[test]
    fn the_reader_survives_anything(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(parse(&bytes).is_err());
    }
}
