//! A step that has begun, held against what the other version says of it: what was recorded would have been recorded, and what was done is still undone.

use baton_messages::{PoolName, StepId, StepKey};
use serde_json::Value;

use super::order::looks_only;
use super::{Both, Reason, ReasonKind, sent};
use crate::decide::fan_out::eyes;
use crate::definition::{
    ApproveStep, EmitStep, SagaStep, Step, StepKind, TaskStep, UndoPlan, UndoTask, WaitStep,
    duration_ms_of,
};
use crate::expr::Template;
use crate::fan::Fan;
use crate::state::{Phase, StepState};

/// Everything that differs of the steps that have begun.
pub(super) fn reasons(both: &Both<'_>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for (id, state) in both.begun() {
        match (both.was(id), both.next(id)) {
            (Some(was), Some(next)) => {
                let mut one = One {
                    both,
                    id,
                    state,
                    was,
                    next,
                    reasons: Vec::new(),
                };
                one.look();
                reasons.append(&mut one.reasons);
            }
            (None, _) => {
                let what = "it has begun, and the version it began under is not known any more";
                reasons.push(Reason::of_step(ReasonKind::StepGone, id, what));
            }
            (Some(_), None) => {
                let what = "it has begun, and the other version has no such step";
                reasons.push(Reason::of_step(ReasonKind::StepGone, id, what));
            }
        }
    }
    reasons
}

/// One step that has begun.
struct One<'a, 'b> {
    both: &'b Both<'a>,
    id: &'a StepId,
    state: &'a StepState,
    was: &'a Step,
    next: &'a Step,
    reasons: Vec<Reason>,
}

impl One<'_, '_> {
    fn differs(&mut self, kind: ReasonKind, what: impl Into<String>) {
        self.reasons.push(Reason::of_step(kind, self.id, what));
    }

    fn look(&mut self) {
        if self.was.pivot != self.next.pivot {
            let what = match self.next.pivot {
                true => "it has begun, and would be the pivot",
                false => "it has begun as the pivot, and would be none",
            };
            self.differs(ReasonKind::Pivot, what);
        }
        self.branch();
        if self.state.phase == Phase::Skipped && !sent(self.state) {
            // nothing of it has left, and nothing will
            return;
        }
        if self.state.phase == Phase::Continued && self.was.on_error != self.next.on_error {
            let what = "it has failed, and would not go on (`on_error`)";
            self.differs(ReasonKind::Tolerated, what);
        }
        self.items();
        self.kind();
    }

    /// `if`, as it came out.
    fn branch(&mut self) {
        if self.was.condition == self.next.condition {
            return;
        }
        let ran = self.state.phase != Phase::Skipped;
        let runs = match &self.next.condition {
            _ if self.state.fan.is_some() => Err("it is asked for each item, and is another one"),
            None => Ok(true),
            Some(condition) => match condition.eval(self.both.state) {
                Ok(Value::Bool(runs)) => Ok(runs),
                Ok(_) | Err(_) => Err("it gives no answer for this saga"),
            },
        };
        match (runs, ran) {
            (Err(why), _) => self.differs(ReasonKind::Branch, format!("`if`: {why}")),
            (Ok(true), false) => {
                self.differs(
                    ReasonKind::Branch,
                    "it was skipped, and would have run (`if`)",
                );
            }
            (Ok(false), true) => {
                self.differs(
                    ReasonKind::Branch,
                    "it has run, and would have been skipped (`if`)",
                );
            }
            (Ok(true), true) | (Ok(false), false) => {}
        }
    }

    /// `for_each`, with the list that was computed.
    fn items(&mut self) {
        let (Some(was), Some(next)) = (&self.was.fan, &self.next.fan) else {
            if self.was.fan.is_some() != self.next.fan.is_some() {
                let what = match self.next.fan {
                    Some(_) => "it was begun once, and would be for each item of a list",
                    None => "it was begun for each item of a list, and would be once",
                };
                self.differs(ReasonKind::Items, what);
            }
            return;
        };
        let Some(fan) = self.state.fan.as_deref() else {
            return;
        };
        let same_list = was.items == next.items
            || next
                .items
                .eval(self.both.state)
                .is_ok_and(|items| items.as_array() == Some(&*fan.items));
        if !same_list {
            self.differs(ReasonKind::Items, "the list is another one (`for_each`)");
        }
        if next.tolerate.of(fan.len()) != fan.tolerated {
            let what = "another number of items may fail (`tolerate`)";
            self.differs(ReasonKind::Items, what);
        }
        if fan.len() > next.most() {
            let what = "the list is longer than it may be (`max_items`)";
            self.differs(ReasonKind::Items, what);
        }
        // those that are taken back meanwhile are not counted where nothing is otherwise
        let fewer = next.max_parallel < was.max_parallel;
        if fewer && fan.live.len() > next.max_parallel as usize {
            let what = "more items are under way than may be (`max_parallel`)";
            self.differs(ReasonKind::Items, what);
        }
    }

    fn kind(&mut self) {
        match (&self.was.kind, &self.next.kind) {
            (StepKind::Task(was), StepKind::Task(next)) => self.task(was, next),
            (StepKind::Sleep(was), StepKind::Sleep(next)) => self.sleep(was, next),
            (StepKind::Wait(was), StepKind::Wait(next)) => self.wait(was, next),
            (StepKind::Approve(was), StepKind::Approve(next)) => self.approve(was, next),
            (StepKind::Emit(was), StepKind::Emit(next)) => self.emit(was, next),
            (StepKind::Saga(was), StepKind::Saga(next)) => self.child(was, next),
            (was, next) => {
                let what = format!("it is {}, and would be {}", word(was), word(next));
                self.differs(ReasonKind::StepType, what);
            }
        }
    }

    fn task(&mut self, was: &TaskStep, next: &TaskStep) {
        if was.task_type != next.task_type {
            let what = format!(
                "it runs {}, and would run {}",
                was.task_type, next.task_type
            );
            self.differs(ReasonKind::StepType, what);
            return;
        }
        if let Some(ready) = &self.state.forward {
            let as_defined = self.state.edited.is_empty();
            self.given(
                &was.with,
                &next.with,
                Some(&ready.input).filter(|_| as_defined),
            );
        } else if self.state.fan.is_some() {
            self.given(&was.with, &next.with, None);
        }
        let under_way = !self.state.phase.done() && sent(self.state);
        if under_way && was.probe != next.probe {
            let what = "how it is found out whether it happened is another way (`probe`)";
            self.differs(ReasonKind::Probe, what);
        }
        if was.undo != next.undo && !looks_only(self.was, self.state) {
            self.undo(&was.undo, &next.undo);
        }
        self.undo_when(was, next);
    }

    /// When what was done is taken back: always is more than where a condition holds. One that is another may leave what the one before would not have.
    fn undo_when(&mut self, was: &TaskStep, next: &TaskStep) {
        let wanted_before = !matches!(was.undo, UndoPlan::None { .. });
        let another = next.undo_when.is_some() && was.undo_when != next.undo_when;
        if wanted_before && another && !looks_only(self.was, self.state) {
            let what =
                "it has been done, and would be taken back under another condition (`undo.when`)";
            self.differs(ReasonKind::UndoGone, what);
        }
    }

    /// What it was given: written the same, or the same for this saga. None: what was given cannot be told from the state, as of many items, or of what an operator has edited.
    fn given(&mut self, was: &Template, next: &Template, given: Option<&Value>) {
        if was == next {
            return;
        }
        let key = StepKey::from(self.id);
        let now = next.eval(&eyes(self.both.state, &key));
        let same = given.is_some_and(|given| now.is_ok_and(|now| now == *given));
        if !same {
            self.differs(
                ReasonKind::StepInput,
                "it has begun, and would have been given something else (`with`)",
            );
        }
    }

    fn undo(&mut self, was: &UndoPlan, next: &UndoPlan) {
        let brings_one = || {
            let ready = self.state.forward.as_ref();
            ready.is_some_and(|ready| ready.facts.undo)
        };
        match (was, next) {
            // what nobody wanted undone may be from now on
            (UndoPlan::None { .. } | UndoPlan::Own, UndoPlan::Own)
            | (UndoPlan::None { .. }, UndoPlan::None { .. }) => {}
            (UndoPlan::Task(_), UndoPlan::Own) if brings_one() => {}
            (UndoPlan::Task(_), UndoPlan::Own) => {
                let what = "it was to be undone by a task, and its own automation brings no undo";
                self.differs(ReasonKind::UndoGone, what);
            }
            (UndoPlan::Own | UndoPlan::Task(_), UndoPlan::None { .. }) => {
                let what = "it has been done with an undo, and would have none";
                self.differs(ReasonKind::UndoGone, what);
            }
            (_, UndoPlan::Task(next)) => {
                if let Some(why) = self.unfit(next) {
                    self.differs(ReasonKind::UndoUnfit, why);
                }
            }
        }
    }

    /// Why another task cannot be relied on to undo what was done; it is made ready as it would be.
    fn unfit(&self, undo: &UndoTask) -> Option<String> {
        if self.state.fan.is_some() {
            return Some("each item has its undo, and it would be another one".to_owned());
        }
        if !self.state.edited.is_empty() {
            let what =
                "an operator has had it done with another input, and its undo would be another one";
            return Some(what.to_owned());
        }
        let of = &undo.task_type;
        let Some(known) = self.both.versions.catalogue.get(of) else {
            return Some(format!("no worker has announced {of}, which would undo it"));
        };
        if !self.state.phase.done() {
            // what it will return is not known yet; that it fits is what the checker has looked at
            return None;
        }
        let key = StepKey::from(self.id);
        match undo.with.eval(&eyes(self.both.state, &key)) {
            Err(error) => Some(format!("its undo cannot be computed: {error}")),
            Ok(input) if known.check_input(&input).is_err() => Some(format!(
                "{of}, which would undo it, would not take its input"
            )),
            Ok(_) => undo
                .pool
                .as_ref()
                .and_then(|pool| self.unfit_pool(pool, &key)),
        }
    }

    /// Why what names the pool of an undo cannot be relied on.
    fn unfit_pool(&self, pool: &Template, key: &StepKey) -> Option<String> {
        match pool.eval(&eyes(self.both.state, key)) {
            Err(error) => Some(format!("the pool of its undo cannot be computed: {error}")),
            Ok(name) => {
                let fits = name
                    .as_str()
                    .is_some_and(|name| PoolName::new(name).is_ok());
                (!fits).then(|| format!("the pool of its undo would be {name}, which is none"))
            }
        }
    }

    fn sleep(&mut self, was: &Template, next: &Template) {
        if was == next || self.state.phase != Phase::Sleeping {
            return;
        }
        let ms = next.eval(self.both.state).ok();
        let ms = ms.and_then(|value| duration_ms_of(&value).ok());
        let due = ms.map(|ms| self.state.since.plus_ms(ms));
        if due != self.state.due {
            self.differs(ReasonKind::Waiting, "it sleeps, and would for another time");
        }
    }

    fn wait(&mut self, was: &WaitStep, next: &WaitStep) {
        if self.state.phase == Phase::Skipped {
            return;
        }
        let events = |one: &WaitStep| (one.event.clone(), one.when.clone(), one.since_ms);
        if events(was) != events(next) {
            let what = "it waits for other events (`event`, `when`, `since`)";
            self.differs(ReasonKind::Waiting, what);
        } else if self.state.phase == Phase::Listening && was != next {
            let what = "it waits, and would for another time (`timeout`, `on_timeout`)";
            self.differs(ReasonKind::Waiting, what);
        } else if self.state.phase == Phase::Continued && was.on_timeout != next.on_timeout {
            let what = "its time was over, and it would not have gone on (`on_timeout`)";
            self.differs(ReasonKind::Tolerated, what);
        }
    }

    fn approve(&mut self, was: &ApproveStep, next: &ApproveStep) {
        let approved = || {
            let output = self.state.output.as_ref()?;
            output.get("approved")?.as_bool()
        };
        if self.state.phase == Phase::Skipped {
            return;
        }
        if was.by != next.by {
            let what = format!("{} decides, and {} would", was.by, next.by);
            self.differs(ReasonKind::Waiting, what);
        } else if self.state.phase == Phase::Asked && was != next {
            let what = "a person is asked, and would be asked otherwise (`prompt`, `timeout`, `on_timeout`, `on_reject`)";
            self.differs(ReasonKind::Waiting, what);
        } else if self.state.phase == Phase::Continued && was.on_timeout != next.on_timeout {
            let what = "its time was over, and it would not have gone on (`on_timeout`)";
            self.differs(ReasonKind::Tolerated, what);
        } else if approved() == Some(false) && was.goes_on_rejected && !next.goes_on_rejected {
            let what = "a person said no, and it would not have gone on (`on_reject`)";
            self.differs(ReasonKind::Tolerated, what);
        }
    }

    fn emit(&mut self, was: &EmitStep, next: &EmitStep) {
        let said = self.state.phase == Phase::Succeeded;
        let same = was.subject == next.subject && was.data == next.data;
        if was.kind != next.kind || (said && !same) {
            let what = "it has said something else (`type`, `subject`, `data`)";
            self.differs(ReasonKind::Waiting, what);
        }
    }

    fn child(&mut self, was: &SagaStep, next: &SagaStep) {
        let runs = match self.state.child.as_deref() {
            Some(child) => (child.definition.as_str(), child.version),
            None => (was.name.as_str(), was.version),
        };
        if was.group.is_some() && next.group.is_some() && was.name == next.name {
            self.group(was, next);
        } else if runs != (next.name.as_str(), next.version) {
            let what = format!(
                "it runs {}@{}, and would run {}@{}",
                runs.0, runs.1, next.name, next.version
            );
            self.differs(ReasonKind::StepType, what);
            return;
        } else if let Some(child) = self.state.child.as_deref() {
            self.given(&was.with, &next.with, Some(&child.input));
        } else if self.state.fan.is_some() {
            self.given(&was.with, &next.with, None);
        }
        let waits = |one: &StepState| matches!(one.phase, Phase::InChild);
        let fan = self.state.fan.as_deref();
        let in_items = fan.is_some_and(|fan| under_way(fan).any(waits));
        if (waits(self.state) || in_items) && was.timeout_ms != next.timeout_ms {
            let what = "its child has begun, and would have another time (`timeout`)";
            self.differs(ReasonKind::Waiting, what);
        }
    }
}

impl One<'_, '_> {
    /// A group that has begun is the same where it is written the same: its items go on under the version they were begun with, and undo what they did by that.
    fn group(&mut self, was: &SagaStep, next: &SagaStep) {
        if was.group != next.group {
            let what =
                "items of it have begun, and its group is written otherwise (`steps`, `output`)";
            self.differs(ReasonKind::StepType, what);
        }
    }
}

fn under_way(fan: &Fan) -> impl Iterator<Item = &StepState> {
    fan.live.values().map(AsRef::as_ref)
}

/// What a step does, in words.
fn word(kind: &StepKind) -> String {
    match kind {
        StepKind::Task(task) => format!("a task of {}", task.task_type),
        StepKind::Sleep(_) => "a sleep".to_owned(),
        StepKind::Wait(_) => "a wait".to_owned(),
        StepKind::Approve(_) => "an approval".to_owned(),
        StepKind::Emit(_) => "an event".to_owned(),
        StepKind::Saga(saga) if saga.group.is_some() => "a group of steps".to_owned(),
        StepKind::Saga(saga) => format!("saga {}@{}", saga.name, saga.version),
    }
}
