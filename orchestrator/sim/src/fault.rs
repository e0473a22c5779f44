//! Planted faults: each breaks one rule the promise rests on, at a seam the simulator owns. They show that the simulator can see: a
//! simulator that finds nothing may be blind.

/// A rule broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The store forgets which tasks are to be sent again.
    UnsentForgotten,
    /// Deliveries are acknowledged before what they caused is committed.
    AcknowledgedBeforeCommit,
    /// A message of several reports is acknowledged when the first of them is committed, and the others are forgotten.
    BatchAcknowledgedEarly,
    /// The watermark passes commands that nobody has confirmed.
    WatermarkTooFar,
    /// The store takes commits of whoever had the partition before.
    FenceMissing,
    /// A commit says it is done and writes nothing.
    CommitLies,
    /// A worker acts on a claim nobody has granted.
    ActsUngranted,
    /// A worker that was refused acts all the same.
    ActsRefused,
    /// A worker that holds late acts without asking on what was delivered to somebody before.
    ActsRedelivered,
    /// A worker looks neither at `not_after` nor at its lease nor at its time limit.
    ActsTooLate,
    /// A before-image is taken and never sent.
    ImageLost,
    /// A worker takes a new before-image on every attempt, and hands on the last.
    ImageRetaken,
    /// A worker says `failed` after it has acted.
    FailedAfterActing,
    /// A worker acknowledges first and reports once, whatever becomes of it.
    ReportedOnce,
    /// Nobody looks at the timers.
    TimersForgotten,
    /// Nobody searches the kept events for a step that begins to wait.
    EventsUnsearched,
    /// The store forgets that a step waits.
    SubscriptionForgotten,
    /// An event the broker does not have counts as published.
    EventBelieved,
    /// The store forgets which events and words to other sagas are to be published again.
    OwedForgotten,
    /// Leases run by the clock on the wall, which somebody may set.
    ClockBelieved,
    /// A worker takes each item of a list for the first.
    ItemsConfused,
    /// What a saga holds is given to the next all the same.
    LockGivenTwice,
    /// A saga within another is not told to take back what it did, and the other hears that it has.
    ChildLeftStanding,
    /// A saga within another that was taken back is heard as done.
    ChildFailureUnheard,
}

impl Fault {
    /// Every planted fault.
    pub const ALL: [Self; 24] = [
        Self::UnsentForgotten,
        Self::AcknowledgedBeforeCommit,
        Self::BatchAcknowledgedEarly,
        Self::WatermarkTooFar,
        Self::FenceMissing,
        Self::CommitLies,
        Self::ActsUngranted,
        Self::ActsRefused,
        Self::ActsRedelivered,
        Self::ActsTooLate,
        Self::ImageLost,
        Self::ImageRetaken,
        Self::FailedAfterActing,
        Self::ReportedOnce,
        Self::TimersForgotten,
        Self::EventsUnsearched,
        Self::SubscriptionForgotten,
        Self::EventBelieved,
        Self::OwedForgotten,
        Self::ClockBelieved,
        Self::ItemsConfused,
        Self::LockGivenTwice,
        Self::ChildLeftStanding,
        Self::ChildFailureUnheard,
    ];
}
