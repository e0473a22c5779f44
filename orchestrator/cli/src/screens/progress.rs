//! How a saga goes on, one line for each change: for logs, and for terminals that are none.

use std::collections::BTreeMap;

use crate::out::{Line, Tone};
use crate::screens::standing;
use crate::time;
use crate::view::{Saga, Step};

/// What was said last of each step, and of the saga.
#[derive(Debug, Default)]
pub(crate) struct Said {
    steps: BTreeMap<String, (String, u32, Option<String>)>,
    status: String,
    paused: bool,
}

impl Said {
    /// What has changed since, a line each; nothing twice.
    pub(crate) fn changes(&mut self, saga: &Saga) -> Vec<Line> {
        let at = saga.row.changed_at.unwrap_or(saga.now);
        let clock = format!(
            "{:>7}  ",
            time::span(at.saturating_sub(saga.row.started_at))
        );
        let mut lines = Vec::new();
        for step in &saga.steps {
            let stands = (
                step.phase.clone(),
                step.tries,
                step.worker().map(str::to_owned),
            );
            let before = self.steps.insert(step.id.clone(), stands.clone());
            let news = before.as_ref() != Some(&stands);
            if news && !(before.is_none() && step.phase == "waiting") {
                lines.push(change(&clock, saga, step));
            }
        }
        if self.status != saga.row.status || self.paused != saga.row.paused {
            let first = self.status.is_empty();
            self.status.clone_from(&saga.row.status);
            self.paused = saga.row.paused;
            if !(first && self.status == "running" && !self.paused) {
                let tone = Tone::of(&saga.row.status);
                let line = Line::faint(clock).plain(format!("{} is ", saga.row.what()));
                lines.push(line.with(saga.row.standing(), tone));
            }
        }
        lines
    }
}

fn change(clock: &str, saga: &Saga, step: &Step) -> Line {
    let stands = standing::of(saga, step);
    let (tone, word) = (stands.tone, stands.word(&step.phase));
    let failure = step.failure_to_say();
    let why = step.why.clone().or_else(|| Some(failure?.message.clone()));
    let line = Line::faint(clock)
        .with(format!("{} ", stands.mark), tone)
        .plain(format!("{:<14} ", step.id));
    match why {
        Some(why) => line
            .with(format!("{word:<12}"), tone)
            .with(format!(" {why}"), Tone::Faint),
        None => line.with(word, tone),
    }
}
