//! The values a saga is played with: its input, and what the tasks of all its sagas return; several mixtures, so that both sides of
//! conditions are seen.

use std::collections::BTreeMap;

use baton_engine::definition::{InputSchema, TaskStep};
use baton_engine::{Catalogue, Definition};
use serde_json::Value;

use super::tree::{Above, StepPath, Tree};
use super::value::{Flavour, value};
use super::wants::{self, Want};
use super::{Given, Unready};

/// An input, and what steps return.
pub(super) type Values = (Value, BTreeMap<StepPath, Value>);

/// The values to play with, several so that both sides of conditions are seen.
pub(super) fn values(
    tree: &Tree,
    catalogue: &Catalogue,
    given: &Given,
    most: usize,
) -> Result<Vec<Values>, Unready> {
    let wants = wants::of_all(tree, catalogue);
    let tasks: Vec<StepPath> = tree
        .steps()
        .filter(|(_, step)| step.task().is_some())
        .map(|(at, _)| at)
        .collect();
    // all of one kind, then each thing alone of the other
    let mut mixes: Vec<(Flavour, Option<&StepPath>)> =
        vec![(Flavour::Full, None), (Flavour::Spare, None)];
    for flavour in [Flavour::Full, Flavour::Spare] {
        mixes.extend(tasks.iter().map(|step| (flavour, Some(step))));
    }
    // the last of them is kept for what is counted
    mixes.truncate(most.saturating_sub(1));
    let mut all = Vec::new();
    for (base, odd) in mixes {
        let other = match base {
            Flavour::Full => Flavour::Spare,
            Flavour::Spare => Flavour::Full,
        };
        let of = |step: &StepPath| if odd == Some(step) { other } else { base };
        match one(tree, catalogue, given, &wants, base, of, false) {
            Ok(values) => all.push(values),
            // the first has to be possible; of the others those that are
            Err(wrong) if all.is_empty() => return Err(wrong),
            Err(_) => {}
        }
    }
    let full = |_: &StepPath| Flavour::Full;
    let nothing = one(tree, catalogue, given, &wants, Flavour::Full, full, true);
    all.extend(nothing.ok());
    Ok(all)
}

fn one(
    tree: &Tree,
    catalogue: &Catalogue,
    given: &Given,
    wants: &wants::All,
    base: Flavour,
    of: impl Fn(&StepPath) -> Flavour,
    of_nothing: bool,
) -> Result<Values, Unready> {
    let none = Vec::new();
    let wanted = |above: &Above| wants.get(above).unwrap_or(&none);
    let top = Above::new();
    let input = match tree.all.get(&top) {
        Some(one) => input(&one.definition, given, wanted(&top), base, of_nothing)?,
        None => Value::Null,
    };
    let mut returns = BTreeMap::new();
    for (at, step) in tree.steps() {
        let Some(task) = step.task() else { continue };
        let said = tree.returns(&at);
        let made = match catalogue.get(&task.task_type) {
            Some(known) => {
                let schema = &known.manifest.output;
                let made = made(&at, schema, wanted(&at.above), of(&at), of_nothing)?;
                returned(&at, task, schema, made, said)?
            }
            None => said.cloned().unwrap_or(Value::Null),
        };
        returns.insert(at, made);
    }
    Ok((input, returns))
}

/// What the saga is started with.
fn input(
    definition: &Definition,
    given: &Given,
    wants: &[Want],
    flavour: Flavour,
    of_nothing: bool,
) -> Result<Value, Unready> {
    if let Some(input) = &given.input {
        let misfit = |why: String| Unready::Misfit { why };
        definition.check_input(input).map_err(misfit)?;
        return Ok(input.clone());
    }
    let wrong = |why: String| Unready::Input { why };
    let made = match &definition.input_schema {
        Some(schema) => {
            let mut made = value(schema.schema(), flavour, "input").map_err(wrong)?;
            let fits = |whole: &Value| schema.check(whole).is_ok();
            wants::mend("input", &mut made, wants, flavour, fits);
            if of_nothing { zeroed(made, fits) } else { made }
        }
        None => Value::Object(serde_json::Map::new()),
    };
    definition.check_input(&made).map_err(wrong)?;
    Ok(made)
}

/// Nothing of whatever is counted: every number of an object that may be zero is.
fn zeroed(mut made: Value, fits: impl Fn(&Value) -> bool) -> Value {
    let fields = made.as_object().into_iter().flatten();
    let counts = fields.filter(|(_, value)| value.is_number());
    let counts: Vec<String> = counts.map(|(name, _)| name.clone()).collect();
    for name in counts {
        let mut other = made.clone();
        if let Some(count) = other.get_mut(&name) {
            *count = Value::from(0);
        }
        if fits(&other) {
            made = other;
        }
    }
    made
}

/// What a task returns, made from its schema.
fn made(
    at: &StepPath,
    schema: &Value,
    wants: &[Want],
    flavour: Flavour,
    of_nothing: bool,
) -> Result<Value, Unready> {
    let made = value(schema, flavour, at.step.as_str());
    let mut made = made.map_err(|why| Unready::Return {
        step: at.clone(),
        why,
    })?;
    let check = InputSchema::compile(schema.clone()).ok();
    let fits = |whole: &Value| check.as_ref().is_none_or(|one| one.check(whole).is_ok());
    wants::mend(at.step.as_str(), &mut made, wants, flavour, fits);
    Ok(if of_nothing { zeroed(made, fits) } else { made })
}

/// What a task returns with what was said of it laid over, which has to fit as well.
fn returned(
    at: &StepPath,
    task: &TaskStep,
    schema: &Value,
    made: Value,
    said: Option<&Value>,
) -> Result<Value, Unready> {
    let Some(said) = said else {
        return Ok(made);
    };
    let check = InputSchema::compile(schema.clone()).ok();
    let misfit = |whole: &Value| check.as_ref().and_then(|one| one.check(whole).err());
    let whole = laid_over(made, said);
    match misfit(&whole) {
        None => Ok(whole),
        Some(why) => Err(Unready::NotReturned {
            step: at.clone(),
            task_type: task.task_type.clone(),
            // a misfit of an input, in the words of whoever reads one
            why: match why.strip_prefix("input") {
                Some(rest) => format!("{at}{rest}"),
                None => why,
            },
        }),
    }
}

/// What was made, with what was said of it: an object's fields one by one, anything else as a whole.
fn laid_over(made: Value, given: &Value) -> Value {
    match (made, given) {
        (Value::Object(mut made), Value::Object(given)) => {
            for (key, value) in given {
                let below = made.remove(key).unwrap_or(Value::Null);
                made.insert(key.clone(), laid_over(below, value));
            }
            Value::Object(made)
        }
        (_, given) => given.clone(),
    }
}
