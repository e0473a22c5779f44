//! The language as a JSON Schema, for editors: what a definition looks like, with a word on each key. It refuses wrong shapes; what needs
//! more than a look at the document (references, types, order) is the checker's.

use serde_json::{Map, Value, json};

use super::retry::{ATTEMPTS_MAX, FACTOR_MAX};
use super::schema_faults::TYPES;
use super::subschemas::{self, Holds};
use super::{
    CANCEL_REASON_CHARS_MAX, ESCALATIONS_MAX, LABELS_MAX, LIMIT_MAX, LOCKS_MAX, STEPS_MAX,
    TRIGGERS_MAX,
};
use crate::fan::{ITEMS_MAX, PARALLEL_MAX};

/// The schema.
#[must_use]
pub fn json_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://baton.example/schemas/language.json",
        "title": "A saga definition of Baton",
        "type": "object",
        "required": ["saga", "version", "steps"],
        "additionalProperties": false,
        "properties": {
            "saga": said(reference("name"), "Its name, such as `quarantine-host`."),
            "version": { "type": "integer", "minimum": 1, "description": "From 1. The same name and version never change." },
            "title": said(text(), "One line for people."),
            "owner": said(text(), "Who gets the work items of its sagas; `operator` when left out."),
            "on": {
                "type": "array", "maxItems": TRIGGERS_MAX, "items": reference("trigger"),
                "description": "What starts its sagas, beside requests, and what cancels them. Add new ones at the end.",
            },
            "input": {
                "type": "object", "allOf": [reference("schema")],
                "description": "JSON Schema of the input; anything when left out.",
            },
            "deadline": said(reference("duration"), "Up to the pivot: then everything is undone. After it only a work item says so."),
            "labels": {
                "type": "object", "maxProperties": LABELS_MAX, "propertyNames": { "pattern": "^[a-z][a-z0-9_-]{0,63}$" },
                "additionalProperties": reference("scalar"),
                "description": "Computed from the input when the saga starts, to search by.",
            },
            "locks": {
                "type": "array", "minItems": 1, "maxItems": LOCKS_MAX, "items": text(),
                "description": "Names of which one saga at a time holds each: taken before the first step, all or none, and held until the saga has ended, undo included.",
            },
            "lock_timeout": said(reference("duration"), "How long it waits to be admitted at most where it is a step of another saga: then it fails with nothing changed. 10 minutes when left out and it wants locks, else a day."),
            "concurrency": said(limit(false), "How many sagas of this definition, or of this key of it, run at once; the rest wait in order."),
            "blast_radius": said(limit(true), "How many sagas of this definition, or of this key of it, may begin within a time; beyond it they wait and a person is asked, who may let one through."),
            "work_items": said(reference("workItems"), "Whose its work items are, by when they should be done, and who gets those that stay open."),
            "steps": { "type": "array", "minItems": 1, "maxItems": STEPS_MAX, "items": reference("step"), "description": "What is done." },
            "output": { "description": "What the saga yields when it has completed." },
        },
        "$defs": definitions(),
    })
}

fn definitions() -> Value {
    let mut all = Map::new();
    let mut add = |name: &str, schema: Value| all.insert(name.to_owned(), schema);
    add(
        "name",
        json!({ "type": "string", "pattern": "^[a-z]([a-z0-9.-]{0,116}[a-z0-9])?$" }),
    );
    add(
        "id",
        json!({ "type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$" }),
    );
    add(
        "taskType",
        json!({ "type": "string", "pattern": "^[a-z]([a-z0-9.-]{0,116}[a-z0-9])?@[1-9][0-9]{0,8}$" }),
    );
    add(
        "duration",
        json!({ "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d|w))+$", "examples": ["500ms", "10s", "15m", "2h", "7d"] }),
    );
    add(
        "expression",
        json!({ "type": "string", "pattern": "^\\s*\\$\\{[\\s\\S]*\\}\\s*$" }),
    );
    add(
        "condition",
        json!({ "anyOf": [{ "type": "boolean" }, reference("expression")] }),
    );
    add(
        "scalar",
        json!({ "type": ["string", "number", "boolean", "null"] }),
    );
    add("retry", retry());
    add("undo", undo());
    add("probe", probe());
    add("wait", wait());
    add("approve", approve());
    add("emit", emit());
    add("workItems", work_items());
    add("schema", schema_of_schemas());
    add("step", step());
    add("trigger", trigger());
    Value::Object(all)
}

/// A JSON Schema, as far as its shape goes: what is said of keywords that are known, and nothing of others. Written here and not referred to, so that an
/// editor needs no network.
fn schema_of_schemas() -> Value {
    let list = |items: Value| json!({ "type": "array", "items": items });
    let kind = json!({ "enum": TYPES });
    let keys = json!({ "type": "array", "items": { "type": "string" }, "uniqueItems": true });
    let mut properties = Map::new();
    for keyword in &subschemas::KEYWORDS {
        let one = reference("schema");
        let of = match (keyword.holds, keyword.name) {
            (Holds::Map, _) => json!({ "type": "object", "additionalProperties": one }),
            (Holds::MapOrKeys, _) => {
                json!({ "type": "object", "additionalProperties": { "anyOf": [one, keys] } })
            }
            (Holds::List, _) => list(one),
            // a list in older drafts
            (Holds::One, "items") => json!({ "anyOf": [one.clone(), list(one)] }),
            (Holds::One, _) => one,
        };
        properties.insert(keyword.name.to_owned(), of);
    }
    let kinds = json!({ "type": "array", "items": kind, "minItems": 1, "uniqueItems": true });
    properties.insert("type".to_owned(), json!({ "anyOf": [kind, kinds] }));
    properties.insert("required".to_owned(), keys);
    properties.insert("enum".to_owned(), json!({ "type": "array" }));
    let mut all = |names: &[&str], of: &Value| {
        let named = names.iter().map(|name| ((*name).to_owned(), of.clone()));
        properties.extend(named);
    };
    all(
        &["$ref", "format", "title", "description"],
        &json!({ "type": "string" }),
    );
    all(
        &["pattern"],
        &json!({ "type": "string", "format": "regex" }),
    );
    all(
        &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
        &json!({ "type": ["number", "boolean"] }),
    );
    all(
        &[
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "minProperties",
            "maxProperties",
        ],
        &json!({ "type": "integer", "minimum": 0 }),
    );
    all(&["uniqueItems"], &json!({ "type": "boolean" }));
    json!({ "type": ["object", "boolean"], "properties": properties })
}

/// So many at once, or within a time.
fn limit(within: bool) -> Value {
    let max = json!({ "type": "integer", "minimum": 1, "maximum": LIMIT_MAX });
    let mut keys = vec![
        ("max", said(max, "How many.")),
        (
            "key",
            said(
                text(),
                "What is counted apart: an expression over the input, or the name of a label.",
            ),
        ),
    ];
    if within {
        keys.push((
            "per",
            said(reference("duration"), "Within which time, at most 31 days."),
        ));
        return object(&["max", "per"], keys);
    }
    object(&["max"], keys)
}

fn step() -> Value {
    let later = |what: &str| said(json!({}), what);
    let mut schema = object(
        &["id"],
        vec![
            (
                "id",
                said(
                    reference("id"),
                    "Its id, and the name by which expressions reach its output.",
                ),
            ),
            (
                "after",
                said(
                    json!({ "type": "array", "items": reference("id") }),
                    "The steps it waits for; the one above when left out, none with `[]`.",
                ),
            ),
            (
                "if",
                said(
                    reference("condition"),
                    "False skips the step; its output is null then.",
                ),
            ),
            (
                "for_each",
                said(
                    json!({ "anyOf": [reference("expression"), { "type": "array", "maxItems": ITEMS_MAX }] }),
                    "Does the task, the saga or the `steps` for each item of this list; `with`, `if`, `pool`, `undo` and `probe` read `item` and `index`. The output is the list of theirs.",
                ),
            ),
            (
                "max_items",
                said(
                    json!({ "type": "integer", "minimum": 1, "maximum": ITEMS_MAX }),
                    "How long the list may be, where its schema does not say; a longer one is a failure before anything is begun.",
                ),
            ),
            (
                "max_parallel",
                said(
                    json!({ "type": "integer", "minimum": 1, "maximum": PARALLEL_MAX }),
                    "How many items are under way at once; 10 when left out.",
                ),
            ),
            (
                "tolerate",
                said(
                    json!({ "anyOf": [{ "type": "integer", "minimum": 0, "maximum": ITEMS_MAX }, { "type": "string", "pattern": "^(100|[0-9]{1,2})%$" }] }),
                    "How many items may fail, or which share of them; their output is null. None when left out.",
                ),
            ),
            (
                "task",
                said(reference("taskType"), "Has a worker run an automation."),
            ),
            (
                "sleep",
                said(
                    json!({ "anyOf": [reference("duration"), reference("expression")] }),
                    "Waits so long.",
                ),
            ),
            ("wait", said(reference("wait"), "Waits for an event.")),
            ("approve", said(reference("approve"), "Asks a person.")),
            ("emit", said(reference("emit"), "Publishes an event.")),
            (
                "saga",
                said(
                    reference("taskType"),
                    "Is another saga, named with its version: it compensates with this one. Its output is the step's.",
                ),
            ),
            (
                "steps",
                said(
                    json!({ "type": "array", "minItems": 1, "maxItems": STEPS_MAX, "items": reference("step") }),
                    "A group of steps, done for each item of `for_each`, written as at the top. Their expressions read `item`, `index`, the input and the steps before the group.",
                ),
            ),
            (
                "output",
                said(
                    json!({}),
                    "What an item of a group of `steps` returns; null when left out.",
                ),
            ),
            (
                "pool",
                said(
                    text(),
                    "Which workers may take the task; `default` when left out.",
                ),
            ),
            ("with", later("The input of the task or the saga.")),
            (
                "timeout",
                said(
                    reference("duration"),
                    "Of one attempt, measured by the worker; of a saga, until it is done.",
                ),
            ),
            (
                "queue_timeout",
                said(
                    reference("duration"),
                    "How long it may wait for a worker in all.",
                ),
            ),
            (
                "heartbeat",
                said(
                    reference("duration"),
                    "How long a claimed task counts as alive without a sign of its worker: 30s when it is left out, and no less than 15s, since a worker gives one every 5s.",
                ),
            ),
            (
                "retry",
                said(reference("retry"), "How often and when it is tried again."),
            ),
            (
                "undo",
                said(
                    reference("undo"),
                    "How it is taken back, when not by its automation.",
                ),
            ),
            (
                "because",
                said(
                    text(),
                    "Why `undo: none` is right; or why an event may be published while the saga may still turn back.",
                ),
            ),
            (
                "probe",
                said(
                    reference("probe"),
                    "A task that finds out whether the step happened.",
                ),
            ),
            (
                "pivot",
                said(
                    json!({ "type": "boolean" }),
                    "From its dispatch on the saga only goes forward.",
                ),
            ),
            (
                "on_error",
                said(
                    json!({ "enum": ["compensate", "park", "continue"] }),
                    "What its failure for good does; `compensate` when left out.",
                ),
            ),
            (
                "work_items",
                said(
                    reference("workItems"),
                    "Whose its work items are and by when; what is left out the saga says.",
                ),
            ),
        ],
    );
    if let Value::Object(schema) = &mut schema {
        let one = |key: &str| json!({ "required": [key] });
        schema.insert(
            "oneOf".to_owned(),
            json!([
                one("task"),
                one("sleep"),
                one("wait"),
                one("approve"),
                one("emit"),
                one("saga"),
                one("steps")
            ]),
        );
        let tasks_only = [
            "pool",
            "queue_timeout",
            "heartbeat",
            "retry",
            "undo",
            "probe",
        ];
        let lists_only = ["max_items", "max_parallel", "tolerate"];
        let needs: Map<String, Value> = tasks_only
            .iter()
            .map(|key| ((*key).to_owned(), json!(["task"])))
            .chain(lists_only.map(|key| (key.to_owned(), json!(["for_each"]))))
            .chain([
                ("steps".to_owned(), json!(["for_each"])),
                ("output".to_owned(), json!(["steps"])),
            ])
            .collect();
        schema.insert("dependentRequired".to_owned(), Value::Object(needs));
        schema.insert(
            "allOf".to_owned(),
            json!([
                {
                    "if": { "anyOf": [one("timeout"), one("pivot"), one("for_each")] },
                    "then": { "anyOf": [one("task"), one("saga"), one("steps")] },
                },
                {
                    "if": one("with"),
                    "then": { "anyOf": [one("task"), one("saga")] },
                },
                {
                    "if": { "required": ["for_each"] },
                    "then": { "properties": { "pivot": { "const": false }, "on_error": { "enum": ["compensate", "park"] } } },
                },
                {
                    "if": { "required": ["because"] },
                    "then": { "anyOf": [
                        { "required": ["undo"], "properties": { "undo": { "const": "none" } } },
                        one("emit"),
                    ] },
                },
                {
                    "if": { "required": ["undo"], "properties": { "undo": { "const": "none" } } },
                    "then": { "required": ["because"] },
                },
            ]),
        );
    }
    schema
}

/// Whose work items are, and by when.
fn work_items() -> Value {
    let who = |what: &str| said(text(), what);
    let rung = object(
        &["after", "to"],
        vec![
            (
                "after",
                said(reference("duration"), "How long after it was opened."),
            ),
            ("to", who("Whose it is then: a person or a team.")),
        ],
    );
    object(
        &[],
        vec![
            (
                "assign",
                who("Whose they are: a person or a team; a text with expressions over the input."),
            ),
            (
                "due",
                said(
                    reference("duration"),
                    "How long after it was opened one should be done.",
                ),
            ),
            (
                "escalate",
                said(
                    json!({ "type": "array", "maxItems": ESCALATIONS_MAX, "items": rung }),
                    "Who gets one that stays open, by rising time.",
                ),
            ),
        ],
    )
}

fn retry() -> Value {
    object(
        &[],
        vec![
            (
                "attempts",
                said(
                    json!({ "anyOf": [{ "type": "integer", "minimum": 1, "maximum": ATTEMPTS_MAX }, { "const": "forever" }] }),
                    "In all, the first included; `forever` on purpose.",
                ),
            ),
            (
                "backoff",
                said(reference("duration"), "The wait before the second attempt."),
            ),
            (
                "factor",
                said(
                    json!({ "type": "number", "minimum": 1, "maximum": FACTOR_MAX }),
                    "What the wait is multiplied by each time.",
                ),
            ),
            ("max", said(reference("duration"), "The longest wait.")),
            (
                "jitter",
                said(
                    json!({ "enum": ["full", "none"] }),
                    "How waits are spread; `full` when left out.",
                ),
            ),
        ],
    )
}

fn undo() -> Value {
    let when = || {
        (
            "when",
            said(
                reference("condition"),
                "It is taken back only where this holds; may read the step's own output. Where that is not known it is taken back.",
            ),
        )
    };
    let mut own = object(
        &[],
        vec![
            when(),
            (
                "timeout",
                said(
                    reference("duration"),
                    "Of one attempt of its own automation's undo; the step's when left out.",
                ),
            ),
            (
                "retry",
                said(
                    reference("retry"),
                    "How often and when its own automation's undo is tried: 10 times when left out, with a minute between them at most.",
                ),
            ),
        ],
    );
    if let Value::Object(own) = &mut own {
        own.insert("minProperties".to_owned(), Value::from(1));
    }
    let task = object(
        &["task"],
        vec![
            when(),
            (
                "task",
                said(reference("taskType"), "The automation that takes it back."),
            ),
            (
                "pool",
                said(
                    text(),
                    "Which workers may take it; the step's own pool when left out.",
                ),
            ),
            (
                "with",
                said(json!({}), "Its input; may read the step's own output."),
            ),
            ("timeout", said(reference("duration"), "Of one attempt.")),
            (
                "retry",
                said(reference("retry"), "How often and when it is tried again."),
            ),
            (
                "idempotent",
                said(
                    json!({ "type": "boolean" }),
                    "Whether it may be run again where nobody knows if it was: twice does no harm. Else a person is asked. What its automation says when left out.",
                ),
            ),
        ],
    );
    json!({ "anyOf": [{ "const": "none" }, task, own] })
}

fn probe() -> Value {
    object(
        &["task"],
        vec![
            (
                "task",
                said(reference("taskType"), "The automation that finds out."),
            ),
            ("with", said(json!({}), "Its input.")),
        ],
    )
}

fn wait() -> Value {
    object(
        &["event", "timeout"],
        vec![
            (
                "event",
                said(text(), "A type, or a prefix: `com.example.*`."),
            ),
            (
                "when",
                said(
                    reference("condition"),
                    "Only an event for which this is true; reads `event` too.",
                ),
            ),
            ("timeout", said(reference("duration"), "How long.")),
            (
                "on_timeout",
                said(
                    json!({ "enum": ["fail", "park", "continue"] }),
                    "What then; `fail` when left out.",
                ),
            ),
            (
                "since",
                said(
                    reference("duration"),
                    "How long before the saga's start an event may have been received to count.",
                ),
            ),
        ],
    )
}

fn approve() -> Value {
    object(
        &["by", "timeout"],
        vec![
            (
                "by",
                said(
                    text(),
                    "A role (viewer, operator, admin): that one or a higher one; or the name of a person's token.",
                ),
            ),
            ("prompt", said(text(), "The question.")),
            ("timeout", said(reference("duration"), "How long.")),
            (
                "on_timeout",
                said(
                    json!({ "enum": ["fail", "park", "continue"] }),
                    "What then; `park` when left out.",
                ),
            ),
            (
                "on_reject",
                said(
                    json!({ "enum": ["fail", "continue"] }),
                    "What a no does; `fail` when left out.",
                ),
            ),
        ],
    )
}

fn emit() -> Value {
    object(
        &["type"],
        vec![
            ("type", said(text(), "Its type, fixed.")),
            ("subject", said(text(), "What it is about.")),
            ("data", said(json!({}), "What it says.")),
        ],
    )
}

fn trigger() -> Value {
    let rule = || {
        vec![
            (
                "when",
                said(
                    reference("condition"),
                    "Only events for which this is true.",
                ),
            ),
            (
                "input",
                said(
                    json!({}),
                    "The saga's input; the event's data when left out.",
                ),
            ),
            (
                "key",
                said(
                    text(),
                    "While a saga with this key runs, and `window` after its start, further hits join it. With `cancel`, the key it was started with.",
                ),
            ),
            (
                "window",
                said(reference("duration"), "How long after its start."),
            ),
            (
                "cancel",
                said(
                    json!({ "type": "string", "minLength": 1, "maxLength": CANCEL_REASON_CHARS_MAX }),
                    "Starts none: asks the saga that was started with this `key` last to cancel. Why, in plain words.",
                ),
            ),
        ]
    };
    let mut event = vec![(
        "event",
        said(text(), "A type, or a prefix: `com.example.*`."),
    )];
    event.extend(rule());
    let mut hook = vec![
        (
            "hook",
            said(
                json!({ "type": "string", "pattern": "^[a-z][a-z0-9_-]{0,63}$" }),
                "The name in its path.",
            ),
        ),
        (
            "secret",
            said(
                text(),
                "The name of a secret in the orchestrator's configuration.",
            ),
        ),
    ];
    hook.extend(rule());
    let schedule = vec![
        (
            "schedule",
            said(
                text(),
                "Minute, hour, day of the month, month, day of the week; six fields begin with the second.",
            ),
        ),
        ("timezone", said(text(), "IANA; UTC when left out.")),
        (
            "input",
            said(
                json!({}),
                "The saga's input; an empty object when left out.",
            ),
        ),
        (
            "catch_up",
            said(
                json!({ "enum": ["last", "none", "all"] }),
                "What is done about what was missed; `last` when left out.",
            ),
        ),
        (
            "overlap",
            said(
                json!({ "enum": ["skip", "allow"] }),
                "While the saga of the firing before has not ended; `skip` when left out.",
            ),
        ),
    ];
    json!({ "oneOf": [
        or_cancels(object(&["event"], event)), object(&["schedule"], schedule), or_cancels(object(&["hook", "secret"], hook)),
    ] })
}

/// What cancels says by which key, and nothing of what is started.
fn or_cancels(mut schema: Value) -> Value {
    schema["dependentSchemas"] = json!({
        "cancel": { "required": ["key"], "properties": { "input": false, "window": false } },
    });
    schema
}

fn object(required: &[&str], properties: Vec<(&str, Value)>) -> Value {
    let properties: Map<String, Value> = properties
        .into_iter()
        .map(|(key, schema)| (key.to_owned(), schema))
        .collect();
    json!({ "type": "object", "required": required, "additionalProperties": false, "properties": properties })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn text() -> Value {
    json!({ "type": "string", "minLength": 1 })
}

fn said(mut schema: Value, what: &str) -> Value {
    if let Value::Object(map) = &mut schema {
        map.insert("description".to_owned(), Value::from(what));
    }
    schema
}
