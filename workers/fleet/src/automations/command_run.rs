//! `command.run@1`: runs what the worker's allow-list names, and nothing else. The message names an entry and fills its parameters; program,
//! user, folder, limits and what the exit codes mean are the worker's. A whole tree of processes ends with it, with proof.
//!
//! What a type promises has to hold for every entry: `command.run` takes back what it did, so it runs only entries that name an undo, or that
//! only look. The others are run by [`command.run-irreversible`](CommandRunIrreversible), of which the checker knows that nothing takes it back.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_worker::{Asked, Automation, Context, Done, Effect, Probe, SecretText, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::allowed::{AllowError, Allowed, Command, Filling};
use super::confined::not_reversible;
use super::ran::{fits, shown};
use crate::config::{CommandConfig, CommandEffect};
use crate::process::{Changes, Ended, Exit, Processes};

/// Six hours: a build, a backup.
const TIMEOUT_MS_MAX: u64 = 6 * 60 * 60 * 1000;

/// Runs commands of an allow-list.
#[derive(Debug, Clone)]
pub struct CommandRun {
    allowed: Arc<Allowed>,
    processes: Processes,
}

/// Runs commands of an allow-list that nothing takes back.
#[derive(Debug, Clone)]
pub struct CommandRunIrreversible(CommandRun);

/// Which command, and with what.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandRunInput {
    /// The name of an entry of the worker's allow-list, `[commands.NAME]` in its configuration; never a program.
    #[schemars(length(min = 1, max = 128), extend("x-target" = true))]
    pub command: String,
    /// The values of its parameters: texts, numbers, truths. Each becomes (a part of) one argument; what does not fit its pattern is refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, Value>,
    /// Its secrets, by the names the entry gives them, best given as references: `${ secret("name") }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretText>,
    /// Where it runs: a folder below one of those the entry allows (`dirs`). Its own fresh folder, or the entry's, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub dir: Option<String>,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandRunOutput {
    /// The entry.
    pub command: String,
    /// The JSON the program left in the file `BATON_RESULT` names; null when it left none. Fits the entry's `result_schema`.
    pub result: Option<Value>,
    /// What it printed, without control characters; the middle left out when long.
    pub stdout: String,
    /// What it complained of, likewise.
    pub stderr: String,
    /// Bytes of both that were dropped before anybody saw them.
    pub dropped_bytes: u64,
    /// Processes it had left behind; they were ended.
    pub left_behind: u32,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

impl CommandRun {
    /// Runs what the configuration names.
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

    async fn enter(
        &self,
        context: &Context,
        input: &CommandRunInput,
    ) -> Result<CommandRunOutput, TaskError> {
        let command = self.allowed.get(&input.command)?;
        let run = command.run(input.filling())?;
        let ended = self.processes.run(context, run).await;
        let ended = ended.map_err(|error| error.into_task_error(command.changes()))?;
        command.judged(&input.command, &ended)?;
        output_of(command, &input.command, &ended)
    }

    async fn find_out(
        &self,
        context: &Context,
        input: &CommandRunInput,
    ) -> Result<Probe<CommandRunOutput>, TaskError> {
        let name = &input.command;
        let command = self.allowed.get(name)?;
        if command.changes() == Changes::Nothing {
            return Ok(Probe::DidNot);
        }
        let Some(by) = &command.config.probe else {
            return Ok(Probe::CannotTell(format!(
                "command {name} names no probe command"
            )));
        };
        let prober = self.allowed.get(by)?;
        let run = prober.run_after(input.filling())?;
        let ended = self.processes.run(context, run).await;
        let ended = ended.map_err(|error| error.into_task_error(Changes::Nothing))?;
        Ok(match ended.exit {
            Exit::Code(0) => Probe::Happened(output_of(command, name, &ended)?),
            Exit::Code(1) => Probe::DidNot,
            Exit::Code(_) | Exit::Signal(_) => {
                Probe::CannotTell(ended.complaint(&format!("probe command {by}")))
            }
        })
    }

    /// Runs the entry's undo entry.
    async fn take_back(
        &self,
        context: &Context,
        by: &str,
        done: &Done<Self>,
    ) -> Result<(), TaskError> {
        let command = self.allowed.get(by)?;
        let mut input = done.input.clone();
        input.secrets.clear();
        let told = json!({ "input": input, "output": done.output });
        let run = command
            .run_after(done.input.filling())?
            .stdin(told.to_string());
        let ended = self.processes.run(context, run).await;
        let ended = ended.map_err(|error| error.into_task_error(command.changes()))?;
        command.judged(by, &ended)
    }
}

impl CommandRunInput {
    fn filling(&self) -> Filling<'_> {
        Filling {
            args: &self.args,
            secrets: &self.secrets,
            dir: self.dir.as_deref(),
        }
    }
}

impl Automation for CommandRun {
    const TYPE: &'static str = "command.run@1";
    const SUMMARY: &'static str =
        "Runs a command of the worker's allow-list, and takes it back by another";
    const EFFECT: Effect = Effect::Reversible;
    const IDEMPOTENT: bool = false;
    const HAS_UNDO: bool = true;
    const HAS_PROBE: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = 60_000;
    const TIMEOUT_MS_MAX: u64 = TIMEOUT_MS_MAX;
    const NEEDS: &'static [&'static str] = &["commands it may run, set as [commands.NAME]"];
    type Input = CommandRunInput;
    type Output = CommandRunOutput;

    fn examples() -> Vec<CommandRunInput> {
        vec![CommandRunInput {
            command: "rotate-logs".to_owned(),
            args: BTreeMap::from([("keep".to_owned(), json!(14))]),
            secrets: BTreeMap::new(),
            dir: None,
        }]
    }

    async fn run(
        &self,
        context: &Context,
        input: CommandRunInput,
    ) -> Result<CommandRunOutput, TaskError> {
        let name = &input.command;
        if self.allowed.get(name)?.config.effect == CommandEffect::Irreversible {
            return Err(not_reversible(
                &format!("command {name}"),
                CommandRunIrreversible::TYPE,
            ));
        }
        self.enter(context, &input).await
    }

    async fn undo(&self, context: &Context, done: Done<Self>) -> Result<(), TaskError> {
        let command = self.allowed.get(&done.input.command)?;
        match (command.config.effect, &command.config.undo) {
            (CommandEffect::None, _) => Ok(()),
            (_, Some(by)) => self.take_back(context, &by.clone(), &done).await,
            (CommandEffect::Reversible | CommandEffect::Irreversible, None) => {
                Err(TaskError::failed(
                    "no-undo",
                    format!(
                        "command {} names no undo command any more: take it back by hand, or give it one in the worker's [commands]",
                        done.input.command
                    ),
                ))
            }
        }
    }

    async fn probe(
        &self,
        context: &Context,
        asked: Asked<Self>,
    ) -> Result<Probe<CommandRunOutput>, TaskError> {
        self.find_out(context, &asked.input).await
    }
}

impl CommandRunIrreversible {
    /// Runs what the configuration names.
    ///
    /// # Errors
    /// [`AllowError`] with the entry at fault.
    pub fn allowing(
        config: &BTreeMap<String, CommandConfig>,
        processes: &Processes,
    ) -> Result<Self, AllowError> {
        CommandRun::allowing(config, processes).map(Self)
    }
}

impl Automation for CommandRunIrreversible {
    const TYPE: &'static str = "command.run-irreversible@1";
    const SUMMARY: &'static str =
        "Runs a command of the worker's allow-list that nothing takes back";
    const EFFECT: Effect = Effect::Irreversible;
    const IDEMPOTENT: bool = false;
    const HAS_PROBE: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = CommandRun::TIMEOUT_MS_DEFAULT;
    const TIMEOUT_MS_MAX: u64 = TIMEOUT_MS_MAX;
    const NEEDS: &'static [&'static str] = CommandRun::NEEDS;
    type Input = CommandRunInput;
    type Output = CommandRunOutput;

    fn examples() -> Vec<CommandRunInput> {
        vec![CommandRunInput {
            command: "prune-backups".to_owned(),
            args: BTreeMap::from([("days".to_owned(), json!(14))]),
            secrets: BTreeMap::new(),
            dir: None,
        }]
    }

    async fn run(
        &self,
        context: &Context,
        input: CommandRunInput,
    ) -> Result<CommandRunOutput, TaskError> {
        self.0.enter(context, &input).await
    }

    async fn probe(
        &self,
        context: &Context,
        asked: Asked<Self>,
    ) -> Result<Probe<CommandRunOutput>, TaskError> {
        self.0.find_out(context, &asked.input).await
    }
}

fn output_of(command: &Command, name: &str, ended: &Ended) -> Result<CommandRunOutput, TaskError> {
    let output = CommandRunOutput {
        command: name.to_owned(),
        result: command.result(name, ended)?,
        stdout: shown(&ended.stdout.text),
        stderr: shown(&ended.stderr.text),
        dropped_bytes: ended.stdout.dropped_bytes + ended.stderr.dropped_bytes,
        left_behind: ended.left_behind,
        took_ms: u64::try_from(ended.took.as_millis()).unwrap_or(u64::MAX),
    };
    fits(&output).map_err(|why| match command.changes() {
        Changes::Nothing => TaskError::failed("output-too-large", why),
        Changes::Something => TaskError::unknown("output-too-large", why).is_final(),
    })?;
    Ok(output)
}
