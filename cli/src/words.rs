//! What the command says, and where.

use std::io::{ErrorKind, Result, Write, stderr, stdout};

use vmm::text::printable;

/// Text on standard output, and the end of its line. Who closed it does not want it.
///
/// # Errors
/// When it cannot be written for any other reason, such as a full disk.
pub fn say(text: &str) -> Result<()> {
    let mut out = stdout();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// One line on standard error. Names in it come from anywhere, and reach the terminal as text.
pub fn complain(line: &str) {
    // There is nobody left to tell that this failed.
    let _ = writeln!(stderr(), "armlet: {}", printable(line));
}

/// As [`complain`], below whatever is on the terminal.
pub fn complain_on_new_line(line: &str) {
    let _ = writeln!(stderr());
    complain(line);
}

/// Lines below a complaint.
pub fn add(lines: &str) {
    for line in lines.lines() {
        let _ = writeln!(stderr(), "{}", printable(line));
    }
}
