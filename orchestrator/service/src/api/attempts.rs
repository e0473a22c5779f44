//! Every attempt of a saga, gathered from its records: who ran it, when it began, how long it took and what came of it. The state a decision
//! needs keeps none of this; whoever asks for it has the log read.

use std::collections::VecDeque;

use axum::Json;
use axum::extract::State;
use baton_engine::Entry;
use baton_engine::record::{AttemptKey, ClosedWhy, Record};
use baton_messages::{Direction, Failure, ProbeAnswer, RunId, SagaId, StepKey, TaskResult};
use baton_messages::{Timestamp, WorkerId};
use baton_store::Reader as _;
use schemars::JsonSchema;
use serde::Serialize;

use super::auth::Viewer;
use super::extract::{Nothing, Path, Query};
use super::problem::{Answer, Problem};
use super::sagas::{OneSaga, no_saga, saga_id};
use super::{Api, Shared};
use crate::masks;

/// Attempts that are shown: the last ones of a saga that tries for ever.
const ATTEMPTS_MAX: usize = 500;
/// Entries of the log read at once.
const ENTRIES: usize = 1_000;

/// The attempts of a saga, or of one of its steps.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Attempts {
    /// In the order they were first sent.
    attempts: VecDeque<Attempt>,
    /// How many older ones there are.
    left_out: usize,
    /// Of one step alone, and how many at most.
    #[serde(skip)]
    only: Option<(StepKey, usize)>,
}

/// What went wrong, as often as it did in the same words.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "LastError")]
pub(super) struct LastError {
    /// The failure's code; `closed` of an attempt that nobody reported.
    pub(super) code: String,
    /// In a sentence.
    pub(super) message: String,
    /// The last time.
    pub(super) at: Option<Timestamp>,
    /// How many of the attempts that are shown ended so.
    pub(super) times: usize,
}

/// One attempt, in one direction, of one step.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PastAttempt")]
struct Attempt {
    step: StepKey,
    /// Which way.
    direction: Direction,
    /// Which doing of the step, from 1.
    round: u32,
    /// Which try, from 1.
    number: u32,
    /// How often it was sent.
    sent: u32,
    /// When it was first sent.
    sent_at: Timestamp,
    /// Who ran it, where that is known.
    worker: Option<WorkerId>,
    /// The run that did.
    run: Option<RunId>,
    /// When a worker began, by the clock of the orchestrator; none when none did, or nobody knows.
    started_at: Option<Timestamp>,
    /// When it was over.
    ended_at: Option<Timestamp>,
    /// What came of it; none while it is open.
    outcome: Option<Outcome>,
    /// What went wrong.
    failure: Option<Failure>,
    /// Why it was not run, or was closed without a report.
    reason: Option<String>,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "AttemptOutcome")]
enum Outcome {
    /// Done; of an undo: taken back.
    Succeeded,
    /// Nothing was changed.
    Failed,
    /// It may have happened.
    Unknown,
    /// Nobody acted for it.
    NotRun,
    /// Of a probe: it happened.
    Happened,
    /// Of a probe: it did not.
    DidNotHappen,
    /// Of a probe: it cannot be told.
    CannotTell,
}

/// The attempts of a saga, from its records.
pub(crate) async fn attempts(
    State(api): Shared,
    Viewer(_): Viewer,
    Path(of): Path<OneSaga>,
    Query(Nothing {}): Query<Nothing>,
) -> Answer<Json<Attempts>> {
    let saga = saga_id(&of.id)?;
    let mut all = Attempts::default();
    history(&api, saga, |entry| all.take(entry)).await?;
    Ok(Json(all))
}

/// All that was recorded of a saga, oldest first, some of it at a time.
pub(super) async fn history(api: &Api, saga: SagaId, mut each: impl FnMut(&Entry)) -> Answer<()> {
    let mut seen = 0;
    loop {
        let entries = api.reader.entries(saga, seen, ENTRIES).await;
        let entries = entries.map_err(|error| Problem::store(&error))?;
        let Some((before, last)) = entries.last() else {
            break;
        };
        seen = before + last.records.len() as u64;
        for (_, entry) in &entries {
            each(entry);
        }
    }
    if seen == 0 {
        api.has_records(saga).await?;
        return Err(no_saga());
    }
    Ok(())
}

impl Attempts {
    /// Those of one step, the last ones of many.
    pub(super) fn of_step(step: StepKey, most: usize) -> Self {
        Self {
            only: Some((step, most)),
            ..Self::default()
        }
    }

    /// The same with what looks like a secret covered in what was said of them.
    pub(super) fn covered(mut self) -> Self {
        for attempt in &mut self.attempts {
            let failure = attempt.failure.iter_mut();
            let messages = failure.map(|failure| &mut failure.message);
            for said in messages.chain(&mut attempt.reason) {
                *said = masks::text(said).into_owned();
            }
        }
        self
    }

    /// What went wrong last, newest first, each in its words once.
    pub(super) fn errors(&self, most: usize) -> Vec<LastError> {
        let mut errors: Vec<LastError> = Vec::new();
        for attempt in self.attempts.iter().rev() {
            let Some((code, message)) = attempt.went_wrong() else {
                continue;
            };
            let same = |known: &&mut LastError| known.code == code && known.message == message;
            if let Some(known) = errors.iter_mut().find(same) {
                known.times += 1;
            } else if errors.len() < most {
                errors.push(LastError {
                    code: code.to_owned(),
                    message: message.to_owned(),
                    at: attempt.ended_at,
                    times: 1,
                });
            }
        }
        errors
    }

    pub(super) fn take(&mut self, entry: &Entry) {
        for record in &entry.records {
            self.record(entry.at, record);
        }
    }

    fn record(&mut self, at: Timestamp, record: &Record) {
        match record {
            Record::Offered { of, dispatch, .. } => self.offered(of, *dispatch, at),
            Record::Resent { of, .. } => {
                if let Some(attempt) = self.of(of) {
                    attempt.sent += 1;
                }
            }
            Record::Claimed {
                of, run, worker, ..
            } => {
                if let Some(attempt) = self.of(of) {
                    attempt.worker = Some(worker.clone());
                    attempt.run = Some(*run);
                    attempt.started_at = Some(at);
                }
            }
            Record::Reported {
                of,
                run,
                started,
                ran_ms,
                worker,
                result,
                ..
            } => {
                if let Some(attempt) = self.of(of) {
                    attempt.run = Some(*run);
                    attempt.worker = worker.clone().or(attempt.worker.take());
                    if let (true, None, Some(ran_ms)) = (started, attempt.started_at, ran_ms) {
                        let began = Timestamp(at.0.saturating_sub(*ran_ms));
                        attempt.started_at = Some(began.max(attempt.sent_at));
                    }
                    attempt.ended_at = Some(at);
                    attempt.came(result);
                }
            }
            Record::Evidence { of, run, result } => {
                if let Some(attempt) = self.of(of) {
                    attempt.run = Some(*run);
                    attempt.ended_at = Some(at);
                    attempt.came(result);
                    attempt.reason = Some("its report came after it was closed".to_owned());
                }
            }
            Record::Closed {
                of,
                why,
                maybe_acted,
            } => {
                if let Some(attempt) = self.of(of).filter(|attempt| attempt.outcome.is_none()) {
                    attempt.ended_at = Some(at);
                    attempt.outcome = Some(match maybe_acted {
                        true => Outcome::Unknown,
                        false => Outcome::NotRun,
                    });
                    attempt.reason = Some(closed(*why).to_owned());
                }
            }
            _ => {}
        }
    }

    fn of(&mut self, key: &AttemptKey) -> Option<&mut Attempt> {
        self.attempts.iter_mut().rev().find(|attempt| {
            attempt.step == key.step
                && attempt.direction == key.direction
                && attempt.round == key.round
                && attempt.number == key.attempt
        })
    }

    /// What nobody ran is sent again under its number: the same attempt goes on.
    fn offered(&mut self, key: &AttemptKey, dispatch: u32, at: Timestamp) {
        let (is_wanted, most) = match &self.only {
            Some((step, most)) => (*step == key.step, *most),
            None => (true, ATTEMPTS_MAX),
        };
        if !is_wanted {
            return;
        }
        if let Some(again) = self.of(key) {
            again.sent = again.sent.max(dispatch.saturating_sub(1)) + 1;
            (again.worker, again.run, again.started_at) = (None, None, None);
            (again.ended_at, again.outcome) = (None, None);
            (again.failure, again.reason) = (None, None);
            return;
        }
        if self.attempts.len() >= most {
            self.attempts.pop_front();
            self.left_out += 1;
        }
        self.attempts.push_back(Attempt {
            step: key.step.clone(),
            direction: key.direction,
            round: key.round,
            number: key.attempt,
            sent: 1,
            sent_at: at,
            worker: None,
            run: None,
            started_at: None,
            ended_at: None,
            outcome: None,
            failure: None,
            reason: None,
        });
    }
}

impl Attempt {
    /// What went wrong with it: the code and a sentence.
    fn went_wrong(&self) -> Option<(&str, &str)> {
        let failed = self.failure.as_ref();
        let failed = failed.map(|failure| (failure.code.as_str(), failure.message.as_str()));
        let unsure = matches!(
            self.outcome,
            Some(Outcome::Unknown | Outcome::NotRun | Outcome::CannotTell)
        );
        let reason = self.reason.as_deref().filter(|_| unsure);
        failed.or(reason.map(|reason| ("closed", reason)))
    }

    fn came(&mut self, result: &TaskResult) {
        (self.failure, self.reason) = (None, None);
        let outcome = match result {
            TaskResult::Succeeded { .. } => Outcome::Succeeded,
            TaskResult::Failed(failure) => {
                self.failure = Some(failure.clone());
                Outcome::Failed
            }
            TaskResult::Unknown(failure) => {
                self.failure = Some(failure.clone());
                Outcome::Unknown
            }
            TaskResult::NotRun { reason } => {
                self.reason = Some(reason.clone());
                Outcome::NotRun
            }
            TaskResult::Probed(ProbeAnswer::Happened { .. }) => Outcome::Happened,
            TaskResult::Probed(ProbeAnswer::DidNot) => Outcome::DidNotHappen,
            TaskResult::Probed(ProbeAnswer::CannotTell { reason }) => {
                self.reason = Some(reason.clone());
                Outcome::CannotTell
            }
        };
        self.outcome = Some(outcome);
    }
}

const fn closed(why: ClosedWhy) -> &'static str {
    match why {
        ClosedWhy::LastMoment => "no report came until its last moment",
        ClosedWhy::LeaseOver => "its worker was lost: no heartbeat for its lease",
        ClosedWhy::Withdrawn => "it was withdrawn before a worker claimed it",
        ClosedWhy::Unroutable => "no queue takes its task type: no worker serves it",
        ClosedWhy::Dead => "its task became a dead letter",
        ClosedWhy::Expired => "no worker took it in time",
        ClosedWhy::Unheard => "no worker reported it in time; it is offered again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn gathered(entries: Value) -> Value {
        let mut all = Attempts::default();
        let entries: Vec<Entry> = serde_json::from_value(entries).unwrap();
        for entry in &entries {
            all.take(entry);
        }
        serde_json::to_value(&all).unwrap()
    }

    fn of(direction: &str, attempt: u32) -> Value {
        json!({ "step": "a", "direction": direction, "round": 1, "attempt": attempt })
    }

    const RUN: &str = "01a2225f-320a-731b-ba54-9aced93fb514";

    fn offered(direction: &str, attempt: u32, dispatch: u32) -> Value {
        json!({ "offered": { "of": of(direction, attempt), "dispatch": dispatch, "last_moment": 99_000 } })
    }

    #[test]
    fn an_attempt_has_its_worker_its_times_and_what_came_of_it() {
        let failure = json!({ "code": "http-503", "message": "busy", "retryable": true });
        let all = gathered(json!([
            { "at": 1_000, "records": [offered("do", 1, 1)] },
            { "at": 9_000, "records": [{ "reported": { "of": of("do", 1), "run": RUN, "sole": true, "started": true, "ran_ms": 500, "worker": "w1", "result": { "failed": failure } } }] },
            { "at": 10_000, "records": [offered("do", 2, 1)] },
            { "at": 11_000, "records": [{ "closed": { "of": of("do", 2), "why": "expired", "maybe_acted": false } }] },
            { "at": 12_000, "records": [offered("do", 2, 2)] },
            { "at": 13_000, "records": [{ "claimed": { "of": of("do", 2), "run": RUN, "worker": "w2", "dispatch": 2 } }] },
            { "at": 15_000, "records": [{ "reported": { "of": of("do", 2), "run": RUN, "sole": true, "started": true, "ran_ms": 1_900, "result": { "succeeded": { "output": 1 } } } }] },
            { "at": 16_000, "records": [offered("undo", 1, 1)] },
        ]));
        let attempts = &all["attempts"];
        assert_eq!(attempts.as_array().unwrap().len(), 3, "{attempts}");
        let (first, second, undo) = (&attempts[0], &attempts[1], &attempts[2]);
        assert_eq!(
            (&first["worker"], &first["outcome"]),
            (&json!("w1"), &json!("failed"))
        );
        assert_eq!(
            (&first["started_at"], &first["ended_at"]),
            (&json!(8_500), &json!(9_000))
        );
        assert_eq!(first["failure"]["code"], "http-503");
        assert_eq!(
            (&second["worker"], &second["sent"]),
            (&json!("w2"), &json!(2))
        );
        assert_eq!(
            (&second["started_at"], &second["ended_at"]),
            (&json!(13_000), &json!(15_000))
        );
        assert_eq!(
            (&second["outcome"], &second["reason"]),
            (&json!("succeeded"), &json!(null))
        );
        assert_eq!(
            (&undo["direction"], &undo["outcome"]),
            (&json!("undo"), &json!(null))
        );
    }

    #[test]
    fn what_was_closed_without_a_report_says_why_and_a_late_report_says_what_came() {
        let closed = json!({ "at": 2_000, "records": [{ "closed": { "of": of("do", 1), "why": "lease-over", "maybe_acted": true } }] });
        let late = json!({ "at": 3_000, "records": [{ "evidence": { "of": of("do", 1), "run": RUN, "result": { "succeeded": { "output": 1 } } } }] });
        let sent = json!({ "at": 1_000, "records": [offered("do", 1, 1)] });
        let lost = gathered(json!([sent, closed]));
        assert_eq!(lost["attempts"][0]["outcome"], "unknown");
        assert!(
            lost["attempts"][0]["reason"]
                .as_str()
                .unwrap()
                .contains("lease")
        );
        let told = gathered(json!([sent, closed, late]));
        assert_eq!(told["attempts"][0]["outcome"], "succeeded");
    }

    #[test]
    fn of_one_step_the_last_attempts_are_kept_and_what_went_wrong_is_said_once() {
        let mut all = Attempts::of_step("a".parse().unwrap(), 3);
        let failure = |code: &str| json!({ "code": code, "message": "busy", "retryable": true });
        for (n, code) in [(1, "x"), (2, "y"), (3, "x"), (4, "x")] {
            let reported = json!({ "reported": { "of": of("do", n), "run": RUN, "sole": true, "started": true, "result": { "failed": failure(code) } } });
            let mut other = offered("do", n, 1);
            other["offered"]["of"]["step"] = json!("b");
            let entry = json!({ "at": n, "records": [offered("do", n, 1), other, reported] });
            all.take(&serde_json::from_value(entry).unwrap());
        }
        assert_eq!((all.attempts.len(), all.left_out), (3, 1));
        let errors = all.errors(5);
        let told: Vec<_> = errors
            .iter()
            .map(|one| (one.code.as_str(), one.times))
            .collect();
        assert_eq!(told, [("x", 2), ("y", 1)]);
        assert_eq!(all.errors(1).len(), 1);
    }

    #[test]
    fn what_was_said_of_attempts_is_shown_with_its_secrets_covered_and_so_is_what_went_wrong() {
        let mut all = Attempts::of_step("a".parse().unwrap(), 9);
        let said = "no login with password=hunter2 there";
        let failed = json!({ "failed": { "code": "x", "message": said, "retryable": true } });
        let not_run = json!({ "not-run": { "reason": said } });
        for (n, result) in [(1, failed), (2, not_run)] {
            let reported = json!({ "reported": { "of": of("do", n), "run": RUN, "sole": true, "started": true, "result": result } });
            let entry = json!({ "at": n, "records": [offered("do", n, 1), reported] });
            all.take(&serde_json::from_value(entry).unwrap());
        }
        let all = all.covered();
        let errors = serde_json::to_string(&all.errors(5)).unwrap();
        let shown = serde_json::to_string(&all).unwrap();
        for words in [shown, errors] {
            assert_eq!(
                words.matches("no login with password=").count(),
                2,
                "{words}"
            );
            assert!(!words.contains("hunter2"), "{words}");
        }
    }

    #[test]
    fn of_more_attempts_than_anybody_reads_the_last_are_shown() {
        let many: Vec<Value> = (1..=503)
            .map(|n| json!({ "at": n, "records": [offered("do", n, 1)] }))
            .collect();
        let all = gathered(json!(many));
        assert_eq!(all["left_out"], 3);
        assert_eq!(all["attempts"][0]["number"], 4);
    }
}
