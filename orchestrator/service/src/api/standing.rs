//! How the thing stands that an action is about: for the audit log, read before the action and after it. Never anything that may be a secret.

use baton_messages::{SagaId, StepKey};
use baton_store::{LetterRow, Reader as _};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Api;
use super::alerts::found_alert;
use super::dead_letters::{Beginning, found_head};
use super::sagas::saga_id;
use super::seen::folded;

/// The object by its whole name, and how it stands; none of what has no standing, or is not there.
pub(super) async fn standing(
    api: &Api,
    object: &str,
    part: Option<&str>,
) -> Option<(String, Value)> {
    let (kind, name) = object.rsplit_once('/')?;
    let value = match kind {
        "sagas" => {
            let saga = saga_id(name).ok()?;
            let row = api.reader.saga_row(saga).await.ok()??;
            let mut value = json!({ "status": row.status.as_str() });
            if row.paused {
                value["paused"] = true.into();
            }
            if let Some(step) = part.and_then(|part| part.strip_prefix("steps/")) {
                value["step"] = at(api, saga, step).await.unwrap_or_default();
            }
            value
        }
        "dead-letters" => {
            let row = found_head(api, Beginning::read(name)?).await.ok()?;
            return Some((format!("dead-letters/{}", row.letter.id), letter(&row)));
        }
        "dead-letters/operations" => {
            let id = Uuid::parse_str(name).ok()?;
            let row = api.reader.dead_operation(id).await.ok()??;
            json!({ "state": row.state.as_str(), "replayed": row.total.replayed, "found": row.found })
        }
        "alerts" => {
            let row = found_alert(api, &Beginning::read(name)?).await.ok()?;
            let until = row.muted.as_ref().and_then(|muted| muted.until);
            let value = json!({ "state": row.state, "acknowledged": row.acknowledged.is_some(), "muted_until": until });
            return Some((format!("alerts/{}", row.id), value));
        }
        "schedules" => {
            let trigger: u32 = part?.parse().ok()?;
            let rows = api.reader.schedules().await.ok()?;
            let row = rows
                .into_iter()
                .find(|row| row.definition == name && row.trigger == trigger)?;
            json!({ "paused": row.paused, "last_at": row.last_at })
        }
        "tokens" => {
            let known = api.access.all().into_iter().find(|one| one.name == name)?;
            json!({ "role": known.role, "expires_at": known.expires_at })
        }
        "definitions" => {
            let (name, version) = name.rsplit_once('@')?;
            let row = api
                .reader
                .definition(name.to_owned(), version.parse().ok()?);
            let row = row.await.ok()??;
            json!({ "sha256": baton_messages::audit::audit_hash(&row.source) })
        }
        _ => return None,
    };
    Some((object.to_owned(), value))
}

/// Where a step stands that somebody acts on; the saga alone may stand as it stood.
async fn at(api: &Api, saga: SagaId, step: &str) -> Option<Value> {
    let folded = folded(&api.reader, saga).await.ok()??;
    let step = folded.state.at(&step.parse::<StepKey>().ok()?)?;
    let attempt = step.attempts.last().map(|attempt| attempt.number);
    Some(json!({ "phase": step.phase, "round": step.round, "attempt": attempt }))
}

fn letter(row: &LetterRow) -> Value {
    json!({ "state": row.now.state.as_str(), "replays": row.now.replays, "edition": row.now.edition, "noted": row.now.note.is_some() })
}
