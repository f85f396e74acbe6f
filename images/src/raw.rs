//! A disk whose bytes are those of a file or of a block device.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::image::{Extent, FileRange, Hold, Image, Limits, check_range, readonly};
use crate::probe::{self, Looks, PROBED};
use crate::storage::Storage;

/// A raw disk.
#[derive(Debug)]
pub struct Raw {
    storage: Arc<dyn Storage>,
    readonly: bool,
    /// Whether discarded space is given back.
    discard: bool,
    /// Where nobody said that the file is raw: keeps its beginning from looking like anything else,
    /// one write at a time.
    guard: Option<Mutex<()>>,
    size: AtomicU64,
}

impl Raw {
    /// All of `storage`; `guarded` if it is raw only because it looks like nothing else.
    pub fn new(
        storage: Arc<dyn Storage>,
        readonly: bool,
        discard: bool,
        guarded: bool,
    ) -> io::Result<Self> {
        Ok(Self {
            size: AtomicU64::new(storage.len()?),
            storage,
            readonly,
            discard,
            guard: guarded.then(Mutex::default),
        })
    }

    fn check_write(&self, at: u64, len: u64) -> io::Result<()> {
        check_range(at, len, self.size())?;
        if self.readonly {
            Err(readonly())
        } else {
            Ok(())
        }
    }

    /// How much of the beginning of a range is guarded: zeroes too can complete a signature.
    fn guarded(&self, at: u64, len: u64) -> u64 {
        match self.guard {
            Some(_) => (PROBED as u64).saturating_sub(at).min(len),
            None => 0,
        }
    }

    fn range(&self, at: u64, len: u64) -> Option<FileRange> {
        let align = u64::from(self.storage.alignment());
        let len = len - len % align;
        let file = self
            .storage
            .file()
            .filter(|_| at.is_multiple_of(align) && len > 0)?;
        Some(FileRange {
            file: Arc::clone(file),
            at,
            len,
            hold: Hold::nothing(),
        })
    }

    /// A write to where a file says what it is.
    fn guarded_write(&self, guard: &Mutex<()>, from: &[u8], at: u64) -> io::Result<()> {
        let _one = guard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut start = vec![0; PROBED];
        self.storage.read_at(&mut start, 0)?;
        let begin = usize::try_from(at).map_or(PROBED, |at| at.min(PROBED));
        let count = from.len().min(PROBED - begin);
        start[begin..begin + count].copy_from_slice(&from[..count]);
        match probe::probe(&start) {
            Looks::Raw => self.storage.write_at(from, at),
            Looks::Qcow2 => Err(masquerade("a qcow2 image")),
            Looks::Like(what) => Err(masquerade(what)),
        }
    }
}

fn masquerade(what: &str) -> io::Error {
    let message = format!(
        "refused a write that would make this raw disk look like {what}; format=raw allows it"
    );
    io::Error::new(io::ErrorKind::PermissionDenied, message)
}

impl Image for Raw {
    fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    fn limits(&self) -> Limits {
        let align = self.storage.alignment();
        Limits {
            request: align,
            memory: align,
            // What file systems and drives can give back.
            discard: align.max(4096),
        }
    }

    fn is_readonly(&self) -> bool {
        self.readonly
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        check_range(at, into.len() as u64, self.size())?;
        self.storage.read_at(into, at)
    }

    fn write_at(&self, from: &[u8], at: u64) -> io::Result<()> {
        self.check_write(at, from.len() as u64)?;
        match &self.guard {
            Some(guard) if probe::guards(at) => self.guarded_write(guard, from, at),
            Some(_) | None => self.storage.write_at(from, at),
        }
    }

    fn extent(&self, at: u64, len: u64) -> io::Result<Extent> {
        check_range(at, len, self.size())?;
        Ok(self
            .range(at, len)
            .map_or(Extent::Indirect(len), Extent::Data))
    }

    fn write_extent(&self, at: u64, len: u64) -> io::Result<Option<FileRange>> {
        self.check_write(at, len)?;
        if self.guarded(at, len) > 0 {
            return Ok(None);
        }
        Ok(self.range(at, len))
    }

    fn flush(&self) -> io::Result<()> {
        if self.readonly {
            Ok(())
        } else {
            self.storage.sync()
        }
    }

    fn discard(&self, at: u64, len: u64) -> io::Result<()> {
        self.check_write(at, len)?;
        if !self.discard {
            return Ok(());
        }
        let kept = self.guarded(at, len);
        self.storage.punch(at + kept, len - kept)
    }

    fn write_zeroes(&self, at: u64, len: u64, unmap: bool) -> io::Result<()> {
        self.check_write(at, len)?;
        let written = self.guarded(at, len);
        if written > 0 {
            self.write_at(&vec![0; PROBED][..written as usize], at)?;
        }
        self.storage
            .zero(at + written, len - written, unmap && self.discard)
    }

    fn resize(&self, size: u64) -> io::Result<()> {
        if self.readonly {
            return Err(readonly());
        }
        if self.storage.len()? != size {
            self.storage.set_len(size)?;
            self.storage.sync()?;
        }
        self.size.store(size, Ordering::Release);
        Ok(())
    }

    fn usage(&self) -> io::Result<u64> {
        self.storage.usage()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryStorage;

    fn disk(guarded: bool) -> Raw {
        let storage = MemoryStorage::new(vec![0; 8192]);
        Raw::new(Arc::new(storage), false, true, guarded).unwrap()
    }

    fn read(disk: &Raw, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0xee; len];
        disk.read_at(&mut bytes, at).unwrap();
        bytes
    }

    #[test]
    fn a_probed_disk_never_comes_to_look_like_an_image() {
        let disk = disk(true);
        disk.write_at(b"QFI", 0).unwrap();
        let error = disk.write_at(b"\xfb\0\0\0\x03", 3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("format=raw"), "{error}");
        assert_eq!(read(&disk, 0, 4), b"QFI\0");
        disk.write_at(b"QED!", 0).unwrap();
        assert!(disk.write_zeroes(3, 1, true).is_err());
        assert!(disk.write_extent(0, 8192).unwrap().is_none());
    }

    #[test]
    fn a_disk_that_is_raw_by_request_takes_everything() {
        let disk = disk(false);
        disk.write_at(b"QFI\xfb\0\0\0\x03", 0).unwrap();
        assert_eq!(read(&disk, 0, 4), b"QFI\xfb");
    }

    #[test]
    fn nothing_is_read_or_written_beyond_the_end() {
        let disk = disk(true);
        for (at, len) in [(8192, 1), (8000, 193), (u64::MAX, 2)] {
            assert!(disk.read_at(&mut vec![0; len], at).is_err());
            assert!(disk.write_at(&vec![0; len], at).is_err());
            assert!(disk.discard(at, len as u64).is_err());
            assert!(disk.extent(at, len as u64).is_err());
        }
    }

    #[test]
    fn a_grown_disk_is_zero_where_it_grew() {
        let disk = disk(true);
        disk.resize(10_000).unwrap();
        assert_eq!(disk.size(), 10_000);
        assert_eq!(read(&disk, 8192, 1808), vec![0; 1808]);
    }
}
