//! Where the backports to the host's release of Debian are: in the places that its apt has that
//! release from, under another name.
//!
//! Options of the host's entries, such as `trusted` or `check-valid-until`, are not taken over.

use std::collections::BTreeSet;

/// Asks `apt-get indextargets` for one line for each list of packages, which [`sources`] reads.
pub const QUESTION: [&str; 4] = [
    "indextargets",
    "--format",
    // The last may be words.
    "$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)",
    "Created-By: Packages",
];

/// The keys of Debian's archive, which not every release has among those that apt trusts unasked.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A release's backports.
#[derive(Debug, PartialEq, Eq)]
pub struct Backports {
    /// The name of their release.
    pub release: String,
    /// Entries for them as in sources.list(5), those that the host does not have itself.
    pub entries: Vec<String>,
}

/// The backports to the release that `os_release` (os-release(5)) names, by the answer to
/// [`QUESTION`]; nothing if it is not of Debian's.
pub fn sources(os_release: &str, answer: &str, signed: bool) -> Option<Backports> {
    // Derivatives have names of their own.
    let names = ["DEBIAN_CODENAME", "VERSION_CODENAME"].map(|key| value(os_release, key));
    let mut found = names.into_iter().flatten();
    found.find_map(|codename| of_release(codename, answer, signed))
}

/// The backports to the release `codename`, if apt has that of Debian.
fn of_release(codename: &str, answer: &str, signed: bool) -> Option<Backports> {
    let lists: Vec<Vec<&str>> = answer
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let places: BTreeSet<(&str, &str)> = lists
        .iter()
        .filter_map(|words| match words[..] {
            [place, of, component, "Debian"] if of == codename => Some((place, component)),
            _ => None,
        })
        .collect();
    if places.is_empty() {
        return None;
    }
    let release = format!("{codename}-backports");
    // apt refuses a place that has the same release twice, with and without keys.
    let is_known = |place| {
        lists
            .iter()
            .any(|words| words.starts_with(&[place, release.as_str()]))
    };
    let option = match signed {
        true => format!("[signed-by={KEYS}] "),
        false => String::new(),
    };
    let entries = places
        .into_iter()
        .filter(|(place, _)| !is_known(place))
        .map(|(place, component)| format!("deb {option}{place} {release} {component}"))
        .collect();
    Some(Backports { release, entries })
}

/// Whether the host has the keys of Debian's archive.
pub fn has_keys() -> bool {
    std::path::Path::new(KEYS).exists()
}

fn value<'a>(os_release: &'a str, key: &str) -> Option<&'a str> {
    let mut lines = os_release.lines();
    let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim_matches(['"', '\''])).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "http://a/debian/ bookworm main Debian\n\
                          http://a/debian/ bookworm contrib Debian\n\
                          http://a/debian/ bookworm-updates main Debian\n\
                          http://a/security/ bookworm-security main Debian\n\
                          http://b/debian/ bookworm main Debian\n\
                          http://b/debian/ bookworm contrib Debian\n\
                          http://b/debian/ bookworm-backports main Debian Backports\n\
                          http://b/debian/ trixie main Debian\n\
                          http://c/tools/ bookworm main Somebody\n\
                          http://c/tools/ bookworm main $(ORIGIN)\n";

    #[test]
    fn places_of_the_release_have_its_backports_if_the_host_has_none_from_there() {
        let found = sources("ID=debian\nVERSION_CODENAME=bookworm\n", ANSWER, false);
        let found = found.expect("Debian's");
        assert_eq!(found.release, "bookworm-backports");
        assert_eq!(
            found.entries,
            [
                "deb http://a/debian/ bookworm-backports contrib",
                "deb http://a/debian/ bookworm-backports main",
            ]
        );
    }

    #[test]
    fn keys_are_named_where_they_are() {
        let found = sources("VERSION_CODENAME=trixie\n", ANSWER, true).expect("Debian's");
        let entry = format!("deb [signed-by={KEYS}] http://b/debian/ trixie-backports main");
        assert_eq!(found.entries, [entry]);
    }

    #[test]
    fn a_derivative_has_the_backports_of_debian() {
        let text = "VERSION_CODENAME=faye\nDEBIAN_CODENAME=\"bookworm\"\n";
        let found = sources(text, ANSWER, false).expect("Debian's");
        assert_eq!(found.release, "bookworm-backports");
    }

    #[test]
    fn other_systems_have_none() {
        for text in [
            "",
            "ID=arch\n",
            "VERSION_CODENAME=\n",
            "VERSION_CODENAME=noble\n",
        ] {
            assert_eq!(sources(text, ANSWER, false), None, "{text}");
        }
        assert_eq!(sources("VERSION_CODENAME=bookworm\n", "", false), None);
    }
}
