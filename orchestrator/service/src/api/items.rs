//! The items of a step that is done for each of a list: with their step in bounded size, those to be looked at first; and all of them, page by
//! page.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use baton_engine::{Definition, SagaState, fan};
use baton_messages::{StepId, StepKey, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Shared;
use super::auth::Viewer;
use super::extract::{Path, Query};
use super::page::Limit;
use super::problem::{Answer, Problem};
use super::sagas::saga_id;
use super::view::{Step, one_step};
use crate::clock;

/// Items shown with their step: what has failed, what is asked of people, what is under way.
const ITEMS_SHOWN: usize = 20;
/// Items whose outputs are shown together.
pub(super) const OUTPUTS_MAX: u32 = 100;

/// The items of a step, in bounded size: how many stand where, and those that want to be looked at first.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "FanOut")]
pub(super) struct Fan {
    /// How many there are.
    items: u32,
    /// How many have begun.
    begun: u32,
    /// How many of these are not settled.
    under_way: usize,
    /// Done.
    done: u32,
    /// Not wanted: its `if` was false, or an operator skipped it.
    skipped: u32,
    /// Failed with nothing changed, and tolerated.
    tolerated: u32,
    /// Failed, or in doubt, with the step.
    failed: u32,
    /// Taken back.
    undone: u32,
    /// How many may fail without the step failing.
    may_fail: u32,
    /// The first ones to be looked at: what a person is asked about, what has failed, what is under way. All are at
    /// `/sagas/{id}/steps/{step}/items`.
    first: Vec<Step>,
}

pub(super) fn fan_view(
    state: &SagaState,
    definition: Option<&Definition>,
    id: &StepId,
    fan: &fan::Fan,
    now: Timestamp,
) -> Fan {
    let first = looked_at_first(fan).take(ITEMS_SHOWN);
    Fan {
        items: fan.len(),
        begun: fan.begun(),
        under_way: fan.live.len(),
        done: fan.counts.done,
        skipped: fan.counts.skipped,
        tolerated: fan.counts.tolerated,
        failed: fan.counts.failed,
        undone: fan.counts.undone,
        may_fail: fan.tolerated,
        first: first
            .filter_map(|n| item(state, definition, id, n, now))
            .collect(),
    }
}

/// Numbers of items: parked ones, failed ones, those under way.
fn looked_at_first(fan: &fan::Fan) -> impl Iterator<Item = u32> {
    let live = move |asked: bool| {
        let live = fan
            .live
            .iter()
            .filter(move |(_, item)| item.phase.asks() == asked);
        live.map(|(n, _)| *n)
    };
    live(true).chain(fan.troubled()).chain(live(false))
}

/// One item that has begun.
fn item(
    state: &SagaState,
    definition: Option<&Definition>,
    id: &StepId,
    n: u32,
    now: Timestamp,
) -> Option<Step> {
    let key = StepKey::of_item(id.clone(), n);
    let step = state.at(&key)?;
    Some(one_step(state, definition, &key, step, now))
}

/// A page of the items of a step.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Items {
    /// In their order.
    items: Vec<Step>,
    /// The next page's `after`; none: this was the last.
    next: Option<u32>,
    /// How many items there are, begun or not.
    all: u32,
}

/// The items of a step after a number; with `troubled` only those that have failed or ask a person. None when it has none.
fn page(
    state: &SagaState,
    definition: Option<&Definition>,
    id: &StepId,
    (after, troubled, rows): (Option<u32>, bool, usize),
    now: Timestamp,
) -> Option<Items> {
    let fan = state.step(id)?.fan.as_ref()?;
    let from = after.map_or(0, |after| after.saturating_add(1));
    let parked = |n: &u32| {
        let live = fan.live.get(n);
        live.is_some_and(|item| item.phase.asks())
    };
    let failed: BTreeSet<u32> = fan.troubled().filter(|_| troubled).collect();
    let wanted = |n: &u32| !troubled || failed.contains(n) || parked(n);
    let mut numbers = (from..fan.begun()).filter(wanted);
    let page: Vec<u32> = numbers.by_ref().take(rows).collect();
    let more = numbers.next().is_some();
    Some(Items {
        next: page.last().copied().filter(|_| more),
        items: page
            .into_iter()
            .filter_map(|n| item(state, definition, id, n, now))
            .collect(),
        all: fan.len(),
    })
}

/// The step a path names.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ItemsOf {
    /// The saga.
    #[schemars(with = "Uuid")]
    id: String,
    /// The step.
    #[schemars(with = "StepId")]
    step: String,
}

/// Which items are shown.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichItems {
    /// Those after this number.
    after: Option<u32>,
    /// Only those that have failed, or ask a person.
    #[serde(default)]
    troubled: bool,
    limit: Option<Limit>,
}

/// The items of a step.
pub(crate) async fn items(
    State(api): Shared,
    Viewer(_): Viewer,
    Path(of): Path<ItemsOf>,
    Query(which): Query<WhichItems>,
) -> Answer<Json<Items>> {
    let saga = saga_id(&of.id)?;
    let step = StepId::new(&of.step).map_err(|error| Problem::bad_request(error.to_string()))?;
    let folded = api.state(saga).await?;
    let state = &folded.state;
    let definition = api.definition(&state.definition, state.version).await?;
    let rows = (which.after, which.troubled, Limit::rows(which.limit));
    let page = page(state, definition.as_deref(), &step, rows, clock::now());
    page.map(Json).ok_or_else(|| {
        Problem::not_found(format!(
            "step {step} of this saga has no items: it has no `for_each`, or has not begun"
        ))
    })
}
