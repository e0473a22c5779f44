//! Whatever becomes of the words: a tree of sagas ends, all of it done or nothing of it left, and nothing is taken back twice.

use baton_engine::{Input, Status};
use baton_messages::{Direction, TaskResult};

use super::family::{Family, well};
use crate::stage::failed;

const TOP: &str = "saga: top\nversion: 1\nsteps:\n  - { id: a, task: t.set@1 }\n  - { id: one, saga: middle@1, with: { fails: \"${ input.fails }\" }, after: [a], timeout: 20m }\n  - { id: each, saga: lowest@1, for_each: [1, 2, 3], max_parallel: 2, tolerate: 1, after: [a] }\n  - { id: z, task: t.set@1, after: [one, each] }\n";
/// The same with groups in place of what is named.
const GROUPS: &str = "saga: top\nversion: 1\nsteps:\n  - { id: a, task: t.set@1 }\n  - id: one\n    after: [a]\n    for_each: [1]\n    timeout: 20m\n    steps:\n      - { id: b, task: t.set@1, with: { fails: '${ input.fails }', of: '${ a }' } }\n      - id: low\n        for_each: [1, 2]\n        max_parallel: 1\n        steps: [{ id: c, task: t.set@1, with: { of: '${ b }', n: '${ item }' } }, { id: d, task: t.set@1 }]\n      - { id: e, task: t.set@1, on_error: continue }\n  - id: each\n    after: [a]\n    for_each: [1, 2, 3]\n    max_parallel: 2\n    tolerate: 1\n    steps: [{ id: c, task: t.set@1 }, { id: d, saga: lowest@1 }]\n  - { id: z, task: t.set@1, after: [one, each] }\n";
const MIDDLE: &str = "saga: middle\nversion: 1\nsteps:\n  - { id: b, task: t.set@1 }\n  - { id: low, saga: lowest@1 }\n  - { id: e, task: t.set@1, on_error: continue }\n  - { id: last, saga: lowest@1 }\n";
const LOWEST: &str = "saga: lowest\nversion: 1\nsteps:\n  - { id: c, task: t.set@1 }\n  - { id: d, task: t.set@1 }\n";

struct Chance(u64);

impl Chance {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % (most as u64)).unwrap()
    }

    const fn in_a_hundred(&mut self, share: u64) -> bool {
        self.next() % 100 < share
    }
}

/// One thing happens; whether it was a word that was lost.
fn step(family: &mut Family, chance: &mut Chance, fails: u64) -> bool {
    let root = family.root;
    match chance.below(100) {
        0..55 if !family.words.is_empty() => {
            let at = chance.below(family.words.len());
            let word = match chance.below(10) {
                0 => {
                    family.words.remove(at);
                    return true;
                }
                1 => family.words[at].clone(),
                _ => family.words.remove(at),
            };
            family.deliver(&word);
        }
        0..90 if !family.tasks.is_empty() => {
            let of = family.tasks.remove(chance.below(family.tasks.len()));
            let bad = of.direction == Direction::Do && chance.in_a_hundred(fails);
            let result: TaskResult = if bad { failed(false) } else { well(&of) };
            family.end(&of, result);
        }
        90..98 => {
            family.wait();
        }
        98 if chance.in_a_hundred(10) && family.state(root).active() => {
            family.cancel(root);
        }
        99 if family.state(root).active() => {
            let operator = family.operator();
            let paused = family.state(root).paused;
            let input = if paused {
                Input::Resume(operator)
            } else {
                Input::Pause(operator)
            };
            family.give(root, &input);
        }
        _ => {}
    }
    false
}

/// From here on nothing is lost, and time passes until the root has ended.
fn calm(family: &mut Family, seed: u64) {
    let root = family.root;
    if family.state(root).paused && family.state(root).active() {
        let operator = family.operator();
        family.give(root, &Input::Resume(operator));
    }
    for _ in 0..2_000 {
        family.go();
        let active = family.sagas.values().any(|(state, _)| state.active());
        if !active {
            return;
        }
        let waits = family.wait();
        assert!(waits, "seed {seed}: nobody will act: {:#?}", family.sagas);
    }
    panic!("seed {seed}: it does not end: {:#?}", family.sagas[&root].0);
}

fn held(family: &Family, seed: u64) -> Status {
    let root = family.status(family.root);
    match root {
        Status::Compensated => {
            assert!(
                family.effects.is_empty(),
                "seed {seed}: {:?} are left",
                family.effects
            );
            for (state, _) in family.sagas.values() {
                assert_eq!(state.status, Status::Compensated, "seed {seed}");
            }
        }
        Status::Completed => {
            for (id, (state, _)) in &family.sagas {
                let left = family.effects.iter().any(|(saga, ..)| saga == id);
                let all = state.status == Status::Completed;
                assert!(
                    all || !left,
                    "seed {seed}: {id} is {:?} and left something",
                    state.status
                );
            }
            let whole = family
                .sagas
                .values()
                .filter(|(s, _)| s.status == Status::Completed);
            assert!(
                whole.count() >= 5,
                "seed {seed}: top, middle, its two, and two of three"
            );
        }
        other => panic!("seed {seed}: the root is {other:?}"),
    }
    for (effect, times) in &family.taken_back {
        assert_eq!(*times, 1, "seed {seed}: {effect:?}");
    }
    root
}

#[test]
fn a_tree_ends_whole_or_not_at_all_whatever_becomes_of_the_words() {
    ends_whole_or_not_at_all(&[TOP, MIDDLE, LOWEST]);
}

#[test]
fn a_tree_of_groups_ends_whole_or_not_at_all_whatever_becomes_of_the_words() {
    ends_whole_or_not_at_all(&[GROUPS, LOWEST]);
}

fn ends_whole_or_not_at_all(documents: &[&str]) {
    let (mut completed, mut compensated, mut lost) = (0, 0, 0);
    for seed in 0..400 {
        let mut chance = Chance(seed);
        let fails = [0, 2, 8][chance.below(3)];
        let mut family = Family::with(documents, serde_json::json!({ "fails": 1 }));
        for _ in 0..chance.below(600) {
            lost += usize::from(step(&mut family, &mut chance, fails));
        }
        calm(&mut family, seed);
        match held(&family, seed) {
            Status::Completed => completed += 1,
            _ => compensated += 1,
        }
    }
    assert!(
        completed > 50 && compensated > 50,
        "{completed} and {compensated}"
    );
    assert!(lost > 1_000);
}
