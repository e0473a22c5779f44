//! What an input of `http.poll` says: how a job is begun, how its id is known, how it is found again, asked for and taken back.

use std::collections::BTreeMap;

use baton_worker::SecretText;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::automations::http_words::{Auth, Body, Verb};
use crate::automations::span::Span;

/// A job of another system.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpPollInput {
    /// The request that begins the job.
    pub submit: Submit,
    /// Where the answer to it has the job's id: a JSON pointer (RFC 6901) into its body, such as `/id`, or the name of one of its headers,
    /// such as `{ header: Location }`.
    pub job: JobAt,
    /// How to find the job when its id never came: the answer was lost, or the worker was. It is asked before anything is submitted a second
    /// time, by a probe, and by an undo. Without it a person is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub find: Option<Find>,
    /// How to find out how far it is.
    pub poll: Poll,
    /// How to take it back, for an undo. Without it an undo fails, and a person is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Cancel>,
    /// Headers of every request; a value may be a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, SecretText>,
    /// Who asks, in every request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
}

/// The request that begins a job. It carries the key of the step as `Idempotency-Key`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// POST, unless it says otherwise.
    #[serde(default = "post")]
    pub method: Verb,
    /// Where to. Where the input has `find`, `{key}` stands for the key of the step, here and in the texts of `body`: a system that knows no
    /// `Idempotency-Key` keeps it with the job that way.
    #[schemars(length(min = 8, max = 2048), extend("x-target" = true))]
    pub url: String,
    /// What is handed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// Whether the server makes one of two requests with the same `Idempotency-Key`: then it is sent again when its answer was lost.
    #[serde(default)]
    pub repeatable: bool,
}

/// Where an answer has the id of the job it speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum JobAt {
    /// In its body: a JSON pointer.
    Body(#[schemars(regex(pattern = "^/"), length(max = 256))] String),
    /// In a header.
    Header(JobHeader),
}

/// A header with the id of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobHeader {
    /// Its name, such as `Location`.
    #[schemars(length(min = 1, max = 128))]
    pub header: String,
    /// What of its value is the id: a regular expression, of which the first group counts, or all of it where it has none, such as
    /// `/item/([0-9]+)`. When absent, the last part of the address or path that the value is, decoded: `7` of `https://ci.example/queue/item/7/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub pattern: Option<String>,
}

/// How to find a job by the key of the step. The other system has to show a job from the moment it takes it, or it is submitted twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Find {
    /// Asked by GET; `{key}` stands for the key of the step, the `Idempotency-Key` of `submit`. It has to be there unless `match_key` is set.
    #[schemars(length(min = 8, max = 2048))]
    pub url: String,
    /// Where the answer has the list of jobs, empty when there is none: a JSON pointer; the empty text is the whole answer. When absent, the
    /// answer is one job, and 404 or 410 says that there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^(/.*)?$"), length(max = 256))]
    pub jobs: Option<String>,
    /// Where a job has its id: a JSON pointer.
    #[schemars(regex(pattern = "^/"), length(max = 256))]
    pub job: String,
    /// Whether the answer has jobs of others too: then a job counts only where the key of the step is one of its texts, however deep.
    #[serde(default)]
    pub match_key: bool,
}

/// How to find out how far a job is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    /// Asked by GET; `{job}` stands for the job's id.
    #[schemars(length(min = 8, max = 2048))]
    pub url: String,
    /// Where the answer has the state of the job: a JSON pointer.
    #[schemars(regex(pattern = "^(/.*)?$"), length(max = 256))]
    pub state: String,
    /// The states that say that it is done.
    #[schemars(length(min = 1, max = 32))]
    pub done: Vec<Value>,
    /// The states that say that it has failed, and changed nothing that lasts. Every other state says that it is still at work.
    #[schemars(length(max = 32))]
    pub failed: Vec<Value>,
    /// Where the answer has what is returned as `result`: a JSON pointer; the whole answer when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^(/.*)?$"), length(max = 256))]
    pub result: Option<String>,
    /// How often it is asked, such as `10s`; every 2 seconds when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
}

/// How to take a job back.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    /// DELETE, unless it says otherwise.
    #[serde(default = "delete")]
    pub method: Verb,
    /// `{job}` stands for the job's id. An answer of 404 or 410 says that there is no such job, which is as good.
    #[schemars(length(min = 8, max = 2048))]
    pub url: String,
    /// What is handed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
}

/// A job that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HttpPollOutput {
    /// Its id.
    pub job: String,
    /// Its state.
    pub state: Value,
    /// What it returned.
    pub result: Value,
}

const fn post() -> Verb {
    Verb::Post
}

const fn delete() -> Verb {
    Verb::Delete
}
