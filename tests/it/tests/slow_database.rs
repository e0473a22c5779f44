//! A database that has become slow: who asks for more than it takes is told at once to come again and when, what is under way stays bounded, and when the
//! database is fast again everything goes on in the same process. Nobody is lost, nobody is started twice. And what a member reads beside its beats may hang for as
//! long as it likes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use baton_harness::{Proxy, await_until};
use baton_it::{AFTER_A_LEASE, Api, SOON, Setup, System};
use serde_json::json;

/// How long each piece takes on its way to the database, and as long back. A row in the audit log needs five of both.
const SLOW: Duration = Duration::from_millis(300);
/// Callers side by side, more than one commit of the audit log has rows.
const CALLERS: usize = 400;
/// Sagas one caller asks for, one after the other, until somebody was told to come again.
const ROUNDS_MAX: usize = 20;
/// What each of them carries, in bytes.
const CARGO: usize = 32 * 1024;
/// What all of it may take beyond what the process had before, in kB. All requests together would be many times as much.
const GROWN_KB_MAX: u64 = 256 * 1024;

const NAP: &str =
    "saga: nap\nversion: 1\ninput: { type: object }\nsteps:\n  - id: rest\n    sleep: 1ms\n";

/// Starts sagas under the names of one caller, each until it is there. Their ids.
async fn caller(api: &Api, number: usize, turned_away: &AtomicUsize) -> Vec<String> {
    let mut ids = Vec::new();
    for round in 0..ROUNDS_MAX {
        let over = round > 0 && turned_away.load(Ordering::Relaxed) > 0;
        if over {
            break;
        }
        let name = format!("n{number}-{round}");
        let body = json!({ "definition": "nap", "input": { "cargo": "x".repeat(CARGO) } });
        ids.push(started(api, &name, &body.to_string(), turned_away).await);
    }
    ids
}

async fn started(api: &Api, name: &str, body: &str, turned_away: &AtomicUsize) -> String {
    loop {
        // the same name is the same saga: who was not answered asks again
        let asked = api.ask("POST", "/v1/sagas", name, Some(body.to_owned()));
        let Some(answer) = asked.await else { continue };
        if (200..300).contains(&answer.status) {
            let id = answer.body["id"].as_str();
            return id.expect("an answer names the saga").to_owned();
        }
        assert!([429, 503].contains(&answer.status), "{answer:?}");
        let again = answer.retry_after.expect("it says when to come again");
        if answer.status == 429 {
            turned_away.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(again).await;
    }
}

/// The most memory the orchestrator ever had, in kB.
fn peak_kb(system: &mut System) -> u64 {
    let pid = system.orchestrator().process.pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    kb.expect("the kernel says how much it had")
}

async fn fast_again_once_somebody_was_turned_away(relay: &Proxy, turned_away: &AtomicUsize) {
    let what = "somebody to be told to come again";
    await_until(what, AFTER_A_LEASE * 2, async || {
        turned_away.load(Ordering::Relaxed) > 0
    })
    .await;
    relay.delay(Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_database_turns_callers_away_in_time_and_all_goes_on_when_it_is_fast_again() {
    let setup = Setup::workers(0).postgres_through_a_relay();
    let mut system = setup
        .orchestrator("store.lease_ms", "60000")
        .orchestrator("store.connect_timeout_ms", "10000")
        .start()
        .await;
    system.api.apply(NAP).await;
    let turned_away = AtomicUsize::new(0);
    let first = started(&system.api, "first", &nap(), &turned_away).await;
    system.api.await_status(&first, "completed", SOON).await;
    assert_eq!(turned_away.load(Ordering::Relaxed), 0);
    let (pid, before) = (system.orchestrator().process.pid(), peak_kb(&mut system));

    system.database_relay().delay(SLOW);
    let callers = (0..CALLERS).map(|number| caller(&system.api, number, &turned_away));
    let (ids, ()) = tokio::join!(
        futures::future::join_all(callers),
        fast_again_once_somebody_was_turned_away(system.database_relay(), &turned_away),
    );

    let ids: Vec<String> = ids.into_iter().flatten().collect();
    let each: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(each.len(), ids.len(), "another name is another saga");
    for id in &ids {
        let status = system.api.await_status(id, "completed", AFTER_A_LEASE);
        status.await;
    }
    assert_eq!(system.api.sagas().await.len(), ids.len() + 1, "each once");
    system.await_ready().await;
    assert_eq!(system.orchestrator().process.pid(), pid);
    assert!(system.orchestrator().process.is_running());
    let grown = peak_kb(&mut system).saturating_sub(before);
    assert!(grown < GROWN_KB_MAX, "{grown} kB more than before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_somebody_holds_costs_no_member_its_beats() {
    let setup = Setup::workers(0).postgres();
    let setup = setup.orchestrator("store.lease_ms", "3000");
    // nothing ends the wait by itself
    let setup = setup.orchestrator("store.statement_timeout_ms", "600000");
    let system = setup.start().await;
    system.await_ready().await;
    let (holding, client) = (
        system.database().client().await,
        system.database().client().await,
    );
    // every member reads it again and again, for what others have changed
    let hold = "BEGIN; LOCK TABLE tokens IN ACCESS EXCLUSIVE MODE";
    holding.batch_execute(hold).await.expect("it can be held");
    let now = client.query_one("SELECT clock_timestamp()", &[]).await;
    let now: SystemTime = now.expect("the database is there").get(0);
    // a beat two leases later: more than any that was sent before the table was read again
    let later = "SELECT coalesce(max(lease_until) > $1::timestamptz + interval '9 seconds', false) FROM members";
    await_until("the member to say that it is there", SOON, async || {
        let row = client.query_one(later, &[&now]).await;
        row.expect("the database is there").get(0)
    })
    .await;
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%FROM tokens%'";
    let row = client.query_one(waits, &[]).await;
    let waits: bool = row.expect("the database is there").get(0);
    assert!(waits, "nobody read the table that was held");
    holding
        .batch_execute("ROLLBACK")
        .await
        .expect("it is let go");
    system.await_ready().await;
}

fn nap() -> String {
    json!({ "definition": "nap", "input": {} }).to_string()
}
