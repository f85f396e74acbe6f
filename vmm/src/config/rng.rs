//! The guest's source of entropy, as a user describes it: `on`, `off` or `bw=SIZE,...`.

use std::fmt;
use std::str::FromStr;

use super::ByteSize;
use super::disk::{Limit, bandwidth};
use super::options::{Key, OptionError, OptionList, Options};

/// Whether the guest has a source of entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rng {
    /// It has none.
    Off,
    /// It has one.
    On(RngConfig),
}

impl Default for Rng {
    fn default() -> Self {
        Self::On(RngConfig::default())
    }
}

/// A source of entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RngConfig {
    /// Bytes per second.
    pub bandwidth: Option<Limit>,
}

impl OptionList for RngConfig {
    const KEYS: &'static [Key] = &[Key::value("bw"), Key::value("bw-burst")];

    fn read(options: &Options) -> Result<Self, OptionError> {
        let bandwidth = bandwidth(options)?;
        Ok(Self { bandwidth })
    }

    fn write(&self, options: &mut Options) {
        let Self { bandwidth } = self;
        let size = |number: std::num::NonZeroU64| ByteSize(number.get());
        options.put_some("bw", bandwidth.map(|limit| size(limit.rate)));
        let burst = bandwidth.and_then(|limit| limit.burst);
        options.put_some("bw-burst", burst.map(size));
    }
}

impl FromStr for Rng {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        match text {
            "on" => Ok(Self::default()),
            "off" => Ok(Self::Off),
            list => RngConfig::from_list(list).map(Self::On),
        }
    }
}

impl fmt::Display for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::On(config) if *config == RngConfig::default() => f.write_str("on"),
            Self::On(config) => config.to_options().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for text in ["on", "off", "bw=1M", "bw=1M,bw-burst=2M"] {
            let rng: Rng = text.parse().unwrap();
            assert_eq!(rng.to_string(), text);
        }
        let limited: Rng = "bw=4096".parse().unwrap();
        let Rng::On(RngConfig {
            bandwidth: Some(Limit { rate, burst }),
        }) = limited
        else {
            panic!("{limited}")
        };
        assert_eq!((rate.get(), burst), (4096, None));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            ("yes", "unknown option 'yes'"),
            ("bw=0", "bw=0: write a size"),
            ("bw-burst=1", "bw is missing"),
        ] {
            let line = text.parse::<Rng>().unwrap_err().to_string();
            assert!(line.contains(said), "{text}: {line}");
        }
    }
}
