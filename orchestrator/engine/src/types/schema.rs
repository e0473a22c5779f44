//! From a JSON Schema to a type. Of what a schema says of values beside their shape, enumerations and the bounds of whole numbers are kept; patterns, lengths,
//! formats and the bounds of numbers with a fraction are not looked at here.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Object, Pattern, Property, Type, Whole};

/// How deep schemas are followed: beyond it, and in those that hold themselves, it is anything.
const DEPTH_MAX: usize = 24;
/// How many schemas are looked at for one type, each as often as it is referred to: what is not looked at any more is anything. A schema whose parts refer to the next
/// one twice is small, what it unfolds to is not.
const SCHEMAS_MAX: usize = 4_000;
/// The most patterns of keys kept of one object: each key is held against all of them. Where there are more, nobody knows what its other keys hold.
const PATTERNS_MAX: usize = 32;
/// How many references are followed in a row: more is a circle.
const REFERENCES_MAX: usize = 16;

/// The schema a schema points to within its document, or itself.
pub(crate) fn resolve<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let mut at = schema;
    for _ in 0..REFERENCES_MAX {
        let pointer = at.get("$ref").and_then(Value::as_str);
        let Some(found) = pointer
            .and_then(|text| text.strip_prefix('#'))
            .and_then(|pointer| root.pointer(pointer))
        else {
            return at;
        };
        at = found;
    }
    &Value::Null
}

/// What values a schema allows.
pub(crate) fn of_schema(root: &Value, schema: &Value) -> Type {
    let walk = Walk {
        root,
        left: Cell::new(SCHEMAS_MAX),
        patterns: RefCell::default(),
    };
    of(&walk, schema, DEPTH_MAX)
}

/// A look at one schema, with what it refers to.
struct Walk<'s> {
    root: &'s Value,
    /// How many more schemas are looked at.
    left: Cell<usize>,
    /// Those that were read, however often they are referred to.
    patterns: RefCell<BTreeMap<String, Option<Arc<Pattern>>>>,
}

impl Walk<'_> {
    /// Whether so many more may be looked at; they count as looked at.
    fn may(&self, schemas: usize) -> bool {
        let left = self.left.get().checked_sub(schemas);
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }

    /// A pattern of keys; none where it cannot be read.
    fn pattern(&self, text: &str) -> Option<Arc<Pattern>> {
        let mut patterns = self.patterns.borrow_mut();
        let read = || Pattern::read(text).map(Arc::new);
        patterns.entry(text.to_owned()).or_insert_with(read).clone()
    }
}

fn of(walk: &Walk<'_>, schema: &Value, depth: usize) -> Type {
    let schema = match resolve(walk.root, schema) {
        Value::Bool(false) => return Type::never(),
        Value::Object(map) if depth > 0 && walk.may(1) => map,
        _ => return Type::Any,
    };
    if schema.contains_key("$ref") {
        // points outside the document
        return Type::Any;
    }
    if let Some(value) = schema.get("const") {
        return of_constant(value);
    }
    if let Some(Value::Array(all)) = schema.get("enum") {
        return Type::union(all.iter().map(of_constant));
    }
    let before = walk.left.get();
    let own = own(walk, schema, depth);
    let looked_at = before - walk.left.get();
    let branches = ["oneOf", "anyOf"]
        .iter()
        .filter_map(|key| schema.get(*key)?.as_array());
    let with_branches = branches.fold(own, |own, all| branched(walk, own, all, depth, looked_at));
    let all = schema.get("allOf").and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter(|part| says_what(walk, part))
        .map(|part| of(walk, part, depth - 1))
        .fold(with_branches, both)
}

/// What is equal to a value of a schema: where that is a whole number with a fraction of zero, the integer as well.
fn of_constant(value: &Value) -> Type {
    let fraction = value.as_f64().map(f64::fract);
    match Type::of_value(value) {
        Type::Double if fraction == Some(0.0) => Type::number(),
        of => of,
    }
}

/// One of several: each together with what stands beside them. Those that only demand keys of what is described beside them add nothing.
fn branched(walk: &Walk<'_>, own: Type, all: &[Value], depth: usize, looked_at: usize) -> Type {
    if !all.iter().all(|branch| says_what(walk, branch)) {
        return own;
    }
    // what stands beside them is in each of them
    if !walk.may(looked_at.saturating_mul(all.len())) {
        return own;
    }
    let branches = all
        .iter()
        .map(|branch| both(own.clone(), of(walk, branch, depth - 1)));
    Type::union(branches)
}

/// Whether a schema says what a value is, and not only what is true of it.
fn says_what(walk: &Walk<'_>, schema: &Value) -> bool {
    const WORDS: [&str; 9] = [
        "type",
        "properties",
        "const",
        "enum",
        "oneOf",
        "anyOf",
        "allOf",
        "items",
        "$ref",
    ];
    match resolve(walk.root, schema) {
        Value::Object(map) => WORDS.iter().any(|word| map.contains_key(*word)),
        _ => false,
    }
}

/// What fits both.
pub(super) fn both(a: Type, b: Type) -> Type {
    match (a, b) {
        (Type::Any, other) | (other, Type::Any) => other,
        (Type::Object(a), Type::Object(b)) => Type::object(both_objects(&a, &b)),
        (Type::Double, Type::Int(whole)) | (Type::Int(whole), Type::Double) => Type::Int(whole),
        (Type::Int(a), Type::Int(b)) => Type::Int(a.and(b)),
        (Type::Text(None), Type::Text(known)) | (Type::Text(known), Type::Text(None)) => {
            Type::Text(known)
        }
        (Type::Text(Some(a)), Type::Text(Some(b))) => {
            let known: BTreeSet<String> = a.intersection(&b).cloned().collect();
            match known.is_empty() {
                true => Type::never(),
                false => Type::Text(Some(Arc::new(known))),
            }
        }
        (Type::List(a), Type::List(b)) => Type::list(both(a.as_ref().clone(), b.as_ref().clone())),
        (a, b) => Type::union(a.alternatives().iter().filter_map(|one| one_of(one, &b))),
    }
}

/// What an alternative is that is one of several: of texts and whole numbers what both may be; what has something inside stays as it is.
fn one_of(one: &Type, several: &Type) -> Option<Type> {
    let mut all = several.alternatives().iter();
    // there is one of each such kind at most
    let same = all.find(|other| same_kind(one, other))?;
    Some(match (one, same) {
        (Type::Text(_), Type::Text(_)) | (Type::Int(_), Type::Int(_)) => {
            both(one.clone(), same.clone())
        }
        _ => one.clone(),
    })
}

fn both_objects(a: &Object, b: &Object) -> Object {
    let mut properties = BTreeMap::new();
    for (own, other) in [(a, b), (b, a)] {
        for (key, property) in &own.properties {
            let (of, required) = match other.properties.get(key) {
                Some(beside) => (Some(beside.of.clone()), beside.required),
                // `additionalProperties: false` sees only the keys beside it: what the two name together is all that is certain
                None => (other.other(key), false),
            };
            let merged = || Property {
                of: of.map_or_else(|| property.of.clone(), |of| both(property.of.clone(), of)),
                required: property.required || required,
            };
            properties.entry(key.clone()).or_insert_with(merged);
        }
    }
    let rests = (a.rest.clone(), b.rest.clone());
    let (patterns, rest) = match (a.patterns.as_slice(), b.patterns.as_slice()) {
        (patterns, []) => (both_others(patterns, b), rests.0.zip(rests.1)),
        ([], patterns) => (both_others(patterns, a), rests.0.zip(rests.1)),
        // which keys are of both nobody works out here
        _ => (Vec::new(), Some((Type::Any, Type::Any))),
    };
    Object {
        properties,
        patterns,
        rest: rest.map(|(a, b)| both(a, b)),
        some_names: a.some_names || b.some_names,
    }
}

/// What the keys of patterns hold where what stands beside them has none: there they are other keys, if there are such.
fn both_others(patterns: &[(Arc<Pattern>, Type)], beside: &Object) -> Vec<(Arc<Pattern>, Type)> {
    let Some(rest) = &beside.rest else {
        return Vec::new();
    };
    let narrowed = |(pattern, of): &(Arc<Pattern>, Type)| {
        let of = both(of.clone(), rest.clone());
        (pattern.clone(), of)
    };
    patterns.iter().map(narrowed).collect()
}

fn same_kind(a: &Type, b: &Type) -> bool {
    *a == Type::Any || *b == Type::Any || std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// What the keywords of the schema itself say.
fn own(walk: &Walk<'_>, schema: &Map<String, Value>, depth: usize) -> Type {
    let kind = |word: &str| kind(walk, schema, word, depth);
    match schema.get("type") {
        Some(Value::String(word)) => kind(word),
        Some(Value::Array(words)) => Type::union(words.iter().filter_map(Value::as_str).map(kind)),
        // Whoever describes keys means an object, and who describes items a list.
        _ if schema.contains_key("properties") => kind("object"),
        _ if schema.contains_key("items") => kind("array"),
        _ => Type::Any,
    }
}

fn kind(walk: &Walk<'_>, schema: &Map<String, Value>, word: &str, depth: usize) -> Type {
    match word {
        "null" => Type::Null,
        "boolean" => Type::Bool,
        "integer" => Type::Int(Whole::of_schema(schema)),
        "number" => Type::number(),
        "string" => Type::TEXT,
        "array" => Type::list(items(walk, schema, depth)),
        "object" => object(walk, schema, depth),
        _ => Type::Any,
    }
}

fn items(walk: &Walk<'_>, schema: &Map<String, Value>, depth: usize) -> Type {
    let first = schema.get("prefixItems").and_then(Value::as_array);
    let first = first.into_iter().flatten();
    let rest = schema.get("items");
    if rest.is_none() && !schema.contains_key("prefixItems") {
        return Type::Any;
    }
    let rest = rest.map_or(Type::Any, |rest| of(walk, rest, depth - 1));
    Type::union(first.map(|item| of(walk, item, depth - 1)).chain([rest]))
}

fn object(walk: &Walk<'_>, schema: &Map<String, Value>, depth: usize) -> Type {
    let required: BTreeSet<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut object = others(walk, schema, depth);
    let described = schema.get("properties").and_then(Value::as_object);
    for (key, schema) in described.into_iter().flatten() {
        // a pattern says of a key that is described as well
        let own = of(walk, schema, depth - 1);
        let of = object.of_patterns(key).cloned().fold(own, both);
        let required = required.contains(key.as_str());
        let property = Property { of, required };
        object.properties.insert(key.clone(), property);
    }
    for key in required {
        if !object.properties.contains_key(key) {
            let property = Property {
                of: object.other(key).unwrap_or_else(Type::never),
                required: true,
            };
            object.properties.insert(key.to_owned(), property);
        }
    }
    Type::object(object)
}

/// An object with no word yet of the keys that are described.
fn others(walk: &Walk<'_>, schema: &Map<String, Value>, depth: usize) -> Object {
    let rest = match schema.get("additionalProperties") {
        Some(Value::Bool(false)) => None,
        Some(other) => Some(of(walk, other, depth - 1)),
        None => Some(Type::Any),
    };
    let written = schema.get("patternProperties").and_then(Value::as_object);
    let patterns = written.into_iter().flatten().map(|(text, schema)| {
        let pattern = walk.pattern(text)?;
        Some((pattern, of(walk, schema, depth - 1)))
    });
    let patterns: Option<Vec<_>> = match written.is_none_or(|all| all.len() <= PATTERNS_MAX) {
        true => patterns.collect(),
        false => None,
    };
    let some_names = schema.contains_key("propertyNames");
    match patterns {
        Some(mut patterns) => {
            patterns.sort();
            Object {
                patterns,
                some_names,
                ..Object::with(BTreeMap::new(), rest)
            }
        }
        None => Object::with(BTreeMap::new(), Some(Type::Any)),
    }
}
