//! The functions our CEL has: how many arguments they take, of what, and what they yield. It is the standard library without regular
//! expressions and without times: neither is deterministic and bounded on every machine.

use cel::common::ast::{CallExpr, Expr as Ast, IdedExpr};

use super::{Infer, ProblemKind, Use, default_of, held};
use crate::names::nearest;
use crate::types::{Type, Whole};

/// Functions called by themselves, with how many arguments.
const GLOBAL: [(&str, usize); 9] = [
    ("bool", 1),
    ("bytes", 1),
    ("double", 1),
    ("dyn", 1),
    ("int", 1),
    ("size", 1),
    ("string", 1),
    ("type", 1),
    ("uint", 1),
];

/// Functions called on a value, with how many arguments beside it.
const MEMBERS: [(&str, usize); 8] = [
    ("contains", 1),
    ("endsWith", 1),
    ("hasValue", 0),
    ("or", 1),
    ("orValue", 1),
    ("size", 0),
    ("startsWith", 1),
    ("value", 0),
];

/// Those the parser turns into something else when they are called rightly, with how that is.
const MACROS: [(&str, &str); 10] = [
    ("all", "list.all(x, x > 0)"),
    ("exists", "list.exists(x, x > 0)"),
    ("exists_one", "list.exists_one(x, x > 0)"),
    ("existsOne", "list.existsOne(x, x > 0)"),
    ("filter", "list.filter(x, x > 0)"),
    ("has", "has(value.field)"),
    ("map", "list.map(x, x + 1)"),
    ("optFlatMap", "value.?field.optFlatMap(x, x.?other)"),
    ("optMap", "value.?field.optMap(x, x + 1)"),
    ("secret", "secret(\"name\")"),
];

/// Functions of other CELs that people look for here, with what to do instead.
const ELSEWHERE: [(&[&str], &str); 10] = [
    (
        &["matches", "find", "findAll", "regex"],
        "there are no regular expressions: compare with contains, startsWith or endsWith, or hold the value against a `pattern` in the input's schema",
    ),
    (
        &[
            "substring",
            "split",
            "join",
            "replace",
            "charAt",
            "indexOf",
            "lastIndexOf",
            "trim",
            "lowerAscii",
            "upperAscii",
            "lower",
            "upper",
            "format",
            "reverse",
            "quote",
        ],
        "text is joined with + and asked with contains, startsWith and endsWith; anything else is a task's work",
    ),
    (
        &[
            "timestamp",
            "duration",
            "now",
            "getFullYear",
            "getHours",
            "getDate",
            "getMonth",
        ],
        "expressions do not know times: use `deadline`, `timeout`, `sleep`, or the text of `schedule.time`",
    ),
    (
        &[
            "min", "max", "abs", "ceil", "floor", "round", "sum", "greatest", "least", "sort",
            "flatten", "distinct", "slice", "range",
        ],
        "write it with ?:, map, filter, all and exists, or let a task compute it",
    ),
    (
        &["len", "length", "count", "strlen"],
        "how long text or a list is, and how many keys an object has, is `size(value)`",
    ),
    (
        &["default", "coalesce", "ifNull", "getOrDefault", "get"],
        "a default is taken with `.?name.orValue(…)`",
    ),
    (
        &[
            "str",
            "toString",
            "parseInt",
            "toInt",
            "float",
            "parseFloat",
            "toFloat",
        ],
        "convert with string(…), int(…) or double(…)",
    ),
    (
        &["any", "some", "every", "includes"],
        "ask a list with `list.exists(x, x > 0)`, `list.all(x, x > 0)` or `value in list`",
    ),
    (
        &["not", "isNull", "isEmpty", "empty"],
        "write `!value`, `value == null` or `size(value) == 0`",
    ),
    (
        &["hasKey", "containsKey", "has_key", "exists_key"],
        "whether a key is there is asked with `has(value.key)`, whether one that is computed is with `key in value`",
    ),
];

impl Infer {
    pub(super) fn function(&mut self, node: &IdedExpr, call: &CallExpr) -> Type {
        let name = call.func_name.as_str();
        if let Some(target) = &call.target
            && matches!(&target.expr, Ast::Ident(root) if root == "optional")
        {
            return self.of_optional(node, name, &call.args);
        }
        let target = call.target.as_deref();
        let known: &[(&str, usize)] = if target.is_some() { &MEMBERS } else { &GLOBAL };
        let Some((_, count)) = known.iter().find(|(known, _)| *known == name) else {
            self.unknown(node, name, target.is_some());
            for part in target.into_iter().chain(&call.args) {
                // What a macro would have bound is no variable, and the mistake has been said.
                if !MACROS.iter().any(|(known, _)| *known == name) {
                    self.of(part);
                }
            }
            return Type::Any;
        };
        let target_type = target.map(|target| self.of(target));
        let arguments: Vec<Type> = call.args.iter().map(|argument| self.of(argument)).collect();
        if arguments.len() != *count {
            let what = format!(
                "`{name}` takes {}, and {} given",
                some(*count),
                given(arguments.len())
            );
            let at = self.places.span(node);
            let help = match (target.is_some(), *count) {
                (true, 0) => format!("write `value.{name}()`"),
                (true, _) => format!("write `value.{name}(…)`"),
                (false, _) => format!("write `{name}(…)`"),
            };
            self.report(ProblemKind::Function, at, what, help);
            return Type::Any;
        }
        match (target, target_type, call.args.as_slice()) {
            (Some(target), Some(of), arguments_at) => self.member(
                node,
                name,
                (target, &of),
                arguments_at.first().zip(arguments.first()),
            ),
            (_, _, [argument]) => self.global(node, name, argument, &arguments[0]),
            _ => Type::Any,
        }
    }

    fn unknown(&mut self, node: &IdedExpr, name: &str, member: bool) {
        let at = self.places.span(node);
        if let Some((_, example)) = MACROS.iter().find(|(known, _)| *known == name) {
            let what = format!("`{name}` is not called so");
            return self.report(
                ProblemKind::Function,
                at,
                what,
                format!("write `{example}`"),
            );
        }
        let known = GLOBAL
            .iter()
            .chain(&MEMBERS)
            .map(|(known, _)| *known)
            .chain(MACROS.iter().map(|(known, _)| *known));
        let elsewhere = ELSEWHERE.iter().find(|(names, _)| names.contains(&name));
        let here = |list: &[(&str, usize)]| list.iter().any(|(known, _)| *known == name);
        let (what, help) = if here(&GLOBAL) || here(&MEMBERS) {
            let help = match member {
                true => format!("write `{name}(…)`"),
                false => format!("write `value.{name}(…)`"),
            };
            (format!("`{name}` is not called so"), help)
        } else {
            let help = match (elsewhere, nearest(name, known)) {
                (Some((_, instead)), _) => (*instead).to_owned(),
                (None, Some(near)) => format!("did you mean `{near}`?"),
                (None, None) => "there are size, has, all, exists, exists_one, map, filter, contains, startsWith, endsWith, string, int, uint, double, bool, bytes, type, dyn, and orValue, or, hasValue, value, optMap for optionals".to_owned(),
            };
            (format!("there is no function `{name}`"), help)
        };
        self.report(ProblemKind::Function, at, what, help);
    }

    fn global(&mut self, node: &IdedExpr, name: &str, argument: &IdedExpr, of: &Type) -> Type {
        let (yields, takes): (Type, fn(&Type) -> bool) = match name {
            "bool" => (Type::Bool, |one| matches!(one, Type::Bool | Type::Text(_))),
            "bytes" => (Type::Bytes, |one| {
                matches!(one, Type::Bytes | Type::Text(_))
            }),
            "double" => (Type::Double, numeric),
            "int" => (whole(of), numeric),
            "uint" => (Type::Uint, numeric),
            "string" => (Type::TEXT, |one| {
                numeric(one) || matches!(one, Type::Bool | Type::Bytes)
            }),
            "size" => (Type::COUNT, sized),
            "type" => return Type::Kind,
            // `dyn` is there to say: do not look.
            _ => return Type::Any,
        };
        self.takes(node, name, argument, of, takes);
        yields
    }

    /// Refuses an argument of which some alternative is not taken.
    fn takes(
        &mut self,
        node: &IdedExpr,
        name: &str,
        argument: &IdedExpr,
        of: &Type,
        takes: fn(&Type) -> bool,
    ) {
        let mut wrong = of.alternatives().iter();
        if let Some(one) = wrong.find(|one| **one != Type::Any && !takes(one)) {
            self.refuse_operands(node, name, &[(argument, of, one)]);
        }
    }

    fn member(
        &mut self,
        node: &IdedExpr,
        name: &str,
        (target, of): (&IdedExpr, &Type),
        argument: Option<(&IdedExpr, &Type)>,
    ) -> Type {
        let text: fn(&Type) -> bool = |one| matches!(one, Type::Text(_));
        match (name, argument) {
            ("size", None) => {
                self.takes(node, name, target, of, sized);
                Type::COUNT
            }
            ("contains" | "startsWith" | "endsWith", Some((argument, part))) => {
                self.takes(node, name, target, of, text);
                self.takes(node, name, argument, part, text);
                Type::Bool
            }
            ("orValue", Some((_, other))) => {
                self.optionals(target, of, name);
                Type::union([held(of), other.clone()])
            }
            ("or", Some((argument, other))) => {
                self.optionals(target, of, name);
                self.optionals(argument, other, name);
                Type::union([of.clone(), other.clone()])
            }
            ("hasValue", None) => {
                self.optionals(target, of, name);
                Type::Bool
            }
            ("value", None) => self.value(node, target, of),
            _ => Type::Any,
        }
    }

    /// `x.value()`: fails when there is none, so that it has to be known that there is one.
    fn value(&mut self, node: &IdedExpr, target: &IdedExpr, of: &Type) -> Type {
        self.optionals(target, of, "value");
        if let Some(place) = super::known::place(target)
            && let Some(known) = self.known.fact_at(&format!("{place}.value()"))
        {
            return known;
        }
        if of
            .alternatives()
            .iter()
            .any(|one| matches!(one, Type::Optional(_)))
        {
            let what = format!("`{}` may hold nothing", self.text(target));
            let at = self.places.span(node);
            let text = self.operand(target);
            let default = default_of(&held(of));
            let help = format!(
                "take a default: `{text}.orValue({default})`, or ask first: `{text}.hasValue() && …`"
            );
            self.report(ProblemKind::Absent, at, what, help);
        }
        held(of)
    }

    fn optionals(&mut self, node: &IdedExpr, of: &Type, name: &str) {
        let mut wrong = of.alternatives().iter();
        if let Some(one) = wrong.find(|one| !matches!(one, Type::Optional(_) | Type::Any)) {
            let what = format!(
                "`{}` is {one}, and `{name}` belongs to an optional",
                self.text(node)
            );
            let at = self.places.span(node);
            let help = "make it optional where it may be absent: `a.?b.orValue(…)`";
            self.report(ProblemKind::Operands, at, what, help);
        }
    }

    /// `optional.of(x)` and its like.
    fn of_optional(&mut self, node: &IdedExpr, name: &str, arguments: &[IdedExpr]) -> Type {
        let types: Vec<Type> = arguments.iter().map(|argument| self.of(argument)).collect();
        match (name, types.as_slice()) {
            ("none", []) => Type::optional(Type::never()),
            ("of" | "ofNonZeroValue", [one]) => Type::optional(one.clone()),
            _ => {
                let what = format!(
                    "there is no function `optional.{name}` of {}",
                    some(types.len())
                );
                let help =
                    "there are optional.of(x), optional.ofNonZeroValue(x) and optional.none()";
                let at = self.places.span(node);
                self.report(ProblemKind::Function, at, what, help);
                Type::optional(Type::Any)
            }
        }
    }

    /// What a walk goes over.
    pub(super) fn range(&mut self, node: &IdedExpr) -> Type {
        let of = self.of(node);
        let mut found = Vec::new();
        for one in of.alternatives() {
            match one {
                Type::Any => found.push(Type::Any),
                Type::List(item) => found.push(item.as_ref().clone()),
                // A walk over an object goes over its keys.
                Type::Object(_) => found.push(Type::TEXT),
                Type::Null => {
                    let what = self.null_and(node, &of, "null is no list");
                    let help = self.not_null(node, &of, Use::Value);
                    let at = self.places.span(node);
                    self.report(ProblemKind::Absent, at, what, help);
                }
                other => {
                    let what = format!("`{}` is {other}, which is no list", self.text(node));
                    let at = self.places.span(node);
                    let help = "only lists and the keys of objects are walked over";
                    self.report(ProblemKind::Operands, at, what, help);
                }
            }
        }
        Type::union(found)
    }
}

/// What `int(…)` makes of a value: a whole number stays what it is.
fn whole(of: &Type) -> Type {
    Type::union(of.alternatives().iter().map(|one| match one {
        Type::Int(bounds) => Type::Int(*bounds),
        _ => Type::Int(Whole::CONVERTED),
    }))
}

const fn numeric(one: &Type) -> bool {
    one.is_number() || matches!(one, Type::Text(_))
}

const fn sized(one: &Type) -> bool {
    matches!(
        one,
        Type::Text(_) | Type::Bytes | Type::List(_) | Type::Object(_)
    )
}

fn some(count: usize) -> String {
    match count {
        0 => "no argument".to_owned(),
        1 => "one argument".to_owned(),
        n => format!("{n} arguments"),
    }
}

fn given(count: usize) -> String {
    match count {
        0 => "none is".to_owned(),
        1 => "one is".to_owned(),
        n => format!("{n} are"),
    }
}
