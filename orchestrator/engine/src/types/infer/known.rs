//! What is known where an expression stands: the types of its variables, and what has been found out of parts of them.

use std::collections::BTreeMap;

use cel::common::ast::{Expr as Ast, IdedExpr, LiteralValue, operators as op};

use crate::types::Type;

/// The variables an expression may read, with their types.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    roots: BTreeMap<String, Type>,
    /// What is known of a place beyond the type of its variable, by the place as it would be written.
    facts: BTreeMap<String, Type>,
}

impl Scope {
    /// Adds a variable.
    pub(crate) fn with(mut self, name: &str, of: Type) -> Self {
        self.bind(name, of);
        self
    }

    /// Binds a name, over an outer one of the same name.
    pub(super) fn bind(&mut self, name: &str, of: Type) {
        let own = format!("{name}.");
        let indexed = format!("{name}[");
        self.facts.retain(|place, _| {
            place != name && !place.starts_with(&own) && !place.starts_with(&indexed)
        });
        self.roots.insert(name.to_owned(), of);
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

/// A place as it would be written: a variable and the way down from it, if an expression is one.
pub(super) fn place(node: &IdedExpr) -> Option<String> {
    match &node.expr {
        Ast::Ident(name) => Some(name.trim_start_matches('.').to_owned()),
        Ast::Select(select) if !select.test => {
            Some(format!("{}.{}", place(&select.operand)?, select.field))
        }
        Ast::Call(call) if call.target.is_none() => {
            let [operand, part] = call.args.as_slice() else {
                return None;
            };
            let operand = place(operand)?;
            match (call.func_name.as_str(), &part.expr) {
                (op::INDEX, Ast::Literal(LiteralValue::String(key))) => {
                    Some(format!("{operand}.{}", key.inner()))
                }
                (op::INDEX, Ast::Literal(LiteralValue::Int(n))) => {
                    Some(format!("{operand}[{}]", n.inner()))
                }
                (op::OPT_SELECT, Ast::Literal(LiteralValue::String(key))) => {
                    Some(format!("{operand}.?{}", key.inner()))
                }
                _ => None,
            }
        }
        _ => None,
    }
}
