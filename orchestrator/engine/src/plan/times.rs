//! How long the steps of a planned saga may take, and the way through them that takes longest: by their time limits, by the bounds of their lists, by the plans of
//! the sagas they are, and by the deadline.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use baton_messages::StepId;
use serde::Serialize;

use super::within::Within;
use super::{Each, Planner, Runs, tries};
use crate::decide::limits::backoff_ms;
use crate::definition::{ListSite, SagaStep, Step, StepKind, TaskStep, duration_ms_of};
use crate::reservation::ReservationKind;

/// A way through the steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Way {
    /// The steps on it.
    pub steps: Vec<StepId>,
    /// How long at most, in milliseconds; none when something on it has no end. What the deadline cuts short before the pivot counts no longer than that.
    pub limit_ms: Option<u64>,
    /// What it may wait for beside workers.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub waits_for: BTreeSet<WaitsFor>,
}

/// What a saga within another may wait for before its first step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitsFor {
    /// Locks that another saga holds.
    Locks,
    /// A place under a limit.
    Limits,
}

/// How long a step takes.
#[derive(Debug, Clone)]
pub(super) struct Time {
    /// At most, once somebody has it; none when that is not known, or has no end.
    pub(super) limit_ms: Option<u64>,
    /// What it may wait for beside workers.
    pub(super) waits_for: BTreeSet<WaitsFor>,
}

impl Time {
    /// Something that waits for nothing.
    fn of(limit_ms: Option<u64>) -> Self {
        Self {
            limit_ms,
            waits_for: BTreeSet::new(),
        }
    }
}

impl Planner<'_> {
    /// How long a step takes at most once somebody has it.
    pub(super) fn time(&self, step: &Step, within: &Within) -> Time {
        if self.runs[step.index] == Runs::Never {
            return Time::of(Some(0));
        }
        let one = match &step.kind {
            StepKind::Task(task) => Time::of(self.task_limit_ms(task)),
            StepKind::Sleep(how_long) => {
                let ms = how_long.eval(&self.scope).ok();
                return Time::of(ms.and_then(|ms| duration_ms_of(&ms).ok()));
            }
            StepKind::Wait(wait) => return Time::of(Some(wait.timeout_ms)),
            StepKind::Approve(approve) => return Time::of(Some(approve.timeout_ms)),
            StepKind::Emit(_) => return Time::of(Some(0)),
            StepKind::Saga(saga) => Self::time_of_child(saga, within),
        };
        let rounds = self.rounds(step);
        Time {
            limit_ms: one.limit_ms.map(|ms| ms.saturating_mul(rounds)),
            waits_for: one.waits_for,
        }
    }

    /// How long a saga takes that a step is: until when it has to be done, where the step says so, else by its own plan.
    fn time_of_child(saga: &SagaStep, within: &Within) -> Time {
        if saga.timeout_ms.is_some() {
            return Time::of(saga.timeout_ms);
        }
        let Within::Plan(plan) = within else {
            return Time::of(None);
        };
        let mut waits_for = plan.longest.waits_for.clone();
        waits_for.extend(plan.takes.iter().map(|want| match want.kind {
            ReservationKind::Lock => WaitsFor::Locks,
            ReservationKind::Concurrency | ReservationKind::BlastRadius => WaitsFor::Limits,
        }));
        Time {
            limit_ms: plan.longest.limit_ms,
            waits_for,
        }
    }

    /// How a step is done for each item of a list.
    pub(super) fn each(&self, step: &Step) -> Option<Each> {
        let fan = step.fan.as_ref()?;
        let items = fan.items.eval(&self.scope).ok();
        let items = items.and_then(|items| u32::try_from(items.as_array()?.len()).ok());
        let site = ListSite {
            definition: self.definition,
            around: &self.around,
            catalogue: self.catalogue,
        };
        Some(Each {
            items,
            most: site.most_items(fan),
            max_parallel: fan.max_parallel,
            tolerate: fan.tolerate.to_string(),
        })
    }

    /// How many items come one after the other where as many as may be are under way at once; one of a step without a list.
    fn rounds(&self, step: &Step) -> u64 {
        self.each(step).map_or(1, |each| {
            let items = each.items.unwrap_or(each.most);
            u64::from(items.div_ceil(each.max_parallel.max(1)))
        })
    }

    fn task_limit_ms(&self, task: &TaskStep) -> Option<u64> {
        let manifest = self.manifest(task)?;
        let tries = tries(task, manifest);
        let (timeout, attempts) = (tries.timeout_ms, tries.attempts?);
        let (retry, usual) = (&task.retry, &manifest.retry);
        let first = retry.backoff_ms.unwrap_or(usual.backoff_ms);
        let factor = retry.factor.unwrap_or(usual.factor);
        let longest = retry.max_ms.unwrap_or(usual.max_ms);
        let mut all = timeout;
        for used in 1..attempts {
            let wait = backoff_ms(first, factor, longest, used);
            all = all.saturating_add(timeout).saturating_add(wait);
        }
        Some(all)
    }

    /// The way through the steps that takes longest; one that has no end is longer than any. Where there is a deadline nothing before the pivot goes on for longer: the
    /// saga has sent its pivot by then, or turns back.
    pub(super) fn longest(&self, before: &[Vec<usize>], order: &[usize], times: &[Time]) -> Way {
        let pivot = self.definition.pivot().map(|pivot| pivot.index);
        let never_sent = pivot.is_none_or(|pivot| self.runs[pivot] == Runs::Never);
        let mut until: Vec<Option<u64>> = vec![Some(0); before.len()];
        let mut from: Vec<Option<usize>> = vec![None; before.len()];
        let length = |until: Option<u64>| until.unwrap_or(u64::MAX);
        let steps = &self.definition.steps;
        let leads_to = |index: usize, pivot: usize| {
            let step = steps.get(index);
            step.is_some_and(|step| step.descendants.contains(&pivot))
        };
        for index in order {
            let last = before[*index].iter().copied();
            let last = last.max_by_key(|b| (length(until[*b]), Reverse(*b)));
            from[*index] = last;
            let start = last.map_or(Some(0), |last| until[last]);
            let limit = times[*index].limit_ms;
            let end = start.zip(limit).map(|(start, ms)| start.saturating_add(ms));
            until[*index] = match pivot.is_some_and(|pivot| leads_to(*index, pivot)) {
                true => self.by_the_deadline(end),
                false => end,
            };
        }
        let end = (0..until.len()).max_by_key(|i| (length(until[*i]), *i));
        let mut way = Vec::new();
        let mut at = end;
        while let Some(index) = at {
            way.push(index);
            at = from[index];
        }
        way.reverse();
        way.retain(|index| self.runs[*index] != Runs::Never);
        let whole = end.and_then(|end| until[end]);
        let waits_for = way.iter().flat_map(|index| &times[*index].waits_for);
        Way {
            steps: self.ids(&way),
            limit_ms: match never_sent && end.is_some() {
                true => self.by_the_deadline(whole),
                false => whole,
            },
            waits_for: waits_for.copied().collect(),
        }
    }

    /// A time after the start, or the deadline where that is sooner.
    fn by_the_deadline(&self, ms: Option<u64>) -> Option<u64> {
        match (ms, self.definition.deadline_ms) {
            (Some(ms), Some(deadline)) => Some(ms.min(deadline)),
            (ms, deadline) => ms.or(deadline),
        }
    }
}
