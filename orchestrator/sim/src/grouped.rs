//! A drawn saga with those it names written in place: each step that is another saga becomes a group of that saga's steps, for each of a list.

use crate::plan::SagaPlan;

/// The document of `top` with every saga of `kin` that it names, on every level, written where it is named. A step that goes on without what failed
/// stays as it is: a list has no such word.
#[must_use]
pub fn grouped(top: &SagaPlan, kin: &[SagaPlan]) -> String {
    let head = top.yaml.split_once("steps:\n").map_or("", |(head, _)| head);
    format!("{head}steps:\n{}", steps(top, kin, ""))
}

/// The steps of a saga, their ids with something before them: no id of a group is one outside of it.
fn steps(plan: &SagaPlan, kin: &[SagaPlan], lead: &str) -> String {
    let Some((_, text)) = plan.yaml.split_once("steps:\n") else {
        return String::new();
    };
    let mut all = String::new();
    let blocks = text.split("  - id: ").filter(|block| !block.is_empty());
    for (block, step) in blocks.zip(&plan.steps) {
        let named = block
            .lines()
            .find_map(|line| line.strip_prefix("    saga: "));
        let named = named.and_then(|name| name.strip_suffix("@1"));
        let within = kin.iter().find(|one| Some(one.name.as_str()) == named);
        let within = within.filter(|_| !block.contains("on_error: continue"));
        let block = renamed(&format!("  - id: {block}"), plan, lead);
        let Some(within) = within else {
            all.push_str(&block);
            continue;
        };
        for line in block.lines() {
            if !line.starts_with("    saga: ") && !line.starts_with("    with: ") {
                all.push_str(&format!("{line}\n"));
            }
        }
        if !block.contains("for_each:") {
            all.push_str("    for_each: [1]\n");
        }
        all.push_str("    steps:\n");
        let lead = format!("{lead}{}_", step.id);
        for line in steps(within, kin, &lead).lines() {
            all.push_str(&format!("    {line}\n"));
        }
    }
    all
}

/// Some text with the ids of a saga's steps, each with something before it.
fn renamed(text: &str, plan: &SagaPlan, lead: &str) -> String {
    let is_id = |word: &str| plan.steps.iter().any(|step| step.id.as_str() == word);
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let mut all = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
        let (word, on) = rest.split_at(end);
        if is_id(word) {
            all.push_str(lead);
        }
        all.push_str(word);
        let next = on.find(part).unwrap_or(on.len());
        let (between, on) = on.split_at(next);
        all.push_str(between);
        rest = on;
    }
    all
}
