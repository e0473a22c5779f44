//! Single unroutable messages among thousands of routable ones: each is found, and no other is suspected.

use baton_bus::Sent;

use crate::support::{KEY, LIMIT, QUEUE, bus_with_queue, message, vhost};

const MESSAGES: usize = 10_000;

/// Every so many messages one has nowhere to go; co-prime to the batch size, so that it wanders through the batches.
const EVERY: usize = 97;

#[tokio::test]
async fn each_unroutable_message_is_found_among_ten_thousand() {
    found_on("quorum").await;
}

/// There the confirms come one by one, in between the returns: what misleads whoever has no barrier (see [`crate::naive`]).
#[tokio::test]
async fn each_unroutable_message_is_found_where_confirms_come_one_by_one() {
    found_on("classic").await;
}

async fn found_on(kind: &str) {
    let vhost = vhost().await;
    vhost.declare(QUEUE, kind).await;
    let bus = bus_with_queue(&vhost).await;
    let nowhere = |i: usize| i % EVERY == 13;
    let batch = (0..MESSAGES)
        .map(|i| message(if nowhere(i) { "nowhere" } else { KEY }, i.to_string()))
        .collect();

    let sent = bus.publisher().publish(batch).await;

    assert_eq!(sent.len(), MESSAGES);
    for (i, one) in sent.iter().enumerate() {
        if nowhere(i) {
            assert!(
                matches!(one, Sent::Returned { code: 312, .. }),
                "message {i} is unroutable, said to be {one:?}"
            );
        } else {
            assert_eq!(*one, Sent::Confirmed, "message {i} is routable");
        }
    }
    let routable = (0..MESSAGES).filter(|i| !nowhere(*i)).count() as u64;
    vhost.await_messages(QUEUE, routable, 0, LIMIT).await;
}

#[tokio::test]
async fn two_callers_at_once_get_their_own_verdicts() {
    let vhost = vhost().await;
    let bus = bus_with_queue(&vhost).await;
    let calls = (0..8).map(|caller| {
        let publisher = bus.publisher();
        async move {
            for round in 0..20 {
                let keys: Vec<_> = (0..40)
                    .map(|i| {
                        if (i + round + caller) % 7 == 0 {
                            "nowhere"
                        } else {
                            KEY
                        }
                    })
                    .collect();
                let batch = keys.iter().map(|key| message(key, "x")).collect();
                for (key, sent) in keys.iter().zip(publisher.publish(batch).await) {
                    assert_eq!(*key == KEY, sent == Sent::Confirmed, "{key}: {sent:?}");
                }
            }
        }
    });
    futures::future::join_all(calls).await;
}

#[tokio::test]
async fn a_key_too_long_for_amqp_is_returned_unsent() {
    let vhost = vhost().await;
    let bus = bus_with_queue(&vhost).await;
    let batch = vec![
        message(KEY, "a"),
        message(&"k".repeat(256), "b"),
        message(KEY, "c"),
    ];
    let sent = bus.publisher().publish(batch).await;
    assert_eq!(sent[0], Sent::Confirmed);
    assert!(
        matches!(&sent[1], Sent::Returned { text, .. } if text.contains("255")),
        "{:?}",
        sent[1]
    );
    assert_eq!(sent[2], Sent::Confirmed);
}

#[tokio::test]
async fn an_exchange_that_is_not_there_makes_its_batch_unknown_and_nothing_else() {
    let vhost = vhost().await;
    let bus = bus_with_queue(&vhost).await;
    let mut lost = message(KEY, "x");
    lost.exchange = "not.there".into();
    let sent = bus.publisher().publish(vec![lost]).await;
    assert!(
        matches!(&sent[0], Sent::Unknown { why } if why.contains("NOT_FOUND")),
        "{sent:?}"
    );
    assert_eq!(
        bus.publisher().publish(vec![message(KEY, "y")]).await,
        [Sent::Confirmed]
    );
}
