//! Runs the host's programs, and keeps what they say for the error message.

use crate::Error;
use std::process::{Command, Stdio};

/// How much of a failed program's output goes into the error.
const SHOWN_BYTES: usize = 600;

/// Runs `command` with no input and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, Error> {
    bytes(command).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// As [`output`], whatever the bytes.
pub(crate) fn bytes(command: &mut Command) -> Result<Vec<u8>, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let result = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Program {
            hint: hint(&program),
            program: program.clone(),
            source,
        })?;
    if result.status.success() {
        return Ok(result.stdout);
    }
    let said = String::from_utf8_lossy(&result.stderr).trim().to_owned();
    let from = said.len().saturating_sub(SHOWN_BYTES);
    let from = (from..=said.len())
        .find(|&at| said.is_char_boundary(at))
        .unwrap_or(0);
    Err(Error::Failed {
        command: std::iter::once(program)
            .chain(
                command
                    .get_args()
                    .map(|arg| arg.to_string_lossy().into_owned()),
            )
            .collect::<Vec<_>>()
            .join(" "),
        output: format!("{}: {}", result.status, &said[from..]),
    })
}

fn hint(program: &str) -> &'static str {
    match program {
        "apt-get" | "apt-cache" | "dpkg-deb" => {
            " (guests come from Debian packages; without apt, put a kernel and busybox into \
             target/guests by hand, see the guests crate)"
        }
        "aarch64-linux-gnu-gcc" => " (Debian's package gcc-aarch64-linux-gnu)",
        "/sbin/mke2fs" | "/sbin/debugfs" | "/sbin/e2fsck" => " (Debian's package e2fsprogs)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named() {
        let error = output(&mut Command::new("no-such-program")).expect_err("cannot run");
        assert!(
            error.to_string().starts_with("cannot run no-such-program"),
            "{error}"
        );
    }

    #[test]
    fn a_failure_shows_the_command_and_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo why >&2; exit 3"]))
            .expect_err("exit status 3");
        let text = error.to_string();
        assert!(
            text.contains("sh -c") && text.contains("why") && text.contains('3'),
            "{text}"
        );
    }
}
