//! `service.restart@1`: restarts a service of the allow-list, or starts it when it does not run; another run of it is up afterwards.
//!
//! How it was found is stored before it is touched, and undo restores that: a service that did not run is stopped again, one that ran runs. It
//! is not restarted once more then, for in a saga that unwinds, what it reads is put back only after this: where a server has to read its old
//! files again, the step that changes them brings a restart as its undo.

use baton_worker::{Asked, Automation, Context, Done, Effect, Probe, TaskError};

use super::service::{ServiceInput, ServiceOutput, Services, State, before_of, before_value};

/// Restarts services.
#[derive(Debug, Clone)]
pub struct ServiceRestart {
    services: Services,
}

impl ServiceRestart {
    /// Those of this list.
    #[must_use]
    pub const fn of(services: Services) -> Self {
        Self { services }
    }
}

impl Automation for ServiceRestart {
    const TYPE: &'static str = "service.restart@1";
    const SUMMARY: &'static str = "Restarts a service, or starts it when it does not run";
    const EFFECT: Effect = Effect::Reversible;
    const IDEMPOTENT: bool = true;
    const BEFORE_IMAGE: bool = true;
    const HAS_UNDO: bool = true;
    const HAS_PROBE: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = 60_000;
    const NEEDS: &'static [&'static str] = &["services it may touch, set as [services.NAME]"];
    type Input = ServiceInput;
    type Output = ServiceOutput;

    fn examples() -> Vec<ServiceInput> {
        vec![ServiceInput {
            service: "web".to_owned(),
        }]
    }

    async fn run(
        &self,
        context: &Context,
        input: ServiceInput,
    ) -> Result<ServiceOutput, TaskError> {
        let service = self.services.get(&input.service)?;
        let found = service.state(context).await?;
        let stored = context.checkpoint_before(before_value(&found)?).await?;
        let before = before_of(&stored)?;
        // Another run than the one first found: an earlier attempt has restarted it.
        if matches!(found, State::Running { .. }) && found != before {
            return Ok(service.output(&found, true));
        }
        let up = match found {
            State::Running { .. } => service.restart(context).await?,
            State::Stopped | State::Failing => service.start(context).await?,
        };
        Ok(service.output(&up, true))
    }

    async fn undo(&self, context: &Context, done: Done<Self>) -> Result<(), TaskError> {
        let Some(stored) = done.before else {
            return Ok(());
        };
        let before = before_of(&stored)?;
        let service = self.services.get(&done.input.service)?;
        let found = service.state(context).await?;
        service.restore(context, &before, &found).await
    }

    async fn probe(
        &self,
        context: &Context,
        asked: Asked<Self>,
    ) -> Result<Probe<ServiceOutput>, TaskError> {
        let Some(stored) = asked.before else {
            return Ok(Probe::DidNot);
        };
        let before = before_of(&stored)?;
        let service = self.services.get(&asked.input.service)?;
        let found = service.state(context).await?;
        Ok(match &found {
            State::Running { .. } if found != before => {
                Probe::Happened(service.output(&found, true))
            }
            _ if found == before => Probe::DidNot,
            other => Probe::CannotTell(format!(
                "{} is {other}: a restart may be half done",
                asked.input.service
            )),
        })
    }
}
