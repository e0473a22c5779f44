//! What nobody could use: a list, and one message in full, byte for byte.

use serde_json::Value;

use super::fleet::text;
use crate::out::{Column, Line, Span, Table, Tone, cell, plain, short, width as wide, wrapped};
use crate::time;

/// Lines of a body that are shown; `--raw` writes all of it.
const BODY_LINES_MAX: usize = 200;
/// Bytes of it that are shown: a body may be one line of megabytes.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Words have at least so much room, however far they are set in.
const ROOM_MIN: usize = 20;

/// The list: with whole ids where all the rest has room beside them.
pub(crate) fn table(rows: &[Value], now: u64, width: usize) -> Table {
    let whole = list(rows, now, width);
    if whole.fits(width) {
        return whole;
    }
    list(rows, now, 0)
}

/// The list with ids as they are in a screen of that width.
fn list(rows: &[Value], now: u64, width: usize) -> Table {
    let mut table = Table::new(&[
        Column::new("id"),
        Column::new("since").rank(2).right(),
        Column::new("reason"),
        Column::new("state").rank(4),
        Column::new("from").rank(3).cut(12),
        Column::new("saga").rank(1),
    ]);
    for row in rows {
        // lists go by when it died the last time
        let died = time::read(&row["died_at"]).or_else(|| time::read(&row["at"]));
        let at = died.map_or_else(String::new, |at| time::ago(at, now));
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

/// Whether one was found, and no more are there.
pub(crate) fn is_one(answer: &Value) -> bool {
    number(answer, "found") == 1 && answer["found_is_least"] != true
}

/// What a replay of many would do.
pub(crate) fn plan(plan: &Value, width: usize) -> Vec<Line> {
    let (found, looked_at) = (number(plan, "found"), number(plan, "looked_at"));
    let words = format!("{} dead letters fit", how_many(plan));
    let mut lines = vec![Line::of(words, Tone::Strong)];
    if looked_at < found {
        let words = format!(
            "looked at {looked_at} of them, in the order they would go; the rest may be otherwise (--look SECONDS looks at more)"
        );
        lines.extend(set_in("", &words, Tone::Faint, width));
    }
    lines.extend(goes_where(plan, width));
    for (task_type, n) in plan["unserved"].as_object().into_iter().flatten() {
        let words = format!("wait then: no worker serves {task_type} now");
        lines.extend(set_in(&counted(n), &words, Tone::Waits, width));
    }
    for step in plan["steps"].as_array().into_iter().flatten() {
        lines.extend(set_in(BELOW, &tried_again(step), Tone::Faint, width));
    }
    for (name, words) in [
        ("waiting", "would wait: there is no queue where they go"),
        ("unreadable", "still cannot be used, and would fail again"),
        ("refused", "would be refused"),
    ] {
        if number(plan, name) > 0 {
            let lead = counted(&plan[name]);
            lines.extend(set_in(&lead, words, Tone::Waits, width));
        }
    }
    for why in plan["why"].as_array().into_iter().flatten() {
        let words = format!("{}: {}", number(why, "letters"), text(why, "why"));
        lines.extend(set_in(BELOW, &words, Tone::Faint, width));
    }
    lines
}

/// Below a line with a number.
const BELOW: &str = "          ";

/// How many, before what they are.
fn counted(n: &Value) -> String {
    format!("  {:>6}  ", n.as_u64().unwrap_or_default())
}

/// Where they would go.
fn goes_where(plan: &Value, width: usize) -> Vec<Line> {
    let said = |route: &str| match route {
        "task" => "their sagas are asked for another attempt",
        "report" => "reports, told to their sagas",
        "start" => "requests to start a saga",
        "event" => "events: only the triggers that refused them look again",
        _ => "messages of others, published as they were",
    };
    let mut lines = Vec::new();
    for (route, n) in plan["routes"].as_object().into_iter().flatten() {
        lines.extend(set_in(&counted(n), said(route), Tone::Plain, width));
    }
    if number(plan, "replayed_before") > 0 {
        let lead = counted(&plan["replayed_before"]);
        let words = "of them were replayed already, once or oftener";
        lines.extend(set_in(&lead, words, Tone::Faint, width));
    }
    for (place, n) in plan["targets"].as_object().into_iter().flatten() {
        lines.extend(set_in(
            BELOW,
            &format!("{n} to {place}"),
            Tone::Faint,
            width,
        ));
    }
    for place in plan["unused_redirects"].as_array().into_iter().flatten() {
        let words = format!(
            "none of the {} looked at came from {}: that rule of --redirect does nothing for them",
            number(plan, "looked_at"),
            place.as_str().unwrap_or_default()
        );
        lines.extend(set_in(BELOW, &words, Tone::Bad, width));
    }
    lines
}

/// A step a replay would have tried again.
fn tried_again(step: &Value) -> String {
    let direction = match text(step, "direction").as_str() {
        "undo" => "its undo",
        _ => "it",
    };
    format!(
        "step {} of saga {}: {direction} is tried again, attempt {}",
        text(step, "step"),
        text(step, "saga"),
        number(step, "attempt")
    )
}

/// Words behind a lead, wrapped below themselves where they are too long.
pub(super) fn set_in(lead: &str, words: &str, tone: Tone, width: usize) -> Vec<Line> {
    below((lead, tone), words, tone, width)
}

/// The same with a lead of another tone.
fn below(lead: (&str, Tone), words: &str, tone: Tone, width: usize) -> Vec<Line> {
    let (lead, lead_tone) = lead;
    let indent = wide(lead);
    let room = width.saturating_sub(indent).max(ROOM_MIN);
    let parts = if wide(words) <= room {
        vec![words.to_owned()]
    } else {
        wrapped(words, room)
    };
    let first = |n: usize| match n {
        0 => lead.to_owned(),
        _ => " ".repeat(indent),
    };
    let parts = parts.into_iter().enumerate();
    parts
        .map(|(n, part)| Line::of(first(n), lead_tone).with(part, tone))
        .collect()
}

pub(super) fn number(row: &Value, name: &str) -> u64 {
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
    lines.extend(fields(facts(row, now).into_iter(), width));
    lines.extend(properties(&row["properties"], width));
    lines.push(Line::new());
    lines.extend(body(row));
    lines.extend(edits(row, now));
    lines.extend(history(row, now, width));
    if row["masked"] == true {
        lines.push(Line::new());
        let words = "what looks like a secret is covered (***): all of it is for the role operator";
        lines.extend(set_in("", words, Tone::Faint, width));
    }
    lines.extend(to_type(commands(row, width)));
    lines
}

/// Commands below what they are about, whole, so that they can be copied.
pub(super) fn to_type(commands: Vec<(&'static str, String)>) -> Vec<Line> {
    let apart = (!commands.is_empty()).then(Line::new).into_iter();
    let commands = commands.into_iter();
    let commands = commands.map(|(what, command)| Line::faint(format!("{what}: ")).plain(command));
    apart.chain(commands).collect()
}

/// What is known of it, in words.
fn facts(row: &Value, now: u64) -> Vec<(String, String)> {
    let at = time::read(&row["at"]).map_or_else(String::new, |at| {
        format!("{} ({})", time::ago(at, now), time::instant(at))
    });
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
        ("saga", text(row, "saga")),
        ("saga now", saga_now(&row["saga_now"])),
    ];
    let facts = facts.into_iter();
    facts
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// How a saga is that wants nothing any more.
const OVER: [&str; 3] = ["completed", "compensated", "abandoned"];
/// How a letter calls where it came from, when nobody says.
const ORIGIN_UNKNOWN: &str = "unknown";

/// What can be done with it where it stands; nothing for whoever may only look.
fn commands(row: &Value, width: usize) -> Vec<(&'static str, String)> {
    let id = text(row, "id");
    let id = short(&id, width);
    let may_act = row["masked"] != true;
    let mut all = match text(row, "state").as_str() {
        "dead" if may_act => for_dead(row, id),
        "replaying" => vec![("what comes of it", format!("baton dead show {id}"))],
        "discarded" if may_act => vec![("wanted after all", format!("baton dead restore {id}"))],
        _ => Vec::new(),
    };
    if row["saga_now"].is_object() {
        let saga = text(row, "saga");
        all.push(("saga", format!("baton show {}", short(&saga, width))));
    }
    all
}

/// What can be done with one that is dead: a task is sent again by its saga alone, where that still wants it.
fn for_dead(row: &Value, id: &str) -> Vec<(&'static str, String)> {
    let origin = &row["properties"]["origin"];
    let is_task = text(row, "kind").starts_with("task@") && origin.is_null();
    let saga = &row["saga_now"];
    let is_over = OVER.contains(&text(saga, "status").as_str());
    let mut all = Vec::new();
    if !is_task || (saga.is_object() && !is_over) {
        let to = if *origin == ORIGIN_UNKNOWN {
            " --to EXCHANGE/KEY"
        } else {
            ""
        };
        all.push(("back to work", format!("baton dead replay {id}{to}")));
    }
    if !is_task {
        all.push(("mend it first", format!("baton dead edit {id} -m 'why'")));
    }
    all.push(("not wanted", format!("baton dead discard {id} -m 'why'")));
    all
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
        lines.extend(capped(&text(edit, "difference")));
    }
    if !lines.is_empty() {
        lines.push(Line::faint(
            "  what is sent is the last of these; above is the original, as it came",
        ));
    }
    lines
}

/// What happened to it since it was taken in.
fn history(row: &Value, now: u64, width: usize) -> Vec<Line> {
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
            "noted" if text(one, "text").is_empty() => ("note taken away", Tone::Faint),
            "noted" => ("noted", Tone::Faint),
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
        let (lead, said) = (format!("  {at:>8}  "), said.join(": "));
        let who = format!("{word}{by}");
        if wide(&lead) + wide(&who) + 2 + wide(&said) <= width {
            let said = if said.is_empty() {
                said
            } else {
                format!("  {said}")
            };
            lines.push(Line::faint(lead).with(who, tone).plain(said));
        } else {
            lines.push(Line::faint(lead).with(who, tone));
            lines.extend(set_in("            ", &said, Tone::Plain, width));
        }
    }
    lines
}

/// Names and values, one below the other; what has no value is left out.
pub(super) fn fields(all: impl Iterator<Item = (String, String)>, width: usize) -> Vec<Line> {
    let all: Vec<_> = all.filter(|(_, value)| !value.is_empty()).collect();
    let widest = all
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    let lines = all.into_iter().map(|(name, value)| {
        let lead = format!("  {name:widest$}  ");
        below((lead.as_str(), Tone::Faint), &value, Tone::Plain, width)
    });
    lines.flatten().collect()
}

/// The properties and headers the message carried.
fn properties(all: &Value, width: usize) -> Vec<Line> {
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
            lines.extend(fields(group.into_iter(), width));
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
    lines.extend(capped(&shown));
    lines
}

/// The beginning of a text, as much of it as a terminal takes, and what is left out.
fn capped(text: &str) -> Vec<Line> {
    let mut end = text.len().min(BODY_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let shown = text[..end].lines().take(BODY_LINES_MAX);
    let mut lines: Vec<Line> = shown
        .map(|line| Line::new().plain(format!("  {line}")))
        .collect();
    let lines_left = text.lines().count().saturating_sub(lines.len());
    let left = match (lines_left, text.len() - end) {
        (0, 0) => return lines,
        (0, bytes) => format!("{bytes} bytes"),
        (n, _) => format!("{n} lines"),
    };
    lines.push(Line::faint(format!(
        "  … {left} more; baton dead show ID --raw writes all of it"
    )));
    lines
}
