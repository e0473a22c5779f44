//! JSON to CEL and back. Numbers keep their kind: what fits i64 is an int, what only fits u64 a uint, anything with a fraction or an
//! exponent a double, and back the same way. Text is borrowed, not copied.

use std::collections::HashMap;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::Val;
use cel::objects::Key;
use serde_json::{Map, Number, Value};

use super::uses::Uses;
use super::{RESULT_BYTES_MAX, SECRET_KEY};

/// A JSON value as CEL sees it, borrowing its text.
pub(super) fn to_cel(value: &Value) -> Box<dyn Val + '_> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(b) => Box::new(CelBool::from(*b)),
        Value::Number(n) => number_to_cel(n),
        Value::String(s) => Box::new(CelString::from(s.as_str())),
        Value::Array(list) => {
            let items: Vec<Box<dyn Val + '_>> = list.iter().map(to_cel).collect();
            Box::new(CelList::from(items))
        }
        Value::Object(map) => map_to_cel(map.iter().map(|(key, value)| (key, to_cel(value)))),
    }
}

/// As much of a JSON value as is used of it.
pub(super) fn used_to_cel<'v>(value: &'v Value, uses: &'v Uses) -> Box<dyn Val + 'v> {
    let (Value::Object(map), Uses::Keys(keys)) = (value, uses) else {
        return to_cel(value);
    };
    let used = |(key, uses)| Some((key, used_to_cel(map.get(key)?, uses)));
    map_to_cel(keys.iter().filter_map(used))
}

/// CEL's own map is a hash map. Nothing observes its order: `rewrite` puts every walk over one in the order of the keys.
fn map_to_cel<'v>(
    entries: impl Iterator<Item = (&'v String, Box<dyn Val + 'v>)>,
) -> Box<dyn Val + 'v> {
    let keyed = |(key, value): (&'v String, _)| {
        let key = CelMapKey::String(CelString::from(key.as_str()));
        (key, value)
    };
    let entries: HashMap<CelMapKey<'v>, Box<dyn Val + 'v>> = entries.map(keyed).collect();
    Box::new(CelMap::from(entries))
}

fn number_to_cel<'v>(n: &Number) -> Box<dyn Val + 'v> {
    match (n.as_i64(), n.as_u64()) {
        (Some(int), _) => Box::new(CelInt::from(int)),
        (None, Some(uint)) => Box::new(CelUInt::from(uint)),
        (None, None) => Box::new(CelDouble::from(n.as_f64().unwrap_or(f64::NAN))),
    }
}

/// A CEL result as JSON, or what it is when JSON has no such thing.
pub(super) fn to_json(value: &cel::Value) -> Result<Value, &'static str> {
    match value {
        cel::Value::Null => Ok(Value::Null),
        cel::Value::Bool(b) => Ok(Value::Bool(*b)),
        cel::Value::Int(n) => Ok(Value::from(*n)),
        cel::Value::UInt(n) => Ok(Value::from(*n)),
        cel::Value::Float(n) => Number::from_f64(*n)
            .map(Value::Number)
            .ok_or("not a finite number"),
        cel::Value::String(s) => Ok(Value::String(s.to_string())),
        cel::Value::List(list) => list
            .iter()
            .map(to_json)
            .collect::<Result<_, _>>()
            .map(Value::Array),
        cel::Value::Map(map) => {
            let mut object = Map::new();
            for (key, value) in map.map.iter() {
                let Key::String(key) = key else {
                    return Err("an object with keys that are not text");
                };
                object.insert(key.to_string(), to_json(value)?);
            }
            Ok(Value::Object(object))
        }
        cel::Value::Bytes(_) => Err("bytes"),
        cel::Value::Opaque(_) => Err("an optional value"),
        _ => Err("something JSON has no form for"),
    }
}

/// What CEL calls the kind of a value.
pub(super) fn kind_of(value: &cel::Value) -> &'static str {
    match value {
        cel::Value::Null => "null",
        cel::Value::Bool(_) => "bool",
        cel::Value::Int(_) => "int",
        cel::Value::UInt(_) => "uint",
        cel::Value::Float(_) => "double",
        cel::Value::String(_) => "string",
        cel::Value::Bytes(_) => "bytes",
        cel::Value::List(_) => "list",
        cel::Value::Map(_) => "map",
        _ => "another kind",
    }
}

/// How many bytes a value has as JSON, without writing it out.
pub(crate) fn json_bytes(value: &Value) -> usize {
    // without a limit counting cannot fail, and a Value always serialises
    bytes_within(value, usize::MAX).unwrap_or(usize::MAX / 2)
}

/// How many bytes a value takes as compact JSON; `None` when that is more than a result may have.
pub(super) fn result_bytes(value: &Value) -> Option<usize> {
    bytes_within(value, RESULT_BYTES_MAX)
}

fn bytes_within(value: &Value, most: usize) -> Option<usize> {
    let mut counter = Counter { bytes: 0, most };
    serde_json::to_writer(&mut counter, value).ok()?;
    Some(counter.bytes)
}

/// Whether a value holds a reference to a secret anywhere.
pub(super) fn holds_secret(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.contains_key(SECRET_KEY) || map.values().any(holds_secret),
        Value::Array(list) => list.iter().any(holds_secret),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Where a value first refers to a secret, as a JSON pointer: what comes from outside may not.
#[must_use]
pub fn secret_at(value: &Value) -> Option<String> {
    let below = |key: &str, inner: &Value| {
        let key = key.replace('~', "~0").replace('/', "~1");
        secret_at(inner).map(|rest| format!("/{key}{rest}"))
    };
    match value {
        Value::Object(map) if map.contains_key(SECRET_KEY) => Some(String::new()),
        Value::Object(map) => map.iter().find_map(|(key, inner)| below(key, inner)),
        Value::Array(list) => {
            let mut items = list.iter().enumerate();
            items.find_map(|(n, inner)| below(&n.to_string(), inner))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Counts what is written and stops a writer that is past the limit.
struct Counter {
    bytes: usize,
    most: usize,
}

impl std::io::Write for Counter {
    fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
        self.bytes += part.len();
        if self.bytes > self.most {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        Ok(part.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
