//! Many sagas followed by their numbers: how many are done, wait for a person, are parked, until none goes on. The code is that of the worst.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Outcome, of_refusals, refusals};
use crate::client::Client;
use crate::commands::follow;
use crate::commands::labelled;
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::{Line, Out, Screen};
use crate::screens::{counts, sagas};
use crate::time;
use crate::view::Row;

/// Pause between two looks, at least: short sagas are over soon, and nobody looks at long ones more often than once a second.
const LOOK_FIRST: Duration = Duration::from_millis(200);
const LOOK: Duration = Duration::from_secs(1);
/// So many times as long as a look took is waited before the next.
const LOOK_FACTOR: u32 = 4;
/// How long the orchestrator may be away.
const AWAY_MAX: Duration = Duration::from_secs(120);
/// Sagas that did not complete, and are named one by one.
const NAMED_MAX: usize = 20;

/// What was begun.
pub(super) struct Begun<'b> {
    pub(super) what: &'b str,
    pub(super) label: &'b str,
    pub(super) approves: bool,
    pub(super) lines: usize,
    pub(super) outcome: &'b Outcome,
}

impl Begun<'_> {
    pub(super) fn summary(&self) -> String {
        let started = &self.outcome.started;
        let before = started.iter().filter(|one| one.duplicate).count();
        let new = started.len() - before;
        let sagas = |n: usize| format!("{n} saga{}", if n == 1 { "" } else { "s" });
        let what = self.what;
        match (new, before) {
            (new, 0) => format!("{} of {what} started", sagas(new)),
            (0, before) => format!(
                "{} of {what}, all started before; another --key starts them anew",
                sagas(before)
            ),
            (new, before) => format!("{} of {what} started; {before} were before", sagas(new)),
        }
    }

    /// All of it as one document.
    pub(super) fn document(&self, looked: Option<&Looked>) -> Value {
        let status = |id: &str| looked.and_then(|looked| looked.status(id));
        let sagas: Vec<Value> = self
            .outcome
            .started
            .iter()
            .map(|one| {
                json!({ "line": one.line, "id": one.id, "duplicate": one.duplicate, "status": status(&one.id) })
            })
            .collect();
        let refused = self.outcome.refused.iter();
        let refused: Vec<Value> = refused
            .map(|(line, why)| json!({ "line": line, "why": why }))
            .collect();
        json!({
            "label": self.label, "sagas": sagas, "refused": refused,
            "counts": looked.map(Looked::counts),
        })
    }
}

/// How they stood when they were last looked at.
#[derive(Default)]
pub(super) struct Looked {
    rows: BTreeMap<String, Row>,
    asked: BTreeSet<String>,
}

impl Looked {
    fn status(&self, id: &str) -> Option<&str> {
        self.rows.get(id).map(|row| row.status.as_str())
    }

    fn standing(&self, row: &Row) -> &str {
        let word = if self.asked.contains(&row.id) {
            "asked"
        } else {
            &row.status
        };
        let known = counts::STANDINGS.iter().find(|(known, _)| *known == word);
        known.map_or("running", |(known, _)| known)
    }

    fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for row in self.rows.values() {
            *counts.entry(self.standing(row)).or_default() += 1;
        }
        counts
    }

    /// Whether nothing goes on any more without a person who mends.
    fn is_over(&self) -> bool {
        let going = |row: &Row| Exit::of_status(&row.status) == Exit::Waiting;
        !self.rows.values().any(going)
    }

    fn worst(&self) -> Exit {
        let exits = self.rows.values().map(|row| Exit::of_status(&row.status));
        exits.fold(Exit::Ok, Exit::worse)
    }
}

/// Shows the numbers until nothing goes on or the time is over.
pub(super) async fn waited(
    client: &Client,
    begun: &Begun<'_>,
    timeout_s: Option<u64>,
    out: &mut Out,
) -> Result<Exit, CliError> {
    refusals(begun.outcome, begun.lines, out);
    if !out.wants_json() {
        out.note(begun.summary());
        out.note(begun.label);
    }
    let (looked, interrupted) = followed(client, begun, timeout_s, out).await?;
    if interrupted {
        out.note(format!(
            "no longer watching; the sagas go on. Look again: baton ls --label {}",
            begun.label
        ));
        return Ok(Exit::Interrupted);
    }
    let exit = of_refusals(begun.outcome, looked.worst());
    if out.wants_json() {
        out.value(&begun.document(Some(&looked)));
        return Ok(exit);
    }
    for line in counts::lines(&looked.counts(), begun.label) {
        out.say(&line);
    }
    not_completed(begun, &looked, out);
    if !looked.is_over() {
        out.note(format!(
            "not ended in time; they go on. Look again: baton ls --label {}",
            begun.label
        ));
    }
    Ok(exit)
}

async fn followed(
    client: &Client,
    begun: &Begun<'_>,
    timeout_s: Option<u64>,
    out: &mut Out,
) -> Result<(Looked, bool), CliError> {
    let until = follow::until(timeout_s);
    let since = Instant::now();
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let mut shown = Shown::default();
    let mut heard_at = Instant::now();
    let mut looked = Looked::default();
    let mut least = LOOK_FIRST;
    loop {
        let began = Instant::now();
        match look(client, begun).await {
            Ok(now) => {
                looked = now;
                heard_at = Instant::now();
                shown.show(begun, &looked, since.elapsed(), out);
            }
            Err(error) if error.may_pass() && heard_at.elapsed() < AWAY_MAX => {}
            Err(error) => {
                out.side.erase();
                return Err(error);
            }
        }
        let over = until.is_some_and(|until| Instant::now() >= until);
        if over || looked.is_over() && !looked.rows.is_empty() {
            out.side.erase();
            return Ok((looked, false));
        }
        let pause = least.max(began.elapsed() * LOOK_FACTOR);
        least = (least * 2).min(LOOK);
        let pause = until.map_or(pause, |until| {
            pause.min(until.saturating_duration_since(Instant::now()))
        });
        tokio::select! {
            _ = &mut interrupted => {
                out.side.erase();
                return Ok((looked, true));
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn look(client: &Client, begun: &Begun<'_>) -> Result<Looked, CliError> {
    let ours: BTreeSet<&str> = begun.outcome.started.iter().map(|one| &*one.id).collect();
    let rows = labelled::sagas(client, begun.label).await?;
    let rows: BTreeMap<String, Row> = rows
        .into_iter()
        .filter(|row| ours.contains(&*row.id))
        .map(|row| (row.id.clone(), row))
        .collect();
    let mut asked = BTreeSet::new();
    if begun.approves && rows.values().any(|row| row.status == "running") {
        let open = labelled::approvals(client).await?;
        asked.extend(open.into_iter().map(|one| one.saga));
    }
    Ok(Looked { rows, asked })
}

/// What was shown last.
#[derive(Default)]
struct Shown {
    last: Option<String>,
}

impl Shown {
    /// Drawn again on a terminal; elsewhere a line for each change.
    fn show(&mut self, begun: &Begun<'_>, looked: &Looked, since: Duration, out: &mut Out) {
        if out.wants_json() {
            return;
        }
        let took = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        if out.side.is_terminal() {
            let mut drawn = counts::lines(&looked.counts(), begun.label);
            drawn.push(Line::faint(format!("  {}", time::span(took))));
            fitted(&mut out.side, &drawn);
            return;
        }
        let text = counts::sentence(&looked.counts());
        if self.last.as_ref() != Some(&text) {
            let clock = format!("{:>7}  ", time::span(took));
            out.side.line(&Line::faint(clock).plain(text.as_str()));
            out.side.flush();
            self.last = Some(text);
        }
    }
}

fn fitted(screen: &mut Screen, lines: &[Line]) {
    let height = screen.height() - 1;
    screen.draw(&lines[..lines.len().min(height)]);
}

/// Those that did not complete, by name.
fn not_completed(begun: &Begun<'_>, looked: &Looked, out: &mut Out) {
    let line_of: BTreeMap<&str, usize> = begun
        .outcome
        .started
        .iter()
        .map(|one| (&*one.id, one.line))
        .collect();
    let rows: Vec<(usize, Row)> = looked
        .rows
        .values()
        .filter(|row| row.status != "completed")
        .filter_map(|row| Some((*line_of.get(&*row.id)?, row.clone())))
        .collect();
    if rows.is_empty() {
        return;
    }
    let all = rows.len();
    out.say(&Line::new());
    let table = sagas::by_line(rows, NAMED_MAX, out.screen.width());
    out.table(&table, "");
    if all > NAMED_MAX {
        let command = format!("baton ls --label {}", begun.label);
        out.next(&format!("and {} more", all - NAMED_MAX), &command);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(all: &[(&str, &str)]) -> Looked {
        let row = |id: &str, status: &str| -> Row {
            let value = json!({ "id": id, "definition": "s", "version": 1, "status": status, "started_at": 0 });
            serde_json::from_value(value).unwrap()
        };
        let rows = all
            .iter()
            .map(|(id, status)| ((*id).to_owned(), row(id, status)));
        Looked {
            rows: rows.collect(),
            asked: BTreeSet::new(),
        }
    }

    #[test]
    fn the_code_is_that_of_the_worst() {
        let worst = |all: &[(&str, &str)]| looked(all).worst();
        assert_eq!(worst(&[("a", "completed")]), Exit::Ok);
        let taken_back = [("a", "compensated"), ("b", "completed")];
        assert_eq!(worst(&taken_back), Exit::Compensated);
        assert_eq!(
            worst(&[("a", "running"), ("b", "compensated")]),
            Exit::Waiting
        );
        assert_eq!(worst(&[("a", "parked"), ("b", "running")]), Exit::Parked);
        assert_eq!(
            worst(&[("a", "parked"), ("b", "abandoned")]),
            Exit::Abandoned
        );
        let refused = Outcome {
            started: Vec::new(),
            refused: vec![(1, "no".to_owned())],
        };
        assert_eq!(of_refusals(&refused, Exit::Ok), Exit::Error);
        assert_eq!(of_refusals(&refused, Exit::Parked), Exit::Parked);
    }

    #[test]
    fn they_are_counted_by_where_they_stand() {
        let mut all = looked(&[
            ("a", "completed"),
            ("b", "running"),
            ("c", "running"),
            ("d", "of-a-later-version"),
        ]);
        all.asked.insert("c".to_owned());
        assert_eq!(
            counts::sentence(&all.counts()),
            "1 completed, 2 running, 1 waiting for approval"
        );
        assert!(!all.is_over());
        assert!(looked(&[("a", "completed"), ("b", "parked")]).is_over());
    }
}
