//! `check.command@1`: asks a command of the worker's allow-list that only looks, and holds its answer against what is expected.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_worker::{Automation, Context, Effect, SecretText, TaskError};
use regex::RegexBuilder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::allowed::{AllowError, Allowed, Filling};
use super::ran::{fits, shown};
use crate::config::CommandConfig;
use crate::process::{Changes, Ended, Exit, Processes};

/// The largest compiled pattern, in bytes: it comes from a message.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Checks by commands.
#[derive(Debug, Clone)]
pub struct CheckCommand {
    allowed: Arc<Allowed>,
    processes: Processes,
}

/// Which command, and what it is expected to say.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckCommandInput {
    /// The name of an entry of the worker's allow-list with `effect = "none"`.
    #[schemars(length(min = 1, max = 128), extend("x-target" = true))]
    pub command: String,
    /// The values of its parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, Value>,
    /// Its secrets, by the names the entry gives them, best given as references: `${ secret("name") }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretText>,
    /// Where it runs, as for `command.run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub dir: Option<String>,
    /// What is expected; that it ends with code 0, when absent.
    #[serde(default)]
    pub expect: Expected,
}

/// What is expected of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The exit code, 0 when absent.
    #[serde(default)]
    pub code: i32,
    /// A regular expression some part of the standard output has to fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub stdout: Option<String>,
}

/// What it answered; it was as expected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckCommandOutput {
    /// The exit code.
    pub code: i32,
    /// What it printed, the middle left out when long.
    pub stdout: String,
    /// The JSON it left in the file `BATON_RESULT` names.
    pub result: Option<Value>,
}

impl CheckCommand {
    /// Checks by what the configuration names.
    ///
    /// # Errors
    /// [`AllowError`] with the entry at fault.
    pub fn allowing(
        config: &BTreeMap<String, CommandConfig>,
        processes: &Processes,
    ) -> Result<Self, AllowError> {
        Ok(Self {
            allowed: Arc::new(Allowed::new(config)?),
            processes: processes.clone(),
        })
    }
}

impl CheckCommandInput {
    fn filling(&self) -> Filling<'_> {
        Filling {
            args: &self.args,
            secrets: &self.secrets,
            dir: self.dir.as_deref(),
        }
    }
}

impl Automation for CheckCommand {
    const TYPE: &'static str = "check.command@1";
    const SUMMARY: &'static str = "Asks a command that only looks, and expects an answer";
    const EFFECT: Effect = Effect::None;
    const IDEMPOTENT: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = 30_000;
    const NEEDS: &'static [&'static str] =
        &["commands that only look, set as [commands.NAME] with effect = \"none\""];
    type Input = CheckCommandInput;
    type Output = CheckCommandOutput;

    fn examples() -> Vec<CheckCommandInput> {
        vec![CheckCommandInput {
            command: "disk-free".to_owned(),
            args: BTreeMap::from([("path".to_owned(), Value::from("/srv"))]),
            secrets: BTreeMap::new(),
            dir: None,
            expect: Expected {
                code: 0,
                stdout: Some("^ok".to_owned()),
            },
        }]
    }

    async fn run(
        &self,
        context: &Context,
        input: CheckCommandInput,
    ) -> Result<CheckCommandOutput, TaskError> {
        let name = &input.command;
        let command = self.allowed.looking(name)?;
        let run = command.run(input.filling())?;
        let ended = self.processes.run(context, run).await;
        let ended = ended.map_err(|error| error.into_task_error(Changes::Nothing))?;
        let code = as_expected(name, &ended, &input.expect)?;
        let output = CheckCommandOutput {
            code,
            stdout: shown(&ended.stdout.text),
            result: command.result(name, &ended)?,
        };
        fits(&output).map_err(|why| TaskError::failed("output-too-large", why))?;
        Ok(output)
    }
}

/// What is not as expected may be so later: it can be tried again.
fn as_expected(name: &str, ended: &Ended, expected: &Expected) -> Result<i32, TaskError> {
    let not = |what: String| {
        let said = ended.complaint(&format!("command {name}"));
        TaskError::failed("not-as-expected", format!("{what}; {said}")).retryable()
    };
    match ended.exit {
        Exit::Code(code) if code == expected.code => {}
        Exit::Code(_) | Exit::Signal(_) => {
            return Err(not(format!("code {} was expected", expected.code)));
        }
    }
    if let Some(pattern) = &expected.stdout {
        let compiled = RegexBuilder::new(pattern)
            .size_limit(PATTERN_BYTES_MAX)
            .multi_line(true)
            .build()
            .map_err(|error| {
                TaskError::failed("input-misfit", format!("expect.stdout: {error}"))
            })?;
        if !compiled.is_match(&ended.stdout.text) {
            return Err(not(format!("output that fits {pattern} was expected")));
        }
    }
    Ok(expected.code)
}
