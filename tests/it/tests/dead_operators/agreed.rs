//! What was agreed to and what comes of it: nothing but what the plan was of, whatever arrives meanwhile; and what is left can be found.

use super::*;

/// A message of others, given up in a queue of theirs.
async fn given_up(system: &System, queue: &str, n: usize) {
    let headers = json!({ "n": n, "baton-dead-exchange": "", "baton-dead-key": queue, "baton-dead-queue": queue });
    let properties = json!({ "message_id": format!("m{n}"), "headers": headers });
    put(system, "baton.dead", properties, b"{}").await;
}

async fn begun(system: &System, body: Value) -> String {
    let begun = post(system, "replays", body).await;
    let id = begun.body["operation"]["id"].as_str();
    id.unwrap_or_else(|| panic!("it begins: {begun:?}"))
        .to_owned()
}

async fn ended(system: &System, id: &str, state: &str) -> Value {
    let path = format!("/v1/dead-letters/operations/{id}");
    await_some("the replay to end", SOON, async || {
        let now = system.api.ask("GET", &path, "", None).await?.body;
        (now["state"] == state).then_some(now)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_dies_after_a_plan_was_shown_is_neither_discarded_nor_replayed() {
    let system = Setup::workers(0).start().await;
    system.vhost.declare("orders", "quorum").await;
    for n in 0..2 {
        given_up(&system, "orders", n).await;
    }
    letters(&system, "state=dead", 2).await;
    let open = json!({ "queue": "orders" });
    let planned = json!({ "dry_run": true, "filter": open });
    let plan = post(&system, "discards", planned.clone()).await.body;
    assert_eq!(plan["found"], 2, "{plan}");
    given_up(&system, "orders", 2).await;
    letters(&system, "state=dead", 3).await;
    let asked = json!({ "reason": "seen", "filter": open, "as_of": plan["as_of"] });
    let done = post(&system, "discards", asked).await.body;
    assert_eq!((&done["found"], &done["moved"]), (&json!(2), &json!(2)));
    let left = letters(&system, "state=dead", 1).await;
    assert_eq!((left.len(), numbers(&left)), (1, vec![2]), "{left:?}");

    let plan = post(&system, "replays", planned).await.body["plan"].clone();
    assert_eq!(plan["found"], 1, "{plan}");
    given_up(&system, "orders", 3).await;
    // one that was discarded when it was looked is not of the plan either
    let gone = letters(&system, "state=discarded", 2).await.remove(0);
    post(&system, &format!("{}/restore", id(&gone)), json!({})).await;
    letters(&system, "state=dead", 3).await;
    // by the letter itself, and by no clock
    let last = left[0]["at"].clone();
    assert_eq!((&plan["as_of"], &plan["died_as_of"]), (&last, &last));
    let asked = json!({ "reason": "go", "wait_s": 0, "filter": open, "as_of": plan["as_of"], "died_as_of": plan["died_as_of"] });
    let replay = begun(&system, asked).await;
    let done = ended(&system, &replay, "done").await;
    assert_eq!(
        (&done["found"], &done["replayed"], &done["published"]),
        (&json!(1), &json!(1), &json!(1)),
        "{done}"
    );
    assert_eq!(numbers(&taken(&system, "orders").await), [2]);
    assert_eq!(letters(&system, "state=dead", 2).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replay_left_is_found_by_it() {
    let system = Setup::workers(0).start().await;
    system.vhost.declare("orders", "quorum").await;
    for n in 0..4 {
        given_up(&system, "orders", n).await;
    }
    let all = letters(&system, "state=dead", 4).await;
    for one in &all[..2] {
        // as often as they go without being forced
        for _ in 0..3 {
            let path = format!("{}/replay", id(one));
            let answer = post(&system, &path, json!({ "to": "/nobody-made-it" })).await;
            assert_eq!(answer.body["state"], "dead", "{answer:?}");
        }
    }
    given_up(&system, "others", 9).await;
    letters(&system, "state=dead", 5).await;
    let ran = system
        .cli()
        .run(&[
            "dead", "replay", "-q", "orders", "--wait", "0", "-y", "-m", "go",
        ])
        .await;
    assert_eq!(ran.code, 1, "two are refused: {ran:?}");
    let operations = system.api.get("/v1/dead-letters/operations").await;
    let replay = operations["operations"][0]["id"].as_str().expect("an id");
    let command = format!("baton dead --operation {replay}");
    assert!(
        ran.out.contains(&command) || ran.err.contains(&command),
        "{ran:?}"
    );
    let query = format!("operation={replay}");
    let left = letters(&system, &format!("state=dead&{query}"), 2).await;
    let mut left: Vec<&str> = left.iter().map(id).collect();
    let mut refused: Vec<&str> = all[..2].iter().map(id).collect();
    left.sort_unstable();
    refused.sort_unstable();
    assert_eq!(left, refused);
    assert_eq!(letters(&system, &query, 4).await.len(), 4);
    let shown = system
        .cli()
        .run(&["dead", "--operation", &replay[..13]])
        .await
        .exits(0);
    assert!(shown.out.contains(&left[0][..8]), "{shown:?}");
}
