//! What must hold, looked at after every event and once more at the end. The invariants of the engine; what may act on the world at the
//! moment it acts; and at the end, for every saga, that the world is as its status says.

use baton_engine::state::{Attempt, Phase, SagaState, Stage, Status};
use baton_engine::{WorkItemKind, invariants, replay};
use baton_messages::{AttemptRef, Direction, Hold, RunId, StepKey, Task, Timestamp};

use crate::host::short;
use crate::ledger::Place;
use crate::plan::{Kind, Matter, SagaPlan, StepPlan};
use crate::reference;
use crate::world::{BEGIN_MS, TROUBLE_MS, World};

/// How long a saga may take to end once nothing goes wrong any more, beside what its steps wait by themselves: attempts with their time
/// limits and pauses, what settles, and until whoever was lost with a task has certainly ended.
const SOON_MS: u64 = 15 * 60 * 1000;

impl World {
    /// After every event: what was written since the last one.
    pub(crate) fn look(&mut self) {
        let (broken, touched) = {
            let mut disk = self.store.disk();
            (disk.broken.take(), std::mem::take(&mut disk.touched))
        };
        if let Some(what) = broken {
            self.breaks(what);
        }
        for saga in touched {
            let found = {
                let disk = self.store.disk();
                let Some(state) = disk.mirror.get(&saga) else {
                    continue;
                };
                let line = describe(state);
                let rows = disk.work_items.range((saga, 0)..=(saga, u32::MAX));
                let rows: Vec<_> = rows.map(|(_, item)| item).collect();
                let open: Vec<_> = state.work_items.values().collect();
                if state.status.ended() {
                    self.ended_at.entry(saga).or_insert(self.now);
                } else {
                    self.ended_at.remove(&saga);
                }
                let definition = self.definitions.get(&saga);
                let now = self.clock_at(saga).max(state.last_at);
                let wrong = definition
                    .and_then(|definition| invariants::check(definition, state, now).err());
                let undecided = state
                    .work_items
                    .values()
                    .find(|item| item.kind == WorkItemKind::Broken)
                    .map(|item| item.title.clone());
                let listening = state.listening().count();
                let kept = disk.subscriptions.values();
                let kept = kept.filter(|(row, _)| row.saga == saga).count();
                let wrong = wrong.or(undecided).or_else(|| {
                    (listening != kept).then(|| {
                        format!("{listening} of its steps listen, the store knows of {kept}")
                    })
                });
                let wrong = wrong.or_else(|| {
                    (rows != open).then(|| {
                        format!("work items are {rows:?} in the store, {open:?} in the state")
                    })
                });
                (line, wrong)
            };
            self.note(&found.0);
            if let Some(wrong) = found.1 {
                self.breaks(format!("{}: {wrong}", short(saga)));
            }
        }
    }

    /// Somebody acts on the world: is he still to?
    pub(crate) fn witness_do(&mut self, task: &Task, run: RunId, asked: bool, kind: &Kind) {
        if kind.matter == Matter::Nothing {
            return;
        }
        let of = &task.of;
        let place = (of.saga, of.key());
        let wrong = {
            let disk = self.store.disk();
            let Some(state) = disk.mirror.get(&of.saga) else {
                return;
            };
            let attempt = attempt_of(state, of);
            let early = self.plans.get(&of.saga).and_then(|plan| {
                let before = plan.step(&of.step)?.after.iter();
                before.filter_map(|at| plan.steps.get(*at)).find(|before| {
                    !state.step(&before.id).is_some_and(|step| {
                        matches!(
                            step.phase,
                            Phase::Succeeded | Phase::Skipped | Phase::Continued
                        )
                    })
                })
            });
            (state.status != Status::Abandoned)
                .then(|| {
                    why_not(attempt, task, run, asked, Timestamp(self.now))
                        .or_else(|| early.map(|before| format!("{} is not done", before.id)))
                })
                .flatten()
        };
        let undone = self.ledger.cell(&place).undone_round;
        if let Some(why) = wrong {
            self.breaks(format!(
                "{} acts for {} {}/{}: {why}",
                short(of.saga),
                of.key(),
                of.attempt,
                of.dispatch
            ));
        } else if undone >= of.round {
            self.breaks(format!(
                "{} acts for {} after its undo",
                short(of.saga),
                of.key()
            ));
        }
    }

    /// Somebody takes an effect back: is he to, and is everything taken back that was built upon it?
    pub(crate) fn witness_undo(&mut self, task: &Task, run: RunId, asked: bool, kind: &Kind) {
        if kind.matter == Matter::Nothing {
            return;
        }
        let of = &task.of;
        // An item that is tolerated and in doubt is taken back while the saga goes forward: nobody has read anything of it.
        let step = self
            .plans
            .get(&of.saga)
            .and_then(|plan| plan.step(&of.step));
        let fan = step.and_then(|step| step.fan.as_ref());
        let tolerant = fan.is_some_and(|fan| fan.tolerate > 0);
        let mut forward = false;
        let wrong = {
            let disk = self.store.disk();
            let Some(state) = disk.mirror.get(&of.saga) else {
                return;
            };
            forward |= state.unwinding.is_none();
            let attempt = attempt_of(state, of);
            if state.status == Status::Abandoned {
                None
            } else if state.unwinding.is_none() && !tolerant {
                Some("the saga does not unwind".to_owned())
            } else {
                why_not(attempt, task, run, asked, Timestamp(self.now))
            }
        };
        let wrong = wrong.or_else(|| {
            let plan = self.plans.get(&of.saga).filter(|_| !forward)?;
            let at = plan.steps.iter().position(|step| step.id == of.step)?;
            let upon = reference::after_all(plan, at).into_iter().find(|later| {
                plan.steps.get(*later).is_some_and(|later| {
                    let stands = |key| self.stands(later, &(of.saga, key));
                    let own = later.keys().into_iter().any(stands);
                    own || self.child_stands(of.saga, later)
                })
            })?;
            Some(format!("what step {upon} did upon it still stands"))
        });
        if let Some(why) = wrong {
            self.breaks(format!(
                "{} takes back {} {}/{}: {why}",
                short(of.saga),
                of.key(),
                of.attempt,
                of.dispatch
            ));
        }
    }

    /// Whether an effect of a step stands that has to be taken back where its saga turns back, and not by a person.
    pub(crate) fn stands(&self, step: &StepPlan, place: &Place) -> bool {
        if self.by_hand.contains(place) || self.ledger.cell(place).standing == 0 {
            return false;
        }
        let disk = self.store.disk();
        let state = disk.mirror.get(&place.0);
        !step.may_be_left(state.and_then(|state| state.at(&place.1)))
    }

    /// The end: every saga has ended, and the world is as it says.
    pub(crate) fn finish(&mut self) {
        let commits = self.store.disk().commits;
        self.report.commits = commits;
        if self.broken.is_none() {
            let plans: Vec<SagaPlan> = self.plans.values().cloned().collect();
            for plan in plans {
                if let Err(what) = self.judge(&plan) {
                    self.breaks(format!("{}: {what}", short(plan.id)));
                }
            }
        }
        self.report.hash = self.trace.hash();
    }

    fn judge(&mut self, plan: &SagaPlan) -> Result<(), String> {
        let disk = self.store.disk();
        let Some(state) = disk.mirror.get(&plan.id) else {
            return Err("never started".into());
        };
        let mut replayed = SagaState::new(plan.id);
        replay(&mut replayed, disk.entries(plan.id))
            .map_err(|error| format!("does not replay: {error}"))?;
        if replayed != *state {
            return Err("replays to something else".into());
        }
        let reasons = self.judge_reasons(plan, disk.entries(plan.id));
        let state = state.clone();
        drop(disk);
        reasons?;
        *self.report.ends.entry(state.status.as_str()).or_default() += 1;
        let parked = state.status == Status::Parked && self.mood.quiet;
        if !state.status.ended() && !parked {
            return Err(format!("has not ended: {}", describe(&state)));
        }
        if parked && !state.work_items.values().any(|item| item.kind.blocks()) {
            return Err("is parked without a task for a person".into());
        }
        self.judge_items(plan, &state)?;
        self.judge_haste(plan, &state)?;
        self.judge_outcome(plan, &state)?;
        for step in &plan.steps {
            step.keys()
                .iter()
                .try_for_each(|key| self.judge_step(plan, step, key, &state))
                .and_then(|()| judge_fan(step, &state))
                .map(|()| self.count_items(step, &state))
                .and_then(|()| self.judge_idle(plan, step, &state))
                .and_then(|()| self.judge_child(plan, step, &state))
                .map_err(|what| format!("{} but {} {what}", state.status.as_str(), step.id))?;
        }
        Ok(())
    }

    /// How the items of a step ended: a simulation without any of a kind shows nothing of it.
    fn count_items(&mut self, step: &StepPlan, state: &SagaState) {
        for key in step.keys().iter().filter(|key| key.item.is_some()) {
            let tolerated = state.unwinding.is_none();
            let word = match state.at(key).map(|item| item.phase) {
                Some(Phase::Succeeded) => "done",
                Some(Phase::Skipped) => "skipped",
                Some(Phase::Continued) => "tolerated",
                Some(Phase::Undone) if tolerated => "settled",
                Some(Phase::Undone) => "undone",
                Some(_) => "failed",
                None => "never begun",
            };
            *self.report.items.entry(word).or_default() += 1;
        }
    }

    /// Once the trouble is over and nobody is asked for anything any more, a saga ends soon. Where somebody has set the clock, what was
    /// decided meanwhile may wait until the clock is there again.
    fn judge_haste(&mut self, plan: &SagaPlan, state: &SagaState) -> Result<(), String> {
        let asked = self.asked_at.get(&plan.id).copied().unwrap_or(0);
        let since = asked.max(BEGIN_MS + TROUBLE_MS);
        let ended = self.ended_at.get(&plan.id).copied().unwrap_or(0);
        let slow_ms = ended.saturating_sub(since);
        if self.mood.clock_steps_ms < u64::MAX {
            return Ok(());
        }
        self.report.slowest_ms = self.report.slowest_ms.max(slow_ms);
        let waits = plan.steps.iter().filter(|step| step.kind.is_none());
        let waits_ms: u64 = waits.map(StepPlan::idle_ms).sum();
        if slow_ms <= SOON_MS + waits_ms + self.longer_ms() + self.waits_for_others_ms() {
            return Ok(());
        }
        Err(format!(
            "took {slow_ms} ms to end after all was well again: {}",
            describe(state)
        ))
    }

    /// Against the naive reference.
    fn judge_outcome(&self, plan: &SagaPlan, state: &SagaState) -> Result<(), String> {
        let allowed = if self.mood.quiet {
            reference::foretell(plan)
        } else {
            reference::possible(plan, self.mood.fickle > 0, self.meddled.contains(&plan.id))
        };
        if allowed.contains(&state.status) {
            return Ok(());
        }
        Err(format!(
            "is {}; a naive reading of its scripts allows {allowed:?}",
            state.status.as_str()
        ))
    }

    pub(crate) fn judge_step(
        &self,
        plan: &SagaPlan,
        step: &StepPlan,
        key: &StepKey,
        state: &SagaState,
    ) -> Result<(), String> {
        let place = (plan.id, key.clone());
        let Some(kind) = step.kind else {
            return Ok(());
        };
        let Some(at) = state.at(key) else {
            return match self.ledger.cell(&place).standing {
                0 => Ok(()),
                _ => Err(format!("has an effect for {key}, which never began")),
            };
        };
        if kind.matter == Matter::Nothing || self.by_hand.contains(&place) {
            return Ok(());
        }
        let cell = self.ledger.cell(&place);
        let hand = self.done_by_hand.contains(&place);
        // a person may have had it taken back all the same; and what a person says it returned says nothing of who has acted
        if !hand && !self.meddled.contains(&plan.id) && !self.tried_again.contains(&place) {
            // a probe has looked when all had acted
            let acts = if kind.probe { 0 } else { cell.acts };
            let undone = cell.undone_round > 0;
            if let Some(wrong) = reference::wrong_of_undo(step, at.unwanted, acts, undone) {
                return Err(wrong.into());
            }
            if step.undo_once && cell.undo_runs() > 1 {
                let times = cell.undo_runs();
                return Err(format!(
                    "was taken back {times} times by a task of which a second run does harm"
                ));
            }
        }
        match state.status {
            Status::Completed => match at.phase {
                Phase::Succeeded if cell.standing == 0 => Err("has no effect".into()),
                Phase::Succeeded
                    if cell.standing > 1 && !hand && !self.tried_again.contains(&place) =>
                {
                    Err(format!("has its effect {} times", cell.standing))
                }
                Phase::Undone | Phase::Continued
                    if key.item.is_some() && cell.standing > 0 && !step.may_be_left(Some(at)) =>
                {
                    Err(format!("has left the effect of {key}, which it tolerated"))
                }
                Phase::Skipped | Phase::Continued if cell.standing > 0 && !at.may_have_effect => {
                    Err("has an effect nobody knows of".into())
                }
                _ => Ok(()),
            },
            Status::Compensated if step.may_be_left(Some(at)) => Ok(()),
            Status::Compensated if cell.standing > 0 => Err("still has its effect".into()),
            Status::Compensated
                if kind.matter == Matter::File && !self.ledger.is_original(&place) =>
            {
                Err(format!(
                    "left {} instead of the original",
                    self.ledger.content(&place)
                ))
            }
            Status::Parked
                if cell.standing > 0 && !at.may_have_effect && at.phase != Phase::Undone =>
            {
                Err("has an effect nobody knows of".into())
            }
            _ => Ok(()),
        }
    }
}

/// What a step that is done for each of a list has come to: each item done, not wanted, or tolerated; what it returns has a place for each.
fn judge_fan(step: &StepPlan, state: &SagaState) -> Result<(), String> {
    let (Some(plan), Some(at)) = (&step.fan, state.step(&step.id)) else {
        return Ok(());
    };
    if state.status != Status::Completed || at.phase != Phase::Succeeded {
        return Ok(());
    }
    let settled = |phase: Phase| {
        matches!(
            phase,
            Phase::Succeeded | Phase::Skipped | Phase::Continued | Phase::Undone
        )
    };
    for key in step.keys().iter().filter(|_| step.wanted) {
        match state.at(key).map(|item| item.phase) {
            Some(phase) if settled(phase) => {}
            other => return Err(format!("is done, and {key} is {other:?}")),
        }
    }
    // one `if` for all of them: where it does not hold there is none
    let items = if step.wanted { plan.scripts.len() } else { 0 };
    let given = at.output.as_ref().and_then(|output| output.as_array());
    let places = given.map(Vec::len);
    if places == Some(items) {
        return Ok(());
    }
    Err(format!("has {places:?} outputs of {items} items"))
}

/// The attempt a task is of, while its step is in the same round.
fn attempt_of<'a>(state: &'a SagaState, of: &AttemptRef) -> Option<&'a Attempt> {
    let step = state.at(&of.key())?;
    (step.round == of.round)
        .then(|| step.attempt(of.direction, of.attempt))
        .flatten()
}

/// Why a run may not act, if it may not: its attempt is closed and nobody may hold it any more.
fn why_not(
    attempt: Option<&Attempt>,
    task: &Task,
    run: RunId,
    asked: bool,
    now: Timestamp,
) -> Option<String> {
    let Some(attempt) = attempt else {
        return Some("there is no such attempt".into());
    };
    match task.hold {
        Hold::Claim | Hold::Late if task.hold == Hold::Claim || asked => match &attempt.stage {
            Stage::Claimed { run: holder, .. } if *holder == run => None,
            other => Some(format!("its claim is not held: {other:?}")),
        },
        Hold::Late if now < attempt.unasked_end() && (attempt.open() || !attempt.sole) => None,
        Hold::Late | Hold::Claim => Some(format!(
            "its attempt is over: {:?}, sole {}",
            attempt.stage, attempt.sole
        )),
    }
}

/// One line about a saga.
pub(crate) fn describe(state: &SagaState) -> String {
    let mut line = format!(
        "{} {}{}",
        short(state.id),
        state.status.as_str(),
        if state.unwinding.is_some() {
            " (unwinding)"
        } else {
            ""
        }
    );
    for (spot, step) in state.live() {
        let id = spot.key();
        let open =
            step.open_attempt()
                .map_or("", |attempt| match (attempt.direction, attempt.sole) {
                    (Direction::Do, true) => "*",
                    (Direction::Do, false) => "**",
                    (_, true) => "~",
                    (_, false) => "~~",
                });
        line.push_str(&format!(
            " {id}:{:?}{open}{}",
            step.phase,
            if step.may_have_effect { "!" } else { "" }
        ));
    }
    if !state.work_items.is_empty() {
        line.push_str(&format!(
            " items {:?}",
            state.work_items.keys().collect::<Vec<_>>()
        ));
    }
    line
}
