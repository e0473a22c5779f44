//! What there is to alert somebody of, looked for in the store, among the workers that were heard, and in what is registered. Every search has a bound; what could not be looked at
//! whole is said to be so, and nothing of it counts as over. Of what is beyond the bound of open alerts nothing is read but that it is there.

mod items;
mod letters;
mod mistakes;
mod progress;
mod replays;
mod standing;
mod unserved;
mod workers;

use std::collections::{BTreeMap, BTreeSet};

use baton_driver::StoreError;
use baton_engine::WorkItemKind;
use baton_engine::definition::{Trigger, registered_as};
use baton_messages::alert::{ALERT_OPENED, ALERT_REPEATED, ALERT_RESOLVED};
use baton_messages::{SagaId, Timestamp};
use baton_store::{AlertRow, AlertState, AnyReader, Reader as _, WorkItemView};
use serde_json::{Value, json};

use self::letters::Groups;
use self::mistakes::Mistakes;
use self::standing::Rounds;
use self::unserved::Unserved;
use super::{Kind, OPEN_MAX, Uses};
use crate::chain::chain;
use crate::{choices, metrics};

/// Open work items of one kind that are looked at.
const ITEMS_MAX: usize = 500;
/// Work items that say that a saga waits for a person. An approval is asked for on purpose, and says so itself; each kind is asked for by itself, so that
/// any number of approvals hides none of them.
const PARKS: [WorkItemKind; 9] = [
    WorkItemKind::StepFailed,
    WorkItemKind::StepDoubtful,
    WorkItemKind::UndoFailed,
    WorkItemKind::UndoMissing,
    WorkItemKind::LateEvidence,
    WorkItemKind::CancelAfterPivot,
    WorkItemKind::DeadlineAfterPivot,
    WorkItemKind::HeldBack,
    WorkItemKind::Broken,
];

/// One cause.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cause {
    pub(super) key: String,
    pub(super) kind: Kind,
    pub(super) title: String,
    /// A path of the API.
    pub(super) object: String,
    pub(super) command: String,
    pub(super) data: Value,
    pub(super) silent: bool,
}

/// What there is now.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) causes: Vec<Cause>,
    /// Kinds that were not looked at whole.
    pub(super) partial: BTreeSet<Kind>,
    /// Alerts by key of which nobody can tell now whether they are over.
    pub(super) unsure: BTreeSet<String>,
}

impl Found {
    /// Takes what was found of a kind; what is beyond the bound is one cause of its own.
    fn take(&mut self, kind: Kind, causes: Vec<Cause>, beyond: usize) {
        if beyond > 0 {
            self.causes.push(Cause {
                key: storm_key(kind),
                kind: Kind::Storm,
                title: format!("{beyond} more alerts of the kind {} than the {OPEN_MAX} that are kept one by one", kind.as_str()),
                object: "alerts".to_owned(),
                command: storm_command(kind).to_owned(),
                data: json!({ "kind": kind.as_str(), "beyond": beyond }),
                silent: causes.iter().all(|cause| cause.silent),
            });
        }
        self.causes.extend(causes);
    }

    /// A list in the order of time was looked at up to `until` alone. Of open alerts that stand beyond, or of which nobody knows where they stand, nobody can tell whether they are
    /// over; what stands before it and was not found is: so that a list that stays long leaves none open for ever.
    fn cut(
        &mut self,
        known: &BTreeMap<String, AlertRow>,
        kind: Kind,
        until: Timestamp,
        place: impl Fn(&AlertRow) -> Option<Timestamp>,
    ) {
        self.unsure.insert(storm_key(kind));
        let open = known.values().filter(|row| row.state == AlertState::Open);
        for row in open.filter(|row| row.kind == kind.as_str()) {
            if place(row).is_none_or(|at| at >= until) {
                self.unsure.insert(row.key.clone());
            }
        }
    }

    /// A kind could not be looked at whole.
    fn part(&mut self, kind: Kind) {
        self.partial.insert(kind);
        self.unsure.insert(storm_key(kind));
    }
}

fn storm_key(kind: Kind) -> String {
    format!("storm/{}", kind.as_str())
}

const fn storm_command(kind: Kind) -> &'static str {
    match kind {
        Kind::DeadLetter | Kind::GrowingGroup => "baton dead groups",
        Kind::Parked | Kind::Escalated => "baton work",
        Kind::Overdue => "baton work --overdue",
        Kind::NoProgress => "baton ls --status running",
        Kind::Unserved => "baton top",
        Kind::SilentWorker => "baton workers",
        Kind::ReplayStopped => "baton dead ops",
        Kind::WrongDefinition => "baton definitions",
        Kind::Storm => "baton alerts",
    }
}

/// One look: what it looks with, and what was known before it.
struct Look<'l> {
    reader: &'l AnyReader,
    known: &'l BTreeMap<String, AlertRow>,
    now: Timestamp,
    /// Definitions whose sagas alerts start: what is said of them must not be said to them.
    own: BTreeSet<String>,
}

impl Look<'_> {
    fn open(&self, key: &str) -> Option<&AlertRow> {
        let row = self.known.get(key)?;
        (row.state == AlertState::Open).then_some(row)
    }

    /// An alert that is open and said: what it is about is known. One that is silent is looked at again each time.
    fn settled(&self, key: &str) -> Option<&AlertRow> {
        self.open(key).filter(|row| !row.silent)
    }

    /// As many as may be open, those that are open already before others, and how many are beyond. Only what is kept is then read about.
    fn kept<T>(&self, mut found: Vec<(String, T)>) -> (Vec<(String, T)>, usize) {
        found.sort_by_key(|(key, _)| self.open(key).is_none());
        let beyond = found.len().saturating_sub(OPEN_MAX);
        found.truncate(OPEN_MAX);
        (found, beyond)
    }

    async fn is_own(&self, saga: SagaId) -> Result<bool, StoreError> {
        if self.own.is_empty() {
            return Ok(false);
        }
        let row = self.reader.saga_row(saga).await?;
        Ok(row.is_some_and(|row| self.own.contains(registered_as(&row.definition))))
    }
}

/// Looks for causes, and remembers what only shows over time.
pub(super) struct Finder {
    uses: Uses,
    /// Groups of dead letters, as they were read last.
    groups: Groups,
    /// Task types that nobody serves, and who waits for them.
    unserved: Unserved,
    /// What is wrong with definitions, as they were looked at last.
    mistakes: Mistakes,
    /// Where the search for sagas that stand still has come to.
    rounds: Rounds,
    /// Kinds that could not be read when they were looked at last: that is said once.
    failing: BTreeSet<Kind>,
    /// Alerts that could not be read the last time: that is said once as well.
    unread: BTreeSet<String>,
}

impl Finder {
    pub(super) fn new(uses: &Uses) -> Self {
        Self {
            uses: uses.clone(),
            groups: Groups::default(),
            unserved: Unserved::default(),
            mistakes: Mistakes::default(),
            rounds: Rounds::default(),
            failing: BTreeSet::new(),
            unread: BTreeSet::new(),
        }
    }

    /// Alerts that cannot be read stay as they are, and their causes open no second one; each is said once.
    pub(super) fn leaves_alone(&mut self, unread: Vec<String>) {
        let unread: BTreeSet<String> = unread.into_iter().collect();
        for id in unread.difference(&self.unread) {
            tracing::error!(
                alert.id = %id,
                "an alert cannot be read: it stays as it is, and nothing more is said of it; it was written by a newer version, or changed by hand"
            );
        }
        self.unread = unread;
    }

    /// What there is now. What cannot be read is left as it was.
    pub(super) async fn find(
        &mut self,
        known: &BTreeMap<String, AlertRow>,
        now: Timestamp,
    ) -> Found {
        let uses = self.uses.clone();
        let look = Look {
            reader: &uses.reader,
            known,
            now,
            own: own(&uses),
        };
        let mut found = Found::default();
        let grows = uses.rules.group_grows;
        let letters = letters::find(&look, &mut self.groups, grows, &mut found).await;
        self.read(&[Kind::DeadLetter, Kind::GrowingGroup], letters, &mut found);
        let parked = parked(&look, &mut found).await;
        self.read(&[Kind::Parked], parked, &mut found);
        let overdue = items::overdue(&look, &mut found).await;
        self.read(&[Kind::Overdue], overdue, &mut found);
        let escalated = items::escalated(&look, &mut found).await;
        self.read(&[Kind::Escalated], escalated, &mut found);
        let unserved = self.unserved.find(&look, &uses, &mut found).await;
        self.read(&[Kind::Unserved], unserved, &mut found);
        let for_ms = uses.rules.no_progress_ms;
        let standing = self.rounds.find(&look, for_ms, &mut found).await;
        self.read(&[Kind::NoProgress], standing, &mut found);
        let stopped = replays::find(&look, &mut found).await;
        self.read(&[Kind::ReplayStopped], stopped, &mut found);
        workers::find(&look, &uses.workers, &mut found);
        self.mistakes.find(&look, &uses, &mut found).await;
        found
    }

    /// Whether these kinds could be read. Of those that could not nothing is over.
    fn read(&mut self, kinds: &[Kind], read: Result<(), StoreError>, found: &mut Found) {
        let Err(error) = read else {
            self.failing.retain(|kind| !kinds.contains(kind));
            return;
        };
        for kind in kinds {
            found.part(*kind);
            metrics::alerts_not_looked();
            if self.failing.insert(*kind) {
                tracing::error!(
                    kind = kind.as_str(), error = %chain(&error),
                    "what there is to alert of could not be read: alerts of this kind stay as they are, new ones do not come; it is tried again at every look"
                );
            }
        }
    }
}

async fn parked(look: &Look<'_>, found: &mut Found) -> Result<(), StoreError> {
    let mut items: Vec<(String, WorkItemView)> = Vec::new();
    for kind in PARKS {
        let asked = look.reader.work_items(true, Some(kind), None, ITEMS_MAX);
        let page = asked.await?;
        let unread = page.unreadable.iter();
        found
            .unsure
            .extend(unread.map(|name| format!("parked/{name}")));
        if let Some(next) = &page.next {
            found.cut(look.known, Kind::Parked, next.opened_at, |row| {
                // of another kind: this list says nothing of it
                match row.data["item"] == json!(kind) {
                    true => instant(&row.data, "opened_at"),
                    false => Some(Timestamp(0)),
                }
            });
        }
        let keyed = page.rows.into_iter();
        items
            .extend(keyed.map(|view| (format!("parked/{}/{}", view.saga, view.item.number), view)));
    }
    items.sort_by_key(|(_, view)| view.item.opened_at);
    let (kept, beyond) = look.kept(items);
    let mut causes = Vec::with_capacity(kept.len());
    for (key, WorkItemView { saga, item, .. }) in kept {
        let silent = look.settled(&key).is_none() && look.is_own(saga).await?;
        causes.push(Cause {
            key,
            kind: Kind::Parked,
            title: format!("{} has to decide: {}", item.who(), item.title),
            object: format!("sagas/{saga}"),
            command: format!("baton work show {saga}"),
            data: json!({ "saga": saga, "number": item.number, "step": item.step, "item": item.kind, "owner": item.owner, "assignee": item.assignee, "opened_at": item.opened_at, "due_at": item.due_at, "choices": item.choices, "commands": choices::commands(saga, &item) }),
            silent,
        });
    }
    found.take(Kind::Parked, causes, beyond);
    Ok(())
}

/// An instant of what an alert's data say.
fn instant(data: &Value, name: &str) -> Option<Timestamp> {
    data[name].as_u64().map(Timestamp)
}

/// Definitions with a trigger on alerts' events.
fn own(uses: &Uses) -> BTreeSet<String> {
    let live = uses.live.borrow().clone();
    let hears = |trigger: &Trigger| match trigger {
        Trigger::Event { event, .. } => [ALERT_OPENED, ALERT_REPEATED, ALERT_RESOLVED]
            .iter()
            .any(|kind| event.fits(kind)),
        Trigger::Hook { .. } | Trigger::Schedule(_) => false,
    };
    let definitions = live.definitions();
    let own = definitions.filter(|definition| definition.triggers.iter().any(hears));
    own.map(|definition| definition.saga.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_list_that_was_cut_what_stands_before_its_end_and_was_not_found_is_over() {
        let row = |key: &str, due: Option<u64>| AlertRow {
            id: uuid::Uuid::nil(),
            key: key.to_owned(),
            kind: Kind::Overdue.as_str().to_owned(),
            state: AlertState::Open,
            title: String::new(),
            object: String::new(),
            command: String::new(),
            data: json!({ "due_at": due }),
            silent: false,
            opened_at: Timestamp(1),
            openings: 1,
            resolved_at: None,
            said_at: None,
            sayings: 0,
            unsaid: None,
            acknowledged: None,
            muted: None,
            revision: 1,
        };
        let rows = [
            row("before", Some(99)),
            row("at", Some(100)),
            row("beyond", Some(101)),
            row("nobody knows", None),
        ];
        let known: BTreeMap<String, AlertRow> = rows.map(|row| (row.key.clone(), row)).into();
        let mut found = Found::default();
        let due = |row: &AlertRow| instant(&row.data, "due_at");
        found.cut(&known, Kind::Overdue, Timestamp(100), due);
        let unsure: Vec<&str> = found.unsure.iter().map(String::as_str).collect();
        assert_eq!(unsure, ["at", "beyond", "nobody knows", "storm/overdue"]);
        assert!(found.partial.is_empty());
        found = Found::default();
        found.cut(&known, Kind::Escalated, Timestamp(100), due);
        assert_eq!(
            found.unsure.len(),
            1,
            "those of other kinds are another list's"
        );
    }

    /// A kind that is added is either asked for on purpose or parks.
    #[test]
    fn every_work_item_but_an_approval_is_alerted() {
        let parks = |kind: WorkItemKind| match kind {
            WorkItemKind::Approval => false,
            WorkItemKind::StepFailed
            | WorkItemKind::StepDoubtful
            | WorkItemKind::UndoFailed
            | WorkItemKind::UndoMissing
            | WorkItemKind::LateEvidence
            | WorkItemKind::CancelAfterPivot
            | WorkItemKind::DeadlineAfterPivot
            | WorkItemKind::HeldBack
            | WorkItemKind::Broken => true,
        };
        assert!(PARKS.into_iter().all(parks));
        let words: BTreeSet<String> = PARKS.iter().map(|kind| format!("{kind:?}")).collect();
        assert_eq!(words.len(), PARKS.len());
    }
}
