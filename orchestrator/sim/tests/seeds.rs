//! The promise over many seeds: 400 here, as many as `BATON_SEEDS` says elsewhere; and that a seed says everything.

use baton_sim::{Setup, simulate};

/// Seeds of an ordinary run: a minute of two cores at most, with every mood of the world among them many times.
const SEEDS: u64 = 400;

fn seeds() -> u64 {
    std::env::var("BATON_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(SEEDS)
}

/// Simulates a share of the seeds in each of as many threads as there are processors.
fn broken(from: u64, to: u64, moving: bool) -> Vec<String> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let work = |share: u64| {
        (from..to)
            .filter(|seed| seed % threads == share)
            .filter_map(|seed| {
                simulate(Setup {
                    seed,
                    moving,
                    ..Setup::default()
                })
                .err()
            })
            .map(|broken| {
                let how = if moving { " --moving" } else { "" };
                format!(
                    "{broken}\n  cargo run -p baton-sim --example seeds -- --seed {} --trace{how}",
                    broken.seed
                )
            })
            .collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let shares: Vec<_> = (0..threads)
            .map(|share| scope.spawn(move || work(share)))
            .collect();
        shares
            .into_iter()
            .flat_map(|share| share.join().expect("a share of the seeds"))
            .collect()
    })
}

#[test]
fn every_saga_ends_as_promised_whatever_dies_in_between() {
    let broken = broken(0, seeds(), false);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// In worlds whose sagas are moved to another version of the same text, at any moment and across every death, the promise is the same.
#[test]
fn every_saga_that_is_moved_ends_as_promised_too() {
    let broken = broken(0, seeds() / 4, true);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let moved = |seed| {
        let setup = Setup {
            seed,
            moving: true,
            ..Setup::default()
        };
        simulate(setup).expect("keeps the promise").moved
    };
    let moved: u64 = (0..20).map(moved).sum();
    assert!(moved > 20, "{moved} sagas were moved");
}

#[test]
fn a_seed_reproduces_to_the_letter() {
    for seed in [3, 9, 27, 81, 243] {
        let once = simulate(Setup {
            seed,
            trace: true,
            ..Setup::default()
        })
        .expect("keeps the promise");
        let again = simulate(Setup {
            seed,
            trace: true,
            ..Setup::default()
        })
        .expect("keeps the promise");
        assert_eq!(once.hash, again.hash, "seed {seed}");
        assert_eq!(once, again, "seed {seed}");
    }
}

#[test]
fn two_seeds_are_two_worlds() {
    let hash = |seed| {
        simulate(Setup {
            seed,
            ..Setup::default()
        })
        .expect("keeps the promise")
        .hash
    };
    assert_ne!(hash(1), hash(2));
}

/// A simulation in which nothing happens finds nothing.
#[test]
fn the_worlds_are_rough_and_sagas_end_in_every_way() {
    let reports: Vec<_> = (0..120)
        .map(|seed| {
            simulate(Setup {
                seed,
                ..Setup::default()
            })
            .expect("keeps the promise")
        })
        .collect();
    let ended = |how: &str| {
        reports
            .iter()
            .map(|report| report.ends.get(how).copied().unwrap_or(0))
            .sum::<u64>()
    };
    assert!(ended("completed") > 100, "completed {}", ended("completed"));
    assert!(
        ended("compensated") > 30,
        "compensated {}",
        ended("compensated")
    );
    assert!(ended("parked") > 0, "parked {}", ended("parked"));
    let deaths: u64 = reports.iter().map(|report| report.deaths).sum();
    assert!(deaths > 200, "the orchestrator died {deaths} times");
    let acts: u64 = reports.iter().map(|report| report.acts).sum();
    assert!(acts > 500, "{acts} acts");
    let taken_over: u64 = reports.iter().map(|report| report.taken_over).sum();
    assert!(taken_over > 30, "taken over {taken_over} times");
    let fenced: u64 = reports.iter().map(|report| report.fenced).sum();
    assert!(fenced > 10, "refused {fenced} times");
    for (how, least) in [
        ("done", 200),
        ("tolerated", 10),
        ("settled", 5),
        ("undone", 50),
        ("never begun", 20),
    ] {
        let items = reports.iter().map(|report| report.items.get(how).copied());
        let items: u64 = items.map(|n| n.unwrap_or(0)).sum();
        assert!(items > least, "{items} items were {how}");
    }
    let children: u64 = reports.iter().map(|report| report.children).sum();
    assert!(children > 60, "{children} sagas were steps of others");
    let grouped: u64 = reports.iter().map(|report| report.grouped).sum();
    assert!(grouped > 10, "{grouped} of them were items of groups");
    let escalated: u64 = reports.iter().map(|report| report.escalated).sum();
    assert!(
        escalated > 20,
        "{escalated} times a work item went to the next"
    );
    let batches: u64 = reports.iter().map(|report| report.batches).sum();
    assert!(batches > 200, "{batches} messages carried several reports");
}
