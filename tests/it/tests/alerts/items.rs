//! A work item that stays open: it is somebody's by its definition, it is overdue, it goes to the next although the orchestrator was killed before, each is
//! told with whom it is for, somebody takes it, and all of it is over when he decides.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_it::sagas::Saga;

use super::*;

/// How long after its opening the work item goes to the next: long enough to see it before, and to kill the orchestrator meanwhile, on a busy machine.
const ESCALATED_AFTER_MS: u64 = 30_000;

/// Keeps who was told of what.
const PAGES: &str = "saga: pages
version: 1
on:
  - event: dev.baton.alert.*
    when: ${ event.data.kind in [\"overdue\", \"escalated\"] }
    input: { key: \"${ event.data.kind }\", what: \"${ event.type }\", who: \"${ event.data.data.assignee }\" }
input:
  type: object
  properties: { key: { type: string }, what: { type: string }, who: { type: string } }
steps:
  - id: a
    sleep: 1ms
";

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// Who was paged for what, as `kind what who`.
async fn paged(system: &System) -> Vec<String> {
    let list = system.api.get("/v1/sagas?definition=pages&limit=500").await;
    let mut all = Vec::new();
    for row in list["sagas"].as_array().unwrap().iter().rev() {
        let input = system.api.saga(row["id"].as_str().unwrap()).await["input"].clone();
        let word = |name: &str| input[name].as_str().unwrap().to_owned();
        let what = word("what").rsplit('.').next().unwrap().to_owned();
        all.push(format!("{} {what} {}", word("key"), word("who")));
    }
    all
}

async fn await_paged(system: &System, what: &str) {
    await_until(&format!("a page: {what}"), SOON, async || {
        paged(system).await.iter().any(|page| page == what)
    })
    .await;
}

/// The only item of a list.
async fn listed(system: &System, args: &[&str]) -> Option<Value> {
    let all = [&["work"], args, &["--json"]].concat();
    let answer = system.cli().run(&all).await.exits(0).json();
    let items = answer["work_items"].as_array().unwrap();
    assert!(items.len() < 2, "{answer}");
    items.first().cloned()
}

async fn goes_to_the_next_until_somebody_takes_it(setup: Setup) {
    let mut system = looking(setup).start().await;
    system.await_served("test.effect@1").await;
    system.api.apply(PAGES).await;
    let parks = Saga::named("parks").step(&format!("  - id: a\n    task: test.effect@1\n    with: {{ key: \"${{ input.name }}-a\", fail_until_attempt: 2 }}\n    retry: {{ attempts: 1 }}\n    on_error: park\nwork_items:\n  assign: net-team\n  due: 1s\n  escalate: [{{ after: {ESCALATED_AFTER_MS}ms, to: \"lead of ${{ input.name }}\" }}]\n"));
    system.apply(&[&parks]).await;
    let saga = system.run("parks", "p").await;
    system.api.await_status(&saga, "parked", SOON).await;
    await_paged(&system, "overdue opened net-team").await;
    let open = listed(&system, &["--for", "net-team", "--overdue"])
        .await
        .unwrap();
    let item = open["item"].clone();
    assert_eq!(
        (&open["saga"], &open["overdue"]),
        (&json!(saga), &json!(true))
    );
    assert_eq!(
        (&item["assignee"], &item["escalated"]),
        (&json!("net-team"), &Value::Null)
    );
    assert_eq!(listed(&system, &["--unassigned"]).await, None);
    assert_eq!(
        alerts(&system, "open")
            .await
            .iter()
            .filter(|one| one["kind"] == "escalated")
            .count(),
        0
    );

    system.orchestrator().process.kill9();
    let due = item["opened_at"].as_u64().unwrap() + ESCALATED_AFTER_MS;
    assert!(now_ms() < due, "it was killed before");
    tokio::time::sleep(Duration::from_millis(due.saturating_sub(now_ms()))).await;
    system.orchestrator().process.start_again();
    system.await_ready().await;
    await_paged(&system, "escalated opened lead of p").await;
    let item = listed(&system, &["--for", "lead of p"]).await.unwrap()["item"].clone();
    assert_eq!(
        (&item["escalated"], &item["escalate"][0]["to"]),
        (&json!(1), &json!("lead of p"))
    );
    let history = system
        .api
        .get(&format!("/v1/sagas/{saga}/records?limit=500"))
        .await;
    let times = history.to_string().matches("work-item-escalated").count();
    assert_eq!(times, 1, "{history}");
    let escalated = alert(&system, "escalated", "open").await;
    assert_eq!(escalated["key"], format!("escalated/{saga}/1/1"));
    assert_eq!(escalated["command"], format!("baton work take {saga} 1"));

    let words = ["work", "take", &saga, "-m", "I see to it", "--due", "3h"];
    system.cli().run(&words).await.exits(0);
    let mine = listed(&system, &["--mine"]).await.unwrap()["item"].clone();
    assert_eq!(mine["taken"]["reason"], "I see to it");
    assert_eq!(mine["taken"]["from"], "lead of p");
    assert!(
        mine["due_at"].as_u64().unwrap() > now_ms() + 7_200_000,
        "{mine}"
    );
    await_paged(&system, "escalated resolved lead of p").await;
    // it is due in three hours: nobody is late any more, and whoever was last is told
    await_paged(&system, "overdue resolved lead of p").await;
    assert_eq!(listed(&system, &["--overdue"]).await, None);
    let again = system.cli().run(&["work", "take", &saga, "1"]).await;
    again.exits(0);
    let given = [
        "work",
        "assign",
        &saga,
        "--to",
        "pki",
        "--due",
        "1ms",
        "-m",
        "it is a certificate",
    ];
    system.cli().run(&given).await.exits(0);
    await_paged(&system, "overdue opened pki").await;
    // no token has that name: it is a team's, and any of it takes it
    system.cli().run(&["work", "take", &saga]).await.exits(0);
    let mine = listed(&system, &["--mine"]).await.unwrap()["item"].clone();
    assert_eq!(mine["taken"]["from"], "lead of p");
    system
        .cli()
        .run(&["work", "give-back", &saga])
        .await
        .exits(0);
    assert!(listed(&system, &["--for", "lead of p"]).await.is_some());
    let audit = system.api.get("/v1/audit?limit=500").await.to_string();
    for word in ["takeWorkItem", "assignWorkItem", "giveWorkItemBack"] {
        assert!(audit.contains(word), "{word} is not in {audit}");
    }
    let act = json!({ "reason": "it is mended" });
    let told = system.api.act(&saga, "steps/a/retry", act).await;
    assert!(told.status < 300, "{told:?}");
    system.api.await_status(&saga, "completed", SOON).await;
    await_until("its alerts to be over", SOON, async || {
        let open = alerts(&system, "open").await;
        open.iter()
            .all(|one| !["overdue", "escalated", "parked"].contains(&one["kind"].as_str().unwrap()))
    })
    .await;
}

#[tokio::test]
async fn a_work_item_goes_to_the_next_until_somebody_takes_it() {
    goes_to_the_next_until_somebody_takes_it(Setup::workers(1)).await;
}

#[tokio::test]
async fn on_postgres_a_work_item_goes_to_the_next_until_somebody_takes_it() {
    goes_to_the_next_until_somebody_takes_it(Setup::workers(1).postgres()).await;
}
