//! The negative of [`crate::unroutable`]: without the barrier, believing each confirm by itself, unroutable messages
//! pass as delivered. Should this test ever fail, the client has changed, and the barrier may be thought over.

use futures::future::join_all;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};

use crate::support::{EXCHANGE, KEY, QUEUE, bus, config, topology, vhost};

const MESSAGES: usize = 2_000;
const ROUNDS: usize = 50;

#[tokio::test]
async fn without_the_barrier_unroutable_messages_pass_as_delivered() {
    let vhost = vhost().await;
    // a classic queue confirms one by one, in between the unroutable ones
    vhost.declare(QUEUE, "classic").await;
    let bus = bus(config(vhost.url())).await;
    bus.declare(&topology()).await.unwrap();
    let connection = Connection::connect(&vhost.url(), ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .unwrap();

    let mut missed = 0;
    for round in 0..ROUNDS {
        missed += naive_misses(&channel).await;
        if missed > 0 {
            tracing::info!(round, missed, "missed");
            break;
        }
    }
    assert!(
        missed > 0,
        "every return came with the confirm of its own message in {ROUNDS} rounds"
    );
}

/// How many of the unroutable messages a reader of single confirms takes for delivered.
async fn naive_misses(channel: &Channel) -> usize {
    let nowhere = |i: usize| i.is_multiple_of(3);
    let sends = (0..MESSAGES).map(|i| async move {
        let key = if nowhere(i) { "nowhere" } else { KEY };
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let properties = BasicProperties::default();
        let confirm = channel
            .basic_publish(EXCHANGE.into(), key.into(), options, b"x", properties)
            .await
            .unwrap();
        confirm.await.unwrap()
    });
    let confirms = join_all(sends).await;
    (0..MESSAGES)
        .filter(|i| nowhere(*i) && confirms[*i] == Confirmation::Ack(None))
        .count()
}
