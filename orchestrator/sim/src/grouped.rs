//! A drawn saga with those it names written in place: each step that is another saga becomes a group of that saga's steps, for each of a list.

use baton_messages::StepId;

use crate::plan::{FanPlan, SagaPlan, Script, StepPlan};
use crate::rng::Rng;
use crate::world::World;

/// Of a thousand sagas that name others, so many have them written in place.
const GROUPED: u64 = 400;
/// What is drawn here is drawn from a chance of its own.
const GROUPS_CHANCE: u64 = 0x6772_6f75;

impl World {
    /// Writes what a saga names in its place, now and then, where no saga is moved to another version: a group goes on under one only as it began. Drawn
    /// from the saga's own id, so that other sagas stay as they are.
    pub(crate) fn with_groups(&mut self, plan: &mut SagaPlan) {
        let (high, low) = plan.id.0.as_u64_pair();
        let mut rng = Rng::new(high ^ low ^ GROUPS_CHANCE);
        if self.kin.is_empty() || self.moving.is_some() || !rng.per_mille(GROUPED) {
            return;
        }
        let kin: Vec<SagaPlan> = self.kin.values().cloned().collect();
        let (top, groups) = played(plan, &kin);
        *plan = top;
        let groups = groups.into_iter().map(|one| (one.name.clone(), one));
        self.groups.extend(groups);
    }
}

/// A saga whose steps are groups, and what an item of each group is, by the name of its definition.
fn played(top: &SagaPlan, kin: &[SagaPlan]) -> (SagaPlan, Vec<SagaPlan>) {
    let mut groups = Vec::new();
    let steps = of_groups(top, kin, ("", top.name.as_str()), &mut groups);
    let top = SagaPlan {
        yaml: grouped(top, kin),
        steps,
        ..top.clone()
    };
    (top, groups)
}

/// The steps of a saga as [`steps`] writes them; `name` is that of the definition they stand in.
fn of_groups(
    plan: &SagaPlan,
    kin: &[SagaPlan],
    (lead, name): (&str, &str),
    groups: &mut Vec<SagaPlan>,
) -> Vec<StepPlan> {
    let blocks = blocks(plan).zip(&plan.steps);
    let steps = blocks.filter_map(|(block, step)| {
        let mut of = step.clone();
        of.id = StepId::new(&format!("{lead}{}", step.id)).ok()?;
        if let Some(within) = group_of(block, kin) {
            let name = format!("{name}/{}", of.id);
            let below = format!("{lead}{}_", step.id);
            let steps = of_groups(within, kin, (below.as_str(), name.as_str()), groups);
            let one = FanPlan {
                scripts: vec![Script::default()],
                parallel: 1,
                tolerate: 0,
            };
            of.fan = of.fan.or(Some(one));
            groups.push(SagaPlan {
                name,
                // it stands in that of the saga it is of
                yaml: String::new(),
                steps,
                deadline_ms: None,
                ..within.clone()
            });
        }
        Some(of)
    });
    steps.collect()
}

/// The steps of a saga as they are written.
fn blocks(plan: &SagaPlan) -> impl Iterator<Item = &str> {
    let steps = plan.yaml.split_once("steps:\n");
    let steps = steps.map_or("", |(_, steps)| steps);
    steps.split("  - id: ").filter(|block| !block.is_empty())
}

/// The saga that a step names, where it is written in its place: a list has no word for going on without what failed.
fn group_of<'k>(block: &str, kin: &'k [SagaPlan]) -> Option<&'k SagaPlan> {
    let mut lines = block.lines();
    let named = lines.find_map(|line| line.strip_prefix("    saga: "));
    let named = named.and_then(|name| name.strip_suffix("@1"))?;
    let within = kin.iter().find(|one| one.name == named);
    within.filter(|_| !block.contains("on_error: continue"))
}

/// The document of `top` with every saga of `kin` that it names, on every level, written where it is named. A step that goes on without what failed
/// stays as it is: a list has no such word.
#[must_use]
pub fn grouped(top: &SagaPlan, kin: &[SagaPlan]) -> String {
    let head = top.yaml.split_once("steps:\n").map_or("", |(head, _)| head);
    format!("{head}steps:\n{}", steps(top, kin, ""))
}

/// The steps of a saga, their ids with something before them: no id of a group is one outside of it.
fn steps(plan: &SagaPlan, kin: &[SagaPlan], lead: &str) -> String {
    let mut all = String::new();
    for (block, step) in blocks(plan).zip(&plan.steps) {
        let within = group_of(block, kin);
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
