//! The broker killed in the middle of publishing: what was confirmed is there afterwards.

use std::{collections::BTreeSet, time::Duration};

use baton_bus::Sent;
use baton_harness::{Broker, Options};

use crate::support::{KEY, QUEUE, bus, config, message, spec, text, topology, within};

#[tokio::test]
async fn nothing_confirmed_is_lost_when_the_broker_is_killed() {
    let broker = Broker::own(Options::default()).await;
    let vhost = broker.vhost().await;
    let mut config = config(vhost.url());
    // what is asked of a queue before it has a leader again may never be confirmed
    config.confirm_timeout_ms = 6_000;
    let bus = bus(config).await;
    bus.declare(&topology()).await.unwrap();
    // The broker writes half a second late by which name it finds the log of a queue again, and where: one that was declared
    // just before a power cut may come back without its messages, or not at all. Stopped in order once, all of it is on disk.
    broker.stop().await;
    broker.start().await;
    within("the bus to be ready", bus.ready()).await;

    let mut confirmed = BTreeSet::new();
    let (mut all, mut unknown) = (0, 0);
    for round in 0..3 {
        let publisher = bus.publisher();
        let (progress, mut batches) = tokio::sync::watch::channel(0);
        let publishing = tokio::spawn(async move {
            let mut told = Vec::new();
            // batch after batch until the kill has met one, so that some are before it and at least one is within
            while told.iter().all(|(_, sent)| *sent == Sent::Confirmed) {
                let batch = *progress.borrow();
                let names: Vec<String> = (0..500).map(|i| format!("{round}-{batch}-{i}")).collect();
                let sent = publisher
                    .publish(
                        names
                            .iter()
                            .map(|name| message(KEY, name.as_str()))
                            .collect(),
                    )
                    .await;
                told.extend(names.into_iter().zip(sent));
                progress.send_replace(batch + 1);
            }
            told
        });
        let some = within("some to be confirmed", batches.wait_for(|n| *n > round)).await;
        drop(some.unwrap());
        broker.kill9();
        broker.start().await;
        for (name, sent) in within("the publishing to end", publishing).await.unwrap() {
            all += 1;
            match sent {
                Sent::Confirmed => assert!(confirmed.insert(name)),
                Sent::NotSent { .. } | Sent::Unknown { .. } => unknown += 1,
                other => panic!("{name}: {other:?}"),
            }
        }
    }
    assert_eq!(confirmed.len() + unknown, all);
    assert!(unknown > 0, "the kill met nothing in flight");

    within("the bus to be ready again", bus.ready()).await;
    let mut consumer = bus.consume(spec(QUEUE)).await;
    let mut missing = confirmed;
    while !missing.is_empty() {
        let deliveries = within(
            "the messages that were confirmed",
            consumer.next_batch(512, Duration::ZERO),
        )
        .await;
        let deliveries = deliveries.unwrap();
        for delivery in &deliveries {
            missing.remove(&text(delivery));
        }
        consumer
            .ack_until(&deliveries.last().unwrap().tag)
            .await
            .unwrap();
    }
}
