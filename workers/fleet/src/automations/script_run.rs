//! `script.run@1`: runs a script of the worker's catalogue (sh, python or tcl). The message names it, and may pin it by its SHA-256; what was
//! hashed is what is run, for it is copied first. Arguments go in as JSON, the result comes out as JSON, neither by a command line.

use std::sync::Arc;

use baton_worker::{Asked, Automation, Context, Done, Effect, Probe, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ran::{fits, shown};
pub use super::scripts::Language;
use super::scripts::{Script, Scripts, ScriptsError};
use crate::config::ScriptRunConfig;
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
    /// Runs what lies in the catalogue.
    ///
    /// # Errors
    /// [`ScriptsError`] when the catalogue cannot be used.
    pub fn from(config: &ScriptRunConfig, processes: &Processes) -> Result<Self, ScriptsError> {
        Ok(Self {
            scripts: Arc::new(Scripts::new(config)?),
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

    async fn enter(
        &self,
        context: &Context,
        script: &Script,
        told: &Value,
        changes: Changes,
    ) -> Result<Ended, TaskError> {
        let told = told.to_string();
        let (program, args) = self.scripts.interpreter(script.language);
        let run = Run::new(program)
            .args(args)
            .arg("script")
            .file("script", script.text.as_bytes())
            .file("args.json", told.as_bytes())
            .stdin(told);
        let ended = self.processes.run(context, run).await;
        ended.map_err(|error| error.into_task_error(changes))
    }
}

impl Automation for ScriptRun {
    const TYPE: &'static str = "script.run@1";
    const SUMMARY: &'static str = "Runs a script of the worker's catalogue: sh, python or tcl";
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
        }]
    }

    async fn run(
        &self,
        context: &Context,
        input: ScriptRunInput,
    ) -> Result<ScriptRunOutput, TaskError> {
        let script = self.find(&input, "")?;
        let script = script.ok_or_else(|| TaskError::failed("not-allowed", "no such script"))?;
        if let Some(wanted) = input.sha256.as_ref().filter(|sha| **sha != script.sha256) {
            return Err(TaskError::failed(
                "script-changed",
                format!(
                    "the script has SHA-256 {}, and not {wanted}: it was changed",
                    script.sha256
                ),
            ));
        }
        let ended = self
            .enter(context, &script, &input.args, Changes::Something)
            .await?;
        judged(&ended)?;
        output_of(&script, &ended)
    }

    async fn undo(&self, context: &Context, done: Done<Self>) -> Result<(), TaskError> {
        let Some(script) = self.find(&done.input, "undo")? else {
            return Err(TaskError::failed(
                "no-undo",
                "the script has no undo beside it: take it back by hand, or put NAME.undo there",
            ));
        };
        let told = json!({ "args": done.input.args, "output": done.output });
        let ended = self
            .enter(context, &script, &told, Changes::Something)
            .await?;
        judged(&ended)
    }

    async fn probe(
        &self,
        context: &Context,
        asked: Asked<Self>,
    ) -> Result<Probe<ScriptRunOutput>, TaskError> {
        let Some(script) = self.find(&asked.input, "probe")? else {
            return Ok(Probe::CannotTell(
                "the script has no probe beside it".to_owned(),
            ));
        };
        let told = json!({ "args": asked.input.args });
        let ended = self
            .enter(context, &script, &told, Changes::Nothing)
            .await?;
        Ok(match ended.exit {
            Exit::Code(0) => Probe::Happened(output_of(&script, &ended)?),
            Exit::Code(1) => Probe::DidNot,
            Exit::Code(_) | Exit::Signal(_) => Probe::CannotTell(ended.complaint("the probe")),
        })
    }
}

fn judged(ended: &Ended) -> Result<(), TaskError> {
    let message = || ended.complaint("the script");
    match ended.exit {
        Exit::Code(0) => Ok(()),
        Exit::Code(CODE_FAILED) => Err(TaskError::failed("script-failed", message())),
        Exit::Code(CODE_RETRYABLE) => {
            Err(TaskError::failed("script-failed", message()).retryable())
        }
        Exit::Code(_) | Exit::Signal(_) => Err(TaskError::unknown("script-failed", message())),
    }
}

fn output_of(script: &Script, ended: &Ended) -> Result<ScriptRunOutput, TaskError> {
    let misfit = |code: &str, why: String| TaskError::unknown(code, why).is_final();
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
