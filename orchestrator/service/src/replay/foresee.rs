//! What would come of letters that nothing keeps from setting out: whether a saga would take the report, whether one would start, whether there is a queue.
//!
//! Guarantee: nothing is moved or told for it. A decision is made on a copy of what the saga is, as the saga would make it, and thrown away. What cannot be known is not
//! said: the letter counts as one that goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use baton_bus::Link;
use baton_driver::{DefinitionRow, StoreError, guarded};
use baton_engine::definition::{NoSagas, group_in};
use baton_engine::{
    Catalogue, DecideError, Decision, Definition, Input, Refusal, Rules, Verdict, decide,
};
use baton_messages::{SagaId, Start};
use baton_store::Reader as _;
use tokio::time::{Instant, timeout_at};

use super::route::{Cure, Never, Refused, Route};
use super::{Replay, Target};
use crate::api::folded;
use crate::clock;
use crate::decode::{self, Unusable};

/// Queues that are asked for in one plan: letters of others may name any number.
const QUEUES_MAX: usize = 100;
/// How long one of them is asked for. A broker that takes longer has other worries than a plan, and is asked for no other one: whoever asks waits for the answer.
const ASKED_MAX: Duration = Duration::from_secs(5);

/// What would come of a letter.
#[derive(Debug)]
pub(super) enum Foreseen {
    /// It goes there.
    Goes(Route),
    /// It waits until something takes it where it goes.
    Waits(String),
    /// It goes nowhere, or fails again.
    Never(Never),
}

/// What was looked up for one plan: once for all its letters.
#[derive(Debug)]
pub(super) struct Looked {
    /// Every registered definition; none: nobody has asked yet.
    registered: Option<Vec<DefinitionRow>>,
    /// Those that were read; none: it cannot be.
    parsed: BTreeMap<(String, u32), Option<Arc<Definition>>>,
    /// Whether a queue is there.
    queues: BTreeMap<String, bool>,
    /// From then on no queue is asked for.
    asks_until: Instant,
}

impl Looked {
    /// For a plan that asks until then.
    pub(super) const fn until(asks_until: Instant) -> Self {
        Self {
            registered: None,
            parsed: BTreeMap::new(),
            queues: BTreeMap::new(),
            asks_until,
        }
    }

    /// Whether a queue is there, as it is known already or as `asking` answers. Where that cannot be known, or not in time, it counts as there.
    async fn is_there(&mut self, queue: &str, asking: impl Future<Output = Option<bool>>) -> bool {
        if let Some(known) = self.queues.get(queue) {
            return *known;
        }
        let now = Instant::now();
        if self.queues.len() >= QUEUES_MAX || now >= self.asks_until {
            return true;
        }
        let until = self.asks_until.min(now + ASKED_MAX);
        match timeout_at(until, asking).await {
            Ok(Some(is_there)) => {
                self.queues.insert(queue.to_owned(), is_there);
                is_there
            }
            Ok(None) => true,
            Err(_) => {
                self.asks_until = now;
                true
            }
        }
    }

    /// The newest version, where none is asked for.
    fn definition(&mut self, name: &str, version: Option<u32>) -> Option<Arc<Definition>> {
        let rows = self.registered.iter().flatten();
        let rows = rows.filter(|row| row.name == name);
        let row = rows
            .filter(|row| version.is_none_or(|version| row.version == version))
            .max_by_key(|row| row.version)?;
        let key = (row.name.clone(), row.version);
        let parsed = self.parsed.entry(key);
        let read = || Definition::parse(&row.source).ok().map(Arc::new);
        parsed.or_insert_with(read).clone()
    }

    /// What a saga runs: a definition, or a group in one.
    fn runs(&mut self, name: &str, version: u32) -> Option<Arc<Definition>> {
        match group_in(name) {
            Some((saga, way)) => {
                let saga = self.definition(saga, Some(version))?;
                saga.group(way).cloned()
            }
            None => self.definition(name, Some(version)),
        }
    }

    /// How a saga that is not there would take a request to start it; none: it would begin.
    fn started(&mut self, start: &Start) -> Option<Verdict> {
        // a group begins as an item of its step and not by itself
        let found = match group_in(&start.definition) {
            Some(_) => None,
            None => self.definition(&start.definition, start.version),
        };
        let Some(definition) = found else {
            let what = format!("definition {}", start.definition);
            return Some(Verdict::Refused(Refusal::NoSuch { what }));
        };
        let misfit = definition.check_input(&start.input).err()?;
        let definition = definition.saga.clone();
        Some(Verdict::Refused(Refusal::Misfit { definition, misfit }))
    }
}

impl Replay {
    /// What would come of a letter that would set out.
    pub(super) async fn would_take(
        &self,
        route: Route,
        looked: &mut Looked,
    ) -> Result<Foreseen, StoreError> {
        match &route {
            Route::Inputs(inputs, broken) => {
                if let Some(never) = self.not_taken(inputs, broken.as_ref(), looked).await? {
                    return Ok(Foreseen::Never(never));
                }
            }
            Route::Raw(target) => {
                if !self.is_there(target, looked).await {
                    let why = format!(
                        "no queue {:?} is there: declare it, or say where to send it; until then it waits",
                        target.key
                    );
                    return Ok(Foreseen::Waits(why));
                }
            }
            // these were looked at before
            Route::Task(_) | Route::Event(_) => {}
        }
        Ok(Foreseen::Goes(route))
    }

    /// Why parts of a message would not be taken, as it is told of one that was sent.
    async fn not_taken(
        &self,
        inputs: &[(SagaId, Box<Input>)],
        broken: Option<&Unusable>,
        looked: &mut Looked,
    ) -> Result<Option<Never>, StoreError> {
        if let Some(why) = broken {
            let why = format!("a part of it still cannot be used: {}", why.error);
            return Ok(Some(Never::Unreadable(why)));
        }
        let mut refused = None;
        for (saga, input) in inputs {
            match self.verdict(*saga, input, looked).await? {
                None | Some(Verdict::Applied | Verdict::Duplicate) => {}
                Some(Verdict::Ignored { why }) => refused = Some(why),
                Some(Verdict::Refused(refusal)) => match decode::refused(&refusal) {
                    Some(why) => {
                        let why = format!("it would fail again: saga {saga}: {}", why.error);
                        return Ok(Some(Never::Unreadable(why)));
                    }
                    None => refused = Some(format!("saga {saga}: {refusal}")),
                },
            }
        }
        Ok(refused.map(|why| Never::Refused(Refused::new(why, Cure::Look))))
    }

    /// How a saga would take an input; none where that cannot be said.
    async fn verdict(
        &self,
        saga: SagaId,
        input: &Input,
        looked: &mut Looked,
    ) -> Result<Option<Verdict>, StoreError> {
        // one saga that cannot be read says nothing about the others; a store that is away fails the next page
        let Ok(found) = folded(&self.reader, saga).await else {
            return Ok(None);
        };
        if looked.registered.is_none() {
            looked.registered = Some(self.reader.definitions().await?);
        }
        let Some(found) = found else {
            return Ok(match input {
                Input::Start(start) => looked.started(start),
                // a parent asks again until its child is there
                Input::ChildWanted(_) => None,
                _ => Some(Verdict::Refused(Refusal::NoSaga)),
            });
        };
        let mut state = found.state;
        let Some(definition) = looked.runs(&state.definition, state.version) else {
            return Ok(None);
        };
        let catalogue = Catalogue::default();
        let rules = Rules {
            definition: &definition,
            catalogue: &catalogue,
            sagas: &NoSagas,
            level: baton_engine::Level::NEWEST,
        };
        Ok(said(|| decide(rules, &mut state, input, clock::now(), 0)))
    }

    /// Whether a queue is there that takes what goes by the default exchange. What another exchange does nobody can ask.
    async fn is_there(&self, target: &Target, looked: &mut Looked) -> bool {
        if !target.exchange.is_empty() {
            return true;
        }
        let asking = async {
            let is_up = matches!(self.bus.state().borrow().consuming, Link::Up { .. });
            if !is_up {
                return None;
            }
            // one that may not be looked at may be published to all the same
            let found = self.bus.queue_depth(&target.key).await;
            Some(!matches!(found, Ok(None)))
        };
        looked.is_there(&target.key, asking).await
    }
}

/// What a decision says; none where it cannot be made, be it by a panic: whoever decides in earnest puts that one aside, and all other letters are looked at.
fn said(decide: impl FnOnce() -> Result<Decision, DecideError>) -> Option<Verdict> {
    let decided = guarded(decide).ok()?;
    decided.ok().map(|decision| decision.verdict)
}

#[cfg(test)]
mod tests {
    use baton_messages::{InputId, Timestamp};
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    const SAGA: &str = "saga: greet
version: 1
input:
  type: object
  required: [name]
  properties: { name: { type: string } }
steps:
  - id: a
    sleep: 1s
";

    fn looked() -> Looked {
        let rows = [1, 2].map(|version| DefinitionRow {
            name: "greet".to_owned(),
            version,
            source: SAGA.to_owned(),
            at: Timestamp(1),
            by: String::new(),
        });
        Looked {
            registered: Some(rows.to_vec()),
            ..Looked::until(Instant::now())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_does_not_answer_is_asked_once_and_for_no_longer_than_the_plan_looks() {
        let silent = std::future::pending;
        let looks = Duration::from_secs(600);
        let mut looked = Looked::until(Instant::now() + looks);
        assert!(looked.is_there("down", async { None }).await);
        assert!(!looked.is_there("gone", async { Some(false) }).await);
        assert!(looked.is_there("orders", async { Some(true) }).await);
        let took = |began: Instant, limit: Duration| {
            let late = limit + Duration::from_millis(100);
            (limit..late).contains(&began.elapsed())
        };
        let began = Instant::now();
        assert!(looked.is_there("a", silent()).await);
        assert!(took(began, ASKED_MAX));
        assert!(looked.is_there("b", silent()).await);
        assert!(took(began, ASKED_MAX), "it is not asked again");
        assert!(!looked.is_there("gone", silent()).await, "that is known");
        // and one that answers slowly is waited for until the plan is due
        let due = Duration::from_secs(1);
        let mut looked = Looked::until(Instant::now() + due);
        let began = Instant::now();
        assert!(looked.is_there("a", silent()).await);
        assert!(took(began, due));
    }

    fn start(definition: &str, version: Option<u32>, input: Value) -> Start {
        Start {
            id: InputId(Uuid::from_u128(1)),
            saga: SagaId(Uuid::from_u128(2)),
            definition: definition.to_owned(),
            version,
            input,
            labels: BTreeMap::new(),
            by: String::new(),
        }
    }

    #[test]
    fn of_a_decision_that_panics_nothing_is_said() {
        let applied = Decision {
            records: Vec::new(),
            verdict: Verdict::Applied,
        };
        assert_eq!(said(|| Ok(applied)), Some(Verdict::Applied));
        assert_eq!(said(|| panic!("a defect")), None);
    }

    #[test]
    fn a_start_nobody_can_take_is_told_before_it_is_sent() {
        let mut looked = looked();
        let named = json!({ "name": "ann" });
        for version in [None, Some(1), Some(2)] {
            assert_eq!(
                looked.started(&start("greet", version, named.clone())),
                None
            );
        }
        let unknown = [
            start("meet", None, named.clone()),
            start("greet", Some(3), named.clone()),
            start("greet/each", None, named),
        ];
        for start in unknown {
            let verdict = looked.started(&start);
            assert!(
                matches!(verdict, Some(Verdict::Refused(Refusal::NoSuch { .. }))),
                "{start:?}: {verdict:?}"
            );
        }
        let misfit = looked.started(&start("greet", None, json!({})));
        assert!(
            matches!(misfit, Some(Verdict::Refused(Refusal::Misfit { .. }))),
            "{misfit:?}"
        );
    }
}
