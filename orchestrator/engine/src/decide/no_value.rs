//! What is said of a step whose values are to blame: which part of it, which expression, what that met, and how it is mended; and of the person who is asked, what is of use. Never a value:
//! it may be private.

use baton_messages::Failure;
use serde_json::Value;

use super::failure;
use crate::expr::{ExprError, kind_of};
use crate::work_item::Choice;

/// The codes of failures that come of what a step is given alone: tried again, it is given the same.
const OF_VALUES: [&str; 5] = [
    "expression",
    "input-misfit",
    "pool",
    "too-large",
    "too-many-items",
];

/// A part of a step (`with`, `undo.with`, `for_each` …) whose expression gives nothing.
pub(crate) fn no_value(part: &str, error: &ExprError) -> Failure {
    let colon = if error.at.is_empty() { ":" } else { "" };
    failure("expression", format!("`{part}`{colon} {error}"))
}

/// A part of a step whose expression gives something of another kind than is wanted there.
pub(crate) fn wrong_kind(part: &str, value: &Value, wanted: &str) -> Failure {
    let kind = kind_of(value);
    failure(
        "expression",
        format!("`{part}` gives {kind}, and not {wanted}"),
    )
}

/// A `sleep` that gives no time one can sleep, and why not.
pub(crate) fn no_time(value: &Value, why: &str) -> Failure {
    const TIME: &str = "text such as `10m`, or a number of milliseconds";
    match value {
        Value::String(_) | Value::Number(_) => failure(
            "expression",
            format!("`sleep` gives no time: {why}; it wants {TIME}"),
        ),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            wrong_kind("sleep", value, TIME)
        }
    }
}

/// The title of a work item, with what is of use where the values of its step are to blame.
pub(super) fn advised(title: String, failure: Option<&Failure>, choices: &[Choice]) -> String {
    let of_values = failure.is_some_and(|failure| OF_VALUES.contains(&failure.code.as_str()));
    let of_use: Vec<&str> = match of_values {
        true => choices.iter().copied().filter_map(is_of_use).collect(),
        false => Vec::new(),
    };
    if of_use.is_empty() {
        return title;
    }
    format!(
        "{title}; tried again as it is, it reads the same: {}",
        of_use.join(", ")
    )
}

/// What a choice does about values that are wrong; none where they stay as they are.
const fn is_of_use(choice: Choice) -> Option<&'static str> {
    match choice {
        Choice::Edit => Some("`baton edit` gives it another input"),
        Choice::Skip => Some("`baton skip` goes on without it"),
        Choice::ResolveDone => Some("`baton resolve --as done` says what it would have returned"),
        Choice::ResolveUndone => Some("`baton resolve --as undone` says that it is taken back"),
        Choice::Retry
        | Choice::Substitute
        | Choice::Approve
        | Choice::Reject
        | Choice::Admit
        | Choice::Cancel
        | Choice::Acknowledge
        | Choice::Abandon => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(at: &str) -> ExprError {
        ExprError {
            at: at.to_owned(),
            expression: "input.a".to_owned(),
            what: "`input.a` does not exist: `input` has no keys".to_owned(),
            hint: "correct the name".to_owned(),
            offset: None,
            width: 0,
        }
    }

    #[test]
    fn it_says_which_part_and_where_in_it() {
        let said = no_value("with", &of("/body/0")).message;
        assert_eq!(
            said,
            "`with` at /body/0: `input.a`: `input.a` does not exist: `input` has no keys; correct the name"
        );
        let said = no_value("if", &of("")).message;
        assert!(said.starts_with("`if`: `input.a`: "), "{said}");
    }

    #[test]
    fn it_says_of_which_kind_a_value_is_and_not_what_it_is() {
        let said = wrong_kind("if", &json!("hunter2"), "true or false").message;
        assert_eq!(said, "`if` gives text, and not true or false");
        let said = no_time(&json!({ "of": "hunter2" }), "is neither").message;
        assert!(
            said.starts_with("`sleep` gives an object, and not "),
            "{said}"
        );
        let said = no_time(&json!(0), "0 ms is no time at all").message;
        assert!(
            said.contains("gives no time: 0 ms is no time at all"),
            "{said}"
        );
    }

    #[test]
    fn only_where_the_values_are_to_blame_it_says_what_helps() {
        let choices = [Choice::Retry, Choice::Edit, Choice::Skip, Choice::Abandon];
        let title = |code: &str| {
            let wrong = failure(code, "why");
            advised("a failed: why".to_owned(), Some(&wrong), &choices)
        };
        assert_eq!(
            title("expression"),
            "a failed: why; tried again as it is, it reads the same: `baton edit` gives it another input, `baton skip` goes on without it"
        );
        assert_eq!(title("timeout"), "a failed: why");
        assert_eq!(advised("asks".to_owned(), None, &choices), "asks");
    }
}
