//! The broker set up from the one definition: `baton topology` makes it, finds what differs and sets it right; orchestrator and worker do
//! all they have to as users with the least permissions, and may do nothing else; the shipped policies keep what a broken consumer drops.

use baton_harness::{Vhost, await_until};
use baton_it::sagas::Saga;
use baton_it::{Cli, Ran, SOON, Setup, System};
use serde_json::{Value, json};

/// Deliveries after which the shipped policy takes a task off its queue.
const TASK_DELIVERY_LIMIT: usize = 20;

/// `baton topology COMMAND` at the broker of the tests, as its administrator.
async fn topology(cli: &Cli, vhost: &Vhost, args: &[&str]) -> Ran {
    let management = vhost.broker().management_url();
    let (_, host) = management.split_once("//").expect("a URL has a host");
    let (user, password) = (baton_harness::USER, baton_harness::PASSWORD);
    let url = format!("http://{user}:{password}@{host}");
    let mut all = vec![
        "topology",
        args[0],
        "--management",
        &url,
        "--vhost",
        vhost.name(),
    ];
    all.extend(&args[1..]);
    cli.run(&all).await
}

fn password_of(applied: &Value, user: &str) -> String {
    let row = applied["done"].as_array().into_iter().flatten();
    let row = row.filter(|row| row["user"] == *user);
    let password: Vec<&str> = row.filter_map(|row| row["password"].as_str()).collect();
    assert_eq!(password.len(), 1, "{applied}");
    password[0].to_owned()
}

/// The address of the broker for a user and his password.
fn url(vhost: &Vhost, user: &str, password: &str) -> String {
    vhost.url_as(user).replacen(
        &format!("{user}:{user}@"),
        &format!("{user}:{password}@"),
        1,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_with_the_least_permissions_can_do_all_they_have_to_and_nothing_else() {
    let mut system = Setup::workers(0).start_without_orchestrator().await;
    let cli = system.cli();
    let [orchestrator, worker, publisher] = ["orchestrator", "worker", "publisher"].map(unique);
    let users = [
        format!("orchestrator={orchestrator}"),
        format!("worker={worker}"),
        format!("publisher={publisher}"),
    ];
    let mut apply = vec!["apply", "--json"];
    users.iter().for_each(|user| apply.extend(["--user", user]));
    let applied = topology(&cli, &system.vhost, &apply).await.exits(0).json();
    let orchestrator_url = url(
        &system.vhost,
        &orchestrator,
        &password_of(&applied, &orchestrator),
    );
    let worker_url = url(&system.vhost, &worker, &password_of(&applied, &worker));
    let publisher_url = url(
        &system.vhost,
        &publisher,
        &password_of(&applied, &publisher),
    );
    let again = topology(&cli, &system.vhost, &apply).await.exits(0).json();
    assert_eq!(
        again,
        json!({ "done": [], "drifts": [] }),
        "nothing is left to do"
    );

    let (launch, api) = system.another_orchestrator();
    let _process = launch
        .env("BATON__BUS__ADDRESSES", &orchestrator_url)
        .start();
    system.add_worker(&[("bus.addresses", &worker_url)]);
    await_until("the worker's types to be known", SOON, async || {
        api.is_known("test.effect@1").await
    })
    .await;
    let ready = api.get("/readyz").await;
    let ready = ready.as_str().unwrap_or_default();
    assert_eq!(
        ready.trim(),
        "ok",
        "what it may not declare, it finds: {ready}"
    );

    // forward, and back: tasks, claims, grants, reports, an undo
    let saga = Saga::named("row").effect("a", "").late("b", "");
    let back = Saga::named("back")
        .effect("a", "")
        .effect("b", ", fail: final");
    for saga in [&saga, &back] {
        api.apply(saga.yaml()).await;
    }
    let row = api.start("row", &system.input("forward"), "forward").await;
    api.await_status(&row, "completed", SOON).await;
    let back = api.start("back", &system.input("back"), "back").await;
    api.await_status(&back, "compensated", SOON).await;

    // an event: the queue of triggers is bound to it, whoever publishes events may say it, and nothing else
    api.apply(WAITS).await;
    let waits = api.start("waits", &json!({}), "waits").await;
    api.await_phase(&waits, "heard", "listening").await;
    let said = |exchange: &str| {
        let event = r#"{"specversion":"1.0","id":"e1","source":"/t","type":"com.test.happened"}"#;
        tokio::process::Command::new("amqp-publish")
            .args(["--url", &publisher_url, "-e", exchange])
            .args([
                "-r",
                "com.test.happened",
                "-C",
                "application/cloudevents+json",
                "-b",
                event,
            ])
            .output()
    };
    let published = said("baton.events")
        .await
        .expect("amqp-publish is installed");
    assert!(published.status.success(), "{published:?}");
    api.await_status(&waits, "completed", SOON).await;
    let published = said("baton.inbox")
        .await
        .expect("amqp-publish is installed");
    let text = String::from_utf8_lossy(&published.stderr);
    assert!(text.contains("ACCESS_REFUSED"), "{text}");

    // a message nobody can read: the worker puts it aside, the orchestrator keeps it
    let routed = system
        .vhost
        .publish("baton.tasks", "default.test.effect@1", json!({}), "no task")
        .await;
    assert!(routed);
    await_until("the dead letter to be kept", SOON, async || {
        !api.dead_letters().await.is_empty()
    })
    .await;

    refused(&system.vhost, &worker, &worker_url).await;
    for user in [&orchestrator, &worker, &publisher] {
        let path = format!("/api/users/{user}");
        system.vhost.management().delete(&path).await;
    }
}

/// Waits for somebody outside.
const WAITS: &str = "saga: waits
version: 1
input: { type: object }
steps:
  - id: heard
    wait: { event: com.test.happened, timeout: 1h }
";

/// What a worker must not do: publish a task, start a saga by an event, read the inbox or another pool, make a queue.
async fn refused(vhost: &Vhost, worker: &str, worker_url: &str) {
    let may = vhost
        .management()
        .get(&format!("/api/users/{worker}/permissions"))
        .await;
    let may = &may[0];
    let fits = |what: &str, name: &str| {
        let pattern = may[what].as_str().expect("a permission is a pattern");
        regex::Regex::new(pattern)
            .expect("it is one")
            .is_match(name)
    };
    for exchange in [
        "baton.tasks",
        "baton.events",
        "baton.control",
        "baton.peers",
        // the default exchange, by the name under which its permission is asked
        "amq.default",
    ] {
        assert!(!fits("write", exchange), "{exchange}");
    }
    for queue in [
        "baton.inbox.00",
        "baton.triggers",
        "baton.dead",
        "baton.task.lab.test.effect@1",
    ] {
        assert!(!fits("read", queue), "{queue}");
    }
    for name in [
        "baton.task.default.test.effect@1",
        "baton.inbox.00",
        "baton.tasks",
        "mine",
    ] {
        assert!(!fits("configure", name), "{name}");
    }
    // and that it is the broker which says no: a client that is not ours
    let tried = tokio::process::Command::new("amqp-publish")
        .args([
            "--url",
            worker_url,
            "-e",
            "baton.tasks",
            "-r",
            "default.test.effect@1",
            "-b",
            "{}",
        ])
        .output()
        .await
        .expect("amqp-publish is installed by deploy/packages.sh");
    let said = String::from_utf8_lossy(&tried.stderr);
    assert!(said.contains("ACCESS_REFUSED"), "{said}");
}

fn unique(role: &str) -> String {
    format!("{role}-{}", uuid::Uuid::new_v4().simple())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_consumer_drops_again_and_again_the_shipped_policies_keep() {
    let system = Setup::workers(0).start().await;
    let queue = "baton.task.default.test.echo@1";
    let apply = ["apply", "--task", "test.echo@1"];
    topology(&system.cli(), &system.vhost, &apply)
        .await
        .exits(0);
    effective(&system, queue, "baton-task").await;
    effective(&system, "baton.inbox.00", "baton-inbox").await;
    effective(&system, "baton.dead", "baton-dead").await;

    let properties = json!({ "message_id": "dropped", "type": "task@1" });
    assert!(
        system
            .vhost
            .publish("baton.tasks", "default.test.echo@1", properties, "a task")
            .await
    );
    for _ in 0..TASK_DELIVERY_LIMIT {
        system.vhost.peek_one(queue).await;
    }
    await_until("the broker's dead letter to be kept", SOON, async || {
        // once more than it may be
        system.vhost.peek(queue, 1).await;
        !system.api.dead_letters().await.is_empty()
    })
    .await;
    let letters = system.api.dead_letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(
        letters[0]["queue"], queue,
        "where it was dropped: {letters:?}"
    );
    assert_eq!(letters[0]["reason"], "delivered-too-often", "{letters:?}");
    assert_eq!(
        letters[0]["error"], "dead-lettered by the broker: delivery_limit",
        "by whom: {letters:?}"
    );
    assert_eq!(letters[0]["message_id"], "dropped", "{letters:?}");
    system.vhost.await_messages(queue, 0, 0, SOON).await;
}

/// Which policy a queue really has, and that at-least-once dead-lettering is no mere word.
async fn effective(system: &System, queue: &str, policy: &str) {
    let path = format!(
        "/api/queues/{}/{}",
        system.vhost.name(),
        queue.replace('@', "%40")
    );
    await_until(&format!("{policy} to apply to {queue}"), SOON, async || {
        let seen = system.vhost.management().get(&path).await;
        seen["policy"] == policy
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_is_found_with_what_mends_it_and_set_right_where_nothing_is_lost() {
    let system = Setup::workers(0).start_without_orchestrator().await;
    let (cli, vhost) = (system.cli(), &system.vhost);
    let missing = topology(&cli, vhost, &["check"]).await.exits(1);
    assert!(
        missing.out.contains("exchange baton.tasks"),
        "{}",
        missing.out
    );
    assert!(
        missing.out.contains("baton topology apply"),
        "{}",
        missing.out
    );
    topology(&cli, vhost, &["apply", "--task", "test.echo@1"])
        .await
        .exits(0);
    topology(&cli, vhost, &["check"]).await.exits(0);

    // a policy changed, another one that goes before ours, a queue lost, and one made by somebody who knew better
    let management = vhost.management();
    let policy = format!("/api/policies/{}/baton-inbox", vhost.name());
    let body = json!({ "pattern": r"^baton\.(inbox\.|triggers$)", "apply-to": "queues", "definition": { "max-length": 5, "overflow": "drop-head" } });
    management.put(&policy, &body).await;
    vhost
        .policy("everything", r"^baton\.task\.", json!({ "max-length": 10 }))
        .await;
    vhost.delete_queue("baton.triggers").await;
    vhost.delete_queue("baton.dead").await;
    vhost.declare("baton.dead", "classic").await;
    await_until("the other policy to apply", SOON, async || {
        let found = topology(&cli, vhost, &["check", "--json"]).await;
        found.out.contains("everything applies to it")
    })
    .await;

    let found = topology(&cli, vhost, &["check", "--json"])
        .await
        .exits(1)
        .json();
    let drifts = found["drifts"].as_array().expect("a list");
    let of = |what: &str| {
        let drift = drifts.iter().find(|drift| drift["what"] == what);
        drift.unwrap_or_else(|| panic!("nothing of {what}: {found:#}"))
    };
    assert!(
        of("policy baton-inbox")["is"]
            .as_str()
            .unwrap()
            .contains("overflow is \"drop-head\""),
        "{found:#}"
    );
    assert!(
        of("queue baton.task.default.test.echo@1")["mend"]
            .as_str()
            .unwrap()
            .contains("lower priority")
    );
    assert_eq!(of("queue baton.triggers")["is"], "missing");
    assert!(
        of("queue baton.dead")["is"]
            .as_str()
            .unwrap()
            .contains("classic")
    );
    assert_eq!(of("binding of baton.dead to baton.dead")["is"], "missing");

    // what can be is set right; a person is told the rest, and no message was touched
    let applied = topology(&cli, vhost, &["apply", "--json"])
        .await
        .exits(1)
        .json();
    let left: Vec<&Value> = applied["drifts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|drift| &drift["what"])
        .collect();
    assert_eq!(
        left,
        ["queue baton.dead", "queue baton.task.default.test.echo@1"],
        "{applied:#}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_none_or_says_no_is_named_with_what_to_do() {
    let system = Setup::workers(0).start_without_orchestrator().await;
    let cli = system.cli();
    let nobody = [
        "topology",
        "check",
        "--management",
        "http://a:secret@127.0.0.1:9",
    ];
    let ran = cli.run(&nobody).await.exits(1);
    assert!(
        ran.err.contains("no management API") && ran.err.contains("rabbitmq-plugins"),
        "{}",
        ran.err
    );
    assert!(!ran.err.contains("secret"), "{}", ran.err);
    let wrong = system
        .vhost
        .broker()
        .management_url()
        .replacen("//", "//nobody:wrong@", 1);
    let ran = cli
        .run(&["topology", "check", "--management", &wrong])
        .await
        .exits(1);
    assert!(
        ran.err.contains("401") && ran.err.contains("administrator"),
        "{}",
        ran.err
    );
    let ran = cli
        .run(&["topology", "apply", "--user", "boss=me"])
        .await
        .exits(2);
    assert!(
        ran.err.contains("orchestrator, worker, publisher, monitor"),
        "{}",
        ran.err
    );
}
