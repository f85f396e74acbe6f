//! Where the bytes a guest's serial port sends go to.

/// Takes what a serial port sends. It has no way to fail: a host that lost its terminal is no
/// concern of the guest's.
pub trait SerialSink: Send {
    /// Takes one byte. It is called on a vCPU's thread, so one that may have to wait should queue.
    fn put(&mut self, byte: u8);
}

/// Drops everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullSink;

impl SerialSink for NullSink {
    fn put(&mut self, _: u8) {}
}
