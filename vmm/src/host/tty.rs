//! The terminal in raw mode, and its way back, whatever happens to the process.
//!
//! The saved settings live in a static that is written once, so that every way out can put them
//! back: [`RawMode`] being dropped, a panic, a signal, and a crash of armlet itself (a handler for
//! `SIGSEGV`, `SIGBUS`, `SIGILL`, `SIGFPE` and `SIGABRT` that only calls async-signal-safe
//! functions and then lets the crash go on). Only `SIGKILL` gets past it.

// UNSAFETY: termios and signal handlers are C interfaces.
#![expect(
    unsafe_code,
    reason = "the terminal must be put back from a signal handler"
)]

use std::io::IsTerminal;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{c_int, c_void, siginfo_t, termios};

/// The terminal's settings from before raw mode.
static SAVED: OnceLock<termios> = OnceLock::new();
/// Whether the terminal is in raw mode.
static RAW: AtomicBool = AtomicBool::new(false);

/// Signals that a crash of the process raises.
const CRASHES: [c_int; 5] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
];
/// Who handled each of them before.
static PREVIOUS: [OnceLock<libc::sigaction>; CRASHES.len()] =
    [const { OnceLock::new() }; CRASHES.len()];

/// Standard input is a terminal in raw mode for as long as this lives.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Puts standard input in raw mode, if it is a terminal and this process in its foreground;
    /// in the background, touching it would stop the process.
    ///
    /// Output processing stays on: lines of armlet's own messages begin at the left, and a guest
    /// that sends carriage returns itself sees no difference.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn enter() -> std::io::Result<Option<Self>> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() || !in_foreground() {
            return Ok(None);
        }
        let before = settings()?;
        let saved = SAVED.get_or_init(|| before);
        catch_crashes();
        let mut raw = *saved;
        // SAFETY: raw is an initialised termios that nobody else refers to.
        unsafe { libc::cfmakeraw(&raw mut raw) };
        raw.c_oflag = saved.c_oflag;
        RAW.store(true, Ordering::SeqCst);
        let raw_mode = Self(());
        if apply(&raw) {
            Ok(Some(raw_mode))
        } else {
            Err(std::io::Error::last_os_error())
        }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back, if it is in raw mode. Async-signal-safe.
pub fn restore() {
    if RAW.swap(false, Ordering::SeqCst)
        && let Some(saved) = SAVED.get()
    {
        apply(saved);
    }
}

/// Puts the terminal back before a panic's message is shown.
pub fn restore_on_panic() {
    let show = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        restore();
        show(info);
    }));
}

fn in_foreground() -> bool {
    let group = rustix::termios::tcgetpgrp(std::io::stdin().as_fd());
    group.is_ok_and(|group| group == rustix::process::getpgrp())
}

fn settings() -> std::io::Result<termios> {
    let mut settings = MaybeUninit::uninit();
    // SAFETY: settings is a place for one termios.
    if unsafe { libc::tcgetattr(libc::STDIN_FILENO, settings.as_mut_ptr()) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: tcgetattr succeeded, and so filled it in.
    Ok(unsafe { settings.assume_init() })
}

fn apply(settings: &termios) -> bool {
    // SAFETY: settings is a valid termios for the duration of the call.
    unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, settings) == 0 }
}

/// Installs the crash handler once for each signal.
fn catch_crashes() {
    for (signal, previous) in CRASHES.into_iter().zip(&PREVIOUS) {
        previous.get_or_init(|| install(signal));
    }
}

fn install(signal: c_int) -> libc::sigaction {
    // SAFETY: a sigaction of zeros is valid: the default action, no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_crash as *const () as usize;
    // On the alternate stack that Rust gives each thread, so that an overflow of the stack is
    // handled as well.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: as above.
    let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: both are valid for the call; on_crash has the signature SA_SIGINFO asks for.
    unsafe { libc::sigaction(signal, &raw const action, &raw mut previous) };
    previous
}

/// Puts the terminal back and lets the crash go on: a fault happens again when this returns, and
/// finds the previous handler; a signal that was sent (`abort` sends one too) is sent again, and
/// finds none.
extern "C" fn on_crash(signal: c_int, info: *mut siginfo_t, _: *mut c_void) {
    restore();
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo_t.
    let sent = unsafe { (*info).si_code } <= 0;
    if sent {
        // SAFETY: the default action is valid for every signal.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        // SAFETY: raise may be called from a handler; the signal arrives when this returns.
        unsafe { libc::raise(signal) };
        return;
    }
    let slot = CRASHES.iter().position(|crash| *crash == signal);
    if let Some(previous) = slot.and_then(|slot| PREVIOUS[slot].get()) {
        // SAFETY: previous came from sigaction().
        unsafe { libc::sigaction(signal, previous, std::ptr::null_mut()) };
    }
}
