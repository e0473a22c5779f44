//! Work items by whose they are and by when: what both stores ask, and what stands in the columns they ask by. The rest of an item is its JSON.

use baton_engine::{WorkItem, WorkItemKind};
use baton_messages::Timestamp;

use crate::read::{WorkItemCursor, WorkItemView};

/// Which open work items. What is left out is not asked about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ItemFilter {
    /// Whose: a person's or a team's; the empty text: nobody's.
    pub whose: Option<String>,
    /// Only those that should have been done by then.
    pub due_until: Option<Timestamp>,
    /// Only those that were escalated, and that nobody has taken since.
    pub escalated: bool,
    /// Only those of this kind.
    pub kind: Option<WorkItemKind>,
}

impl ItemFilter {
    /// Where a row stands in its list: by when it was due, where that is asked for, else by when it was opened.
    #[must_use]
    pub fn cursor(&self, view: &WorkItemView) -> WorkItemCursor {
        let due = view.item.due_at.filter(|_| self.due_until.is_some());
        WorkItemCursor {
            opened_at: due.unwrap_or(view.item.opened_at),
            saga: view.saga,
            number: view.item.number,
        }
    }

    /// Whether an open item is one of them.
    #[must_use]
    pub fn takes(&self, item: &WorkItem) -> bool {
        let whose_it_is = whose(item);
        let due = |until: Timestamp| item.due_at.is_some_and(|due| due <= until);
        self.whose.as_ref().is_none_or(|whose| whose == whose_it_is)
            && self.due_until.is_none_or(due)
            && (!self.escalated || escalations(item) > 0)
            && self.kind.is_none_or(|kind| kind == item.kind)
    }
}

/// Whose it is, as its row says it: the empty text is nobody.
pub(crate) fn whose(item: &WorkItem) -> &str {
    item.assignee.as_deref().unwrap_or_default()
}

/// To how many it was escalated, as its row says it: to nobody while somebody has taken it.
pub(crate) fn escalations(item: &WorkItem) -> u32 {
    match item.taken {
        Some(_) => 0,
        None => item.escalated,
    }
}

/// The query of a page. Each list has an index of its own: those that are open are told by an expression that no other index knows, so that no plan
/// goes along another one. The third column is the instant it is in the order of. Values: 1 to 3 the cursor, 4 the limit, 5 the kind, 6 whose, 7 until when they were due.
pub(crate) fn list(filter: &ItemFilter, mark: char) -> String {
    let postgres = mark == '$';
    let place = match (filter.due_until, filter.escalated) {
        (Some(_), _) => "due_at",
        (None, _) => "opened_at",
    };
    let index = match (filter.due_until, filter.escalated, &filter.whose) {
        (Some(_), ..) => "work_items_due",
        (None, true, _) => "work_items_escalated",
        (None, false, Some(_)) => "work_items_whose",
        (None, false, None) => "work_items_open",
    };
    let mut sql =
        format!("SELECT saga, number, {place}, item, closed_at, closed_by FROM work_items");
    if !postgres {
        sql = format!("{sql} INDEXED BY {index}");
    }
    sql += match index {
        "work_items_open" => " WHERE closed_at IS NULL",
        _ => " WHERE coalesce(closed_at, 0) = 0",
    };
    let mut and = |text: String| sql += &format!(" AND {text}");
    if filter.due_until.is_some() {
        and(format!("due_at IS NOT NULL AND due_at <= {mark}7"));
    } else {
        and(unasked(mark, 7, "bigint"));
    }
    match &filter.whose {
        Some(_) => and(format!("assignee = {mark}6")),
        None => and(unasked(mark, 6, "text")),
    }
    if filter.escalated {
        and("escalated > 0".to_owned());
    }
    match (filter.kind, postgres) {
        (Some(_), true) => and(format!("kind = {mark}5")),
        // one whose JSON is none is of any kind
        (Some(_), false) => and(format!(
            "CASE WHEN json_valid(item) THEN json_extract(item, '$.kind') = {mark}5 ELSE 1 END"
        )),
        (None, _) => and(unasked(mark, 5, "text")),
    }
    and(format!(
        "({place}, saga, number) > ({mark}1, {mark}2, {mark}3)"
    ));
    sql += &format!(" ORDER BY {place}, saga, number LIMIT {mark}4");
    sql
}

/// A value that is not asked by; it is none, and has to be named with its type all the same.
fn unasked(mark: char, n: u8, of: &str) -> String {
    match mark {
        '$' => format!("${n}::{of} IS NULL"),
        _ => format!("?{n} IS NULL"),
    }
}

/// Every list there is.
#[cfg(test)]
pub(crate) fn filters() -> Vec<ItemFilter> {
    let mut all = Vec::new();
    for whose in [None, Some(String::new()), Some("ann".to_owned())] {
        for due_until in [None, Some(Timestamp(1))] {
            for escalated in [false, true] {
                for kind in [None, Some(WorkItemKind::UndoFailed)] {
                    all.push(ItemFilter {
                        whose: whose.clone(),
                        due_until,
                        escalated,
                        kind,
                    });
                }
            }
        }
    }
    all
}
