//! What an entropy source does with buffers.

use std::time::Duration;

use memory::Pieces;

use super::super::{QueueHandle, Served};
use super::Entropy;

/// Buffers in one go, before somebody may want the worker to stop.
const BATCH: usize = 16;
/// Bytes for one buffer, however large it is: a driver takes what it gets, and asks again.
const MOST: u64 = 16 << 10;
/// Bytes fetched at once.
const CHUNK: usize = 256;
/// When to try again after the host had no random numbers.
const RETRY: Duration = Duration::from_secs(1);

impl Entropy {
    pub(super) fn fill_buffers(&self, queue: &QueueHandle) -> Served {
        for _ in 0..BATCH {
            let now = self.clock.now();
            if let Some(wait) = self.with_bucket(|bucket| bucket.wait(now)) {
                return Served::After(wait);
            }
            let Some(chain) = queue.pop() else {
                return Served::Idle;
            };
            match self.fill(&chain.writable) {
                Ok(bytes) => {
                    self.with_bucket(|bucket| bucket.take(bytes, now));
                    // At most MOST.
                    queue.push(chain.head, bytes as u32);
                }
                Err(error) => {
                    tracing::warn!(%error, "the host has no random numbers for the guest");
                    queue.put_back(chain);
                    return Served::After(RETRY);
                }
            }
        }
        Served::Again
    }

    /// Fills a buffer as far as it is filled in one go. How many bytes.
    fn fill(&self, buffer: &Pieces) -> std::io::Result<u64> {
        let bytes = buffer.len().min(MOST);
        let mut chunk = [0; CHUNK];
        let mut at = 0;
        while at < bytes {
            let now = (bytes - at).min(CHUNK as u64);
            let part = &mut chunk[..now as usize];
            self.source.fill(part)?;
            buffer.copy_from(at, part).map_err(std::io::Error::other)?;
            at += now;
        }
        Ok(bytes)
    }
}
