//! Schedules: one timer for the soonest nominal time. How far each has come is written after its saga is started, and the saga's id is
//! derived from the nominal time: a crash between the two, or a clock that was set back, starts the same saga, which is no other.
//!
//! What came while nobody ran, or while the clock leapt, follows the schedule's `catch_up`; `overlap` leaves a firing out while the saga of
//! the one before has not ended. What is left out is counted and shown, with why. A schedule goes by its expression and zone: an operator's
//! pause stays with it, and a nominal time is the same saga, when a new version orders its triggers otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use baton_engine::definition::{CATCH_UP_MAX, CatchUp, Overlap, rfc3339};
use baton_engine::trigger::on_schedule;
use baton_messages::{InputId, SagaId, Start, Timestamp};
use baton_store::{ScheduleRow, TriggerRef, Triggers as _};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::carrier::{Stopping, started, stubborn};
use super::live::LiveSchedule;
use super::{Live, Shared, letters};
use crate::clock;

/// Later than this a nominal time counts as missed: a busy machine is late by less.
const LATE_MS: u64 = 60_000;
/// The longest sleep: the wall clock may be set, and a timer would not notice.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// What an operator asks.
pub(crate) struct Command {
    /// Of which definition.
    pub(crate) definition: String,
    /// Which of its triggers.
    pub(crate) trigger: u32,
    /// What.
    pub(crate) what: What,
    /// When it was asked for the first time. What is fired has this for its nominal time: a command that comes twice starts one saga.
    pub(crate) at: Timestamp,
    /// What became of it; none when there is no such live schedule.
    pub(crate) answer: oneshot::Sender<Option<Done>>,
}

/// What an operator may ask of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// Fire no more.
    Pause,
    /// Go on from now: what came meanwhile is not made up for.
    Resume,
    /// Fire now, whatever else runs.
    Fire,
}

/// What became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Done {
    /// The schedule afterwards.
    pub(crate) shown: Shown,
    /// The saga that was started.
    pub(crate) saga: Option<SagaId>,
    /// Why none was.
    pub(crate) refused: Option<String>,
}

/// A schedule as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    pub(crate) definition: String,
    pub(crate) version: u32,
    pub(crate) trigger: u32,
    pub(crate) schedule: String,
    pub(crate) timezone: String,
    pub(crate) next_at: Option<Timestamp>,
    pub(crate) last_at: Option<Timestamp>,
    pub(crate) last_saga: Option<SagaId>,
    pub(crate) paused: bool,
    pub(crate) skipped: u32,
    pub(crate) skipped_at: Option<Timestamp>,
    pub(crate) skipped_why: Option<String>,
}

/// A definition, and what its schedule goes by.
type Place = (String, String);

/// Fires until the process stops.
pub(super) async fn run(shared: Shared, mut commands: mpsc::Receiver<Command>) {
    let mut live = shared.live.clone();
    let Ok(rows) = stubborn(&shared, "read", || shared.tables.schedules()).await else {
        return;
    };
    let mut clocks = Clocks {
        shared,
        rows: rows
            .into_iter()
            .map(|row| ((row.definition.clone(), row.name.clone()), row))
            .collect(),
    };
    loop {
        let now_live = live.borrow_and_update().clone();
        let Ok(soonest) = clocks.fire_due(&now_live).await else {
            return;
        };
        let sleep = soonest.map_or(SLEEP_MAX, |at| {
            Duration::from_millis(at.since_ms(clock::now())).min(SLEEP_MAX)
        });
        tokio::select! {
            () = clocks.shared.stop.cancelled() => return,
            changed = live.changed() => if changed.is_err() { return },
            command = commands.recv() => match command {
                Some(command) => {
                    // a definition may have come while this slept: whoever asks has seen it
                    let now_live = live.borrow().clone();
                    let Ok(done) = clocks.obey(&now_live, &command).await else {
                        return;
                    };
                    // whoever asked may have gone
                    let _ = command.answer.send(done);
                }
                None => return,
            },
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

struct Clocks {
    shared: Shared,
    rows: BTreeMap<Place, ScheduleRow>,
}

impl Clocks {
    /// Fires what is due; answers the soonest nominal time after that.
    async fn fire_due(&mut self, live: &Arc<Live>) -> Result<Option<Timestamp>, Stopping> {
        let mut soonest: Option<Timestamp> = None;
        for one in self.reconcile(live).await? {
            let row = self.row(&one);
            if row.paused {
                continue;
            }
            let now = clock::now();
            let schedule = &one.rule.schedule;
            if schedule.next_after(row.after).is_some_and(|at| at <= now) {
                let due = due(&one, row.after, now);
                self.missed(&one, &due, now).await?;
                for nominal in due {
                    // what was refused is kept as a dead letter, what was left out is said
                    let _ = self.fire(&one, nominal, one.rule.overlap).await?;
                }
                let mut row = self.row(&one);
                row.after = row.after.max(now);
                self.put(row).await?;
            }
            let after = self.row(&one).after;
            let next = schedule.next_after(after);
            soonest = soonest.into_iter().chain(next).min();
        }
        Ok(soonest)
    }

    /// The live schedules, with the rows made to be theirs.
    async fn reconcile(&mut self, live: &Live) -> Result<Vec<LiveSchedule>, Stopping> {
        let schedules = live.schedules();
        let change = reconciled(&self.rows, &schedules, |name| live.has(name), clock::now());
        for row in change.put {
            self.put(row).await?;
        }
        for place in change.remove {
            self.remove(place).await?;
        }
        Ok(schedules)
    }

    /// How far a schedule has come.
    fn row(&self, one: &LiveSchedule) -> ScheduleRow {
        let row = self.rows.get(&place(one)).cloned();
        row.unwrap_or_else(|| begun(one, clock::now(), None))
    }

    /// Counts what came while nobody fired it and is not made up for.
    async fn missed(
        &mut self,
        one: &LiveSchedule,
        due: &[Timestamp],
        now: Timestamp,
    ) -> Result<(), Stopping> {
        let mut row = self.row(one);
        let mut missed = one.rule.schedule.between(row.after, now, CATCH_UP_MAX);
        missed.retain(|nominal| !due.contains(nominal));
        let Some(last) = missed.last() else {
            return Ok(());
        };
        let many = u32::try_from(missed.len()).unwrap_or(u32::MAX);
        let why = "nobody was there to fire it in time, and `catch_up` does not make up for it";
        left_out(&mut row, *last, many, why.to_owned());
        metrics::counter!("baton_orchestrator_schedules_total", "outcome" => "missed")
            .increment(u64::from(many));
        self.put(row).await
    }

    async fn put(&mut self, row: ScheduleRow) -> Result<(), Stopping> {
        stubborn(&self.shared, "written", || {
            self.shared.tables.put_schedule(row.clone())
        })
        .await?;
        self.rows
            .insert((row.definition.clone(), row.name.clone()), row);
        Ok(())
    }

    async fn remove(&mut self, place: Place) -> Result<(), Stopping> {
        stubborn(&self.shared, "written", || {
            let (definition, name) = place.clone();
            self.shared.tables.remove_schedule(definition, name)
        })
        .await?;
        self.rows.remove(&place);
        Ok(())
    }

    /// Starts the saga of a nominal time, then writes that down. The saga, or why there is none.
    async fn fire(
        &mut self,
        one: &LiveSchedule,
        nominal: Timestamp,
        overlap: Overlap,
    ) -> Result<Result<SagaId, String>, Stopping> {
        let mut row = self.row(one);
        let of = TriggerRef {
            definition: one.definition.saga.clone(),
            version: one.definition.version,
            trigger: one.trigger,
        };
        let time = rfc3339(nominal);
        if overlap == Overlap::Skip
            && let Some(last) = row.last_saga
            && let Some(true) =
                stubborn(&self.shared, "read", || self.shared.tables.is_active(last)).await?
        {
            tracing::info!(
                definition = %of.definition, trigger = of.trigger, schedule.time = %time, saga.id = %last,
                "a schedule leaves this firing out: the saga of the one before has not ended"
            );
            metrics::counter!("baton_orchestrator_schedules_total", "outcome" => "skipped")
                .increment(1);
            row.after = row.after.max(nominal);
            let why = format!("saga {last} of the firing before had not ended");
            left_out(&mut row, nominal, 1, why.clone());
            self.put(row).await?;
            return Ok(Err(why));
        }
        let outcome = self.start(&of, one, nominal, &time).await?;
        row.after = row.after.max(nominal);
        if let Ok(saga) = &outcome {
            row.last_at = Some(nominal);
            row.last_saga = Some(*saga);
        }
        self.put(row).await?;
        Ok(outcome)
    }

    async fn start(
        &self,
        of: &TriggerRef,
        one: &LiveSchedule,
        nominal: Timestamp,
        time: &str,
    ) -> Result<Result<SagaId, String>, Stopping> {
        let refused = match on_schedule(&one.definition, one.trigger, nominal) {
            Err(error) => error.to_string(),
            Ok(hit) => {
                // an earlier version may have started it, and died before it wrote down how far the schedule had come
                let before = SagaId::of_schedule_at(&of.definition, of.trigger, nominal.0);
                let known = stubborn(&self.shared, "read", || {
                    self.shared.tables.is_active(before)
                });
                if known.await?.is_some() {
                    return Ok(Ok(before));
                }
                let start = Start {
                    id: InputId(hit.saga.0),
                    saga: hit.saga,
                    definition: of.definition.clone(),
                    version: Some(of.version),
                    input: hit.input,
                    labels: BTreeMap::new(),
                    by: format!("schedule {time}"),
                };
                match started(&self.shared, start).await? {
                    None => {
                        metrics::counter!("baton_orchestrator_schedules_total", "outcome" => "fired")
                            .increment(1);
                        return Ok(Ok(hit.saga));
                    }
                    Some(error) => error,
                }
            }
        };
        tracing::warn!(
            definition = %of.definition, trigger = of.trigger, schedule.time = %time, error = %refused,
            "a schedule could not start its saga; it is kept as a dead letter"
        );
        let letter = letters::of_schedule(of, time, &refused);
        letters::keep(&self.shared, vec![(Box::new(letter), None)]).await?;
        Ok(Err(refused))
    }

    /// Does what an operator asks; none when there is no such live schedule.
    async fn obey(
        &mut self,
        live: &Arc<Live>,
        command: &Command,
    ) -> Result<Option<Done>, Stopping> {
        let Command {
            definition,
            trigger,
            ..
        } = command;
        let found = self
            .reconcile(live)
            .await?
            .into_iter()
            .find(|one| one.definition.saga == *definition && one.trigger == *trigger);
        let Some(one) = found else { return Ok(None) };
        let mut row = self.row(&one);
        let (mut saga, mut refused) = (None, None);
        match command.what {
            What::Pause => {
                row.paused = true;
                self.put(row).await?;
            }
            What::Resume => {
                if row.paused {
                    row.after = row.after.max(clock::now());
                }
                row.paused = false;
                self.put(row).await?;
            }
            What::Fire => {
                let after = row.after;
                match self.fire(&one, command.at, Overlap::Allow).await? {
                    Ok(id) => saga = Some(id),
                    Err(why) => refused = Some(why),
                }
                // Fired by hand it has come no further than before.
                let mut row = self.row(&one);
                row.after = after;
                self.put(row).await?;
            }
        }
        let row = self.row(&one);
        Ok(Some(Done {
            shown: shown(&one, Some(&row)),
            saga,
            refused,
        }))
    }
}

/// The nominal times to fire for, oldest first, of those after `after`: what is late by little is fired whatever is said of missed ones.
fn due(one: &LiveSchedule, after: Timestamp, now: Timestamp) -> Vec<Timestamp> {
    match one.rule.catch_up {
        CatchUp::None => {
            let mut last = one.rule.schedule.between(after, now, 1);
            last.retain(|nominal| now.since_ms(*nominal) == 0 || nominal.plus_ms(LATE_MS) >= now);
            last
        }
        CatchUp::Last | CatchUp::All => one.rule.missed(after, now),
    }
}

fn place(one: &LiveSchedule) -> Place {
    (one.definition.saga.clone(), one.name.clone())
}

fn left_out(row: &mut ScheduleRow, nominal: Timestamp, many: u32, why: String) {
    row.skipped = row.skipped.saturating_add(many);
    row.skipped_at = Some(nominal);
    row.skipped_why = Some(why);
}

/// A schedule that begins now. `was`: the one whose expression was changed into this one.
fn begun(one: &LiveSchedule, now: Timestamp, was: Option<&ScheduleRow>) -> ScheduleRow {
    ScheduleRow {
        definition: one.definition.saga.clone(),
        name: one.name.clone(),
        trigger: one.trigger,
        after: now,
        last_at: was.and_then(|row| row.last_at),
        last_saga: was.and_then(|row| row.last_saga),
        paused: was.is_some_and(|row| row.paused),
        skipped: was.map_or(0, |row| row.skipped),
        skipped_at: was.and_then(|row| row.skipped_at),
        skipped_why: was.and_then(|row| row.skipped_why.clone()),
    }
}

/// What has to be written so that the rows are those of the live schedules.
struct Change {
    put: Vec<ScheduleRow>,
    remove: Vec<Place>,
}

/// Rows and live schedules go together by name. A name that is new, at the place of one that is no more, is that schedule with another
/// expression: it begins now, and stays paused if it was.
fn reconciled(
    rows: &BTreeMap<Place, ScheduleRow>,
    live: &[LiveSchedule],
    is_readable: impl Fn(&str) -> bool,
    now: Timestamp,
) -> Change {
    let names: BTreeSet<Place> = live.iter().map(place).collect();
    // of a definition that this program cannot read nothing is known
    let gone = |row: &&ScheduleRow| {
        is_readable(&row.definition) && !names.contains(&(row.definition.clone(), row.name.clone()))
    };
    let gone: Vec<&ScheduleRow> = rows.values().filter(gone).collect();
    let put = live.iter().filter_map(|one| match rows.get(&place(one)) {
        Some(row) if row.trigger == one.trigger => None,
        Some(row) => Some(ScheduleRow {
            trigger: one.trigger,
            ..row.clone()
        }),
        None => {
            let same_place = |row: &&&ScheduleRow| {
                row.definition == one.definition.saga && row.trigger == one.trigger
            };
            Some(begun(one, now, gone.iter().find(same_place).copied()))
        }
    });
    let remove = gone
        .iter()
        .map(|row| (row.definition.clone(), row.name.clone()));
    Change {
        put: put.collect(),
        remove: remove.collect(),
    }
}

/// A schedule with its row, if it has one yet.
pub(crate) fn shown(one: &LiveSchedule, row: Option<&ScheduleRow>) -> Shown {
    let schedule = &one.rule.schedule;
    let paused = row.is_some_and(|row| row.paused);
    let after = row.map_or_else(clock::now, |row| row.after);
    Shown {
        definition: one.definition.saga.clone(),
        version: one.definition.version,
        trigger: one.trigger,
        schedule: schedule.text().to_owned(),
        timezone: schedule.timezone().to_owned(),
        next_at: schedule.next_after(after).filter(|_| !paused),
        last_at: row.and_then(|row| row.last_at),
        last_saga: row.and_then(|row| row.last_saga),
        paused,
        skipped: row.map_or(0, |row| row.skipped),
        skipped_at: row.and_then(|row| row.skipped_at),
        skipped_why: row.and_then(|row| row.skipped_why.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_engine::Definition;

    /// The schedules of a definition whose `on:` has these.
    fn live(on: &[&str]) -> Vec<LiveSchedule> {
        let on: String = on
            .iter()
            .map(|rule| format!("  - schedule: {rule}\n"))
            .collect();
        let text = format!("saga: s\nversion: 1\non:\n{on}steps:\n  - id: a\n    sleep: 1s\n");
        let definition = Arc::new(Definition::parse(&text).unwrap());
        let live = Live::default().with(vec![baton_driver::DefinitionRow {
            name: "s".to_owned(),
            version: 1,
            source: definition.source.to_string(),
            at: Timestamp(0),
            by: String::new(),
        }]);
        live.schedules()
    }

    fn schedule(catch_up: &str) -> LiveSchedule {
        live(&[&format!("\"0 * * * *\"\n    catch_up: {catch_up}")]).remove(0)
    }

    /// The rows after a version with these schedules came, each with its place and whether it is paused.
    fn after(
        rows: &mut BTreeMap<Place, ScheduleRow>,
        on: &[&str],
        now: u64,
    ) -> Vec<(String, u32, bool)> {
        let change = reconciled(rows, &live(on), |_| true, Timestamp(now));
        for row in change.put {
            rows.insert((row.definition.clone(), row.name.clone()), row);
        }
        for place in change.remove {
            rows.remove(&place);
        }
        let seen = |row: &ScheduleRow| (row.name.clone(), row.trigger, row.paused);
        rows.values().map(seen).collect()
    }

    #[test]
    fn a_pause_stays_with_its_schedule_wherever_a_new_version_puts_it() {
        let mut rows = BTreeMap::new();
        let (two, three) = ("\"0 2 * * *\"", "\"0 3 * * *\"");
        after(&mut rows, &[two, three], 1);
        let paused = rows.values_mut().find(|row| row.trigger == 1).unwrap();
        paused.paused = true;
        let of = |name: &str, trigger, paused| (name.to_owned(), trigger, paused);
        assert_eq!(
            after(&mut rows, &[three, two], 2),
            [of("0 2 * * * UTC", 1, false), of("0 3 * * * UTC", 0, true)]
        );
        // another one before it
        assert_eq!(
            after(&mut rows, &["\"0 1 * * *\"", three, two], 3),
            [
                of("0 1 * * * UTC", 0, false),
                of("0 2 * * * UTC", 2, false),
                of("0 3 * * * UTC", 1, true)
            ]
        );
        // its expression changed where it stands: still paused, and it begins anew
        assert_eq!(
            after(&mut rows, &["\"0 1 * * *\"", "\"0 4 * * *\"", two], 4),
            [
                of("0 1 * * * UTC", 0, false),
                of("0 2 * * * UTC", 2, false),
                of("0 4 * * * UTC", 1, true)
            ]
        );
        let changed = rows.values().find(|row| row.paused).unwrap();
        assert_eq!(changed.after, Timestamp(4));
        // taken out and put in again it is a new one: what came meanwhile is not made up for
        after(&mut rows, &["\"0 1 * * *\""], 5);
        assert_eq!(rows.len(), 1);
        after(&mut rows, &["\"0 1 * * *\"", two], 6);
        let again = rows.values().find(|row| row.trigger == 1).unwrap();
        assert_eq!((again.after, again.paused), (Timestamp(6), false));
    }

    #[test]
    fn equal_schedules_are_told_apart_and_nothing_is_taken_of_what_cannot_be_read() {
        let mut rows = BTreeMap::new();
        let two = "\"0 2 * * *\"";
        let seen = after(&mut rows, &[two, two], 1);
        assert_eq!(
            (seen[0].0.as_str(), seen[1].0.as_str()),
            ("0 2 * * * UTC", "0 2 * * * UTC (2)")
        );
        let change = reconciled(&rows, &[], |_| false, Timestamp(2));
        assert!(change.put.is_empty() && change.remove.is_empty());
    }

    const HOUR: u64 = 3_600_000;

    fn hours(catch_up: &str, after: u64, now: u64) -> Vec<u64> {
        due(&schedule(catch_up), Timestamp(after), Timestamp(now))
            .into_iter()
            .map(|at| at.0 / HOUR)
            .collect()
    }

    #[test]
    fn what_was_missed_follows_the_rule() {
        let now = 5 * HOUR + 30 * 60_000;
        assert_eq!(hours("none", HOUR, now), [0_u64; 0]);
        assert_eq!(hours("last", HOUR, now), [5]);
        assert_eq!(hours("all", HOUR, now), [2, 3, 4, 5]);
        assert_eq!(hours("all", HOUR, 1000 * HOUR).len(), 100);
    }

    #[test]
    fn what_is_late_by_little_is_not_missed() {
        assert_eq!(hours("none", HOUR, 5 * HOUR), [5]);
        assert_eq!(hours("none", HOUR, 5 * HOUR + LATE_MS), [5]);
        assert_eq!(hours("none", HOUR, 5 * HOUR + LATE_MS + 1), [0_u64; 0]);
    }

    #[test]
    fn nothing_comes_twice_when_the_clock_is_set_back() {
        assert_eq!(hours("all", 5 * HOUR, 3 * HOUR), [0_u64; 0]);
        assert_eq!(hours("last", 5 * HOUR, 5 * HOUR), [0_u64; 0]);
    }
}
