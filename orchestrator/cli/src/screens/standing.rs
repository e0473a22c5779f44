//! How a step stands, in a word. What will not happen any more, since its saga takes back what it did or has ended, is not said as if it would.

use crate::out::Tone;
use crate::view::{Saga, Step};

/// Of a step that stays as it is: its `undo.when` was false.
const UNWANTED: &str = "undo not wanted (when is false)";

/// How a step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing<'s> {
    /// One character for it.
    pub(crate) mark: &'static str,
    /// What was done.
    pub(crate) done: &'s str,
    /// What is undone; empty where that is not its turn.
    pub(crate) undo: &'static str,
    /// How it looks.
    pub(crate) tone: Tone,
    /// Whether the saga has ended without anybody knowing what the step has done.
    pub(crate) in_doubt: bool,
}

impl Standing<'_> {
    /// The same in one word, of a step in this phase.
    pub(crate) fn word<'w>(&'w self, phase: &'w str) -> &'w str {
        match self.undo {
            "" => self.done,
            "given up" | UNWANTED => self.undo,
            _ => phase,
        }
    }
}

/// How this one stands.
pub(crate) fn of<'s>(saga: &Saga, step: &'s Step) -> Standing<'s> {
    let ended = saga.has_ended();
    let phase = step.phase.as_str();
    let standing = |done, undo, look| Standing {
        mark: mark(look),
        done,
        undo,
        tone: Tone::of(look),
        in_doubt: false,
    };
    match phase {
        "waiting" | "unserved" if ended || saga.is_unwinding() => {
            standing("not run", "", "skipped")
        }
        "failed" if step.last_failure.is_none() && !step.items_failed() => {
            standing(unheard(step), "", "skipped")
        }
        "undoing" | "undo-unserved" | "undo-backoff" | "undo-in-child" | "undo-parked" if ended => {
            standing("done", "given up", "failed")
        }
        _ if ended && !step.is_at_rest() && phase != "doubtful" => Standing {
            in_doubt: step.may_have_effect && phase != "parked",
            ..match unheard(step) {
                "not run" => standing("given up", "", "failed"),
                word => standing(word, "", "skipped"),
            }
        },
        "undoing" | "undo-in-child" => standing("done", "undoing", phase),
        "undo-unserved" => standing("done", "unserved", phase),
        "undo-backoff" => standing("done", "tries again", phase),
        "undo-parked" => standing("done", "parked", phase),
        "undone" if step.undo_unwanted => standing("done", UNWANTED, "skipped"),
        "undone" => standing("done", "undone", phase),
        _ => standing(phase, "", phase),
    }
}

/// What was stopped before anything had come of it.
fn unheard(step: &Step) -> &'static str {
    match step.kind.as_deref() {
        Some("approve") => "not answered",
        Some("wait") => "no event",
        Some("sleep") => "cut short",
        _ if step.fan.as_ref().is_some_and(|fan| fan.begun() > 0) => "cut short",
        _ => "not run",
    }
}

/// One character that says how a step, or a saga, stands.
pub(crate) fn mark(phase: &str) -> &'static str {
    match phase {
        "succeeded" | "completed" => "✓",
        "undone" | "compensated" => "↩",
        "failed" | "doubtful" | "parked" | "undo-parked" | "abandoned" => "✗",
        "waiting" => "·",
        "skipped" | "continued" => "-",
        _ => "▸",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::commands::typed;

    fn word(status: &str, unwinding: Value, kind: &str, phase: &str, more: Value) -> String {
        let mut step = json!({ "id": "a", "kind": kind, "phase": phase, "since": 5, "tries": 1 });
        let (failed, undone) = (kind.ends_with("failed"), kind.ends_with("done"));
        if kind.starts_with("many") {
            step["kind"] = json!("task");
            step["fan"] = json!({
                "items": 3, "begun": 1, "under_way": 0, "done": 0, "skipped": 0, "tolerated": 0, "may_fail": 0,
                "failed": u32::from(failed), "undone": u32::from(undone),
            });
        }
        for (name, value) in more.as_object().into_iter().flatten() {
            step[name] = value.clone();
        }
        let ended = matches!(status, "completed" | "compensated" | "abandoned");
        let saga: Saga = typed(json!({
            "id": "3f1c8a02", "definition": "d", "version": 1, "status": status, "started_at": 1, "by": "anna", "now": 9,
            "ended_at": ended.then_some(8), "unwinding": unwinding, "steps": [step], "work_items": [],
        }))
        .unwrap();
        let stands = of(&saga, &saga.steps[0]);
        let doubt = if stands.in_doubt { "?" } else { "" };
        format!("{} {}{doubt}", stands.mark, stands.word(phase))
    }

    #[test]
    fn what_will_not_happen_any_more_is_not_said_as_if_it_would() {
        let back = || json!({ "cancelled": { "by": "anna", "reason": "no" } });
        let none = Value::Null;
        for (status, unwinding, kind, phase, expected) in [
            ("running", none.clone(), "task", "waiting", "· waiting"),
            ("running", none.clone(), "task", "trying", "▸ trying"),
            ("compensating", back(), "task", "waiting", "- not run"),
            ("compensating", back(), "task", "undoing", "▸ undoing"),
            ("compensated", back(), "task", "waiting", "- not run"),
            ("compensated", back(), "task", "failed", "- not run"),
            ("compensated", back(), "approve", "failed", "- not answered"),
            ("compensated", back(), "wait", "failed", "- no event"),
            ("compensated", back(), "sleep", "failed", "- cut short"),
            ("compensated", back(), "task", "undone", "↩ undone"),
            ("abandoned", none.clone(), "task", "waiting", "- not run"),
            (
                "compensated",
                back(),
                "many, one failed",
                "failed",
                "✗ failed",
            ),
            (
                "compensated",
                back(),
                "many, one done",
                "failed",
                "- cut short",
            ),
            ("compensated", back(), "many", "failed", "- not run"),
            ("abandoned", none.clone(), "task", "unserved", "- not run"),
            ("abandoned", none.clone(), "task", "trying", "✗ given up"),
            ("abandoned", none.clone(), "task", "parked", "✗ given up"),
            (
                "abandoned",
                none.clone(),
                "approve",
                "asked",
                "- not answered",
            ),
            ("abandoned", none.clone(), "wait", "listening", "- no event"),
            (
                "abandoned",
                none.clone(),
                "sleep",
                "sleeping",
                "- cut short",
            ),
            ("abandoned", back(), "task", "undo-parked", "✗ given up"),
            ("abandoned", none, "task", "doubtful", "✗ doubtful"),
        ] {
            let seen = word(status, unwinding, kind, phase, Value::Null);
            assert_eq!(seen, expected, "{status} {kind} {phase}");
        }
    }

    #[test]
    fn what_is_left_on_purpose_is_not_said_to_be_undone() {
        let back = json!({ "cancelled": { "by": "anna", "reason": "no" } });
        let left = json!({ "undo_unwanted": true });
        assert_eq!(
            word("compensated", back, "task", "undone", left),
            "- undo not wanted (when is false)"
        );
    }

    #[test]
    fn what_has_failed_says_so_and_what_nobody_knows_too() {
        let failure =
            json!({ "last_failure": { "code": "rejected", "message": "no", "retryable": false } });
        let seen = |kind, phase, more| word("abandoned", Value::Null, kind, phase, more);
        assert_eq!(seen("approve", "failed", failure), "✗ failed");
        let doubt = || json!({ "may_have_effect": true });
        assert_eq!(seen("task", "trying", doubt()), "✗ given up?");
        assert_eq!(seen("task", "parked", doubt()), "✗ given up");
    }
}
