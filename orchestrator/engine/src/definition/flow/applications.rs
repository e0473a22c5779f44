//! How often schemas are applied to one value, at the worst: a schema of which each part refers to the next one twice is small, and holding a value against
//! it takes time for ever. Counted without a value, over what is referred to as often as it is, and with work that is bounded itself.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::definition::subschemas::{self, Against};

/// How many schemas may be applied to one part of a value: beyond it, to look at one input takes longer than anybody waits.
pub(super) const APPLICATIONS_MAX: u64 = 100_000;
/// How deep a value can nest: what reads JSON takes no deeper one.
const LEVELS_MAX: usize = 128;
/// How much is computed to find out.
const WORK_MAX: usize = 4_000_000;

/// Why a schema is more than anybody can hold a value against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endless {
    /// It applies itself to the same value again and again.
    Circle,
    /// More than [`APPLICATIONS_MAX`].
    TooMany,
}

/// One schema of a document: the others that are applied where it is, by their places in the list of all.
#[derive(Debug, Default)]
struct Node {
    /// To the same value.
    same: Vec<usize>,
    /// To one part of it each: of those of one part no other is applied there.
    key: Vec<usize>,
    item: Vec<usize>,
    /// To parts of it, beside those.
    keys: Vec<usize>,
    items: Vec<usize>,
}

/// Whether so much is applied that it is refused.
pub(super) fn endless(root: &Value) -> Option<Endless> {
    let nodes = nodes(root);
    let Some(order) = order(&nodes) else {
        return Some(Endless::Circle);
    };
    let mut below = vec![0; nodes.len()];
    for level in 0..LEVELS_MAX {
        if level.saturating_mul(nodes.len()) > WORK_MAX {
            return Some(Endless::TooMany);
        }
        let mut counts = vec![0; nodes.len()];
        for at in &order {
            let count = nodes
                .get(*at)
                .map_or(0, |node| applied(node, &counts, &below));
            if let Some(own) = counts.get_mut(*at) {
                *own = count;
            }
        }
        if counts
            .first()
            .is_some_and(|count| *count > APPLICATIONS_MAX)
        {
            return Some(Endless::TooMany);
        }
        if counts == below {
            return None;
        }
        below = counts;
    }
    None
}

/// How many are applied to a value and, at the worst, to one way down into it.
fn applied(node: &Node, here: &[u64], below: &[u64]) -> u64 {
    let all = |of: &[usize], counts: &[u64]| {
        let found = of.iter().filter_map(|at| counts.get(*at));
        found.fold(0_u64, |sum, count| sum.saturating_add(*count))
    };
    let most = |of: &[usize]| {
        let found = of.iter().filter_map(|at| below.get(*at));
        found.copied().max().unwrap_or(0)
    };
    let key = most(&node.key).saturating_add(all(&node.keys, below));
    let item = most(&node.item).saturating_add(all(&node.items, below));
    let same = all(&node.same, here);
    same.saturating_add(key.max(item)).saturating_add(1)
}

/// The place of the reference by which schemas apply themselves to the same value: the first without which none does, where there is such a one.
pub(super) fn circle_at(root: &Value) -> Option<String> {
    let mut places = Vec::new();
    references(root, "", &mut places);
    places
        .into_iter()
        .take(REFERENCES_TRIED_MAX)
        .find(|above| {
            let mut without = root.clone();
            let schema = without.pointer_mut(above).and_then(Value::as_object_mut);
            let taken = schema.and_then(|schema| schema.remove(REFERENCE));
            taken.is_some() && order(&nodes(&without)).is_some()
        })
        .map(|above| format!("{above}/{REFERENCE}"))
}

const REFERENCE: &str = "$ref";
/// How many references are tried: each is a look at the whole document.
const REFERENCES_TRIED_MAX: usize = 64;

/// Where those schemas stand that refer to another one.
fn references(value: &Value, at: &str, places: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if map.get(REFERENCE).is_some_and(Value::is_string) {
                places.push(at.to_owned());
            }
            for (key, below) in map {
                references(below, &format!("{at}/{}", subschemas::part(key)), places);
            }
        }
        Value::Array(items) => {
            for (n, below) in items.iter().enumerate() {
                references(below, &format!("{at}/{n}"), places);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The names that schemas of a document go by, beside where they stand.
struct Names<'s> {
    root: &'s Value,
    /// `$anchor` and `$dynamicAnchor`.
    anchors: BTreeMap<&'s str, &'s Value>,
    /// `$id`.
    ids: Vec<(&'s str, &'s Value)>,
}

impl<'s> Names<'s> {
    fn of(root: &'s Value) -> Self {
        let mut names = Self {
            root,
            anchors: BTreeMap::new(),
            ids: Vec::new(),
        };
        let mut left = vec![root];
        while let Some(schema) = left.pop() {
            let text = |key: &str| schema.get(key).and_then(Value::as_str);
            let anchors = ["$anchor", "$dynamicAnchor"].into_iter().filter_map(text);
            names.anchors.extend(anchors.map(|name| (name, schema)));
            names.ids.extend(text("$id").map(|id| (id, schema)));
            let within = schema.as_object().map(subschemas::within);
            left.extend(within.into_iter().flatten().map(|one| one.schema));
        }
        names
    }

    /// The schemas a schema refers to.
    fn referred(&self, schema: &'s Value) -> Vec<&'s Value> {
        let text = |key: &str| schema.get(key).and_then(Value::as_str);
        let references = ["$ref", "$dynamicRef", "$recursiveRef"];
        let references = references.into_iter().filter_map(text);
        references.filter_map(|text| self.named(text)).collect()
    }

    fn named(&self, reference: &str) -> Option<&'s Value> {
        let (id, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let is_it =
            |own: &str| own == id || own.strip_suffix(id).is_some_and(|rest| rest.ends_with('/'));
        let document = match id {
            "" => self.root,
            _ => self.ids.iter().find(|(own, _)| is_it(own))?.1,
        };
        match fragment.is_empty() || fragment.starts_with('/') {
            true => document.pointer(fragment),
            false => self.anchors.get(fragment).copied(),
        }
    }
}

/// Every schema of a document that is applied somewhere, the root first.
fn nodes<'s>(root: &'s Value) -> Vec<Node> {
    let names = Names::of(root);
    let mut places: BTreeMap<*const Value, usize> = BTreeMap::from([(std::ptr::from_ref(root), 0)]);
    let mut found: Vec<&'s Value> = vec![root];
    let mut nodes = Vec::new();
    while let Some(schema) = found.get(nodes.len()).copied() {
        let mut node = Node::default();
        let mut place = |schema: &'s Value| {
            let next = places.len();
            let at = *places.entry(std::ptr::from_ref(schema)).or_insert(next);
            if at == next {
                found.push(schema);
            }
            at
        };
        for target in names.referred(schema) {
            node.same.push(place(target));
        }
        let within = schema.as_object().map(subschemas::within);
        for one in within.unwrap_or_default() {
            let of = match one.keyword.against {
                Against::Same => &mut node.same,
                Against::Key | Against::OtherKeys => &mut node.key,
                Against::Keys => &mut node.keys,
                Against::Item => &mut node.item,
                Against::Items => &mut node.items,
                Against::Nothing => continue,
            };
            of.push(place(one.schema));
        }
        nodes.push(node);
    }
    nodes
}

/// The schemas in an order in which each comes after those it applies to the same value; none where they go in a circle.
fn order(nodes: &[Node]) -> Option<Vec<usize>> {
    let mut users = vec![Vec::new(); nodes.len()];
    let mut waiting = vec![0_usize; nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        for other in &node.same {
            users.get_mut(*other)?.push(at);
        }
        *waiting.get_mut(at)? = node.same.len();
    }
    let free = waiting.iter().enumerate().filter(|(_, left)| **left == 0);
    let mut order: Vec<usize> = free.map(|(at, _)| at).collect();
    let mut next = 0;
    while let Some(at) = order.get(next).copied() {
        next += 1;
        for user in users.get(at)? {
            let left = waiting.get_mut(*user)?;
            *left -= 1;
            if *left == 0 {
                order.push(*user);
            }
        }
    }
    (order.len() == nodes.len()).then_some(order)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_people_write_is_not_endless() {
        for schema in [
            json!(true),
            json!({ "type": "object", "properties": { "next": { "$ref": "#" }, "other": { "$ref": "#" } } }),
            json!({ "type": "array", "items": { "anyOf": [{ "type": "null" }, { "$ref": "#" }] } }),
            json!({ "oneOf": [{ "const": 1 }, { "const": 2 }], "allOf": [{ "required": ["a"] }] }),
            json!({ "dependencies": { "a": ["b", "c"], "b": { "required": ["c"] } } }),
        ] {
            assert_eq!(endless(&schema), None, "{schema}");
        }
    }

    #[test]
    fn what_doubles_on_each_level_is() {
        let twice =
            json!({ "properties": { "a": { "allOf": [{ "$ref": "#" }, { "$ref": "#" }] } } });
        assert_eq!(endless(&twice), Some(Endless::TooMany));
        let patterns =
            json!({ "patternProperties": { "a": { "$ref": "#" }, "b": { "$ref": "#" } } });
        assert_eq!(endless(&patterns), Some(Endless::TooMany));
        let dependencies = json!({ "properties": { "a": { "dependencies": { "x": { "$ref": "#" }, "y": { "$ref": "#" } } } } });
        assert_eq!(endless(&dependencies), Some(Endless::TooMany));
        let mut inline = json!({ "type": "string" });
        for _ in 0..12 {
            inline = json!({ "allOf": [{ "properties": { "a": inline } }, { "properties": { "a": inline } }] });
        }
        assert_eq!(
            endless(&inline),
            None,
            "2^12 of them are looked at in a moment"
        );
    }

    #[test]
    fn what_applies_itself_to_the_same_value_never_ends() {
        assert_eq!(endless(&json!({ "$ref": "#" })), Some(Endless::Circle));
        let around = json!({ "$ref": "#/$defs/a", "$defs": { "a": { "anyOf": [{ "$ref": "#/$defs/b" }] }, "b": { "not": { "$ref": "#/$defs/a" } } } });
        assert_eq!(endless(&around), Some(Endless::Circle));
    }

    #[test]
    fn the_reference_that_leads_around_is_the_one_that_is_told() {
        let schema = json!({ "properties": { "next": { "$ref": "#" } }, "dependencies": { "a/b": { "$ref": "#" } } });
        assert_eq!(
            circle_at(&schema).as_deref(),
            Some("/dependencies/a~1b/$ref")
        );
        let twice = json!({ "anyOf": [{ "$ref": "#" }, { "$ref": "#" }] });
        assert_eq!(circle_at(&twice), None, "no one of them alone");
    }
}
