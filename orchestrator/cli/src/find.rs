//! From what somebody typed to what is meant: the beginning of a saga's id, a step, a name that is nearly right.

use serde_json::Value;

use crate::client::{Client, escaped};
use crate::commands::items;
use crate::error::CliError;
use crate::suggest::nearest;
use crate::view::Saga;

/// Characters of a whole id.
const ID_CHARS: usize = 36;
/// Shorter beginnings are a slip, not an id.
const PREFIX_CHARS_MIN: usize = 4;
/// The largest page there is.
const PAGE_ROWS: usize = 500;
/// How many pages of the newest sagas a beginning is looked for in.
const PAGES_MAX: usize = 10;

/// The whole id of what begins so. Looked for among the newest sagas.
pub(crate) async fn saga_id(client: &Client, typed: &str) -> Result<String, CliError> {
    let typed = typed.trim().to_lowercase();
    if typed.len() == ID_CHARS {
        return Ok(typed);
    }
    let hexadecimal = typed.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if !hexadecimal || typed.len() > ID_CHARS {
        return Err(CliError::not_there(
            format!("`{typed}` is no saga: an id looks like 3f1c8a02-…, and its beginning will do"),
            None,
            "baton ls",
        ));
    }
    if typed.len() < PREFIX_CHARS_MIN {
        let what = format!(
            "`{typed}` is too short for a saga's id; give at least {PREFIX_CHARS_MIN} characters of it"
        );
        return Err(CliError::usage_then(what, "baton ls"));
    }
    let mut query = vec![("limit", PAGE_ROWS.to_string())];
    let mut found: Vec<String> = Vec::new();
    for _ in 0..PAGES_MAX {
        let answer = client.get("/v1/sagas", &query).await?;
        let ids = items(&answer, "sagas")
            .iter()
            .filter_map(|row| row["id"].as_str());
        found.extend(ids.filter(|id| id.starts_with(&typed)).map(str::to_owned));
        let Some(next) = answer["next"].as_str() else {
            break;
        };
        query = vec![
            ("limit", PAGE_ROWS.to_string()),
            ("cursor", next.to_owned()),
        ];
    }
    one_of(&typed, found)
}

fn one_of(typed: &str, mut found: Vec<String>) -> Result<String, CliError> {
    found.dedup();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(CliError::not_there(
            format!(
                "no saga's id begins with `{typed}` (of the newest {})",
                PAGE_ROWS * PAGES_MAX
            ),
            None,
            "baton ls",
        )),
        several => {
            let first: Vec<&str> = several.iter().take(3).map(String::as_str).collect();
            let what = format!(
                "{} sagas' ids begin with `{typed}`, such as {}; give more of it",
                several.len(),
                first.join(", ")
            );
            Err(CliError::usage_then(what, "baton ls"))
        }
    }
}

/// One saga, whole, as the API gives it.
pub(crate) async fn saga(client: &Client, id: &str) -> Result<Value, CliError> {
    client.get(&format!("/v1/sagas/{}", escaped(id)), &[]).await
}

/// That a saga has this step.
pub(crate) fn step<'s>(saga: &'s Saga, typed: &str) -> Result<&'s crate::view::Step, CliError> {
    saga.steps
        .iter()
        .find(|step| step.id == typed)
        .ok_or_else(|| {
            let known: Vec<&str> = saga.steps.iter().map(|step| step.id.as_str()).collect();
            let near = nearest(typed, known.iter().copied());
            let what = match near {
                Some(_) => format!("the saga has no step `{typed}`"),
                None => format!(
                    "the saga has no step `{typed}`; it has {}",
                    known.join(", ")
                ),
            };
            CliError::not_there(what, near, format!("baton show {}", saga.row.id))
        })
}

/// That nobody knows this name; with what may have been meant.
pub(crate) fn unknown(kind: &str, typed: &str, known: &[String], next: &str) -> CliError {
    let near = nearest(typed, known.iter().map(String::as_str));
    CliError::not_there(format!("there is no {kind} `{typed}`"), near, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_id_has_to_tell_sagas_apart() {
        let ids = |all: &[&str]| all.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        assert_eq!(one_of("ab", ids(&["ab1"])).unwrap(), "ab1");
        assert!(
            one_of("ab", ids(&[]))
                .unwrap_err()
                .to_string()
                .contains("no saga")
        );
        let error = one_of("ab", ids(&["ab1", "ab2"])).unwrap_err().to_string();
        assert!(error.contains("ab1, ab2"), "{error}");
    }
}
