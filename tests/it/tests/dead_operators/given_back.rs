//! A report that came while its saga was driven by a version that could not read it goes back to that saga by itself, as soon as one drives it that can.

use baton_it::AFTER_A_LEASE;
use baton_it::oracle::Book;

use super::*;

/// Writes records anew behind the back of an orchestrator that is down: of a kind this version does not know, or as they were.
fn rewritten(system: &System, from: &str, to: &str) {
    let file = system.data_dir().join("baton.db");
    let store = rusqlite::Connection::open(file).expect("the database can be opened");
    let sql = "UPDATE records SET entry = replace(entry, ?1, ?2) WHERE instr(entry, ?1) > 0";
    let changed = store.execute(sql, [from, to]).expect("it can be changed");
    assert!(changed > 0, "no record has {from}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_an_older_version_put_aside_goes_back_to_its_saga_by_itself() {
    const KNOWN: &str = "{\"claimed\":";
    const NEWER: &str = "{\"claimed-by-a-newer-one\":";
    let mut system = Setup::workers(1).start().await;
    system.await_served("test.effect@1").await;
    let held = Saga::named("held")
        .effect("a", ", delay_before_ms: 10000")
        .effect("b", "");
    system.apply(&[&held]).await;
    let saga = system.run("held", "h").await;
    await_until("the task to be claimed", SOON, async || {
        system.api.records(&saga).await.contains("\"claimed\"")
    })
    .await;
    // as if an older one took over, while the worker is at it
    system.end_orchestrator();
    rewritten(&system, KNOWN, NEWER);
    system.orchestrator().wait_alive_in(SOON).await;
    let dead = letters(&system, "state=dead&kind=finished@1", 1).await;
    assert_eq!(dead.len(), 1, "{dead:?}");
    let error = dead[0]["error"].as_str().unwrap_or_default();
    assert!(error.contains("its records cannot be read"), "{dead:?}");

    system.end_orchestrator();
    rewritten(&system, NEWER, KNOWN);
    system.orchestrator().wait_alive_in(SOON).await;
    let resolved = letters(&system, "state=resolved&kind=finished@1", 1).await;
    assert_eq!(id(&resolved[0]), id(&dead[0]));
    let api = &system.api;
    api.await_status(&saga, "completed", AFTER_A_LEASE).await;
    let book = Book::of(&system.ledger).await;
    for key in ["h-a", "h-b"] {
        assert_eq!(book.not_done_once(key), None);
        assert_eq!(book.called_twice(key), None, "nobody gave the worker up");
    }
}
