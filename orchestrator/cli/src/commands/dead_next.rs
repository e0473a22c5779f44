//! What to type after a refusal about a dead letter, or a replay of many: the orchestrator says why, and here stands what is possible then.

use serde_json::Value;

use crate::error::CliError;

/// With what to type next about a letter. `saga`: the one it speaks of, where that is known.
pub(super) fn of_letter(error: CliError, id: &str, saga: Option<&str>) -> CliError {
    with_next(error, |kind, document| {
        let saga = saga.or_else(|| document["saga"].as_str());
        letter(kind, document["cure"].as_str(), id.trim(), saga)
    })
}

/// With what to type next about a replay of many.
pub(super) fn of_operation(error: CliError, id: &str) -> CliError {
    with_next(error, |kind, _| {
        (kind == "not-now").then(|| format!("baton dead ops show {id}"))
    })
}

fn with_next(
    mut error: CliError,
    next_of: impl FnOnce(&str, &Value) -> Option<String>,
) -> CliError {
    if let CliError::Problem { next, document, .. } = &mut error
        && next.is_none()
    {
        let kind = document["type"].as_str().unwrap_or_default();
        *next = next_of(kind.rsplit(':').next().unwrap_or_default(), document);
    }
    error
}

/// By the orchestrator's word for what helps; where it has none that is known here, a look at the letter.
fn letter(kind: &str, cure: Option<&str>, id: &str, saga: Option<&str>) -> Option<String> {
    let look = || format!("baton dead show {id}");
    Some(match cure {
        Some("discard") => format!("baton dead discard {id} -m 'why'"),
        Some("target") => format!("baton dead replay {id} --to EXCHANGE/KEY"),
        Some("force") => format!("baton dead replay {id} --force -m 'why'"),
        Some("serve") => "baton workers".to_owned(),
        Some("restore") => format!("baton dead restore {id}"),
        Some("edit") => format!("baton dead edit {id}"),
        Some("saga") => saga.map_or_else(look, |saga| format!("baton show {saga}")),
        Some(_) => look(),
        None if ["replay-refused", "edit-refused", "not-now"].contains(&kind) => look(),
        None => return None,
    })
}

/// Where a letter stands, in words: `it is resolved, by admin: taken`.
pub(super) fn stands(letter: &Value) -> String {
    let word = |name: &str| letter[name].as_str().unwrap_or_default();
    let mut said = format!("it is {}", word("state"));
    if !word("changed_by").is_empty() {
        said += &format!(", by {}", word("changed_by"));
    }
    if !word("outcome").is_empty() {
        said += &format!(": {}", word("outcome"));
    }
    said
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problem(kind: &str, more: &Value) -> CliError {
        let mut document = json!({ "type": format!("urn:baton:problem:{kind}") });
        for (name, value) in more.as_object().unwrap() {
            document[name] = value.clone();
        }
        CliError::Problem {
            status: 409,
            detail: "no".to_owned(),
            next: None,
            document: Box::new(document),
        }
    }

    #[test]
    fn a_refusal_says_what_is_possible_then() {
        let next = |kind: &str, more: Value, saga| {
            of_letter(problem(kind, &more), "7c2e", saga)
                .next("dead replay")
                .unwrap()
        };
        for (cure, expected) in [
            ("discard", "baton dead discard 7c2e -m 'why'"),
            ("target", "baton dead replay 7c2e --to EXCHANGE/KEY"),
            ("force", "baton dead replay 7c2e --force -m 'why'"),
            ("serve", "baton workers"),
            ("restore", "baton dead restore 7c2e"),
            ("edit", "baton dead edit 7c2e"),
            ("saga", "baton show 3f1c"),
            ("look", "baton dead show 7c2e"),
            ("one of a newer version", "baton dead show 7c2e"),
        ] {
            let more = json!({ "cure": cure });
            assert_eq!(next("replay-refused", more, Some("3f1c")), expected);
        }
        let at_saga = json!({ "cure": "saga", "saga": "5a5a" });
        assert_eq!(next("replay-refused", at_saga, None), "baton show 5a5a");
        let unknown = json!({ "cure": "saga" });
        let look = "baton dead show 7c2e";
        assert_eq!(next("edit-refused", unknown, None), look);
        assert_eq!(next("not-now", json!({}), None), look);
        assert_eq!(
            next("bad-request", json!({}), None),
            "baton dead replay --help",
            "nothing better is known"
        );
        let ended = of_operation(problem("not-now", &json!({})), "019b");
        assert_eq!(ended.next("dead ops").unwrap(), "baton dead ops show 019b");
    }

    #[test]
    fn where_a_letter_stands_is_told_with_by_whom() {
        let one = json!({ "state": "resolved", "changed_by": "admin", "outcome": "published" });
        assert_eq!(stands(&one), "it is resolved, by admin: published");
        assert_eq!(stands(&json!({ "state": "dead" })), "it is dead");
    }
}
