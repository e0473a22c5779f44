//! An event is not taken back: it is published when nothing turns the saga back any more, or says why it may be before.

use std::iter;

use super::Flow;
use super::safety::pivot_before;
use crate::definition::Definition;
use crate::definition::diagnostic::code;
use crate::definition::step::{SagaStep, Step};
use crate::definition::step_waiting::EmitStep;

impl Flow<'_> {
    /// That a step which publishes is not followed by what may turn the saga back, nor runs beside it.
    pub(super) fn emitted(&mut self, step: &Step, emit: &EmitStep) {
        let unsure = self.doubts.unsure.contains(&step.index);
        if unsure || emit.because.is_some() || self.only_forward(step) {
            return;
        }
        let mut around = iter::successors(self.outside, |one| one.outside);
        // an item that is done is taken back with what is around it, and what it does is not all there is
        let stays =
            self.outside.is_none() || around.any(|one| one.definition.only_forward(one.step));
        if stays && self.definition.ends_with(step) {
            return;
        }
        let (who, place) = match self.outside {
            None => (
                "the saga".to_owned(),
                "put it after the pivot, or last of all".to_owned(),
            ),
            Some(group) => (
                format!("an item of `{}`", group.step.id),
                self.where_an_item_tells(step, stays),
            ),
        };
        let message = format!(
            "what `{}` publishes is not taken back, and after it {who} may still turn back",
            step.id
        );
        let help =
            format!("{place}; or say `because: …` beside `emit`, where what it says stays true");
        let mark = self.tree.name_mark(&format!("{}/emit", self.at(step)));
        self.error(code::IRREVERSIBLE, mark, message, help);
    }

    /// Where an item of a group publishes what nothing of it turns back any more.
    fn where_an_item_tells(&self, step: &Step, stays: bool) -> String {
        let outermost = iter::successors(self.outside, |one| one.outside).last();
        let Some(group) = outermost.filter(|_| !stays) else {
            let after = match self.definition.pivot() {
                Some(_) => self.where_it_may(step),
                None => "put a step with `pivot: true` before it in the group".to_owned(),
            };
            return format!("{after}, or publish it last in the group");
        };
        let place = format!(
            "publish it last of all, after `{}`, whose items may be taken back when they are done; or {}",
            group.step.id,
            pivot_before(group.definition, group.step)
        );
        match self.definition.ends_with(step) {
            true => place,
            false => format!("{place}, and publish it last in the group"),
        }
    }

    /// What a saga publishes that is a step of this one is out when it is done, and this one may turn back only then.
    pub(super) fn told_within(
        &mut self,
        step: &Step,
        saga: &SagaStep,
        child: &Definition,
        at: &str,
    ) {
        if self.only_forward(step) {
            return;
        }
        let of = (saga.name.clone(), saga.version);
        let Some(told) = self.kin.event_within(&of, child) else {
            return;
        };
        let message = format!(
            "what `{told}` of {}@{} publishes is not taken back, and after `{}` this saga may still turn back",
            saga.name, saga.version, step.id
        );
        let place = self.where_it_may(step);
        let help = format!(
            "{place}; or have this saga publish it, last of all; or say `because: …` beside that `emit`, where what it says stays true"
        );
        let mark = self.tree.mark_at(&format!("{at}/saga"));
        self.error(code::IRREVERSIBLE, mark, message, help);
    }
}
