//! For authors of automations: a context without a broker, to test `run`, `undo` and `probe` as plain functions.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_messages::{
    AttemptRef, Checkpoint, Direction, NameError, RunId, SagaId, StepId, WorkerId,
};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::automation::{Asked, Automation, Done, Probe};
use crate::clock::now;
use crate::context::{Context, Kept};
use crate::secrets::Veil;
use crate::sink::Sink;
use crate::task_error::TaskError;

/// How long the run of a test may go on.
const TEST_TIME: Duration = Duration::from_secs(60);

/// One effect, as several attempts and directions meet it: the same saga and step, the checkpoints kept from one to the next.
#[derive(Clone)]
pub struct TestStep {
    saga: SagaId,
    attempt: Arc<Mutex<u32>>,
    stored: Arc<Mutex<Vec<Checkpoint>>>,
}

impl Default for TestStep {
    fn default() -> Self {
        Self {
            saga: SagaId(uuid::Uuid::now_v7()),
            attempt: Arc::default(),
            stored: Arc::default(),
        }
    }
}

impl TestStep {
    /// A step nothing has been done for.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The context of the next attempt in this direction, knowing every checkpoint stored so far.
    ///
    /// # Errors
    /// Never in fact: its names are fixed.
    pub fn attempt(&self, direction: Direction) -> Result<Context, NameError> {
        let attempt = {
            let mut attempt = self.attempt.lock().unwrap_or_else(PoisonError::into_inner);
            *attempt += 1;
            *attempt
        };
        let of = AttemptRef {
            saga: self.saga,
            step: StepId::new("step")?,
            item: None,
            direction,
            round: 1,
            attempt,
            dispatch: 1,
        };
        let kept = Kept {
            before: self.before(),
            progress: self.progress(),
            ..Kept::default()
        };
        Ok(Context {
            idempotency_key: of.idempotency_key(),
            of,
            run: RunId(uuid::Uuid::now_v7()),
            worker: WorkerId::new("test")?,
            fences: std::collections::BTreeMap::new(),
            not_after: now().plus_ms(60_000),
            ends: Instant::now() + TEST_TIME,
            cancel: CancellationToken::new(),
            lease: None,
            kept: Mutex::new(kept),
            sink: Sink::Memory(self.stored.clone()),
            veil: Veil::default(),
            blocking: TaskTracker::new(),
        })
    }

    /// The before-image stored, if any.
    #[must_use]
    pub fn before(&self) -> Option<Value> {
        self.find(baton_messages::CheckpointKind::Before, false)
    }

    /// The last progress stored, if any.
    #[must_use]
    pub fn progress(&self) -> Option<Value> {
        self.find(baton_messages::CheckpointKind::Progress, true)
    }

    /// How many checkpoints were stored.
    #[must_use]
    pub fn stored(&self) -> usize {
        self.stored
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    fn find(&self, kind: baton_messages::CheckpointKind, last: bool) -> Option<Value> {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of_kind = stored.iter().filter(|c| c.kind == kind);
        let found = if last {
            of_kind.next_back()
        } else {
            of_kind.next()
        };
        found.map(|c| c.value.clone())
    }
}

/// An automation under test: one step of it, which is run, undone and probed as the runtime would, however often; and where that takes place,
/// whose own questions ([`Deref`](std::ops::Deref)) are asked of it.
pub struct UnderTest<A: Automation, P = ()> {
    /// The automation.
    pub automation: A,
    /// The step, with what its attempts have stored.
    pub step: TestStep,
    /// What each attempt is given.
    pub input: A::Input,
    /// What the test has set up for it.
    pub place: P,
}

impl<A: Automation> UnderTest<A> {
    /// A step nothing has been done for.
    #[must_use]
    pub fn new(automation: A, input: A::Input) -> Self {
        Self {
            automation,
            step: TestStep::new(),
            input,
            place: (),
        }
    }
}

impl<A: Automation, P> UnderTest<A, P> {
    /// The same, there.
    #[must_use]
    pub fn at<Q>(self, place: Q) -> UnderTest<A, Q> {
        UnderTest {
            automation: self.automation,
            step: self.step,
            input: self.input,
            place,
        }
    }

    /// The same, as attempts of this step.
    #[must_use]
    pub fn on(mut self, step: &TestStep) -> Self {
        self.step = step.clone();
        self
    }
}

impl<A: Automation, P> std::ops::Deref for UnderTest<A, P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.place
    }
}

impl<A: Automation, P> UnderTest<A, P>
where
    A::Input: Clone,
{
    /// Runs one more attempt.
    ///
    /// # Errors
    /// As the automation says.
    pub async fn run(&self) -> Result<A::Output, TaskError> {
        let context = self.context(Direction::Do);
        self.automation.run(&context, self.input.clone()).await
    }

    /// Undoes it, where nobody has heard what it returned.
    ///
    /// # Errors
    /// As the automation says.
    pub async fn undo(&self) -> Result<(), TaskError> {
        self.undo_of(None).await
    }

    /// Undoes it, with what it returned where that is known.
    ///
    /// # Errors
    /// As the automation says.
    pub async fn undo_of(&self, output: Option<A::Output>) -> Result<(), TaskError> {
        let context = self.context(Direction::Undo);
        let done = Done {
            input: self.input.clone(),
            output,
            before: self.step.before(),
            progress: self.step.progress(),
        };
        self.automation.undo(&context, done).await
    }

    /// Finds out whether it happened.
    ///
    /// # Errors
    /// As the automation says.
    pub async fn probe(&self) -> Result<Probe<A::Output>, TaskError> {
        let context = self.context(Direction::Probe);
        let asked = Asked {
            input: self.input.clone(),
            before: self.step.before(),
            progress: self.step.progress(),
        };
        self.automation.probe(&context, asked).await
    }

    fn context(&self, direction: Direction) -> Context {
        let attempt = self.step.attempt(direction);
        attempt.expect("the names of a test step are names")
    }
}
