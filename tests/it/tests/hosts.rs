//! Orchestrators, workers, three nodes of one broker and a database, each on a host of its own: they are killed, stopped and cut off in turn while
//! sagas come and go; in a long run one of each in each way, four workers and 20,000 sagas. Every saga ends as promised, the ledger has each effect as promised, and how long nothing went on after
//! each fault is printed.
#![expect(
    clippy::print_stderr,
    reason = "how long nothing went on is a figure people read"
)]

use std::time::{Duration, Instant};

use baton_harness::{Process, await_some, await_until};
use baton_it::mixed;
use baton_it::oracle::Book;
use baton_it::site::Site;
use baton_it::{AFTER_A_LEASE, SOON, long};
use serde_json::Value;

/// How long a database is away: without it nothing can go on, and nothing may be lost.
const AWAY: Duration = Duration::from_secs(6);
/// Sagas started while the broker takes nothing.
const SOME: usize = 5;
/// How often the load starts a saga while a fault lasts.
const BETWEEN_STARTS: Duration = Duration::from_millis(50);

/// Whom it befalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Broker(usize),
    Orchestrator(usize),
    Worker(usize),
    Database,
}

/// What befalls him.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Killed,
    /// For longer than any lease; then it goes on as if nothing had been.
    Stopped,
    CutOff,
    /// Its memory is said to be used up: every node of the broker takes nothing more.
    Alarmed,
}

/// Some in any case; one of each in each way when there is time.
fn faults() -> Vec<(Who, What)> {
    let some = vec![
        (Who::Broker(0), What::Killed),
        (Who::Orchestrator(0), What::CutOff),
        (Who::Broker(1), What::CutOff),
        (Who::Worker(0), What::CutOff),
        (Who::Orchestrator(1), What::Stopped),
        (Who::Broker(2), What::Alarmed),
        (Who::Database, What::CutOff),
    ];
    if !long() {
        return some;
    }
    let who = [
        Who::Broker(2),
        Who::Orchestrator(1),
        Who::Worker(1),
        Who::Database,
        Who::Broker(0),
        Who::Orchestrator(0),
    ];
    let what = [What::Killed, What::Stopped, What::CutOff];
    who.into_iter()
        .flat_map(|who| what.map(|what| (who, what)))
        .chain([(Who::Broker(2), What::Alarmed)])
        .collect()
}

async fn next(site: &Site, number: usize) -> String {
    site.run(mixed::definition(number), &mixed::name(number))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_stop_and_cut_off_hosts_and_every_saga_ends_as_promised() {
    let (workers, sagas) = if long() { (4, 20_000) } else { (2, 200) };
    let site = Site::start(2, workers).await;
    endures(site, &faults(), sagas).await;
}

/// As it runs where there are no hosts to be had; tried everywhere, so that it can be relied on there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_off_by_relays_on_loopback_and_every_saga_ends_as_promised() {
    let faults = [
        (Who::Orchestrator(0), What::CutOff),
        (Who::Broker(1), What::CutOff),
        (Who::Database, What::CutOff),
    ];
    let site = Site::start_on_loopback(2, 2).await;
    endures(site, &faults, 60).await;
}

async fn endures(mut site: Site, faults: &[(Who, What)], sagas: usize) {
    for saga in mixed::definitions() {
        site.orchestrators[0].api.apply(saga.yaml()).await;
    }
    let share = sagas / faults.len();
    let mut ids: Vec<String> = Vec::new();
    for (who, what) in faults {
        let upto = ids.len() + share / 2;
        feed(&site, &mut ids, upto).await;
        befall(&mut site, *who, *what).await;
        let happened = Instant::now();
        // without these nothing can go on
        let all = *who == Who::Database || *what == What::Alarmed;
        if all {
            away(&site, &mut ids, *what).await;
            heal(&mut site, *who, *what).await;
        }
        let gap = go_on(&site, &mut ids, happened).await;
        eprintln!("{who:?} {what:?}: every partition goes on after {gap:.1?}");
        if !all {
            heal(&mut site, *who, *what).await;
        }
        site.await_shared(2).await;
        site.await_ready().await;
    }
    feed(&site, &mut ids, sagas).await;
    judge(&site, &ids).await;
}

async fn feed(site: &Site, ids: &mut Vec<String>, upto: usize) {
    while ids.len() < upto {
        ids.push(next(site, ids.len()).await);
    }
}

/// Feeds the load until every partition has gone on; how long that took.
async fn go_on(site: &Site, ids: &mut Vec<String>, happened: Instant) -> Duration {
    let rows = async || -> Option<Vec<i64>> {
        let rows = site
            .rows("SELECT log_rows FROM partitions ORDER BY id")
            .await?;
        Some(rows.iter().map(|row| row.get(0)).collect())
    };
    let before = await_some("the database to answer", AFTER_A_LEASE, rows).await;
    let feeding = async {
        loop {
            ids.push(next(site, ids.len()).await);
            tokio::time::sleep(BETWEEN_STARTS).await;
        }
    };
    let going_on = await_some("every partition to go on", AFTER_A_LEASE, async || {
        let now = rows().await?;
        let further = |(before, now): (&i64, &i64)| now > before;
        before.iter().zip(&now).all(further).then_some(())
    });
    tokio::select! {
        () = going_on => happened.elapsed(),
        () = feeding => unreachable!("it has no end"),
    }
}

/// While nothing can go on: what is asked for is taken as long as there is a database to keep it, and why nothing goes on is said.
async fn away(site: &Site, ids: &mut Vec<String>, what: What) {
    if what != What::Alarmed {
        return tokio::time::sleep(AWAY).await;
    }
    // a connection is told only when it publishes
    let upto = ids.len() + SOME;
    feed(site, ids, upto).await;
    for member in &site.orchestrators {
        let url = member.api.url();
        await_some(&format!("{url} to say why"), AFTER_A_LEASE, async || {
            let answer = member.api.ask("GET", "/readyz", "", None).await?;
            answer.body.as_str()?.contains("blocked").then_some(())
        })
        .await;
    }
}

async fn befall(site: &mut Site, who: Who, what: What) {
    match (who, what) {
        (Who::Broker(at), What::Killed) => site.brokers[at].1.kill9(),
        (Who::Broker(at), What::Stopped) => site.brokers[at].1.pause(),
        (Who::Broker(at), What::CutOff) => site.brokers[at].0.cut(),
        (Who::Broker(at), What::Alarmed) => memory(site, at, "0.00001").await,
        (_, What::Alarmed) => unreachable!("a broker's alone"),
        (Who::Orchestrator(at), What::Killed) => site.orchestrators[at].process.kill9(),
        (Who::Orchestrator(at), What::Stopped) => site.orchestrators[at].process.sigstop(),
        (Who::Orchestrator(at), What::CutOff) => site.orchestrators[at].host.cut(),
        (Who::Worker(at), What::Killed) => site.workers[at].1.kill9(),
        (Who::Worker(at), What::Stopped) => site.workers[at].1.sigstop(),
        (Who::Worker(at), What::CutOff) => site.workers[at].0.cut(),
        (Who::Database, What::Killed) => site.postgres.1.kill9(),
        (Who::Database, What::Stopped) => site.postgres.1.pause(),
        (Who::Database, What::CutOff) => site.postgres.0.cut(),
    }
}

/// How much of the machine's memory a node may use before it takes nothing more.
async fn memory(site: &Site, node: usize, share: &str) {
    let args = ["set_vm_memory_high_watermark", share];
    site.brokers[node].1.ctl(&args).await;
}

async fn heal(site: &mut Site, who: Who, what: What) {
    match (who, what) {
        (Who::Broker(at), What::Killed) => site.brokers[at].1.start().await,
        (Who::Broker(at), What::Stopped) => site.brokers[at].1.resume(),
        (Who::Broker(at), What::CutOff) => site.brokers[at].0.heal(),
        (Who::Broker(at), What::Alarmed) => memory(site, at, "0.6").await,
        (_, What::Alarmed) => unreachable!("a broker's alone"),
        (Who::Orchestrator(at), What::Killed) => site.orchestrators[at].process.start_again(),
        (Who::Orchestrator(at), What::Stopped) => wakes_up(&site.orchestrators[at].process).await,
        (Who::Orchestrator(at), What::CutOff) => site.orchestrators[at].host.heal(),
        (Who::Worker(at), What::Killed) => site.workers[at].1.start_again(),
        (Who::Worker(at), What::Stopped) => site.workers[at].1.sigcont(),
        (Who::Worker(at), What::CutOff) => site.workers[at].0.heal(),
        (Who::Database, What::Killed) => site.postgres.1.start().await,
        (Who::Database, What::Stopped) => site.postgres.1.resume(),
        (Who::Database, What::CutOff) => site.postgres.0.heal(),
    }
    if let Who::Broker(_) = who {
        site.await_whole_again().await;
    }
}

/// It finds that others drive what it had, and writes nothing more of it.
async fn wakes_up(orchestrator: &Process) {
    let words = ["no longer owns the partition", "has another owner now"];
    let fenced = || {
        let log = orchestrator.log();
        words
            .map(|text| log.matches(text).count())
            .iter()
            .sum::<usize>()
    };
    let before = fenced();
    orchestrator.sigcont();
    await_until("it to be fenced", SOON, async || fenced() > before).await;
}

async fn judge(site: &Site, ids: &[String]) {
    for (number, id) in ids.iter().enumerate() {
        let api = &site.orchestrators[number % 2].api;
        let status = api.await_status(id, mixed::promised(number), AFTER_A_LEASE);
        status.await;
    }
    let book = Book::of(&site.ledger).await;
    let wrong = mixed::wrong(&book, ids.len());
    assert!(
        wrong.is_empty(),
        "{} of {}: {}",
        wrong.len(),
        ids.len(),
        wrong.join("\n")
    );
    let api = &site.orchestrators[1].api;
    assert_eq!(api.dead_letters().await, Vec::<Value>::new());
    assert_eq!(api.work_items().await, Vec::<Value>::new());
    let orchestrators = site.orchestrators.iter().map(|member| &member.process);
    let workers = site.workers.iter().map(|(_, process)| process);
    for process in orchestrators.chain(workers) {
        let log = process.log();
        assert!(!log.contains("panicked"), "{log}");
    }
    eprintln!("{} sagas, each as promised", ids.len());
}
