//! Comprehensions: what `map`, `filter`, `all`, `exists`, `exists_one`, `optMap` and `optFlatMap` become when they are parsed.

use std::collections::BTreeSet;

use cel::common::ast::{ComprehensionExpr, Expr as Ast, IdedExpr, LiteralValue, operators as op};

use super::Infer;
use super::known::read_by;
use crate::types::Type;

/// The name of the range of what only binds a name: it walks over nothing.
const UNUSED: &str = "#unused";

impl Infer {
    pub(super) fn walk(&mut self, walk: &ComprehensionExpr) -> Type {
        if walk.iter_var == UNUSED {
            let bound = self.of(&walk.accu_init);
            return self.within(&walk.accu_var, bound, |infer| infer.of(&walk.result));
        }
        let item = self.range(&walk.iter_range);
        self.within(&walk.iter_var, item, |infer| {
            infer.is_a_key(&walk.iter_var, &walk.iter_range);
            infer.step(walk)
        })
    }

    /// What is walked over of an object are its own keys, also those that a filter leaves.
    fn is_a_key(&mut self, name: &str, range: &IdedExpr) {
        let object = filtered(range);
        let mut variables = BTreeSet::new();
        read_by(object, &mut variables);
        // one of its own name is another one now
        if !variables.contains(name) {
            let key = IdedExpr {
                id: 0,
                expr: Ast::Ident(name.to_owned()),
            };
            self.known.learn_key(object, &key);
        }
    }

    /// Something with a name bound.
    fn within<T>(&mut self, name: &str, of: Type, f: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.known.clone();
        self.known.bind(name, of);
        let found = f(self);
        self.known = before;
        found
    }

    /// What is done for each, and what comes of it: told by what it begins with.
    fn step(&mut self, walk: &ComprehensionExpr) -> Type {
        match (&walk.accu_init.expr, call(&walk.loop_step)) {
            // map, and filter, which is a map to the item itself
            (Ast::List(_), Some((op::CONDITIONAL, [when, then, _]))) => {
                self.truth(when);
                self.assume(when, true);
                Type::list(self.appended(then))
            }
            (Ast::List(_), _) => Type::list(self.appended(&walk.loop_step)),
            // all, exists
            (Ast::Literal(LiteralValue::Boolean(_)), Some((_, [_, asked]))) => {
                self.truth(asked);
                Type::Bool
            }
            // exists_one
            (Ast::Literal(LiteralValue::Int(_)), Some((op::CONDITIONAL, [asked, _, _]))) => {
                self.truth(asked);
                Type::Bool
            }
            _ => Type::Any,
        }
    }

    fn appended(&mut self, step: &IdedExpr) -> Type {
        appended(step).map_or(Type::Any, |item| self.of(item))
    }
}

/// `@result + [item]`: the item.
fn appended(step: &IdedExpr) -> Option<&IdedExpr> {
    if let Some((op::ADD, [_, list])) = call(step)
        && let Ast::List(list) = &list.expr
        && let [item] = list.elements.as_slice()
    {
        return Some(item);
    }
    None
}

/// What a `map` or a `filter` makes a list of.
pub(super) fn item(walk: &ComprehensionExpr) -> Option<&IdedExpr> {
    match (&walk.accu_init.expr, call(&walk.loop_step)) {
        (Ast::List(_), Some((op::CONDITIONAL, [_, then, _]))) => appended(then),
        (Ast::List(_), _) => appended(&walk.loop_step),
        _ => None,
    }
}

/// What a filter is of, and a filter of that; anything else is itself.
fn filtered(range: &IdedExpr) -> &IdedExpr {
    match &range.expr {
        Ast::Comprehension(walk)
            if item(walk).is_some_and(
                |item| matches!(&item.expr, Ast::Ident(name) if *name == walk.iter_var),
            ) =>
        {
            filtered(&walk.iter_range)
        }
        _ => range,
    }
}

fn call(node: &IdedExpr) -> Option<(&str, &[IdedExpr])> {
    match &node.expr {
        Ast::Call(call) if call.target.is_none() => {
            Some((call.func_name.as_str(), call.args.as_slice()))
        }
        _ => None,
    }
}
