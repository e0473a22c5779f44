//! A queue that refuses: exactly what it does not hold is said to be refused.

use std::collections::BTreeSet;

use baton_bus::Sent;
use serde_json::json;

use crate::support::{KEY, QUEUE, bus_with_queue, message, spec, take, vhost};

#[tokio::test]
async fn a_full_queue_nacks_exactly_what_it_does_not_take() {
    let vhost = vhost().await;
    let bus = bus_with_queue(&vhost).await;
    vhost
        .policy(
            "small",
            "^baton\\.task\\.",
            json!({ "max-length": 10, "overflow": "reject-publish" }),
        )
        .await;
    let publisher = bus.publisher();

    // the limit of a quorum queue is soft: one batch may pass it, the next ones do not
    let mut confirmed = BTreeSet::new();
    let mut nacked = 0;
    for batch in 0..20 {
        let names: Vec<String> = (0..20).map(|i| format!("{batch}-{i}")).collect();
        let sent = publisher
            .publish(
                names
                    .iter()
                    .map(|name| message(KEY, name.as_str()))
                    .collect(),
            )
            .await;
        for (name, one) in names.into_iter().zip(sent) {
            match one {
                Sent::Confirmed => assert!(confirmed.insert(name)),
                Sent::Nacked => nacked += 1,
                other => panic!("{name}: {other:?}"),
            }
        }
    }
    assert!(nacked > 0, "nothing was refused");
    assert!(confirmed.len() >= 10, "only {} were taken", confirmed.len());

    let mut consumer = bus.consume(spec(QUEUE)).await;
    let held: BTreeSet<String> = take(&mut consumer, confirmed.len())
        .await
        .into_iter()
        .collect();
    assert_eq!(
        held, confirmed,
        "what is in the queue is what was confirmed"
    );
    assert_eq!(
        bus.queue_depth(QUEUE).await.unwrap().unwrap().ready,
        0,
        "and nothing that was refused"
    );
}
