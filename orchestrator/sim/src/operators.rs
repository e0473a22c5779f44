//! People: who asks for sagas, who meddles with them, and who looks at what is parked until nothing is. Each asks until he is answered,
//! under one id, as a client over a bad line would.

use baton_engine::input::Resolution;
use baton_engine::{
    Approval, Assignment, Choice, Input, Operator, Refusal, SagaState, Verdict, Whose,
};
use baton_messages::{InboxMessage, InputId, SagaId, Start, StepKey};
use serde_json::json;

use crate::event::Event;
use crate::ledger::Place;
use crate::plan::StepPlan;
use crate::world::{Request, World};

/// How often somebody looks at what is parked.
const JANITOR_MS: u64 = 20_000;
/// So long after its start a saga is moved at the latest: most run for about as long.
const MOVED_WITHIN_MS: u64 = 60_000;

impl World {
    /// Somebody asks for a saga, over the API or over the bus.
    pub(crate) fn start(&mut self, saga: SagaId) {
        let Some(plan) = self.plans.get(&saga) else {
            return;
        };
        let (version, input) = self.scene.as_ref().map_or_else(
            || (1, json!({ "never": false, "saga": saga.to_string() })),
            |scene| scene.start(),
        );
        let start = Start {
            id: InputId(self.rng.uuid()),
            saga,
            definition: plan.name.clone(),
            version: Some(version),
            input,
            labels: std::collections::BTreeMap::new(),
            by: "sim".into(),
        };
        if self.rng.per_mille(300) && self.broker.up {
            self.after(
                1,
                Event::InboxArrives(Box::new(InboxMessage::Start(start.clone()))),
            );
        }
        self.request(saga, Input::Start(start));
        let moved = self.moving.as_mut();
        if let Some(when) = moved.map(|chance| chance.range(100, MOVED_WITHIN_MS)) {
            self.after(when, Event::Moves(saga));
        }
    }

    /// Somebody wants a saga to go on under the second version, which says the same.
    pub(crate) fn moves(&mut self, saga: SagaId) {
        let operator = self.operator();
        self.request(
            saga,
            Input::Upgrade {
                to: 2,
                from: None,
                operator,
            },
        );
    }

    pub(crate) fn request(&mut self, saga: SagaId, input: Input) -> u64 {
        self.requests_made += 1;
        self.asked_at.insert(saga, self.now);
        self.note(&format!(
            "asked: {} of {}",
            input.kind(),
            crate::host::short(saga)
        ));
        self.requests
            .insert(self.requests_made, Request { saga, input });
        self.wake_host_of(saga, 3);
        self.requests_made
    }

    /// A request is answered, and so committed.
    pub(crate) fn answered(&mut self, number: u64, verdict: &Verdict) {
        let Some(request) = self.requests.remove(&number) else {
            return;
        };
        if let Verdict::Refused(why) = verdict {
            self.note(&format!(
                "refused: {} of {}: {why}",
                request.input.kind(),
                crate::host::short(request.saga)
            ));
            if matches!(request.input, Input::Start(_)) {
                // one that could not be decided is no refusal: the engine is at fault
                if !matches!(why, Refusal::NotNow { .. })
                    && let Some(scene) = &mut self.scene
                {
                    scene.refused.get_or_insert_with(|| why.to_string());
                }
                self.breaks(format!("a start was refused: {why}"));
            }
            return;
        }
        if matches!(request.input, Input::Upgrade { .. }) && *verdict == Verdict::Applied {
            self.report.moved += 1;
        }
        if let Input::RetryStep { step, .. } = &request.input {
            self.tried_again.insert((request.saga, step.clone()));
        }
        if let Input::ResolveStep {
            step, resolution, ..
        } = &request.input
        {
            let place = (request.saga, step.clone());
            match resolution {
                Resolution::Done { .. } => {
                    if let Some(kind) = self
                        .plans
                        .get(&request.saga)
                        .and_then(|plan| plan.step(&step.step)?.kind)
                    {
                        self.ledger.do_by_hand(&place, kind.matter);
                    }
                    self.done_by_hand.insert(place);
                }
                Resolution::Undone => {
                    self.ledger.put_back(&place);
                    self.by_hand.insert(place);
                }
            }
        }
    }

    /// Whether a person has said of a step what has come of it, one way or the other.
    pub(crate) fn settled_by_hand(&self, place: &Place) -> bool {
        self.by_hand.contains(place) || self.done_by_hand.contains(place)
    }

    pub(crate) fn operator(&mut self) -> Operator {
        Operator {
            id: InputId(self.rng.uuid()),
            by: "sim".into(),
            role: baton_engine::Role::Operator,
            reason: "to see what happens".into(),
            seen: None,
        }
    }

    /// Somebody acts on a saga at any moment, sensible or not.
    pub(crate) fn meddle(&mut self, saga: SagaId) {
        if self.calm {
            return;
        }
        let operator = self.operator();
        let steps: Vec<StepKey> = self
            .plans
            .get(&saga)
            .map(|plan| plan.steps.iter().flat_map(StepPlan::keys).collect())
            .unwrap_or_default();
        let Some(step) = steps.get(self.rng.index(steps.len())).cloned() else {
            return;
        };
        let input = match self.rng.below(8) {
            0..=3 => Input::Cancel(operator),
            4 | 5 => {
                let pause = self.rng.range(500, 60_000);
                self.after(pause, Event::Resume(saga));
                Input::Pause(operator)
            }
            6 => Input::SkipStep { step, operator },
            _ => Input::RetryStep { step, operator },
        };
        self.meddled.insert(saga);
        self.request(saga, input);
        if self.rng.per_mille(400) {
            let when = self.rng.range(100, 40_000);
            self.after(when, Event::Meddle(saga));
        }
    }

    pub(crate) fn resume(&mut self, saga: SagaId) {
        let operator = self.operator();
        self.request(saga, Input::Resume(operator));
    }

    /// Somebody looks at what is parked and chooses one of the choices there are.
    pub(crate) fn janitor(&mut self) {
        let parked: Vec<SagaState> = self
            .store
            .disk()
            .mirror
            .values()
            .filter(|state| state.active() && !state.work_items.is_empty())
            .cloned()
            .collect();
        for state in parked {
            if self
                .requests
                .values()
                .any(|request| request.saga == state.id)
            {
                continue;
            }
            let items: Vec<u32> = state.work_items.keys().copied().collect();
            let Some(number) = items.get(self.rng.index(items.len())).copied() else {
                continue;
            };
            if self.assigns(&state, number) {
                continue;
            }
            self.choose(&state, number);
        }
        // Somebody who paused may have been refused to resume while it was not yet paused.
        let paused: Vec<SagaId> = self
            .store
            .disk()
            .mirror
            .values()
            .filter(|state| state.active() && state.paused)
            .map(|state| state.id)
            .collect();
        if self.calm {
            for saga in paused {
                self.resume(saga);
            }
        }
        let every = if self.all_ended() {
            crate::world::IDLE_MS
        } else {
            JANITOR_MS
        };
        self.after(every, Event::Janitor);
    }

    /// Whether somebody only says whose it is now, where whoever wrote the definition has thought of that; in others nothing is drawn, so that seeds stay
    /// what they were.
    fn assigns(&mut self, state: &SagaState, number: u32) -> bool {
        let item = state.work_items.get(&number);
        if item.is_none_or(|item| item.escalate.is_empty()) || self.calm || self.rng.per_mille(500)
        {
            return false;
        }
        let whose = match self.rng.below(4) {
            0 => None,
            1 => Some(Whose::Of("net".to_owned())),
            2 => Some(Whose::Back),
            _ => Some(Whose::Mine),
        };
        let assignment = Assignment {
            whose,
            due_ms: Some(self.rng.range(1, 60_000)),
        };
        let operator = self.operator();
        let input = Input::AssignItem {
            number,
            assignment,
            operator,
        };
        self.request(state.id, input);
        true
    }

    fn choose(&mut self, state: &SagaState, number: u32) {
        let Some(item) = state.work_items.get(&number) else {
            return;
        };
        let choices: Vec<Choice> = item
            .choices
            .iter()
            .copied()
            .filter(|choice| {
                // what is tried with another input is another effect, which the ledger of this world knows nothing of
                !matches!(choice, Choice::Abandon | Choice::Edit | Choice::Substitute)
            })
            .collect();
        let choice = if self.rng.per_mille(20) {
            Choice::Abandon
        } else {
            self.rng.pick(&choices, Choice::Abandon)
        };
        let operator = self.operator();
        let step = item.step.clone();
        let input = match (choice, step) {
            (Choice::Retry, Some(step)) => Input::RetryStep { step, operator },
            (Choice::Skip, Some(step)) => Input::SkipStep { step, operator },
            (Choice::ResolveDone, Some(step)) => Input::ResolveStep {
                step,
                resolution: Resolution::Done {
                    output: json!({ "n": 0 }),
                },
                operator,
            },
            (Choice::Approve, Some(step)) => Input::Approve {
                step,
                decision: Approval::Approve,
                operator,
            },
            (Choice::Reject, Some(step)) => Input::Approve {
                step,
                decision: Approval::Reject,
                operator,
            },
            (Choice::ResolveUndone, Some(step)) => Input::ResolveStep {
                step,
                resolution: Resolution::Undone,
                operator,
            },
            (Choice::Admit, _) => Input::Admit(operator),
            (Choice::Cancel, _) => Input::Cancel(operator),
            (Choice::Acknowledge, _) => Input::Acknowledge { number, operator },
            (Choice::Abandon, _) => Input::Abandon(operator),
            (
                Choice::Retry
                | Choice::Skip
                | Choice::ResolveDone
                | Choice::ResolveUndone
                | Choice::Approve
                | Choice::Reject,
                None,
            )
            | (Choice::Edit | Choice::Substitute, _) => {
                return self.breaks(format!(
                    "work item {number} of {} offers {choice:?} of no step",
                    state.id
                ));
            }
        };
        if matches!(
            input,
            Input::Abandon(_) | Input::Cancel(_) | Input::SkipStep { .. }
        ) {
            self.meddled.insert(state.id);
        }
        self.request(state.id, input);
    }
}
