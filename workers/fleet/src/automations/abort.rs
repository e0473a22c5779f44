//! `test.abort@1`: ends its whole worker, at once and without a word, as a fault in native code or a lack of memory would. For tests alone:
//! it is served where a test ledger is configured, and nowhere else.

use baton_worker::{Automation, Context, Effect, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Ends its worker.
#[derive(Debug, Clone, Copy)]
pub struct TestAbort;

/// What it takes, and what it would return.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

impl Automation for TestAbort {
    const TYPE: &'static str = "test.abort@1";
    const SUMMARY: &'static str = "Ends its whole worker, without a word";
    const EFFECT: Effect = Effect::None;
    const IDEMPOTENT: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = 10_000;
    const NEEDS: &'static [&'static str] = &["a ledger, set as automations.test_effect.ledger_url"];
    type Input = Nothing;
    type Output = Nothing;

    fn examples() -> Vec<Nothing> {
        vec![Nothing {}]
    }

    async fn run(&self, _: &Context, _: Nothing) -> Result<Nothing, TaskError> {
        std::process::abort()
    }
}
