//! What the guests and the counters said, and the table of it.
//!
//! A measurement is lines of text: [`WHOSE`] and a contender, and then what its guest said, with a
//! line of [`METER`] counters behind each [`COUNT`] of the guest.
//!
//! | counter | what it counts |
//! |---|---|
//! | `busy` | milliseconds of processor time: on soft of the process, on KVM of the whole host beside the guest's own |
//! | `mmio` | exits for MMIO that went to user space (KVM only) |
//! | `rings` | exits for MMIO that ended in the kernel, kicks by ioeventfd (KVM only) |

use super::cells::{CELLS, Cell};
use super::contender::Contender;
use super::guest::{CELL, COUNT};
use crate::bench::meter::{METER, Target, values};
use crate::error::Error;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What the line begins with that says whose measurement follows.
pub const WHOSE: &str = "BLOCK";

/// What the line begins with behind which armlet's memory with all devices is measured.
pub const MEMORY: &str = "MEMORY";
/// What that may be, in MiB.
const MEMORY_TARGET: Target = Target::Below(8.0);

/// Where fio has numbers in its terse format, version 3: a job's name, and the place of the first
/// number of what it read and of what it wrote.
const NAME: usize = 2;
const READ: usize = 5;
const WRITTEN: usize = 46;

/// What is known of one cell in one round.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sample {
    /// Requests a second.
    iops: f64,
    /// KiB a second.
    bandwidth: f64,
    /// For each request, by its name: interrupts and what was counted on the host.
    each: BTreeMap<&'static str, f64>,
}

/// What is counted, as the host calls it; the first is the guest's own.
const COUNTED: [&str; 4] = ["interrupts", BUSY, "mmio", "rings"];
/// Milliseconds, which become microseconds for each request.
const BUSY: &str = "busy";

/// The table, and whether armlet is at least as fast in each cell, and small if that was measured.
pub fn table(output: &str) -> Result<(String, bool), Error> {
    let samples = Samples::read(output)?;
    let mut text = format!(
        "{:28}{:>9}{:>9}{:>7}{:>16}{:>16}{:>16}{:>16}\n{:53}{:>16}{:>16}{:>16}{:>16}\n",
        "requests or MiB a second",
        "armlet",
        "QEMU",
        "ratio",
        "interrupts",
        "processor us",
        "MMIO exits",
        "kicks in kernel",
        "",
        "each request",
        "each request",
        "each request",
        "each request"
    );
    let mut met = true;
    for cell in &CELLS {
        let [ours, theirs] = Contender::BOTH.map(|who| samples.rate(who, cell));
        let (ours, theirs) = (ours?, theirs?);
        met &= ours >= theirs;
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "{:28}{ours:>9.0}{theirs:>9.0}{:>7.2}",
            cell.title,
            ours / theirs
        );
        for key in COUNTED {
            let both = Contender::BOTH.map(|who| samples.each(who, cell, key));
            let shown = match both {
                [Some(ours), Some(theirs)] => {
                    let digits = if key == BUSY { 0 } else { 2 };
                    format!(" {ours:.digits$} : {theirs:.digits$}")
                }
                [None, _] | [_, None] => "-".to_owned(),
            };
            let _ = write!(text, "{shown:>16}");
        }
        text += "\n";
    }
    // In KiB; it is measured once, and on KVM only.
    if let [own] = values(output, &[MEMORY], "own")[..] {
        let memory = own / 1024.0;
        let (verdict, good) = MEMORY_TARGET.judge(memory, f64::NAN);
        met &= good;
        let _ = writeln!(
            text,
            "armlet's memory beyond RAM with a disk, console, rng and balloon: {memory:.1} MiB; {verdict}"
        );
    }
    Ok((text, met))
}

/// All rounds of all cells.
#[derive(Debug, Default)]
struct Samples(BTreeMap<(&'static str, &'static str), Vec<Sample>>);

impl Samples {
    fn read(output: &str) -> Result<Self, Error> {
        let mut samples = Self::default();
        let mut reading = None;
        for line in output.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match (words.as_slice(), &mut reading) {
                ([WHOSE, name], _) => {
                    let who = Contender::BOTH.into_iter().find(|who| who.name() == *name);
                    let unknown = || Error::new(format!("nobody is called {name}"));
                    reading = Some(Reading::of(who.ok_or_else(unknown)?));
                }
                ([COUNT, cell, at, interrupts], Some(reading)) => {
                    reading.begin_count(cell, at, interrupts);
                }
                ([MEMORY], _) => reading = None,
                ([METER, counters @ ..], Some(reading)) => reading.count(counters),
                ([CELL, ..], Some(reading)) => {
                    let (cell, sample) = reading.result(line)?;
                    let key = (reading.who.name(), cell.name);
                    samples.0.entry(key).or_default().push(sample);
                }
                _ => {}
            }
        }
        Ok(samples)
    }

    fn rate(&self, who: Contender, cell: &Cell) -> Result<f64, Error> {
        let rate = |sample: &Sample| {
            Some(match cell.is_stream() {
                true => sample.bandwidth / 1024.0,
                false => sample.iops,
            })
        };
        let missing = || Error::new(format!("{} has no result of {}", who.name(), cell.title));
        self.median(who, cell, rate).ok_or_else(missing)
    }

    fn each(&self, who: Contender, cell: &Cell, key: &str) -> Option<f64> {
        self.median(who, cell, |sample| sample.each.get(key).copied())
    }

    fn median(
        &self,
        who: Contender,
        cell: &Cell,
        value: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<f64> {
        let samples = self.0.get(&(who.name(), cell.name))?;
        let mut values: Vec<f64> = samples.iter().filter_map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }
}

/// One guest's lines.
struct Reading {
    who: Contender,
    /// The cell and the place in it that counters belong to.
    place: Option<(String, String)>,
    /// By cell, place and name.
    counters: BTreeMap<(String, String, &'static str), f64>,
}

impl Reading {
    fn of(who: Contender) -> Self {
        Self {
            who,
            place: None,
            counters: BTreeMap::new(),
        }
    }

    fn begin_count(&mut self, cell: &str, at: &str, interrupts: &str) {
        self.place = Some((cell.to_owned(), at.to_owned()));
        self.set(COUNTED[0], interrupts);
    }

    fn count(&mut self, counters: &[&str]) {
        for (name, value) in counters.iter().filter_map(|word| word.split_once('=')) {
            if let Some(known) = COUNTED.into_iter().find(|known| *known == name) {
                self.set(known, value);
            }
        }
    }

    fn set(&mut self, name: &'static str, value: &str) {
        if let (Some((cell, at)), Ok(value)) = (&self.place, value.parse()) {
            let key = (cell.clone(), at.clone(), name);
            self.counters.insert(key, value);
        }
    }

    /// What fio says of a job, with what was counted meanwhile.
    fn result(&self, line: &str) -> Result<(&'static Cell, Sample), Error> {
        let wrong = || Error::new(format!("fio's result cannot be read: {line}"));
        let fields: Vec<&str> = line.split(';').collect();
        let name = fields.get(NAME).ok_or_else(wrong)?;
        let cell = CELLS.iter().find(|cell| cell.name == *name);
        let cell = cell.ok_or_else(wrong)?;
        let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
        // KiB, KiB a second, requests a second, milliseconds: of what was read, and of what was written.
        let part = |from: usize| Some((number(from + 1)?, number(from + 2)?, number(from + 3)?));
        let done = [READ, WRITTEN].into_iter().filter_map(part);
        let (bandwidth, iops, milliseconds) = done
            .max_by(|one, two| one.1.total_cmp(&two.1))
            .filter(|(_, iops, _)| *iops > 0.0)
            .ok_or_else(wrong)?;
        let requests = iops * milliseconds / 1000.0;
        let each = |key: &'static str| {
            let counter = |at: &str| {
                let key = (cell.name.to_owned(), at.to_owned(), key);
                self.counters.get(&key).copied()
            };
            let value = counter("end")? - counter("begin")?;
            let scale = if key == BUSY { 1000.0 } else { 1.0 };
            Some((key, value * scale / requests))
        };
        let sample = Sample {
            iops,
            bandwidth,
            each: COUNTED.into_iter().filter_map(each).collect(),
        };
        Ok((cell, sample))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of fio's results, of 2 seconds.
    fn line(cell: &Cell, iops: u32) -> String {
        let mut fields = vec!["0".to_owned(); 131];
        fields[NAME] = cell.name.to_owned();
        let from = if cell.title.contains("read") {
            READ
        } else {
            WRITTEN
        };
        fields[from + 1] = (iops * 4).to_string();
        fields[from + 2] = iops.to_string();
        fields[from + 3] = "2000".to_owned();
        format!("{CELL} {}\n", fields.join(";"))
    }

    fn measurement(who: &str, iops: u32) -> String {
        let mut text = format!("{WHOSE} {who}\n");
        for cell in &CELLS {
            let name = cell.name;
            text += &format!("{COUNT} {name} begin 100\n{METER} busy=50 mmio=3\n");
            text += &format!("{COUNT} {name} end 400\n{METER} busy=1050 mmio=5\n");
        }
        CELLS
            .iter()
            .fold(text, |text, cell| text + &line(cell, iops))
    }

    #[test]
    fn rounds_become_one_row_for_each_cell() {
        let rounds = [
            ("armlet", 300),
            ("QEMU", 600),
            ("armlet", 900),
            ("QEMU", 100),
        ];
        let output: String = rounds.map(|(who, iops)| measurement(who, iops)).concat();
        let (text, met) = table(&output).expect("complete");
        let row = text
            .lines()
            .find(|line| line.starts_with("4k random read, depth 32"));
        let words: Vec<&str> = row.expect(&text).split_whitespace().skip(5).collect();
        assert_eq!(words[..3], ["900", "600", "1.50"], "{text}");
        // 300 interrupts, one second of work and 2 exits among 600, 1800 or 1200, 200 requests.
        assert_eq!(words[3..6], ["0.50", ":", "1.50"], "{text}");
        assert_eq!(words[6..9], ["1667", ":", "5000"], "{text}");
        assert_eq!(words[9..12], ["0.00", ":", "0.01"], "{text}");
        assert_eq!(words[12..], ["-"], "{text}");
        assert!(met);
        let stream = text.lines().last().unwrap_or_default();
        assert!(stream.contains(" 4 "), "KiB become MiB: {text}");
    }

    #[test]
    fn memory_counts_too() {
        let output = measurement("armlet", 300) + &measurement("QEMU", 200);
        for (own, good) in [(5120, true), (8192, false)] {
            let output = format!("{output}{MEMORY}\r\n{METER} seconds=9.5 own={own} exits=1\n");
            let (text, met) = table(&output).expect("complete");
            let said = format!("{}.0 MiB; less than 8", own / 1024);
            assert!(text.contains(&said) && met == good, "{text}");
        }
    }

    #[test]
    fn who_is_slower_is_not_there_yet() {
        let output = measurement("armlet", 300) + &measurement("QEMU", 301);
        assert!(!table(&output).expect("complete").1);
    }

    #[test]
    fn a_result_that_is_not_there_is_no_success() {
        assert!(table(&measurement("armlet", 300)).is_err());
        let both = measurement("armlet", 300) + &measurement("QEMU", 0);
        assert!(table(&both).is_err(), "no request went through");
        assert!(table("BLOCK bochs\n").is_err());
    }
}
