//! `heartbeat`: it is a lease and no interval, and a short one counts workers as dead that do their work.

use baton_messages::Hold;
use baton_messages::fleet::{HEARTBEAT_MS, LEASE_MS_DEFAULT};

use super::Flow;
use crate::definition::diagnostic::code;
use crate::definition::duration_text;
use crate::definition::step::{Step, TaskStep, UndoPlan};

/// Signs of a worker a lease has room for, at least: a worker ends what it runs well before its lease is over, and one sign that is lost must not do that.
const SIGNS_MIN: u64 = 3;

impl Flow<'_> {
    /// That the signs of a worker come often enough for it. A fleet may be set to give them more often, so that this is a doubt.
    pub(super) fn lease(&mut self, step: &Step, task: &TaskStep) {
        let least = SIGNS_MIN * HEARTBEAT_MS;
        let Some(lease) = task.lease_ms else {
            return;
        };
        if self.runs_unasked(task) {
            let message = format!(
                "`heartbeat` of `{}` is hardly ever looked at: twice {} does no harm, so that it is run without asking, and `timeout` bounds it",
                step.id, task.task_type
            );
            return self.dead_key(step, "heartbeat", message);
        }
        if lease >= least {
            return;
        }
        let message = format!(
            "after {} without a sign of its worker a task counts as dead, and a worker gives one every {}",
            duration_text(lease),
            duration_text(HEARTBEAT_MS)
        );
        let help = format!(
            "`heartbeat` is how long that may be, not how often: write {} or more, or leave it out for {}",
            duration_text(least),
            duration_text(LEASE_MS_DEFAULT)
        );
        let mark = self.tree.mark_at(&format!("{}/heartbeat", self.at(step)));
        self.warning(code::TIME, mark, message, help);
    }

    /// Whether a task is held late, where no other one undoes it, which is held by the same lease.
    fn runs_unasked(&self, task: &TaskStep) -> bool {
        let known = self.catalogue.get(&task.task_type);
        let is_late = known.is_some_and(|known| known.manifest.hold() == Hold::Late);
        is_late && !matches!(task.undo, UndoPlan::Task(_))
    }
}
