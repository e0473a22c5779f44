//! Sagas that go on under another version of their definition: which run on older ones, what would become of each, and the moves themselves, page by page. A look
//! decides nothing: each move is decided by whoever drives the saga, on what it is at that moment.

use aide::axum::routing::post_with;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use baton_driver::guarded;
use baton_engine::input::Operator as By;
use baton_engine::upgrade::{Reason, ReasonKind, Versions, fits};
use baton_engine::{Catalogue, Definition, Input, Refusal, Status, Verdict};
use baton_messages::{InputId, SagaId, StepId};
use baton_store::read::PAGE_ROWS_MAX;
use baton_store::{Reader as _, SagaCursor, SagaFilter};
use futures::StreamExt as _;
use futures::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::actions::operator;
use super::auth::{Admin, Caller};
use super::definitions::Named;
use super::document::says;
use super::extract::{Body, Path};
use super::page::Limit;
use super::problem::{Answer, Problem};
use super::sagas::{COMMIT_WAIT, no_saga};
use super::seen::folded;
use super::{Api, DECIDES, Routes, Shared};
use crate::clock;

/// The standings of sagas that have not ended, in the order they are looked through.
const ACTIVE: [Status; 3] = [Status::Running, Status::Parked, Status::Compensating];
/// Rows looked at for one page: of a definition that many sagas run under the wanted version a page may be short, or empty, and have a `next`.
const LOOKED_AT_MAX: usize = 5_000;
/// Sagas counted by version: beyond it "so many, and more" says enough to a person.
const COUNTED_MAX: usize = 10_000;
/// Moves (or looks) of one page under way at once: enough to share commits, and no flood.
const AT_ONCE: usize = 16;

/// The routes.
pub(super) fn routes(routes: Routes) -> Routes {
    routes.api_route(
        "/definitions/{name}/upgrade",
        post_with(
            upgrade,
            says(
                "upgradeSagas",
                "definitions",
                "Move running sagas to a registered version, where what has happened to each could have happened under it; or, with `dry_run`, say what would become of each. Page by page.",
                DECIDES,
            ),
        ),
    )
}

/// Which sagas, and to which version.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "UpgradeSagas")]
pub(crate) struct Asked {
    /// The version they are to run.
    to: u32,
    /// Only those of this version; those of all older ones when absent.
    from: Option<u32>,
    /// Only this one, whatever version it runs.
    saga: Option<SagaId>,
    /// Say what would become of each, and move none.
    #[serde(default)]
    dry_run: bool,
    /// Why, for whoever reads it later; needed unless it is a dry run.
    #[schemars(length(min = 1, max = 2_000))]
    reason: Option<String>,
    /// Minted by the caller: the same page asked for again carries the same id.
    id: Option<InputId>,
    /// On whose behalf, for the record.
    by: Option<String>,
    limit: Option<Limit>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// A page of them.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Upgrades")]
pub(crate) struct Page {
    definition: String,
    to: u32,
    dry_run: bool,
    /// How many of this page were moved, or would be.
    moved: usize,
    /// How many of this page stay on their version.
    stay: usize,
    /// Of how many of this page it is not known; asked again, it is.
    unknown: usize,
    sagas: Vec<One>,
    /// The next page's `cursor`; none: this was the last.
    next: Option<String>,
}

/// What becomes of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "UpgradeOutcome")]
enum Outcome {
    /// It would be moved, as it stands.
    WouldMove,
    /// It was moved.
    Moved,
    /// It stays on its version.
    Stays,
    /// Nobody knows: nobody answered in time, or whoever drives it could not read it.
    Unknown,
}

/// One saga.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Upgrade")]
struct One {
    id: SagaId,
    /// The version it ran when it was looked at.
    from: u32,
    outcome: Outcome,
    /// Why it stays; empty unless it does.
    reasons: Vec<Told>,
    /// What went wrong, where nobody knows what came of it.
    why: Option<String>,
}

/// A reason, with what to do about it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UpgradeHindrance")]
struct Told {
    kind: ReasonKind,
    /// The step it is about, where it is about one.
    step: Option<StepId>,
    /// What differs.
    what: String,
    /// What to do.
    help: &'static str,
}

impl One {
    fn of(id: SagaId, from: u32, came: Came) -> Self {
        let (outcome, reasons, why) = match came {
            Came::Fits => (Outcome::WouldMove, Vec::new(), None),
            Came::Moved => (Outcome::Moved, Vec::new(), None),
            Came::Stays(reasons) => (Outcome::Stays, reasons, None),
            Came::Unknown(why) => (Outcome::Unknown, Vec::new(), Some(why)),
        };
        let told = |reason: Reason| Told {
            help: reason.kind.help(),
            kind: reason.kind,
            step: reason.step,
            what: reason.what,
        };
        Self {
            id,
            from,
            outcome,
            reasons: reasons.into_iter().map(told).collect(),
            why,
        }
    }
}

/// What came of a look, or of a move.
enum Came {
    Fits,
    Moved,
    Stays(Vec<Reason>),
    Unknown(String),
}

/// So many sagas that have not ended run on a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct OnVersion {
    version: u32,
    /// How many were counted.
    sagas: usize,
    /// Whether there may be more: counting stops at 10,000 sagas of a definition.
    more: bool,
}

/// Where a page ended: which standing was looked through, and the last row of it that was seen.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Place(usize, Option<(u64, Uuid)>);

impl Place {
    const FIRST: Self = Self(0, None);

    fn read(text: &str) -> Answer<Self> {
        let read: Option<Self> = serde_json::from_str(text).ok();
        read.filter(|Self(standing, _)| *standing < ACTIVE.len())
            .ok_or_else(|| {
                Problem::bad_request(
                    "`cursor` is none that was given: take `next` of the page before",
                )
            })
    }

    fn text(self) -> Option<String> {
        serde_json::to_string(&self).ok()
    }

    fn after(self) -> Option<SagaCursor> {
        let (at, id) = self.1?;
        Some(SagaCursor {
            started_at: baton_messages::Timestamp(at),
            saga: SagaId(id),
        })
    }
}

/// A saga and the version its row says.
type OnRow = (SagaId, u32);

impl Api {
    /// Sagas of a definition that have not ended and whose version is wanted, at most `limit` of at most so many rows, from a place on; and the place to go on from.
    async fn running(
        &self,
        name: &str,
        wanted: impl Fn(u32) -> bool,
        from: Place,
        (limit, rows_max): (usize, usize),
    ) -> Answer<(Vec<OnRow>, Option<Place>)> {
        let (mut place, mut found, mut looked) = (from, Vec::new(), 0);
        loop {
            let Some(status) = ACTIVE.get(place.0) else {
                return Ok((found, None));
            };
            if found.len() >= limit || looked >= rows_max {
                return Ok((found, Some(place)));
            }
            let filter = SagaFilter {
                status: Some(*status),
                definition: Some(name.to_owned()),
                ..SagaFilter::default()
            };
            let page = self
                .reader
                .sagas(filter, place.after(), PAGE_ROWS_MAX)
                .await;
            let page = page.and_then(|page| page.whole("sagas of a definition"));
            let page = page.map_err(|error| Problem::store(&error))?;
            for row in &page.rows {
                if found.len() >= limit {
                    return Ok((found, Some(place)));
                }
                looked += 1;
                place = Place(place.0, Some((row.started_at.0, row.saga.0)));
                if wanted(row.version) {
                    found.push((row.saga, row.version));
                }
            }
            if page.next.is_none() {
                place = Place(place.0 + 1, None);
            }
        }
    }

    /// How many sagas that have not ended run on versions before this one.
    pub(super) async fn on_older(&self, name: &str, version: u32) -> Answer<Vec<OnVersion>> {
        let older = |one: u32| one < version;
        let most = (COUNTED_MAX, COUNTED_MAX);
        let (found, next) = self.running(name, older, Place::FIRST, most).await?;
        let mut counts = std::collections::BTreeMap::<u32, usize>::new();
        for (_, version) in found {
            *counts.entry(version).or_default() += 1;
        }
        let counted = counts.into_iter().map(|(version, sagas)| OnVersion {
            version,
            sagas,
            more: next.is_some(),
        });
        Ok(counted.collect())
    }

    /// What becomes of a saga, by somebody; by nobody, what would.
    async fn came(
        &self,
        (saga, from): (SagaId, u32),
        (next, catalogue): (&Definition, &Catalogue),
        by: Option<&By>,
    ) -> Came {
        let Some(by) = by else {
            let would = self.would(saga, next, catalogue).await;
            return would.unwrap_or_else(|problem| Came::Unknown(problem.detail().to_owned()));
        };
        // of this page, this saga and that version: sent again it is the same
        let of = format!("{saga} to {}", next.version);
        let id = InputId(Uuid::new_v5(&by.id.0, of.as_bytes()));
        let operator = By { id, ..by.clone() };
        self.move_one(saga, (from, next.version), operator).await
    }

    /// What would become of a saga, as it stands.
    async fn would(&self, saga: SagaId, next: &Definition, catalogue: &Catalogue) -> Answer<Came> {
        let found = folded(&self.reader, saga).await;
        let state = match found {
            Ok(Some(found)) => found.state,
            Ok(None) => return Err(no_saga()),
            Err(error) => return Ok(Came::Unknown(crate::chain::chain(&error))),
        };
        let was = self.definition(&state.definition, state.version).await?;
        let Some(was) = was else {
            let named = format!("{}@{}", state.definition, state.version);
            return Ok(Came::Unknown(format!(
                "its definition {named} cannot be read"
            )));
        };
        let versions = Versions {
            was: &was,
            next,
            catalogue,
        };
        let fits = guarded(|| fits(versions, &state, clock::now()));
        Ok(match fits {
            Ok(Ok(_)) => Came::Fits,
            Ok(Err(reasons)) => Came::Stays(reasons),
            Err(panic) => Came::Unknown(format!("to look whether it fits {panic}")),
        })
    }

    /// Has a saga moved, wherever it is driven.
    async fn move_one(&self, saga: SagaId, (from, to): (u32, u32), operator: By) -> Came {
        let from = Some(from);
        let input = Input::Upgrade { to, from, operator };
        match self.router.decided(saga, input, COMMIT_WAIT).await {
            Ok(Verdict::Applied | Verdict::Duplicate) => Came::Moved,
            Ok(Verdict::Refused(Refusal::Stays { reasons })) => Came::Stays(reasons),
            Ok(Verdict::Refused(Refusal::Ended { status })) => Came::Stays(vec![Reason {
                kind: ReasonKind::Ended,
                step: None,
                what: format!("it has ended: it is {status}"),
            }]),
            Ok(Verdict::Refused(refusal)) => Came::Unknown(refusal.to_string()),
            Ok(Verdict::Ignored { why }) => Came::Unknown(why),
            Err(not) => Came::Unknown(Problem::not_taken(not, saga).detail().to_owned()),
        }
    }

    /// The sagas of a page, and where the next begins.
    async fn meant(&self, name: &str, asked: &Asked) -> Answer<(Vec<OnRow>, Option<Place>)> {
        let (to, from) = (asked.to, asked.from);
        if let Some(saga) = asked.saga {
            let row = self.reader.saga_row(saga).await;
            let row = row.map_err(|error| Problem::store(&error))?;
            let row = row.ok_or_else(no_saga)?;
            if row.definition != name {
                let text = format!("saga {saga} is one of {}, not of {name}", row.definition);
                return Err(Problem::bad_request(text));
            }
            return Ok((vec![(saga, row.version)], None));
        }
        let wanted = |version: u32| from.map_or(version < to, |from| version == from);
        let place = asked.cursor.as_deref().map(Place::read).transpose()?;
        let most = (Limit::rows(asked.limit), LOOKED_AT_MAX);
        self.running(name, wanted, place.unwrap_or(Place::FIRST), most)
            .await
    }
}

/// Moves sagas to a version, or says what would become of them.
pub(crate) async fn upgrade(
    State(api): Shared,
    Admin(caller): Admin,
    Path(of): Path<Named>,
    Body(asked): Body<Asked>,
) -> Answer<Json<Page>> {
    let name = of.name();
    let by = acting(&caller, &asked)?;
    if asked.from == Some(asked.to) {
        let text = "`from` and `to` are the same version: nothing would be moved";
        return Err(Problem::bad_request(text));
    }
    let Some(next) = api.definition(name, asked.to).await? else {
        let to = asked.to;
        return Err(Problem::not_found(format!(
            "{name}@{to} is not registered: `baton apply` it first; see /v1/definitions/{name}"
        )));
    };
    let (sagas, place) = api.meant(name, &asked).await?;
    let catalogue = api.catalogue();
    let (api, next, by) = (&api, (&*next, &catalogue), by.as_ref());
    let each = stream::iter(sagas).map(|(saga, from)| async move {
        One::of(saga, from, api.came((saga, from), next, by).await)
    });
    let sagas: Vec<One> = each.buffered(AT_ONCE).collect().await;
    let page = Page {
        definition: name.to_owned(),
        to: asked.to,
        dry_run: asked.dry_run,
        moved: count(&sagas, &[Outcome::Moved, Outcome::WouldMove]),
        stay: count(&sagas, &[Outcome::Stays]),
        unknown: count(&sagas, &[Outcome::Unknown]),
        sagas,
        next: place.and_then(Place::text),
    };
    caller
        .said
        .came(json!({ "moved": page.moved, "stay": page.stay, "unknown": page.unknown }));
    Ok(Json(page))
}

fn count(sagas: &[One], wanted: &[Outcome]) -> usize {
    let of = sagas.iter().filter(|one| wanted.contains(&one.outcome));
    of.count()
}

/// Who moves them, and why; none of a dry run.
fn acting(caller: &Caller, asked: &Asked) -> Answer<Option<By>> {
    if asked.dry_run {
        return Ok(None);
    }
    let Some(reason) = &asked.reason else {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "The request cannot be read",
            "`reason` is needed: it stands in the history of each saga that is moved; with `dry_run` none is",
        ));
    };
    operator(caller, reason, asked.id, None, asked.by.as_deref()).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written_and_nothing_else_is() {
        let place = Place(1, Some((7, Uuid::from_u128(9))));
        let text = place.text().unwrap();
        let read = Place::read(&text).unwrap();
        assert_eq!((read.0, read.1), (place.0, place.1));
        assert_eq!(read.after().unwrap().saga, SagaId(Uuid::from_u128(9)));
        for wrong in ["", "3", "[3,null]", "[0,[1,\"x\"]]"] {
            assert!(Place::read(wrong).is_err(), "{wrong}");
        }
    }
}
