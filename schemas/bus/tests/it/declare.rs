//! Declaring as somebody who may not, or where somebody else made it otherwise.

use baton_bus::{BusError, QueueDepth};
use baton_messages::topology::{Queue, Topology};

use crate::support::{KEY, QUEUE, bus, bus_with_queue, config, message, topology, vhost};

#[tokio::test]
async fn all_of_the_base_is_declared_and_declaring_again_changes_nothing() {
    let vhost = vhost().await;
    let bus = bus(config(vhost.url())).await;
    let base = Topology::base(2);
    let things = base.exchanges.len() + base.queues.len() + base.bindings.len();
    for _ in 0..2 {
        let report = bus.declare(&base).await.unwrap();
        assert!(
            report.is_complete() && report.drifted.is_empty() && report.unseen.is_empty(),
            "{report}"
        );
        assert_eq!(report.declared, things);
    }
    let inbox = vhost.queue("baton.inbox.01").await.unwrap();
    assert_eq!(inbox.arguments["x-queue-type"], "quorum");
    assert_eq!(inbox.arguments["x-single-active-consumer"], true);
}

#[tokio::test]
async fn who_may_not_declare_is_told_what_is_missing_and_what_to_run() {
    let vhost = vhost().await;
    bus_with_queue(&vhost).await;
    let user = format!("{}-poor", vhost.name());
    vhost.user(&user, "^$", ".*", ".*").await;
    let bus = bus(config(vhost.url_as(&user))).await;

    let mut wanted = topology();
    let report = bus.declare(&wanted).await.unwrap();
    assert!(report.is_complete(), "{report}");
    assert_eq!(
        report.unseen.len(),
        2,
        "exchange and queue are there: {report:?}"
    );
    assert_eq!(
        report.declared, 1,
        "binding needs no configure permission: {report:?}"
    );

    wanted.queues.push(Queue {
        name: "baton.inbox.00".to_owned(),
        single_active_consumer: true,
    });
    let report = bus.declare(&wanted).await.unwrap();
    assert!(!report.is_complete());
    let told = report.to_string();
    assert!(told.contains("queue baton.inbox.00 is missing"), "{told}");
    assert!(told.contains("baton topology apply"), "{told}");
    assert!(!told.contains(QUEUE), "{told}");
}

#[tokio::test]
async fn what_somebody_made_otherwise_is_used_as_it_is() {
    let vhost = vhost().await;
    vhost.declare(QUEUE, "classic").await;
    let bus = bus(config(vhost.url())).await;
    let report = bus.declare(&topology()).await.unwrap();
    assert!(report.is_complete());
    assert_eq!(report.drifted.len(), 1);
    let told = report.to_string();
    assert!(
        told.contains(QUEUE) && told.contains("x-queue-type"),
        "{told}"
    );
    // and the binding after it was made all the same
    assert_eq!(
        bus.publisher().publish(vec![message(KEY, "x")]).await,
        [baton_bus::Sent::Confirmed]
    );
    assert_eq!(
        vhost.queue(QUEUE).await.unwrap().arguments["x-queue-type"],
        "classic"
    );
}

#[tokio::test]
async fn a_binding_to_nothing_is_missing() {
    let vhost = vhost().await;
    let bus = bus(config(vhost.url())).await;
    let wanted = Topology {
        queues: Vec::new(),
        ..topology()
    };
    let report = bus.declare(&wanted).await.unwrap();
    assert_eq!(report.missing.len(), 1, "{report:?}");
    assert!(report.to_string().contains("NOT_FOUND"), "{report}");
}

#[tokio::test]
async fn depth_and_deletion() {
    let vhost = vhost().await;
    let bus = bus_with_queue(&vhost).await;
    assert_eq!(bus.queue_depth("not.there").await.unwrap(), None);
    bus.publisher().publish(vec![message(KEY, "x")]).await;
    let depth = bus.queue_depth(QUEUE).await.unwrap();
    assert_eq!(
        depth,
        Some(QueueDepth {
            ready: 1,
            consumers: 0
        })
    );
    assert!(
        !bus.delete_queue(QUEUE).await.unwrap(),
        "a queue with a message in it stays"
    );
    vhost.take(QUEUE, 1).await;
    assert!(bus.delete_queue(QUEUE).await.unwrap());
    assert_eq!(bus.queue_depth(QUEUE).await.unwrap(), None);
}

#[tokio::test]
async fn another_refusal_is_an_error_with_its_cause() {
    let vhost = vhost().await;
    let user = format!("{}-blind", vhost.name());
    vhost.user(&user, "^$", "^$", "^$").await;
    let bus = bus(config(vhost.url_as(&user))).await;
    bus_with_queue(&vhost).await;
    match bus.delete_queue(QUEUE).await {
        Err(BusError::Refused { operation, source }) => {
            assert!(operation.contains(QUEUE), "{operation}");
            assert!(source.to_string().contains("ACCESS_REFUSED"), "{source}");
        }
        other => panic!("{other:?}"),
    }
}
