//! The table of what `xtask/files/balloon.sh` measured, and whether it is what was promised.

use super::{FREED_MIB, SECONDS, SHARE, WAYS, Way};
use crate::bench::meter::values;
use crate::error::Error;
use std::fmt::Write;

const HEAD: &str = "| way | resident before, MiB | after 10 s, MiB | returned | 90% after, s | target |\n\
                    |---|---|---|---|---|---|\n";

/// The table, and whether all of it is as promised.
pub fn table(output: &str) -> Result<(String, bool), Error> {
    let mut text = HEAD.to_owned();
    let mut met = true;
    for way in WAYS {
        let found = Found::of(way, output)?;
        let good = found.is_as_promised();
        let Found {
            before_mib: before,
            after_mib: after,
            ninety,
        } = found;
        let (name, returned) = (way.name, found.returned() * 100.0);
        let ninety = ninety.map_or("never".to_owned(), |seconds| format!("{seconds:.1}"));
        let (share, verdict) = (SHARE * 100.0, if good { "met" } else { "MISSED" });
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {name} | {before:.0} | {after:.0} | {returned:.0}% | {ninety} | \
             {share:.0}% within {SECONDS} s: {verdict} |"
        );
        met &= good;
    }
    Ok((text, met))
}

/// What was measured of one way.
#[derive(Clone, Copy, Debug)]
struct Found {
    before_mib: f64,
    after_mib: f64,
    /// When nine tenths were back, if they ever were.
    ninety: Option<f64>,
}

impl Found {
    fn of(way: Way, output: &str) -> Result<Self, Error> {
        let label = way.label();
        let words: Vec<&str> = label.split(' ').collect();
        let value = |key| values(output, &words, key).first().copied();
        match (value("before"), value("after")) {
            (Some(before), Some(after)) => Ok(Self {
                before_mib: before / 1024.0,
                after_mib: after / 1024.0,
                ninety: value("ninety"),
            }),
            _ => Err(Error::new(format!("nothing was measured of {}", way.name))),
        }
    }

    /// How much of what was freed went back, of one.
    fn returned(self) -> f64 {
        (self.before_mib - self.after_mib) / FREED_MIB as f64
    }

    fn is_as_promised(self) -> bool {
        self.returned() >= SHARE && self.ninety.is_some_and(|seconds| seconds <= SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(second: &str) -> String {
        format!(
            "BALLOON reporting\nMETER before=614400 after=102400 ninety=2.5\n\
             BALLOON balloon\n{second}\n"
        )
    }

    #[test]
    fn what_came_back_in_time_is_met() {
        let (text, met) =
            table(&output("METER before=900000 after=400000 ninety=3.0")).expect("both are there");
        assert!(met, "{text}");
        let row = "| free page reporting | 600 | 100 | 98% | 2.5 | 90% within 10 s: met |";
        assert!(text.contains(row), "{text}");
    }

    #[test]
    fn too_little_or_too_late_is_missed() {
        for second in [
            "METER before=900000 after=900000",
            "METER before=900000 after=600000",
            "METER before=900000 after=600000 ninety=12.0",
            // It went back, and was there again.
            "METER before=900000 after=600000 ninety=2.0",
        ] {
            let (text, met) = table(&output(second)).expect("both are there");
            assert!(!met && text.contains("MISSED"), "{text}");
        }
    }

    #[test]
    fn nothing_measured_is_an_error() {
        assert!(table(&output("")).is_err());
    }
}
