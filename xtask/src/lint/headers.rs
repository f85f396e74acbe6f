//! Every file begins by saying what it is.

use super::{Finding, Source};
use crate::error::Error;

pub fn check(sources: &[Source]) -> Result<Vec<Finding>, Error> {
    Ok(sources
        .iter()
        .filter(|source| !has_header(&source.text))
        .map(finding)
        .collect())
}

fn finding(source: &Source) -> Finding {
    let message = "begins without a `//!` line that says what the file is".to_owned();
    Finding {
        place: source.path.clone(),
        message,
    }
}

/// Whether the first line that is not an ordinary comment or an attribute is a `//!`.
fn has_header(text: &str) -> bool {
    text.lines()
        .find(|line| {
            let plain_comment = line.starts_with("//") && !line.starts_with("//!");
            !line.trim().is_empty() && !plain_comment && !line.starts_with("#![")
        })
        .is_some_and(|line| line.starts_with("//!"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_may_follow_a_remark() {
        assert!(has_header("// UNSAFETY: x\n//! What it is."));
        assert!(has_header("#![no_main]\n//! What it is."));
        assert!(!has_header("use std::fs;\n//! late"));
        assert!(!has_header(""));
    }
}
