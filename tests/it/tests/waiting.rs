//! Sagas that wait for days: they leave memory, a restart does not read them, and each is found again when what it waits for comes. In a long run
//! there are 100,000 of them, `BATON_SAGAS=1000000` makes it as many as it says; memory, disk and the time of a restart are printed.
#![expect(
    clippy::print_stdout,
    reason = "memory and time of a restart are figures people read"
)]

use std::time::{Duration, Instant};

use baton_harness::{await_some, await_until};
use baton_it::{SOON, Setup, System, long, memory_kb};
use futures::{StreamExt, stream};
use serde_json::json;

/// Requests under way at once.
const ASKS: usize = 64;
/// How long a saga is idle before it leaves memory: soon.
const IDLE_MS: &str = "1000";
/// What an orchestrator without debug information and optimisation may hold, however many sagas wait: a saga that stayed would take some 4 KB.
const MEMORY_KB_MAX: u64 = 320 * 1024;
/// What a restart may take, however many sagas wait: it reads none of them.
const RESTART_MAX: Duration = Duration::from_secs(60);
/// What each may take on the disk: its record, its row, its snapshot, its work item, their indexes, and what a file keeps of room it once had.
const DISK_BYTES_EACH_MAX: u64 = 16 * 1024;
/// What a store takes without any: logs of its own, empty tables.
const DISK_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// What starting one, and its leaving memory, may each take beside others, on a machine that does something else meanwhile.
const EACH_MS_MAX: u64 = 20;

const WAITS: &str = "saga: waits
version: 1
input: { type: object }
labels: { n: \"${ string(input.n) }\" }
steps:
  - id: ok
    approve: { by: operator, timeout: 7d, on_timeout: park }
output: { n: \"${ input.n }\" }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_that_wait_in_a_file_leave_memory_and_are_found_again() {
    wait(Setup::workers(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_that_wait_in_a_database_leave_memory_and_are_found_again() {
    wait(Setup::workers(0).postgres()).await;
}

fn count() -> usize {
    let asked = std::env::var("BATON_SAGAS").ok();
    match asked.and_then(|asked| asked.parse().ok()) {
        Some(asked) => asked,
        None if long() => 100_000,
        None => 400,
    }
}

async fn wait(setup: Setup) {
    let sagas = count();
    // the first, the last, and what lies between
    let wanted = [0, sagas / 2, sagas - 1];
    let mut system = setup.orchestrator("sagas.idle_ms", IDLE_MS).start().await;
    system.api.apply(WAITS).await;
    let begun = Instant::now();
    let ids = tokio::time::timeout(time_for(sagas), start(&system, sagas, &wanted)).await;
    let ids = ids.expect("they start in time");
    let started = begun.elapsed();
    let begun = Instant::now();
    nothing_in_memory(&system, sagas).await;
    let (now_kb, peak_kb) = memory_kb(system.orchestrator().process.pid());
    println!(
        "{sagas} sagas started in {started:.1?}, all out of memory {:.1?} later; resident {} MB, at most {} MB",
        begun.elapsed(),
        now_kb / 1024,
        peak_kb / 1024
    );
    assert!(now_kb < MEMORY_KB_MAX, "{now_kb} kB for {sagas} sagas");
    let disk = disk_bytes(&system).await;
    println!(
        "{} MB of disk: {} bytes for each",
        disk / 1024 / 1024,
        disk / sagas as u64
    );
    let most = DISK_BYTES_MAX + DISK_BYTES_EACH_MAX * sagas as u64;
    assert!(disk < most, "{disk} bytes for {sagas} sagas");

    let begun = Instant::now();
    system.orchestrator().kill9_and_start();
    system.await_ready().await;
    let restart = begun.elapsed();
    assert!(restart < RESTART_MAX, "{restart:?} for {sagas} sagas");
    let (now_kb, _) = memory_kb(system.orchestrator().process.pid());
    println!(
        "killed and ready again after {restart:.1?}; resident {} MB",
        now_kb / 1024
    );
    assert!(now_kb < MEMORY_KB_MAX, "{now_kb} kB for {sagas} sagas");
    assert_eq!(in_memory(&system).await, Some(0), "none was read");
    for (number, id) in &ids {
        let said = system.api.act(id, "steps/ok/approve", json!({})).await;
        assert_eq!(said.status, 200, "{}", said.body);
        let ended = system.api.await_status(id, "completed", SOON).await;
        assert_eq!(ended["output"], json!({ "n": number }));
    }
    // counted anew some seconds later
    let left = (sagas - wanted.len()) as u64;
    await_until("the others to wait on", SOON, async || {
        let running = "baton_orchestrator_sagas{status=\"running\"}";
        system.api.figure(running).await == Some(left)
    })
    .await;
}

/// Starts them, many at a time; the ids of those that are wanted: nothing of the others is kept here.
async fn start(system: &System, sagas: usize, wanted: &[usize]) -> Vec<(usize, String)> {
    let asked = stream::iter(0..sagas).map(|number| {
        let api = &system.api;
        async move {
            let key = format!("n{number}");
            let id = api.start("waits", &json!({ "n": number }), &key).await;
            (number, id)
        }
    });
    let started = asked.buffered(ASKS);
    let kept = started.filter(|(number, _)| std::future::ready(wanted.contains(number)));
    kept.collect().await
}

/// Time for all of them to start, and then to leave memory.
fn time_for(sagas: usize) -> Duration {
    SOON + Duration::from_millis(EACH_MS_MAX * sagas as u64)
}

/// What the store takes: the file and its log, or the database.
async fn disk_bytes(system: &System) -> u64 {
    await_some("the size of the store", SOON, async || {
        system.api.figure("baton_orchestrator_db_bytes").await
    })
    .await
}

async fn nothing_in_memory(system: &System, sagas: usize) {
    await_some("all sagas to leave memory", time_for(sagas), async || {
        (in_memory(system).await? == 0).then_some(())
    })
    .await;
    system.await_ready().await;
}

/// Sagas the orchestrator has in memory.
async fn in_memory(system: &System) -> Option<u64> {
    system
        .api
        .figure("baton_orchestrator_sagas_in_memory")
        .await
}
