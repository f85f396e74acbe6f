//! The machines that are measured, and how each is started.

use crate::bench::program::QEMU;

/// A machine to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// Our own program, with the model `host`: QEMU has no other on KVM.
    Armlet,
    /// The same with the model `portable`, which guests have unasked.
    Portable,
    /// Debian's QEMU.
    Qemu,
}

/// What a machine is started with.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// The kernel's file.
    pub kernel: &'static str,
    /// The initial RAM disk's file.
    pub initrd: Option<&'static str>,
}

impl Contender {
    /// All, in the order they run in.
    pub const ALL: [Self; 3] = [Self::Armlet, Self::Portable, Self::Qemu];
    /// Those that are alike.
    pub const PEERS: [Self; 2] = [Self::Armlet, Self::Qemu];

    /// Its name, for people and in the measurement's output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Armlet => "armlet",
            Self::Portable => "portable",
            Self::Qemu => "QEMU",
        }
    }

    /// The shell command that starts it, without the virtio devices that only armlet has unasked.
    pub fn command(self, guest: Guest, cpus: usize, memory_mib: usize) -> String {
        let Guest { kernel, initrd } = guest;
        let dashes = match self {
            Self::Armlet | Self::Portable => "--",
            Self::Qemu => "-",
        };
        let initrd = initrd.map_or_else(String::new, |file| format!(" {dashes}initrd {file}"));
        let cmdline = "'console=ttyAMA0 quiet armlet.do=poweroff'";
        let armlet = |model| {
            format!(
                "armlet run --accel kvm --cpu {model} --rng off --balloon off --cpus {cpus} \
                 --memory {memory_mib}M --cmdline {cmdline} --kernel {kernel}{initrd}"
            )
        };
        match self {
            Self::Armlet => armlet("host"),
            Self::Portable => armlet("portable"),
            Self::Qemu => format!(
                "{} \
                 -M virt,gic-version=3 -accel kvm -cpu host -nic none -no-reboot -display none \
                 -monitor none -serial stdio -smp {cpus} -m {memory_mib} -append {cmdline} \
                 -kernel {kernel}{initrd}",
                QEMU.command("")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_get_the_same_machine() {
        let guest = Guest {
            kernel: "k",
            initrd: Some("i"),
        };
        let [armlet, portable, qemu] = Contender::ALL.map(|who| who.command(guest, 2, 64));
        for word in ["--cpus 2", "--memory 64M", "--kernel k", "--initrd i"] {
            assert!(armlet.contains(word), "{armlet}");
        }
        assert_eq!(armlet.replace("--cpu host", "--cpu portable"), portable);
        for word in ["-cpu host", "-smp 2", "-m 64", "-kernel k", "-initrd i"] {
            assert!(qemu.contains(word), "{qemu}");
        }
    }
}
