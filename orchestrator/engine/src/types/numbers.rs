//! Whole numbers as they are written and as they are typed. JSON Schema takes `1.0` for an integer, an expression takes it for a double: what comes in from
//! outside under a schema is made what the checker says it is, once, where it comes in.

use serde_json::{Map, Number, Value};

use super::{Object, Type, of_schema};

/// The first whole number above those of 64 bits with a sign: as a double it is exact.
const BEYOND_I64: f64 = 9_223_372_036_854_775_808.0;

/// A value of this schema with every number an integer that is said to be one and written with a fraction of zero; none where nothing of it changes. What lies
/// beyond 64 bits stays as it is.
pub(crate) fn whole_numbers(schema: &Value, value: &Value) -> Option<Value> {
    // a look at the schema costs more than one at the value, and hardly any is written so
    if !any_written_so(value) {
        return None;
    }
    let mut made = value.clone();
    make(&mut made, &of_schema(schema, schema)).then_some(made)
}

/// Whether two values are the same to JSON Schema, which does not tell `1` from `1.0`.
#[must_use]
pub fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let integer = |number: &Number| number.as_i64().or_else(|| whole(number));
            a == b || integer(a).is_some() && integer(a) == integer(b)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same = |(key, a): (&String, &Value)| b.get(key).is_some_and(|b| same_value(a, b));
            a.len() == b.len() && a.iter().all(same)
        }
        (a, b) => a == b,
    }
}

fn any_written_so(value: &Value) -> bool {
    match value {
        Value::Number(number) => whole(number).is_some(),
        Value::Array(items) => items.iter().any(any_written_so),
        Value::Object(map) => map.values().any(any_written_so),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

/// The integer a number is that is written with a fraction of zero.
fn whole(number: &Number) -> Option<i64> {
    let written = number.as_f64().filter(|_| number.is_f64())?;
    let fits = written.fract() == 0.0 && (-BEYOND_I64..BEYOND_I64).contains(&written);
    fits.then_some(written as i64)
}

/// Makes what is typed an integer one; says whether anything has changed.
fn make(value: &mut Value, of: &Type) -> bool {
    let all = of.alternatives();
    match value {
        Value::Number(number) => {
            let is_integer = all.iter().any(|one| matches!(one, Type::Int(_)));
            let may_be_other = all
                .iter()
                .any(|one| matches!(one, Type::Double | Type::Any));
            let made = whole(number).filter(|_| is_integer && !may_be_other);
            if let Some(made) = made {
                *number = Number::from(made);
            }
            made.is_some()
        }
        Value::Array(items) => {
            let inside = Type::union(all.iter().filter_map(|one| match one {
                Type::List(inside) => Some(inside.as_ref().clone()),
                Type::Any => Some(Type::Any),
                _ => None,
            }));
            let mut changed = false;
            for item in items {
                changed |= make(item, &inside);
            }
            changed
        }
        Value::Object(map) => {
            let fitting: Vec<&Object> = objects(all).filter(|one| may_be(one, map)).collect();
            let is_open = all.contains(&Type::Any);
            let objects: Vec<&Object> = match fitting.is_empty() && !is_open {
                true => objects(all).collect(),
                false => fitting,
            };
            let mut changed = false;
            for (key, value) in map {
                let of_any = is_open.then_some(Type::Any);
                let of_key = objects.iter().filter_map(|one| one.key(key)).chain(of_any);
                changed |= make(value, &Type::union(of_key));
            }
            changed
        }
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

fn objects(all: &[Type]) -> impl Iterator<Item = &Object> {
    all.iter().filter_map(|one| match one {
        Type::Object(object) => Some(object.as_ref()),
        _ => None,
    })
}

/// Whether a value is one of these objects, by what an expression can tell several apart: which keys there are, and the kinds and constants in them. The checker
/// types a key by those that are left where a condition has told them apart, so that no more than those may count here.
fn may_be(object: &Object, value: &Map<String, Value>) -> bool {
    let mut required = object.properties.iter().filter(|(_, own)| own.required);
    let mut keys = value.iter();
    required.all(|(key, _)| value.contains_key(key))
        && keys.all(|(key, value)| object.key(key).is_some_and(|of| is_one(value, &of)))
}

/// Whether a value may be of a type, as far as it is seen without looking into it.
fn is_one(value: &Value, of: &Type) -> bool {
    of.alternatives().iter().any(|one| match (value, one) {
        (_, Type::Any)
        | (Value::Null, Type::Null)
        | (Value::Bool(_), Type::Bool)
        | (Value::Number(_), Type::Double | Type::Uint)
        | (Value::String(_), Type::Text(None))
        | (Value::Array(_), Type::List(_))
        | (Value::Object(_), Type::Object(_)) => true,
        (Value::String(text), Type::Text(Some(known))) => known.contains(text),
        (Value::Number(number), Type::Int(bounds)) => number
            .as_i64()
            .or_else(|| whole(number))
            .is_none_or(|n| bounds.may_be(n)),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_typed_an_integer_is_one_however_it_is_written() {
        let schema = json!({
            "properties": {
                "n": { "type": "integer" },
                "maybe": { "type": ["integer", "null"] },
                "ratio": { "type": "number" },
                "any": true,
                "all": { "type": "array", "items": { "$ref": "#/$defs/one" } },
                "either": { "anyOf": [{ "type": "integer" }, { "type": "number" }] },
                "huge": { "type": "integer" },
            },
            "additionalProperties": { "type": "integer" },
            "$defs": { "one": { "type": "integer" } },
        });
        let given = json!({
            "n": 1.0, "maybe": -3.0, "ratio": 1.0, "any": 1.0, "all": [1.0, 2, 4.0], "either": 1.0, "huge": 1e300, "other": 7.0,
        });
        let made = whole_numbers(&schema, &given).map(|made| made.to_string());
        let expected = json!({
            "n": 1, "maybe": -3, "ratio": 1.0, "any": 1.0, "all": [1, 2, 4], "either": 1.0, "huge": 1e300, "other": 7,
        });
        assert_eq!(made, Some(expected.to_string()));
        assert_eq!(
            whole_numbers(&schema, &json!({ "n": 1, "ratio": 0.5 })),
            None
        );
        assert_eq!(whole_numbers(&schema, &json!({ "ratio": 1.0 })), None);
    }

    /// A condition on what tells them apart types a key by that one alone.
    #[test]
    fn of_several_objects_the_one_it_is_says_what_is_an_integer() {
        let one = |name: &str, of: &str| json!({ "type": "object", "additionalProperties": false, "required": ["k", "n"], "properties": { "k": { "const": name }, "n": { "type": of } } });
        let schema = json!({ "oneOf": [one("whole", "integer"), one("any", "number")] });
        let made = |value: Value| whole_numbers(&schema, &value).map(|made| made.to_string());
        let expected = json!({ "k": "whole", "n": 2 }).to_string();
        assert_eq!(made(json!({ "k": "whole", "n": 2.0 })), Some(expected));
        assert_eq!(made(json!({ "k": "any", "n": 2.0 })), None);
    }

    #[test]
    fn what_is_typed_an_integer_is_the_same_value() {
        assert!(same_value(&json!({ "a": [1.0] }), &json!({ "a": [1] })));
        assert!(same_value(&json!(u64::MAX), &json!(u64::MAX)));
        assert!(same_value(&json!(0.5), &json!(0.5)));
        for (a, b) in [
            (json!(1.5), json!(1)),
            (json!({ "a": 1 }), json!({ "b": 1 })),
            (json!([1]), json!([1, 1])),
            (json!(0.5), json!(1e300)),
            (json!(u64::MAX), json!(0.5)),
        ] {
            assert!(!same_value(&a, &b), "{a} {b}");
        }
    }
}
