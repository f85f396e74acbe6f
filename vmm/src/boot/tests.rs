//! From files to guest memory, in every format.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aarch64::Gpa;
use aarch64::machine::RAM_BASE;
use flate2::write::GzEncoder;
use memory::{Prot, Region};
use proptest::prelude::*;

use super::image::testing::{image, with_pe};
use super::*;

const MIB: u64 = 1 << 20;

/// A file that goes away with its value.
pub struct Temp(pub PathBuf);

impl Temp {
    pub fn new(bytes: &[u8]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("armlet-boot-{}-{n}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn ram(mib: u64) -> Span {
    Span {
        base: RAM_BASE,
        size: mib * MIB,
    }
}

fn memory(ram: Span) -> Layout {
    let region = Arc::new(Region::new(ram.size).unwrap());
    Layout::default()
        .with(ram.base, region, Prot::ReadWrite)
        .unwrap()
}

fn open(kernel: &[u8]) -> Result<Boot, BootError> {
    Boot::open(&Temp::new(kernel).0, None, ram(64))
}

fn refused(kernel: &[u8]) -> String {
    let file = Temp::new(kernel);
    let result = Boot::open(&file.0, None, ram(64)).and_then(|boot| {
        boot.load(&memory(ram(64)), b"")?;
        Ok(boot.plan)
    });
    let message = result.unwrap_err().to_string();
    assert!(
        message.contains(file.0.to_str().unwrap()),
        "does not name the file: {message}"
    );
    message
}

/// An `Image` with some code that is not too easy to compress.
fn kernel() -> Vec<u8> {
    let mut kernel = with_pe(image(0, 2 * MIB, 0b1010), 300_000);
    let mut x = 1_u32;
    for byte in kernel.iter_mut().skip(200) {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (x >> 27).to_le_bytes()[0];
    }
    kernel
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn zboot(payload: &[u8]) -> Vec<u8> {
    let mut file = with_pe(image(0, 0, 0), 0);
    file[56..60].fill(0);
    let offset = u32::try_from(file.len()).unwrap();
    file[4..8].copy_from_slice(b"zimg");
    file[8..12].copy_from_slice(&offset.to_le_bytes());
    file[12..16].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    file.extend(payload);
    file.extend(b"behind the payload");
    file
}

#[test]
fn every_format_puts_the_same_kernel_into_memory() {
    let kernel = kernel();
    let forms = [
        kernel.clone(),
        gzip(&kernel),
        zstd(&kernel),
        zboot(&gzip(&kernel)),
        zboot(&zstd(&kernel)),
    ];
    for form in forms {
        let boot = open(&form).unwrap();
        assert_eq!(
            boot.plan.kernel,
            Span {
                base: RAM_BASE,
                size: 2 * MIB
            }
        );
        let memory = memory(ram(64));
        boot.load(&memory, b"tree").unwrap();
        let mut loaded = vec![0; kernel.len() + 1];
        memory.read(boot.plan.entry, &mut loaded).unwrap();
        assert_eq!(loaded.pop(), Some(0), "nothing behind the kernel");
        assert!(loaded == kernel);
        let mut tree = [0; 4];
        memory.read(boot.plan.dtb.base, &mut tree).unwrap();
        assert_eq!(&tree, b"tree");
    }
}

#[test]
fn a_flat_binary_goes_to_512_kib_and_can_be_loaded_again() {
    let code = [0x0800_00d2_u32.to_be(), 0x14]
        .map(u32::to_le_bytes)
        .concat();
    let initrd = Temp::new(b"disk");
    let boot = Boot::open(&Temp::new(&code).0, Some(&initrd.0), ram(64)).unwrap();
    let memory = memory(ram(64));
    for _ in 0..2 {
        memory.write(Gpa(0x4008_0000), &[0xff; 8]).unwrap();
        boot.load(&memory, b"").unwrap();
        let mut back = [0; 8];
        memory.read(Gpa(0x4008_0000), &mut back).unwrap();
        assert_eq!(back[..], code);
    }
    let mut disk = [0; 4];
    memory
        .read(boot.plan.initrd.unwrap().base, &mut disk)
        .unwrap();
    assert_eq!(&disk, b"disk");
}

#[test]
fn an_old_image_without_a_size_loads_like_a_flat_binary() {
    let old = image(0, 0, 0);
    for form in [old.clone(), gzip(&old)] {
        let boot = open(&form).unwrap();
        assert_eq!(boot.plan.entry, Gpa(0x4008_0000));
        boot.load(&memory(ram(64)), b"").unwrap();
    }
}

#[test]
fn missing_empty_and_other_things_than_files_are_refused() {
    let open = |path: &Path| Boot::open(path, None, ram(64)).unwrap_err();
    assert!(matches!(
        open(Path::new("/no/such/kernel")),
        BootError::Io { .. }
    ));
    assert!(matches!(
        open(&std::env::temp_dir()),
        BootError::NotAFile { .. }
    ));
    assert!(refused(b"").contains("empty"));
    let (kernel, initrd) = (Temp::new(&kernel()), Temp::new(b""));
    let empty = Boot::open(&kernel.0, Some(&initrd.0), ram(64)).unwrap_err();
    assert!(empty.to_string().contains("initrd"));
}

#[test]
fn foreign_files_are_named_also_inside_of_compressed_ones() {
    assert!(refused(b"hello\n").contains("a text file"));
    let inside = refused(&gzip(b"070701 and so on"));
    assert!(
        inside.contains("compressed") && inside.contains("--initrd"),
        "{inside}"
    );
    assert!(refused(&gzip(&image(0, 1, 1))).contains("big-endian"));
    assert!(refused(&gzip(&[0x80, 0xd2, 0, 1])).contains("holds no arm64 Image"));
    assert!(refused(&zboot(b"\xfd7zXZ\0")).contains("CONFIG_KERNEL_GZIP"));
}

#[test]
fn cut_off_kernels_are_refused_in_every_format() {
    let kernel = kernel();
    let cut = |form: &[u8]| refused(&form[..form.len() - 1000]);
    assert!(cut(&kernel).contains("cut off"));
    assert!(cut(&gzip(&kernel)).contains("gzip"));
    assert!(cut(&zstd(&kernel)).contains("zstd"));
    assert!(cut(&zboot(&gzip(&kernel))).contains("cut off"));
    assert!(refused(&gzip(&kernel[..kernel.len() - 1])).contains("cut off"));
}

#[test]
fn a_kernel_longer_than_it_claims_stops_at_its_end() {
    let mut bomb = image(0, MIB, 0);
    bomb.resize(16 << 20, 0);
    let file = Temp::new(&gzip(&bomb));
    let boot = Boot::open(&file.0, None, ram(64)).unwrap();
    let error = boot.load(&memory(ram(64)), b"").unwrap_err();
    assert!(
        matches!(error, BootError::TooLong { room: MIB, .. }),
        "{error}"
    );
}

#[test]
fn what_does_not_fit_says_how_much_memory_would_do() {
    let message = refused(&image(0, 100 * MIB, 0));
    assert!(
        message.contains("64 MiB") && message.contains("at least 101 MiB"),
        "{message}"
    );
    assert!(refused(&image(0, 2 << 40, 0)).contains("no guest has so much memory"));
    assert!(refused(&image(u64::MAX, 1, 0)).contains("impossible"));
    let boot = open(&kernel()).unwrap();
    let long = boot.load(&memory(ram(64)), &vec![0; 1 << 20]).unwrap_err();
    assert!(matches!(long, BootError::DeviceTreeTooLong));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damage_anywhere_is_survived(at in any::<prop::sample::Index>(), xor in 1_u8.., form in 0..4) {
        let kernel = kernel();
        let mut bytes = match form {
            0 => kernel,
            1 => gzip(&kernel),
            2 => zstd(&kernel),
            _ => zboot(&gzip(&kernel)),
        };
        let at = at.index(bytes.len().min(4096));
        bytes[at] ^= xor;
        let file = Temp::new(&bytes);
        if let Ok(boot) = Boot::open(&file.0, None, ram(8)) {
            let end = boot.plan.kernel.base.0 + boot.plan.kernel.size;
            prop_assert!(end <= RAM_BASE.0 + 8 * MIB);
            let _ = boot.load(&memory(ram(8)), b"");
        }
    }
}
