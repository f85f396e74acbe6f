//! Files stay small enough to read.

use super::{Finding, Source};
use crate::error::Error;

/// Lines a file may have.
const LIMIT: usize = 700;

/// Files that are tables: their length is their subject's.
const TABLES: [&str; 1] = ["aarch64/src/sysreg.rs"];

/// Files over the limit, with the lines they may have. The list only shrinks: no entry is added,
/// and no number grows.
const EXCEPTIONS: [(&str, usize); 0] = [];

pub fn check(sources: &[Source]) -> Result<Vec<Finding>, Error> {
    let mut findings: Vec<Finding> = sources
        .iter()
        .filter(|source| !TABLES.contains(&source.path.as_str()))
        .filter_map(|source| judge(&source.path, source.text.lines().count(), &EXCEPTIONS))
        .collect();
    findings.extend(stale(sources));
    Ok(findings)
}

fn judge(path: &str, lines: usize, exceptions: &[(&str, usize)]) -> Option<Finding> {
    let exception = exceptions
        .iter()
        .find(|(name, _)| *name == path)
        .map(|&(_, limit)| limit);
    let message = match exception {
        None if lines > LIMIT => format!("{lines} lines; split it before {LIMIT}"),
        Some(limit) if lines > limit => format!("{lines} lines; its exception allows {limit}"),
        Some(limit) if lines <= LIMIT || lines + 50 < limit => {
            format!("{lines} lines: lower or remove its exception of {limit} in xtask's size.rs")
        }
        None | Some(_) => return None,
    };
    Some(Finding {
        place: path.to_owned(),
        message,
    })
}

/// Names in the lists whose file is gone.
fn stale(sources: &[Source]) -> impl Iterator<Item = Finding> {
    let names = TABLES
        .into_iter()
        .chain(EXCEPTIONS.iter().map(|(name, _)| *name));
    names
        .filter(|name| !sources.iter().any(|source| source.path == *name))
        .map(|name| Finding {
            place: name.to_owned(),
            message: "listed in xtask's size.rs, but there is no such file".to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_found() {
        assert!(judge("a.rs", LIMIT, &[]).is_none());
        assert!(judge("a.rs", LIMIT + 1, &[]).is_some());
    }

    #[test]
    fn an_exception_neither_grows_nor_outlives_its_need() {
        let exceptions = [("a.rs", 900)];
        assert!(judge("a.rs", 880, &exceptions).is_none());
        assert!(judge("a.rs", 901, &exceptions).is_some());
        assert!(judge("a.rs", 800, &exceptions).is_some(), "must be lowered");
        assert!(
            judge("a.rs", LIMIT, &exceptions).is_some(),
            "must be removed"
        );
    }
}
