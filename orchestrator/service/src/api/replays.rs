//! Dead letters moved by an operator: one of them replayed, discarded, restored, noted; many replayed as a durable operation, or discarded at once; and groups
//! of one cause. Each action has an id: sent again it is the same action. Where a letter goes is decided in `replay/route.rs`.

use std::collections::BTreeMap;

use aide::axum::routing::{get_with, post_with};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use baton_messages::{DeadReason, InputId, SagaId, Timestamp};
use baton_store::letters::{Move, Mover, OperationStep, Tally};
use baton_store::{
    DeadLetterCursor, DeadLetterFilter, LetterRow, LetterState, Letters as _, OperationRow,
    OperationState, Reader as _,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::auth::{Caller, Operator, Viewer};
use super::dead_letters::{Stands, WhichLetter, found};
use super::document::says;
use super::extract::{Body, Nothing, Path, Query};
use super::page::{Cursor, Limit, Moment};
use super::problem::{Answer, Problem};
use super::{Api, READS, READS_ONE, Routes, Shared};
use crate::clock;
use crate::replay::{Orders, Plan, Target};

/// Longest reason and note that are kept.
const REASON_CHARS_MAX: usize = 2_000;
/// Letters a second where nothing is said, and at most.
const RATE: u32 = 50;
const RATE_MAX: u32 = 1_000;
/// In percent: the share of a stage that may fail again where nothing is said.
const STOP_AT: u8 = 20;
/// Letters that are discarded in one request.
const DISCARDS_MAX: u64 = 1_000;
/// Groups that are looked at; the largest of them are told.
const GROUPS_MAX: usize = 10_000;
/// Letters of a page that is moved: each may be half a mebibyte.
const PAGE: usize = 50;
/// What may go wrong with one letter that is moved.
const MOVES: &[u16] = &[404, 409, 422, 503];
/// What may go wrong with many.
const MOVES_MANY: &[u16] = &[409, 422, 503];

/// The routes.
pub(super) fn routes(routes: Routes) -> Routes {
    let says = |id, summary, problems| says(id, "people", summary, problems);
    let routes = routes
        .api_route(
            "/dead-letters/{id}/replay",
            post_with(
                replay,
                says(
                    "replayDeadLetter",
                    "Send a dead letter back to work.",
                    MOVES,
                ),
            ),
        )
        .api_route(
            "/dead-letters/{id}/discard",
            post_with(
                discard,
                says(
                    "discardDeadLetter",
                    "Say that a dead letter is not wanted.",
                    MOVES,
                ),
            ),
        )
        .api_route(
            "/dead-letters/{id}/restore",
            post_with(
                restore,
                says(
                    "restoreDeadLetter",
                    "Say that a discarded letter is wanted after all.",
                    MOVES,
                ),
            ),
        )
        .api_route(
            "/dead-letters/{id}/note",
            post_with(
                note,
                says(
                    "noteDeadLetter",
                    "Note something on a dead letter, in place of what was noted before.",
                    MOVES,
                ),
            ),
        );
    let routes = routes
        .api_route("/dead-letters/groups", get_with(groups, says("listDeadLetterGroups", "Groups of letters of one cause that are dead, largest first.", READS)))
        .api_route("/dead-letters/replays", post_with(replay_many, says("replayDeadLetters", "Replay many dead letters, as an operation that survives a crash; or, with `dry_run`, say what it would do.", MOVES_MANY)))
        .api_route("/dead-letters/discards", post_with(discard_many, says("discardDeadLetters", "Say that many dead letters are not wanted: at most 1,000 at once.", MOVES_MANY)));
    let routes = routes
        .api_route(
            "/dead-letters/operations",
            get_with(
                operations,
                says(
                    "listDeadLetterOperations",
                    "Replays of many dead letters, newest first.",
                    READS,
                ),
            ),
        )
        .api_route(
            "/dead-letters/operations/{id}",
            get_with(
                operation,
                says("getDeadLetterOperation", "One replay of many.", READS_ONE),
            ),
        );
    routes
        .api_route("/dead-letters/operations/{id}/pause", post_with(pause, says("pauseDeadLetterOperation", "Stop a replay of many for a while.", MOVES)))
        .api_route("/dead-letters/operations/{id}/resume", post_with(resume, says("resumeDeadLetterOperation", "Have a replay of many go on; one that stopped by itself begins with a canary again.", MOVES)))
        .api_route("/dead-letters/operations/{id}/cancel", post_with(cancel, says("cancelDeadLetterOperation", "End a replay of many; what it has done stays.", MOVES)))
}

/// How one letter is replayed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayOne {
    /// Why, for whoever reads it later; needed with `force`.
    #[serde(default)]
    #[schemars(length(max = 2_000))]
    reason: String,
    /// Send it although it was replayed three times already, or its time to live was over.
    #[serde(default)]
    force: bool,
    /// Of a message of others: where to send it instead of where it came from, as `exchange/key`; without an exchange, to the queue `/name`.
    to: Option<String>,
    /// Minted by the caller: the same action sent again carries the same id.
    id: Option<InputId>,
    /// On whose behalf, for the record.
    by: Option<String>,
}

/// An action on one letter, with its reason.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Because {
    /// Why, for whoever reads it later.
    #[serde(default)]
    #[schemars(length(max = 2_000))]
    reason: String,
    /// Minted by the caller: the same action sent again carries the same id.
    id: Option<InputId>,
    /// On whose behalf, for the record.
    by: Option<String>,
}

/// A note.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Noted {
    /// What is to be known of it; empty takes the note away.
    #[schemars(length(max = 2_000))]
    note: String,
}

/// A letter after an action.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Acted {
    /// The letter.
    id: Uuid,
    /// Where it stands now.
    state: Stands,
    /// How often it was sent back to work.
    replays: u32,
    /// What came of it, in a sentence.
    outcome: Option<String>,
    /// Whether this action had been done already.
    duplicate: bool,
}

impl Acted {
    fn of(row: LetterRow, duplicate: bool) -> Json<Self> {
        Json(Self {
            id: row.letter.id,
            state: row.now.state.into(),
            replays: row.now.replays,
            outcome: row.now.outcome,
            duplicate,
        })
    }
}

fn text(what: &str, text: &str, needed: bool) -> Answer<String> {
    let text = text.trim();
    let least = usize::from(needed);
    if (least..=REASON_CHARS_MAX).contains(&text.chars().count()) {
        return Ok(text.to_owned());
    }
    Err(Problem::bad_request(format!(
        "`{what}` has to be {least} to {REASON_CHARS_MAX} characters"
    )))
}

fn target(to: Option<&str>) -> Answer<Option<Target>> {
    let Some(to) = to else { return Ok(None) };
    let parts = to.split_once('/');
    let (exchange, key) =
        parts.ok_or_else(|| Problem::bad_request("`to` is written exchange/key, or /queue"))?;
    let (exchange, key) = (exchange.to_owned(), key.to_owned());
    Ok(Some(Target { exchange, key }))
}

fn refused(why: impl Into<String>) -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "replay-refused",
        "It is not sent back to work",
        why,
    )
}

/// What a letter that does not stand where it has to says of itself.
fn stands_elsewhere(row: &LetterRow, wanted: LetterState) -> Problem {
    let now = &row.now;
    let by = now.changed_by.as_deref().unwrap_or("somebody");
    let more = match now.state {
        LetterState::Discarded => "; restore it first",
        LetterState::Dead | LetterState::Replaying | LetterState::Resolved => "",
    };
    Problem::new(
        StatusCode::CONFLICT,
        "not-now",
        "Not possible where it stands",
        format!(
            "it is {}, by {by}, and has to be {}{more}",
            now.state.as_str(),
            wanted.as_str()
        ),
    )
}

fn mover(caller: &Caller, id: Option<InputId>, by: Option<&str>, why: String) -> Mover {
    Mover {
        action: id.map_or_else(Uuid::now_v7, |id| id.0),
        by: caller.by(by),
        why,
        at: clock::now(),
    }
}

/// Moves a letter; true when this action had done it before.
async fn moved(
    api: &Api,
    row: &LetterRow,
    from: LetterState,
    to: LetterState,
    mover: Mover,
) -> Answer<bool> {
    let (letter, action) = (row.letter.id, mover.action);
    if row.now.action == Some(action) {
        return Ok(true);
    }
    let asked = Move {
        letter,
        from,
        to,
        mover,
    };
    let done = api.replay.letters.move_letter(asked).await;
    if done.map_err(|error| Problem::store(&error))? {
        return Ok(false);
    }
    let now = again(api, letter).await?;
    if now.now.action == Some(action) {
        return Ok(true);
    }
    Err(stands_elsewhere(&now, from))
}

async fn again(api: &Api, letter: Uuid) -> Answer<LetterRow> {
    let rows = api.reader.dead_letters_between(letter, letter).await;
    let mut rows = rows.map_err(|error| Problem::store(&error))?;
    rows.pop()
        .ok_or_else(|| Problem::not_found("it is not kept any more"))
}

/// Sends one back to work.
pub(crate) async fn replay(
    State(api): Shared,
    Operator(caller): Operator,
    Path(WhichLetter { id }): Path<WhichLetter>,
    Body(asked): Body<ReplayOne>,
) -> Answer<Json<Acted>> {
    let row = found(&api, id).await?;
    let orders = Orders {
        by: caller.by(asked.by.as_deref()),
        reason: text("reason", &asked.reason, asked.force)?,
        force: asked.force,
        target: target(asked.to.as_deref())?,
    };
    let mover = mover(
        &caller,
        asked.id,
        asked.by.as_deref(),
        orders.reason.clone(),
    );
    if row.now.state == LetterState::Dead && row.now.action != Some(mover.action) {
        let foreseen = api.replay.foresee(&row, &orders).await;
        if let Err(crate::replay::Never::Refused(why)) =
            foreseen.map_err(|error| Problem::store(&error))?
        {
            return Err(refused(why));
        }
    }
    let action = mover.action;
    let (from, to) = (LetterState::Dead, LetterState::Replaying);
    if moved(&api, &row, from, to, mover).await? {
        return Ok(Acted::of(again(&api, row.letter.id).await?, true));
    }
    let set_out = again(&api, row.letter.id).await?;
    if let Err(not) = api.replay.carry(&set_out, &orders, false).await {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not-committed",
            "Not committed in time",
            format!("it is on its way, and nobody can say yet what comes of it ({not}); it is done again by itself within some minutes: look at it then"),
        )
        .with("id", json!(action.to_string()))
        .again_after_s(5));
    }
    Ok(Acted::of(again(&api, row.letter.id).await?, false))
}

/// Is not wanted.
pub(crate) async fn discard(
    State(api): Shared,
    Operator(caller): Operator,
    Path(WhichLetter { id }): Path<WhichLetter>,
    Body(asked): Body<Because>,
) -> Answer<Json<Acted>> {
    let why = text("reason", &asked.reason, true)?;
    let row = found(&api, id).await?;
    let mover = mover(&caller, asked.id, asked.by.as_deref(), why);
    let (from, to) = (LetterState::Dead, LetterState::Discarded);
    let duplicate = moved(&api, &row, from, to, mover).await?;
    Ok(Acted::of(again(&api, row.letter.id).await?, duplicate))
}

/// Is wanted after all.
pub(crate) async fn restore(
    State(api): Shared,
    Operator(caller): Operator,
    Path(WhichLetter { id }): Path<WhichLetter>,
    Body(asked): Body<Because>,
) -> Answer<Json<Acted>> {
    let why = text("reason", &asked.reason, false)?;
    let row = found(&api, id).await?;
    let mover = mover(&caller, asked.id, asked.by.as_deref(), why);
    let (from, to) = (LetterState::Discarded, LetterState::Dead);
    let duplicate = moved(&api, &row, from, to, mover).await?;
    Ok(Acted::of(again(&api, row.letter.id).await?, duplicate))
}

/// Notes something.
pub(crate) async fn note(
    State(api): Shared,
    Operator(_): Operator,
    Path(WhichLetter { id }): Path<WhichLetter>,
    Body(asked): Body<Noted>,
) -> Answer<Json<Acted>> {
    let note = text("note", &asked.note, false)?;
    let row = found(&api, id).await?;
    let noted = api.replay.letters.note(row.letter.id, note).await;
    noted.map_err(|error| Problem::store(&error))?;
    Ok(Acted::of(again(&api, row.letter.id).await?, false))
}

/// Which dead letters: all that is given has to fit.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LetterFilter {
    /// Those that died of this.
    reason: Option<DeadReason>,
    /// Those that came from this queue.
    queue: Option<String>,
    /// Those of this kind of message.
    kind: Option<String>,
    /// Those that speak of this saga.
    saga: Option<SagaId>,
    /// Those taken in then or later.
    since: Option<Moment>,
    /// Those taken in then or earlier.
    until: Option<Moment>,
    /// Those whose error or body has this in it, to the letter.
    text: Option<String>,
    /// Those of this group.
    group: Option<String>,
}

impl LetterFilter {
    fn dead(self) -> DeadLetterFilter {
        DeadLetterFilter {
            reason: self.reason,
            queue: self.queue,
            kind: self.kind,
            saga: self.saga,
            from: self.since.map(|Moment(at)| at),
            until: self.until.map(|Moment(at)| at),
            text: self.text,
            state: Some(LetterState::Dead),
            group: self.group,
            changed_until: None,
        }
    }
}

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
    let filter = asked.filter.dead();
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
    let begun = api.replay.letters.begin(row).await;
    begun.map_err(|error| Problem::store(&error))?;
    api.replay.poke.notify_one();
    Ok(Json(Planned {
        operation: Some(operation_row(&api, id).await?),
        plan: None,
    }))
}

async fn operation_row(api: &Api, id: Uuid) -> Answer<Operation> {
    let found = api.reader.dead_operation(id).await;
    let found = found.map_err(|error| Problem::store(&error))?;
    found
        .map(Operation::from)
        .ok_or_else(|| Problem::not_found("no replay of dead letters has this id"))
}

/// Many that are not wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiscardMany {
    /// Which letters: of those that are dead now.
    #[serde(default)]
    filter: LetterFilter,
    /// Why, for whoever reads it later.
    #[schemars(length(min = 1, max = 2_000))]
    reason: String,
    /// On whose behalf, for the record.
    by: Option<String>,
}

/// What was discarded.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DiscardedMany {
    /// Letters that fitted.
    found: u64,
    /// How many of them this request discarded: others may have been moved meanwhile.
    discarded: u64,
}

/// Discards many.
pub(crate) async fn discard_many(
    State(api): Shared,
    Operator(caller): Operator,
    Body(asked): Body<DiscardMany>,
) -> Answer<Json<DiscardedMany>> {
    let why = text("reason", &asked.reason, true)?;
    let store = |error| Problem::store(&error);
    let mut filter = asked.filter.dead();
    let found = api.reader.dead_letters_count(filter.clone()).await;
    let found = found.map_err(store)?;
    if found > DISCARDS_MAX {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "too-many",
            "Too many at once",
            format!(
                "{found} letters fit, and at most {DISCARDS_MAX} are discarded at once; narrow it, by `since` and `until` or by `group`, and repeat it"
            ),
        ));
    }
    let mover = mover(&caller, None, asked.by.as_deref(), why);
    let until = filter.until.map_or(mover.at, |until| until.min(mover.at));
    filter.until = Some(until);
    let (mut discarded, mut after) = (0, None);
    loop {
        let page = api.reader.dead_letters(filter.clone(), after, PAGE).await;
        let page = page.map_err(store)?;
        for row in page.rows {
            let asked = Move {
                letter: row.letter.id,
                from: LetterState::Dead,
                to: LetterState::Discarded,
                mover: mover.clone(),
            };
            let done = api.replay.letters.move_letter(asked).await;
            discarded += u64::from(done.map_err(store)?);
        }
        after = page.next;
        if after.is_none() {
            return Ok(Json(DiscardedMany { found, discarded }));
        }
    }
}

/// Which operations.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichOperations {
    limit: Option<Limit>,
    cursor: Option<Cursor>,
}

/// A page of operations.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Operations {
    /// Newest first.
    operations: Vec<Operation>,
    /// The next page's `cursor`; none: this was the last.
    next: Option<String>,
}

/// Replays of many.
pub(crate) async fn operations(
    State(api): Shared,
    Viewer(_): Viewer,
    Query(which): Query<WhichOperations>,
) -> Answer<Json<Operations>> {
    let after: Option<DeadLetterCursor> = which.cursor.map(Cursor::dead_letter);
    let limit = Limit::rows(which.limit);
    let page = api.reader.dead_operations(after, limit).await;
    let page = page.map_err(|error| Problem::store(&error))?;
    Ok(Json(Operations {
        operations: page.rows.into_iter().map(Operation::from).collect(),
        next: page.next.map(|next| Cursor::text(next.at, next.id, 0)),
    }))
}

/// The operation a path names.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct WhichOperation {
    id: Uuid,
}

/// One replay of many.
pub(crate) async fn operation(
    State(api): Shared,
    Viewer(_): Viewer,
    Path(WhichOperation { id }): Path<WhichOperation>,
    Query(Nothing {}): Query<Nothing>,
) -> Answer<Json<Operation>> {
    operation_row(&api, id).await.map(Json)
}

macro_rules! steers {
    ($($(#[$doc:meta])* $name:ident: [$($from:ident),*] => $to:ident;)*) => {$(
        $(#[$doc])*
        pub(crate) async fn $name(
            State(api): Shared,
            Operator(caller): Operator,
            Path(WhichOperation { id }): Path<WhichOperation>,
            Body(asked): Body<Because>,
        ) -> Answer<Json<Operation>> {
            steer(&api, &caller, id, &[$(OperationState::$from),*], OperationState::$to, asked).await
        }
    )*};
}

steers! {
    /// For a while.
    pause: [Running] => Paused;
    /// On.
    resume: [Paused, Stopped] => Running;
    /// For good.
    cancel: [Running, Paused, Stopped] => Cancelled;
}

async fn steer(
    api: &Api,
    caller: &Caller,
    id: Uuid,
    from: &[OperationState],
    to: OperationState,
    asked: Because,
) -> Answer<Json<Operation>> {
    let step = OperationStep::Steer {
        from: from.to_vec(),
        to,
        why: text("reason", &asked.reason, false)?,
        by: caller.by(asked.by.as_deref()),
        at: clock::now(),
    };
    let done = api.replay.letters.step(id, step).await;
    let done = done.map_err(|error| Problem::store(&error))?;
    api.replay.poke.notify_one();
    let now = operation_row(api, id).await?;
    // asked for again, it stands there already
    if done == Some(false) && now.state != to.as_str() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "not-now",
            "Not possible where it stands",
            format!("the replay is {}: {}", now.state, now.why),
        ));
    }
    Ok(Json(now))
}

/// How many groups.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichGroups {
    limit: Option<Limit>,
}

/// Groups.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Groups {
    /// Largest first.
    groups: Vec<Group>,
    /// How many groups there are beside these.
    more: u64,
}

/// Letters of one cause that are dead.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Group {
    /// Its key: `group` of a filter.
    group: String,
    reason: DeadReason,
    /// The kind of message.
    kind: Option<String>,
    /// What they say, without what differs from one to the next.
    error: String,
    /// How many.
    dead: u64,
    /// When the first and the last of them were taken in.
    first_at: Timestamp,
    last_at: Timestamp,
    /// The last of them.
    sample: Uuid,
}

/// Groups of letters of one cause.
pub(crate) async fn groups(
    State(api): Shared,
    Viewer(_): Viewer,
    Query(which): Query<WhichGroups>,
) -> Answer<Json<Groups>> {
    let store = |error| Problem::store(&error);
    let all = api.reader.dead_letter_groups(GROUPS_MAX).await;
    let mut all = all.map_err(store)?;
    all.sort_by(|a, b| b.dead.cmp(&a.dead).then_with(|| a.group.cmp(&b.group)));
    let limit = Limit::rows(which.limit);
    let more = all.len().saturating_sub(limit) as u64;
    all.truncate(limit);
    let mut groups = Vec::with_capacity(all.len());
    for one in all {
        let filter = DeadLetterFilter {
            state: Some(LetterState::Dead),
            group: Some(one.group.clone()),
            ..DeadLetterFilter::default()
        };
        let page = api.reader.dead_letters(filter, None, 1).await;
        let last = page.map_err(store)?.rows.pop();
        // all of it was moved meanwhile
        let Some(LetterRow { letter, .. }) = last else {
            continue;
        };
        groups.push(Group {
            group: one.group,
            reason: letter.reason,
            kind: letter.kind,
            error: baton_store::group::normalised(&letter.error),
            dead: one.dead,
            first_at: one.first_at,
            last_at: one.last_at,
            sample: letter.id,
        });
    }
    Ok(Json(Groups { groups, more }))
}
