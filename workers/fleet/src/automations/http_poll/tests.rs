//! What `http.poll` promises: one job for one step, found again by whoever comes later, and taken back on demand.

use baton_harness::await_until;
use baton_worker::Direction;
use baton_worker::testing::UnderTest;

use super::*;
use crate::automations::http_testing::{Does, TestServer, client, json as answer, says};

const SOON: Duration = Duration::from_secs(90);

struct Place {
    server: TestServer,
}

/// A job that is waited for, and no find.
type Case = UnderTest<HttpPoll, Place>;

impl Place {
    async fn case(does: &[Does]) -> Case {
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

    /// The same, with a find: a list of the jobs with the key.
    async fn finding(does: &[Does]) -> Case {
        let mut case = Self::case(does).await;
        let find =
            json!({ "url": case.server.url("/builds?key={key}"), "jobs": "/builds", "job": "/id" });
        case.input.find = Some(serde_json::from_value(find).unwrap());
        case
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

fn key(case: &Case) -> String {
    let context = case.step.attempt(Direction::Do).unwrap();
    context.effect_key().to_string()
}

fn found(id: &str) -> Does {
    answer(200, &format!(r#"{{"builds":[{{"id":"{id}"}}]}}"#))
}

fn none() -> Does {
    answer(200, r#"{"builds":[]}"#)
}

fn passed() -> Does {
    answer(200, r#"{"status":"passed","log":1}"#)
}

fn output(job: &str) -> HttpPollOutput {
    HttpPollOutput {
        job: job.to_owned(),
        state: "passed".into(),
        result: json!(1),
    }
}

#[tokio::test]
async fn a_job_whose_id_is_in_a_header_is_asked_for_by_it() {
    let location = "location: /queue/item/7%2F8/\r\n";
    let mut case = Place::case(&[says(201, location, ""), passed()]).await;
    case.input.job = serde_json::from_value(json!({ "header": "Location" })).unwrap();
    assert_eq!(case.run().await.unwrap(), output("7/8"));
    assert_eq!(case.lines()[1], "GET /builds/7%2F8 HTTP/1.1");

    case.input.job =
        serde_json::from_value(json!({ "header": "Location", "pattern": "(" })).unwrap();
    let case = case.on(&baton_worker::testing::TestStep::new());
    let asked = case.lines().len();
    assert_eq!(case.run().await.unwrap_err().code(), "input-misfit");
    assert_eq!(
        case.lines().len(),
        asked,
        "it is submitted only where its id can be read"
    );
}

#[tokio::test]
async fn a_job_whose_answer_was_lost_is_found_and_nothing_is_submitted_twice() {
    let no_id = answer(201, "{}");
    for lost in [Does::Cuts, says(502, "", ""), no_id] {
        let case = Place::finding(&[lost, found("a/b"), passed()]).await;
        assert_eq!(case.run().await.unwrap(), output("a/b"));
        let lines = case.lines();
        let key = key(&case);
        assert_eq!(
            lines,
            [
                "POST /builds HTTP/1.1".to_owned(),
                format!("GET /builds?key={key} HTTP/1.1"),
                "GET /builds/a%2Fb HTTP/1.1".to_owned()
            ]
        );
        let submitted = &case.server.asked()[0];
        assert!(
            submitted.contains(&format!("idempotency-key: {key}")),
            "{submitted}"
        );
        assert_eq!(case.step.progress(), Some(json!({ "job": "a/b" })));
    }
}

#[tokio::test]
async fn a_job_that_is_not_found_at_once_is_in_doubt_until_a_probe_has_looked() {
    let case = Place::finding(&[
        Does::Cuts,
        none(),
        none(),
        none(),
        answer(201, r#"{"id":7}"#),
        passed(),
    ])
    .await;
    let error = case.run().await.unwrap_err();
    assert_eq!(
        (error.code(), error.nothing_changed()),
        ("connection-lost", false)
    );
    assert_eq!(case.probe().await.unwrap(), Probe::DidNot);
    assert_eq!(case.run().await.unwrap(), output("7"));
    let posts: Vec<usize> = (0..)
        .zip(case.lines())
        .filter(|(_, line)| line.starts_with("POST"))
        .map(|(at, _)| at)
        .collect();
    assert_eq!(
        posts,
        [0, 4],
        "the second attempt looks first: {:?}",
        case.lines()
    );
}

#[tokio::test]
async fn a_second_attempt_a_probe_and_an_undo_find_the_job_by_the_key_of_the_step() {
    let lost = || [Does::Cuts, says(503, "retry-after: 3600\r\n", "")];
    let with = |rest: &[Does]| [&lost()[..], rest].concat();

    let case = Place::finding(&with(&[found("7"), passed()])).await;
    case.run().await.unwrap_err();
    assert_eq!(case.run().await.unwrap(), output("7"));

    let case = Place::finding(&with(&[found("7"), passed()])).await;
    case.run().await.unwrap_err();
    let key = key(&case);
    assert_eq!(case.probe().await.unwrap(), Probe::Happened(output("7")));
    assert_eq!(case.lines()[2], format!("GET /builds?key={key} HTTP/1.1"));

    let case = Place::finding(&with(&[found("7"), says(204, "", ""), none()])).await;
    case.run().await.unwrap_err();
    case.undo().await.unwrap();
    assert_eq!(case.lines()[3], "DELETE /builds/7/cancel HTTP/1.1");
    case.undo().await.unwrap();
    assert_eq!(case.lines().len(), 5, "there is nothing to take back");
}

#[tokio::test]
async fn what_find_does_not_tell_is_not_guessed() {
    let two = answer(200, r#"{"builds":[{"id":1},{"id":2}]}"#);
    for unclear in [
        two,
        answer(200, "{}"),
        says(200, "", "<html>"),
        says(404, "", ""),
    ] {
        let case = Place::finding(&[Does::Cuts, unclear]).await;
        assert_eq!(case.run().await.unwrap_err().code(), "connection-lost");
        let probed = case.probe().await.unwrap();
        assert!(matches!(probed, Probe::CannotTell(_)), "{probed:?}");
        assert!(case.undo().await.is_err());
        assert!(case.run().await.is_err(), "it is not submitted again");
        let posts = case
            .lines()
            .iter()
            .filter(|line| line.starts_with("POST"))
            .count();
        assert_eq!(posts, 1);
    }
    let case = Place::finding(&[says(503, "", "")]).await;
    let error = case.probe().await.unwrap_err();
    assert!(error.may_retry(), "it is asked again: {error}");

    let mut case = Place::finding(&[found("of-somebody-else")]).await;
    let find = case.input.find.as_mut().unwrap();
    find.url = find.url.replace("{key}", "all");
    assert_eq!(case.run().await.unwrap_err().code(), "input-misfit");
    assert_eq!(case.lines().len(), 0);
}

#[tokio::test]
async fn a_system_that_knows_no_keys_is_handed_the_key_with_the_job() {
    let mut case = Place::finding(&[answer(201, r#"{"id":7}"#), passed()]).await;
    case.input.submit.url = case.server.url("/builds?step={key}");
    let body = json!({ "json": { "parameters": [{ "name": "STEP", "value": "{key}" }], "n": 1 } });
    case.input.submit.body = Some(serde_json::from_value(body).unwrap());
    case.run().await.unwrap();
    let key = key(&case);
    let asked = case.server.asked();
    assert!(
        asked[0].starts_with(&format!("POST /builds?step={key} ")),
        "{}",
        asked[0]
    );
    let body = asked[0].split_once("\r\n\r\n").unwrap().1;
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        body,
        json!({ "parameters": [{ "name": "STEP", "value": key }], "n": 1 })
    );

    let mut form = Place::finding(&[answer(201, r#"{"id":7}"#), passed()]).await;
    form.input.submit.body =
        Some(serde_json::from_value(json!({ "form": { "STEP": "{key}" } })).unwrap());
    form.run().await.unwrap();
    assert!(form.server.asked()[0].ends_with(&format!("\r\n\r\nSTEP={}", self::key(&form))));

    // without a find, the text is whatever it was
    let mut plain = Place::case(&[answer(201, r#"{"id":7}"#), passed()]).await;
    plain.input.submit.body = Some(serde_json::from_value(json!({ "text": "{key}" })).unwrap());
    plain.run().await.unwrap();
    assert!(plain.server.asked()[0].ends_with("\r\n\r\n{key}"));
}
