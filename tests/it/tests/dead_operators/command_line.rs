//! `baton dead` as scripts use it: nothing is done to many without a word, what is refused says what is possible then, and whoever watches a replay sees its end.

use super::*;

/// Orders that are dead, oldest first.
async fn dead_orders(system: &System, count: usize) -> Vec<String> {
    orders(system, json!({ "dead-letter-exchange": "baton.dead" })).await;
    for n in 0..count {
        let properties = json!({ "message_id": format!("order {n}"), "headers": { "n": n } });
        put(system, "orders", properties, b"an order").await;
        rejected(system, "orders").await;
    }
    let mut all = letters(system, "state=dead", count).await;
    all.reverse();
    all.iter().map(|one| id(one).to_owned()).collect()
}

async fn are_dead(system: &System, count: usize) {
    let dead = letters(system, "state=dead", count).await;
    assert_eq!(dead.len(), count, "{dead:?}");
    let all = system.api.get("/v1/dead-letters/operations").await;
    assert_eq!(all["operations"], json!([]), "nothing was begun");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_done_to_many_where_nobody_can_be_asked() {
    let system = Setup::workers(0).start().await;
    let all = dead_orders(&system, 3).await;
    let (a, b) = (all[0].as_str(), all[1].as_str());
    let cli = system.cli();
    let cases: [(&[&str], &str); 6] = [
        (&["replay", "--queue", "orders", "-m", "x"], "replay 3"),
        (
            &["replay", "--queue", "orders", "-m", "x", "--json"],
            "replay 3",
        ),
        (&["replay", a, b, "-m", "x"], "replay 2"),
        (&["discard", "--queue", "orders", "-m", "x"], "discard 3"),
        (
            &["discard", "--queue", "orders", "-m", "x", "--json"],
            "discard 3",
        ),
        (&["discard", a, b, "-m", "x"], "discard 2"),
    ];
    for (words, would) in cases {
        let asked = [&["dead"][..], words].concat();
        let ran = cli.run(&asked).await.exits(2);
        let says = format!("this would {would} dead letters");
        assert!(
            ran.err.contains(&says) && ran.err.contains("next: the same with -y"),
            "{words:?}: {ran:?}"
        );
        are_dead(&system, 3).await;
    }
    system.vhost.declare("from", "quorum").await;
    system.vhost.declare("to", "quorum").await;
    put(&system, "from", json!({ "message_id": "m" }), b"m").await;
    system.vhost.await_messages("from", 1, 0, SOON).await;
    let url = system.vhost.url();
    let words = ["dead", "--amqp", &url, "move", "from", "/to"];
    let ran = cli.run(&words).await.exits(2);
    assert!(
        ran.err.contains("move 1 messages from from to /to"),
        "{ran:?}"
    );
    system.vhost.await_messages("from", 1, 0, SOON).await;
}

/// A filter that one fits is as good as its id: nobody has to say yes to many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_one_that_fits_a_filter_is_one_and_no_yes_is_wanted() {
    let system = Setup::workers(0).start().await;
    dead_orders(&system, 1).await;
    let cli = system.cli();
    let of = |action: &'static str| ["dead", action, "--queue", "orders", "-m", "x"];
    let gone = cli.run(&of("discard")).await.exits(0);
    assert!(gone.out.contains("1 of 1 discarded"), "{gone:?}");
    let back = cli.run(&of("restore")).await.exits(0);
    assert!(back.out.contains("1 of 1 restored"), "{back:?}");
    are_dead(&system, 1).await;
    let sent = [&of("replay")[..], &["--wait", "1", "--json"]].concat();
    cli.run(&sent).await.exits(0);
    assert_eq!(taken(&system, "orders").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_are_discarded_and_restored_by_their_ids() {
    let system = Setup::workers(0).start().await;
    let all = dead_orders(&system, 3).await;
    let (a, b) = (all[0].as_str(), all[1].as_str());
    let cli = system.cli();
    let dry = ["dead", "discard", a, b, "--dry-run"];
    let dry = cli.run(&dry).await.exits(0);
    assert_eq!(
        dry.out.matches("it would be discarded").count(),
        2,
        "{dry:?}"
    );
    let rows = system.api.get("/v1/audit?limit=100").await;
    assert_eq!(rows["items"], json!([]), "nobody has seen one in full");
    let dry = [
        "dead",
        "discard",
        "--queue",
        "orders",
        "-m",
        "x",
        "--dry-run",
    ];
    let dry = cli.run(&dry).await.exits(0);
    assert!(dry.out.contains("3 would be discarded"), "{dry:?}");
    are_dead(&system, 3).await;

    let gone = ["dead", "discard", a, b, "-m", "a test", "-y"];
    let gone = cli.run(&gone).await.exits(0);
    assert_eq!(gone.out.matches(": discarded").count(), 2, "{gone:?}");
    are_dead(&system, 1).await;
    // one of them stands elsewhere, and keeps the other not back
    let again = ["dead", "discard", a, &all[2], "-m", "a test", "-y"];
    let again = cli.run(&again).await.exits(1);
    assert!(
        again.err.contains("it is discarded") && again.out.contains(&all[2]),
        "{again:?}"
    );
    are_dead(&system, 0).await;
    let back = ["dead", "restore", a, b, &all[2], "-m", "a mistake", "-y"];
    let back = cli.run(&back).await.exits(0);
    assert_eq!(back.out.matches(": dead").count(), 3, "{back:?}");
    are_dead(&system, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_says_what_is_possible_then() {
    let system = Setup::workers(0).start().await;
    let all = dead_orders(&system, 1).await;
    let one = all[0].as_str();
    let cli = system.cli();
    let many = ["dead", "replay", one, "--rate", "5", "--look", "7"];
    let ran = cli.run(&many).await.exits(2);
    assert!(ran.err.contains("--rate, --look are for many"), "{ran:?}");
    let url = system.vhost.url();
    let ran = cli.run(&["dead", "--amqp", &url, "ls"]).await.exits(2);
    assert!(ran.err.contains("only peek and move"), "{ran:?}");
    let nowhere = ["dead", "--amqp", &url, "peek", "nowhere"];
    let ran = cli.run(&nowhere).await.exits(1);
    assert!(ran.err.contains("no queue nowhere"), "{ran:?}");

    cli.run(&["dead", "discard", one, "-m", "x"]).await.exits(0);
    let dry = cli
        .run(&["dead", "replay", one, "--dry-run"])
        .await
        .exits(1);
    let next = format!("next: baton dead restore {one}");
    assert!(
        dry.err.contains("it is discarded, by") && dry.err.contains(&next),
        "{dry:?}"
    );
    let ran = cli.run(&["dead", "replay", one]).await.exits(1);
    assert!(ran.err.contains(&next), "{ran:?}");
    let shown = cli.run(&["dead", "show", one]).await.exits(0);
    let next = format!("baton dead restore {one}");
    assert!(shown.out.contains(&next), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_watches_a_replay_sees_its_end_although_the_orchestrator_dies() {
    let mut system = Setup::workers(0).start().await;
    dead_orders(&system, 6).await;
    let cli = system.cli();
    let words = [
        "dead", "replay", "--queue", "orders", "-m", "mended", "-y", "--rate", "1", "--wait", "1",
    ];
    let follows = cli.command(&words).spawn().expect("baton starts");
    let id = await_some("some to be sent", SOON, async || {
        let all = system.api.get("/v1/dead-letters/operations").await;
        let first = all["operations"].as_array()?.first()?.clone();
        let is_under_way = first["replayed"].as_u64() > Some(0);
        is_under_way.then(|| id(&first).to_owned())
    })
    .await;
    system.orchestrator().kill9_and_start();
    let ended = tokio::time::timeout(SOON, follows.wait_with_output());
    let ended = ended.await.expect("it ends").expect("it ran");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(said.contains("6 of 6") && said.contains("done"), "{said}");

    let shown = cli.run(&["dead", "ops", "show", &id]).await.exits(0);
    assert!(
        shown.out.contains("1 a second at most") && shown.out.contains("mended"),
        "{shown:?}"
    );
    let ended = cli.run(&["dead", "ops", "cancel", &id]).await.exits(1);
    let next = format!("next: baton dead ops show {id}");
    assert!(ended.err.contains(&next), "{ended:?}");
    let page = cli.run(&["dead", "ops", "ls", "-n", "1"]).await.exits(0);
    assert!(
        !page.out.contains("--cursor"),
        "it is the only one: {page:?}"
    );
}
