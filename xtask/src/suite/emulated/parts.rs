//! The test programs that run in the emulated host, and how.

/// How the emulated host's kernel runs its hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All of the kernel at EL2.
    Vhe,
    /// The kernel at EL1, its hypervisor alone at EL2.
    Nvhe,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::Vhe => "vhe",
            Self::Nvhe => "nvhe",
        }
    }

    /// Kicks and pauses of the storms, which take minutes there. The number that is promised runs
    /// in one of the modes.
    pub const fn storm(self) -> &'static str {
        match self {
            Self::Vhe => "export ARMLET_KICKS=100000 ARMLET_PAUSES=5000\n",
            Self::Nvhe => "export ARMLET_KICKS=20000 ARMLET_PAUSES=1000\n",
        }
    }
}

/// One test program as it runs there.
pub struct TestProgram {
    /// What the closing table calls it.
    kind: &'static str,
    /// The file of `tests/tests`.
    pub test: &'static str,
    /// Settings of the environment, `NAME=VALUE`.
    environment: &'static [&'static str],
    /// Words of the command line: which tests.
    arguments: &'static [&'static str],
    /// What is left out.
    omitted: &'static [&'static str],
}

/// Those of the machine and its accelerator.
pub const MACHINE: [TestProgram; 7] = [
    TestProgram {
        kind: "conformance",
        test: "conformance",
        environment: &[],
        arguments: &[],
        omitted: &[],
    },
    TestProgram {
        kind: "boot",
        test: "guest_boot",
        environment: &[],
        arguments: &["cloud_boots", "--skip=with_8"],
        omitted: &[
            "boots with 8 CPUs",
            "boots of 6.1-generic",
            "ten boots in a row",
        ],
    },
    TestProgram {
        kind: "life",
        test: "guest_life",
        environment: &[],
        arguments: &["--skip=idle"],
        omitted: &["cost of an idle guest"],
    },
    TestProgram {
        kind: "random",
        test: "guest_random",
        environment: &[],
        arguments: &[],
        omitted: &[],
    },
    TestProgram {
        kind: "cpu",
        test: "guest_cpu",
        environment: &[],
        arguments: &[],
        omitted: &[],
    },
    TestProgram {
        kind: "moves",
        test: "moves",
        // A Mac whose guests count as fast as those of this host. The storm of pauses is a part of
        // the conformance tests.
        environment: &["ARMLET_HVF_SIM=m4-26-62mhz", "ARMLET_PAUSES=200"],
        arguments: &[],
        omitted: &[],
    },
    TestProgram {
        kind: "state",
        test: "guest_state",
        environment: &[],
        arguments: &[],
        omitted: &[],
    },
];

/// Those of devices.
pub const DEVICES: [TestProgram; 6] = [
    TestProgram {
        kind: "pci",
        test: "guest_pci",
        environment: &[],
        arguments: &[],
        omitted: &[],
    },
    TestProgram {
        kind: "console",
        test: "guest_console",
        environment: &[],
        arguments: &[],
        omitted: &[],
    },
    TestProgram {
        kind: "balloon",
        test: "guest_balloon",
        environment: &[],
        arguments: &[],
        omitted: &[],
    },
    TestProgram {
        kind: "power",
        test: "guest_power",
        environment: &[],
        arguments: &[],
        omitted: &[],
    },
    TestProgram {
        kind: "full",
        test: "guest_full",
        environment: &[],
        arguments: &[],
        omitted: &[],
    },
    TestProgram {
        kind: "disk",
        test: "guest_disk",
        environment: &[],
        arguments: &[],
        omitted: &[],
    },
];

impl TestProgram {
    /// What the closing table calls it.
    pub fn title(&self, mode: Mode) -> String {
        format!("{} on kvm ({})", self.kind, mode.name())
    }

    /// The line of the script that runs it.
    pub fn line(&self, mode: Mode) -> String {
        let mut words = vec!["part".to_owned(), quote(&self.title(mode))];
        if !self.environment.is_empty() {
            words.push("env".to_owned());
            words.extend(self.environment.iter().map(|&setting| quote(setting)));
        }
        words.push(format!("tests/{}", self.test));
        words.extend(self.arguments.iter().map(|&word| quote(word)));
        words.push("--test-threads=1\n".to_owned());
        words.join(" ")
    }

    /// What is left out, and why.
    pub fn skips(&self, mode: Mode) -> impl Iterator<Item = (String, String)> {
        let why = "it takes too long in the emulated host";
        let title = self.title(mode);
        self.omitted
            .iter()
            .map(move |what| (format!("{title}: {what}"), why.to_owned()))
    }
}

/// A word as the shell reads it back.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_script_names_the_part_and_its_program() {
        let line = MACHINE[1].line(Mode::Nvhe);
        let expected = "part 'boot on kvm (nvhe)' tests/guest_boot 'cloud_boots' '--skip=with_8' \
                        --test-threads=1\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn settings_come_before_the_program() {
        let moves = MACHINE.iter().find(|program| program.test == "moves");
        let line = moves.map(|program| program.line(Mode::Vhe));
        let expected = "part 'moves on kvm (vhe)' env 'ARMLET_HVF_SIM=m4-26-62mhz' \
                        'ARMLET_PAUSES=200' tests/moves --test-threads=1\n";
        assert_eq!(line.as_deref(), Some(expected));
    }
}
