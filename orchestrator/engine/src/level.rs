//! How far a program reads what another one has written. During an upgrade orchestrators of several versions share one database, and any of them may come to read
//! what any other has written: so what the one before does not read, or reads as something else, is written only when every one that is there reads it.
//!
//! What changes the language, a record or a row like that gets an entry here, and is written where [`Feature::is_read_at`] says so and nowhere else; until then everything is
//! as it was before. What is recorded of an output that does not fit is no such thing: to a program that knows nothing of it, it is an attempt that ended `unknown`.

use crate::definition::{Definition, OnHit, StepKind};

/// What a program reads: all that came with a level up to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(u32);

impl Level {
    /// Of programs from before there were levels.
    pub const OLDEST: Self = Self(0);
    /// Of this program.
    pub const NEWEST: Self = Self(1);

    /// How a program of this version says what it reads: `1.2.3+1`.
    #[must_use]
    pub fn announced(version: &str) -> String {
        let Self(level) = Self::NEWEST;
        format!("{version}+{level}")
    }

    /// What a program reads that announces itself like that.
    #[must_use]
    pub fn of(announced: &str) -> Self {
        let level = announced.split_once('+');
        let level = level.and_then(|(_, level)| level.parse().ok());
        level.map_or(Self::OLDEST, Self)
    }
}

/// Something that is written, and that older programs do not read as it is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// That a person has done a step, which somebody undoes where the saga turns back: read by older ones as a step without an effect.
    Handwork,
    /// A trigger that cancels sagas, and an event that has caused that.
    CancelTrigger,
    /// `because` beside `emit`.
    PublishedBecause,
    /// Why a saga within another has no output: older ones read neither the word to its parent nor the record of it.
    NoOutput,
}

impl Feature {
    /// Every one.
    pub const ALL: [Self; 4] = [
        Self::Handwork,
        Self::CancelTrigger,
        Self::PublishedBecause,
        Self::NoOutput,
    ];

    /// The level it came with.
    #[must_use]
    pub const fn since(self) -> Level {
        match self {
            Self::Handwork | Self::CancelTrigger | Self::PublishedBecause | Self::NoOutput => {
                Level(1)
            }
        }
    }

    /// Whether whoever reads so much reads it.
    #[must_use]
    pub const fn is_read_at(self, level: Level) -> bool {
        level.0 >= self.since().0
    }

    /// What it is, for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Handwork => "a step that a person has done",
            Self::CancelTrigger => "a trigger that cancels (`cancel`)",
            Self::PublishedBecause => "an event that may stay published (`because` beside `emit`)",
            Self::NoOutput => "a saga within another that has no output",
        }
    }

    /// What of all this a definition has.
    #[must_use]
    pub fn of(definition: &Definition) -> Vec<Self> {
        let mut triggers = definition.triggers.iter();
        let cancels = triggers.any(|trigger| {
            let rule = trigger.event_rule();
            rule.is_some_and(|rule| matches!(rule.then, OnHit::Cancel { .. }))
        });
        let mut steps = definition.all_steps().into_iter();
        let because =
            steps.any(|step| matches!(&step.kind, StepKind::Emit(emit) if emit.because.is_some()));
        let has = |feature: &Self| match feature {
            Self::Handwork | Self::NoOutput => false,
            Self::CancelTrigger => cancels,
            Self::PublishedBecause => because,
        };
        Self::ALL.into_iter().filter(has).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_is_read_and_whoever_says_nothing_is_old() {
        assert_eq!(Level::of(&Level::announced("1.2.3")), Level::NEWEST);
        for old in ["1.2.3", "", "1.2.3+", "1.2.3+x"] {
            assert_eq!(Level::of(old), Level::OLDEST, "{old}");
        }
        assert!(Level::of("9.0.0+7") > Level::NEWEST);
        for feature in Feature::ALL {
            assert!(feature.is_read_at(Level::NEWEST), "{feature:?}");
            assert!(!feature.is_read_at(Level::OLDEST), "{feature:?}");
        }
    }

    #[test]
    fn what_a_definition_has_of_it_is_found_in_triggers_and_in_steps_of_groups() {
        let parsed = |on: &str, steps: &str| {
            let text = format!("saga: a\nversion: 1\n{on}steps:\n{steps}");
            Definition::parse(&text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"))
        };
        let nap = "  - id: nap\n    sleep: 1s\n";
        assert!(Feature::of(&parsed("", nap)).is_empty());
        let on = "on:\n  - event: com.a\n    key: ${ event.source }\n  - event: com.b\n    key: ${ event.source }\n    cancel: it is over\n";
        assert_eq!(Feature::of(&parsed(on, nap)), [Feature::CancelTrigger]);
        let said = "  - id: said\n    emit: { type: com.c }\n    because: nobody minds\n";
        let found = Feature::of(&parsed("", &format!("{said}{nap}")));
        assert_eq!(found, [Feature::PublishedBecause]);
    }
}
