//! What starts and cancels sagas by itself: its conditions and keys, and whether the input it makes fits the saga.

use serde_json::Value;

use super::values::{Target, Text};
use super::{Flow, scopes};
use crate::definition::diagnostic::code;
use crate::definition::yaml::Content;
use crate::definition::{EventRule, OnHit, ScheduleRule, Step, StepKind, Trigger};
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

    /// That no event the saga publishes starts it anew: what ends by that begins again, without end. Where a `when` is asked, or a `key` joins what runs, that is for
    /// its author to see to.
    pub(super) fn starts_itself(&mut self) {
        let steps = self.definition.all_steps();
        let told: Vec<(&Step, &str)> = steps
            .into_iter()
            .filter_map(|step| match &step.kind {
                StepKind::Emit(emit) => Some((step, emit.kind.as_str())),
                _ => None,
            })
            .collect();
        let places = self.doubts.triggers.clone();
        for (n, trigger) in places.iter().zip(&self.definition.triggers) {
            let Trigger::Event { event, rule } = trigger else {
                continue;
            };
            let starts = matches!(rule.then, OnHit::Start { .. });
            if !starts || rule.when.is_some() || rule.key.is_some() {
                continue;
            }
            let Some((step, kind)) = told.iter().find(|(_, kind)| event.fits(kind)) else {
                continue;
            };
            let message = format!(
                "`{}` publishes `{kind}`, which starts this saga anew, and that one again, without end",
                step.id
            );
            let help = "publish it under another type, or say in the trigger which events start a saga: `when: ${ event.source == … }`";
            let mark = self.tree.mark_at(&format!("/on/{n}/event"));
            self.warning(code::TRIGGER, mark, message, help.to_owned());
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
