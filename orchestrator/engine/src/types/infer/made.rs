//! Objects that an expression makes: what they hold, and whether they can be JSON; and whether what a whole expression yields can be.

use std::collections::{BTreeMap, BTreeSet};

use cel::common::ast::{EntryExpr, Expr as Ast, IdedExpr, LiteralValue, operators as op};

use super::walk::item;
use super::{Infer, Problem, ProblemKind, Use, held};
use crate::types::{Object, Property, Type};

/// A kind of value that JSON does not have: what it is, and what to do about it where it is all that is yielded, and within something.
type NoJson = (fn(&Type) -> bool, &'static str, &'static str, &'static str);

const NO_JSON: [NoJson; 3] = [
    (
        |one| matches!(one, Type::Optional(_)),
        "an optional value",
        "take its value with .orValue(…)",
        "take its value with .orValue(…), or leave out what is not there: `[?value]`, `{?\"key\": value}`",
    ),
    (
        |one| *one == Type::Bytes,
        "bytes",
        "make text of it with string(…)",
        "make text of them with string(…)",
    ),
    (
        |one| *one == Type::Kind,
        "a type",
        "compare it: `type(x) == string`",
        "compare it: `type(x) == string`",
    ),
];

impl Infer {
    /// What a whole expression yields has to be JSON.
    pub(super) fn result(&mut self, ast: &IdedExpr, of: &Type) {
        let at = self.places.span(ast);
        let mut is_told = false;
        for (is, what, help, _) in NO_JSON {
            if of.alternatives().iter().any(is) {
                let what = format!("yields {what}, which is no JSON value");
                self.report(ProblemKind::Operands, at.clone(), what, help);
                is_told = true;
            }
        }
        for (is, what, _, help) in NO_JSON {
            if !is_told && of.somewhere(&is) {
                let what = format!("yields {what} in a list or an object, which is no JSON value");
                self.report(ProblemKind::Operands, at.clone(), what, help);
            }
        }
        self.yielded(ast);
    }

    /// Says what is wrong with the objects that are a part of what is yielded: elsewhere CEL may use them all the same.
    fn yielded(&mut self, node: &IdedExpr) {
        let wrong = self.no_json.remove(&node.id);
        for one in wrong.into_iter().flatten() {
            self.report(one.kind, one.at, one.what, one.help);
        }
        match &node.expr {
            Ast::Call(call) => match (call.func_name.as_str(), call.args.as_slice()) {
                (op::CONDITIONAL, [_, yes, no]) => {
                    self.yielded(yes);
                    self.yielded(no);
                }
                ("orValue", [other]) => self.yielded(other),
                _ => {}
            },
            Ast::List(list) => {
                for item in &list.elements {
                    self.yielded(item);
                }
            }
            Ast::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.yielded(&entry.value);
                    }
                }
            }
            Ast::Comprehension(walk) => {
                if let Some(item) = item(walk) {
                    self.yielded(item);
                }
            }
            _ => {}
        }
    }

    /// An object made in an expression. Where its keys are computed, nobody knows them.
    pub(super) fn map(
        &mut self,
        node: &IdedExpr,
        entries: &[(&IdedExpr, &IdedExpr, bool)],
    ) -> Type {
        let mut object = Object::with(BTreeMap::new(), None);
        let mut written = BTreeSet::new();
        let mut is_known = true;
        self.no_json.remove(&node.id);
        for (key, value, optional) in entries {
            let key_type = self.of(key);
            let of = self.of(value);
            let of = if *optional { held(&of) } else { of };
            self.is_no_text(node, key, &key_type);
            self.is_written_once(key, &mut written);
            match (&key.expr, key_type) {
                (Ast::Literal(LiteralValue::String(name)), _) => {
                    let required = !optional;
                    let property = Property { of, required };
                    object.properties.insert(name.inner().to_owned(), property);
                }
                (_, Type::Text(Some(known))) => {
                    one_of_these(&mut object, &known, &of, !optional);
                }
                (_, Type::Text(None)) => {
                    let rest = object.rest.take().into_iter().chain([of]);
                    object.rest = Some(Type::union(rest));
                    object.some_names = true;
                }
                // JSON has no such object, and CEL may use it all the same.
                _ => is_known = false,
            }
        }
        match is_known {
            true => Type::object(object),
            false => Type::Any,
        }
    }

    /// Says what is wrong with a key that may be no text: what CEL takes for one is wrong only where the object is yielded.
    fn is_no_text(&mut self, node: &IdedExpr, key: &IdedExpr, of: &Type) {
        let at = self.places.span(key);
        for one in of.alternatives() {
            if matches!(one, Type::Text(_) | Type::Any) {
                continue;
            }
            if *one == Type::Null {
                let what = self.null_and(key, of, "null is no key of an object");
                let help = match *of == Type::Null && self.always_null(key).is_none() {
                    true => "write text".to_owned(),
                    false => self.not_null(key, &Type::TEXT, Use::Value),
                };
                self.report(ProblemKind::Absent, at.clone(), what, help);
                continue;
            }
            let text = self.text(key);
            let what = format!("`{text}` is {one}, and the keys of an object are text");
            let help = match (&key.expr, one) {
                (Ast::Literal(LiteralValue::Int(_)), _) => {
                    format!("write it as text: `'{text}'`")
                }
                (_, Type::Bool | Type::Int(_) | Type::Uint | Type::Double | Type::Bytes) => {
                    format!("convert it: `string({text})`")
                }
                (_, Type::Optional(_)) => "take its value with .orValue(…)".to_owned(),
                _ => "write text".to_owned(),
            };
            if matches!(one, Type::Bool | Type::Int(_) | Type::Uint) {
                let (kind, at) = (ProblemKind::Operands, at.clone());
                let wrong = Problem {
                    kind,
                    at,
                    what,
                    help,
                };
                self.no_json.entry(node.id).or_default().push(wrong);
            } else {
                self.report(ProblemKind::Operands, at.clone(), what, help);
            }
        }
    }

    /// Two keys that are written out are two: an object with the same one twice is never made.
    fn is_written_once(&mut self, key: &IdedExpr, written: &mut BTreeSet<String>) {
        let Ast::Literal(literal) = &key.expr else {
            return;
        };
        let name = match literal {
            LiteralValue::String(text) => format!("{:?}", text.inner()),
            LiteralValue::Int(n) => n.inner().to_string(),
            LiteralValue::UInt(n) => n.inner().to_string(),
            LiteralValue::Boolean(b) => b.inner().to_string(),
            LiteralValue::Bytes(_) | LiteralValue::Double(_) | LiteralValue::Null => return,
        };
        if !written.insert(name) {
            let what = format!("the key `{}` stands twice in an object", self.text(key));
            let at = self.places.span(key);
            self.report(ProblemKind::Twice, at, what, "name each key once");
        }
    }
}

/// A key whose name is computed and is one of these: each of them may be there, and a single one is.
fn one_of_these(object: &mut Object, names: &BTreeSet<String>, of: &Type, is_there: bool) {
    for name in names {
        let property = match object.properties.remove(name) {
            Some(old) => Property {
                of: Type::union([old.of, of.clone()]),
                required: old.required,
            },
            None => Property {
                of: of.clone(),
                required: is_there && names.len() == 1,
            },
        };
        object.properties.insert(name.clone(), property);
    }
}
