//! The sagas within a planned one. Each is planned once, however many steps name it on whatever level; and what is shown of them is bounded: written out at
//! each of its places, a saga of ten sagas of ten sagas would fill a disk.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::{Fails, How, Plan, Planner, Undo, runs, takes};
use crate::child::DEPTH_MAX;
use crate::definition::{Around, SagaStep, Step};

/// Steps and undos of a saga that are shown at a step, those within it included: more than anybody reads there.
const PARTS_MAX: usize = 5_000;
/// Undos of a saga that are shown wherever it is taken back, likewise: they stand below each step that may fail.
const UNDOS_MAX: usize = 200;

/// What is known already of sagas that steps name.
#[derive(Default)]
pub(super) struct Seen {
    /// None of one that is too large to be shown.
    plans: RefCell<BTreeMap<Id, Option<Plan>>>,
    undos: RefCell<BTreeMap<Id, Vec<Vec<Undo>>>>,
}

type Id = (String, u32);

/// What is shown at a step of the saga it is.
pub(super) enum Within {
    /// It is none, nobody knows it here, or it lies too deep.
    Unknown,
    /// More than is shown.
    Large,
    Plan(Box<Plan>),
}

impl<'a> Planner<'a> {
    /// The planner of the saga that a step is: its input is known only at run time.
    fn below(&self, child: &'a SagaStep) -> Option<Self> {
        let definition = (self.depth < DEPTH_MAX)
            .then(|| child.definition(self.sagas))
            .flatten()?;
        Some(Self {
            definition,
            catalogue: self.catalogue,
            sagas: self.sagas,
            seen: self.seen,
            depth: self.depth + 1,
            runs: runs(definition, None),
            takes: takes(definition, None),
            scope: BTreeMap::new(),
            around: Vec::new(),
        })
    }

    /// The plan of the saga that a step is.
    pub(super) fn within(&self, step: &'a Step) -> Within {
        let Some(child) = step.child() else {
            return Within::Unknown;
        };
        let id = (child.name.clone(), child.version);
        let known = self.seen.plans.borrow().get(&id).cloned();
        let plan = match (known, self.below(child)) {
            (_, None) => return Within::Unknown,
            (Some(known), _) => known,
            (None, Some(mut below)) => {
                if child.group.is_some() {
                    below.around = self.around_group(step);
                }
                let plan = Some(below.plan()).filter(|plan| parts(plan) <= PARTS_MAX);
                let mut plans = self.seen.plans.borrow_mut();
                plans.insert(id, plan.clone());
                plan
            }
        };
        plan.map_or(Within::Large, |plan| Within::Plan(Box::new(plan)))
    }

    /// What a group stands in, the nearest first.
    fn around_group(&self, step: &'a Step) -> Vec<Around<'a>> {
        let definition = self.definition;
        let nearest = std::iter::once(Around { definition, step });
        nearest.chain(self.around.iter().copied()).collect()
    }

    /// What is taken back of the saga that a step is, once it is done; nothing where that is not known, or more than is shown.
    pub(super) fn taken_back_within(&self, child: &'a SagaStep) -> Vec<Vec<Undo>> {
        let id = (child.name.clone(), child.version);
        if let Some(known) = self.seen.undos.borrow().get(&id) {
            return known.clone();
        }
        let Some(below) = self.below(child) else {
            return Vec::new();
        };
        let mut undo = below.all_back();
        if undos(&undo) > UNDOS_MAX {
            undo = Vec::new();
        }
        let mut all = self.seen.undos.borrow_mut();
        all.insert(id, undo.clone());
        undo
    }
}

/// How much is written of a plan.
fn parts(plan: &Plan) -> usize {
    let of = plan.steps.iter().map(|step| {
        let within = step.within.as_deref().map_or(0, parts);
        let undone = match &step.fails {
            Fails::Unwinds { undo, .. } => undos(undo),
            Fails::Never | Fails::GoesOn | Fails::Parks => 0,
        };
        1 + within + undone
    });
    of.sum()
}

pub(super) fn undos(waves: &[Vec<Undo>]) -> usize {
    let of = waves.iter().flatten().map(|undo| match &undo.how {
        How::Saga { undo, .. } => 1 + undos(undo),
        _ => 1,
    });
    of.sum()
}
