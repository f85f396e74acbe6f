//! The command line, as text: what may be written, and its help. Whether it makes a machine is
//! for [`vmm::config`] to say.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::disk::Disk;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use vmm::config::RawConfig;

const AFTER_HELP: &str = "\
Exit status: 0 the guest powered off, 2 bad usage or input, 3 the guest crashed, asked for \
something impossible or did not shut down when 'armlet stop' asked it to, 4 the host failed.";

const RUN_AFTER_HELP: &str = "\
SIGTERM and SIGINT ask the guest to shut down, as a power button does; a second one, or the end of \
--stop-timeout, cuts its power. Ctrl-C on a terminal that is the guest's console goes to the guest.

Exit status: 0 the guest powered off, 2 bad usage or input, 3 the guest crashed, asked for \
something impossible or did not shut down when 'armlet stop' asked it to, 4 the host failed. If a \
signal ended it otherwise than by the guest's power-off, the process ends by that signal.";

const REMOTE_AFTER_HELP: &str = "\
Exit status: 0 done, 2 bad usage, or no such machine, 4 the machine refused or the host failed.";

const STOP_AFTER_HELP: &str = "\
Exit status: 0 the guest shut down, or its power was cut as --force asks; 2 bad usage, or no such \
machine; 3 the machine ended in another way, such as when the time was up; 4 the host failed.";

/// Runs arm64 virtual machines on any host.
#[derive(Debug, Parser)]
#[command(name = "armlet", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// More log lines on standard error: -v for information, -vv for debugging, -vvv for every
    /// exit of a vCPU. ARMLET_LOG=FILTER chooses by module instead.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Boots a kernel in a virtual machine
    Run(Box<Run>),
    /// Makes, describes, checks, converts and resizes disk images
    #[command(subcommand)]
    Disk(Disk),
    /// Says which accelerators work on this host, and what to do about the others
    Doctor,
    /// Asks a running machine's guest to shut down, and waits until it has
    Stop(StopArgs),
    /// Says how a running machine does
    Status(StatusArgs),
    /// Says how much memory a machine's guest gives up, or asks it for more or less
    #[command(after_help = REMOTE_AFTER_HELP)]
    Balloon(BalloonArgs),
}

/// `armlet stop`
#[derive(Args, Debug)]
#[command(after_help = STOP_AFTER_HELP)]
pub struct StopArgs {
    /// The machine's name, or the path of its control socket (with a slash in it)
    #[arg(value_name = "NAME|PATH")]
    pub machine: String,
    /// How many seconds the guest may take; then its power is cut [default: the machine's
    /// --stop-timeout]
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    #[arg(conflicts_with = "force")]
    pub timeout: Option<String>,
    /// Cuts the guest's power at once
    #[arg(long)]
    pub force: bool,
}

/// `armlet status`
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// The machine's name, or the path of its control socket (with a slash in it)
    #[arg(value_name = "NAME|PATH")]
    pub machine: String,
}

/// `armlet balloon`
#[derive(Args, Debug)]
pub struct BalloonArgs {
    /// The machine's name, or the path of its control socket (with a slash in it)
    #[arg(value_name = "NAME|PATH")]
    pub machine: String,
    /// How much memory the guest is to give up from now on, such as 512M, or 0 for none
    #[arg(value_name = "SIZE", allow_hyphen_values = true)]
    pub size: Option<String>,
    /// Has the guest name all its free memory at once, and gives it back to the host but for what the
    /// guest uses again meanwhile
    #[arg(long)]
    pub reclaim: bool,
}

/// `armlet run`
#[derive(Args, Debug)]
#[command(after_help = RUN_AFTER_HELP)]
pub struct Run {
    /// A machine file, NAME.toml, with any of the options below by their names; options that are
    /// given here as well go before it
    #[arg(value_name = "FILE.toml")]
    pub file: Option<PathBuf>,
    /// The kernel: an arm64 Image, raw or compressed (gzip, zstd, EFI zboot), or a flat binary
    #[arg(long, value_name = "PATH")]
    pub kernel: Option<PathBuf>,
    /// The initial RAM disk
    #[arg(long, value_name = "PATH")]
    pub initrd: Option<PathBuf>,
    /// The kernel's command line
    #[arg(long, value_name = "STR", allow_hyphen_values = true)]
    pub cmdline: Option<String>,
    /// How many CPUs the guest has, 1 to 123 [default: 1]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub cpus: Option<String>,
    /// How much memory the guest has, such as 512M or 2G, in powers of 1024 [default: 512M]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub memory: Option<String>,
    /// The accelerator: auto (the fastest that works), kvm, hvf or soft [default: auto]
    #[arg(long, value_name = "NAME")]
    pub accel: Option<String>,
    /// The CPU model: portable (the same on every host), host (what this host's processor offers),
    /// or auto (portable where the host can enforce it) [default: auto]
    #[arg(long, value_name = "MODEL")]
    pub cpu: Option<String>,
    /// How fast the guest's counter runs, in Hz, or auto (the accelerator's own frequency). A guest
    /// that is to move to another host needs that host's, which `armlet doctor` shows there
    /// [default: auto]
    #[arg(long, value_name = "HZ", allow_hyphen_values = true)]
    pub counter_frequency: Option<String>,
    /// Where the guest's serial port goes: stdio, file:PATH or none. On a terminal, Ctrl-A x
    /// leaves and Ctrl-A h helps [default: stdio]
    #[arg(long, value_name = "WHERE")]
    pub serial: Option<String>,
    /// A disk: path=FILE, and any of format=auto|raw|qcow2, readonly, allow-backing=PATH (a file that
    /// its backing files may be, or a directory below which they may be, beside its own; repeatable),
    /// serial=TEXT,
    /// cache=writeback|direct|relaxed, discard=BOOL, iops=N, iops-burst=N, bw=SIZE, bw-burst=SIZE
    /// and queues=N, with commas between. Repeat it for more. A comma in a path is written twice;
    /// give the format where the guest is not to be trusted
    #[arg(long = "disk", value_name = "OPTIONS")]
    pub disks: Vec<String>,
    /// A port of the guest's virtio console: port=hvc0 for a terminal or port=NAME for
    /// /dev/virtio-ports/NAME in the guest [default: hvc0], with socket=PATH (a Unix socket that the
    /// host's programs connect to), file=PATH (its output), stdio (needs --serial none or file:PATH)
    /// or none. Repeatable
    #[arg(long = "console", value_name = "OPTIONS")]
    pub consoles: Vec<String>,
    /// Whether the guest has a memory balloon, by which memory that it does not use goes back to the
    /// host: on, off, or a list of size=SIZE (what the guest gives up from the start on),
    /// deflate-on-oom=BOOL and free-page-reporting=BOOL [default: on]
    #[arg(long, value_name = "HOW")]
    pub balloon: Option<String>,
    /// Whether the guest has a source of entropy: on, off, or bw=SIZE[,bw-burst=SIZE] for one that
    /// gives no more bytes per second [default: on]
    #[arg(long, value_name = "HOW")]
    pub rng: Option<String>,
    /// Writes the device tree to this file and exits, without starting the guest
    #[arg(long, value_name = "PATH")]
    pub dump_dtb: Option<PathBuf>,
    /// Writes the machine as a machine file to standard output and exits
    #[arg(long)]
    pub print_config: bool,
    /// Exits when the guest resets, instead of starting it again
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    pub no_reboot: Option<bool>,
    /// What virtio devices sit behind: pci or mmio [default: pci]
    #[arg(long, value_name = "NAME")]
    pub transport: Option<String>,
    /// How many seconds the guest may take to shut down when a signal or 'armlet stop' asks for
    /// it; then its power is cut. 0 cuts it at once [default: 30]
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub stop_timeout: Option<String>,
    /// A name by which 'armlet stop' and 'armlet status' find the running machine
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub name: Option<String>,
    /// The socket by which it is controlled, instead of the one of its name
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
}

/// What `armlet run` is to do.
#[derive(Debug)]
pub struct Wish {
    /// What the flags say of the machine.
    pub raw: RawConfig,
    /// The machine file.
    pub file: Option<PathBuf>,
    /// Where to write the device tree, instead of running.
    pub dump_dtb: Option<PathBuf>,
    /// Whether to write the machine, instead of running.
    pub print_config: bool,
}

impl Run {
    /// Its machine, and what to do with it.
    pub fn wish(self) -> Wish {
        let Self {
            file,
            kernel,
            initrd,
            cmdline,
            cpus,
            memory,
            accel,
            cpu,
            counter_frequency,
            serial,
            disks,
            consoles,
            balloon,
            rng,
            dump_dtb,
            print_config,
            no_reboot,
            transport,
            stop_timeout,
            name,
            control,
        } = self;
        let raw = RawConfig {
            kernel,
            initrd,
            cmdline,
            cpus,
            memory,
            accel,
            cpu,
            counter_frequency,
            serial,
            disks,
            consoles,
            balloon,
            rng,
            no_reboot,
            transport,
            stop_timeout,
            name,
            control,
        };
        Wish {
            raw,
            file,
            dump_dtb,
            print_config,
        }
    }
}

/// Why there is nothing to do.
#[derive(Debug)]
pub enum Stop {
    /// The user asked for this text.
    Show(String),
    /// The command line is wrong; one line.
    Wrong(String),
}

/// Reads the command line.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, Stop> {
    let args: Vec<OsString> = args.into_iter().collect();
    use ErrorKind::{
        DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand as NothingGiven, DisplayVersion,
    };
    Cli::try_parse_from(&args).map_err(|error| {
        let kind = error.kind();
        if matches!(kind, DisplayHelp | DisplayVersion) {
            Stop::Show(error.to_string())
        } else if let Some(name) = not_text(&args).filter(|_| kind == ErrorKind::InvalidUtf8) {
            Stop::Wrong(format!("{name}: not UTF-8; try 'armlet run --help'"))
        } else if kind == NothingGiven {
            Stop::Wrong("nothing to do; try 'armlet --help'".into())
        } else {
            Stop::Wrong(one_line(&error.to_string(), topic(&args)))
        }
    })
}

/// The argument that has to be UTF-8 and is not: the one that is refused even if all others are.
/// File names need not be.
fn not_text(args: &[OsString]) -> Option<String> {
    let lossy = |arg: &OsString| OsString::from(arg.to_string_lossy().into_owned());
    let suspects = (0..args.len()).filter(|&n| args[n].to_str().is_none());
    let refused = |&n: &usize| {
        let alone = args.iter().enumerate();
        let alone = alone.map(|(m, arg)| if m == n { arg.clone() } else { lossy(arg) });
        Cli::try_parse_from(alone).is_err_and(|error| error.kind() == ErrorKind::InvalidUtf8)
    };
    let found = suspects.into_iter().find(refused);
    found.map(|n| args[n].to_string_lossy().into_owned())
}

/// The command whose help helps.
fn topic(args: &[OsString]) -> &'static str {
    if args.get(1).is_some_and(|word| word == "disk") {
        "disk"
    } else {
        "run"
    }
}

/// Clap's message without its usage and hints, in one line.
fn one_line(message: &str, topic: &str) -> String {
    let lines = message.lines().map(str::trim);
    let wanted = lines.take_while(|line| {
        !line.starts_with("Usage:") && !line.starts_with("For more") && !line.starts_with("tip:")
    });
    let words: Vec<&str> = wanted.filter(|line| !line.is_empty()).collect();
    let line = words.join(" ");
    format!(
        "{}; try 'armlet {topic} --help'",
        line.strip_prefix("error: ").unwrap_or(&line)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(line: &str) -> String {
        match parse(line.split(' ').map(Into::into)) {
            Err(Stop::Wrong(line)) => line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn wrong_command_lines_make_one_line() {
        for (args, said) in [
            ("armlet", "nothing to do"),
            ("armlet run --kernel", "--kernel <PATH>"),
            ("armlet run --kernel a --sound loud", "--sound"),
            ("armlet fly", "fly"),
            ("armlet run a.toml b", "'b'"),
            ("armlet disk create", "armlet disk --help"),
            ("armlet disk mend x", "mend"),
        ] {
            let line = wrong(args);
            assert!(line.contains(said), "{args}: {line}");
            assert!(
                !line.contains('\n') && line.contains("--help"),
                "{args}: {line}"
            );
        }
    }

    #[test]
    fn negative_numbers_reach_the_configuration() {
        let args = "armlet run --kernel a --cpus -1 --memory -1G --cmdline -x";
        let cli = parse(args.split(' ').map(Into::into)).unwrap();
        let Command::Run(run) = cli.command else {
            panic!("a run")
        };
        assert_eq!(
            [run.cpus, run.memory, run.cmdline],
            ["-1", "-1G", "-x"].map(|text| Some(text.to_owned()))
        );
    }

    #[test]
    fn the_command_is_well_formed() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
