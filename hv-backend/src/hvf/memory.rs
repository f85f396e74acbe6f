//! Guest memory of an `hvf` VM: mappings in the framework's pages of 16 KiB, which pages the guest
//! wrote, and giving memory back.
//!
//! The framework keeps no log of written pages. While somebody wants one ([`DirtyLog`]), memory is
//! mapped without the right to write; the first write to a page traps, the page is noted and gets the
//! right back until the log is taken. What the executor writes in the guest's name the region notes.
//! A guest that traps in its own memory for any such reason goes on by running the instruction again;
//! [`Memory::fault`] says when.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aarch64::Gpa;
use aarch64::trap::Abort;
use memory::{Layout, LayoutError, PageSet, Prot, Region};

use super::abi::{PAGE_SIZE, status};
use super::sys::{Backing, Failure, Framework, Rights};
use crate::api::{DirtyLog, HostError};
use crate::discard::{self, Part};

/// Why a guest's access trapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is memory that it may access, by now: the instruction is to be run again. How often
    /// memory was made or taken away so far: a guest that comes again without that waits in vain.
    Again(u64),
    /// There is memory that it may not write.
    ReadOnly,
    /// There is no memory.
    Nowhere,
}

/// Guest memory.
#[derive(Debug)]
pub struct Memory {
    framework: Framework,
    address_bits: u8,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    layout: Arc<Layout>,
    /// Pages written since they were last asked for, of each mapping by its address, while that is
    /// wanted.
    written: Option<Vec<(Gpa, PageSet)>>,
    /// Counts what was done to mappings and to the rights to them.
    version: u64,
    /// What was taken from the guest for a moment. It stays here if the framework does not take it
    /// back, until that succeeds.
    hole: Option<(Part, Prot)>,
}

impl State {
    /// What the guest may do in a mapping whose pages are not looked at one by one.
    fn rights(&self, prot: Prot) -> Rights {
        match (prot, &self.written) {
            (Prot::ReadWrite, None) => Rights::All,
            (Prot::ReadOnly, _) | (Prot::ReadWrite, Some(_)) => Rights::ReadExecute,
        }
    }
}

/// Pages of a set in one of the framework's.
const PAGES_EACH: u64 = PAGE_SIZE / aarch64::PAGE_SIZE;

impl Memory {
    /// No memory yet.
    pub fn new(framework: Framework, address_bits: u8) -> Self {
        Self {
            framework,
            address_bits,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Guest memory as it is now.
    pub fn layout(&self) -> Arc<Layout> {
        Arc::clone(&self.state().layout)
    }

    /// See [`Vm::map`](crate::api::Vm::map).
    pub fn map(&self, gpa: Gpa, region: Arc<Region>, prot: Prot) -> Result<(), HostError> {
        let bytes = region.size();
        fits(gpa, bytes, self.address_bits).map_err(refused(gpa))?;
        let mut state = self.state();
        let layout = state.layout.with(gpa, Arc::clone(&region), prot);
        let layout = layout.map_err(|error| refused(gpa)(error.to_string()))?;
        let rights = state.rights(prot);
        let mapped = self.framework.map(gpa.0, whole(&region), rights);
        mapped.map_err(|failure| map_refused(gpa, failure))?;
        state.layout = Arc::new(layout);
        if let Some(written) = &mut state.written {
            written.push((gpa, PageSet::empty(bytes)));
            region.start_log();
        }
        Ok(())
    }

    /// See [`Vm::unmap`](crate::api::Vm::unmap).
    pub fn unmap(&self, gpa: Gpa) -> Result<Arc<Region>, HostError> {
        let mut state = self.state();
        let gone = state.layout.without(gpa);
        let (layout, region) =
            gone.map_err(|error: LayoutError| refused(gpa)(error.to_string()))?;
        self.take_away(&state, gpa, region.size())?;
        state.layout = Arc::new(layout);
        state.hole = state
            .hole
            .take()
            .filter(|(hole, _)| !Arc::ptr_eq(&hole.region, &region));
        if let Some(written) = &mut state.written {
            written.retain(|(at, _)| *at != gpa);
            region.stop_log();
        }
        Ok(region)
    }

    /// See [`Vm::discard`](crate::api::Vm::discard). The framework holds on to pages that a guest has
    /// touched, whatever the host is told of them. So they are taken from the guest, given back, and
    /// mapped anew; a vCPU that misses them meanwhile waits in [`Self::fault`].
    pub fn discard(&self, gpa: Gpa, bytes: u64) -> Result<(), HostError> {
        let mut state = self.state();
        for part in discard::parts(&state.layout, gpa, bytes, PAGE_SIZE)? {
            self.replace(&mut state, part, Prot::ReadWrite, Part::discard)??;
        }
        Ok(())
    }

    /// Takes a part of memory from the guest, does something with it, and gives it to the guest again,
    /// whatever came of that.
    fn replace<R>(
        &self,
        state: &mut State,
        part: Part,
        prot: Prot,
        act: impl FnOnce(&Part) -> R,
    ) -> Result<R, Failure> {
        self.mend(state)?;
        self.framework.unmap(part.gpa.0, part.bytes)?;
        state.version += 1;
        let result = act(&part);
        state.hole = Some((part, prot));
        self.mend(state)?;
        Ok(result)
    }

    /// Gives the guest what it lacks.
    fn mend(&self, state: &mut State) -> Result<(), Failure> {
        if let Some((part, prot)) = &state.hole {
            let backing = Backing {
                region: &part.region,
                offset: part.offset,
                bytes: part.bytes,
            };
            let rights = state.rights(*prot);
            self.framework.map(part.gpa.0, backing, rights)?;
            state.hole = None;
        }
        Ok(())
    }

    /// Unmaps a range as far as the guest has it.
    fn take_away(&self, state: &State, gpa: Gpa, bytes: u64) -> Result<(), Failure> {
        let (from, to) = (gpa.0, gpa.0 + bytes);
        let hole = state.hole.as_ref().map_or((to, to), |(part, _)| {
            let end = part.gpa.0 + part.bytes;
            (part.gpa.0.clamp(from, to), end.clamp(from, to))
        });
        for (from, to) in [(from, hole.0), (hole.1, to)] {
            if from < to {
                self.framework.unmap(from, to - from)?;
            }
        }
        Ok(())
    }

    /// Takes all memory away, before the VM ends.
    pub fn clear(&self) {
        let mut state = self.state();
        for mapping in state.layout.mappings() {
            // Nothing can be done about a failure, and the VM goes next.
            let _ = self.take_away(&state, mapping.gpa, mapping.region.size());
        }
        state.hole = None;
        state.layout = Arc::default();
    }

    /// Makes the guest's next touch of each page translate it anew.
    pub fn remap(&self) -> Result<(), Failure> {
        let mut state = self.state();
        for mapping in Arc::clone(&state.layout).mappings() {
            let part = Part {
                gpa: mapping.gpa,
                region: Arc::clone(&mapping.region),
                offset: 0,
                bytes: mapping.region.size(),
            };
            self.replace(&mut state, part, mapping.prot, |_| ())?;
        }
        Ok(())
    }

    /// Looks into a trapped access of the guest, and lets it through if that was only waited for.
    pub fn fault(&self, gpa: Gpa, abort: Abort) -> Result<Fault, Failure> {
        let mut state = self.state();
        self.mend(&mut state)?;
        let State {
            layout,
            written,
            version,
            hole: _,
        } = &mut *state;
        let Some((mapping, offset)) = layout.find(gpa) else {
            return Ok(Fault::Nowhere);
        };
        if abort != Abort::Permission {
            // It was gone for a moment, and whoever took it away has let go of the lock.
            return Ok(Fault::Again(*version));
        }
        if mapping.prot == Prot::ReadOnly {
            return Ok(Fault::ReadOnly);
        }
        let page = gpa.align_down(PAGE_SIZE);
        let sets = written.iter_mut().flatten();
        for (_, set) in sets.filter(|(at, _)| *at == mapping.gpa) {
            let first = offset / PAGE_SIZE * PAGES_EACH;
            *version += u64::from(!set.contains(first));
            (first..first + PAGES_EACH).for_each(|page| set.insert(page));
        }
        self.framework.protect(page.0, PAGE_SIZE, Rights::All)?;
        Ok(Fault::Again(*version))
    }
}

impl Memory {
    /// Protects what the guest may write, wholly.
    fn protect_all(&self, state: &mut State, rights: Rights) -> Result<(), Failure> {
        self.mend(state)?;
        for mapping in state.layout.mappings() {
            if mapping.prot == Prot::ReadWrite {
                let (gpa, bytes) = (mapping.gpa.0, mapping.region.size());
                self.framework.protect(gpa, bytes, rights)?;
            }
        }
        Ok(())
    }
}

impl DirtyLog for Memory {
    fn start(&self) -> Result<(), HostError> {
        let mut state = self.state();
        let mut written = Vec::new();
        for mapping in state.layout.mappings() {
            mapping.region.start_log();
            written.push((mapping.gpa, PageSet::empty(mapping.region.size())));
        }
        state.written = Some(written);
        Ok(self.protect_all(&mut state, Rights::ReadExecute)?)
    }

    fn take(&self, gpa: Gpa) -> Result<PageSet, HostError> {
        let mut state = self.state();
        self.mend(&mut state)?;
        let State {
            layout, written, ..
        } = &mut *state;
        let Some(written) = written else {
            return Err(HostError::BadState("the log was not started".into()));
        };
        let mapping = layout.mappings().iter().find(|m| m.gpa == gpa);
        let set = written.iter_mut().find(|(at, _)| *at == gpa);
        let (Some(mapping), Some((_, set))) = (mapping, set) else {
            return Err(refused(gpa)(LayoutError::Unmapped(gpa).to_string()));
        };
        let bytes = mapping.region.size();
        // The right to write goes first: what is written from here on is in the next set.
        for page in set.iter().filter(|page| page % PAGES_EACH == 0) {
            let at = gpa.0 + page * aarch64::PAGE_SIZE;
            self.framework.protect(at, PAGE_SIZE, Rights::ReadExecute)?;
        }
        let mut taken = std::mem::replace(set, PageSet::empty(bytes));
        taken.insert_all(&mapping.region.take_log());
        Ok(taken)
    }

    fn stop(&self) -> Result<(), HostError> {
        let mut state = self.state();
        state.written = None;
        for mapping in state.layout.mappings() {
            mapping.region.stop_log();
        }
        Ok(self.protect_all(&mut state, Rights::All)?)
    }
}

fn whole(region: &Region) -> Backing<'_> {
    Backing {
        region,
        offset: 0,
        bytes: region.size(),
    }
}

fn refused(gpa: Gpa) -> impl FnOnce(String) -> HostError {
    move |reason| HostError::Map { gpa, reason }
}

/// Why the framework does not map memory, in words for a user.
fn map_refused(gpa: Gpa, failure: Failure) -> HostError {
    match failure.code {
        status::NO_RESOURCES => refused(gpa)(
            "hv_vm_map says HV_NO_RESOURCES: give the guest less memory, or end other VMs".into(),
        ),
        _ => failure.into(),
    }
}

/// Whether the framework could map memory there. Pure.
fn fits(gpa: Gpa, bytes: u64, address_bits: u8) -> Result<(), String> {
    if !gpa.0.is_multiple_of(PAGE_SIZE) || !bytes.is_multiple_of(PAGE_SIZE) {
        return Err("on this host guest memory comes in pages of 16 KiB".into());
    }
    let end = 1_u64.checked_shl(address_bits.into()).unwrap_or(u64::MAX);
    if gpa.checked_add(bytes).is_none_or(|last| last.0 > end) {
        return Err(format!(
            "it ends beyond the {address_bits} address bits of the VM"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_in_pages_below_the_address_limit() {
        let fits = |gpa, bytes| fits(Gpa(gpa), bytes, 36);
        assert_eq!(fits(0x4000_0000, 0x4000), Ok(()));
        assert_eq!(fits((1 << 36) - 0x4000, 0x4000), Ok(()));
        for (gpa, bytes, said) in [
            (0x4000_1000, 0x4000, "16 KiB"),
            (0x4000_0000, 0x1000, "16 KiB"),
            ((1 << 36) - 0x4000, 0x8000, "36 address bits"),
            (!0x3fff, 0x4000, "36 address bits"),
        ] {
            let refused = fits(gpa, bytes).unwrap_err();
            assert!(refused.contains(said), "{refused}");
        }
    }
}
