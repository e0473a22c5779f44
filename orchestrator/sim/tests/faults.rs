//! The simulator can see: every planted fault is found, on a seed that keeps the promise without it.

use baton_sim::{Fault, Setup, simulate};

/// Seeds within which each fault shows itself; the rarest takes some hundreds.
const SEEDS: u64 = 1_000;

fn finds(fault: Fault) {
    let of_events = [
        Fault::EventsUnsearched,
        Fault::SubscriptionForgotten,
        Fault::EventBelieved,
        Fault::OwedForgotten,
    ];
    // What goes wrong with tasks shows sooner where there is nothing else.
    let tasks_only = !of_events.contains(&fault);
    let found = (0..SEEDS).find(|seed| {
        simulate(Setup {
            seed: *seed,
            fault: Some(fault),
            trace: false,
            tasks_only,
            ..Setup::default()
        })
        .is_err()
    });
    let Some(seed) = found else {
        panic!("{fault:?} was not found within {SEEDS} seeds")
    };
    let without = simulate(Setup {
        seed,
        tasks_only,
        ..Setup::default()
    });
    assert!(
        without.is_ok(),
        "seed {seed} breaks without {fault:?} too: {without:?}"
    );
}

macro_rules! found {
    ($($name:ident: $fault:ident,)*) => {
        $(#[test]
        fn $name() {
            finds(Fault::$fault);
        })*

        #[test]
        fn every_fault_has_its_test() {
            assert_eq!(Fault::ALL.to_vec(), vec![$(Fault::$fault),*]);
        }
    };
}

found! {
    a_store_that_forgets_what_is_owed: UnsentForgotten,
    an_acknowledgement_before_the_commit: AcknowledgedBeforeCommit,
    a_batch_acknowledged_after_its_first_report: BatchAcknowledgedEarly,
    a_watermark_that_passes_what_is_not_confirmed: WatermarkTooFar,
    a_store_that_does_not_fence: FenceMissing,
    a_commit_that_writes_nothing: CommitLies,
    a_worker_that_does_not_wait_for_its_grant: ActsUngranted,
    a_worker_that_acts_although_refused: ActsRefused,
    a_worker_that_does_not_ask_what_others_held: ActsRedelivered,
    a_worker_that_acts_too_late: ActsTooLate,
    a_before_image_that_is_lost: ImageLost,
    a_before_image_that_is_taken_again: ImageRetaken,
    a_failure_that_had_acted: FailedAfterActing,
    a_report_that_is_sent_once: ReportedOnce,
    timers_nobody_looks_at: TimersForgotten,
    a_wait_for_which_nobody_searches: EventsUnsearched,
    a_store_that_forgets_who_waits: SubscriptionForgotten,
    an_event_that_is_believed_to_be_out: EventBelieved,
    a_store_that_forgets_which_events_are_owed: OwedForgotten,
    leases_that_run_by_the_clock_on_the_wall: ClockBelieved,
    a_worker_that_takes_one_item_for_another: ItemsConfused,
    a_lock_that_is_given_twice: LockGivenTwice,
    a_saga_within_another_that_is_left_standing: ChildLeftStanding,
    a_saga_within_another_whose_failure_is_not_heard: ChildFailureUnheard,
}
