//! Writing: in place where a cluster is the guest cluster's own, else to a new cluster.
//!
//! A new cluster is filled before any table names it, outside of the lock; meanwhile its guest cluster
//! is busy, and who wants to change it too waits. Readers see the old place until then.

use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;

use super::spec::{COPIED, Mapping};
use super::{Image, Qcow2, Tables};

/// Bytes that are allocated at once, at most.
const MOST_ALLOCATED: u64 = 1 << 20;

/// What a piece of a write comes to.
enum Plan {
    /// Overwrite so many bytes at this place of the file.
    InPlace(u64, u64, crate::image::Hold),
    /// Fill these new clusters.
    Allocate(Vec<New>),
}

/// A guest cluster with its new cluster.
#[derive(Clone, Copy, Debug)]
struct New {
    guest: u64,
    host: u64,
    /// Whether the new cluster reads as zeroes.
    fresh: bool,
    old: Mapping,
}

impl Qcow2 {
    /// Writes bytes that are known to be on the disk, or behind it in its last cluster.
    pub(super) fn write(&self, from: &[u8], at: u64) -> io::Result<()> {
        self.touched.store(true, Ordering::Release);
        let mut done = 0;
        while done < from.len() {
            self.relieve()?;
            let at = at + done as u64;
            let rest = &from[done..];
            done += match self.plan(at, rest.len() as u64)? {
                Plan::InPlace(host, len, hold) => {
                    let len = usize::try_from(len).map_err(io::Error::other)?;
                    self.storage.write_at(&rest[..len], host)?;
                    drop(hold);
                    len
                }
                Plan::Allocate(news) => self.fill(&news, rest, at)?,
            };
        }
        Ok(())
    }

    /// Where bytes from `at` may be overwritten in place, and how many.
    pub(super) fn in_place(
        &self,
        tables: &mut Tables,
        at: u64,
        len: u64,
    ) -> io::Result<Option<(u64, u64)>> {
        let Mapping::Data { host, copied: true } = tables.mapping(self.guest(at))? else {
            return Ok(None);
        };
        let cluster = self.geometry.cluster();
        tables.space.check_target(host)?;
        let skip = at % cluster;
        let mut count = cluster;
        while count - skip < len {
            let next = at - skip + count;
            let guest = self.guest(next);
            let own = Mapping::Data {
                host: host + count,
                copied: true,
            };
            if tables.mapping(guest)? != own || tables.is_busy(&(guest..guest + 1)) {
                break;
            }
            tables.space.check_target(host + count)?;
            count += cluster;
        }
        Ok(Some((host + skip, len.min(count - skip))))
    }

    fn plan(&self, at: u64, len: u64) -> io::Result<Plan> {
        let first = self.guest(at);
        let mut tables = self.lock_idle(&(first..first + 1));
        if let Some((host, len)) = self.in_place(&mut tables, at, len)? {
            return Ok(Plan::InPlace(host, len, tables.space.hold()));
        }
        // As many clusters as can be, but none that somebody else is changing, and none of another
        // L2 table.
        let end = at + len.min(MOST_ALLOCATED.max(self.geometry.cluster()));
        let table_end = (first / self.geometry.l2_entries() + 1) * self.geometry.l2_entries();
        let last = (self.guest(end - 1) + 1).min(table_end);
        tables.own_l2(first)?;
        let mut news = Vec::new();
        for guest in first..last {
            let old = tables.mapping(guest)?;
            let own = matches!(old, Mapping::Data { copied: true, .. });
            if own || tables.is_busy(&(guest..guest + 1)) {
                break;
            }
            let storage = &*self.storage;
            match tables.space.allocate(storage) {
                Ok((host, fresh)) => news.push(New {
                    guest,
                    host,
                    fresh,
                    old,
                }),
                // What there is for may do: the next piece finds out.
                Err(_) if !news.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        let covered = tables.space.used_len();
        if let Err(error) = tables.space.cover(&*self.storage, covered) {
            self.give_back(&mut tables, &news);
            return Err(error);
        }
        tables.busy.push(guests(&news));
        Ok(Plan::Allocate(news))
    }

    /// Fills new clusters from `from`, which begins at `at`, and makes them the guest clusters'.
    /// How many bytes that was.
    fn fill(&self, news: &[New], from: &[u8], at: u64) -> io::Result<usize> {
        let filled = self.fill_data(news, from, at);
        let mut tables = self.lock();
        tables.busy.retain(|range| *range != guests(news));
        let linked = filled.and_then(|len| {
            for new in news {
                tables.set_entry(new.guest, new.host | COPIED)?;
            }
            Ok(len)
        });
        match linked {
            Ok(_) => news.iter().for_each(|new| tables.release(new.old)),
            Err(_) => {
                // Entries that were set go back; that needs no more than setting them did.
                let back = news
                    .iter()
                    .try_for_each(|new| self.restore(&mut tables, *new));
                if back.is_ok() {
                    self.give_back(&mut tables, news);
                }
            }
        }
        drop(tables);
        self.unbusy.notify_all();
        linked
    }

    fn restore(&self, tables: &mut Tables, new: New) -> io::Result<()> {
        if tables
            .entry(new.guest)?
            .is_some_and(|entry| entry == new.host | COPIED)
        {
            let old = super::zero::entry_of(new.old, self.geometry);
            tables.set_entry(new.guest, old)?;
        }
        Ok(())
    }

    fn give_back(&self, tables: &mut Tables, news: &[New]) {
        for new in news {
            tables.space.abandon(&*self.storage, new.host);
        }
    }

    fn fill_data(&self, news: &[New], from: &[u8], at: u64) -> io::Result<usize> {
        let cluster = self.geometry.cluster();
        let skip = at % cluster;
        let most = news.len() as u64 * cluster - skip;
        let len = usize::try_from(most).map_or(from.len(), |most| most.min(from.len()));
        let end = at + len as u64;
        let mut n = 0;
        while n < news.len() {
            let start = news[n].guest * cluster;
            if start >= at && start + cluster <= end {
                // Whole clusters that are neighbours in the file too: one write.
                let mut last = n + 1;
                while last < news.len()
                    && news[last].host == news[last - 1].host + cluster
                    && (news[last].guest + 1) * cluster <= end
                {
                    last += 1;
                }
                let range = (start - at, (last - n) as u64 * cluster);
                self.storage.write_at(part(from, range)?, news[n].host)?;
                n = last;
            } else {
                self.fill_partly(news[n], from, at, end)?;
                n += 1;
            }
        }
        Ok(len)
    }

    /// A cluster of which only a part is written.
    fn fill_partly(&self, new: New, from: &[u8], at: u64, end: u64) -> io::Result<()> {
        let cluster = self.geometry.cluster();
        let start = new.guest * cluster;
        let (begin, end) = (at.max(start), end.min(start + cluster));
        let bytes = part(from, (begin - at, end - begin))?;
        let zeroes = match new.old {
            Mapping::Zero { .. } => true,
            Mapping::Unallocated => start >= self.backing_size(),
            Mapping::Data { .. } | Mapping::Compressed { .. } => false,
        };
        if new.fresh && zeroes {
            return self.storage.write_at(bytes, new.host + (begin - start));
        }
        let mut whole = vec![0; self.geometry.cluster_len()];
        if !zeroes {
            self.read(&mut whole, start)?;
        }
        let place = usize::try_from(begin - start).map_err(io::Error::other)?;
        whole[place..place + bytes.len()].copy_from_slice(bytes);
        self.storage.write_at(&whole, new.host)
    }

    /// Writes the whole guest cluster at `at`, compressed if that makes it shorter: for who fills a new
    /// image from its beginning, alone.
    ///
    /// # Errors
    /// As for [`Image::write_at`].
    pub fn write_compressed(&self, cluster: &[u8], at: u64) -> io::Result<()> {
        let len = self.size().saturating_sub(at).min(self.geometry.cluster());
        self.check_write(at, len)?;
        let whole = cluster.len() == self.geometry.cluster_len()
            && at.is_multiple_of(self.geometry.cluster());
        let Some(packed) = self.compression.pack(cluster).filter(|_| whole) else {
            return self.write(part(cluster, (0, len.min(cluster.len() as u64)))?, at);
        };
        self.touched.store(true, Ordering::Release);
        self.relieve()?;
        let mut tables = self.lock();
        let tables = &mut *tables;
        let guest = self.guest(at);
        let old = tables.mapping(guest)?;
        let len = packed.len() as u64;
        let host = tables.space.allocate_bytes(&*self.storage, len)?;
        self.storage.write_at(&packed, host)?;
        let entry = super::spec::compressed_entry(host, len, self.geometry);
        tables.set_entry(guest, entry)?;
        tables.release(old);
        Ok(())
    }
}

fn guests(news: &[New]) -> Range<u64> {
    let first = news.first().map_or(0, |new| new.guest);
    first..first + news.len() as u64
}

fn part(bytes: &[u8], (at, len): (u64, u64)) -> io::Result<&[u8]> {
    let at = usize::try_from(at).map_err(io::Error::other)?;
    let len = usize::try_from(len).map_err(io::Error::other)?;
    Ok(&bytes[at..at + len])
}
