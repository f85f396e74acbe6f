//! Sizes as users write them.

/// Bytes of a text such as `512M`, `2GiB` or `1048576`, in powers of 1024.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim_start_matches(' ').to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_are_in_powers_of_1024() {
        for (text, size) in [
            ("0", 0),
            ("512", 512),
            ("4k", 4096),
            ("3 MiB", 3 << 20),
            ("2G", 2 << 30),
            ("1t", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Some(size), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_none() {
        for text in [
            "",
            "G",
            "-1",
            "1.5G",
            "1X",
            "99999999999999999999",
            "20000P",
            "1 G B",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
