//! The software CPU against `qemu-aarch64`, for every row of the opcode table.
//!
//! `ARMLET_DIFF_COUNT` sets the executions of each row, `ARMLET_DIFF_SEED` where random numbers
//! start from. A row by itself: `cargo run --release -p armlet-diff -- --row NAME`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail that way, also in what its cases share"
)]

use armlet_diff::compare::first_difference;
use armlet_diff::program::{Batch, encoding, single};
use armlet_diff::rng::Rng;
use armlet_diff::run::Pair;
use armlet_diff::{Config, Error, oracle, run};
use armlet_tests::skip::skip;
use softcpu::interp::table;
use std::env;
use std::path::PathBuf;

/// Executions that have to be compared.
const FLOOR: u64 = 5_000_000;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("diff")
}

#[test]
fn instructions_do_what_the_oracle_says() {
    let rows = table().rows().len() as u64;
    let mut config = Config {
        // A tenth more than the floor, in whole programs.
        per_row: (FLOOR * 11 / 10 / rows).next_multiple_of(64),
        directory: directory(),
        ..Config::default()
    };
    config.per_row = number("ARMLET_DIFF_COUNT").unwrap_or(config.per_row);
    config.seed = number("ARMLET_DIFF_SEED").unwrap_or(config.seed);
    let report = match run(&config) {
        Ok(report) => report,
        Err(error @ Error::Missing { .. }) => {
            return skip("instructions against qemu-aarch64", &error.to_string());
        }
        Err(error) => panic!("{error}"),
    };
    for mismatch in report.mismatches.iter().take(10) {
        println!("{}", mismatch.describe());
    }
    println!("{report}");
    assert_eq!(report.mismatches.len(), 0, "the sides differ");
    assert!(
        report.executions >= FLOOR || env::var_os("ARMLET_DIFF_COUNT").is_some(),
        "too few executions"
    );
}

/// Runs a batch of one row on both sides, and gives it together with what they say.
fn sides(pair: &mut Pair, row: &str) -> (Batch, oracle::Outcomes, oracle::Outcomes) {
    let mut rng = Rng::new(7, 7);
    let row = table().rows().iter().find(|r| r.name == row).unwrap();
    let insn = encoding(table(), row, &mut rng).unwrap();
    let batch = single(row, insn, 64, &mut rng);
    let (oracle, armlet) = pair.run(&batch).unwrap();
    (batch, oracle, armlet)
}

#[test]
fn a_wrong_result_would_be_found() {
    let pair = oracle::build(&directory()).and_then(|p| Pair::start(&p, &Config::default().model));
    let mut pair = match pair {
        Ok(pair) => pair,
        Err(error) => return skip("sensitivity against qemu-aarch64", &error.to_string()),
    };
    let confusions = [
        ("ADDS (immediate, X)", "SUBS (immediate, X)"),
        ("STRB (unsigned offset)", "LDRB (unsigned offset)"),
        ("CLZ (W)", "CLS (W)"),
        ("LDRSB (X) (unscaled)", "LDRSB (W) (unscaled)"),
    ];
    for (right, wrong) in confusions {
        let (batch, oracle, armlet) = sides(&mut pair, right);
        assert!(first_difference(&batch, &oracle, &armlet).is_none());
        let (_, _, other) = sides(&mut pair, wrong);
        assert!(
            first_difference(&batch, &oracle, &other).is_some(),
            "{wrong} passes for {right}"
        );
    }
}
