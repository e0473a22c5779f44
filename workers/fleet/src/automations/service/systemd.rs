//! systemd, by its own `systemctl`, which asks the manager over D-Bus and waits until the job is done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_worker::{Context, TaskError};

use super::State;
use crate::config::ServiceConfig;
use crate::process::{Changes, Ended, Processes, Run};

/// What `systemctl` may take longer than the service.
const AIR: Duration = Duration::from_secs(3);
/// How long looking may take.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// One unit.
#[derive(Debug)]
pub(super) struct Systemd {
    unit: String,
    /// The runtime folder of the user whose manager it is; the system's manager when absent.
    user_folder: Option<PathBuf>,
    processes: Processes,
}

impl Systemd {
    pub(super) fn new(
        config: &ServiceConfig,
        name: &str,
        processes: Processes,
    ) -> Result<Self, String> {
        let user_folder = match config.at.as_deref() {
            None | Some("system") => None,
            Some("user") => {
                let uid = rustix::process::geteuid().as_raw();
                Some(PathBuf::from(format!("/run/user/{uid}")))
            }
            Some(folder) if Path::new(folder).is_absolute() => Some(PathBuf::from(folder)),
            Some(at) => {
                return Err(format!(
                    "at: `{at}` is neither system nor user, nor the runtime folder of a user's manager"
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
        Ok(Self {
            unit,
            user_folder,
            processes,
        })
    }

    pub(super) async fn state(&self, context: &Context) -> Result<State, TaskError> {
        let properties = "--property=LoadState,ActiveState,SubState,InvocationID";
        let run = self.ctl().args(["show", properties, "--"]).arg(&self.unit);
        let run = run.timeout(LOOK_LIMIT);
        let ended = self.processes.run(context, run).await;
        let ended = ended.map_err(|error| error.into_task_error(Changes::Nothing))?;
        let found = ended.success().then(|| parse(&ended.stdout.text)).flatten();
        found.ok_or_else(|| {
            let said = ended.complaint("systemctl show");
            TaskError::failed(
                "service-unknown",
                format!("{} is not there; {said}", self.unit),
            )
            .retryable()
        })
    }

    pub(super) async fn start(&self, context: &Context, wait: Duration) -> Result<(), TaskError> {
        // What failed too often is not started any more until that is forgotten. One that never failed has nothing to forget.
        self.tell(context, "reset-failed", wait).await?;
        self.tell(context, "start", wait).await.map(|_| ())
    }

    pub(super) async fn stop(&self, context: &Context, wait: Duration) -> Result<(), TaskError> {
        self.tell(context, "stop", wait).await?;
        // Stopped is stopped, even if it did not want to.
        self.tell(context, "reset-failed", wait).await.map(|_| ())
    }

    pub(super) async fn restart(&self, context: &Context, wait: Duration) -> Result<(), TaskError> {
        self.tell(context, "restart", wait).await.map(|_| ())
    }

    /// Tells it, and waits until the job is done. How the unit stands then is what counts, whatever the code.
    async fn tell(
        &self,
        context: &Context,
        word: &str,
        wait: Duration,
    ) -> Result<Ended, TaskError> {
        let run = self
            .ctl()
            .args(["--job-mode=replace", word, "--"])
            .arg(&self.unit);
        let ended = self.processes.run(context, run.timeout(wait + AIR)).await;
        ended.map_err(|error| error.into_task_error(Changes::Something))
    }

    fn ctl(&self) -> Run {
        let run = Run::new("systemctl").args(["--no-pager", "--no-ask-password"]);
        let run = run.env("SYSTEMD_COLORS", "0").keep_nothing();
        match &self.user_folder {
            None => run,
            // Over the user's bus, not the manager's private socket: that one wants to see the caller's process, which it cannot from
            // another namespace.
            Some(folder) => {
                let bus = format!("unix:path={}", folder.join("bus").display());
                run.arg("--user").env("DBUS_SESSION_BUS_ADDRESS", bus)
            }
        }
    }
}

/// Reads what `systemctl show` says.
fn parse(text: &str) -> Option<State> {
    let properties: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let of = |name: &str| properties.get(name).copied().unwrap_or_default();
    if of("LoadState") != "loaded" {
        return None;
    }
    match of("ActiveState") {
        "active" | "reloading" => Some(State::Running {
            instance: of("InvocationID").to_owned(),
        }),
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
        let of = |active: &str| {
            parse(&format!(
                "LoadState=loaded\nActiveState={active}\nSubState=x\nInvocationID=abc\n"
            ))
        };
        let instance = "abc".to_owned();
        assert_eq!(of("active"), Some(State::Running { instance }));
        assert_eq!(of("inactive"), Some(State::Stopped));
        assert_eq!(of("activating"), Some(State::Failing));
        assert_eq!(of("failed"), Some(State::Failing));
        assert_eq!(parse("LoadState=not-found\nActiveState=inactive\n"), None);
        assert_eq!(parse(""), None);
    }
}
