//! `heartbeat`: it is a lease and no interval, and a short one counts workers as dead that do their work.

use baton_messages::fleet::{HEARTBEAT_MS, LEASE_MS_DEFAULT};

use super::Flow;
use crate::definition::diagnostic::code;
use crate::definition::duration_text;
use crate::definition::step::{Step, TaskStep};

/// Signs of a worker a lease has room for, at least: a worker ends what it runs well before its lease is over, and one sign that is lost must not do that.
const SIGNS_MIN: u64 = 3;

impl Flow<'_> {
    /// That the signs of a worker come often enough for it. A fleet may be set to give them more often, so that this is a doubt.
    pub(super) fn lease(&mut self, step: &Step, task: &TaskStep) {
        let least = SIGNS_MIN * HEARTBEAT_MS;
        let Some(lease) = task.lease_ms.filter(|lease| *lease < least) else {
            return;
        };
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
}
