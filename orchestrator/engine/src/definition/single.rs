//! An automation on its own: a saga of one step, made without a document and yet with one, so that it is stored and shown like any other.

use std::collections::BTreeSet;

use baton_messages::{PoolName, StepId, TaskType};
use serde_json::{Value, json};

use super::{
    Definition, OWNER_DEFAULT, OnError, OwnUndo, RetryPolicy, Step, StepKind, TaskStep, UndoPlan,
};
use crate::expr::Template;

/// The id of the only step.
const STEP: &str = "run";

impl Definition {
    /// The saga that runs one task with a fixed input. Its name is the task type's without the version, its version the task type's major
    /// version, its output the task's. The source says the same; it differs with the input, so nothing may be registered under its name.
    #[must_use]
    pub fn single_step(task_type: &TaskType, with: Value) -> Self {
        let source = source(task_type, &escaped(&with).to_string());
        single(task_type, Template::literal(with), source)
    }

    /// The saga that runs one task with whatever input it is started with: the same document for every run of a task type.
    #[must_use]
    pub fn automation(task_type: &TaskType) -> Self {
        // The text is fixed and compiles; were it ever not to, the step would get it as it stands and refuse it.
        let with = json!("${ input }");
        let template = Template::compile(&with).unwrap_or_else(|_| Template::literal(with));
        single(task_type, template, source(task_type, "${ input }"))
    }
}

fn single(task_type: &TaskType, with: Template, source: String) -> Definition {
    let task = TaskStep {
        task_type: task_type.clone(),
        pool: Template::literal(json!(PoolName::default_pool().as_str())),
        with,
        timeout_ms: None,
        queue_timeout_ms: None,
        lease_ms: None,
        retry: RetryPolicy::default(),
        undo: UndoPlan::Own,
        own_undo: OwnUndo::default(),
        undo_when: None,
        probe: None,
    };
    let steps = StepId::new(STEP).map(|id| Step {
        id,
        index: 0,
        after: Vec::new(),
        dependents: Vec::new(),
        ancestors: BTreeSet::new(),
        descendants: BTreeSet::new(),
        condition: None,
        fan: None,
        kind: StepKind::Task(Box::new(task)),
        pivot: false,
        on_error: OnError::Compensate,
        item_rules: None,
    });
    Definition {
        saga: task_type.name().to_owned(),
        version: major(task_type),
        title: None,
        owner: OWNER_DEFAULT.to_owned(),
        triggers: Vec::new(),
        input_schema: None,
        deadline_ms: None,
        labels: Vec::new(),
        reserves: None,
        item_rules: None,
        steps: steps.into_iter().collect(),
        output: Template::compile(&json!(format!("${{ {STEP} }}"))).ok(),
        source: source.into(),
    }
}

fn source(task_type: &TaskType, with: &str) -> String {
    let name = task_type.name();
    let version = major(task_type);
    format!(
        "saga: {name}\nversion: {version}\nsteps:\n  - id: {STEP}\n    task: {task_type}\n    with: {with}\noutput: ${{ {STEP} }}\n"
    )
}

/// A task type's major version; the name of a task type always has one.
fn major(task_type: &TaskType) -> u32 {
    task_type
        .as_str()
        .rsplit('@')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1)
}

/// The value with `${` in its texts escaped, so that as a template it yields itself.
fn escaped(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("${", "$${")),
        Value::Array(items) => Value::Array(items.iter().map(escaped).collect()),
        Value::Object(map) => {
            Value::Object(map.iter().map(|(k, v)| (k.clone(), escaped(v))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}
