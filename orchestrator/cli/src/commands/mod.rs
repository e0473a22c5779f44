//! The commands, one file for each kind: they ask, and hand what they hear to a screen.

pub(crate) mod act;
pub(crate) mod alerts;
pub(crate) mod apply;
pub(crate) mod approve;
mod assign;
pub(crate) mod audit;
pub(crate) mod away;
mod broker_noted;
pub(crate) mod check;
pub(crate) mod cluster;
pub(crate) mod dead;
pub(crate) mod dead_broker;
mod dead_discard;
mod dead_edit;
mod dead_follow;
mod dead_lines;
mod dead_next;
mod dead_ops;
mod dead_replay;
pub(crate) mod definitions;
pub(crate) mod each;
pub(crate) mod edit;
pub(crate) mod event;
pub(crate) mod explain;
pub(crate) mod fleet;
pub(crate) mod follow;
pub(crate) mod labelled;
pub(crate) mod locks;
pub(crate) mod ls;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod schedules;
pub(crate) mod shell;
pub(crate) mod show;
pub(crate) mod sweep;
pub(crate) mod tasks;
pub(crate) mod token;
pub(crate) mod top;
pub(crate) mod topology;
pub(crate) mod upgrade;
pub(crate) mod watch;
pub(crate) mod work;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::args::PageArgs;
use crate::error::CliError;
use crate::out::{Line, Out, Tone, wrapped};

/// An answer of the API as what is shown of it.
pub(crate) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, CliError> {
    serde_json::from_value(value).map_err(|error| CliError::Shape {
        what: error.to_string(),
    })
}

/// Which rows of an answer are not shown, since they could not be read; `see`: what is asked about the first of them.
pub(crate) fn left_out(answer: &Value, see: Option<&str>, width: usize) -> Vec<Line> {
    let names = answer["unreadable"].as_array().into_iter().flatten();
    let names: Vec<&str> = names.filter_map(Value::as_str).collect();
    let Some(first) = names.first() else {
        return Vec::new();
    };
    let see = see.map_or_else(String::new, |see| format!(": see {see} {first}"));
    let words = format!("without what cannot be read of {}{see}", names.join(", "));
    let lines = wrapped(&words, width).into_iter();
    lines.map(|part| Line::of(part, Tone::Bad)).collect()
}

/// The rows of a page, under the name they have everywhere, or the one of their kind.
pub(crate) fn items<'v>(answer: &'v Value, name: &str) -> &'v [Value] {
    answer["items"]
        .as_array()
        .or_else(|| answer[name].as_array())
        .map_or(&[][..], Vec::as_slice)
}

/// The same, typed.
pub(crate) fn typed_items<T: DeserializeOwned>(
    answer: &Value,
    name: &str,
) -> Result<Vec<T>, CliError> {
    items(answer, name).iter().cloned().map(typed).collect()
}

/// What of a list could not be read, and how the next page is asked for, where there is one.
pub(crate) fn more(answer: &Value, command: &str, page: &PageArgs, out: &mut Out) {
    for line in left_out(answer, None, out.screen.width()) {
        out.say(&line);
    }
    if let Some(next) = answer["next"].as_str() {
        let limit = page.limit;
        out.next(
            "more",
            &format!("baton {command} -n {limit} --cursor {next}"),
        );
    }
}
