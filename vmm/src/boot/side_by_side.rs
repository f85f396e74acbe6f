//! A long stretch of a file, read into guest memory by several threads at once.
//!
//! Most of the time goes to pages that the host has to find and clear, and to the copy itself;
//! both are shared out well. A kernel of 33 MiB is there in half the time with two threads.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::thread;

use aarch64::Gpa;
use memory::Layout;

/// A thread is not worth its start for less.
const LEAST: u64 = 4 << 20;
/// Shares are whole large pages of the host, so that no two threads wait for the same one.
const ALIGN: u64 = 2 << 20;
/// More than these wait for memory, not for processors.
const MOST: u64 = 4;

/// Copies `length` bytes of `file`, from `offset` on, to `gpa`. How many there were: fewer only at
/// the file's end.
///
/// # Errors
/// When the file cannot be read, or memory is missing. Some of it may be written then.
pub(super) fn read(
    file: &File,
    offset: u64,
    layout: &Layout,
    gpa: Gpa,
    length: u64,
) -> io::Result<u64> {
    let one = |share: Range<u64>| {
        let gpa = Gpa(gpa.0 + share.start);
        stretch(
            file,
            offset + share.start,
            layout,
            gpa,
            share.end - share.start,
        )
    };
    let mut shares = shares(length, threads(length));
    let first = shares.next().unwrap_or(0..0);
    thread::scope(|scope| {
        let others: Vec<_> = shares
            .map(|share| {
                let theirs = share.clone();
                let name = thread::Builder::new().name("load".to_owned());
                // A host that has no thread left: this one reads it, later.
                name.spawn_scoped(scope, || one(theirs)).map_err(|_| share)
            })
            .collect();
        let mut done = one(first)?;
        for other in others {
            done += match other {
                Ok(thread) => thread.join().map_err(|_| io::ErrorKind::Other)??,
                Err(share) => one(share)?,
            };
        }
        Ok(done)
    })
}

/// How many threads `length` bytes are worth on this host.
fn threads(length: u64) -> u64 {
    let cpus = thread::available_parallelism().map_or(1, |count| count.get() as u64);
    (length / LEAST).min(cpus).clamp(1, MOST)
}

/// Cuts `length` bytes into as many shares, or fewer.
fn shares(length: u64, count: u64) -> impl Iterator<Item = Range<u64>> {
    let each = length.div_ceil(count.max(1)).next_multiple_of(ALIGN);
    let starts = (0..count).map(move |n| n * each);
    let starts = starts.take_while(move |start| *start < length);
    starts.map(move |start| start..(start + each).min(length))
}

/// A share. The host may read less than asked for at a time.
fn stretch(file: &File, offset: u64, layout: &Layout, gpa: Gpa, length: u64) -> io::Result<u64> {
    let mut done = 0;
    while done < length {
        let left = usize::try_from(length - done).unwrap_or(usize::MAX);
        match layout.read_from(file, offset + done, Gpa(gpa.0 + done), left)? {
            0 => break,
            len => done += len as u64,
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;
    use std::sync::Arc;

    use memory::{Prot, Region};
    use proptest::prelude::*;

    use super::super::tests::Temp;
    use super::*;

    /// A file to write and read, and what takes it away.
    fn file() -> (File, Temp) {
        let temp = Temp::new(&[]);
        let file = File::options().read(true).write(true).open(&temp.0);
        (file.unwrap(), temp)
    }

    proptest! {
        #[test]
        fn shares_are_all_of_it_in_order(length in 0u64..1 << 40, count in 1..=MOST) {
            let mut at = 0;
            for share in shares(length, count) {
                prop_assert!(share.start == at && share.end > at);
                prop_assert!(share.start.is_multiple_of(ALIGN));
                at = share.end;
            }
            prop_assert_eq!(at, length);
            prop_assert!(shares(length, count).count() as u64 <= count);
        }
    }

    /// A file that ends in the last share, and one that is cut off in an earlier one.
    #[test]
    fn every_byte_comes_to_its_place() {
        const OFFSET: u64 = 4097;
        const LENGTH: u64 = (9 << 20) + 5;
        const BASE: u64 = 0x4000_0000;
        let (file, _temp) = file();
        // Only words at ends of shares differ; the rest are holes.
        let marks = [0, (2 << 20) - 8, 4 << 20, 6 << 20, LENGTH - 8];
        for (mark, value) in marks.iter().zip(1_u64..) {
            file.write_all_at(&value.to_le_bytes(), OFFSET + mark)
                .unwrap();
        }
        let region = Arc::new(Region::new(16 << 20).unwrap());
        let layout = Layout::default().with(Gpa(BASE), region, Prot::ReadWrite);
        let layout = layout.unwrap();
        let word = |mark: u64| {
            let mut word = [0; 8];
            layout.read(Gpa(BASE + mark), &mut word).unwrap();
            u64::from_le_bytes(word)
        };
        let load = || read(&file, OFFSET, &layout, Gpa(BASE), LENGTH).unwrap();
        assert_eq!(load(), LENGTH);
        assert_eq!(marks.map(word), [1, 2, 3, 4, 5]);
        file.set_len(OFFSET + (3 << 20)).unwrap();
        assert_eq!(load(), 3 << 20);
    }

    #[test]
    fn memory_that_is_not_there_is_an_error() {
        let (file, _temp) = file();
        file.set_len(16 << 20).unwrap();
        let region = Arc::new(Region::new(10 << 20).unwrap());
        let layout = Layout::default()
            .with(Gpa(0), region, Prot::ReadWrite)
            .unwrap();
        assert!(read(&file, 0, &layout, Gpa(0), 16 << 20).is_err());
    }
}
