//! What a value may be, as far as can be said before there is one: types from JSON Schemas, of literals and of CEL expressions, and
//! whether one fits another. Says only what is certain; where nobody can know, it is honestly [`Type::Any`], which fits everywhere.
//!
//! The way: `schema` turns the schemas of the saga's input and of task types into types, `infer` walks an expression over them,
//! `fit` holds what comes out against what it is handed to.

mod fit;
mod infer;
mod keys;
mod numbers;
mod schema;
mod show;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

pub(crate) use fit::{Misfit, Why, doubt, misfit};
pub(crate) use infer::{
    Asked, Cause, Inferred, Problem, ProblemKind, Scope, compared, infer, may_be_null, one_of,
};
use keys::Pattern;
pub use numbers::same_value;
pub(crate) use numbers::whole_numbers;
use schema::both;
pub(crate) use schema::{of_schema, resolve};
pub(crate) use whole::Whole;

/// The most alternatives kept of one type; more are as good as anything.
const ALTERNATIVES_MAX: usize = 12;
/// The most texts kept of an enumeration.
const TEXTS_MAX: usize = 64;

/// What a value may be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Type {
    /// Nobody can know.
    Any,
    Null,
    Bool,
    /// A whole number, of JSON and of CEL, within these bounds.
    Int(Whole),
    /// A whole number of CEL's unsigned kind.
    Uint,
    /// A number with a fraction.
    Double,
    /// Text; one of these, when they are known.
    Text(Option<Arc<BTreeSet<String>>>),
    /// CEL's bytes; JSON has none.
    Bytes,
    /// A type as a value of CEL: `type(x)`, `int`.
    Kind,
    /// A list of these.
    List(Arc<Self>),
    Object(Arc<Object>),
    /// CEL's optional, `a.?b`, holding this if anything.
    Optional(Arc<Self>),
    /// One of these, each of another kind; none at all is what an empty list is a list of.
    OneOf(Arc<Vec<Self>>),
}

/// The keys of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Object {
    pub(crate) properties: BTreeMap<String, Property>,
    /// What keys hold that are no property and that a pattern takes, in the order of the patterns: one that several take holds what fits each of them.
    pub(crate) patterns: Vec<(Arc<Pattern>, Type)>,
    /// What other keys hold; `None` when there are no others.
    pub(crate) rest: Option<Type>,
    /// Whether only some names are those of keys that are no property, and nobody works out which: they are computed, or `propertyNames` says.
    pub(crate) some_names: bool,
}

/// One key of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Property {
    pub(crate) of: Type,
    /// Whether it is always there.
    pub(crate) required: bool,
}

impl Object {
    /// One that has exactly these keys; a name that ends in `?` may be absent.
    pub(crate) fn closed<const N: usize>(properties: [(&str, Type); N]) -> Self {
        let property = |(name, of): (&str, Type)| {
            let required = !name.ends_with('?');
            let name = name.trim_end_matches('?').to_owned();
            (name, Property { of, required })
        };
        Self::with(properties.into_iter().map(property).collect(), None)
    }

    /// One of these keys, and of others that hold this, if there are any.
    pub(crate) const fn with(properties: BTreeMap<String, Property>, rest: Option<Type>) -> Self {
        Self {
            properties,
            patterns: Vec::new(),
            rest,
            some_names: false,
        }
    }

    /// Whether nothing is known of it but that it is an object.
    pub(crate) fn unknown(&self) -> bool {
        self.properties.is_empty() && self.patterns.is_empty() && self.rest == Some(Type::Any)
    }

    /// Whether it may have keys that are no property.
    pub(crate) fn has_others(&self) -> bool {
        self.rest.is_some() || !self.patterns.is_empty()
    }

    /// What the patterns say that take a key.
    fn of_patterns(&self, key: &str) -> impl Iterator<Item = &Type> {
        let all = self.patterns.iter();
        let taken = all.filter(move |(pattern, _)| pattern.takes(key));
        taken.map(|(_, of)| of)
    }

    /// What a key holds that is no property, where it is there; `None` where there is no such key.
    pub(crate) fn other(&self, key: &str) -> Option<Type> {
        let mut said = self.of_patterns(key).cloned();
        let of = match said.next() {
            Some(first) => said.fold(first, both),
            None => self.rest.clone()?,
        };
        (!of.is_never()).then_some(of)
    }

    /// What a key holds, where it is there; `None` where there is no such key.
    pub(crate) fn key(&self, key: &str) -> Option<Type> {
        match self.properties.get(key) {
            Some(property) => Some(property.of.clone()),
            None => self.other(key),
        }
    }

    /// Whether a key is always there.
    pub(crate) fn always_has(&self, key: &str) -> bool {
        let property = self.properties.get(key);
        property.is_some_and(|property| property.required)
    }

    /// What keys hold that are no property, each kind of them.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Type> {
        let of_patterns = self.patterns.iter().map(|(_, of)| of);
        of_patterns.chain(&self.rest)
    }
}

impl Type {
    pub(crate) const TEXT: Self = Self::Text(None);
    /// Any whole number.
    pub(crate) const INT: Self = Self::Int(Whole::ANY);
    /// How many there are of something, or which one of them.
    pub(crate) const COUNT: Self = Self::Int(Whole::COUNT);

    /// What no value is.
    pub(crate) fn never() -> Self {
        Self::OneOf(Arc::default())
    }

    /// Any number of JSON.
    pub(crate) fn number() -> Self {
        Self::union([Self::INT, Self::Double])
    }

    /// This or null.
    pub(crate) fn or_null(self) -> Self {
        Self::union([self, Self::Null])
    }

    pub(crate) fn list(of: Self) -> Self {
        Self::List(Arc::new(of))
    }

    pub(crate) fn optional(of: Self) -> Self {
        Self::Optional(Arc::new(of))
    }

    pub(crate) fn object(object: Object) -> Self {
        Self::Object(Arc::new(object))
    }

    /// An object of which nothing else is known.
    pub(crate) fn any_object() -> Self {
        Self::object(Object::with(BTreeMap::new(), Some(Self::Any)))
    }

    /// One known text.
    pub(crate) fn text(known: &str) -> Self {
        Self::Text(Some(Arc::new(BTreeSet::from([known.to_owned()]))))
    }

    /// What a JSON value is.
    pub(crate) fn of_value(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(n) if n.is_f64() => Self::Double,
            Value::Number(n) => Self::Int(n.as_i64().map_or(Whole::ANY, Whole::just)),
            Value::String(text) => Self::text(text),
            Value::Array(items) => Self::list(Self::union(items.iter().map(Self::of_value))),
            Value::Object(map) => {
                let property = |(key, value): (&String, &Value)| {
                    let of = Self::of_value(value);
                    (key.clone(), Property { of, required: true })
                };
                Self::object(Object::with(map.iter().map(property).collect(), None))
            }
        }
    }

    /// What it may be, each alternative by itself.
    pub(crate) fn alternatives(&self) -> &[Self] {
        match self {
            Self::OneOf(all) => all,
            one => std::slice::from_ref(one),
        }
    }

    /// One of these. What is anything swallows all but null, which is kept since it can be said of a step that may be skipped
    /// even when nobody knows what it yields.
    pub(crate) fn union(all: impl IntoIterator<Item = Self>) -> Self {
        let mut found: Vec<Self> = Vec::new();
        for one in all {
            for alternative in one.alternatives() {
                add(&mut found, alternative.clone());
            }
        }
        if found.contains(&Self::Any) {
            found.retain(|one| matches!(one, Self::Any | Self::Null));
        }
        if found.len() > ALTERNATIVES_MAX {
            return Self::Any;
        }
        found.sort();
        match found.len() {
            1 => found.swap_remove(0),
            _ => Self::OneOf(Arc::new(found)),
        }
    }

    /// The alternatives for which this holds.
    pub(crate) fn only(&self, keep: impl Fn(&Self) -> bool) -> Self {
        Self::union(self.alternatives().iter().filter(|one| keep(one)).cloned())
    }

    /// Without null.
    pub(crate) fn not_null(&self) -> Self {
        self.only(|one| *one != Self::Null)
    }

    pub(crate) fn may_be_null(&self) -> bool {
        self.alternatives().contains(&Self::Null)
    }

    /// Whether nothing at all is known.
    pub(crate) fn is_any(&self) -> bool {
        self.alternatives().contains(&Self::Any)
    }

    /// Whether it may hold more than is said of it: something nobody knows, or an object with other keys of which nothing is said, or not which they are.
    pub(crate) fn is_open(&self) -> bool {
        self.somewhere(&|one: &Self| match one {
            Self::Any => true,
            Self::Object(object) => object.some_names,
            _ => false,
        })
    }

    /// Whether something holds of an alternative of it, or of what stands anywhere inside. What stands in several places is looked at once: a short expression makes an
    /// object that holds the same one very often.
    pub(crate) fn somewhere(&self, holds: &dyn Fn(&Self) -> bool) -> bool {
        self.seek(holds, &mut BTreeSet::new())
    }

    fn seek(&self, holds: &dyn Fn(&Self) -> bool, seen: &mut BTreeSet<usize>) -> bool {
        self.alternatives().iter().any(|one| {
            holds(one)
                || match one {
                    Self::List(inside) | Self::Optional(inside) => {
                        seen.insert(Arc::as_ptr(inside).addr()) && inside.seek(holds, seen)
                    }
                    Self::Object(object) => {
                        let of_properties = object.properties.values().map(|own| &own.of);
                        let mut inside = of_properties.chain(object.others());
                        seen.insert(Arc::as_ptr(object).addr())
                            && inside.any(|of| of.seek(holds, seen))
                    }
                    _ => false,
                }
        })
    }

    /// Whether no value is of this type.
    pub(crate) fn is_never(&self) -> bool {
        self.alternatives().is_empty()
    }

    pub(crate) const fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Uint | Self::Double)
    }
}

/// Adds an alternative; those of one kind become one.
fn add(found: &mut Vec<Type>, new: Type) {
    for old in found.iter_mut() {
        let merged = match (&*old, &new) {
            (a, b) if a == b => return,
            (Type::Text(a), Type::Text(b)) => Type::Text(both_texts(a.as_deref(), b.as_deref())),
            (Type::Int(a), Type::Int(b)) => Type::Int(a.or(*b)),
            (Type::List(a), Type::List(b)) => {
                Type::list(Type::union([a.as_ref().clone(), b.as_ref().clone()]))
            }
            (Type::Optional(a), Type::Optional(b)) => {
                Type::optional(Type::union([a.as_ref().clone(), b.as_ref().clone()]))
            }
            _ => continue,
        };
        *old = merged;
        return;
    }
    found.push(new);
}

fn both_texts(
    a: Option<&BTreeSet<String>>,
    b: Option<&BTreeSet<String>>,
) -> Option<Arc<BTreeSet<String>>> {
    let all: BTreeSet<String> = a?.union(b?).cloned().collect();
    (all.len() <= TEXTS_MAX).then(|| Arc::new(all))
}
