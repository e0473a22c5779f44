//! The promise where there are several partitions, each with a log, an inbox and an epoch of its own, shared out over several orchestrators whose clocks
//! differ: they die, are stopped and taken over from with all they drive, wake up too late, and hand over in order. And that the simulator can see there
//! what only such worlds have: a store that does not fence, and a watermark of one of several logs that goes too far.

use baton_sim::{Fault, Report, Setup, simulate};

/// More than orchestrators, so that one drives several.
const PARTITIONS: u8 = 5;
/// Seeds of an ordinary run.
const SEEDS: u64 = 200;
/// Seeds within which each fault shows itself.
const FAULT_SEEDS: u64 = 1_000;

fn seeds() -> u64 {
    let set = std::env::var("BATON_SEEDS").ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(SEEDS)
}

fn several(seed: u64) -> Setup {
    Setup {
        seed,
        partitions: PARTITIONS,
        ..Setup::default()
    }
}

/// Simulates the seeds, shared out over as many threads as there are processors.
fn all() -> Vec<Result<Report, String>> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let work = |share: u64| {
        let mine = (0..seeds()).filter(|seed| seed % threads == share);
        let played = mine.map(|seed| {
            simulate(several(seed)).map_err(|broken| {
                format!("{broken}\n  cargo run -p baton-sim --example seeds -- --seed {seed} --trace --partitions {PARTITIONS}")
            })
        });
        played.collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let shares: Vec<_> = (0..threads)
            .map(|share| scope.spawn(move || work(share)))
            .collect();
        let done = shares.into_iter();
        done.flat_map(|share| share.join().expect("a share of the seeds"))
            .collect()
    })
}

#[test]
fn every_saga_ends_as_promised_whatever_befalls_those_who_share_the_partitions() {
    let (kept, broken): (Vec<_>, Vec<_>) = all().into_iter().partition(Result::is_ok);
    let broken: Vec<String> = broken.into_iter().filter_map(Result::err).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    // a simulation in which nothing happens finds nothing
    let kept: Vec<Report> = kept.into_iter().filter_map(Result::ok).collect();
    let sum = |of: fn(&Report) -> u64| kept.iter().map(of).sum::<u64>();
    assert!(sum(|report| report.deaths) > 200);
    assert!(sum(|report| report.taken_over) > 50);
    assert!(sum(|report| report.fenced) > 20);
    assert!(sum(|report| report.handed_over) > 200);
    assert!(sum(|report| report.children) > 50);
}

#[test]
fn a_seed_of_several_partitions_reproduces_to_the_letter_and_is_another_world_than_of_one() {
    for seed in [3, 9, 27, 81, 243] {
        let once = simulate(several(seed)).expect("keeps the promise");
        let again = simulate(several(seed)).expect("keeps the promise");
        assert_eq!(once, again, "seed {seed}");
    }
    let one = simulate(Setup {
        partitions: 1,
        ..several(9)
    });
    let none = simulate(Setup {
        partitions: 0,
        ..several(9)
    });
    assert_eq!(one.ok(), none.ok(), "none is one");
}

fn finds(fault: Fault) {
    let planted = |seed: &u64| {
        let setup = Setup {
            fault: Some(fault),
            tasks_only: true,
            ..several(*seed)
        };
        simulate(setup).is_err()
    };
    let seed = (0..FAULT_SEEDS).find(planted);
    let seed = seed.unwrap_or_else(|| panic!("{fault:?} was not found in {FAULT_SEEDS} seeds"));
    let without = simulate(Setup {
        tasks_only: true,
        ..several(seed)
    });
    assert!(
        without.is_ok(),
        "seed {seed} breaks without {fault:?} too: {without:?}"
    );
}

#[test]
fn a_store_that_does_not_fence_is_found() {
    finds(Fault::FenceMissing);
}

#[test]
fn a_watermark_of_one_log_that_passes_what_is_not_confirmed_is_found() {
    finds(Fault::WatermarkTooFar);
}

#[test]
fn what_one_partition_owes_and_forgets_is_found() {
    finds(Fault::UnsentForgotten);
}

#[test]
fn an_acknowledgement_before_the_commit_of_its_partition_is_found() {
    finds(Fault::AcknowledgedBeforeCommit);
}
