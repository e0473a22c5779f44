//! Which parts of its variables an expression reads: only those are converted for CEL. An expression that stands beside ten thousand items and reads
//! one field of the input costs that field each time, not all of the input.

use std::collections::BTreeMap;

use cel::common::ast::{Expr as Ast, IdedExpr, LiteralValue, operators};
use serde_json::Value;

use super::rewrite::{TYPE_NAMES, children};

/// What is read of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Uses {
    /// All of it, or what cannot be told before it runs.
    Whole,
    /// Of an object these keys, and of each no more than this.
    Keys(BTreeMap<String, Self>),
}

impl Uses {
    pub(super) const NOTHING: Self = Self::Keys(BTreeMap::new());

    fn add(&mut self, way: &[&str]) {
        match (&mut *self, way) {
            (Self::Whole, _) => {}
            (_, []) => *self = Self::Whole,
            (Self::Keys(keys), [key, on @ ..]) => {
                let next = keys.entry((*key).to_owned()).or_insert(Self::NOTHING);
                next.add(on);
            }
        }
    }

    /// What this one and another read together.
    pub(super) fn join(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Whole, _) => {}
            (_, Self::Whole) => *self = Self::Whole,
            (Self::Keys(keys), Self::Keys(more)) => {
                for (key, uses) in more {
                    keys.entry(key.clone()).or_insert(Self::NOTHING).join(uses);
                }
            }
        }
    }

    /// As much of a value as is read of it. What an expression finds absent, or null, or of another kind than it takes it for, it finds so there too.
    pub(super) fn of(&self, value: &Value) -> Value {
        let (Value::Object(map), Self::Keys(keys)) = (value, self) else {
            return value.clone();
        };
        let read = |(key, uses): (&String, &Self)| Some((key.clone(), uses.of(map.get(key)?)));
        Value::Object(keys.iter().filter_map(read).collect())
    }
}

/// The variables an expression reads, without those its own comprehensions bind, and what it reads of each.
pub(super) fn uses(ast: &IdedExpr) -> BTreeMap<String, Uses> {
    let mut found = BTreeMap::new();
    collect(ast, &mut Vec::new(), &mut found);
    found
}

/// What all of them read.
pub(crate) fn joined(
    all: impl IntoIterator<Item = BTreeMap<String, Uses>>,
) -> BTreeMap<String, Uses> {
    let mut found = BTreeMap::new();
    for (root, uses) in all.into_iter().flatten() {
        found.entry(root).or_insert(Uses::NOTHING).join(&uses);
    }
    found
}

fn collect(ast: &IdedExpr, bound: &mut Vec<String>, found: &mut BTreeMap<String, Uses>) {
    if let Some((root, way)) = way(ast) {
        let free = !bound.iter().any(|one| one == root) && !root.starts_with('@');
        if free && !TYPE_NAMES.contains(&root) && root != "optional" {
            let root = root.trim_start_matches('.').to_owned();
            found.entry(root).or_insert(Uses::NOTHING).add(&way);
        }
        return;
    }
    if let Ast::Comprehension(walk) = &ast.expr {
        collect(&walk.iter_range, bound, found);
        collect(&walk.accu_init, bound, found);
        let outside = bound.len();
        bound.push(walk.iter_var.clone());
        bound.extend(walk.iter_var2.clone());
        bound.push(walk.accu_var.clone());
        for inner in [&walk.loop_cond, &walk.loop_step, &walk.result] {
            collect(inner, bound, found);
        }
        bound.truncate(outside);
        return;
    }
    for child in children(&ast.expr) {
        collect(child, bound, found);
    }
}

/// A variable and the keys that lead down from it: `a.b`, `a["b"]`, `a.?b`, `has(a.b)`.
fn way(ast: &IdedExpr) -> Option<(&str, Vec<&str>)> {
    let (operand, key) = match &ast.expr {
        Ast::Ident(root) => return Some((root, Vec::new())),
        Ast::Select(select) => (select.operand.as_ref(), select.field.as_str()),
        Ast::Call(call) if call.target.is_none() => {
            let keyed = [
                operators::INDEX,
                operators::OPT_INDEX,
                operators::OPT_SELECT,
            ];
            let [operand, key] = call.args.as_slice() else {
                return None;
            };
            let Ast::Literal(LiteralValue::String(key)) = &key.expr else {
                return None;
            };
            if !keyed.contains(&call.func_name.as_str()) {
                return None;
            }
            (operand, key.inner())
        }
        _ => return None,
    };
    let (root, mut way) = way(operand)?;
    way.push(key);
    Some((root, way))
}
