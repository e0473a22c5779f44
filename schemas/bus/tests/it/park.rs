//! Dead letters: whole, with the reason, and only then gone from where they were.

use baton_bus::{HeaderValue, ParkError, park, park_and_ack};
use baton_messages::{DeadReason, dead, topology::Topology};
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldTable},
};

use crate::support::{EXCHANGE, KEY, LIMIT, QUEUE, bus_with_queue, message, next, spec, vhost};

/// Nothing of it is UTF-8, JSON or ours.
const BODY: &[u8] = &[0, 255, 1, 254, b'{', 0, 128, 10, 13];

fn foreign() -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("theirs".into(), AMQPValue::LongLongInt(7));
    headers.insert("bytes".into(), AMQPValue::LongString(vec![0xff, 0].into()));
    headers.insert(
        "CC".into(),
        AMQPValue::FieldArray(vec![AMQPValue::LongString("elsewhere".into())].into()),
    );
    BasicProperties::default()
        .with_message_id("not a uuid".into())
        .with_type("theirs@9".into())
        .with_content_type("application/x-odd".into())
        .with_content_encoding("none".into())
        .with_correlation_id("corr".into())
        .with_reply_to("somebody".into())
        .with_app_id("them".into())
        .with_user_id("guest".into())
        .with_expiration("86400000".into())
        .with_priority(3)
        .with_timestamp(1_600_000_000)
        .with_delivery_mode(2)
        .with_headers(headers)
}

#[tokio::test]
async fn a_parked_message_is_whole() {
    let vhost = vhost().await;
    let bus = bus_with_queue(&vhost).await;
    bus.declare(&Topology::base(0)).await.unwrap();
    let connection = Connection::connect(&vhost.url(), ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = BasicPublishOptions::default();
    channel
        .basic_publish(EXCHANGE.into(), KEY.into(), options, BODY, foreign())
        .await
        .unwrap();

    let mut consumer = bus.consume(spec(QUEUE)).await;
    let delivery = next(&mut consumer).await;
    park_and_ack(
        &bus.publisher(),
        &delivery,
        &DeadReason::Undecodable,
        "not JSON at byte 0",
    )
    .await
    .unwrap();
    vhost.await_messages(QUEUE, 0, 0, LIMIT).await;

    let mut dead_letters = bus.consume(spec("baton.dead")).await;
    let dead = next(&mut dead_letters).await;
    assert_eq!(dead.body, BODY);
    assert_eq!(dead.message_id.as_deref(), Some("not a uuid"));
    assert_eq!(dead.kind.as_deref(), Some("theirs@9"));
    let mut expected = (*delivery.properties).clone();
    assert_eq!(expected.expiration.take().as_deref(), Some("86400000"));
    assert_eq!(expected.user_id.take().as_deref(), Some("guest"));
    assert_eq!(
        *dead.properties, expected,
        "what would act on the way is kept aside, all else as it was"
    );

    let header = |name: &str| dead.headers.get(name).cloned();
    for (name, value) in delivery
        .headers
        .iter()
        .filter(|(name, _)| !name.starts_with("x-") && *name != "CC")
    {
        assert_eq!(header(name).as_ref(), Some(value), "{name}");
    }
    assert_eq!(header("baton-dead-expiration"), Some("86400000".into()));
    assert_eq!(header("baton-dead-user-id"), Some("guest".into()));
    assert_eq!(header("baton-dead-CC"), delivery.headers.get("CC").cloned());
    assert_eq!(header("CC"), None);
    let noted = |name: &str| header(name).unwrap_or(HeaderValue::Void);
    let id = dead::id_of(QUEUE, "not a uuid", &dead.body).to_string();
    assert_eq!(noted(dead::ID_HEADER).as_text(), Some(&*id));
    assert_eq!(noted(dead::REASON_HEADER).as_text(), Some("undecodable"));
    assert_eq!(
        noted(dead::ERROR_HEADER).as_text(),
        Some("not JSON at byte 0")
    );
    assert_eq!(noted(dead::QUEUE_HEADER).as_text(), Some(QUEUE));
    assert_eq!(noted(dead::EXCHANGE_HEADER).as_text(), Some(EXCHANGE));
    assert_eq!(noted(dead::KEY_HEADER).as_text(), Some(KEY));
    assert_eq!(noted(dead::DELIVERIES_HEADER).as_u64(), Some(1));
    assert!(
        noted(dead::BY_HEADER)
            .as_text()
            .is_some_and(|by| !by.is_empty())
    );
    assert!(noted(dead::AT_HEADER).as_u64().unwrap() > 1_700_000_000_000);
}

#[tokio::test]
async fn messages_without_an_id_stay_apart_though_they_look_alike() {
    let vhost = vhost().await;
    let bus = bus_with_queue(&vhost).await;
    bus.declare(&Topology::base(0)).await.unwrap();
    let connection = Connection::connect(&vhost.url(), ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut consumer = bus.consume(spec(QUEUE)).await;
    let mut dead_letters = bus.consume(spec("baton.dead")).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let options = BasicPublishOptions::default();
        channel
            .basic_publish(
                EXCHANGE.into(),
                KEY.into(),
                options,
                BODY,
                BasicProperties::default(),
            )
            .await
            .unwrap();
        let delivery = next(&mut consumer).await;
        park_and_ack(&bus.publisher(), &delivery, &DeadReason::Undecodable, "x")
            .await
            .unwrap();
        let dead = next(&mut dead_letters).await;
        let id = dead.headers.get(dead::ID_HEADER).cloned();
        ids.push(
            id.as_ref()
                .and_then(HeaderValue::as_text)
                .unwrap()
                .to_owned(),
        );
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn without_a_dead_letter_queue_nothing_is_acknowledged() {
    let vhost = vhost().await;
    let bus = bus_with_queue(&vhost).await;
    let mut only_exchange = Topology::base(0);
    only_exchange.queues.clear();
    only_exchange.bindings.clear();
    bus.declare(&only_exchange).await.unwrap();
    bus.publisher().publish(vec![message(KEY, "x")]).await;
    let mut consumer = bus.consume(spec(QUEUE)).await;
    let delivery = next(&mut consumer).await;
    let parked = park_and_ack(&bus.publisher(), &delivery, &DeadReason::Other, "because").await;
    assert!(
        matches!(parked, Err(ParkError::Returned { code: 312, .. })),
        "{parked:?}"
    );
    vhost.await_messages(QUEUE, 0, 1, LIMIT).await;

    bus.declare(&Topology::base(0)).await.unwrap();
    park(
        &bus.publisher(),
        &delivery,
        &DeadReason::Other,
        &"ü".repeat(10_000),
    )
    .await
    .unwrap();
    vhost.await_messages("baton.dead", 1, 0, LIMIT).await;
}

/// As much as a client with the broker's own largest frame may send: its headers travel in one frame, which cannot be split.
#[tokio::test]
async fn a_message_with_more_headers_than_can_be_put_aside_is_parked_and_says_what_is_missing() {
    let vhost = vhost().await;
    let bus = bus_with_queue(&vhost).await;
    bus.declare(&Topology::base(0)).await.unwrap();
    let connection = Connection::connect(&vhost.url(), ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    for (small, large) in [(3, 40_000), (5, 130_800)] {
        let mut headers = FieldTable::default();
        headers.insert("small".into(), AMQPValue::LongLongInt(small));
        let text = vec![b'x'; large];
        headers.insert("large".into(), AMQPValue::LongString(text.into()));
        let properties = BasicProperties::default().with_headers(headers);
        let options = BasicPublishOptions::default();
        channel
            .basic_publish(EXCHANGE.into(), KEY.into(), options, BODY, properties)
            .await
            .unwrap();
    }
    let mut consumer = bus.consume(spec(QUEUE)).await;
    let mut dead = bus.consume(spec("baton.dead")).await;
    for (small, kept) in [(3, true), (5, false)] {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.header("small"), Some(HeaderValue::I64(small)));
        let reason = DeadReason::Undecodable;
        park_and_ack(&bus.publisher(), &delivery, &reason, "why")
            .await
            .unwrap();
        let letter = next(&mut dead).await;
        assert_eq!(letter.body, BODY);
        assert_eq!(letter.header("small"), Some(HeaderValue::I64(small)));
        assert_eq!(letter.header("large").is_some(), kept);
        let cut = letter.header("baton-dead-cut-headers");
        let cut = cut.as_ref().and_then(HeaderValue::as_text);
        assert_eq!(cut.is_none(), kept);
        assert!(
            cut.is_none_or(|cut| cut.starts_with("large (13")),
            "{cut:?}"
        );
        letter.ack().await.unwrap();
    }
}
