//! Many dead letters: replayed as a durable operation, or only what that would do.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use baton_messages::Timestamp;
use baton_store::letters::Tally;
use baton_store::{LetterState, Letters as _, OperationRow, OperationState, Reader as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::Shared;
use super::super::auth::Operator;
use super::super::dead_letters::LetterFilter;
use super::super::extract::Body;
use super::super::problem::{Answer, Problem};
use super::operations::operation_row;
use super::{target, text};
use crate::clock;
use crate::replay::{Orders, Plan};

/// Letters a second where nothing is said, and at most.
const RATE: u32 = 50;
const RATE_MAX: u32 = 1_000;
/// In percent: the share of a stage that may fail again where nothing is said.
const STOP_AT: u8 = 20;

/// A replay of many.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayMany {
    /// Which letters: of those that are dead now.
    #[serde(default)]
    filter: LetterFilter,
    /// Why, for whoever reads it later; not needed for a dry run.
    #[serde(default)]
    #[schemars(length(max = 2_000))]
    reason: String,
    /// Only say what it would do.
    #[serde(default)]
    dry_run: bool,
    /// Letters a second at most: 50 where nothing is said.
    #[schemars(range(min = 1, max = 1_000))]
    rate: Option<u32>,
    /// Stop when more than this share of a stage, in percent, failed again: 20 where nothing is said. 100: never.
    #[schemars(range(min = 0, max = 100))]
    stop_at: Option<u8>,
    /// Send those too that were replayed three times already, or whose time to live was over.
    #[serde(default)]
    force: bool,
    /// Where to send messages of others instead of where they came from, as `exchange/key`, or `/queue`.
    to: Option<String>,
    /// Minted by the caller: the same operation asked for again carries the same id.
    id: Option<Uuid>,
    /// On whose behalf, for the record.
    by: Option<String>,
}

/// What was asked for: an operation that goes on, or what it would do.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Planned {
    /// The operation; none of a dry run.
    operation: Option<Operation>,
    /// What it would do; only of a dry run.
    plan: Option<ShownPlan>,
}

/// What a replay of many would do.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownPlan {
    /// Letters that fit.
    found: u64,
    /// How many of them were looked at one by one, newest first; the figures below are of these.
    looked_at: u64,
    /// Where they would go: `task` (its saga is asked for another attempt), `report`, `start`, `event`, `message` (published as it was).
    routes: BTreeMap<String, u64>,
    /// How many would be refused.
    refused: u64,
    /// How many still cannot be read, and would fail again.
    unreadable: u64,
    /// Why, most frequent first.
    why: Vec<ShownWhy>,
}

/// Why some would not be sent.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownWhy {
    /// Why, of the first of them.
    why: String,
    /// How many.
    letters: u64,
    /// One of them.
    sample: Uuid,
}

impl From<Plan> for ShownPlan {
    fn from(plan: Plan) -> Self {
        let routes = plan.routes.into_iter();
        let why = plan.why.into_iter();
        Self {
            found: plan.found,
            looked_at: plan.looked_at,
            routes: routes.map(|(route, n)| (route.to_owned(), n)).collect(),
            refused: plan.refused,
            unreadable: plan.unreadable,
            why: why
                .map(|one| ShownWhy {
                    why: one.why,
                    letters: one.letters,
                    sample: one.sample,
                })
                .collect(),
        }
    }
}

/// A replay of many, as it stands.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Operation {
    id: Uuid,
    /// `running`, `paused`, `stopped` (by itself), `cancelled`, `done`.
    #[schemars(regex(pattern = "^(running|paused|stopped|cancelled|done)$"))]
    state: &'static str,
    /// Why it stands there.
    why: String,
    /// Who asked for it, and why.
    by: String,
    reason: String,
    made_at: Timestamp,
    changed_at: Timestamp,
    changed_by: String,
    /// Letters a second at most.
    rate: u32,
    /// It stops when more than this share of a stage, in percent, failed again.
    stop_at: u8,
    force: bool,
    /// Where messages of others go, as `exchange/key`.
    to: Option<String>,
    /// Letters that fitted when it was made.
    found: u64,
    /// 0: one letter; 1: ten; 2: the rest.
    stage: u8,
    /// Letters that set out.
    replayed: u64,
    /// Of those, that did their work.
    resolved: u64,
    /// Of those, that were refused.
    refused: u64,
    /// Of those, that failed again.
    failed: u64,
}

impl Operation {
    pub(super) const fn state(&self) -> &'static str {
        self.state
    }

    pub(super) fn why(&self) -> &str {
        &self.why
    }
}

impl From<OperationRow> for Operation {
    fn from(row: OperationRow) -> Self {
        let Tally {
            replayed,
            resolved,
            refused,
            failed,
        } = row.total;
        Self {
            id: row.id,
            state: row.state.as_str(),
            why: row.why,
            by: row.by,
            reason: row.reason,
            made_at: row.made_at,
            changed_at: row.changed_at,
            changed_by: row.changed_by,
            rate: row.rate,
            stop_at: row.stop_at,
            force: row.force,
            to: row
                .target
                .map(|(exchange, key)| format!("{exchange}/{key}")),
            found: row.found,
            stage: row.stage,
            replayed,
            resolved,
            refused,
            failed,
        }
    }
}

/// Replays many.
pub(crate) async fn replay_many(
    State(api): Shared,
    Operator(caller): Operator,
    Body(asked): Body<ReplayMany>,
) -> Answer<Json<Planned>> {
    let rate = asked.rate.unwrap_or(RATE);
    let stop_at = asked.stop_at.unwrap_or(STOP_AT);
    if !(1..=RATE_MAX).contains(&rate) || stop_at > 100 {
        return Err(Problem::bad_request(format!(
            "`rate` has to be 1 to {RATE_MAX}, `stop_at` 0 to 100"
        )));
    }
    let orders = Orders {
        by: caller.by(asked.by.as_deref()),
        reason: text("reason", &asked.reason, !asked.dry_run)?,
        force: asked.force,
        target: target(asked.to.as_deref())?,
    };
    let filter = asked.filter.filter(Some(LetterState::Dead));
    if asked.dry_run {
        let plan = api.replay.plan(&filter, &orders).await;
        let plan = plan.map_err(|error| Problem::store(&error))?;
        return Ok(Json(Planned {
            operation: None,
            plan: Some(plan.into()),
        }));
    }
    let count = api.reader.dead_letters_count(filter.clone()).await;
    let at = clock::now();
    let row = OperationRow {
        id: asked.id.unwrap_or_else(Uuid::now_v7),
        filter,
        by: orders.by.clone(),
        reason: orders.reason,
        force: orders.force,
        target: orders.target.map(|target| (target.exchange, target.key)),
        rate,
        stop_at,
        state: OperationState::Running,
        why: String::new(),
        made_at: at,
        changed_at: at,
        changed_by: orders.by,
        found: count.map_err(|error| Problem::store(&error))?,
        stage: 0,
        in_stage: Tally::default(),
        total: Tally::default(),
        cursor: None,
    };
    let id = row.id;
    caller.said.object(format!("dead-letters/operations/{id}"));
    let begun = api.replay.letters.begin(row).await;
    begun.map_err(|error| Problem::store(&error))?;
    api.replay.poke.notify_one();
    Ok(Json(Planned {
        operation: Some(operation_row(&api, id).await?),
        plan: None,
    }))
}
