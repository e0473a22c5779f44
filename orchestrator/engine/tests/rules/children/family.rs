//! A saga with those below it: each decided by itself, words between them carried by the test, which may lose, double and reorder them; and what
//! their tasks have left in the world.

use std::collections::{BTreeMap, BTreeSet};

use baton_engine::definition::{NoSagas, group_in};
use baton_engine::reservation::Change;
use baton_engine::state::{Attempt, Phase, Stage, StepState};
use baton_engine::{
    Catalogue, Command, Definition, Entry, Input, Operator, Rules, SagaState, Status, Verdict,
    command::commands, decide_between, replay,
};
use baton_messages::{
    AttemptRef, Direction, Hold, InboxKey, InboxMessage, InputId, SagaId, Start, StepKey,
    TaskMessage, TaskResult, TaskType, Timestamp,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{catalogue, done, finished, key, run, started, undone};

/// What a task has done: of which saga, of which step, in which round.
pub(crate) type Effect = (SagaId, StepKey, u32);

pub(crate) struct Family {
    definitions: BTreeMap<(String, u32), Definition>,
    /// What the saga at the top runs.
    first: (String, u32),
    catalogue: Catalogue,
    pub(crate) sagas: BTreeMap<SagaId, (SagaState, Vec<Entry>)>,
    pub(crate) words: Vec<InboxMessage>,
    pub(crate) tasks: Vec<AttemptRef>,
    /// What stands.
    pub(crate) effects: BTreeSet<Effect>,
    /// What was taken back, how often.
    pub(crate) taken_back: BTreeMap<Effect, u32>,
    /// The order in which things were taken back.
    pub(crate) order: Vec<String>,
    /// What the store was told of what sagas take.
    pub(crate) changes: Vec<(SagaId, Change)>,
    pub(crate) now: u64,
    minted: u128,
    pub(crate) root: SagaId,
}

/// A definition, or a group that stands in one.
fn defined<'d>(
    all: &'d BTreeMap<(String, u32), Definition>,
    name: &str,
    version: u32,
) -> Option<&'d Definition> {
    let (saga, way) = group_in(name).map_or((name, None), |(saga, way)| (saga, Some(way)));
    let found = all.get(&(saga.to_owned(), version))?;
    way.map_or(Some(found), |way| found.group(way).map(AsRef::as_ref))
}

impl Family {
    /// These definitions, and a saga of the first.
    pub(crate) fn of(documents: &[&str]) -> Self {
        Self::with(documents, json!({}))
    }

    pub(crate) fn with(documents: &[&str], input: Value) -> Self {
        let mut family = Self::waiting(documents);
        family.start(input);
        family
    }

    /// The same before its start.
    pub(crate) fn waiting(documents: &[&str]) -> Self {
        let read =
            |text: &&str| Definition::parse(text).unwrap_or_else(|e| panic!("{e:?}\n{text}"));
        let all: Vec<Definition> = documents.iter().map(read).collect();
        let first = (all[0].saga.clone(), all[0].version);
        let root = SagaId(Uuid::from_u128(7));
        let definitions = all.into_iter().map(|d| ((d.saga.clone(), d.version), d));
        Self {
            definitions: definitions.collect(),
            first,
            catalogue: catalogue(),
            sagas: BTreeMap::new(),
            words: Vec::new(),
            tasks: Vec::new(),
            effects: BTreeSet::new(),
            taken_back: BTreeMap::new(),
            order: Vec::new(),
            changes: Vec::new(),
            now: 1_000_000,
            minted: 1_000,
            root,
        }
    }

    pub(crate) fn start(&mut self, input: Value) {
        let (definition, version) = self.first.clone();
        let start = Input::Start(Start {
            id: InputId(Uuid::from_u128(1)),
            saga: self.root,
            definition,
            version: Some(version),
            input,
            labels: BTreeMap::new(),
            by: "test".into(),
        });
        assert_eq!(self.give(self.root, &start), Verdict::Applied);
    }

    /// A task type like `t.set@1` that returns a port of a kind.
    pub(crate) fn announce(&mut self, name: &str, kind: &str) {
        let like = TaskType::new("t.set@1").unwrap();
        let mut manifest = self.catalogue.get(&like).unwrap().manifest.clone();
        manifest.task_type = TaskType::new(name).unwrap();
        manifest.output = json!({ "type": "object", "required": ["port"], "properties": { "port": { "type": kind } } });
        self.catalogue.announce(manifest).unwrap();
    }

    pub(crate) fn give(&mut self, saga: SagaId, input: &Input) -> Verdict {
        self.now += 10;
        let known = self
            .sagas
            .get(&saga)
            .filter(|(s, _)| s.status != Status::New);
        let named = match (known, input) {
            (Some((state, _)), _) => (state.definition.clone(), state.version),
            (None, Input::Start(start)) => (start.definition.clone(), start.version.unwrap()),
            (None, Input::ChildWanted(wanted)) => (wanted.definition.clone(), wanted.version),
            (None, _) => panic!("{input:?} is about no saga"),
        };
        let next = match input {
            Input::Upgrade { to, .. } => defined(&self.definitions, &named.0, *to),
            _ => None,
        };
        let rules = Rules {
            definition: defined(&self.definitions, &named.0, named.1).unwrap(),
            catalogue: &self.catalogue,
            sagas: &NoSagas,
            level: baton_engine::Level::NEWEST,
        };
        let (state, entries) = self
            .sagas
            .entry(saga)
            .or_insert_with(|| (SagaState::new(saga), Vec::new()));
        let decision = decide_between(rules, next, state, input, Timestamp(self.now), 42)
            .unwrap_or_else(|error| panic!("{error}: {input:?} on {state:#?}"));
        let inbox = InboxKey::of(0);
        for command in commands(state, &inbox, &decision.records) {
            match command {
                Command::TellSaga(word) => self.words.push(*word),
                Command::Dispatch(task) => {
                    let TaskMessage::Task(task) = *task;
                    self.tasks.push(task.of);
                }
                Command::Reserve(change) => self.changes.push((saga, *change)),
                _ => {}
            }
        }
        if !decision.records.is_empty() {
            entries.push(Entry {
                at: state.last_at,
                records: decision.records,
            });
        }
        let mut replayed = SagaState::new(saga);
        replay(&mut replayed, entries.iter()).unwrap();
        assert_eq!(&replayed, state, "the history replays to the state");
        decision.verdict
    }

    /// Delivers a word that lies there.
    pub(crate) fn deliver(&mut self, word: &InboxMessage) -> Verdict {
        match word {
            InboxMessage::ChildWanted(wanted) => {
                self.give(wanted.child, &Input::ChildWanted(wanted.clone()))
            }
            InboxMessage::ChildSaid(said) => {
                self.give(said.parent.saga, &Input::ChildSaid(said.clone()))
            }
            other => panic!("{other:?}"),
        }
    }

    /// Delivers every word, in order, until there is none.
    pub(crate) fn talk(&mut self) {
        while !self.words.is_empty() {
            let word = self.words.remove(0);
            self.deliver(&word);
        }
    }

    pub(crate) fn state(&self, saga: SagaId) -> &SagaState {
        &self.sagas[&saga].0
    }

    pub(crate) fn status(&self, saga: SagaId) -> Status {
        self.state(saga).status
    }

    pub(crate) fn at(&self, saga: SagaId, step: &str) -> &StepState {
        self.state(saga).at(&key(step)).unwrap()
    }

    pub(crate) fn phase(&self, saga: SagaId, step: &str) -> Phase {
        self.at(saga, step).phase
    }

    pub(crate) fn child(&self, saga: SagaId, step: &str) -> SagaId {
        self.at(saga, step).child.as_ref().unwrap().id
    }

    /// A task ends so.
    pub(crate) fn end(&mut self, of: &AttemptRef, result: TaskResult) -> Verdict {
        self.minted += 1;
        let by = run(self.minted);
        let attempt = |family: &Self| {
            let step = family.state(of.saga).at(&of.key())?;
            step.attempt(of.direction, of.attempt).cloned()
        };
        if !attempt(self).is_some_and(|one| one.open() && one.dispatch == of.dispatch) {
            // its time is over: the worker that comes to it now does not begin
            return Verdict::Duplicate;
        }
        if attempt(self).is_some_and(|one| one.hold == Hold::Claim) {
            self.give(of.saga, &started(of.clone(), by));
            let ours = |one: Attempt| matches!(one.stage, Stage::Claimed { run, .. } if run == by);
            if !attempt(self).is_some_and(ours) {
                // withdrawn: the worker is refused and lets go
                return Verdict::Duplicate;
            }
        }
        if matches!(result, TaskResult::Succeeded { .. }) {
            self.happens(of);
        }
        self.give(of.saga, &finished(of.clone(), by, true, result))
    }

    fn happens(&mut self, of: &AttemptRef) {
        let effect = (of.saga, of.key(), of.round);
        match of.direction {
            Direction::Do => {
                self.effects.insert(effect);
            }
            Direction::Undo => {
                self.effects.remove(&effect);
                *self.taken_back.entry(effect).or_default() += 1;
                let definition = self.state(of.saga).definition.clone();
                self.order.push(format!("{definition}.{}", of.key()));
            }
            Direction::Probe => {}
        }
    }

    /// The task of a step that is under way ends so, and words are carried.
    pub(crate) fn report(&mut self, saga: SagaId, step: &str, result: TaskResult) {
        let wanted = key(step);
        let of = self
            .tasks
            .iter()
            .position(|of| of.saga == saga && of.key() == wanted);
        let of = of.unwrap_or_else(|| panic!("{step} runs nothing: {:?}", self.phase(saga, step)));
        let of = self.tasks.remove(of);
        self.end(&of, result);
        self.talk();
    }

    /// Everything goes well until nothing moves without time.
    pub(crate) fn go(&mut self) {
        self.talk();
        while !self.tasks.is_empty() {
            let of = self.tasks.remove(0);
            self.end(&of, well(&of));
            self.talk();
        }
    }

    /// Time passes to the next timer of any of them; false when there is none.
    pub(crate) fn wait(&mut self) -> bool {
        let wakes = self
            .sagas
            .iter()
            .filter_map(|(id, (s, _))| Some((s.next_wake()?, *id)));
        let Some((at, saga)) = wakes.min() else {
            return false;
        };
        self.now = self.now.max(at.0);
        for timer in self.state(saga).due_timers(Timestamp(self.now)) {
            self.give(saga, &Input::TimerFired(timer));
        }
        true
    }

    pub(crate) fn operator(&mut self) -> Operator {
        self.minted += 1;
        Operator {
            id: InputId(Uuid::from_u128(self.minted)),
            by: "anna".into(),
            role: baton_engine::Role::Operator,
            reason: "because".into(),
            seen: None,
        }
    }

    pub(crate) fn cancel(&mut self, saga: SagaId) -> Verdict {
        let operator = self.operator();
        self.give(saga, &Input::Cancel(operator))
    }
}

pub(crate) fn well(of: &AttemptRef) -> TaskResult {
    match of.direction {
        Direction::Do => done(),
        Direction::Undo => undone(),
        Direction::Probe => TaskResult::Probed(baton_messages::ProbeAnswer::DidNot),
    }
}
