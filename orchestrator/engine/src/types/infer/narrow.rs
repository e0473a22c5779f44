//! What follows for the types once a condition is known to be true, or to be false: `has(a.b) ? a.b : …`, `x != null && …`, `x in ["a", "b"] && …`, `x > 0 && …`.

use std::collections::BTreeSet;
use std::sync::Arc;

use cel::common::ast::{
    CallExpr, Expr as Ast, IdedExpr, LiteralValue, SelectExpr, operators as op,
};

use super::known::{Scope, Side, place, selected};
use super::places::Places;
use super::{Infer, ProblemKind};
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
        self.have_run(condition, holds);
        match &condition.expr {
            Ast::Select(select) if select.test && holds => {
                self.there(&select.operand, &select.field);
            }
            Ast::Select(select) if select.test => {
                if let (Some(side), Some(place)) = (self.side, place(&select.operand)) {
                    self.known.deny(format!("{place}.{}", select.field), side);
                }
                self.not_there(&select.operand, &select.field);
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
                    (op::IN, None, [one, all]) => self.one_of(one, all, holds),
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
                    self.compared_with(side, &Constant::Null, holds);
                }
                Ast::Literal(LiteralValue::String(text)) => {
                    let text = BTreeSet::from([text.inner()]);
                    self.compared_with(side, &Constant::Texts(text), holds);
                }
                Ast::Literal(LiteralValue::Int(n)) => {
                    self.compared_with(side, &Constant::Int(*n.inner()), holds);
                }
                Ast::Ident(name) => {
                    if let Ast::Call(call) = &side.expr
                        && call.func_name == "type"
                        && let [of] = call.args.as_slice()
                        && let Some(kind) = of_kind(name)
                    {
                        self.is_kind(of, &kind, holds);
                    }
                }
                _ => {}
            }
        }
    }

    /// `x in ["a", "b"]`: of texts it is one of these. `k in o`: the object has the key.
    fn one_of(&mut self, one: &IdedExpr, all: &IdedExpr, holds: bool) {
        let Ast::List(list) = &all.expr else {
            if holds {
                self.has_key(all, one);
            }
            return;
        };
        let texts = list.elements.iter().map(|item| match &item.expr {
            Ast::Literal(LiteralValue::String(text)) => Some(text.inner()),
            _ => None,
        });
        if let Some(texts) = texts.collect::<Option<BTreeSet<&str>>>() {
            self.compared_with(one, &Constant::Texts(texts), holds);
        }
    }

    /// `key in object`, where it may also be an item of a list.
    fn has_key(&mut self, object: &IdedExpr, key: &IdedExpr) {
        let Ast::Literal(LiteralValue::String(key)) = &key.expr else {
            return self.known.learn_key(object, key);
        };
        let of = self.quietly(object);
        let mut all = of.alternatives().iter();
        if all.all(|one| matches!(one, Type::Any | Type::Null | Type::Object(_))) {
            self.there(object, key.inner());
        }
    }

    /// What it leaves of a place that it is equal to a constant, or that it is not; and of the object that this is a key of, where it is one of several.
    fn compared_with(&mut self, node: &IdedExpr, constant: &Constant<'_>, holds: bool) {
        self.leave(node, |one| constant.left(one, holds));
        let Some((operand, key)) = selected(node) else {
            return;
        };
        let stays = |one: &Type| match one {
            Type::Object(object) => constant.goes_with(object, key, holds),
            _ => true,
        };
        // what never holds is told as that, and hides nothing of what stands behind it
        if self.quietly(operand).alternatives().iter().any(stays) {
            self.leave(operand, |one| stays(one).then(|| one.clone()));
        }
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

    /// Keeps what is left of each alternative of a place.
    fn leave(&mut self, node: &IdedExpr, left: impl Fn(&Type) -> Option<Type>) {
        let Some(place) = place(node) else { return };
        let of = self.quietly(node);
        let kept = Type::union(of.alternatives().iter().filter_map(left));
        if kept != of {
            self.known.learn(place, kept);
        }
    }

    /// `type(x) == kind`, or that it is not so: what is anything is this now.
    fn is_kind(&mut self, node: &IdedExpr, kind: &Type, holds: bool) {
        let fits = |one: &Type| std::mem::discriminant(one) == std::mem::discriminant(kind);
        if !holds {
            return self.leave(node, |one| (!fits(one)).then(|| one.clone()));
        }
        let Some(place) = place(node) else { return };
        let of = self.quietly(node);
        let kept = match of.is_any() {
            true => kind.clone(),
            false => of.only(fits),
        };
        self.known.learn(place, kept);
    }

    /// `has(operand.field)`: the operand is an object that has it, and so is everything on the way.
    fn there(&mut self, operand: &IdedExpr, field: &str) {
        match (selected(operand), &operand.expr) {
            (Some((outer, key)), _) => self.there(outer, key),
            (None, Ast::Call(call)) if call.func_name == op::INDEX => {
                if let [object, key] = call.args.as_slice() {
                    self.known.learn_key(object, key);
                }
            }
            _ => {}
        }
        let Some(place) = place(operand) else { return };
        let of = self.quietly(operand);
        let with = of.alternatives().iter();
        let with = Type::union(with.filter_map(|one| with_key(one, field)));
        self.known.learn(place, with);
    }

    /// The same, and it is not so: an operand that is there is none of what always has it.
    fn not_there(&mut self, operand: &IdedExpr, field: &str) {
        if place(operand).is_none() || !self.is_sure(operand) {
            return;
        }
        self.leave(operand, |one| match one {
            Type::Object(object) if object.always_has(field) => None,
            one => Some(one.clone()),
        });
    }

    /// `x.hasValue()`: it is an optional that holds something.
    fn has_value(&mut self, target: &IdedExpr) {
        self.taken_out(target);
        let Some(place) = place(target) else { return };
        let of = super::held(&self.quietly(target));
        self.known.learn(format!("{place}.value()"), of);
    }

    /// `a.?b` and `a[?b]` hold something: it is there without the question mark, too.
    fn taken_out(&mut self, optional: &IdedExpr) {
        let Ast::Call(call) = &optional.expr else {
            return;
        };
        let [operand, key] = call.args.as_slice() else {
            return;
        };
        match (call.func_name.as_str(), &key.expr) {
            (op::OPT_SELECT | op::OPT_INDEX, Ast::Literal(LiteralValue::String(field))) => {
                self.there(&plain(operand), field.inner());
            }
            (op::OPT_INDEX, _) => self.known.learn_key(&plain(operand), key),
            _ => {}
        }
    }

    /// Whether nothing goes wrong on the way to a part: what is learned of one that may not be there would pass for its being there.
    fn is_sure(&mut self, node: &IdedExpr) -> bool {
        let said = std::mem::take(&mut self.problems);
        let unknown = self.unknown.len();
        self.of(node);
        self.unknown.truncate(unknown);
        let found = std::mem::replace(&mut self.problems, said);
        found.iter().all(|one| one.kind == ProblemKind::Constant)
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

/// What a part is compared with.
enum Constant<'a> {
    Null,
    /// One of these.
    Texts(BTreeSet<&'a str>),
    Int(i64),
}

impl Constant<'_> {
    /// What is left of an alternative where it is equal, or is not.
    fn left(&self, one: &Type, holds: bool) -> Option<Type> {
        match (self, one) {
            // what is anything may be null too, and then it is
            (Self::Null, Type::Any) if holds => Some(Type::Null),
            (Self::Texts(texts), Type::Text(Some(known))) => {
                let kept = |text: &&String| texts.contains(text.as_str()) == holds;
                let kept: BTreeSet<String> = known.iter().filter(kept).cloned().collect();
                (!kept.is_empty()).then(|| Type::Text(Some(Arc::new(kept))))
            }
            (Self::Texts(texts), Type::Text(None)) if holds => {
                let kept = texts.iter().map(|text| (*text).to_owned()).collect();
                Some(Type::Text(Some(Arc::new(kept))))
            }
            (Self::Int(n), Type::Int(whole)) if holds => {
                let kept = whole.and(Whole::just(*n));
                whole.may_be(*n).then_some(Type::Int(kept))
            }
            (constant, one) => {
                let stays = match holds {
                    true => constant.may_equal(one),
                    false => !constant.always_equals(one),
                };
                stays.then(|| one.clone())
            }
        }
    }

    /// Whether an object may be one in which a key is equal, or is not.
    fn goes_with(&self, object: &Object, key: &str, holds: bool) -> bool {
        let own = object.key(key).unwrap_or_else(Type::never);
        let mut own = own.alternatives().iter();
        match holds {
            true => own.any(|one| self.may_equal(one)),
            false => !object.always_has(key) || own.any(|one| !self.always_equals(one)),
        }
    }

    fn may_equal(&self, one: &Type) -> bool {
        match (self, one) {
            (_, Type::Any | Type::Optional(_))
            | (Self::Null, Type::Null)
            | (Self::Texts(_), Type::Text(None))
            | (Self::Int(_), Type::Uint | Type::Double) => true,
            (Self::Texts(texts), Type::Text(Some(known))) => {
                known.iter().any(|text| texts.contains(text.as_str()))
            }
            (Self::Int(n), Type::Int(whole)) => whole.may_be(*n),
            _ => false,
        }
    }

    fn always_equals(&self, one: &Type) -> bool {
        match (self, one) {
            (Self::Null, Type::Null) => true,
            (Self::Texts(texts), Type::Text(Some(known))) => {
                known.iter().all(|text| texts.contains(text.as_str()))
            }
            (Self::Int(n), Type::Int(whole)) => *whole == Whole::just(*n),
            _ => false,
        }
    }
}

/// The same way without its question marks.
fn plain(node: &IdedExpr) -> IdedExpr {
    let expr = match &node.expr {
        Ast::Select(select) if !select.test => Ast::Select(SelectExpr {
            operand: Box::new(plain(&select.operand)),
            field: select.field.clone(),
            test: false,
        }),
        Ast::Call(call) => match (call.func_name.as_str(), call.args.as_slice()) {
            (op::OPT_SELECT | op::OPT_INDEX | op::INDEX, [operand, key]) => Ast::Call(CallExpr {
                func_name: op::INDEX.to_owned(),
                target: None,
                args: vec![plain(operand), key.clone()],
            }),
            _ => return node.clone(),
        },
        _ => return node.clone(),
    };
    IdedExpr { id: node.id, expr }
}

/// An alternative that has a key; none where it never does.
fn with_key(one: &Type, field: &str) -> Option<Type> {
    let object = match one {
        Type::Any => return Some(Type::Any),
        Type::Optional(held) => {
            let with = held.alternatives().iter();
            let with = Type::union(with.filter_map(|one| with_key(one, field)));
            return (!with.is_never()).then(|| Type::optional(with));
        }
        Type::Object(object) => object,
        _ => return None,
    };
    let mut object = object.as_ref().clone();
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
