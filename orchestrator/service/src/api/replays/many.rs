//! Many dead letters: replayed as a durable operation, or only what that would do.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use baton_messages::{Direction, SagaId, Timestamp};
use baton_store::letters::{BACK_S, Redirect, Tally, WAIT_S};
use baton_store::{
    LetterRow, LetterState, Letters as _, Newest, OperationRow, OperationState, Reader as _,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::auth::Operator;
use super::super::dead_letters::{Beginning, LetterFilter, found_head};
use super::super::extract::Body;
use super::super::page::Moment;
use super::super::problem::{Answer, Problem};
use super::super::{Api, Shared};
use super::operations::operation_row;
use super::{target, text};
use crate::clock;
use crate::replay::{LOOK, Orders, Plan, of_operation};

/// Letters a second where nothing is said, and at most.
const RATE: u32 = 50;
const RATE_MAX: u32 = 10_000;
/// Letters that are named one by one at most, and rules by which they go elsewhere.
const IDS_MAX: usize = 500;
const REDIRECTS_MAX: usize = 50;
/// A day: nobody waits longer for a stage.
const WAIT_S_MAX: u32 = 86_400;
/// A plan of 200,000 is looked at whole in less; whoever asks holds a connection meanwhile.
const LOOK_S_MAX: u32 = 600;
/// So far the clocks of members may be apart: what is stamped later than that from now was stamped by one that was wrong, and would let in all that comes until then.
const CLOCKS_OFF_MS: u64 = 60_000;
/// In percent: the share of a stage that may fail again where nothing is said.
const STOP_AT: u8 = 20;

/// A replay of many.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayMany {
    /// Which letters: of those that are dead now, or were at `as_of`.
    #[serde(default)]
    filter: LetterFilter,
    /// The `as_of` of the dry run that was looked at: what died, or was moved, later than that is not taken. A dry run needs none.
    as_of: Option<Moment>,
    /// The `died_as_of` of the same dry run: what died later than that is not taken either.
    died_as_of: Option<Moment>,
    /// These alone, each by its id or the beginning of it, of those that fit: 500 at most.
    #[serde(default)]
    #[schemars(length(max = 500))]
    ids: Vec<Beginning>,
    /// Why, for whoever reads it later; not needed for a dry run.
    #[serde(default)]
    #[schemars(length(max = 2_000))]
    reason: String,
    /// The one that died last is sent first; otherwise the one that died first is.
    #[serde(default)]
    newest_first: bool,
    /// Only say what it would do.
    #[serde(default)]
    dry_run: bool,
    /// How many seconds a dry run looks at letters one by one: about 5 where nothing is said. It ends earlier where it has looked at all.
    #[schemars(range(min = 1, max = 600))]
    look_s: Option<u32>,
    /// Letters a second at most: 50 where nothing is said.
    #[schemars(range(min = 1, max = 10_000))]
    rate: Option<u32>,
    /// Stop when more than this share, in percent, of a stage or of all that was sent failed again: 20 where nothing is said. 100: never.
    #[schemars(range(min = 0, max = 100))]
    stop_at: Option<u8>,
    /// Send those too that were replayed three times already, whose time to live was over, or whose task type nobody serves.
    #[serde(default)]
    force: bool,
    /// Where to send messages of others instead of where they came from, as `exchange/key`, or `/queue`.
    to: Option<String>,
    /// Where to send messages of others that came from there, or died in that queue: from where (`exchange/key`, or `/queue`), to where to; 50 at most.
    #[serde(default)]
    redirect: BTreeMap<String, String>,
    /// How many seconds a stage waits for what comes of its letters: 60 where nothing is said, and 5 for messages of others to die again.
    #[schemars(range(max = 86_400))]
    wait_s: Option<u32>,
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
    /// How far the letters had come when it was looked, by the times that stand in them: when the last of them died or was moved, in milliseconds since 1970. As `as_of` of a
    /// replay it has only those taken that did so by then.
    as_of: Timestamp,
    /// When the last of them died. Given as well, none is taken that died after the look, as far as the clocks of the members agree: a time that one of them stamped up to a minute ahead counts.
    died_as_of: Timestamp,
    /// Letters that fit.
    found: u64,
    /// How many of them were looked at one by one, in the order in which they would be sent; the figures below are of these.
    looked_at: u64,
    /// Where they would go: `task` (its saga is asked for another attempt), `report`, `start`, `event` (the triggers that refused it look at it again), `message`
    /// (published as it was). Some set out side by side: in no order that a
    /// receiver may count on.
    routes: BTreeMap<String, u64>,
    /// Where messages of others would go, as `exchange/key`, and how many there; of those that were looked at.
    targets: BTreeMap<String, u64>,
    /// Rules of `redirect` that fit none of those that were looked at, by where they name.
    unused_redirects: Vec<String>,
    /// Whether more may fit than `found` says: what no index finds is counted for some seconds.
    found_is_least: bool,
    /// How many of those that would go were replayed already, once or oftener.
    replayed_before: u64,
    /// Task types of which no worker is there, and how many of their steps would wait for one: since that is forced, or since a worker may only be starting anew. Where there is one in another pool it says `TYPE in pool POOL`.
    unserved: BTreeMap<String, u64>,
    /// Steps of sagas that would be tried again: the first of them.
    steps: Vec<ShownStep>,
    /// How many would wait: messages of others, and there is no queue where they go.
    waiting: u64,
    /// How many would be refused.
    refused: u64,
    /// How many still cannot be read or used, and would fail again: reports of sagas nobody knows, requests that start none, and whatever has no meaning.
    unreadable: u64,
    /// Why those that wait, are refused or fail again do so, most frequent first.
    why: Vec<ShownWhy>,
}

/// A step that would be tried again.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownStep {
    /// Its saga.
    saga: SagaId,
    /// It.
    step: String,
    /// In which direction.
    direction: Direction,
    /// Which attempt that would be: one that nobody ran keeps its number.
    attempt: u32,
    /// The letter.
    letter: Uuid,
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

impl ShownPlan {
    fn of(api: &Api, plan: Plan, newest: Newest) -> Self {
        let routes = plan.routes.into_iter();
        let why = plan.why.into_iter();
        Self {
            as_of: newest.moved,
            died_as_of: newest.died,
            found: plan.found,
            looked_at: plan.looked_at,
            routes: routes.map(|(route, n)| (route.to_owned(), n)).collect(),
            targets: plan.targets,
            unused_redirects: plan.unused,
            found_is_least: plan.is_part,
            replayed_before: plan.replayed_before,
            unserved: api.would_wait(plan.tried),
            steps: plan
                .steps
                .into_iter()
                .map(|(letter, of)| ShownStep {
                    saga: of.saga,
                    step: of.key().to_string(),
                    direction: of.direction,
                    attempt: of.attempt,
                    letter,
                })
                .collect(),
            waiting: plan.waiting,
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
    /// It stops when more than this share, in percent, of a stage or of all that was sent failed again.
    stop_at: u8,
    force: bool,
    /// Where messages of others go, as `exchange/key`.
    to: Option<String>,
    /// Which letters it takes: of those that were dead when it was made.
    filter: LetterFilter,
    /// These alone; none named: all that fit.
    ids: Vec<Uuid>,
    /// Whether the one that died last is sent first.
    newest_first: bool,
    /// Letters that fitted when it was made.
    found: u64,
    /// The `as_of` of the dry run that was looked at: what died, or was moved, later it does not take. None: there was none.
    as_of: Option<Timestamp>,
    /// How many seconds a stage waits for what comes of its letters.
    wait_s: u32,
    /// Where messages of others go that came from there.
    redirect: BTreeMap<String, String>,
    /// 0: one letter; 1: two; 2: five; 3: the rest.
    stage: u8,
    /// Letters that set out.
    replayed: u64,
    /// Of those, that did their work.
    resolved: u64,
    /// Of those that did their work, messages of others: published, and more is not known unless they die again.
    published: u64,
    /// Of those sent, of which it is not known yet what came of them.
    open: u64,
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
        let open = row.total.open();
        let Tally {
            replayed,
            resolved,
            refused,
            failed,
            published,
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
            to: row.target.as_ref().map(place),
            wait_s: row.wait_s,
            redirect: row
                .redirect
                .iter()
                .map(|one| (place(&one.from), place(&one.to)))
                .collect(),
            filter: LetterFilter::from(&row.filter),
            newest_first: !row.filter.oldest_first,
            ids: row.filter.ids,
            found: row.found,
            as_of: row.as_of,
            stage: row.stage,
            replayed,
            resolved,
            published,
            open,
            refused,
            failed,
        }
    }
}

/// As it is written.
fn place((exchange, key): &(String, String)) -> String {
    format!("{exchange}/{key}")
}

fn redirects(asked: &BTreeMap<String, String>) -> Answer<Vec<Redirect>> {
    if asked.len() > REDIRECTS_MAX {
        return Err(Problem::bad_request(format!(
            "`redirect` has at most {REDIRECTS_MAX} rules"
        )));
    }
    let both = |text: &str| {
        let parts = text.split_once('/').filter(|(_, key)| !key.is_empty());
        let parts = parts.map(|(exchange, key)| (exchange.to_owned(), key.to_owned()));
        parts.ok_or_else(|| {
            Problem::bad_request(format!(
                "`redirect`: {text:?} is not written exchange/key, or /queue"
            ))
        })
    };
    let rules = asked.iter();
    rules
        .map(|(from, to)| {
            Ok(Redirect {
                from: both(from)?,
                to: both(to)?,
            })
        })
        .collect()
}

/// The letters that are named, in that order.
pub(super) async fn named(api: &Api, asked: Vec<Beginning>) -> Answer<Vec<LetterRow>> {
    if asked.len() > IDS_MAX {
        return Err(Problem::bad_request(format!(
            "`ids` has at most {IDS_MAX} ids; a filter names more"
        )));
    }
    let mut named = Vec::with_capacity(asked.len());
    for one in asked {
        named.push(found_head(api, one).await?);
    }
    Ok(named)
}

/// How far the letters that stand there have come.
pub(super) async fn newest(api: &Api, state: LetterState) -> Answer<Newest> {
    let not_after = clock::now().plus_ms(CLOCKS_OFF_MS);
    let found = api.reader.dead_letters_newest(state, not_after).await;
    found.map_err(|error| Problem::store(&error))
}

/// The same, no further than whoever asks has seen.
pub(super) fn seen(newest: Newest, as_of: Option<Moment>, died: Option<Moment>) -> Newest {
    let at = |Moment(at)| at;
    newest.up_to(as_of.map(at), died.map(at))
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
    let look = match asked.look_s {
        None => LOOK,
        Some(seconds @ 1..=LOOK_S_MAX) => Duration::from_secs(seconds.into()),
        Some(_) => {
            return Err(Problem::bad_request(format!(
                "`look_s` has to be 1 to {LOOK_S_MAX}"
            )));
        }
    };
    let orders = Orders {
        by: caller.by(asked.by.as_deref()),
        reason: text("reason", &asked.reason, !asked.dry_run)?,
        force: asked.force,
        target: target(asked.to.as_deref())?,
        redirect: redirects(&asked.redirect)?,
    };
    let mut filter = asked.filter.filter(Some(LetterState::Dead));
    let named = named(&api, asked.ids).await?;
    filter.ids = named.iter().map(|row| row.letter.id).collect();
    filter.oldest_first = !asked.newest_first;
    // before anything is looked at: what comes meanwhile is none of them
    let newest = newest(&api, LetterState::Dead).await?;
    if asked.dry_run {
        let plan = api.replay.plan(&filter, &orders, look).await;
        let plan = plan.map_err(|error| Problem::store(&error))?;
        return Ok(Json(Planned {
            operation: None,
            plan: Some(ShownPlan::of(&api, plan, newest)),
        }));
    }
    let at = clock::now();
    let mut row = OperationRow {
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
        found: 0,
        stage: 0,
        in_stage: Tally::default(),
        total: Tally::default(),
        cursor: None,
        wait_s: asked.wait_s.unwrap_or(WAIT_S).min(WAIT_S_MAX),
        leg: 0,
        moved_at: None,
        redirect: orders.redirect,
        back_s: asked.wait_s.unwrap_or(BACK_S).min(WAIT_S_MAX),
        seen: Tally::default(),
        as_of: asked.as_of.map(|Moment(at)| at),
        newest: Some(seen(newest, asked.as_of, asked.died_as_of)),
        held: Vec::new(),
        reached: None,
    };
    let found = api.replay.counted(&of_operation(&row), LOOK).await;
    row.found = found.map_err(|error| Problem::store(&error))?.0;
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
