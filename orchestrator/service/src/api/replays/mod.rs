//! Dead letters moved by an operator: one of them replayed, discarded, restored, noted; many replayed as a durable operation, or discarded at once; and groups
//! of one cause. What sends a letter back, discards or restores it has an id: sent again it is the same action. Where a letter goes is decided in `replay/route.rs`.

mod discards;
mod groups;
mod many;
mod one;
mod operations;

use aide::axum::routing::{get_with, post_with};
use baton_messages::InputId;
use baton_store::letters::Mover;
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use super::auth::Caller;
use super::dead_letters::{edits, export, import};
use super::document::says;
use super::problem::{Answer, Problem};
use super::{READS, READS_ONE, Routes};
use crate::clock;
use crate::replay::Target;

/// Longest reason and note that are kept.
const REASON_CHARS_MAX: usize = 2_000;
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
                one::replay,
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
                one::discard,
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
                one::restore,
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
                one::note,
                says(
                    "noteDeadLetter",
                    "Note something on a dead letter, in place of what was noted before, which stays in its history.",
                    MOVES,
                ),
            ),
        );
    let routes = routes
        .api_route("/dead-letters/{id}/edit", post_with(edits::edit, says("editDeadLetter", "Edit a copy of a dead letter, which is sent from then on; the original stays as it came.", MOVES)))
        .api_route("/dead-letters/export", get_with(export::export, says("exportDeadLetters", "Dead letters as JSON lines, bodies in full, however many.", READS)))
        .api_route("/dead-letters/import", post_with(import::import, says("importDeadLetters", "Dead letters from JSON lines, however many; those that are there stay as they are.", &[422, 503])));
    let routes = routes
        .api_route("/dead-letters/groups", get_with(groups::groups, says("listDeadLetterGroups", "Groups of letters of one cause that are dead, largest first.", READS)))
        .api_route("/dead-letters/replays", post_with(many::replay_many, says("replayDeadLetters", "Replay many dead letters, as an operation that survives a crash; or, with `dry_run`, say what it would do.", MOVES_MANY)))
        .api_route("/dead-letters/discards", post_with(discards::discard_many, says("discardDeadLetters", "Say that many dead letters are not wanted: at most 1,000 at once.", MOVES_MANY)))
        .api_route("/dead-letters/restores", post_with(discards::restore_many, says("restoreDeadLetters", "Take many discards back: at most 1,000 at once.", MOVES_MANY)));
    let routes = routes
        .api_route(
            "/dead-letters/operations",
            get_with(
                operations::operations,
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
                operations::operation,
                says("getDeadLetterOperation", "One replay of many.", READS_ONE),
            ),
        );
    routes
        .api_route("/dead-letters/operations/{id}/pause", post_with(operations::pause, says("pauseDeadLetterOperation", "Stop a replay of many for a while.", MOVES)))
        .api_route("/dead-letters/operations/{id}/resume", post_with(operations::resume, says("resumeDeadLetterOperation", "Have a replay of many go on; one that stopped by itself begins with a canary again.", MOVES)))
        .api_route("/dead-letters/operations/{id}/cancel", post_with(operations::cancel, says("cancelDeadLetterOperation", "End a replay of many; what it has done stays.", MOVES)))
}

/// An action on one letter, with its reason.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Because {
    /// Why, for whoever reads it later.
    #[serde(default)]
    #[schemars(length(max = 2_000))]
    pub(super) reason: String,
    /// Minted by the caller: the same action sent again carries the same id.
    pub(super) id: Option<InputId>,
    /// On whose behalf, for the record.
    pub(super) by: Option<String>,
}

pub(super) fn text(what: &str, text: &str, needed: bool) -> Answer<String> {
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

pub(super) fn mover(caller: &Caller, id: Option<InputId>, by: Option<&str>, why: String) -> Mover {
    Mover {
        action: id.map_or_else(Uuid::now_v7, |id| id.0),
        by: caller.by(by),
        why,
        at: clock::now(),
    }
}
