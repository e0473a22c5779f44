//! A dead letter as one line of JSON: all that is kept of it, so that what is imported elsewhere is what was exported here. Bytes that are no text are base64.

use super::read;
use baton_driver::DeadLetterRow;
use baton_messages::{AttemptRef, DeadReason, SagaId, Timestamp};
use baton_store::facets::Facets;
use baton_store::letters::{Died, EDITIONS_MAX, HistoryRow, WholeLetter};
use baton_store::{EditRow, LetterRow, LetterState, Standing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::Stands;

/// The version of the line, in its first field.
const VERSION: u32 = 1;

/// A dead letter, as one line of an export.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    /// The version of this form: 1.
    baton_dead_letter: u32,
    id: Uuid,
    at: Timestamp,
    state: Stands,
    reason: DeadReason,
    error: String,
    queue: String,
    exchange: String,
    key: String,
    #[serde(default)]
    message_id: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    saga: Option<SagaId>,
    properties: Value,
    /// The body, where it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// The body, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    #[serde(default)]
    replays: u32,
    #[serde(default)]
    changed_at: Option<Timestamp>,
    #[serde(default)]
    changed_by: Option<String>,
    #[serde(default)]
    why: Option<String>,
    #[serde(default)]
    note: Option<String>,
    #[serde(default)]
    outcome: Option<String>,
    /// The attempt its saga minted for it the last time, where it was sent back to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<AttemptRef>,
    /// Its edited copies, oldest first: the last is the one that is sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    edits: Vec<EditLine>,
    /// What happened to it since it was taken in, oldest first: the last 500 of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    history: Vec<HistoryLine>,
}

/// Something that happened to it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HistoryLine {
    n: u32,
    at: Timestamp,
    what: String,
    by: String,
    why: String,
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    died: Option<DiedLine>,
}

/// What the message was when it died again.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DiedLine {
    death: Uuid,
    properties: Value,
    /// Its body, where it was another one than before, and text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// Its body, where it was another one than before, and no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

impl HistoryLine {
    fn of(row: HistoryRow) -> Self {
        let died = row.died.map(|died| {
            let (body, body_base64) = died.body.map_or((None, None), super::written);
            DiedLine {
                death: died.death,
                properties: died.properties,
                body,
                body_base64,
            }
        });
        Self {
            n: row.n,
            at: row.at,
            what: row.what,
            by: row.by,
            why: row.why,
            text: row.text,
            died,
        }
    }

    fn row(self) -> Result<HistoryRow, String> {
        let died = self.died.map(|died| {
            Ok::<_, String>(Died {
                death: died.death,
                properties: died.properties,
                body: read(died.body, died.body_base64.as_deref())?,
            })
        });
        Ok(HistoryRow {
            n: self.n,
            at: self.at,
            what: self.what,
            by: self.by,
            why: self.why,
            text: self.text,
            died: died.transpose()?,
        })
    }
}

/// An edited copy in it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EditLine {
    at: Timestamp,
    by: String,
    why: String,
    action: Uuid,
    difference: String,
    properties: Value,
    /// Its body, where it is another than the letter's, and text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// Its body, where it is another than the letter's, and no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// The last line of an export: without it, it is cut off.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct End {
    /// How many letters stand before it.
    pub(crate) baton_dead_letters_end: u64,
}

impl Line {
    /// A letter with all that is kept of it.
    pub(super) fn of(letter: WholeLetter) -> Self {
        let WholeLetter {
            row,
            edits,
            history,
        } = letter;
        let (row, now) = (row.letter, row.now);
        let (body, body_base64) = super::written(row.body);
        let edits = edits.into_iter().map(|edit| {
            let (body, body_base64) = edit.body.map_or((None, None), super::written);
            EditLine {
                at: edit.at,
                by: edit.by,
                why: edit.why,
                action: edit.action,
                difference: edit.difference,
                properties: edit.properties,
                body,
                body_base64,
            }
        });
        Self {
            baton_dead_letter: VERSION,
            id: row.id,
            at: row.at,
            state: now.state.into(),
            reason: row.reason,
            error: row.error,
            queue: row.queue,
            exchange: row.exchange,
            key: row.key,
            message_id: row.message_id,
            kind: row.kind,
            saga: row.saga,
            properties: row.properties,
            body,
            body_base64,
            replays: now.replays,
            changed_at: now.changed_at,
            changed_by: now.changed_by,
            why: now.why,
            note: now.note,
            outcome: now.outcome,
            attempt: now.attempt,
            edits: edits.collect(),
            history: history.into_iter().map(HistoryLine::of).collect(),
        }
    }

    /// What is kept of it here. One that was on its way is dead: nobody here sends it on.
    pub(super) fn letter(self) -> Result<WholeLetter, String> {
        if self.baton_dead_letter != VERSION {
            return Err(format!(
                "is of version {}, and this orchestrator reads {VERSION}",
                self.baton_dead_letter
            ));
        }
        let edition = u32::try_from(self.edits.len()).unwrap_or(u32::MAX);
        if edition > EDITIONS_MAX {
            return Err(format!("has more than {EDITIONS_MAX} edited copies"));
        }
        let body = read(self.body, self.body_base64.as_deref())?;
        let body = body.ok_or("has no body")?;
        let letter = self.id;
        let edits = (1..).zip(self.edits).map(|(edition, edit)| {
            Ok(EditRow {
                letter,
                edition,
                at: edit.at,
                by: edit.by,
                why: edit.why,
                action: edit.action,
                difference: edit.difference,
                properties: edit.properties,
                body: read(edit.body, edit.body_base64.as_deref())?,
            })
        });
        let edits = edits.collect::<Result<Vec<_>, String>>()?;
        let history = self.history.into_iter().map(HistoryLine::row);
        let history = history.collect::<Result<Vec<_>, String>>()?;
        let died_again = history.iter().filter(|row| row.died.is_some()).count();
        let died = history.iter().filter(|row| row.died.is_some());
        let died_at = died.map(|row| row.at).max();
        let settled = LetterState::SETTLED.contains(&self.state.state());
        let was_on_its_way = self.state == Stands::Replaying;
        let row = LetterRow {
            body_bytes: body.len() as u64,
            now: Standing {
                state: if was_on_its_way {
                    LetterState::Dead
                } else {
                    self.state.state()
                },
                // made anew from the letter
                group: String::new(),
                replays: self.replays,
                // what is over goes after a while, and that is counted from somewhere
                changed_at: self.changed_at.or(settled.then_some(self.at)),
                changed_by: self.changed_by,
                why: self.why,
                note: self.note,
                action: None,
                operation: None,
                outcome: if was_on_its_way {
                    Some("it was on its way when it was exported, so it may have been delivered; look there before it is replayed".to_owned())
                } else {
                    self.outcome
                },
                edition,
                // which step it speaks of now: else it would ask for one that is over
                attempt: self.attempt,
                died_again: u32::try_from(died_again).unwrap_or(u32::MAX),
                died_at,
                ..Standing::default()
            },
            about: Facets::default(),
            letter: DeadLetterRow {
                id: letter,
                at: self.at,
                reason: self.reason,
                error: self.error,
                queue: self.queue,
                exchange: self.exchange,
                key: self.key,
                message_id: self.message_id,
                kind: self.kind,
                saga: self.saga,
                properties: self.properties,
                body,
            },
        };
        Ok(WholeLetter {
            row,
            edits,
            history,
        })
    }
}

#[cfg(test)]
mod tests {
    use baton_messages::{Direction, StepId};
    use serde_json::json;

    use super::*;

    fn line(more: &Value) -> Value {
        let mut line = json!({
            "baton_dead_letter": 1, "id": Uuid::from_u128(7), "at": 5, "state": "dead", "reason": "other", "error": "", "queue": "q", "exchange": "",
            "key": "q", "properties": {}, "body": "{}", "replays": 1,
        });
        for (name, value) in more.as_object().unwrap() {
            line[name] = value.clone();
        }
        line
    }

    fn read_in(line: Value) -> WholeLetter {
        let line: Line = serde_json::from_value(line).unwrap();
        line.letter().unwrap()
    }

    #[test]
    fn a_replayed_task_still_speaks_of_the_attempt_its_saga_minted() {
        let attempt = AttemptRef {
            saga: SagaId(Uuid::from_u128(2)),
            step: StepId::new("a").unwrap(),
            item: None,
            direction: Direction::Do,
            round: 1,
            attempt: 2,
            dispatch: 3,
        };
        let letter = read_in(line(&json!({ "attempt": attempt })));
        assert_eq!(letter.row.now.attempt, Some(attempt));
        let written = serde_json::to_value(Line::of(letter.clone())).unwrap();
        assert_eq!(read_in(written), letter);
        // one of before says nothing of it
        let letter = read_in(line(&json!({})));
        assert_eq!(letter.row.now.attempt, None);
        let written = serde_json::to_value(Line::of(letter)).unwrap();
        assert!(written.get("attempt").is_none(), "{written}");
    }
}
