//! An event is not taken back: it is published when nothing turns the saga back any more, or says why it may be before.

use std::iter;

use super::Flow;
use crate::definition::diagnostic::code;
use crate::definition::step::Step;
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
        let message = format!(
            "what `{}` publishes is not taken back, and after it the saga may still turn back",
            step.id
        );
        let because = "or say `because: …` beside `emit`, where what it says stays true";
        let groups = iter::successors(self.outside, |one| one.outside);
        let help = match (groups.last(), self.turning_group()) {
            (Some(group), Some(before)) if !stays => format!(
                "publish it last of all, after `{}`, whose items may be taken back when they are done; or {before}; {because}",
                group.step.id
            ),
            _ => format!("put it after the pivot, or last of all; {because}"),
        };
        let mark = self.tree.name_mark(&format!("{}/emit", self.at(step)));
        self.error(code::IRREVERSIBLE, mark, message, help);
    }
}
