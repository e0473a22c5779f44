//! What nobody could use: a list, and one message in full, byte for byte.

use serde_json::Value;

use super::fleet::text;
use crate::out::{Column, Line, Span, Table, Tone, cell, plain, short, wrapped};
use crate::time;

/// Lines of a body that are shown; `--raw` writes all of it.
const BODY_LINES_MAX: usize = 200;

/// The list.
pub(crate) fn table(rows: &[Value], now: u64, width: usize) -> Table {
    let mut table = Table::new(&[
        Column::new("id"),
        Column::new("since").rank(2).right(),
        Column::new("reason"),
        Column::new("state").rank(4),
        Column::new("from").rank(3).cut(12),
        Column::new("saga").rank(1),
    ]);
    for row in rows {
        let at = time::read(&row["at"]).map_or_else(String::new, |at| time::ago(at, now));
        let mut error = match text(row, "outcome") {
            outcome if outcome.is_empty() => text(row, "error"),
            outcome => outcome,
        };
        let goes = goes(row, now);
        if !goes.is_empty() {
            error += &format!(" (goes {goes})");
        }
        let below = if error.is_empty() {
            Vec::new()
        } else {
            vec![cell(error, Tone::Faint)]
        };
        let cells = vec![
            plain(short(row["id"].as_str().unwrap_or_default(), width)),
            plain(at),
            cell(text(row, "reason"), Tone::Waits),
            standing(row),
            cell(text(row, "queue"), Tone::Faint),
            plain(short(row["saga"].as_str().unwrap_or_default(), width)),
        ];
        table.row_with(cells, below);
    }
    table
}

/// When it is taken out by itself; empty where it stays.
fn goes(row: &Value, now: u64) -> String {
    time::read(&row["expires_at"]).map_or_else(String::new, |at| time::until(at, now))
}

/// Where it stands, in a word.
fn state(row: &Value) -> String {
    if row["published"] == true {
        // more than that is not known of it
        "published".to_owned()
    } else {
        text(row, "state")
    }
}

/// Where it stands; how often it was replayed, where it was.
fn standing(row: &Value) -> Span {
    let state = state(row);
    let tone = match state.as_str() {
        "resolved" => Tone::Good,
        "dead" => Tone::Waits,
        _ => Tone::Faint,
    };
    match row["replays"].as_u64() {
        Some(n) if n > 0 => cell(format!("{state} ({n}x)"), tone),
        _ => cell(state, tone),
    }
}

/// Groups of one cause.
pub(crate) fn groups(rows: &[Value], now: u64, width: usize) -> Table {
    let mut table = Table::new(&[
        Column::new("group"),
        Column::new("dead").right(),
        Column::new("reason"),
        Column::new("kind").rank(2),
        Column::new("first").rank(3).right(),
        Column::new("last").rank(1).right(),
        Column::new("sample").rank(4),
        Column::new("24 h").rank(5),
    ]);
    let ago = |at: &Value| time::read(at).map_or_else(String::new, |at| time::ago(at, now));
    for row in rows {
        let cells = vec![
            plain(text(row, "group")),
            plain(row["dead"].to_string()),
            cell(text(row, "reason"), Tone::Waits),
            cell(text(row, "kind"), Tone::Faint),
            plain(ago(&row["first_at"])),
            plain(ago(&row["last_at"])),
            plain(short(row["sample"].as_str().unwrap_or_default(), width)),
            cell(hours(&row["hours"]), Tone::Faint),
        ];
        let error = text(row, "error");
        let below = if error.is_empty() {
            Vec::new()
        } else {
            vec![cell(error, Tone::Faint)]
        };
        table.row_with(cells, below);
    }
    table
}

/// A bar for each hour, the fullest as high as there is.
fn hours(of: &Value) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let all: Vec<u64> = of
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .collect();
    let most = all.iter().copied().max().unwrap_or_default();
    let bar = |n: &u64| match (*n, most) {
        (0, _) => '·',
        (n, most) => {
            let step = (n * BARS.len() as u64 - 1) / most;
            BARS[usize::try_from(step)
                .unwrap_or_default()
                .min(BARS.len() - 1)]
        }
    };
    all.iter().map(bar).collect()
}

/// How many were found, as far as they were counted.
pub(crate) fn how_many(answer: &Value) -> String {
    let least = if answer["found_is_least"] == true {
        "at least "
    } else {
        ""
    };
    format!("{least}{}", number(answer, "found"))
}

/// What a replay of many would do.
pub(crate) fn plan(plan: &Value) -> Vec<Line> {
    let (found, looked_at) = (number(plan, "found"), number(plan, "looked_at"));
    let words = format!("{} dead letters fit", how_many(plan));
    let mut lines = vec![Line::of(words, Tone::Strong)];
    if looked_at < found {
        let words = format!(
            "looked at {looked_at} of them, newest first; the rest may be otherwise (--look SECONDS looks at more)"
        );
        lines.push(Line::faint(words));
    }
    let said = |route: &str| match route {
        "task" => "their sagas are asked for another attempt",
        "report" => "reports, told to their sagas",
        "start" => "requests to start a saga",
        "event" => "events, published",
        _ => "messages of others, published as they were",
    };
    let routes = plan["routes"].as_object();
    for (route, n) in routes.into_iter().flatten() {
        lines.push(Line::new().plain(format!("  {n:>6}  {}", said(route))));
    }
    let before = number(plan, "replayed_before");
    if before > 0 {
        let words = format!("  {before:>6}  of them were replayed already, once or oftener");
        lines.push(Line::faint(words));
    }
    for (place, n) in plan["targets"].as_object().into_iter().flatten() {
        lines.push(Line::faint(format!("          {n} to {place}")));
    }
    for place in plan["unused_redirects"].as_array().into_iter().flatten() {
        let place = place.as_str().unwrap_or_default();
        lines.push(Line::of(
            format!(
                "          none of the {looked_at} looked at came from {place}: that rule of --redirect does nothing for them"
            ),
            Tone::Bad,
        ));
    }
    for (task_type, n) in plan["unserved"].as_object().into_iter().flatten() {
        let words = format!("  {n:>6}  wait then: no worker serves {task_type} now");
        lines.push(Line::of(words, Tone::Waits));
    }
    for step in plan["steps"].as_array().into_iter().flatten() {
        let direction = match text(step, "direction").as_str() {
            "undo" => "its undo",
            _ => "it",
        };
        lines.push(Line::faint(format!(
            "          step {} of saga {}: {direction} is tried again, attempt {}",
            text(step, "step"),
            text(step, "saga"),
            number(step, "attempt")
        )));
    }
    for (name, words) in [
        ("unreadable", "still cannot be read, and would fail again"),
        ("refused", "would be refused"),
    ] {
        let n = number(plan, name);
        if n > 0 {
            lines.push(Line::of(format!("  {n:>6}  {words}"), Tone::Waits));
        }
    }
    for why in plan["why"].as_array().into_iter().flatten() {
        let (n, text) = (number(why, "letters"), text(why, "why"));
        lines.push(Line::faint(format!("          {n}: {text}")));
    }
    lines
}

/// Replays of many.
pub(crate) fn operations(rows: &[Value], now: u64) -> Table {
    let mut table = Table::new(&[
        Column::new("id"),
        Column::new("since").rank(2).right(),
        Column::new("state"),
        Column::new("done").right(),
        Column::new("in all").rank(1),
        Column::new("by").rank(3),
    ]);
    for row in rows {
        let at = time::read(&row["made_at"]).map_or_else(String::new, |at| time::ago(at, now));
        let state = text(row, "state");
        let tone = match state.as_str() {
            "stopped" => Tone::Bad,
            "done" => Tone::Good,
            _ => Tone::Waits,
        };
        let cells = vec![
            plain(beginning(&text(row, "id"))),
            plain(at),
            cell(state, tone),
            plain(format!(
                "{}/{}",
                number(row, "replayed"),
                number(row, "found")
            )),
            plain(progress(row)),
            cell(text(row, "by"), Tone::Faint),
        ];
        table.row_with(cells, vec![cell(text(row, "reason"), Tone::Faint)]);
    }
    table
}

/// So much of an id that those made in one minute are told apart: it begins with its time.
fn beginning(id: &str) -> String {
    id.chars().take(13).collect()
}

/// How far one is, in a line.
pub(crate) fn progress(row: &Value) -> String {
    let of = |name| number(row, name);
    let mut text = format!(
        "{} of {}: {} resolved, {} failed again, {} refused",
        of("replayed"),
        of("found"),
        of("resolved"),
        of("failed"),
        of("refused")
    );
    if of("open") > 0 {
        text += &format!(", {} not known yet", of("open"));
    }
    text
}

fn number(row: &Value, name: &str) -> u64 {
    row[name].as_u64().unwrap_or_default()
}

/// One of them.
pub(crate) fn one(row: &Value, now: u64, width: usize) -> Vec<Line> {
    let mut lines = vec![
        Line::of(text(row, "reason"), Tone::Waits)
            .plain("  ")
            .with(text(row, "id"), Tone::Strong),
    ];
    lines.extend(
        wrapped(&text(row, "error"), width)
            .into_iter()
            .map(|part| Line::new().plain(part)),
    );
    lines.push(Line::new());
    let at = time::read(&row["at"]).map_or_else(String::new, |at| {
        format!("{} ({})", time::ago(at, now), time::instant(at))
    });
    let saga = text(row, "saga");
    let changed = time::read(&row["changed_at"]).map_or_else(String::new, |at| {
        format!("{}, by {}", time::ago(at, now), text(row, "changed_by"))
    });
    let facts = [
        ("state", standing(row).text),
        ("outcome", text(row, "outcome")),
        ("moved", changed),
        ("because", text(row, "why")),
        ("note", text(row, "note")),
        ("group", text(row, "group")),
        ("goes", goes(row, now)),
        ("taken in", at),
        ("from queue", text(row, "queue")),
        ("exchange", text(row, "exchange")),
        ("routing key", text(row, "key")),
        ("message id", text(row, "message_id")),
        ("kind", text(row, "kind")),
        ("pool", text(row, "pool")),
        ("task type", text(row, "task_type")),
        ("event type", text(row, "event_type")),
        ("definition", text(row, "definition")),
        ("worker", text(row, "worker")),
        ("saga", saga.clone()),
        ("saga now", saga_now(&row["saga_now"])),
    ];
    lines.extend(fields(
        facts
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value)),
    ));
    lines.extend(properties(&row["properties"]));
    lines.push(Line::new());
    lines.extend(body(row));
    lines.extend(edits(row, now));
    lines.extend(history(row, now));
    if row["masked"] == true {
        lines.push(Line::new());
        lines.push(Line::faint(
            "what looks like a secret is covered (***): all of it is for the role operator",
        ));
    }
    if !saga.is_empty() {
        lines.push(Line::new());
        lines.push(Line::faint("saga: ").plain(format!("baton show {}", short(&saga, width))));
    }
    lines
}

/// Where its saga stands, and what that waits for.
fn saga_now(now: &Value) -> String {
    if !now.is_object() {
        return String::new();
    }
    let mut said = format!(
        "{}@{} is {}",
        text(now, "definition"),
        number(now, "version"),
        text(now, "status")
    );
    if now["step"].is_string() {
        said += &format!("; step {} is {}", text(now, "step"), text(now, "phase"));
    }
    if now["waits"].is_string() {
        said += &format!("; {}", text(now, "waits"));
    }
    if now["asks"].is_string() {
        said += &format!("; it asks for somebody: {}", text(now, "asks"));
    }
    said
}

/// What was changed of it, and what is sent now.
fn edits(row: &Value, now: u64) -> Vec<Line> {
    let mut lines = Vec::new();
    for edit in row["edits"].as_array().into_iter().flatten() {
        let at = time::read(&edit["at"]).map_or_else(String::new, |at| time::ago(at, now));
        lines.push(Line::new());
        lines.push(
            Line::of(format!("Edit {}", number(edit, "edition")), Tone::Strong).plain(format!(
                "  {at}, by {}: {}",
                text(edit, "by"),
                text(edit, "why")
            )),
        );
        let difference = text(edit, "difference");
        let told = difference.lines().take(BODY_LINES_MAX);
        lines.extend(told.map(|line| Line::new().plain(format!("  {line}"))));
    }
    if !lines.is_empty() {
        lines.push(Line::faint(
            "  what is sent is the last of these; above is the original, as it came",
        ));
    }
    lines
}

/// What happened to it since it was taken in.
fn history(row: &Value, now: u64) -> Vec<Line> {
    let all = row["history"].as_array().map_or(&[][..], Vec::as_slice);
    if all.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![Line::new(), Line::of("History", Tone::Strong)];
    for one in all {
        let at = time::read(&one["at"]).map_or_else(String::new, |at| time::ago(at, now));
        let (word, tone) = match text(one, "what").as_str() {
            "sent" => ("replayed", Tone::Waits),
            "published" | "resolved" => ("resolved", Tone::Good),
            "failed" => ("failed again", Tone::Bad),
            "died" => ("died again", Tone::Bad),
            "dead" => ("restored", Tone::Faint),
            "discarded" => ("discarded", Tone::Faint),
            _ => ("refused", Tone::Waits),
        };
        let by = text(one, "by");
        let by = if by.is_empty() {
            String::new()
        } else {
            format!(" by {by}")
        };
        let said = [text(one, "why"), text(one, "text")];
        let said: Vec<String> = said.into_iter().filter(|text| !text.is_empty()).collect();
        lines.push(
            Line::faint(format!("  {at:>8}  "))
                .with(format!("{word}{by}"), tone)
                .plain(format!("  {}", said.join(": "))),
        );
    }
    lines
}

/// Names and values, one below the other; what has no value is left out.
fn fields(all: impl Iterator<Item = (String, String)>) -> Vec<Line> {
    let all: Vec<_> = all.filter(|(_, value)| !value.is_empty()).collect();
    let widest = all
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    all.into_iter()
        .map(|(name, value)| Line::faint(format!("  {name:widest$}  ")).plain(value))
        .collect()
}

/// The properties and headers the message carried.
fn properties(all: &Value) -> Vec<Line> {
    let Some(all) = all.as_object() else {
        return Vec::new();
    };
    let said = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let own = all.iter().filter(|(name, _)| *name != "headers");
    let own: Vec<_> = own
        .map(|(name, value)| (name.replace('_', " "), said(value)))
        .collect();
    let headers = all.get("headers").and_then(Value::as_object);
    let headers: Vec<_> = headers
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), said(value)))
        .collect();
    let mut lines = Vec::new();
    for (title, group) in [("Properties", own), ("Headers", headers)] {
        if !group.is_empty() {
            lines.push(Line::new());
            lines.push(Line::of(title, Tone::Strong));
            lines.extend(fields(group.into_iter()));
        }
    }
    lines
}

/// The body: JSON laid out, other text as it is, of bytes how many there are.
fn body(row: &Value) -> Vec<Line> {
    let mut lines = vec![Line::of("Body", Tone::Strong)];
    let Some(body) = row["body"].as_str() else {
        if row["masked"] == true {
            let words = format!("  {} bytes that are no text", number(row, "body_bytes"));
            lines.push(Line::faint(words));
            return lines;
        }
        let encoded = row["body_base64"]
            .as_str()
            .unwrap_or_default()
            .trim_end_matches('=');
        let bytes = encoded.len() * 3 / 4;
        let words = format!("  {bytes} bytes that are no text; --raw writes them as they are");
        lines.push(Line::faint(words));
        return lines;
    };
    if body.is_empty() {
        lines.push(Line::faint("  (empty)"));
        return lines;
    }
    let read: Option<Value> = serde_json::from_str(body).ok();
    let pretty = read.and_then(|read| serde_json::to_string_pretty(&read).ok());
    let shown = pretty.unwrap_or_else(|| body.to_owned());
    let all = shown.lines().count();
    lines.extend(
        shown
            .lines()
            .take(BODY_LINES_MAX)
            .map(|line| Line::new().plain(format!("  {line}"))),
    );
    if all > BODY_LINES_MAX {
        let left = all - BODY_LINES_MAX;
        lines.push(Line::faint(format!(
            "  … {left} lines more; --raw writes all of it"
        )));
    }
    lines
}
