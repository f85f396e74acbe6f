//! A host that makes one transfer at a time.

use std::convert::Infallible;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use crate::transfer::{Done, Transfer};

/// There is none.
#[derive(Debug)]
pub struct Ring<T> {
    never: Infallible,
    tokens: PhantomData<T>,
}

impl<T> Ring<T> {
    /// A ring for so many transfers.
    ///
    /// # Errors
    /// That there is none here.
    pub fn new(_most: u16) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether it takes another transfer.
    #[must_use]
    pub fn has_room(&self) -> bool {
        match self.never {}
    }

    /// Transfers that were begun and not reaped.
    #[must_use]
    pub fn under_way(&self) -> usize {
        match self.never {}
    }

    /// Takes a transfer.
    ///
    /// # Errors
    /// The token, if this transfer cannot be made here.
    pub fn begin(&mut self, _token: T, _transfer: Transfer) -> Result<(), T> {
        match self.never {}
    }

    /// Has the host begin with what it was given.
    ///
    /// # Errors
    /// The host's.
    pub fn submit(&mut self) -> io::Result<()> {
        match self.never {}
    }

    /// As [`Ring::submit`], and waits until a transfer is over, or for some time.
    ///
    /// # Errors
    /// The host's.
    pub fn wait(&mut self, _most: Option<Duration>) -> io::Result<()> {
        match self.never {}
    }

    /// A transfer that is over.
    pub fn reap(&mut self) -> Option<Done<T>> {
        match self.never {}
    }

    /// Waits for what is under way, and gives back what was never begun or reaped.
    pub fn give_up(self) -> Vec<T> {
        match self.never {}
    }
}
