//! What a simulated saga is made of: its steps, and for each the script of what its automation will do at which attempt. The script is
//! known to the worlds' workers and to the naive reference, never to the engine.

use baton_engine::state::StepState;
use baton_messages::{
    Direction, Effect, Manifest, RetryDefaults, SagaId, StepId, StepKey, TaskType,
};
use serde_json::json;

/// What the automation of a type does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matter {
    /// Only looks.
    Nothing,
    /// Something that remembers keys: the same key twice acts once.
    Keyed,
    /// A file whose content is replaced; undo puts the before-image back.
    File,
    /// Something that adds up: acting twice shows twice.
    Counter,
}

/// A task type of the simulated fleet.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name and version.
    pub name: &'static str,
    /// What it does.
    pub matter: Matter,
    /// To whom it can be put back.
    pub effect: Effect,
    /// Whether twice is as once.
    pub idempotent: bool,
    /// Whether it brings an undo.
    pub undo: bool,
    /// Whether it brings a probe.
    pub probe: bool,
    /// How long the world needs to come to rest.
    pub settle_ms: u64,
    /// Whether only the workers of the far pool serve it.
    pub far: bool,
    /// What its workers announce, where that is not made from the above: of a type that is really there.
    pub announced: Option<&'static Manifest>,
}

const fn kind(
    name: &'static str,
    matter: Matter,
    effect: Effect,
    idempotent: bool,
    undo: bool,
    probe: bool,
) -> Kind {
    Kind {
        name,
        matter,
        effect,
        idempotent,
        undo,
        probe,
        settle_ms: 0,
        far: false,
        announced: None,
    }
}

/// Every type there is: each way of holding, with and without undo, probe and before-image.
pub const KINDS: [Kind; 10] = [
    kind(
        "sim.look@1",
        Matter::Nothing,
        Effect::None,
        true,
        false,
        false,
    ),
    kind(
        "sim.set@1",
        Matter::Keyed,
        Effect::Reversible,
        true,
        true,
        true,
    ),
    kind(
        "sim.set-blind@1",
        Matter::Keyed,
        Effect::Reversible,
        true,
        true,
        false,
    ),
    kind(
        "sim.write@1",
        Matter::File,
        Effect::Reversible,
        true,
        true,
        false,
    ),
    Kind {
        settle_ms: 3_000,
        ..kind(
            "sim.write-asked@1",
            Matter::File,
            Effect::Reversible,
            true,
            true,
            true,
        )
    },
    Kind {
        settle_ms: 500,
        ..kind(
            "sim.add@1",
            Matter::Counter,
            Effect::Reversible,
            false,
            true,
            true,
        )
    },
    kind(
        "sim.add-blind@1",
        Matter::Counter,
        Effect::Reversible,
        false,
        true,
        false,
    ),
    kind(
        "sim.send@1",
        Matter::Counter,
        Effect::Irreversible,
        false,
        false,
        true,
    ),
    kind(
        "sim.stuck@1",
        Matter::Keyed,
        Effect::Reversible,
        true,
        false,
        true,
    ),
    Kind {
        far: true,
        ..kind(
            "sim.far@1",
            Matter::Keyed,
            Effect::Reversible,
            true,
            true,
            true,
        )
    },
];

impl Kind {
    /// Whether a worker asks before it acts.
    #[must_use]
    pub fn is_claimed(&self) -> bool {
        !self.idempotent || self.matter == Matter::File
    }

    /// Its manifest, as a worker announces it.
    #[must_use]
    pub fn manifest(&self, task_type: TaskType) -> Manifest {
        if let Some(announced) = self.announced {
            return announced.clone();
        }
        Manifest {
            task_type,
            summary: "simulated".into(),
            input: json!({ "type": "object" }),
            output: json!({}),
            effect: self.effect,
            idempotent: self.idempotent,
            before_image: self.matter == Matter::File,
            undo: self.undo,
            probe: self.probe,
            dry_run: false,
            lock: None,
            timeout_ms_default: 10_000,
            timeout_ms_max: 120_000,
            settle_ms: self.settle_ms,
            retry: RetryDefaults {
                attempts: 3,
                backoff_ms: 1_000,
                factor: 2.0,
                max_ms: 20_000,
            },
            needs: Vec::new(),
            examples: Vec::new(),
        }
    }
}

/// What one run of an automation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Play {
    /// Acts and says so. Of a probe: tells the truth.
    Succeed,
    /// Changes nothing, says so, and that another try may help.
    FailRetryable,
    /// Changes nothing and says so, for good.
    FailFinal,
    /// Acts, and does not know whether it did.
    UnknownActed,
    /// Does not act, and does not know whether it did. Of a probe: cannot tell.
    UnknownIdle,
    /// Acts, and then does not end.
    HangActed,
    /// Does not end.
    HangIdle,
    /// Acts, and its worker dies.
    DieActed,
    /// Its worker dies before it acts.
    DieIdle,
}

impl Play {
    /// Whether the world is otherwise afterwards.
    #[must_use]
    pub const fn acts(self) -> bool {
        matches!(
            self,
            Self::Succeed | Self::UnknownActed | Self::HangActed | Self::DieActed
        )
    }
}

/// What a step's automation does, attempt by attempt; beyond the last the last again.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// Of `do`.
    pub forward: Vec<Play>,
    /// Of `undo`.
    pub backward: Vec<Play>,
    /// Of `probe`.
    pub asking: Vec<Play>,
}

impl Script {
    /// The plays of a direction.
    #[must_use]
    pub fn of(&self, direction: Direction) -> &[Play] {
        match direction {
            Direction::Do => &self.forward,
            Direction::Undo => &self.backward,
            Direction::Probe => &self.asking,
        }
    }

    /// What an attempt does, counted from 1.
    #[must_use]
    pub fn play(&self, direction: Direction, attempt: u32) -> Play {
        let plays = self.of(direction);
        let at = usize::try_from(attempt.saturating_sub(1)).unwrap_or(0);
        plays
            .get(at)
            .or(plays.last())
            .copied()
            .unwrap_or(Play::Succeed)
    }
}

/// What a step does when it has failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// All is taken back.
    Compensate,
    /// A person decides.
    Park,
    /// It goes on.
    Continue,
}

/// How a step is taken back, where it says so itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UndoSaid {
    /// It does not say.
    Own,
    /// Not at all.
    None,
    /// By `sim.set@1` turned round: another type's task, which takes the same effect back.
    Task,
}

/// Whether it is wanted that a step is taken back, where it says so itself (`undo: { when: … }`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UndoWhen {
    /// It does not say: always.
    Always,
    /// The input says so, or says no.
    Input(bool),
    /// What the step returned says no; where nobody knows what that is, it is wanted.
    Returned,
    /// As somebody has written it.
    Written,
}

/// When the event comes that a step waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comes {
    /// Before the saga starts.
    Before,
    /// So long after it was asked for.
    After(u64),
    /// Never.
    Never,
}

/// What the person says whom a step asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decides {
    /// Yes.
    Yes,
    /// No.
    No,
    /// Nothing.
    Never,
}

/// What a step does that runs no task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// It sleeps.
    Sleep,
    /// It waits for an event.
    Wait {
        /// When that comes.
        comes: Comes,
        /// Whether events from before the start count.
        since: bool,
        /// Whether it names a prefix.
        prefix: bool,
        /// How long it waits.
        timeout_ms: u64,
    },
    /// It asks a person.
    Approve {
        /// What that one says.
        decides: Decides,
        /// Whether a no is an answer.
        goes_on: bool,
        /// What happens when nothing is said.
        on_timeout: OnError,
        /// How long it asks.
        timeout_ms: u64,
    },
    /// It says something to everybody.
    Emit,
    /// It is another saga.
    Child,
}

/// A step that is done for each item of a list.
#[derive(Debug, Clone)]
pub struct FanPlan {
    /// What the automation does for each item.
    pub scripts: Vec<Script>,
    /// How many items may be under way at once.
    pub parallel: u32,
    /// How many may fail.
    pub tolerate: u32,
}

/// One step.
#[derive(Debug, Clone)]
pub struct StepPlan {
    /// Its id.
    pub id: StepId,
    /// The type it runs; none: see `idle`.
    pub kind: Option<&'static Kind>,
    /// What it does without a type.
    pub idle: Idle,
    /// The steps before it, by index.
    pub after: Vec<usize>,
    /// Its `if`, already known.
    pub wanted: bool,
    /// How long it sleeps.
    pub sleep_ms: u64,
    /// Whether it is the pivot.
    pub pivot: bool,
    /// What its failure does; of one that waits or asks, what its own keys come to.
    pub on_error: OnError,
    /// Its attempts.
    pub attempts: u32,
    /// How long it waits for a worker.
    pub queue_ms: u64,
    /// How it is taken back.
    pub undo: UndoSaid,
    /// Whether that is wanted.
    pub undo_when: UndoWhen,
    /// Whether it is taken back by another task of which a second run does harm.
    pub undo_once: bool,
    /// What its automation does.
    pub script: Script,
    /// Its items, where it is done for each of a list.
    pub fan: Option<FanPlan>,
    /// The saga it is, where the scripts of that are known beforehand.
    pub within: Option<Box<SagaPlan>>,
}

impl StepPlan {
    /// What its automation does, for one item where it has several.
    #[must_use]
    pub fn script_of(&self, item: Option<u32>) -> &Script {
        match (&self.fan, item) {
            (Some(fan), Some(item)) => usize::try_from(item)
                .ok()
                .and_then(|item| fan.scripts.get(item))
                .unwrap_or(&self.script),
            _ => &self.script,
        }
    }

    /// What of it has an effect by itself: the step, or each of its items.
    #[must_use]
    pub fn keys(&self) -> Vec<StepKey> {
        match &self.fan {
            None => vec![StepKey::from(&self.id)],
            Some(fan) => (0..fan.scripts.len())
                .filter_map(|n| u32::try_from(n).ok())
                .map(|n| StepKey::of_item(self.id.clone(), n))
                .collect(),
        }
    }

    /// It as it is for one of its items.
    #[must_use]
    pub fn item(&self, script: &Script) -> Self {
        Self {
            script: script.clone(),
            fan: None,
            ..self.clone()
        }
    }

    /// Whether its effect, or that of this item of it, may be left where the saga takes back what it did: always, or because it was asked and said no.
    #[must_use]
    pub fn may_be_left(&self, at: Option<&StepState>) -> bool {
        let said_no = || at.is_some_and(|at| at.unwanted);
        self.undo == UndoSaid::None || (self.undo_when != UndoWhen::Always && said_no())
    }

    /// How long it waits by itself at most, where it runs no task.
    #[must_use]
    pub const fn idle_ms(&self) -> u64 {
        match self.idle {
            Idle::Sleep => self.sleep_ms,
            Idle::Wait { timeout_ms, .. } | Idle::Approve { timeout_ms, .. } => timeout_ms,
            Idle::Emit | Idle::Child => 0,
        }
    }
}

/// One saga.
#[derive(Debug, Clone)]
pub struct SagaPlan {
    /// Its id.
    pub id: SagaId,
    /// The name of its definition.
    pub name: String,
    /// Its definition.
    pub yaml: String,
    /// Its steps.
    pub steps: Vec<StepPlan>,
    /// Its deadline.
    pub deadline_ms: Option<u64>,
}

impl SagaPlan {
    /// A step by its id.
    #[must_use]
    pub fn step(&self, id: &StepId) -> Option<&StepPlan> {
        self.steps.iter().find(|step| step.id == *id)
    }
}
