//! What orchestrators say to each other. They are of one program, so these words are no part of the contract; one that cannot be read (another version)
//! is dropped, and whoever asked asks again.

use baton_engine::upgrade::Reason;
use baton_engine::{Input, Refusal, Verdict};
use baton_messages::{Event, SagaId, StepKey, Timestamp};
use baton_store::TriggerRef;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::triggers::{ScheduleAsked, ScheduleDone};

/// The kind of every message between orchestrators.
pub(super) const KIND: &str = "peer@1";

/// One message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Word {
    /// A question; the answer goes to whoever asked.
    Asked {
        /// Made by whoever asks, of the moment at which the question was asked for the first time ([`asking`]).
        id: Uuid,
        /// By name.
        from: String,
        /// What.
        what: Question,
    },
    /// An answer.
    Answered {
        /// The question's.
        id: Uuid,
        /// It.
        answer: Answer,
    },
}

/// A name for one asking of a question that was asked for the first time at `first`: no other asking has it, and each of the same question says the same moment. It
/// stands in the name, and in no field of its own, since a member of the version before reads no word with a field it does not know.
pub(super) fn asking(first: Timestamp) -> Uuid {
    let nanos = u32::try_from(first.0 % 1_000).unwrap_or_default() * 1_000_000;
    let first = uuid::Timestamp::from_unix(uuid::NoContext, first.0 / 1_000, nanos);
    Uuid::new_v7(first)
}

/// When the question of an asking was asked for the first time. A member of the version before makes its names when it asks: then it is the time of this asking.
pub(super) fn asked_first(asking: Uuid) -> Timestamp {
    // a version 7 begins with 48 bits of milliseconds
    let (high, _) = asking.as_u64_pair();
    Timestamp(high >> 16)
}

/// What is asked of another member.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Question {
    /// Have an input of a saga decided and committed.
    Decide {
        /// The saga.
        saga: SagaId,
        /// The input.
        input: Box<Input>,
    },
    /// Read definitions and task types anew.
    Learn,
    /// Keep an event that came by a hook.
    Keep {
        /// It.
        event: Box<Event>,
        /// The name of the secret that signed it.
        secret: String,
    },
    /// Take in an event that was dead.
    TakeIn {
        /// It.
        event: Box<Event>,
        /// Only these triggers, which refused it, look at it again.
        again: Vec<TriggerRef>,
    },
    /// Act on a schedule.
    Schedule {
        /// Of which definition.
        definition: String,
        /// Which of its triggers.
        trigger: u32,
        /// How.
        what: ScheduleAsked,
    },
    /// Register a definition.
    Register {
        /// The YAML.
        source: String,
        /// By whom.
        by: String,
    },
}

/// What another member answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Answer {
    /// Decided and committed.
    Decided(Said),
    /// It is done.
    Done,
    /// An event was taken in: whether anybody wanted it.
    TakenIn(bool),
    /// What became of a schedule; none when there is none.
    Schedule(Option<Box<ScheduleDone>>),
    /// Whether it is registered, or why it could not be kept.
    Registered(Result<bool, String>),
    /// There is no room; later.
    Busy,
    /// Whoever was asked does not have it (any more).
    NotHere,
}

/// A verdict, as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Said {
    Applied,
    Duplicate,
    Ignored {
        why: String,
    },
    NoSaga,
    NoSuch {
        what: String,
    },
    Misfit {
        definition: String,
        misfit: String,
    },
    OutputMisfit {
        step: StepKey,
        misfit: String,
    },
    Unreadable,
    Ended {
        status: String,
    },
    Moved {
        step: StepKey,
        now: String,
    },
    NotYours {
        action: String,
        step: StepKey,
        asks: String,
    },
    NotNow {
        action: String,
        why: String,
    },
    Stays {
        reasons: Vec<Reason>,
    },
}

/// The words that refusals are made of: those of states and of actions.
const WORDS: [&str; 21] = [
    "running",
    "compensating",
    "parked",
    "completed",
    "compensated",
    "abandoned",
    "cancel",
    "pause",
    "resume",
    "abandon",
    "retry",
    "skip",
    "resolve",
    "acknowledge",
    "assign",
    "take",
    "give-back",
    "approve",
    "reject",
    "new",
    "upgrade",
];

/// A word that was one before it travelled.
fn word(text: &str) -> &'static str {
    let known = WORDS.iter().find(|known| **known == text);
    known.copied().unwrap_or("what was asked")
}

impl From<Verdict> for Said {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Applied => Self::Applied,
            Verdict::Duplicate => Self::Duplicate,
            Verdict::Ignored { why } => Self::Ignored { why },
            Verdict::Refused(refusal) => match refusal {
                Refusal::NoSaga => Self::NoSaga,
                Refusal::NoSuch { what } => Self::NoSuch { what },
                Refusal::Misfit { definition, misfit } => Self::Misfit { definition, misfit },
                Refusal::OutputMisfit { step, misfit } => Self::OutputMisfit { step, misfit },
                Refusal::Unreadable => Self::Unreadable,
                Refusal::Ended { status } => Self::Ended {
                    status: status.to_owned(),
                },
                Refusal::Moved { step, now } => Self::Moved { step, now },
                Refusal::NotYours { action, step, asks } => Self::NotYours {
                    action: action.to_owned(),
                    step,
                    asks,
                },
                Refusal::NotNow { action, why } => Self::NotNow {
                    action: action.to_owned(),
                    why,
                },
                Refusal::Stays { reasons } => Self::Stays { reasons },
            },
        }
    }
}

impl From<Said> for Verdict {
    fn from(said: Said) -> Self {
        Self::Refused(match said {
            Said::Applied => return Self::Applied,
            Said::Duplicate => return Self::Duplicate,
            Said::Ignored { why } => return Self::Ignored { why },
            Said::NoSaga => Refusal::NoSaga,
            Said::NoSuch { what } => Refusal::NoSuch { what },
            Said::Misfit { definition, misfit } => Refusal::Misfit { definition, misfit },
            Said::OutputMisfit { step, misfit } => Refusal::OutputMisfit { step, misfit },
            Said::Unreadable => Refusal::Unreadable,
            Said::Ended { status } => Refusal::Ended {
                status: word(&status),
            },
            Said::Moved { step, now } => Refusal::Moved { step, now },
            Said::NotYours { action, step, asks } => Refusal::NotYours {
                action: word(&action),
                step,
                asks,
            },
            Said::NotNow { action, why } => Refusal::NotNow {
                action: word(&action),
                why,
            },
            Said::Stays { reasons } => Refusal::Stays { reasons },
        })
    }
}

#[cfg(test)]
mod tests {
    use baton_engine::upgrade::ReasonKind;
    use baton_messages::StepId;

    use super::*;

    #[test]
    fn every_asking_of_a_question_says_when_it_was_asked_first() {
        let first = Timestamp(1_767_319_380_123);
        let (one, other) = (asking(first), asking(first));
        assert_ne!(one, other, "an answer is that of one asking");
        assert_eq!((asked_first(one), asked_first(other)), (first, first));
    }

    /// Members of two versions talk to each other while one takes the place of the other, and neither reads a word with a field it does not know.
    #[test]
    fn a_schedule_is_asked_for_as_ever() {
        let id = asking(Timestamp(1_767_319_380_123));
        let word = Word::Asked {
            id,
            from: "a".to_owned(),
            what: Question::Schedule {
                definition: "s".to_owned(),
                trigger: 1,
                what: ScheduleAsked::Fire,
            },
        };
        let said = serde_json::json!({ "asked": { "id": id, "from": "a", "what": {
            "schedule": { "definition": "s", "trigger": 1, "what": "fire" },
        } } });
        assert_eq!(serde_json::to_value(word).unwrap(), said);
    }

    #[test]
    fn a_verdict_is_the_same_after_its_way() {
        let step = || StepKey::new("a[1]").unwrap();
        let text = || "x".to_owned();
        let refusals = [
            Refusal::NoSaga,
            Refusal::NoSuch { what: text() },
            Refusal::Misfit {
                definition: text(),
                misfit: text(),
            },
            Refusal::OutputMisfit {
                step: step(),
                misfit: text(),
            },
            Refusal::Unreadable,
            Refusal::Ended {
                status: "completed",
            },
            Refusal::Moved {
                step: step(),
                now: text(),
            },
            Refusal::NotYours {
                action: "approve",
                step: step(),
                asks: text(),
            },
            Refusal::NotNow {
                action: "upgrade",
                why: text(),
            },
            Refusal::Stays {
                reasons: vec![Reason {
                    kind: ReasonKind::Before,
                    step: StepId::new("a").ok(),
                    what: text(),
                }],
            },
        ];
        let verdicts = refusals.into_iter().map(Verdict::Refused).chain([
            Verdict::Applied,
            Verdict::Duplicate,
            Verdict::Ignored { why: text() },
        ]);
        for verdict in verdicts {
            let sent = serde_json::to_vec(&Said::from(verdict.clone())).unwrap();
            let said: Said = serde_json::from_slice(&sent).unwrap();
            assert_eq!(Verdict::from(said), verdict);
        }
    }
}
