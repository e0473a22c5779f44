//! `script.run@1`: runs a script of the worker's catalogue (sh, python or tcl). The message names it, and may pin it by its SHA-256; what was
//! hashed is what is run, for it is copied first. Arguments go in as JSON, the result comes out as JSON, neither by a command line; secrets go
//! in as files or variables.
//!
//! A script with an undo beside it, or that only looks, is run by `script.run`; any other by [`script.run-irreversible`](ScriptRunIrreversible).

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_worker::{Asked, Automation, Context, Done, Effect, Probe, SecretText, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::confined::not_reversible;
use super::ran::{fits, shown};
pub use super::scripts::Language;
use super::scripts::{ARGS, SCRIPT, Script, Scripts, ScriptsError, changed};
use crate::config::{CommandEffect, ScriptConfig, ScriptRunConfig};
use crate::process::{Changes, Ended, Exit, Processes, Run};

/// Six hours, as for commands.
const TIMEOUT_MS_MAX: u64 = 6 * 60 * 60 * 1000;
/// `EX_USAGE` of sysexits: it has changed nothing, and trying again is useless.
const CODE_FAILED: i32 = 64;
/// `EX_TEMPFAIL` of sysexits: it has changed nothing, and another attempt may succeed.
const CODE_RETRYABLE: i32 = 75;

/// Runs scripts of a catalogue.
#[derive(Debug, Clone)]
pub struct ScriptRun {
    scripts: Arc<Scripts>,
    processes: Processes,
}

/// Runs scripts of a catalogue that nothing takes back.
#[derive(Debug, Clone)]
pub struct ScriptRunIrreversible(ScriptRun);

/// Which script, and with what. Either `script` or `inline`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScriptRunInput {
    /// The name of a script of the worker's catalogue, without its ending: `renew` for `renew.sh`, `renew.py` or `renew.tcl`. Beside it may lie
    /// `renew.undo.sh` and `renew.probe.sh`, which take it back and find out whether it happened (code 0: it did, 1: it did not).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[a-z0-9][a-z0-9_-]{0,127}$"))]
    pub script: Option<String>,
    /// The SHA-256 the script has to have, hexadecimal: it is not run when somebody has changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub sha256: Option<String>,
    /// A script of the message's own; refused unless the worker's configuration allows it (`automations.script_run.inline`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<Inline>,
    /// What it is given, as JSON: on its standard input, and in the file `args.json` of its folder.
    #[serde(default)]
    pub args: Value,
    /// Its secrets, best given as references: `${ secret("name") }`. Each comes as the file of its name in the folder `$HOME`, unless the
    /// worker's `[scripts.NAME]` says another way; never as an argument.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretText>,
}

/// A script of the message's own.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inline {
    /// What it is written in.
    pub language: Language,
    /// The script.
    #[schemars(length(min = 1, max = 65536))]
    pub text: String,
    /// The script that takes it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub undo: Option<String>,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScriptRunOutput {
    /// What was run: its SHA-256, hexadecimal.
    pub sha256: String,
    /// The JSON it left in the file `BATON_RESULT` names; null when it left none.
    pub result: Option<Value>,
    /// What it printed, the middle left out when long.
    pub stdout: String,
    /// What it complained of, likewise.
    pub stderr: String,
    /// Processes it had left behind; they were ended.
    pub left_behind: u32,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

impl ScriptRun {
    /// Runs what lies in the catalogue, as is said of it.
    ///
    /// # Errors
    /// [`ScriptsError`] when the catalogue cannot be used.
    pub fn from(
        config: &ScriptRunConfig,
        said: &BTreeMap<String, ScriptConfig>,
        processes: &Processes,
    ) -> Result<Self, ScriptsError> {
        Ok(Self {
            scripts: Arc::new(Scripts::new(config, said)?),
            processes: processes.clone(),
        })
    }

    /// The script asked for; `part` is "" for itself, "undo" or "probe" for those beside it. None when there is none of that part.
    fn find(&self, input: &ScriptRunInput, part: &str) -> Result<Option<Script>, TaskError> {
        match (&input.script, &input.inline) {
            (Some(name), None) => self.scripts.find(name, part),
            (None, Some(inline)) => {
                let text = match part {
                    "" => Some(&inline.text),
                    "undo" => inline.undo.as_ref(),
                    _ => None,
                };
                let text = text.map(|text| self.scripts.inline(inline.language, text));
                text.transpose()
            }
            (Some(_), Some(_)) | (None, None) => Err(TaskError::failed(
                "input-misfit",
                "give either `script` or `inline`",
            )),
        }
    }

    /// What it does to the world.
    fn effect(&self, input: &ScriptRunInput) -> Result<CommandEffect, TaskError> {
        let undo = self.find(input, "undo")?.is_some();
        Ok(self.scripts.entry(input.script.as_deref()).effect(undo))
    }

    fn changes(&self, input: &ScriptRunInput) -> Changes {
        match self.scripts.entry(input.script.as_deref()).config.effect {
            Some(CommandEffect::None) => Changes::Nothing,
            Some(CommandEffect::Reversible | CommandEffect::Irreversible) | None => {
                Changes::Something
            }
        }
    }

    async fn start(
        &self,
        context: &Context,
        input: &ScriptRunInput,
    ) -> Result<ScriptRunOutput, TaskError> {
        let script = self.find(input, "")?;
        let script = script.ok_or_else(|| TaskError::failed("not-allowed", "no such script"))?;
        if let Some(wanted) = input.sha256.as_ref().filter(|sha| **sha != script.sha256) {
            return Err(changed(&script, wanted));
        }
        let changes = self.changes(input);
        let ended = self
            .enter(context, input, ("", &script), &input.args)
            .await?;
        judged(&ended, changes)?;
        output_of(&script, &ended, changes)
    }

    async fn find_out(
        &self,
        context: &Context,
        input: &ScriptRunInput,
    ) -> Result<Probe<ScriptRunOutput>, TaskError> {
        if self.changes(input) == Changes::Nothing {
            return Ok(Probe::DidNot);
        }
        let Some(script) = self.find(input, "probe")? else {
            return Ok(Probe::CannotTell(
                "the script has no probe beside it".to_owned(),
            ));
        };
        let told = json!({ "args": input.args });
        let ended = self
            .enter(context, input, ("probe", &script), &told)
            .await?;
        Ok(match ended.exit {
            Exit::Code(0) => Probe::Happened(output_of(&script, &ended, Changes::Nothing)?),
            Exit::Code(1) => Probe::DidNot,
            Exit::Code(_) | Exit::Signal(_) => Probe::CannotTell(ended.complaint("the probe")),
        })
    }

    async fn enter(
        &self,
        context: &Context,
        input: &ScriptRunInput,
        (part, script): (&str, &Script),
        told: &Value,
    ) -> Result<Ended, TaskError> {
        let entry = self.scripts.entry(input.script.as_deref());
        entry.held(part, script)?;
        let told = told.to_string();
        let (program, args) = self.scripts.interpreter(script.language);
        let run = Run::new(program)
            .args(args)
            .arg(SCRIPT)
            .file(SCRIPT, script.text.as_bytes())
            .file(ARGS, told.as_bytes())
            .stdin(told);
        let run = entry.run(run, &input.secrets)?;
        let changes = match part {
            "probe" => Changes::Nothing,
            _ => self.changes(input),
        };
        let ended = self.processes.run(context, run).await;
        ended.map_err(|error| error.into_task_error(changes))
    }
}

impl Automation for ScriptRun {
    const TYPE: &'static str = "script.run@1";
    const SUMMARY: &'static str =
        "Runs a script of the worker's catalogue (sh, python or tcl), and takes it back by another";
    const EFFECT: Effect = Effect::Reversible;
    const IDEMPOTENT: bool = false;
    const HAS_UNDO: bool = true;
    const HAS_PROBE: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = 60_000;
    const TIMEOUT_MS_MAX: u64 = TIMEOUT_MS_MAX;
    const NEEDS: &'static [&'static str] =
        &["a folder of scripts, set as automations.script_run.folder"];
    type Input = ScriptRunInput;
    type Output = ScriptRunOutput;

    fn examples() -> Vec<ScriptRunInput> {
        vec![ScriptRunInput {
            script: Some("renew-certificate".to_owned()),
            sha256: None,
            inline: None,
            args: json!({ "host": "www.example.com" }),
            secrets: BTreeMap::new(),
        }]
    }

    async fn run(
        &self,
        context: &Context,
        input: ScriptRunInput,
    ) -> Result<ScriptRunOutput, TaskError> {
        let undo = self.find(&input, "undo")?.is_some();
        let effect = self.effect(&input)?;
        if effect == CommandEffect::Irreversible || (effect == CommandEffect::Reversible && !undo) {
            return Err(not_reversible(
                "a script without an undo beside it",
                ScriptRunIrreversible::TYPE,
            ));
        }
        self.start(context, &input).await
    }

    async fn undo(&self, context: &Context, done: Done<Self>) -> Result<(), TaskError> {
        if self.changes(&done.input) == Changes::Nothing {
            return Ok(());
        }
        let Some(script) = self.find(&done.input, "undo")? else {
            return Err(TaskError::failed(
                "no-undo",
                "the script has no undo beside it any more: take it back by hand, or put NAME.undo there",
            ));
        };
        let told = json!({ "args": done.input.args, "output": done.output });
        let ended = self
            .enter(context, &done.input, ("undo", &script), &told)
            .await?;
        judged(&ended, Changes::Something)
    }

    async fn probe(
        &self,
        context: &Context,
        asked: Asked<Self>,
    ) -> Result<Probe<ScriptRunOutput>, TaskError> {
        self.find_out(context, &asked.input).await
    }
}

impl ScriptRunIrreversible {
    /// Runs what lies in the catalogue, as is said of it.
    ///
    /// # Errors
    /// [`ScriptsError`] when the catalogue cannot be used.
    pub fn from(
        config: &ScriptRunConfig,
        said: &BTreeMap<String, ScriptConfig>,
        processes: &Processes,
    ) -> Result<Self, ScriptsError> {
        ScriptRun::from(config, said, processes).map(Self)
    }
}

impl Automation for ScriptRunIrreversible {
    const TYPE: &'static str = "script.run-irreversible@1";
    const SUMMARY: &'static str = "Runs a script of the worker's catalogue that nothing takes back";
    const EFFECT: Effect = Effect::Irreversible;
    const IDEMPOTENT: bool = false;
    const HAS_PROBE: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = ScriptRun::TIMEOUT_MS_DEFAULT;
    const TIMEOUT_MS_MAX: u64 = TIMEOUT_MS_MAX;
    const NEEDS: &'static [&'static str] = ScriptRun::NEEDS;
    type Input = ScriptRunInput;
    type Output = ScriptRunOutput;

    fn examples() -> Vec<ScriptRunInput> {
        vec![ScriptRunInput {
            script: Some("send-invoices".to_owned()),
            sha256: None,
            inline: None,
            args: json!({ "month": "2026-10" }),
            secrets: BTreeMap::from([("token".to_owned(), SecretText::reference("billing"))]),
        }]
    }

    async fn run(
        &self,
        context: &Context,
        input: ScriptRunInput,
    ) -> Result<ScriptRunOutput, TaskError> {
        self.0.start(context, &input).await
    }

    async fn probe(
        &self,
        context: &Context,
        asked: Asked<Self>,
    ) -> Result<Probe<ScriptRunOutput>, TaskError> {
        self.0.find_out(context, &asked.input).await
    }
}

fn judged(ended: &Ended, changes: Changes) -> Result<(), TaskError> {
    let message = || ended.complaint("the script");
    match ended.exit {
        Exit::Code(0) => Ok(()),
        Exit::Code(CODE_FAILED) => Err(TaskError::failed("script-failed", message())),
        Exit::Code(CODE_RETRYABLE) => {
            Err(TaskError::failed("script-failed", message()).retryable())
        }
        Exit::Code(_) | Exit::Signal(_) => Err(match changes {
            Changes::Nothing => TaskError::failed("script-failed", message()),
            Changes::Something => TaskError::unknown("script-failed", message()),
        }),
    }
}

fn output_of(
    script: &Script,
    ended: &Ended,
    changes: Changes,
) -> Result<ScriptRunOutput, TaskError> {
    let misfit = |code: &str, why: String| match changes {
        Changes::Nothing => TaskError::failed(code, why),
        Changes::Something => TaskError::unknown(code, why).is_final(),
    };
    let output = ScriptRunOutput {
        sha256: script.sha256.clone(),
        result: ended
            .result
            .clone()
            .map_err(|why| misfit("result-misfit", why))?,
        stdout: shown(&ended.stdout.text),
        stderr: shown(&ended.stderr.text),
        left_behind: ended.left_behind,
        took_ms: u64::try_from(ended.took.as_millis()).unwrap_or(u64::MAX),
    };
    fits(&output).map_err(|why| misfit("output-too-large", why))?;
    Ok(output)
}
