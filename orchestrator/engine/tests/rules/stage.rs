//! A saga on its own: inputs in, records kept, and after every input the history replayed and held against the state.

use baton_engine::definition::Together;
use baton_engine::input::{Resolution, StepEdit};
use baton_engine::state::{Attempt, Phase, Stage as How, StepState};
use baton_engine::{
    Catalogue, Choice, Definition, Entry, Input, Level, Operator, Record, Rules, SagaState, Status,
    Verdict, decide, decide_between, replay,
};
use baton_messages::{
    AttemptRef, Direction, Effect, Failure, Finished, InputId, Manifest, ProbeAnswer,
    RetryDefaults, RunId, SagaId, Start, Started, StepId, StepKey, TaskResult, TaskType, Timestamp,
    WorkerId,
};
use serde_json::{Value, json};
use uuid::Uuid;

fn manifest(
    name: &str,
    effect: Effect,
    [idempotent, before_image, undo, probe]: [bool; 4],
) -> Manifest {
    Manifest {
        task_type: TaskType::new(name).unwrap(),
        summary: String::new(),
        input: json!({ "type": "object" }),
        output: json!({}),
        effect,
        idempotent,
        before_image,
        undo,
        probe,
        dry_run: false,
        lock: None,
        timeout_ms_default: 10_000,
        timeout_ms_max: 60_000,
        settle_ms: 0,
        retry: RetryDefaults {
            attempts: 2,
            backoff_ms: 1_000,
            factor: 1.0,
            max_ms: 1_000,
        },
        needs: Vec::new(),
        examples: Vec::new(),
    }
}

/// `t.set` and `t.blind` are held late, `t.once`, `t.asked` and `t.file` by claim.
pub(crate) fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::default();
    for manifest in [
        manifest("t.look@1", Effect::None, [true, false, false, false]),
        manifest("t.set@1", Effect::Reversible, [true, false, true, true]),
        manifest("t.blind@1", Effect::Reversible, [true, false, true, false]),
        manifest("t.once@1", Effect::Reversible, [false, false, true, false]),
        manifest("t.asked@1", Effect::Reversible, [false, false, true, true]),
        manifest("t.stuck@1", Effect::Reversible, [true, false, false, false]),
        manifest("t.file@1", Effect::Reversible, [true, true, true, false]),
    ] {
        catalogue.announce(manifest).unwrap();
    }
    catalogue
}

pub(crate) struct Stage {
    pub(crate) definition: Definition,
    pub(crate) catalogue: Catalogue,
    /// Those that its steps name.
    pub(crate) sagas: Together,
    pub(crate) state: SagaState,
    pub(crate) entries: Vec<Entry>,
    pub(crate) now: u64,
    minted: u128,
    /// What everybody reads who may come to read the records.
    pub(crate) level: Level,
}

pub(crate) fn step(id: &str) -> StepId {
    StepId::new(id).unwrap()
}

pub(crate) fn key(text: &str) -> StepKey {
    StepKey::new(text).unwrap()
}

pub(crate) fn run(n: u128) -> RunId {
    RunId(Uuid::from_u128(n))
}

pub(crate) fn failed(retryable: bool) -> TaskResult {
    TaskResult::Failed(failure(retryable))
}

pub(crate) fn unknown() -> TaskResult {
    TaskResult::Unknown(failure(true))
}

pub(crate) fn done() -> TaskResult {
    TaskResult::Succeeded {
        output: json!({ "ok": true }),
    }
}

pub(crate) fn undone() -> TaskResult {
    TaskResult::Succeeded {
        output: Value::Null,
    }
}

pub(crate) fn not_run() -> TaskResult {
    TaskResult::NotRun {
        reason: "given back".into(),
    }
}

pub(crate) fn found(answer: ProbeAnswer) -> TaskResult {
    TaskResult::Probed(answer)
}

pub(crate) fn failure(retryable: bool) -> Failure {
    Failure {
        code: "test".into(),
        message: "as told".into(),
        retryable,
        retry_after_ms: None,
    }
}

impl Stage {
    /// A started saga with these steps.
    pub(crate) fn with(steps: &str) -> Self {
        let mut stage = Self::waiting(steps);
        assert_eq!(stage.give(&stage.start()), Verdict::Applied);
        stage
    }

    /// The same before its start.
    pub(crate) fn waiting(steps: &str) -> Self {
        let yaml = format!("saga: staged\nversion: 1\nsteps:\n{steps}");
        let definition = Definition::parse(&yaml).unwrap();
        let state = SagaState::new(SagaId(Uuid::from_u128(7)));
        Self {
            definition,
            catalogue: catalogue(),
            sagas: Together::default(),
            state,
            entries: Vec::new(),
            now: 1_000_000,
            minted: 1_000,
            level: Level::NEWEST,
        }
    }

    pub(crate) fn start(&self) -> Input {
        Input::Start(Start {
            id: InputId(Uuid::from_u128(1)),
            saga: self.state.id,
            definition: "staged".into(),
            version: Some(1),
            input: json!({}),
            labels: std::collections::BTreeMap::new(),
            by: "test".into(),
        })
    }

    /// Decides an input; whatever it led to replays to the same state.
    pub(crate) fn give(&mut self, input: &Input) -> Verdict {
        let verdict = self.give_fast(input);
        let mut replayed = SagaState::new(self.state.id);
        replay(&mut replayed, &self.entries).unwrap();
        assert_eq!(replayed, self.state, "the history replays to the state");
        verdict
    }

    /// The same without a look at the history: for many inputs.
    pub(crate) fn give_fast(&mut self, input: &Input) -> Verdict {
        self.now += 10;
        let rules = Rules {
            definition: &self.definition,
            catalogue: &self.catalogue,
            sagas: &self.sagas,
            level: self.level,
        };
        let decision = decide(rules, &mut self.state, input, Timestamp(self.now), 42).unwrap();
        if !decision.records.is_empty() {
            self.entries.push(Entry {
                at: self.state.last_at,
                records: decision.records,
            });
        }
        decision.verdict
    }

    pub(crate) fn at(&self, id: &str) -> &StepState {
        self.state.at(&key(id)).unwrap_or_else(|| panic!("no {id}"))
    }

    pub(crate) fn phase(&self, id: &str) -> Phase {
        self.at(id).phase
    }

    pub(crate) fn status(&self) -> Status {
        self.state.status
    }

    /// The open attempt of a step.
    pub(crate) fn open(&self, id: &str) -> AttemptRef {
        let attempt = self
            .at(id)
            .open_attempt()
            .unwrap_or_else(|| panic!("{id} is {:?}", self.phase(id)));
        self.named(id, attempt)
    }

    fn named(&self, id: &str, attempt: &Attempt) -> AttemptRef {
        AttemptRef {
            saga: self.state.id,
            step: key(id).step,
            item: key(id).item,
            direction: attempt.direction,
            round: self.at(id).round,
            attempt: attempt.number,
            dispatch: attempt.dispatch,
        }
    }

    /// Claims the open attempt, where it is held by claim.
    pub(crate) fn claim(&mut self, id: &str, by: RunId) -> AttemptRef {
        let of = self.open(id);
        self.give(&started(of.clone(), by));
        of
    }

    /// Reports the open attempt by a fresh run, claimed first where that is its way.
    pub(crate) fn report(&mut self, id: &str, result: TaskResult) -> Verdict {
        self.minted += 1;
        let by = run(self.minted);
        let claims = self.at(id).open_attempt().is_some_and(|attempt| {
            attempt.hold == baton_messages::Hold::Claim && attempt.stage == How::Offered
        });
        let of = if claims {
            self.claim(id, by)
        } else {
            self.open(id)
        };
        self.tell(of, by, true, result)
    }

    pub(crate) fn tell(
        &mut self,
        of: AttemptRef,
        by: RunId,
        sole: bool,
        result: TaskResult,
    ) -> Verdict {
        self.give(&finished(of, by, sole, result))
    }

    /// Lets time pass to the saga's next timer, and fires all that are due then.
    pub(crate) fn wait(&mut self) {
        let next = self
            .state
            .next_wake()
            .unwrap_or_else(|| panic!("nothing to wait for: {:?}", self.status()));
        self.now = self.now.max(next.0);
        for key in self.state.due_timers(Timestamp(self.now)) {
            self.give(&Input::TimerFired(key));
        }
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

    pub(crate) fn cancel(&mut self) -> Verdict {
        let operator = self.operator();
        self.give(&Input::Cancel(operator))
    }

    pub(crate) fn retry(&mut self, id: &str) -> Verdict {
        let operator = self.operator();
        self.give(&Input::RetryStep {
            step: key(id),
            operator,
        })
    }

    /// The last attempt of a step, open or not.
    pub(crate) fn last(&self, id: &str) -> AttemptRef {
        let attempt = self.at(id).attempts.last();
        let attempt = attempt.unwrap_or_else(|| panic!("{id} was never tried"));
        self.named(id, attempt)
    }

    pub(crate) fn acknowledge(&mut self, number: u32) -> Verdict {
        let operator = self.operator();
        self.give(&Input::Acknowledge { number, operator })
    }

    /// Has a step tried with another input, and by another task type where one is named.
    pub(crate) fn edit(&mut self, id: &str, task_type: Option<&str>, input: Value) -> Verdict {
        let operator = self.operator();
        let task_type = task_type.map(|name| TaskType::new(name).unwrap());
        self.give(&Input::EditStep {
            step: key(id),
            edit: StepEdit { input, task_type },
            operator,
        })
    }

    /// Somebody announces a task type that cannot be taken back.
    pub(crate) fn announce_irreversible(&mut self, name: &str) {
        let of = manifest(name, Effect::Irreversible, [true, false, false, false]);
        self.catalogue.announce(of).unwrap();
    }

    pub(crate) fn skip(&mut self, id: &str) -> Verdict {
        let operator = self.operator();
        self.give(&Input::SkipStep {
            step: key(id),
            operator,
        })
    }

    pub(crate) fn resolve(&mut self, id: &str, resolution: Resolution) -> Verdict {
        let operator = self.operator();
        self.give(&Input::ResolveStep {
            step: key(id),
            resolution,
            operator,
        })
    }

    /// The definition with other steps, and the next version.
    pub(crate) fn next_version(&self, steps: &str) -> Definition {
        let (name, version) = (&self.definition.saga, self.state.version + 1);
        let yaml = format!("saga: {name}\nversion: {version}\nsteps:\n{steps}");
        Definition::parse(&yaml).unwrap()
    }

    /// Asks for the next version, with these steps; from then on it is decided by that, if it is taken.
    pub(crate) fn upgrade(&mut self, steps: &str) -> Verdict {
        let next = self.next_version(steps);
        self.upgrade_to(next)
    }

    pub(crate) fn upgrade_to(&mut self, next: Definition) -> Verdict {
        let operator = self.operator();
        let to = next.version;
        self.upgrade_asked(
            next,
            &Input::Upgrade {
                to,
                from: None,
                operator,
            },
        )
    }

    pub(crate) fn upgrade_asked(&mut self, next: Definition, input: &Input) -> Verdict {
        self.now += 10;
        let rules = Rules {
            definition: &self.definition,
            catalogue: &self.catalogue,
            sagas: &self.sagas,
            level: self.level,
        };
        let now = Timestamp(self.now);
        let decided = decide_between(rules, Some(&next), &mut self.state, input, now, 42);
        let decision = decided.unwrap();
        if !decision.records.is_empty() {
            self.entries.push(Entry {
                at: self.state.last_at,
                records: decision.records,
            });
        }
        if decision.verdict == Verdict::Applied {
            self.definition = next;
        }
        let mut replayed = SagaState::new(self.state.id);
        replay(&mut replayed, &self.entries).unwrap();
        assert_eq!(replayed, self.state, "the history replays to the state");
        decision.verdict
    }

    /// The choices of the only open work item.
    pub(crate) fn choices(&self) -> Vec<Choice> {
        assert_eq!(
            self.state.work_items.len(),
            1,
            "{:?}",
            self.state.work_items
        );
        self.state
            .work_items
            .values()
            .flat_map(|item| item.choices.clone())
            .collect()
    }

    pub(crate) fn recorded(&self, wanted: impl Fn(&Record) -> bool) -> usize {
        self.entries
            .iter()
            .flat_map(|entry| &entry.records)
            .filter(|record| wanted(record))
            .count()
    }
}

pub(crate) fn started(of: AttemptRef, by: RunId) -> Input {
    Input::TaskStarted(Started {
        of,
        run: by,
        worker: WorkerId::new("w").unwrap(),
        at: Timestamp(0),
    })
}

pub(crate) fn finished(of: AttemptRef, by: RunId, sole: bool, result: TaskResult) -> Input {
    Input::TaskFinished(Finished {
        of,
        run: by,
        worker: WorkerId::new("w").unwrap(),
        started: true,
        sole,
        result,
        before: None,
        progress: None,
        started_at: Timestamp(0),
        finished_at: Timestamp(0),
    })
}

pub(crate) fn is_undo(of: &AttemptRef) -> bool {
    of.direction == Direction::Undo
}
