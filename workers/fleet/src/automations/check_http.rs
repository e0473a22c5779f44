//! `check.http@1`: asks a web address until it answers as expected, or the time for it is over. Changes nothing.

use std::collections::BTreeMap;

use baton_worker::{Automation, Context, Effect, SecretText, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::http_client::{Ask, Client};
use super::http_words::{Auth, Expect, ExpectJson, Verb, Wanted};
use super::looking::{Look, Looks, until};
use super::span::Span;

/// What of a body is looked at, in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How many redirects are followed.
const REDIRECTS_MAX: u8 = 5;

/// Asks.
#[derive(Debug, Clone)]
pub struct CheckHttp {
    client: Client,
}

/// What is asked, and what has to be answered.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckHttpInput {
    /// `http://` or `https://`. What is private, loopback or link-local has to be named in the worker's `automations.net.allow`.
    #[schemars(length(min = 8, max = 2048), extend("x-target" = true))]
    pub url: String,
    /// HEAD asks without a body in the answer.
    #[serde(default)]
    pub method: CheckVerb,
    /// Further headers; a value may be a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, SecretText>,
    /// Who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// What has to be true of the answer; any `2xx` is good when absent.
    #[serde(default)]
    pub expect: Expect,
    /// Asks again until it is as expected, for this long, such as `30s`; once when absent. Set the step's `timeout` longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
}

/// How to ask without changing anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum CheckVerb {
    /// With a body in the answer.
    #[default]
    Get,
    /// Without one.
    Head,
}

/// That it answered as expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckHttpOutput {
    /// The status of the answer.
    pub status: u16,
    /// How often it was asked.
    pub tries: u32,
    /// How long it took until then, in milliseconds.
    pub took_ms: u64,
}

impl CheckHttp {
    /// Asks by this client.
    pub(crate) const fn by(client: Client) -> Self {
        Self { client }
    }
}

impl Automation for CheckHttp {
    const TYPE: &'static str = "check.http@1";
    const SUMMARY: &'static str = "Asks a web address until it answers as expected";
    const EFFECT: Effect = Effect::None;
    const IDEMPOTENT: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = 60_000;
    const NEEDS: &'static [&'static str] = &["private targets named in automations.net.allow"];
    type Input = CheckHttpInput;
    type Output = CheckHttpOutput;

    fn examples() -> Vec<CheckHttpInput> {
        vec![CheckHttpInput {
            url: "https://shop.example/healthz".to_owned(),
            method: CheckVerb::Get,
            headers: BTreeMap::new(),
            auth: None,
            expect: Expect {
                json: vec![ExpectJson {
                    at: "/version".to_owned(),
                    equals: "1.4.2".into(),
                }],
                ..Expect::default()
            },
            within: Some(Span::ms(30_000)),
        }]
    }

    async fn run(
        &self,
        context: &Context,
        input: CheckHttpInput,
    ) -> Result<CheckHttpOutput, TaskError> {
        let ask = Wanted {
            verb: match input.method {
                CheckVerb::Get => Verb::Get,
                CheckVerb::Head => Verb::Head,
            },
            url: &input.url,
            headers: &input.headers,
            auth: input.auth.as_ref(),
            body: None,
            body_bytes_max: BODY_BYTES_MAX,
            redirects_max: REDIRECTS_MAX,
        }
        .ask()?;
        let asking = Asking {
            client: &self.client,
            ask,
            expect: &input.expect,
            url: &input.url,
        };
        let within = input.within.unwrap_or_default().0;
        let seen = until(context, within, &asking).await?;
        Ok(CheckHttpOutput {
            status: seen.seen,
            tries: seen.tries,
            took_ms: seen.took_ms,
        })
    }
}

/// One address, asked again and again.
struct Asking<'a> {
    client: &'a Client,
    ask: Ask,
    expect: &'a Expect,
    url: &'a str,
}

impl Looks for Asking<'_> {
    type Seen = u16;

    fn at(&self) -> &str {
        self.url
    }

    async fn look(&self, deadline: Instant) -> Look<u16> {
        match self.client.send(self.ask.clone(), deadline).await {
            Ok(answer) => match self.expect.misses(&answer) {
                None => Look::Good(answer.status),
                Some(why) => Look::NotYet(why),
            },
            Err(error) if error.may_retry() => Look::NotYet(error.to_string()),
            Err(error) => Look::Never(TaskError::failed(error.code(), error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests;
