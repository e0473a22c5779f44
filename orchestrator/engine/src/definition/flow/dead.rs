//! What a step says to no end: a way back where there is none, a role nobody has, a number that is no time. Nothing of it fails; it is hardly what somebody means.

use baton_messages::Effect;
use serde_json::Value;

use super::Flow;
use crate::definition::diagnostic::code;
use crate::definition::reader::nearest;
use crate::definition::step::{OnError, OwnUndo, Step, StepKind, TaskStep, UndoPlan};
use crate::definition::step_waiting::{ApproveStep, Approver, OnTimeout};
use crate::definition::yaml::{Content, Mark};
use crate::role::Role;

/// What of a task is never done: nothing within it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dead {
    pub(super) undo: bool,
    pub(super) probe: bool,
}

impl Flow<'_> {
    /// Keys of a task that nothing ever comes of.
    pub(super) fn dead_keys(&mut self, step: &Step, task: &TaskStep) -> Dead {
        let catalogue = self.catalogue;
        let effect = catalogue
            .get(&task.task_type)
            .map(|known| known.manifest.effect);
        let changes_nothing = effect == Some(Effect::None);
        // `undo: none` says why nothing is done, which is right everywhere
        let says_more = task.undo_when.is_some() || task.own_undo != OwnUndo::default();
        let takes_back = matches!(task.undo, UndoPlan::Task(_)) || says_more;
        let is_sure = !self.doubts.unsure.contains(&step.index);
        let (id, name) = (&step.id, &task.task_type);
        let no_way_back = is_sure && self.only_forward(step);
        let dead = Dead {
            undo: takes_back && (changes_nothing || no_way_back),
            probe: task.probe.is_some() && changes_nothing,
        };
        if dead.undo && changes_nothing {
            let message = format!("`undo` of `{id}` is never done: {name} changes nothing");
            self.dead_key(step, "undo", message);
        } else if dead.undo {
            let message = match step.pivot {
                true => format!("`undo` of `{id}` is never done: it is the pivot"),
                false => format!("`undo` of `{id}` is never done: it comes after the pivot"),
            };
            self.dead_key(step, "undo", message);
        }
        if dead.probe {
            let message = format!("`probe` of `{id}` is never done: {name} changes nothing");
            self.dead_key(step, "probe", message);
        }
        dead
    }

    /// What a step after the pivot says is done when it fails, where that is to turn back: a person is asked there. Of a wait and an approval as of a task.
    pub(super) fn dead_ways(&mut self, step: &Step) {
        let is_sure = !self.doubts.unsure.contains(&step.index);
        if !is_sure || step.pivot || !self.only_forward(step) {
            return;
        }
        let at = self.at(step);
        let fails = |of: OnTimeout| of == OnTimeout::Fail;
        let found = match &step.kind {
            StepKind::Wait(wait) => vec![("wait/on_timeout", fails(wait.on_timeout))],
            StepKind::Approve(approve) => vec![
                ("approve/on_timeout", fails(approve.on_timeout)),
                ("approve/on_reject", !approve.goes_on_rejected),
            ],
            _ => vec![("on_error", step.on_error == OnError::Compensate)],
        };
        for (key, turns_back) in found {
            let (above, name) = key.rsplit_once('/').unwrap_or(("", key));
            let above = format!("{at}/{above}");
            if !turns_back || !self.says(above.trim_end_matches('/'), name) {
                continue;
            }
            let mark = self.tree.name_mark(&format!("{at}/{key}"));
            let message = format!(
                "`{name}` of `{}` turns nothing back: it comes after the pivot, and a person is asked",
                step.id
            );
            let help = match name {
                "on_reject" => "leave it out; or write `continue`, where the saga is to go on",
                _ => "write `park`, which says that; or `continue`, where the saga is to go on",
            };
            self.warning(code::CONSTANT, mark, message, help.to_owned());
        }
    }

    pub(super) fn dead_key(&mut self, step: &Step, key: &str, message: String) {
        let mark = self.tree.name_mark(&format!("{}/{key}", self.at(step)));
        self.warning(code::CONSTANT, mark, message, "leave it out".to_owned());
    }

    /// A name that is nearly a role: nobody but a person of that name could decide.
    pub(super) fn approver(&mut self, approve: &ApproveStep, at: &str) {
        let Approver::Person(name) = &approve.by else {
            return;
        };
        if let Some(near) = nearest(name, Role::ALL.into_iter().map(Role::as_str)) {
            let mark = self.tree.mark_at(&format!("{at}/approve/by"));
            let message = format!("`{name}` is no role: only a person of this name may decide");
            self.warning(
                code::CONSTANT,
                mark,
                message,
                format!("did you mean `{near}`?"),
            );
        }
    }

    /// A number that is written out: nobody remembers which unit it has. Looked at here and not where the shape is read: a definition that is registered
    /// already stays readable.
    pub(super) fn sleep_has_a_unit(&mut self, at: &str) {
        let at = format!("{at}/sleep");
        let node = self.tree.at(&at);
        let Content::Scalar(Value::Number(number)) = &node.content else {
            return;
        };
        let message = format!("`sleep`: `{number}` has no unit");
        let mark = Mark {
            width: number.to_string().len(),
            ..node.mark
        };
        let help = "write `10s`, `15m`, `7d`; only what an expression yields may be a number, of milliseconds";
        self.error(code::DURATION, mark, message, help.to_owned());
    }
}
