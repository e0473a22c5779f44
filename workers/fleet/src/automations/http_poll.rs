//! `http.poll@1`: submits a job to another system, remembers its id, and asks until it is done.
//!
//! The id is stored as soon as it is known: a second attempt, a probe and an undo find the same job and submit nothing. Where it never came, the
//! other system is asked for the job with the key of the step (`find`); only where it cannot be asked, or says nothing clear, a person is. A job
//! the other system calls failed has failed the step: it is believed. Undo asks it to take the job back (`cancel`), whether it still runs or is
//! done.

mod input;
mod job_id;

use std::collections::BTreeMap;
use std::time::Duration;

use baton_worker::{Asked, Automation, Context, Done, Effect, Probe, SecretText, TaskError};
use serde_json::{Value, json};

use self::input::{Cancel, Find, HttpPollInput, HttpPollOutput, JobAt, Poll, Submit};
use self::job_id::{JobReader, body_with_key, with_job};
use super::http_client::{Answer, Client};
use super::http_request::{Sending, with_key};
use super::http_words::{Auth, Body, Expect, Statuses, Verb, Wanted};
use super::span::Span;

/// Pause between two questions where the input does not say.
const EVERY: Duration = Duration::from_secs(2);
/// The shortest pause: more often only keeps the other system busy.
const EVERY_MIN: Duration = Duration::from_millis(100);
/// How long one answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// What of an answer is read, in bytes.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Submits and asks.
#[derive(Debug, Clone)]
pub struct HttpPoll {
    client: Client,
}

/// One request of the job's.
struct One<'a> {
    verb: Verb,
    url: &'a str,
    body: Option<&'a Body>,
    repeatable: bool,
    expect: Expect,
}

/// How far a job is.
enum State {
    Done(HttpPollOutput),
    Failed(Value),
    AtWork(Value),
}

impl HttpPoll {
    /// Asks by this client.
    pub(crate) const fn by(client: Client) -> Self {
        Self { client }
    }

    async fn send(
        &self,
        context: &Context,
        input: &HttpPollInput,
        one: One<'_>,
    ) -> Result<Answer, TaskError> {
        let One {
            verb,
            url,
            body,
            repeatable,
            expect,
        } = one;
        let mut ask = Wanted {
            verb,
            url,
            headers: &input.headers,
            auth: input.auth.as_ref(),
            body,
            body_bytes_max: BODY_BYTES_MAX,
            redirects_max: 0,
        }
        .ask()?;
        with_key(&mut ask, context);
        let sending = Sending {
            client: &self.client,
            verb,
            repeatable: repeatable || verb.is_repeatable(),
            wait: ANSWER_WAIT,
            expect: &expect,
        };
        sending.send(context, &ask).await
    }

    /// The id of the job, which is stored: of one that was begun before, or of a new one.
    async fn begin(&self, context: &Context, input: &HttpPollInput) -> Result<String, TaskError> {
        let reader = JobReader::of(&input.job)?;
        input.find.as_ref().map(job_id::check).transpose()?;
        let before = if context.attempt() > 1 {
            self.find(context, input).await?
        } else {
            None
        };
        let job = match before {
            Some(job) => job,
            None => self.submit(context, input, &reader).await?,
        };
        context.checkpoint_progress(json!({ "job": job })).await?;
        Ok(job)
    }

    /// Submits it. Where no id came, it is looked for at once: the other system may have taken it all the same. That it is not there yet proves
    /// nothing; a probe asks again when everything has come to rest.
    async fn submit(
        &self,
        context: &Context,
        input: &HttpPollInput,
        reader: &JobReader<'_>,
    ) -> Result<String, TaskError> {
        let lost = match self.submitted(context, input).await {
            Ok(answer) => match reader.read(&answer) {
                Ok(job) => return Ok(job),
                Err(at) => {
                    let message = format!("the job was submitted, and the answer has no id {at}");
                    TaskError::unknown("no-job-id", message).is_final()
                }
            },
            Err(error) => error,
        };
        if lost.nothing_changed() {
            return Err(lost);
        }
        match self.find(context, input).await {
            Ok(Some(job)) => Ok(job),
            Ok(None) | Err(_) => Err(lost),
        }
    }

    async fn submitted(
        &self,
        context: &Context,
        input: &HttpPollInput,
    ) -> Result<Answer, TaskError> {
        let of = &input.submit;
        let (mut url, mut body) = (of.url.clone(), of.body.clone());
        if input.find.is_some() {
            let key = context.effect_key().to_string();
            url = job_id::with_key(&url, &key);
            body = body.map(|body| body_with_key(&body, &key)).transpose()?;
        }
        let one = One {
            verb: of.method,
            url: &url,
            body: body.as_ref(),
            repeatable: of.repeatable,
            expect: Expect::default(),
        };
        self.send(context, input, one).await
    }

    /// The job of this step that the other system knows; none when it knows none, or cannot be asked for one.
    async fn find(
        &self,
        context: &Context,
        input: &HttpPollInput,
    ) -> Result<Option<String>, TaskError> {
        let Some(find) = &input.find else {
            return Ok(None);
        };
        job_id::check(find)?;
        let key = context.effect_key().to_string();
        let url = job_id::with_key(&find.url, &key);
        let absent: &[u16] = if find.jobs.is_none() {
            &[404, 410]
        } else {
            &[]
        };
        let one = One {
            verb: Verb::Get,
            url: &url,
            body: None,
            repeatable: true,
            expect: good_or(absent),
        };
        let answer = self.send(context, input, one).await?;
        job_id::found(find, &answer, &key).map_err(|why| {
            let message = format!("whether a job was submitted cannot be told by `find`: {why}");
            TaskError::failed("job-not-told", message)
        })
    }

    async fn state(
        &self,
        context: &Context,
        input: &HttpPollInput,
        job: &str,
    ) -> Result<State, TaskError> {
        let url = with_job(&input.poll.url, job);
        let one = One {
            verb: Verb::Get,
            url: &url,
            body: None,
            repeatable: true,
            expect: Expect::default(),
        };
        let answer = self.send(context, input, one).await?;
        let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let poll = &input.poll;
        let Some(state) = json.pointer(&poll.state).cloned() else {
            let message = format!("the answer has no state of the job at `{}`", poll.state);
            return Err(TaskError::failed("no-state", message));
        };
        if poll.failed.contains(&state) {
            return Ok(State::Failed(state));
        }
        if !poll.done.contains(&state) {
            return Ok(State::AtWork(state));
        }
        let result = match &poll.result {
            Some(at) => json.pointer(at).cloned().unwrap_or_default(),
            None => json,
        };
        Ok(State::Done(HttpPollOutput {
            job: job.to_owned(),
            state,
            result,
        }))
    }

    /// Asks until it is over one way or the other, or the run has to end.
    async fn wait(
        &self,
        context: &Context,
        input: &HttpPollInput,
        job: &str,
    ) -> Result<State, TaskError> {
        let every = input.poll.every.map_or(EVERY, |span| span.0).max(EVERY_MIN);
        loop {
            match self.state(context, input, job).await {
                Ok(State::AtWork(_)) => {}
                // The job goes on, whoever can be asked or not.
                Err(error) if error.may_retry() && context.still_allowed() => {}
                Err(error) => {
                    return Err(TaskError::unknown(error.code(), error.to_string()));
                }
                over => return over,
            }
            tokio::select! {
                () = context.cancelled().cancelled() => {
                    let message = format!("stopped while the job {job} was at work");
                    return Err(TaskError::unknown("stopped", message));
                }
                () = tokio::time::sleep(every) => {}
            }
        }
    }
}

impl Automation for HttpPoll {
    const TYPE: &'static str = "http.poll@1";
    const SUMMARY: &'static str = "Submits a job over HTTP and asks until it is done";
    const EFFECT: Effect = Effect::Reversible;
    const IDEMPOTENT: bool = false;
    const HAS_UNDO: bool = true;
    const HAS_PROBE: bool = true;
    // a request whose answer was lost may still be on its way to a job
    const SETTLE_MS: u64 = 5_000;
    const TIMEOUT_MS_DEFAULT: u64 = 600_000;
    const TIMEOUT_MS_MAX: u64 = 24 * 3_600_000;
    const NEEDS: &'static [&'static str] = &["private targets named in automations.net.allow"];
    type Input = HttpPollInput;
    type Output = HttpPollOutput;

    fn examples() -> Vec<HttpPollInput> {
        vec![HttpPollInput {
            submit: Submit {
                method: Verb::Post,
                url: "https://ci.example/api/builds".to_owned(),
                body: Some(Body::Json(json!({ "branch": "main" }))),
                repeatable: true,
            },
            job: JobAt::Body("/id".to_owned()),
            find: Some(Find {
                url: "https://ci.example/api/builds?key={key}".to_owned(),
                jobs: Some("/builds".to_owned()),
                job: "/id".to_owned(),
                match_key: false,
            }),
            poll: Poll {
                url: "https://ci.example/api/builds/{job}".to_owned(),
                state: "/status".to_owned(),
                done: vec!["passed".into()],
                failed: vec!["failed".into(), "cancelled".into()],
                result: Some("/artifacts".to_owned()),
                every: Some(Span::ms(10_000)),
            },
            cancel: Some(Cancel {
                method: Verb::Delete,
                url: "https://ci.example/api/builds/{job}".to_owned(),
                body: None,
            }),
            headers: BTreeMap::new(),
            auth: Some(Auth::Bearer(SecretText::reference("ci"))),
        }]
    }

    async fn run(
        &self,
        context: &Context,
        input: HttpPollInput,
    ) -> Result<HttpPollOutput, TaskError> {
        let job = match job_of(context.progress().as_ref()) {
            Some(job) => job,
            None => self.begin(context, &input).await?,
        };
        match self.wait(context, &input, &job).await? {
            State::Done(output) => Ok(output),
            State::Failed(state) | State::AtWork(state) => {
                let message = format!("the job {job} has failed: its state is {state}");
                Err(TaskError::failed("job-failed", message))
            }
        }
    }

    async fn undo(&self, context: &Context, done: Done<Self>) -> Result<(), TaskError> {
        let input = &done.input;
        let known = job_of(done.progress.as_ref()).or(done.output.map(|output| output.job));
        let job = match known {
            Some(job) => job,
            None if input.find.is_some() => match self.find(context, input).await? {
                Some(job) => job,
                None => return Ok(()),
            },
            None => {
                let message = "whether a job was submitted is not known: its id never came, and its input has no `find`; look for it, and resolve this by hand";
                return Err(TaskError::failed("no-job-id", message));
            }
        };
        let Some(cancel) = &input.cancel else {
            let message = format!("its input has no `cancel` that could take back the job {job}");
            return Err(TaskError::failed("no-cancel", message));
        };
        let url = with_job(&cancel.url, &job);
        let one = One {
            verb: cancel.method,
            url: &url,
            body: cancel.body.as_ref(),
            repeatable: true,
            expect: good_or(&[404, 410]),
        };
        self.send(context, input, one).await.map(|_| ())
    }

    async fn probe(
        &self,
        context: &Context,
        asked: Asked<Self>,
    ) -> Result<Probe<HttpPollOutput>, TaskError> {
        let job = match job_of(asked.progress.as_ref()) {
            Some(job) => job,
            None if asked.input.find.is_some() => match self.find(context, &asked.input).await {
                Ok(Some(job)) => job,
                Ok(None) => return Ok(Probe::DidNot),
                Err(error) if error.may_retry() => return Err(error),
                Err(error) => return Ok(Probe::CannotTell(error.to_string())),
            },
            None => {
                let why = "the id of the job never came, and its input has no `find`";
                return Ok(Probe::CannotTell(why.to_owned()));
            }
        };
        // It is waited for: that it is at work says neither that it happened nor that it did not.
        Ok(match self.wait(context, &asked.input, &job).await {
            Ok(State::Done(output)) => Probe::Happened(output),
            Ok(State::Failed(_) | State::AtWork(_)) => Probe::DidNot,
            Err(error) => Probe::CannotTell(error.to_string()),
        })
    }
}

fn job_of(progress: Option<&Value>) -> Option<String> {
    progress?.get("job")?.as_str().map(str::to_owned)
}

/// Any `2xx`, or one of these.
fn good_or(others: &[u16]) -> Expect {
    let good: Vec<u16> = (200..300).chain(others.iter().copied()).collect();
    Expect {
        status: Some(Statuses::of(&good)),
        ..Expect::default()
    }
}

#[cfg(test)]
mod tests;
