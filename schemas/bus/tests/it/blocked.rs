//! The broker out of memory: publishers hear of it and do not hang, consumers go on, and it heals by itself.

use std::time::{Duration, Instant};

use baton_bus::{Link, Sent};
use baton_harness::{Broker, Options};

use crate::support::{KEY, QUEUE, bus, config, message, spec, take, topology, within};

#[tokio::test]
async fn a_memory_alarm_blocks_publishing_and_nothing_else() {
    let broker = Broker::own(Options::default()).await;
    let vhost = broker.vhost().await;
    let mut config = config(vhost.url());
    config.confirm_timeout_ms = 2_000;
    let bus = bus(config).await;
    bus.declare(&topology()).await.unwrap();
    let publisher = bus.publisher();
    let sent = publisher
        .publish((0..50).map(|i| message(KEY, i.to_string())).collect())
        .await;
    assert!(sent.iter().all(|s| *s == Sent::Confirmed), "{sent:?}");
    let mut consumer = bus.consume(spec(QUEUE)).await;
    take(&mut consumer, 10).await;

    broker
        .ctl(&["set_vm_memory_high_watermark", "0.00001"])
        .await;
    // the broker blocks a connection when it next publishes
    let begun = Instant::now();
    let sent = publisher.publish(vec![message(KEY, "blocked")]).await;
    assert!(matches!(&sent[0], Sent::Unknown { .. }), "{sent:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "took {:?}",
        begun.elapsed()
    );
    let mut state = bus.state();
    let blocked = state.wait_for(|now| matches!(now.publishing, Link::Blocked { .. }));
    within("the state to say blocked", blocked).await.unwrap();

    let sent = publisher.publish(vec![message(KEY, "never sent")]).await;
    assert!(
        matches!(&sent[0], Sent::NotSent { why } if why.contains("block")),
        "{sent:?}"
    );

    assert!(
        matches!(bus.state().borrow().consuming, Link::Up { .. }),
        "the consuming connection is not blocked"
    );
    take(&mut consumer, 40).await;
    vhost
        .await_messages(QUEUE, 0, 0, crate::support::LIMIT)
        .await;

    broker.ctl(&["set_vm_memory_high_watermark", "0.6"]).await;
    within("the bus to be ready again", bus.ready()).await;
    assert_eq!(
        publisher.publish(vec![message(KEY, "after")]).await,
        [Sent::Confirmed]
    );
    let mut last = take(&mut consumer, 1).await;
    if last == ["blocked"] {
        // unknown means that it may have arrived
        last = take(&mut consumer, 1).await;
    }
    assert_eq!(last, ["after"]);
}
