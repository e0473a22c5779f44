//! Each item decided by the engine; a panic or a typed error stops here and harms no neighbour.

use std::sync::Arc;

use baton_engine::command::commands;
use baton_engine::definition::group_in;
use baton_engine::{
    Decision, Definition, Entry, Input, Record, Refusal, Rules, SagaState, Verdict, decide_between,
};
use baton_messages::{SagaId, Slice};

use super::item::{Built, Item, Origin, Undecided};
use crate::batch::{SagaRow, UnsentRow};
use crate::cache::{Cached, waits_for};
use crate::driver::Driver;
use crate::guard::guarded;
use crate::outlet::Outlet;
use crate::registered::Registered;
use crate::store::Store;
use crate::work::Answer;

impl<S: Store, O: Outlet> Driver<S, O> {
    pub(super) fn decide_all(
        &mut self,
        items: &[Item],
        entropy: u64,
    ) -> Result<Vec<Built>, Undecided> {
        let mut all = Vec::with_capacity(items.len());
        for (n, item) in items.iter().enumerate() {
            let chance = entropy.wrapping_add((n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            all.push(self.decide_one(item, chance)?);
        }
        Ok(all)
    }

    pub(super) fn decide_one(&mut self, item: &Item, entropy: u64) -> Result<Built, Undecided> {
        let mut built = Built {
            letter: item.letter.clone(),
            ..Built::default()
        };
        let verdict = match (item.saga, &item.input) {
            (Some(saga), Some(input)) => {
                // A defect of ours, in deciding or in what follows from it, parks this saga alone: its state in memory is read anew.
                let decided = guarded(|| self.decide_input(saga, input, entropy, &mut built));
                decided.unwrap_or_else(|panic| {
                    let why = panic.to_string();
                    Err(Undecided { saga, why })
                })?
            }
            _ => Verdict::Applied,
        };
        match &item.origin {
            Origin::Caller(token) => {
                built.answer = Some(Answer {
                    token: *token,
                    saga: item.saga,
                    verdict,
                })
            }
            Origin::Own { settles, unsent } => {
                built.settles = *settles;
                // of a saga this version cannot read another one sends it
                if verdict == Verdict::Refused(Refusal::Unreadable) {
                    unsent.iter().for_each(|of| self.snooze_unsent(of.clone()));
                } else {
                    built.unsent_remove.clone_from(unsent);
                    if let Some(of) = unsent.as_ref().filter(|_| built.row.is_none()) {
                        self.unsent.not_sent(of, self.now);
                    }
                }
            }
        }
        // Whatever it is that holds a sending back (no confirm, or one of two that was returned): it is owed from now on.
        if let Some(Input::TaskUnconfirmed { of, .. } | Input::TaskUnroutable(of)) =
            item.input.as_deref()
            && built.row.as_ref().is_some_and(|(_, _, entry)| held(entry))
        {
            built.unsent_add = Some(UnsentRow {
                of: of.clone(),
                since: self.now,
            });
        }
        Ok(built)
    }

    pub(super) fn decide_input(
        &mut self,
        saga: SagaId,
        input: &Input,
        entropy: u64,
        built: &mut Built,
    ) -> Result<Verdict, Undecided> {
        if self.unreadable.contains(&saga) {
            return Ok(Verdict::Refused(Refusal::Unreadable));
        }
        let Some(runs) = self.rules_for(saga, input) else {
            let refusal = match input {
                Input::Start(start) => Refusal::NoSuch {
                    what: format!("definition {}", start.definition),
                },
                Input::ChildWanted(wanted) if self.cache.get(saga).is_none() => Refusal::NoSuch {
                    what: format!("definition {}@{}", wanted.definition, wanted.version),
                },
                // it is there, and its definition is one this version does not know
                _ if self
                    .cache
                    .get(saga)
                    .is_some_and(|cached| !cached.state.definition.is_empty()) =>
                {
                    Refusal::Unreadable
                }
                _ => Refusal::NoSaga,
            };
            return Ok(Verdict::Refused(refusal));
        };
        if self.cache.get(saga).is_none() {
            self.cache.insert(
                saga,
                Cached::new(Box::new(SagaState::new(saga)), None, false, self.now),
            );
            self.visitors.insert(saga);
        }
        let next = self.next_for(saga, input);
        let sagas = Registered(&self.definitions);
        let rules = Rules {
            definition: &runs,
            catalogue: &self.catalogue,
            sagas: &sagas,
            level: self.level,
        };
        let now = self.now;
        let Some(cached) = self.cache.get_mut(saga) else {
            return Err(Undecided {
                saga,
                why: "its state left memory within a turn".into(),
            });
        };
        let state = &mut cached.state;
        let before = (state.status, state.paused, state.version);
        let seq = state.seq;
        let decided = decide_between(rules, next.as_deref(), state, input, now, entropy);
        let Decision { records, verdict } = decided.map_err(|error| Undecided {
            saga,
            why: chain(&error),
        })?;
        cached.touched = now;
        if records.is_empty() {
            return Ok(verdict);
        }
        // the version it runs from now on
        let definition = next.filter(|next| next.version == state.version);
        let definition = definition.unwrap_or(runs);
        if (state.status, state.paused, state.version) != before {
            built.saga_row = Some(saga_row(state));
        }
        built.commands = commands(state, &self.options.inbox, &records);
        built.take_work_items(saga, now);
        built.take_reservations(saga, now);
        built.take_leases(state, &records);
        let waits = waits_for(state, &definition);
        if waits != cached.unserved {
            built.unserved_add = waits.difference(&cached.unserved).cloned().collect();
            built.unserved_remove = cached.unserved.difference(&waits).cloned().collect();
            cached.unserved = waits;
        }
        built.take_subscriptions(state, &mut cached.listening);
        built.row = Some((
            saga,
            seq,
            Entry {
                at: state.last_at,
                records,
            },
        ));
        Ok(verdict)
    }

    /// The version of its definition that a saga is asked to go on under.
    pub(super) fn next_for(&self, saga: SagaId, input: &Input) -> Option<Arc<Definition>> {
        let Input::Upgrade { to, .. } = input else {
            return None;
        };
        let state = &self.cache.get(saga)?.state;
        self.definition(&state.definition, Some(*to)).cloned()
    }

    pub(super) fn rules_for(&self, saga: SagaId, input: &Input) -> Option<Arc<Definition>> {
        match self.cache.get(saga) {
            Some(cached) if !cached.state.definition.is_empty() => self
                .definition(&cached.state.definition, Some(cached.state.version))
                .cloned(),
            Some(_) | None => match input {
                // a group begins as an item of its step and not by itself
                Input::Start(start) if group_in(&start.definition).is_some() => None,
                Input::Start(start) => self.definition(&start.definition, start.version).cloned(),
                Input::ChildWanted(wanted) => self
                    .definition(&wanted.definition, Some(wanted.version))
                    .cloned(),
                _ => None,
            },
        }
    }
}

fn saga_row(state: &SagaState) -> SagaRow {
    SagaRow {
        saga: state.id,
        slice: Slice::of(state.id),
        definition: state.definition.clone(),
        version: state.version,
        status: state.status,
        paused: state.paused,
        labels: state.labels.clone(),
        by: state.by.clone(),
        started_at: state.started_at,
        changed_at: state.last_at,
        ended_at: state.ended_at,
        purged: None,
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn held(entry: &Entry) -> bool {
    entry
        .records
        .iter()
        .any(|record| matches!(record, Record::Held { .. }))
}
