//! The protocol of workers held against workers: every case of `schemas/json/conformance` is played, over a real broker, to our own worker and
//! to those written in other languages. The cases are data; this is the orchestrator's part in them.
//!
//! Guarantee: a case passes only when each of its steps was seen in time and every message of the worker was of the contract (`judge.rs`). Each
//! case has a virtual host and a worker process of its own. `BATON_CASE=name` plays only the cases whose names contain that.

mod case;
mod cast;
mod judge;
mod matching;
mod player;
mod stage;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use case::Case;
use cast::Cast;

/// How many cases are played at once: they wait most of the time, for leases and silences.
const AT_ONCE: usize = 14;

/// Dozens of workers at once are enough for a broker: where the runner has no groups, the languages wait for each other here.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_worker_keeps_to_the_protocol() {
    let _alone = ONE_AT_A_TIME.lock().await;
    play(Cast::rust().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_keeps_to_the_protocol() {
    let _alone = ONE_AT_A_TIME.lock().await;
    match Cast::python().await {
        Ok(cast) => play(cast).await,
        Err(missing) => baton_harness::not_tested(&missing),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ruby_client_keeps_to_the_protocol() {
    let _alone = ONE_AT_A_TIME.lock().await;
    match Cast::ruby().await {
        Ok(cast) => play(cast).await,
        Err(missing) => baton_harness::not_tested(&missing),
    }
}

/// A case quotes the rule it proves, so that a rule that is changed is found here.
#[test]
fn every_case_quotes_the_protocol() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let protocol = std::fs::read_to_string(root().join("workers/PROTOCOL.md"));
    let protocol = words(&protocol.expect("the protocol can be read"));
    for case in Case::all(&cases()) {
        for rule in &case.rules {
            assert!(
                protocol.contains(&words(rule)),
                "{}: workers/PROTOCOL.md does not say {rule:?}",
                case.name
            );
        }
    }
}

async fn play(cast: Cast) {
    // a stage is for one thread, and mostly waits
    tokio::task::LocalSet::new().run_until(play_all(cast)).await;
}

async fn play_all(cast: Cast) {
    let only = std::env::var("BATON_CASE").unwrap_or_default();
    let mut all = Case::all(&cases());
    all.retain(|case| case.name.contains(&only));
    assert!(!all.is_empty(), "no case is called like {only:?}");
    let (cast, places) = (Arc::new(cast), Arc::new(Semaphore::new(AT_ONCE)));
    let mut played = JoinSet::new();
    let mut names = std::collections::HashMap::new();
    for case in all {
        let (cast, places, name) = (cast.clone(), places.clone(), case.name.clone());
        let one = played.spawn_local(async move {
            let _place = places.acquire().await;
            player::play(&cast, &case).await
        });
        names.insert(one.id(), name);
    }
    let mut faults = Vec::new();
    while let Some(one) = played.join_next_with_id().await {
        match one {
            Ok((_, Ok(()))) => {}
            Ok((id, Err(fault))) => faults.push(format!("{}: {fault}", names[&id])),
            Err(error) => {
                let name = names[&error.id()].clone();
                let said = error.try_into_panic().ok().map(|panic| said(&*panic));
                faults.push(format!("{name}: {}", said.unwrap_or_default()));
            }
        }
    }
    faults.sort();
    let (count, faults) = (faults.len(), faults.join("\n\n"));
    assert!(
        count == 0,
        "{count} of {} cases fail:\n\n{faults}\n",
        names.len()
    );
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "it panicked".to_owned())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn cases() -> PathBuf {
    root().join("schemas/json/conformance")
}
