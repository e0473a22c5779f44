//! `GET /v1/sagas/{id}/work-items/{number}`: all a person needs to decide an open work item: what was tried and with what, what went wrong last, what can be done now and
//! by which command, and what goes on meanwhile.
//!
//! Nothing of it is kept with the work item: attempts and inputs are gathered from the saga's records as it is asked for, and what is possible is asked of the engine on the saga
//! as it stands. Every list has a bound. Inputs, and what was said of attempts, are shown with their secrets covered, whoever asks.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use baton_engine::decide::choices::{Possible, possible};
use baton_engine::record::Record;
use baton_engine::state::{Phase, Prepared};
use baton_engine::{Choice, Definition, Entry, Rules, SagaState, Status, WorkItem};
use baton_messages::{Direction, SagaId, StepKey, TaskType, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::actions::OneItem;
use super::attempts::{Attempts, LastError, history};
use super::auth::Viewer;
use super::definitions::aside;
use super::extract::{Nothing, Path, Query};
use super::problem::{Answer, Problem};
use super::sagas::saga_id;
use super::{Api, Shared, why};
use crate::chain::chain;
use crate::replay::edit::body_difference;
use crate::types::Types;
use crate::{choices, clock, masks};

/// Attempts that are shown: the last ones.
const ATTEMPTS_MAX: usize = 20;
/// Inputs that are shown: the last ones.
const INPUTS_MAX: usize = 10;
/// A larger input is not shown here; the saga has it whole.
const INPUT_BYTES_MAX: usize = 16 * 1024;
/// Errors that are shown.
const ERRORS_MAX: usize = 5;
/// What people decided about the step before, the last ones.
const DECISIONS_MAX: usize = 20;
/// Steps that are shown as under way.
const UNDER_WAY_MAX: usize = 20;

/// An open work item, with all that is needed to decide it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WorkItemDetail")]
pub(crate) struct Detail {
    saga: SagaId,
    /// What the saga runs.
    definition: String,
    /// Which version of it.
    version: u32,
    /// Where the saga stands.
    status: Status,
    /// Whether an operator has stopped it from starting anything.
    paused: bool,
    item: WorkItem,
    /// Whether it should have been done.
    overdue: bool,
    /// What can be done now, by whom the item is for. What stands here for every choice an item may have is newer than `item.choices`, which are those it was opened with.
    choices: Vec<Offer>,
    /// What was tried of its step: the last 20 attempts, of every round and direction.
    tried: Attempts,
    /// What the step was tried with: the last 10 inputs, oldest first.
    inputs: VecDeque<Tried>,
    /// What went wrong last, newest first, each once.
    errors: Vec<LastError>,
    /// What people decided about the step before, oldest first.
    decisions: VecDeque<Decided>,
    /// What the saga does meanwhile.
    meanwhile: Meanwhile,
    /// The clock of the orchestrator as it answers.
    now: Timestamp,
}

/// One thing that can be done about a work item.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WorkItemChoice")]
struct Offer {
    choice: Choice,
    /// What it does.
    does: &'static str,
    /// What to type for it; capitals stand for what is to be said.
    command: String,
    /// Why it is refused just now; none: it is taken.
    refused: Option<String>,
    /// Of `substitute`: task types that may be named, those with names like the step's own first.
    task_types: Vec<TaskType>,
    /// Of `substitute`: how many more task types are known, of which nobody looked whether they may be named.
    more: usize,
}

/// What a step was tried with.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "TriedInput")]
struct Tried {
    /// Which way.
    direction: Direction,
    /// Which doing of the step, from 1.
    round: u32,
    task: TaskType,
    pool: String,
    /// When it was made ready.
    at: Timestamp,
    /// It, with secrets covered; none where it is larger than 16 KiB: the saga has it whole.
    input: Option<Value>,
    /// Its size.
    bytes: usize,
    /// What differs from the one before in the same direction, line by line; empty of the first.
    difference: String,
}

/// What somebody decided about the step before.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "StepDecision")]
struct Decided {
    at: Timestamp,
    /// `retry`, `edit`, `substitute`.
    action: String,
    by: String,
    /// Why, in that person's words.
    reason: String,
    /// The round that followed.
    round: u32,
}

/// What a saga does while a person decides.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
struct Meanwhile {
    /// Steps and items that go on: at most 20.
    under_way: Vec<Going>,
    /// How many more there are.
    left_out: usize,
    /// Steps that have nothing to wait for any more.
    settled: usize,
    /// Steps that have not begun.
    waiting: usize,
    /// Other work items that are open.
    other_items: usize,
}

/// A step that goes on.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "StepUnderWay")]
struct Going {
    step: StepKey,
    phase: Phase,
    /// What it waits for, if anything.
    why: Option<String>,
}

/// One open work item.
pub(crate) async fn one(
    State(api): Shared,
    Viewer(_): Viewer,
    Path(of): Path<OneItem>,
    Query(Nothing {}): Query<Nothing>,
) -> Answer<Json<Detail>> {
    let (saga, number) = (saga_id(&of.id)?, of.number);
    let state = api.state(saga).await?.state;
    let item = state.work_items.get(&number).cloned().ok_or_else(|| {
        Problem::not_found(format!(
            "no work item {number} of saga {saga} is open; GET /v1/sagas/{saga} shows those that are"
        ))
    })?;
    let mut past = Past::of(item.step.as_ref(), &api.types);
    if item.step.is_some() {
        history(&api, saga, |entry| past.take(entry)).await?;
    }
    let definition = api.definition(&state.definition, state.version).await?;
    let now = clock::now();
    let meanwhile = meanwhile(&state, definition.as_deref(), &item, now);
    let facts = (
        state.definition.clone(),
        state.version,
        state.status,
        state.paused,
    );
    let choices = offers(&api, saga, state, definition, &item, now).await?;
    let (definition, version, status, paused) = facts;
    let tried = past.tried.covered();
    Ok(Json(Detail {
        saga,
        definition,
        version,
        status,
        paused,
        overdue: item.overdue(now),
        choices,
        errors: tried.errors(ERRORS_MAX),
        tried,
        inputs: past.inputs,
        decisions: past.decisions,
        meanwhile,
        item,
        now,
    }))
}

/// What can be done now, as the engine says; where this version cannot read the definition, what the item was opened with.
async fn offers(
    api: &Api,
    saga: SagaId,
    state: SagaState,
    definition: Option<Arc<Definition>>,
    item: &WorkItem,
    now: Timestamp,
) -> Answer<Vec<Offer>> {
    let Some(definition) = definition else {
        let as_opened = item.choices.iter().map(|choice| Possible {
            choice: *choice,
            refused: None,
            wants_output: false,
            task_types: Vec::new(),
            more: 0,
        });
        return Ok(as_opened.map(|one| offer(saga, item, one)).collect());
    };
    let (catalogue, number) = (api.catalogue(), item.number);
    let sagas = api.named_by(&definition).await?;
    let looked = aside(move || {
        let rules = Rules {
            definition: &definition,
            catalogue: &catalogue,
            sagas: &sagas,
            level: baton_engine::Level::NEWEST,
        };
        possible(rules, &state, number, now)
    });
    let found = looked.await?.map_err(|error| {
        Problem::not_now(format!(
            "what can be done about work item {number} cannot be told: {}",
            chain(&error)
        ))
    })?;
    let found = found.unwrap_or_default().into_iter();
    Ok(found.map(|one| offer(saga, item, one)).collect())
}

fn offer(saga: SagaId, item: &WorkItem, one: Possible) -> Offer {
    Offer {
        choice: one.choice,
        does: choices::does(one.choice),
        command: choices::command(
            saga,
            item,
            one.choice,
            one.task_types.first(),
            one.wants_output,
        ),
        refused: one.refused,
        task_types: one.task_types,
        more: one.more,
    }
}

/// What the records say of a step.
struct Past<'a> {
    step: Option<&'a StepKey>,
    types: &'a Types,
    round: u32,
    tried: Attempts,
    inputs: VecDeque<Tried>,
    decisions: VecDeque<Decided>,
}

impl<'a> Past<'a> {
    fn of(step: Option<&'a StepKey>, types: &'a Types) -> Self {
        let tried = step.map(|step| Attempts::of_step(step.clone(), ATTEMPTS_MAX));
        Self {
            step,
            types,
            round: 1,
            tried: tried.unwrap_or_default(),
            inputs: VecDeque::new(),
            decisions: VecDeque::new(),
        }
    }

    fn take(&mut self, entry: &Entry) {
        let Some(wanted) = self.step else { return };
        self.tried.take(entry);
        let mut is_tried_anew = false;
        for record in &entry.records {
            match record {
                Record::NewRound { step } if step == wanted => {
                    self.round += 1;
                    is_tried_anew = true;
                }
                Record::Forgiven { step, .. } if step == wanted => is_tried_anew = true,
                Record::Prepared {
                    step,
                    direction,
                    prepared,
                } if step == wanted => self.prepared(entry.at, *direction, prepared),
                _ => {}
            }
        }
        if is_tried_anew {
            self.decided(entry);
        }
    }

    fn prepared(&mut self, at: Timestamp, direction: Direction, ready: &Prepared) {
        let facts = &ready.facts;
        let known = self.types.get(&facts.task_type);
        let schema = known.as_ref().map(|known| &known.manifest.input);
        let input = masks::input(schema, &ready.input);
        let bytes = ready.input.to_string().len();
        let before = self.inputs.iter().rev();
        let mut before = before.filter(|one| one.direction == direction);
        let before = before.next().and_then(|one| one.input.as_ref());
        let is_small = bytes <= INPUT_BYTES_MAX;
        let difference = match before {
            Some(before) if is_small => body_difference(&before.to_string(), &input.to_string()),
            Some(_) | None => String::new(),
        };
        push(
            &mut self.inputs,
            INPUTS_MAX,
            Tried {
                direction,
                round: self.round,
                task: facts.task_type.clone(),
                pool: facts.pool.to_string(),
                at,
                input: is_small.then_some(input),
                bytes,
                difference,
            },
        );
    }

    /// Who had it tried anew, where somebody did: a round after an undo, or after evidence, is nobody's.
    fn decided(&mut self, entry: &Entry) {
        let applied = entry.records.iter().find_map(|record| match record {
            Record::Applied {
                action, by, reason, ..
            } => Some((action, by, reason)),
            _ => None,
        });
        let Some((action, by, reason)) = applied else {
            return;
        };
        push(
            &mut self.decisions,
            DECISIONS_MAX,
            Decided {
                at: entry.at,
                action: action.clone(),
                by: by.clone(),
                reason: reason.clone(),
                round: self.round,
            },
        );
    }
}

/// Keeps the last ones.
fn push<T>(all: &mut VecDeque<T>, most: usize, one: T) {
    if all.len() >= most {
        all.pop_front();
    }
    all.push_back(one);
}

/// What goes on beside the step a work item is about.
fn meanwhile(
    state: &SagaState,
    definition: Option<&Definition>,
    item: &WorkItem,
    now: Timestamp,
) -> Meanwhile {
    let mut found = Meanwhile {
        other_items: state.work_items.len().saturating_sub(1),
        ..Meanwhile::default()
    };
    for (spot, step) in state.live() {
        let key = spot.key();
        if item.step.as_ref() == Some(&key) || step.phase.asks() {
            continue;
        }
        match standing(step.phase) {
            Standing::Settled => found.settled += 1,
            Standing::Waiting => found.waiting += 1,
            Standing::UnderWay if found.under_way.len() >= UNDER_WAY_MAX => found.left_out += 1,
            Standing::UnderWay => {
                let why = why::waits(state, definition, &key, step, now);
                found.under_way.push(Going {
                    why: why.map(|why| why.said(now)),
                    step: key,
                    phase: step.phase,
                });
            }
        }
    }
    found
}

/// How a step stands, as far as it matters to who decides about another.
enum Standing {
    Settled,
    Waiting,
    UnderWay,
}

const fn standing(phase: Phase) -> Standing {
    match phase {
        Phase::Succeeded
        | Phase::Skipped
        | Phase::Continued
        | Phase::Failed
        | Phase::Undone
        | Phase::Parked
        | Phase::UndoParked => Standing::Settled,
        // it is taken back when what depends on it has been
        Phase::Waiting | Phase::Doubtful => Standing::Waiting,
        Phase::Unserved
        | Phase::Trying
        | Phase::Backoff
        | Phase::Settling
        | Phase::Probing
        | Phase::ProbeBackoff
        | Phase::Sleeping
        | Phase::Listening
        | Phase::Asked
        | Phase::FannedOut
        | Phase::InChild
        | Phase::Undoing
        | Phase::UndoUnserved
        | Phase::UndoBackoff
        | Phase::UndoInChild => Standing::UnderWay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(at: u64, records: Value) -> Entry {
        serde_json::from_value(json!({ "at": at, "records": records })).unwrap()
    }

    fn prepared(step: &str, input: Value) -> Value {
        let facts = json!({
            "task_type": "t.set@1", "pool": "default", "effect": "reversible", "idempotent": true, "undo": true, "probe": true, "hold": "late",
            "timeout_ms": 1, "lease_ms": 1, "offer_ms": 1, "queue_ms": 1, "settle_ms": 0,
            "retry": { "attempts": 1, "backoff_ms": 1, "factor": 1.0, "max_ms": 1, "jitter": false },
        });
        json!({ "prepared": { "step": step, "direction": "do", "prepared": { "facts": facts, "input": input } } })
    }

    #[test]
    fn each_round_has_its_input_with_what_differs_and_who_wanted_it() {
        let (step, types) = ("a".parse().unwrap(), Types::default());
        let mut past = Past::of(Some(&step), &types);
        let id = "01a2225f-320a-731b-ba54-9aced93fb514";
        let by =
            json!({ "applied": { "id": id, "action": "edit", "by": "anna", "reason": "typo" } });
        past.take(&entry(
            1,
            json!([prepared("a", json!({ "vlan": 6, "password": "hunter2" }))]),
        ));
        past.take(&entry(2, json!([prepared("b", json!({}))])));
        past.take(&entry(
            3,
            json!([by, { "new-round": { "step": "a" } }, prepared("a", json!({ "vlan": 7, "password": "hunter3" }))]),
        ));
        let shown = serde_json::to_value(&past.inputs).unwrap();
        assert_eq!(shown.as_array().unwrap().len(), 2, "{shown}");
        assert_eq!(shown[0]["input"], json!({ "vlan": 6, "password": "***" }));
        assert_eq!(
            (&shown[0]["round"], &shown[1]["round"]),
            (&json!(1), &json!(2))
        );
        let difference = shown[1]["difference"].as_str().unwrap();
        assert!(
            difference.contains("vlan") && !difference.contains("hunter"),
            "{difference}"
        );
        assert_eq!(past.decisions.len(), 1);
        let decided = &past.decisions[0];
        assert_eq!((decided.by.as_str(), decided.round), ("anna", 2));
    }

    #[test]
    fn what_is_large_is_counted_and_not_shown_and_of_many_the_last_are_kept() {
        let (step, types) = ("a".parse().unwrap(), Types::default());
        let mut past = Past::of(Some(&step), &types);
        past.take(&entry(
            1,
            json!([prepared("a", json!({ "text": "x".repeat(20_000) }))]),
        ));
        let large = past.inputs.back().unwrap();
        assert!(large.input.is_none() && large.bytes > 20_000);
        for at in 2..30 {
            past.take(&entry(at, json!([prepared("a", json!({ "n": at }))])));
        }
        assert_eq!(past.inputs.len(), INPUTS_MAX);
        assert_eq!(past.inputs.back().unwrap().input, Some(json!({ "n": 29 })));
    }
}
