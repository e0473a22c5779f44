//! Every expression of a definition with its type.

use baton_engine::definition::TypedExpression;
use serde_json::{Value, json};

use crate::out::{Line, Tone, wrapped};

/// Files with their expressions.
pub(crate) type All = [(String, Vec<TypedExpression>)];

/// How many there are, and of how many nobody knows the type.
fn counts(all: &All) -> (usize, usize) {
    let each = all.iter().flat_map(|(_, expressions)| expressions);
    let (count, any) = each.fold((0, 0), |(count, any), one| {
        (count + 1, any + usize::from(one.any))
    });
    (count, any)
}

/// As `--json` gives it.
pub(crate) fn json(all: &All) -> Value {
    let (count, any) = counts(all);
    let files: Vec<Value> = all
        .iter()
        .map(|(file, expressions)| {
            let expressions: Vec<Value> = expressions
                .iter()
                .map(|one| {
                    json!({
                        "line": one.line, "column": one.column, "expression": one.text,
                        "type": one.of, "any": one.any, "unknown": one.unknown,
                    })
                })
                .collect();
            json!({ "file": file, "expressions": expressions })
        })
        .collect();
    json!({ "files": files, "expressions": count, "any": any })
}

/// Below each other, each with its type in the line below.
pub(crate) fn lines(all: &All, width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for (file, expressions) in all {
        for one in expressions {
            let place = format!("{file}:{}:{}", one.line, one.column);
            lines.push(Line::faint(place));
            for part in wrapped(&one.text, width.saturating_sub(2)) {
                lines.push(Line::new().plain("  ").plain(part));
            }
            let tone = if one.any { Tone::Waits } else { Tone::Good };
            for (n, part) in wrapped(&one.of, width.saturating_sub(6))
                .into_iter()
                .enumerate()
            {
                let lead = if n == 0 { "    : " } else { "      " };
                lines.push(Line::faint(lead).with(part, tone));
            }
            if !one.any && !one.unknown.is_empty() {
                let is = if one.unknown.len() == 1 { "is" } else { "are" };
                let rests = format!("where {} {is} any", one.unknown.join(", "));
                for part in wrapped(&rests, width.saturating_sub(6)) {
                    lines.push(Line::faint("      ").with(part, Tone::Waits));
                }
            }
        }
    }
    let (count, any) = counts(all);
    let share = (any * 1_000 + count / 2).checked_div(count).unwrap_or(0);
    lines.push(
        Line::of(format!("{count} expressions"), Tone::Strong).plain(format!(
            ", {any} of them any ({}.{} %)",
            share / 10,
            share % 10
        )),
    );
    lines
}
