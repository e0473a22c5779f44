//! Into objects and lists: `a.b`, `a["b"]`, `a[0]`, `a.?b`, `has(a.b)`.

use cel::common::ast::{Expr as Ast, IdedExpr, LiteralValue, operators as op};

use super::known::{Side, form, place};
use super::{Infer, ProblemKind, Use, default_of, held};
use crate::names::nearest;
use crate::types::{Object, Type};

/// How many names a message lists.
const NAMES_MAX: usize = 12;
/// How one comes to what is inside.
const INDEXED: &str = "a list is indexed by a whole number from 0, an object by text";

impl Infer {
    /// `operand.field`.
    pub(super) fn select(&mut self, operand: &IdedExpr, field: &str) -> Type {
        let of = self.of(operand);
        // Where only one of several has it, it is not always there; where none has, it never is.
        let has = |one: &Type| match one {
            Type::Object(object) => object.key(field).is_some(),
            _ => false,
        };
        let ever = of.alternatives().iter().any(has);
        let mut found = Vec::new();
        for one in of.alternatives() {
            if ever && matches!(one, Type::Object(_)) && !has(one) {
                self.may_be_absent(operand, &inside(&of, field), field);
            } else {
                found.extend(self.select_one(operand, one, &of, field));
            }
        }
        Type::union(found)
    }

    /// `of` is what it holds where it is there.
    fn may_be_absent(&mut self, operand: &IdedExpr, of: &Type, field: &str) {
        let (what, help) = self.denied(operand, field).unwrap_or_else(|| {
            let what = format!("`{}.{field}` may be absent", self.text(operand));
            (what, self.guard(operand, of, field))
        });
        let at = self.places.word_after(operand, field);
        self.report(ProblemKind::Absent, at, what, help);
    }

    /// What is wrong, and how it is mended, where the same expression has asked for the field and it is not there.
    fn denied(&self, operand: &IdedExpr, field: &str) -> Option<(String, String)> {
        let side = self.known.denial(&format!("{}.{field}", place(operand)?))?;
        let read = format!("{}.{field}", self.text(operand));
        let help = match side {
            Side::Right => format!("write `has({read}) && …`"),
            Side::Branch => "swap the two branches".to_owned(),
        };
        let what = format!("`{read}` is read where `has({read})` is false");
        Some((what, help))
    }

    fn select_one(
        &mut self,
        operand: &IdedExpr,
        of: &Type,
        whole: &Type,
        field: &str,
    ) -> Option<Type> {
        match of {
            Type::Any => Some(Type::Any),
            Type::Object(object) => Some(self.property(operand, object, field)),
            // A field of an optional is an optional.
            Type::Optional(held) => Some(Type::optional(inside(held, field))),
            Type::Null => {
                let has_no = format!("null has no `{field}`");
                let (what, help) = match (self.denied(operand, field), self.always_null(operand)) {
                    (Some(denied), _) => denied,
                    (None, Some((is, help))) => {
                        let what = format!("`{}` {is}: {has_no}", self.text(operand));
                        (what, help.to_owned())
                    }
                    (None, None) => (
                        self.null_and(operand, whole, &has_no),
                        self.guard(operand, &inside(whole, field), field),
                    ),
                };
                let at = self.places.span(operand);
                self.report(ProblemKind::Absent, at, what, help);
                None
            }
            other => {
                let text = self.text(operand);
                let what = format!("`{text}` is {other}, which has no `{field}` inside");
                let at = self.places.word_after(operand, field);
                let counts = matches!(field, "length" | "len" | "size" | "count")
                    && matches!(other, Type::Text(_) | Type::List(_));
                let help = match other {
                    _ if counts => format!("how long it is: `size({text})`"),
                    Type::List(item) if !inside(item, field).is_never() => format!(
                        "of every item: `{text}.map(x, x.{field})`; of the first: `{text}[0].{field}`"
                    ),
                    _ => "only objects and lists have something inside".to_owned(),
                };
                self.report(ProblemKind::Path, at, what, help);
                None
            }
        }
    }

    /// How to read a field that may not be there.
    fn guard(&self, operand: &IdedExpr, of: &Type, field: &str) -> String {
        let (text, default) = (self.operand(operand), default_of(of));
        let taken = format!("take a default: `{text}.?{field}.orValue({default})`");
        match place(operand) {
            Some(_) => format!("guard it with `has({text}.{field})`, or {taken}"),
            // of what is no place nothing is found out
            None => taken,
        }
    }

    fn property(&mut self, operand: &IdedExpr, object: &Object, field: &str) -> Type {
        if let Some(property) = object.properties.get(field) {
            if !property.required {
                self.may_be_absent(operand, &property.of, field);
            }
            return property.of.clone();
        }
        let text = self.text(operand);
        let at = self.places.word_after(operand, field);
        let names: Vec<&str> = object.properties.keys().map(String::as_str).collect();
        let near = nearest(field, names.iter().copied());
        match (object.other(field), near) {
            (None, near) => {
                let what = format!("`{text}` has no `{field}`");
                let patterns = object.patterns.iter().map(|(pattern, _)| pattern.text());
                let all: Vec<&str> = names.iter().copied().chain(patterns).collect();
                let help = near.map_or_else(
                    || list("it has", &all),
                    |near| format!("did you mean `{near}`?"),
                );
                self.report(ProblemKind::Path, at, what, help);
                Type::Any
            }
            // Nothing is said of other keys: only a name that is nearly a known one is worth a word.
            (Some(Type::Any), Some(near)) => {
                let what = format!("the schema of `{text}` speaks of no `{field}`");
                let help = format!("did you mean `{near}`?");
                self.report(ProblemKind::Constant, at, what, help);
                Type::Any
            }
            (Some(Type::Any), None) => Type::Any,
            (Some(rest), _) => {
                self.may_be_absent(operand, &rest, field);
                rest
            }
        }
    }

    /// `operand.?field`.
    pub(super) fn optional_select(&mut self, operand: &IdedExpr, field: &IdedExpr) -> Type {
        let of = self.of(operand);
        let Ast::Literal(LiteralValue::String(name)) = &field.expr else {
            return Type::optional(Type::Any);
        };
        let name = name.inner().to_owned();
        self.refuse_names_there_are_not(operand, &of, &name);
        Type::optional(inside(&held(&of), &name))
    }

    /// `has(operand.field)`. Whatever it is of, the way to it does not fail: it is made optional before it runs.
    pub(super) fn has(&mut self, operand: &IdedExpr, field: &str) -> Type {
        let (problems, unknown) = (self.problems.len(), self.unknown.len());
        let of = self.of(operand);
        self.unknown.truncate(unknown);
        // On the way only names that lead nowhere are mistakes; what may be absent is what is asked.
        let mut n = 0;
        self.problems.retain(|problem| {
            n += 1;
            n <= problems || problem.kind != ProblemKind::Absent
        });
        self.refuse_names_there_are_not(operand, &of, field);
        if let Some(list) = of
            .alternatives()
            .iter()
            .find(|one| matches!(one, Type::List(_)))
        {
            let what = format!(
                "`{}` is {list}, which has no `{field}` inside",
                self.text(operand)
            );
            let at = self.places.word_after(operand, field);
            let help = "a list is asked with exists(…), or by its size(…)";
            self.report(ProblemKind::Path, at, what, help);
        }
        Type::Bool
    }

    /// A key that can never be there is a mistake, also where its absence would do no harm.
    fn refuse_names_there_are_not(&mut self, operand: &IdedExpr, of: &Type, field: &str) {
        let objects: Vec<&Object> = of
            .alternatives()
            .iter()
            .filter_map(|one| match one {
                Type::Object(object) => Some(object.as_ref()),
                _ => None,
            })
            .collect();
        let never = |object: &&Object| object.key(field).is_none();
        if !objects.is_empty() && objects.iter().all(never) && !of.is_any() {
            let names: Vec<&str> = objects
                .iter()
                .flat_map(|object| object.properties.keys())
                .map(String::as_str)
                .collect();
            let patterns = objects.iter().flat_map(|object| &object.patterns);
            let patterns = patterns.map(|(pattern, _)| pattern.text());
            let all: Vec<&str> = names.iter().copied().chain(patterns).collect();
            let what = format!("`{}` has no `{field}`", self.text(operand));
            let help = nearest(field, names.iter().copied()).map_or_else(
                || list("it has", &all),
                |near| format!("did you mean `{near}`?"),
            );
            let at = self.places.word_after(operand, field);
            self.report(ProblemKind::Path, at, what, help);
            return;
        }
        let unsaid = |object: &&Object| {
            !object.properties.contains_key(field) && object.other(field) == Some(Type::Any)
        };
        if objects.is_empty() || !objects.iter().all(unsaid) || of.is_any() {
            return;
        }
        // Nothing is said of other keys: only a name that is nearly a known one is worth a word.
        let names = objects.iter().flat_map(|object| object.properties.keys());
        if let Some(near) = nearest(field, names.map(String::as_str)) {
            let what = format!(
                "the schema of `{}` speaks of no `{field}`",
                self.text(operand)
            );
            let help = format!("did you mean `{near}`?");
            let at = self.places.word_after(operand, field);
            self.report(ProblemKind::Constant, at, what, help);
        }
    }

    /// `operand[index]`.
    pub(super) fn index(&mut self, operand: &IdedExpr, index: &IdedExpr) -> Type {
        if let Ast::Literal(LiteralValue::String(key)) = &index.expr {
            let of = self.of(operand);
            if of
                .alternatives()
                .iter()
                .all(|one| !matches!(one, Type::List(_)))
            {
                return self.select(operand, key.inner());
            }
        }
        let of = self.of(operand);
        let by = self.of(index);
        self.begins_with_zero(operand, &of, index);
        let mut found = Vec::new();
        for one in of.alternatives() {
            match (one, &by) {
                (Type::Any, _) => found.push(Type::Any),
                (Type::List(item), by) if whole(by) => found.push(item.as_ref().clone()),
                (Type::Object(object), by) if texts(by) => {
                    found.push(self.at_key(object, by, operand, index));
                }
                (Type::Optional(held), _) => found.push(Type::optional(inside_any(held))),
                (Type::Null, _) => {
                    let what = self.null_and(operand, &of, "null has nothing inside");
                    let help = self.not_null(operand, &of, Use::Value);
                    let at = self.places.span(operand);
                    self.report(ProblemKind::Absent, at, what, help);
                }
                (one, by) => {
                    let what = format!(
                        "`{}` is {one}, which is not indexed by {by}",
                        self.text(operand)
                    );
                    let at = self.places.span(index);
                    self.report(ProblemKind::Operands, at, what, INDEXED);
                }
            }
        }
        Type::union(found)
    }

    /// That no list is indexed from its end, as other languages do.
    fn begins_with_zero(&mut self, operand: &IdedExpr, of: &Type, index: &IdedExpr) {
        let list = |one: &Type| matches!(one, Type::List(_));
        if of.is_never() || !of.alternatives().iter().all(list) || !is_negative(index) {
            return;
        }
        let list = self.text(operand);
        let what = "an index below 0 always fails: a list begins with 0".to_owned();
        let help = format!("the last is `{list}[size({list}) - 1]`");
        let at = self.places.span(index);
        self.report(ProblemKind::Operands, at, what, help);
    }

    /// `operand[?index]`. It does not fail: where nothing can ever be found, what follows it is always the default.
    pub(super) fn optional_index(&mut self, operand: &IdedExpr, index: &IdedExpr) -> Type {
        let by = self.of(index);
        let of = self.of(operand);
        let within = held(&of).not_null();
        let finds = |one: &Type| by.alternatives().iter().any(|by| indexes(one, by));
        let unknown = within.is_never() || by.is_never();
        if !unknown && !within.alternatives().iter().any(finds) {
            let what = format!(
                "`{}` is {within}, which is not indexed by {by}: nothing is ever found there",
                self.text(operand)
            );
            let at = self.places.span(index);
            self.report(ProblemKind::Operands, at, what, INDEXED);
        } else if let Ast::Literal(LiteralValue::String(key)) = &index.expr {
            self.refuse_names_there_are_not(operand, &of, key.inner());
            return Type::optional(inside(&held(&of), key.inner()));
        }
        Type::optional(inside_any(&of))
    }

    /// What stands under a key that is computed. It may not be there, unless it is one of those that always are, or has been asked for.
    fn at_key(&mut self, object: &Object, by: &Type, operand: &IdedExpr, key: &IdedExpr) -> Type {
        let (known, of) = match by {
            Type::Text(Some(known)) => {
                let all = known.iter().filter_map(|key| object.key(key));
                (Some(known), Type::union(all))
            }
            Type::Text(None) => (None, any_of(object)),
            // nobody knows what it is
            _ => return any_of(object),
        };
        let always = known.is_some_and(|known| known.iter().all(|key| object.always_has(key)));
        if !always && !self.known.has_key(operand, key) {
            let what = format!(
                "`{}[{}]` may be absent",
                self.operand(operand),
                self.text(key)
            );
            let help = self.guard_key(operand, key, &of);
            let at = self.places.span(key);
            self.report(ProblemKind::Absent, at, what, help);
        }
        of
    }

    /// How to read what stands under a key that is computed and may not be there.
    fn guard_key(&self, operand: &IdedExpr, key: &IdedExpr, of: &Type) -> String {
        let (object, default) = (self.operand(operand), default_of(of));
        let (inside, asked) = (self.text(key), self.operand(key));
        let taken = format!("take a default: `{object}[?{inside}].orValue({default})`");
        match form(operand).and_then(|_| form(key)) {
            Some(_) => format!(
                "{taken}, or ask for it first: `{asked} in {object} ? {object}[{inside}] : {default}`"
            ),
            // what cannot be told again is not known to have been asked for
            None => taken,
        }
    }
}

/// Whether it is a whole number below 0 that is written out.
fn is_negative(index: &IdedExpr) -> bool {
    match &index.expr {
        Ast::Literal(LiteralValue::Int(n)) => *n.inner() < 0,
        Ast::Call(call) if call.func_name == op::NEGATE => {
            let above = |one: &IdedExpr| matches!(&one.expr, Ast::Literal(LiteralValue::Int(n)) if *n.inner() > 0);
            call.args.first().is_some_and(above)
        }
        _ => false,
    }
}

/// Whether something can be found in one kind by another.
fn indexes(of: &Type, by: &Type) -> bool {
    match of {
        Type::Any => true,
        Type::List(_) => matches!(by, Type::Int(_) | Type::Uint | Type::Any),
        Type::Object(_) => matches!(by, Type::Text(_) | Type::Any),
        _ => false,
    }
}

fn whole(of: &Type) -> bool {
    of.alternatives()
        .iter()
        .all(|one| matches!(one, Type::Int(_) | Type::Uint | Type::Any))
}

fn texts(of: &Type) -> bool {
    of.alternatives()
        .iter()
        .all(|one| matches!(one, Type::Text(_) | Type::Any))
}

/// What may stand under some key of an object.
fn any_of(object: &Object) -> Type {
    let properties = object
        .properties
        .values()
        .map(|property| property.of.clone());
    Type::union(properties.chain(object.others().cloned()))
}

/// What may stand under a key, where it is there at all.
fn inside(of: &Type, field: &str) -> Type {
    Type::union(of.alternatives().iter().filter_map(|one| match one {
        Type::Any => Some(Type::Any),
        Type::Optional(held) => Some(inside(held, field)),
        Type::Object(object) => object.key(field),
        _ => None,
    }))
}

/// What may stand anywhere inside.
fn inside_any(of: &Type) -> Type {
    Type::union(of.alternatives().iter().filter_map(|one| match one {
        Type::Any => Some(Type::Any),
        Type::Optional(held) => Some(inside_any(held)),
        Type::List(item) => Some(item.as_ref().clone()),
        Type::Object(object) => Some(any_of(object)),
        _ => None,
    }))
}

fn list(lead: &str, names: &[&str]) -> String {
    if names.is_empty() {
        return "it has no keys".to_owned();
    }
    let shown: Vec<&str> = names.iter().take(NAMES_MAX).copied().collect();
    let more = if names.len() > shown.len() {
        ", …"
    } else {
        ""
    };
    format!("{lead} {}{more}", shown.join(", "))
}
