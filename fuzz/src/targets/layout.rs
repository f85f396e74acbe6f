//! Guest memory: regions come and go at any address, and copies never reach past them.

use std::sync::Arc;

use aarch64::{Gpa, PAGE_SIZE};
use memory::{Layout, LayoutError, Prot, Region};

use crate::bytes::Bytes;

/// Most regions at once, to bound what a run costs.
const MOST: usize = 8;

/// Changes and accesses keep the layout's promises.
pub fn layout(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let mut layout = Layout::default();
    while !bytes.is_empty() {
        match bytes.below(4) {
            0 if layout.mappings().len() < MOST => {
                let prot = bytes.pick(&[Prot::ReadOnly, Prot::ReadWrite]);
                let pages = 1 + bytes.below(16);
                let Ok(region) = Region::new(pages * PAGE_SIZE) else {
                    return;
                };
                if let Ok(new) = layout.with(address(&mut bytes), Arc::new(region), prot) {
                    layout = new;
                }
            }
            1 => {
                if let Ok((new, _)) = layout.without(address(&mut bytes)) {
                    layout = new;
                }
            }
            _ => access(&layout, &mut bytes),
        }
        let mut ends = 0;
        for mapping in layout.mappings() {
            assert!(mapping.gpa.0 >= ends, "mappings overlap or are unsorted");
            ends = mapping.gpa.0 + mapping.region.size();
        }
    }
}

/// Mostly around the same few pages, so that regions meet.
fn address(bytes: &mut Bytes<'_>) -> Gpa {
    match bytes.below(4) {
        0 => Gpa(bytes.value()),
        1 => Gpa(0_u64.wrapping_sub(bytes.below(16) * PAGE_SIZE)),
        _ => Gpa(bytes.below(64) * PAGE_SIZE),
    }
}

fn access(layout: &Layout, bytes: &mut Bytes<'_>) {
    let gpa = Gpa(address(bytes).0.wrapping_add(bytes.value() % 0x3000));
    let written = vec![bytes.u8(); bytes.below(0x3000) as usize];
    let mut read = vec![0; written.len()];
    let result = layout.write(gpa, &written);
    assert_eq!(layout.read(gpa, &mut read).is_ok(), result.is_ok());
    match result {
        Ok(()) => assert_eq!(read, written),
        Err(error) => assert!(
            matches!(error, LayoutError::Unmapped(hole) if layout.find(hole).is_none()),
            "{error}"
        ),
    }
    if let Some(old) = layout.load_u64(gpa) {
        assert!(gpa.0.is_multiple_of(8) && layout.find(gpa).is_some());
        let may_write = layout
            .find(gpa)
            .is_some_and(|(mapping, _)| mapping.prot == Prot::ReadWrite);
        assert_eq!(layout.compare_exchange_u64(gpa, old, !old), may_write);
    }
}
