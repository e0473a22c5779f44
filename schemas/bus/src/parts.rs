//! Several tasks that came in one message, taken apart: each as the message it would have been alone, byte for byte. Whoever cannot use one of them parks that one, and
//! whoever finds the whole among dead letters finds the letters it is.

use baton_messages::batch::TASKS_MAX;
use baton_messages::{TaskMessage, TasksMessage};
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::value::RawValue;

use crate::delivery::Delivery;

/// The kind of a task that comes alone.
const ALONE: &str = "task@1";

/// The envelope, whatever is in it.
#[derive(Deserialize)]
enum Envelope<'a> {
    #[serde(rename = "tasks@1", borrow)]
    Tasks(Batch<'a>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow)]
    tasks: Vec<&'a RawValue>,
}

/// The tasks a message of kind `tasks@1` brought, in their order. One that is no task is among them, under the name of the whole and its place in it (`….2`).
///
/// # Errors
/// When the envelope itself cannot be read; the whole is then a message like any other that cannot.
pub fn apart(whole: &Delivery) -> serde_json::Result<Vec<Delivery>> {
    let bodies = bodies(&whole.body)?;
    Ok((1..)
        .zip(bodies)
        .map(|(place, body)| one(whole, place, body))
        .collect())
}

/// Whether a message brought several tasks.
#[must_use]
pub fn is_several(delivery: &Delivery) -> bool {
    delivery.kind.as_deref() == Some(TasksMessage::KIND)
}

fn bodies(body: &[u8]) -> serde_json::Result<Vec<&[u8]>> {
    let Envelope::Tasks(Batch { tasks }) = serde_json::from_slice(body)?;
    if tasks.is_empty() || tasks.len() > TASKS_MAX {
        let rule = &"at least one task and not more than may come together";
        return Err(serde_json::Error::invalid_length(tasks.len(), rule));
    }
    Ok(tasks.iter().map(|task| task.get().as_bytes()).collect())
}

fn one(whole: &Delivery, place: usize, body: &[u8]) -> Delivery {
    let (id, saga) = match serde_json::from_slice(body) {
        Ok(TaskMessage::Task(task)) => (
            task.of.message_id().to_string(),
            Some(task.of.saga.to_string()),
        ),
        Err(_) => {
            let whole = whole.message_id.as_deref().unwrap_or_default();
            (format!("{whole}.{place}"), None)
        }
    };
    whole.part(ALONE, &id, saga, body.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_what_stands_there_byte_for_byte_whatever_that_is() {
        let body = br#"{"tasks@1":{"tasks":[ {"task@1": {"b":1.50,"a":2} },7,{"x":[]}]}}"#;
        let found: Vec<&str> = bodies(body)
            .unwrap()
            .into_iter()
            .map(|body| std::str::from_utf8(body).unwrap())
            .collect();
        assert_eq!(
            found,
            [r#"{"task@1": {"b":1.50,"a":2} }"#, "7", r#"{"x":[]}"#]
        );
    }

    #[test]
    fn an_envelope_that_is_none_is_an_error() {
        let many = vec!["1"; TASKS_MAX + 1].join(",");
        for body in [
            r#"{"tasks@1":{"tasks":[]}}"#.to_owned(),
            format!(r#"{{"tasks@1":{{"tasks":[{many}]}}}}"#),
            r#"{"tasks@1":{"tasks":[1],"of":2}}"#.to_owned(),
            r#"{"task@1":{}}"#.to_owned(),
            r#"{"tasks@1":{"tasks":[1"#.to_owned(),
        ] {
            assert!(bodies(body.as_bytes()).is_err(), "{body}");
        }
    }
}
