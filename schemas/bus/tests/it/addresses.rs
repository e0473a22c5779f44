//! Several addresses, connections that fail to be made, and the end in order.

use std::time::{Duration, Instant};

use baton_bus::{Bus, Link, Sent};
use tokio_util::sync::CancellationToken;

use crate::support::{
    KEY, QUEUE, bus, bus_with_queue, config, message, next, spec, text, vhost, within,
};

#[tokio::test]
async fn a_dead_address_is_passed_over() {
    let vhost = vhost().await;
    bus_with_queue(&vhost).await;
    // nobody listens there: the listener is closed again at once
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for _ in 0..4 {
        // the order is shuffled: several tries meet the dead one first
        let mut config = config(vhost.url());
        config
            .addresses
            .insert(0, format!("amqp://guest:guest@{nobody}/x"));
        let bus = bus(config).await;
        assert_eq!(
            bus.publisher().publish(vec![message(KEY, "x")]).await,
            [Sent::Confirmed]
        );
    }
}

#[tokio::test]
async fn what_stands_in_the_way_of_connecting_is_told() {
    let vhost = vhost().await;
    let url = vhost.url().replace("guest:guest", "guest:wrong");
    let mut config = config(url);
    config.confirm_timeout_ms = 500;
    let bus = Bus::start(config, CancellationToken::new()).unwrap();
    let mut state = bus.state();
    let told = state.wait_for(
        |now| matches!(&now.publishing, Link::Down { why } if why.contains("ACCESS_REFUSED")),
    );
    within("the refused login to be told", told).await.unwrap();
    assert!(
        !format!("{:?}", bus.state().borrow()).contains("wrong"),
        "the password is told as well"
    );

    let begun = Instant::now();
    let sent = bus
        .publisher()
        .publish(vec![message(KEY, "x"), message(KEY, "y")])
        .await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(
        sent.iter()
            .all(|s| matches!(s, Sent::NotSent { why } if why.contains("not sent"))),
        "{sent:?}"
    );
}

#[tokio::test]
async fn the_end_is_in_order() {
    let vhost = vhost().await;
    let bus = bus_with_queue(&vhost).await;
    let publisher = bus.publisher();
    let batch = (0..10).map(|i| message(KEY, i.to_string())).collect();
    assert!(
        publisher
            .publish(batch)
            .await
            .iter()
            .all(|s| *s == Sent::Confirmed)
    );
    let mut consumer = bus.consume(spec(QUEUE)).await;
    let first = next(&mut consumer).await;
    assert_eq!(text(&first), "0");

    let ending = tokio::spawn(bus.clone().shutdown(Duration::from_secs(30)));
    // what had been prefetched still comes, can be answered, and then nothing
    let mut handed_out = 1;
    first.ack().await.unwrap();
    while let Some(delivery) = within("the consumer to end", consumer.next()).await {
        delivery.ack().await.unwrap();
        handed_out += 1;
    }
    drop(consumer);
    within("the shutdown", ending).await.unwrap();
    assert!(handed_out <= 10);
    let sent = publisher.publish(vec![message(KEY, "late")]).await;
    assert!(
        matches!(&sent[0], Sent::NotSent { why } if why.contains("shut down")),
        "{sent:?}"
    );
    assert!(matches!(bus.state().borrow().consuming, Link::Down { .. }));
    vhost
        .await_messages(QUEUE, 10 - handed_out, 0, crate::support::LIMIT)
        .await;
}

#[tokio::test]
async fn what_was_not_begun_is_given_back() {
    let vhost = vhost().await;
    let bus = bus_with_queue(&vhost).await;
    bus.publisher()
        .publish((0..10).map(|i| message(KEY, i.to_string())).collect())
        .await;
    let mut consumer = bus.consume(spec(QUEUE)).await;
    let first = next(&mut consumer).await;
    vhost
        .await_messages(QUEUE, 0, 10, crate::support::LIMIT)
        .await;
    assert_eq!(consumer.give_back().await, 9);
    first.ack().await.unwrap();
    vhost
        .await_messages(QUEUE, 9, 0, crate::support::LIMIT)
        .await;
}
