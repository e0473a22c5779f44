//! Whether a later manifest of the same major version keeps what definitions were written against: every input that
//! was accepted still is, every output still has what was promised, and nothing that outcomes are judged by has changed.

use baton_messages::Manifest;
use serde_json::{Map, Value};

/// How deep schemas are compared: what refers to itself is equal from there on.
const DEPTH_MAX: usize = 16;

/// What differs in a way that the same major version may not; `None` when the new one may take the old one's place.
pub(super) fn contradiction(old: &Manifest, new: &Manifest) -> Option<String> {
    let say = |what: &str| Some(format!("its {what} differs from what was announced before"));
    if old.effect != new.effect {
        return say("effect");
    }
    if old.idempotent && !new.idempotent {
        return say("idempotence");
    }
    if old.undo && !new.undo {
        return say("undo");
    }
    if old.probe && !new.probe {
        return say("probe");
    }
    if old.before_image != new.before_image {
        return say("before-image");
    }
    if old.hold() != new.hold() {
        return say("way of holding tasks");
    }
    if let Some(what) = lost(&Side::of(&old.input), &Side::of(&new.input), "", DEPTH_MAX) {
        return Some(format!("an input that was accepted no longer is ({what})"));
    }
    lost(
        &Side::of(&new.output),
        &Side::of(&old.output),
        "",
        DEPTH_MAX,
    )
    .map(|what| format!("an output may come that was not promised ({what})"))
}

/// A schema, or a part of one, with the document its references point into.
struct Side<'a> {
    root: &'a Value,
    at: &'a Value,
}

impl<'a> Side<'a> {
    const fn of(root: &'a Value) -> Self {
        Self { root, at: root }
    }

    /// This part, with a reference into its own document followed.
    fn resolved(&self) -> Self {
        let mut at = self.at;
        for _ in 0..DEPTH_MAX {
            let pointed = at["$ref"]
                .as_str()
                .and_then(|reference| reference.strip_prefix('#'))
                .and_then(|pointer| self.root.pointer(pointer));
            match pointed {
                Some(next) => at = next,
                None => break,
            }
        }
        Self {
            root: self.root,
            at,
        }
    }

    fn part(&self, keyword: &str) -> Option<Self> {
        let at = self.at.get(keyword)?;
        Some(Self {
            root: self.root,
            at,
        })
    }

    fn property(&self, name: &str) -> Option<Self> {
        let at = self.at.get("properties")?.get(name)?;
        Some(Self {
            root: self.root,
            at,
        })
    }

    /// Whether it says nothing at all.
    fn accepts_everything(&self) -> bool {
        match self.at {
            Value::Bool(all) => *all,
            Value::Object(keywords) => keywords.is_empty(),
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
        }
    }

    fn closed(&self) -> bool {
        self.at["additionalProperties"] == Value::Bool(false)
    }
}

/// The first value, in words, that fits `wide` and does not fit `narrow`. Only keywords that are the same in every
/// draft are compared; what differs in any other way is taken to fit, as is what is nested too deep.
fn lost(wide: &Side<'_>, narrow: &Side<'_>, path: &str, depth: usize) -> Option<String> {
    let (wide, narrow) = (wide.resolved(), narrow.resolved());
    if depth == 0 || wide.at == narrow.at && wide.root == narrow.root || narrow.accepts_everything()
    {
        return None;
    }
    let at = if path.is_empty() { "the whole" } else { path };
    lost_types(wide.at, narrow.at, at)
        .or_else(|| lost_values(wide.at, narrow.at, at))
        .or_else(|| lost_bounds(wide.at, narrow.at, at))
        .or_else(|| lost_properties(&wide, &narrow, path, depth))
        .or_else(|| {
            let (wide, narrow) = (wide.part("items")?, narrow.part("items")?);
            lost(&wide, &narrow, &format!("{path}[]"), depth - 1)
        })
}

fn lost_types(wide: &Value, narrow: &Value, at: &str) -> Option<String> {
    let allowed = types(narrow)?;
    let Some(given) = types(wide) else {
        return Some(format!("{at}: other than {}", allowed.join(" or ")));
    };
    let covered =
        |one: &&str| allowed.contains(one) || *one == "integer" && allowed.contains(&"number");
    given
        .iter()
        .find(|one| !covered(one))
        .map(|one| format!("{at}: {one}"))
}

fn types(schema: &Value) -> Option<Vec<&str>> {
    match schema.get("type")? {
        Value::String(one) => Some(vec![one]),
        Value::Array(all) => Some(all.iter().filter_map(Value::as_str).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

fn lost_values(wide: &Value, narrow: &Value, at: &str) -> Option<String> {
    let allowed = values(narrow)?;
    let Some(given) = values(wide) else {
        return Some(format!("{at}: outside its list"));
    };
    given
        .iter()
        .find(|value| !allowed.contains(value))
        .map(|value| format!("{at}: {value}"))
}

fn values(schema: &Value) -> Option<Vec<&Value>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(one), _) => Some(vec![one]),
        (None, Some(Value::Array(all))) => Some(all.iter().collect()),
        (None, _) => None,
    }
}

/// Keywords of which a larger number, or a smaller one, accepts less.
const LOWER_BOUNDS: [&str; 4] = ["minimum", "exclusiveMinimum", "minLength", "minItems"];
const UPPER_BOUNDS: [&str; 4] = ["maximum", "exclusiveMaximum", "maxLength", "maxItems"];

fn lost_bounds(wide: &Value, narrow: &Value, at: &str) -> Option<String> {
    let tighter = |keyword: &&str, lower: bool| {
        let Some(now) = narrow.get(*keyword).and_then(Value::as_f64) else {
            return false;
        };
        match wide.get(*keyword).and_then(Value::as_f64) {
            // the smallest length or count there is forbids nothing
            None => !(lower && now <= 0.0 && !keyword.ends_with("imum")),
            Some(before) if lower => now > before,
            Some(before) => now < before,
        }
    };
    let pattern = narrow.get("pattern");
    if pattern.is_some() && pattern != wide.get("pattern") {
        return Some(format!("{at}: outside its `pattern`"));
    }
    LOWER_BOUNDS
        .iter()
        .find(|keyword| tighter(keyword, true))
        .or_else(|| UPPER_BOUNDS.iter().find(|keyword| tighter(keyword, false)))
        .map(|keyword| format!("{at}: outside its `{keyword}`"))
}

fn lost_properties(wide: &Side<'_>, narrow: &Side<'_>, path: &str, depth: usize) -> Option<String> {
    let name = |property: &str| match path {
        "" => format!("`{property}`"),
        _ => format!("{path}.`{property}`"),
    };
    let needed = required(wide.at);
    if let Some(new) = required(narrow.at)
        .into_iter()
        .find(|field| !needed.contains(field))
    {
        return Some(format!("{} left out", name(new)));
    }
    let known = |side: &Side<'_>| -> Vec<String> {
        let properties = side.at["properties"].as_object().map(Map::keys);
        properties.into_iter().flatten().cloned().collect()
    };
    known(wide).iter().find_map(|property| {
        let before = wide.property(property)?;
        match narrow.property(property) {
            Some(now) => lost(&before, &now, &name(property), depth - 1),
            None if narrow.closed() => Some(format!("{} given", name(property))),
            None => None,
        }
    })
}

fn required(schema: &Value) -> Vec<&str> {
    schema["required"]
        .as_array()
        .map(|all| all.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn between(wide: &Value, narrow: &Value) -> Option<String> {
        lost(&Side::of(wide), &Side::of(narrow), "", DEPTH_MAX)
    }

    fn object(properties: Value, required: &[&str]) -> Value {
        json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
    }

    #[test]
    fn what_accepts_more_takes_the_place() {
        let old = object(
            json!({ "a": { "type": "integer", "minimum": 2 }, "b": { "enum": ["x"] } }),
            &["a"],
        );
        let new = object(
            json!({ "a": { "type": "number" }, "b": { "enum": ["x", "y"] }, "c": {} }),
            &[],
        );
        assert_eq!(between(&old, &new), None);
    }

    #[test]
    fn each_way_to_accept_less_is_named() {
        let old = object(
            json!({ "a": { "type": ["integer", "null"] }, "b": { "enum": ["x", "y"] }, "c": { "type": "array", "items": { "type": "string" } } }),
            &["a"],
        );
        let with = |property: &str, schema: Value| {
            let mut new = old.clone();
            new["properties"][property] = schema;
            between(&old, &new).unwrap()
        };
        assert_eq!(with("a", json!({ "type": "integer" })), "`a`: null");
        assert_eq!(
            with("a", json!({ "type": ["integer", "null"], "minimum": 0 })),
            "`a`: outside its `minimum`"
        );
        assert_eq!(with("b", json!({ "const": "x" })), "`b`: \"y\"");
        assert_eq!(
            with(
                "c",
                json!({ "type": "array", "items": { "type": "number" } })
            ),
            "`c`[]: string"
        );
        let mut without = old.clone();
        without["properties"].as_object_mut().unwrap().remove("b");
        assert_eq!(between(&old, &without).unwrap(), "`b` given");
        let mut needs = old.clone();
        needs["required"] = json!(["a", "b"]);
        assert_eq!(between(&old, &needs).unwrap(), "`b` left out");
    }

    #[test]
    fn references_are_followed_and_may_go_round() {
        let tree = |leaf: &str| {
            json!({ "$ref": "#/$defs/node", "$defs": { "node": { "type": "object", "properties": {
                "next": { "$ref": "#/$defs/node" }, "leaf": { "type": leaf } } } } })
        };
        assert_eq!(between(&tree("integer"), &tree("number")), None);
        assert_eq!(
            between(&tree("number"), &tree("integer")).unwrap(),
            "`leaf`: number"
        );
    }
}
