//! The event a step waits for: as it was given, or made so that its `when` is true.

use std::collections::BTreeMap;

use baton_engine::SagaState;
use baton_engine::definition::StepKind;
use baton_engine::expr::{Expr, Scope};
use baton_engine::trigger::EventScope;
use baton_messages::{Event, StepId};
use serde_json::{Map, Value, json};

use super::setting::Part;

/// The event, and whether it is one the step takes.
pub(crate) fn event(part: Option<&Part>, step: &StepId, state: &SagaState) -> (Event, bool) {
    let definition = part.map(|part| &part.definition);
    let given = part.and_then(|part| part.events.get(step));
    let wait = definition
        .and_then(|all| all.step(step))
        .and_then(|step| match &step.kind {
            StepKind::Wait(wait) => Some(wait),
            _ => None,
        });
    let kind = wait.map_or_else(|| "swept".to_owned(), |wait| wait.event.to_string());
    // of a prefix, one of its types
    let kind = kind.replace('*', "swept");
    let mut fields = json!({
        "specversion": "1.0", "id": format!("{} {step}", state.id), "source": "/swept", "type": kind, "data": {},
    });
    if let Some(given) = given {
        fields["data"] = given.clone();
    }
    let when = wait.and_then(|wait| wait.when.as_ref());
    if let Some(when) = when.filter(|_| given.is_none()) {
        // what a field has to be says more than that it has to be there
        let compares = |part: &&str| part.contains(['=', '<', '>']);
        let (first, then): (Vec<&str>, Vec<&str>) = when.text().split("&&").partition(compares);
        for part in first.into_iter().chain(then) {
            satisfy(part, &mut fields, state);
        }
    }
    let plain: Event = serde_json::from_value(fields.clone()).unwrap_or_else(|_| Event {
        specversion: "1.0".into(),
        id: format!("{} {step}", state.id),
        source: "/swept".into(),
        kind,
        subject: None,
        time: None,
        datacontenttype: None,
        dataschema: None,
        data: Some(fields["data"].clone()),
        data_base64: None,
        extensions: BTreeMap::new(),
    });
    let taken = when.is_none_or(|when| {
        let both = Both {
            state,
            event: EventScope::new(&plain),
        };
        when.eval(&both) == Ok(Value::Bool(true))
    });
    (plain, taken)
}

struct Both<'a> {
    state: &'a SagaState,
    event: EventScope,
}

impl Scope for Both<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.event.get(name).or_else(|| self.state.get(name))
    }
}

/// Makes one comparison true, where it is one of a field of the event with something that is known.
fn satisfy(part: &str, event: &mut Value, state: &SagaState) {
    let part = bare(part);
    for (sign, more) in [("==", 0), (">=", 0), ("<=", 0), (">", 1), ("<", -1)] {
        let Some((left, right)) = part.split_once(sign) else {
            continue;
        };
        let (left, right) = (bare(left), bare(right));
        let (path, other, more) = if left.starts_with("event.") {
            (left, right, more)
        } else {
            (right, left, -more)
        };
        let value = Expr::compile(other).and_then(|other| other.eval(state));
        if let Ok(mut value) = value {
            if let (Some(n), true) = (value.as_i64(), more != 0) {
                value = json!(n + more);
            }
            put(event, path, value);
        }
        return;
    }
    if let Some(path) = part.strip_prefix("has(").and_then(|p| p.strip_suffix(')')) {
        put(event, bare(path), json!("swept"));
    } else if let Some(path) = part.strip_prefix('!') {
        put(event, bare(path), json!(false));
    } else {
        put(event, part, json!(true));
    }
}

/// Without what stands around it: blanks, brackets, a conversion to text.
fn bare(text: &str) -> &str {
    let mut text = text.trim();
    loop {
        let inner = ["(", "string("]
            .iter()
            .find_map(|lead| text.strip_prefix(lead)?.strip_suffix(')'));
        match inner {
            Some(inner) if !inner.contains('(') => text = inner.trim(),
            _ => return text,
        }
    }
}

/// Puts a value at `event.a.b`, if that is such a path and nothing stands there yet.
fn put(event: &mut Value, path: &str, value: Value) {
    let Some(path) = path.strip_prefix("event.") else {
        return;
    };
    let word = |part: &str| part.chars().all(|c| c.is_alphanumeric() || c == '_');
    if !path.split('.').all(|part| !part.is_empty() && word(part)) {
        return;
    }
    let mut at = event;
    let parts: Vec<&str> = path.split('.').collect();
    for part in parts.iter().take(parts.len().saturating_sub(1)) {
        let Value::Object(fields) = at else { return };
        at = fields
            .entry((*part).to_owned())
            .or_insert_with(|| Value::Object(Map::new()));
    }
    if let (Value::Object(fields), Some(last)) = (at, parts.last()) {
        fields.entry((*last).to_owned()).or_insert(value);
    }
}
