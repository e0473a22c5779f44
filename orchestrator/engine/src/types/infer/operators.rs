//! CEL's operators over every pair of types they may meet.

use cel::common::ast::{CallExpr, Expr as Ast, IdedExpr, LiteralValue, operators as op};

use super::{Infer, ProblemKind, Use, default_of, held};
use crate::types::Type;

/// What an operator yields for one pair of types; `None` when it fails.
type OfPair = fn(&Type, &Type) -> Option<Type>;

impl Infer {
    pub(super) fn operator(&mut self, node: &IdedExpr, call: &CallExpr) -> Type {
        let of_pair: OfPair = match call.func_name.as_str() {
            op::ADD => sum,
            op::SUBSTRACT | op::MULTIPLY | op::DIVIDE => arithmetic,
            op::MODULO => remainder,
            op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS => order,
            op::IN => membership,
            op::EQUALS | op::NOT_EQUALS => return self.equality(node, call),
            _ => return self.single(node, call),
        };
        let [left, right] = call.args.as_slice() else {
            return Type::Any;
        };
        let (a, b) = (self.of(left), self.of(right));
        self.never_divides(node, call, (&a, right));
        let mut found = Vec::new();
        for one in a.alternatives() {
            for other in b.alternatives() {
                match of_pair(one, other) {
                    Some(of) => found.push(of),
                    None => {
                        let sign = sign(&call.func_name);
                        self.refuse_operands(node, sign, &[(left, &a, one), (right, &b, other)]);
                        return Type::union(found);
                    }
                }
            }
        }
        Type::union(found)
    }

    /// That nothing is divided by a zero that is written out: a whole number is then divided by none.
    fn never_divides(&mut self, node: &IdedExpr, call: &CallExpr, (a, by): (&Type, &IdedExpr)) {
        let divides = matches!(call.func_name.as_str(), op::DIVIDE | op::MODULO);
        let whole = |one: &Type| matches!(one, Type::Int(_) | Type::Uint);
        let is_zero = match &by.expr {
            Ast::Literal(LiteralValue::Int(n)) => *n.inner() == 0,
            Ast::Literal(LiteralValue::UInt(n)) => *n.inner() == 0,
            _ => false,
        };
        if divides && is_zero && !a.is_never() && a.alternatives().iter().all(whole) {
            let at = self.places.span(node);
            let what = format!(
                "`{}` always fails: nothing is divided by 0",
                self.text(node)
            );
            self.report(ProblemKind::Operands, at, what, "divide by something else");
        }
    }

    fn single(&mut self, node: &IdedExpr, call: &CallExpr) -> Type {
        let [operand] = call.args.as_slice() else {
            for argument in &call.args {
                self.of(argument);
            }
            return Type::Any;
        };
        let of = self.of(operand);
        let fits = |one: &Type| match call.func_name.as_str() {
            op::LOGICAL_NOT => *one == Type::Bool,
            op::NEGATE => matches!(one, Type::Int(_) | Type::Double),
            _ => true,
        };
        for one in of.alternatives() {
            if *one != Type::Any && !fits(one) {
                self.refuse_operands(node, sign(&call.func_name), &[(operand, &of, one)]);
                break;
            }
        }
        match call.func_name.as_str() {
            op::LOGICAL_NOT | op::NOT_STRICTLY_FALSE => Type::Bool,
            _ => {
                let kept = of.only(|one| fits(one) || *one == Type::Any);
                Type::union(kept.alternatives().iter().map(computed))
            }
        }
    }

    /// `==` never fails; of kinds that can never be the same it is always false, which is nothing anybody means.
    fn equality(&mut self, node: &IdedExpr, call: &CallExpr) -> Type {
        let [left, right] = call.args.as_slice() else {
            return Type::Bool;
        };
        let (a, b) = (self.of(left), self.of(right));
        // what nothing can be has been told where it was made of nothing
        let is_nothing = a.is_never() || b.is_never();
        if !is_nothing && !may_equal(&a, &b) {
            let always = call.func_name == op::NOT_EQUALS;
            let what = format!(
                "`{}` is {a} and `{}` is {b}: this is always {always}",
                self.text(left),
                self.text(right)
            );
            let at = self.places.span(node);
            let help = "compare with a value it can have";
            self.report(ProblemKind::Constant, at, what, help);
        }
        Type::Bool
    }

    /// Says which operands do not go with an operator or a function.
    pub(super) fn refuse_operands(
        &mut self,
        node: &IdedExpr,
        name: &str,
        operands: &[(&IdedExpr, &Type, &Type)],
    ) {
        let null = operands.iter().find(|(_, _, one)| **one == Type::Null);
        if let Some((operand, of, _)) = null
            && **of != Type::Null
        {
            let what = self.null_and(operand, of, &format!("`{name}` does not take null"));
            let help = match name {
                "!" => self.null_where_truth(operand, of),
                "<" | "<=" | ">" | ">=" | "contains" | "startsWith" | "endsWith" => {
                    self.not_null(operand, of, Use::Asked)
                }
                _ => self.not_null(operand, of, Use::Value),
            };
            let at = self.places.span(operand);
            return self.report(ProblemKind::Absent, at, what, help);
        }
        let optional = operands
            .iter()
            .find(|(_, _, one)| matches!(one, Type::Optional(_)));
        if let Some((operand, _, one)) = optional {
            let what = format!(
                "`{}` is {one}, and `{name}` takes no optional",
                self.text(operand)
            );
            let at = self.places.span(operand);
            let help = format!(
                "take its value, or a default: `{}.orValue({})`",
                self.operand(operand),
                default_of(&held(one))
            );
            return self.report(ProblemKind::Absent, at, what, help);
        }
        let kinds: Vec<String> = operands.iter().map(|(_, _, one)| one.to_string()).collect();
        let numbers = operands.len() > 1 && operands.iter().all(|(_, _, one)| one.is_number());
        let what = match name {
            "%" if numbers => "`%` takes whole numbers only".to_owned(),
            _ => format!("`{name}` does not take {}", kinds.join(" and ")),
        };
        let help = self.mended(node, name, operands);
        let at = self.places.span(node);
        self.report(ProblemKind::Operands, at, what, help);
    }
}

fn sign(name: &str) -> &str {
    match name {
        op::IN => "in",
        name => name.trim_matches('_'),
    }
}

/// Both may be the same value, or nothing is there to compare: what no value is any more is compared where it is never looked at.
fn may_equal(a: &Type, b: &Type) -> bool {
    if a.is_never() || b.is_never() {
        return true;
    }
    let mut pairs = a.alternatives().iter();
    pairs.any(|a| {
        b.alternatives().iter().any(|b| match (a, b) {
            (Type::Any, _) | (_, Type::Any) => true,
            (Type::Text(Some(a)), Type::Text(Some(b))) => !a.is_disjoint(b),
            (a, b) if a.is_number() && b.is_number() => true,
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        })
    })
}

fn sum(a: &Type, b: &Type) -> Option<Type> {
    Some(match (a, b) {
        (Type::Text(_), Type::Text(_) | Type::Any) | (Type::Any, Type::Text(_)) => Type::TEXT,
        (Type::List(a), Type::List(b)) => {
            Type::list(Type::union([a.as_ref().clone(), b.as_ref().clone()]))
        }
        (Type::List(_), Type::Any) | (Type::Any, Type::List(_)) => Type::list(Type::Any),
        (Type::Bytes, Type::Bytes | Type::Any) | (Type::Any, Type::Bytes) => Type::Bytes,
        (a, b) => return arithmetic(a, b),
    })
}

/// What is computed of a number: one of its kind, within no bounds.
fn computed(of: &Type) -> Type {
    match of {
        Type::Int(_) => Type::INT,
        other => other.clone(),
    }
}

fn arithmetic(a: &Type, b: &Type) -> Option<Type> {
    match (a, b) {
        (Type::Any, Type::Any) => Some(Type::Any),
        (Type::Any, one) | (one, Type::Any) if one.is_number() => Some(computed(one)),
        (Type::Int(_), Type::Int(_)) => Some(Type::INT),
        (a, b) if a.is_number() && a == b => Some(a.clone()),
        _ => None,
    }
}

fn remainder(a: &Type, b: &Type) -> Option<Type> {
    arithmetic(a, b).filter(|of| *of != Type::Double)
}

fn order(a: &Type, b: &Type) -> Option<Type> {
    let fits = match (a, b) {
        (Type::Any, other) | (other, Type::Any) => {
            other.is_number()
                || matches!(other, Type::Any | Type::Text(_) | Type::Bool | Type::Bytes)
        }
        (Type::Text(_), Type::Text(_)) | (Type::Bool, Type::Bool) | (Type::Bytes, Type::Bytes) => {
            true
        }
        (a, b) => a.is_number() && b.is_number(),
    };
    fits.then_some(Type::Bool)
}

fn membership(a: &Type, b: &Type) -> Option<Type> {
    let fits = match b {
        Type::Any | Type::List(_) => true,
        Type::Object(_) => matches!(a, Type::Text(_) | Type::Any),
        _ => false,
    };
    fits.then_some(Type::Bool)
}
