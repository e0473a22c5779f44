//! The broker killed in the middle of publishing: what was confirmed is there afterwards.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use baton_bus::Sent;
use baton_harness::{Broker, Options, await_until};

use crate::support::{KEY, LIMIT, QUEUE, bus, config, message, spec, text, topology, within};

/// Whether the queue stands in the file by which the broker finds its log again. The broker writes that file half a second
/// late: a quorum queue that was made just before a power cut comes back empty, and without a leader for ever.
fn is_registered(dir: &Path) -> bool {
    files_named("names.dets", dir)
        .iter()
        .filter_map(|path| std::fs::read(path).ok())
        .any(|bytes| {
            bytes
                .windows(QUEUE.len())
                .any(|found| found == QUEUE.as_bytes())
        })
}

fn files_named(name: &str, below: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(below).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_named(name, &entry.path()),
            Ok(_) if entry.file_name() == name => vec![entry.path()],
            Ok(_) | Err(_) => Vec::new(),
        })
        .collect()
}

#[tokio::test]
async fn nothing_confirmed_is_lost_when_the_broker_is_killed() {
    let broker = Broker::own(Options::default()).await;
    let vhost = broker.vhost().await;
    let mut config = config(vhost.url());
    // what is asked of a queue before it has a leader again may never be confirmed
    config.confirm_timeout_ms = 6_000;
    let bus = bus(config).await;
    bus.declare(&topology()).await.unwrap();
    await_until("the broker to have the queue on disk", LIMIT, async || {
        is_registered(&broker.dir())
    })
    .await;

    let mut confirmed = BTreeSet::new();
    let (mut all, mut unknown) = (0, 0);
    for round in 0..3 {
        let publisher = bus.publisher();
        let publishing = tokio::spawn(async move {
            let mut told = Vec::new();
            // several batches, so that the kill meets some before, within and after
            for batch in 0..20 {
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
            }
            told
        });
        tokio::time::sleep(Duration::from_millis(150 + 200 * round)).await;
        broker.kill9();
        broker.start().await;
        for (name, sent) in within("the publishing to end", publishing).await.unwrap() {
            all += 1;
            match sent {
                Sent::Confirmed => assert!(confirmed.insert(name)),
                Sent::Unknown { .. } => unknown += 1,
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
