//! What to type after a refusal about a dead letter, or a replay of many: the orchestrator says why, and here stands what is possible then.

use serde_json::Value;

use crate::error::CliError;

/// What the orchestrator says of a saga that wants nothing any more.
const OVER: [&str; 2] = [
    "nothing of it is done any more",
    "nobody waits for it any more",
];

/// With what to type next about a letter. `saga`: the one it speaks of, where that is known.
pub(super) fn of_letter(error: CliError, id: &str, saga: Option<&str>) -> CliError {
    with_next(error, |kind, detail| letter(kind, detail, id, saga))
}

/// With what to type next about a replay of many.
pub(super) fn of_operation(error: CliError, id: &str) -> CliError {
    with_next(error, |kind, _| {
        (kind == "not-now").then(|| format!("baton dead ops show {id}"))
    })
}

fn with_next(mut error: CliError, next_of: impl FnOnce(&str, &str) -> Option<String>) -> CliError {
    if let CliError::Problem {
        detail,
        next,
        document,
        ..
    } = &mut error
        && next.is_none()
    {
        let kind = document["type"].as_str().unwrap_or_default();
        *next = next_of(kind.rsplit(':').next().unwrap_or_default(), detail.as_str());
    }
    error
}

fn letter(kind: &str, detail: &str, id: &str, saga: Option<&str>) -> Option<String> {
    let id = id.trim();
    if OVER.iter().any(|words| detail.contains(words)) {
        return Some(format!("baton dead discard {id} -m 'why'"));
    }
    if detail.contains("say where to send it") {
        return Some(format!("baton dead replay {id} --to EXCHANGE/KEY"));
    }
    if detail.contains("force it with a reason") {
        return Some(format!("baton dead replay {id} --force -m 'why'"));
    }
    if detail.contains("restore it first") {
        return Some(format!("baton dead restore {id}"));
    }
    if let Some(saga) = saga
        && detail.contains("its saga")
    {
        return Some(format!("baton show {saga}"));
    }
    let known = ["replay-refused", "edit-refused", "not-now"];
    known
        .contains(&kind)
        .then(|| format!("baton dead show {id}"))
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

    fn problem(kind: &str, detail: &str) -> CliError {
        CliError::Problem {
            status: 409,
            detail: detail.to_owned(),
            next: None,
            document: Box::new(json!({ "type": format!("urn:baton:problem:{kind}") })),
        }
    }

    #[test]
    fn a_refusal_says_what_is_possible_then() {
        let next = |kind: &str, detail: &str, saga| {
            of_letter(problem(kind, detail), "7c2e", saga)
                .next("dead replay")
                .unwrap()
        };
        let over = "its saga is compensated: nothing of it is done any more";
        assert_eq!(
            next("replay-refused", over, Some("s")),
            "baton dead discard 7c2e -m 'why'"
        );
        let lost = "it does not say where it was published first; say where to send it, as exchange and routing key";
        assert_eq!(
            next("replay-refused", lost, None),
            "baton dead replay 7c2e --to EXCHANGE/KEY"
        );
        let task = "it is a task: edited where its saga waits for a person, not here";
        assert_eq!(next("edit-refused", task, Some("3f1c")), "baton show 3f1c");
        let done = "it is resolved, by admin, and has to be dead";
        assert_eq!(next("not-now", done, None), "baton dead show 7c2e");
        let gone = "it is discarded, by admin, and has to be dead; restore it first";
        assert_eq!(next("not-now", gone, None), "baton dead restore 7c2e");
        let often = "it was replayed 3 times already; force it with a reason, or discard it";
        assert_eq!(
            next("replay-refused", often, None),
            "baton dead replay 7c2e --force -m 'why'"
        );
        assert_eq!(
            next("bad-request", "no", None),
            "baton dead replay --help",
            "nothing better is known"
        );
        let ended = of_operation(problem("not-now", "the replay is cancelled"), "019b");
        assert_eq!(ended.next("dead ops").unwrap(), "baton dead ops show 019b");
    }

    #[test]
    fn where_a_letter_stands_is_told_with_by_whom() {
        let one = json!({ "state": "resolved", "changed_by": "admin", "outcome": "published" });
        assert_eq!(stands(&one), "it is resolved, by admin: published");
        assert_eq!(stands(&json!({ "state": "dead" })), "it is dead");
    }
}
