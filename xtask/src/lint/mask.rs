//! Blanks comments and literals of Rust source, so that a search finds only code.
//!
//! Every masked character becomes a space and newlines stay, so positions and line numbers hold.
//! Knows line and nested block comments, strings with escapes, raw strings, byte and C strings, and
//! the difference between a character and a lifetime. Does not know macros that redefine syntax.

/// `text` with comments and literals blanked.
pub fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match masked_end(&chars, at) {
            Some(end) => end.min(chars.len()),
            None => {
                out.push(chars[at]);
                at += 1;
                continue;
            }
        };
        out.extend(
            chars[at..end]
                .iter()
                .map(|&c| if c == '\n' { '\n' } else { ' ' }),
        );
        at = end;
    }
    out
}

/// The end of the comment or literal that begins at `at`, if one does.
fn masked_end(chars: &[char], at: usize) -> Option<usize> {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => Some(line_end(chars, at)),
        '/' if next == Some('*') => Some(block_end(chars, at)),
        '"' => Some(string_end(chars, at)),
        'r' if !in_word(chars, at) || is_prefix(chars, at) => raw_string_end(chars, at + 1),
        '\'' => char_end(chars, at),
        _ => None,
    }
}

fn line_end(chars: &[char], at: usize) -> usize {
    (at..chars.len())
        .find(|&i| chars[i] == '\n')
        .unwrap_or(chars.len())
}

fn block_end(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0_usize, start);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// Whether the character before belongs to the same word.
fn in_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

/// Whether the `r` at `at` is the second letter of a prefix such as `br`.
fn is_prefix(chars: &[char], at: usize) -> bool {
    matches!(chars[at - 1], 'b' | 'c') && !in_word(chars, at - 1)
}

/// The end of a raw string whose hashes or quote begin at `at`, if it is one.
fn raw_string_end(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at..].iter().take_while(|&&c| c == '#').count();
    if chars.get(at + hashes) != Some(&'"') {
        return None;
    }
    let body = at + hashes + 1;
    let closes = |i: &usize| {
        chars[*i] == '"'
            && chars[i + 1..]
                .iter()
                .take(hashes)
                .filter(|&&c| c == '#')
                .count()
                == hashes
    };
    Some(
        (body..chars.len())
            .find(closes)
            .map_or(chars.len(), |i| i + 1 + hashes),
    )
}

/// The end of a character literal, or `None` for a lifetime or label.
fn char_end(chars: &[char], at: usize) -> Option<usize> {
    if chars.get(at + 1) == Some(&'\\') {
        return (at + 3..chars.len())
            .find(|&i| chars[i] == '\'')
            .map(|i| i + 1);
    }
    (chars.get(at + 2) == Some(&'\'')).then_some(at + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        mask(text).split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn comments_go() {
        assert_eq!(
            words("a // unsafe\nb /* x /* unsafe */ y */ c"),
            ["a", "b", "c"]
        );
    }

    #[test]
    fn literals_go() {
        assert_eq!(
            words(r##"a "un\"safe" b r#"x " y"# c br"z" d"##),
            ["a", "b", "c", "b", "d"]
        );
        assert_eq!(words(r"a '\'' b '\u{41}' c '/' d"), ["a", "b", "c", "d"]);
    }

    #[test]
    fn lifetimes_and_labels_stay() {
        assert_eq!(
            words("fn f<'a>(x: &'a str) 'outer: loop"),
            ["fn", "f<'a>(x:", "&'a", "str)", "'outer:", "loop"]
        );
    }

    #[test]
    fn identifiers_that_end_in_r_are_no_raw_strings() {
        assert_eq!(words("var\"text\" r#type"), ["var", "r#type"]);
    }

    #[test]
    fn lines_keep_their_numbers() {
        let text = "a\n\"x\ny\"\n/*\n*/b";
        assert_eq!(mask(text).lines().count(), text.lines().count());
    }

    #[test]
    fn unfinished_text_is_no_trouble() {
        for text in ["\"abc", "/* abc", "r#\"abc", "'\\", "\"\\", "r#", "'"] {
            assert_eq!(mask(text).chars().count(), text.chars().count(), "{text}");
        }
    }
}
