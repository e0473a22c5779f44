//! The process in numbers: names, units and what each is for, in one place.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_driver::Figures;
use baton_engine::Status;
use baton_store::{Counts, LetterState};
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::alerts::Kind;

/// Bounds of the histogram of commit times, in seconds: from what memory takes to what a failing disk takes.
const SECONDS: [f64; 12] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];
/// Bounds of the histogram of turns: pieces in one.
const SIZES: [f64; 10] = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 128.0, 256.0, 512.0];

/// Where a saga in the store may stand; a number that has fallen to none is said as well.
const STATUSES: [Status; 6] = [
    Status::Running,
    Status::Compensating,
    Status::Parked,
    Status::Completed,
    Status::Compensated,
    Status::Abandoned,
];

/// Makes the numbers collectable.
///
/// # Errors
/// When this process collects already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_size".to_owned()), &SIZES)?
        .install_recorder()?;
    describe();
    Ok(handle)
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("baton_orchestrator_turns_total", "Turns committed.");
    describe_counter!(
        "baton_orchestrator_inputs_total",
        "Inputs decided, by kind."
    );
    describe_histogram!(
        "baton_orchestrator_turn_size",
        "Inputs of one turn from outside."
    );
    describe_histogram!(
        "baton_orchestrator_commit_seconds",
        "Time from the first input of a turn to its commit."
    );
    describe_gauge!(
        "baton_orchestrator_sagas_in_memory",
        "Sagas held in memory."
    );
    describe_gauge!("baton_orchestrator_sagas", "Sagas in the store, by status.");
    describe_gauge!(
        "baton_orchestrator_unsent",
        "Tasks the broker did not take, to be sent again."
    );
    describe_gauge!(
        "baton_orchestrator_owed",
        "Events and words between sagas the broker did not take, kept to be published again."
    );
    describe_gauge!(
        "baton_orchestrator_inflight",
        "Commands published and not yet confirmed."
    );
    describe_counter!(
        "baton_orchestrator_tasks_together_total",
        "Tasks sent in one message with others."
    );
    describe_gauge!(
        "baton_orchestrator_parking",
        "Messages nobody can use, being put aside."
    );
    describe_gauge!(
        "baton_orchestrator_leases",
        "Claimed attempts whose lease runs."
    );
    describe_gauge!(
        "baton_orchestrator_sagas_unreadable",
        "Sagas left alone since this version cannot read them."
    );
    describe_gauge!(
        "baton_orchestrator_unpublished_rows",
        "Rows of the log past the watermark."
    );
    describe_gauge!(
        "baton_orchestrator_partitions_driven",
        "Partitions this process drives."
    );
    describe_gauge!(
        "baton_orchestrator_work_items_open",
        "Work items somebody has to act on."
    );
    describe_gauge!("baton_orchestrator_dead_letters", "Dead letters kept.");
    describe_gauge!(
        "baton_orchestrator_dead_letters_by_state",
        "Dead letters kept, by where they stand."
    );
    describe_gauge!(
        "baton_orchestrator_dead_operations_running",
        "Replays of dead letters that run, at whoever leads."
    );
    describe_gauge!(
        "baton_orchestrator_dead_operations",
        "Replays of dead letters that get no further, at whoever leads: those that stopped by themselves, up to 500, and those that wait."
    );
    describe_gauge!(
        "baton_orchestrator_dead_letters_left",
        "Dead letters over which the orchestrator died too often: they stay in their queue."
    );
    describe_gauge!(
        "baton_orchestrator_adopted_queue_consumed",
        "1 while a queue of another system is taken in here, 0 where it is not there or may not be read; at whoever leads."
    );
    describe_gauge!(
        "baton_orchestrator_waits_in_vain",
        "Things the loop has waited for too long while the broker is there; /readyz names them."
    );
    describe_gauge!(
        "baton_orchestrator_bus_up",
        "1 while messages can be published, else 0."
    );
    describe_counter!(
        "baton_orchestrator_refused_manifests_total",
        "Announcements that contradict the catalogue."
    );
    describe_gauge!("baton_orchestrator_db_bytes", "Size of the store's file.");
    describe_gauge!(
        "baton_orchestrator_sagas_purged",
        "Sagas in the store of which only the row is left."
    );
    describe_gauge!(
        "baton_orchestrator_log_rows",
        "Rows of the log in the store."
    );
    describe_counter!(
        "baton_orchestrator_sagas_archived_total",
        "Sagas written into archives; one that was not purged after it is counted again."
    );
    describe_gauge!("baton_orchestrator_workers", "Workers heard of lately.");
    describe_gauge!(
        "baton_orchestrator_alerts_open",
        "Open alerts, by kind, at whoever leads."
    );
    describe_counter!(
        "baton_orchestrator_alerts_said_total",
        "Events published of alerts, by kind."
    );
    describe_counter!(
        "baton_orchestrator_alerts_not_said_total",
        "Events of alerts the broker did not confirm; they are published again."
    );
    // from the start on, so that the first one is seen as one more
    counter!("baton_orchestrator_alerts_not_said_total").increment(0);
    describe_counter!(
        "baton_orchestrator_alerts_not_looked_total",
        "Looks for what needs a person, and kinds of it in one look, that could not be read or written; it is tried again."
    );
    counter!("baton_orchestrator_alerts_not_looked_total").increment(0);
    describe_counter!(
        "baton_orchestrator_audit_rows_total",
        "Rows this process added to the audit log."
    );
    describe_counter!(
        "baton_orchestrator_audit_not_written_total",
        "Rows that could not be added to the audit log: what was asked for was refused, or nobody wrote down what came of it."
    );
    counter!("baton_orchestrator_audit_not_written_total").increment(0);
    describe_gauge!(
        "baton_orchestrator_audit_log_contradicted",
        "1 when the audit log is not the one whose end stands in audit.heads_file: rows were cut off or written anew."
    );
    gauge!("baton_orchestrator_audit_log_contradicted").set(0.0);
    describe_gauge!(
        "baton_orchestrator_audit_head",
        "The number of the last row this process added to the audit log."
    );
}

/// A committed turn.
pub(crate) fn turn(pieces: usize, took: Duration) {
    counter!("baton_orchestrator_turns_total").increment(1);
    histogram!("baton_orchestrator_turn_size").record(float(pieces));
    histogram!("baton_orchestrator_commit_seconds").record(took.as_secs_f64());
}

/// An input taken into a turn.
pub(crate) fn input(kind: &'static str) {
    counter!("baton_orchestrator_inputs_total", "kind" => kind).increment(1);
}

/// An announcement that contradicts the catalogue.
pub(crate) fn refused_manifest() {
    counter!("baton_orchestrator_refused_manifests_total").increment(1);
}

/// Whether messages can be published.
pub(crate) fn bus_up(up: bool) {
    gauge!("baton_orchestrator_bus_up").set(if up { 1.0 } else { 0.0 });
}

/// So many tasks left in one message.
pub(crate) fn tasks_together(tasks: usize) {
    counter!("baton_orchestrator_tasks_together_total")
        .increment(u64::try_from(tasks).unwrap_or(u64::MAX));
}

/// Workers heard of lately.
pub(crate) fn workers(n: usize) {
    gauge!("baton_orchestrator_workers").set(float(n));
}

/// What the store holds.
pub(crate) fn counts(counts: &Counts) {
    for status in STATUSES {
        let n = counts.sagas.get(&status).copied().unwrap_or(0);
        gauge!("baton_orchestrator_sagas", "status" => status.as_str()).set(wide(n));
    }
    gauge!("baton_orchestrator_sagas_purged").set(wide(counts.purged));
    gauge!("baton_orchestrator_log_rows").set(wide(counts.log_rows));
    gauge!("baton_orchestrator_work_items_open").set(wide(counts.work_items_open));
    gauge!("baton_orchestrator_dead_letters").set(wide(counts.dead_letters));
    for state in LetterState::ALL {
        let n = counts.letters.get(&state).copied().unwrap_or_default();
        gauge!("baton_orchestrator_dead_letters_by_state", "state" => state.as_str()).set(wide(n));
    }
    gauge!("baton_orchestrator_db_bytes").set(wide(counts.db_bytes));
}

/// Sagas that lie in an archive now.
pub(crate) fn archived(n: usize) {
    counter!("baton_orchestrator_sagas_archived_total")
        .increment(u64::try_from(n).unwrap_or(u64::MAX));
}

/// Open alerts by kind; a kind of which there are none is said as well.
pub(crate) fn alerts(open: &BTreeMap<&str, usize>) {
    for kind in Kind::ALL {
        let n = open.get(kind.as_str()).copied().unwrap_or_default();
        gauge!("baton_orchestrator_alerts_open", "kind" => kind.as_str()).set(float(n));
    }
}

/// An event of an alert was published.
pub(crate) fn alert_said(kind: &str) {
    counter!("baton_orchestrator_alerts_said_total", "kind" => kind.to_owned()).increment(1);
}

/// What needs a person could not be looked for.
pub(crate) fn alerts_not_looked() {
    counter!("baton_orchestrator_alerts_not_looked_total").increment(1);
}

/// An event of an alert was not confirmed.
pub(crate) fn alert_not_said() {
    counter!("baton_orchestrator_alerts_not_said_total").increment(1);
}

/// Rows added to the audit log, up to this number.
pub(crate) fn audit_rows(n: usize, last: u64) {
    counter!("baton_orchestrator_audit_rows_total").increment(u64::try_from(n).unwrap_or(u64::MAX));
    gauge!("baton_orchestrator_audit_head").set(wide(last));
}

/// The audit log is not what it was.
pub(crate) fn audit_log_contradicted() {
    gauge!("baton_orchestrator_audit_log_contradicted").set(1.0);
}

/// A row that could not be added to the audit log.
pub(crate) fn audit_not_written() {
    counter!("baton_orchestrator_audit_not_written_total").increment(1);
}

/// Messages being put aside.
pub(crate) fn parking(n: usize) {
    gauge!("baton_orchestrator_parking").set(float(n));
}

/// Things the loop waits for in vain.
pub(crate) fn vain(n: usize) {
    gauge!("baton_orchestrator_waits_in_vain").set(float(n));
}

/// Dead letters of a queue that cannot be kept, and stay in it.
pub(crate) fn left(queue: &str, n: usize) {
    gauge!("baton_orchestrator_dead_letters_left", "queue" => queue.to_owned()).set(float(n));
}

/// Replays of dead letters that run here.
pub(crate) fn dead_operations_running(n: usize) {
    gauge!("baton_orchestrator_dead_operations_running").set(float(n));
}

/// Replays of dead letters that get no further: `stopped` or `waiting`.
pub(crate) fn dead_operations(state: &'static str, n: usize) {
    gauge!("baton_orchestrator_dead_operations", "state" => state).set(float(n));
}

/// Whether a queue of another system is consumed here.
pub(crate) fn adopted(queue: &str, consumed: bool) {
    gauge!("baton_orchestrator_adopted_queue_consumed", "queue" => queue.to_owned())
        .set(f64::from(u8::from(consumed)));
}

/// What the drivers of this process hold, by partition.
pub(crate) fn figures(figures: &[(u8, Figures)]) {
    let sum = |of: fn(&Figures) -> usize| float(figures.iter().map(|(_, one)| of(one)).sum());
    gauge!("baton_orchestrator_sagas_in_memory").set(sum(|one| one.hot));
    gauge!("baton_orchestrator_unsent").set(sum(|one| one.unsent));
    gauge!("baton_orchestrator_owed").set(sum(|one| one.owed));
    gauge!("baton_orchestrator_inflight").set(sum(|one| one.in_flight));
    gauge!("baton_orchestrator_leases").set(sum(|one| one.leases));
    gauge!("baton_orchestrator_sagas_unreadable").set(sum(|one| one.unreadable));
    let behind = |one: &Figures| one.log_seq.saturating_sub(one.watermark);
    let unpublished = figures.iter().map(|(_, one)| behind(one)).sum();
    gauge!("baton_orchestrator_unpublished_rows").set(wide(unpublished));
    gauge!("baton_orchestrator_partitions_driven").set(float(figures.len()));
}

fn float(n: usize) -> f64 {
    wide(u64::try_from(n).unwrap_or(u64::MAX))
}

/// Gauges take floats; a figure beyond 2^53 loses its last digits, which nobody misses.
#[expect(
    clippy::cast_precision_loss,
    reason = "a figure for a graph, exact up to 2^53"
)]
const fn wide(n: u64) -> f64 {
    n as f64
}
