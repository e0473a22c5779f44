//! What the API says, as far as it is shown here. Fields this version does not know are let pass.

use std::collections::BTreeMap;

use baton_messages::Failure;
use serde::Deserialize;
use serde_json::Value;

use crate::time;

/// A saga of a list.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) definition: String,
    pub(crate) version: u32,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) paused: bool,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) started_at: u64,
    pub(crate) changed_at: Option<u64>,
    pub(crate) ended_at: Option<u64>,
}

impl Row {
    /// `release@3`.
    pub(crate) fn what(&self) -> String {
        format!("{}@{}", self.definition, self.version)
    }

    /// Where it stands, as it is shown.
    pub(crate) fn standing(&self) -> String {
        if self.paused {
            format!("{}, paused", self.status)
        } else {
            self.status.clone()
        }
    }

    /// `site=vienna team=red`.
    pub(crate) fn labels(&self) -> String {
        let all: Vec<String> = self
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        all.join(" ")
    }
}

/// One saga.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Saga {
    #[serde(flatten)]
    pub(crate) row: Row,
    pub(crate) by: String,
    pub(crate) now: u64,
    pub(crate) deadline_at: Option<u64>,
    pub(crate) unwinding: Option<Value>,
    /// The saga whose step it is, of a child.
    #[serde(default)]
    pub(crate) parent: Option<Parent>,
    /// What it takes before its first step.
    #[serde(default)]
    pub(crate) reservation: Option<Reserved>,
    /// The last time it was moved to another version.
    #[serde(default)]
    pub(crate) upgraded: Option<Upgraded>,
    pub(crate) abandoned: Option<Abandoned>,
    pub(crate) output: Option<Value>,
    pub(crate) steps: Vec<Step>,
    pub(crate) work_items: Vec<Item>,
    /// Set when nothing but how it ended is known any more.
    #[serde(default)]
    pub(crate) purged: Option<Purged>,
    /// Every attempt, where they were asked for.
    #[serde(default)]
    pub(crate) attempts: Vec<PastAttempt>,
    /// How many older ones there are.
    #[serde(default)]
    pub(crate) attempts_left_out: u64,
    /// Messages of it that died.
    #[serde(default)]
    pub(crate) dead_letters: Vec<DeadOfSaga>,
}

/// What a saga takes before its first step.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Reserved {
    /// When it was given all of it; none: it waits.
    pub(crate) admitted_at: Option<u64>,
    /// Until when it waits at most.
    pub(crate) until: Option<u64>,
    pub(crate) things: Vec<Thing>,
}

/// One thing a saga takes.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Thing {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) fence: Option<u64>,
    #[serde(default)]
    pub(crate) broken: bool,
    /// Its place in the line.
    pub(crate) place: Option<u64>,
    #[serde(default)]
    pub(crate) held_by: Vec<String>,
}

/// A dead letter that speaks of a saga.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct DeadOfSaga {
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) reason: String,
    pub(crate) kind: Option<String>,
    pub(crate) at: u64,
}

/// That a saga was moved to the version it runs.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Upgraded {
    pub(crate) from: u32,
    pub(crate) at: u64,
    pub(crate) by: String,
    pub(crate) reason: String,
}

/// Who gave a saga up.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Abandoned {
    pub(crate) by: String,
    pub(crate) reason: String,
    pub(crate) at: u64,
}

impl Saga {
    /// Whether nothing more happens to it.
    pub(crate) const fn has_ended(&self) -> bool {
        self.row.ended_at.is_some()
    }

    /// Whether it takes back what it did, or has.
    pub(crate) fn is_unwinding(&self) -> bool {
        self.unwinding
            .as_ref()
            .is_some_and(|cause| !cause.is_null())
    }

    /// How many of its steps need nothing more.
    pub(crate) fn steps_done(&self) -> usize {
        self.steps.iter().filter(|step| step.is_done()).count()
    }
}

/// That a saga's records were taken out of the store.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Purged {
    pub(crate) at: u64,
    pub(crate) archive: Option<String>,
}

/// One step, or one item of it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Step {
    pub(crate) id: String,
    pub(crate) task: Option<String>,
    /// What kind it is where it runs no task: `sleep`, `wait`, `approve`, `emit`.
    pub(crate) kind: Option<String>,
    pub(crate) pool: Option<String>,
    pub(crate) phase: String,
    pub(crate) since: u64,
    pub(crate) began_at: Option<u64>,
    pub(crate) tries: u32,
    #[serde(default)]
    pub(crate) attempts: Vec<Attempt>,
    #[serde(default)]
    pub(crate) pivot: bool,
    /// When it was done or had failed for good: what comes after is its undo.
    pub(crate) done_at: Option<u64>,
    pub(crate) why: Option<String>,
    /// The same with `{}` where a length of time stands, counted to or from `why_at`.
    pub(crate) why_words: Option<String>,
    pub(crate) why_at: Option<u64>,
    pub(crate) last_failure: Option<Failure>,
    /// Whether the world may be otherwise because of it.
    #[serde(default)]
    pub(crate) may_have_effect: bool,
    /// Whether it counts as taken back although nothing was: its `undo.when` was false.
    #[serde(default)]
    pub(crate) undo_unwanted: bool,
    /// Its items, where it is done for each of a list.
    #[serde(default)]
    pub(crate) fan: Option<Fan>,
    /// The saga it is, once that was begun.
    #[serde(default)]
    pub(crate) child: Option<Child>,
}

/// The saga that a step is.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Child {
    pub(crate) id: String,
    pub(crate) definition: String,
    pub(crate) version: u32,
    pub(crate) status: Option<String>,
}

/// The saga whose step another one is.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Parent {
    pub(crate) saga: String,
    pub(crate) step: String,
}

/// The items of a step: how many stand where, and those to be looked at first.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Fan {
    pub(crate) items: u32,
    pub(crate) under_way: u32,
    pub(crate) done: u32,
    pub(crate) skipped: u32,
    pub(crate) tolerated: u32,
    pub(crate) failed: u32,
    pub(crate) undone: u32,
    pub(crate) may_fail: u32,
    #[serde(default)]
    pub(crate) first: Vec<Step>,
}

impl Fan {
    /// How many have begun.
    pub(crate) const fn begun(&self) -> u32 {
        self.under_way + self.done + self.skipped + self.tolerated + self.failed + self.undone
    }

    /// In a sentence.
    pub(crate) fn counts(&self) -> String {
        let begun = self.begun();
        let parts = [
            (self.done, "done"),
            (self.under_way, "under way"),
            (self.failed, "failed"),
            (self.tolerated, "failed and tolerated"),
            (self.undone, "undone"),
            (self.skipped, "skipped"),
            (self.items.saturating_sub(begun), "not begun"),
        ];
        let said = parts.iter().filter(|(n, _)| *n > 0);
        let said: Vec<String> = said.map(|(n, word)| format!("{n} {word}")).collect();
        let of = match self.items {
            1 => "1 item".to_owned(),
            n => format!("{n} items"),
        };
        let may = match self.may_fail {
            0 => String::new(),
            n => format!("; {n} may fail"),
        };
        match said.is_empty() {
            true => format!("{of}{may}"),
            false => format!("{of}: {}{may}", said.join(", ")),
        }
    }
}

impl Step {
    /// Whether items of it have failed with it.
    pub(crate) fn items_failed(&self) -> bool {
        self.fan.as_ref().is_some_and(|fan| fan.failed > 0)
    }

    /// What went wrong, where it still counts: of what was done in the end, or is not wanted, nobody has to hear.
    pub(crate) fn failure_to_say(&self) -> Option<&Failure> {
        let failure = self.last_failure.as_ref()?;
        let counts = !self.is_done() || self.phase == "continued";
        counts.then_some(failure)
    }

    /// Whether it is as it should be.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.phase.as_str(), "succeeded" | "skipped" | "continued")
    }

    /// Whether anything goes on with it.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.is_done() || matches!(self.phase.as_str(), "waiting" | "failed" | "undone")
    }

    /// Why it waits, as it is said now.
    pub(crate) fn why(&self, now: u64) -> Option<String> {
        match (&self.why_words, self.why_at) {
            (Some(words), Some(at)) => {
                let long = time::whole_seconds(at.abs_diff(now));
                Some(words.replacen("{}", &long, 1))
            }
            _ => self.why.clone(),
        }
    }

    /// Its last attempt's worker.
    pub(crate) fn worker(&self) -> Option<&str> {
        self.attempts
            .iter()
            .rev()
            .find_map(|attempt| attempt.worker.as_deref())
    }
}

/// One attempt, as the saga's state has it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) worker: Option<String>,
}

/// One attempt, with what came of it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PastAttempt {
    pub(crate) step: String,
    pub(crate) direction: String,
    pub(crate) round: u32,
    pub(crate) number: u32,
    pub(crate) sent: u32,
    pub(crate) sent_at: u64,
    pub(crate) worker: Option<String>,
    pub(crate) started_at: Option<u64>,
    pub(crate) ended_at: Option<u64>,
    pub(crate) outcome: Option<String>,
    pub(crate) failure: Option<Failure>,
    pub(crate) reason: Option<String>,
}

/// One work item.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Item {
    pub(crate) number: u32,
    pub(crate) kind: String,
    pub(crate) step: Option<String>,
    pub(crate) title: String,
    pub(crate) owner: String,
    pub(crate) failure: Option<Failure>,
    #[serde(default)]
    pub(crate) choices: Vec<String>,
    pub(crate) opened_at: u64,
    pub(crate) assignee: Option<String>,
    pub(crate) due_at: Option<u64>,
    #[serde(default)]
    pub(crate) escalate: Vec<Escalation>,
    #[serde(default)]
    pub(crate) escalated: usize,
    pub(crate) taken: Option<Taken>,
}

/// Who gets a work item that is still open then.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Escalation {
    pub(crate) at: u64,
    pub(crate) to: String,
}

/// That a work item was given to somebody by hand.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Taken {
    pub(crate) by: String,
    pub(crate) at: u64,
    /// Whether it was given to a team: any of it may take it.
    #[serde(default)]
    pub(crate) team: bool,
}

impl Item {
    /// Whose it is, else whose it is to see to whose it is.
    pub(crate) fn who(&self) -> &str {
        self.assignee.as_deref().unwrap_or(&self.owner)
    }
}

impl Item {
    /// The commands that act on it, as they are typed, each with what it does.
    pub(crate) fn commands(&self, saga: &str) -> Vec<(String, &'static str)> {
        let step = self.step.as_deref().unwrap_or("STEP");
        // some shells take brackets for a pattern of file names
        let step = if step.contains('[') {
            format!("'{step}'")
        } else {
            step.to_owned()
        };
        let on_step = |word: &str| format!("baton {word} {saga} {step} -m WHY");
        self.choices
            .iter()
            .filter_map(|choice| {
                Some(match choice.as_str() {
                    "approve" => (format!("baton approve {saga} {step}"), "say yes"),
                    "reject" => (format!("baton reject {saga} {step} -m WHY"), "say no"),
                    "retry" => (on_step("retry"), "try it again"),
                    "edit" => (
                        on_step("edit") + " --set PLACE=VALUE",
                        "try it with another input",
                    ),
                    "substitute" => (
                        on_step("edit") + " --task TYPE --input JSON",
                        "have another task do it",
                    ),
                    "skip" => (on_step("skip"), "go on without it"),
                    "resolve-done" => (
                        format!("baton resolve {saga} {step} --as done -m WHY"),
                        "it was done by hand",
                    ),
                    "resolve-undone" => (
                        format!("baton resolve {saga} {step} --as undone -m WHY"),
                        "it was undone by hand",
                    ),
                    "admit" => (
                        format!("baton admit {saga} -m WHY"),
                        "let it through all the same",
                    ),
                    "cancel" => (
                        format!("baton cancel {saga} -m WHY"),
                        "take back what was done",
                    ),
                    "acknowledge" => (
                        format!("baton acknowledge {saga} {}", self.number),
                        "seen; nothing more to do",
                    ),
                    "abandon" => (
                        format!("baton abandon {saga} -m WHY"),
                        "give up, half done as it is",
                    ),
                    _ => return None,
                })
            })
            .collect()
    }
}

/// A task type, as its workers announced it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TaskType {
    pub(crate) task_type: String,
    pub(crate) summary: String,
    pub(crate) effect: String,
    #[serde(default)]
    pub(crate) idempotent: bool,
    #[serde(default)]
    pub(crate) before_image: bool,
    #[serde(default)]
    pub(crate) undo: bool,
    #[serde(default)]
    pub(crate) probe: bool,
    #[serde(default)]
    pub(crate) dry_run: bool,
    pub(crate) lock: Option<String>,
    pub(crate) timeout_ms_default: u64,
    pub(crate) timeout_ms_max: u64,
    #[serde(default)]
    pub(crate) settle_ms: u64,
    pub(crate) retry: Retry,
    #[serde(default)]
    pub(crate) needs: Vec<String>,
    #[serde(default)]
    pub(crate) examples: Vec<Value>,
    pub(crate) input: Value,
    pub(crate) output: Value,
}

/// How a task is tried again by default.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Retry {
    pub(crate) attempts: u32,
    pub(crate) backoff_ms: u64,
    pub(crate) factor: f64,
    pub(crate) max_ms: u64,
}
