//! The closing table of the tests.

use super::Tally;
use std::fmt::Write;

/// A finished step.
#[derive(Debug)]
pub struct Row {
    /// The step's name.
    pub name: String,
    /// What it ran on.
    pub on: &'static str,
    /// What it came to.
    pub tally: Tally,
    /// How long it took.
    pub seconds: f64,
}

/// All finished steps.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order they ran.
    pub rows: Vec<Row>,
}

impl Report {
    /// Whether something passed and nothing failed.
    pub fn success(&self) -> bool {
        let (passed, failed, _) = self.totals();
        passed > 0 && failed == 0
    }

    fn totals(&self) -> (usize, usize, usize) {
        self.rows
            .iter()
            .fold((0, 0, 0), |(passed, failed, skipped), row| {
                let Tally {
                    passed: p,
                    failed: f,
                    skipped: s,
                } = &row.tally;
                (passed + p, failed + f, skipped + s.len())
            })
    }

    /// The table, the reasons of what was skipped, and the line of totals as the last one.
    pub fn render(&self, seconds: f64) -> String {
        let mut text = String::new();
        let width = self
            .rows
            .iter()
            .map(|row| row.name.len())
            .max()
            .unwrap_or(0)
            .max(4);
        // Writing to a String does not fail.
        let mut line = |name: &str, on: &str, numbers: [String; 4]| {
            let [passed, failed, skipped, time] = numbers;
            let _ = writeln!(
                text,
                "{name:width$}  {on:6}  {passed:>6}  {failed:>6}  {skipped:>7}  {time:>7}"
            );
        };
        line(
            "step",
            "on",
            ["passed", "failed", "skipped", "time"].map(str::to_owned),
        );
        for Row {
            name,
            on,
            tally:
                Tally {
                    passed,
                    failed,
                    skipped,
                },
            seconds,
        } in &self.rows
        {
            let counts = [*passed, *failed, skipped.len()].map(|count| count.to_string());
            let [passed, failed, skipped] = counts;
            line(
                name,
                on,
                [passed, failed, skipped, format!("{seconds:.0} s")],
            );
        }
        for (name, reason) in self.rows.iter().flat_map(|row| &row.tally.skipped) {
            let _ = writeln!(text, "skipped {name}: {reason}");
        }
        let (passed, failed, skipped) = self.totals();
        let _ = writeln!(text, "took {:.1} min", seconds / 60.0);
        let _ = writeln!(text, "{passed} passed, {failed} failed, {skipped} skipped");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, tally: Tally) -> Row {
        Row {
            name: name.to_owned(),
            on: "soft",
            tally,
            seconds: 1.0,
        }
    }

    #[test]
    fn the_last_line_is_the_sum() {
        let skip = Tally::skip("boot on kvm", "no /dev/kvm");
        let report = Report {
            rows: vec![
                row(
                    "unit",
                    Tally {
                        passed: 7,
                        failed: 1,
                        skipped: vec![],
                    },
                ),
                row("boot", skip),
            ],
        };
        let text = report.render(60.0);
        assert_eq!(text.lines().last(), Some("7 passed, 1 failed, 1 skipped"));
        assert!(text.contains("skipped boot on kvm: no /dev/kvm"));
        assert!(!report.success());
    }

    #[test]
    fn skipping_everything_is_no_success() {
        assert!(
            !Report {
                rows: vec![row("boot", Tally::skip("boot", "no kernel"))]
            }
            .success()
        );
    }
}
