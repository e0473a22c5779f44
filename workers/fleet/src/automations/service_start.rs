//! `service.start@1`: starts a service of the allow-list, and sees it up.
//!
//! How it was found is stored before it is touched; undo restores that, and leaves alone what stands otherwise.

use baton_worker::{Asked, Automation, Context, Done, Effect, Probe, TaskError};

use super::service::{
    ServiceInput, ServiceOutput, Services, State, before_of, before_value, somebody_else,
};

/// Starts services.
#[derive(Debug, Clone)]
pub struct ServiceStart {
    services: Services,
}

impl ServiceStart {
    /// Those of this list.
    #[must_use]
    pub const fn of(services: Services) -> Self {
        Self { services }
    }
}

impl Automation for ServiceStart {
    const TYPE: &'static str = "service.start@1";
    const SUMMARY: &'static str = "Starts a service";
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
        let was_running = matches!(before, State::Running { .. });
        if let State::Running { .. } = &found {
            return Ok(service.output(&found, !was_running));
        }
        let up = service.start(context).await?;
        Ok(service.output(&up, !was_running))
    }

    async fn undo(&self, context: &Context, done: Done<Self>) -> Result<(), TaskError> {
        let Some(stored) = done.before else {
            return Ok(());
        };
        let before = before_of(&stored)?;
        // It ran before: whatever it does now, this step did not do it.
        if let State::Running { .. } = before {
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
            State::Running { .. } => {
                let changed = !matches!(before, State::Running { .. });
                Probe::Happened(service.output(&found, changed))
            }
            found if found == before => Probe::DidNot,
            found => Probe::CannotTell(somebody_else(&asked.input.service, &found).to_string()),
        })
    }
}
