//! Sets one place of a JSON text (RFC 6901), and leaves every other value as it is written: a number of forty digits or two fields of one name stay what they are,
//! which they would not if all of it were read and written again. Only blanks between values go.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// An object's fields in their order, none of them read.
pub(super) struct Fields<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Ordered;

        impl<'de> Visitor<'de> for Ordered {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(field) = map.next_entry()? {
                    all.push(field);
                }
                Ok(all)
            }
        }

        from.deserialize_map(Ordered).map(Fields)
    }
}

/// The text with this value at this place, or without the place; or why not.
pub(crate) fn set(text: &str, place: &str, value: Option<&Value>) -> Result<String, String> {
    if let Err(error) = serde_json::from_str::<&RawValue>(text) {
        return Err(format!(
            "its body is no JSON (line {} column {}), so no place in it can be set; give it whole",
            error.line(),
            error.column()
        ));
    }
    let parts: Vec<String> = match place.strip_prefix('/') {
        Some(rest) => rest.split('/').map(unescaped).collect(),
        None if place.is_empty() => Vec::new(),
        None => {
            return Err(format!(
                "`{place}` is no JSON pointer: it is written /field/0/field"
            ));
        }
    };
    let new = value.map(Value::to_string);
    placed(text, &parts, new.as_deref()).map_err(|why| format!("{place}: {why}"))
}

fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

fn placed(text: &str, parts: &[String], new: Option<&str>) -> Result<String, String> {
    let Some((first, rest)) = parts.split_first() else {
        return new
            .map(str::to_owned)
            .ok_or_else(|| "the whole body cannot be taken away; give another".to_owned());
    };
    if let Ok(Fields(fields)) = serde_json::from_str(text) {
        return in_object(&fields, first, rest, new);
    }
    match serde_json::from_str::<Vec<&RawValue>>(text) {
        Ok(items) => in_array(&items, first, rest, new),
        Err(_) => Err(format!(
            "there is neither an object nor an array that `{first}` could be in"
        )),
    }
}

fn in_object(
    fields: &[(String, &RawValue)],
    name: &str,
    rest: &[String],
    new: Option<&str>,
) -> Result<String, String> {
    // of two fields of one name the last is what readers take
    let found = fields.iter().rposition(|(field, _)| field == name);
    let mut all: Vec<(&str, String)> = fields
        .iter()
        .map(|(field, raw)| (field.as_str(), raw.get().to_owned()))
        .collect();
    match (found, new) {
        (Some(at), None) if rest.is_empty() => {
            all.remove(at);
        }
        (Some(at), _) => all[at].1 = placed(&all[at].1, rest, new)?,
        (None, Some(new)) if rest.is_empty() => all.push((name, new.to_owned())),
        (None, _) => return Err(format!("there is no field `{name}`")),
    }
    let written: Vec<String> = all
        .iter()
        .map(|(field, raw)| format!("{}:{raw}", Value::from(*field)))
        .collect();
    Ok(format!("{{{}}}", written.join(",")))
}

fn in_array(
    items: &[&RawValue],
    index: &str,
    rest: &[String],
    new: Option<&str>,
) -> Result<String, String> {
    let mut all: Vec<String> = items.iter().map(|raw| raw.get().to_owned()).collect();
    match (index.parse::<usize>(), new) {
        (Ok(at), None) if at < all.len() && rest.is_empty() => {
            all.remove(at);
        }
        (Ok(at), _) if at < all.len() => all[at] = placed(&all[at], rest, new)?,
        (Err(_), Some(new)) if index == "-" && rest.is_empty() => all.push(new.to_owned()),
        _ => {
            return Err(format!("there is no `{index}` among {} items", items.len()));
        }
    }
    Ok(format!("[{}]", all.join(",")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_place_is_set_and_every_other_value_stays_as_it_is_written() {
        let of =
            r#"{"n":123456789012345678901234567890.10,"n":1e2,"a":[1,{"b":null}],"x/y":"\u00e4"}"#;
        let put = |place: &str, value: Option<Value>| set(of, place, value.as_ref()).unwrap();
        assert_eq!(
            put("/a/1/b", Some(json!({ "c": 1 }))),
            of.replace("null", r#"{"c":1}"#)
        );
        assert_eq!(put("/n", Some(json!(5))), of.replace("1e2", "5"));
        assert_eq!(put("/a/0", None), of.replace("1,{", "{"));
        assert_eq!(put("/a/-", Some(json!(7))), of.replace("null}", "null},7"));
        assert_eq!(put("/x~1y", Some(json!("z"))), of.replace(r"\u00e4", "z"));
        let longer = of.replace("\"}", "\",\"new\":1}");
        assert_eq!(put("/new", Some(json!(1))), longer);
        assert_eq!(put("", Some(json!(1))), "1");
        for (place, value) in [
            ("/none/x", Some(json!(1))),
            ("/a/9", Some(json!(1))),
            ("/none", None),
            ("", None),
            ("a", Some(json!(1))),
            ("/n/x", Some(json!(1))),
        ] {
            assert!(set(of, place, value.as_ref()).is_err(), "{place}");
        }
        assert!(set("no {JSON", "/a", Some(&json!(1))).is_err());
    }
}
