//! Whether a value is what a case says it has to be, and where it is not.
//!
//! An object fits one that has at least its fields. `{"$any": true}` fits whatever is there, `{"$absent": true}` what is not there,
//! `{"$one-of": […]}` what fits one of them, `{"$has": value}` a list with an element that fits.

use serde_json::Value;

/// The first place where `found` does not fit `wanted`, in words.
pub(crate) fn misfit(wanted: &Value, found: Option<&Value>, at: &str) -> Option<String> {
    let is_not = || {
        let found = found.map_or("nothing".to_owned(), Value::to_string);
        Some(format!("at {at}: wanted {wanted}, found {found}"))
    };
    if let Some((word, of)) = special(wanted) {
        let fits = |of: &Value, found| misfit(of, found, at).is_none();
        let is = match word {
            "$any" => found.is_some(),
            "$absent" => found.is_none(),
            "$one-of" => of
                .as_array()
                .is_some_and(|all| all.iter().any(|of| fits(of, found))),
            "$has" => found
                .and_then(Value::as_array)
                .is_some_and(|list| list.iter().any(|element| fits(of, Some(element)))),
            _ => panic!("no such word: {word}"),
        };
        return if is { None } else { is_not() };
    }
    match (wanted, found) {
        (Value::Object(fields), Some(Value::Object(has))) => fields
            .iter()
            .find_map(|(key, wanted)| misfit(wanted, has.get(key), &format!("{at}/{key}"))),
        (_, Some(found)) if wanted == found => None,
        _ => is_not(),
    }
}

fn special(wanted: &Value) -> Option<(&str, &Value)> {
    let fields = wanted.as_object().filter(|fields| fields.len() == 1)?;
    let (word, of) = fields.iter().next()?;
    word.starts_with('$').then_some((word, of))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_does_not_fit_is_named_with_its_place() {
        let found = json!({ "a": { "b": 1 }, "list": [{ "c": 2, "d": 3 }] });
        let judged = |wanted: Value| misfit(&wanted, Some(&found), "");
        assert_eq!(judged(json!({ "a": { "b": 1 } })), None);
        assert_eq!(
            judged(json!({ "list": { "$has": { "c": 2 } }, "x": { "$absent": true } })),
            None
        );
        assert_eq!(
            judged(json!({ "a": { "$one-of": [7, { "b": { "$any": true } }] } })),
            None
        );
        let places = [
            (json!({ "a": { "b": 2 } }), "at /a/b: wanted 2, found 1"),
            (json!({ "a": { "$absent": true } }), "at /a: "),
            (json!({ "x": { "$any": true } }), "at /x: "),
            (json!({ "list": { "$has": { "c": 3 } } }), "at /list: "),
            (json!({ "a": { "$one-of": [7, {"b": 0}] } }), "at /a: "),
        ];
        for (wanted, place) in places {
            assert!(
                judged(wanted).is_some_and(|said| said.starts_with(place)),
                "{place}"
            );
        }
    }
}
