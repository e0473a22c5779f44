//! What holds for every message of a worker, whatever the case: it is of the contract, it has the id it has to have, it speaks for itself.

use std::collections::HashMap;

use baton_bus::{Delivery, HeaderValue};
use baton_messages::headers::VERSION_HEADER;
use baton_messages::{FleetMessage, InboxMessage, MessageId, RunId};
use serde_json::Value;

use crate::cast::SECRET;
use crate::stage::Heard;

/// The reports in a message of the inbox.
pub(crate) fn heard(delivery: &Delivery) -> Result<Vec<Heard>, String> {
    let body = body_of(delivery)?;
    let message: InboxMessage = read(delivery, serde_json::from_slice(&delivery.body))?;
    envelope(delivery, message.kind())?;
    if delivery.properties.delivery_mode != Some(2) {
        return Err(format!("{} is not persistent", message.kind()));
    }
    let saga = message.saga().map(|saga| saga.to_string());
    if delivery.properties.correlation_id != saga {
        return Err(format!(
            "{}: its correlation_id is not {saga:?}",
            message.kind()
        ));
    }
    let id = delivery.message_id.clone().unwrap_or_default();
    let whole: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
    let one = |whole: &Value, in_a_batch| {
        let (kind, said) = whole
            .as_object()
            .and_then(|tags| tags.iter().next())
            .expect("it has a tag");
        Heard {
            kind: kind.trim_end_matches("@1").to_owned(),
            id: id.clone(),
            said: said.clone(),
            in_a_batch,
        }
    };
    Ok(match whole["batch@1"]["reports"].as_array() {
        Some(reports) => reports.iter().map(|report| one(report, true)).collect(),
        None => vec![one(&whole, false)],
    })
}

/// A word of the fleet, by its kind.
pub(crate) fn of_fleet(delivery: &Delivery) -> Result<(String, Value), String> {
    body_of(delivery)?;
    let message: FleetMessage = read(delivery, serde_json::from_slice(&delivery.body))?;
    envelope(delivery, message.kind())?;
    let whole = serde_json::to_value(&message).map_err(|error| error.to_string())?;
    Ok((
        message.kind().trim_end_matches("@1").to_owned(),
        whole[message.kind()].clone(),
    ))
}

fn read<T>(delivery: &Delivery, read: serde_json::Result<T>) -> Result<T, String> {
    read.map_err(|error| {
        let body = String::from_utf8_lossy(&delivery.body);
        format!("not of the contract ({error}): {body}")
    })
}

/// The text of a message, in which no secret may be, however it is written.
fn body_of(delivery: &Delivery) -> Result<String, String> {
    let text = String::from_utf8_lossy(&delivery.body).into_owned();
    let escaped = SECRET.replace('"', "\\\"");
    let told = text.contains(SECRET) || text.contains(&escaped) || text.contains("sesame");
    if told {
        Err(format!("a secret is told: {text}"))
    } else {
        Ok(text)
    }
}

fn envelope(delivery: &Delivery, kind: &str) -> Result<(), String> {
    if delivery.kind.as_deref() != Some(kind) {
        return Err(format!("a {kind} whose `type` is {:?}", delivery.kind));
    }
    let id = delivery.message_id.as_deref().unwrap_or_default();
    if uuid::Uuid::parse_str(id).is_err() {
        return Err(format!("{kind}: its message_id {id:?} is no UUID"));
    }
    let version = delivery.header(VERSION_HEADER);
    if version.as_ref().and_then(HeaderValue::as_u64) != Some(1) {
        return Err(format!(
            "{kind}: its header {VERSION_HEADER} is {version:?}"
        ));
    }
    Ok(())
}

/// Watches over the reports of one case: whose they are, and that the same report is the same.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    said: HashMap<(String, String), Value>,
}

impl Watch {
    /// Judges a report of `worker`; false when it has been seen before.
    pub(crate) fn is_new(&mut self, heard: &Heard, worker: &str) -> Result<bool, String> {
        let (kind, said) = (&heard.kind, &heard.said);
        if kind != "checkpoint" && said["worker"] != worker {
            return Err(format!("a {kind} in the name of {}", said["worker"]));
        }
        let run: RunId =
            serde_json::from_value(said["run"].clone()).map_err(|error| error.to_string())?;
        let number = if kind == "checkpoint" {
            said["number"].as_u64().unwrap_or_default()
        } else {
            1
        };
        let id =
            MessageId::of_report(kind, run, u32::try_from(number).unwrap_or_default()).to_string();
        if kind != "started" && !heard.in_a_batch && heard.id != id {
            return Err(format!(
                "a {kind} of run {run} has the id {}, which has to be {id}",
                heard.id
            ));
        }
        let key = (
            kind.clone(),
            if kind == "started" {
                heard.id.clone()
            } else {
                id
            },
        );
        let mut once = said.clone();
        // looked at on every try
        once["sole"].take();
        match self.said.insert(key, once.clone()) {
            None => Ok(true),
            Some(before) if before == once => Ok(false),
            Some(before) => Err(format!(
                "a {kind} says something else when it is sent again: {before}, then {once}"
            )),
        }
    }
}
