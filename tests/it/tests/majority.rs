//! A broker that loses most of its nodes, whether the one that is left stops taking connections or goes on as if nothing were: nothing is confirmed, so
//! sagas wait where they are; whoever asks hears so; and when the nodes are back everything goes on in the same processes, each effect once.

use baton_harness::ledger::State;
use baton_harness::{Minority, Process, await_some};
use baton_it::mixed;
use baton_it::oracle::Book;
use baton_it::site::Site;
use baton_it::{AFTER_A_LEASE, Ran, SOON};
use serde_json::Value;

/// Sagas that are over before the nodes are lost, and as many that are asked for afterwards.
const SAGAS: usize = 8;

async fn some(site: &Site, ids: &mut Vec<String>) {
    for number in ids.len()..ids.len() + SAGAS {
        let (definition, name) = (mixed::definition(number), mixed::name(number));
        ids.push(site.run(definition, &name).await);
    }
}

async fn await_ended(site: &Site, ids: &[String]) {
    for (number, id) in ids.iter().enumerate() {
        let api = &site.orchestrators[number % 2].api;
        let status = api.await_status(id, mixed::promised(number), AFTER_A_LEASE);
        status.await;
    }
}

/// Every orchestrator says that something is wrong, and that what is asked for is kept; not at once where a busy machine has it miss its database for a moment.
async fn await_degraded(site: &Site) {
    for member in &site.orchestrators {
        let what = format!(
            "{} to say that the broker confirms nothing",
            member.api.url()
        );
        await_some(&what, AFTER_A_LEASE * 2, async || {
            let answer = member.api.ask("GET", "/readyz", "", None).await?;
            let degraded = answer.body.as_str()?.starts_with("degraded");
            (degraded && answer.status == 200).then_some(())
        })
        .await;
    }
}

async fn is_as_it_should_be(site: &Site) {
    site.await_check(0, "that all is right", |ran| ran.code == 0)
        .await;
}

fn pids(site: &Site) -> Vec<u32> {
    let orchestrators = site.orchestrators.iter().map(|member| &member.process);
    let workers = site.workers.iter().map(|(_, process)| process);
    orchestrators.chain(workers).map(Process::pid).collect()
}

/// What was asked for since the nodes are gone has begun nowhere, and nobody says that it has.
async fn nothing_has_moved(site: &Site, ids: &[String]) {
    let book = Book::of(&site.ledger).await;
    for (number, id) in ids.iter().enumerate().skip(SAGAS) {
        for step in ["a", "b", "c"] {
            let key = format!("{}-{step}", mixed::name(number));
            assert_eq!(book.effect(&key).state, State::Never, "{key}");
        }
        for member in &site.orchestrators {
            let saga = member.api.saga(id).await;
            assert_eq!(saga["status"], "running", "{saga}");
        }
    }
    let api = &site.orchestrators[0].api;
    assert_eq!(api.dead_letters().await, Vec::<Value>::new());
    assert_eq!(api.work_items().await, Vec::<Value>::new());
}

async fn sagas_wait_for_the_majority(minority: Minority) {
    let mut site = Site::start_with(2, 2, minority).await;
    for saga in mixed::definitions() {
        site.orchestrators[0].api.apply(saga.yaml()).await;
    }
    let mut ids = Vec::new();
    some(&site, &mut ids).await;
    await_ended(&site, &ids).await;
    let before = pids(&site);
    is_as_it_should_be(&site).await;

    for (_, node) in &site.brokers[1..] {
        node.kill9();
    }
    // kept in the database, which is what their answers say
    some(&site, &mut ids).await;
    await_degraded(&site).await;
    nothing_has_moved(&site, &ids).await;
    site.await_check(0, "that something is wrong", |ran| ran.code != 0)
        .await;
    if minority == Minority::GoesOn {
        let alone = |ran: &Ran| ran.code != 0 && ran.out.contains("1 of 3 nodes run");
        site.await_check(0, "how many nodes run", alone).await;
        let applied = site.topology("apply", 0).await;
        assert_ne!(applied.code, 0, "nothing is set right: {applied:?}");
    }

    site.start_again(&[1, 2]).await;
    site.await_ready().await;
    await_ended(&site, &ids).await;
    some(&site, &mut ids).await;
    await_ended(&site, &ids).await;
    is_as_it_should_be(&site).await;
    assert_eq!(pids(&site), before, "nobody was started again");
    for member in &mut site.orchestrators {
        assert!(member.process.is_running());
        let log = member.process.log();
        assert!(!log.contains("panicked"), "{log}");
    }
    let book = Book::of(&site.ledger).await;
    assert_eq!(mixed::wrong(&book, ids.len()), Vec::<String>::new());
    let api = &site.orchestrators[1].api;
    assert_eq!(api.dead_letters().await, Vec::<Value>::new());
    assert_eq!(api.work_items().await, Vec::<Value>::new());
    let (_, worker) = &mut site.workers[0];
    assert!(worker.sigterm_and_wait(SOON).await.success());
}

/// Nothing is to be sent, nothing comes in, and no connection is lost: that nothing would be confirmed is found out all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_of_most_nodes_is_told_by_whoever_has_nothing_to_send() {
    let site = Site::start_with(2, 2, Minority::GoesOn).await;
    is_as_it_should_be(&site).await;
    for (_, node) in &site.brokers[1..] {
        node.kill9();
    }
    await_degraded(&site).await;
    site.start_again(&[1, 2]).await;
    site.await_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_of_most_nodes_stops_sagas_and_nothing_else_where_the_last_one_pauses() {
    sagas_wait_for_the_majority(Minority::Pauses).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_of_most_nodes_stops_sagas_and_nothing_else_where_the_last_one_goes_on() {
    sagas_wait_for_the_majority(Minority::GoesOn).await;
}
