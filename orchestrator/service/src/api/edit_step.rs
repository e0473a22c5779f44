//! `POST /v1/sagas/{id}/steps/{step}/edit`: a parked step, or a parked undo, is tried with another input, or by another task type. What differs is said first (`dry_run`), and kept in the audit
//! log with who and why. The step is refused when it has moved since the caller looked: the engine decides on what was seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use baton_driver::guarded;
use baton_engine::input::{Seen, StepEdit};
use baton_engine::state::Prepared;
use baton_engine::{Input, Record, Rules, SagaState, Verdict, decide};
use baton_messages::{InputId, SagaId, StepKey, TaskType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::actions::{OneStep, operator};
use super::auth::Operator;
use super::extract::{Body, Path};
use super::problem::{Answer, Problem};
use super::{Api, Shared};
use crate::chain::chain;
use crate::clock;
use crate::replay::edit::{body_difference, set};

/// Places of an input that are set in one request.
const PLACES_MAX: usize = 100;
/// Why, where it is only asked what would differ; it stands nowhere.
const REHEARSED: &str = "to see what would differ";

/// What a step is tried with instead.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EditStep {
    /// The whole input.
    input: Option<Value>,
    /// Places of the input to set, by JSON pointer (RFC 6901); the rest stays as it was.
    #[serde(default)]
    set: BTreeMap<String, Value>,
    /// Places of the input to take away.
    #[serde(default)]
    unset: Vec<String>,
    /// Another task type, in place of the one it has.
    task: Option<TaskType>,
    /// Only say what would differ.
    #[serde(default)]
    dry_run: bool,
    /// Why, for whoever reads it later; not needed for a dry run.
    #[serde(default)]
    #[schemars(length(max = 2_000))]
    reason: String,
    /// Minted by the caller: the same action sent again carries the same id.
    id: Option<InputId>,
    /// What the caller saw of the step: the action is refused when it has moved since.
    seen: Option<Seen>,
    /// On whose behalf, for the record.
    by: Option<String>,
}

/// A step that was edited, or would be.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EditedStep {
    saga: SagaId,
    step: StepKey,
    /// The action's id; none of a dry run.
    id: Option<InputId>,
    /// The task type it is tried by.
    task: TaskType,
    /// The input it is tried with.
    input: Value,
    /// What differs from the input before, line by line.
    difference: String,
    /// Whether this action had been done already.
    duplicate: bool,
}

/// Has a parked step tried with another input, or by another task type.
pub(crate) async fn edit(
    State(api): Shared,
    Operator(caller): Operator,
    Path(of): Path<OneStep>,
    Body(asked): Body<EditStep>,
) -> Answer<Json<EditedStep>> {
    let (saga, step) = of.read()?;
    if asked.set.len() + asked.unset.len() > PLACES_MAX {
        return Err(Problem::bad_request(format!(
            "at most {PLACES_MAX} places are set or taken away at once"
        )));
    }
    let state = api.state(saga).await?.state;
    let tried = tried(&state, &step)?.cloned();
    let before = tried.as_ref().map(|made| &made.input);
    // what was done already, or is not parked, gets the engine's word, whatever its places are now
    let is_done = asked.id.is_some_and(|id| state.applied.contains(&id));
    let is_asked = state.at(&step).is_some_and(|step| step.phase.asks());
    let input = match changed(before, &asked) {
        Err(problem) if is_asked && !is_done => return Err(problem),
        Err(_) => before.cloned().unwrap_or_default(),
        Ok(input) => input,
    };
    let edit = StepEdit {
        input,
        task_type: asked.task,
    };
    let reason = match asked.dry_run {
        true => REHEARSED,
        false => &asked.reason,
    };
    let by = operator(&caller, reason, asked.id, asked.seen, asked.by.as_deref())?;
    let id = by.id;
    let input = Input::EditStep {
        step: step.clone(),
        edit,
        operator: by,
    };
    let was = before.map_or_else(|| "{}".to_owned(), Value::to_string);
    let rehearsed = rehearsed(&api, state, &step, &input).await?;
    let mut duplicate = rehearsed.is_none();
    if !asked.dry_run {
        duplicate = api.decided(saga, input, id).await? == Verdict::Duplicate;
    }
    let made = rehearsed.or(tried);
    let made = made.ok_or_else(|| no("this edit was done before".to_owned()))?;
    Ok(Json(EditedStep {
        saga,
        step,
        id: (!asked.dry_run).then_some(id),
        task: made.facts.task_type,
        difference: body_difference(&was, &made.input.to_string()),
        input: made.input,
        duplicate,
    }))
}

/// What a step was tried with last, forward or back.
fn tried<'s>(state: &'s SagaState, key: &StepKey) -> Answer<Option<&'s Prepared>> {
    let step = state
        .at(key)
        .ok_or_else(|| Problem::not_found(format!("the saga has no step {key}")))?;
    let made = match step.phase.backward() {
        true => &step.backward,
        false => &step.forward,
    };
    Ok(made.as_deref())
}

/// What the step would be tried with, as the engine decides it on the saga as it is known here; none of an edit that was done before.
async fn rehearsed(
    api: &Api,
    mut state: SagaState,
    step: &StepKey,
    input: &Input,
) -> Answer<Option<Prepared>> {
    let (name, version) = (state.definition.clone(), state.version);
    let definition = api.definition(&name, version).await?.ok_or_else(|| {
        no(format!(
            "this version cannot read the definition {name}@{version}"
        ))
    })?;
    let (catalogue, sagas) = (api.catalogue(), api.named_by(&definition).await?);
    let rules = Rules {
        definition: &definition,
        catalogue: &catalogue,
        sagas: &sagas,
        level: baton_engine::Level::NEWEST,
    };
    let decided = guarded(|| decide(rules, &mut state, input, clock::now(), 0));
    let decided = decided.map_err(|panic| no(format!("to decide it {panic}")))?;
    let decided = decided.map_err(|error| no(chain(&error)))?;
    match decided.verdict {
        Verdict::Refused(refusal) => Err(Problem::refused(&refusal)),
        Verdict::Ignored { why } => Err(no(why)),
        Verdict::Duplicate => Ok(None),
        Verdict::Applied => Ok(decided.records.into_iter().find_map(|record| match record {
            Record::Prepared {
                step: of, prepared, ..
            } if of == *step => Some(Arc::unwrap_or_clone(prepared)),
            _ => None,
        })),
    }
}

/// The input with what was changed.
fn changed(before: Option<&Value>, asked: &EditStep) -> Answer<Value> {
    let whole = asked.input.as_ref().or(before).ok_or_else(|| {
        no("no input was ever made ready for this step, so there is none to change: give a whole one as `input`".to_owned())
    })?;
    let mut input = whole.to_string();
    let places = asked.set.iter().map(|(place, value)| (place, Some(value)));
    let gone = asked.unset.iter().map(|place| (place, None));
    for (place, value) in places.chain(gone) {
        input = set(&input, place, value).map_err(no)?;
    }
    serde_json::from_str(&input).map_err(|error| no(error.to_string()))
}

fn no(why: String) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "edit-refused",
        "The step is not edited",
        why,
    )
}
