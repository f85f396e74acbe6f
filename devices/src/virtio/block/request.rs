//! From a driver's buffer to what it asks of a disk: everything that a guest can get wrong is found
//! here, before the disk is asked.
//!
//! A buffer is a header that the device reads, data, and a status byte that it writes last. The
//! specification leaves the division into descriptors to the driver, so only bytes are counted.
//! One without room for header or status cannot be answered, and stops the device; everything
//! else is answered with a status.

use std::ops::Range;

use memory::Pieces;

use super::super::{Chain, RingFault};
use super::spec::{SECTOR, request};

/// The most segments of a request: a queue of 256 less header and status.
pub const SEG_MAX: u32 = 254;
/// The most bytes of a segment.
pub const SEGMENT_BYTES: u32 = 1 << 20;
/// The most bytes of a request, which holds a worker up for as long as it takes. Drivers that mind
/// [`SEG_MAX`] and [`SEGMENT_BYTES`] never come near.
pub const MAX_BYTES: u64 = 256 << 20;
/// The most segments of a discard, or of sectors to zero.
pub const MAX_SEGMENTS: u32 = 16;
/// The most sectors of a segment of a discard.
pub const MAX_DISCARD_SECTORS: u32 = (256 << 20) / SECTOR as u32;
/// The most sectors of a segment to zero: a host that cannot do it otherwise writes zeros.
pub const MAX_ZEROES_SECTORS: u32 = (16 << 20) / SECTOR as u32;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub operation: Operation,
    /// Where in the written part of the buffer the status goes, behind the data.
    pub status_at: u64,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Read from a sector on into the written part's data.
    Read(u64),
    /// Write from a sector on what is in this range of the read part.
    Write(u64, Range<u64>),
    /// Make what was written last.
    Flush,
    /// Read the serial number.
    Id,
    /// Discard the segments in this range of the read part.
    Discard(Range<u64>),
    /// Zero the segments in this range of the read part.
    WriteZeroes(Range<u64>),
    /// Nothing that is known.
    Unknown(u32),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A number is wrong.
    Wrong(&'static str),
    /// Nobody said that this can be done.
    Unsupported,
}

/// Reads a request.
///
/// # Errors
/// When it cannot be answered.
pub fn parse(chain: &Chain) -> Result<Request, RingFault> {
    let mut header = [0; request::HEADER as usize];
    let no_header = |_| RingFault::Request("a request to a disk has no room for its header");
    chain.readable.copy_to(0, &mut header).map_err(no_header)?;
    let [a, b, c, d, _, _, _, _, sector @ ..] = header;
    let sector = u64::from_le_bytes(sector);
    let data = request::HEADER..chain.readable.len();
    let status_at = chain.writable.len().checked_sub(1);
    let no_status = RingFault::Request("a request to a disk has no room for its status");
    Ok(Request {
        operation: match u32::from_le_bytes([a, b, c, d]) {
            request::IN => Operation::Read(sector),
            request::OUT => Operation::Write(sector, data),
            request::FLUSH => Operation::Flush,
            request::GET_ID => Operation::Id,
            request::DISCARD => Operation::Discard(data),
            request::WRITE_ZEROES => Operation::WriteZeroes(data),
            unknown => Operation::Unknown(unknown),
        },
        status_at: status_at.ok_or(no_status)?,
    })
}

/// Where on a disk of so many sectors `len` bytes from `sector` on are.
///
/// # Errors
/// When they are not sectors, too many, or not all there.
pub fn place(sector: u64, len: u64, sectors: u64) -> Result<u64, Refusal> {
    if !len.is_multiple_of(SECTOR) {
        return Err(Refusal::Wrong("its length is no multiple of a sector"));
    }
    if len > MAX_BYTES {
        return Err(Refusal::Wrong("it is larger than any driver may ask for"));
    }
    match sector.checked_add(len / SECTOR) {
        // A disk's bytes fit a number, so its sectors do.
        Some(end) if end <= sectors => Ok(sector * SECTOR),
        Some(_) | None => Err(Refusal::Wrong("it reaches beyond the end of the disk")),
    }
}

/// A range of bytes to discard or to zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First byte.
    pub at: u64,
    /// Bytes.
    pub len: u64,
    /// Its space may be given back.
    pub unmap: bool,
}

/// Reads the segments of a discard (whose flag must be clear) or of sectors to zero.
///
/// # Errors
/// When there are too many, or one is not on the disk, too large or has other flags.
pub fn segments(
    from: &Pieces,
    range: Range<u64>,
    sectors: u64,
    (most_sectors, flags): (u32, u32),
) -> Result<Vec<Segment>, Refusal> {
    const MOST: usize = MAX_SEGMENTS as usize * request::SEGMENT;
    let wrong = Refusal::Wrong("it has a wrong number of segments");
    let len = usize::try_from(range.end - range.start).map_err(|_| wrong)?;
    if len == 0 || len > MOST || !len.is_multiple_of(request::SEGMENT) {
        return Err(wrong);
    }
    let mut bytes = [0; MOST];
    let bytes = &mut bytes[..len];
    from.copy_to(range.start, bytes).map_err(|_| wrong)?;
    let (segments, _) = bytes.as_chunks::<{ request::SEGMENT }>();
    let read = |bytes: &[u8; request::SEGMENT]| segment(*bytes, sectors, (most_sectors, flags));
    segments.iter().map(read).collect()
}

fn segment(
    bytes: [u8; request::SEGMENT],
    sectors: u64,
    (most_sectors, allowed): (u32, u32),
) -> Result<Segment, Refusal> {
    let number = u128::from_le_bytes(bytes);
    let (first, count) = (number as u64, (number >> 64) as u32);
    let flags = (number >> 96) as u32;
    if flags & !allowed != 0 {
        return Err(Refusal::Unsupported);
    }
    if count > most_sectors {
        return Err(Refusal::Wrong("a segment is too large"));
    }
    let len = u64::from(count) * SECTOR;
    Ok(Segment {
        at: place(first, len, sectors)?,
        len,
        unmap: flags & request::UNMAP != 0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_whole_sectors_of_the_disk_have_a_place() {
        assert_eq!(place(3, 512, 4), Ok(1536));
        assert_eq!(place(4, 0, 4), Ok(2048));
        for (sector, len) in [(3, 1024), (5, 0), (u64::MAX, 512), (0, 511), (0, 1 << 40)] {
            assert!(place(sector, len, 4).is_err(), "{sector} {len}");
        }
        let large = u64::MAX / SECTOR;
        assert!(place(0, MAX_BYTES, large).is_ok());
        assert!(place(0, MAX_BYTES + 512, large).is_err());
    }

    proptest! {
        #[test]
        fn what_has_a_place_is_on_the_disk(sector: u64, len: u64, size: u64) {
            let sectors = size / SECTOR;
            for (sector, len) in [(sector, len), (sector % 64, len % 64 * SECTOR)] {
                if let Ok(at) = place(sector, len, sectors) {
                    prop_assert!(at + len <= size);
                }
            }
        }

        #[test]
        fn segments_are_on_the_disk_and_have_known_flags(
            bytes: [u8; request::SEGMENT], small: bool, size: u64,
        ) {
            let mut bytes = bytes;
            if small {
                bytes[2..8].fill(0);
                bytes[9..16].fill(0);
            }
            let sectors = size / SECTOR;
            if let Ok(Segment { at, len, unmap }) = segment(bytes, sectors, (1 << 16, 0)) {
                prop_assert!(at + len <= size && len <= (1 << 16) * SECTOR && !unmap);
            }
        }
    }
}
