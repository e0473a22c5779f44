//! The plan as a Mermaid flowchart: what is taken first, the deadline, the way forward with its limits, and, dotted, the way back.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use baton_engine::ReservationKind;
use baton_engine::plan::{How, Plan, Planned, Runs, TakenBack, Tries};
use baton_engine::reservation::Want;

use super::plan::{at_most, deadline, duration, each_words, waits};

/// The whole chart.
pub(crate) fn mermaid(plan: &Plan) -> String {
    let mut text = String::from("flowchart TD\n");
    takes(&mut text, plan);
    until(&mut text, plan);
    for step in &plan.steps {
        forward(&mut text, step);
    }
    for step in &plan.steps {
        for before in &step.after {
            let arrow = match step.runs {
                Runs::Always => "-->",
                Runs::Perhaps => "-->|if|",
                Runs::Never => "-.->|skipped|",
            };
            let (before, id) = (node(before.as_str()), node(step.id.as_str()));
            let _ = writeln!(text, "    {before} {arrow} {id}");
        }
    }
    backward(&mut text, plan);
    for step in plan.steps.iter().filter(|step| step.pivot) {
        let _ = writeln!(
            text,
            "    style {} stroke-width:4px",
            node(step.id.as_str())
        );
    }
    text
}

/// What is taken before the first step, and until the saga has ended.
fn takes(text: &mut String, plan: &Plan) {
    if plan.takes.is_empty() {
        return;
    }
    let one = |one: &Want| match (one.kind, one.per_ms) {
        (ReservationKind::Lock, _) => format!("lock {}", one.name),
        (_, Some(ms)) => format!("one of {} of {} within {}", one.max, one.name, duration(ms)),
        (_, None) => format!("one of {} of {} at once", one.max, one.name),
    };
    let all: Vec<String> = plan.takes.iter().map(|said| escaped(&one(said))).collect();
    let _ = writeln!(text, "    takes[/\"{}\"/]", all.join("<br/>"));
    for first in plan.stages.iter().take(1).flatten() {
        let _ = writeln!(text, "    takes --> {}", node(first.as_str()));
    }
}

/// Until when the pivot has to be sent, where somebody says so.
fn until(text: &mut String, plan: &Plan) {
    let Some(says) = deadline(plan) else { return };
    let _ = writeln!(text, "    deadline>\"{says}\"]");
    for pivot in plan.steps.iter().filter(|step| step.pivot) {
        let _ = writeln!(text, "    deadline -.- {}", node(pivot.id.as_str()));
    }
}

/// A step, with what it does and how long it may take.
fn forward(text: &mut String, step: &Planned) {
    let mut parts = vec![step.id.to_string(), format!("{} {}", step.kind, step.of)];
    parts.extend(step.each.as_ref().map(each_words));
    parts.extend(limits(step));
    let parts: Vec<String> = parts.iter().map(|part| escaped(part)).collect();
    let (open, close) = match step.kind {
        "task" => ("[\"", "\"]"),
        "approve" => ("{{\"", "\"}}"),
        _ => ("(\"", "\")"),
    };
    let id = node(step.id.as_str());
    let _ = writeln!(text, "    {id}{open}{}{close}", parts.join("<br/>"));
}

/// How long it may take and how often it is tried.
fn limits(step: &Planned) -> Option<String> {
    if let Some(Tries {
        timeout_ms,
        attempts,
    }) = step.tries
    {
        let timeout = duration(timeout_ms);
        return Some(match attempts {
            Some(1) => format!("{timeout}, tried once"),
            Some(times) => format!("{timeout}, tried {times} times at most"),
            None => format!("{timeout}, tried until it goes"),
        });
    }
    // what a sleep says of itself is how long it is
    let ms = step.limit_ms.filter(|ms| *ms > 0 && step.kind != "sleep")?;
    Some(at_most(ms, &waits(&step.waits_for)))
}

/// How each step is taken back, and which before which: in the reverse order of what ran.
fn backward(text: &mut String, plan: &Plan) {
    let steps = plan.steps.iter();
    let undone: BTreeMap<&str, (&Planned, &TakenBack)> = steps
        .filter(|step| step.runs != Runs::Never)
        .filter_map(|step| Some((step.id.as_str(), (step, step.undo.as_ref()?))))
        .collect();
    if undone.is_empty() {
        return;
    }
    let by_id: BTreeMap<&str, &Planned> = plan
        .steps
        .iter()
        .map(|step| (step.id.as_str(), step))
        .collect();
    text.push_str("    subgraph unwind[\"taken back when a step fails for good\"]\n");
    for (id, (_, back)) in &undone {
        let mut parts = vec![how(id, &back.how)];
        let only = back.only_when.as_ref();
        parts.extend(only.map(|when| format!("only where {when}")));
        let parts: Vec<String> = parts.iter().map(|part| escaped(part)).collect();
        let _ = writeln!(text, "        {}[\"{}\"]", undo(id), parts.join("<br/>"));
    }
    text.push_str("    end\n");
    for (id, (step, _)) in &undone {
        let _ = writeln!(text, "    {} -.- {}", node(id), undo(id));
        for before in nearest(step, &by_id, |id| undone.contains_key(id)) {
            let _ = writeln!(text, "    {} -.-> {}", undo(id), undo(before));
        }
    }
}

/// The nearest steps before one that are taken back after it, past those that have nothing to take back.
fn nearest<'p>(
    step: &'p Planned,
    by_id: &BTreeMap<&'p str, &'p Planned>,
    is_undone: impl Fn(&str) -> bool,
) -> Vec<&'p str> {
    let mut found = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut next: Vec<&'p str> = step.after.iter().map(|id| id.as_str()).collect();
    while let Some(id) = next.pop() {
        if !seen.insert(id) {
            continue;
        }
        if is_undone(id) {
            found.push(id);
        } else if let Some(before) = by_id.get(id) {
            next.extend(before.after.iter().map(|id| id.as_str()));
        }
    }
    found.sort_unstable();
    found
}

fn how(id: &str, how: &How) -> String {
    match how {
        How::Own { task } | How::Task { task } => format!("undo {id} by {task}"),
        How::Saga { saga, .. } => format!("undo {id}: {saga} takes back what it did"),
        How::NotUndone { because } => format!("{id} is left: {because}"),
        How::ByHand => format!("{id} is undone by hand"),
        How::Unknown => format!("undo {id}"),
    }
}

/// What stands in quotes.
fn escaped(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => all.push_str("#quot;"),
            '<' => all.push_str("#lt;"),
            '>' => all.push_str("#gt;"),
            '\n' => all.push(' '),
            c => all.push(c),
        }
    }
    all
}

/// An id that is no word of Mermaid's own, such as `end`.
fn node(id: &str) -> String {
    format!("s_{id}")
}

/// The id of its undo.
fn undo(id: &str) -> String {
    format!("u_{id}")
}
