//! The test's loop: batches to both sides, at the same time.

use std::path::{Path, PathBuf};

use softcpu::Cpu;
use softcpu::interp::table;
use softcpu::table::Row;

use crate::Error;
use crate::compare::{end, first_difference};
use crate::decode;
use crate::oracle::{self, Oracle, Outcomes};
use crate::place::SLOT;
use crate::program::{self, Batch};
use crate::report::Report;
use crate::rng::Rng;
use crate::state::End;
use crate::subject::Subject;

/// What to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where random numbers start from.
    pub seed: u64,
    /// Executions of each row.
    pub per_row: u64,
    /// Random sequences.
    pub sequences: u64,
    /// Random encodings to be accepted or refused.
    pub encodings: u64,
    /// States for each program.
    pub cases: usize,
    /// Only rows whose name contains one of these; all if empty.
    pub only: Vec<String>,
    /// Threads, each with an oracle of its own.
    pub threads: usize,
    /// The CPU model of the oracle.
    pub model: String,
    /// Where the oracle's program is built.
    pub directory: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            per_row: 6400,
            sequences: 2000,
            encodings: 100_000,
            cases: 64,
            only: Vec::new(),
            threads: 2,
            model: "cortex-a76".to_owned(),
            directory: concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/diff").into(),
        }
    }
}

impl Config {
    fn wants(&self, row: &Row<Cpu>) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| row.name.contains(part))
    }
}

/// Mismatches of one row after which it is left alone.
const ENOUGH: usize = 3;

/// Runs everything the configuration asks for.
///
/// # Errors
/// When a side cannot be run at all; differences are in the report.
pub fn run(config: &Config) -> Result<Report, Error> {
    let program = oracle::build(&config.directory)?;
    let mut report = Report::default();
    let parts = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..config.threads)
            .map(|index| {
                scope.spawn({
                    let program = &program;
                    move || worker(config, program, index)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or(Err(Error::Worker)))
            .collect::<Vec<_>>()
    });
    for part in parts {
        report.add(part?);
    }
    Ok(report)
}

fn worker(config: &Config, program: &Path, index: usize) -> Result<Report, Error> {
    let mut pair = Pair::start(program, &config.model)?;
    let rows = table().rows().iter().enumerate();
    for (number, row) in rows.skip(index).step_by(config.threads) {
        if config.wants(row) {
            one_row(config, &mut pair, number as u64, row)?;
        }
    }
    if config.only.is_empty() {
        sequences(config, &mut pair, index)?;
        encodings(config, &mut pair, index)?;
    }
    Ok(pair.report)
}

fn sequences(config: &Config, pair: &mut Pair, index: usize) -> Result<(), Error> {
    for number in (0..config.sequences).skip(index).step_by(config.threads) {
        let mut rng = Rng::new(config.seed, 1 << 32 | number);
        let batch = program::sequence(table(), config.cases, &mut rng);
        pair.check(&batch)?;
    }
    Ok(())
}

fn encodings(config: &Config, pair: &mut Pair, index: usize) -> Result<(), Error> {
    let mut rng = Rng::new(config.seed, 1 << 33 | index as u64);
    for _ in 0..config.encodings / config.threads as u64 {
        let mismatch = decode::check(pair, decode::candidate(&mut rng))?;
        pair.report.encodings += 1;
        pair.report.mismatches.extend(mismatch);
    }
    Ok(())
}

fn one_row(config: &Config, pair: &mut Pair, number: u64, row: &Row<Cpu>) -> Result<(), Error> {
    let mut rng = Rng::new(config.seed, number);
    let mut found = 0;
    let mut left = config.per_row;
    let mut completed = false;
    while left > 0 && found < ENOUGH {
        let insn = match program::encoding(table(), row, &mut rng) {
            Ok(insn) => insn,
            Err(why) => {
                pair.report
                    .skipped
                    .insert(row.name.to_owned(), why.to_owned());
                return Ok(());
            }
        };
        let count = config
            .cases
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        left -= count as u64;
        let batch = program::single(row, insn, count, &mut rng);
        let checked = pair.check(&batch)?;
        found += usize::from(checked.differs);
        completed |= checked.completed;
    }
    pair.report.rows += 1;
    if !completed {
        pair.report.refused.insert(row.name.to_owned());
    }
    Ok(())
}

/// What is known of a batch.
#[derive(Clone, Copy, Debug, Default)]
struct Checked {
    /// The sides differ.
    differs: bool,
    /// Some case ran to its end.
    completed: bool,
}

/// Both sides.
#[derive(Debug)]
pub struct Pair {
    oracle: Oracle,
    subject: Subject,
    report: Report,
}

impl Pair {
    /// Starts the oracle's program, see [`oracle::build`], as a CPU model.
    ///
    /// # Errors
    /// When either side cannot be had.
    pub fn start(program: &Path, model: &str) -> Result<Self, Error> {
        Ok(Self {
            oracle: Oracle::start(program, model)?,
            subject: Subject::new()?,
            report: Report::default(),
        })
    }

    /// Runs a batch on both sides, counts what ran, and notes a difference.
    fn check(&mut self, batch: &Batch) -> Result<Checked, Error> {
        let (oracle, armlet) = self.run(batch)?;
        let mut checked = Checked::default();
        self.report.programs += 1;
        for outcome in &oracle.cases {
            let words = batch.words.len() as u64;
            // A fault ends a program early; that instruction counts, those after it do not.
            self.report.executions += if end(batch, outcome) == End::Done {
                checked.completed = true;
                words
            } else {
                (outcome.state.pc.wrapping_sub(SLOT) / 4 + 1).min(words)
            };
        }
        if let Some(mismatch) = first_difference(batch, &oracle, &armlet) {
            self.report.mismatches.push(mismatch);
            checked.differs = true;
        }
        Ok(checked)
    }

    /// Runs a batch on both sides at the same time: the oracle's outcomes and armlet's.
    ///
    /// # Errors
    /// When a side cannot run it.
    pub fn run(&mut self, batch: &Batch) -> Result<(Outcomes, Outcomes), Error> {
        self.oracle.send(batch)?;
        let armlet = self.subject.run(batch)?;
        let oracle = self.oracle.receive(batch)?;
        Ok((oracle, armlet))
    }
}
