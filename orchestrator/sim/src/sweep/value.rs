//! Values from JSON Schemas, the same each time: what a saga is started with and what its tasks return, where nobody says it.
//!
//! Two flavours, so that both sides of a condition are seen: the first takes what is there (true, the first of several, filled lists, small
//! numbers), the second what is not (false, null, the last of several, empty lists, large numbers).

use baton_engine::definition::InputSchema;
use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::{Map, Value, json};

/// How deep a schema is followed; one that is deeper leads in a circle.
const DEPTH_MAX: usize = 24;
/// What is larger than what most conditions compare with.
const LARGE: f64 = 1_000_000.0;
/// How long a text is made at most, whatever a pattern or a length says.
const TEXT_MAX: usize = 4_096;

/// Which of the values that fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Flavour {
    /// What is there.
    Full,
    /// What is not.
    Spare,
}

/// A value of which nothing is known but its schema. `name` makes texts tell where they stand.
///
/// # Errors
/// Where no value is found, and why.
pub(crate) fn value(schema: &Value, flavour: Flavour, name: &str) -> Result<Value, String> {
    let made = Making {
        root: schema,
        flavour,
    };
    made.of(schema, name, 0)
}

/// What a `$ref` of a schema leads to, within the same document.
pub(super) fn there<'a>(root: &'a Value, place: &Value) -> Option<&'a Value> {
    root.pointer(place.as_str()?.strip_prefix('#')?)
}

struct Making<'a> {
    root: &'a Value,
    flavour: Flavour,
}

impl Making<'_> {
    fn of(&self, schema: &Value, name: &str, depth: usize) -> Result<Value, String> {
        if depth > DEPTH_MAX {
            return Err(format!("{name}: its schema leads in a circle"));
        }
        let schema = match schema {
            Value::Bool(false) => return Err(format!("{name}: its schema allows nothing")),
            Value::Object(schema) => schema,
            _ => return Ok(json!(name)),
        };
        if let Some(fixed) = schema.get("const") {
            return Ok(fixed.clone());
        }
        for told in ["enum", "examples"] {
            if let Some(all) = schema.get(told).and_then(Value::as_array) {
                let one = match self.flavour {
                    Flavour::Full => all.first(),
                    Flavour::Spare => all.last(),
                };
                if let Some(one) = one {
                    return Ok(one.clone());
                }
            }
        }
        if let (Some(value), Flavour::Full) = (schema.get("default"), self.flavour) {
            return Ok(value.clone());
        }
        if let Some(place) = schema.get("$ref") {
            let found = there(self.root, place);
            let found = found.ok_or_else(|| format!("{name}: there is no {place}"))?;
            return self.of(found, name, depth + 1);
        }
        for choice in ["oneOf", "anyOf"] {
            if let Some(all) = schema.get(choice).and_then(Value::as_array) {
                return self.choice(all, schema, name, depth);
            }
        }
        if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
            return self.merged(all, schema, name, depth);
        }
        self.typed(schema, name, depth)
    }

    /// The first of several that gives a value, with what stands beside them.
    fn choice(
        &self,
        all: &[Value],
        beside: &Map<String, Value>,
        name: &str,
        depth: usize,
    ) -> Result<Value, String> {
        let is_null = |one: &&Value| one.get("type") == Some(&json!("null"));
        let (nulls, others): (Vec<&Value>, Vec<&Value>) = all.iter().partition(is_null);
        let order = match self.flavour {
            Flavour::Full => [others, nulls].concat(),
            Flavour::Spare => [nulls, others.into_iter().rev().collect()].concat(),
        };
        let mut wrong = format!("{name}: none of several is possible");
        for one in order {
            let mut one = one.clone();
            if let Value::Object(one) = &mut one {
                for (key, value) in beside {
                    if !matches!(key.as_str(), "oneOf" | "anyOf" | "description" | "title") {
                        one.entry(key).or_insert_with(|| value.clone());
                    }
                }
            }
            match self.of(&one, name, depth + 1) {
                Ok(value) => return Ok(value),
                Err(why) => wrong = why,
            }
        }
        Err(wrong)
    }

    /// All of several at once: their keys laid over each other.
    fn merged(
        &self,
        all: &[Value],
        beside: &Map<String, Value>,
        name: &str,
        depth: usize,
    ) -> Result<Value, String> {
        let mut whole = beside.clone();
        whole.remove("allOf");
        for one in all {
            let mut one = one;
            if let Some(place) = one.get("$ref") {
                let found = there(self.root, place);
                one = found.ok_or_else(|| format!("{name}: there is no {place}"))?;
            }
            for (key, value) in one.as_object().into_iter().flatten() {
                match (whole.get_mut(key), value) {
                    (Some(Value::Object(known)), Value::Object(more)) => {
                        known.extend(more.clone());
                    }
                    (Some(Value::Array(known)), Value::Array(more)) if key == "required" => {
                        known.extend(more.clone());
                    }
                    _ => {
                        whole.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        self.of(&Value::Object(whole), name, depth + 1)
    }

    fn typed(
        &self,
        schema: &Map<String, Value>,
        name: &str,
        depth: usize,
    ) -> Result<Value, String> {
        let named = match schema.get("type") {
            Some(Value::String(one)) => Some(one.as_str()),
            Some(Value::Array(several)) => {
                let spare = self.flavour == Flavour::Spare && several.contains(&json!("null"));
                let mut words = several.iter().filter_map(Value::as_str);
                if spare {
                    Some("null")
                } else {
                    words.find(|word| *word != "null")
                }
            }
            _ if schema.contains_key("properties") => Some("object"),
            _ if schema.contains_key("items") => Some("array"),
            _ => None,
        };
        match named {
            Some("object") => self.object(schema, name, depth),
            Some("array") => self.list(schema, name, depth),
            Some("boolean") => Ok(json!(self.flavour == Flavour::Full)),
            Some("null") => Ok(Value::Null),
            Some("integer") => number(schema, true, self.flavour, name),
            Some("number") => number(schema, false, self.flavour, name),
            _ => text(schema, name),
        }
    }

    fn object(
        &self,
        schema: &Map<String, Value>,
        name: &str,
        depth: usize,
    ) -> Result<Value, String> {
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let none = Map::new();
        let known = schema
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&none);
        let mut made = Map::new();
        for (key, of) in known {
            let wanted = required.contains(&key.as_str());
            if !wanted && self.flavour == Flavour::Spare {
                continue;
            }
            match self.of(of, key, depth + 1) {
                Ok(value) => drop(made.insert(key.clone(), value)),
                Err(why) if wanted => return Err(format!("{name}.{why}")),
                Err(_) => {}
            }
        }
        for key in required {
            made.entry(key).or_insert_with(|| json!(key));
        }
        Ok(Value::Object(made))
    }

    fn list(&self, schema: &Map<String, Value>, name: &str, depth: usize) -> Result<Value, String> {
        let number = |key: &str| schema.get(key).and_then(Value::as_u64);
        let least = number("minItems").unwrap_or(0);
        let most = number("maxItems").unwrap_or(u64::MAX);
        let wanted = match self.flavour {
            Flavour::Full => 2,
            Flavour::Spare => 0,
        };
        let count = wanted.max(least).min(most).min(64);
        let any = Value::Bool(true);
        let of = schema.get("items").unwrap_or(&any);
        let items: Result<Vec<Value>, String> = (0..count)
            .map(|n| self.of(of, &format!("{name}{}", n + 1), depth + 1))
            .collect();
        items.map(Value::Array)
    }
}

/// A number within its bounds: 1, or a large one, where it may be.
fn number(
    schema: &Map<String, Value>,
    whole: bool,
    flavour: Flavour,
    name: &str,
) -> Result<Value, String> {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let step = bound("multipleOf");
    let mut low = bound("minimum").unwrap_or(f64::NEG_INFINITY);
    let mut high = bound("maximum").unwrap_or(f64::INFINITY);
    let least = if whole { 1.0 } else { 0.001 };
    if let Some(over) = bound("exclusiveMinimum") {
        low = low.max(over + least);
    }
    if let Some(under) = bound("exclusiveMaximum") {
        high = high.min(under - least);
    }
    let near = match flavour {
        Flavour::Full => 1.0,
        Flavour::Spare => LARGE,
    };
    let mut found = near.clamp(low.min(high), high);
    if let Some(step) = step.filter(|step| *step > 0.0) {
        found = match flavour {
            Flavour::Full => (found / step).ceil() * step,
            Flavour::Spare => (found / step).floor() * step,
        };
    } else if whole {
        found = match flavour {
            Flavour::Full => found.ceil(),
            Flavour::Spare => found.floor(),
        };
    }
    if found < low || found > high {
        return Err(format!("{name}: no number is between {low} and {high}"));
    }
    if whole {
        // within what a JSON number holds exactly, or it would have been written otherwise
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a whole number of a schema"
        )]
        return Ok(json!(found as i64));
    }
    Ok(json!(found))
}

/// A text: of its format, by its pattern, as long as it has to be; the first that is all of it.
fn text(schema: &Map<String, Value>, name: &str) -> Result<Value, String> {
    let word = |key: &str| schema.get(key).and_then(Value::as_str);
    let length = |key: &str| {
        let at = schema.get(key).and_then(Value::as_u64);
        at.and_then(|at| usize::try_from(at).ok())
    };
    let long = |text: &str| {
        let mut made = text.to_owned();
        while made.chars().count() < length("minLength").unwrap_or(0).min(TEXT_MAX) {
            made.push('x');
        }
        let most = length("maxLength").unwrap_or(TEXT_MAX);
        made.chars().take(most).collect::<String>()
    };
    let of_format = word("format").and_then(formatted).map(long);
    let Some(pattern) = word("pattern") else {
        return Ok(json!(of_format.unwrap_or_else(|| long(name))));
    };
    let only = Value::Object(schema.clone());
    let check = InputSchema::compile(only).ok();
    let fits = |text: &String| {
        check
            .as_ref()
            .is_some_and(|check| check.check(&json!(text)).is_ok())
    };
    let matched = matching(pattern);
    let why = matched.as_ref().err().cloned().unwrap_or_default();
    let made = [of_format, matched.ok(), Some(long(name))];
    let found = made.into_iter().flatten().find(fits);
    found.map(Value::String).ok_or_else(|| {
        format!("{name}: no text is found for the pattern {pattern} {why}")
            .trim_end()
            .to_owned()
    })
}

/// A text of a format.
fn formatted(format: &str) -> Option<&'static str> {
    Some(match format {
        "date-time" => "2026-01-02T03:04:05Z",
        "date" => "2026-01-02",
        "time" => "03:04:05Z",
        "duration" => "PT1H",
        "email" | "idn-email" => "somebody@example.com",
        "hostname" | "idn-hostname" => "host.example.com",
        "ipv4" => "192.0.2.7",
        "ipv6" => "2001:db8::7",
        "uri" | "iri" => "https://example.com/",
        "uri-reference" | "iri-reference" | "json-pointer" => "/a",
        "uuid" => "00000000-0000-4000-8000-000000000007",
        "regex" => "a",
        _ => return None,
    })
}

/// A short text that a pattern matches.
fn matching(pattern: &str) -> Result<String, String> {
    let parsed = regex_syntax::parse(pattern).map_err(|_| "it is none we can read")?;
    let mut text = String::new();
    write(&parsed, &mut text)?;
    Ok(text)
}

fn write(hir: &Hir, text: &mut String) -> Result<(), String> {
    if text.len() > TEXT_MAX {
        return Err("it wants too long a text".into());
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.push_str(&String::from_utf8_lossy(&literal.0)),
        HirKind::Class(Class::Unicode(class)) => {
            let ranges = || class.iter();
            let readable = ranges().find(|range| range.start() == 'a');
            let one = readable.or_else(|| ranges().next());
            text.push(one.ok_or("it matches nothing")?.start());
        }
        HirKind::Class(Class::Bytes(class)) => {
            let one = class.iter().next().ok_or("it matches nothing")?;
            text.push(char::from(one.start()));
        }
        HirKind::Repetition(repeated) => {
            // once where it may be left out: what is there shows more than what is not
            let most = repeated.max.unwrap_or(u32::MAX);
            for _ in 0..repeated.min.max(1).min(most) {
                write(&repeated.sub, text)?;
            }
        }
        HirKind::Capture(group) => write(&group.sub, text)?,
        HirKind::Concat(all) => all.iter().try_for_each(|one| write(one, text))?,
        HirKind::Alternation(all) => {
            if let Some(first) = all.first() {
                write(first, text)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use baton_engine::definition::InputSchema;
    use serde_json::{Value, json};

    use super::{Flavour, value};

    #[test]
    fn what_is_made_fits() {
        for schema in [
            json!({ "type": "object", "required": ["a"], "properties": { "a": { "type": "string", "pattern": "^[a-z0-9-]+$" }, "b": { "type": ["integer", "null"], "minimum": 7 } } }),
            json!({ "type": "string", "format": "ipv4" }),
            json!({ "type": "string", "pattern": "^v[0-9]+(\\.[0-9]+){2}$" }),
            json!({ "type": "array", "minItems": 3, "items": { "enum": ["x", "y"] } }),
            json!({ "oneOf": [{ "type": "null" }, { "type": "number", "exclusiveMinimum": 3 }] }),
            json!({ "$ref": "#/$defs/a", "$defs": { "a": { "type": "boolean" } } }),
            json!({ "allOf": [{ "type": "object", "properties": { "a": { "const": 4 } } }, { "required": ["a"] }] }),
            json!({ "type": "integer", "minimum": 10, "multipleOf": 4 }),
            json!({ "type": "string", "minLength": 20, "maxLength": 22 }),
        ] {
            let check = InputSchema::compile(schema.clone()).unwrap();
            for flavour in [Flavour::Full, Flavour::Spare] {
                let made = value(&schema, flavour, "a").unwrap();
                check
                    .check(&made)
                    .unwrap_or_else(|why| panic!("{schema}: {made}: {why}"));
            }
        }
    }

    #[test]
    fn what_cannot_be_made_is_named() {
        let schema = json!({ "type": "object", "required": ["a"], "properties": { "a": { "type": "string", "pattern": "(?=x)y" } } });
        let why = value(&schema, Flavour::Full, "input").unwrap_err();
        assert!(why.starts_with("input.a: no text"), "{why}");
        assert_eq!(
            value(&json!(true), Flavour::Full, "a"),
            Ok(Value::from("a"))
        );
    }
}
