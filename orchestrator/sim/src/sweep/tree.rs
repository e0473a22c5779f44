//! The sagas of a sweep: the one that is swept and all that lie within it, each by the steps that lead to it. What is found here is all that
//! is ever begun in a play, but for the items of a `for_each`: those share what their step is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use baton_engine::Definition;
use baton_engine::definition::{SagaStep, Step};
use baton_messages::StepId;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{Given, Unready};

/// The steps that lead from the saga at the top to one within it; none: the one at the top.
pub(crate) type Above = Vec<StepId>;

/// The most sagas a sweep plays together, each counted as often as a step leads to it: each play knows them all.
pub const SAGAS_MAX: usize = 64;

/// A step of the saga that is swept, or of one within it: `restore`, `restore/put_back`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepPath {
    pub(crate) above: Above,
    pub(crate) step: StepId,
}

impl StepPath {
    pub(crate) fn new(above: &[StepId], step: &StepId) -> Self {
        Self {
            above: above.to_vec(),
            step: step.clone(),
        }
    }

    /// The steps that lead to what this step is, where that is a saga.
    pub(crate) fn within(&self) -> Above {
        let mut all = self.above.clone();
        all.push(self.step.clone());
        all
    }

    /// How many sagas lie above it: none of a step of the saga that is swept.
    #[must_use]
    pub const fn depth(&self) -> usize {
        self.above.len()
    }

    /// Whether it is the step that is so named, or lies within it.
    #[must_use]
    pub fn is_in(&self, name: &str) -> bool {
        let own = self.to_string();
        let rest = own.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for StepPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for above in &self.above {
            write!(f, "{above}/")?;
        }
        write!(f, "{}", self.step)
    }
}

impl Serialize for StepPath {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Definitions that are given for steps that are sagas, each with what its author says of its values.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    sagas: BTreeMap<(String, u32), (Arc<Definition>, Given)>,
}

impl Beside {
    /// One more. Of `given` only what its steps return and wait for counts: its input is its parent's to say.
    pub fn add(&mut self, definition: Arc<Definition>, given: Given) {
        let key = (definition.saga.clone(), definition.version);
        self.sagas.insert(key, (definition, given));
    }

    /// What a step runs, with what is said of its values: a group stands in its parent, and what is said of it there as well.
    fn of(&self, step: &Step, saga: &SagaStep, parent: &Given) -> Option<(Arc<Definition>, Given)> {
        match &saga.group {
            Some(group) => Some((group.definition.clone(), parent.within(&step.id))),
            None => self.sagas.get(&(saga.name.clone(), saga.version)).cloned(),
        }
    }
}

/// One saga of the tree.
#[derive(Debug)]
pub(super) struct One {
    pub(super) definition: Arc<Definition>,
    /// What is said of its values where it stands beside the one that is swept.
    given: Given,
}

/// All of them, the one at the top first, each before those within it.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) all: BTreeMap<Above, One>,
    given: Given,
}

impl Tree {
    /// The saga that is swept with all that lie within it.
    pub(super) fn of(
        definition: Arc<Definition>,
        beside: &Beside,
        given: &Given,
    ) -> Result<Self, Unready> {
        let mut all = BTreeMap::new();
        let top = One {
            definition,
            given: Given::default(),
        };
        let mut next = vec![(Above::new(), top)];
        while let Some((above, one)) = next.pop() {
            for step in &one.definition.steps {
                let Some(saga) = step.child() else { continue };
                let at = StepPath::new(&above, &step.id);
                let Some((definition, given)) = beside.of(step, saga, &one.given) else {
                    return Err(Unready::NotGiven {
                        step: at,
                        saga: format!("{}@{}", saga.name, saga.version),
                    });
                };
                next.push((at.within(), One { definition, given }));
            }
            all.insert(above, one);
            // a circle, which no checker lets pass, ends here too
            if all.len() + next.len() > SAGAS_MAX {
                return Err(Unready::TooMany);
            }
        }
        let given = given.clone();
        let tree = Self { all, given };
        tree.known_steps()?;
        Ok(tree)
    }

    /// Every step of every saga, those of the top first.
    pub(super) fn steps(&self) -> impl Iterator<Item = (StepPath, &Step)> {
        self.all.iter().flat_map(|(above, one)| {
            let steps = one.definition.steps.iter();
            steps.map(|step| (StepPath::new(above, &step.id), step))
        })
    }

    /// What is said that a step returns: of the sweep, else of the saga whose step it is.
    pub(super) fn returns(&self, at: &StepPath) -> Option<&Value> {
        let said = self.given.returns.get(&at.to_string());
        let own = || self.all.get(&at.above)?.given.returns.get(at.step.as_str());
        said.or_else(own)
    }

    /// What is said of the event a step waits for.
    pub(super) fn event(&self, at: &StepPath) -> Option<&Value> {
        let said = self.given.events.get(&at.to_string());
        let own = || self.all.get(&at.above)?.given.events.get(at.step.as_str());
        said.or_else(own)
    }

    /// What is given for steps is given for some that there are.
    fn known_steps(&self) -> Result<(), Unready> {
        use baton_engine::definition::StepKind;
        let kinds: BTreeMap<String, &StepKind> = self
            .steps()
            .map(|(at, step)| (at.to_string(), &step.kind))
            .collect();
        let wrong = |step: &String, what| {
            let step = step.clone();
            Err(Unready::NoSuchStep { step, what })
        };
        for name in self.given.returns.keys() {
            if !matches!(kinds.get(name), Some(StepKind::Task(_))) {
                return wrong(name, "returns anything");
            }
        }
        for name in self.given.events.keys() {
            if !matches!(kinds.get(name), Some(StepKind::Wait(_))) {
                return wrong(name, "waits for an event");
            }
        }
        Ok(())
    }
}
