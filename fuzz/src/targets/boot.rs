//! Kernel files, and where things go in memory.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aarch64::Gpa;
use aarch64::machine::{RAM_BASE, Span};
use flate2::Compression;
use flate2::write::GzEncoder;
use memory::{Layout, Prot, Region};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use vmm::boot::plan::Footprint;
use vmm::boot::{Boot, BootPlan, sniff};

use crate::bytes::Bytes;

/// RAM of the machine that kernels are loaded into.
const RAM: Span = Span {
    base: RAM_BASE,
    size: 16 << 20,
};

/// A kernel's file: it is opened and loaded, or refused with a message of one line.
pub fn kernel_file(data: &[u8]) {
    // What the parser looks at, without the file around it.
    let _ = sniff::identify(data);
    let file = TempFile::new(data);
    let boot = match Boot::open(file.path(), None, RAM) {
        Ok(boot) => boot,
        Err(error) => return assert_one_line(&error),
    };
    check_plan(boot.plan(), RAM);
    // The region is paid for where it is touched only.
    let Ok(region) = Region::new(RAM.size) else {
        return;
    };
    let layout = Layout::default().with(RAM.base, Arc::new(region), Prot::ReadWrite);
    let layout = layout.expect("one region at the start of RAM");
    if let Err(error) = boot.load(&layout, b"device tree") {
        assert_one_line(&error);
    }
}

/// Sizes of any kind are placed in RAM, or refused.
pub fn boot_plan(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let ram = Span {
        base: RAM_BASE,
        size: (bytes.value() % aarch64::machine::MAX_RAM).max(16 << 20),
    };
    let kernel = if bytes.flag() {
        Footprint::Known {
            offset: bytes.value(),
            size: bytes.value(),
        }
    } else {
        Footprint::Unknown {
            at_least: bytes.value(),
        }
    };
    let initrd = bytes.flag().then(|| bytes.value());
    if let Ok(plan) = BootPlan::new(ram, kernel, initrd) {
        check_plan(&plan, ram);
        assert_eq!(plan.initrd.map(|span| span.size), initrd);
    }
}

/// Everything lies in RAM, and nothing on something else.
fn check_plan(plan: &BootPlan, ram: Span) {
    let BootPlan {
        entry,
        kernel,
        dtb,
        initrd,
    } = plan;
    assert_eq!(*entry, kernel.base, "the entry is the kernel's start");
    assert!(dtb.base.0.is_multiple_of(8), "the device tree is aligned");
    let mut spans = vec![*kernel, *dtb];
    spans.extend(*initrd);
    spans.sort_by_key(|span| span.base);
    let mut free = ram.base;
    for Span { base, size } in spans {
        assert!(base >= free, "{plan:x?} overlaps or lies below RAM");
        free = Gpa(base.0.checked_add(size).expect("a span that wraps"));
    }
    assert!(
        free.0 <= ram.base.0 + ram.size,
        "{plan:x?} leaves RAM {ram:x?}"
    );
}

fn assert_one_line(error: &dyn std::error::Error) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
}

/// Small kernels in every format.
#[must_use]
pub fn kernel_seeds() -> Vec<Vec<u8>> {
    let image = image();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let gzip = gzip
        .write_all(&image)
        .and_then(|()| gzip.finish())
        .unwrap_or_default();
    let zstd = compress_to_vec(image.as_slice(), CompressionLevel::Fastest);
    let wrapped = [zboot(b"gzip", &gzip), zboot(b"zstd", &zstd)];
    let mut elf = vec![0; 64];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let flat = vec![0x1f; 256];
    let mut seeds = vec![image, gzip, zstd, elf, flat];
    seeds.extend(wrapped);
    seeds
}

/// An arm64 `Image` of 4 KiB that is also an EFI program with one section.
fn image() -> Vec<u8> {
    let mut image = vec![0; 4096];
    image[16..24].copy_from_slice(&0x20_0000_u64.to_le_bytes());
    image[24] = 0b1010;
    image[56..60].copy_from_slice(b"ARM\x64");
    put_pe(&mut image);
    image
}

/// An EFI program that carries `payload` at 1 KiB.
fn zboot(compression: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 1024];
    file[4..8].copy_from_slice(b"zimg");
    file[8..12].copy_from_slice(&1024_u32.to_le_bytes());
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    file[12..16].copy_from_slice(&length.to_le_bytes());
    file[24..28].copy_from_slice(compression);
    put_pe(&mut file);
    file.extend_from_slice(payload);
    file
}

/// The headers of an EFI program for arm64 at 64, with one section of 512 bytes at 512.
fn put_pe(file: &mut [u8]) {
    file[..2].copy_from_slice(b"MZ");
    file[60] = 64;
    let pe = &mut file[64..];
    pe[..4].copy_from_slice(b"PE\0\0");
    pe[4..6].copy_from_slice(&0xaa64_u16.to_le_bytes());
    pe[6] = 1;
    pe[20] = 16;
    let section = &mut pe[24 + 16..];
    section[16..20].copy_from_slice(&512_u32.to_le_bytes());
    section[20..24].copy_from_slice(&512_u32.to_le_bytes());
}

/// A file with some bytes, which goes away with its value.
#[derive(Debug)]
pub struct TempFile(PathBuf);

impl TempFile {
    /// A new file with these bytes.
    ///
    /// # Panics
    /// When the host has no room for it: nothing can be tested then.
    #[must_use]
    pub fn new(data: &[u8]) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("armlet-fuzz-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, data).expect("a temporary file can be written");
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // Leaving a temporary file behind is no failure.
        let _ = fs::remove_file(&self.0);
    }
}
