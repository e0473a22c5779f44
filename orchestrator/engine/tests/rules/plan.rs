//! What a plan says is taken back is what is taken back: each step of each shape fails once, after everything that may run beside it is
//! done, and once as soon as it can; the undos that are offered are held against the plan, round by round. And how long it may take.

use std::collections::BTreeSet;

use baton_engine::definition::{STEPS_MAX, Together};
use baton_engine::plan::{Fails, How, Plan, Rest, Undo, WaitsFor, plan, plan_among};
use baton_engine::state::Phase;
use baton_engine::{Definition, Status};
use baton_messages::Direction;

use crate::stage::{Stage, done, failed, undone};

const SHAPES: [&str; 6] = [
    "  - { id: a, task: t.set@1 }\n  - { id: b, task: t.file@1 }\n  - { id: c, task: t.once@1 }\n",
    "  - { id: a, task: t.set@1 }\n  - { id: b, after: [a], task: t.file@1 }\n  - { id: c, after: [a], task: t.set@1 }\n  - { id: d, after: [b, c], task: t.set@1 }\n",
    "  - { id: a, after: [], task: t.set@1 }\n  - { id: b, after: [], task: t.set@1 }\n  - { id: c, after: [a], task: t.look@1 }\n  - { id: d, after: [c], task: t.set@1 }\n",
    "  - { id: a, task: t.set@1 }\n  - { id: b, after: [], task: t.set@1 }\n  - { id: p, after: [a], task: t.set@1, pivot: true }\n  - { id: z, task: t.set@1 }\n",
    "  - { id: a, task: t.set@1 }\n  - { id: n, task: t.set@1, undo: none, because: it stays }\n  - { id: b, task: t.set@1, undo: { task: t.file@1 } }\n  - { id: c, task: t.set@1 }\n",
    "  - { id: a, task: t.set@1, on_error: park }\n  - { id: b, after: [], task: t.set@1, on_error: continue }\n  - { id: c, after: [a, b], task: t.set@1 }\n",
];

/// The steps with an open attempt of a direction.
fn offered(stage: &Stage, direction: Direction) -> BTreeSet<String> {
    let steps = stage.state.steps.iter();
    steps
        .filter(|(_, step)| {
            step.open_attempt()
                .is_some_and(|open| open.direction == direction)
        })
        .map(|(id, _)| id.to_string())
        .collect()
}

/// Runs until `fails` is the only one left to report, or as soon as it is there; then it fails for good.
fn run_until_it_fails(stage: &mut Stage, fails: &str, at_once: bool) {
    loop {
        let mut open = offered(stage, Direction::Do);
        let there = open.remove(fails);
        if there && (at_once || open.is_empty()) {
            stage.report(fails, failed(false));
            return;
        }
        let next = open.into_iter().next();
        let next = next.unwrap_or_else(|| panic!("{fails} never begins: {:?}", stage.status()));
        stage.report(&next, done());
    }
}

/// The undos that are offered, round by round, each done at once.
fn unwind(stage: &mut Stage) -> Vec<BTreeSet<String>> {
    let mut rounds = Vec::new();
    loop {
        // What was running beside it is over before anything is undone: it had not begun.
        for id in offered(stage, Direction::Do) {
            stage.report(&id, failed(false));
        }
        let round = offered(stage, Direction::Undo);
        if round.is_empty() {
            return rounds;
        }
        for id in &round {
            stage.report(id, undone());
        }
        rounds.push(round);
    }
}

#[test]
fn what_is_planned_is_what_is_undone() {
    let mut unwound = 0;
    for shape in SHAPES {
        let all = Stage::with(shape);
        let planned = plan(&all.definition, &all.catalogue, None);
        for step in &planned.steps {
            for at_once in [false, true] {
                let mut stage = Stage::with(shape);
                run_until_it_fails(&mut stage, step.id.as_str(), at_once);
                let said = format!("{} of\n{shape}", step.id);
                let undo = match &step.fails {
                    Fails::Parks => {
                        assert_eq!(stage.phase(step.id.as_str()), Phase::Parked, "{said}");
                        continue;
                    }
                    Fails::GoesOn => {
                        assert!(stage.state.unwinding.is_none(), "{said}");
                        continue;
                    }
                    Fails::Never => panic!("a task may fail: {said}"),
                    Fails::Unwinds { undo, .. } => undo,
                };
                let may: BTreeSet<String> = stage
                    .state
                    .steps
                    .iter()
                    .filter(|(_, step)| step.may_have_effect)
                    .map(|(id, _)| id.to_string())
                    .collect();
                let wanted: Vec<BTreeSet<String>> = undo
                    .iter()
                    .map(|round| {
                        let asked = round
                            .iter()
                            .filter(|undo| !matches!(undo.how, How::NotUndone { .. }));
                        asked
                            .map(|undo| undo.step.to_string())
                            .filter(|id| !at_once || may.contains(id))
                            .collect()
                    })
                    .filter(|round: &BTreeSet<String>| !round.is_empty())
                    .collect();
                let rounds = unwind(&mut stage);
                assert_eq!(stage.status(), Status::Compensated, "{said}");
                if !at_once {
                    assert_eq!(rounds, wanted, "{said}");
                }
                let everyone = |rounds: &[BTreeSet<String>]| -> BTreeSet<String> {
                    rounds.iter().flatten().cloned().collect()
                };
                assert!(
                    everyone(&rounds).is_subset(&everyone(&wanted)),
                    "{said}: {rounds:?} {wanted:?}"
                );
                unwound += 1;
            }
        }
    }
    assert!(unwound > 20, "{unwound}");
}

/// The steps that are taken back when one fails, wave by wave, and the pivot without which that holds; none where nothing is.
fn taken_back(plan: &Plan, id: &str) -> Option<(Vec<BTreeSet<String>>, Option<String>)> {
    let step = plan.steps.iter().find(|step| step.id.as_str() == id);
    let Fails::Unwinds {
        undo, only_without, ..
    } = &step?.fails
    else {
        return None;
    };
    let wave = |wave: &Vec<Undo>| wave.iter().map(|undo| undo.step.to_string()).collect();
    let without = only_without.as_ref().map(ToString::to_string);
    Some((undo.iter().map(wave).collect(), without))
}

#[test]
fn what_comes_after_a_pivot_is_taken_back_where_that_was_skipped() {
    for (condition, sent) in [("has(input.go)", false), ("!has(input.go)", true)] {
        let shape = format!(
            "  - {{ id: a, task: t.set@1 }}\n  - {{ id: p, task: t.set@1, pivot: true, if: \"${{ {condition} }}\" }}\n  - {{ id: b, task: t.set@1 }}\n  - {{ id: y, task: t.set@1, if: \"${{ {condition} }}\" }}\n  - {{ id: z, task: t.set@1 }}\n"
        );
        let mut stage = Stage::with(&shape);
        run_until_it_fails(&mut stage, "z", false);
        let input = serde_json::json!({});
        let planned = plan(&stage.definition, &stage.catalogue, Some(&input));
        let both = plan(&stage.definition, &stage.catalogue, None);
        let wanted: Vec<BTreeSet<String>> =
            ["b", "a"].map(|id| BTreeSet::from([id.to_owned()])).into();
        // whoever does not know the input hears of both
        let unsure = Some((wanted.clone(), Some("p".to_owned())));
        assert_eq!(taken_back(&both, "z"), unsure, "{condition}");
        assert_eq!(both.steps[3].fails, Fails::Parks, "it runs only past p");
        if sent {
            assert_eq!(stage.phase("z"), Phase::Parked);
            assert_eq!(planned.steps[4].fails, Fails::Parks);
        } else {
            assert_eq!(taken_back(&planned, "z"), Some((wanted.clone(), None)));
            assert_eq!(unwind(&mut stage), wanted);
            assert_eq!(stage.status(), Status::Compensated);
        }
    }
}

/// A pivot that is tolerated may fail before it is sent, and then the way back stays open.
#[test]
fn what_comes_after_a_pivot_that_is_tolerated_is_taken_back_where_that_was_never_sent() {
    for (with, sent) in [("{ n: \"${ input.nothing }\" }", false), ("{ n: 1 }", true)] {
        let shape = format!(
            "  - {{ id: a, task: t.set@1 }}\n  - {{ id: p, task: t.set@1, with: {with}, pivot: true, on_error: continue }}\n  - {{ id: b, task: t.set@1 }}\n  - {{ id: z, task: t.set@1 }}\n"
        );
        let mut stage = Stage::with(&shape);
        run_until_it_fails(&mut stage, "z", false);
        let planned = plan(&stage.definition, &stage.catalogue, None);
        let wanted: Vec<BTreeSet<String>> =
            ["b", "a"].map(|id| BTreeSet::from([id.to_owned()])).into();
        let both = Some((wanted.clone(), Some("p".to_owned())));
        assert_eq!(taken_back(&planned, "z"), both, "sent: {sent}");
        if sent {
            assert_eq!(stage.phase("z"), Phase::Parked);
        } else {
            assert_eq!(stage.phase("p"), Phase::Continued);
            assert_eq!(unwind(&mut stage), wanted);
            assert_eq!(stage.status(), Status::Compensated);
        }
    }
}

/// The undos of a step in their order, with what is only referred to; none where all of it is not written.
fn whole(plan: &Plan, id: &str) -> Option<Vec<String>> {
    let step = plan.steps.iter().find(|step| step.id.as_str() == id);
    let Fails::Unwinds { undo, rest, .. } = &step?.fails else {
        return Some(Vec::new());
    };
    let ids = |waves: &[Vec<Undo>]| -> Vec<String> {
        let all = waves.iter().flatten();
        all.map(|undo| undo.step.to_string()).collect()
    };
    let mut all = ids(undo);
    match rest {
        None => {}
        Some(Rest::As { step }) => all.extend(whole(plan, step.as_str())?),
        Some(Rest::AllBut { steps, count }) => {
            let rest = ids(&plan.taken_back).into_iter();
            let rest: Vec<String> = rest
                .filter(|id| steps.iter().all(|left| left.as_str() != id))
                .collect();
            assert_eq!(rest.len(), *count);
            all.extend(rest);
        }
        Some(Rest::More { .. }) => return None,
    }
    Some(all)
}

#[test]
fn what_a_large_plan_refers_to_is_all_that_is_undone() {
    let large = |after: &str| {
        let step = |n| format!("  - {{ id: s{n}, task: t.set@1{after} }}\n");
        let steps: String = (0..STEPS_MAX).map(step).collect();
        let stage = Stage::waiting(&steps);
        plan(&stage.definition, &stage.catalogue, None)
    };
    let (chain, wide) = (large(""), large(", after: []"));
    for n in [0, 1, 8, 9, 500, STEPS_MAX - 1] {
        let before = (0..n).rev().map(|n| format!("s{n}"));
        let id = format!("s{n}");
        assert_eq!(whole(&chain, &id), Some(before.collect::<Vec<_>>()));
        let beside = (0..STEPS_MAX).rev().filter(|other| *other != n);
        let beside = beside.map(|n| format!("s{n}"));
        assert_eq!(whole(&wide, &id), Some(beside.collect::<Vec<_>>()));
    }
    for large in [&chain, &wide] {
        let bytes = serde_json::to_string(large).unwrap().len();
        assert!(bytes < 1_000_000, "{bytes}");
    }
}

#[test]
fn what_was_published_is_named_among_what_is_left() {
    let stage = Stage::with(
        "  - id: told\n    because: it is so\n    emit: { type: com.example.told }\n  - id: a\n    task: t.set@1\n",
    );
    let planned = plan(&stage.definition, &stage.catalogue, None);
    let (waves, _) = taken_back(&planned, "a").unwrap();
    assert!(waves.iter().flatten().any(|id| id == "told"), "{waves:?}");
}

/// The plan of the last of these documents, among the others.
fn planned(documents: &[&str]) -> Plan {
    let sagas = Together::beside(documents.iter().copied());
    let definition = Definition::parse(documents.last().unwrap()).unwrap();
    plan_among(&definition, &crate::stage::catalogue(), &sagas, None)
}

/// How many items a step has at most, and how long it takes in rounds of what one takes.
fn most(plan: &Plan, id: &str) -> (u32, u64) {
    let step = plan.steps.iter().find(|step| step.id.as_str() == id);
    let step = step.unwrap();
    let one = plan.steps[0].limit_ms.unwrap();
    (
        step.each.as_ref().unwrap().most,
        step.limit_ms.unwrap() / one,
    )
}

#[test]
fn a_list_is_as_long_as_its_schema_or_the_list_it_comes_from_allows() {
    let input = "input: { type: object, required: [l, racks], properties: { l: { type: array, maxItems: 30 }, racks: { type: array, maxItems: 4, items: { type: object, required: [hosts], properties: { hosts: { type: array, maxItems: 6 } } } } } }";
    let each = |id: &str, list: &str, more: &str| {
        format!("  - {{ id: {id}, for_each: \"{list}\", max_parallel: 1, task: t.set@1{more} }}\n")
    };
    let steps = [
        "  - { id: one, task: t.set@1 }\n".to_owned(),
        each("plain", "${ input.l }", ""),
        each("less", "${ input.l }", ", max_items: 20"),
        each("more", "${ input.l }", ", max_items: 40"),
        each("again", "${ less }", ""),
        each("some", "${ input.l.filter(x, x != null) }", ", max_items: 40"),
        each("any", "${ one.list }", ""),
        "  - id: racks\n    for_each: ${ input.racks }\n    max_parallel: 1\n    steps:\n      - { id: first, task: t.set@1 }\n      - { id: hosts, for_each: '${ item.hosts }', max_parallel: 1, task: t.set@1 }\n".to_owned(),
    ];
    let plan = planned(&[&format!(
        "saga: lists\nversion: 1\n{input}\nsteps:\n{}",
        steps.concat()
    )]);
    assert_eq!(most(&plan, "plain"), (30, 30));
    assert_eq!(most(&plan, "less"), (20, 20));
    assert_eq!(most(&plan, "more"), (30, 30));
    assert_eq!(most(&plan, "again"), (20, 20));
    assert_eq!(most(&plan, "some"), (40, 40));
    assert_eq!(most(&plan, "any"), (10_000, 10_000));
    // of each rack one step, and six
    assert_eq!(most(&plan, "racks"), (4, 4 * 7));
}

#[test]
fn a_saga_within_takes_as_long_as_its_own_plan_says_beside_what_it_waits_for() {
    let low = "saga: low\nversion: 1\nlocks: [low]\nsteps:\n  - { id: a, task: t.set@1 }\n  - { id: b, task: t.set@1 }\n";
    let mid =
        "saga: mid\nversion: 1\nconcurrency: { max: 1 }\nsteps:\n  - { id: low, saga: low@1 }\n";
    let top = "saga: top\nversion: 1\nlocks: [top]\nsteps:\n  - { id: one, task: t.set@1 }\n  - { id: mid, saga: mid@1 }\n  - { id: timed, after: [], saga: low@1, timeout: 7s }\n  - { id: other, after: [], saga: nobody-knows@1, timeout: 9s }\n";
    let plan = planned(&[low, mid, top]);
    let one = plan.steps[0].limit_ms.unwrap();
    let both = BTreeSet::from([WaitsFor::Locks, WaitsFor::Limits]);
    let (mid, timed) = (&plan.steps[1], &plan.steps[2]);
    assert_eq!(mid.limit_ms, Some(2 * one));
    assert_eq!(mid.waits_for, both);
    assert_eq!((timed.limit_ms, timed.waits_for.len()), (Some(7_000), 0));
    assert_eq!(plan.longest.limit_ms, Some(3 * one));
    assert_eq!(plan.longest.waits_for, both, "not for what it takes itself");
    let within = mid.within.as_ref().unwrap();
    assert_eq!(within.steps[0].waits_for, BTreeSet::from([WaitsFor::Locks]));
    let unknown = top.replace(", timeout: 9s", "");
    let plan = planned(&[low, &unknown]);
    assert_eq!(
        (plan.steps[1].limit_ms, plan.steps[3].limit_ms),
        (None, None)
    );
    assert_eq!(plan.longest.limit_ms, None);
}

#[test]
fn the_deadline_bounds_the_way_up_to_the_pivot() {
    let plan_of = |steps: &str| {
        let text = format!("saga: soon\nversion: 1\ndeadline: 5s\nsteps:\n{steps}");
        let plan = planned(&[&text]);
        assert_eq!(plan.deadline_ms, Some(5_000));
        plan.longest.limit_ms
    };
    let sleep = |id: &str, ms: u64| format!("  - {{ id: {id}, sleep: {ms}ms }}\n");
    let pivot = "  - { id: p, task: t.set@1, pivot: true }\n";
    let own = planned(&[&format!("saga: own\nversion: 1\nsteps:\n{pivot}")]);
    let own = own.longest.limit_ms.unwrap();
    let forever = "  - { id: a, task: t.set@1, retry: { attempts: forever } }\n";
    // more than the deadline before the pivot, less than it, and without end; what comes after the pivot counts whole
    for (before, up_to) in [
        (sleep("a", 9_000), 5_000),
        (sleep("a", 2_000), 2_000),
        (forever.to_owned(), 5_000),
    ] {
        let steps = [before, pivot.to_owned(), sleep("z", 8_000)].concat();
        assert_eq!(plan_of(&steps), Some(up_to + own + 8_000), "{steps}");
    }
    // what runs on after the pivot without end has none
    let after = forever.replace("id: a", "id: z");
    assert_eq!(plan_of(&format!("{pivot}{after}")), None);
    // without a pivot all of it
    let all = [sleep("a", 4_000), sleep("b", 4_000)].concat();
    assert_eq!(plan_of(&all), Some(5_000));
    assert_eq!(plan_of(&sleep("a", 4_000)), Some(4_000));
}
