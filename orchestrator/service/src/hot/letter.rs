//! From a committed command to a message: one kind of command, one address, one body.

use baton_bus::{HeaderValue, Outgoing, version_header};
use baton_engine::Command;
use baton_messages::event::EVENT_KIND;
use baton_messages::headers::{CLOUDEVENTS_JSON, TRACEPARENT, traceparent};
use baton_messages::{
    ControlMessage, Event, InboxKey, InboxMessage, MessageId, SagaId, TaskMessage, Timestamp,
    WorkerId, topology,
};
use baton_store::Layout;

/// The message of a command; none for one that never leaves the store, or that cannot be written as JSON.
pub(crate) fn letter(
    saga: SagaId,
    command: &Command,
    layout: &Layout,
    now: Timestamp,
) -> Option<Outgoing> {
    match command {
        Command::Dispatch(task) => dispatch(saga, task, now),
        Command::Grant(message) => {
            let worker = match &**message {
                ControlMessage::Grant(grant) => Some(&grant.worker),
                ControlMessage::Cancel(_) | ControlMessage::RollCall(_) => None,
                ControlMessage::Drain(drain) => Some(&drain.worker),
            };
            control(saga, worker, message, now)
        }
        Command::CancelTask { worker, message } => control(saga, worker.as_ref(), message, now),
        Command::EmitEvent(event) => said(saga, event, now),
        Command::TellSaga(message) => told(message, layout, now),
        Command::OpenWorkItem(_)
        | Command::ChangeWorkItem(_)
        | Command::CloseWorkItem { .. }
        | Command::Reserve(_) => None,
    }
}

/// A task must reach a queue, or come back.
fn dispatch(saga: SagaId, message: &TaskMessage, now: Timestamp) -> Option<Outgoing> {
    let TaskMessage::Task(task) = message;
    let body = serde_json::to_vec(message).ok()?;
    let id = task.of.message_id();
    let key = topology::task_key(&task.pool, &task.task_type);
    let mut out = Outgoing::json(topology::TASKS, key, message.kind(), id, body, now.0);
    out.correlation_id = Some(saga.to_string());
    out.headers = headers(saga, id);
    Some(out)
}

/// What goes into an inbox.
pub(super) fn for_inbox(
    inbox: &InboxKey,
    id: MessageId,
    message: &InboxMessage,
    now: Timestamp,
) -> Option<Outgoing> {
    let body = serde_json::to_vec(message).ok()?;
    let (key, kind) = (inbox.to_string(), message.kind());
    let mut out = Outgoing::json(topology::INBOX, key, kind, id, body, now.0);
    out.headers = vec![version_header()];
    Some(out)
}

/// What a saga says to another one goes into the inbox of the partition that has it, whoever drives that.
fn told(message: &InboxMessage, layout: &Layout, now: Timestamp) -> Option<Outgoing> {
    let (to, id) = match message {
        InboxMessage::ChildWanted(wanted) => (wanted.child, wanted.message_id()),
        InboxMessage::ChildSaid(said) => (said.parent.saga, said.message_id()),
        _ => return None,
    };
    let mut out = for_inbox(&InboxKey::of(layout.of(to)), id, message, now)?;
    out.correlation_id = Some(to.to_string());
    out.headers = headers(to, id);
    Some(out)
}

/// What a saga says to everybody: whoever listens has it in a queue of his own, and nobody may listen.
fn said(saga: SagaId, event: &Event, now: Timestamp) -> Option<Outgoing> {
    let body = serde_json::to_vec(event).ok()?;
    // The event's id is one of ours: it was derived from the saga, the step and its round.
    let id: MessageId = event.id.parse().ok()?;
    let kind = EVENT_KIND;
    let mut out = Outgoing::json(topology::EVENTS, event.kind.clone(), kind, id, body, now.0);
    out.content_type = CLOUDEVENTS_JSON.into();
    out.correlation_id = Some(saga.to_string());
    out.headers = headers(saga, id);
    out.mandatory = false;
    Some(out)
}

/// A word to a worker may be lost: who is not there needs none, and a claim is asked for again.
fn control(
    saga: SagaId,
    worker: Option<&WorkerId>,
    message: &ControlMessage,
    now: Timestamp,
) -> Option<Outgoing> {
    let body = serde_json::to_vec(message).ok()?;
    let id = MessageId(uuid::Uuid::now_v7());
    let key = worker.map_or_else(|| topology::CONTROL_ALL.to_owned(), topology::control_key);
    let mut out = Outgoing::json(topology::CONTROL, key, message.kind(), id, body, now.0);
    out.correlation_id = Some(saga.to_string());
    out.headers = headers(saga, id);
    out.mandatory = false;
    out.persistent = false;
    Some(out)
}

fn headers(saga: SagaId, id: MessageId) -> Vec<(String, HeaderValue)> {
    vec![
        version_header(),
        (
            TRACEPARENT.to_owned(),
            HeaderValue::Text(traceparent(saga, id)),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use baton_messages::StepId;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_emitted_event_goes_to_whoever_listens_under_its_own_id() {
        let saga = SagaId(Uuid::from_u128(7));
        let id = MessageId::of_event(saga, &StepId::new("told").unwrap(), None, 1);
        let event: Event = serde_json::from_value(json!({
            "specversion": "1.0", "id": id, "source": "/baton/sagas/x", "type": "com.example.released", "data": { "n": 1 },
        }))
        .unwrap();
        let command = Command::EmitEvent(Box::new(event.clone()));
        let out = letter(saga, &command, &Layout::one(), Timestamp(1)).unwrap();
        assert_eq!(
            (&*out.exchange, out.key.as_str()),
            ("baton.events", "com.example.released")
        );
        assert_eq!(out.content_type, "application/cloudevents+json");
        assert_eq!(out.message_id, id);
        assert_eq!(out.correlation_id, Some(saga.to_string()));
        assert!(
            out.persistent && !out.mandatory,
            "kept, and nobody has to listen"
        );
        let body: Event = serde_json::from_slice(&out.body).unwrap();
        assert_eq!(body, event);
    }
}
