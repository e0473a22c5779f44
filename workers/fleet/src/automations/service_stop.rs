//! `service.stop@1`: stops a service of the allow-list, and sees it down.
//!
//! How it was found is stored before it is touched; undo restores that, and leaves alone what stands otherwise.

use baton_worker::{Asked, Automation, Context, Done, Effect, Probe, TaskError};

use super::service::{
    ServiceInput, ServiceOutput, Services, State, before_of, before_value, somebody_else,
};

/// Stops services.
#[derive(Debug, Clone)]
pub struct ServiceStop {
    services: Services,
}

impl ServiceStop {
    /// Those of this list.
    #[must_use]
    pub const fn of(services: Services) -> Self {
        Self { services }
    }
}

impl Automation for ServiceStop {
    const TYPE: &'static str = "service.stop@1";
    const SUMMARY: &'static str = "Stops a service";
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
        let changed = before_of(&stored)? != State::Stopped;
        if found == State::Stopped {
            return Ok(service.output(&found, changed));
        }
        let down = service.stop(context).await?;
        Ok(service.output(&down, changed))
    }

    async fn undo(&self, context: &Context, done: Done<Self>) -> Result<(), TaskError> {
        let Some(stored) = done.before else {
            return Ok(());
        };
        let before = before_of(&stored)?;
        // It did not run before: whatever it does now, this step did not do it.
        if before == State::Stopped {
            return Ok(());
        }
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
        Ok(match found {
            State::Stopped => Probe::Happened(service.output(&found, before != State::Stopped)),
            // Another run of it as well: nobody stopped it for good.
            State::Running { .. } => Probe::DidNot,
            State::Failing if before == State::Failing => Probe::DidNot,
            State::Failing => {
                Probe::CannotTell(somebody_else(&asked.input.service, &found).to_string())
            }
        })
    }
}
