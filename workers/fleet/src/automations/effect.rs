//! `test.effect@1` and `test.effect-late@1`: one countable effect on a ledger over HTTP, with undo and probe. The first is claimed, the
//! second held late, which its key allows. Their knobs put every kind of trouble where a test wants it.

use std::time::Duration;

use baton_worker::{Asked, Automation, Context, Done, Effect, Probe, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::echo::{Fail, told_to_fail};
use super::ledger::{Ledger, State, Way};

/// One effect, and the trouble on the way.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EffectInput {
    /// Names the effect in the ledger; the idempotency key of the step when absent. Two steps must never share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub key: Option<String>,
    /// What is written beside it.
    #[serde(default)]
    pub value: Value,
    /// Waits this long before the effect, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_before_ms: Option<u64>,
    /// Waits this long after the effect, before it is reported, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_after_ms: Option<u64>,
    /// Fails before the effect: nothing is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail: Option<Fail>,
    /// Fails before the effect, retryable, on every attempt before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_until_attempt: Option<u32>,
    /// Ends as unknown after the effect.
    #[serde(default)]
    pub unknown_after: bool,
    /// How its undo fails, without taking anything back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_undo: Option<Fail>,
    /// Its undo fails, retryable, on every attempt before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_undo_until_attempt: Option<u32>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EffectOutput {
    /// The name of the effect in the ledger.
    pub key: String,
}

async fn pause(context: &Context, ms: Option<u64>) {
    if let Some(ms) = ms {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(ms)) => {}
            () = context.cancelled().cancelled() => {}
        }
    }
}

fn key_of(context: &Context, input: &EffectInput) -> String {
    let key = || context.effect_key().to_string();
    input.key.clone().unwrap_or_else(key)
}

async fn run(
    ledger: &Ledger,
    context: &Context,
    input: EffectInput,
) -> Result<EffectOutput, TaskError> {
    pause(context, input.delay_before_ms).await;
    told_to_fail(context, input.fail, input.fail_until_attempt)?;
    if !context.still_allowed() {
        return Err(TaskError::failed("stopped", "stopped before its effect").retryable());
    }
    let key = key_of(context, &input);
    ledger.enter(context, &key, Way::Do, &input.value).await?;
    pause(context, input.delay_after_ms).await;
    if input.unknown_after {
        let told = "unknown after the effect, as its input tells it to be";
        return Err(TaskError::unknown("told-to-fail", told));
    }
    Ok(EffectOutput { key })
}

async fn undo(ledger: &Ledger, context: &Context, input: &EffectInput) -> Result<(), TaskError> {
    told_to_fail(context, input.fail_undo, input.fail_undo_until_attempt)?;
    let key = key_of(context, input);
    // Never done, or undone already: the ledger changes nothing, and that is as good.
    ledger.enter(context, &key, Way::Undo, &input.value).await?;
    Ok(())
}

async fn probe(
    ledger: &Ledger,
    context: &Context,
    input: &EffectInput,
) -> Result<Probe<EffectOutput>, TaskError> {
    let key = key_of(context, input);
    Ok(match ledger.state(context, &key).await? {
        State::Applied => Probe::Happened(EffectOutput { key }),
        State::Never | State::Reverted => Probe::DidNot,
    })
}

fn example() -> EffectInput {
    EffectInput {
        value: json!("one coffee"),
        ..EffectInput::default()
    }
}

macro_rules! effect {
    ($(#[$doc:meta])* $name:ident, $type:literal, $summary:literal, idempotent: $idempotent:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            ledger: Ledger,
        }

        impl $name {
            /// Acts on this ledger.
            #[must_use]
            pub const fn on(ledger: Ledger) -> Self {
                Self { ledger }
            }
        }

        impl Automation for $name {
            const TYPE: &'static str = $type;
            const SUMMARY: &'static str = $summary;
            const EFFECT: Effect = Effect::Reversible;
            const IDEMPOTENT: bool = $idempotent;
            const HAS_UNDO: bool = true;
            const HAS_PROBE: bool = true;
            const TIMEOUT_MS_DEFAULT: u64 = 30_000;
            const NEEDS: &'static [&'static str] = &["a ledger, set as automations.test_effect.ledger_url"];
            type Input = EffectInput;
            type Output = EffectOutput;

            fn examples() -> Vec<EffectInput> {
                vec![example()]
            }

            async fn run(&self, context: &Context, input: EffectInput) -> Result<EffectOutput, TaskError> {
                run(&self.ledger, context, input).await
            }

            async fn undo(&self, context: &Context, done: Done<Self>) -> Result<(), TaskError> {
                undo(&self.ledger, context, &done.input).await
            }

            async fn probe(&self, context: &Context, asked: Asked<Self>) -> Result<Probe<EffectOutput>, TaskError> {
                probe(&self.ledger, context, &asked.input).await
            }
        }
    };
}

effect!(
    /// One effect, claimed: acts only when granted.
    TestEffect,
    "test.effect@1",
    "Enters one effect in a test ledger; claimed",
    idempotent: false
);
effect!(
    /// One effect, held late: a second run with the same key changes nothing.
    TestEffectLate,
    "test.effect-late@1",
    "Enters one effect in a test ledger; held late",
    idempotent: true
);

#[cfg(test)]
mod tests;
