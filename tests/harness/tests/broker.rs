//! The private broker does what tests rely on: apart from others, killed and back with its data, gone with its test.

use std::path::Path;
use std::time::Duration;

use baton_harness::{Broker, Options, await_until};
use serde_json::json;

const SOON: Duration = Duration::from_secs(90);

#[tokio::test]
async fn a_vhost_is_fresh_usable_and_gone_afterwards() {
    let broker = Broker::shared().await;
    let (one, other) = (broker.vhost().await, broker.vhost().await);
    one.declare("q", "quorum").await;
    assert!(
        one.publish("amq.default", "q", json!({ "message_id": "m1" }), "hello")
            .await
    );
    assert!(
        !one.publish("amq.default", "nowhere", json!({}), "lost")
            .await
    );
    one.await_messages("q", 1, 0, SOON).await;
    assert!(other.queues().await.is_empty());
    assert_eq!(one.peek("q", 10).await[0].properties["message_id"], "m1");
    assert_eq!(one.take("q", 10).await[0].payload, "hello");
    one.await_messages("q", 0, 0, SOON).await;

    let name = one.name().to_owned();
    drop(one);
    assert!(
        broker
            .management()
            .try_get(&format!("/api/vhosts/{name}"))
            .await
            .is_err()
    );
    assert!(
        broker
            .ctl(&["-q", "list_vhosts"])
            .await
            .contains(other.name())
    );
}

#[tokio::test]
async fn an_own_broker_survives_kill_9_and_ends_with_its_test() {
    let broker = Broker::own(Options::default().config("channel_max = 77")).await;
    let vhost = broker.vhost().await;
    vhost.declare("q", "quorum").await;
    assert!(vhost.publish("amq.default", "q", json!({}), "kept").await);
    vhost.await_messages("q", 1, 0, SOON).await;
    let (url, first) = (broker.amqp_url(), broker.pid());

    broker.kill9();
    assert!(std::net::TcpStream::connect(("127.0.0.1", broker.amqp_port())).is_err());
    broker.start().await;
    assert_eq!(broker.amqp_url(), url);
    assert_ne!(broker.pid(), first);
    vhost.await_messages("q", 1, 0, SOON).await;
    assert_eq!(vhost.take("q", 1).await[0].payload, "kept");
    assert!(
        broker
            .ctl(&["-q", "environment"])
            .await
            .contains("{channel_max,77}")
    );

    broker.stop().await;
    broker.start().await;
    vhost.await_messages("q", 0, 0, SOON).await;

    broker.pause();
    let asked = broker.management();
    let silent =
        tokio::time::timeout(Duration::from_millis(500), asked.try_get("/api/overview")).await;
    assert!(silent.is_err(), "a frozen broker answered");
    broker.resume();
    await_until("the thawed broker to answer", SOON, async || {
        asked.try_get("/api/overview").await.is_ok()
    })
    .await;

    let (dir, pid) = (broker.dir(), broker.pid());
    drop(vhost);
    drop(broker);
    assert!(!dir.exists(), "{} is left", dir.display());
    assert!(!runs(pid), "the broker outlives its test");
}

#[tokio::test]
#[should_panic(expected = "use Broker::own")]
async fn the_shared_broker_cannot_be_killed() {
    Broker::shared().await.kill9();
}

/// The test process is killed before it can drop anything: see the child's side below.
#[tokio::test]
async fn a_broker_ends_with_a_killed_test_process() {
    let me = std::env::current_exe().unwrap();
    let note = std::env::temp_dir().join(format!("baton-harness-{}", std::process::id()));
    let mut child = std::process::Command::new(me)
        .args([
            "the_other_side_of_a_killed_test_process",
            "--exact",
            "--nocapture",
        ])
        .env("BATON_TEST_NOTE", &note)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    await_until("the child's broker", Duration::from_secs(150), async || {
        note.exists()
    })
    .await;
    let pid: u32 = std::fs::read_to_string(&note).unwrap().parse().unwrap();
    assert!(runs(Some(pid)));
    child.kill().unwrap();
    child.wait().unwrap();
    await_until("the orphaned broker to end", SOON, async || {
        !runs(Some(pid))
    })
    .await;
    std::fs::remove_file(note).unwrap();
}

#[tokio::test]
async fn the_other_side_of_a_killed_test_process() {
    // does nothing unless it is the child of the test above
    let Some(note) = std::env::var_os("BATON_TEST_NOTE") else {
        return;
    };
    let broker = Broker::own(Options::default()).await;
    let unfinished = Path::new(&note).with_extension("part");
    std::fs::write(&unfinished, broker.pid().unwrap().to_string()).unwrap();
    std::fs::rename(unfinished, note).unwrap();
    std::future::pending::<()>().await;
}

fn runs(pid: Option<u32>) -> bool {
    // a zombie, waiting to be collected, has no command line
    std::fs::read(format!("/proc/{}/cmdline", pid.unwrap_or_default()))
        .is_ok_and(|line| !line.is_empty())
}
