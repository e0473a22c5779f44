//! Automations that do what a test tells them, and write down what they did.

use std::sync::{Arc, Mutex};

use baton_harness::await_until;
use baton_worker::{Asked, Automation, Context, Done, Effect, Probe, Registry, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::stage::SOON;

/// The late-held one.
pub(crate) const LATE: &str = "test.late@1";
/// The claimed one.
pub(crate) const CLAIM: &str = "test.claim@1";

/// What happened, in order.
#[derive(Clone)]
pub(crate) struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    /// One permit for each `wait` that may go on.
    pub(crate) gate: Arc<Semaphore>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            lines: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
        }
    }

    pub(crate) fn write(&self, line: impl Into<String>) {
        self.lines.lock().unwrap().push(line.into());
    }

    pub(crate) fn count(&self, line: &str) -> usize {
        self.lines
            .lock()
            .unwrap()
            .iter()
            .filter(|l| *l == line)
            .count()
    }

    pub(crate) async fn has(&self, line: &str) {
        await_until(line, SOON, async || self.count(line) > 0).await;
    }
}

/// Writes down that a run was dropped before it came to its end.
struct Dropped(Log, bool);

impl Drop for Dropped {
    fn drop(&mut self) {
        if !self.1 {
            self.0.write("dropped");
        }
    }
}

/// Panics when it is dropped, as what an automation holds may.
struct Breaks(Log);

impl Drop for Breaks {
    fn drop(&mut self) {
        self.0.write("broke");
        panic!("as told, while it is dropped");
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Script {
    /// What to do.
    pub(crate) act: Act,
    /// What to return.
    #[serde(default)]
    pub(crate) value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Act {
    Echo,
    Panic,
    /// Waits for a permit of the gate.
    Wait,
    /// Waits for ever, whatever it is told.
    Hang,
    /// Waits until it is cancelled and says that it changed nothing.
    Heed,
    /// Stores what it found, then acts.
    Keep,
    /// Returns more than fits a message.
    Large,
    /// Fails for good.
    Fail,
    /// Returns the numbers of the locks it acts under.
    Fences,
    /// Waits for ever, and panics when it is dropped.
    Break,
}

pub(crate) fn script(act: Act) -> Value {
    json!({ "act": act, "value": 7 })
}

async fn play(log: &Log, context: &Context, script: Script) -> Result<Value, TaskError> {
    log.write("entered");
    let mut dropped = Dropped(log.clone(), false);
    match script.act {
        Act::Echo => {}
        Act::Panic => panic!("as told"),
        Act::Wait => log.gate.acquire().await.unwrap().forget(),
        Act::Hang => std::future::pending::<()>().await,
        Act::Break => {
            let _breaks = Breaks(log.clone());
            std::future::pending::<()>().await;
        }
        Act::Heed => {
            context.cancelled().cancelled().await;
            dropped.1 = true;
            return Err(TaskError::failed("stopped", "stopped in time").retryable());
        }
        Act::Keep => {
            let before = context.checkpoint_before(json!({ "was": "there" })).await?;
            log.write("acted");
            context.checkpoint_progress(json!(1)).await?;
            dropped.1 = true;
            return Ok(before);
        }
        Act::Large => {
            dropped.1 = true;
            return Ok(Value::String("x".repeat(baton_messages::OUTPUT_BYTES_MAX)));
        }
        Act::Fences => {
            dropped.1 = true;
            return Ok(json!(context.fences()));
        }
        Act::Fail => {
            dropped.1 = true;
            return Err(TaskError::failed("told-to", "told to fail"));
        }
    }
    dropped.1 = true;
    log.write("done");
    Ok(script.value)
}

pub(crate) struct Late(pub(crate) Log);

impl Automation for Late {
    const TYPE: &'static str = LATE;
    const SUMMARY: &'static str = "does what a test tells it, held late";
    const EFFECT: Effect = Effect::None;
    const IDEMPOTENT: bool = true;
    type Input = Script;
    type Output = Value;

    async fn run(&self, context: &Context, input: Script) -> Result<Value, TaskError> {
        play(&self.0, context, input).await
    }
}

pub(crate) struct Claimed(pub(crate) Log);

impl Automation for Claimed {
    const TYPE: &'static str = CLAIM;
    const SUMMARY: &'static str = "does what a test tells it, claimed";
    const EFFECT: Effect = Effect::Reversible;
    const IDEMPOTENT: bool = false;
    const BEFORE_IMAGE: bool = true;
    const HAS_UNDO: bool = true;
    const HAS_PROBE: bool = true;
    type Input = Script;
    type Output = Value;

    async fn run(&self, context: &Context, input: Script) -> Result<Value, TaskError> {
        play(&self.0, context, input).await
    }

    async fn undo(&self, context: &Context, done: Done<Self>) -> Result<(), TaskError> {
        let (key, effect) = (context.idempotency_key(), context.effect_key());
        assert_ne!(key, effect);
        self.0
            .write(format!("undone {:?} {:?}", done.output, done.before));
        Ok(())
    }

    async fn probe(&self, _: &Context, asked: Asked<Self>) -> Result<Probe<Value>, TaskError> {
        Ok(match asked.input.act {
            Act::Echo => Probe::Happened(asked.input.value),
            Act::Fail => Probe::DidNot,
            _ => Probe::CannotTell("not told".into()),
        })
    }
}

pub(crate) fn both(log: &Log) -> Registry {
    Registry::new()
        .with(Late(log.clone()))
        .unwrap()
        .with(Claimed(log.clone()))
        .unwrap()
}
