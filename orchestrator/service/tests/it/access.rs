//! Who may do what: tokens made, used, refused and revoked over the API of a running orchestrator.

use reqwest::Method;
use serde_json::{Value, json};

use crate::stage::{Api, Stage, THREE};

/// The API as the bearer of another token sees it.
fn with(api: &Api, token: &str) -> Api {
    Api {
        url: api.url.clone(),
        token: token.to_owned(),
        http: api.http.clone(),
    }
}

async fn made(api: &Api, name: &str, role: &str, more: Value) -> Api {
    let mut wanted = json!({ "name": name, "role": role });
    if let (Some(wanted), Value::Object(more)) = (wanted.as_object_mut(), more) {
        wanted.extend(more);
    }
    let (status, token) = api.post("/v1/tokens", &wanted).await;
    assert_eq!(status, 201, "{token}");
    with(api, token["token"].as_str().unwrap())
}

fn is(problem: &Value, kind: &str) {
    assert_eq!(
        problem["type"],
        format!("urn:baton:problem:{kind}"),
        "{problem}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_what_it_says_and_its_name_stands_in_the_record() {
    let mut stage = Stage::new().await;
    let admin = stage.api().await;
    let operator = made(&admin, "ci", "operator", json!({})).await;
    let viewer = made(&admin, "wall", "viewer", json!({ "expires_in": "90d" })).await;

    let (status, problem) = operator.put("/v1/definitions", THREE).await;
    assert_eq!(status, 403, "{problem}");
    is(&problem, "role");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("role admin") && detail.contains("`ci` has the role operator"),
        "{detail}"
    );
    admin.register(THREE).await;

    let start = json!({ "definition": "three", "input": { "word": "x" }, "by": "anna" });
    let (status, problem) = viewer.post("/v1/sagas", &start).await;
    assert_eq!(status, 403, "{problem}");
    let id = operator.start(&start).await;
    let saga = viewer.get(&format!("/v1/sagas/{id}")).await;
    assert_eq!(saga["by"], "ci on behalf of anna");
    let cancel = json!({ "reason": "not wanted" });
    let path = format!("/v1/sagas/{id}/cancel");
    assert_eq!(viewer.post(&path, &cancel).await.0, 403);
    assert_eq!(operator.post(&path, &cancel).await.0, 200);
    assert_eq!(operator.send_as(Method::GET, "/v1/tokens").await.0, 403);

    let me = viewer.get("/v1/me").await;
    assert_eq!(
        (&me["name"], &me["role"]),
        (&json!("wall"), &json!("viewer"))
    );
    assert!(me["expires_at"].is_u64(), "{me}");
    assert!(admin.get("/v1/me").await["expires_at"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_and_each_end_is_told_apart() {
    let mut stage = Stage::new().await;
    let admin = stage.api().await;
    let short = made(&admin, "short", "viewer", json!({ "expires_in": "1ms" })).await;
    let revoked = made(&admin, "gone", "viewer", json!({})).await;

    let (status, problem) = short.send_as(Method::GET, "/v1/me").await;
    assert_eq!(status, 401);
    is(&problem, "expired-token");
    let (status, _) = admin.send_as(Method::DELETE, "/v1/tokens/gone").await;
    assert_eq!(status, 204);
    let (status, problem) = revoked.send_as(Method::GET, "/v1/me").await;
    assert_eq!(status, 401);
    is(&problem, "unknown-token");
    let bare = admin.http.get(format!("{}/v1/me", admin.url));
    let answer = bare.send().await.unwrap();
    assert_eq!(
        answer.headers()["www-authenticate"],
        "Bearer realm=\"baton\""
    );
    is(&answer.json().await.unwrap(), "no-token");

    for (path, kind) in [
        ("/v1/tokens/admin", "token-fixed"),
        ("/v1/tokens/nobody", "not-found"),
    ] {
        let (_, problem) = admin.send_as(Method::DELETE, path).await;
        is(&problem, kind);
    }
    let again = json!({ "name": "short", "role": "admin" });
    is(&admin.post("/v1/tokens", &again).await.1, "token-taken");
    let listed = admin.get("/v1/tokens").await;
    let names: Vec<&str> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|item| item["name"].as_str())
        .collect();
    assert_eq!(names, ["admin", "short"]);
    let text = listed.to_string();
    assert!(
        !text.contains("hash") && !text.contains("token\""),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_outlive_the_process_and_are_not_in_its_store_or_log() {
    let mut stage = Stage::new().await;
    let admin = stage.api().await;
    let ci = made(&admin, "ci", "operator", json!({})).await;
    stage.restart().await;
    let here = with(&stage.api().await, &ci.token);
    assert_eq!(here.get("/v1/me").await["name"], "ci");
    let log = stage.orchestrator.log();
    assert!(log.contains("the token `admin` of the HTTP API was made"));
    for secret in [&ci.token, &admin.token] {
        assert!(!log.contains(secret.as_str()));
        for file in ["baton.db", "baton.db-wal"] {
            let bytes = std::fs::read(stage.data(file)).unwrap_or_default();
            let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "a token stands in {file}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_asks_is_answered_by_whom_it_asks() {
    let mut stage = Stage::new().await;
    let admin = stage.api().await;
    let yaml = "saga: asking
version: 1
steps:
  - id: release
    approve: { by: operator, timeout: 1h }
  - id: signed
    approve: { by: anna, timeout: 1h }
";
    admin.register(yaml).await;
    let viewer = made(&admin, "wall", "viewer", json!({})).await;
    let anna = made(&admin, "anna", "viewer", json!({})).await;
    let operator = made(&admin, "ci", "operator", json!({})).await;
    let id = operator.start(&json!({ "definition": "asking" })).await;
    let path = |step: &str, word: &str| format!("/v1/sagas/{id}/steps/{step}/{word}");

    let (status, problem) = viewer.post(&path("release", "approve"), &json!({})).await;
    assert_eq!(status, 403, "{problem}");
    is(&problem, "not-yours");
    let open = viewer.get("/v1/work-items?kind=approval").await;
    assert_eq!(open["work_items"][0]["saga"], json!(id), "{open}");
    let none = viewer.get("/v1/work-items?kind=broken").await;
    assert_eq!(none["work_items"], json!([]));
    let yes = json!({ "note": "all green", "by": "bob" });
    assert_eq!(
        operator.post(&path("release", "approve"), &yes).await.0,
        200
    );

    // a name is the token's: nobody signs as anna by saying so
    let forged = json!({ "by": "anna" });
    let (status, _) = operator.post(&path("signed", "reject"), &forged).await;
    assert_eq!(status, 403);
    let signed = json!({ "by": "her assistant" });
    assert_eq!(anna.post(&path("signed", "approve"), &signed).await.0, 200);
    let saga = admin.await_status(&id, "completed").await;
    let output = &saga["steps"][0]["output"];
    assert_eq!(
        (&output["approved"], &output["note"]),
        (&json!(true), &json!("all green"))
    );
    assert_eq!(output["by"], "ci on behalf of bob");
}
