//! A buffer of a guest that lies in several pieces of its memory, as a descriptor chain has it.
//!
//! Pieces are checked when they are added, and the memory they lie in is held, so that what is done
//! to them afterwards cannot fail for the guest's sake. The guest may change the bytes meanwhile:
//! what is read twice may differ. What is written is in the log of pages that devices write
//! ([`Region::start_device_log`](crate::Region::start_device_log)).

// UNSAFETY: gives the host's kernel addresses of guest memory.
#![expect(
    unsafe_code,
    reason = "the kernel reads and writes guest RAM in our place"
)]

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use aarch64::Gpa;

use crate::device::Access;
use crate::host::{self, MOST, RUNS, Run, Way};
use crate::layout::{Layout, LayoutError};
use crate::region::Region;

/// Pieces of guest memory, in order.
#[derive(Clone)]
pub struct Pieces {
    memory: Arc<Layout>,
    list: Vec<Piece>,
    bytes: u64,
}

/// A piece inside of one mapping. It is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// Its place among the layout's mappings.
    mapping: usize,
    offset: u64,
    len: u64,
}

/// An access beyond the end of [`Pieces`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes at {at} of a guest's buffer, which has {has}")]
pub struct BeyondPieces {
    /// First byte.
    pub at: u64,
    /// Bytes.
    pub len: u64,
    /// Bytes of the buffer.
    pub has: u64,
}

impl Pieces {
    /// No piece yet.
    #[must_use]
    pub fn new(memory: Arc<Layout>) -> Self {
        Self {
            memory,
            list: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds a piece at the end. One that spans adjacent mappings becomes several, one that goes on
    /// where the last ends becomes part of it, and an empty one nothing.
    ///
    /// # Errors
    /// When memory is missing, or a device must not access it so; no piece is added then.
    pub fn push(&mut self, gpa: Gpa, len: u64, access: Access) -> Result<(), LayoutError> {
        let (had, was) = (self.list.len(), self.list.last().copied());
        let mut at = gpa;
        let mut left = len;
        let bytes = self.bytes.checked_add(len);
        let bytes = bytes.ok_or(LayoutError::Unmapped(gpa))?;
        while left > 0 {
            let Some(piece) = self.piece(at, left, access) else {
                self.list.truncate(had);
                if let (Some(last), Some(was)) = (self.list.last_mut(), was) {
                    *last = was;
                }
                return Err(LayoutError::Unmapped(at));
            };
            left -= piece.len;
            at = Gpa(at.0.wrapping_add(piece.len));
            match self.list.last_mut() {
                Some(last) if last.goes_on_as(&piece) => last.len += piece.len,
                Some(_) | None => self.list.push(piece),
            }
        }
        self.bytes = bytes;
        Ok(())
    }

    fn piece(&self, at: Gpa, len: u64, access: Access) -> Option<Piece> {
        let (index, mapping, offset) = self.memory.find_index(at)?;
        access.is_allowed(mapping.prot).then(|| Piece {
            mapping: index,
            offset,
            len: len.min(mapping.region.size() - offset),
        })
    }

    /// Bytes in all.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Keeps the first `at` bytes, and returns the rest; nothing if there are no more.
    #[must_use]
    pub fn split_off(&mut self, at: u64) -> Self {
        let mut rest = Self::new(Arc::clone(&self.memory));
        let at = at.min(self.bytes);
        let mut begin = 0;
        for (index, piece) in self.list.iter_mut().enumerate() {
            if begin + piece.len > at {
                let kept = at - begin;
                let gone = Piece {
                    offset: piece.offset + kept,
                    len: piece.len - kept,
                    ..*piece
                };
                piece.len = kept;
                rest.list.push(gone);
                let first_gone = index + 1;
                rest.list.extend(self.list.drain(first_gone..));
                break;
            }
            begin += piece.len;
        }
        self.list.retain(|piece| piece.len > 0);
        rest.bytes = self.bytes - at;
        self.bytes = at;
        rest
    }

    /// Copies bytes out, from `at` on.
    ///
    /// # Errors
    /// When there are not as many.
    pub fn copy_to(&self, at: u64, into: &mut [u8]) -> Result<(), BeyondPieces> {
        let mut rest = into;
        for part in self.parts(at, rest.len() as u64)? {
            let (now, later) = rest.split_at_mut(part.len());
            part.region.device_read(part.offset, now);
            rest = later;
        }
        Ok(())
    }

    /// Copies bytes in, from `at` on.
    ///
    /// # Errors
    /// When they do not fit; nothing is written then.
    pub fn copy_from(&self, at: u64, from: &[u8]) -> Result<(), BeyondPieces> {
        let mut rest = from;
        for part in self.parts(at, rest.len() as u64)? {
            let (now, later) = rest.split_at(part.len());
            part.region.device_write(part.offset, now);
            rest = later;
        }
        Ok(())
    }

    /// Writes zeros over `range`.
    ///
    /// # Errors
    /// When it reaches beyond the end; nothing is written then.
    pub fn zero(&self, range: Range<u64>) -> Result<(), BeyondPieces> {
        const ZEROS: [u8; 4096] = [0; 4096];
        for part in self.parts(range.start, range.end.saturating_sub(range.start))? {
            let end = part.offset + part.len;
            let mut at = part.offset;
            while at < end {
                let now = (end - at).min(ZEROS.len() as u64);
                part.region.device_write(at, &ZEROS[..now as usize]);
                at += now;
            }
        }
        Ok(())
    }

    /// Reads a file from `at` on into `range`, with as few calls of the host as it takes, which
    /// writes the bytes there itself. How many; fewer than asked for only at the file's end.
    ///
    /// # Errors
    /// When the file cannot be read, or the range reaches beyond the end. Some of it may be written.
    pub fn read_from_file(&self, range: Range<u64>, file: &File, at: u64) -> io::Result<u64> {
        let Range { start, end } = range;
        let read = self.transfer(Way::In, start..end, file, at);
        // What an error leaves behind is not known: it may be all of it.
        let end = read.as_ref().map_or(end, |read| start + read);
        let noted = self.note_written(start..end);
        let read = read?;
        noted.map_err(io::Error::other)?;
        Ok(read)
    }

    /// Writes `range` to a file from `at` on, with as few calls of the host as it takes.
    ///
    /// # Errors
    /// When the file does not take all of it, or the range reaches beyond the end.
    pub fn write_to_file(&self, range: Range<u64>, file: &File, at: u64) -> io::Result<()> {
        let len = range.end.saturating_sub(range.start);
        match self.transfer(Way::Out, range, file, at)? {
            written if written == len => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// Where `range` lies in the host, for calls of the host that are not made here. It stays as
    /// long as these pieces, or a clone of them. Who has had it written says so to
    /// [`Pieces::note_written`].
    ///
    /// # Errors
    /// When it reaches beyond the end.
    pub fn runs(&self, range: Range<u64>) -> Result<impl Iterator<Item = Run> + '_, BeyondPieces> {
        let parts = self.parts(range.start, range.end.saturating_sub(range.start))?;
        Ok(parts.filter_map(|part| part.run()))
    }

    /// The guest's addresses of the pieces, and their bytes.
    pub fn spans(&self) -> impl Iterator<Item = (Gpa, u64)> + '_ {
        self.list.iter().filter_map(|piece| {
            let mapping = self.memory.mappings().get(piece.mapping)?;
            Some((Gpa(mapping.gpa.0 + piece.offset), piece.len))
        })
    }

    /// Logs that `range` was written through [`Pieces::runs`].
    ///
    /// # Errors
    /// When it reaches beyond the end.
    pub fn note_written(&self, range: Range<u64>) -> Result<(), BeyondPieces> {
        for part in self.parts(range.start, range.end.saturating_sub(range.start))? {
            part.region.note_device_write(part.offset, part.len);
        }
        Ok(())
    }

    fn transfer(&self, way: Way, range: Range<u64>, file: &File, at: u64) -> io::Result<u64> {
        let len = range.end.saturating_sub(range.start);
        self.check(range.start, len).map_err(io::Error::other)?;
        let mut done = 0;
        while done < len {
            let mut runs = [Run::NONE; RUNS];
            let (mut count, mut bytes) = (0, 0);
            let rest = self.runs(range.start + done..range.end);
            for (slot, run) in runs.iter_mut().zip(rest.map_err(io::Error::other)?) {
                let len = run.len.min(MOST - bytes);
                *slot = Run { len, ..run };
                bytes += len;
                count += 1;
                if bytes == MOST {
                    break;
                }
            }
            let at = at.checked_add(done).ok_or(io::ErrorKind::InvalidInput)?;
            // SAFETY: runs are memory of regions that these pieces hold, which is only ever shared
            // as atomics, volatile copies and raw pointers; only pieces that may be written are
            // given to devices as such, and the host's mapping is writable in any case.
            let moved = unsafe { host::transfer(way, file, at, &runs[..count]) }?;
            if moved == 0 {
                break;
            }
            done += moved as u64;
        }
        Ok(done)
    }

    fn check(&self, at: u64, len: u64) -> Result<(), BeyondPieces> {
        let has = self.bytes;
        match at.checked_add(len) {
            Some(end) if end <= has => Ok(()),
            Some(_) | None => Err(BeyondPieces { at, len, has }),
        }
    }

    /// What lies from `at` on for `len` bytes, piece by piece.
    fn parts(
        &self,
        at: u64,
        len: u64,
    ) -> Result<impl Iterator<Item = Part<'_>> + '_, BeyondPieces> {
        self.check(at, len)?;
        let (mut skip, mut left) = (at, len);
        Ok(self.list.iter().filter_map(move |piece| {
            let from = skip.min(piece.len);
            skip -= from;
            let len = left.min(piece.len - from);
            left -= len;
            let mapping = self.memory.mappings().get(piece.mapping)?;
            (len > 0).then_some(Part {
                region: &mapping.region,
                offset: piece.offset + from,
                len,
            })
        }))
    }
}

impl Piece {
    fn goes_on_as(&self, next: &Self) -> bool {
        self.mapping == next.mapping && self.offset + self.len == next.offset
    }
}

/// A part of a region.
struct Part<'a> {
    region: &'a Region,
    offset: u64,
    len: u64,
}

impl Part<'_> {
    fn len(&self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX)
    }

    fn run(&self) -> Option<Run> {
        self.region.run(self.offset, self.len)
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces")
            .field("list", &self.list)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use aarch64::PAGE_SIZE;

    use super::*;
    use crate::Prot;

    fn memory() -> Arc<Layout> {
        let region = |pages| Arc::new(Region::new(pages * PAGE_SIZE).unwrap());
        let layout = Layout::default()
            .with(Gpa(0x4000), region(2), Prot::ReadWrite)
            .and_then(|l| l.with(Gpa(0x6000), region(1), Prot::ReadWrite))
            .and_then(|l| l.with(Gpa(0x7000), region(1), Prot::ReadOnly));
        Arc::new(layout.unwrap())
    }

    fn pieces(memory: &Arc<Layout>, list: &[(u64, u64)]) -> Pieces {
        let mut pieces = Pieces::new(Arc::clone(memory));
        for (gpa, len) in list {
            pieces.push(Gpa(*gpa), *len, Access::Write).unwrap();
        }
        pieces
    }

    fn file(name: &str) -> (File, std::path::PathBuf) {
        let name = format!("armlet-pieces-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        (options.open(&path).unwrap(), path)
    }

    #[test]
    fn bytes_are_counted_through_all_pieces() {
        let memory = memory();
        let p = pieces(
            &memory,
            &[(0x5ffe, 4), (0x4000, 2), (0x4002, 0), (0x4002, 1)],
        );
        assert_eq!((p.len(), p.list.len()), (7, 3), "{p:?}");
        p.copy_from(1, &[1, 2, 3, 4, 5]).unwrap();
        let mut back = [9; 7];
        p.copy_to(0, &mut back).unwrap();
        assert_eq!(back, [0, 1, 2, 3, 4, 5, 0]);
        let mut straight = [0; 4];
        memory.read(Gpa(0x5ffe), &mut straight).unwrap();
        assert_eq!(straight, [0, 1, 2, 3]);
        p.zero(2..5).unwrap();
        p.copy_to(0, &mut back).unwrap();
        assert_eq!(back, [0, 1, 0, 0, 0, 5, 0]);
        assert!(p.copy_to(1, &mut back).is_err());
        assert!(p.copy_from(u64::MAX, &[1]).is_err());
        assert!(p.zero(7..8).is_err());
        p.copy_to(7, &mut []).unwrap();
    }

    #[test]
    fn a_piece_that_cannot_be_accessed_leaves_nothing_behind() {
        let memory = memory();
        let mut p = pieces(&memory, &[(0x6000, 0x10)]);
        for (gpa, len) in [
            (0x6010, 0x1000),
            (0x7000, 1),
            (0x1000, 1),
            (0x6800, u64::MAX),
        ] {
            assert!(p.push(Gpa(gpa), len, Access::Write).is_err());
            assert_eq!((p.len(), p.list.len(), p.list[0].len), (0x10, 1, 0x10));
        }
        p.push(Gpa(0x6010), 0x1000, Access::Read).unwrap();
        assert_eq!((p.len(), p.list.len()), (0x1010, 2));
    }

    #[test]
    fn a_split_is_at_any_byte() {
        let memory = memory();
        let list = [(0x4000, 3), (0x5000, 2), (0x6000, 4)];
        let whole = pieces(&memory, &list);
        whole.copy_from(0, &[1, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap();
        for at in 0..=10 {
            let mut head = whole.clone();
            let tail = head.split_off(at);
            assert_eq!((head.len(), tail.len()), (at.min(9), 9 - at.min(9)));
            let mut back = [0; 9];
            let (first, second) = back.split_at_mut(at.min(9) as usize);
            head.copy_to(0, first).unwrap();
            tail.copy_to(0, second).unwrap();
            assert_eq!(back, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
            assert!(head.list.iter().chain(&tail.list).all(|p| p.len > 0));
        }
    }

    #[test]
    fn files_move_in_few_calls_and_end_where_they_end() {
        let memory = memory();
        let (file, path) = file("ends");
        std::fs::remove_file(path).unwrap();
        let every_other: Vec<(u64, u64)> = (0..300).map(|n| (0x4000 + 16 * n, 8)).collect();
        let p = pieces(&memory, &every_other);
        let text: Vec<u8> = (0..p.len()).map(|n| n as u8).collect();
        p.copy_from(0, &text).unwrap();
        p.write_to_file(0..p.len(), &file, 100).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 100 + p.len());
        p.zero(0..p.len()).unwrap();
        let region = &memory.mappings()[0].region;
        region.start_device_log();
        assert_eq!(p.read_from_file(0..p.len(), &file, 100).unwrap(), p.len());
        assert_eq!(region.take_device_log().count(), 2);
        let mut back = vec![0; text.len()];
        p.copy_to(0, &mut back).unwrap();
        assert_eq!(back, text);
        assert_eq!(
            p.read_from_file(0..p.len(), &file, 110).unwrap(),
            p.len() - 10
        );
        assert_eq!(p.read_from_file(5..9, &file, 1 << 40).unwrap(), 0);
        assert!(p.read_from_file(0..p.len() + 1, &file, 0).is_err());
        assert!(p.write_to_file(0..1, &file, u64::MAX).is_err());
        let read_only = File::open("/dev/null").unwrap();
        assert!(p.write_to_file(0..1, &read_only, 0).is_err());
    }
}
