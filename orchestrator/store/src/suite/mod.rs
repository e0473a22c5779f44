//! The suite every store has to pass. A store joins with a [`Subject`] and one line, [`crate::store_suite!`]; what the promise needs of
//! a store is said here and nowhere else.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test equipment: a failure is to stop the test where it is"
)]

pub mod alerts;
pub mod arrivals;
pub mod audit;
pub mod commits;
pub mod items;
pub mod letters;
pub mod migrated;
pub mod outcomes;
pub mod purging;
pub mod random;
pub mod reader;
pub mod reads;
pub mod reservations;
pub mod samples;
pub mod subscriptions;
pub mod suspects;
pub mod tokens;
pub mod triggers;
pub mod unreadable;

use std::future::Future;

use baton_driver::Store;

use crate::Partition;
use crate::alerts::Alerts;
use crate::audit::AuditLog;
use crate::letters::Letters;
use crate::read::Counts;
use crate::reader::Reader;
use crate::reservations::ReservationBook;
use crate::suspects::Suspects;
use crate::tokens::TokenStore;
use crate::triggers::Triggers;

/// A store under test: one set of tables that can be opened again and again.
pub trait Subject: Send {
    /// What is tested.
    type Store: Store + Send;
    /// Its tokens.
    type Tokens: TokenStore;

    /// What it keeps for triggers.
    type Triggers: Triggers;
    /// Its notes of what is tried alone.
    type Suspects: Suspects;
    /// Its dead letters.
    type Letters: Letters;
    /// What operators did.
    type Audit: AuditLog + 'static;
    /// What needs a person.
    type Alerts: Alerts;
    /// What sagas take.
    type Reservations: ReservationBook;
    /// What reads it beside the driver.
    type Reader: Reader;

    /// Opens it as a new owner: a new epoch of one partition, always the same.
    fn open(&mut self) -> impl Future<Output = (Self::Store, Partition)> + Send;

    /// Gives it up in order.
    fn close(&mut self, store: Self::Store) -> impl Future<Output = ()> + Send;

    /// Where the tokens of an open store are.
    fn tokens(&self, store: &Self::Store) -> Self::Tokens;

    /// The tables of triggers of an open store.
    fn triggers(&self, store: &Self::Store) -> Self::Triggers;

    /// The dead letters of an open store.
    fn letters(&self, store: &Self::Store) -> Self::Letters;

    /// The alerts of an open store.
    fn alerts(&self, store: &Self::Store) -> Self::Alerts;

    /// What sagas take, of an open store.
    fn reservations(&self, store: &Self::Store) -> Self::Reservations;

    /// What operators did, of an open store.
    fn audit(&self, store: &Self::Store) -> Self::Audit;

    /// The notes of an open store.
    fn suspects(&self, store: &Self::Store) -> Self::Suspects;

    /// What reads an open store beside the driver.
    fn reader(&self, store: &Self::Store) -> Self::Reader;

    /// The figures as somebody beside the driver sees them.
    fn counts(&self) -> impl Future<Output = Counts> + Send;
}

/// Makes a test of every case, each with a fresh [`Subject`] of what `$make` answers.
#[macro_export]
macro_rules! store_suite {
    ($make:expr) => {
        $crate::store_suite!(@cases $make, commits, [
            a_batch_is_whole, a_replayed_saga_is_the_same, a_snapshot_and_what_came_after, a_snapshot_of_another_version_is_left_aside,
            another_epoch_is_fenced, a_saga_seq_twice_is_a_fault_of_the_data, a_log_seq_twice_is_a_fault_of_the_data, a_record_without_a_saga_is_a_fault_of_the_data,
            a_full_batch, an_empty_batch_moves_the_watermark, a_dropped_commit_is_whole_or_absent, nobody_sees_what_is_not_committed,
        ]);
        $crate::store_suite!(@cases $make, reads, [
            a_fresh_store_is_empty, in_doubt_is_what_lies_past_the_watermark, hot_is_what_has_not_ended_and_is_in_memory,
            unsent_comes_and_goes_once, unsent_removed_and_added_stays, what_is_owed_comes_by_lanes_and_goes_once, a_log_in_doubt_comes_page_by_page,
            a_saga_with_a_gap_is_unreadable, cold_due_comes_soonest_first, unserved_comes_in_pages,
            definitions_never_change, manifests_are_replaced, a_dead_letter_twice_is_one_row, work_items_open_and_close,
            an_unknown_saga_is_missing,
        ]);
        $crate::store_suite!(@cases $make, purging, [
            a_purged_saga_leaves_its_row, what_is_not_at_rest_is_never_touched, another_epoch_purges_nothing,
            the_log_goes_on_behind_what_was_purged, ended_sagas_come_oldest_first,
        ]);
        $crate::store_suite!(@cases $make, tokens, [tokens_are_kept_once, a_token_is_forgotten]);
        $crate::store_suite!(@cases $make, audit, [
            the_chain_goes_on_over_openings, many_who_add_at_once_make_one_chain, actions_are_found_by_who_what_and_when,
        ]);
        $crate::store_suite!(@cases $make, alerts, [
            an_alert_is_changed_by_one_who_saw_it_last, alerts_stand_until_they_are_over_and_said,
        ]);
        $crate::store_suite!(@cases $make, triggers, [
            an_event_is_there_once_with_its_first_effects, an_event_twice_in_one_call_is_one, a_key_belongs_to_one_saga_at_a_time,
            a_key_leads_to_the_saga_that_is_to_be_cancelled, a_trigger_that_looks_again_may_cancel,
            a_key_is_released_by_its_holder_alone, kept_events_are_found_by_type_and_age, only_what_is_done_is_purged,
            schedules_and_bindings_are_kept, a_saga_is_active_until_it_ends,
        ]);
        $crate::store_suite!(@cases $make, subscriptions, [
            a_waiting_step_is_found_by_its_events, waiting_steps_come_in_pages, what_was_not_searched_is_told_again,
            changes_of_subscriptions_keep_their_order,
        ]);
        $crate::store_suite!(@cases $make, suspects, [
            a_try_that_came_to_no_end_is_counted_and_one_that_did_is_forgotten, a_try_that_is_taken_back_says_nothing, notes_are_forgotten_in_time,
        ]);
        $crate::store_suite!(@cases $make, letters, [
            of_two_who_move_a_letter_one_does, what_came_of_a_letter_is_written_once_and_counted_with_it, a_letter_is_discarded_restored_and_noted,
            an_operation_takes_what_is_dead_and_keeps_its_place, an_operation_that_does_not_run_takes_nothing, letters_are_found_by_state_and_group,
            a_letter_is_edited_from_the_copy_that_was_seen,
            a_list_has_heads_and_groups_have_hours, letters_are_found_by_what_they_are_about, how_far_letters_have_come_stands_in_them,
        ]);
        $crate::store_suite!(@cases $make, arrivals, [what_came_and_was_not_acknowledged_is_known_again, a_letter_says_which_arrival_it_was]);
        $crate::store_suite!(@cases $make, outcomes, [
            letters_are_imported_once, what_set_out_and_has_not_ended_is_found_again, several_are_written_down_together, what_was_sent_is_waited_for_until_its_outcome_is_known,
            a_letter_that_dies_again_comes_back_with_its_history, a_task_that_dies_again_stands_where_it_stood, what_was_not_sent_is_given_back_and_taken_again, what_is_given_back_is_found_by_the_operation_that_left_it, only_letters_that_are_over_expire,
            a_letter_that_dies_again_counts_when_it_does, letters_of_a_saga_are_found, letters_an_attempt_was_minted_for_are_found,
            of_many_at_once_one_steps_and_one_takes_a_letter, groups_come_in_pages,
        ]);
        $crate::store_suite!(@cases $make, reader, [
            every_filter_gives_its_sagas_newest_first, pages_are_steady_while_sagas_start, a_saga_comes_with_its_whole_log,
            one_saga_is_read_as_it_folds, who_waits_for_a_worker_is_counted, records_come_from_any_place_on, the_end_of_the_log_comes_oldest_first,
            work_items_and_dead_letters_come_in_pages, dead_letters_are_filtered, figures_follow_what_is_there, events_and_schedules_are_shown,
            a_row_whose_constants_change_is_found_by_the_new_ones, text_of_any_kind_comes_back_as_it_was,
        ]);
        $crate::store_suite!(@cases $make, items, [work_items_are_found_by_whose_they_are_and_by_when]);
        $crate::store_suite!(@cases $make, reservations, [
            like_the_rule, what_was_given_and_not_heard_of_is_told_however_late, what_is_taken_comes_in_pages_in_the_order_of_lines,
            a_batch_that_is_fenced_takes_nothing,
        ]);
        $crate::store_suite!(@cases $make, random, [like_the_naive_store]);
    };
    (@cases $make:expr, $module:ident, [$($case:ident),* $(,)?]) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::suite::$module::$case(&mut $make).await;
            }
        )*
    };
}
