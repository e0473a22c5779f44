//! One JSON Schema (2020-12) for each kind of message, taken from the types by schemars and made as narrow as the
//! types are: the greatest number a field can hold, the notation of an id.

use std::collections::BTreeSet;

use baton_messages::{
    ControlMessage, Event, FleetMessage, InboxMessage, Manifest, TaskMessage, TasksMessage,
};
use serde_json::{Map, Value, json};

/// The notation in which ids are written: readers take others too, writers write only this.
const UUID: &str = "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$";

/// One kind of message.
pub(crate) struct Kind {
    /// Kind and version, `finished@1`; the AMQP `type` of it.
    pub(crate) name: String,
    /// The family it belongs to: `event`, `task`, `tasks`, `inbox`, `control`, `fleet`, `manifest`.
    pub(crate) family: &'static str,
    /// One sentence.
    pub(crate) summary: String,
    /// Its schema, whole.
    pub(crate) schema: Value,
}

/// Every kind of message, in the order of the types.
///
/// # Errors
/// A sentence, when a type's schema is not of the form the wire rules ask for.
pub(crate) fn kinds() -> Result<Vec<Kind>, String> {
    let mut kinds = vec![plain("event", schemars::schema_for!(Event).into())];
    for (family, schema) in [
        ("task", schemars::schema_for!(TaskMessage)),
        ("tasks", schemars::schema_for!(TasksMessage)),
        ("inbox", schemars::schema_for!(InboxMessage)),
        ("control", schemars::schema_for!(ControlMessage)),
        ("fleet", schemars::schema_for!(FleetMessage)),
    ] {
        kinds.extend(tagged(family, &schema.into())?);
    }
    kinds.push(plain("manifest", schemars::schema_for!(Manifest).into()));
    Ok(kinds)
}

/// A message whose body carries no tag of ours.
fn plain(name: &'static str, schema: Value) -> Kind {
    let summary = first_line(&schema);
    Kind {
        name: name.into(),
        family: name,
        summary,
        schema: finished(name, schema),
    }
}

/// The kinds of an externally tagged enum: each of its branches is the schema of one.
fn tagged(family: &'static str, whole: &Value) -> Result<Vec<Kind>, String> {
    let branches = whole["oneOf"]
        .as_array()
        .ok_or_else(|| format!("the schema of family {family} has no `oneOf`"))?;
    branches
        .iter()
        .map(|branch| {
            let name = branch["required"][0].as_str().ok_or_else(|| {
                format!("a kind of family {family} is not externally tagged: {branch}")
            })?;
            let mut schema = branch.clone();
            schema["$schema"] = whole["$schema"].clone();
            schema["$defs"] = used(&whole["$defs"], branch);
            Ok(Kind {
                name: name.into(),
                family,
                summary: first_line(branch),
                schema: finished(name, schema),
            })
        })
        .collect()
}

fn finished(name: &str, mut schema: Value) -> Value {
    schema["$id"] = json!(format!("urn:baton:message:{name}"));
    schema["title"] = json!(name);
    narrow(&mut schema);
    schema
}

/// The definitions a schema reaches.
fn used(all: &Value, from: &Value) -> Value {
    let mut reached = BTreeSet::new();
    let mut open = references(from);
    while let Some(name) = open.pop() {
        if reached.insert(name.clone()) {
            open.extend(references(&all[&name]));
        }
    }
    reached
        .into_iter()
        .map(|name| (name.clone(), all[&name].clone()))
        .collect::<Map<_, _>>()
        .into()
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) => {
            let own = map.get("$ref").and_then(Value::as_str);
            let own = own.and_then(|text| text.strip_prefix("#/$defs/"));
            let below = map.values().flat_map(references);
            own.map(String::from).into_iter().chain(below).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// `format` is only a remark to a validator; what it says is said again by keywords that bind.
fn narrow(value: &mut Value) {
    match value {
        Value::Object(map) => {
            match map.get("format").and_then(Value::as_str) {
                Some("uint32") => drop(map.insert("maximum".into(), json!(u32::MAX))),
                Some("uint64") => drop(map.insert("maximum".into(), json!(u64::MAX))),
                Some("uuid") => drop(map.insert("pattern".into(), json!(UUID))),
                _ => {}
            }
            map.values_mut().for_each(narrow);
        }
        Value::Array(items) => items.iter_mut().for_each(narrow),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn first_line(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.lines().next().unwrap_or_default().into()
}
