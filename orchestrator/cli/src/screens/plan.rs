//! A plan: the stages with their limits, and for each step what is taken back when it fails.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use baton_engine::ReservationKind;
use baton_engine::plan::{
    Doubt, Each, Fails, How, Plan, Planned, Rest, Runs, Undo, WaitsFor, When,
};

use crate::out::{Line, Tone, width as wide, wrapped};

/// Over the way that takes longest.
const LONGEST: &str = "Longest";

/// The whole plan, in lines of a width.
pub(crate) fn lines(plan: &Plan, width: usize) -> Vec<Line> {
    let mut lines = vec![head(plan)];
    lines.extend(takes(plan, width));
    lines.push(Line::new());
    lines.push(Line::of("Order", Tone::Strong));
    for (n, stage) in plan.stages.iter().enumerate() {
        for (m, id) in stage.iter().enumerate() {
            let Some(step) = plan.steps.iter().find(|step| step.id == *id) else {
                continue;
            };
            let lead = if m == 0 {
                format!("{:>3}  ", n + 1)
            } else {
                "     ".to_owned()
            };
            lines.extend(step_lines(step, &lead, width));
            lines.extend(within(step, 1, width));
        }
    }
    lines.extend(asks(plan, width));
    lines.extend(longest(plan, width));
    lines.push(Line::new());
    lines.push(Line::of("When a step fails for good", Tone::Strong));
    for step in &plan.steps {
        lines.extend(fails(step, width));
    }
    lines.extend(taken_back(plan, width));
    lines
}

/// What is taken before the first step.
fn takes(plan: &Plan, width: usize) -> Vec<Line> {
    if plan.takes.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![
        Line::new(),
        Line::of("Before the first step, all or none", Tone::Strong),
    ];
    for one in &plan.takes {
        let name = &one.name;
        let text = match (one.kind, one.per_ms) {
            (ReservationKind::Lock, _) => format!("lock {name}, until the saga has ended"),
            (_, Some(ms)) => format!("one of {} of {name} within {}", one.max, duration(ms)),
            (_, None) => format!("one of {} of {name} that run at once", one.max),
        };
        let parts = wrapped(&text, width.saturating_sub(5));
        lines.extend(
            parts
                .into_iter()
                .map(|part| Line::faint("     ").plain(part)),
        );
    }
    lines
}

/// Whose work items are, where the definition says so.
fn asks(plan: &Plan, width: usize) -> Vec<Line> {
    if plan.asks.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![
        Line::new(),
        Line::of("When a person is asked", Tone::Strong),
    ];
    for one in &plan.asks {
        let of = match &one.step {
            Some(step) => format!("of {step}: "),
            None => String::new(),
        };
        let assigned = one.assign.as_deref().unwrap_or("nobody");
        let due = one.due_ms.map(|ms| format!(", due in {}", duration(ms)));
        let rungs = one.escalate.iter();
        let rungs = rungs.map(|rung| format!(", after {} {}", duration(rung.after_ms), rung.to));
        let text = format!(
            "{of}{assigned}{}{}",
            due.unwrap_or_default(),
            rungs.collect::<String>()
        );
        let parts = wrapped(&text, width.saturating_sub(5)).into_iter();
        lines.extend(parts.map(|part| Line::faint("     ").plain(part)));
    }
    lines
}

/// The steps of the saga that a step is, below it, by the stage they begin in.
fn within(step: &Planned, depth: usize, width: usize) -> Vec<Line> {
    let Some(plan) = &step.within else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for (n, stage) in plan.stages.iter().enumerate() {
        for id in stage {
            let Some(step) = plan.steps.iter().find(|step| step.id == *id) else {
                continue;
            };
            let lead = format!("{}{:>3}  ", "     ".repeat(depth), n + 1);
            lines.extend(step_lines(step, &lead, width));
            lines.extend(within(step, depth + 1, width));
        }
    }
    lines
}

fn head(plan: &Plan) -> Line {
    let (steps, stages) = (plan.steps.len(), plan.stages.len());
    let some = |n: usize, word: &str| match n {
        1 => format!("1 {word}"),
        n => format!("{n} {word}s"),
    };
    Line::of(
        format!("{}@{}", plan.definition, plan.version),
        Tone::Strong,
    )
    .plain(format!(
        "  {} in {}",
        some(steps, "step"),
        some(stages, "stage")
    ))
}

fn step_lines(step: &Planned, lead: &str, width: usize) -> Vec<Line> {
    let mut says = vec![match step.limit_ms {
        Some(0) => String::new(),
        Some(ms) => at_most(ms, &waits(&step.waits_for)),
        None => "no end known".to_owned(),
    }];
    if let Some(each) = &step.each {
        says.insert(0, each_words(each));
    }
    match step.runs {
        Runs::Always => {}
        Runs::Perhaps => says.push("perhaps".to_owned()),
        Runs::Never => says = vec!["skipped with this input".to_owned()],
    }
    if step.pivot {
        says.push("pivot".to_owned());
    }
    if step.more_within {
        says.push("too much within it to be shown: plan it by itself".to_owned());
    }
    says.retain(|part| !part.is_empty());
    let text = format!("{} {}", step.kind, step.of);
    let says = says.join(", ");
    let tone = match step.runs {
        Runs::Never => Tone::Faint,
        Runs::Always | Runs::Perhaps => Tone::Plain,
    };
    let id = step.id.as_str();
    let one = wide(lead) + wide(id) + 2 + wide(&text) + 2 + wide(&says);
    let first = Line::faint(lead).with(id, Tone::Strong);
    if one <= width {
        let line = first.with(format!("  {text}"), tone);
        return vec![match says.is_empty() {
            true => line,
            false => line.with(format!("  {says}"), Tone::Faint),
        }];
    }
    let indent = " ".repeat(wide(lead) + 2);
    let all = match says.is_empty() {
        true => text,
        false => format!("{text}, {says}"),
    };
    let rest = wrapped(&all, width.saturating_sub(wide(&indent)));
    let rest = rest
        .into_iter()
        .map(|part| Line::new().plain(indent.as_str()).with(part, tone));
    std::iter::once(first).chain(rest).collect()
}

/// A limit, with what is waited for beside it.
pub(super) fn at_most(ms: u64, beside: &[&str]) -> String {
    let ms = duration(ms);
    match beside {
        [] => format!("{ms} at most"),
        [one] => format!("{ms} at most, beside waiting for {one}"),
        [first @ .., last] => format!(
            "{ms} at most, beside waiting for {} and {last}",
            first.join(", ")
        ),
    }
}

/// What a saga within another waits for, in words.
pub(super) fn waits(waits_for: &BTreeSet<WaitsFor>) -> Vec<&'static str> {
    let word = |one: &WaitsFor| match one {
        WaitsFor::Locks => "locks",
        WaitsFor::Limits => "its turn",
    };
    waits_for.iter().map(word).collect()
}

/// Until when the pivot has to be sent, or the saga over where it has none.
pub(super) fn deadline(plan: &Plan) -> Option<String> {
    let ms = duration(plan.deadline_ms?);
    Some(if plan.steps.iter().any(|step| step.pivot) {
        format!("deadline {ms}, up to the pivot")
    } else {
        format!("deadline {ms}")
    })
}

/// How a step goes through its list.
pub(super) fn each_words(each: &Each) -> String {
    let items = match each.items {
        Some(1) => "for 1 item".to_owned(),
        Some(n) => format!("for each of {n} items"),
        None => format!("for each of {} items at most", each.most),
    };
    let fail = match each.tolerate.as_str() {
        "0" | "0%" => String::new(),
        some => format!(", {some} may fail"),
    };
    format!("{items}, {} at once{fail}", each.max_parallel)
}

fn longest(plan: &Plan, width: usize) -> Vec<Line> {
    let ids: Vec<&str> = plan.longest.steps.iter().map(|id| id.as_str()).collect();
    let beside = [vec!["workers"], waits(&plan.longest.waits_for)].concat();
    let how_long = match plan.longest.limit_ms {
        Some(ms) => at_most(ms, &beside),
        None => "it has no end that is known".to_owned(),
    };
    let parts = wrapped(&how_long, width.saturating_sub(LONGEST.len() + 2));
    let mut parts = parts.into_iter();
    let first = parts.next().unwrap_or_default();
    let mut lines = vec![
        Line::new(),
        Line::of(LONGEST, Tone::Strong).plain(format!("  {first}")),
    ];
    lines.extend(parts.map(|part| Line::new().plain(format!("     {part}"))));
    let way = ids.join(" → ");
    for text in std::iter::once(way).chain(deadline(plan)) {
        for part in wrapped(&text, width.saturating_sub(5)) {
            lines.push(Line::new().plain("     ").plain(part));
        }
    }
    lines
}

/// What happens when a step fails for good; from the pivot on also where nobody knows whether it happened.
fn fails(step: &Planned, width: usize) -> Vec<Line> {
    let mut lines = failed(step, width);
    if let Some(doubt) = step.doubt.as_ref().filter(|_| !lines.is_empty()) {
        lines.extend(led("     ?  ", &doubt_words(step, doubt), width));
    }
    lines
}

fn failed(step: &Planned, width: usize) -> Vec<Line> {
    let first = Line::new().plain("  ").with(step.id.as_str(), Tone::Strong);
    let (in_doubt, only_without, undo, rest) = match &step.fails {
        Fails::Never => return Vec::new(),
        Fails::GoesOn => return vec![first.plain("  the saga goes on without it")],
        Fails::Parks => return vec![first.plain("  a person decides")],
        Fails::Unwinds {
            in_doubt: None,
            only_without: None,
            undo,
            rest: None,
        } if undo.is_empty() => {
            return vec![first.plain("  nothing has to be taken back")];
        }
        Fails::Unwinds {
            in_doubt,
            only_without,
            undo,
            rest,
        } => (in_doubt, only_without, undo, rest),
    };
    let mut lines = vec![first];
    if let Some(pivot) = only_without {
        let words = format!("where {pivot} was sent a person decides; where it was not:");
        lines.extend(led("     ", &words, width));
        if in_doubt.is_none() && undo.is_empty() && rest.is_none() {
            lines.push(Line::new().plain("       nothing has to be taken back"));
        }
    }
    let own = in_doubt.iter().map(|one| ("     ?  ".to_owned(), one));
    for (lead, one) in own {
        lines.extend(undo_lines(one, &lead, width));
    }
    lines.extend(waves(undo, width));
    if let Some(rest) = rest {
        let lead = format!("{:>6}  ", undo.len() + 1);
        lines.extend(led(&lead, &rest_words(rest), width));
    }
    lines
}

/// Undos, one after the other; what stands together under one number is taken back side by side.
fn waves(undo: &[Vec<Undo>], width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for (n, wave) in undo.iter().enumerate() {
        for (m, one) in wave.iter().enumerate() {
            let lead = if m == 0 {
                format!("{:>6}  ", n + 1)
            } else {
                "        ".to_owned()
            };
            lines.extend(undo_lines(one, &lead, width));
        }
    }
    lines
}

/// What follows that is written out elsewhere.
fn rest_words(rest: &Rest) -> String {
    match rest {
        Rest::As { step } => format!("then as when {step} fails"),
        Rest::AllBut { steps, count } => {
            let ids: Vec<&str> = steps.iter().map(|id| id.as_str()).collect();
            let but = match ids.is_empty() {
                true => String::new(),
                false => format!(" but for {}", ids.join(", ")),
            };
            format!("all that is named at the end{but} ({count} steps)")
        }
        Rest::More { count } => {
            format!("and {count} more that ran, in the reverse order of what ran")
        }
    }
}

/// All that may be taken back, where steps above refer to it.
fn taken_back(plan: &Plan, width: usize) -> Vec<Line> {
    if plan.taken_back.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![
        Line::new(),
        Line::of("All that may be taken back", Tone::Strong),
    ];
    lines.extend(waves(&plan.taken_back, width));
    lines
}

/// What is done where nobody knows whether a step happened that is not taken back.
fn doubt_words(step: &Planned, doubt: &Doubt) -> String {
    let mut says = Vec::new();
    if let Some(probe) = &doubt.probe {
        let asked = format!(
            "{probe} is asked; it happened: forward, it did not: {} is tried again",
            step.id
        );
        says.push(asked);
    }
    if doubt.again {
        says.push("nobody can tell: it is tried again, twice does no harm".to_owned());
    }
    says.push(match doubt.goes_on {
        true => "in the end the saga goes on without knowing".to_owned(),
        false => "in the end a person decides; nothing is taken back".to_owned(),
    });
    format!(
        "if nobody knows whether {} happened: {}",
        step.id,
        says.join("; ")
    )
}

fn undo_lines(undo: &Undo, lead: &str, width: usize) -> Vec<Line> {
    led(lead, &undo_words(undo), width)
}

/// Words behind a lead, in as many lines as they need.
fn led(lead: &str, words: &str, width: usize) -> Vec<Line> {
    let parts = wrapped(words, width.saturating_sub(wide(lead) + 2));
    let rest = " ".repeat(wide(lead) + 2);
    parts
        .into_iter()
        .enumerate()
        .map(|(n, part)| Line::faint(if n == 0 { lead } else { rest.as_str() }).plain(part))
        .collect()
}

fn undo_words(undo: &Undo) -> String {
    let id = &undo.step;
    let what = match &undo.how {
        How::Own { task } => format!("undo {id}, {task}"),
        How::Task { task } => format!("undo {id} by {task}"),
        How::Saga { saga, undo } if undo.is_empty() => {
            format!("undo {id}: {saga} takes back what it did")
        }
        How::Saga { saga, undo } => {
            format!("undo {id}: {saga} takes back {}", of_saga(undo))
        }
        How::NotUndone { because } => format!("{id} is left: {because}"),
        How::ByHand => format!("{id} is undone by hand: it has no undo"),
        How::Unknown => format!("undo {id}; nobody has announced its task type"),
    };
    let what = match &undo.only_when {
        Some(when) => format!("{what} (only where {when})"),
        None => what,
    };
    match undo.when {
        When::Done => what,
        When::Begun => format!("{what} (if it had begun)"),
        When::InDoubt => format!("{what} (if nobody knows whether it happened)"),
    }
}

/// What a saga takes back, one after the other; with those within it in brackets.
fn of_saga(undo: &[Vec<Undo>]) -> String {
    let one = |undo: &Undo| match &undo.how {
        How::Saga { undo: below, .. } if !below.is_empty() => {
            format!("{} ({})", undo.step, of_saga(below))
        }
        How::NotUndone { .. } => format!("{} (which is left)", undo.step),
        How::ByHand => format!("{} (by hand)", undo.step),
        _ => undo.step.to_string(),
    };
    let wave = |wave: &Vec<Undo>| wave.iter().map(one).collect::<Vec<_>>().join(" and ");
    undo.iter().map(wave).collect::<Vec<_>>().join(", ")
}

/// A length of time in its two largest units.
pub(super) fn duration(ms: u64) -> String {
    const UNITS: [(u64, &str); 5] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
        (1, "ms"),
    ];
    let mut left = ms;
    let mut shown = String::new();
    let mut units = 0;
    for (unit, word) in UNITS {
        if left >= unit && units < 2 {
            let _ = write!(shown, "{}{word}", left / unit);
            left %= unit;
            units += 1;
        } else if units > 0 {
            break;
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use baton_engine::Definition;
    use baton_engine::definition::{STEPS_MAX, Together};
    use baton_engine::plan::{plan, plan_among};

    use super::*;
    use crate::commands::check::known;
    use crate::out::Screen;
    use crate::screens::mermaid::mermaid;

    /// What a plan of as many steps as there may be takes at most, however it is written.
    const BYTES_MAX: usize = 2_000_000;

    /// A saga of as many steps as there may be.
    fn large(step: impl Fn(usize) -> String) -> Plan {
        let steps: String = (0..STEPS_MAX).map(step).collect();
        let yaml = format!("saga: large\nversion: 1\nsteps:\n{steps}");
        let definition = Definition::parse(&yaml).unwrap();
        plan(&definition, &known(None).unwrap(), None)
    }

    fn text(plan: &Plan) -> String {
        let mut screen = Screen::kept(100);
        lines(plan, 100).iter().for_each(|line| screen.line(line));
        screen.text()
    }

    #[test]
    fn a_plan_of_a_thousand_steps_can_be_read_in_every_form() {
        let one =
            |n: usize, after: &str| format!("  - {{ id: step_{n}, task: test.effect@1{after} }}\n");
        let chain = large(|n| one(n, ""));
        let wide = large(|n| one(n, ", after: []"));
        let pairs = large(|n| match n % 2 {
            0 => one(n, ", after: []"),
            _ => one(n, ""),
        });
        for plan in [&chain, &wide, &pairs] {
            let json = serde_json::to_string_pretty(plan).unwrap();
            for written in [text(plan), json, mermaid(plan)] {
                assert!(written.len() < BYTES_MAX, "{} bytes", written.len());
                assert!(written.contains("step_999"));
            }
        }
        assert!(text(&chain).contains("then as when step_998 fails"));
        let wide = text(&wide);
        assert!(wide.contains("all that is named at the end but for step_7 (999 steps)"));
        assert!(wide.contains("All that may be taken back"));
    }

    #[test]
    fn a_plan_says_what_is_done_with_a_pivot_nobody_knows_of_and_when_an_undo_is_wanted() {
        let yaml = "saga: doubts\nversion: 1\nsteps:\n  - { id: before, task: test.effect@1, undo: { when: \"${ before.key < 'm' }\" } }\n  - { id: pivotal, task: test.effect@1, pivot: true, probe: { task: test.effect-late@1 } }\n";
        let definition = Definition::parse(yaml).unwrap();
        let plan = plan(&definition, &known(None).unwrap(), None);
        let text = text(&plan);
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for said in [
            "undo before, test.effect@1 (only where before.key < 'm')",
            "if nobody knows whether pivotal happened: test.effect-late@1 is asked",
            "in the end a person decides; nothing is taken back",
        ] {
            assert!(words.contains(said), "{said}: {text}");
        }
        let chart = mermaid(&plan);
        for said in [
            "u_before[\"undo before by test.effect@1<br/>only where before.key #lt; 'm'\"]",
            "s_before -.- u_before",
        ] {
            assert!(chart.contains(said), "{said}: {chart}");
        }
        assert!(!chart.contains("u_pivotal"), "{chart}");
    }

    #[test]
    fn a_plan_says_both_ways_of_what_comes_after_a_pivot_that_may_be_skipped() {
        let yaml = "saga: both\nversion: 1\ninput: { type: object, required: [go], properties: { go: { type: boolean } } }\nsteps:\n  - { id: first, task: test.effect@1 }\n  - { id: pivotal, task: test.effect@1, pivot: true, if: \"${ input.go }\" }\n  - { id: last, task: test.effect@1 }\n";
        let definition = Definition::parse(yaml).unwrap();
        let text = text(&plan(&definition, &known(None).unwrap(), None));
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let said = "last where pivotal was sent a person decides; where it was not: ? undo last, test.effect@1 (if nobody knows whether it happened) 1 undo first, test.effect@1";
        assert!(words.contains(said), "{text}");
    }

    #[test]
    fn a_plan_says_what_is_waited_for_within_it_and_until_when_the_pivot_is_sent() {
        let low =
            "saga: low\nversion: 1\nlocks: [low]\nsteps:\n  - { id: a, task: test.effect@1 }\n";
        let top = "saga: top\nversion: 1\ndeadline: 10m\nsteps:\n  - { id: child, saga: low@1 }\n  - { id: pivotal, task: test.effect@1, pivot: true }\n";
        let definition = Definition::parse(top).unwrap();
        let sagas = Together::beside([low]);
        let plan = plan_among(&definition, &known(None).unwrap(), &sagas, None);
        let text = text(&plan);
        for said in [
            "child  saga low@1  1m33s at most, beside waiting for locks\n",
            "Longest  3m6s at most, beside waiting for workers and locks\n     child → pivotal\n     deadline 10m, up to the pivot\n",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
        let chart = mermaid(&plan);
        for said in [
            "    deadline>\"deadline 10m, up to the pivot\"]\n    deadline -.- s_pivotal\n",
            "1m33s at most, beside waiting for locks",
        ] {
            assert!(chart.contains(said), "{said}: {chart}");
        }
    }
}
