//! The Debian kernels guests run, and how to find their packages.

/// A kernel a guest can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Linux 6.12, Debian's configuration for clouds.
    V6_12Cloud,
    /// Linux 6.1, Debian's configuration for clouds.
    V6_1Cloud,
    /// Linux 6.1, Debian's configuration for every machine.
    V6_1Generic,
}

impl Kernel {
    /// All of them, the preferred one first.
    pub const ALL: [Self; 3] = [Self::V6_12Cloud, Self::V6_1Cloud, Self::V6_1Generic];

    /// The name of its directory, also used in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V6_12Cloud => "6.12-cloud",
            Self::V6_1Cloud => "6.1-cloud",
            Self::V6_1Generic => "6.1-generic",
        }
    }

    /// Whether it has the driver of the power key on a GPIO line (`gpio_keys`). Debian's kernels for
    /// clouds expect ACPI's button instead, which a machine described by a device tree has not.
    #[must_use]
    pub fn has_power_key(self) -> bool {
        match self {
            Self::V6_12Cloud | Self::V6_1Cloud => false,
            Self::V6_1Generic => true,
        }
    }

    /// What the names of its packages begin with.
    pub(crate) fn package_prefix(self) -> &'static str {
        match self {
            Self::V6_12Cloud => "linux-image-6.12.",
            Self::V6_1Cloud | Self::V6_1Generic => "linux-image-6.1.",
        }
    }

    fn flavour(self) -> &'static str {
        match self {
            Self::V6_12Cloud | Self::V6_1Cloud => "-cloud-arm64",
            Self::V6_1Generic => "-arm64",
        }
    }

    /// Those of `names` that are packages of this kernel, best first: the newest version, and of
    /// one version the unsigned package (the image without a signature around it).
    pub(crate) fn candidates(self, names: &[String]) -> Vec<&str> {
        let mut found: Vec<(Vec<u64>, bool, &str)> = names
            .iter()
            .filter_map(|name| self.candidate(name))
            .collect();
        found.sort();
        found.into_iter().rev().map(|(_, _, name)| name).collect()
    }

    /// The version numbers and whether it is unsigned, if `name` is a package of this kernel.
    fn candidate(self, name: &str) -> Option<(Vec<u64>, bool, &str)> {
        let rest = name.strip_prefix("linux-image-")?;
        let (rest, unsigned) = match rest.strip_suffix("-unsigned") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let version = rest.strip_suffix(self.flavour())?;
        if !name.starts_with(self.package_prefix()) {
            return None;
        }
        Some((version_numbers(version)?, unsigned, name))
    }
}

/// `6.12.117+deb12` as `[6, 12, 117, 12]`; `None` if it names a flavour such as `rt`.
fn version_numbers(version: &str) -> Option<Vec<u64>> {
    version
        .split(|c: char| !c.is_ascii_alphanumeric())
        .map(|word| word.trim_start_matches("deb").trim_start_matches("bpo"))
        .map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_newest_unsigned_image_is_preferred() {
        let names = names(&[
            "linux-image-6.12-cloud-arm64",
            "linux-image-6.12.99+deb12-cloud-arm64",
            "linux-image-6.12.117+deb12-cloud-arm64-dbg",
            "linux-image-6.12.117+deb12-cloud-arm64",
            "linux-image-6.12.117+deb12-cloud-arm64-unsigned",
            "linux-image-6.12.117+deb12-arm64",
            "linux-image-6.12.117+deb12-rt-arm64-unsigned",
        ]);
        assert_eq!(
            Kernel::V6_12Cloud.candidates(&names),
            [
                "linux-image-6.12.117+deb12-cloud-arm64-unsigned",
                "linux-image-6.12.117+deb12-cloud-arm64",
                "linux-image-6.12.99+deb12-cloud-arm64",
            ]
        );
    }

    #[test]
    fn the_generic_kernel_is_neither_cloud_nor_realtime() {
        let names = names(&[
            "linux-image-6.1.0-9-arm64",
            "linux-image-6.1.0-56-cloud-arm64",
            "linux-image-6.1.0-56-rt-arm64",
            "linux-image-6.1.0-56-arm64",
            "linux-image-6.12.117+deb12-arm64",
        ]);
        assert_eq!(
            Kernel::V6_1Generic.candidates(&names),
            ["linux-image-6.1.0-56-arm64", "linux-image-6.1.0-9-arm64"]
        );
    }
}
