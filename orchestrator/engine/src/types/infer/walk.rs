//! Comprehensions: what `map`, `filter`, `all`, `exists`, `exists_one`, `optMap` and `optFlatMap` become when they are parsed.

use cel::common::ast::{ComprehensionExpr, Expr as Ast, IdedExpr, LiteralValue, operators as op};

use super::Infer;
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
        self.within(&walk.iter_var, item, |infer| infer.step(walk))
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

    /// `@result + [item]`: the item.
    fn appended(&mut self, step: &IdedExpr) -> Type {
        if let Some((op::ADD, [_, list])) = call(step)
            && let Ast::List(list) = &list.expr
            && let [item] = list.elements.as_slice()
        {
            return self.of(item);
        }
        Type::Any
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
