//! `armlet stop`, `status` and `balloon`: what is said to a machine that another process runs.

use std::time::Duration;

use vmm::config::{ByteSize, ConfigError, StopTimeout};
use vmm::control::Address;
use vmm::control::client::{Client, ClientError};
use vmm::control::protocol::{
    Balloon, Code, End, Facts, Fault, GuestMemory, Inflate, State, Status, Stop,
};
use vmm::machine::Reclaimed;

use crate::args::{BalloonArgs, StatusArgs, StopArgs};
use crate::words::complain;
use crate::{BAD_INPUT, DONE, Failure, GUEST_FAILED, HOST_FAILED, bad_input, show};

/// How long a machine whose power is cut usually takes at most to write out what its guest wrote.
const TO_END: Duration = Duration::from_secs(20);

/// Asks the guest to shut down, and waits until the machine is over.
pub fn stop(args: &StopArgs) -> Result<u8, Failure> {
    let StopArgs {
        machine,
        timeout,
        force,
    } = args;
    let timeout = timeout.as_deref().map(str::parse::<StopTimeout>);
    let timeout = timeout.transpose();
    let timeout = timeout.map_err(|why| bad_input(ConfigError::Flag("timeout", why)))?;
    let stop = Stop {
        timeout: timeout.map(|timeout| u64::from(timeout.seconds())),
        force: *force,
    };
    let mut client = Client::connect(&address(machine)?)?;
    let limit = client.stop(stop)?.timeout;
    let limit = Duration::from_secs(u64::from(limit)) + TO_END;
    let (how, message) = match client.wait_for_end(Some(limit)) {
        Err(ClientError::Silent(_)) => {
            // Whoever goes on as if it were over may use disks that are still written.
            complain(&format!(
                "{machine}: the guest's time is up, but the machine is not over: it still writes to \
                 its disks or outputs; waiting until its process has ended"
            ));
            client.wait_for_end(None)?
        }
        ended => ended?,
    };
    match how {
        End::PoweredOff => Ok(DONE),
        End::Cut if *force || limit == TO_END => Ok(DONE),
        End::Cut
        | End::Reset
        | End::Left
        | End::Signal
        | End::StopTimedOut
        | End::GuestFailed
        | End::HostFailed
        | End::Other => {
            complain(&format!("{machine}: {message}"));
            Ok(GUEST_FAILED)
        }
    }
}

/// Says how a machine does.
pub fn status(args: &StatusArgs) -> Result<u8, Failure> {
    let status = Client::connect(&address(&args.machine)?)?.status()?;
    show(&text(&status))
}

/// Asks the guest for memory, or only what it gives.
pub fn balloon(args: &BalloonArgs) -> Result<u8, Failure> {
    let BalloonArgs {
        machine,
        size,
        reclaim,
    } = args;
    let size = size.as_deref().map(str::parse::<ByteSize>).transpose();
    let size = size.map_err(|why| bad_input(format!("SIZE {why}")))?;
    let size = size.map(|size| size.0);
    let mut client = Client::connect(&address(machine)?)?;
    let (report, reclaimed) = if *reclaim {
        let (report, reclaimed) = client.reclaim(size)?;
        (report, Some(reclaimed))
    } else {
        let reclaim = false;
        (client.balloon(Inflate { size, reclaim })?, None)
    };
    show(&balloon_text(&report, reclaimed))
}

fn balloon_text(report: &Balloon, reclaimed: Option<Reclaimed>) -> String {
    let Balloon {
        target,
        actual,
        driver,
        guest,
        round: _,
    } = report;
    let mut lines = vec![
        format!("target: {}", ByteSize(*target)),
        format!("actual: {}", ByteSize(*actual)),
    ];
    if let Some(Reclaimed { named, returned }) = reclaimed {
        let (named, returned) = (ByteSize(named), ByteSize(returned));
        lines.push(format!("reclaimed: {returned} of {named} that were free"));
    }
    if !driver {
        lines.push("driver: none in the guest, at least not yet".to_owned());
    }
    if let Some(GuestMemory {
        total,
        free,
        available,
        caches,
        age,
    }) = guest
    {
        let said = [
            ("total", total),
            ("free", free),
            ("available", available),
            ("caches", caches),
        ];
        let line = |(what, bytes): (&str, &Option<u64>)| {
            bytes.map(|bytes| format!("guest's {what}: {}", ByteSize(bytes)))
        };
        lines.extend(said.into_iter().filter_map(line));
        let (seconds, tenths) = (age / 1000, age % 1000 / 100);
        lines.push(format!("the guest said so {seconds}.{tenths} s ago"));
    }
    lines.join("\n")
}

fn text(status: &Status) -> String {
    let Status {
        state,
        stopping,
        facts,
    } = status;
    let Facts {
        name,
        process,
        accel,
        cpu,
        cpus,
        memory,
    } = facts;
    let state = match state {
        State::Starting => "starting",
        State::Running => "running",
        State::Paused => "paused",
        State::Over => "over",
    };
    let stopping = if *stopping { ", shutting down" } else { "" };
    let mut lines = vec![
        format!("state: {state}{stopping}"),
        format!("process: {process}"),
        format!("accelerator: {accel}, CPU model {cpu}"),
        format!("CPUs: {cpus}"),
        format!("memory: {}", ByteSize(*memory)),
    ];
    if let Some(name) = name {
        lines.insert(0, format!("name: {name}"));
    }
    lines.join("\n")
}

fn address(machine: &str) -> Result<Address, Failure> {
    machine.parse().map_err(bad_input)
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let status = match &error {
            ClientError::Nobody(_) | ClientError::Refused { .. } | ClientError::Stranger { .. } => {
                BAD_INPUT
            }
            ClientError::Fault(_, Fault { code, .. }) => match code {
                Code::TooLong
                | Code::BadRequest
                | Code::UnknownMethod
                | Code::BadParams
                | Code::NoDevice => BAD_INPUT,
                Code::Refused => GUEST_FAILED,
                Code::Over | Code::HostFailed | Code::Other => HOST_FAILED,
            },
            ClientError::Lost(_) | ClientError::Silent(_) => HOST_FAILED,
        };
        Self(status, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_told_in_lines() {
        let facts = Facts {
            name: Some("web".into()),
            process: 7,
            accel: "soft".into(),
            cpu: "portable".into(),
            cpus: 2,
            memory: 512 << 20,
        };
        let status = Status {
            state: State::Running,
            stopping: true,
            facts,
        };
        assert_eq!(
            text(&status),
            "name: web\nstate: running, shutting down\nprocess: 7\n\
             accelerator: soft, CPU model portable\nCPUs: 2\nmemory: 512M"
        );
    }

    #[test]
    fn a_balloon_is_told_in_lines() {
        let mut report = Balloon {
            target: 1 << 30,
            actual: 512 << 20,
            driver: false,
            guest: None,
            round: None,
        };
        assert_eq!(
            balloon_text(&report, None),
            "target: 1G\nactual: 512M\ndriver: none in the guest, at least not yet"
        );
        report.driver = true;
        report.guest = Some(GuestMemory {
            total: Some(2 << 30),
            free: Some(3 << 10),
            available: None,
            caches: None,
            age: 12_345,
        });
        let reclaimed = Reclaimed {
            named: 8 << 20,
            returned: 5 << 20,
        };
        assert_eq!(
            balloon_text(&report, Some(reclaimed)),
            "target: 1G\nactual: 512M\nreclaimed: 5M of 8M that were free\nguest's total: 2G\n\
             guest's free: 3K\nthe guest said so 12.3 s ago"
        );
    }

    #[test]
    fn what_is_asked_wrongly_and_what_does_not_work_end_differently() {
        for (code, status) in [
            (Code::BadParams, BAD_INPUT),
            (Code::NoDevice, BAD_INPUT),
            (Code::Refused, GUEST_FAILED),
            (Code::HostFailed, HOST_FAILED),
        ] {
            let fault = Fault {
                code,
                message: "balloon: no".to_owned(),
            };
            let machine = "web".parse().expect("a name");
            let Failure(found, line) = ClientError::Fault(machine, fault).into();
            assert_eq!((found, &*line), (status, "web: balloon: no"));
        }
    }
}
