//! Every order there is: one small saga, two workers, one orchestrator, each allowed to die, every message allowed to overtake every other,
//! gone through by a model checker (`stateright`) within stated bounds. What is checked calls the engine's own `decide`, and nothing of it
//! is modelled; the world around it is as small as it can be: a set of tasks, a set of reports, words to workers, what has really happened.
//! What is committed is a log of records and how far of it is known to be published. A crash leaves nothing else: the state is folded from the log, words that
//! were not out are lost, and every task past the watermark is decided upon again, as `driver/recover.rs` does. After every commit the log folds to the state.
//!
//! With the feature `planted` rules of the engine itself are broken too, and found by name.
//!
//! Bounds: two steps (one claimed, not idempotent, with undo and probe; one that ends the saga), two attempts of the first, one death of a
//! worker, one crash of the orchestrator between a commit and what follows from it, or between that and its being noted, one message
//! that comes twice; outcomes that are done, failed or not known, of a probe the truth or that it cannot tell. There every report arrives
//! before the lease of its claim or a timer runs out. In a second world nothing of that goes wrong, and one report is late: it arrives
//! whenever it likes, after its lease, after timers, after the end; one that says that its step is done ends all doubt about it. Both at once
//! are the simulator's.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may fail so, and says how much it has seen"
)]

mod small;

use std::collections::BTreeSet;

#[cfg(feature = "planted")]
use baton_engine::planted::Planted as Rule;
use small::{CRASHES, DEATHS, DOUBLES, LATES, Planted, STATES_MAX, Small};
use stateright::{Checker as _, HasDiscoveries, Model as _};

/// What was gone through, and what was found: of what must always hold, with what was seen last.
struct Seen {
    states: usize,
    depth: usize,
    found: BTreeSet<&'static str>,
    broken: String,
}

fn checked(model: Small) -> Seen {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let whole = model.planted.is_none() && model.engine.is_none();
    let checker = model
        .checker()
        .threads(threads)
        .target_state_count(STATES_MAX)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let found = checker.discoveries();
    let mut broken = String::new();
    for (what, path) in &found {
        if !matches!(*what, "completed" | "compensated" | "parked") {
            let last = path.last_state();
            broken = format!("{what}: {:?} {:?}", last.saga.status, last.broken);
            assert!(!whole, "{broken} {:?}", path.clone().into_actions());
        }
    }
    let all = checker.state_count();
    assert!(all < STATES_MAX, "not all was seen within {all} steps");
    Seen {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        found: found.into_keys().collect(),
        broken,
    }
}

#[test]
fn every_order_of_a_small_saga_keeps_the_promise() {
    let seen = checked(Small::new(None));
    let (states, found) = (seen.states, seen.found);
    println!(
        "{states} states, {} deep, {DEATHS} death, {CRASHES} crash, {DOUBLES} double: {found:?}",
        seen.depth
    );
    assert!(states > 10_000, "only {states} states: nothing happens");
    assert_eq!(
        found,
        BTreeSet::from(["completed", "compensated", "parked"])
    );
}

#[test]
fn every_moment_a_late_report_can_come_at_keeps_the_promise() {
    let seen = checked(Small::with_late_reports());
    let (states, found) = (seen.states, seen.found);
    println!(
        "{states} states, {} deep, {LATES} late: {found:?}",
        seen.depth
    );
    assert_eq!(
        found,
        BTreeSet::from(["completed", "compensated", "parked"])
    );
}

/// The laws of the model, by their names.
const MAY_NOT: &str = "nobody acts who may not";
const RESTS: &str = "it rests in one of three ways";

#[test]
fn the_model_finds_what_is_broken_on_purpose() {
    for (planted, what) in [
        (Planted::Ungranted, MAY_NOT),
        (Planted::LeaseTooSoon, MAY_NOT),
        (Planted::FailedAfterActing, RESTS),
    ] {
        let seen = checked(Small::new(Some(planted)));
        println!("{planted:?} within {} states: {}", seen.states, seen.broken);
        assert!(seen.found.contains(what), "{planted:?}: {:?}", seen.found);
    }
}

/// Each rule of the engine that two steps and two workers can show broken, the law that fails, and what it says. What becomes of a late report is seen where one
/// may be late.
#[cfg(feature = "planted")]
const BROKEN_RULES: [(Rule, &str, &str); 9] = [
    (
        Rule::RetriesWhileOpen,
        MAY_NOT,
        "2 attempts are open at once",
    ),
    (Rule::GrantedTwice, MAY_NOT, "acts without a claim"),
    (Rule::FailedProbeClears, RESTS, ""),
    (Rule::DoubtForgotten, RESTS, ""),
    (
        Rule::DoubtLeftStanding,
        MAY_NOT,
        "no timer, no open work item",
    ),
    (
        Rule::LateReportDropped,
        MAY_NOT,
        "count is reported done, and stays",
    ),
    (Rule::ReportTakenTwice, MAY_NOT, "cannot decide"),
    (Rule::RetryWithoutTimer, MAY_NOT, "with no end"),
    (Rule::ParkedUnasked, MAY_NOT, "parked without a work item"),
];

#[cfg(feature = "planted")]
#[test]
fn the_model_finds_each_rule_of_the_engine_that_is_broken_on_purpose() {
    for (rule, what, says) in BROKEN_RULES {
        let mut small = match rule {
            Rule::LateReportDropped => Small::with_late_reports(),
            _ => Small::new(None),
        };
        small.engine = Some(rule);
        let seen = checked(small);
        println!("{rule:?} within {} states: {}", seen.states, seen.broken);
        assert!(seen.found.contains(what), "{rule:?}: {:?}", seen.found);
        assert!(seen.broken.contains(says), "{rule:?}: {}", seen.broken);
    }
}
