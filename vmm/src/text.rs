//! Text from anywhere, made fit for people to read.

/// `text` with its control characters spelt out: it is one line, and does nothing to a terminal.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_spelt_out_and_nothing_else() {
        for (text, shown) in [
            ("plain 'text' \\ ü 日", "plain 'text' \\ ü 日"),
            ("\u{1b}[2Jx", "\\u{1b}[2Jx"),
            ("a\r\nb\tc\u{7}", "a\\r\\nb\\tc\\u{7}"),
            ("\u{9b}1m\u{7f}", "\\u{9b}1m\\u{7f}"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }
}
