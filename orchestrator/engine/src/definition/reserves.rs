//! What a saga takes before its first step: locks, a place among so many that run, a share of what may be begun within a time. Names are computed
//! once, from the input and the labels, when the saga starts.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::expr::{Scope, Template};
use crate::reservation::{ReservationKind, Want};

/// The most locks of a saga: what needs more is one lock of something larger.
pub const LOCKS_MAX: usize = 16;
/// The longest name of what is taken, in bytes: it stands in an index, and people type it.
pub const RESERVED_NAME_BYTES_MAX: usize = 200;
/// The most that may run at once, or be begun within a time: beyond it the limit limits nothing.
pub const LIMIT_MAX: u32 = 1_000;
/// The longest time a limit may count over, in milliseconds: what was begun within it stays in the store so long. A month.
pub const PER_MS_MAX: u64 = 31 * 24 * 60 * 60 * 1000;

/// What a saga takes before its first step.
#[derive(Debug, Clone, Default)]
pub struct Reserves {
    /// Names of which one saga at a time may hold each.
    pub locks: Vec<LockName>,
    /// How many may run at once.
    pub concurrency: Option<Limit>,
    /// How many may be begun within a time.
    pub blast_radius: Option<Limit>,
    /// How long it waits at most as a child, in milliseconds; none: the usual time.
    pub lock_timeout_ms: Option<u64>,
}

/// The name of a lock.
#[derive(Debug, Clone)]
pub struct LockName {
    /// As it is written.
    pub text: String,
    /// What it is computed by.
    pub template: Template,
}

/// So many of a definition, or of a key of it.
#[derive(Debug, Clone)]
pub struct Limit {
    /// How many.
    pub max: u32,
    /// Within how many milliseconds; none: at once.
    pub per_ms: Option<u64>,
    /// What is counted apart.
    pub key: Option<LimitKey>,
}

/// What sagas of a definition are told apart by.
#[derive(Debug, Clone)]
pub enum LimitKey {
    /// A label of the saga.
    Label(String),
    /// What this yields, with its text as it is written.
    Computed(String, Template),
}

impl LimitKey {
    /// As it is written.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Label(text) | Self::Computed(text, _) => text,
        }
    }
}

/// What is computed from the input alone.
pub(crate) struct OnlyInput<'a>(pub(crate) &'a Value);

impl Scope for OnlyInput<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        (name == "input").then_some(self.0)
    }
}

impl Reserves {
    /// What a saga of this definition takes with this input and the labels its definition computes from it: locks first, by kind and name, each once.
    ///
    /// # Errors
    /// What cannot be computed, for people; without the values themselves, which may be private.
    pub fn wants(
        &self,
        saga: &str,
        input: &Value,
        labels: &BTreeMap<String, String>,
    ) -> Result<Vec<Want>, String> {
        let mut wants = Vec::new();
        for lock in &self.locks {
            wants.push(Want {
                kind: ReservationKind::Lock,
                name: computed(&lock.template, input, &format!("lock `{}`", lock.text))?,
                max: 1,
                per_ms: None,
            });
        }
        let limits = [
            (ReservationKind::Concurrency, &self.concurrency),
            (ReservationKind::BlastRadius, &self.blast_radius),
        ];
        for (kind, limit) in limits {
            if let Some(limit) = limit {
                wants.push(Want {
                    kind,
                    name: limit.name(saga, kind, input, labels)?,
                    max: limit.max,
                    per_ms: limit.per_ms,
                });
            }
        }
        wants.sort();
        wants.dedup();
        Ok(wants)
    }
}

impl Limit {
    fn name(
        &self,
        saga: &str,
        kind: ReservationKind,
        input: &Value,
        labels: &BTreeMap<String, String>,
    ) -> Result<String, String> {
        let what = || format!("the key of its {}", kind.as_str());
        let key = match &self.key {
            None => return Ok(saga.to_owned()),
            Some(LimitKey::Label(label)) => {
                let value = labels.get(label).cloned().unwrap_or_default();
                usable(value, &format!("{}, the label `{label}`,", what()))?
            }
            Some(LimitKey::Computed(_, template)) => computed(template, input, &what())?,
        };
        Ok(format!("{saga}/{key}"))
    }
}

fn computed(template: &Template, input: &Value, what: &str) -> Result<String, String> {
    let value = template
        .eval(&OnlyInput(input))
        .map_err(|error| format!("{what} cannot be computed: {error}"))?;
    let text = match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(_) | Value::Object(_) => return Err(format!("{what} yields no text")),
    };
    usable(text, what)
}

/// A name that may be taken or counted by; else why not.
pub(super) fn usable(text: String, what: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err(format!("{what} is empty"));
    }
    if text.len() > RESERVED_NAME_BYTES_MAX {
        return Err(format!(
            "{what} has {} bytes; {RESERVED_NAME_BYTES_MAX} are allowed",
            text.len()
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{what} holds control characters"));
    }
    Ok(text)
}
