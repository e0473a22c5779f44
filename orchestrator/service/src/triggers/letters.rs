//! Dead letters of triggers: what a trigger could not use is kept whole, with the reason naming definition and trigger. Its id is derived,
//! so that the same refusal is one letter however often it is found.

use std::collections::BTreeMap;

use baton_driver::DeadLetterRow;
use baton_messages::{DeadReason, Event, dead, topology};
use baton_store::{Effect, EventRow, Settled, TriggerRef};
use serde_json::json;
use uuid::Uuid;

use super::Shared;
use super::carrier::Stopping;
use super::mended::is_mended;
use crate::clock;
use crate::hot::mail::Letter;
use crate::masks;

/// Keeps a letter for each effect that was refused.
pub(super) async fn keep_refused(
    shared: &Shared,
    rows: &[EventRow],
    settled: &BTreeMap<u64, Settled>,
) -> Result<(), Stopping> {
    let mut letters: Vec<Letter> = Vec::new();
    // of a mended one its own letter says what came of it
    for row in rows.iter().filter(|row| !is_mended(&row.event)) {
        let effects = settled.get(&row.seq).map(|one| one.effects.as_slice());
        for effect in effects.unwrap_or_default() {
            if let Effect::Refused { of, error } = effect {
                tracing::warn!(
                    definition = %of.definition, version = of.version, trigger = of.trigger,
                    event.r#type = %row.event.kind, event.id = %row.event.id, error = %masks::text(error),
                    "a trigger cannot be used on an event; it is kept as a dead letter"
                );
                letters.push((Box::new(of_event(of, &row.event, error)), None));
            }
        }
    }
    keep(shared, letters).await
}

/// Keeps a letter of an event over which the orchestrator died too often; none of a mended one, which has its letter.
pub(super) async fn keep_deadly(
    shared: &Shared,
    event: &Event,
    error: &str,
) -> Result<(), Stopping> {
    tracing::error!(
        event.r#type = %event.kind, event.id = %event.id, error,
        "an event is given up; a dead letter says so"
    );
    // of a mended one its own letter says what came of it
    if is_mended(event) {
        return Ok(());
    }
    let body = serde_json::to_vec(event).unwrap_or_default();
    let letter = DeadLetterRow {
        reason: DeadReason::DeliveredTooOften,
        ..whole(&deadly(event), error.to_owned(), Some(event), body)
    };
    keep(shared, vec![(Box::new(letter), None)]).await
}

/// Has letters kept, however long that takes.
pub(super) async fn keep(shared: &Shared, letters: Vec<Letter>) -> Result<(), Stopping> {
    let mut pause = super::AGAIN_MIN;
    while !letters.is_empty() {
        if shared.router.keep(letters.clone()).await {
            return Ok(());
        }
        if !shared.pause(&mut pause).await {
            return Err(Stopping);
        }
    }
    Ok(())
}

/// The triggers that refused an event, of which this is the letter: one, or all of them where it was given up.
pub(crate) fn refused_by(kept: &EventRow, letter: Uuid) -> Vec<TriggerRef> {
    let event = &kept.event;
    let deadly = id_of(&deadly(event)) == letter;
    let refused = kept.effects.iter().filter_map(|effect| match effect {
        Effect::Refused { of, .. } => Some(of),
        _ => None,
    });
    let is_of = |of: &&TriggerRef| deadly || id_of(&which(of, &cause(event))) == letter;
    refused.filter(is_of).cloned().collect()
}

fn deadly(event: &Event) -> String {
    format!("deadly/{}", cause(event))
}

fn cause(event: &Event) -> String {
    format!("{} {}", event.source, event.id)
}

fn which(of: &TriggerRef, cause: &str) -> String {
    format!("{}/{}/{cause}", of.definition, of.trigger)
}

/// The same cause is the same letter, whatever is said of it.
fn id_of(which: &str) -> Uuid {
    dead::id_of(topology::TRIGGERS, which, &[])
}

fn of_event(of: &TriggerRef, event: &Event, error: &str) -> DeadLetterRow {
    let body = serde_json::to_vec(event).unwrap_or_default();
    row(of, &cause(event), error, Some(event), body)
}

/// The letter of a schedule that could not start its saga.
pub(super) fn of_schedule(of: &TriggerRef, nominal: &str, error: &str) -> DeadLetterRow {
    let body = json!({ "schedule": { "time": nominal } }).to_string();
    row(of, nominal, error, None, body.into_bytes())
}

fn row(
    of: &TriggerRef,
    cause: &str,
    error: &str,
    event: Option<&Event>,
    body: Vec<u8>,
) -> DeadLetterRow {
    let which = which(of, cause);
    let error = format!(
        "trigger {} of {}@{}: {error}",
        of.trigger, of.definition, of.version
    );
    whole(&which, error, event, body)
}

fn whole(which: &str, error: String, event: Option<&Event>, body: Vec<u8>) -> DeadLetterRow {
    let content_type = event.map_or("application/json", |_| "application/cloudevents+json");
    DeadLetterRow {
        id: id_of(which),
        at: clock::now(),
        reason: DeadReason::Misfit,
        error,
        queue: topology::TRIGGERS.to_owned(),
        exchange: topology::EVENTS.to_owned(),
        key: event.map(|event| event.kind.clone()).unwrap_or_default(),
        message_id: event.map(|event| event.id.clone()),
        kind: None,
        saga: None,
        properties: json!({ "content_type": content_type }),
        body,
    }
}
