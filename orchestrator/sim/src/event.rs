//! Everything that happens in a simulated world, each at its instant.

use baton_driver::{Sent, Ticket};
use baton_engine::Approval;
use baton_messages::fleet::Heartbeat;
use baton_messages::{ControlMessage, InboxMessage, Report, SagaId, StepKey, Task};

/// Which run of which life of which worker something is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whose {
    /// The worker.
    pub worker: usize,
    /// Its life.
    pub life: u64,
    /// The run.
    pub run: u64,
}

/// What a worker does once its message is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Its claim is asked for.
    Asked,
    /// Its before-image is safe: it may act.
    Imaged,
    /// Its report is safe: it may forget.
    Reported,
}

/// The next thing a run does.
#[derive(Debug, Clone)]
pub enum Do {
    /// Begin: ask, or enter.
    Begin,
    /// Ask again, or give up.
    AskAgain,
    /// Enter the automation.
    Enter,
    /// Act on the world.
    Act,
    /// End.
    End,
    /// Its time is over.
    Overdue,
    /// Publish, until it is confirmed.
    Say(Box<Report>, Then),
    /// The broker has it.
    Confirmed(Then),
}

/// A report on its way, and whose it is.
#[derive(Debug, Clone)]
pub struct Said {
    /// It.
    pub report: Report,
    /// Whose it is.
    pub whose: Whose,
    /// What follows its confirm.
    pub then: Then,
}

/// What becomes of a task on its way to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrives and is confirmed.
    Well,
    /// It arrives; nobody hears of it.
    ConfirmLost,
    /// It does not arrive; nobody hears of it.
    Lost,
    /// The broker refuses it.
    Nacked,
}

/// Everything that happens.
#[derive(Debug, Clone)]
pub enum Event {
    /// The orchestrator takes a turn.
    Turn(u64),
    /// It looks at its leases.
    Tick(u64),
    /// It dies.
    HostDies,
    /// The orchestrator that has the partition is stopped for a while.
    HostStops,
    /// The lease of a stopped one is over.
    TakenOver(u64),
    /// One that was taken over from goes on.
    ZombieWakes(u64),
    /// The orchestrator's clock is set.
    ClockSteps,
    /// Somebody drives that partition from now on.
    HostUp(u8),
    /// A partition is handed over in order.
    HandsOver,
    /// A task reaches the broker.
    TaskArrives {
        /// It.
        task: Box<Task>,
        /// Under which life of the orchestrator it was published.
        life: u64,
        /// Its ticket.
        ticket: Ticket,
        /// What becomes of it.
        fate: Fate,
        /// Whether it is still on its way when its publisher dies.
        survives: bool,
    },
    /// What a saga says reaches the broker.
    SaidArrives {
        /// It.
        event: Box<baton_messages::Event>,
        /// Under which life of the orchestrator it was published.
        life: u64,
        /// Its ticket.
        ticket: Ticket,
        /// What becomes of it.
        fate: Fate,
        /// Whether it is still on its way when its publisher dies.
        survives: bool,
    },
    /// What a saga tells another one reaches the inbox.
    WordArrives {
        /// It.
        word: Box<InboxMessage>,
        /// Under which life of the orchestrator it was published.
        life: u64,
        /// Its ticket.
        ticket: Ticket,
        /// What becomes of it.
        fate: Fate,
        /// Whether it is still on its way when its publisher dies.
        survives: bool,
    },
    /// The orchestrator learns what became of a command.
    Told(u64, Ticket, Sent),
    /// A word reaches the workers.
    ControlArrives(Box<ControlMessage>),
    /// A message reaches the inbox whose sender asks again if he has to.
    InboxArrives(Box<InboxMessage>),
    /// A worker hands over what it has to say.
    Post(usize, u64),
    /// Reports of one worker reach the inbox, in one message.
    ParcelArrives {
        /// They, in their order.
        parcel: Vec<Said>,
        /// Whether the confirm comes back.
        confirmed: bool,
    },
    /// The orchestrator gives a marker up that has not come back.
    MarkerLate(u64, u64),
    /// A heartbeat reaches whoever listens.
    HeartbeatArrives(Box<Heartbeat>),
    /// The broker hands out what is ready.
    Pump,
    /// A run goes on.
    Run(Whose, Do),
    /// A worker's heart beats.
    Beat(usize, u64),
    /// A worker's heartbeat, sent then, is confirmed.
    Beaten(usize, u64, u64),
    /// A worker announces itself.
    Announce(usize),
    /// A worker dies.
    WorkerDies(usize),
    /// A worker comes up.
    WorkerUp(usize, u64),
    /// A worker is stopped for a while.
    WorkerStops(usize),
    /// A worker loses its connection.
    WorkerDisconnects(usize),
    /// The broker has not heard of a stopped worker for too long.
    WorkerSilent(usize, u64),
    /// A worker connects.
    WorkerConnects(usize, u64),
    /// A worker drains and is then restarted.
    WorkerDrains(usize),
    /// The broker goes.
    BrokerDown,
    /// The broker is back.
    BrokerUp,
    /// Somebody asks for a saga.
    Start(SagaId),
    /// An operator acts out of his own mind.
    Meddle(SagaId),
    /// A pause ends.
    Resume(SagaId),
    /// Something happens outside, and somebody says so on the bus.
    Happens(Box<baton_messages::Event>),
    /// Somebody comes to a task that has lain in its queue for long.
    Served(Box<Task>),
    /// Somebody decides what a step asks.
    Decides(SagaId, StepKey, Approval),
    /// Whoever is asked for approval decides.
    Approver,
    /// The usher looks whom it can admit, and will again.
    Usher,
    /// It was nudged.
    Nudge,
    /// Somebody wants a saga to go on under the second version of its definition.
    Moves(SagaId),
    /// Operators look at what is parked.
    Janitor,
    /// From here on nothing goes wrong any more.
    Calm,
}

impl Event {
    /// For which life of an orchestrator it is, or under which it was sent.
    pub(crate) const fn life(&self) -> Option<u64> {
        match self {
            Self::Turn(life)
            | Self::Tick(life)
            | Self::TakenOver(life)
            | Self::TaskArrives { life, .. }
            | Self::SaidArrives { life, .. }
            | Self::WordArrives { life, .. }
            | Self::Told(life, ..)
            | Self::MarkerLate(life, _) => Some(*life),
            _ => None,
        }
    }
}
