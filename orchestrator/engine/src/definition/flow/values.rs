//! What is handed to a task, to the saga, to a person: each value of a template against the schema or the kind that is wanted there.

use std::collections::BTreeMap;

use baton_messages::TaskType;
use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value, json};

use super::Flow;
use super::mends;
use super::places::Place;
use crate::definition::InputMisfit;
use crate::definition::diagnostic::code;
use crate::definition::read_task::is_unreadable;
use crate::definition::reader::nearest;
use crate::definition::subschemas::part;
use crate::definition::yaml::Mark;
use crate::expr::{Expr, SECRET_KEY, Shape, Template, secret_at};
use crate::types::{
    Inferred, Misfit, Object, Problem, ProblemKind, Property, Scope, Type, Why, compared, doubt,
    infer, may_be_null, misfit, of_schema, resolve,
};

/// What a value is handed to: a schema within its document, and who takes it, for people.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) root: &'a Value,
    pub(super) schema: &'a Value,
    pub(super) taker: &'a str,
}

/// What has to come out where text is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// Text and nothing else.
    Only,
    /// Or a whole number.
    OrWhole,
    /// Or a number, true or false, which are written out.
    OrScalar,
}

impl Flow<'_> {
    /// `with` of a task.
    pub(super) fn task(&mut self, task: &TaskType, with: &Template, scope: &Scope, at: &str) {
        let catalogue = self.catalogue;
        let place = match self.says(at, "with") {
            true => format!("{at}/with"),
            false => at.to_owned(),
        };
        if is_unreadable(task) {
            return self.template(with, scope, &place);
        }
        let target = catalogue.get(task).map(|known| Target {
            root: &known.manifest.input,
            schema: &known.manifest.input,
            taker: task.as_str(),
        });
        if catalogue.is_planned(task) {
            self.planned_task(task, &format!("{at}/task"));
        }
        if target.is_none() {
            self.unknown_task(task, &format!("{at}/task"));
        }
        let before = self.checked.errors.len();
        self.value(&with.shape(), target, scope, &place);
        if let Some(known) = catalogue.get(task) {
            let misfits = |value: &Value| known.misfits(value);
            self.written_out(with, before, misfits, task.as_str(), &place);
        }
        self.secrets(task, with, &place);
    }

    /// What is written out as a whole, against all its taker says of it, where nothing has been said since so many errors: what goes with what, how many keys there are.
    pub(super) fn written_out(
        &mut self,
        template: &Template,
        before: usize,
        misfits: impl FnOnce(&Value) -> Vec<InputMisfit>,
        taker: &str,
        at: &str,
    ) {
        let Some(value) = template.as_literal() else {
            return;
        };
        // what could not be read is missing in it, and a secret is what it stands for only where it is taken
        let is_whole = self.spoilt.is_empty() && secret_at(value).is_none();
        if !is_whole || self.checked.errors.len() > before {
            return;
        }
        let Some(InputMisfit { path, message }) = misfits(value).into_iter().next() else {
            return;
        };
        let mark = match path.as_str() {
            "" => self.tree.name_mark(at),
            path => self.tree.mark_at(&format!("{at}{path}")),
        };
        let message = format!("does not fit {taker}: {message}");
        let help = "write what its schema allows".to_owned();
        self.error(code::FLOW, mark, message, help);
    }

    /// A value of text.
    pub(super) fn text(&mut self, template: &Template, wanted: Text, scope: &Scope, at: &str) {
        let takes = match wanted {
            Text::Only => json!({ "type": "string" }),
            Text::OrWhole => json!({ "type": ["string", "integer"] }),
            Text::OrScalar => json!({ "type": ["string", "number", "boolean"] }),
        };
        // an item of a list is called as the list is
        let is_name = |part: &&str| part.parse::<usize>().is_err();
        let key = at.rsplit('/').find(is_name).unwrap_or(at).to_owned();
        let taker = match at.rsplit('/').nth(1) {
            Some("labels") => format!("the label `{key}`"),
            _ => format!("`{key}`"),
        };
        let target = Target {
            root: &takes,
            schema: &takes,
            taker: &taker,
        };
        // A fixed text has been read already; an expression of nothing but constants is fixed as well, and may be no text.
        if template.as_literal().is_some_and(Value::is_string) {
            return;
        }
        self.value(&template.shape(), Some(target), scope, at);
    }

    /// An expression that has to yield true or false.
    pub(super) fn condition(&mut self, expr: &Expr, scope: &Scope, pointer: &str) {
        let place = Place { pointer, nth: 0 };
        let told = self.checked.errors.len() + self.checked.warnings.len();
        let of = self.typed(expr, scope, place);
        let mut alternatives = of.alternatives().iter();
        let Some(one) = alternatives.find(|one| !matches!(one, Type::Bool | Type::Any)) else {
            if told == self.checked.errors.len() + self.checked.warnings.len() {
                self.asks_something(expr, pointer);
            }
            return;
        };
        let rest = of.not_null();
        let mut rest = rest.alternatives().iter();
        let is_truth = rest.all(|one| matches!(one, Type::Bool | Type::Any));
        let null = may_be_null(expr, scope, &Type::Bool);
        let (code, help) = match null.filter(|_| *one == Type::Null && is_truth) {
            Some((_, help)) => (code::ABSENT, help),
            None => {
                let comparison = compared(&mends::operand(expr.text()), &of);
                let help = format!("compare it with something: `{comparison}`");
                (code::RESULT, help)
            }
        };
        let message = format!("`{}` yields {of}, and has to be true or false", expr.text());
        let mark = self.whole(expr, place);
        self.error(code, mark, message, help);
    }

    /// The type of an expression; what is wrong with it is said where it stands.
    fn typed(&mut self, expr: &Expr, scope: &Scope, place: Place<'_>) -> Type {
        let Inferred {
            of,
            problems,
            unknown,
        } = infer(expr, scope);
        let is_sound = problems.is_empty();
        for Problem {
            kind,
            at,
            what,
            help,
        } in problems
        {
            let mark = self.part(expr, place, at);
            match kind {
                ProblemKind::Constant => self.warning(code::CONSTANT, mark, what, help),
                ProblemKind::Function => self.error(code::FUNCTION, mark, what, help),
                ProblemKind::Operands => self.error(code::OPERANDS, mark, what, help),
                ProblemKind::Absent => self.error(code::ABSENT, mark, what, help),
                ProblemKind::Path => self.error(code::PATH, mark, what, help),
                ProblemKind::Twice => self.error(code::TWICE, mark, what, help),
            }
        }
        if is_sound {
            self.has_a_value(expr, place);
        }
        let mark = self.whole(expr, place);
        self.note(expr, mark, &of, unknown);
        of
    }

    /// One value of a template, against what it is handed to.
    pub(super) fn value(
        &mut self,
        shape: &Shape<'_>,
        target: Option<Target<'_>>,
        scope: &Scope,
        at: &str,
    ) {
        let target = target.map(|target| within(target, shape));
        match shape {
            Shape::Hole(expr) => {
                let place = Place {
                    pointer: at,
                    nth: 0,
                };
                let of = self.typed(expr, scope, place);
                if let Some(target) = target {
                    let mark = self.whole(expr, place);
                    let takes = of_schema(target.root, target.schema);
                    let what = format!("`{}`", expr.text());
                    self.fits(
                        &of,
                        &takes,
                        (what.as_str(), Some((*expr, scope))),
                        target,
                        mark,
                    );
                }
            }
            Shape::Text(holes) => {
                self.holes(holes, scope, at);
                if let Some(target) = target {
                    let takes = of_schema(target.root, target.schema);
                    let mark = self.tree.mark_at(at);
                    self.fits(&Type::TEXT, &takes, ("this text", None), target, mark);
                }
            }
            Shape::Literal(value) => {
                if let Some(target) = target {
                    self.literal(value, target, at);
                }
            }
            Shape::List(items) => self.list(items, target, scope, at),
            Shape::Object(entries) => self.object(entries, target, scope, at),
        }
    }

    /// The expressions inside a text: what is null has no text.
    fn holes(&mut self, holes: &[&Expr], scope: &Scope, at: &str) {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for expr in holes {
            let nth = *seen.entry(expr.text()).and_modify(|n| *n += 1).or_default();
            let place = Place { pointer: at, nth };
            let of = self.typed(expr, scope, place);
            if of.may_be_null()
                && let Some((what, help)) = may_be_null(expr, scope, &Type::TEXT)
            {
                let message = format!("{what}, and text has no null");
                let mark = self.whole(expr, place);
                self.error(code::ABSENT, mark, message, help);
            }
        }
    }

    fn list(&mut self, items: &[Shape<'_>], target: Option<Target<'_>>, scope: &Scope, at: &str) {
        let below = target.and_then(|target| {
            let schema = target
                .schema
                .get("items")
                .filter(|_| plain(target.schema))?;
            Some(Target { schema, ..target })
        });
        for (n, item) in items.iter().enumerate() {
            self.value(item, below, scope, &format!("{at}/{n}"));
        }
        if let Some(target) = target {
            let all = Shape::List(items.to_vec());
            let of = match below {
                // What is in it has been held against its own schema.
                Some(_) => Type::list(Type::never()),
                None => self.shape(&all, scope),
            };
            let takes = of_schema(target.root, target.schema);
            let mark = self.tree.mark_at(at);
            self.fits(&of, &takes, ("this", None), target, mark);
        }
    }

    fn object(
        &mut self,
        entries: &[(&str, Shape<'_>)],
        target: Option<Target<'_>>,
        scope: &Scope,
        at: &str,
    ) {
        if entries.iter().any(|(key, _)| *key == SECRET_KEY) {
            return;
        }
        let none = Map::new();
        let described =
            target
                .filter(|target| plain(target.schema))
                .and_then(|target| match target.schema.get("properties") {
                    Some(all) => all.as_object(),
                    None => ["required", "patternProperties"]
                        .iter()
                        .find_map(|word| target.schema.get(*word))
                        .map(|_| &none),
                });
        for (key, value) in entries {
            let at = format!("{at}/{}", part(key));
            let target = target.filter(|_| described.is_some());
            let taken = target.map_or_else(Vec::new, |target| targets_of(key, target));
            if taken.is_empty() {
                self.value(value, None, scope, &at);
            }
            for below in taken {
                self.value(value, Some(below), scope, &at);
            }
        }
        let Some(target) = target else { return };
        match described {
            Some(described) => self.keys(entries, described, target, at),
            None => {
                let of = self.shape(&Shape::Object(entries.to_vec()), scope);
                let takes = of_schema(target.root, target.schema);
                let mark = self.tree.mark_at(at);
                self.fits(&of, &takes, ("this", None), target, mark);
            }
        }
    }

    /// The keys of an object that is written out, against those its schema describes.
    fn keys(
        &mut self,
        entries: &[(&str, Shape<'_>)],
        described: &Map<String, Value>,
        target: Target<'_>,
        at: &str,
    ) {
        let takes = of_schema(target.root, target.schema);
        if misfit(&Type::any_object(), &takes).is_some_and(|m| matches!(m.why, Why::Kind { .. })) {
            let mark = self.tree.mark_at(at);
            return self.fits(&Type::any_object(), &takes, ("this", None), target, mark);
        }
        let closed = target.schema.get("additionalProperties") == Some(&Value::Bool(false));
        let surplus = entries.iter().filter(|(key, _)| {
            closed && !described.contains_key(*key) && !is_of_a_pattern(key, target.schema)
        });
        for (key, _) in surplus {
            let names: Vec<&str> = described.keys().map(String::as_str).collect();
            let message = format!("{} takes no `{key}`", target.taker);
            let mark = self.key_mark(at, key);
            self.error(
                code::FLOW,
                mark,
                message,
                did_you_mean(key, &names, "it takes"),
            );
        }
        self.missing_keys(entries, &takes, target, at);
    }

    /// The keys an object lacks, all of them at once, where the object is named.
    fn missing_keys(
        &mut self,
        entries: &[(&str, Shape<'_>)],
        takes: &Type,
        target: Target<'_>,
        at: &str,
    ) {
        let required = target.schema.get("required").and_then(Value::as_array);
        let required = required.into_iter().flatten().filter_map(Value::as_str);
        let missing: Vec<&str> = required
            .filter(|key| !entries.iter().any(|(there, _)| there == key))
            .collect();
        let value_mark = self.tree.mark_at(at);
        if missing.is_empty() || self.spoilt.contains(&(value_mark.line, value_mark.column)) {
            return;
        }
        let names: Vec<String> = missing.iter().map(|key| format!("`{key}`")).collect();
        let is = if names.len() == 1 { "is" } else { "are" };
        let message = format!(
            "{} needs {}, which {is} not there",
            target.taker,
            all_of(&names)
        );
        let lines: Vec<String> = match unwritten(at) {
            Some(key) => {
                let keys: Vec<String> = missing.iter().map(|key| format!("{key}: …")).collect();
                vec![format!("`{key}: {{ {} }}`", keys.join(", "))]
            }
            None => missing.iter().map(|key| key_line(takes, key)).collect(),
        };
        let mark = self.tree.name_mark(at);
        let help = format!("add {}", lines.join(", "));
        self.error(code::FLOW, mark, message, help);
    }

    /// Where a key of a mapping stands.
    fn key_mark(&self, at: &str, key: &str) -> Mark {
        let node = self.tree.at(at);
        node.entry(key).map_or(node.mark, |entry| Mark {
            width: key.chars().count(),
            ..entry.mark
        })
    }

    fn literal(&mut self, value: &Value, target: Target<'_>, at: &str) {
        match value {
            Value::Object(map) if map.contains_key(SECRET_KEY) => {}
            Value::Object(map) => {
                let entries: Vec<_> = map
                    .iter()
                    .map(|(key, value)| (key.as_str(), Shape::Literal(value)))
                    .collect();
                self.object(&entries, Some(target), &Scope::default(), at);
            }
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(Shape::Literal).collect();
                self.list(&items, Some(target), &Scope::default(), at);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                self.fixed(value, target, at);
            }
        }
    }

    /// A fixed value, by its schema in full: patterns, limits and all.
    fn fixed(&mut self, value: &Value, target: Target<'_>, at: &str) {
        let mut schema = target.schema.clone();
        if let (Value::Object(schema), Some(definitions)) = (&mut schema, target.root.get("$defs"))
        {
            schema.entry("$defs").or_insert_with(|| definitions.clone());
        }
        let Ok(validator) = jsonschema::validator_for(&schema) else {
            return;
        };
        if let Some(misfit) = validator.iter_errors(value).next() {
            let message = format!("does not fit {}: {misfit}", target.taker);
            let mark = self.tree.mark_at(at);
            let takes = of_schema(target.root, target.schema);
            let help = how_to_fit(value, &misfit, &takes);
            self.error(code::FLOW, mark, message, help);
        }
    }

    /// What a template yields as a whole, without a word of what is wrong in it.
    pub(super) fn shape(&self, shape: &Shape<'_>, scope: &Scope) -> Type {
        match shape {
            Shape::Literal(value) => Type::of_value(value),
            Shape::Hole(expr) => infer(expr, scope).of,
            Shape::Text(_) => Type::TEXT,
            Shape::List(items) => Type::list(Type::union(
                items.iter().map(|item| self.shape(item, scope)),
            )),
            Shape::Object(entries) => {
                let property = |(key, value): &(&str, Shape<'_>)| {
                    let of = self.shape(value, scope);
                    ((*key).to_owned(), Property { of, required: true })
                };
                Type::object(Object::with(entries.iter().map(property).collect(), None))
            }
        }
    }

    /// Says why a value does not always fit, if it does not.
    fn fits(
        &mut self,
        is: &Type,
        takes: &Type,
        (what, from): (&str, Source<'_>),
        target: Target<'_>,
        mark: Mark,
    ) {
        let Some(Misfit { at, why }) = misfit(is, takes) else {
            return self.may_not_fit(is, takes, what, target, mark);
        };
        let taker = target.taker;
        let what = below(what, &at);
        let (code, message, help) = match why {
            Why::Kind { is, takes } => {
                let from = from.filter(|_| at.is_empty());
                kinds(&is, &takes, &what, target, from)
            }
            Why::Missing { key, ever: true } => {
                let message = format!("{what} may have no `{key}`, which {taker} needs");
                (code::ABSENT, message, mends::of_a_missing_key(&what, &key))
            }
            Why::Missing { key, ever: false } => {
                let message = format!("{what} has no `{key}`, which {taker} needs");
                (code::FLOW, message, KEY_BY_KEY.to_owned())
            }
            Why::Surplus { key } => {
                let message = format!("{what} has `{key}`, which {taker} does not take");
                (code::FLOW, message, KEY_BY_KEY.to_owned())
            }
            Why::Others { pattern } => {
                let keys = pattern.map_or_else(
                    || "keys beside those it describes".to_owned(),
                    |pattern| format!("keys of `{pattern}`"),
                );
                let message = format!("{what} may have {keys}, which {taker} does not take");
                (code::FLOW, message, KEY_BY_KEY.to_owned())
            }
        };
        self.error(code, mark, message, help);
    }

    /// Says why a value of the right kind may still not fit: that is seen when there is one.
    fn may_not_fit(&mut self, is: &Type, takes: &Type, what: &str, target: Target<'_>, mark: Mark) {
        let Some(Misfit { at, why }) = doubt(is, takes) else {
            return;
        };
        let (what, taker) = (below(what, &at), target.taker);
        let message = match why {
            Why::Kind { is, takes } => format!(
                "{what} may be {}, and {taker} takes {} here",
                is.exact(),
                takes.exact()
            ),
            Why::Missing { .. } | Why::Surplus { .. } | Why::Others { .. } => {
                format!("{what} may not fit what {taker} takes here")
            }
        };
        self.warning(code::MAY_NOT_FIT, mark, message, BOUND.to_owned());
    }
}

/// The key that what is handed on stands in, where that itself is not written: then its place is that of the step, or of the trigger.
fn unwritten(at: &str) -> Option<&'static str> {
    let key = match at.starts_with("/on/") {
        true => "input",
        false => "with",
    };
    at.split('/').all(|part| part != key).then_some(key)
}

/// The expression a value comes from and what it may read, where it is one.
type Source<'a> = Option<(&'a Expr, &'a Scope)>;

/// What is said of a value that may be of another kind than is taken: the code, the message, and the help.
fn kinds(
    is: &Type,
    takes: &Type,
    what: &str,
    target: Target<'_>,
    from: Source<'_>,
) -> (&'static str, String, String) {
    let taker = target.taker;
    let rest = is.not_null();
    let fits_otherwise = rest.is_never() || misfit(&rest, takes).is_none();
    if is.may_be_null() && fits_otherwise {
        let said = from.and_then(|(expr, scope)| may_be_null(expr, scope, takes));
        let (what, help) = said.unwrap_or_else(|| {
            let is = if rest.is_never() { "is" } else { "may be" };
            (format!("{what} {is} null"), NOT_NULL.to_owned())
        });
        let code = match rest.is_never() {
            true => code::FLOW,
            false => code::ABSENT,
        };
        let message = format!("{what}, and {taker} takes {takes} here");
        return (code, message, help);
    }
    let message = match what {
        "this" => format!(
            "does not fit {taker}: this is {}, and has to be {}",
            mends::noun(is),
            mends::noun(takes)
        ),
        _ => format!("{what} is {is}, and {taker} takes {takes} here"),
    };
    let help = mends::of_another_kind(is, takes, what, target);
    (code::FLOW, message, help)
}

const KEY_BY_KEY: &str = "write the object out, key by key";

const NOT_NULL: &str = "write it out, part by part, with something else in the place of null";

/// A part of what is handed on, in words.
fn below(what: &str, at: &str) -> String {
    match at.is_empty() {
        true => what.to_owned(),
        false => format!("{what} at `{at}`"),
    }
}

const BOUND: &str = "say in the schema it comes from what it may be (`enum`, `minimum`, `maximum`), or ask before: `x in [\"a\", \"b\"]`, `x >= 1 && x <= 9`";

/// Whether a schema describes keys and items by itself, and not by several schemas of which one is to fit.
fn plain(schema: &Value) -> bool {
    let several = ["oneOf", "anyOf", "allOf", "if"];
    !several.iter().any(|key| schema.get(*key).is_some())
}

/// What the value of a key is handed to: the schema of that key and those of the patterns it is of, else that of all other keys; none where nothing is said of it.
fn targets_of<'a>(key: &str, target: Target<'a>) -> Vec<Target<'a>> {
    let all = target.schema;
    let to = |schema: &'a Value| Target { schema, ..target };
    let own = all.get("properties").and_then(|own| own.get(key));
    let patterns = all.get("patternProperties").and_then(Value::as_object);
    let patterns = patterns.into_iter().flatten();
    let of_patterns = patterns.filter(|(pattern, _)| takes_key(pattern, key) == Some(true));
    let mut schemas: Vec<&Value> = of_patterns.map(|(_, schema)| schema).collect();
    if own.is_none() && !is_of_a_pattern(key, all) {
        schemas.extend(all.get("additionalProperties"));
    }
    // whether a key is taken at all is asked of the object
    schemas.retain(|schema| schema.is_object());
    let schemas = own.into_iter().chain(schemas);
    schemas.map(to).collect()
}

/// Whether a pattern takes a key; none where it cannot be read.
fn takes_key(pattern: &str, key: &str) -> Option<bool> {
    let takes = jsonschema::validator_for(&json!({ "pattern": pattern })).ok()?;
    Some(takes.is_valid(&json!(key)))
}

/// Whether a pattern of the schema may take a key. Of one that cannot be read nobody knows what it takes.
fn is_of_a_pattern(key: &str, schema: &Value) -> bool {
    let patterns = schema.get("patternProperties").and_then(Value::as_object);
    let mut patterns = patterns.into_iter().flat_map(Map::keys);
    patterns.any(|pattern| takes_key(pattern, key) != Some(false))
}

/// The schema itself: references followed; of several that differ only in also taking null, the one that does not, for what is not null.
fn within<'a>(target: Target<'a>, shape: &Shape<'_>) -> Target<'a> {
    let schema = resolve(target.root, target.schema);
    let target = Target { schema, ..target };
    if matches!(shape, Shape::Literal(Value::Null) | Shape::Hole(_)) {
        return target;
    }
    let branches = ["anyOf", "oneOf"]
        .iter()
        .find_map(|key| schema.get(*key)?.as_array());
    let mut others = branches
        .into_iter()
        .flatten()
        .map(|branch| resolve(target.root, branch))
        .filter(|branch| branch.get("type") != Some(&Value::from("null")));
    match (others.next(), others.next()) {
        (Some(schema), None) if branches.is_some_and(|all| all.len() == 2) => {
            Target { schema, ..target }
        }
        _ => target,
    }
}

/// Names in a row: `a`, `b` and `c`.
fn all_of(names: &[String]) -> String {
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.join(", "),
    }
}

/// How a key that is missing would be written, with what it takes, where that is known.
fn key_line(takes: &Type, key: &str) -> String {
    let objects = takes.alternatives().iter().filter_map(|one| match one {
        Type::Object(object) => object.properties.get(key),
        _ => None,
    });
    let of = Type::union(objects.map(|property| property.of.clone()));
    match of.is_any() || of.is_never() {
        true => format!("`{key}: …`"),
        false => format!("`{key}: …` ({of})"),
    }
}

/// How a fixed value is mended that does not fit.
fn how_to_fit(value: &Value, misfit: &ValidationError<'_>, takes: &Type) -> String {
    let shown = |value: &Value| format!("`{value}`");
    match misfit.kind() {
        ValidationErrorKind::Enum { options } => {
            let all = options.as_array().map_or(&[][..], Vec::as_slice);
            let words: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
            let near = value
                .as_str()
                .and_then(|word| nearest(word, words.into_iter()));
            let all: Vec<String> = all.iter().take(OPTIONS_NAMED).map(shown).collect();
            near.map_or_else(
                || format!("write one of {}", all.join(", ")),
                |near| format!("did you mean `{near}`?"),
            )
        }
        ValidationErrorKind::Constant { expected_value } => {
            format!("write {}", shown(expected_value))
        }
        ValidationErrorKind::Type { .. } => of_another_kind(value, takes),
        ValidationErrorKind::Pattern { .. } | ValidationErrorKind::Format { .. } => {
            "write a text that matches it".to_owned()
        }
        _ => match takes.is_any() || takes.is_never() {
            true => "write what its schema allows".to_owned(),
            false => format!("write another {takes}, within its bounds"),
        },
    }
}

/// Values an enumeration is shown with, at most.
const OPTIONS_NAMED: usize = 8;

fn of_another_kind(value: &Value, takes: &Type) -> String {
    let takes_text = matches!(takes, Type::Text(_));
    match value {
        Value::Number(_) | Value::Bool(_) if takes_text => {
            format!("it takes text: put quotes around it, `\"{value}\"`")
        }
        Value::String(text) if takes.is_number() && text.parse::<f64>().is_ok() => {
            format!("it takes a number: leave the quotes out, `{text}`")
        }
        Value::Null => format!("it takes {takes}: leave the key out, or write a value"),
        _ => format!("it takes {takes} here"),
    }
}

pub(super) fn did_you_mean(word: &str, known: &[&str], otherwise: &str) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("{otherwise} {}", known.join(", ")),
    }
}
