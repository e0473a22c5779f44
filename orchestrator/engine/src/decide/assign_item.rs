//! Whose a work item is and by when: as the definition says when it is opened, the next one's when it stays open, and whose a person says. What was
//! taken by hand is escalated no further until it is given back: whoever has it works on it, and that it is overdue is said all the same.

use super::{DecideError, Deciding, Handled, Refusal, Verdict};
use crate::definition::{Approver, OWNER_DEFAULT, StepKind, Who, assignee};
use crate::input::{Operator, bare};
use crate::record::Record;
use crate::role::Role;
use crate::scope::Given;
use crate::work_item::{Assigned, AssignedTo, Assignment, Escalation, Taken, Whose, WorkItem};

pub(super) fn assign_item(
    d: &mut Deciding<'_>,
    number: u32,
    assignment: &Assignment,
    operator: &Operator,
) -> Handled {
    if let Some(verdict) = d.precheck(operator) {
        return Ok(verdict);
    }
    // remembered with the item: it may be said for years
    let mut items = d.state.work_items.values();
    if items.any(|item| item.said.contains(&operator.id)) {
        return Ok(Verdict::Duplicate);
    }
    let Some(item) = d.state.work_items.get(&number) else {
        return Ok(Verdict::Refused(Refusal::NoSuch {
            what: format!("open work item {number}"),
        }));
    };
    let to = match whose(item, assignment, operator) {
        Ok(to) => to,
        Err(refusal) => return Ok(Verdict::Refused(refusal)),
    };
    d.emit(Record::WorkItemAssigned(Box::new(Assigned {
        id: Some(operator.id),
        number,
        to,
        due_at: assignment.due_ms.map(|ms| d.now.plus_ms(ms)),
        by: operator.by.clone(),
        reason: operator.reason.clone(),
    })))?;
    Ok(Verdict::Applied)
}

/// The word for it.
const fn action(assignment: &Assignment) -> &'static str {
    match assignment.whose {
        Some(Whose::Mine) => "take",
        Some(Whose::Back) => "give-back",
        Some(Whose::Of(_) | Whose::Team(_)) | None => "assign",
    }
}

/// Whose it becomes. Two who take the same think both that they have it: the second is refused, and may still have it given to him on purpose.
fn whose(
    item: &WorkItem,
    assignment: &Assignment,
    operator: &Operator,
) -> Result<AssignedTo, Refusal> {
    let not_now = |why: String| {
        Err(Refusal::NotNow {
            action: action(assignment),
            why,
        })
    };
    let has = item.who();
    // what was given to a team nobody has taken yet
    let taken = item.taken.as_ref();
    let by_one = taken.filter(|taken| !taken.team);
    match &assignment.whose {
        None if assignment.due_ms.is_none() => {
            not_now("it says neither whose the work item is nor by when".to_owned())
        }
        None => Ok(AssignedTo::AsBefore),
        Some(Whose::Back) if taken.is_none() => not_now(format!(
            "nobody has taken work item {}: it is {has}'s as its definition says",
            item.number
        )),
        Some(Whose::Back) if by_one.is_some_and(|taken| !may_give_back(has, taken, operator)) => {
            not_now(format!(
                "{has} has work item {}: that one gives it back, or whoever gave it out, or an admin; where it is to be another's, assign it by name",
                item.number
            ))
        }
        Some(Whose::Back) => Ok(AssignedTo::Back),
        Some(Whose::Mine) if by_one.is_some() && has != operator.name() => not_now(format!(
            "{has} has taken work item {} already; where it is to be yours all the same, assign it to yourself by name",
            item.number
        )),
        Some(Whose::Mine) => named(operator.name(), false).or_else(not_now),
        Some(Whose::Of(name)) => named(name, false).or_else(not_now),
        Some(Whose::Team(name)) => named(name, true).or_else(not_now),
    }
}

/// Whether he may give back what a person has: that person, who gave it out, and an admin.
fn may_give_back(has: &str, taken: &Taken, operator: &Operator) -> bool {
    let name = operator.name();
    has == name || bare(&taken.by) == name || operator.role >= Role::Admin
}

fn named(name: &str, team: bool) -> Result<AssignedTo, String> {
    let name = assignee(name).map_err(|why| format!("the name of whom it is for {why}"))?;
    Ok(AssignedTo::Taken {
        name: name.to_owned(),
        team,
    })
}

/// An owner as a name: what a definition wrote years ago may be none.
fn own_name(owner: &str) -> String {
    assignee(owner).unwrap_or(OWNER_DEFAULT).to_owned()
}

impl Deciding<'_> {
    /// What a new work item's definition says of whose it is and by when. A name that cannot be computed is its owner's.
    pub(super) fn given_out(&self, mut item: WorkItem) -> WorkItem {
        let definition = self.rules.definition;
        let step = item.step.as_ref();
        let step = step.and_then(|key| definition.step(&key.step));
        let rules = definition.rules_of_items(step);
        let given = Given(self.state);
        let name = |who: &Who| {
            let name = who.name(&given);
            name.unwrap_or_else(|| own_name(&item.owner))
        };
        // whoever alone may decide is who has to
        let asked = step.and_then(|step| match &step.kind {
            StepKind::Approve(asked) => match &asked.by {
                Approver::Person(name) => Some(name.clone()),
                Approver::Role(_) => None,
            },
            _ => None,
        });
        let own = step.and_then(|step| step.item_rules.as_ref()?.assign.as_ref());
        let assignee = own.map(name).or(asked);
        let assignee = assignee.or_else(|| rules.assign.map(name));
        let escalate = rules.escalate.iter().map(|rung| Escalation {
            at: item.opened_at.plus_ms(rung.after_ms),
            to: name(&rung.to),
        });
        let escalate = escalate.collect();
        (item.assignee, item.escalate) = (assignee, escalate);
        item.due_at = rules.due_ms.map(|ms| item.opened_at.plus_ms(ms));
        item
    }

    /// A work item has stayed open: it is the next one's.
    pub(super) fn escalate(&mut self, number: u32) -> Result<(), DecideError> {
        let item = self.state.work_items.get(&number);
        let next = item.and_then(WorkItem::next_escalation);
        let Some(to) = next.map(|(_, next)| next.to.clone()) else {
            return Ok(());
        };
        self.emit(Record::WorkItemEscalated { number, to })
    }
}
