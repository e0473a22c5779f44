//! Steps that wait because no worker serves their task type. No task stands for them on any queue and none in the end of the log, however
//! long they wait, so that the store is asked who they are.

use std::collections::{BTreeMap, BTreeSet};

use baton_engine::definition::{TaskStep, UndoPlan};
use baton_engine::state::StepState;
use baton_messages::{Direction, PoolName, SagaId, StepId, TaskType, Timestamp};
use baton_store::{Reader as _, Unserved};

use super::Api;
use super::problem::{Answer, Problem};
use super::seen::{Folded, folded, is_unreadable};
use crate::clock;
use crate::fleet::WorkerView;
use crate::replay::Steps;

/// Sagas that are looked at one by one, for their pools and times; of further ones only the number is known.
const SAGAS_MAX: usize = 100;

/// How many wait for one task type in one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waits {
    /// Steps, or sagas where those were not looked at.
    pub(super) steps: usize,
    /// Since when the first of them waits; none where none of them was looked at.
    pub(super) since: Option<Timestamp>,
}

/// By task type and pool; the pool is none where nobody can say which it will be.
pub(super) type ByType = BTreeMap<(TaskType, Option<String>), Waits>;

impl Api {
    /// Of steps that would be sent, those for which no worker is heard now, by what has to be served. Where it is served in another pool that is said.
    pub(super) fn would_wait(&self, steps: Steps) -> BTreeMap<String, u64> {
        would_wait(&self.workers.all(clock::now()), steps)
    }

    /// Who waits for a worker that nobody has started. A saga that cannot be read is named in `unread`, hides no other, and counts as one step.
    pub(super) async fn unserved(&self, unread: &mut BTreeSet<SagaId>) -> Answer<ByType> {
        let found = self.reader.unserved(SAGAS_MAX).await;
        let found = found.map_err(|error| Problem::store(&error))?;
        let mut all = ByType::new();
        let mut sagas: BTreeMap<SagaId, Vec<TaskType>> = BTreeMap::new();
        for (task_type, saga) in &found.first {
            sagas.entry(*saga).or_default().push(task_type.clone());
        }
        let mut unreadable = Vec::new();
        for (saga, types) in sagas {
            match folded(&self.reader, saga).await {
                Ok(Some(seen)) => self.one(&seen, &types, &mut all).await?,
                // it has ended meanwhile, and its log is gone
                Ok(None) => {}
                // it hides none of the others
                Err(error) if is_unreadable(&error) => {
                    unread.insert(saga);
                    unreadable.extend(types);
                }
                Err(error) => return Err(Problem::store(&error)),
            }
        }
        for (task_type, more) in unseen(found, unreadable) {
            add_unseen(&mut all, task_type, more);
        }
        Ok(all)
    }

    async fn one(&self, seen: &Folded, types: &[TaskType], all: &mut ByType) -> Answer<()> {
        let state = &seen.state;
        let definition = self.definition(&state.definition, state.version).await?;
        for (spot, step) in state.live().filter(|_| state.active()) {
            let Some(wanted) = wanted(definition.as_deref(), spot.0, step) else {
                continue;
            };
            if !types.contains(&wanted.0) {
                continue;
            }
            let waits = all.entry(wanted).or_insert(Waits {
                steps: 0,
                since: None,
            });
            waits.steps += 1;
            let since = waits
                .since
                .map_or(step.since, |first| first.min(step.since));
            waits.since = Some(since);
        }
        Ok(())
    }
}

fn would_wait(workers: &[WorkerView], steps: Steps) -> BTreeMap<String, u64> {
    let is_served = |of: &TaskType, pool: Option<&PoolName>| {
        let mut heard = workers.iter().filter(|worker| !worker.silent);
        heard.any(|worker| {
            let there = pool.is_none_or(|pool| worker.pools.contains(pool));
            there && worker.types.contains(of)
        })
    };
    let waiting = steps
        .into_iter()
        .filter(|((of, pool), _)| !is_served(of, pool.as_ref()));
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    for ((of, pool), steps) in waiting {
        let pool = pool.filter(|_| is_served(&of, None));
        let pool = pool.map_or_else(String::new, |pool| format!(" in pool {pool}"));
        *all.entry(format!("{of}{pool}")).or_default() += steps;
    }
    all
}

/// How many sagas were not looked at, by what they wait for: those beyond the first, and those of the first that could not be read, of which each task
/// type they wait for is named.
fn unseen(found: Unserved, unreadable: Vec<TaskType>) -> BTreeMap<TaskType, usize> {
    let mut more: BTreeMap<_, _> = found.by_type.into_iter().collect();
    for (task_type, _) in found.first {
        let of = more.entry(task_type).or_default();
        *of = of.saturating_sub(1);
    }
    for task_type in unreadable {
        *more.entry(task_type).or_default() += 1;
    }
    more
}

/// Sagas of which nothing is known but what they wait for: added to those of the same type, in whichever pool.
fn add_unseen(all: &mut ByType, task_type: TaskType, more: usize) {
    if more == 0 {
        return;
    }
    let first = all.iter_mut().find(|((known, _), _)| *known == task_type);
    if let Some((_, waits)) = first {
        waits.steps += more;
    } else {
        let waits = Waits {
            steps: more,
            since: None,
        };
        all.insert((task_type, None), waits);
    }
}

/// What a step that nobody serves waits for: as it was made ready, or, where its type was never announced, as its definition says.
fn wanted(
    definition: Option<&baton_engine::Definition>,
    id: &StepId,
    step: &StepState,
) -> Option<(TaskType, Option<String>)> {
    let direction = step.unserved()?;
    let task = definition.and_then(|definition| definition.step(id)?.task());
    let task_type = step.runs(direction, task)?.clone();
    Some((task_type, pool(step, direction, task)))
}

/// The pool it waits in; none where nobody can say that yet.
fn pool(step: &StepState, direction: Direction, task: Option<&TaskStep>) -> Option<String> {
    if let Some(ready) = step.prepared(direction) {
        return Some(ready.facts.pool.to_string());
    }
    let task = task?;
    let (named, done) = match (&task.undo, direction) {
        (UndoPlan::Task(undo), Direction::Undo) => (undo.pool.as_ref(), step.forward.as_ref()),
        (_, Direction::Undo) => (None, step.forward.as_ref()),
        (_, Direction::Do | Direction::Probe) => (None, None),
    };
    // undone where it was done, unless it says otherwise
    match (named, done) {
        (None, Some(ready)) => Some(ready.facts.pool.to_string()),
        (named, _) => {
            let pool = named.unwrap_or(&task.pool).as_literal()?;
            pool.as_str().map(str::to_owned)
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn task_type(name: &str) -> TaskType {
        TaskType::new(name).unwrap()
    }

    #[test]
    fn what_is_served_in_another_pool_waits_and_it_is_said_in_which() {
        let (here, nowhere) = (task_type("here@1"), task_type("nowhere@1"));
        let ours = PoolName::default_pool();
        let theirs = PoolName::new("theirs").unwrap();
        let steps = || {
            let of =
                |task_type: &TaskType, pool: Option<&PoolName>| (task_type.clone(), pool.cloned());
            Steps::from([
                (of(&here, None), 1),
                (of(&here, Some(&ours)), 2),
                (of(&here, Some(&theirs)), 3),
                (of(&nowhere, Some(&ours)), 4),
                (of(&nowhere, Some(&theirs)), 5),
            ])
        };
        let mut workers = [WorkerView::of_test(&["here@1"])];
        let waits = |of: &str, steps: u64| (of.to_owned(), steps);
        let some = BTreeMap::from([waits("here@1 in pool theirs", 3), waits("nowhere@1", 9)]);
        assert_eq!(would_wait(&workers, steps()), some);
        workers[0].silent = true;
        let all = BTreeMap::from([waits("here@1", 6), waits("nowhere@1", 9)]);
        assert_eq!(would_wait(&workers, steps()), all);
    }

    #[test]
    fn every_saga_that_was_not_looked_at_counts_once() {
        let (many, few) = (task_type("many@1"), task_type("few@1"));
        let saga = |n: usize| SagaId(Uuid::from_u128(n as u128));
        let few_first = (0..2).map(|n| (few.clone(), saga(n)));
        let many_first = (2..SAGAS_MAX).map(|n| (many.clone(), saga(n)));
        let found = Unserved {
            by_type: vec![(few.clone(), 2), (many.clone(), SAGAS_MAX + 30)],
            first: few_first.chain(many_first).collect(),
        };
        let seen = SAGAS_MAX - 2;
        let more = unseen(found.clone(), vec![many.clone()]);
        let beyond = SAGAS_MAX + 30 - seen;
        assert_eq!(more[&many], beyond + 1, "one of the first was unreadable");
        assert_eq!(more[&few], 0);

        let mut all = ByType::new();
        let pool = Some("default".to_owned());
        let waits = Waits {
            steps: seen - 1,
            since: Some(Timestamp(1)),
        };
        all.insert((many.clone(), pool.clone()), waits);
        for (of, more) in more {
            add_unseen(&mut all, of, more);
        }
        assert_eq!(all.len(), 1, "of the few all were looked at");
        assert_eq!(all[&(many, pool)].steps, SAGAS_MAX + 30);
        let unread = unseen(found, vec![few.clone(), few.clone()]);
        assert_eq!(unread[&few], 2);
    }
}
