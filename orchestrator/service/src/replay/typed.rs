//! Headers as JSON and back, without loss: JSON has fewer types than AMQP. What JSON does not tell stands beside it, by the place of the value: `{"/n": "i32"}`. Pure.
//!
//! The JSON stays as people read and edit it: an edited value keeps the type of the one it replaces, as far as it fits it.

use base64::Engine as _;
use baton_bus::{HeaderValue, Headers};
use serde_json::{Map, Value};

/// Under which name the types stand among the properties of a letter.
pub(crate) const TYPES: &str = "header_types";
/// A table that would be read as another type.
const TABLE: &str = "table";
const SHORT: &str = "short";
const BYTES: &str = "bytes";
const F32: &str = "f32";

/// The types that JSON does not tell, by place.
pub(crate) fn types_of(headers: &Headers) -> Map<String, Value> {
    let mut types = Map::new();
    for (name, value) in headers {
        note(value, &below("", name), &mut types);
    }
    types
}

/// Headers as AMQP has them, from what was kept of them.
pub(super) fn headers<'a>(
    kept: impl Iterator<Item = (&'a String, &'a Value)>,
    types: &Value,
) -> Headers {
    kept.map(|(name, value)| (name.clone(), header(value, &below("", name), types)))
        .collect()
}

/// The place of a value in a value: a JSON pointer.
fn below(place: &str, name: &str) -> String {
    format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn note(value: &HeaderValue, place: &str, types: &mut Map<String, Value>) {
    let is_like_another = || named_type(&value.to_json(), false).is_some();
    let tag = match value {
        HeaderValue::I8(_) => "i8".to_owned(),
        HeaderValue::U8(_) => "u8".to_owned(),
        HeaderValue::I16(_) => "i16".to_owned(),
        HeaderValue::U16(_) => "u16".to_owned(),
        HeaderValue::I32(_) => "i32".to_owned(),
        HeaderValue::U32(_) => "u32".to_owned(),
        HeaderValue::F32(n) if n.is_finite() => F32.to_owned(),
        HeaderValue::F32(n) => format!("{F32}:{n}"),
        HeaderValue::F64(n) if !n.is_finite() => format!("f64:{n}"),
        HeaderValue::ShortText(_) => SHORT.to_owned(),
        HeaderValue::Bytes(_) => BYTES.to_owned(),
        HeaderValue::Table(_) if is_like_another() => TABLE.to_owned(),
        _ => String::new(),
    };
    if !tag.is_empty() {
        types.insert(place.to_owned(), tag.into());
    }
    match value {
        HeaderValue::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                note(item, &below(place, &n.to_string()), types);
            }
        }
        HeaderValue::Table(fields) => {
            for (name, field) in fields {
                note(field, &below(place, name), types);
            }
        }
        _ => {}
    }
}

fn header(value: &Value, place: &str, types: &Value) -> HeaderValue {
    let tag = types[place].as_str().unwrap_or_default();
    match value {
        Value::Null => no_number(tag).unwrap_or(HeaderValue::Void),
        Value::Bool(b) => HeaderValue::Bool(*b),
        Value::Number(n) => {
            let typed = n.as_i64().and_then(|n| whole(n, tag));
            typed.unwrap_or_else(|| fraction(n.as_f64().unwrap_or_default(), tag))
        }
        Value::String(text) if tag == SHORT => HeaderValue::ShortText(text.clone()),
        Value::String(text) => HeaderValue::Text(text.clone()),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            let item =
                |(n, item): (usize, &Value)| header(item, &below(place, &n.to_string()), types);
            HeaderValue::Array(items.map(item).collect())
        }
        Value::Object(fields) => {
            let named = if tag == TABLE {
                None
            } else {
                named_type(value, tag == BYTES)
            };
            named.unwrap_or_else(|| HeaderValue::Table(table(fields, place, types)))
        }
    }
}

fn table(fields: &Map<String, Value>, place: &str, types: &Value) -> Headers {
    fields
        .iter()
        .map(|(name, value)| (name.clone(), header(value, &below(place, name), types)))
        .collect()
}

/// A whole number in the width it had; one that does not fit it any more, or had none, in the widest there is. None: it is a fraction.
fn whole(n: i64, tag: &str) -> Option<HeaderValue> {
    let typed = match tag {
        "i8" => n.try_into().ok().map(HeaderValue::I8),
        "u8" => n.try_into().ok().map(HeaderValue::U8),
        "i16" => n.try_into().ok().map(HeaderValue::I16),
        "u16" => n.try_into().ok().map(HeaderValue::U16),
        "i32" => n.try_into().ok().map(HeaderValue::I32),
        "u32" => n.try_into().ok().map(HeaderValue::U32),
        F32 => return None,
        _ => None,
    };
    Some(typed.unwrap_or(HeaderValue::I64(n)))
}

fn fraction(n: f64, tag: &str) -> HeaderValue {
    if tag == F32 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it had that precision when it came"
        )]
        return HeaderValue::F32(n as f32);
    }
    HeaderValue::F64(n)
}

/// What is no number and yet of such a type: JSON has nothing for it.
fn no_number(tag: &str) -> Option<HeaderValue> {
    let (kind, text) = tag.split_once(':')?;
    match kind {
        F32 => text.parse().ok().map(HeaderValue::F32),
        "f64" => text.parse().ok().map(HeaderValue::F64),
        _ => None,
    }
}

/// A type that JSON does not have, as the intake names it.
fn named_type(value: &Value, is_bytes: bool) -> Option<HeaderValue> {
    let fields = value.as_object()?;
    if fields.len() != 1 {
        return None;
    }
    if let Some(encoded) = value["base64"].as_str() {
        let bytes = base64::engine::general_purpose::STANDARD.decode(encoded);
        let make = if is_bytes {
            HeaderValue::Bytes
        } else {
            HeaderValue::TextBytes
        };
        return bytes.ok().map(make);
    }
    if let Some(seconds) = value["timestamp"].as_u64() {
        return Some(HeaderValue::Timestamp(seconds));
    }
    let decimal = &value["decimal"];
    let scale = decimal["scale"].as_u64().and_then(|n| u8::try_from(n).ok());
    let digits = decimal["value"].as_u64();
    let digits = digits.and_then(|n| u32::try_from(n).ok());
    let (scale, value) = scale.zip(digits)?;
    Some(HeaderValue::Decimal { scale, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(all: &Headers) -> Headers {
        let kept: Map<String, Value> = all
            .iter()
            .map(|(name, value)| (name.clone(), value.to_json()))
            .collect();
        // through text, as a store keeps it
        let types = Value::Object(types_of(all)).to_string();
        let kept = Value::Object(kept).to_string();
        let kept: Map<String, Value> = serde_json::from_str(&kept).unwrap();
        headers(kept.iter(), &serde_json::from_str(&types).unwrap())
    }

    fn table<const N: usize>(fields: [(&str, HeaderValue); N]) -> HeaderValue {
        let fields = fields.into_iter();
        HeaderValue::Table(fields.map(|(name, v)| (name.to_owned(), v)).collect())
    }

    #[test]
    fn every_type_comes_back_as_it_was_however_deep() {
        use HeaderValue as V;
        let values = [
            V::I8(-8),
            V::U8(8),
            V::I16(-16),
            V::U16(16),
            V::I32(-32),
            V::U32(32),
            V::I64(-64),
            V::F32(0.1),
            V::F32(3.0),
            V::F64(0.1),
            V::F64(3.0),
            V::F32(f32::INFINITY),
            V::F64(f64::NEG_INFINITY),
            V::Bool(true),
            V::Void,
            V::Text("a".into()),
            V::ShortText("b".into()),
            V::TextBytes(vec![0xff]),
            V::Bytes(vec![1]),
            V::Timestamp(5),
            V::Decimal { scale: 2, value: 3 },
            // tables of a sender that look like what JSON does not have
            table([("timestamp", V::I64(5))]),
            table([("base64", V::Text("aGk=".into()))]),
            table([(
                "decimal",
                table([("scale", V::I32(1)), ("value", V::I32(2))]),
            )]),
            table([("timestamp", V::Text("noon".into()))]),
        ];
        let mut all = Headers::new();
        for (n, value) in values.iter().enumerate() {
            all.insert(format!("h{n}/~"), value.clone());
        }
        all.insert("list".to_owned(), V::Array(values.to_vec()));
        all.insert(
            "deep".to_owned(),
            table([("a/b", V::Array(values.to_vec()))]),
        );
        assert_eq!(there_and_back(&all), all);
        let Some(V::F64(nan)) =
            there_and_back(&Headers::from([("n".to_owned(), V::F64(f64::NAN))])).remove("n")
        else {
            panic!("no such number")
        };
        assert!(nan.is_nan());
    }

    #[test]
    fn an_edited_value_keeps_the_type_as_far_as_it_fits() {
        let types = serde_json::json!({ "/n": "u8", "/t": "i32" });
        let kept = serde_json::json!({ "n": 300, "t": "now text" });
        let kept = kept.as_object().unwrap();
        let now = headers(kept.iter(), &types);
        assert_eq!(now["n"], HeaderValue::I64(300));
        assert_eq!(now["t"], HeaderValue::Text("now text".to_owned()));
    }
}
