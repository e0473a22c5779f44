//! Steps that need no worker: how each begins, and what happens when what it waits for does not come in time.

use baton_messages::{Event, Failure, MessageId, StepKey};
use serde_json::{Value, json};

use super::limits::CLOCK_SKEW_MS;
use super::no_value::{no_value, wrong_kind};
use super::{DecideError, Deciding, failure};
use crate::definition::{ApproveStep, EmitStep, OnTimeout, StepKind, WaitStep, rfc3339};
use crate::expr::Template;
use crate::record::Record;
use crate::state::Phase;
use crate::work_item::WorkItemKind;

/// The longest text computed for a person or for an event's subject, in bytes: it stands in lists and in headers.
const TEXT_BYTES_MAX: usize = 4 * 1024;

impl Deciding<'_> {
    /// A wait begins: the subscription is a part of the same commit, so that no event after it is missed. Who says when an event was received may go by a clock
    /// that is behind the one by which the saga started, and a wait that takes one a little too old does less harm than one that never hears its answer.
    pub(crate) fn listen(&mut self, id: &StepKey, wait: &WaitStep) -> Result<(), DecideError> {
        let since_ms = wait.since_ms.saturating_add(CLOCK_SKEW_MS);
        self.emit(Record::Subscribed {
            step: id.step.clone(),
            event: wait.event.clone(),
            since: baton_messages::Timestamp(self.state.started_at.0.saturating_sub(since_ms)),
            due: self.now.plus_ms(wait.timeout_ms),
        })
    }

    /// An approval begins: its question is a work item.
    pub(crate) fn ask(&mut self, id: &StepKey, approve: &ApproveStep) -> Result<(), DecideError> {
        let title = match &approve.prompt {
            None => Ok(format!("approve {id} of {}?", self.state.definition)),
            Some(prompt) => self.text("approve.prompt", prompt),
        };
        let title = match title {
            Ok(title) => title,
            Err(wrong) => return self.fail_for_good(id, wrong),
        };
        let due = self.now.plus_ms(approve.timeout_ms);
        self.move_to(id, Phase::Asked, Some(due), None, None)?;
        self.open_work_item(Some(id.clone()), WorkItemKind::Approval, title, None)
    }

    /// An event goes out with the commit that says so; its step is done, since what is committed is published.
    pub(crate) fn say(&mut self, id: &StepKey, emit: &EmitStep) -> Result<(), DecideError> {
        let subject = emit.subject.as_ref();
        let subject = subject.map(|text| self.text("emit.subject", text));
        let data = emit.data.as_ref().map(|data| data.eval(self.state));
        let data = data.map(|data| data.map_err(|error| no_value("emit.data", &error)));
        let (subject, data) = match (subject.transpose(), data.transpose()) {
            (Ok(subject), Ok(data)) => (subject, data),
            (Err(wrong), _) | (_, Err(wrong)) => return self.fail_for_good(id, wrong),
        };
        let event_id = MessageId::of_event(self.state.id, &id.step, None, self.step(id)?.round);
        let event = Event {
            specversion: baton_messages::event::SPECVERSION.to_owned(),
            id: event_id.to_string(),
            source: format!("/baton/sagas/{}", self.state.definition),
            kind: emit.kind.clone(),
            subject,
            time: Some(rfc3339(self.now)),
            datacontenttype: data.is_some().then(|| "application/json".to_owned()),
            dataschema: None,
            data,
            data_base64: None,
            extensions: std::collections::BTreeMap::new(),
        };
        self.emit(Record::Emitted {
            step: id.step.clone(),
            event: Box::new(event),
        })?;
        let output = json!({ "id": event_id });
        self.move_to(id, Phase::Succeeded, None, Some(output), None)
    }

    fn text(&self, part: &str, template: &Template) -> Result<String, Failure> {
        let value = template.eval(self.state);
        match value.map_err(|error| no_value(part, &error))? {
            Value::String(text) if text.len() <= TEXT_BYTES_MAX => Ok(text),
            Value::String(text) => {
                let bytes = text.len();
                let why = format!(
                    "`{part}` has {bytes} bytes; {TEXT_BYTES_MAX} are allowed: shorten it, or say where the rest is"
                );
                Err(failure("expression", why))
            }
            value @ (Value::Number(_) | Value::Bool(_)) => Ok(value.to_string()),
            value @ (Value::Null | Value::Array(_) | Value::Object(_)) => {
                let wanted = "text: write what stands there for it, around `${ … }`";
                Err(wrong_kind(part, &value, wanted))
            }
        }
    }

    /// What it waited for has not come in time.
    pub(crate) fn timed_out(&mut self, id: &StepKey) -> Result<(), DecideError> {
        let (on_timeout, why) = match &self.defined(id)?.kind {
            StepKind::Wait(wait) => (
                wait.on_timeout,
                format!("no event {} came in time", wait.event),
            ),
            StepKind::Approve(approve) => (
                approve.on_timeout,
                format!("{} has not decided in time", approve.by),
            ),
            StepKind::Task(_) | StepKind::Sleep(_) | StepKind::Emit(_) | StepKind::Saga(_) => {
                return Err(DecideError::Definition {
                    definition: self.rules.definition.saga.clone(),
                    step: id.clone(),
                });
            }
        };
        self.close_work_item_of(id, "its time is over")?;
        let late = failure("timeout", why);
        match on_timeout {
            OnTimeout::Fail => self.fail_for_good(id, late),
            OnTimeout::Continue => self.move_to(id, Phase::Continued, None, None, Some(late)),
            OnTimeout::Park => {
                let title = format!("{id}: {}", late.message);
                let kind = WorkItemKind::StepFailed;
                self.park(id, Phase::Parked, kind, title, Some(late))
            }
        }
    }
}
