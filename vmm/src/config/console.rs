//! A port of the virtio console, as a user describes it: `port=hvc0,stdio` or
//! `port=agent,socket=agent.sock`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use devices::virtio::console::MAX_NAMED;

use super::Serial;
use super::options::{Key, OptionError, OptionList, Options};
use crate::option_list;

/// The name of the terminal, which is what Linux calls it.
const TERMINAL: &str = "hvc0";
/// Bytes of a port's name: far more than any program asks for.
const MAX_NAME: usize = 63;

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleConfig {
    /// Which.
    pub port: PortName,
    /// Where it goes on the host.
    pub end: ConsoleEnd,
}

/// Which port it is for the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortName {
    /// A terminal.
    Terminal,
    /// One for programs, who find it by its name.
    Named(String),
}

/// Where a port goes on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsoleEnd {
    /// To whoever connects to a Unix socket, one at a time.
    Socket(PathBuf),
    /// Its output to a file; no input.
    File(PathBuf),
    /// Standard input and output.
    Stdio,
    /// Nowhere.
    None,
}

impl ConsoleEnd {
    /// Its file, if it has one.
    fn path(&self) -> Option<&Path> {
        match self {
            Self::Socket(path) | Self::File(path) => Some(path),
            Self::Stdio | Self::None => None,
        }
    }
}

impl OptionList for ConsoleConfig {
    const KEYS: &'static [Key] = &[
        Key::value("port"),
        Key::path("socket"),
        Key::path("file"),
        Key::flag("stdio"),
        Key::flag("none"),
    ];

    fn read(options: &Options) -> Result<Self, OptionError> {
        let port = options.value("port")?.unwrap_or(PortName::Terminal);
        let path = |key| match options.get(key) {
            Some(_) => options.required::<PathBuf>(key).map(Some),
            None => Ok(None),
        };
        let flag = |key| Ok(options.flag(key)?.unwrap_or(false));
        let ends = [
            path("socket")?.map(ConsoleEnd::Socket),
            path("file")?.map(ConsoleEnd::File),
            flag("stdio")?.then_some(ConsoleEnd::Stdio),
            flag("none")?.then_some(ConsoleEnd::None),
        ];
        let mut ends = ends.into_iter().flatten();
        match (ends.next(), ends.next()) {
            (Some(end), None) => Ok(Self { port, end }),
            _ => Err(OptionError::Value {
                key: "port",
                value: port.to_string(),
                why: "say where it goes, once: socket=PATH, file=PATH, stdio or none".to_owned(),
            }),
        }
    }

    fn write(&self, options: &mut Options) {
        let Self { port, end } = self;
        options.put("port", port);
        match end {
            // They came from text.
            ConsoleEnd::Socket(path) => options.put("socket", path.display()),
            ConsoleEnd::File(path) => options.put("file", path.display()),
            ConsoleEnd::Stdio => options.put("stdio", true),
            ConsoleEnd::None => options.put("none", true),
        }
    }
}

option_list!(ConsoleConfig);

impl FromStr for PortName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == TERMINAL {
            return Ok(Self::Terminal);
        }
        // It becomes the name of a file in the guest.
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let first = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        if first && text.len() <= MAX_NAME && text.bytes().all(fits) {
            Ok(Self::Named(text.to_owned()))
        } else {
            Err(
                "a name has 1 to 63 letters, digits, dots, dashes and underscores, \
                 and begins with a letter or digit",
            )
        }
    }
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terminal => f.write_str(TERMINAL),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// Whether these ports can be together in a machine with this serial port.
///
/// # Errors
/// What is wrong, beginning with the port.
pub fn check(consoles: &[ConsoleConfig], serial: &Serial) -> Result<(), String> {
    let named = |console: &&ConsoleConfig| console.port != PortName::Terminal;
    for (n, console) in consoles.iter().enumerate() {
        let before = &consoles[..n];
        let ConsoleConfig { port, end } = console;
        if before.iter().any(|other| other.port == *port) {
            return Err(format!("port={port}: given twice"));
        }
        let path = end.path();
        if let Some(path) = path.filter(|_| before.iter().any(|other| other.end.path() == path)) {
            let path = path.display();
            return Err(format!("{console}: another port has {path} already"));
        }
        if *end == ConsoleEnd::Stdio && before.iter().any(|other| other.end == ConsoleEnd::Stdio) {
            return Err(format!(
                "port={port},stdio: another port has standard output already"
            ));
        }
        if (end, serial) == (&ConsoleEnd::Stdio, &Serial::Stdio) {
            return Err(format!(
                "port={port},stdio: the serial port has standard input and output; \
                 add --serial none or --serial file:PATH"
            ));
        }
    }
    match consoles.iter().filter(named).nth(MAX_NAMED) {
        Some(ConsoleConfig { port, .. }) => Err(format!(
            "port={port}: a machine has at most {MAX_NAMED} ports with names"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for text in [
            "port=hvc0,stdio=true",
            "port=hvc0,none=true",
            "port=org.example.agent-1,socket=/run/a,,b",
            "port=log,file=out.txt",
        ] {
            let console: ConsoleConfig = text.parse().unwrap();
            assert_eq!(console.to_string(), text);
        }
        let terminal: ConsoleConfig = "stdio".parse().unwrap();
        assert_eq!(terminal.port, PortName::Terminal);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            ("port=a/b,none", "port=a/b: a name has"),
            ("port=,none", "a name has"),
            ("port=a", "port=a: say where it goes"),
            ("port=a,stdio,none", "once"),
            ("port=a,socket=", "socket has no value"),
            ("port=a,pty", "unknown option 'pty'"),
        ] {
            let line = text.parse::<ConsoleConfig>().unwrap_err().to_string();
            assert!(line.contains(said), "{text}: {line}");
        }
    }

    #[test]
    fn ports_that_cannot_be_together_are_refused() {
        let check = |texts: &[&str], serial| {
            let consoles: Vec<_> = texts.iter().map(|text| text.parse().unwrap()).collect();
            check(&consoles, &serial)
        };
        assert_eq!(check(&["stdio", "port=a,socket=a"], Serial::None), Ok(()));
        for (texts, serial, said) in [
            (&["stdio"][..], Serial::Stdio, "add --serial none"),
            (&["none", "stdio"], Serial::None, "port=hvc0: given twice"),
            (
                &["stdio", "port=a,stdio"],
                Serial::None,
                "standard output already",
            ),
            (
                &["file=x", "port=a,socket=x"],
                Serial::None,
                "another port has x",
            ),
        ] {
            let line = check(texts, serial).unwrap_err();
            assert!(line.contains(said), "{texts:?}: {line}");
        }
        let many: Vec<_> = (0..=MAX_NAMED).map(|n| format!("port=p{n},none")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(
            check(&many, Serial::None)
                .unwrap_err()
                .contains("at most 15")
        );
    }
}
