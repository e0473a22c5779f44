//! Many sagas by their numbers: how many stand where, with what to type about it.

use std::collections::BTreeMap;

use super::standing::mark;
use crate::out::{Line, Tone};

/// How a saga stands, in the order in which it is shown, the best first; `asked` waits for a yes.
pub(crate) const STANDINGS: [(&str, &str); 7] = [
    ("completed", "completed"),
    ("running", "running"),
    ("asked", "waiting for approval"),
    ("compensating", "compensating"),
    ("compensated", "compensated"),
    ("parked", "parked"),
    ("abandoned", "abandoned"),
];

/// `2 completed, 1 waiting for approval`.
pub(crate) fn sentence(counts: &BTreeMap<&str, usize>) -> String {
    let parts = STANDINGS
        .iter()
        .filter_map(|(word, shown)| Some(format!("{} {shown}", counts.get(word)?)));
    parts.collect::<Vec<_>>().join(", ")
}

/// A line for each standing.
pub(crate) fn lines(counts: &BTreeMap<&str, usize>, label: &str) -> Vec<Line> {
    let wide = counts.values().map(|n| n.to_string().len()).max();
    let wide = wide.unwrap_or(1);
    STANDINGS
        .iter()
        .filter_map(|(word, shown)| {
            let count = counts.get(word)?;
            let line = Line::new()
                .with(format!("  {} ", mark(word)), Tone::of(word))
                .with(format!("{count:>wide$} {shown}"), Tone::of(word));
            Some(match hint(word, label) {
                Some(command) => line.with(format!("  {command}"), Tone::Faint),
                None => line,
            })
        })
        .collect()
}

fn hint(word: &str, label: &str) -> Option<String> {
    match word {
        "asked" => Some(format!("baton approve --label {label}")),
        "parked" => Some("baton work".to_owned()),
        _ => None,
    }
}
