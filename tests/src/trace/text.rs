//! A trace as text, both ways.

use std::fmt;
use std::str::{FromStr, SplitWhitespace};

use aarch64::{Gpa, Size, SysReg};
use hv_backend::api::{Conduit, Exit, Resume, SystemEvent};

use super::{Line, Trace, What};

/// A text is no trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no line of a trace: {:?}", self.0)
    }
}

impl std::error::Error for Malformed {}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cpus,
            memory,
            lines,
        } = self;
        writeln!(f, "cpus {cpus}\nmemory {memory}")?;
        lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vcpu, what } = self;
        match what {
            What::Start { pc, x0 } => write!(f, "{vcpu} start {pc:x} {x0:x}"),
            What::Exit { exit, x, answer } => {
                write!(f, "{vcpu} {} {}", exit_text(exit, x), answer_text(answer))
            }
        }
    }
}

fn exit_text(exit: &Exit, x: &[u64; 4]) -> String {
    match exit {
        Exit::MmioRead { gpa, size } => format!("read {:x} {:x}", gpa.0, size.bytes()),
        Exit::MmioWrite { gpa, size, data } => {
            format!("write {:x} {:x} {data:x}", gpa.0, size.bytes())
        }
        Exit::SysRegRead { reg } => format!("sysread {:x}", reg.0),
        Exit::SysRegWrite { reg, data } => format!("syswrite {:x} {data:x}", reg.0),
        Exit::Call { conduit, imm } => {
            let conduit = match conduit {
                Conduit::Hvc => "hvc",
                Conduit::Smc => "smc",
            };
            format!("call {conduit} {imm:x} {}", numbers(x))
        }
        Exit::Wfi => "wfi".into(),
        Exit::Timer => "timer".into(),
        Exit::System(SystemEvent::Off) => "off".into(),
        Exit::System(SystemEvent::Reset) => "reset".into(),
        Exit::System(SystemEvent::Crash) => "crash".into(),
        Exit::Kicked => "kicked".into(),
        // A log ends before one of these; the words are for whoever looks at one line.
        Exit::Debug(_) | Exit::QuantumEnd | Exit::Fault(_) => format!("# {exit:?}"),
    }
}

fn answer_text(answer: &Resume) -> String {
    match answer {
        Resume::Done => "done".into(),
        Resume::Data(data) => format!("data {data:x}"),
        Resume::Call(x) => format!("call {}", numbers(x)),
        Resume::Undefined => "undefined".into(),
        Resume::ExternalAbort => "abort".into(),
    }
}

fn numbers(x: &[u64; 4]) -> String {
    let [a, b, c, d] = x;
    format!("{a:x} {b:x} {c:x} {d:x}")
}

impl FromStr for Trace {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let mut setting = |name: &str| {
            let line = lines.next().unwrap_or_default();
            let value = line
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix(' '));
            value
                .map(str::to_owned)
                .ok_or_else(|| Malformed(line.into()))
        };
        let cpus = setting("cpus")?;
        let cpus = cpus.parse().map_err(|_| Malformed(cpus))?;
        let memory = setting("memory")?;
        let line = |line: &str| parse(line).ok_or_else(|| Malformed(line.into()));
        let lines = lines.map(line).collect::<Result<_, _>>()?;
        Ok(Self {
            cpus,
            memory,
            lines,
        })
    }
}

/// The words of a line, taken one after the other.
struct Words<'a>(SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn word(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    fn number(&mut self) -> Option<u64> {
        u64::from_str_radix(self.word()?, 16).ok()
    }

    fn four(&mut self) -> Option<[u64; 4]> {
        Some([
            self.number()?,
            self.number()?,
            self.number()?,
            self.number()?,
        ])
    }

    fn reg(&mut self) -> Option<SysReg> {
        Some(SysReg(u16::try_from(self.number()?).ok()?))
    }

    fn size(&mut self) -> Option<Size> {
        Size::from_bytes(self.number()?)
    }
}

fn parse(line: &str) -> Option<Line> {
    let mut words = Words(line.split_whitespace());
    let vcpu = u16::try_from(words.number()?).ok()?;
    let what = match words.word()? {
        "start" => What::Start {
            pc: words.number()?,
            x0: words.number()?,
        },
        kind => {
            let (exit, x) = parse_exit(kind, &mut words)?;
            let answer = parse_answer(&mut words)?;
            What::Exit { exit, x, answer }
        }
    };
    words.word().is_none().then_some(Line { vcpu, what })
}

fn parse_exit(kind: &str, words: &mut Words<'_>) -> Option<(Exit, [u64; 4])> {
    let mut x = [0; 4];
    let exit = match kind {
        "read" => Exit::MmioRead {
            gpa: Gpa(words.number()?),
            size: words.size()?,
        },
        "write" => Exit::MmioWrite {
            gpa: Gpa(words.number()?),
            size: words.size()?,
            data: words.number()?,
        },
        "sysread" => Exit::SysRegRead { reg: words.reg()? },
        "syswrite" => Exit::SysRegWrite {
            reg: words.reg()?,
            data: words.number()?,
        },
        "call" => {
            let conduit = match words.word()? {
                "hvc" => Conduit::Hvc,
                "smc" => Conduit::Smc,
                _ => return None,
            };
            let imm = u16::try_from(words.number()?).ok()?;
            x = words.four()?;
            Exit::Call { conduit, imm }
        }
        "wfi" => Exit::Wfi,
        "timer" => Exit::Timer,
        "off" => Exit::System(SystemEvent::Off),
        "reset" => Exit::System(SystemEvent::Reset),
        "crash" => Exit::System(SystemEvent::Crash),
        _ => return None,
    };
    Some((exit, x))
}

fn parse_answer(words: &mut Words<'_>) -> Option<Resume> {
    Some(match words.word()? {
        "done" => Resume::Done,
        "data" => Resume::Data(words.number()?),
        "call" => Resume::Call(words.four()?),
        "undefined" => Resume::Undefined,
        "abort" => Resume::ExternalAbort,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "cpus 2\n\
        memory 64M\n\
        0 read 9000018 4 data 90\n\
        0 write 9000000 1 41 done\n\
        0 write a000000 8 ffffffffffffffff abort\n\
        0 sysread c662 undefined\n\
        0 syswrite c662 5 undefined\n\
        0 call hvc 0 c4000003 1 40280100 7 call 0 1 40280100 7\n\
        1 start 40280100 7\n\
        1 wfi done\n\
        1 timer done\n\
        0 off done\n";

    #[test]
    fn every_line_reads_back_as_it_was_written() {
        let trace: Trace = TEXT.parse().unwrap();
        assert_eq!(
            (trace.cpus, trace.memory.as_str(), trace.lines.len()),
            (2, "64M", 10)
        );
        assert_eq!(trace.to_string(), TEXT);
        let remarked = format!("# where it comes from\n{TEXT}");
        assert_eq!(remarked.parse(), Ok(trace));
    }

    #[test]
    fn other_texts_are_refused_with_the_line() {
        for line in [
            "0 read 9000018 4",
            "0 read 9000018 3 data 1",
            "0 write 9000000 1 41 done 5",
            "0 call svc 0 0 0 0 0 done",
            "0 sysread 12345 undefined",
            "10000 wfi done",
            "wfi",
            "0 fault done",
        ] {
            let text = format!("cpus 1\nmemory 64M\n{line}\n");
            assert_eq!(text.parse::<Trace>(), Err(Malformed(line.into())));
        }
        assert!("memory 64M\ncpus 1\n".parse::<Trace>().is_err());
    }
}
