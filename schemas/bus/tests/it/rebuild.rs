//! Consumers outlive their channel, their queue and their connection; answers do not.

use std::time::Duration;

use baton_bus::{ConsumeSpec, ExclusiveQueue, Sent, Stale};
use baton_harness::{Proxy, await_until};

use crate::support::{
    EXCHANGE, KEY, LIMIT, QUEUE, bus, bus_with_queue, config, message, next, spec, text, topology,
    vhost, within,
};

#[tokio::test]
async fn a_queue_that_is_not_there_yet_is_waited_for() {
    let vhost = vhost().await;
    let bus = bus(config(vhost.url())).await;
    let mut consumer = bus.consume(spec(QUEUE)).await;
    assert!(!consumer.is_open());
    let other = bus.clone();
    let later = tokio::spawn(async move {
        other.declare(&topology()).await.unwrap();
        other
            .publisher()
            .publish(vec![message(KEY, "at last")])
            .await
    });
    assert_eq!(text(&next(&mut consumer).await), "at last");
    assert_eq!(later.await.unwrap(), [Sent::Confirmed]);
}

/// Given up while the broker is still to answer, at whichever moment: nobody is left who is handed messages and does not read them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_given_up_while_he_begins_consumes_nothing() {
    let vhost = vhost().await;
    let proxy = Proxy::to_port(vhost.broker().amqp_port()).await;
    let direct = bus_with_queue(&vhost).await;
    let slow = bus(config(vhost.url_through(proxy.port()))).await;
    proxy.delay(Duration::from_millis(40));
    for step in 0..16 {
        let given_up = Duration::from_millis(25 * step);
        // in the middle of opening its channel, of asking for its limit, of beginning to consume
        let _ = tokio::time::timeout(given_up, slow.consume(spec(QUEUE))).await;
    }
    proxy.delay(Duration::ZERO);
    // what had begun has ended, in the order the broker was asked; then this one alone is there
    let mut consumer = slow.consume(spec(QUEUE)).await;
    vhost.await_consumers(QUEUE, 1, LIMIT).await;
    let both = vec![message(KEY, "a"), message(KEY, "b")];
    direct.publisher().publish(both).await;
    assert_eq!(text(&next(&mut consumer).await), "a");
    assert_eq!(text(&next(&mut consumer).await), "b");
}

#[tokio::test]
async fn after_the_channel_was_closed_consuming_goes_on_and_old_answers_are_refused() {
    let vhost = vhost().await;
    let bus = bus_with_queue(&vhost).await;
    bus.publisher()
        .publish(vec![message(KEY, "a"), message(KEY, "b")])
        .await;
    let mut consumer = bus.consume(spec(QUEUE)).await;
    let a = next(&mut consumer).await;
    let b = next(&mut consumer).await;
    assert!(!a.redelivered);
    assert_eq!(a.deliveries, 1);
    a.ack().await.unwrap();
    // acknowledging twice is a mistake for which the broker closes the channel
    let _ = a.ack().await;

    let again = next(&mut consumer).await;
    assert_eq!(text(&again), "b");
    assert!(again.redelivered);
    assert_eq!(again.deliveries, 2);
    assert_ne!(again.tag.epoch, b.tag.epoch);

    assert_eq!(b.ack().await, Err(Stale { tag: b.tag.tag }));
    assert_eq!(b.nack_requeue().await, Err(Stale { tag: b.tag.tag }));
    assert_eq!(b.reject_requeue().await, Err(Stale { tag: b.tag.tag }));
    assert_eq!(
        consumer.ack_until(&b.tag).await,
        Err(Stale { tag: b.tag.tag })
    );
    // and none of these reached the new channel
    vhost.await_messages(QUEUE, 0, 1, LIMIT).await;
    consumer.ack_until(&again.tag).await.unwrap();
    vhost.await_messages(QUEUE, 0, 0, LIMIT).await;
}

#[tokio::test]
async fn after_its_queue_was_deleted_and_made_anew_consuming_goes_on() {
    let vhost = vhost().await;
    let bus = bus_with_queue(&vhost).await;
    let publisher = bus.publisher();
    publisher.publish(vec![message(KEY, "old")]).await;
    let mut consumer = bus.consume(spec(QUEUE)).await;
    let old = next(&mut consumer).await;

    vhost.delete_queue(QUEUE).await;
    let noticed = async {
        while consumer.is_open() {
            let nothing = tokio::time::timeout(Duration::from_millis(20), consumer.next()).await;
            assert!(nothing.is_err(), "{nothing:?}");
        }
    };
    within("the deletion to be noticed", noticed).await;
    bus.declare(&topology()).await.unwrap();
    assert_eq!(
        publisher.publish(vec![message(KEY, "new")]).await,
        [Sent::Confirmed]
    );
    let new = next(&mut consumer).await;
    assert_eq!(text(&new), "new");
    assert!(old.ack().await.is_err());
    new.ack().await.unwrap();
    vhost.await_messages(QUEUE, 0, 0, LIMIT).await;
}

#[tokio::test]
async fn a_consumer_that_the_broker_forgets_without_a_word_comes_back() {
    let vhost = vhost().await;
    bus_with_queue(&vhost).await;
    let mut config = config(vhost.url());
    config.idle_refresh_s = 2;
    let bus = bus(config).await;
    let publisher = bus.publisher();
    publisher.publish(vec![message(KEY, "old")]).await;
    let mut consumer = bus.consume(spec(QUEUE)).await;
    next(&mut consumer).await.ack().await.unwrap();

    // at once, before the broker has told the consumer of the end of the old one
    vhost.delete_queue(QUEUE).await;
    bus.declare(&topology()).await.unwrap();
    assert_eq!(
        publisher.publish(vec![message(KEY, "new")]).await,
        [Sent::Confirmed]
    );
    assert_eq!(text(&next(&mut consumer).await), "new");
}

#[tokio::test]
async fn what_is_in_hand_survives_a_long_silence() {
    let vhost = vhost().await;
    bus_with_queue(&vhost).await;
    let mut config = config(vhost.url());
    config.idle_refresh_s = 1;
    let bus = bus(config).await;
    bus.publisher().publish(vec![message(KEY, "a")]).await;
    let mut consumer = bus.consume(spec(QUEUE)).await;
    let a = next(&mut consumer).await;
    let silence = tokio::time::timeout(Duration::from_secs(3), consumer.next()).await;
    assert!(silence.is_err(), "a was delivered again: {silence:?}");
    a.ack().await.unwrap();
    vhost.await_messages(QUEUE, 0, 0, LIMIT).await;
}

#[tokio::test]
async fn after_the_connections_were_cut_everything_goes_on() {
    let vhost = vhost().await;
    let bus = bus_with_queue(&vhost).await;
    let publisher = bus.publisher();
    publisher.publish(vec![message(KEY, "a")]).await;
    let mut consumer = bus.consume(spec(QUEUE)).await;
    let a = next(&mut consumer).await;
    await_until("both connections to be listed", LIMIT, async || {
        vhost.connections().await.len() == 2
    })
    .await;
    assert_eq!(vhost.close_connections().await, 2);

    let again = next(&mut consumer).await;
    assert_eq!(text(&again), "a");
    assert_ne!(again.tag.epoch, a.tag.epoch);
    assert!(a.ack().await.is_err());
    again.ack().await.unwrap();
    within("the bus to be ready", bus.ready()).await;
    assert_eq!(
        publisher.publish(vec![message(KEY, "b")]).await,
        [Sent::Confirmed]
    );
    assert_eq!(text(&next(&mut consumer).await), "b");
}

#[tokio::test]
async fn an_exclusive_queue_is_made_anew_with_its_bindings() {
    let vhost = vhost().await;
    let bus = bus_with_queue(&vhost).await;
    let own = ConsumeSpec {
        exclusive_queue: Some(ExclusiveQueue {
            bindings: vec![(EXCHANGE.to_owned(), "mine".to_owned())],
            arguments: Vec::new(),
        }),
        ..spec("baton.control.me")
    };
    let mut consumer = bus.consume(own).await;
    assert!(
        consumer.is_open(),
        "consuming has begun when consume returns"
    );
    let publisher = bus.publisher();
    assert_eq!(
        publisher.publish(vec![message("mine", "1")]).await,
        [Sent::Confirmed]
    );
    let first = next(&mut consumer).await;
    first.ack().await.unwrap();
    await_until("both connections to be listed", LIMIT, async || {
        vhost.connections().await.len() == 2
    })
    .await;
    vhost.close_connections().await;
    let delivery = within("the binding to be back", async {
        loop {
            // only inside next is the consumer built again
            if let Ok(delivery) =
                tokio::time::timeout(Duration::from_millis(200), consumer.next()).await
            {
                break delivery;
            }
            publisher.publish(vec![message("mine", "2")]).await;
        }
    });
    assert_eq!(text(&delivery.await.unwrap()), "2");
}

#[tokio::test]
async fn batches_are_in_order_and_are_acknowledged_at_once() {
    let vhost = vhost().await;
    let bus = bus_with_queue(&vhost).await;
    let mut consumer = bus
        .consume(ConsumeSpec {
            prefetch: 1000,
            ..spec(QUEUE)
        })
        .await;
    let publisher = bus.publisher();
    publisher
        .publish((0..1000).map(|i| message(KEY, i.to_string())).collect())
        .await;
    let mut seen = 0;
    while seen < 1000 {
        // a batch dropped half-way loses nothing
        let dropped = tokio::time::timeout(
            Duration::from_micros(50),
            consumer.next_batch(300, Duration::from_secs(5)),
        );
        let batch = match dropped.await {
            Ok(batch) => batch,
            Err(_) => {
                within(
                    "a batch",
                    consumer.next_batch(300, Duration::from_millis(2)),
                )
                .await
            }
        };
        let batch = batch.unwrap();
        assert!(batch.len() <= 300);
        for delivery in &batch {
            assert_eq!(text(delivery), seen.to_string());
            seen += 1;
        }
        consumer
            .ack_until(&batch.last().unwrap().tag)
            .await
            .unwrap();
    }
    vhost.await_messages(QUEUE, 0, 0, LIMIT).await;
}
