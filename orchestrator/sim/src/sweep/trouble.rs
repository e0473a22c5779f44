//! What is done to a step, one trouble at a time: the columns of the matrix.

use baton_messages::Direction;
use serde::Serialize;

use crate::plan::Play;

/// So often a step that is tried for ever is busy before it goes.
const BUSY_TIMES: usize = 12;

/// One trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// None: how it goes when all is well.
    Nothing,
    /// It fails for good, with nothing changed.
    Fails,
    /// It fails each time, and says that another try may help.
    Busy,
    /// It fails once, and says that another try may help.
    BusyOnce,
    /// It acts and does not know whether it did. Of a probe: it cannot tell.
    Unsure,
    /// It does nothing until its time is over.
    Hangs,
    /// It acts, and does not end.
    HangsDone,
    /// Its worker dies with the task in hand, before it begins.
    DiesBefore,
    /// Its worker dies in the middle, before anything is changed.
    DiesDuring,
    /// Its worker dies after it has acted, before it says so.
    DiesAfter,
    /// Whoever takes it dies of it, each time.
    Kills,
    /// Its worker is cut off and goes on, while another is given the same task.
    CutOff,
    /// The task is published twice: its confirm was lost.
    SentTwice,
    /// What is said of it is said twice.
    SaidTwice,
    /// Its report comes when its lease and its time are over.
    SaidLate,
    /// Nobody takes it for so long that its first offer has run out.
    ServedLate,
    /// Nobody takes it while it may wait; then somebody finds it.
    Unserved,
    /// The orchestrator dies after each commit that is about it, before anything leaves.
    Crash,
    /// A person cancels the saga while it is under way.
    Cancelled,
    /// A person says no.
    Rejected,
    /// What it waits for never comes.
    Never,
}

/// What a row is about: a way of a step with a task, or a step without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// A task, that way.
    Task(Direction),
    /// A wait for an event.
    Wait,
    /// A question.
    Approve,
    /// A sleep or an event that is said.
    Idle,
    /// A step that is a saga, that way: what the two say to each other.
    Child(Direction),
    /// The saga as a whole.
    Saga,
}

impl Trouble {
    /// Every trouble, in the order of the columns.
    pub const ALL: [Self; 21] = [
        Self::Nothing,
        Self::Fails,
        Self::Busy,
        Self::BusyOnce,
        Self::Unsure,
        Self::Hangs,
        Self::HangsDone,
        Self::DiesBefore,
        Self::DiesDuring,
        Self::DiesAfter,
        Self::Kills,
        Self::CutOff,
        Self::SentTwice,
        Self::SaidTwice,
        Self::SaidLate,
        Self::ServedLate,
        Self::Unserved,
        Self::Crash,
        Self::Cancelled,
        Self::Rejected,
        Self::Never,
    ];

    /// Two letters over its column.
    #[must_use]
    pub const fn head(self) -> &'static str {
        match self {
            Self::Nothing => "--",
            Self::Fails => "fa",
            Self::Busy => "bu",
            Self::BusyOnce => "b1",
            Self::Unsure => "us",
            Self::Hangs => "ha",
            Self::HangsDone => "hd",
            Self::DiesBefore => "d<",
            Self::DiesDuring => "d=",
            Self::DiesAfter => "d>",
            Self::Kills => "dk",
            Self::CutOff => "cu",
            Self::SentTwice => "t2",
            Self::SaidTwice => "r2",
            Self::SaidLate => "rl",
            Self::ServedLate => "sl",
            Self::Unserved => "s0",
            Self::Crash => "cr",
            Self::Cancelled => "ca",
            Self::Rejected => "no",
            Self::Never => "nv",
        }
    }

    /// What is done, in a few words.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::Nothing => "nothing is done to it",
            Self::Fails => "fails for good",
            Self::Busy => "fails retryably, always",
            Self::BusyOnce => "fails retryably, once",
            Self::Unsure => "acts, cannot tell",
            Self::Hangs => "times out, idle",
            Self::HangsDone => "times out, has acted",
            Self::DiesBefore => "worker dies before it",
            Self::DiesDuring => "worker dies during it",
            Self::DiesAfter => "worker dies after it",
            Self::Kills => "kills every worker",
            Self::CutOff => "cut off, run by two",
            Self::SentTwice => "task sent twice",
            Self::SaidTwice => "reported twice",
            Self::SaidLate => "reported late",
            Self::ServedLate => "served late",
            Self::Unserved => "served by nobody",
            Self::Crash => "orchestrator crashes",
            Self::Cancelled => "saga is cancelled",
            Self::Rejected => "a person says no",
            Self::Never => "nothing ever comes",
        }
    }

    /// Its number: part of the seed of its cells.
    #[must_use]
    pub fn number(self) -> u64 {
        let at = Self::ALL.iter().position(|one| *one == self).unwrap_or(0);
        at as u64
    }

    /// Whether it can befall what a row is about.
    pub(crate) const fn befalls(self, about: About) -> bool {
        match about {
            About::Saga => matches!(self, Self::Nothing | Self::Crash),
            About::Child(Direction::Do) => matches!(
                self,
                Self::SentTwice
                    | Self::SaidTwice
                    | Self::SaidLate
                    | Self::ServedLate
                    | Self::Crash
                    | Self::Cancelled
            ),
            About::Child(_) => matches!(
                self,
                Self::SentTwice | Self::SaidTwice | Self::SaidLate | Self::ServedLate | Self::Crash
            ),
            About::Idle => matches!(self, Self::Crash | Self::Cancelled),
            About::Wait => matches!(
                self,
                Self::SaidTwice | Self::SaidLate | Self::Crash | Self::Cancelled | Self::Never
            ),
            About::Approve => matches!(
                self,
                Self::SaidTwice
                    | Self::SaidLate
                    | Self::Crash
                    | Self::Cancelled
                    | Self::Rejected
                    | Self::Never
            ),
            About::Task(Direction::Do) => {
                !matches!(self, Self::Nothing | Self::Rejected | Self::Never)
            }
            // a probe has no effect by which it could hang; what it is asked for is settled however it goes
            About::Task(Direction::Undo) => !matches!(
                self,
                Self::Nothing | Self::Cancelled | Self::Rejected | Self::Never
            ),
            About::Task(Direction::Probe) => !matches!(
                self,
                Self::Nothing
                    | Self::HangsDone
                    | Self::DiesAfter
                    | Self::Rejected
                    | Self::Never
                    | Self::Cancelled
            ),
        }
    }

    /// What the automation does because of it, try by try; the last again beyond them.
    pub(crate) fn plays(self, forever: bool) -> Vec<Play> {
        let once = |play| vec![play, Play::Succeed];
        match self {
            Self::Fails => vec![Play::FailFinal],
            Self::Busy | Self::Kills if forever => {
                let play = match self {
                    Self::Kills => Play::DieIdle,
                    _ => Play::FailRetryable,
                };
                let mut plays = vec![play; BUSY_TIMES];
                plays.push(Play::Succeed);
                plays
            }
            Self::Busy => vec![Play::FailRetryable],
            Self::BusyOnce => once(Play::FailRetryable),
            Self::Unsure => once(Play::UnknownActed),
            Self::Hangs => once(Play::HangIdle),
            Self::HangsDone => once(Play::HangActed),
            Self::DiesDuring => once(Play::DieIdle),
            Self::DiesAfter => once(Play::DieActed),
            Self::Kills => vec![Play::DieIdle],
            _ => vec![Play::Succeed],
        }
    }

    /// Whether what it comes to can be told from the script alone, by the naive reference.
    pub(crate) const fn foretold(self) -> bool {
        matches!(
            self,
            Self::Nothing
                | Self::Fails
                | Self::Busy
                | Self::BusyOnce
                | Self::Unsure
                | Self::Hangs
                | Self::HangsDone
                | Self::SentTwice
                | Self::SaidTwice
                | Self::Crash
                | Self::Rejected
                | Self::Never
        )
    }
}
