//! What `http.poll` promises: one job for one step, found again by whoever comes later, and taken back on demand.

use baton_harness::await_until;
use baton_worker::Direction;
use baton_worker::testing::UnderTest;

use super::*;
use crate::automations::http_testing::{Does, TestServer, client, json as answer, says};

const SOON: Duration = Duration::from_secs(30);

struct Place {
    server: TestServer,
}

impl Place {
    async fn case(does: &[Does]) -> UnderTest<HttpPoll, Self> {
        let server = TestServer::doing(does).await;
        let input = json!({
            "submit": { "url": server.url("/builds"), "body": { "json": { "branch": "main" } } },
            "job": "/id",
            "poll": {
                "url": server.url("/builds/{job}"), "state": "/status", "done": ["passed"], "failed": ["failed"],
                "result": "/log", "every": "100ms",
            },
            "cancel": { "url": server.url("/builds/{job}/cancel") },
        });
        let automation = HttpPoll::by(client(&["127.0.0.1"]));
        let input = serde_json::from_value(input).unwrap();
        UnderTest::new(automation, input).at(Self { server })
    }

    fn lines(&self) -> Vec<String> {
        let asked = self.server.asked();
        asked
            .iter()
            .map(|text| text.lines().next().unwrap().to_owned())
            .collect()
    }
}

#[tokio::test]
async fn a_job_is_submitted_once_asked_for_until_it_is_done_and_taken_back() {
    let case = Place::case(&[
        answer(201, r#"{"id":"a/b c"}"#),
        answer(200, r#"{"status":"queued"}"#),
        says(503, "", ""),
        answer(200, r#"{"status":"passed","log":{"tests":7}}"#),
    ])
    .await;
    let output = case.run().await.unwrap();
    let expected = HttpPollOutput {
        job: "a/b c".to_owned(),
        state: "passed".into(),
        result: json!({ "tests": 7 }),
    };
    assert_eq!(output, expected);
    assert_eq!(
        case.run().await.unwrap(),
        expected,
        "a second attempt finds the job"
    );
    assert_eq!(case.probe().await.unwrap(), Probe::Happened(expected));
    case.undo().await.unwrap();
    let lines = case.lines();
    assert_eq!(lines[0], "POST /builds HTTP/1.1");
    assert_eq!(lines[1], "GET /builds/a%2Fb%20c HTTP/1.1");
    assert_eq!(
        lines.iter().filter(|line| line.starts_with("POST")).count(),
        1
    );
    assert_eq!(
        lines.last().unwrap(),
        "DELETE /builds/a%2Fb%20c/cancel HTTP/1.1"
    );
}

#[tokio::test]
async fn what_goes_wrong_has_its_right_word() {
    let case = Place::case(&[
        answer(201, r#"{"id":7}"#),
        answer(200, r#"{"status":"failed"}"#),
    ])
    .await;
    let error = case.run().await.unwrap_err();
    assert_eq!(
        (error.code(), error.nothing_changed(), error.may_retry()),
        ("job-failed", true, false)
    );

    let case = Place::case(&[answer(201, r#"{"other":7}"#)]).await;
    let error = case.run().await.unwrap_err();
    assert_eq!(
        (error.code(), error.nothing_changed()),
        ("no-job-id", false)
    );
    assert_eq!(case.undo().await.unwrap_err().code(), "no-job-id");

    let case = Place::case(&[Does::Cuts]).await;
    let error = case.run().await.unwrap_err();
    assert_eq!(
        (error.code(), error.nothing_changed()),
        ("connection-lost", false)
    );

    let mut case = Place::case(&[
        answer(201, r#"{"id":7}"#),
        answer(200, r#"{"status":"passed"}"#),
    ])
    .await;
    case.input.cancel = None;
    case.run().await.unwrap();
    assert_eq!(case.undo().await.unwrap_err().code(), "no-cancel");
}

#[tokio::test]
async fn a_run_that_is_stopped_says_that_the_job_goes_on() {
    let case = Place::case(&[
        answer(201, r#"{"id":7}"#),
        answer(200, r#"{"status":"queued"}"#),
    ])
    .await;
    let context = case.step.attempt(Direction::Do).unwrap();
    let cancelled = context.cancelled().clone();
    let stopping = async {
        let begun = async || case.step.progress().is_some();
        await_until("the job to be known", SOON, begun).await;
        cancelled.cancel();
    };
    let running = case.automation.run(&context, case.input.clone());
    let (ran, ()) = tokio::join!(running, stopping);
    let error = ran.unwrap_err();
    assert_eq!((error.code(), error.nothing_changed()), ("stopped", false));
    assert_eq!(case.step.progress(), Some(json!({ "job": "7" })));
}
