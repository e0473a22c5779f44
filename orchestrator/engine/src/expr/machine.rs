//! Runs a rewritten CEL expression: one shared environment, a budget for each evaluation, and errors in our words.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use cel::common::ast::{IdedExpr, SourceInfo};
use cel::common::types::{CelBytes, CelList, CelMap, CelMapKey, CelOptional, CelString};
use cel::common::value::{CowVal, Val};
use cel::{Context, Env, ExecutionError, FunctionContext};
use serde_json::Value;

use super::path::absent_root;
use super::rewrite::{CHARGE, OR_EMPTY, RANGE};
use super::uses::Uses;
use super::{ExprError, Scope, convert, read, rewrite, syntax};

/// Work one evaluation may do: a value visited, or 64 bytes of text made, counts one. Enough for lists of thousands, gone in milliseconds.
const BUDGET: u32 = 50_000;
const BUDGET_BYTES_PER_UNIT: usize = 64;
/// The deepest nesting of an expression, where a chain of `+` nests too: evaluation must fit the stack of any thread.
const DEPTH_MAX: usize = 128;
const TOO_DEEP: &str = "nests too deeply";
/// Said by our functions inside CEL when the budget is gone; turned into our error outside.
const OVER_BUDGET: &str = "over budget";

/// How to read what may not be there.
const ABSENT: &str = "guard it with has(…), a computed key with `key in object`, or take a default with .?name.orValue(…), [?key].orValue(…)";

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

type Function = Box<
    dyn for<'c, 'v> Fn(&mut FunctionContext<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError>
        + Send
        + Sync,
>;

/// Parses an expression.
pub(super) fn parse(text: &str) -> Result<IdedExpr, ExprError> {
    parse_with_places(text).map(|(ast, _)| ast)
}

/// As [`parse`], with where each part stands in the text.
pub(crate) fn parse_with_places(text: &str) -> Result<(IdedExpr, SourceInfo), ExprError> {
    let (ast, places) = ENV
        .parser()
        .parse_with_source_info(text)
        .map_err(|errors| match errors.errors.first() {
            Some(first) => unreadable(text, first.pos, &first.msg),
            None => unreadable(text, (0, 0), ""),
        })?;
    if rewrite::depth(&ast) > DEPTH_MAX {
        return Err(ExprError::new(text, TOO_DEEP, "write it in several steps"));
    }
    Ok((ast, places))
}

/// What is said of what the parser refused: its own complaint lists everything its grammar would have taken.
fn unreadable(text: &str, (line, column): (isize, isize), message: &str) -> ExprError {
    let of_the_grammar = message.strip_prefix("Syntax error: ");
    // The parser's own limit on nesting comes out as the name of an internal type.
    if of_the_grammar.unwrap_or(message).starts_with("OtherError") {
        return ExprError::new(text, TOO_DEEP, "write it in several steps");
    }
    let its_own = message.lines().next().unwrap_or_default();
    let said = match of_the_grammar {
        None if its_own.chars().all(|c| c != '`') && its_own != "UNKNOWN" => Some(its_own),
        _ => None,
    };
    let said = said.filter(|said| !said.is_empty());
    let syntax::Fault { at, what, help } = syntax::fault(text, offset(text, line, column), said);
    let error = ExprError::new(text, format!("cannot be read: {what}"), help);
    error.at_chars(at.start, at.len().max(1))
}

/// Where a line and a column, both counted from 1, stand in a text, in characters.
fn offset(text: &str, line: isize, column: isize) -> Option<usize> {
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let column = usize::try_from(column).ok()?.checked_sub(1)?;
    let before = text.split_inclusive('\n').take(line);
    Some(before.map(|line| line.chars().count()).sum::<usize>() + column)
}

/// Evaluates a rewritten expression with nothing bound but what it uses.
pub(super) fn run(
    ast: &IdedExpr,
    uses: &BTreeMap<String, Uses>,
    text: &str,
    scope: &dyn Scope,
) -> Result<Value, ExprError> {
    let mut context = Context::with_env(Arc::clone(&ENV));
    for (root, uses) in uses {
        let value = scope.get(root).ok_or_else(|| absent_root(text, root))?;
        context.add_variable_as_val(root.as_str(), convert::used_to_cel(value, uses));
    }
    let spent = Arc::new(AtomicU32::new(0));
    for (name, function) in functions(&spent) {
        context.add_function(name, function).map_err(|e| {
            ExprError::new(
                text,
                e.to_string(),
                "report this: it is no fault of the expression",
            )
        })?;
    }
    let outcome = context.resolve(ast);
    if spent.load(Ordering::Relaxed) > BUDGET {
        // Whatever came of it: `||` may have swallowed our error, and then more was done than may be.
        return Err(ExprError::new(
            text,
            format!(
                "does more work than one expression may ({BUDGET} values){}",
                read::told(uses, scope)
            ),
            "walk a shorter list, or let a task do this",
        ));
    }
    let value = outcome.map_err(|e| {
        let mut error = explain(text, &e);
        error.what.push_str(&read::told(uses, scope));
        error
    })?;
    convert::to_json(&value).map_err(|kind| {
        ExprError::new(
            text,
            format!("yields {kind}, which is no JSON value"),
            "for an optional take .orValue(…); for other values use string(…), int(…) or double(…)",
        )
    })
}

fn functions(spent: &Arc<AtomicU32>) -> [(&'static str, Function); 3] {
    let for_range = Arc::clone(spent);
    let for_charge = Arc::clone(spent);
    [
        (RANGE, Box::new(move |call| range(call, &for_range))),
        (
            CHARGE,
            Box::new(move |call| {
                let value = argument(call)?;
                charge(&for_charge, value.as_ref())?;
                Ok(value)
            }),
        ),
        (OR_EMPTY, Box::new(|call| argument(call).map(or_empty))),
    ]
}

fn argument<'c, 'v>(call: &mut FunctionContext<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError> {
    call.args
        .pop()
        .ok_or(ExecutionError::MissingArgumentOrTarget)
}

/// The range of a walk: charged, and the keys of a map as a list in their order.
fn range<'c, 'v>(
    call: &mut FunctionContext<'c, 'v>,
    spent: &AtomicU32,
) -> Result<CowVal<'c, 'v>, ExecutionError> {
    let value = argument(call)?;
    charge(spent, value.as_ref())?;
    let Some(map) = value.downcast_ref::<CelMap<'_>>() else {
        return Ok(value);
    };
    let mut keys: Vec<CelMapKey<'_>> = map.inner().keys().cloned().collect();
    keys.sort_by(|a, b| order(a).cmp(&order(b)));
    let keys: Vec<Box<dyn Val + 'v>> = keys.into_iter().map(key_value).collect();
    Ok(CowVal::owned(CelList::from(keys)))
}

/// Sorts keys by kind, then value.
fn order<'k>(key: &'k CelMapKey<'_>) -> (u8, i128, &'k str) {
    match key {
        CelMapKey::Bool(b) => (0, i128::from(*b.inner()), ""),
        CelMapKey::Int(n) => (1, i128::from(*n.inner()), ""),
        CelMapKey::UInt(n) => (1, i128::from(*n.inner()), ""),
        CelMapKey::String(s) => (2, 0, s.inner()),
    }
}

fn key_value<'v>(key: CelMapKey<'v>) -> Box<dyn Val + 'v> {
    match key {
        CelMapKey::Bool(b) => Box::new(b),
        CelMapKey::Int(n) => Box::new(n),
        CelMapKey::UInt(n) => Box::new(n),
        CelMapKey::String(s) => Box::new(s),
    }
}

fn or_empty<'c, 'v>(value: CowVal<'c, 'v>) -> CowVal<'c, 'v> {
    let held = match value.downcast_ref::<CelOptional<'_>>() {
        Some(optional) => optional
            .option()
            .map(|held| CowVal::Owned(held.clone_as_boxed())),
        None => Some(value),
    };
    match held {
        Some(held) if held.as_indexer().is_some() => held,
        _ => CowVal::owned(CelMap::default()),
    }
}

/// Takes the weight of a value from the budget.
fn charge(spent: &AtomicU32, value: &dyn Val) -> Result<(), ExecutionError> {
    let before = spent.load(Ordering::Relaxed);
    let left = BUDGET.saturating_sub(before);
    let weight = weigh(value, left);
    spent.store(before.saturating_add(weight), Ordering::Relaxed);
    if weight > left {
        return Err(ExecutionError::function_error(RANGE, OVER_BUDGET));
    }
    Ok(())
}

/// The values a value holds, itself included; stops counting soon after `limit`.
fn weigh(value: &dyn Val, limit: u32) -> u32 {
    let bytes = if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        text.inner().len()
    } else if let Some(bytes) = value.downcast_ref::<CelBytes<'_>>() {
        bytes.inner().len()
    } else {
        0
    };
    let mut weight = 1 + u32::try_from(bytes / BUDGET_BYTES_PER_UNIT).unwrap_or(u32::MAX - 1);
    if let Some(list) = value.downcast_ref::<CelList<'_>>() {
        for item in list.inner() {
            if weight > limit {
                break;
            }
            weight = weight.saturating_add(weigh(item.as_ref(), limit - weight.min(limit)));
        }
    } else if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        weight = weight.saturating_add(weigh_map(map, limit - weight.min(limit)));
    }
    weight
}

fn weigh_map(map: &CelMap<'_>, limit: u32) -> u32 {
    // The order of a hash map decides only where counting stops, past the limit, where the answer is the same.
    let mut weight = 0_u32;
    for item in map.inner().values() {
        if weight > limit {
            break;
        }
        weight = weight.saturating_add(weigh(item.as_ref(), limit - weight.min(limit)));
    }
    weight
}

/// CEL's error in our words, without the values it met.
fn explain(text: &str, error: &ExecutionError) -> ExprError {
    let (what, hint) = match error {
        ExecutionError::NoSuchKey(key) if !key.is_empty() && text.contains(key.as_str()) => {
            (format!("there is no `{key}`"), ABSENT)
        }
        // what is computed is a value, and may be private
        ExecutionError::NoSuchKey(_) => ("a key that is computed is not there".to_owned(), ABSENT),
        // of another kind than a key is
        ExecutionError::UnsupportedKeyType(key) => (
            format!("takes {} for the key of an object", convert::kind_of(key)),
            "a key is text: make it with string(…), or put another value in the place of null",
        ),
        ExecutionError::NoSuchOverload(overload) => {
            return no_overload(text, overload.function(), overload.argument_types());
        }
        ExecutionError::UnsupportedBinaryOperator(operator, left, right) => {
            let types = [left, right].map(|value| convert::kind_of(value).to_owned());
            return no_overload(text, operator, &types);
        }
        ExecutionError::UndeclaredReference(name) => (
            format!("`{name}` is not known"),
            "functions are those of CEL: size, has, all, exists, map, filter, contains, startsWith, endsWith, string, int, double …",
        ),
        ExecutionError::IndexOutOfBounds(_) => (
            "an index lies outside its list".to_owned(),
            "ask for its length first: `size(list) > 2 ? list[2] : otherwise`",
        ),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => (
            "divides by zero".to_owned(),
            "check the divisor first: `n == 0 ? 0 : total / n`",
        ),
        ExecutionError::Overflow(..) => (
            "a number gets too large".to_owned(),
            "a whole number has 64 bits with a sign: compute with double(…)",
        ),
        ExecutionError::ValuesNotComparable(..) => (
            "compares values of kinds that have no order".to_owned(),
            "convert one side with string(…), int(…) or double(…)",
        ),
        ExecutionError::UnexpectedType { got, want } => (
            format!("met {got} where {want} is needed"),
            "convert it with string(…), int(…) or double(…)",
        ),
        ExecutionError::DuplicateKey(_) => (
            "makes an object with the same key twice".to_owned(),
            "name each key once; of a list of pairs keep one for each key",
        ),
        ExecutionError::FunctionError { function, message } => (
            format!("{function} failed: {message}"),
            "look at the values it is given, and guard it: `condition ? this : otherwise`",
        ),
        ExecutionError::InvalidArgumentCount { expected, actual } => (
            format!("a function wants {expected} arguments and got {actual}"),
            "give it as many as it takes",
        ),
        _ => (
            "cannot be evaluated with these values".to_owned(),
            "hold the kinds of what it reads against what it does with them; `baton check --types` prints them as the definition has them",
        ),
    };
    ExprError::new(text, what, hint)
}

fn no_overload(text: &str, function: &str, types: &[String]) -> ExprError {
    let operator = function.trim_matches('_');
    let what = format!("`{operator}` does not take {}", types.join(" and "));
    let hint = if types.iter().any(|t| t == "null_type" || t == "null") {
        "a skipped step has the output null: guard with has(…), or take a default with .?name.orValue(…)"
    } else {
        "convert first with string(…), int(…) or double(…)"
    };
    ExprError::new(text, what, hint)
}
