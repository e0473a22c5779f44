//! What there is to alert somebody of, looked for in the store and among the workers that were heard. Every search has a bound; what could not be looked at
//! whole is said to be so, and nothing of it counts as over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use baton_driver::StoreError;
use baton_engine::definition::Trigger;
use baton_engine::{Status, WorkItemKind};
use baton_messages::alert::{ALERT_EVENTS, ALERT_OPENED, ALERT_REPEATED, ALERT_RESOLVED};
use baton_messages::{SagaId, Timestamp};
use baton_store::{
    AlertRow, AlertState, DeadLetterFilter, LetterGroup, LetterRow, LetterState, Reader as _,
    SagaCursor, SagaFilter,
};
use serde_json::{Value, json};

use super::progress::stands_still;
use super::{Kind, OPEN_MAX, Uses};
use crate::api::folded;
use crate::chain::chain;

/// Groups of dead letters that are looked at.
const GROUPS_MAX: usize = 500;
/// Open work items that are looked at.
const ITEMS_MAX: usize = 500;
/// Sagas that wait for a worker and are looked at, to find out whether alerts started them.
const UNSERVED_MAX: usize = 100;
/// Sagas that are read in one look, to find those that stand still: all that run are come round to.
const SAGAS_MAX: usize = 100;
/// Within this time a group has to grow, in milliseconds.
const GROWS_WITHIN_MS: u64 = 600_000;

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
}

impl Found {
    /// Takes what was found of a kind: as many as may be open, those that are open already before others; what is beyond is one cause of its own.
    fn take(&mut self, kind: Kind, mut causes: Vec<Cause>, known: &BTreeMap<String, AlertRow>) {
        let is_open = |cause: &Cause| {
            known
                .get(&cause.key)
                .is_some_and(|row| row.state == AlertState::Open)
        };
        causes.sort_by_key(|cause| !is_open(cause));
        let beyond = causes.len().saturating_sub(OPEN_MAX);
        causes.truncate(OPEN_MAX);
        if beyond > 0 {
            let silent = causes.iter().all(|cause| cause.silent);
            self.causes.push(Cause {
                key: format!("storm/{}", kind.as_str()),
                kind: Kind::Storm,
                title: format!("{beyond} more alerts of the kind {} than the {OPEN_MAX} that are kept one by one", kind.as_str()),
                object: "alerts".to_owned(),
                command: storm_command(kind).to_owned(),
                data: json!({ "kind": kind.as_str(), "beyond": beyond }),
                silent,
            });
        }
        self.causes.extend(causes);
    }

    fn failed(&mut self, kinds: &[Kind], error: &StoreError) {
        tracing::debug!(error = %chain(error), "what there is to alert of could not be read");
        self.partial.extend(kinds);
        self.partial.insert(Kind::Storm);
    }
}

const fn storm_command(kind: Kind) -> &'static str {
    match kind {
        Kind::DeadLetter | Kind::GrowingGroup => "baton dead groups",
        Kind::Parked => "baton work",
        Kind::NoProgress => "baton ls --status running",
        Kind::Unserved => "baton top",
        Kind::SilentWorker => "baton workers",
        Kind::Storm => "baton alerts",
    }
}

/// Looks for causes, and remembers what only shows over time.
pub(super) struct Finder {
    uses: Uses,
    /// How many of each group were dead, lately.
    sizes: BTreeMap<String, VecDeque<(Timestamp, u64)>>,
    /// Since when nobody serves a task type.
    unserved: BTreeMap<String, Timestamp>,
    /// Where the search for sagas that stand still has come to, by status.
    round: BTreeMap<Status, Option<SagaCursor>>,
    /// Those that stood still when they were last looked at.
    still: BTreeSet<SagaId>,
}

impl Finder {
    pub(super) fn new(uses: &Uses) -> Self {
        Self {
            uses: uses.clone(),
            sizes: BTreeMap::new(),
            unserved: BTreeMap::new(),
            round: BTreeMap::new(),
            still: BTreeSet::new(),
        }
    }

    /// What there is now. What cannot be read is left as it was.
    pub(super) async fn find(
        &mut self,
        known: &BTreeMap<String, AlertRow>,
        now: Timestamp,
    ) -> Found {
        let mut found = Found::default();
        if let Err(error) = self.letters(known, now, &mut found).await {
            found.failed(&[Kind::DeadLetter, Kind::GrowingGroup], &error);
        }
        if let Err(error) = self.parked(known, &mut found).await {
            found.failed(&[Kind::Parked], &error);
        }
        if let Err(error) = self.nobody_serves(known, now, &mut found).await {
            found.failed(&[Kind::Unserved], &error);
        }
        if let Err(error) = self.no_progress(known, now, &mut found).await {
            found.failed(&[Kind::NoProgress], &error);
        }
        let silent = self.silent_workers(now);
        found.take(Kind::SilentWorker, silent, known);
        found
    }

    async fn letters(
        &mut self,
        known: &BTreeMap<String, AlertRow>,
        now: Timestamp,
        found: &mut Found,
    ) -> Result<(), StoreError> {
        let groups = self.uses.reader.dead_letter_groups(GROUPS_MAX).await?;
        if groups.len() >= GROUPS_MAX {
            found.partial.extend([Kind::DeadLetter, Kind::GrowingGroup]);
        }
        let (mut dead, mut growing) = (Vec::new(), Vec::new());
        for group in &groups {
            let grown = self.grown(group, now);
            let key = format!("dead-letter/{}", group.group);
            let (title, silent) = match settled(known, &key) {
                Some(row) => (row.title.clone(), false),
                None => self.group_title(group).await?,
            };
            let data = json!({ "group": group.group, "dead": group.dead, "first_at": group.first_at, "last_at": group.last_at });
            let command = format!("baton dead ls --group {}", group.group);
            let cause = |kind: Kind, title, data| Cause {
                key: format!("{}/{}", kind.as_str(), group.group),
                kind,
                title,
                object: format!("dead-letters?group={}", group.group),
                command: command.clone(),
                data,
                silent,
            };
            if let Some(by) = grown.filter(|by| *by >= self.uses.rules.group_grows) {
                let title = format!("{by} dead letters of one group within ten minutes: {title}");
                growing.push(cause(
                    Kind::GrowingGroup,
                    title,
                    json!({ "group": group.group, "by": by, "dead": group.dead }),
                ));
            }
            dead.push(cause(Kind::DeadLetter, title, data));
        }
        let there: BTreeSet<&String> = groups.iter().map(|group| &group.group).collect();
        self.sizes.retain(|group, _| there.contains(group));
        found.take(Kind::DeadLetter, dead, known);
        found.take(Kind::GrowingGroup, growing, known);
        Ok(())
    }

    /// By how many it has grown within the time that counts.
    fn grown(&mut self, group: &LetterGroup, now: Timestamp) -> Option<u64> {
        let sizes = self.sizes.entry(group.group.clone()).or_default();
        while sizes
            .front()
            .is_some_and(|(at, _)| now.since_ms(*at) > GROWS_WITHIN_MS)
        {
            sizes.pop_front();
        }
        let least = sizes.iter().map(|(_, dead)| *dead).min();
        // of a group that is that young all letters are new
        let new = now.since_ms(group.first_at) <= GROWS_WITHIN_MS;
        let least = if new { Some(0) } else { least };
        sizes.push_back((now, group.dead));
        least.map(|least| group.dead.saturating_sub(least))
    }

    /// What its newest letter says, and whether alerts' own sagas are behind it.
    async fn group_title(&self, group: &LetterGroup) -> Result<(String, bool), StoreError> {
        let filter = DeadLetterFilter {
            group: Some(group.group.clone()),
            state: Some(LetterState::Dead),
            ..DeadLetterFilter::default()
        };
        let page = self.uses.reader.dead_letters(filter, None, 1).await?;
        let Some(row) = page.rows.first() else {
            return Ok(("messages nobody could use".to_owned(), false));
        };
        let silent = of_an_alert(row) || self.is_own(row.letter.saga).await?;
        let error: String = row.letter.error.chars().take(200).collect();
        let reason = row.letter.reason.as_str();
        let queue = &row.letter.queue;
        Ok((
            format!("a message of {queue} is dead ({reason}): {error}"),
            silent,
        ))
    }

    async fn parked(
        &self,
        known: &BTreeMap<String, AlertRow>,
        found: &mut Found,
    ) -> Result<(), StoreError> {
        let page = self
            .uses
            .reader
            .work_items(true, None, None, ITEMS_MAX)
            .await?;
        if page.next.is_some() {
            found.partial.insert(Kind::Parked);
        }
        let mut causes = Vec::new();
        let items = page.rows.into_iter();
        // an approval is asked for on purpose, and says so itself
        for view in items.filter(|view| view.item.kind != WorkItemKind::Approval) {
            let (saga, item) = (view.saga, view.item);
            let key = format!("parked/{saga}/{}", item.number);
            let silent = match settled(known, &key) {
                Some(_) => false,
                None => self.is_own(Some(saga)).await?,
            };
            causes.push(Cause {
                key,
                kind: Kind::Parked,
                title: format!("{} has to decide: {}", item.owner, item.title),
                object: format!("sagas/{saga}"),
                command: format!("baton work show {saga}"),
                data: json!({ "saga": saga, "number": item.number, "step": item.step, "item": item.kind, "owner": item.owner, "choices": item.choices }),
                silent,
            });
        }
        found.take(Kind::Parked, causes, known);
        Ok(())
    }

    async fn nobody_serves(
        &mut self,
        known: &BTreeMap<String, AlertRow>,
        now: Timestamp,
        found: &mut Found,
    ) -> Result<(), StoreError> {
        let unserved = self.uses.reader.unserved(UNSERVED_MAX).await?;
        let there: BTreeSet<String> = unserved
            .by_type
            .iter()
            .map(|(task_type, _)| task_type.to_string())
            .collect();
        self.unserved
            .retain(|task_type, _| there.contains(task_type));
        let mut causes = Vec::new();
        for (task_type, sagas) in unserved.by_type {
            let name = task_type.to_string();
            let key = format!("unserved/{name}");
            let since = *self.unserved.entry(name.clone()).or_insert(now);
            let is_open = known
                .get(&key)
                .is_some_and(|row| row.state == AlertState::Open);
            if !is_open && now.since_ms(since) < self.uses.rules.unserved_ms {
                continue;
            }
            // only where every saga that is looked at is one that alerts start; of a type whose sagas are beyond the page nobody knows that
            let mut waiting = unserved.first.iter().filter(|(of, _)| *of == task_type);
            let mut silent = settled(known, &key).is_none() && waiting.clone().next().is_some();
            while silent && let Some((_, saga)) = waiting.next() {
                silent = self.is_own(Some(*saga)).await?;
            }
            causes.push(Cause {
                key,
                kind: Kind::Unserved,
                title: format!("nobody serves {name}, and {sagas} sagas wait for it"),
                object: format!("task-types/{name}"),
                command: "baton top".to_owned(),
                data: json!({ "task_type": name, "sagas": sagas }),
                silent,
            });
        }
        found.take(Kind::Unserved, causes, known);
        Ok(())
    }

    async fn no_progress(
        &mut self,
        known: &BTreeMap<String, AlertRow>,
        now: Timestamp,
        found: &mut Found,
    ) -> Result<(), StoreError> {
        let for_ms = self.uses.rules.no_progress_ms;
        let until = Timestamp(now.0.saturating_sub(for_ms));
        // what an earlier process found, or this one, is looked at each time
        let open = known
            .values()
            .filter(|row| row.kind == Kind::NoProgress.as_str());
        let open = open.filter_map(|row| row.object.strip_prefix("sagas/")?.parse().ok());
        let mut looked: BTreeSet<SagaId> = self.still.iter().copied().chain(open).collect();
        for status in [Status::Running, Status::Compensating] {
            let filter = SagaFilter {
                status: Some(status),
                started_until: Some(until),
                ..SagaFilter::default()
            };
            let after = self.round.get(&status).copied().flatten();
            let page = self.uses.reader.sagas(filter, after, SAGAS_MAX).await?;
            self.round.insert(status, page.next);
            looked.extend(page.rows.iter().map(|row| row.saga));
        }
        self.still.clear();
        let mut causes = Vec::new();
        for saga in looked {
            let Some(seen) = folded(&self.uses.reader, saga).await? else {
                continue;
            };
            let Some(step) = stands_still(&seen.state, now, for_ms) else {
                continue;
            };
            if self.still.len() <= OPEN_MAX {
                self.still.insert(saga);
            }
            let state = &seen.state;
            causes.push(Cause {
                key: format!("no-progress/{saga}"),
                kind: Kind::NoProgress,
                title: format!("{}@{} has stood still at its step {step} for {} min", state.definition, state.version, now.since_ms(state.last_at) / 60_000),
                object: format!("sagas/{saga}"),
                command: format!("baton show {saga}"),
                data: json!({ "saga": saga, "definition": state.definition, "version": state.version, "step": step, "since": state.last_at }),
                silent: self.own().contains(&state.definition),
            });
        }
        found.take(Kind::NoProgress, causes, known);
        Ok(())
    }

    fn silent_workers(&self, now: Timestamp) -> Vec<Cause> {
        let workers = self.uses.workers.all(now).into_iter();
        let silent = workers.filter(|view| view.silent && !view.running.is_empty());
        silent
            .map(|view| {
                let (worker, runs) = (&view.worker, view.running.len());
                let seconds = now.since_ms(view.heard_at) / 1_000;
                let sagas: BTreeSet<String> = view
                    .running
                    .iter()
                    .map(|running| running.of.saga.to_string())
                    .take(20)
                    .collect();
                Cause {
                    key: format!("silent-worker/{worker}"),
                    kind: Kind::SilentWorker,
                    title: format!("the worker {worker} has been silent for {seconds} s and holds {runs} claimed tasks"),
                    object: "workers".to_owned(),
                    command: "baton workers".to_owned(),
                    data: json!({ "worker": worker, "heard_at": view.heard_at, "runs": runs, "sagas": sagas }),
                    silent: false,
                }
            })
            .collect()
    }

    /// Definitions whose sagas alerts start: what is said of them must not be said to them.
    fn own(&self) -> BTreeSet<String> {
        let live = self.uses.live.borrow().clone();
        let mut own = BTreeSet::new();
        for definition in live.definitions() {
            let mut triggers = definition.triggers.iter();
            let hears = |trigger: &Trigger| match trigger {
                Trigger::Event { event, .. } => [ALERT_OPENED, ALERT_REPEATED, ALERT_RESOLVED]
                    .iter()
                    .any(|kind| event.fits(kind)),
                Trigger::Hook { .. } | Trigger::Schedule(_) => false,
            };
            if triggers.any(hears) {
                own.insert(definition.saga.clone());
            }
        }
        own
    }

    async fn is_own(&self, saga: Option<SagaId>) -> Result<bool, StoreError> {
        let Some(saga) = saga else { return Ok(false) };
        let own = self.own();
        if own.is_empty() {
            return Ok(false);
        }
        let row = self.uses.reader.saga_row(saga).await?;
        Ok(row.is_some_and(|row| own.contains(&row.definition)))
    }
}

/// An alert that is open and said: what it is about is known. One that is silent is looked at again each time.
fn settled<'k>(known: &'k BTreeMap<String, AlertRow>, key: &str) -> Option<&'k AlertRow> {
    let row = known.get(key)?;
    (row.state == AlertState::Open && !row.silent).then_some(row)
}

/// Whether a letter is one of our alerts' events, or of what a trigger made of one.
fn of_an_alert(row: &LetterRow) -> bool {
    let letter = &row.letter;
    let of_events = letter.queue == baton_messages::topology::TRIGGERS;
    let says = |part: &[u8]| part == ALERT_EVENTS.as_bytes();
    letter.key.starts_with(ALERT_EVENTS)
        || (of_events && letter.body.windows(ALERT_EVENTS.len()).any(says))
}
