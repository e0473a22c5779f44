//! What type an expression has, and what would go wrong with it: CEL's operators and functions over the types of its variables.
//!
//! An expression is refused when some value of those types makes it fail for a wrong kind or a name that is not there. What depends on
//! the value alone (a division by zero, an index past the end of a list, text that is no number) is not a matter of types.

mod asked;
mod functions;
mod known;
mod made;
mod mend;
mod narrow;
mod null;
mod operators;
mod places;
mod select;
mod walk;

use std::collections::BTreeMap;
use std::ops::Range;

use cel::common::ast::{CallExpr, EntryExpr, Expr as Ast, IdedExpr, LiteralValue, operators as op};

use super::{Object, Type, Whole};
use crate::expr::{Expr, SECRET_KEY, TYPE_NAMES, parse_with_places};
pub(crate) use asked::Asked;
use known::Side;
pub(crate) use known::{Cause, Scope};
pub(crate) use mend::{compared, default_of, one_of};
use null::Use;
pub(crate) use null::may_be_null;
use places::Places;

/// What is wrong with a part of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) kind: ProblemKind,
    /// Where, in characters of the expression's text.
    pub(crate) at: Range<usize>,
    pub(crate) what: String,
    pub(crate) help: String,
}

/// Which kind of mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// A function there is not, or too many or few arguments.
    Function,
    /// An operator or function that does not take what it is given.
    Operands,
    /// What may be null or absent, used as if it were there.
    Absent,
    /// A name that leads nowhere.
    Path,
    /// The same key twice.
    Twice,
    /// Always the same, whatever the values are: likely a mistake, and nothing that fails.
    Constant,
}

/// What is found out about an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inferred {
    pub(crate) of: Type,
    /// Everything wrong with it.
    pub(crate) problems: Vec<Problem>,
    /// The smallest parts of it of which nobody knows what they are, as they are written.
    pub(crate) unknown: Vec<String>,
}

/// The type of an expression, and everything wrong with it.
pub(crate) fn infer(expr: &Expr, scope: &Scope) -> Inferred {
    let Ok((ast, info)) = parse_with_places(expr.text()) else {
        // One that stands for what cannot be read: that has been said.
        return Inferred {
            of: Type::Any,
            problems: Vec::new(),
            unknown: Vec::new(),
        };
    };
    let mut infer = Infer::new(Places::new(info), scope.clone());
    let of = infer.of(&ast);
    infer.result(&ast, &of);
    let mut unknown: Vec<String> = Vec::new();
    for part in infer.unknown {
        if !unknown.contains(&part) {
            unknown.push(part);
        }
    }
    Inferred {
        of,
        problems: infer.problems,
        unknown,
    }
}

struct Infer {
    places: Places,
    known: Scope,
    problems: Vec<Problem>,
    /// The smallest parts that are unknown, each as often as it is looked at.
    unknown: Vec<String>,
    /// What stands beside the condition that is taken into account.
    side: Option<Side>,
    /// What is wrong with objects that have a key that is no text where they are yielded, by their part of the expression.
    no_json: BTreeMap<u64, Vec<Problem>>,
}

impl Infer {
    const fn new(places: Places, known: Scope) -> Self {
        Self {
            places,
            known,
            problems: Vec::new(),
            unknown: Vec::new(),
            side: None,
            no_json: BTreeMap::new(),
        }
    }

    fn report(
        &mut self,
        kind: ProblemKind,
        at: Range<usize>,
        what: String,
        help: impl Into<String>,
    ) {
        let problem = Problem {
            kind,
            at,
            what,
            help: help.into(),
        };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// The text of a part, as it is written.
    fn text(&self, node: &IdedExpr) -> String {
        self.places.text(node)
    }

    fn of(&mut self, node: &IdedExpr) -> Type {
        let before = self.unknown.len();
        let of = self.of_part(node);
        // what is unknown because a part of it is has been noted
        if of.is_any() && self.unknown.len() == before {
            let text = self.text(node);
            self.unknown.push(text);
        }
        of
    }

    fn of_part(&mut self, node: &IdedExpr) -> Type {
        if let Some(of) = self.known.fact(node) {
            return of;
        }
        match &node.expr {
            Ast::Unspecified => Type::Any,
            Ast::Ident(name) => self.ident(name),
            Ast::Literal(literal) => of_literal(literal),
            Ast::Select(select) if select.test => self.has(&select.operand, &select.field),
            Ast::Select(select) => self.select(&select.operand, &select.field),
            Ast::Call(call) => self.call(node, call),
            Ast::List(list) => {
                let items: Vec<Type> = list.elements.iter().map(|item| self.of(item)).collect();
                let items = items.into_iter().enumerate().map(|(n, of)| {
                    match list.optional_indices.contains(&n) {
                        true => held(&of),
                        false => of,
                    }
                });
                Type::list(Type::union(items))
            }
            Ast::Map(map) => {
                let entries: Vec<(&IdedExpr, &IdedExpr, bool)> = map
                    .entries
                    .iter()
                    .filter_map(|entry| match &entry.expr {
                        EntryExpr::MapEntry(entry) => {
                            Some((&entry.key, &entry.value, entry.optional))
                        }
                        EntryExpr::StructField(_) => None,
                    })
                    .collect();
                self.map(node, &entries)
            }
            Ast::Struct(made) => {
                let what = format!("there is no type `{}` to make", made.type_name);
                let help = "make an object: `{\"key\": value}`";
                let at = self.places.span(node);
                self.report(ProblemKind::Function, at, what, help);
                Type::Any
            }
            Ast::Comprehension(walk) => self.walk(walk),
        }
    }

    fn ident(&self, name: &str) -> Type {
        let name = name.trim_start_matches('.');
        match self.known.get(name) {
            Some(of) => of,
            None if TYPE_NAMES.contains(&name) => Type::Kind,
            // A variable there is not has been refused already.
            None => Type::Any,
        }
    }

    fn call(&mut self, node: &IdedExpr, call: &CallExpr) -> Type {
        match (call.func_name.as_str(), &call.target, call.args.as_slice()) {
            ("secret", None, _) => Type::object(Object::closed([(SECRET_KEY, Type::TEXT)])),
            (op::CONDITIONAL, None, [condition, yes, no]) => self.conditional(condition, yes, no),
            (op::LOGICAL_AND, None, [left, right]) => self.junction(left, right, true),
            (op::LOGICAL_OR, None, [left, right]) => self.junction(left, right, false),
            (op::OPT_SELECT, None, [operand, field]) => self.optional_select(operand, field),
            (op::INDEX, None, [operand, index]) => self.index(operand, index),
            (op::OPT_INDEX, None, [operand, index]) => self.optional_index(operand, index),
            (name, None, _) if name.starts_with(['_', '!', '-', '@']) => self.operator(node, call),
            _ => self.function(node, call),
        }
    }

    fn conditional(&mut self, condition: &IdedExpr, yes: &IdedExpr, no: &IdedExpr) -> Type {
        self.truth(condition);
        let before = self.known.clone();
        self.assume_beside(condition, true, Side::Branch);
        let yes = self.of(yes);
        self.known = before.clone();
        self.assume_beside(condition, false, Side::Branch);
        let no = self.of(no);
        self.known = before;
        Type::union([yes, no])
    }

    /// `&&` and `||`: the right side is looked at only when the left one has not decided.
    fn junction(&mut self, left: &IdedExpr, right: &IdedExpr, and: bool) -> Type {
        self.truth(left);
        let before = self.known.clone();
        self.assume_beside(left, and, Side::Right);
        self.truth(right);
        self.known = before;
        Type::Bool
    }

    /// What has to be true or false.
    fn truth(&mut self, node: &IdedExpr) {
        let of = self.of(node);
        for one in of.alternatives() {
            if !matches!(one, Type::Bool | Type::Any) {
                let text = self.text(node);
                let what = format!("`{text}` is {of}, and has to be true or false");
                let (kind, help) = if *one == Type::Null {
                    (ProblemKind::Absent, self.null_where_truth(node, &of))
                } else {
                    let help = compared(&self.operand(node), &of);
                    (ProblemKind::Operands, format!("compare it: `{help}`"))
                };
                let at = self.places.span(node);
                return self.report(kind, at, what, help);
            }
        }
    }
}

/// What an optional holds; anything else is itself.
fn held(of: &Type) -> Type {
    Type::union(of.alternatives().iter().map(|one| match one {
        Type::Optional(held) => held.as_ref().clone(),
        other => other.clone(),
    }))
}

fn of_literal(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(n) => Type::Int(Whole::just(*n.inner())),
        LiteralValue::Null => Type::Null,
        LiteralValue::String(text) => Type::text(text.inner()),
        LiteralValue::UInt(_) => Type::Uint,
    }
}
