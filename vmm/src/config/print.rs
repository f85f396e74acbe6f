//! A machine as the text of a machine file, which [`file`](super::file) reads as the same machine.
//!
//! Names of files are written from the root, so that the text means the same wherever it is kept.

use std::fmt::{Display, Write};
use std::path::{Path, PathBuf};

use hv_backend::Choice;
use toml_writer::ToTomlValue;

use super::MachineConfig;
use super::balloon::Balloon;
use super::options::{Kind, OptionList};
use super::rng::Rng;
use crate::coordinator::OnReset;

/// A name of a file that no text can hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{key} {}: a machine file can only hold names that are UTF-8", .path.display())]
pub struct NotText {
    /// The setting.
    pub key: &'static str,
    /// Its file.
    pub path: PathBuf,
}

impl MachineConfig {
    /// The text of a machine file for this machine, with everything said.
    ///
    /// # Errors
    /// When a file's name is no text.
    pub fn to_toml(&self) -> Result<String, NotText> {
        let Self {
            kernel,
            initrd,
            cmdline,
            cpus,
            memory,
            accel,
            cpu,
            counter_frequency,
            serial,
            on_reset,
            transport,
            balloon,
            rng,
            disks,
            consoles,
            stop_timeout,
            name,
            control,
        } = self;
        let mut out = Printer::default();
        out.path("kernel", kernel)?;
        if let Some(initrd) = initrd {
            out.path("initrd", initrd)?;
        }
        out.text("cmdline", cmdline);
        out.plain("cpus", cpus);
        out.text("memory", memory);
        let accel = match accel {
            Choice::Auto => "auto",
            Choice::Only(accel) => accel.name(),
        };
        out.text("accel", accel);
        out.text("cpu", cpu);
        out.text("counter-frequency", counter_frequency);
        let key = "serial";
        let serial = serial.absolute().text();
        out.text(key, serial.map_err(|path| NotText { key, path })?);
        out.plain("no-reboot", *on_reset == OnReset::End);
        out.text("transport", transport);
        out.plain("stop-timeout", stop_timeout);
        if let Some(name) = name {
            out.text("name", name);
        }
        if let Some(control) = control {
            out.path("control", control)?;
        }
        if *balloon == Balloon::Off {
            out.text("balloon", "off");
        }
        if *rng == Rng::Off {
            out.text("rng", "off");
        }
        if let Balloon::On(config) = balloon {
            out.device("balloon", false, config)?;
        }
        if let Rng::On(config) = rng {
            out.device("rng", false, config)?;
        }
        for disk in disks {
            out.device("disk", true, disk)?;
        }
        for console in consoles {
            out.device("console", true, console)?;
        }
        Ok(out.0)
    }
}

/// Lines of a machine file. Settings come before devices: what follows the header of a table
/// belongs to it.
#[derive(Clone, Debug, Default)]
pub struct Printer(String);

impl Printer {
    /// A setting that is a text.
    pub fn text(&mut self, key: &str, value: impl Display) {
        self.plain(key, value.to_string().to_toml_value());
    }

    /// A setting that is a number or a flag.
    pub fn plain(&mut self, key: &str, value: impl Display) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{key} = {value}");
    }

    /// A setting that is a file's name.
    ///
    /// # Errors
    /// When it is no text.
    pub fn path(&mut self, key: &'static str, path: &Path) -> Result<(), NotText> {
        self.text(key, path_text(key, path)?);
        Ok(())
    }

    /// A device: `[key]`, or `[[key]]` if there may be more of its kind.
    ///
    /// # Errors
    /// When a file's name is no text.
    pub fn device<T: OptionList>(
        &mut self,
        key: &'static str,
        several: bool,
        device: &T,
    ) -> Result<(), NotText> {
        let (open, close) = if several { ("[[", "]]") } else { ("[", "]") };
        let _ = writeln!(self.0, "\n{open}{key}{close}");
        let options = device.to_options();
        let mut listed = "";
        for (option, value) in options.iter() {
            let known = T::KEYS.iter().find(|known| known.name == option);
            match known.map_or(Kind::Value, |known| known.kind) {
                // Whoever writes options writes all values of one together.
                Kind::Paths if listed == option => {}
                Kind::Paths => {
                    listed = option;
                    let all = options.iter().filter(|(name, _)| *name == option);
                    let all = all.map(|(_, value)| path_text(option, Path::new(value)));
                    let all: Vec<String> = all.collect::<Result<_, _>>()?;
                    self.plain(option, all.to_toml_value());
                }
                Kind::Path => self.path(option, Path::new(value))?,
                Kind::Flag => self.plain(option, value),
                Kind::Value => match value.parse::<i64>() {
                    // Leading zeros and signs are part of a text, such as a serial number.
                    Ok(number) if number.to_string() == value => self.plain(option, value),
                    Ok(_) | Err(_) => self.text(option, value),
                },
            }
        }
        Ok(())
    }
}

/// A file's name from the root, if it is a text.
fn path_text(key: &'static str, path: &Path) -> Result<String, NotText> {
    let path = absolute(path).into_os_string().into_string();
    path.map_err(|path| NotText {
        key,
        path: path.into(),
    })
}

/// From the root, as far as the host can say where it is.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::disk::DiskConfig;
    use super::super::{Settings, file};
    use super::*;

    fn read_back(config: &MachineConfig) -> MachineConfig {
        let text = config.to_toml().unwrap();
        let settings = file::parse(&text, Path::new("/elsewhere/machine.toml"));
        let settings = settings.unwrap_or_else(|error| panic!("{error}: {text}"));
        MachineConfig::try_from(settings).unwrap()
    }

    #[test]
    fn a_machine_with_everything_is_written_and_read_back() {
        let text = r#"
            kernel = "/boot/Image"
            initrd = "/boot/initrd \"x\" \\ 日"
            cmdline = "console=ttyAMA0 x=\"y\" \u0007"
            cpus = 4
            memory = "2G"
            accel = "soft"
            cpu = "portable"
            serial = "file:/log/serial"
            no-reboot = true
            stop-timeout = 5
            name = "web"
            control = "/run/web.sock"
            rng = { bw = "1M", bw-burst = "4M" }
        "#;
        let settings = file::parse(text, Path::new("machine.toml")).unwrap();
        let config = MachineConfig::try_from(settings).unwrap();
        assert_eq!(config.stop_timeout.seconds(), 5);
        assert_ne!(config.rng, super::Rng::default());
        assert_eq!(read_back(&config), config);
        assert!(
            config
                .to_toml()
                .unwrap()
                .contains("\ncpus = 4\nmemory = \"2 GiB\"\n")
        );
    }

    #[test]
    fn names_of_files_are_written_from_the_root() {
        let settings = Settings {
            kernel: Some("Image".into()),
            ..Settings::default()
        };
        let config = MachineConfig::try_from(settings).unwrap();
        let here = std::env::current_dir().unwrap().join("Image");
        assert_eq!(read_back(&config).kernel, here);
    }

    #[test]
    fn a_name_that_is_no_text_is_refused() {
        use std::os::unix::ffi::OsStringExt;
        let kernel = std::ffi::OsString::from_vec(b"/Image\xff".to_vec());
        let settings = Settings {
            kernel: Some(kernel.into()),
            ..Settings::default()
        };
        let config = MachineConfig::try_from(settings).unwrap();
        assert!(
            config
                .to_toml()
                .unwrap_err()
                .to_string()
                .starts_with("--kernel /Image")
        );
    }

    proptest! {
        #[test]
        fn devices_are_written_and_read_back(
            path in "/.+", serial in prop::option::of("[ -~]{1,20}|0?[0-9]{1,19}"),
            read_only: bool, iops in prop::option::of(1_u64..),
            allow in prop::collection::vec("/.+", 0..3),
        ) {
            let mut disk = DiskConfig::new(path);
            disk.serial = serial.map(|serial| serial.parse().unwrap());
            disk.read_only = read_only;
            disk.allow_backing = allow.iter().map(|path| absolute(Path::new(path))).collect();
            disk.iops = iops.and_then(std::num::NonZeroU64::new).map(|rate| {
                super::super::disk::Limit { rate, burst: None }
            });
            let mut out = Printer::default();
            out.device("disk", true, &disk).unwrap();
            let read: DiskConfig = file::device_of(&out.0).unwrap();
            // A name with dots or doubled slashes may be written shorter.
            disk.path = absolute(&disk.path);
            prop_assert_eq!(read, disk);
        }
    }
}
