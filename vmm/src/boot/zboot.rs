//! The header of an EFI zboot image: `drivers/firmware/efi/libstub/zboot-header.S` of Linux.
//!
//! It is an EFI program that unpacks the kernel it carries. armlet has no need to run it: the
//! header says where the compressed `Image` is.

use super::image::u32_at;

/// Where the kernel is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZbootHeader {
    /// Offset of the compressed `Image`.
    pub offset: u64,
    /// Its length.
    pub size: u64,
}

impl ZbootHeader {
    /// Reads the header at the start of a file; `None` when it has none.
    #[must_use]
    pub fn parse(head: &[u8]) -> Option<Self> {
        if !head.starts_with(b"MZ") || head.get(4..8) != Some(b"zimg") {
            return None;
        }
        let (offset, size) = (u32_at(head, 8)?, u32_at(head, 12)?);
        Some(Self {
            offset: offset.into(),
            size: size.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_found() {
        let mut head = *b"MZ\0\0zimg\x00\x10\x00\x00\x34\x12\x00\x00gzip";
        let header = ZbootHeader::parse(&head).unwrap();
        assert_eq!(
            header,
            ZbootHeader {
                offset: 0x1000,
                size: 0x1234
            }
        );
        assert_eq!(ZbootHeader::parse(&head[..15]), None);
        head[4] = b'Z';
        assert_eq!(ZbootHeader::parse(&head), None);
    }
}
