//! Sources of the backports to the host's release of Debian: its own sources, and the same places
//! again under the backports' name.

use crate::Error;
use std::fs;
use std::path::Path;

const OS_RELEASE: &str = "/etc/os-release";
const SOURCES: [&str; 2] = ["/etc/apt/sources.list", "/etc/apt/sources.list.d"];

/// Writes the host's sources and those of the backports into `directory`, and returns the backports'
/// name.
pub fn write_sources(directory: &Path) -> Result<String, Error> {
    let text = fs::read_to_string(OS_RELEASE).map_err(Error::file(OS_RELEASE))?;
    let codename = codename(&text).ok_or_else(|| Error::NoPackage {
        wanted: format!("backports: {OS_RELEASE} has no VERSION_CODENAME"),
    })?;
    let [list, parts] = SOURCES;
    let mut files = vec![Path::new(list).to_owned()];
    if let Ok(entries) = fs::read_dir(parts) {
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    for file in files {
        let name = file.file_name().map(|name| name.to_string_lossy());
        let Some(name) = name.filter(|name| name.ends_with(".list") || name.ends_with(".sources"))
        else {
            continue;
        };
        // What cannot be read, apt does without too.
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        for (name, text) in [
            (name.to_string(), text.clone()),
            (format!("backports-{name}"), renamed(&text, codename)),
        ] {
            let path = directory.join(name);
            fs::write(&path, text).map_err(Error::file(path))?;
        }
    }
    Ok(format!("{codename}-backports"))
}

fn codename(os_release: &str) -> Option<&str> {
    let mut lines = os_release.lines();
    let name = lines.find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(name.trim_matches('"')).filter(|name| !name.is_empty())
}

/// The entries of `sources` that have the release, for its backports; of either format, see
/// sources.list(5).
fn renamed(sources: &str, codename: &str) -> String {
    let entries = sources.split("\n\n").flat_map(|stanza| {
        // One entry over some lines, or an entry a line.
        match stanza.lines().any(|line| line.starts_with("Suites:")) {
            true => vec![stanza],
            false => stanza.lines().collect(),
        }
    });
    let mut text = String::new();
    for entry in entries {
        let lines: Option<Vec<String>> = entry
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| match line.split_whitespace().next() {
                Some("Suites:") => {
                    let suites = line.split_whitespace().skip(1);
                    let found = suites.into_iter().any(|suite| suite == codename);
                    found.then(|| format!("Suites: {codename}-backports"))
                }
                Some("deb") => {
                    let suite = format!(" {codename} ");
                    let found = line.contains(&suite);
                    found.then(|| line.replacen(&suite, &format!(" {codename}-backports "), 1))
                }
                Some("deb-src") => None,
                _ => Some(line.to_owned()),
            })
            .collect();
        if let Some(lines) = lines.filter(|lines| !lines.is_empty()) {
            text += &lines.join("\n");
            text += "\n\n";
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_found() {
        assert_eq!(
            codename("ID=debian\nVERSION_CODENAME=bookworm\n"),
            Some("bookworm")
        );
        assert_eq!(codename("VERSION_CODENAME=\"noble\"\n"), Some("noble"));
        assert_eq!(codename("ID=arch\n"), None);
        assert_eq!(codename("VERSION_CODENAME=\n"), None);
    }

    #[test]
    fn stanzas_of_the_release_are_renamed_and_others_left_out() {
        let sources = "Types: deb\n# a note\nURIs: http://a/debian\nSuites: bookworm bookworm-updates\n\
                       Components: main\n\nTypes: deb\nURIs: http://a/security\n\
                       Suites: bookworm-security\nComponents: main\n";
        assert_eq!(
            renamed(sources, "bookworm").trim_end(),
            "Types: deb\nURIs: http://a/debian\nSuites: bookworm-backports\nComponents: main"
        );
    }

    #[test]
    fn lines_of_the_release_are_renamed_and_others_left_out() {
        let sources = "# a note\ndeb http://a/debian bookworm main\ndeb-src http://a/debian bookworm main\n\
                       deb http://a/debian bookworm-updates main\n\n\
                       deb [arch=amd64] http://b/debian bookworm main extra\n";
        let lines = renamed(sources, "bookworm");
        let lines: Vec<&str> = lines.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(
            lines,
            [
                "deb http://a/debian bookworm-backports main",
                "deb [arch=amd64] http://b/debian bookworm-backports main extra"
            ]
        );
    }
}
