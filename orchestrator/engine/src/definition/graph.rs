//! The order of steps: who comes before whom, directly and over any number of steps.

use std::collections::BTreeSet;

use super::diagnostic::code;
use super::read_group::Ids;
use super::read_step::Draft;
use super::reader::Reader;

/// Who comes before and after whom, by index.
pub(super) struct Graph {
    pub(super) after: Vec<Vec<usize>>,
    pub(super) dependents: Vec<Vec<usize>>,
    pub(super) ancestors: Vec<BTreeSet<usize>>,
    pub(super) descendants: Vec<BTreeSet<usize>>,
    /// Steps of which that is not known, since a name is no step or steps wait for each other: those, and what comes after them.
    pub(super) unsure: BTreeSet<usize>,
}

/// Resolves every `after`, which names no step `outside` of the group these are; reports names that are no step, and cycles.
pub(super) fn build(reader: &mut Reader, drafts: &[Draft], outside: &Ids) -> Graph {
    let (after, mut unsure) = resolve(reader, drafts, outside);
    let mut dependents = vec![Vec::new(); after.len()];
    for (index, before) in after.iter().enumerate() {
        for b in before {
            dependents[*b].push(index);
        }
    }
    let order = sort(&after, &dependents);
    if order.len() < after.len() {
        report_cycles(reader, drafts, &after, &order);
        let ordered: BTreeSet<usize> = order.iter().copied().collect();
        unsure.extend((0..after.len()).filter(|index| !ordered.contains(index)));
    }
    let mut ancestors = vec![BTreeSet::new(); after.len()];
    let mut descendants = vec![BTreeSet::new(); after.len()];
    for index in &order {
        ancestors[*index] = closure(&after[*index], &ancestors);
    }
    for index in order.iter().rev() {
        descendants[*index] = closure(&dependents[*index], &descendants);
    }
    let beyond: BTreeSet<usize> = unsure
        .iter()
        .flat_map(|i| descendants[*i].clone())
        .collect();
    unsure.extend(beyond);
    Graph {
        after,
        dependents,
        ancestors,
        descendants,
        unsure,
    }
}

/// The given steps with everything already known to lie beyond them.
fn closure(next: &[usize], beyond: &[BTreeSet<usize>]) -> BTreeSet<usize> {
    let mut all = BTreeSet::new();
    for n in next {
        all.insert(*n);
        all.extend(&beyond[*n]);
    }
    all
}

/// What comes before each, and the steps that name one there is not.
fn resolve(
    reader: &mut Reader,
    drafts: &[Draft],
    outside: &Ids,
) -> (Vec<Vec<usize>>, BTreeSet<usize>) {
    let mut unsure = BTreeSet::new();
    let mut resolved = Vec::with_capacity(drafts.len());
    for (index, draft) in drafts.iter().enumerate() {
        let Some(names) = &draft.after else {
            resolved.push(index.checked_sub(1).into_iter().collect());
            continue;
        };
        let mut steps = BTreeSet::new();
        for (mark, name) in names {
            match drafts.iter().position(|other| other.id.as_str() == name) {
                Some(other) => {
                    steps.insert(other);
                }
                None => {
                    unsure.insert(index);
                    let (message, help) = no_step(name, drafts, outside);
                    reader.report(code::REFERENCE, *mark, message, &help);
                }
            }
        }
        resolved.push(steps.into_iter().collect());
    }
    (resolved, unsure)
}

/// What is said of a name in `after` that is no step of this list.
fn no_step(name: &str, drafts: &[Draft], outside: &Ids) -> (String, String) {
    if let Some(line) = outside.get(name) {
        let message = format!("`{name}`, in line {line}, stands outside of this group");
        let help = format!(
            "`after` in a group names steps of the group: all of it begins when what the group waits for is done; leave it out here, and see that `{name}` comes before the group"
        );
        return (message, help);
    }
    let ids = || drafts.iter().map(|draft| draft.id.as_str());
    let help = match super::reader::nearest(name, ids()).or_else(|| cut_short(name, ids())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`after` names the ids of steps of this saga".to_owned(),
    };
    (format!("there is no step `{name}`"), help)
}

/// The only id of which a word of two letters lacks the last one: `on` for `one`.
fn cut_short<'k>(word: &str, ids: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let lacks_one = |id: &&str| id.starts_with(word) && id.len() == word.len() + 1;
    let mut found = ids.filter(lacks_one);
    let only = found.next().filter(|_| word.len() == 2)?;
    found.next().is_none().then_some(only)
}

/// The steps in an order in which each comes after all it waits for; shorter than the list when there is a cycle.
fn sort(after: &[Vec<usize>], dependents: &[Vec<usize>]) -> Vec<usize> {
    let mut waiting: Vec<usize> = after.iter().map(Vec::len).collect();
    let mut order: Vec<usize> = (0..after.len()).filter(|i| waiting[*i] == 0).collect();
    let mut next = 0;
    while let Some(index) = order.get(next).copied() {
        next += 1;
        for d in &dependents[index] {
            waiting[*d] -= 1;
            if waiting[*d] == 0 {
                order.push(*d);
            }
        }
    }
    order
}

/// Follows `after` among the steps that could not be ordered until one comes again: that is a cycle. Of those that share steps one is told: who mends it
/// may have mended the others.
fn report_cycles(reader: &mut Reader, drafts: &[Draft], after: &[Vec<usize>], order: &[usize]) {
    let ordered: BTreeSet<usize> = order.iter().copied().collect();
    let mut looked_at: BTreeSet<usize> = BTreeSet::new();
    for from in (0..drafts.len()).filter(|index| !ordered.contains(index)) {
        let mut seen: Vec<usize> = Vec::new();
        let mut at = Some(from);
        while let Some(index) = at.filter(|index| !looked_at.contains(index)) {
            if let Some(start) = seen.iter().position(|s| *s == index) {
                report_cycle(reader, drafts, &seen[start..]);
                break;
            }
            seen.push(index);
            at = after[index].iter().copied().find(|b| !ordered.contains(b));
        }
        looked_at.extend(seen);
    }
}

/// Says of steps that each waits for the next one, and the last for the first.
fn report_cycle(reader: &mut Reader, drafts: &[Draft], cycle: &[usize]) {
    let Some(first) = cycle.first().map(|index| &drafts[*index]) else {
        return;
    };
    let mut names: Vec<&str> = cycle.iter().map(|i| drafts[*i].id.as_str()).collect();
    names.push(first.id.as_str());
    let lines: BTreeSet<usize> = cycle.iter().map(|i| drafts[*i].mark.line).collect();
    let lines: Vec<String> = lines.iter().map(usize::to_string).collect();
    let among = match lines.as_slice() {
        [_] => String::new(),
        several => format!(" (lines {})", several.join(", ")),
    };
    let message = format!(
        "steps wait for each other: {}{among}",
        names.join(" after ")
    );
    reader.report(code::CYCLE, first.mark, message, &cut(drafts, cycle));
}

/// Where a cycle is to be cut: at a step that waits for one below it, or for itself. There is always one, and never by default: that is the one above.
fn cut(drafts: &[Draft], cycle: &[usize]) -> String {
    let next = cycle.iter().cycle().skip(1);
    let back = cycle.iter().zip(next).find(|(step, before)| before >= step);
    let names = back.and_then(|(step, before)| Some((drafts.get(*step)?, drafts.get(*before)?)));
    names.map_or_else(
        || "a step without `after` waits for the one above it; `after: []` starts at once".to_owned(),
        |(step, before)| {
            format!(
                "take `{}` out of `after` of `{}`, in line {}; a step without `after` waits for the one above it",
                before.id, step.id, step.mark.line
            )
        },
    )
}
