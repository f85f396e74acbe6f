//! Device trees: read from any bytes, written from any configuration.

use aarch64::machine::{RAM_BASE, Span};
use aarch64::{Gpa, Intid};
use devicetree::reader::{Node, parse};
use devicetree::{Chosen, Machine, Pcie, Seeds, VirtioMmio};

use crate::bytes::Bytes;

/// Bytes are a tree, every part of which can be looked at, or are refused.
pub fn reader(data: &[u8]) {
    if let Ok(root) = parse(data) {
        visit(&root);
        let _ = root.find("/cpus/cpu@0");
    }
}

fn visit(node: &Node<'_>) {
    for (name, value) in &node.properties {
        assert!(node.property(name).is_some());
        // Where one name stands twice, the first counts; sizes are the value's own then.
        if node.property(name) == Some(*value)
            && let Some(cells) = node.cells(name)
        {
            assert_eq!(cells.len() * 4, value.len());
        }
        let _ = node.strings(name);
    }
    node.children.iter().for_each(visit);
}

/// A machine is described so that the description reads back, or is refused.
pub fn writer(data: &[u8]) {
    let machine = machine(&mut Bytes::new(data));
    let Ok(tree) = machine.to_fdt() else {
        return;
    };
    let root = parse(&tree).expect("what is written can be read");
    let chosen = root.find("/chosen").expect("every machine has /chosen");
    let bootargs = chosen.strings("bootargs").unwrap_or_default();
    assert_eq!(bootargs.concat(), machine.chosen.bootargs);
    let cpus = root.find("/cpus").map_or(0, |cpus| {
        let is_cpu = |node: &&Node<'_>| node.name.starts_with("cpu@");
        cpus.children.iter().filter(is_cpu).count()
    });
    assert_eq!(cpus, usize::from(machine.vcpus));
}

fn machine(bytes: &mut Bytes<'_>) -> Machine {
    let span = |bytes: &mut Bytes<'_>| Span {
        base: Gpa(bytes.value()),
        size: bytes.value(),
    };
    let ram = Span {
        base: RAM_BASE,
        size: bytes.value(),
    };
    let initrd = bytes.flag().then(|| span(bytes));
    let seeds = bytes.flag().then(|| Seeds {
        rng: [bytes.u8(); 64],
        kaslr: bytes.u64(),
    });
    let vcpus = bytes.below(124) as u16;
    let pcie = bytes.flag().then(|| Pcie {
        intx: [(); 4].map(|()| [(); 4].map(|()| Intid(bytes.u32()))),
    });
    let virtio_mmio = (0..bytes.below(4))
        .map(|_| VirtioMmio {
            span: span(bytes),
            intid: Intid(bytes.u32()),
        })
        .collect();
    let bootargs = String::from_utf8_lossy(bytes.rest()).into_owned();
    let chosen = Chosen {
        bootargs,
        initrd,
        seeds,
    };
    Machine {
        vcpus,
        memory: vec![ram],
        chosen,
        virtio_mmio,
        pcie,
    }
}

/// Trees of small machines.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let trees = [&[][..], b"\x40\x20\x01console=ttyAMA0 quiet"];
    trees
        .iter()
        .filter_map(|data| {
            let mut machine = machine(&mut Bytes::new(data));
            machine.vcpus = 2;
            machine.memory[0].size = 64 << 20;
            machine.to_fdt().ok()
        })
        .collect()
}
