//! Sagas that wait for days: they leave memory, a restart does not read them, and each is found again when what it waits for comes. In a long run
//! there are 100,000 of them; memory and the time of a restart are printed.
#![expect(
    clippy::print_stdout,
    reason = "memory and time of a restart are figures people read"
)]

use std::time::{Duration, Instant};

use baton_harness::{await_some, await_until};
use baton_it::{SOON, Setup, System, long};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

/// Requests under way at once.
const ASKS: usize = 64;
/// How long a saga is idle before it leaves memory: soon.
const IDLE_MS: &str = "1000";
/// What an orchestrator without debug information and optimisation may hold, however many sagas wait: a saga that stayed would take some 4 KB.
const MEMORY_KB_MAX: u64 = 320 * 1024;

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

async fn wait(setup: Setup) {
    let sagas = if long() { 100_000 } else { 400 };
    let mut system = setup.orchestrator("sagas.idle_ms", IDLE_MS).start().await;
    system.api.apply(WAITS).await;
    let begun = Instant::now();
    let ids = start(&system, sagas).await;
    let started = begun.elapsed();
    let begun = Instant::now();
    nothing_in_memory(&system).await;
    let (now_kb, peak_kb) = memory_kb(system.orchestrator().process.pid());
    println!(
        "{sagas} sagas started in {started:.1?}, all out of memory {:.1?} later; resident {} MB, at most {} MB",
        begun.elapsed(),
        now_kb / 1024,
        peak_kb / 1024
    );
    assert!(now_kb < MEMORY_KB_MAX, "{now_kb} kB for {sagas} sagas");

    let begun = Instant::now();
    system.orchestrator().kill9_and_start();
    system.await_ready().await;
    let restart = begun.elapsed();
    let (now_kb, _) = memory_kb(system.orchestrator().process.pid());
    println!(
        "killed and ready again after {restart:.1?}; resident {} MB",
        now_kb / 1024
    );
    assert!(now_kb < MEMORY_KB_MAX, "{now_kb} kB for {sagas} sagas");
    assert_eq!(in_memory(&system).await, Some(0), "none was read");
    // the first, the last, and what lies between
    for number in [0, sagas / 2, sagas - 1] {
        let id = &ids[number];
        let said = system.api.act(id, "steps/ok/approve", json!({})).await;
        assert_eq!(said.status, 200, "{}", said.body);
        let ended = system.api.await_status(id, "completed", SOON).await;
        assert_eq!(ended["output"], json!({ "n": number }));
    }
    // counted anew some seconds later
    let left = sagas as u64 - 3;
    await_until("the others to wait on", SOON, async || {
        let running = "baton_orchestrator_sagas{status=\"running\"}";
        system.api.figure(running).await == Some(left)
    })
    .await;
}

/// Starts them, many at a time; their ids in order.
async fn start(system: &System, sagas: usize) -> Vec<String> {
    let asked = stream::iter(0..sagas).map(|number| {
        let api = &system.api;
        async move {
            let key = format!("n{number}");
            let id = api.start("waits", &json!({ "n": number }), &key).await;
            anyhow::Ok(id)
        }
    });
    let ids = asked.buffered(ASKS).try_collect().await;
    ids.expect("each is started")
}

/// Time for all of them to leave memory.
fn leaving() -> Duration {
    if long() { SOON * 10 } else { SOON }
}

async fn nothing_in_memory(system: &System) {
    await_some("all sagas to leave memory", leaving(), async || {
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

/// Resident now, and at most.
fn memory_kb(pid: u32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
            .expect("the kernel says so")
    };
    (line("VmRSS:"), line("VmHWM:"))
}
