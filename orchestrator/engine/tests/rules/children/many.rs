//! Sagas of many sagas of many sagas: the checker and the plan look at each once, however many steps name it.

use std::cell::Cell;

use baton_engine::definition::{Sagas, Together, Unannounced, check_among};
use baton_engine::plan::{Fails, How, Plan, Planned, Undo, plan_among};
use baton_engine::{Catalogue, Definition};

/// Steps of each saga, all of which are the next one.
const WIDE: usize = 10;
/// Levels of sagas below the one at the top.
const LEVELS: usize = 7;

/// Counts how often somebody asks for a definition.
struct Counted {
    sagas: Together,
    asked: Cell<usize>,
}

impl Sagas for Counted {
    fn saga(&self, name: &str, version: u32) -> Option<&Definition> {
        self.asked.set(self.asked.get() + 1);
        self.sagas.saga(name, version)
    }

    fn names(&self) -> Vec<String> {
        self.sagas.names()
    }

    fn all(&self) -> bool {
        self.sagas.all()
    }
}

/// The saga of one level, from 0 for the one at the top; the lowest does something.
fn document(level: usize, levels: usize) -> String {
    let mut text = format!("saga: level-{level}\nversion: 1\nsteps:\n");
    for n in 0..WIDE {
        let does = match level == levels {
            true => "task: t.set@1".to_owned(),
            false => format!("saga: level-{}@1", level + 1),
        };
        text.push_str(&format!("  - {{ id: s{n}, {does}, after: [] }}\n"));
    }
    let of = if level == levels { "input" } else { "s1" };
    text + &format!("output: {{ n: \"${{ {of} }}\" }}\n")
}

fn tree(levels: usize) -> (String, Counted) {
    let all: Vec<String> = (0..=levels).map(|level| document(level, levels)).collect();
    let sagas = Together::beside(all.iter().map(String::as_str));
    let counted = Counted {
        sagas,
        asked: Cell::new(0),
    };
    (all[0].clone(), counted)
}

fn catalogue() -> Catalogue {
    crate::stage::catalogue()
}

/// Once for each step of each definition, for each of the things that are asked of it: far below the 10,000,000 places there are.
const ASKED_MAX: usize = (LEVELS + 1) * WIDE * 6;

#[test]
fn the_checker_looks_at_each_saga_once() {
    let (top, sagas) = tree(LEVELS);
    let found = check_among(&top, &catalogue(), &sagas, Unannounced::Warned);
    assert_eq!(found.errors, []);
    assert!(found.definition.is_some());
    let asked = sagas.asked.get();
    assert!(asked > WIDE && asked <= ASKED_MAX, "{asked}");
}

#[test]
fn what_is_too_deep_is_refused_at_once() {
    let (top, sagas) = tree(LEVELS + 5);
    let found = check_among(&top, &catalogue(), &sagas, Unannounced::Warned);
    let codes: Vec<&str> = found.errors.iter().map(|error| error.code).collect();
    assert_eq!(codes, ["BT0037"; WIDE]);
    let asked = sagas.asked.get();
    assert!(asked <= 2 * ASKED_MAX, "{asked}");
}

/// Each step shows at most what the bounds of a plan allow, where all of it would be the 10,000,000 places.
const SHOWN_MAX: usize = 100_000;

fn undos(waves: &[Vec<Undo>]) -> usize {
    let all = waves.iter().flatten().map(|undo| match &undo.how {
        How::Saga { undo, .. } => 1 + undos(undo),
        _ => 1,
    });
    all.sum()
}

/// Steps and undos of a plan, wherever they stand in it.
fn shown(plan: &Plan) -> usize {
    let all = plan.steps.iter().map(|step| {
        let undone = match &step.fails {
            Fails::Unwinds { undo, .. } => undos(undo),
            _ => 0,
        };
        1 + undone + step.within.as_deref().map_or(0, shown)
    });
    all.sum()
}

fn leaves_out(plan: &Plan) -> bool {
    let within = |step: &Planned| step.within.as_deref().is_some_and(leaves_out);
    plan.steps
        .iter()
        .any(|step| step.more_within || within(step))
}

#[test]
fn a_plan_of_many_sagas_is_made_once_and_shows_what_can_be_read() {
    let (top, sagas) = tree(LEVELS);
    let definition = Definition::parse(&top).unwrap();
    let plan = plan_among(&definition, &catalogue(), &sagas, None);
    let asked = sagas.asked.get();
    assert!(asked > WIDE && asked <= WIDE * ASKED_MAX, "{asked}");
    let shown = shown(&plan);
    assert!(shown <= SHOWN_MAX, "{shown}");
    assert!(
        leaves_out(&plan),
        "it says so where it leaves something out"
    );
    let (above_the_last, sagas) = tree(1);
    let definition = Definition::parse(&above_the_last).unwrap();
    let plan = plan_among(&definition, &catalogue(), &sagas, None);
    assert!(!leaves_out(&plan));
    let step = &plan.steps[0];
    assert_eq!(step.within.as_ref().unwrap().steps.len(), WIDE);
}
