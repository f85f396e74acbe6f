//! The benchmark's table.

use super::guest::{Measured, Run, Work};
use std::fmt::Write;

/// Instructions of the workload `integer`: eight in its loop, see `tests/guest/workloads.c`.
const INTEGER_INSTRUCTIONS: f64 = 8.0 * 60_000_000.0;

/// Whether both computed the same.
pub fn agree(armlet: &Measured, qemu: &Measured) -> bool {
    armlet.work.iter().all(|(name, work)| {
        qemu.work
            .get(name)
            .is_some_and(|other| other.checksum == work.checksum)
    })
}

/// The table of one run: seconds, processor seconds in parentheses, and ratios of both. Rates are
/// guest instructions for each processor second; only armlet counts those of the whole run.
pub fn render(run: &Run, armlet: &Measured, qemu: &Measured) -> String {
    let mut text = format!(
        "\n{} CPU{}: seconds (processor seconds); ratio of armlet to QEMU TCG\n",
        run.cpus,
        if run.cpus == 1 { "" } else { "s" }
    );
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "{:18}  {:>16}  {:>16}  {:>14}",
        "", "armlet", "QEMU TCG", "ratio"
    );
    let boot = |m: &Measured| Some((m.boot?, m.boot_processor?));
    text += &line("boot to init", boot(armlet), boot(qemu), "");
    for name in run.workloads.split(',') {
        let (ours, theirs) = (armlet.work.get(name), qemu.work.get(name));
        let both = ours.zip(theirs);
        let wrong = both.is_some_and(|(ours, theirs)| ours.checksum != theirs.checksum);
        let pair = |work: Option<&Work>| work.map(|work| (work.seconds, work.processor));
        text += &line(
            name,
            pair(ours),
            pair(theirs),
            if wrong { "  CHECKSUMS DIFFER" } else { "" },
        );
    }
    let rate = |m: &Measured| {
        m.work
            .get("integer")
            .map(|w| INTEGER_INSTRUCTIONS / w.processor / 1e6)
    };
    text += &number("integer, Minstr/s", rate(armlet), rate(qemu));
    text += &number("all, Minstr/s", armlet.rate, qemu.rate);
    text += &number(
        "own memory, MiB",
        armlet.own_memory_mib,
        qemu.own_memory_mib,
    );
    text
}

fn line(name: &str, ours: Option<(f64, f64)>, theirs: Option<(f64, f64)>, remark: &str) -> String {
    let cell = |pair: Option<(f64, f64)>| {
        pair.map_or_else(
            || "-".to_owned(),
            |(time, cpu)| format!("{time:.2} ({cpu:.2})"),
        )
    };
    let ratio = ours.zip(theirs).map_or_else(String::new, |(ours, theirs)| {
        format!("{:.1} ({:.1})", ours.0 / theirs.0, ours.1 / theirs.1)
    });
    format!(
        "{name:18}  {:>16}  {:>16}  {ratio:>14}{remark}\n",
        cell(ours),
        cell(theirs)
    )
}

/// A line of plain numbers; none if neither is known.
fn number(name: &str, ours: Option<f64>, theirs: Option<f64>) -> String {
    let cell = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.0}"));
    if ours.or(theirs).is_none() {
        return String::new();
    }
    format!("{name:18}  {:>16}  {:>16}\n", cell(ours), cell(theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(seconds: f64, checksum: &str) -> Measured {
        let work = Work {
            seconds,
            processor: seconds,
            checksum: checksum.to_owned(),
        };
        Measured {
            boot: Some(seconds),
            boot_processor: Some(seconds),
            work: [("integer".to_owned(), work)].into(),
            ..Measured::default()
        }
    }

    #[test]
    fn the_table_shows_ratios_and_the_rate() {
        let run = Run {
            cpus: 1,
            workloads: "integer",
        };
        let text = render(&run, &measured(4.0, "a"), &measured(0.5, "a"));
        assert!(text.contains("8.0 (8.0)"), "{text}");
        assert!(text.contains(" 120 ") && text.contains(" 960\n"), "{text}");
        assert!(!text.contains("own memory"), "unknown: {text}");
    }

    #[test]
    fn different_results_are_no_comparison() {
        let (ours, theirs) = (measured(1.0, "a"), measured(1.0, "b"));
        assert!(!agree(&ours, &theirs));
        assert!(
            render(
                &Run {
                    cpus: 1,
                    workloads: "integer"
                },
                &ours,
                &theirs
            )
            .contains("DIFFER")
        );
    }
}
