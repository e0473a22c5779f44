//! What the tests share: a bus on a fresh virtual host, messages, deadlines.

use std::time::Duration;

use baton_bus::{Bus, BusConfig, ConsumeSpec, Consumer, Delivery, Outgoing};
use baton_harness::{Broker, Vhost};
use baton_messages::{
    MessageId,
    topology::{Binding, Exchange, ExchangeKind, Queue, Topology},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long anything may take on two busy cores.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) const EXCHANGE: &str = "baton.tasks";
pub(crate) const QUEUE: &str = "baton.task.default.test.echo@1";
pub(crate) const KEY: &str = "default.test.echo@1";

pub(crate) async fn vhost() -> Vhost {
    Broker::shared().await.vhost().await
}

pub(crate) fn config(url: String) -> BusConfig {
    BusConfig {
        addresses: vec![url],
        role: "test".to_owned(),
        reconnect_ms_max: 1_000,
        ..BusConfig::default()
    }
}

pub(crate) async fn bus(config: BusConfig) -> Bus {
    // shown for failed tests, as far as RUST_LOG asks for it; the second test of the process finds it set
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_test_writer()
        .try_init();
    let bus = Bus::start(config, CancellationToken::new()).unwrap();
    within("the bus to be ready", bus.ready()).await;
    bus
}

/// A bus on this virtual host, with one exchange and one quorum queue bound to it.
pub(crate) async fn bus_with_queue(vhost: &Vhost) -> Bus {
    let bus = bus(config(vhost.url())).await;
    let report = bus.declare(&topology()).await.unwrap();
    assert!(report.is_complete(), "{report}");
    bus
}

pub(crate) fn topology() -> Topology {
    Topology {
        exchanges: vec![Exchange {
            name: EXCHANGE.to_owned(),
            kind: ExchangeKind::Direct,
        }],
        queues: vec![Queue {
            name: QUEUE.to_owned(),
            single_active_consumer: false,
        }],
        bindings: vec![Binding {
            exchange: EXCHANGE.to_owned(),
            queue: QUEUE.to_owned(),
            key: KEY.to_owned(),
        }],
        policies: Vec::new(),
    }
}

pub(crate) fn message(key: &str, body: impl Into<Vec<u8>>) -> Outgoing {
    let id = MessageId(Uuid::new_v4());
    Outgoing::json(EXCHANGE, key, "test@1", id, body.into(), 1_700_000_000_000)
}

pub(crate) fn spec(queue: &str) -> ConsumeSpec {
    ConsumeSpec {
        queue: queue.to_owned(),
        prefetch: 100,
        exclusive_queue: None,
        consumer_tag: "test".to_owned(),
    }
}

/// The next delivery, or the test fails.
pub(crate) async fn next(consumer: &mut Consumer) -> Delivery {
    within("a delivery", consumer.next())
        .await
        .expect("the consumer has ended")
}

pub(crate) fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.body.clone()).unwrap()
}

/// Takes and acknowledges so many.
pub(crate) async fn take(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let delivery = next(consumer).await;
        delivery.ack().await.unwrap();
        taken.push(text(&delivery));
    }
    taken
}

#[track_caller]
pub(crate) fn within<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let what = what.to_owned();
    async move {
        match tokio::time::timeout(LIMIT, future).await {
            Ok(value) => value,
            Err(_) => panic!("waited {LIMIT:?} in vain for {what}"),
        }
    }
}
