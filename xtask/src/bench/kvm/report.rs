//! What the measurements say: their output, read, and the tables made of it.

use super::contender::Contender;
use crate::bench::meter::{Target, is_begun, values};
use crate::error::Error;
use std::fmt::Write;

/// What a line begins with that says whose boot the next line measures.
pub const BOOT: &str = "BOOT";
/// As [`BOOT`], for the costs of an exit.
pub const EXIT: &str = "EXIT";

/// A table, and whether all it holds is within its targets.
#[derive(Debug)]
pub struct Table {
    /// The table.
    pub text: String,
    /// Every target is met.
    pub met: bool,
}

/// How the rounds of one number become one.
#[derive(Clone, Copy, Debug)]
enum Sum {
    /// A slow round says something of the host only.
    Median,
    /// The kernel samples processor time: only many samples tell.
    Mean,
    /// Of memory, the largest is the honest one.
    Max,
}

/// A line of the table.
#[derive(Debug)]
struct Row {
    what: &'static str,
    /// The measuring program's name for it.
    key: &'static str,
    /// From its unit to the table's.
    scale: f64,
    digits: usize,
    sum: Sum,
    target: Target,
}

const fn row(what: &'static str, key: &'static str, sum: Sum, target: Target) -> Row {
    Row {
        what,
        key,
        scale: 1.0,
        digits: 0,
        sum,
        target,
    }
}

const BOOT_ROWS: [Row; 6] = [
    Row {
        digits: 2,
        ..row(
            "time to init, s",
            "seconds",
            Sum::Median,
            Target::Ratio(0.85),
        )
    },
    Row {
        scale: 0.001,
        digits: 3,
        ..row("own user time, s", "user", Sum::Mean, Target::Ratio(0.2))
    },
    Row {
        scale: 0.001,
        digits: 3,
        ..row("time in the kernel, s", "system", Sum::Mean, Target::None)
    },
    Row {
        scale: 1.0 / 1024.0,
        digits: 2,
        ..row(
            "memory beyond RAM, MiB",
            "own",
            Sum::Max,
            Target::Below(4.0),
        )
    },
    row("exits of the guest", "exits", Sum::Median, Target::None),
    row(
        "  of them MMIO to user space",
        "mmio",
        Sum::Median,
        Target::None,
    ),
];

const EXIT_ROWS: [Row; 3] = [
    Row {
        scale: 0.01,
        digits: 2,
        ..row(
            "system calls, all threads",
            "calls",
            Sum::Median,
            Target::None,
        )
    },
    Row {
        scale: 0.01,
        digits: 2,
        ..row(
            "system calls, vCPU thread",
            "stepcalls",
            Sum::Median,
            Target::None,
        )
    },
    Row {
        scale: 0.01,
        ..row(
            "instructions, vCPU thread",
            "steps",
            Sum::Median,
            Target::None,
        )
    },
];

/// The table of all boots with so many CPUs. What is portable may not have been measured.
pub fn boot(output: &str, cpus: usize) -> Result<Table, Error> {
    let plural = if cpus == 1 { "" } else { "s" };
    let title = format!("{cpus} CPU{plural}: from exec to init");
    table(
        output,
        BOOT,
        cpus,
        &title,
        &BOOT_ROWS,
        Some(Contender::Portable),
    )
}

/// The table of what an exit costs.
pub fn exit(output: &str) -> Result<String, Error> {
    let title = "for each byte to the serial port, which is one exit to user space";
    table(output, EXIT, 1, title, &EXIT_ROWS, None).map(|table| table.text)
}

fn table(
    output: &str,
    label: &str,
    cpus: usize,
    title: &str,
    rows: &[Row],
    other: Option<Contender>,
) -> Result<Table, Error> {
    let mut text = format!("\n{title}\n");
    let mut met = true;
    let [armlet, qemu] = Contender::PEERS.map(Contender::name);
    // Writing to a String does not fail.
    let _ = write!(text, "{:30}{armlet:>10}{qemu:>10}{:>8}", "", "ratio");
    if let Some(other) = other {
        let _ = write!(text, "{:>10}{:>8}", other.name(), "ratio");
    }
    let _ = writeln!(text, "  target");
    let cpus = cpus.to_string();
    for row in rows {
        let of = |name| {
            let values = values(output, &[label, name, &cpus], row.key);
            let missing = || Error::new(format!("{name} has no number '{}':\n{output}", row.key));
            row.sum.of(values).ok_or_else(missing)
        };
        let (ours, theirs) = (of(armlet)? * row.scale, of(qemu)? * row.scale);
        let (verdict, good) = row.target.judge(ours, theirs);
        met &= good;
        let digits = row.digits;
        let _ = write!(
            text,
            "{:30}{ours:>10.digits$}{theirs:>10.digits$}{:>8.2}",
            row.what,
            ours / theirs
        );
        match other.map(Contender::name) {
            Some(name) if is_begun(output, &[label, name, &cpus]) => {
                let others = of(name)? * row.scale;
                let _ = write!(text, "{others:>10.digits$}{:>8.2}", others / theirs);
            }
            Some(_) => {
                let _ = write!(text, "{:>10}{:>8}", "-", "-");
            }
            None => {}
        }
        let _ = writeln!(text, "  {verdict}");
    }
    Ok(Table { text, met })
}

impl Sum {
    fn of(self, mut values: Vec<f64>) -> Option<f64> {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match self {
            Self::Median if values.len().is_multiple_of(2) => {
                Some((values.get(middle.checked_sub(1)?)? + values.get(middle)?) / 2.0)
            }
            Self::Median => values.get(middle).copied(),
            Self::Mean if values.is_empty() => None,
            Self::Mean => Some(values.iter().sum::<f64>() / values.len() as f64),
            Self::Max => values.last().copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
        BOOT armlet 1\r\nMETER seconds=1.0 user=10 system=0 own=2048 exits=50 mmio=5\r\n\
        BOOT QEMU 1\r\nMETER seconds=2.0 user=100 system=0 own=70000 exits=60 mmio=9\r\n\
        BOOT armlet 1\r\nMETER seconds=9.0 user=20 system=0 own=2000 exits=50 mmio=5\r\n\
        BOOT QEMU 1\r\nMETER seconds=2.0 user=100 system=0 own=70000 exits=60 mmio=9\r\n\
        BOOT armlet 1\r\nMETER seconds=1.2 user=0 system=0 own=2000 exits=50 mmio=5\r\n\
        BOOT QEMU 1\r\nMETER seconds=2.0 user=100 system=0 own=70000 exits=60 mmio=9\r\n\
        BOOT portable 1\r\nMETER seconds=3.0 user=0 system=0 own=9000 exits=90 mmio=5\r\n";

    #[test]
    fn rounds_become_one_number_each_and_are_judged() {
        let table = boot(OUTPUT, 1).expect("complete");
        let line = |word| {
            let line = table.text.lines().find(|line| line.contains(word));
            line.unwrap_or_default()
        };
        assert!(line("time to init").contains("1.20"), "{}", table.text);
        assert!(line("own user").contains("0.010"), "{}", table.text);
        assert!(line("memory").contains("2.00"), "{}", table.text);
        assert!(
            line("time to init").contains("3.00    1.50"),
            "{}",
            table.text
        );
        assert!(table.met, "what is portable has no target: {}", table.text);
    }

    #[test]
    fn a_missed_target_is_said_and_remembered() {
        let table = boot(&OUTPUT.replace("own=2048", "own=4096"), 1).expect("complete");
        assert!(
            !table.met && table.text.contains("MISSED"),
            "{}",
            table.text
        );
    }

    #[test]
    fn a_number_that_is_not_there_is_no_success() {
        assert!(boot(OUTPUT, 2).is_err());
        assert!(boot(&OUTPUT.replace("user=", "u="), 1).is_err());
        let none = OUTPUT.replace("portable 1\r\nMETER", "portable 1\r\nOTHER");
        assert!(boot(&none, 1).is_err());
    }

    #[test]
    fn what_is_portable_may_be_missing() {
        let none = OUTPUT.replace("BOOT portable", "BOOT other");
        let table = boot(&none, 1).expect("complete");
        let line = table.text.lines().find(|line| line.contains("own user"));
        let line = line.unwrap_or_default();
        assert!(line.contains(" -       -  ratio"), "{}", table.text);
        assert!(table.met, "{}", table.text);
    }
}
