//! The header of an arm64 `Image`: `Documentation/arch/arm64/booting.rst` of Linux, section 4.
//!
//! Where the image doubles as an EFI program, its PE section table (*PE Format*, Microsoft) says
//! how long the file has to be, which is the only way to see that one was cut off.

/// Bytes of the header.
const HEADER_LEN: usize = 64;
/// At offset 56.
const MAGIC: [u8; 4] = *b"ARM\x64";
/// `text_offset` of images that say 0 for their size (before Linux 3.17).
const OLD_TEXT_OFFSET: u64 = 0x8_0000;

/// What the header of an `Image` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// Where the image goes, from a base aligned to 2 MiB.
    pub text_offset: u64,
    /// Memory the image takes from there on, with what it zeroes itself; `None` when unknown.
    pub image_size: Option<u64>,
    /// The kernel runs with big-endian data.
    pub big_endian: bool,
    /// Page size the kernel was built for; `None` when it does not say.
    pub page_size: Option<u64>,
    /// The least length of a whole file, as far as it can be known.
    pub file_size: Option<u64>,
}

/// Why a file's first bytes are no whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadImage {
    /// The magic number is not there.
    NoMagic,
    /// The header, or its EFI part, goes on beyond the end.
    CutOff,
}

impl ImageHeader {
    /// Reads the header at the start of `head`: the first 64 KiB of a file, or all of it.
    ///
    /// # Errors
    /// When there is none, or it is cut off.
    pub fn parse(head: &[u8]) -> Result<Self, BadImage> {
        if head.get(56..60) != Some(&MAGIC) {
            return Err(BadImage::NoMagic);
        }
        let header = head.first_chunk::<HEADER_LEN>().ok_or(BadImage::CutOff)?;
        let image_size = u64_at(header, 16).filter(|&size| size != 0);
        let text_offset = match image_size {
            Some(_) => u64_at(header, 8).unwrap_or(0),
            None => OLD_TEXT_OFFSET,
        };
        let flags = u64_at(header, 24).unwrap_or(0);
        let page_size = match flags >> 1 & 3 {
            1 => Some(4 << 10),
            2 => Some(16 << 10),
            3 => Some(64 << 10),
            _ => None,
        };
        let file_size = pe_file_size(head)?;
        Ok(Self {
            text_offset,
            image_size,
            big_endian: flags & 1 != 0,
            page_size,
            file_size,
        })
    }
}

/// What machine a PE program is for: its `IMAGE_FILE_MACHINE`.
pub(super) fn pe_machine(head: &[u8]) -> Option<u16> {
    let pe = pe_offset(head)?;
    u16_at(head, pe + 4)
}

/// Where the PE header is, if the file starts as such programs do.
fn pe_offset(head: &[u8]) -> Option<usize> {
    let at = usize::try_from(u32_at(head, 60)?).ok()?;
    (head.starts_with(b"MZ") && head.get(at..)?.starts_with(b"PE\0\0")).then_some(at)
}

/// The end of the last section in the file; `None` when the image is no EFI program.
fn pe_file_size(head: &[u8]) -> Result<Option<u64>, BadImage> {
    const FILE_HEADER: usize = 24;
    const SECTION: usize = 40;
    if !head.starts_with(b"MZ") || head.get(60..64) == Some(&[0; 4]) {
        return Ok(None);
    }
    let table = || {
        let pe = pe_offset(head)?;
        let sections = usize::from(u16_at(head, pe + 6)?);
        let first = pe + FILE_HEADER + usize::from(u16_at(head, pe + 20)?);
        head.get(first..first + sections * SECTION)
    };
    let sections = table().ok_or(BadImage::CutOff)?.chunks(SECTION);
    let ends = sections.filter_map(|section| {
        let (size, start) = (u32_at(section, 16)?, u32_at(section, 20)?);
        Some(u64::from(size) + u64::from(start))
    });
    Ok(ends.max())
}

/// Little-endian integers at an offset, if they are there.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|&b| u16::from_le_bytes(b))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|&b| u32::from_le_bytes(b))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|&b| u64::from_le_bytes(b))
}

#[cfg(test)]
pub(super) mod testing {
    /// An `Image` that ends with its header.
    pub(crate) fn image(text_offset: u64, image_size: u64, flags: u64) -> Vec<u8> {
        let mut image = vec![0; 64];
        image[8..16].copy_from_slice(&text_offset.to_le_bytes());
        image[16..24].copy_from_slice(&image_size.to_le_bytes());
        image[24..32].copy_from_slice(&flags.to_le_bytes());
        image[56..60].copy_from_slice(b"ARM\x64");
        image
    }

    /// Makes an `Image` an EFI program with one section, of `bytes` bytes behind its headers.
    pub(crate) fn with_pe(mut image: Vec<u8>, bytes: u32) -> Vec<u8> {
        image.truncate(64);
        image[..4].copy_from_slice(b"MZ\x40\xfa");
        image[60..64].copy_from_slice(&64_u32.to_le_bytes());
        image.extend(b"PE\0\0\x64\xaa\x01\0");
        image.resize(64 + 24 + 40, 0);
        let end = u32::try_from(image.len()).unwrap();
        image[64 + 24 + 16..64 + 24 + 20].copy_from_slice(&bytes.to_le_bytes());
        image[64 + 24 + 20..64 + 24 + 24].copy_from_slice(&end.to_le_bytes());
        image.resize(image.len() + usize::try_from(bytes).unwrap(), 0xd5);
        image
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::{image, with_pe};
    use super::*;

    #[test]
    fn fields_are_where_the_protocol_puts_them() {
        let header = ImageHeader::parse(&image(0x1000, 0x20_0000, 0b1010)).unwrap();
        let want = ImageHeader {
            text_offset: 0x1000,
            image_size: Some(0x20_0000),
            big_endian: false,
            page_size: Some(4096),
            file_size: None,
        };
        assert_eq!(header, want);
        assert!(ImageHeader::parse(&image(0, 1, 1)).unwrap().big_endian);
        assert_eq!(
            ImageHeader::parse(&image(0, 1, 0b110)).unwrap().page_size,
            Some(65536)
        );
    }

    #[test]
    fn an_image_without_a_size_has_the_old_offset() {
        let header = ImageHeader::parse(&image(0x1234, 0, 0)).unwrap();
        assert_eq!((header.text_offset, header.image_size), (0x8_0000, None));
    }

    #[test]
    fn the_section_table_says_how_long_the_file_is() {
        let image = with_pe(image(0, 0x1_0000, 0), 100);
        let header = ImageHeader::parse(&image).unwrap();
        assert_eq!(header.file_size, Some(image.len() as u64));
        assert_eq!(pe_machine(&image), Some(0xaa64));
        assert_eq!(ImageHeader::parse(&image[..100]), Err(BadImage::CutOff));
        assert_eq!(ImageHeader::parse(&image[..60]), Err(BadImage::CutOff));
        assert_eq!(ImageHeader::parse(&image[..50]), Err(BadImage::NoMagic));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(
            mut head in prop::collection::vec(any::<u8>(), 64..300), at in 0_u8..255,
        ) {
            prop_assert_eq!(ImageHeader::parse(&head[..63]), Err(BadImage::NoMagic));
            head[..2].copy_from_slice(b"MZ");
            head[56..60].copy_from_slice(&MAGIC);
            head[60..64].copy_from_slice(&[at, 0, 0, 0]);
            if let Some(pe) = head.get_mut(usize::from(at)..usize::from(at) + 4) {
                pe.copy_from_slice(b"PE\0\0");
            }
            if head[56..60] == MAGIC {
                let parsed = ImageHeader::parse(&head);
                prop_assert_ne!(parsed, Err(BadImage::NoMagic));
            }
        }

        #[test]
        fn every_header_reads_back(offset: u64, size in 1_u64.., flags: u64) {
            let header = ImageHeader::parse(&image(offset, size, flags)).unwrap();
            prop_assert_eq!(header.text_offset, offset);
            prop_assert_eq!(header.image_size, Some(size));
            prop_assert_eq!(header.big_endian, flags % 2 == 1);
        }
    }
}
