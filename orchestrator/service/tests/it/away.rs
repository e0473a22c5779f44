//! The broker is away: at the start, in between. What is asked for is committed and goes on when it is back.

use baton_harness::{Broker, Proxy, await_until};
use serde_json::json;

use crate::stage::{LIMIT, Stage, THREE};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_at_the_start_only_delays() {
    let broker = Broker::shared().await;
    let vhost = broker.vhost().await;
    let proxy = Proxy::to_port(broker.amqp_port()).await;
    proxy.refuse();
    let url = vhost.url_through(proxy.port());
    let mut stage = Stage::at(vhost, &url);
    let api = stage.api().await;
    let (status, text) = api.text("/readyz").await;
    assert_eq!(status, 200);
    assert!(text.starts_with("degraded"), "{text}");
    let (status, _) = api.text("/healthz").await;
    assert_eq!(status, 200);

    api.register(THREE).await;
    let id = api
        .start(&json!({ "definition": "three", "input": { "word": "x" } }))
        .await;
    let saga = api.get(&format!("/v1/sagas/{id}")).await;
    assert_eq!(
        saga["status"], "running",
        "committed while the broker is away"
    );

    proxy.accept();
    let _worker = stage.worker();
    api.await_status(&id, "completed").await;
    await_until("it to be ready", LIMIT, async || {
        api.text("/readyz").await == (200, "ok\n".to_owned())
    })
    .await;

    proxy.cut();
    let id = api
        .start(&json!({ "definition": "three", "input": { "word": "y" } }))
        .await;
    api.await_status(&id, "completed").await;
    let (_, numbers) = api.text("/metrics").await;
    assert!(
        numbers.contains("baton_orchestrator_turns_total"),
        "{numbers}"
    );
}
