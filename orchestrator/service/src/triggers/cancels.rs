//! Asks sagas to cancel, as kept events say: each through the loop that drives it, as an operator's cancel goes there, whichever member that is.
//!
//! Guarantee: its id is derived from the saga, the trigger and the event, so that asking again, after whatever died, is the same; what a saga makes of it
//! is the engine's, and what came to nothing is written down with the event.

use std::collections::BTreeMap;

use baton_engine::{Input, Operator, Refusal, Role, Verdict};
use baton_messages::{Event, InputId, SagaId};
use baton_store::{Effect, EventRow, Settled, TriggerRef};
use futures::future::join_all;

use super::Shared;
use super::carrier::{INPUTS_MAX, Stopping, decided, refuse};

/// Asks every saga that these events are to cancel. Last of all they cause: what one of them has started is there by then.
pub(super) async fn cancel_sagas(
    shared: &Shared,
    rows: &[EventRow],
    settled: &mut BTreeMap<u64, Settled>,
) -> Result<(), Stopping> {
    let mut asked = Vec::new();
    for row in rows {
        for (place, effect) in row.effects.iter().enumerate() {
            if let Effect::AskedToCancel {
                of, saga, reason, ..
            } = effect
            {
                asked.push((row, place, *saga, asking(of, *saga, &row.event, reason)));
            }
        }
    }
    for some in asked.chunks(INPUTS_MAX) {
        let answers = some.iter().map(|(_, _, saga, operator)| {
            let input = Input::Cancel(operator.clone());
            decided(shared, *saga, input)
        });
        for ((row, place, saga, _), answer) in some.iter().zip(join_all(answers).await) {
            let verdict = answer?;
            if let Some(one) = settled.get_mut(&row.seq) {
                answered(one, *place, *saga, verdict);
            }
        }
    }
    Ok(())
}

/// Who asks, and why: the event in place of a person.
fn asking(of: &TriggerRef, saga: SagaId, event: &Event, reason: &str) -> Operator {
    Operator {
        id: InputId::of_cancel(saga, of.trigger, &event.source, &event.id),
        by: format!("event {}/{} of {}", event.kind, event.id, event.source),
        role: Role::Operator,
        reason: reason.to_owned(),
        seen: None,
    }
}

/// What a saga has said: where nothing came of it, the event keeps why. What may have to be asked again, once it is mended, is a refusal.
fn answered(one: &mut Settled, place: usize, saga: SagaId, verdict: Verdict) {
    let why = match verdict {
        Verdict::Applied | Verdict::Duplicate => return,
        Verdict::Ignored { why } => why,
        Verdict::Refused(
            refusal @ (Refusal::NoSaga | Refusal::Ended { .. } | Refusal::NotNow { .. }),
        ) => refusal.to_string(),
        Verdict::Refused(refusal) => {
            let error = format!("saga {saga} was not asked to cancel: {refusal}");
            return refuse(one, place, error);
        }
    };
    tracing::debug!(saga.id = %saga, %why, "an event was to cancel a saga, and nothing came of it");
    if let Some(effect) = one.effects.get_mut(place)
        && let Effect::AskedToCancel { of, key, .. } = effect
    {
        *effect = Effect::NothingToCancel {
            of: of.clone(),
            saga: Some(saga),
            key: key.clone(),
            why,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use uuid::Uuid;

    const SAGA: SagaId = SagaId(Uuid::from_u128(7));

    fn of() -> TriggerRef {
        TriggerRef {
            definition: "treat".to_owned(),
            version: 1,
            trigger: 1,
        }
    }

    fn effect() -> Effect {
        Effect::AskedToCancel {
            of: of(),
            saga: SAGA,
            key: "web-7".to_owned(),
            reason: "the alarm is over".to_owned(),
        }
    }

    fn after(verdict: Verdict) -> Effect {
        let mut one = Settled {
            seq: 1,
            effects: vec![effect()],
            released: Vec::new(),
        };
        answered(&mut one, 0, SAGA, verdict);
        one.effects.remove(0)
    }

    #[test]
    fn what_a_saga_did_stands_and_what_it_did_not_is_said() {
        assert_eq!(after(Verdict::Applied), effect());
        assert_eq!(after(Verdict::Duplicate), effect());
        let status = "completed";
        for refusal in [
            Refusal::NoSaga,
            Refusal::Ended { status },
            Refusal::NotNow {
                action: "cancel",
                why: "it is being taken back already".to_owned(),
            },
        ] {
            let said = refusal.to_string();
            let nothing = Effect::NothingToCancel {
                of: of(),
                saga: Some(SAGA),
                key: "web-7".to_owned(),
                why: said,
            };
            assert_eq!(after(Verdict::Refused(refusal)), nothing);
        }
        // it is there, and may be asked once it can be read: a dead letter keeps it
        let unreadable = after(Verdict::Refused(Refusal::Unreadable));
        assert!(
            matches!(&unreadable, Effect::Refused { error, .. } if error.contains("cannot be read")),
            "{unreadable:?}"
        );
    }

    #[test]
    fn the_same_event_asks_the_same_saga_under_the_same_id() {
        let event = |id: &str| -> Event {
            let event =
                json!({ "specversion": "1.0", "id": id, "source": "/watch", "type": "com.cpu" });
            serde_json::from_value(event).unwrap()
        };
        let ask = |id: &str| asking(&of(), SAGA, &event(id), "the alarm is over");
        assert_eq!(ask("e1"), ask("e1"));
        assert_ne!(ask("e1").id, ask("e2").id);
        assert_eq!(ask("e1").by, "event com.cpu/e1 of /watch");
        assert_eq!(ask("e1").reason, "the alarm is over");
    }
}
