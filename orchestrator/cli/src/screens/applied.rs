//! A definition that was registered: what to type to start one, and what its orchestrator lacks for it.

use baton_engine::Definition;
use serde_json::Value;

use crate::out::{Line, Tone, width as wide, wrapped};

/// That it is registered, and how to start one: below, where both do not fit side by side.
pub(crate) fn registered(answer: &Value, text: &str, width: usize) -> Vec<Line> {
    let name = answer["definition"].as_str().unwrap_or("?");
    let version = answer["version"].as_u64().unwrap_or(0);
    let said = format!("{name}@{version}");
    let command = format!("baton run {name}{} --wait", required(text));
    let beside = wide(&said) + wide(" is registered; start one: ") + wide(&command);
    let line = Line::of(said, Tone::Strong).with(" is registered", Tone::Good);
    if beside <= width {
        return vec![line.with("; start one: ", Tone::Faint).plain(command)];
    }
    let below = Line::new().plain(format!("  {command}"));
    vec![line.with("; start one:", Tone::Faint), below]
}

/// How many sagas go on under older versions, and what to type to see which of them can move.
pub(crate) fn older(answer: &Value, width: usize) -> Vec<Line> {
    let name = answer["definition"].as_str().unwrap_or("?");
    let version = answer["version"].as_u64().unwrap_or(0);
    let all = answer["older"].as_array().map_or(&[][..], Vec::as_slice);
    let mut lines = Vec::new();
    for one in all {
        let (on, sagas) = (one["version"].as_u64(), one["sagas"].as_u64());
        let (Some(on), Some(sagas)) = (on, sagas) else {
            continue;
        };
        let counted = match (sagas, one["more"].as_bool()) {
            (1, Some(false) | None) => "1 saga goes on".to_owned(),
            (sagas, Some(true)) => format!("{sagas} sagas or more go on"),
            (sagas, _) => format!("{sagas} sagas go on"),
        };
        let from = match all.len() {
            1 => String::new(),
            _ => format!(" --from {on}"),
        };
        let said = format!("{counted} under version {on}; which can move:");
        let command = format!("baton upgrade {name} --to {version}{from} --dry-run");
        let line = Line::faint(said.as_str());
        if wide(&said) + 1 + wide(&command) <= width {
            lines.push(line.plain(format!(" {command}")));
        } else {
            lines.extend([line, Line::new().plain(format!("  {command}"))]);
        }
    }
    lines
}

/// What the orchestrator's configuration lacks for it, as warnings.
pub(crate) fn lacks(answer: &Value, width: usize) -> Vec<Line> {
    let lacks = answer["lacks"].as_array().into_iter().flatten();
    lacks
        .filter_map(Value::as_str)
        .flat_map(|one| wrapped(&format!("warning: {one}"), width))
        .map(|part| Line::of(part, Tone::Waits))
        .collect()
}

/// The fields its input has to have, as they are given: a line to be typed should not be refused.
fn required(text: &str) -> String {
    // what this version cannot read has no fields that it knows of
    let schema = Definition::parse(text)
        .ok()
        .and_then(|one| one.input_schema);
    let names = schema.as_ref().map(|schema| &schema.schema()["required"]);
    let names = names.and_then(Value::as_array).into_iter().flatten();
    names
        .filter_map(Value::as_str)
        .map(|name| format!(" -f {name}=…"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_input_has_to_have_is_in_the_line_to_type() {
        let saga =
            |input: &str| format!("saga: s\nversion: 1\n{input}steps:\n  - id: a\n    sleep: 1s\n");
        let input = "input: { type: object, required: [text, size], properties: { text: {}, size: {}, note: {} } }\n";
        assert_eq!(required(&saga(input)), " -f text=… -f size=…");
        assert_eq!(required(&saga("")), "");
    }
}
