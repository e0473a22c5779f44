//! How an expression is mended in which an operator or a function does not take what it is given: written with the parts of the expression itself.

use cel::common::ast::{Expr as Ast, IdedExpr, LiteralValue, operators as op};

use super::Infer;
use super::known::place;
use crate::types::{Object, Type};

/// What is said where a conversion may help and nobody knows which.
const CONVERT: &str = "convert with string(…), int(…) or double(…)";

/// A time, as times are written.
const SOME_TIME: &str = "'2026-01-31T00:00:00Z'";
/// What is said to whoever reckons with times.
const NO_TIMES: &str =
    "a time is text, and expressions do not reckon with it: use `deadline`, `timeout`, `sleep`";

/// A value that may stand in for one of this type.
pub(crate) fn default_of(of: &Type) -> String {
    let of = of.not_null();
    let default = match of.alternatives() {
        [Type::Text(Some(known))] => match known.first() {
            Some(first) => return format!("\"{first}\""),
            None => "\"\"",
        },
        [Type::Text(None)] => "\"\"",
        [Type::Int(_), Type::Double] | [Type::Int(_)] => "0",
        [Type::Double] => "0.0",
        [Type::Bool] => "false",
        [Type::List(_)] => "[]",
        _ => "…",
    };
    default.to_owned()
}

/// A comparison of what is neither true nor false.
pub(crate) fn compared(text: &str, of: &Type) -> String {
    if of.may_be_null() {
        return format!("{text} != null");
    }
    match of.alternatives() {
        [Type::List(_) | Type::Object(_)] => format!("size({text}) > 0"),
        [Type::Text(_) | Type::Int(_) | Type::Uint | Type::Double]
        | [Type::Int(_), Type::Double] => {
            format!("{text} != {}", default_of(of))
        }
        _ => format!("{text} == …"),
    }
}

/// The way to one value of a list or an object.
pub(crate) fn one_of(text: &str, of: &Type) -> Option<String> {
    match of {
        Type::List(_) => Some(format!("{text}[0]")),
        Type::Object(object) => Some(match first_key(object) {
            Some(key) if is_word(key) => format!("{text}.{key}"),
            Some(key) => format!("{text}[\"{key}\"]"),
            None => format!("{text}.key"),
        }),
        _ => None,
    }
}

/// A key that is always there, else any.
fn first_key(object: &Object) -> Option<&str> {
    let mut all = object.properties.iter();
    let required = all.find(|(_, property)| property.required);
    let first = required.or_else(|| object.properties.iter().next());
    first.map(|(key, _)| key.as_str())
}

/// Whether a key is read by a dot.
pub(super) fn is_word(key: &str) -> bool {
    let starts = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// An operand: how it is written, and what it is.
struct Operand<'a> {
    text: String,
    of: &'a Type,
    node: &'a IdedExpr,
}

impl Operand<'_> {
    fn is_text(&self) -> bool {
        matches!(self.of, Type::Text(_))
    }

    /// Whether it is a time: of an event, of a schedule, of what a step waited for. What else is called so may be a number after all.
    fn is_time(&self) -> bool {
        let node = match &self.node.expr {
            Ast::Call(call) if call.func_name == "orValue" => call.target.as_deref(),
            _ => Some(self.node),
        };
        let place = node.and_then(place).unwrap_or_default().replace(".?", ".");
        let named = place.split_once('.');
        let time =
            matches!(named, Some((root, "time" | "at")) if root != "input" && root != "item");
        time && self.is_text()
    }

    /// As a whole number of the same operation.
    fn whole(&self) -> String {
        match (&self.node.expr, self.text.strip_suffix(".0")) {
            (Ast::Literal(LiteralValue::Double(_)), Some(whole)) => whole.to_owned(),
            _ if matches!(self.of, Type::Int(_)) => self.text.clone(),
            _ => format!("int({})", self.text),
        }
    }

    /// As text.
    fn string(&self) -> String {
        match (&self.node.expr, self.of) {
            (_, Type::Text(_)) => self.text.clone(),
            (Ast::Literal(LiteralValue::Int(_)), _) => format!("'{}'", self.text),
            _ => format!("string({})", self.text),
        }
    }

    /// As a number of the kind of another.
    fn number(&self, other: &Type) -> String {
        match (self.of, other) {
            (Type::Bool, _) => format!("({} ? 1 : 0)", self.text),
            (Type::Text(_), Type::Double) => format!("double({})", self.text),
            (Type::Text(_), _) => format!("int({})", self.text),
            _ => self.text.clone(),
        }
    }
}

impl Infer {
    /// The text of a part as an operand of something else: in parentheses, where it is an operation itself.
    pub(super) fn operand(&self, node: &IdedExpr) -> String {
        let mut text = self.text(node);
        // the place of a part does not begin with a parenthesis around its first one
        let count = |c: char| text.chars().filter(|one| *one == c).count();
        let lacking = count(')').saturating_sub(count('('));
        text.insert_str(0, &"(".repeat(lacking));
        let ways = [op::INDEX, op::OPT_INDEX, op::OPT_SELECT];
        let is_operation = matches!(&node.expr, Ast::Call(call)
            if call.func_name.starts_with(['_', '!', '-', '@']) && !ways.contains(&call.func_name.as_str()));
        match is_operation {
            true => format!("({text})"),
            false => text,
        }
    }

    /// How an operation is mended that does not take one of the kinds its operands may be of: each operand with all it may be, and that one.
    pub(super) fn mended(
        &self,
        node: &IdedExpr,
        name: &str,
        operands: &[(&IdedExpr, &Type, &Type)],
    ) -> String {
        let nothing = operands.iter().find(|(_, of, _)| **of == Type::Null);
        if let Some((operand, _, _)) = nothing {
            let help = self.always_null(operand).map(|(_, help)| help);
            return help.unwrap_or("take null out of it").to_owned();
        }
        let help = match operands {
            [a, b] if name == "%" && [a, b].iter().all(|(_, _, one)| one.is_number()) => Some(
                format!("write `{} % {}`", self.operand_of(a).whole(), self.operand_of(b).whole()),
            ),
            [a, b] if a.2.is_number() && b.2.is_number() => Some(
                "numbers of one kind only: convert with int(…) or double(…); 1.0 is a double, 1 an integer"
                    .to_owned(),
            ),
            // of several kinds no single conversion is certain
            _ if operands.iter().any(|(_, of, _)| of.alternatives().len() > 1) => None,
            [a, b] => self.two(name, &self.operand_of(a), &self.operand_of(b)),
            [a] => self.single_operand(node, name, &self.operand_of(a)),
            _ => None,
        };
        help.unwrap_or_else(|| CONVERT.to_owned())
    }

    fn operand_of<'a>(&self, operand: &(&'a IdedExpr, &'a Type, &'a Type)) -> Operand<'a> {
        let (node, of, _) = *operand;
        let text = self.operand(node);
        Operand { text, of, node }
    }

    fn two(&self, name: &str, a: &Operand<'_>, b: &Operand<'_>) -> Option<String> {
        let (x, y) = (&a.text, &b.text);
        if let Some(help) = of_times(name, a, b) {
            return Some(help);
        }
        Some(match (name, a.of, b.of) {
            ("in", Type::Text(_) | Type::Int(_), Type::Text(_)) => {
                format!("whether text holds text: `{y}.contains({})`", a.string())
            }
            ("in", Type::Int(_) | Type::Bool, Type::Object(_)) => {
                format!("the keys of an object are text: `{} in {y}`", a.string())
            }
            ("in", _, _) => "`in` asks for an item of a list or a key of an object".to_owned(),
            ("+", Type::List(_), other) if !matches!(other, Type::List(_)) => {
                format!("add a list to a list: `{x} + [{y}]`")
            }
            ("+", _, Type::List(_)) => format!("add a list to a list: `[{x}] + {y}`"),
            (_, Type::List(_) | Type::Object(_), _) => taken_out(x, a.of)?,
            (_, _, Type::List(_) | Type::Object(_)) => taken_out(y, b.of)?,
            ("+", Type::Text(_), _) | ("+", _, Type::Text(_)) if can_be_text(a, b) => {
                format!("convert it: `{} + {}`", a.string(), b.string())
            }
            (_, Type::Bool, one) | (_, one, Type::Bool)
                if one.is_number() || *one == Type::Bool =>
            {
                let sides = (a.number(b.of), b.number(a.of));
                format!("make a number of it: `{} {name} {}`", sides.0, sides.1)
            }
            (_, Type::Text(_), one) | (_, one, Type::Text(_)) if one.is_number() => {
                let sides = (a.number(b.of), b.number(a.of));
                format!("convert it: `{} {name} {}`", sides.0, sides.1)
            }
            _ => return None,
        })
    }

    fn single_operand(&self, node: &IdedExpr, name: &str, one: &Operand<'_>) -> Option<String> {
        let (x, of) = (&one.text, one.of);
        let is_number = of.is_number();
        Some(match (name, of) {
            ("size", _) => "`size` is of text, lists and objects".to_owned(),
            ("!", Type::List(_) | Type::Object(_)) => format!("compare it: `size({x}) == 0`"),
            ("!", _) if one.is_text() || is_number => {
                format!("compare it: `{x} == {}`", default_of(of))
            }
            ("bool", _) => format!("compare it: `{}`", compared(x, of)),
            ("contains" | "startsWith" | "endsWith", _) => {
                return self.asked_of_text(node, name, one);
            }
            (_, Type::List(_) | Type::Object(_)) => taken_out(x, of)?,
            ("-" | "int" | "double" | "uint", Type::Bool) => {
                format!("make a number of it: `{x} ? 1 : 0`")
            }
            ("-", Type::Text(_)) => format!("convert it: `-int({x})`"),
            _ => return None,
        })
    }

    /// `a.contains(b)` and its like, where one of them is no text.
    fn asked_of_text(&self, node: &IdedExpr, name: &str, one: &Operand<'_>) -> Option<String> {
        let Ast::Call(call) = &node.expr else {
            return None;
        };
        let (target, part) = (call.target.as_deref()?, call.args.first()?);
        let (x, asked) = (self.operand(target), self.text(part));
        if one.node.id != target.id {
            return match one.of {
                Type::Bool => Some(format!("convert it: `{x}.{name}(string({asked}))`")),
                of if of.is_number() => Some(format!("convert it: `{x}.{name}({})`", one.string())),
                of => taken_out(&one.text, of),
            };
        }
        Some(match one.of {
            Type::List(_) | Type::Object(_) if name == "contains" => {
                format!("ask for an item or a key with `in`: `{asked} in {x}`")
            }
            Type::List(item) if matches!(item.as_ref(), Type::Text(_) | Type::Any) => {
                format!("ask its items: `{x}.exists(x, x.{name}({asked}))`")
            }
            Type::List(_) | Type::Object(_) => taken_out(&x, one.of)?,
            of if of.is_number() || *of == Type::Bool => {
                format!("convert it: `string({x}).{name}({asked})`")
            }
            _ => return None,
        })
    }
}

/// How a time goes with a number: not at all, whatever it is converted by.
fn of_times(name: &str, a: &Operand<'_>, b: &Operand<'_>) -> Option<String> {
    let (x, y) = match (a.is_time(), b.is_time()) {
        (true, _) if b.of.is_number() => (a.text.as_str(), SOME_TIME),
        (_, true) if a.of.is_number() => (SOME_TIME, b.text.as_str()),
        _ => return None,
    };
    match name {
        "<" | "<=" | ">" | ">=" => Some(format!(
            "a time is text, and is compared with no number, but with another time that is written as it is: `{x} {name} {y}`"
        )),
        // joined with it, it is text as any other
        "+" => None,
        _ => Some(NO_TIMES.to_owned()),
    }
}

fn taken_out(text: &str, of: &Type) -> Option<String> {
    one_of(text, of).map(|one| format!("take one value out of it: `{one}`"))
}

/// Whether both are text or can be made text.
fn can_be_text(a: &Operand<'_>, b: &Operand<'_>) -> bool {
    let can = |one: &Operand<'_>| one.is_text() || one.of.is_number() || *one.of == Type::Bool;
    can(a) && can(b)
}
