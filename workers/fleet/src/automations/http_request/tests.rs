//! What `http.request` promises: what is sent is what was asked for, and each way in which it may not go well has its right word.

use baton_worker::Direction;
use baton_worker::testing::{TestStep, UnderTest};
use serde_json::{Value, json};

use super::*;
use crate::automations::http_testing::{Does, TestServer, client, dead_port, json as answer, says};

fn input(from: Value) -> HttpRequestInput {
    serde_json::from_value(from).unwrap()
}

async fn request(from: Value) -> Result<HttpAnswer, TaskError> {
    let request = HttpRequest::by(client(&["127.0.0.1"]));
    UnderTest::new(request, input(from)).run().await
}

#[tokio::test]
async fn what_is_asked_for_is_sent_and_the_answer_comes_back() {
    let server = TestServer::doing(&[says(
        201,
        "content-type: application/json\r\nLocation: /tickets/7\r\nset-cookie: s=1\r\n",
        r#"{"id":7}"#,
    )])
    .await;
    let step = TestStep::new();
    let context = step.attempt(Direction::Do).unwrap();
    let request = HttpRequest::by(client(&["127.0.0.1"]));
    let asked = input(json!({
        "method": "POST",
        "url": server.url("/tickets?a=b"),
        "headers": { "X-Team": "net" },
        "auth": { "basic": { "user": "anna", "password": "hunter2" } },
        "body": { "json": { "title": "x" } },
        "expect": { "status": 201 },
    }));
    let output = request.run(&context, asked).await.unwrap();
    assert_eq!(
        (output.status, &output.json, &output.text),
        (201, &json!({ "id": 7 }), &None)
    );
    assert_eq!(output.headers["location"], "/tickets/7");
    assert!(!output.headers.contains_key("set-cookie") && !output.cut);

    let sent = &server.asked()[0];
    let key = context.idempotency_key().to_string();
    for part in [
        "POST /tickets?a=b HTTP/1.1\r\n",
        &format!("host: 127.0.0.1:{}\r\n", server.port),
        "x-team: net\r\n",
        "authorization: Basic YW5uYTpodW50ZXIy\r\n",
        "content-type: application/json\r\n",
        &format!("idempotency-key: {key}\r\n"),
        "\r\n\r\n{\"title\":\"x\"}",
    ] {
        assert!(sent.contains(part), "{part:?} is not in {sent}");
    }
    // Another attempt has the same key; an undo has another.
    let again = step.attempt(Direction::Do).unwrap();
    assert_eq!(again.idempotency_key().to_string(), key);
    assert_ne!(
        step.attempt(Direction::Undo)
            .unwrap()
            .idempotency_key()
            .to_string(),
        key
    );
}

#[tokio::test]
async fn bodies_are_json_text_or_a_form() {
    for (body, kind, sent) in [
        (
            json!({ "text": "hello" }),
            "text/plain; charset=utf-8",
            "hello",
        ),
        (
            json!({ "form": { "a b": "c&d" } }),
            "application/x-www-form-urlencoded",
            "a+b=c%26d",
        ),
    ] {
        let server = TestServer::doing(&[says(200, "", "fine")]).await;
        let asked = json!({ "method": "PUT", "url": server.url("/"), "body": body });
        let output = request(asked).await.unwrap();
        assert_eq!(
            (output.text.as_deref(), &output.json),
            (Some("fine"), &Value::Null)
        );
        let asked = &server.asked()[0];
        assert!(
            asked.contains(&format!("content-type: {kind}\r\n")),
            "{asked}"
        );
        assert!(asked.ends_with(sent), "{asked}");
    }
}

/// Code, nothing changed, may be retried, how often it was sent.
async fn told(verb: &str, does: Does, more: Value) -> (String, bool, bool, usize) {
    let server = TestServer::doing(&[does]).await;
    let mut asked = json!({ "method": verb, "url": server.url("/"), "answer_within": "300ms" });
    asked
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let error = request(asked).await.unwrap_err();
    let code = error.code().to_owned();
    (
        code,
        error.nothing_changed(),
        error.may_retry(),
        server.asked().len(),
    )
}

#[tokio::test]
async fn each_way_to_go_wrong_has_its_right_word() {
    let word = |code: &str, nothing, retry, sent| (code.to_owned(), nothing, retry, sent);
    let plain = json!({});
    for (verb, does, expected) in [
        ("GET", says(500, "", ""), word("broken", true, true, 1)),
        ("POST", says(500, "", ""), word("broken", false, true, 1)),
        ("POST", says(429, "", ""), word("not-now", true, true, 1)),
        ("POST", says(503, "", ""), word("not-now", false, true, 1)),
        ("GET", says(503, "", ""), word("not-now", true, true, 1)),
        ("PUT", says(503, "", ""), word("not-now", false, true, 3)),
        ("POST", says(502, "", ""), word("gateway", false, true, 1)),
        ("GET", says(504, "", ""), word("gateway", true, true, 3)),
        ("POST", says(422, "", ""), word("refused", true, false, 1)),
        (
            "POST",
            says(303, "location: /\r\n", ""),
            word("not-as-expected", false, false, 1),
        ),
        ("POST", Does::Cuts, word("connection-lost", false, true, 1)),
        (
            "POST",
            Does::Hangs,
            word("no-answer-in-time", false, true, 1),
        ),
        ("GET", Does::Cuts, word("connection-lost", true, true, 3)),
        (
            "DELETE",
            Does::Cuts,
            word("connection-lost", false, true, 3),
        ),
    ] {
        assert_eq!(told(verb, does, plain.clone()).await, expected, "{verb}");
    }
    let repeatable = json!({ "repeatable": true });
    assert_eq!(
        told("POST", Does::Cuts, repeatable.clone()).await,
        word("connection-lost", false, true, 3)
    );
    assert_eq!(
        told("POST", says(503, "", ""), repeatable).await,
        word("not-now", false, true, 3)
    );
    let port = dead_port().await;
    let asked = json!({ "method": "POST", "url": format!("http://127.0.0.1:{port}/") });
    let error = request(asked).await.unwrap_err();
    assert!(error.nothing_changed() && error.may_retry());
    assert_eq!(error.code(), "no-connection");
}

#[tokio::test]
async fn a_refusal_after_a_lost_answer_proves_nothing() {
    let server = TestServer::doing(&[Does::Cuts, says(404, "", "gone")]).await;
    let asked = json!({ "method": "DELETE", "url": server.url("/7") });
    let error = request(asked).await.unwrap_err();
    assert!(!error.nothing_changed(), "{error}");
    assert_eq!(server.asked().len(), 2);
    // The key says to the server that both are one.
    let key = |text: &str| {
        text.lines()
            .find(|l| l.starts_with("idempotency-key"))
            .map(str::to_owned)
    };
    let asked = server.asked();
    assert!(key(&asked[0]).is_some() && key(&asked[0]) == key(&asked[1]));
}

#[tokio::test]
async fn it_waits_as_long_as_the_server_wants() {
    let server = TestServer::doing(&[says(429, "retry-after: 7\r\n", "")]).await;
    let asked = json!({ "method": "POST", "url": server.url("/") });
    let error = request(asked).await.unwrap_err();
    let seven = TaskError::failed("not-now", error.to_string().split_once(": ").unwrap().1)
        .retry_after(Duration::from_secs(7));
    assert_eq!(error, seven);
}

#[tokio::test]
async fn what_may_be_repeated_is_not_sent_again_before_the_server_wants_it() {
    let busy = says(503, "retry-after: 1\r\n", "");
    let server = TestServer::doing(&[busy, says(200, "", "done")]).await;
    let began = std::time::Instant::now();
    let asked = json!({ "method": "PUT", "url": server.url("/") });
    assert_eq!(request(asked).await.unwrap().text.as_deref(), Some("done"));
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.asked().len(), 2);
    // Longer than the attempt may take: nobody is asked a second time, and nobody knows.
    let server = TestServer::doing(&[says(503, "retry-after: 3000\r\n", "")]).await;
    let asked = json!({ "method": "PUT", "url": server.url("/") });
    let error = request(asked).await.unwrap_err();
    assert!(!error.nothing_changed(), "{error}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_long_answer_is_cut_and_says_so() {
    let server = TestServer::doing(&[says(200, "", &"x".repeat(70_000))]).await;
    let output = request(json!({ "url": server.url("/"), "keep_bytes": 100 }))
        .await
        .unwrap();
    assert_eq!((output.text.unwrap().len(), output.cut), (100, true));
}

#[tokio::test]
async fn what_belongs_to_the_connection_cannot_be_set() {
    let server = TestServer::doing(&[says(200, "", "")]).await;
    for headers in [
        json!({ "Host": "other" }),
        json!({ "content-length": "3" }),
        json!({ "Transfer-Encoding": "chunked" }),
        json!({ "x\r\ny": "z" }),
        json!({ "x": "y\r\nz: 1" }),
    ] {
        let error = request(json!({ "url": server.url("/"), "headers": headers }))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "input-misfit");
    }
    let error = request(json!({ "url": "http://anna:hunter2@127.0.0.1/" }))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "url-misfit");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_probe_finds_out() {
    let probed = async |does: Does, probe: bool| {
        let server = TestServer::doing(&[does]).await;
        let mut asked = json!({ "method": "POST", "url": server.url("/") });
        if probe {
            asked["probe"] = json!({ "url": server.url("/7"), "expect": { "json": [{ "at": "/state", "equals": "open" }] } });
        }
        let request = HttpRequest::by(client(&["127.0.0.1"]));
        UnderTest::new(request, input(asked)).probe().await
    };
    let open = answer(200, r#"{"state":"open"}"#);
    assert!(matches!(probed(open.clone(), true).await, Ok(Probe::Happened(a)) if a.status == 200));
    assert_eq!(
        probed(answer(200, r#"{"state":"none"}"#), true)
            .await
            .unwrap(),
        Probe::DidNot
    );
    assert_eq!(
        probed(says(404, "", ""), true).await.unwrap(),
        Probe::DidNot
    );
    assert!(
        probed(says(500, "", ""), true)
            .await
            .unwrap_err()
            .may_retry()
    );
    assert!(matches!(
        probed(open, false).await,
        Ok(Probe::CannotTell(_))
    ));
}
