//! What a made value has to be beside what its own schema says: a field of the input or of a step's output that is handed to a task as it is
//! has to fit that task too. An input that says only `url: string` is given one that is a URL.

use std::collections::BTreeMap;

use baton_engine::definition::{InputSchema, StepKind};
use baton_engine::expr::Template;
use baton_engine::{Catalogue, Definition};
use serde_json::{Value, json};

use super::tree::{Above, StepPath, Tree};
use super::value::{Flavour, there, value};

/// How deep a place in a schema is looked for.
const DEPTH_MAX: usize = 24;

/// What is wanted of the values of each saga.
pub(super) type All = BTreeMap<Above, Vec<Want>>;

/// A field, and the schema of a place it is handed to.
#[derive(Clone)]
pub(super) struct Want {
    /// `input`, or a step.
    root: String,
    field: String,
    schema: Value,
}

/// Every field that is handed to a task, or to a saga, as it is; what is handed on from there has to fit there as well.
pub(super) fn of_all(tree: &Tree, catalogue: &Catalogue) -> All {
    let mut all = All::new();
    // what lies within comes first
    for (above, one) in tree.all.iter().rev() {
        let found = of_one(above, &one.definition, tree, catalogue, &all);
        all.insert(above.clone(), found);
    }
    all
}

fn of_one(
    above: &[baton_messages::StepId],
    definition: &Definition,
    tree: &Tree,
    catalogue: &Catalogue,
    known: &All,
) -> Vec<Want> {
    let mut found = Vec::new();
    for step in &definition.steps {
        match &step.kind {
            StepKind::Task(task) => {
                if let Some(known) = catalogue.get(&task.task_type) {
                    gather(&task.with, &known.manifest.input, &mut found);
                }
            }
            StepKind::Saga(saga) => {
                let within = StepPath::new(above, &step.id).within();
                let child = tree.all.get(&within);
                if let Some(schema) = child.and_then(|one| one.definition.input_schema.as_ref()) {
                    gather(&saga.with, schema.schema(), &mut found);
                }
                let inner = || known.get(&within).into_iter().flatten();
                if let Some(group) = &saga.group {
                    // what is around it has the same names within; an item is the list's to say
                    let own = |name: &str| {
                        name == "item"
                            || group
                                .definition
                                .steps
                                .iter()
                                .any(|one| one.id.as_str() == name)
                    };
                    found.extend(inner().filter(|want| !own(&want.root)).cloned());
                }
                for (place, root, field) in handed(&saga.with) {
                    let inner = inner();
                    let inner = inner
                        .filter(|want| want.root == "input" && place == format!("/{}", want.field));
                    found.extend(inner.map(|want| Want {
                        root: root.clone(),
                        field: field.clone(),
                        schema: want.schema.clone(),
                    }));
                }
            }
            _ => {}
        }
    }
    found
}

/// The places that are handed a field as it is: `/url`, `input`, `url`.
fn handed(with: &Template) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for (place, expression) in with.expressions() {
        let mut parts = expression.text().split('.');
        let (Some(root), Some(field), None) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let word = |part: &str| part.chars().all(|c| c.is_alphanumeric() || c == '_');
        if word(root) && word(field) {
            all.push((place.to_string(), root.to_owned(), field.to_owned()));
        }
    }
    all
}

fn gather(with: &Template, schema: &Value, all: &mut Vec<Want>) {
    for (place, root, field) in handed(with) {
        let Some(found) = at(schema, schema, &place, 0) else {
            continue;
        };
        let mut found = found.clone();
        if let Value::Object(found) = &mut found {
            for shared in ["$defs", "definitions"] {
                if let Some(shared_all) = schema.get(shared) {
                    found.insert(shared.to_owned(), shared_all.clone());
                }
            }
        }
        all.push(Want {
            root,
            field,
            schema: found,
        });
    }
}

/// The schema of a place, where it is plainly there.
fn at<'a>(root: &'a Value, schema: &'a Value, place: &str, depth: usize) -> Option<&'a Value> {
    if depth > DEPTH_MAX {
        return None;
    }
    if let Some(to) = schema.get("$ref") {
        return at(root, there(root, to)?, place, depth + 1);
    }
    let Some(place) = place.strip_prefix('/') else {
        return place.is_empty().then_some(schema);
    };
    let (key, rest) = place.split_once('/').unwrap_or((place, ""));
    let rest = &place[place.len() - rest.len()..];
    let rest_place = if rest.is_empty() {
        String::new()
    } else {
        format!("/{rest}")
    };
    let below = match key.parse::<usize>() {
        Ok(_) if schema.get("items").is_some() => schema.get("items"),
        _ => schema.get("properties").and_then(|all| all.get(key)),
    };
    at(root, below?, &rest_place, depth + 1)
}

/// Makes the fields of `made`, which is `root`, such as they are wanted, where `fits` allows it.
pub(super) fn mend(
    root: &str,
    made: &mut Value,
    wants: &[Want],
    flavour: Flavour,
    fits: impl Fn(&Value) -> bool,
) {
    for want in wants.iter().filter(|want| want.root == root) {
        let Some(there) = made.get(&want.field) else {
            continue;
        };
        let Ok(schema) = InputSchema::compile(want.schema.clone()) else {
            continue;
        };
        if there.is_null() || schema.check(there).is_ok() {
            continue;
        }
        let Ok(other) = value(&want.schema, flavour, &want.field) else {
            continue;
        };
        // what a schema says by word and not by rule: a URL is long enough, and is one
        let url = json!("http://127.0.0.1:8080/");
        let choices = [url, other];
        for choice in choices.into_iter().filter(|one| schema.check(one).is_ok()) {
            let mut whole = made.clone();
            if let Some(field) = whole.get_mut(&want.field) {
                *field = choice;
            }
            if fits(&whole) {
                *made = whole;
                break;
            }
        }
    }
}
