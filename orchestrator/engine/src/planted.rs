//! Rules of the engine broken on purpose, to show that the laws can see it. Guarantee: in a build without the feature `planted` nothing can break a rule: `breaks` is
//! a constant no, and what hangs on it is gone from the program. No crate asks for the feature by itself, an optimised build with it does not compile, and with it a
//! rule is broken only for the thread and the time of a call of `with`.

#[cfg(all(feature = "planted", not(debug_assertions)))]
compile_error!(
    "the feature `planted` breaks the engine's rules on purpose: it is for tests, and no optimised build has it; build without it"
);

/// A rule of the engine, broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Planted {
    /// A lost claim counts as none: its step is tried again while the attempt is open.
    RetriesWhileOpen,
    /// On the way back nothing waits for attempts that are open: what they may have done is undone at once.
    UndoesWhileOpen,
    /// A saga that has nothing to undo ends although an attempt is open.
    EndsWhileOpen,
    /// A claim that one run has is given to the next that asks.
    GrantedTwice,
    /// A probe that finds nothing out counts as one that found nothing.
    FailedProbeClears,
    /// An attempt that may have acted counts as one that did not.
    DoubtForgotten,
    /// On the way back what is in doubt is left as it is.
    DoubtLeftStanding,
    /// Everything is undone at once, what others were built upon as well.
    UndoneInAnyOrder,
    /// One undo that waits for a person holds up every other.
    ParkedUndoHoldsAll,
    /// A later before-image takes the place of an earlier one.
    ImageOverwritten,
    /// A report that comes late is written down, and nothing follows from it.
    LateReportDropped,
    /// A report that comes twice is taken twice.
    ReportTakenTwice,
    /// The pivot does not wait for what runs beside it.
    PivotBesideOthers,
    /// A step that fails after the pivot turns the saga back.
    TurnsPastPivot,
    /// A cancel after the pivot turns the saga back.
    CancelsPastPivot,
    /// A deadline after the pivot turns the saga back.
    DeadlinePastPivot,
    /// What is to be tried again gets no time for it.
    RetryWithoutTimer,
    /// A step is parked, and nobody is asked.
    ParkedUnasked,
    /// An item that is tolerated and in doubt is left as it is.
    ToleratedLeftInDoubt,
    /// More items of a list are under way than may be.
    MoreThanParallel,
    /// A saga within another counts as undone without having heard of it.
    ChildNotTold,
    /// A step that is done is tried again when somebody asks for it.
    SettledTriedAgain,
}

impl Planted {
    /// Every one.
    pub const ALL: [Self; 22] = [
        Self::RetriesWhileOpen,
        Self::UndoesWhileOpen,
        Self::EndsWhileOpen,
        Self::GrantedTwice,
        Self::FailedProbeClears,
        Self::DoubtForgotten,
        Self::DoubtLeftStanding,
        Self::UndoneInAnyOrder,
        Self::ParkedUndoHoldsAll,
        Self::ImageOverwritten,
        Self::LateReportDropped,
        Self::ReportTakenTwice,
        Self::PivotBesideOthers,
        Self::TurnsPastPivot,
        Self::CancelsPastPivot,
        Self::DeadlinePastPivot,
        Self::RetryWithoutTimer,
        Self::ParkedUnasked,
        Self::ToleratedLeftInDoubt,
        Self::MoreThanParallel,
        Self::ChildNotTold,
        Self::SettledTriedAgain,
    ];
}

/// Whether this rule is broken now: never, without the feature.
#[cfg(not(feature = "planted"))]
pub(crate) const fn breaks(_rule: Planted) -> bool {
    false
}

#[cfg(feature = "planted")]
pub use on_purpose::with;

#[cfg(feature = "planted")]
pub(crate) use on_purpose::breaks;

#[cfg(feature = "planted")]
mod on_purpose {
    use std::cell::Cell;

    use super::Planted;

    thread_local! {
        static BROKEN: Cell<Option<Planted>> = const { Cell::new(None) };
    }

    /// Puts back what was broken before, also when what ran has panicked.
    struct Before(Option<Planted>);

    impl Drop for Before {
        fn drop(&mut self) {
            BROKEN.set(self.0);
        }
    }

    /// Runs something on this thread with one rule broken, or with none.
    pub fn with<T>(rule: Option<Planted>, run: impl FnOnce() -> T) -> T {
        let _before = Before(BROKEN.replace(rule));
        run()
    }

    /// Whether this rule is broken now.
    pub(crate) fn breaks(rule: Planted) -> bool {
        BROKEN.get() == Some(rule)
    }
}
