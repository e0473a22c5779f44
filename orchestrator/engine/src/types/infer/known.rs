//! What is known where an expression stands: the types of its variables, and what has been found out of parts of them.

use std::collections::{BTreeMap, BTreeSet};

use cel::common::ast::{EntryExpr, Expr as Ast, IdedExpr, LiteralValue, operators as op};

use super::asked::Run;
use super::mend::is_word;
use crate::expr::children;
use crate::types::Type;

/// The variables an expression may read, with their types.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    roots: BTreeMap<String, Type>,
    /// What is known of a place beyond the type of its variable, by the place as it would be written.
    facts: BTreeMap<String, Type>,
    /// Why a place is null, where that is known: by the place, and `list[]` for the items of a list.
    causes: BTreeMap<String, Cause>,
    /// Variables that expressions made, and no schema describes.
    made: BTreeSet<String>,
    /// Places of which it has been found out that they are not there.
    denied: BTreeMap<String, Side>,
    /// What is there under a key that is computed, by its form, with the variables it reads.
    there: BTreeMap<String, BTreeSet<String>>,
    /// Steps, with where they have run.
    pub(super) runs: Vec<Run>,
}

/// Why something is null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It may be.
    May(&'static str),
    /// It always is: what it is, and what to do about it.
    Always {
        is: &'static str,
        help: &'static str,
    },
}

/// What the place stands in that is read where it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The right side of `&&` or `||`.
    Right,
    /// A branch of `?:`.
    Branch,
}

impl Scope {
    /// Adds a variable.
    pub(crate) fn with(mut self, name: &str, of: Type) -> Self {
        self.bind(name, of);
        self
    }

    /// Says why a place is null.
    pub(crate) fn because(mut self, place: String, cause: Cause) -> Self {
        self.causes.insert(place, cause);
        self
    }

    /// Says that a place is null for what another one is.
    pub(crate) fn because_of(self, other: &str, place: &str) -> Self {
        match self.causes.get(other).copied() {
            Some(cause) => self.because(place.to_owned(), cause),
            None => self,
        }
    }

    /// Says of a variable that expressions made it.
    pub(crate) fn made(mut self, name: &str) -> Self {
        self.made.insert(name.to_owned());
        self
    }

    /// Whether expressions made a variable.
    pub(super) fn is_made(&self, name: &str) -> bool {
        self.made.contains(name)
    }

    /// Why a part of an expression is null.
    pub(super) fn cause(&self, node: &IdedExpr) -> Option<Cause> {
        let own = place(node).and_then(|place| self.causes.get(&place));
        own.or_else(|| self.causes.get(&format!("{}[]", list(node)?)))
            .copied()
    }

    /// Notes that a place is not there.
    pub(super) fn deny(&mut self, place: String, side: Side) {
        self.denied.insert(place, side);
    }

    /// Where it has been found out that a place is not there.
    pub(super) fn denial(&self, place: &str) -> Option<Side> {
        self.denied.get(place).copied()
    }

    /// Binds a name, over an outer one of the same name.
    pub(super) fn bind(&mut self, name: &str, of: Type) {
        let own = format!("{name}.");
        let indexed = format!("{name}[");
        let outer = |place: &String| {
            place != name && !place.starts_with(&own) && !place.starts_with(&indexed)
        };
        self.facts.retain(|place, _| outer(place));
        self.causes.retain(|place, _| outer(place));
        self.denied.retain(|place, _| outer(place));
        self.there.retain(|_, variables| !variables.contains(name));
        self.made.remove(name);
        if self.roots.insert(name.to_owned(), of).is_some() {
            self.runs.retain(|run| !run.speaks_of(name));
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<Type> {
        self.facts
            .get(name)
            .or_else(|| self.roots.get(name))
            .cloned()
    }

    /// What has been found out of a place.
    pub(super) fn fact(&self, node: &IdedExpr) -> Option<Type> {
        if self.facts.is_empty() {
            return None;
        }
        self.facts.get(&place(node)?).cloned()
    }

    /// What has been found out of a place, by its text.
    pub(super) fn fact_at(&self, place: &str) -> Option<Type> {
        self.facts.get(place).cloned()
    }

    /// Notes what is known of a place now; what is known of parts of it stays true.
    pub(super) fn learn(&mut self, place: String, of: Type) {
        self.facts.insert(place, of);
    }
}

/// What is there under a key that is computed.
impl Scope {
    /// Notes that an object has the key that an expression comes to, if the two are such that they are known again.
    pub(super) fn learn_key(&mut self, object: &IdedExpr, key: &IdedExpr) {
        if let Some(form) = indexed(object, key) {
            let mut variables = BTreeSet::new();
            read_by(object, &mut variables);
            read_by(key, &mut variables);
            self.there.insert(form, variables);
        }
    }

    /// Whether it has been found out that an object has the key that an expression comes to.
    pub(super) fn has_key(&self, object: &IdedExpr, key: &IdedExpr) -> bool {
        let known = |form: String| self.there.contains_key(&form);
        !self.there.is_empty() && indexed(object, key).is_some_and(known)
    }
}

fn indexed(object: &IdedExpr, key: &IdedExpr) -> Option<String> {
    Some(format!("{}[{}]", form(object)?, form(key)?))
}

/// What an expression is, whatever way it is written: two of one form come to the same as long as their variables are the same. `None` of what binds a name.
pub(super) fn form(node: &IdedExpr) -> Option<String> {
    let all = |parts: &[IdedExpr]| -> Option<String> {
        let parts = parts.iter().map(form).collect::<Option<Vec<String>>>()?;
        Some(parts.join(","))
    };
    Some(match &node.expr {
        Ast::Ident(name) => name.trim_start_matches('.').to_owned(),
        Ast::Literal(literal) => format!("{literal:?}"),
        Ast::Select(select) => {
            let asked = if select.test { "has " } else { "" };
            format!("{asked}{}.{:?}", form(&select.operand)?, select.field)
        }
        Ast::Call(call) => {
            if let Some((operand, key)) = selected(node) {
                return Some(format!("{}.{key:?}", form(operand)?));
            }
            let target = match &call.target {
                Some(target) => format!("{}.", form(target)?),
                None => String::new(),
            };
            format!("{target}{}({})", call.func_name, all(&call.args)?)
        }
        Ast::List(list) if list.optional_indices.is_empty() => {
            format!("[{}]", all(&list.elements)?)
        }
        Ast::Map(map) => {
            let entries = map.entries.iter().map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) if !entry.optional => {
                    Some(format!("{}:{}", form(&entry.key)?, form(&entry.value)?))
                }
                EntryExpr::MapEntry(_) | EntryExpr::StructField(_) => None,
            });
            let entries = entries.collect::<Option<Vec<String>>>()?;
            format!("{{{}}}", entries.join(","))
        }
        Ast::Unspecified | Ast::List(_) | Ast::Struct(_) | Ast::Comprehension(_) => return None,
    })
}

/// The variables an expression reads; those it binds itself may be among them.
pub(super) fn read_by(node: &IdedExpr, found: &mut BTreeSet<String>) {
    if let Ast::Ident(name) = &node.expr {
        found.insert(name.trim_start_matches('.').to_owned());
    }
    for part in children(&node.expr) {
        read_by(part, found);
    }
}

/// `a.b` and `a["b"]`: what it is read from, and the key.
pub(super) fn selected(node: &IdedExpr) -> Option<(&IdedExpr, &str)> {
    match &node.expr {
        Ast::Select(select) if !select.test => {
            Some((select.operand.as_ref(), select.field.as_str()))
        }
        Ast::Call(call) if call.target.is_none() && call.func_name == op::INDEX => {
            let [operand, key] = call.args.as_slice() else {
                return None;
            };
            match &key.expr {
                Ast::Literal(LiteralValue::String(key)) => Some((operand, key.inner())),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The list an item is taken out of, as a place.
fn list(node: &IdedExpr) -> Option<String> {
    match &node.expr {
        Ast::Call(call) if call.target.is_none() && call.func_name == op::INDEX => {
            place(call.args.first()?)
        }
        _ => None,
    }
}

/// A place as it would be written: a variable and the way down from it, if an expression is one.
pub(super) fn place(node: &IdedExpr) -> Option<String> {
    if let Some((operand, key)) = selected(node) {
        let operand = place(operand)?;
        return Some(match is_word(key) {
            true => format!("{operand}.{key}"),
            // a key with a dot in it is no way down
            false => format!("{operand}[{key:?}]"),
        });
    }
    match &node.expr {
        Ast::Ident(name) => Some(name.trim_start_matches('.').to_owned()),
        Ast::Call(call) if call.target.is_none() => {
            let [operand, part] = call.args.as_slice() else {
                return None;
            };
            let operand = place(operand)?;
            match (call.func_name.as_str(), &part.expr) {
                (op::INDEX, Ast::Literal(LiteralValue::Int(n))) => {
                    Some(format!("{operand}[{}]", n.inner()))
                }
                (op::OPT_SELECT, Ast::Literal(LiteralValue::String(key))) => {
                    Some(match is_word(key.inner()) {
                        true => format!("{operand}.?{}", key.inner()),
                        false => format!("{operand}[?{:?}]", key.inner()),
                    })
                }
                _ => None,
            }
        }
        _ => None,
    }
}
