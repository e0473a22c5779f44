//! What nobody can use: messages that are parked and kept, definitions and inputs that are refused with what to do.

use baton_harness::await_some;
use serde_json::{Value, json};

use crate::stage::{Api, LIMIT, Stage, THREE, said};

async fn dead_letters(api: &Api, count: usize) -> Vec<Value> {
    await_some(&format!("{count} dead letters"), LIMIT, async || {
        let answer = api.get("/v1/dead-letters").await;
        let rows = answer["dead_letters"].as_array().cloned()?;
        (rows.len() == count).then_some(rows)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_nobody_can_use_is_kept_whole_and_the_next_one_is_taken() {
    let mut stage = Stage::new().await;
    let api = stage.api().await;
    api.register(THREE).await;
    stage
        .vhost
        .await_consumers("baton.inbox.00", 1, LIMIT)
        .await;
    let publish = async |properties: Value, body: &str| {
        let routed = stage
            .vhost
            .publish("baton.inbox", "00", properties, body)
            .await;
        assert!(routed, "the inbox is bound");
    };
    publish(json!({ "message_id": "m1" }), "not json").await;
    publish(json!({}), r#"{"finished@9":{}}"#).await;
    let start = json!({ "start@1": {
        "id": "00000000-0000-4000-8000-000000000001", "saga": "00000000-0000-4000-8000-000000000002",
        "definition": "nobody-knows-me", "input": {}, "by": "test",
    }});
    publish(json!({ "type": "start@1" }), &start.to_string()).await;
    let good = json!({ "start@1": {
        "id": "00000000-0000-4000-8000-000000000003", "saga": "00000000-0000-4000-8000-000000000004",
        "definition": "three", "input": { "word": "x" }, "by": "test",
    }});
    publish(json!({ "type": "start@1" }), &good.to_string()).await;

    let rows = dead_letters(&api, 3).await;
    let of = |reason: &str| rows.iter().find(|row| row["reason"] == reason).unwrap();
    assert_eq!(of("undecodable")["body"], "not json");
    assert_eq!(of("undecodable")["message_id"], "m1");
    assert_eq!(of("undecodable")["queue"], "baton.inbox.00");
    assert!(
        of("unknown-kind")["error"]
            .as_str()
            .unwrap()
            .contains("finished@9")
    );
    assert_eq!(
        of("unknown-saga")["saga"],
        "00000000-0000-4000-8000-000000000002"
    );
    stage
        .vhost
        .await_messages("baton.inbox.00", 0, 0, LIMIT)
        .await;
    stage.vhost.await_messages("baton.dead", 0, 0, LIMIT).await;
    let saga = api
        .get("/v1/sagas/00000000-0000-4000-8000-000000000004")
        .await;
    assert_eq!(saga["definition"], "three");

    // the same message parked again is the same letter
    publish(json!({ "message_id": "m1" }), "not json").await;
    publish(json!({ "message_id": "m2" }), "not json").await;
    dead_letters(&api, 4).await;
    // another message under the same id is another
    publish(json!({ "message_id": "m1" }), "not json either").await;
    dead_letters(&api, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_task_is_told_to_its_saga() {
    let mut stage = Stage::new().await;
    let _worker = stage.worker();
    stage.await_type("test.echo@1").await;
    let api = stage.api().await;
    let queue = "baton.task.default.test.echo@1";
    let slow = THREE.replace("word }\" }", "word }\", sleep_ms: 20000 }");
    api.register(&slow).await;
    let id = api
        .start(&json!({ "definition": "three", "input": { "word": "x" } }))
        .await;
    let saga = await_some("the first step to be tried", LIMIT, async || {
        let saga = api.get(&format!("/v1/sagas/{id}")).await;
        (saga["steps"][0]["phase"] == "trying").then_some(saga)
    })
    .await;
    let dispatch = &saga["steps"][0]["attempts"][0]["dispatch"];
    let of = json!({
        "saga": id, "step": "first", "direction": "do", "round": 1, "attempt": 1, "dispatch": dispatch,
    });
    let message = message_of(&of, &saga);
    let properties = json!({
        "type": "task@1", "correlation_id": id,
        "headers": { "baton-dead-reason": "misfit", "baton-dead-error": "told by the test", "baton-dead-queue": queue },
    });
    stage
        .vhost
        .publish("baton.dead", "", properties, &message.to_string())
        .await;
    let rows = dead_letters(&api, 1).await;
    assert_eq!(rows[0]["saga"], Value::String(id.clone()));
    // what follows is the engine's: the worker may still hold the task, so it waits for the last moment
    let told = await_some("the saga to be told", LIMIT, async || {
        let answer = api.get(&format!("/v1/sagas/{id}/records")).await;
        let records = answer["records"].as_array().cloned()?;
        records
            .into_iter()
            .find(|row| row["record"]["closed"]["why"] == "dead")
    })
    .await;
    assert_eq!(told["record"]["closed"]["of"]["step"], "first", "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_with_a_broken_report_the_others_count_and_it_is_kept_whole() {
    let mut stage = Stage::new().await;
    let _worker = stage.worker();
    stage.await_type("test.echo@1").await;
    let api = stage.api().await;
    api.register(&THREE.replace("word }\" }", "word }\", sleep_ms: 20000 }"))
        .await;
    let mut tried = Vec::new();
    for _ in 0..2 {
        let id = api
            .start(&json!({ "definition": "three", "input": { "word": "x" } }))
            .await;
        let of = await_some("the first step to be tried", LIMIT, async || {
            let saga = api.get(&format!("/v1/sagas/{id}")).await;
            (saga["steps"][0]["phase"] == "trying").then(|| of_first(&id, &saga))
        })
        .await;
        tried.push((id, of));
    }
    let unknown = json!({ "saga": "00000000-0000-4000-8000-000000000009", "step": "a", "direction": "do",
        "round": 1, "attempt": 1, "dispatch": 1 });
    let good: Vec<Value> = tried.iter().map(|(_, of)| finished(of)).collect();
    let reports =
        json!([good[0], { "finished@1": { "of": unknown } }, finished(&unknown), good[1]]);
    let body = json!({ "batch@1": { "reports": reports } }).to_string();
    let publish = async |id: &str, body: &str| {
        let properties = json!({ "type": "batch@1", "message_id": id });
        let routed = stage
            .vhost
            .publish("baton.inbox", "00", properties, body)
            .await;
        assert!(routed, "the inbox is bound");
    };
    publish("m1", &body).await;
    let rows = dead_letters(&api, 1).await;
    assert_eq!(rows[0]["reason"], "undecodable");
    assert_eq!(rows[0]["body"], body, "whole");
    let error = rows[0]["error"].as_str().unwrap();
    assert!(error.starts_with("report 2 of 4: "), "{error}");
    let reported = async |id: &str| {
        let answer = api.get(&format!("/v1/sagas/{id}/records")).await;
        let records = answer["records"].as_array().cloned().unwrap();
        let told = |row: &&Value| row["record"]["reported"]["of"]["step"] == "first";
        records.iter().filter(told).count()
    };
    for (id, _) in &tried {
        assert_eq!(
            reported(id).await,
            1,
            "a neighbour of the broken one counts"
        );
    }

    // as after a crash between commit and acknowledgement: the whole batch comes again
    publish("m2", &json!({ "batch@1": { "reports": good } }).to_string()).await;
    stage
        .vhost
        .await_messages("baton.inbox.00", 0, 0, LIMIT)
        .await;
    for (id, _) in &tried {
        assert_eq!(reported(id).await, 1, "told twice, taken once");
    }
    assert_eq!(dead_letters(&api, 1).await.len(), 1);

    // one that says nothing wrong of itself, and speaks of a saga nobody knows
    let lost = json!({ "batch@1": { "reports": [finished(&unknown)] } });
    publish("m3", &lost.to_string()).await;
    let rows = dead_letters(&api, 2).await;
    assert!(rows.iter().any(|row| row["reason"] == "unknown-saga"));
    stage.vhost.await_messages("baton.dead", 0, 0, LIMIT).await;
}

/// The first attempt of the first step.
fn of_first(id: &str, saga: &Value) -> Value {
    let dispatch = &saga["steps"][0]["attempts"][0]["dispatch"];
    json!({ "saga": id, "step": "first", "direction": "do", "round": 1, "attempt": 1, "dispatch": dispatch })
}

/// A worker's word that it is done.
fn finished(of: &Value) -> Value {
    json!({ "finished@1": {
        "of": of, "run": "00000000-0000-4000-8000-00000000000a", "worker": "by-hand", "started": true, "sole": true,
        "result": { "succeeded": { "output": { "value": "x" } } }, "started_at": 1, "finished_at": 2,
    }})
}

/// The task message as the orchestrator sends it.
fn message_of(of: &Value, saga: &Value) -> Value {
    json!({ "task@1": {
        "of": of, "task_type": "test.echo@1", "pool": "default",
        "idempotency_key": "00000000-0000-4000-8000-000000000000", "inbox": "00", "hold": "late",
        "not_after": 0, "timeout_ms": 1, "lease_ms": 1, "input": saga["steps"][0]["input"],
    }})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_is_wrong_is_answered_at_line_and_column() {
    let mut stage = Stage::new().await;
    let file = stage.file(
        "wrong.yaml",
        "saga: wrong\nversion: 1\nsteps:\n  - id: a\n    tsk: x@1\n",
    );
    let applied = stage.baton(&["apply", &file]).await;
    assert_eq!(applied.status.code(), Some(1));
    let text = said(&applied);
    assert!(text.contains("error[BT0003]"), "{text}");
    assert!(text.contains(&format!("{file}:5:5\n")), "{text}");

    let api = stage.api().await;
    api.register(THREE).await;
    let (status, problem) = api
        .put(
            "/v1/definitions",
            &THREE.replace("value: left", "value: other"),
        )
        .await;
    assert_eq!(status, 409, "{problem}");
    let (status, problem) = api
        .post("/v1/sagas", &json!({ "definition": "nobody" }))
        .await;
    assert_eq!(status, 404, "{problem}");
    let (status, problem) = api.post("/v1/sagas", &json!({ "task": "no.such@1" })).await;
    assert_eq!(status, 404, "{problem}");
}
