//! Where in RAM things go: a pure function of their sizes.
//!
//! An `Image` goes to the start of RAM, as the protocol asks of kernels that cannot use what lies
//! below them; the device tree and the initial RAM disk follow it. A flat binary does not say how
//! much memory it uses beyond its end, so the device tree lies below it and the RAM disk far above.

use aarch64::Gpa;
use aarch64::machine::Span;
use aarch64::state::CoreRegs;

use super::image::ImageHeader;

/// Kernels lie this much aligned, plus their offset.
const KERNEL_ALIGN: u64 = 2 << 20;
/// Offset of a flat binary from the start of RAM, where QEMU puts it too.
const FLAT_OFFSET: u64 = 0x8_0000;
/// Room for the device tree, and its alignment. Kernels map it in blocks of 2 MiB, none of which
/// it may cross. It is what lies below a flat binary.
const DTB_ROOM: u64 = FLAT_OFFSET;
/// The largest page size of a kernel.
const PAGE_ALIGN: u64 = 64 << 10;
/// Memory that is left to a flat binary if there is that much.
const FLAT_ROOM: u64 = 128 << 20;

/// How much memory a kernel needs, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Footprint {
    /// It says so itself.
    Known {
        /// Offset from a base aligned to 2 MiB.
        offset: u64,
        /// Bytes from there on.
        size: u64,
    },
    /// It does not: a flat binary, or an `Image` from before Linux 3.17. Bytes in the file.
    Unknown {
        /// Bytes that are known to be needed.
        at_least: u64,
    },
}

impl Footprint {
    /// Of an `Image` whose file has `length` bytes, if that is known.
    #[must_use]
    pub fn of_image(header: &ImageHeader, length: Option<u64>) -> Self {
        let length = length.or(header.file_size).unwrap_or(0);
        match header.image_size {
            Some(size) => Self::Known {
                offset: header.text_offset,
                size: size.max(length),
            },
            None => Self::Unknown { at_least: length },
        }
    }
}

/// What goes where, and how the first vCPU starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootPlan {
    /// The first instruction.
    pub entry: Gpa,
    /// The kernel, with the memory it uses beyond its file.
    pub kernel: Span,
    /// Room for the device tree.
    pub dtb: Span,
    /// The initial RAM disk.
    pub initrd: Option<Span>,
}

/// What does not fit into RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoesNotFit {
    /// Which part.
    pub part: Part,
    /// RAM that would be enough for everything; `None` when no RAM is.
    pub needs: Option<u64>,
}

/// A thing that comes from a file and is placed in RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The kernel. The room for its device tree counts as its own.
    Kernel,
    /// The initial RAM disk.
    Initrd,
}

impl BootPlan {
    /// Places a kernel, and an initial RAM disk of `initrd` bytes, in `ram`.
    ///
    /// # Errors
    /// When they do not fit.
    pub fn new(ram: Span, kernel: Footprint, initrd: Option<u64>) -> Result<Self, DoesNotFit> {
        let impossible = DoesNotFit {
            part: Part::Kernel,
            needs: None,
        };
        let plan = Self::place(ram, kernel, initrd).ok_or(impossible)?;
        let needs = |span: Span| end(span) - ram.base.0;
        let for_kernel = needs(plan.kernel).max(needs(plan.dtb));
        let for_all = for_kernel.max(plan.initrd.map_or(0, needs));
        if for_kernel > ram.size {
            return Err(DoesNotFit {
                part: Part::Kernel,
                needs: Some(for_all),
            });
        }
        if for_all > ram.size {
            return Err(DoesNotFit {
                part: Part::Initrd,
                needs: Some(for_all),
            });
        }
        Ok(plan)
    }

    /// Places everything as if RAM had no end; `None` when the addresses have one.
    fn place(ram: Span, kernel: Footprint, initrd: Option<u64>) -> Option<Self> {
        let (kernel, dtb) = match kernel {
            Footprint::Known { offset, size } => {
                let base = align(ram.base.0, KERNEL_ALIGN)?.checked_add(offset)?;
                let kernel = span(base, size)?;
                (kernel, span(align(end(kernel), DTB_ROOM)?, DTB_ROOM)?)
            }
            Footprint::Unknown { at_least } => {
                let dtb = span(ram.base.0, DTB_ROOM)?;
                // As much room as can be had without crowding out the RAM disk.
                let others = initrd.unwrap_or(0).checked_add(FLAT_OFFSET + PAGE_ALIGN)?;
                let room = (ram.size / 2).min(FLAT_ROOM).saturating_sub(FLAT_OFFSET);
                let room = room.min(ram.size.saturating_sub(others));
                (span(end(dtb), room.max(at_least))?, dtb)
            }
        };
        let free = align(end(kernel).max(end(dtb)), PAGE_ALIGN)?;
        let initrd = match initrd {
            Some(size) => Some(span(free, size)?),
            None => None,
        };
        Some(Self {
            entry: kernel.base,
            kernel,
            dtb,
            initrd,
        })
    }

    /// The first vCPU's registers: the device tree's address in X0, zero in X1 to X3, at the
    /// entry, in EL1 with interrupts masked.
    #[must_use]
    pub fn registers(&self) -> CoreRegs {
        let mut regs = CoreRegs {
            pc: self.entry.0,
            ..CoreRegs::default()
        };
        regs.x[0] = self.dtb.base.0;
        regs
    }
}

/// `size` bytes at `base`, unless they reach beyond all addresses.
fn span(base: u64, size: u64) -> Option<Span> {
    base.checked_add(size).map(|_| Span {
        base: Gpa(base),
        size,
    })
}

fn align(value: u64, to: u64) -> Option<u64> {
    value.checked_next_multiple_of(to)
}

/// The first address after a span made by [`span`].
fn end(span: Span) -> u64 {
    span.base.0 + span.size
}

#[cfg(test)]
mod tests {
    use aarch64::machine::RAM_BASE;
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn ram(size: u64) -> Span {
        Span {
            base: RAM_BASE,
            size,
        }
    }

    #[test]
    fn an_image_starts_ram_and_the_rest_follows_it() {
        let kernel = Footprint::Known {
            offset: 0,
            size: 27 * MIB + 1,
        };
        let plan = BootPlan::new(ram(256 * MIB), kernel, Some(5000)).unwrap();
        assert_eq!(plan.entry, Gpa(0x4000_0000));
        assert_eq!(plan.dtb.base, Gpa(0x4000_0000 + 27 * MIB + MIB / 2));
        assert_eq!(
            plan.initrd,
            Some(Span {
                base: Gpa(0x4000_0000 + 28 * MIB),
                size: 5000
            })
        );
    }

    #[test]
    fn a_flat_binary_is_entered_where_qemu_does_with_the_tree_below() {
        let kernel = Footprint::Unknown { at_least: 8 };
        let plan = BootPlan::new(ram(1024 * MIB), kernel, Some(1)).unwrap();
        assert_eq!(plan.entry, Gpa(0x4008_0000));
        assert_eq!(plan.dtb.base, Gpa(0x4000_0000));
        assert_eq!(plan.initrd.unwrap().base, Gpa(0x4000_0000 + 128 * MIB));
    }

    #[test]
    fn registers_follow_the_boot_protocol() {
        let kernel = Footprint::Known {
            offset: 0x8_0000,
            size: MIB,
        };
        let regs = BootPlan::new(ram(64 * MIB), kernel, None)
            .unwrap()
            .registers();
        assert_eq!(regs.pc, 0x4008_0000);
        assert_eq!(regs.x[..4], [0x4018_0000, 0, 0, 0]);
        assert_eq!(regs.pstate, aarch64::pstate::RESET);
    }

    #[test]
    fn what_does_not_fit_is_named_with_the_memory_it_takes() {
        let kernel = Footprint::Known {
            offset: 0,
            size: 30 * MIB,
        };
        let refused = |ram_size, initrd| BootPlan::new(ram(ram_size), kernel, initrd).unwrap_err();
        let needs = Some(30 * MIB + DTB_ROOM);
        assert_eq!(
            refused(30 * MIB, None),
            DoesNotFit {
                part: Part::Kernel,
                needs
            }
        );
        let refused = refused(32 * MIB, Some(2 * MIB));
        assert_eq!(refused.part, Part::Initrd);
        assert_eq!(
            refused.needs,
            Some(30 * MIB + 9 * PAGE_ALIGN - PAGE_ALIGN + 2 * MIB)
        );
        let absurd = Footprint::Known {
            offset: u64::MAX,
            size: u64::MAX,
        };
        let refused = BootPlan::new(ram(MIB), absurd, None).unwrap_err();
        assert_eq!(
            refused,
            DoesNotFit {
                part: Part::Kernel,
                needs: None
            }
        );
    }

    #[test]
    fn a_flat_binary_makes_way_for_a_large_initrd() {
        let kernel = Footprint::Unknown { at_least: 8 };
        assert!(BootPlan::new(ram(64 * MIB), kernel, Some(60 * MIB)).is_ok());
        let refused = BootPlan::new(ram(64 * MIB), kernel, Some(64 * MIB)).unwrap_err();
        let enough = refused.needs.unwrap();
        assert!(BootPlan::new(ram(enough), kernel, Some(64 * MIB)).is_ok());
    }

    proptest! {
        #[test]
        fn nothing_overlaps_or_leaves_ram(
            pages in 1_u64..1 << 20,
            known: bool,
            offset in 0_u64..1 << 22,
            size in 0_u64..1 << 31,
            initrd in prop::option::of(1_u64..1 << 31),
        ) {
            let ram = ram(pages * 4096);
            let kernel = if known {
                Footprint::Known { offset, size }
            } else {
                Footprint::Unknown { at_least: size }
            };
            let plan = match BootPlan::new(ram, kernel, initrd) {
                Ok(plan) => plan,
                Err(refused) => {
                    let enough = Span { size: refused.needs.unwrap(), ..ram };
                    prop_assert!(enough.size > ram.size);
                    prop_assert!(BootPlan::new(enough, kernel, initrd).is_ok());
                    return Ok(());
                }
            };
            let mut spans = vec![plan.kernel, plan.dtb];
            spans.extend(plan.initrd);
            for (i, a) in spans.iter().enumerate() {
                prop_assert!(ram.base <= a.base && end(*a) <= end(ram));
                for b in &spans[i + 1..] {
                    prop_assert!(end(*a) <= b.base.0 || end(*b) <= a.base.0, "{a:?} {b:?}");
                }
            }
            prop_assert!(plan.kernel.size >= size);
            prop_assert_eq!(plan.initrd.map(|s| s.size), initrd);
            let block = |gpa: u64| gpa / (2 * MIB);
            prop_assert_eq!(block(plan.dtb.base.0), block(end(plan.dtb) - 1));
        }
    }
}
