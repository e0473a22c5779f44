//! Editing a dead letter before it is sent back to work: a copy is changed, checked as a replay would read it, and kept beside the original with who, why and what differs.
//! Whoever edits names the copy he has seen: of two at once one is kept.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use baton_driver::DeadLetterRow;
use baton_engine::Input;
use baton_messages::InputId;
use baton_store::letters::EDITIONS_MAX;
use baton_store::{EditRow, LetterRow, LetterState, Letters as _, Reader as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::super::auth::Operator;
use super::super::extract::{Body, Path};
use super::super::problem::{Answer, Problem};
use super::super::replays::{mover, text};
use super::super::{Api, Shared};
use super::{WhichLetter, found};
use crate::replay::edit::{Changes, difference, edited};
use crate::replay::route::{self, Kind, Route};
use crate::replay::{Cure, Never};
use crate::triggers::cloudevents::is_json;

/// Places of a body that are set in one request.
const PLACES_MAX: usize = 100;

/// What is to be changed of a letter.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EditLetter {
    /// Which copy was seen: its `edition`. It has to be the last.
    edition: u32,
    /// The whole body, as text.
    body: Option<String>,
    /// The whole body, in base64, where it is no text.
    body_base64: Option<String>,
    /// Places of a JSON body to set, by JSON pointer (RFC 6901); the rest stays as it is written.
    #[serde(default)]
    set: BTreeMap<String, Value>,
    /// Places of a JSON body to take away.
    #[serde(default)]
    unset: Vec<String>,
    /// Headers to set; null takes one away. Of a message of others all that are its sender's; of an event those of CloudEvents.
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    /// The content type.
    content_type: Option<String>,
    /// Only say what would differ.
    #[serde(default)]
    dry_run: bool,
    /// Why, for whoever reads it later; not needed for a dry run.
    #[serde(default)]
    #[schemars(length(max = 2_000))]
    reason: String,
    /// Minted by the caller: the same action sent again carries the same id.
    id: Option<InputId>,
    /// On whose behalf, for the record.
    by: Option<String>,
}

/// A letter after it was edited.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EditedLetter {
    id: Uuid,
    /// Which copy is sent from now on; of a dry run, which it would be.
    edition: u32,
    /// What differs from the copy before it, line by line.
    difference: String,
    /// Whether this action had been done already.
    duplicate: bool,
}

fn no(title: &'static str, why: impl Into<String>) -> Problem {
    let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "edit-refused", title, why);
    problem.curing(Cure::Look)
}

impl EditLetter {
    fn changes(&self) -> Answer<Changes> {
        let body = super::read(self.body.clone(), self.body_base64.as_deref());
        let body = body.map_err(Problem::bad_request)?;
        if self.set.len() + self.unset.len() > PLACES_MAX {
            return Err(Problem::bad_request(format!(
                "at most {PLACES_MAX} places are set at once; give the body whole"
            )));
        }
        let set = self.set.iter().map(|(place, value)| (place, Some(value)));
        let unset = self.unset.iter().map(|place| (place, None));
        let some = |value: &Value| (!value.is_null()).then(|| value.clone());
        Ok(Changes {
            body,
            set: set
                .chain(unset)
                .map(|(place, value)| (place.clone(), value.cloned()))
                .collect(),
            headers: self
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), some(value)))
                .collect(),
            content_type: self.content_type.clone(),
        })
    }
}

/// Edits a letter.
pub(crate) async fn edit(
    State(api): Shared,
    Operator(caller): Operator,
    Path(WhichLetter { id }): Path<WhichLetter>,
    Body(asked): Body<EditLetter>,
) -> Answer<Json<EditedLetter>> {
    let why = text("reason", &asked.reason, !asked.dry_run)?;
    let row = found(&api, id).await?;
    let mover = mover(&caller, asked.id, asked.by.as_deref(), why);
    if let Some(done) = done_before(&api, &row, mover.action).await? {
        return Ok(Json(done));
    }
    stands(&row, asked.edition)?;
    let current = api.replay.current(&row).await;
    let current = current.map_err(|error| Problem::store(&error))?;
    let current = current.ok_or_else(|| Problem::not_found("its last copy is not there"))?;
    if asked.dry_run {
        // what differs shows what was there; an edit itself is written down as an action
        let object = format!("dead-letters/{}", row.letter.id);
        api.seen(&caller, "editDeadLetter", object).await?;
    }
    let cure = match route::kind(&current) {
        Kind::Task => Cure::Saga,
        Kind::Inbox | Kind::Event | Kind::Foreign => Cure::Look,
    };
    let copy = edited(&current, asked.changes()?);
    let copy = copy.map_err(|why| no("It is not edited", why).curing(cure))?;
    let difference = difference(&current, &copy);
    if difference.is_empty() {
        return Err(no("It is not edited", "nothing would be changed"));
    }
    usable(&api, &row, &current, &copy).await?;
    let edition = row.now.edition + 1;
    let letter = row.letter.id;
    if !asked.dry_run {
        let edit = EditRow {
            letter,
            edition,
            at: mover.at,
            by: mover.by,
            why: mover.why,
            action: mover.action,
            difference: difference.clone(),
            // the first copy is compared with the original: bodies are kept once
            body: (copy.body != row.letter.body).then_some(copy.body),
            properties: copy.properties,
        };
        keep(&api, edit).await?;
    }
    Ok(Json(EditedLetter {
        id: letter,
        edition,
        difference,
        duplicate: false,
    }))
}

async fn keep(api: &Api, edit: EditRow) -> Answer<()> {
    let (letter, edition, action) = (edit.letter, edit.edition, edit.action);
    let kept = api.replay.letters.edit(edit).await;
    if kept.map_err(|error| Problem::store(&error))? {
        return Ok(());
    }
    let now = api.reader.dead_letter_edit(letter, edition).await;
    let now = now.map_err(|error| Problem::store(&error))?;
    if now.as_ref().is_some_and(|edit| edit.action == action) {
        return Ok(());
    }
    Err(moved_on(now.map_or_else(
        || "somebody has moved it meanwhile".to_owned(),
        |edit| format!("{} has edited it meanwhile", edit.by),
    )))
}

fn moved_on(why: String) -> Problem {
    Problem::not_now(format!(
        "{why}; look at it again, and edit what you see then"
    ))
    .curing(Cure::Look)
}

/// The same action, sent once more.
async fn done_before(api: &Api, row: &LetterRow, action: Uuid) -> Answer<Option<EditedLetter>> {
    if row.now.edition == 0 {
        return Ok(None);
    }
    let edits = api.reader.dead_letter_edits(row.letter.id).await;
    let edits = edits.map_err(|error| Problem::store(&error))?;
    let done = edits.into_iter().find(|edit| edit.action == action);
    Ok(done.map(|edit| EditedLetter {
        id: edit.letter,
        edition: edit.edition,
        difference: edit.difference,
        duplicate: true,
    }))
}

fn stands(row: &LetterRow, seen: u32) -> Answer<()> {
    if row.now.state != LetterState::Dead {
        return Err(moved_on(format!(
            "it is {}, and only what is dead is edited",
            row.now.state.as_str()
        )));
    }
    if row.now.edition != seen {
        return Err(moved_on(format!(
            "its last copy is {}, and {seen} was seen",
            row.now.edition
        )));
    }
    if seen >= EDITIONS_MAX {
        return Err(no(
            "It is not edited",
            format!(
                "it has been edited {EDITIONS_MAX} times; export it, mend it there and publish it anew"
            ),
        ));
    }
    Ok(())
}

/// Whether a copy can be used, as far as its kind has a schema.
async fn usable(
    api: &Api,
    row: &LetterRow,
    before: &DeadLetterRow,
    copy: &DeadLetterRow,
) -> Answer<()> {
    let misfit = |why: String| no("It would fail again", why);
    if route::kind(copy) == Kind::Foreign {
        return foreign(before, copy).map_err(misfit);
    }
    match route::route(copy, None) {
        Ok(Route::Inputs(inputs, None)) => {
            for (_, input) in &inputs {
                if let Input::Start(start) = &**input {
                    api.start_fits(start).await?;
                }
            }
            Ok(())
        }
        Ok(Route::Inputs(_, Some(broken))) => Err(misfit(format!(
            "a part of it still cannot be used: {}",
            broken.error
        ))),
        Ok(Route::Event(event)) => {
            let refusal = api.replay.refusal(row, &event).await;
            let refusal = refusal.map_err(|error| Problem::store(&error))?;
            refusal.map_or(Ok(()), |why| Err(misfit(why)))
        }
        Ok(Route::Task(_) | Route::Raw(_)) => Ok(()),
        Err(Never::Refused(refused)) => Err(misfit(refused.why).curing(refused.cure)),
        Err(Never::Unreadable(why)) => Err(misfit(why)),
    }
}

/// Of a message of others only so much is known: what says that it is JSON has to be JSON.
fn foreign(before: &DeadLetterRow, copy: &DeadLetterRow) -> Result<(), String> {
    let says_json = |of: &DeadLetterRow| is_json(of.properties["content_type"].as_str());
    if !says_json(copy) || (before.body == copy.body && says_json(before)) {
        return Ok(());
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(&copy.body) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "its content type says JSON, and its body is none: line {} column {}; change the content type too where it is meant so",
            error.line(),
            error.column()
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_is_given_once() {
        let asked: EditLetter =
            serde_json::from_value(json!({ "edition": 0, "body": "x", "body_base64": "eA==" }))
                .unwrap();
        assert!(asked.changes().is_err());
        let asked: EditLetter = serde_json::from_value(
            json!({ "edition": 0, "body_base64": "/wA=", "headers": { "a": null, "b": 1 }, "set": { "/x": null }, "unset": ["/y"] }),
        )
        .unwrap();
        let changes = asked.changes().unwrap();
        assert_eq!(changes.body, Some(vec![0xff, 0]));
        assert_eq!(changes.headers["a"], None);
        assert_eq!(changes.set[0], ("/x".to_owned(), Some(Value::Null)));
        assert_eq!(changes.set[1], ("/y".to_owned(), None));
    }
}
