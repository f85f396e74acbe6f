//! What is said over a control socket: lines of JSON, version [`VERSION`].
//!
//! The machine greets; the client asks; the machine answers each request once, in order, and says
//! by itself what happens:
//! ```text
//! < {"armlet":"0.1.0","protocol":1}
//! > {"id":1,"method":"status"}
//! < {"id":1,"result":{"state":"running","stopping":false,...}}
//! > {"id":2,"method":"stop","params":{"timeout":10}}
//! < {"id":2,"result":{"timeout":10}}
//! > {"id":3,"method":"fly"}
//! < {"id":3,"error":{"code":"unknown-method","message":"..."}}
//! > {"id":4,"method":"balloon","params":{"reclaim":true}}
//! < {"id":4,"result":{"target":0,"actual":0,"driver":true,"guest":null,"round":2147483648}}
//! < {"event":"reclaimed","round":2147483648,"named":209715200,"returned":201326592}
//! < {"event":"ended","how":"powered-off","message":"the guest powered off"}
//! ```
//! A line has at most [`MAX_LINE`] bytes. A request has nothing but these fields; a client is to
//! ignore fields and events that it does not know. The version grows when a client of the old one
//! would go wrong.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::coordinator::{Activity, Condition};
use crate::machine::{ReclaimError, Reclaimed};
use crate::outcome::Outcome;
use crate::text::printable;

/// The version of the protocol.
pub const VERSION: u32 = 1;
/// The longest line, without its end.
pub const MAX_LINE: usize = 64 << 10;

/// What the machine says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The program's version.
    pub armlet: String,
    /// The protocol's.
    pub protocol: u32,
}

impl Greeting {
    /// That of this program.
    #[must_use]
    pub fn ours() -> Self {
        Self {
            armlet: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: VERSION,
        }
    }
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Whatever the client likes; its answer has it too.
    pub id: u64,
    /// What is to be done.
    pub method: String,
    /// How.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub params: Value,
}

/// A request that makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `status`: how the machine does. The result is a [`Status`].
    Status,
    /// `stop`: the guest is to shut down. The result is a [`Stopping`], at once.
    Stop(Stop),
    /// `balloon`: how much memory the guest is to give up, and does. The result is a [`Balloon`].
    Balloon(Inflate),
}

/// Parameters of `stop`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// How many seconds it may take; what the machine was started with, if this is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Its power is to be cut at once.
    #[serde(default)]
    pub force: bool,
}

/// Parameters of `balloon`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inflate {
    /// How many bytes the guest is to give up from now on; nothing changes if this is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The guest is to name all its free memory, which goes back to the host. The result says that
    /// this has begun; [`Event::Reclaimed`] or [`Event::NotReclaimed`] follows within seconds.
    #[serde(default)]
    pub reclaim: bool,
}

/// Result of `balloon`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balloon {
    /// What the guest is to give up.
    pub target: u64,
    /// What it has given up, by its own account.
    pub actual: u64,
    /// Whether it has a driver that hears of all this.
    pub driver: bool,
    /// What it said last of its memory; asking makes it say so anew.
    pub guest: Option<GuestMemory>,
    /// The number of what has begun, if free memory is to be reclaimed. The event that tells the
    /// result has it too.
    pub round: Option<u32>,
}

/// A guest's memory as it sees it, in bytes. What it does not say is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestMemory {
    /// All.
    pub total: Option<u64>,
    /// What nothing is in.
    pub free: Option<u64>,
    /// What programs could get without swapping.
    pub available: Option<u64>,
    /// What files are in.
    pub caches: Option<u64>,
    /// How many milliseconds ago it said so.
    pub age: u64,
}

/// Result of `stop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// After how many seconds its power is cut.
    pub timeout: u32,
}

/// Result of `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What its vCPUs do.
    pub state: State,
    /// Whether it was asked to shut down.
    pub stopping: bool,
    /// What it is.
    #[serde(flatten)]
    pub facts: Facts,
}

/// What does not change while a machine runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The process that runs it.
    pub process: u32,
    /// Its accelerator.
    pub accel: String,
    /// Its CPU model.
    pub cpu: String,
    /// How many CPUs it has.
    pub cpus: u16,
    /// Its memory in bytes.
    pub memory: u64,
}

/// What the vCPUs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// They are being made ready.
    Starting,
    /// They run.
    Running,
    /// They stand still.
    Paused,
    /// They are no more; what the guest printed is being written out.
    Over,
}

impl Status {
    /// Of a machine that does like this.
    #[must_use]
    pub fn new(condition: Condition, facts: Facts) -> Self {
        let Condition { activity, stopping } = condition;
        let state = match activity {
            Activity::Starting => State::Starting,
            Activity::Running => State::Running,
            Activity::Paused => State::Paused,
            Activity::Over => State::Over,
        };
        Self {
            state,
            stopping,
            facts,
        }
    }
}

/// The answer to a request: a result or an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// That of the request; `None` where it could not be read.
    pub id: Option<u64>,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Said,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// What was asked for.
    Result(Value),
    /// Why not.
    Error(Fault),
}

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// For programs.
    pub code: Code,
    /// For people; one line.
    pub message: String,
}

/// Kinds of [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The line is too long. The connection ends.
    TooLong,
    /// The line is no request.
    BadRequest,
    /// There is no such method.
    UnknownMethod,
    /// The method does not take these parameters.
    BadParams,
    /// The machine has no such device.
    NoDevice,
    /// The machine is over.
    Over,
    /// The machine or its guest cannot do that, or not now.
    Refused,
    /// The host failed.
    HostFailed,
    /// What a later version says.
    #[serde(other)]
    Other,
}

/// What happens by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The machine is over. Nothing follows.
    Ended {
        /// For programs.
        how: End,
        /// For people; one line.
        message: String,
    },
    /// A guest's free memory went back to the host, as somebody asked. In bytes.
    Reclaimed {
        /// That of the answer to who asked.
        round: u32,
        /// What it named as free.
        named: u64,
        /// What of it went back: the guest may use free memory at any moment, and keeps that.
        returned: u64,
    },
    /// It did not.
    NotReclaimed {
        /// That of the answer to who asked.
        round: u32,
        /// Why.
        #[serde(flatten)]
        fault: Fault,
    },
}

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The guest powered off.
    PoweredOff,
    /// The guest reset, and was not to start again.
    Reset,
    /// Its user left.
    Left,
    /// The process got a signal.
    Signal,
    /// Its power was cut on request.
    Cut,
    /// It did not shut down in time, and its power was cut.
    StopTimedOut,
    /// The guest crashed.
    GuestFailed,
    /// The host failed.
    HostFailed,
    /// What a later version says.
    #[serde(other)]
    Other,
}

impl Event {
    /// What came of a reclaim.
    #[must_use]
    pub fn of_reclaim(round: u32, result: Result<Reclaimed, ReclaimError>) -> Self {
        match result {
            Ok(Reclaimed { named, returned }) => Self::Reclaimed {
                round,
                named,
                returned,
            },
            Err(error) => Self::NotReclaimed {
                round,
                fault: error.into(),
            },
        }
    }
}

impl From<ReclaimError> for Fault {
    fn from(error: ReclaimError) -> Self {
        let code = match error {
            ReclaimError::NoDriver
            | ReclaimError::NoHints
            | ReclaimError::NoLog
            | ReclaimError::StandsStill
            | ReclaimError::UnderWay
            | ReclaimError::TimedOut
            | ReclaimError::Reset
            | ReclaimError::Ended => Code::Refused,
            ReclaimError::Host(_) => Code::HostFailed,
        };
        fault(code, format!("balloon: {error}"))
    }
}

impl From<&Outcome> for Event {
    fn from(outcome: &Outcome) -> Self {
        let how = match outcome {
            Outcome::PoweredOff => End::PoweredOff,
            Outcome::ResetRefused => End::Reset,
            Outcome::Left => End::Left,
            Outcome::Signal(_) => End::Signal,
            Outcome::Cut => End::Cut,
            Outcome::StopTimedOut(_) => End::StopTimedOut,
            Outcome::GuestFailed { .. } => End::GuestFailed,
            Outcome::HostFailed(_) | Outcome::NotRestored(_) => End::HostFailed,
        };
        let message = outcome.to_string();
        Self::Ended { how, message }
    }
}

/// Reads a request; what is wrong with it comes with its number, if it has one.
///
/// # Errors
/// When it asks for nothing that there is.
pub fn read_request(line: &[u8]) -> Result<(u64, Command), (Option<u64>, Fault)> {
    let request: Request = serde_json::from_slice(line).map_err(|error| {
        // What is no request may have a number all the same.
        let id = serde_json::from_slice::<Value>(line).ok();
        let id = id.and_then(|value| value.get("id")?.as_u64());
        (id, fault(Code::BadRequest, format!("no request: {error}")))
    })?;
    let Request { id, method, params } = request;
    let command = match method.as_str() {
        "status" => parameters::<Nothing>(&method, params).map(|Nothing {}| Command::Status),
        "stop" => parameters(&method, params).map(Command::Stop),
        "balloon" => parameters(&method, params).map(Command::Balloon),
        _ => {
            // A name may be as long as a line.
            let method: String = method.chars().take(40).collect();
            let line = format!("unknown method '{method}'; choose from status, stop, balloon");
            Err(fault(Code::UnknownMethod, line))
        }
    };
    command
        .map(|command| (id, command))
        .map_err(|fault| (Some(id), fault))
}

/// No parameters.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn parameters<T: DeserializeOwned + Default>(method: &str, params: Value) -> Result<T, Fault> {
    if params.is_null() {
        return Ok(T::default());
    }
    let read = serde_json::from_value(params);
    read.map_err(|error| fault(Code::BadParams, format!("{method}: {error}")))
}

/// A fault with its message, which is one line, whatever a request brought along in a name that is
/// wrong.
#[must_use]
pub fn fault(code: Code, message: impl AsRef<str>) -> Fault {
    Fault {
        code,
        message: printable(message.as_ref()),
    }
}

/// A message as a line, with its end.
#[must_use]
pub fn to_line(message: &impl Serialize) -> String {
    // Messages hold numbers, texts and fields with names: there is nothing JSON cannot say.
    let mut line = serde_json::to_string(message).unwrap_or_default();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests;
