//! A saga from the command line to its end, and what the tool and the API say on the way.

use serde_json::json;

use crate::stage::{Stage, THREE, said};

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_is_applied_run_waited_for_and_shown() {
    let mut stage = Stage::new().await;
    let _worker = stage.worker();
    let file = stage.file("three.yaml", THREE);
    let applied = stage.baton(&["apply", &file]).await;
    assert!(applied.status.success(), "{}", said(&applied));
    assert!(said(&applied).contains("three@1 is registered"));

    let ran = stage
        .baton(&[
            "--json",
            "run",
            "three",
            "-f",
            "word=hello",
            "--label",
            "a=b",
            "--wait",
        ])
        .await;
    assert_eq!(ran.status.code(), Some(0), "{}", said(&ran));
    let saga: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(saga["status"], "completed");
    assert_eq!(saga["output"], json!({ "word": "hello" }));
    assert_eq!(saga["by"], "admin on behalf of tester");

    let id = saga["id"].as_str().unwrap();
    let shown = stage.baton(&["show", id]).await;
    let text = said(&shown);
    for expected in [
        "three@1",
        "first",
        "left",
        "right",
        "succeeded",
        "admin on behalf of tester",
    ] {
        assert!(text.contains(expected), "no {expected} in:\n{text}");
    }
    let listed = said(&stage.baton(&["ls", "--label", "a=b"]).await);
    assert!(listed.contains(id), "{listed}");
    let records = said(&stage.baton(&["show", id, "--records"]).await);
    assert!(records.contains("offered"), "{records}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_type_runs_on_its_own_and_a_failed_one_says_how_it_ended() {
    let mut stage = Stage::new().await;
    let _worker = stage.worker();
    stage.await_type("test.echo@1").await;
    let ran = stage
        .baton(&["run", "test.echo@1", "-f", "value=7", "--wait"])
        .await;
    assert_eq!(ran.status.code(), Some(0), "{}", said(&ran));
    assert!(
        said(&ran).contains("output: {\"value\":7}"),
        "{}",
        said(&ran)
    );

    let failed = stage
        .baton(&["run", "test.echo@1", "-f", "fail=final", "--wait"])
        .await;
    assert_eq!(failed.status.code(), Some(3), "{}", said(&failed));
    assert!(said(&failed).contains("compensated"), "{}", said(&failed));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_the_same_saga_and_a_wrong_token_gets_nothing() {
    let mut stage = Stage::new().await;
    let mut api = stage.api().await;
    api.register(THREE).await;
    let body = json!({ "definition": "three", "input": { "word": "x" } });
    let keyed = async |key: &str| {
        let request = api
            .http
            .post(format!("{}/v1/sagas", api.url))
            .bearer_auth(&api.token)
            .header("idempotency-key", key)
            .json(&body);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let answer: serde_json::Value = response.json().await.unwrap();
        (status, answer["id"].clone())
    };
    let (first, id) = keyed("k1").await;
    let (again, same) = keyed("k1").await;
    let (_, other) = keyed("k2").await;
    assert_eq!((first, again), (201, 200));
    assert_eq!(id, same);
    assert_ne!(id, other);

    let named = json!({
        "definition": "three", "input": { "word": "x" },
        "id": "00000000-0000-7000-8000-000000000001",
    });
    assert_eq!(api.start(&named).await, api.start(&named).await);
    let mut other = named.clone();
    other["input"]["word"] = json!("y");
    let (status, problem) = api.post("/v1/sagas", &other).await;
    assert_eq!(status, 409, "{problem}");
    assert_eq!(problem["type"], "urn:baton:problem:key-reused");
    let (status, problem) = api.post("/v1/sagas", &json!({ "no": 1 })).await;
    assert_eq!(status, 422, "{problem}");
    assert_eq!(problem["status"], 422);

    api.token = "0123456789abcdef".to_owned();
    let (status, problem) = api.post("/v1/sagas", &body).await;
    assert_eq!(status, 401);
    assert_eq!(problem["type"], "urn:baton:problem:unknown-token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_nobody_serves_says_so_and_goes_on_when_somebody_does() {
    let mut stage = Stage::new().await;
    let api = stage.api().await;
    api.register(THREE).await;
    let id = api
        .start(&json!({ "definition": "three", "input": { "word": "x" } }))
        .await;
    let saga = api.get(&format!("/v1/sagas/{id}")).await;
    let why = saga["steps"][0]["why"].as_str().unwrap().to_owned();
    assert!(why.contains("nobody serves"), "{saga}");
    let _worker = stage.worker();
    api.await_status(&id, "completed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_cancels_and_a_second_time_is_refused() {
    let mut stage = Stage::new().await;
    let api = stage.api().await;
    api.register(THREE).await;
    let id = api
        .start(&json!({ "definition": "three", "input": { "word": "x" } }))
        .await;
    let cancelled = stage.baton(&["cancel", &id, "-m", "not wanted"]).await;
    assert!(cancelled.status.success(), "{}", said(&cancelled));
    let saga = api.await_status(&id, "compensated").await;
    assert_eq!(saga["unwinding"]["cancelled"]["reason"], "not wanted");
    let again = stage.baton(&["cancel", &id, "-m", "not wanted"]).await;
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
    assert!(said(&again).contains("compensated"), "{}", said(&again));
    let unknown = stage
        .baton(&["show", "00000000-0000-0000-0000-000000000000"])
        .await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        said(&unknown).contains("next: baton ls"),
        "{}",
        said(&unknown)
    );
}
