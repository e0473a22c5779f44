//! What became, or would become, of sagas that are asked to go on under another version: how many can, and how many cannot for which reason.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fleet::text;
use crate::args::Upgrade;
use crate::out::{Column, Line, Table, Tone, cell, plain, short};

/// Sagas named with each reason.
const NAMED_MAX: usize = 3;

/// What was answered of all of them.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) moved: usize,
    pub(crate) stay: usize,
    pub(crate) unknown: usize,
    /// Every row as it came; only where the answer is to be JSON.
    pub(crate) sagas: Vec<Value>,
    /// Why some stay, by kind of reason and step.
    why: BTreeMap<(String, String), Why>,
}

/// One reason, and whose it is.
#[derive(Debug)]
struct Why {
    what: String,
    help: String,
    sagas: usize,
    first: Vec<String>,
}

impl Seen {
    /// A page more.
    pub(crate) fn add(&mut self, sagas: &[Value], keep: bool) {
        for saga in sagas {
            let id = text(saga, "id");
            match saga["outcome"].as_str().unwrap_or_default() {
                "moved" | "would-move" => self.moved += 1,
                "stays" => {
                    self.stay += 1;
                    for reason in saga["reasons"].as_array().into_iter().flatten() {
                        self.count(reason, &id);
                    }
                }
                _ => {
                    self.unknown += 1;
                    let what = text(saga, "why");
                    let reason = serde_json::json!({ "kind": "unknown", "what": what });
                    self.count(&reason, &id);
                }
            }
        }
        if keep {
            self.sagas.extend_from_slice(sagas);
        }
    }

    fn count(&mut self, reason: &Value, id: &str) {
        let kind = text(reason, "kind");
        let key = (kind, text(reason, "step"));
        let why = self.why.entry(key).or_insert_with(|| Why {
            what: text(reason, "what"),
            help: text(reason, "help"),
            sagas: 0,
            first: Vec::new(),
        });
        why.sagas += 1;
        if why.first.len() < NAMED_MAX {
            why.first.push(id.to_owned());
        }
    }

    /// One of those that stay.
    pub(crate) fn first_that_stays(&self) -> Option<&str> {
        let whys = self.why.iter().filter(|((kind, _), _)| kind != "unknown");
        whys.filter_map(|(_, why)| why.first.first())
            .map(String::as_str)
            .next()
    }
}

/// The command to type, with what was asked before.
pub(crate) fn command(which: &Upgrade, more: &[&str]) -> String {
    let mut command = format!("baton upgrade {} --to {}", which.name, which.to);
    if let Some(from) = which.from {
        command.push_str(&format!(" --from {from}"));
    }
    if let Some(saga) = &which.saga {
        command.push_str(&format!(" --saga {saga}"));
    }
    for word in more {
        command.push(' ');
        command.push_str(word);
    }
    command
}

/// The numbers, and below them each reason with the first sagas it keeps.
pub(crate) fn lines(which: &Upgrade, seen: &Seen, width: usize) -> Vec<Line> {
    let head = Line::of(format!("{}@{}", which.name, which.to), Tone::Strong);
    if seen.moved + seen.stay + seen.unknown == 0 {
        let none = match which.from {
            Some(from) => format!(": no saga runs on version {from}"),
            None => ": no saga runs on an older version".to_owned(),
        };
        return vec![head.with(none, Tone::Faint)];
    }
    let (moved, unknown) = match which.dry_run {
        true => ("can be moved", "cannot be told"),
        false => ("moved", "nobody knows whether moved"),
    };
    let mut head = head.plain(": ").with(
        format!("{} {moved}", seen.moved),
        match seen.moved {
            0 => Tone::Plain,
            _ => Tone::Good,
        },
    );
    if seen.stay > 0 {
        head = head.with(format!(", {} stay as they are", seen.stay), Tone::Waits);
    }
    if seen.unknown > 0 {
        head = head.with(format!(", {} {unknown}", seen.unknown), Tone::Bad);
    }
    let mut lines = vec![head];
    if !seen.why.is_empty() {
        lines.push(Line::new());
        lines.extend(table(seen, width).lines(width));
    }
    lines
}

fn table(seen: &Seen, width: usize) -> Table {
    let mut table = Table::new(&[
        Column::new("sagas").right(),
        Column::new("step").cut(12),
        Column::new("why they stay").rank(1),
    ]);
    let mut whys: Vec<_> = seen.why.iter().collect();
    whys.sort_by_key(|(key, why)| (std::cmp::Reverse(why.sagas), *key));
    for ((kind, step), why) in whys {
        let ids: Vec<&str> = why.first.iter().map(|id| short(id, width)).collect();
        let more = match why.sagas - why.first.len() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let mut below = vec![cell(why.what.clone(), Tone::Plain)];
        if !why.help.is_empty() {
            below.push(cell(why.help.clone(), Tone::Faint));
        }
        below.push(cell(format!("{}{more}", ids.join(", ")), Tone::Faint));
        table.row_with(
            vec![
                plain(why.sagas.to_string()),
                plain(step.clone()),
                cell(kind.clone(), Tone::Waits),
            ],
            below,
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn those_that_stay_are_counted_by_reason_and_the_first_are_named() {
        let stays = |id: &str| {
            let reasons = json!([{ "kind": "before", "step": "new", "what": "it stands before a", "help": "put it after" }]);
            json!({ "id": id, "from": 1, "outcome": "stays", "reasons": reasons })
        };
        let mut seen = Seen::default();
        let all: Vec<Value> = ["1", "2", "3", "4"].map(stays).to_vec();
        seen.add(&all, false);
        seen.add(
            &[json!({ "id": "5", "from": 1, "outcome": "would-move" })],
            false,
        );
        seen.add(
            &[json!({ "id": "6", "from": 1, "outcome": "unknown", "why": "late" })],
            true,
        );
        assert_eq!((seen.moved, seen.stay, seen.unknown), (1, 4, 1));
        assert_eq!(seen.sagas.len(), 1, "kept only where they are wanted");
        assert_eq!(seen.first_that_stays(), Some("1"));
        let why = &seen.why[&("before".to_owned(), "new".to_owned())];
        assert_eq!((why.sagas, why.first.len()), (4, NAMED_MAX));
    }
}
