//! Events: what happens outside and is said on the bus, whoever takes it in, and the person who is asked. Taking in follows the one rule:
//! an event is stored first, then those who wait for it are told; what was stored before somebody waited is searched for him.

use baton_engine::decide::limits::CLOCK_SKEW_MS;
use baton_engine::input::Approval;
use baton_engine::state::Phase;
use baton_engine::{Input, Record, SagaState};
use baton_messages::{Event as Said, InputId, MessageId, SagaId, StepId, Timestamp};
use serde_json::json;

use crate::event::Event;
use crate::fault::Fault;
use crate::host::Host;
use crate::plan::{Comes, Decides, Idle, SagaPlan, StepPlan};
use crate::rng::Rng;
use crate::world::{IDLE_MS, World};
use crate::zombie::SKEW_MS;

/// How often whoever is asked looks.
const APPROVER_MS: u64 = 3_000;
/// How long something may be on its way between being stored and being found, at the very most and in all the trouble there is.
const FOUND_WITHIN_MS: u64 = 120_000;
/// How long before a saga is asked for something happens that it waits for; and that it takes for nothing of its own, whatever clocks say.
const BEFORE_MS: u64 = 2_500;
const LONG_BEFORE_MS: u64 = 2 * CLOCK_SKEW_MS + BEFORE_MS;
/// The type of what happens outside.
const PAID: &str = "sim.paid";

/// By how much the clock of whoever takes events in is off: as much as one of an orchestrator may be, also in a quiet world.
pub(crate) fn events_off(rng: &mut Rng) -> i64 {
    i64::try_from(rng.below(2 * SKEW_MS)).unwrap_or(0) - SKEW_MS.cast_signed()
}

/// How much later a saga is asked for, so that what it is not to take has happened long enough before.
pub(crate) fn later_for(plan: &SagaPlan) -> u64 {
    let long_before = |step: &StepPlan| {
        matches!(
            step.idle,
            Idle::Wait {
                comes: Comes::Before,
                since: false,
                ..
            }
        )
    };
    if plan.steps.iter().any(long_before) {
        2 * CLOCK_SKEW_MS
    } else {
        0
    }
}

impl World {
    /// What will happen outside for a saga that is asked for at that moment: each event once or more, and some that are another's.
    pub(crate) fn outside(&mut self, plan: &SagaPlan, asked_at: u64) {
        for step in &plan.steps {
            let Idle::Wait { comes, since, .. } = step.idle else {
                continue;
            };
            if step.kind.is_some() {
                continue;
            }
            let at = match comes {
                Comes::Never => None,
                Comes::Before if since => Some(asked_at.saturating_sub(BEFORE_MS)),
                Comes::Before => Some(asked_at.saturating_sub(LONG_BEFORE_MS)),
                Comes::After(ms) => Some(asked_at + 1_000 + ms),
            };
            if let Some(at) = at {
                let event = said(plan.id, &step.id, "paid", plan.id);
                self.after(at, Event::Happens(Box::new(event.clone())));
                while self.rng.per_mille(300) {
                    let again = at + self.rng.range(1, 90_000);
                    self.after(again, Event::Happens(Box::new(event.clone())));
                }
            }
            if self.rng.per_mille(300) {
                let other = SagaId(self.rng.uuid());
                let event = said(plan.id, &step.id, "of another", other);
                let at = asked_at + self.rng.range(1, 60_000);
                self.after(at, Event::Happens(Box::new(event)));
            }
        }
    }

    /// Somebody said something: whoever takes events in stores it once, and tells those who wait for it. While nobody takes in, it stays in its queue.
    pub(crate) fn happens(&mut self, event: Said) {
        // whoever has the first partition takes in what is said
        self.focus(0);
        let now = self.now;
        let there = |host: &Host| host.stopped_until <= now;
        if !self.host.as_ref().is_some_and(there) || !self.broker.up {
            let later = self.rng.range(200, 2_000);
            return self.after(later, Event::Happens(Box::new(event)));
        }
        let now = self.clock_of(self.events_off_ms);
        let key = (event.source.clone(), event.id.clone());
        let (received_at, waiting) = {
            let mut disk = self.store.disk();
            let stored = disk.events.entry(key).or_insert((event.clone(), now));
            let received_at = stored.1;
            let waiting: Vec<(SagaId, StepId)> = disk
                .subscriptions
                .values()
                .filter(|(row, _)| row.event.fits(&event.kind))
                .map(|(row, _)| (row.saga, row.step.clone()))
                .collect();
            (received_at, waiting)
        };
        self.note(&format!("taken in: {} {}", event.kind, event.id));
        if !self.calm && self.rng.per_mille(100) {
            // It dies between storing and telling: what was not acknowledged comes again.
            let later = self.rng.range(1_000, 8_000);
            return self.after(later, Event::Happens(Box::new(event)));
        }
        for (saga, step) in waiting {
            self.request(saga, arrival(saga, &step, &event, received_at));
        }
    }

    /// For every wait that was committed since, the kept events are searched.
    pub(crate) fn search(&mut self) {
        let Some(host) = &mut self.host else { return };
        for row in host.driver.take_subscribed(usize::MAX) {
            let found: Vec<(Said, Timestamp)> = {
                let disk = self.store.disk();
                let fits = |(event, at): &&(Said, Timestamp)| {
                    row.event.fits(&event.kind) && *at >= row.since
                };
                disk.events.values().filter(fits).cloned().collect()
            };
            let blind = self.fault == Some(Fault::EventsUnsearched);
            let mut told = std::collections::BTreeSet::new();
            for (event, at) in found.into_iter().filter(|_| !blind) {
                let input = arrival(row.saga, &row.step, &event, at);
                told.insert(self.request(row.saga, input));
            }
            let Some(host) = &mut self.host else { return };
            if told.is_empty() {
                host.driver.searched(row.saga, row.step);
            } else {
                host.searches.insert((row.saga, row.step), told);
            }
        }
    }

    /// Once all that a search found is committed, it is written down.
    pub(crate) fn found_is_told(&mut self, number: u64) {
        let Some(host) = &mut self.host else { return };
        let mut over = Vec::new();
        for (of, told) in &mut host.searches {
            if told.remove(&number) && told.is_empty() {
                over.push(of.clone());
            }
        }
        for of in over {
            host.searches.remove(&of);
            host.driver.searched(of.0, of.1);
        }
    }

    /// Whoever is asked says what the plan says.
    pub(crate) fn approver(&mut self) {
        let asked: Vec<(SagaId, StepId)> = {
            let disk = self.store.disk();
            let states = disk.mirror.values().filter(|state| state.active());
            let steps = states.flat_map(|state| {
                let asked = state
                    .steps
                    .iter()
                    .filter(|(_, step)| step.phase == Phase::Asked);
                asked.map(|(id, _)| (state.id, id.clone()))
            });
            steps.collect()
        };
        for (saga, step) in asked {
            let decides = self.plans.get(&saga).and_then(|plan| plan.step(&step));
            let decision = match decides.map(|step| step.idle) {
                Some(Idle::Approve { decides, .. }) => match decides {
                    Decides::Yes => Approval::Approve,
                    Decides::No => Approval::Reject,
                    Decides::Never => continue,
                },
                _ => continue,
            };
            if self.requests.values().any(|request| request.saga == saga) {
                continue;
            }
            let operator = self.operator();
            let input = Input::Approve {
                step: step.into(),
                decision,
                operator,
            };
            self.request(saga, input);
        }
        let every = if self.all_ended() {
            IDLE_MS
        } else {
            APPROVER_MS
        };
        self.after(every, Event::Approver);
    }

    /// At the end: what a saga said was said, and a wait whose event came in time has not timed out.
    pub(crate) fn judge_idle(
        &self,
        plan: &SagaPlan,
        step: &StepPlan,
        state: &SagaState,
    ) -> Result<(), String> {
        if step.kind.is_some() {
            return Ok(());
        }
        let disk = self.store.disk();
        let records = disk.entries(plan.id).flat_map(|entry| {
            let at = entry.at;
            entry.records.iter().map(move |record| (at, record))
        });
        // what comes after the start counts, also by a clock that is behind
        let surely = Timestamp(state.started_at.0.saturating_sub(CLOCK_SKEW_MS));
        let mut since = surely;
        for (at, record) in records {
            match record {
                Record::Emitted { step: of, event } if *of == step.id => {
                    let id = MessageId::of_event(plan.id, of, None, 1).to_string();
                    if event.id != id || !self.said.contains_key(&id) {
                        return Err(format!("said {} and nobody has it", event.id));
                    }
                }
                Record::Subscribed {
                    step: of, since: s, ..
                } if *of == step.id => since = surely.min(*s),
                Record::Moved {
                    step: of,
                    failure: Some(failure),
                    ..
                // A clock set forward may pass an event that is just being handed on: a time limit is a time on the wall.
                } if *of == step.id
                    && failure.code == "timeout"
                    && self.mood.clock_steps_ms == u64::MAX =>
                {
                    let wanted = |(event, received): &&(Said, Timestamp)| {
                        is_for(event, plan.id, &step.id)
                            && *received >= since
                            && received.plus_ms(FOUND_WITHIN_MS) < at
                    };
                    if let Some((event, received)) = disk.events.values().find(wanted) {
                        return Err(format!(
                            "timed out at {at} although {} was received at {received}",
                            event.id
                        ));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn arrival(saga: SagaId, step: &StepId, event: &Said, received_at: Timestamp) -> Input {
    Input::EventArrived {
        id: InputId::of_arrival(saga, step, &event.source, &event.id),
        step: step.clone(),
        event: Box::new(event.clone()),
        received_at,
    }
}

/// What happens outside for a step; of another saga when it speaks of one.
fn said(saga: SagaId, step: &StepId, what: &str, about: SagaId) -> Said {
    Said {
        specversion: baton_messages::event::SPECVERSION.to_owned(),
        id: format!("{saga} {step} {what}"),
        source: "/outside".to_owned(),
        kind: PAID.to_owned(),
        subject: None,
        time: None,
        datacontenttype: None,
        dataschema: None,
        data: Some(json!({ "saga": about.to_string(), "step": step })),
        data_base64: None,
        extensions: std::collections::BTreeMap::new(),
    }
}

fn is_for(event: &Said, saga: SagaId, step: &StepId) -> bool {
    event
        .data
        .as_ref()
        .is_some_and(|data| data["saga"] == json!(saga.to_string()) && data["step"] == json!(step))
}
