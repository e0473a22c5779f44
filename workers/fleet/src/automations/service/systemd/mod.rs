//! systemd, over D-Bus: a unit is started, stopped or restarted by a job, and the job's end is waited for, which the manager signals
//! (`JobRemoved`); the signal is asked for before the job is. How the unit stands is read from its properties.
//!
//! A connection of its own for each thing done: one that was cut in between is nobody's trouble.

mod dbus;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_worker::{Context, TaskError};
use futures::StreamExt as _;
use zbus::address::Address;
use zbus::address::transport::{Transport, Unix, UnixSocket};
use zbus::fdo::PropertiesProxy;
use zbus::names::InterfaceName;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, connection};

use super::State;
use crate::config::ServiceConfig;
use dbus::{Call, JobRemovedStream, ManagerProxy, is_no_such_unit, refused};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const UNIT: InterfaceName<'static> =
    InterfaceName::from_static_str_unchecked("org.freedesktop.systemd1.Unit");
const SERVICE: InterfaceName<'static> =
    InterfaceName::from_static_str_unchecked("org.freedesktop.systemd1.Service");
/// A job that contradicts one already under way takes its place.
const MODE: &str = "replace";
/// How long a job may take longer than the service.
const AIR: Duration = Duration::from_secs(3);
/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// One unit.
#[derive(Debug)]
pub(super) struct Systemd {
    unit: String,
    bus: Bus,
}

/// Where its manager is reached.
#[derive(Debug)]
enum Bus {
    /// The bus of the system.
    System,
    /// This one.
    At(Address),
}

/// What a manager may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Start,
    Stop,
    Restart,
}

/// A unit as its properties tell.
struct Unit {
    state: State,
    /// The state below the state: `auto-restart`, `start-pre`.
    sub_state: String,
    path: OwnedObjectPath,
}

impl Systemd {
    pub(super) fn new(config: &ServiceConfig, name: &str) -> Result<Self, String> {
        let bus = match config.at.as_deref() {
            None | Some("system") => Bus::System,
            Some("user") => {
                let uid = rustix::process::geteuid().as_raw();
                Bus::of_folder(Path::new(&format!("/run/user/{uid}")))
            }
            Some(folder) if Path::new(folder).is_absolute() => Bus::of_folder(Path::new(folder)),
            Some(at) if at.contains(':') => {
                let address = at.parse::<Address>();
                Bus::At(
                    address
                        .map_err(|error| format!("at: `{at}` is no address of a bus: {error}"))?,
                )
            }
            Some(at) => {
                return Err(format!(
                    "at: `{at}` is neither system nor user, nor the runtime folder of a user's manager, nor the address of a bus such as unix:path=/run/bus"
                ));
            }
        };
        let unit = if name.contains('.') {
            name.to_owned()
        } else {
            format!("{name}.service")
        };
        if unit.starts_with('-') || unit.chars().any(|c| c.is_whitespace() || "*?[".contains(c)) {
            return Err(format!("`{unit}` is no name of one unit"));
        }
        Ok(Self { unit, bus })
    }

    pub(super) async fn state(&self) -> Result<State, TaskError> {
        let connection = self.connect().await?;
        Ok(self.look(&connection).await?.state)
    }

    pub(super) async fn start(&self, context: &Context, wait: Duration) -> Result<(), TaskError> {
        let connection = self.connect().await?;
        // What failed too often is not started any more until that is forgotten.
        let forgot = self.forget_failure(&connection).await?;
        let told = self.tell(context, &connection, Verb::Start, wait).await;
        told.map_err(|error| after_a_change(error, forgot))
    }

    pub(super) async fn stop(&self, context: &Context, wait: Duration) -> Result<(), TaskError> {
        let connection = self.connect().await?;
        self.tell(context, &connection, Verb::Stop, wait).await?;
        // Stopped is stopped, even if it did not want to.
        let forgot = self.forget_failure(&connection).await;
        forgot.map_err(|error| after_a_change(error, true))?;
        Ok(())
    }

    pub(super) async fn restart(&self, context: &Context, wait: Duration) -> Result<(), TaskError> {
        let connection = self.connect().await?;
        self.tell(context, &connection, Verb::Restart, wait).await
    }

    async fn connect(&self) -> Result<Connection, TaskError> {
        let builder = match &self.bus {
            Bus::System => connection::Builder::system(),
            Bus::At(address) => connection::Builder::address(address.clone()),
        };
        let built = builder.method_timeout(ANSWER_LIMIT).build();
        let unreachable = |why: String| {
            let bus = &self.bus;
            TaskError::failed(
                "systemd-unreachable",
                format!("{bus} cannot be reached: {why}"),
            )
            .retryable()
        };
        match tokio::time::timeout(ANSWER_LIMIT, built).await {
            Ok(connected) => connected.map_err(|error| unreachable(error.to_string())),
            Err(_) => Err(unreachable("it does not answer".to_owned())),
        }
    }

    async fn manager(&self, connection: &Connection) -> Result<ManagerProxy<'static>, TaskError> {
        let manager = ManagerProxy::new(connection).await;
        manager.map_err(|error| self.refused(&error, "look at", Call::Looks))
    }

    /// The unit, loaded if it was not: what was never started stands there as well.
    async fn look(&self, connection: &Connection) -> Result<Unit, TaskError> {
        let looking = |error: zbus::Error| self.refused(&error, "look at", Call::Looks);
        let manager = self.manager(connection).await?;
        let path = manager.load_unit(&self.unit).await.map_err(looking)?;
        let properties = properties(connection, &path).await.map_err(looking)?;
        // All of them in one answer: which run it is belongs to the state it is said with.
        let all = properties.get_all(UNIT).await;
        let all = all.map_err(|error| looking(error.into()))?;
        if let Some(why) = self.not_usable(&all) {
            return Err(why);
        }
        let mut instance = invocation(&all);
        if instance.is_empty() {
            instance = process_of(&properties).await;
        }
        let active = text(&all, "ActiveState");
        let state = state_of(&active, instance).ok_or_else(|| {
            let why = format!("{} is `{active}`, which nobody knows here", self.unit);
            TaskError::failed("service-unknown", why)
        })?;
        Ok(Unit {
            state,
            sub_state: text(&all, "SubState"),
            path,
        })
    }

    /// Why a unit cannot be started or stopped at all.
    fn not_usable(&self, all: &HashMap<String, OwnedVariant>) -> Option<TaskError> {
        let unit = &self.unit;
        match text(all, "LoadState").as_str() {
            "loaded" => None,
            "not-found" => Some(
                TaskError::failed("service-unknown", format!("systemd has no unit {unit}"))
                    .retryable(),
            ),
            "masked" => Some(TaskError::failed(
                "service-masked",
                format!("{unit} is masked; systemctl unmask {unit}"),
            )),
            other => Some(TaskError::failed(
                "service-misconfigured",
                format!("{unit} cannot be loaded ({other}); systemctl status {unit} says why"),
            )),
        }
    }

    /// Has systemd forget that the unit failed; true when it had, and there was something to forget.
    async fn forget_failure(&self, connection: &Connection) -> Result<bool, TaskError> {
        if !matches!(self.look(connection).await?.state, State::Failing) {
            return Ok(false);
        }
        let manager = self.manager(connection).await?;
        match manager.reset_failed_unit(&self.unit).await {
            Ok(()) => Ok(true),
            Err(error) if is_no_such_unit(&error) => Ok(false),
            Err(error) => Err(self.refused(&error, "forget the failure of", Call::Changes)),
        }
    }

    /// Has systemd do it, and waits until the job is over.
    async fn tell(
        &self,
        context: &Context,
        connection: &Connection,
        verb: Verb,
        wait: Duration,
    ) -> Result<(), TaskError> {
        let asked = verb.word();
        let manager = self.manager(connection).await?;
        let looking = |error: zbus::Error| self.refused(&error, asked, Call::Looks);
        manager.subscribe().await.map_err(looking)?;
        let mut over = manager.receive_job_removed().await.map_err(looking)?;
        if !context.still_allowed() {
            let why = "its time or its lease is over, or it was cancelled: systemd was not told";
            return Err(TaskError::failed("no-longer-allowed", why).retryable());
        }
        let job = match verb {
            Verb::Start => manager.start_unit(&self.unit, MODE).await,
            Verb::Stop => manager.stop_unit(&self.unit, MODE).await,
            Verb::Restart => manager.restart_unit(&self.unit, MODE).await,
        };
        let job = job.map_err(|error| self.refused(&error, asked, Call::Changes))?;
        let result = tokio::select! {
            result = result_of(&mut over, &job) => result,
            () = context.cancelled().cancelled() => {
                return Err(self.unknown("stopped", format!("its job to {asked} it goes on, and nobody waits for it")));
            }
            () = tokio::time::sleep(wait + AIR) => {
                return Err(self.unknown("service-did-not", format!("its job to {asked} it is not over after {} ms", wait.as_millis())));
            }
        };
        match result.as_deref() {
            Some("done" | "skipped") => Ok(()),
            Some(other) => {
                let stands = self.how_it_stands(connection).await;
                Err(self.unknown(
                    "service-did-not",
                    format!("its job to {asked} it ended as `{other}`{stands}"),
                ))
            }
            None => Err(self.unknown(
                "systemd-unreachable",
                format!("the bus was lost while it was told to {asked}"),
            )),
        }
    }

    /// For a message: the state, and what the process ended with.
    async fn how_it_stands(&self, connection: &Connection) -> String {
        let Ok(unit) = self.look(connection).await else {
            return String::new();
        };
        let mut stands = format!("; it is {} ({})", unit.state, unit.sub_state);
        let Ok(properties) = properties(connection, &unit.path).await else {
            return stands;
        };
        let result = properties.get(SERVICE, "Result").await;
        if let Some(result) = result.ok().and_then(|value| String::try_from(value).ok()) {
            let status = properties.get(SERVICE, "ExecMainStatus").await;
            let status = status.ok().and_then(|value| i32::try_from(value).ok());
            // 0 also where it never ran
            let status = status.filter(|status| *status != 0);
            let status = status.map_or_else(String::new, |status| format!(", status {status}"));
            stands.push_str(&format!(", {result}{status}"));
        }
        stands
    }

    fn refused(&self, error: &zbus::Error, asked: &str, call: Call) -> TaskError {
        refused(error, &self.unit, asked, call)
    }

    fn unknown(&self, code: &str, why: String) -> TaskError {
        TaskError::unknown(code, format!("{}: {why}", self.unit))
    }
}

impl Bus {
    /// The bus of a user's manager, by its runtime folder.
    fn of_folder(folder: &Path) -> Self {
        let socket: PathBuf = folder.join("bus");
        Self::At(Transport::Unix(Unix::new(UnixSocket::File(socket))).into())
    }
}

impl std::fmt::Display for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::System => f.write_str("the bus of the system"),
            Self::At(address) => write!(f, "the bus at {address}"),
        }
    }
}

impl Verb {
    const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}

/// Something was done before this went wrong: whatever it says, it is not known to have changed nothing.
fn after_a_change(error: TaskError, changed: bool) -> TaskError {
    if changed {
        TaskError::unknown(error.code(), error.to_string())
    } else {
        error
    }
}

/// How the job ended; none when the bus was lost.
async fn result_of(over: &mut JobRemovedStream, job: &OwnedObjectPath) -> Option<String> {
    while let Some(signal) = over.next().await {
        if let Ok(args) = signal.args()
            && args.job() == &**job
        {
            return Some((*args.result()).to_owned());
        }
    }
    None
}

async fn properties(
    connection: &Connection,
    path: &OwnedObjectPath,
) -> zbus::Result<PropertiesProxy<'static>> {
    let builder = PropertiesProxy::builder(connection).destination(SYSTEMD);
    builder.path(path.clone()).build().await
}

fn text(all: &HashMap<String, OwnedVariant>, name: &str) -> String {
    let value = all.get(name);
    value
        .and_then(|value| <&str>::try_from(value).ok())
        .unwrap_or_default()
        .to_owned()
}

/// Which run of the unit this is: systemd gives each an id of its own.
fn invocation(all: &HashMap<String, OwnedVariant>) -> String {
    let value = all.get("InvocationID").cloned();
    let bytes = value.and_then(|value| Vec::<u8>::try_from(value).ok());
    let bytes = bytes.unwrap_or_default();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same for a unit without such an id: its process, with when that began, since a number alone may be given to another one.
async fn process_of(properties: &PropertiesProxy<'_>) -> String {
    let pid = properties.get(SERVICE, "MainPID").await;
    let pid = pid.ok().and_then(|value| u32::try_from(value).ok());
    let began = properties
        .get(SERVICE, "ExecMainStartTimestampMonotonic")
        .await;
    let began = began.ok().and_then(|value| u64::try_from(value).ok());
    format!("{}.{}", pid.unwrap_or(0), began.unwrap_or(0))
}

fn state_of(active: &str, instance: String) -> Option<State> {
    match active {
        "active" | "reloading" | "refreshing" => Some(State::Running { instance }),
        "inactive" => Some(State::Stopped),
        "failed" | "activating" | "deactivating" | "maintenance" => Some(State::Failing),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_a_unit_is_understood() {
        let of = |active: &str| state_of(active, "abc".to_owned());
        let instance = "abc".to_owned();
        assert_eq!(of("active"), Some(State::Running { instance }));
        assert_eq!(of("inactive"), Some(State::Stopped));
        assert_eq!(of("activating"), Some(State::Failing));
        assert_eq!(of("failed"), Some(State::Failing));
        assert_eq!(of("of-a-later-version"), None);
    }
}
