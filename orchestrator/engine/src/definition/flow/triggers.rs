//! What starts and cancels sagas by itself: its conditions and keys, and whether the input it makes fits the saga.

use serde_json::Value;

use super::values::{Target, Text};
use super::{Flow, scopes};
use crate::definition::yaml::Content;
use crate::definition::{EventRule, OnHit, ScheduleRule, Trigger};
use crate::types::Scope;

impl Flow<'_> {
    pub(super) fn triggers(&mut self) {
        let places = std::mem::take(&mut self.doubts.triggers);
        for (n, trigger) in places.iter().zip(&self.definition.triggers) {
            let at = format!("/on/{n}");
            match trigger {
                Trigger::Event { rule, .. } | Trigger::Hook { rule, .. } => {
                    self.event_rule(rule, &at);
                }
                Trigger::Schedule(rule) => self.schedule_rule(rule, &at),
            }
        }
    }

    fn event_rule(&mut self, rule: &EventRule, at: &str) {
        let scope = Scope::default().with("event", scopes::event());
        let mut holds = scope.clone();
        if let Some(when) = &rule.when {
            self.condition(when, &scope, &format!("{at}/when"));
            holds = holds.assuming(when);
        }
        // The event's data when it is left out, of which nothing is known.
        if let OnHit::Start { input, .. } = &rule.then
            && self.says(at, "input")
        {
            self.input_of_trigger(input, &holds, &format!("{at}/input"));
        }
        if let Some(key) = &rule.key {
            self.text(key, Text::OrScalar, &holds, &format!("{at}/key"));
        }
    }

    fn schedule_rule(&mut self, rule: &ScheduleRule, at: &str) {
        let scope = Scope::default().with("schedule", scopes::schedule());
        let place = match self.says(at, "input") {
            true => format!("{at}/input"),
            false => at.to_owned(),
        };
        self.input_of_trigger(&rule.input, &scope, &place);
    }

    fn input_of_trigger(&mut self, input: &crate::expr::Template, scope: &Scope, at: &str) {
        let schema = self.definition.input_schema.clone();
        let taker = "the saga's input";
        let target = schema.as_ref().map(|schema| Target {
            root: schema.schema(),
            schema: schema.schema(),
            taker,
        });
        let before = self.checked.errors.len();
        self.value(&input.shape(), target, scope, at);
        if let Some(schema) = &schema {
            let misfits = |value: &Value| schema.misfits(value);
            self.written_out(input, before, misfits, taker, at);
        }
    }

    /// Whether a mapping of the document has a key.
    pub(super) fn says(&self, pointer: &str, key: &str) -> bool {
        let node = self.tree.at(pointer);
        matches!(node.content, Content::Map(_)) && node.entry(key).is_some()
    }
}
