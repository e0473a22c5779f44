//! `test.echo@1`: returns what it is given. For trying out sagas, for tests and for the bench; it touches nothing.

use std::time::Duration;

use baton_worker::{Automation, Context, Effect, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Returns what it is given.
#[derive(Debug, Clone, Copy)]
pub struct Echo;

/// What it is given, and how it should fail.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EchoInput {
    /// Returned as it is.
    #[serde(default)]
    pub value: Value,
    /// Waits this long first, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sleep_ms: Option<u64>,
    /// Fails instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail: Option<Fail>,
    /// Fails, retryable, on every attempt before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_until_attempt: Option<u32>,
}

/// How to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fail {
    /// Another attempt may come out otherwise.
    Retryable,
    /// For good.
    Final,
}

/// What it was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EchoOutput {
    /// The value of the input.
    pub value: Value,
}

impl Fail {
    /// The failure a step was told to have, with nothing changed.
    pub(crate) fn told(self) -> TaskError {
        let failed = TaskError::failed("told-to-fail", "failed as its input tells it to");
        match self {
            Self::Retryable => failed.retryable(),
            Self::Final => failed,
        }
    }
}

/// Whether this attempt is to fail, as an input's knobs say.
pub(crate) fn told_to_fail(
    context: &Context,
    fail: Option<Fail>,
    fail_until_attempt: Option<u32>,
) -> Result<(), TaskError> {
    if fail_until_attempt.is_some_and(|first| context.attempt() < first) {
        return Err(Fail::Retryable.told());
    }
    fail.map_or(Ok(()), |fail| Err(fail.told()))
}

impl Automation for Echo {
    const TYPE: &'static str = "test.echo@1";
    const SUMMARY: &'static str = "Returns what it is given";
    const EFFECT: Effect = Effect::None;
    const IDEMPOTENT: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = 10_000;
    type Input = EchoInput;
    type Output = EchoOutput;

    fn examples() -> Vec<EchoInput> {
        vec![EchoInput {
            value: json!({ "hello": "world" }),
            sleep_ms: None,
            fail: None,
            fail_until_attempt: None,
        }]
    }

    async fn run(&self, context: &Context, input: EchoInput) -> Result<EchoOutput, TaskError> {
        if let Some(ms) = input.sleep_ms {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(ms)) => {}
                () = context.cancelled().cancelled() => {
                    return Err(TaskError::failed("stopped", "stopped while it slept").retryable());
                }
            }
        }
        told_to_fail(context, input.fail, input.fail_until_attempt)?;
        Ok(EchoOutput { value: input.value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_worker::Direction;
    use baton_worker::testing::TestStep;

    fn input(from: Value) -> EchoInput {
        serde_json::from_value(from).unwrap()
    }

    #[tokio::test]
    async fn it_returns_what_it_is_given_or_fails_as_told() {
        let step = TestStep::new();
        let first = step.attempt(Direction::Do).unwrap();
        let echoed = Echo.run(&first, input(json!({ "value": [1] }))).await;
        assert_eq!(echoed.unwrap().value, json!([1]));
        let failed = Echo
            .run(&first, input(json!({ "fail": "final" })))
            .await
            .unwrap_err();
        assert!(failed.nothing_changed() && !failed.may_retry());

        let patient = json!({ "value": 1, "fail_until_attempt": 2 });
        let failed = Echo.run(&first, input(patient.clone())).await.unwrap_err();
        assert!(failed.nothing_changed() && failed.may_retry());
        let second = step.attempt(Direction::Do).unwrap();
        Echo.run(&second, input(patient)).await.unwrap();
    }

    #[tokio::test]
    async fn it_stops_sleeping_when_cancelled() {
        let context = TestStep::new().attempt(Direction::Do).unwrap();
        context.cancelled().cancel();
        let stopped = Echo
            .run(&context, input(json!({ "sleep_ms": 60_000 })))
            .await;
        assert_eq!(stopped.unwrap_err().code(), "stopped");
    }
}
