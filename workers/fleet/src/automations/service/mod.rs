//! Services and who looks after them: one face for runit, supervisor and systemd. A service is asked how it stands, told to start or to stop,
//! and believed only when it stands as it was told to.

mod runit;
mod state;
mod supervisor;
mod systemd;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_worker::{Context, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{ServiceConfig, ServiceDriver};
use crate::process::Processes;
use runit::Runit;
pub(crate) use state::{State, before_of, before_value, somebody_else};
use supervisor::Supervisor;
use systemd::Systemd;

/// A service that is up has to stay up as long as this to count as started: one that dies at once is not.
const STEADY: Duration = Duration::from_millis(1_200);

/// After how long a service that has not heard yet is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What is wrong with an entry.
#[derive(Debug, thiserror::Error)]
#[error("[services.{name}]: {why}")]
pub struct ServiceError {
    name: String,
    why: String,
}

/// The services a worker may touch: made ready once, shared by all that touch them.
#[derive(Debug, Clone, Default)]
pub struct Services(Arc<BTreeMap<String, Service>>);

/// One of them.
#[derive(Debug)]
pub(crate) struct Service {
    name: String,
    wait: Duration,
    driver: Driver,
}

#[derive(Debug)]
enum Driver {
    Runit(Runit),
    Supervisor(Supervisor),
    Systemd(Systemd),
}

/// Which service.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceInput {
    /// The name of a service of the worker's allow-list, `[services.NAME]` in its configuration.
    #[schemars(length(min = 1, max = 128), extend("x-target" = true))]
    pub service: String,
}

/// How the service stands now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceOutput {
    /// The service.
    pub service: String,
    /// Whether it runs.
    pub running: bool,
    /// Which run of it: its process, or its invocation. Another one after a restart.
    pub instance: Option<String>,
    /// Whether it stood otherwise before.
    pub changed: bool,
}

impl Services {
    /// Those the configuration names.
    ///
    /// # Errors
    /// [`ServiceError`] with the entry at fault.
    pub fn new(
        config: &BTreeMap<String, ServiceConfig>,
        processes: &Processes,
    ) -> Result<Self, ServiceError> {
        let mut all = BTreeMap::new();
        for (name, entry) in config {
            let refused = |why| ServiceError {
                name: name.clone(),
                why,
            };
            let called = entry.name.clone().unwrap_or_else(|| name.clone());
            let processes = processes.clone();
            let driver = match entry.driver {
                ServiceDriver::Runit => Runit::new(entry, &called, processes).map(Driver::Runit),
                ServiceDriver::Supervisor => {
                    Supervisor::new(entry, &called, processes).map(Driver::Supervisor)
                }
                ServiceDriver::Systemd => Systemd::new(entry, &called).map(Driver::Systemd),
            };
            let service = Service {
                name: name.clone(),
                wait: Duration::from_millis(entry.wait_ms),
                driver: driver.map_err(refused)?,
            };
            all.insert(name.clone(), service);
        }
        Ok(Self(Arc::new(all)))
    }

    /// The service of that name.
    pub(crate) fn get(&self, name: &str) -> Result<&Service, TaskError> {
        self.0.get(name).ok_or_else(|| {
            let known = self.0.keys().map(String::as_str).collect::<Vec<_>>();
            TaskError::failed(
                "not-allowed",
                format!(
                    "this worker may not touch a service `{name}`; it may touch {}",
                    known.join(", ")
                ),
            )
        })
    }
}

impl Service {
    /// How it stands. Looking changes nothing, so what fails here is failed.
    pub(crate) async fn state(&self, context: &Context) -> Result<State, TaskError> {
        match &self.driver {
            Driver::Runit(runit) => runit.state(context).await,
            Driver::Supervisor(supervisor) => supervisor.state(context).await,
            Driver::Systemd(systemd) => systemd.state().await,
        }
    }

    /// Starts it and sees it up, for longer than a moment.
    pub(crate) async fn start(&self, context: &Context) -> Result<State, TaskError> {
        match &self.driver {
            Driver::Runit(runit) => runit.start(context, self.wait).await?,
            Driver::Supervisor(supervisor) => supervisor.start(context, self.wait).await?,
            Driver::Systemd(systemd) => systemd.start(context, self.wait).await?,
        }
        self.seen_up(context).await
    }

    /// It is up, and stays up for longer than a moment.
    async fn seen_up(&self, context: &Context) -> Result<State, TaskError> {
        let up = self.state_after(context).await?;
        if !matches!(up, State::Running { .. }) {
            return Err(self.did_not("start", &up));
        }
        tokio::time::sleep(STEADY).await;
        let still = self.state_after(context).await?;
        if still == up {
            Ok(up)
        } else {
            Err(self.did_not("stay up", &still))
        }
    }

    /// Stops it and sees it down.
    pub(crate) async fn stop(&self, context: &Context) -> Result<State, TaskError> {
        match &self.driver {
            Driver::Runit(runit) => runit.stop(context, self.wait).await?,
            Driver::Supervisor(supervisor) => supervisor.stop(context, self.wait).await?,
            Driver::Systemd(systemd) => systemd.stop(context, self.wait).await?,
        }
        let until = Instant::now() + self.wait;
        loop {
            match self.state_after(context).await? {
                State::Stopped => return Ok(State::Stopped),
                other if Instant::now() >= until => return Err(self.did_not("stop", &other)),
                // One that fails again and again hears it only between two tries; nobody tells us when it has.
                State::Running { .. } | State::Failing => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// Stops it if it runs, and starts it: another run of it is there afterwards.
    pub(crate) async fn restart(&self, context: &Context) -> Result<State, TaskError> {
        match &self.driver {
            Driver::Systemd(systemd) => {
                systemd.restart(context, self.wait).await?;
                self.seen_up(context).await
            }
            // `sv restart` is satisfied with the old process when that is younger than a second; supervisor does the same two things.
            Driver::Runit(_) | Driver::Supervisor(_) => {
                self.stop(context).await?;
                self.start(context).await
            }
        }
    }

    /// Puts it back to how it was found.
    pub(crate) async fn restore(
        &self,
        context: &Context,
        before: &State,
        found: &State,
    ) -> Result<(), TaskError> {
        match (before, found) {
            (State::Running { .. }, State::Running { .. })
            | (State::Stopped, State::Stopped)
            // It should have run, and did not: there is nothing worth going back to.
            | (State::Failing, _) => Ok(()),
            (State::Running { .. }, State::Stopped | State::Failing) => {
                self.start(context).await.map(|_| ())
            }
            (State::Stopped, State::Running { .. } | State::Failing) => {
                self.stop(context).await.map(|_| ())
            }
        }
    }

    pub(crate) fn output(&self, state: &State, changed: bool) -> ServiceOutput {
        let instance = match state {
            State::Running { instance } => Some(instance.clone()),
            State::Stopped | State::Failing => None,
        };
        ServiceOutput {
            service: self.name.clone(),
            running: instance.is_some(),
            instance,
            changed,
        }
    }

    /// As [`Self::state`], but after it was told something: that is done, whether or not it can be seen.
    async fn state_after(&self, context: &Context) -> Result<State, TaskError> {
        self.state(context).await.map_err(|error| {
            TaskError::unknown(
                error.code(),
                format!(
                    "{} was told, and cannot be asked any more: {error}",
                    self.name
                ),
            )
        })
    }

    fn did_not(&self, what: &str, found: &State) -> TaskError {
        TaskError::unknown(
            "service-did-not",
            format!(
                "{} did not {what} within {} ms: it is {found}",
                self.name,
                self.wait.as_millis()
            ),
        )
    }
}
