//! A sweep: the matrix of what came of each trouble at each step, what ends at a person, and what is broken.

use std::collections::{BTreeMap, BTreeSet};

use baton_engine::{Status, WorkItemKind};
use baton_sim::sweep::{Asked, CELLS_WITHIN_MAX, Cell, Played, Row, StepPath, Sweep, Trouble, Way};
use serde_json::{Value, json};

use crate::out::{Line, Tone, cut, width as wide, wrapped};

/// Cells of a column: two letters, and a mark.
const CELL: usize = 3;
/// So narrow a row's name may become.
const NAME_MIN: usize = 12;
/// Between two columns of the legend.
const GAP: usize = 2;

/// One file, swept.
pub(crate) struct Swept {
    pub(crate) file: String,
    /// What was typed, for this file alone: with `--seed` it plays one play again.
    pub(crate) command: String,
    pub(crate) saga: String,
    pub(crate) version: u32,
    pub(crate) steps: usize,
    pub(crate) input_from: String,
    /// How it ends on purpose when nothing befalls it.
    pub(crate) ends: Status,
    pub(crate) seconds: f64,
    /// Whether all cells were played that were to be.
    pub(crate) whole: bool,
    /// Steps of sagas within it whose rows were left out.
    pub(crate) left_out: BTreeSet<StepPath>,
    pub(crate) cells: Vec<Cell>,
}

/// Whether it does not come to its end even when nothing befalls it: what is swept then are the troubles of a saga that never works.
pub(crate) fn unfinished(swept: &Swept, ready: &Sweep) -> bool {
    let end = ready.undisturbed().status;
    end != Status::Completed && end != swept.ends
}

/// What people are asked for, by kind and owner; the first is `P1`.
type Desks<'a> = BTreeMap<(&'static str, &'a str), Vec<(&'a Cell, u64, &'a Asked)>>;

fn desks(cells: &[Cell]) -> Desks<'_> {
    let mut all = Desks::new();
    for cell in cells {
        for (seed, asked) in &cell.asked {
            let key = (kind(asked.kind), asked.owner.as_str());
            all.entry(key).or_default().push((cell, *seed, asked));
        }
    }
    all
}

const fn kind(kind: WorkItemKind) -> &'static str {
    match kind {
        WorkItemKind::StepFailed => "a step has failed for good",
        WorkItemKind::StepDoubtful => "nobody can tell whether a step has happened",
        WorkItemKind::UndoFailed => "an undo has failed for good",
        WorkItemKind::UndoMissing => "a step has an effect and no undo",
        WorkItemKind::LateEvidence => "a report came after the end, and shows an effect",
        WorkItemKind::CancelAfterPivot => "somebody cancels after the pivot",
        WorkItemKind::DeadlineAfterPivot => "the deadline is over after the pivot",
        WorkItemKind::Approval => "a step asks",
        WorkItemKind::HeldBack => "a limit holds it back",
        WorkItemKind::Broken => "it could not be decided",
    }
}

/// The whole screen.
pub(crate) fn lines(swept: &Swept, ready: &Sweep, width: usize) -> Vec<Line> {
    let desks = desks(&swept.cells);
    let mut lines = head(swept, ready, width);
    lines.push(Line::new());
    if ready.undisturbed().refused.is_some() {
        return lines;
    }
    lines.extend(matrix(swept, ready, &desks, width));
    lines.push(Line::new());
    lines.extend(legend(swept, ready, width));
    lines.extend(people(&desks, ready, width));
    lines.extend(broken(swept, ready, width));
    lines.extend(hints(swept, ready, width));
    lines.push(Line::new());
    lines
}

/// So many of something.
fn some(n: usize, word: &str) -> String {
    match n {
        1 => format!("1 {word}"),
        n => format!("{n} {word}s"),
    }
}

fn head(swept: &Swept, ready: &Sweep, width: usize) -> Vec<Line> {
    let plays: u64 = swept.cells.iter().map(|cell| cell.plays).sum();
    let name = format!("{}@{}", swept.saga, swept.version);
    let mut steps = some(swept.steps, "step");
    let below = ready.steps().filter(|step| step.depth() > 0).count();
    if below > 0 {
        let sagas = some(ready.sagas_within(), "saga");
        steps.push_str(&format!(" and {below} in {sagas} within it"));
    }
    let counted = format!(
        "{steps}, {} cells, {plays} plays in {:.1} s",
        swept.cells.len(),
        swept.seconds
    );
    let mut counted = wrapped(&counted, width.saturating_sub(wide(&name) + 2)).into_iter();
    let first = counted.next().unwrap_or_default();
    let mut lines = vec![Line::of(name, Tone::Strong).plain(format!("  {first}"))];
    lines.extend(counted.map(|part| Line::of(format!("  {part}"), Tone::Plain)));
    let undisturbed = ready.undisturbed();
    let end = undisturbed.status.as_str();
    let mut says = format!("undisturbed: {end}");
    if end != "completed"
        && let Some(why) = &undisturbed.why
    {
        says.push_str(&format!(" ({why})"));
    }
    let mixed = swept
        .cells
        .iter()
        .find(|cell| cell.trouble == Trouble::Nothing);
    let others: Vec<&str> = mixed.iter().flat_map(|cell| cell.ends().skip(1)).collect();
    if !others.is_empty() {
        says.push_str(&format!(
            ", and {} when messages are doubled and reordered",
            others.join(", ")
        ));
    }
    says.push_str(&format!("; its input: {}", swept.input_from));
    if undisturbed.refused.is_some() {
        says = format!("its input: {}", swept.input_from);
    }
    let wrong = never_works(swept, ready);
    let tone = match wrong {
        Some(_) => Tone::Bad,
        None => Tone::Plain,
    };
    let parts = wrong.iter().flat_map(|first| wrapped(first, width));
    lines.extend(parts.map(|part| Line::of(part, Tone::Bad)));
    for part in wrapped(&says, width) {
        lines.push(Line::of(part, tone));
    }
    lines
}

/// Why what is swept is no saga that works, where it is none, and what is to be done.
fn never_works(swept: &Swept, ready: &Sweep) -> Option<String> {
    let undisturbed = ready.undisturbed();
    let end = undisturbed.status.as_str();
    if let Some(why) = &undisturbed.refused {
        return Some(format!(
            "Its start is refused, and nothing of it was played: {why}. --input, or `sweep:` in cases/NAME.yaml beside it, gives it an input with which it begins."
        ));
    }
    if !unfinished(swept, ready) {
        return None;
    }
    let meant = match undisturbed.status {
        Status::Completed | Status::Compensated | Status::Parked => {
            format!("; --ends {end} says that it is meant so")
        }
        Status::New | Status::Running | Status::Compensating | Status::Abandoned => String::new(),
    };
    Some(format!(
        "It is {end} although nothing befalls it: these are troubles of a saga that never comes to its end. --input, --returns and --events, or `sweep:` in cases/NAME.yaml beside it, give it values with which it completes{meant}."
    ))
}

/// The troubles that stand over the matrix: those that can befall any of its rows.
fn columns(swept: &Swept) -> Vec<Trouble> {
    let used = |trouble: &Trouble| {
        *trouble != Trouble::Nothing && swept.cells.iter().any(|cell| cell.trouble == *trouble)
    };
    Trouble::ALL.into_iter().filter(used).collect()
}

fn name_of(row: &Row) -> String {
    match (&row.step, row.way) {
        (None, _) => "(whole saga)".to_owned(),
        (Some(step), Way::Do | Way::Saga) => step.to_string(),
        (Some(_), Way::Undo) if row.from_above => "  undo above".to_owned(),
        (Some(_), Way::Undo) => "  undo".to_owned(),
        (Some(_), Way::Probe) => "  probe".to_owned(),
    }
}

/// A name cut to a width; of a step within another saga its end is what tells.
fn cut_to(name: &str, width: usize) -> String {
    if !name.contains('/') || wide(name) <= width {
        return cut(name, width);
    }
    let mut kept = name;
    while wide(kept) + 1 > width {
        let mut rest = kept.chars();
        if rest.next().is_none() {
            break;
        }
        kept = rest.as_str();
    }
    format!("…{kept}")
}

/// A row in words: `switch`, `undo of switch`.
fn told(row: &Row) -> String {
    match (&row.step, row.way) {
        (None, _) => "the whole saga".to_owned(),
        (Some(step), Way::Do | Way::Saga) => step.to_string(),
        (Some(step), Way::Undo) if row.from_above => format!("undo of {step} from above"),
        (Some(step), Way::Undo) => format!("undo of {step}"),
        (Some(step), Way::Probe) => format!("probe of {step}"),
    }
}

/// The matrix; in several parts where the screen is too narrow for all columns.
fn matrix(swept: &Swept, ready: &Sweep, desks: &Desks<'_>, width: usize) -> Vec<Line> {
    let columns = columns(swept);
    let longest = ready.rows().iter().map(|row| wide(&name_of(row))).max();
    let longest = longest.unwrap_or(0);
    let room = width.saturating_sub(columns.len() * CELL + 1);
    let name = longest.min(room.max(NAME_MIN));
    let most = (width.saturating_sub(name + 1) / CELL).max(1);
    let mut lines = Vec::new();
    for (n, part) in columns.chunks(most).enumerate() {
        if n > 0 {
            lines.push(Line::new());
        }
        lines.extend(part_of_matrix(swept, ready, desks, part, name));
    }
    lines
}

fn part_of_matrix(
    swept: &Swept,
    ready: &Sweep,
    desks: &Desks<'_>,
    columns: &[Trouble],
    name: usize,
) -> Vec<Line> {
    let heads: Vec<&str> = columns.iter().map(|trouble| trouble.head()).collect();
    let blank = " ".repeat(name + 1);
    let mut lines = vec![Line::faint(format!("{blank}{}", heads.join(" ")))];
    for (at, row) in ready.rows().iter().enumerate() {
        let cells: Vec<Option<&Cell>> = columns
            .iter()
            .map(|trouble| {
                let mut all = swept.cells.iter();
                all.find(|cell| cell.row == at && cell.trouble == *trouble)
            })
            .collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        let label = cut_to(&name_of(row), name);
        let pad = " ".repeat(name + 1 - wide(&label));
        let tone = match row.way {
            Way::Do => Tone::Plain,
            _ => Tone::Faint,
        };
        let last = cells.iter().rposition(Option::is_some).unwrap_or(0);
        let mut line = Line::of(label, tone).plain(pad);
        for (n, cell) in cells.into_iter().enumerate().take(last + 1) {
            let (text, tone) = cell.map_or((String::new(), Tone::Plain), |cell| drawn(cell, desks));
            let text = if n == last {
                text.trim_end().to_owned()
            } else {
                format!("{text:<CELL$}")
            };
            line = line.with(text, tone);
        }
        lines.push(line);
    }
    lines
}

/// What stands in a cell.
fn drawn(cell: &Cell, desks: &Desks<'_>) -> (String, Tone) {
    if cell.broken.is_some() {
        return ("!!".to_owned(), Tone::Bad);
    }
    let Some(end) = cell.end else {
        return (" ·".to_owned(), Tone::Faint);
    };
    let mark = if cell.others.is_empty() { "" } else { "*" };
    let (word, tone) = match end.as_str() {
        "completed" => ("ok".to_owned(), Tone::Good),
        "compensated" => ("un".to_owned(), Tone::Plain),
        "parked" => {
            let desk = desks
                .values()
                .position(|all| all.iter().any(|(of, ..)| std::ptr::eq(*of, cell)));
            let number = desk.map_or_else(|| "?".to_owned(), |n| (n + 1).to_string());
            (format!("P{number}"), Tone::Waits)
        }
        _ => ("??".to_owned(), Tone::Bad),
    };
    (format!("{word}{mark}"), tone)
}

fn legend(swept: &Swept, ready: &Sweep, width: usize) -> Vec<Line> {
    let says = |trouble: &Trouble| format!("{} {}", trouble.head(), trouble.says());
    let all: Vec<String> = columns(swept).iter().map(says).collect();
    let cell = all.iter().map(|one| wide(one)).max().unwrap_or(1) + GAP;
    let columns = (width / cell).max(1);
    let rows = all.len().div_ceil(columns);
    let mut lines = Vec::new();
    for row in 0..rows {
        let mut text = String::new();
        for one in all.iter().skip(row).step_by(rows) {
            text.push_str(&format!("{one:<cell$}"));
        }
        lines.push(Line::faint(text.trim_end()));
    }
    let undone = match ready.told_before().next() {
        Some(_) => "all undone but for events that were published",
        None => "all undone",
    };
    let words = format!(
        "ok completed, un {undone}, P a person decides, !! a promise is broken, · never came to it; * ends otherwise when messages are doubled and reordered"
    );
    for part in wrapped(&words, width) {
        lines.push(Line::of(part, Tone::Faint));
    }
    lines
}

/// What ends at a person: each desk with the steps it is about, and a seed of each.
fn people(desks: &Desks<'_>, ready: &Sweep, width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for (n, ((kind, owner), all)) in desks.iter().enumerate() {
        lines.push(Line::new());
        lines.push(
            Line::of(format!("P{} ", n + 1), Tone::Waits)
                .with(format!("{owner}: "), Tone::Strong)
                .plain(*kind),
        );
        let mut by_step: BTreeMap<&str, Vec<&(&Cell, u64, &Asked)>> = BTreeMap::new();
        for one in all {
            let step = one.2.step.as_deref().unwrap_or("");
            by_step.entry(step).or_default().push(one);
        }
        for some in by_step.values() {
            let Some((_, seed, asked)) = some.first() else {
                continue;
            };
            for part in wrapped(&asked.title, width.saturating_sub(4)) {
                lines.push(Line::new().plain(format!("    {part}")));
            }
            let mut when: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
            for (cell, ..) in some {
                let heads = when.entry(cell.row).or_default();
                if !heads.contains(&cell.trouble.head()) {
                    heads.push(cell.trouble.head());
                }
            }
            let when: Vec<String> = when
                .into_iter()
                .map(|(row, heads)| {
                    let row = ready.rows().get(row).map(told).unwrap_or_default();
                    format!("{row} {}", heads.join(" "))
                })
                .collect();
            let choices = asked.choices.join(", ");
            let says = format!("{}; choices: {choices}; --seed {seed}", when.join(", "));
            for part in wrapped(&says, width.saturating_sub(6)) {
                lines.push(Line::faint(format!("      {part}")));
            }
        }
    }
    lines
}

fn broken(swept: &Swept, ready: &Sweep, width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    // with `--step` no cell shows it
    let seed = ready.seed_of_all_well();
    let is_shown = swept.cells.iter().any(|cell| cell.seed == seed);
    let undisturbed = ready.undisturbed().broken.as_ref();
    let undisturbed = undisturbed.filter(|_| !is_shown);
    let undisturbed = undisturbed.map(|what| (format!("undisturbed: {what}"), seed));
    let all = swept
        .cells
        .iter()
        .filter_map(|cell| Some((cell, cell.broken.as_ref()?)));
    let all = all.map(|(cell, broken)| {
        let row = ready.rows().get(cell.row).map(told).unwrap_or_default();
        let says = format!("{row}, {}: {}", cell.trouble.says(), broken.what);
        (says, broken.seed)
    });
    for (says, seed) in undisturbed.into_iter().chain(all) {
        if lines.is_empty() {
            lines.push(Line::new());
            lines.push(Line::of("Broken promises", Tone::Bad));
        }
        for part in wrapped(&says, width.saturating_sub(2)) {
            lines.push(Line::new().plain(format!("  {part}")));
        }
        let again = format!("    {} --seed {seed} --trace", swept.command);
        lines.push(Line::faint(again));
    }
    lines
}

/// The rows of undos that were never begun, whatever befell them: a crash is about what is written of a step, also that its undo is not wanted. Where not all was
/// played nobody knows.
fn never_undone<'r>(swept: &'r Swept, ready: &'r Sweep) -> impl Iterator<Item = &'r Row> {
    let undos = ready.rows().iter().enumerate();
    let undos = undos.filter(move |(_, row)| row.way == Way::Undo && swept.whole);
    let never = move |at: usize| {
        let cells = swept.cells.iter();
        let mut cells = cells.filter(move |cell| cell.row == at && cell.trouble != Trouble::Crash);
        let unseen = |cell: &Cell| cell.end.is_none() && cell.broken.is_none();
        cells.next().is_some_and(unseen) && cells.all(unseen)
    };
    undos.filter(move |(at, _)| never(*at)).map(|(_, row)| row)
}

/// What would make the sweep see more.
fn hints(swept: &Swept, ready: &Sweep, width: usize) -> Vec<Line> {
    let mut says = Vec::new();
    let mut never: Vec<String> = ready.never_wanted().map(|step| step.to_string()).collect();
    never.extend(never_undone(swept, ready).map(told));
    if !never.is_empty() {
        says.push(format!(
            "Never came to: {}. --input and --returns say what makes their turn come.",
            never.join(", ")
        ));
    }
    let unmade: Vec<String> = ready.unmade().map(ToString::to_string).collect();
    if !unmade.is_empty() {
        says.push(format!(
            "No event could be made that is what {} waits for: --events says what its data is.",
            unmade.join(", ")
        ));
    }
    if let Some(first) = swept.left_out.iter().min_by_key(|step| step.depth()) {
        let steps = some(swept.left_out.len(), "step");
        says.push(format!(
            "Left out: the rows of {steps} of the sagas within it, such as {first}. No more than {CELLS_WITHIN_MAX} cells of such are played at once: --step {first} plays those of one, and a saga that is swept by itself all of its own."
        ));
    }
    if !swept.whole {
        says.push("Not all cells were played: --within was over first.".to_owned());
    }
    let mut lines = Vec::new();
    for text in says {
        lines.push(Line::new());
        lines.extend(
            wrapped(&text, width)
                .into_iter()
                .map(|part| Line::of(part, Tone::Waits)),
        );
    }
    lines
}

/// One play, in words.
pub(crate) fn again(
    ready: &Sweep,
    row: usize,
    trouble: Trouble,
    played: &Played,
    width: usize,
) -> Vec<Line> {
    let row = ready.rows().get(row);
    let mut says = vec![format!(
        "{}: {}",
        row.map(told).unwrap_or_default(),
        trouble.says()
    )];
    if let Some(turn) = row.and_then(|row| row.turn.as_ref()) {
        says.push(format!("turned back because {turn}"));
    }
    if !played.struck && trouble != Trouble::Nothing {
        says.push("it never came to it".to_owned());
    }
    let end = played.status.as_str();
    let mut lines: Vec<Line> = Vec::new();
    for part in wrapped(&says.join("; "), width) {
        lines.push(Line::of(part, Tone::Strong));
    }
    lines.push(Line::of(end, Tone::of(end)));
    for text in played.why.iter() {
        let parts = wrapped(text, width.saturating_sub(2));
        lines.extend(
            parts
                .into_iter()
                .map(|part| Line::new().plain(format!("  {part}"))),
        );
    }
    for asked in &played.asked {
        let text = format!(
            "{}: {} ({})",
            asked.owner,
            asked.title,
            asked.choices.join(", ")
        );
        let parts = wrapped(&text, width.saturating_sub(2));
        lines.extend(
            parts
                .into_iter()
                .map(|part| Line::of(format!("  {part}"), Tone::Waits)),
        );
    }
    if let Some(why) = &played.refused {
        let parts = wrapped(&format!("its start is refused: {why}"), width).into_iter();
        lines.extend(parts.map(|part| Line::of(part, Tone::Bad)));
    }
    if let Some(what) = &played.broken {
        let parts = wrapped(&format!("broken: {what}"), width);
        lines.extend(parts.into_iter().map(|part| Line::of(part, Tone::Bad)));
    }
    lines
}

fn asked_json(asked: &Asked) -> Value {
    json!({
        "kind": asked.kind, "step": asked.step, "owner": asked.owner, "title": asked.title, "choices": asked.choices,
    })
}

/// The same for a script.
pub(crate) fn json(swept: &Swept, ready: &Sweep) -> Value {
    let cell = |cell: &Cell| {
        let asked: Vec<Value> = cell
            .asked
            .iter()
            .map(|(seed, asked)| json!({ "seed": seed, "asks": asked_json(asked) }))
            .collect();
        let broken = cell.broken.as_ref();
        json!({
            "trouble": cell.trouble, "seed": cell.seed, "plays": cell.plays,
            "ends": cell.ends().collect::<Vec<_>>(), "why": cell.why, "asked": asked,
            "broken": broken.map(|broken| json!({ "seed": broken.seed, "what": broken.what })),
        })
    };
    let rows: Vec<Value> = ready
        .rows()
        .iter()
        .enumerate()
        .map(|(at, row)| {
            let cells = swept.cells.iter().filter(|cell| cell.row == at);
            json!({ "step": row.step, "way": row.way, "from_above": row.from_above, "turned_by": row.turn, "cells": cells.map(cell).collect::<Vec<_>>() })
        })
        .collect();
    let undisturbed = ready.undisturbed();
    json!({
        "file": swept.file, "saga": swept.saga, "version": swept.version,
        "ok": !unfinished(swept, ready) && undisturbed.broken.is_none() && swept.cells.iter().all(|cell| cell.broken.is_none()),
        "whole": swept.whole, "left_out": swept.left_out,
        "undisturbed": { "end": undisturbed.status.as_str(), "why": undisturbed.why, "refused": undisturbed.refused, "broken": undisturbed.broken, "meant": !unfinished(swept, ready) },
        "input": ready.input(), "input_from": swept.input_from,
        "never_wanted": ready.never_wanted().collect::<Vec<_>>(),
        "never_undone": never_undone(swept, ready).filter_map(|row| row.step.as_ref()).collect::<Vec<_>>(),
        "no_event_for": ready.unmade().collect::<Vec<_>>(),
        "rows": rows,
    })
}

/// One play for a script.
pub(crate) fn again_json(
    ready: &Sweep,
    row: usize,
    trouble: Trouble,
    played: &Played,
    trace: bool,
) -> Value {
    let row = ready.rows().get(row);
    let mut all = json!({
        "step": row.and_then(|row| row.step.clone()), "way": row.map(|row| row.way),
        "from_above": row.map(|row| row.from_above), "trouble": trouble,
        "turned_by": row.and_then(|row| row.turn.clone()), "struck": played.struck,
        "end": played.status.as_str(), "why": played.why, "refused": played.refused,
        "asked": played.asked.iter().map(asked_json).collect::<Vec<_>>(), "broken": played.broken,
    });
    if trace {
        all["trace"] = json!(played.trace);
    }
    all
}
