//! Time limits against each other: what sleeps longer than it may take is over before it is done. Only what is written out is counted, and only what is
//! certain to be waited for: it is a doubt all the same, since a person may end a sleep.

use std::collections::BTreeMap;

use super::Flow;
use crate::definition::diagnostic::code;
use crate::definition::step::{SagaStep, Step, StepKind};
use crate::definition::{Definition, duration_ms_of, duration_text};

/// How long a step sleeps by itself, where that is written out and nothing skips it.
fn own_sleep_ms(step: &Step) -> u64 {
    match &step.kind {
        StepKind::Sleep(how_long) if step.condition.is_none() => {
            let written = how_long.as_literal();
            written
                .and_then(|value| duration_ms_of(value).ok())
                .unwrap_or(0)
        }
        _ => 0,
    }
}

/// The first sleep of a definition, up to its pivot, with which it has slept for longer than that; and for how long.
fn slept_beyond(definition: &Definition, most_ms: u64) -> Option<(&Step, u64)> {
    let mut order: Vec<&Step> = definition.steps.iter().collect();
    order.sort_by_key(|step| step.ancestors.len());
    let mut slept: BTreeMap<usize, u64> = BTreeMap::new();
    for step in order {
        let before = step.after.iter().filter_map(|index| slept.get(index));
        let all = own_sleep_ms(step).saturating_add(before.copied().max().unwrap_or(0));
        slept.insert(step.index, all);
        let past = definition
            .pivot()
            .is_some_and(|pivot| step.ancestors.contains(&pivot.index));
        if !past && own_sleep_ms(step) > 0 && all > most_ms {
            return Some((step, all));
        }
    }
    None
}

impl Flow<'_> {
    /// That the saga does not sleep for longer than its `deadline` lets it take up to its pivot.
    pub(super) fn deadline(&mut self) {
        let definition = self.definition;
        let Some(most_ms) = definition.deadline_ms else {
            return;
        };
        let Some((step, slept_ms)) = slept_beyond(definition, most_ms) else {
            return;
        };
        if self.doubts.unsure.contains(&step.index) {
            return;
        }
        let upto = match definition.pivot() {
            Some(_) => "before the pivot",
            None => "before the end",
        };
        let message = format!(
            "with `{}` it sleeps {} {upto}, and `deadline` is {}: everything is undone then",
            step.id,
            duration_text(slept_ms),
            duration_text(most_ms)
        );
        let help = "have the deadline be longer, or the sleeps shorter; what may wait comes after the pivot";
        let mark = self.tree.mark_at("/deadline");
        self.warning(code::TIME, mark, message, help.to_owned());
    }

    /// That what a step runs, a saga or a group, does not sleep for longer than its `timeout` gives it.
    pub(super) fn timeout_within(&mut self, step: &Step, saga: &SagaStep, child: &Definition) {
        let Some(most_ms) = saga.timeout_ms else {
            return;
        };
        let Some((within, slept_ms)) = slept_beyond(child, most_ms) else {
            return;
        };
        let message = format!(
            "with `{}` it sleeps {}, and `timeout` of `{}` is {}: it is taken back then",
            within.id,
            duration_text(slept_ms),
            step.id,
            duration_text(most_ms)
        );
        let help = "have the timeout be longer, or the sleeps shorter".to_owned();
        let mark = self.tree.mark_at(&format!("{}/timeout", self.at(step)));
        self.warning(code::TIME, mark, message, help);
    }
}
