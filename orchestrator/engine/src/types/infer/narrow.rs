//! What follows for the types once a condition is known to be true, or to be false: `has(a.b) ? a.b : …`, `x != null && …`.

use cel::common::ast::{Expr as Ast, IdedExpr, LiteralValue, operators as op};

use super::Infer;
use super::known::{Scope, place};
use super::places::Places;
use crate::expr::{Expr, parse_with_places};
use crate::types::{Object, Property, Type};

impl Scope {
    /// This, once a condition is known to have been true.
    pub(crate) fn assuming(self, condition: &Expr) -> Self {
        let Ok((ast, info)) = parse_with_places(condition.text()) else {
            return self;
        };
        let mut infer = Infer {
            places: Places::new(info),
            known: self,
            problems: Vec::new(),
            unknown: Vec::new(),
        };
        infer.assume(&ast, true);
        infer.known
    }
}

impl Infer {
    /// Takes into account that a condition holds, or that it does not.
    pub(super) fn assume(&mut self, condition: &IdedExpr, holds: bool) {
        match &condition.expr {
            Ast::Select(select) if select.test && holds => {
                self.there(&select.operand, &select.field);
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
    fn quietly(&mut self, node: &IdedExpr) -> Type {
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
            let of = object.rest.clone()?;
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
        "int" => Type::Int,
        "list" => Type::list(Type::Any),
        "map" => Type::any_object(),
        "null_type" => Type::Null,
        "string" => Type::TEXT,
        "uint" => Type::Uint,
        _ => return None,
    })
}
