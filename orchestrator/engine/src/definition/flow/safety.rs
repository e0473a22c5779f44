//! Whether what is done can be taken back, found out and bounded: what the catalogue says a task type does, against what the step says
//! is done about it.

use std::iter;

use baton_messages::{Effect, Manifest, TaskType};

use super::Flow;
use super::dead::Dead;
use crate::definition::Definition;
use crate::definition::diagnostic::code;
use crate::definition::duration_text;
use crate::definition::read_task::is_unreadable;
use crate::definition::reader::nearest;
use crate::definition::step::{OnError, ProbePlan, Step, TaskStep, UndoPlan};
use crate::definition::yaml::Mark;
use crate::types::{Misfit, Object, Type, Why, misfit, of_schema};

/// An object that has the keys it speaks of and no others: whoever finds something and says what that has is taken at his word.
fn as_said(of: &Type) -> Type {
    let one = |one: &Type| match one {
        Type::Object(object) if !object.properties.is_empty() && object.rest == Some(Type::Any) => {
            Type::object(Object {
                rest: None,
                ..object.as_ref().clone()
            })
        }
        other => other.clone(),
    };
    Type::union(of.alternatives().iter().map(one))
}

/// How the pivot of a saga comes before a step of it.
pub(super) fn pivot_before(definition: &Definition, step: &Step) -> String {
    let id = &step.id;
    match definition.pivot() {
        Some(pivot) => format!("have the pivot `{}` come before `{id}`", pivot.id),
        None => format!("put a step with `pivot: true` before `{id}`"),
    }
}

impl Flow<'_> {
    pub(super) fn safety(&mut self, step: &Step, task: &TaskStep, dead: Dead) {
        let catalogue = self.catalogue;
        if !dead.undo && !self.only_forward(step) {
            self.done_once_more(step, task);
            self.undone_by(step, task);
        }
        if !dead.probe {
            self.probed_by(step, task);
        }
        let Some(known) = catalogue.get(&task.task_type) else {
            return;
        };
        let manifest = &known.manifest;
        if !self.only_forward(step) {
            self.taken_back(step, task, manifest);
        }
        self.found_out(step, task, manifest);
        self.bounded(step, task, manifest);
    }

    /// Whether nothing of the step is ever taken back: see [`Definition::only_forward`]. One of which nobody knows what comes before it may come after the pivot.
    ///
    /// [`Definition::only_forward`]: crate::definition::Definition::only_forward
    pub(super) fn only_forward(&self, step: &Step) -> bool {
        let unsure = self.doubts.unsure.contains(&step.index);
        (unsure && self.definition.pivot().is_some()) || self.definition.only_forward(step)
    }

    /// The pivot a step comes after, where that may never be sent and the step runs all the same.
    pub(super) fn skipped_before(&self, step: &Step) -> Option<&Step> {
        let pivot = self.definition.pivot()?;
        let after = step.ancestors.contains(&pivot.index) && !self.only_forward(step);
        after.then_some(pivot)
    }

    /// What is to be done about a step that cannot be taken back, after a pivot that may never be sent.
    pub(super) fn runs_past(pivot: &Step, step: &Step) -> String {
        let (id, at) = (&step.id, &pivot.id);
        let tolerated = format!(
            "take `on_error: continue` out of the pivot `{at}`, with which the saga goes on though that was never sent"
        );
        match (pivot.on_error == OnError::Continue, &pivot.condition) {
            (true, None) => tolerated,
            (true, Some(_)) => format!("{tolerated}, and give `{id}` its `if`"),
            (false, _) => format!(
                "give `{id}` the `if` of the pivot `{at}`, which is skipped where that does not hold"
            ),
        }
    }

    /// Where a step that cannot be taken back may stand: only what is not refused there.
    pub(super) fn where_it_may(&self, step: &Step) -> String {
        if let Some(pivot) = self.skipped_before(step) {
            return Self::runs_past(pivot, step);
        }
        if let Some(pivot) = self.definition.pivot() {
            let id = &pivot.id;
            return match step.descendants.contains(&pivot.index) {
                // to wait for it as well would be a circle
                true => format!("move it below the pivot `{id}`, so that it comes after that"),
                false => format!("have it come after the pivot: `after: [{id}]`"),
            };
        }
        if self.outside.is_none() {
            return match step.fan {
                Some(_) => "put a step with `pivot: true` before it",
                None => "make it the pivot, or put it after the pivot",
            }
            .to_owned();
        }
        let own = match step.fan {
            Some(_) => "put a step with `pivot: true` before it in the group",
            None => "make it the pivot of the group, by `pivot: true`",
        };
        self.turning_group()
            .map_or_else(|| own.to_owned(), |before| format!("{own}, and {before}"))
    }

    /// How the saga around a group comes to only go forward before it, where it may still turn back.
    pub(super) fn turning_group(&self) -> Option<String> {
        let mut around = iter::successors(self.outside, |one| one.outside);
        let turns = around.find(|one| !one.definition.only_forward(one.step))?;
        Some(pivot_before(turns.definition, turns.step))
    }

    /// Whether a step may become the pivot as it stands.
    fn may_be_pivot(&self, step: &Step) -> bool {
        self.definition.pivot().is_none() && step.fan.is_none() && self.turning_group().is_none()
    }

    fn taken_back(&mut self, step: &Step, task: &TaskStep, manifest: &Manifest) {
        if !matches!(task.undo, UndoPlan::Own) {
            return;
        }
        let (id, name) = (&step.id, &manifest.task_type);
        match manifest.effect {
            Effect::Reversible if !manifest.undo => {
                let message = format!(
                    "{name} has no undo of its own, and `{id}` names none: on the way back a person would be asked"
                );
                let past = self.skipped_before(step);
                let or = match (past, self.may_be_pivot(step)) {
                    (Some(pivot), _) => format!("; or {}", Self::runs_past(pivot, step)),
                    (None, true) => "; or `pivot: true`".to_owned(),
                    (None, false) => String::new(),
                };
                let help = format!(
                    "add `undo: {{ task: …, with: … }}`; or `undo: none` and `because: …`{or}"
                );
                let mark = self.task_mark(step);
                self.error(code::UNDO, mark, message, help);
            }
            Effect::Irreversible => {
                let message = format!(
                    "what {name} does cannot be taken back, and after `{id}` the saga may still turn back"
                );
                let place = self.where_it_may(step);
                let help =
                    format!("{place}; or say `undo: none` and `because: …`, where it does no harm");
                let mark = self.task_mark(step);
                self.error(code::IRREVERSIBLE, mark, message, help);
            }
            Effect::Reversible | Effect::None => {}
        }
    }

    /// That an undo is none which has the step's own task do the very same again: an automation brings its undo, and that is not named.
    fn done_once_more(&mut self, step: &Step, task: &TaskStep) {
        let UndoPlan::Task(undo) = &task.undo else {
            return;
        };
        if undo.task_type != task.task_type
            || undo.with != task.with
            || is_unreadable(&undo.task_type)
        {
            return;
        }
        let (id, name) = (&step.id, &task.task_type);
        let known = self.catalogue.get(name);
        let help = match known.is_some_and(|known| known.manifest.undo) {
            true => {
                "leave `task` and `with` out: its own automation takes it back, and `when`, `retry` and `timeout` stand in `undo` without them"
            }
            false => "name the task that takes it back, or what it is given for that",
        };
        let message =
            format!("`undo` of `{id}` does the same once more: {name} with the same `with`");
        let mark = self.tree.mark_at(&format!("{}/undo/task", self.at(step)));
        self.warning(code::UNDO, mark, message, help.to_owned());
    }

    /// Of the task an undo names: that it changes anything, and what is done where nobody knows whether it was run.
    fn undone_by(&mut self, step: &Step, task: &TaskStep) {
        let UndoPlan::Task(undo) = &task.undo else {
            return;
        };
        let catalogue = self.catalogue;
        let Some(known) = catalogue.get(&undo.task_type) else {
            return;
        };
        let (id, name, manifest) = (&step.id, &undo.task_type, &known.manifest);
        let mark = self.tree.mark_at(&format!("{}/undo/task", self.at(step)));
        if manifest.effect == Effect::None {
            let message = format!("{name} changes nothing, and so takes nothing of `{id}` back");
            let help =
                "name a task that does; or say `undo: none` and `because:`, where that is right";
            return self.error(code::UNDO, mark, message, help.to_owned());
        }
        if manifest.idempotent || undo.idempotent.is_some() {
            return;
        }
        let though = match manifest.probe {
            true => ", though it has a probe",
            false => "",
        };
        let message = format!(
            "when nobody knows whether `{id}` was undone, a person is asked: {name} is not idempotent{though}"
        );
        let help = "say `idempotent: true` in the undo, where a second run does no harm; or `idempotent: false`, where a person is to look"
            .to_owned();
        // what has a probe may have been made so that a second run does no harm
        if manifest.probe {
            self.warning(code::PROBE, mark, message, help);
        } else {
            self.error(code::PROBE, mark, message, help);
        }
    }

    /// Of the task a probe names: that it can be asked.
    fn probed_by(&mut self, step: &Step, task: &TaskStep) {
        let Some(probe) = &task.probe else {
            return;
        };
        let known = self.catalogue.get(&probe.task_type);
        if known.is_none_or(|known| known.manifest.probe) {
            return self.found_as_returned(step, task, probe);
        }
        let message = format!(
            "{} has no probe, and so cannot tell whether `{}` happened",
            probe.task_type, step.id
        );
        let help = "name a task type that has one (`baton tasks` says which have); or leave `probe` out, and say by `on_error` what is done when nobody knows";
        let mark = self.tree.mark_at(&format!("{}/probe/task", self.at(step)));
        self.error(code::PROBE, mark, message, help.to_owned());
    }

    /// Of the task a probe names: that what it finds can be handed on as what the step has returned.
    fn found_as_returned(&mut self, step: &Step, task: &TaskStep, probe: &ProbePlan) {
        let catalogue = self.catalogue;
        let output = |name: &TaskType| {
            let schema = &catalogue.get(name)?.manifest.output;
            Some(of_schema(schema, schema))
        };
        let (of, own) = (&probe.task_type, &task.task_type);
        if of == own {
            return;
        }
        let (Some(is), Some(takes)) = (output(of).as_ref().map(as_said), output(own)) else {
            return;
        };
        let Some(Misfit { at, why }) = misfit(&is, &takes) else {
            return;
        };
        let what = match at.is_empty() {
            true => "what it finds".to_owned(),
            false => format!("`{at}` of what it finds"),
        };
        let differs = match why {
            Why::Kind { is, takes } => format!("{what} is {is}, and {own} returns {takes} there"),
            Why::Missing { key, ever } => {
                let has = if ever { "may have" } else { "has" };
                format!("{what} {has} no `{key}`, which {own} returns")
            }
            Why::Surplus { key } => format!("{what} has `{key}`, which {own} never returns"),
            Why::Others { pattern } => {
                let keys = pattern.map_or_else(
                    || "keys beside those it describes".to_owned(),
                    |pattern| format!("keys of `{pattern}`"),
                );
                format!("{what} may have {keys}, which {own} never returns")
            }
        };
        let id = &step.id;
        let message = format!("{of} cannot say what `{id}` returned where it happened: {differs}");
        let help = format!(
            "name a task type that returns what {own} does (`baton tasks show {of}` shows what it returns); or leave `probe` out, and say by `on_error` what is done when nobody knows"
        );
        let mark = self.tree.mark_at(&format!("{}/probe/task", self.at(step)));
        self.error(code::FLOW, mark, message, help);
    }

    fn found_out(&mut self, step: &Step, task: &TaskStep, manifest: &Manifest) {
        let nobody_knows = manifest.effect != Effect::None
            && !manifest.idempotent
            && !manifest.probe
            && task.probe.is_none();
        // from the pivot on nothing is taken back, so that this is no answer there
        let is_sure = !self.doubts.unsure.contains(&step.index);
        let forward = is_sure && self.only_forward(step);
        let no_answer = forward && step.on_error == OnError::Compensate;
        if !nobody_knows || (self.says(&self.at(step), "on_error") && !no_answer) {
            return;
        }
        let name = &manifest.task_type;
        let message = format!(
            "if its worker dies, nobody can tell whether `{}` happened: {name} is not idempotent and has no probe",
            step.id
        );
        let mut then = vec!["`on_error: park` asks a person"];
        if !forward {
            then.push("`compensate` takes it back");
        }
        // what comes after a pivot counts on it, and may be refused where that is tolerated
        if !step.pivot || step.descendants.is_empty() {
            then.push("`continue` goes on");
        }
        let help = format!(
            "add `probe: {{ task: …, with: … }}`; or say what is done then: {}",
            then.join(", ")
        );
        let mark = self.task_mark(step);
        self.error(code::PROBE, mark, message, help);
    }

    fn bounded(&mut self, step: &Step, task: &TaskStep, manifest: &Manifest) {
        let most = manifest.timeout_ms_max;
        let of_undo = task.own_undo.timeout_ms;
        for (timeout, key) in [(task.timeout_ms, "timeout"), (of_undo, "undo/timeout")] {
            if timeout.is_none_or(|timeout| timeout <= most) {
                continue;
            }
            let message = format!(
                "{} is given {} at most, and this is cut to it",
                manifest.task_type,
                duration_text(most)
            );
            let help = format!(
                "write `timeout: {}`, or make several steps of it",
                duration_text(most)
            );
            let mark = self.tree.mark_at(&format!("{}/{key}", self.at(step)));
            self.warning(code::TIME, mark, message, help);
        }
    }

    fn task_mark(&self, step: &Step) -> Mark {
        self.tree.mark_at(&format!("{}/task", self.at(step)))
    }

    /// A type whose manifest is written, and that no worker does yet.
    pub(super) fn planned_task(&mut self, task: &TaskType, at: &str) {
        let mark = self.tree.mark_at(at);
        self.warning(
            code::UNKNOWN_TASK,
            mark,
            format!("`{task}` is planned: no worker does it yet"),
            "checked against its planned manifest; a saga that comes to it waits until a worker announces it".to_owned(),
        );
    }

    /// A type nobody has announced.
    pub(super) fn unknown_task(&mut self, task: &TaskType, at: &str) {
        let names = self.catalogue.manifests().map(|m| m.task_type.as_str());
        let near = nearest(task.as_str(), names).map(str::to_owned);
        let help = match &near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "see `baton tasks` for those known; a worker may announce it later".to_owned(),
        };
        let message = format!("no worker has announced `{task}`");
        let mark = self.tree.mark_at(at);
        if near.is_some() && self.unannounced == super::Unannounced::RefusedWhenNear {
            let help = format!(
                "{help} A type of your own is known by `--catalogue FILE` (from `baton tasks --json`)"
            );
            self.error(code::UNKNOWN_TASK, mark, message, help);
        } else {
            self.warning(code::UNKNOWN_TASK, mark, message, help);
        }
    }
}
