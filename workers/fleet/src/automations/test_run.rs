//! `test.run@1`: runs a test command of the worker's allow-list in a folder and reads its JUnit report: the counts, and which failed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use baton_worker::{Automation, Context, Effect, SecretText, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::allowed::{AllowError, Allowed, Filling};
use super::junit::{Counts, read};
use super::ran::{fits, shown};
use crate::config::CommandConfig;
use crate::process::{Changes, Ended, Processes};

/// An hour: longer suites are split.
const TIMEOUT_MS_MAX: u64 = 60 * 60 * 1000;

/// Runs tests.
#[derive(Debug, Clone)]
pub struct TestRun {
    allowed: Arc<Allowed>,
    processes: Processes,
}

/// Which tests, where, and what is good enough.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRunInput {
    /// The name of an entry of the worker's allow-list with `effect = "none"`: what it writes in its folder does not count.
    #[schemars(length(min = 1, max = 128))]
    pub command: String,
    /// The values of its parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, Value>,
    /// Its secrets, by the names the entry gives them, best given as references: `${ secret("name") }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretText>,
    /// The folder of what is tested, below one the entry allows (`dirs`); the entry's own `dir` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), extend("x-target" = true))]
    pub dir: Option<String>,
    /// The JUnit report the command writes, relative to its folder: a file, or a folder of `.xml` files. Without one the exit code alone counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub junit: Option<String>,
    /// What is good enough; no failure, and at least one test, when absent.
    #[serde(default)]
    pub expect: TestsExpected,
}

/// What is good enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TestsExpected {
    /// The least tests that have to run: a report of none is rather a mistake than a success.
    pub tests_min: u64,
    /// The most that may fail.
    pub failed_max: u64,
}

impl Default for TestsExpected {
    fn default() -> Self {
        Self {
            tests_min: 1,
            failed_max: 0,
        }
    }
}

/// How the tests went; it was good enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TestRunOutput {
    /// How many ran, the skipped included.
    pub tests: u64,
    /// How many failed or broke.
    pub failed: u64,
    /// How many were skipped.
    pub skipped: u64,
    /// The names of those that failed, the first fifty.
    pub failed_names: Vec<String>,
    /// What was printed, the middle left out when long.
    pub stdout: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

impl TestRun {
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
}

impl TestRunInput {
    fn filling(&self) -> Filling<'_> {
        Filling {
            args: &self.args,
            secrets: &self.secrets,
            dir: self.dir.as_deref(),
        }
    }
}

impl Automation for TestRun {
    const TYPE: &'static str = "test.run@1";
    const SUMMARY: &'static str = "Runs tests, and reads their JUnit report";
    const EFFECT: Effect = Effect::None;
    const IDEMPOTENT: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = 300_000;
    const TIMEOUT_MS_MAX: u64 = TIMEOUT_MS_MAX;
    const NEEDS: &'static [&'static str] =
        &["test commands, set as [commands.NAME] with effect = \"none\""];
    type Input = TestRunInput;
    type Output = TestRunOutput;

    fn examples() -> Vec<TestRunInput> {
        vec![TestRunInput {
            command: "unit-tests".to_owned(),
            args: BTreeMap::new(),
            secrets: BTreeMap::new(),
            dir: Some("/srv/build/site".to_owned()),
            junit: Some("target/junit.xml".to_owned()),
            expect: TestsExpected::default(),
        }]
    }

    async fn run(
        &self,
        context: &Context,
        input: TestRunInput,
    ) -> Result<TestRunOutput, TaskError> {
        let name = &input.command;
        let command = self.allowed.looking(name)?;
        let Some(place) = command.place(input.dir.as_deref())? else {
            return Err(TaskError::failed(
                "input-misfit",
                "no folder: give `dir`, or the entry its own",
            ));
        };
        let run = command.run(input.filling())?;
        let began = SystemTime::now();
        let ended = self.processes.run(context, run).await;
        let ended = ended.map_err(|error| error.into_task_error(Changes::Nothing))?;
        let counts = match &input.junit {
            Some(report) => {
                let report = report.clone();
                let masks = context.masks();
                let counted = context
                    .blocking(move || read(&place, &report, began, &masks))
                    .await?;
                counted.map_err(|why| no_report(name, &ended, &why))?
            }
            None => Counts::default(),
        };
        judged(&input, &ended, &counts)?;
        let output = TestRunOutput {
            tests: counts.tests,
            failed: counts.failed,
            skipped: counts.skipped,
            failed_names: counts.failed_names,
            stdout: shown(&ended.stdout.text),
            took_ms: u64::try_from(ended.took.as_millis()).unwrap_or(u64::MAX),
        };
        fits(&output).map_err(|why| TaskError::failed("output-too-large", why))?;
        Ok(output)
    }
}

fn no_report(name: &str, ended: &Ended, why: &str) -> TaskError {
    let said = ended.complaint(&format!("test command {name}"));
    TaskError::failed("no-report", format!("{why}; {said}"))
}

/// The report is believed about tests, the exit code about everything else: a run that broke down after its last test did not succeed.
fn judged(input: &TestRunInput, ended: &Ended, counts: &Counts) -> Result<(), TaskError> {
    let expect = &input.expect;
    let name = &input.command;
    if input.junit.is_none() {
        return if ended.success() {
            Ok(())
        } else {
            let message = ended.complaint(&format!("test command {name}"));
            Err(TaskError::failed("tests-failed", message))
        };
    }
    if counts.failed > expect.failed_max {
        return Err(TaskError::failed(
            "tests-failed",
            format!(
                "{} of {} tests failed: {}",
                counts.failed,
                counts.tests,
                counts.failed_names.join(", ")
            ),
        ));
    }
    if counts.tests < expect.tests_min {
        return Err(TaskError::failed(
            "too-few-tests",
            format!(
                "{} tests ran, at least {} were expected",
                counts.tests, expect.tests_min
            ),
        ));
    }
    if !ended.success() && counts.failed == 0 {
        let message = ended.complaint(&format!("no test failed, but test command {name}"));
        return Err(TaskError::failed("test-command-failed", message));
    }
    Ok(())
}
