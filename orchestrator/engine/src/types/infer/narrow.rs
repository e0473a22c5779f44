//! What follows for the types once a condition is known to be true, or to be false: `has(a.b) ? a.b : …`, `x != null && …`, `x in ["a", "b"] && …`, `x > 0 && …`.

use std::collections::BTreeSet;
use std::sync::Arc;

use cel::common::ast::{Expr as Ast, IdedExpr, LiteralValue, operators as op};

use super::Infer;
use super::known::{Scope, Side, place};
use super::places::Places;
use crate::expr::{Expr, parse_with_places};
use crate::types::{Object, Property, Type, Whole};

impl Scope {
    /// This, once a condition is known to have been true.
    pub(crate) fn assuming(self, condition: &Expr) -> Self {
        let Ok((ast, info)) = parse_with_places(condition.text()) else {
            return self;
        };
        let mut infer = Infer::new(Places::new(info), self);
        infer.assume(&ast, true);
        infer.known
    }
}

impl Infer {
    /// The same, for what stands beside the condition in the expression.
    pub(super) fn assume_beside(&mut self, condition: &IdedExpr, holds: bool, side: Side) {
        self.side = Some(side);
        self.assume(condition, holds);
        self.side = None;
    }

    /// Takes into account that a condition holds, or that it does not.
    pub(super) fn assume(&mut self, condition: &IdedExpr, holds: bool) {
        match &condition.expr {
            Ast::Select(select) if select.test && holds => {
                self.there(&select.operand, &select.field);
            }
            Ast::Select(select) if select.test => {
                if let (Some(side), Some(place)) = (self.side, place(&select.operand)) {
                    self.known.deny(format!("{place}.{}", select.field), side);
                }
            }
            Ast::Call(call) => {
                match (call.func_name.as_str(), &call.target, call.args.as_slice()) {
                    (op::LOGICAL_NOT, None, [inner]) => self.assume(inner, !holds),
                    (op::LOGICAL_AND, None, [left, right]) if holds => {
                        self.assume(left, true);
                        self.assume(right, true);
                    }
                    (op::LOGICAL_OR, None, [left, right]) if !holds => {
                        self.assume(left, false);
                        self.assume(right, false);
                    }
                    (op::EQUALS, None, [left, right]) => self.equal(left, right, holds),
                    (op::NOT_EQUALS, None, [left, right]) => self.equal(left, right, !holds),
                    (op::IN, None, [one, all]) if holds => self.one_of(one, all),
                    (
                        sign @ (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS),
                        None,
                        [left, right],
                    ) => self.ordered(sign, left, right, holds),
                    ("hasValue", Some(target), []) if holds => self.has_value(target),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn equal(&mut self, left: &IdedExpr, right: &IdedExpr, holds: bool) {
        for (side, other) in [(left, right), (right, left)] {
            match &other.expr {
                Ast::Literal(LiteralValue::Null) => {
                    let keep = |one: &Type| (*one == Type::Null) == holds;
                    // What is anything may be null too, and then it is.
                    self.keep(side, |one| keep(one) || (*one == Type::Any && !holds));
                }
                Ast::Literal(LiteralValue::String(text)) if holds => {
                    self.among(side, &BTreeSet::from([text.inner()]));
                }
                Ast::Literal(LiteralValue::Int(n)) if holds => {
                    let n = *n.inner();
                    self.bound(side, |whole| whole.and(Whole::just(n)));
                }
                Ast::Ident(name) if holds => {
                    if let Ast::Call(call) = &side.expr
                        && call.func_name == "type"
                        && let [of] = call.args.as_slice()
                        && let Some(kind) = of_kind(name)
                    {
                        self.is_kind(of, &kind);
                    }
                }
                _ => {}
            }
        }
    }

    /// `x in ["a", "b"]`: of texts it is one of these.
    fn one_of(&mut self, one: &IdedExpr, all: &IdedExpr) {
        let Ast::List(list) = &all.expr else { return };
        let texts = list.elements.iter().map(|item| match &item.expr {
            Ast::Literal(LiteralValue::String(text)) => Some(text.inner()),
            _ => None,
        });
        if let Some(texts) = texts.collect::<Option<BTreeSet<&str>>>() {
            self.among(one, &texts);
        }
    }

    /// Where it is text it is one of these.
    fn among(&mut self, node: &IdedExpr, texts: &BTreeSet<&str>) {
        self.refine(node, |one| {
            let Type::Text(known) = one else { return None };
            let allowed = |text: &&&str| known.as_ref().is_none_or(|all| all.contains(**text));
            let kept = texts.iter().filter(allowed);
            let kept: BTreeSet<String> = kept.map(|text| (*text).to_owned()).collect();
            (!kept.is_empty()).then(|| Type::Text(Some(Arc::new(kept))))
        });
    }

    /// `x < 3`, or that it is not so: what a whole number is bounded by then.
    fn ordered(&mut self, sign: &str, left: &IdedExpr, right: &IdedExpr, holds: bool) {
        let (side, n, is_left) = match (&left.expr, &right.expr) {
            (_, Ast::Literal(LiteralValue::Int(n))) => (left, *n.inner(), true),
            (Ast::Literal(LiteralValue::Int(n)), _) => (right, *n.inner(), false),
            _ => return,
        };
        let or_equal = matches!(sign, op::LESS_EQUALS | op::GREATER_EQUALS);
        // turned round by a literal on the left, and again where it does not hold
        let less = is_left == matches!(sign, op::LESS | op::LESS_EQUALS);
        let (less, or_equal) = if holds {
            (less, or_equal)
        } else {
            (!less, !or_equal)
        };
        self.bound(side, |whole| match (less, or_equal) {
            (true, true) => whole.at_most(n),
            (true, false) => whole.at_most(n.saturating_sub(1)),
            (false, true) => whole.at_least(n),
            (false, false) => whole.at_least(n.saturating_add(1)),
        });
    }

    /// Where it is a whole number it lies within these bounds.
    fn bound(&mut self, node: &IdedExpr, bounds: impl Fn(Whole) -> Whole) {
        self.refine(node, |one| match one {
            Type::Int(whole) => Some(Type::Int(bounds(*whole))),
            _ => None,
        });
    }

    /// Says more of some alternatives of a place.
    fn refine(&mut self, node: &IdedExpr, refined: impl Fn(&Type) -> Option<Type>) {
        let Some(place) = place(node) else { return };
        let of = self.quietly(node);
        let mut alternatives = of.alternatives().iter();
        if alternatives.any(|one| refined(one).is_some()) {
            let all = of.alternatives().iter();
            let all = all.map(|one| refined(one).unwrap_or_else(|| one.clone()));
            self.known.learn(place, Type::union(all));
        }
    }

    /// Keeps some alternatives of a place.
    fn keep(&mut self, node: &IdedExpr, keep: impl Fn(&Type) -> bool) {
        let Some(place) = place(node) else { return };
        let of = self.quietly(node).only(keep);
        self.known.learn(place, of);
    }

    /// `type(x) == kind`: what is anything is this now.
    fn is_kind(&mut self, node: &IdedExpr, kind: &Type) {
        let Some(place) = place(node) else { return };
        let of = self.quietly(node);
        let fits = |one: &Type| std::mem::discriminant(one) == std::mem::discriminant(kind);
        let kept = match of.is_any() {
            true => kind.clone(),
            false => of.only(fits),
        };
        self.known.learn(place, kept);
    }

    /// `has(operand.field)`: the operand is an object that has it, and so is everything on the way.
    fn there(&mut self, operand: &IdedExpr, field: &str) {
        match &operand.expr {
            Ast::Select(select) if !select.test => self.there(&select.operand, &select.field),
            _ => {}
        }
        let Some(place) = place(operand) else { return };
        let of = self.quietly(operand);
        let with = of.alternatives().iter().filter_map(|one| match one {
            Type::Any => Some(Type::Any),
            Type::Object(object) => with_key(object, field),
            _ => None,
        });
        self.known.learn(place, Type::union(with));
    }

    /// `x.hasValue()`: it is an optional that holds something.
    fn has_value(&mut self, target: &IdedExpr) {
        let Some(place) = place(target) else { return };
        let of = super::held(&self.quietly(target));
        self.known.learn(format!("{place}.value()"), of);
    }

    /// A type, without a word of what is wrong on the way: that is said where it is used.
    pub(super) fn quietly(&mut self, node: &IdedExpr) -> Type {
        let (said, unknown) = (self.problems.len(), self.unknown.len());
        let of = self.of(node);
        self.problems.truncate(said);
        self.unknown.truncate(unknown);
        of
    }
}

fn with_key(object: &Object, field: &str) -> Option<Type> {
    let mut object = object.clone();
    match object.properties.get_mut(field) {
        Some(property) => property.required = true,
        None => {
            let of = object.other(field)?;
            let required = true;
            object
                .properties
                .insert(field.to_owned(), Property { of, required });
        }
    }
    Some(Type::object(object))
}

/// The type a name of CEL's stands for.
fn of_kind(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "int" => Type::INT,
        "list" => Type::list(Type::Any),
        "map" => Type::any_object(),
        "null_type" => Type::Null,
        "string" => Type::TEXT,
        "uint" => Type::Uint,
        _ => return None,
    })
}
