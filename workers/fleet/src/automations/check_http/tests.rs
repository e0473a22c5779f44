//! What `check.http` promises: it asks until it is as expected, no longer than it may, says what it saw, and goes nowhere it may not.

use baton_worker::Direction;
use baton_worker::testing::{TestStep, UnderTest};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

use super::*;
use crate::automations::http_testing::{Does, TestServer, client, dead_port, json as answer, says};

fn input(from: Value) -> CheckHttpInput {
    serde_json::from_value(from).unwrap()
}

async fn check(from: Value) -> Result<CheckHttpOutput, TaskError> {
    let check = CheckHttp::by(client(&["127.0.0.1"]));
    UnderTest::new(check, input(from)).run().await
}

#[tokio::test]
async fn a_server_that_comes_up_is_waited_for() {
    let server = TestServer::doing(&[
        says(502, "", "not yet"),
        Does::Cuts,
        answer(200, r#"{"version":"1.4.1"}"#),
        answer(200, r#"{"version":"1.4.2"}"#),
    ])
    .await;
    let seen = check(json!({
        "url": server.url("/healthz"),
        "expect": { "status": 200, "json": [{ "at": "/version", "equals": "1.4.2" }] },
        "within": "20s",
    }))
    .await
    .unwrap();
    assert_eq!((seen.status, seen.tries), (200, 4));
    assert!(server.asked()[0].starts_with("GET /healthz HTTP/1.1\r\n"));
}

#[tokio::test]
async fn what_never_comes_is_said_with_what_was_seen_last() {
    let server = TestServer::doing(&[answer(200, r#"{"version":"1.4.1"}"#)]).await;
    let began = Instant::now();
    let error = check(json!({
        "url": server.url("/"),
        "expect": { "json": [{ "at": "/version", "equals": "1.4.2" }] },
        "within": "700ms",
    }))
    .await
    .unwrap_err();
    assert_eq!(error.code(), "not-as-expected");
    assert!(error.nothing_changed() && error.may_retry());
    assert!(
        error.to_string().contains(r#"`/version` is "1.4.1""#),
        "{error}"
    );
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(server.asked().len() > 1);
}

#[tokio::test]
async fn once_is_once_and_every_part_of_what_is_expected_counts() {
    for (expect, why) in [
        (json!({}), "the status is 404"),
        (json!({ "status": "2xx" }), "the status is 404"),
        (
            json!({ "status": [200, 404], "contains": "ready" }),
            "does not hold \"ready\"",
        ),
        (
            json!({ "status": "404", "json": [{ "at": "", "equals": 1 }] }),
            "the body is no JSON",
        ),
    ] {
        let server = TestServer::doing(&[says(404, "", "nothing here")]).await;
        let error = check(json!({ "url": server.url("/"), "expect": expect }))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(server.asked().len(), 1);
    }
    let server = TestServer::doing(&[says(404, "", "nothing here")]).await;
    check(json!({ "url": server.url("/"), "expect": { "status": 404, "contains": "nothing" } }))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_holds_it_no_longer_than_it_may() {
    let server = TestServer::doing(&[Does::Hangs]).await;
    let began = Instant::now();
    let error = check(json!({ "url": server.url("/"), "within": "1s" }))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("no whole answer in time"),
        "{error}"
    );
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn nobody_there_is_nobody_there() {
    let port = dead_port().await;
    let error = check(json!({ "url": format!("http://127.0.0.1:{port}/") }))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("cannot be connected to"),
        "{error}"
    );
}

#[tokio::test]
async fn it_goes_nowhere_it_may_not_by_no_way_there_is() {
    let inner = TestServer::doing(&[says(200, "", "secret")]).await;
    let context = TestStep::new().attempt(Direction::Do).unwrap();
    let check = CheckHttp::by(client(&[]));
    for host in [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "[::ffff:127.0.0.1]",
        "0",
    ] {
        let url = format!("http://{host}:{}/", inner.port);
        let error = check
            .run(&context, input(json!({ "url": url })))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "target-denied", "{url}");
        assert!(!error.may_retry());
    }
    let error = check
        .run(&context, input(json!({ "url": "file:///etc/passwd" })))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "url-misfit");
    assert!(inner.asked().is_empty());

    // A redirect is looked at like any other target.
    let location = format!("location: http://127.0.0.2:{}/\r\n", inner.port);
    let outer = TestServer::doing(&[says(302, &location, "")]).await;
    let check = CheckHttp::by(client(&[&format!("127.0.0.1:{}", outer.port)]));
    let error = check
        .run(&context, input(json!({ "url": outer.url("/") })))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "target-denied");
}

#[tokio::test]
async fn redirects_are_followed_within_a_host_and_credentials_never_leave_it() {
    let there = TestServer::doing(&[says(200, "", "here")]).await;
    let location = format!("location: {}\r\n", there.url("/"));
    let outer = TestServer::doing(&[
        says(302, "location: /login\r\n", ""),
        says(302, &location, ""),
    ])
    .await;
    check(json!({ "url": outer.url("/") })).await.unwrap();
    assert!(outer.asked()[1].starts_with("GET /login "));
    assert_eq!(there.asked().len(), 1);

    let outer = TestServer::doing(&[says(302, &location, "")]).await;
    let error = check(json!({ "url": outer.url("/"), "auth": { "bearer": "hunter2" } }))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "redirect-refused");
    assert_eq!(there.asked().len(), 1, "the token went to another host");

    let circle = TestServer::doing(&[says(302, "location: /\r\n", "")]).await;
    let error = check(json!({ "url": circle.url("/") })).await.unwrap_err();
    assert_eq!(error.code(), "too-many-redirects");
}

#[tokio::test]
async fn it_stops_when_it_is_asked_to() {
    let server = TestServer::doing(&[says(503, "", "")]).await;
    let context = TestStep::new().attempt(Direction::Do).unwrap();
    context.cancelled().cancel();
    let check = CheckHttp::by(client(&["127.0.0.1"]));
    let asked = json!({ "url": server.url("/"), "within": "50s" });
    let error = check.run(&context, input(asked)).await.unwrap_err();
    assert_eq!(error.code(), "stopped");
}
