//! `EventArrived`: an event of a type a step waits for. The step takes it when its `when` is true; otherwise nothing has happened, and
//! nothing is recorded, since any number of events may pass by.

use baton_messages::{Event, InputId, SagaId, StepId, Timestamp};
use serde_json::{Value, json};

use super::{Deciding, Handled, Refusal, Verdict};
use crate::definition::{StepKind, TRIGGERS_MAX};
use crate::expr::{Expr, Scope};
use crate::record::Record;
use crate::state::{Phase, SagaState};
use crate::trigger::EventScope;

pub(super) fn event_arrived(
    d: &mut Deciding<'_>,
    id: InputId,
    step: &StepId,
    event: &Event,
    received_at: Timestamp,
) -> Handled {
    if d.state.applied.contains(&id) {
        return Ok(Verdict::Duplicate);
    }
    let Some(state) = d.state.step(step) else {
        return Ok(Verdict::Refused(Refusal::NoSuch {
            what: format!("step {step}"),
        }));
    };
    let ignored = |why: &str| {
        Ok(Verdict::Ignored {
            why: why.to_owned(),
        })
    };
    let Some(listens) = state.listens.as_ref().filter(|_| d.state.active()) else {
        return ignored("the step waits for no event, or no more");
    };
    if !listens.event.fits(&event.kind) {
        return ignored("the step waits for events of another type");
    }
    if received_at < listens.since {
        return ignored("it was received before the saga had begun to look");
    }
    let StepKind::Wait(wait) = &d.defined(&step.into())?.kind else {
        return ignored("the step is no wait");
    };
    if received_at.plus_ms(wait.since_ms) < d.state.started_at && has_started(event, d.state) {
        return ignored("it is the event that started the saga");
    }
    if let Some(when) = &wait.when
        && let Err(why) = holds(when, d.state, event)
    {
        return Ok(Verdict::Ignored { why });
    }
    d.emit(Record::Applied {
        id,
        action: "event".into(),
        by: event.source.clone(),
        reason: format!("{} {}", event.kind, event.id),
    })?;
    let output = json!({
        "id": event.id, "source": event.source, "type": event.kind, "subject": event.subject,
        "time": event.time, "data": event.data,
    });
    d.move_to(&step.into(), Phase::Succeeded, None, Some(output), None)?;
    Ok(Verdict::Applied)
}

/// Whether a trigger started the saga for this event: it is older than its saga by a moment, which looks like the clocks of two orchestrators.
fn has_started(event: &Event, state: &SagaState) -> bool {
    (0u32..).take(TRIGGERS_MAX).any(|trigger| {
        SagaId::of_event(&state.definition, trigger, &event.source, &event.id) == state.id
    })
}

/// Whether `when` is true for this event; why not, otherwise.
fn holds(when: &Expr, state: &SagaState, event: &Event) -> Result<(), String> {
    let event = EventScope::new(event);
    match when.eval(&Both { state, event }) {
        Ok(Value::Bool(true)) => Ok(()),
        Ok(Value::Bool(false)) => Err("`when` is false".to_owned()),
        Ok(_) => Err("`when` gives neither true nor false".to_owned()),
        Err(error) => Err(format!("`when`: {error}")),
    }
}

struct Both<'a> {
    state: &'a SagaState,
    event: EventScope,
}

impl Scope for Both<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.event.get(name).or_else(|| self.state.get(name))
    }
}
