//! Exit codes: what a script branches on. They never change their meaning.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done; with `--wait` or `show`: the saga goes on or is completed |
//! | 1 | something went wrong, and the message says what |
//! | 2 | the command line cannot be understood, or says too little, as where many would be moved and nobody can be asked: nothing was done |
//! | 3 | the saga is compensated: everything it did is undone |
//! | 4 | the saga is parked: a person has to decide |
//! | 5 | the saga was abandoned by an operator |
//! | 6 | the saga had not ended, nobody knew what came of the replay, or not all was swept, when the wait was over |
//! | 7 | a sweep found the promise broken: a saga that ends in none of the three ways, or not as it says |
//! | 8 | not every saga was moved to the version that was asked for, or could be: some stay on the one they run |
//! | 9 | a sweep found that the saga does not complete even when nothing befalls it |
//! | 130 | interrupted: nobody waits any longer, and what was waited for goes on |
//!
//! A closed pipe changes nothing: what nobody reads is not written, and the code is what it would have been.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok,
    /// Something went wrong.
    Error,
    /// What was given cannot be understood.
    Usage,
    /// Everything the saga did is undone.
    Compensated,
    /// A person has to decide.
    Parked,
    /// Given up by an operator.
    Abandoned,
    /// Not ended in time.
    Waiting,
    /// The promise is broken.
    Broken,
    /// Some sagas stay on the version they run.
    Stays,
    /// A saga does not complete even when nothing befalls it.
    Unfinished,
    /// Ctrl-C while waiting: what was waited for goes on.
    Interrupted,
}

impl Exit {
    /// How a saga of this status ends a command that waited for it.
    pub(crate) fn of_status(status: &str) -> Self {
        match status {
            "completed" => Self::Ok,
            "compensated" => Self::Compensated,
            "parked" => Self::Parked,
            "abandoned" => Self::Abandoned,
            _ => Self::Waiting,
        }
    }

    /// Of two the one that matters more.
    pub(crate) fn worse(self, other: Self) -> Self {
        if other.badness() > self.badness() {
            other
        } else {
            self
        }
    }

    /// A broken promise is worse than what could not be looked at, that than what is half done for ever or never done at all, that than what waits for a person, that than what is not
    /// known yet, that than what was taken back.
    pub(crate) const fn badness(self) -> u8 {
        match self {
            Self::Broken => 6,
            Self::Error | Self::Usage => 5,
            Self::Abandoned | Self::Unfinished => 4,
            Self::Parked => 3,
            Self::Waiting => 2,
            Self::Compensated | Self::Stays => 1,
            Self::Ok | Self::Interrupted => 0,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::Compensated => 3,
            Self::Parked => 4,
            Self::Abandoned => 5,
            Self::Waiting => 6,
            Self::Broken => 7,
            Self::Stays => 8,
            Self::Unfinished => 9,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_they_are_documented_to() {
        assert_eq!(Exit::of_status("completed").code(), 0);
        assert_eq!(Exit::of_status("compensated").code(), 3);
        assert_eq!(Exit::of_status("parked").code(), 4);
        assert_eq!(Exit::of_status("abandoned").code(), 5);
        assert_eq!(Exit::of_status("running").code(), 6);
        assert_eq!(Exit::Broken.code(), 7);
        assert_eq!(Exit::Stays.code(), 8);
        assert_eq!(Exit::Unfinished.code(), 9);
        assert_eq!(Exit::Error.code(), 1);
        assert_eq!(Exit::Usage.code(), 2);
        assert_eq!(Exit::Interrupted.code(), 130);
    }
}
