//! What a file given as a kernel really is, from its first bytes.
//!
//! A flat binary has no mark of its own, so whatever is known to be something else is refused
//! first, with a word on what to give instead.

use std::fmt;

use super::image::{self, BadImage, ImageHeader, u16_at, u32_at};
use super::zboot::ZbootHeader;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An arm64 `Image`.
    Image(ImageHeader),
    /// Something compressed.
    Compressed(Compression),
    /// An EFI program that carries a compressed `Image`.
    Zboot(ZbootHeader),
    /// Nothing known: code without a header.
    Flat,
    /// No arm64 kernel.
    Foreign(Foreign),
    /// The start of something, and no more.
    CutOff,
}

/// How a kernel may be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// Something that is no arm64 kernel: what it is, and the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// What the file is, with its article.
    pub what: &'static str,
    /// What to do.
    pub hint: &'static str,
}

const GIVE_ARM64: &str = "give a kernel built for arm64 (an Image, or a distribution's vmlinuz)";
const GIVE_KERNEL: &str = "give the kernel itself: an arm64 Image or a distribution's vmlinuz";
const DECOMPRESS: &str = "decompress it first (gzip and zstd need not be)";

const fn foreign(what: &'static str, hint: &'static str) -> Foreign {
    Foreign { what, hint }
}

/// An ELF file for arm64.
const ELF: Foreign = foreign(
    "an ELF file",
    "give the Image built along with it, or make one: objcopy -O binary vmlinux Image",
);
const TEXT: Foreign = foreign("a text file", GIVE_KERNEL);
const BLANK: Foreign = foreign("nothing but zeros", GIVE_KERNEL);
const BIG_ENDIAN: Foreign = foreign(
    "a big-endian kernel",
    "give one built without CONFIG_CPU_BIG_ENDIAN",
);
const PAGES_64K: Foreign = foreign(
    "a kernel for 64 KiB pages, which the CPU does not have",
    "give one built for 4 KiB or 16 KiB pages",
);

/// An EFI zboot image with a payload that is not understood.
pub(super) const ZBOOT_OTHER: Foreign = foreign(
    "an EFI zboot image, but not compressed by gzip or zstd",
    "give its uncompressed Image, or build it with CONFIG_KERNEL_GZIP or CONFIG_KERNEL_ZSTD",
);

/// Files known by bytes at a fixed place.
const MARKS: &[(usize, &[u8], Foreign)] = &[
    (
        0x202,
        b"HdrS",
        foreign("an x86 kernel (bzImage)", GIVE_ARM64),
    ),
    (0x38, b"RSC\x05", foreign("a RISC-V kernel", GIVE_ARM64)),
    (
        0x24,
        b"\x18\x28\x6f\x01",
        foreign("a 32-bit Arm kernel (zImage)", GIVE_ARM64),
    ),
    (0, b"\xfd7zXZ\0", foreign("xz-compressed", DECOMPRESS)),
    (0, b"BZh", foreign("bzip2-compressed", DECOMPRESS)),
    (
        0,
        b"\x02\x21\x4c\x18",
        foreign("lz4-compressed", DECOMPRESS),
    ),
    (
        0,
        b"\x04\x22\x4d\x18",
        foreign("lz4-compressed", DECOMPRESS),
    ),
    (0, b"\x89LZO", foreign("lzo-compressed", DECOMPRESS)),
    (
        0,
        b"\x27\x05\x19\x56",
        foreign("a U-Boot image", GIVE_KERNEL),
    ),
    (
        0,
        b"\xd0\x0d\xfe\xed",
        foreign("a device tree or FIT image", GIVE_KERNEL),
    ),
    (0, b"070701", foreign("an initramfs", "give it as --initrd")),
    (0, b"070702", foreign("an initramfs", "give it as --initrd")),
    (
        0,
        b"!<arch>\n",
        foreign(
            "an archive or Debian package",
            "unpack it: dpkg -x FILE DIR",
        ),
    ),
    (
        0,
        b"\xed\xab\xee\xdb",
        foreign("an RPM package", "unpack it"),
    ),
    (0, b"PK\x03\x04", foreign("a zip archive", "unpack it")),
    (257, b"ustar", foreign("a tar archive", "unpack it")),
    (0, b"QFI\xfb", foreign("a qcow2 disk image", GIVE_KERNEL)),
    (0, b"hsqs", foreign("a squashfs disk image", GIVE_KERNEL)),
    (512, b"EFI PART", foreign("a disk image", GIVE_KERNEL)),
    (0x8001, b"CD001", foreign("a CD image", GIVE_KERNEL)),
    (
        0,
        b"\xcf\xfa\xed\xfe",
        foreign("a macOS program", GIVE_ARM64),
    ),
    (
        0,
        b"\xca\xfe\xba\xbe",
        foreign("a macOS program or Java class", GIVE_ARM64),
    ),
];

/// What the file that starts with `head` is. `head` is its first 64 KiB, or all of it.
#[must_use]
pub fn identify(head: &[u8]) -> Kind {
    if let Some(compression) = compression(head) {
        return Kind::Compressed(compression);
    }
    match ImageHeader::parse(head) {
        Ok(header) if header.big_endian => return Kind::Foreign(BIG_ENDIAN),
        Ok(ImageHeader {
            page_size: Some(0x1_0000),
            ..
        }) => return Kind::Foreign(PAGES_64K),
        Ok(header) => return Kind::Image(header),
        Err(BadImage::CutOff) => return Kind::CutOff,
        Err(BadImage::NoMagic) => {}
    }
    let mark = MARKS
        .iter()
        .find(|(at, mark, _)| head.get(*at..).is_some_and(|rest| rest.starts_with(mark)));
    if let Some(&(_, _, foreign)) = mark {
        return Kind::Foreign(foreign);
    }
    if head.starts_with(b"\x7fELF") {
        return elf(head);
    }
    if head.starts_with(b"MZ") {
        return efi(head);
    }
    if is_text(head) {
        return Kind::Foreign(TEXT);
    }
    if head.iter().all(|&byte| byte == 0) {
        return Kind::Foreign(BLANK);
    }
    Kind::Flat
}

/// How something is compressed, by its magic number.
#[must_use]
pub fn compression(head: &[u8]) -> Option<Compression> {
    if head.starts_with(b"\x1f\x8b\x08") {
        return Some(Compression::Gzip);
    }
    head.starts_with(b"\x28\xb5\x2f\xfd")
        .then_some(Compression::Zstd)
}

fn elf(head: &[u8]) -> Kind {
    match u16_at(head, 18) {
        None => Kind::CutOff,
        Some(183) => Kind::Foreign(ELF),
        Some(3 | 62) => Kind::Foreign(foreign("an x86 program or kernel (ELF)", GIVE_ARM64)),
        Some(_) => Kind::Foreign(foreign("an ELF file for another CPU", GIVE_ARM64)),
    }
}

/// EFI programs that are no `Image` themselves.
fn efi(head: &[u8]) -> Kind {
    const ARM64: u16 = 0xaa64;
    let machine = image::pe_machine(head);
    let zboot = ZbootHeader::parse(head);
    match (machine, zboot) {
        (Some(ARM64), Some(zboot)) => Kind::Zboot(zboot),
        (Some(ARM64), None) => Kind::Foreign(foreign(
            "an arm64 EFI program, not a Linux kernel",
            GIVE_KERNEL,
        )),
        (Some(0x8664 | 0x14c), _) => {
            Kind::Foreign(foreign("an x86 EFI program or kernel", GIVE_ARM64))
        }
        (Some(_), _) => Kind::Foreign(foreign("an EFI program for another CPU", GIVE_ARM64)),
        (None, _) if u32_at(head, 60).is_none_or(|pe| pe as usize >= head.len()) => Kind::CutOff,
        (None, _) => Kind::Foreign(foreign("a DOS program", GIVE_ARM64)),
    }
}

/// Text is UTF-8 without control characters other than those of plain text and terminals. Code
/// fails this within a few instructions: most have a zero byte or one that continues no character.
fn is_text(head: &[u8]) -> bool {
    let sample = head.get(..4096).unwrap_or(head);
    let valid = match std::str::from_utf8(sample) {
        Ok(text) => text,
        // A character that is cut in two by the end of the sample is still one.
        Err(error) if error.error_len().is_none() => sample
            .get(..error.valid_up_to())
            .and_then(|s| str::from_utf8(s).ok())
            .unwrap_or(""),
        Err(_) => return false,
    };
    let plain = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\x0c' | '\r' | '\x1b');
    !valid.is_empty() && valid.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::image::testing::{image, with_pe};
    use super::*;

    fn what(head: &[u8]) -> &'static str {
        let kind = identify(head);
        let Kind::Foreign(foreign) = kind else {
            panic!("{kind:?}")
        };
        foreign.what
    }

    fn at(offset: usize, mark: &[u8]) -> Vec<u8> {
        let mut head = vec![0; 0x1_0000];
        head[offset..offset + mark.len()].copy_from_slice(mark);
        head
    }

    fn efi_for(machine: u16) -> Vec<u8> {
        let mut head = with_pe(image(0, 1, 0), 0);
        head[56..60].fill(0);
        head[68..70].copy_from_slice(&machine.to_le_bytes());
        head
    }

    #[test]
    fn kernels_are_known() {
        assert!(matches!(identify(&image(0, 1, 0)), Kind::Image(_)));
        assert_eq!(
            identify(b"\x1f\x8b\x08\0"),
            Kind::Compressed(Compression::Gzip)
        );
        assert_eq!(
            identify(b"\x28\xb5\x2f\xfd"),
            Kind::Compressed(Compression::Zstd)
        );
        let mut zboot = efi_for(0xaa64);
        zboot[4..8].copy_from_slice(b"zimg");
        zboot[8..12].copy_from_slice(&99_u32.to_le_bytes());
        assert_eq!(
            identify(&zboot),
            Kind::Zboot(ZbootHeader {
                offset: 99,
                size: 0
            })
        );
        // mov x0, #1; b .
        assert_eq!(identify(b"\x20\x00\x80\xd2\x00\x00\x00\x14"), Kind::Flat);
    }

    #[test]
    fn what_is_no_arm64_kernel_is_named() {
        assert_eq!(what(b"#!/bin/sh\necho hello\n"), "a text file");
        assert_eq!(what("grüße".as_bytes()), "a text file");
        assert_eq!(what("grüße".as_bytes().split_at(3).0), "a text file");
        assert_eq!(what(&[0; 100]), "nothing but zeros");
        assert_eq!(what(&image(0, 1, 1)), "a big-endian kernel");
        assert!(what(&image(0, 1, 6)).contains("64 KiB pages"));
        assert!(what(&at(0x202, b"HdrS")).contains("bzImage"));
        assert!(what(&at(0, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0")).contains("x86"));
        assert_eq!(
            what(&at(0, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0")),
            ELF.what
        );
        assert!(what(&efi_for(0x8664)).contains("x86"));
        assert!(what(&efi_for(0xaa64)).contains("not a Linux kernel"));
        assert!(what(&efi_for(0x5064)).contains("another CPU"));
        for &(offset, mark, foreign) in MARKS {
            assert_eq!(what(&at(offset, mark)), foreign.what);
        }
    }

    #[test]
    fn the_start_of_a_kernel_is_cut_off() {
        assert_eq!(identify(&efi_for(0xaa64)[..40]), Kind::CutOff);
        assert_eq!(identify(&with_pe(image(0, 1, 0), 9)[..100]), Kind::CutOff);
        assert_eq!(identify(b"\x7fELF\x02"), Kind::CutOff);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(head in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Kind::Foreign(foreign) = identify(&head) {
                prop_assert!(!foreign.hint.is_empty());
            }
        }

        #[test]
        fn printable_text_is_never_run(text in "[ -~\n\t]{1,200}") {
            prop_assert!(matches!(identify(text.as_bytes()), Kind::Foreign(_)));
        }
    }
}
