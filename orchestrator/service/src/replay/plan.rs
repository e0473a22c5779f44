//! What a replay of many would do, before it does anything: how many letters, where they would go, and why some would not. Only so many are looked at one by
//! one; the answer says how many.

use std::collections::BTreeMap;

use baton_driver::StoreError;
use baton_messages::AttemptRef;
use baton_store::group::normalised;
use baton_store::{DeadLetterFilter, LetterRow, Reader as _};
use uuid::Uuid;

use super::route::{Never, Route, replays};
use super::{Orders, Replay};

/// Letters that are looked at one by one at most: each may ask for a saga.
const LOOKED_AT_MAX: usize = 1_000;
/// Letters of a page: each may be half a mebibyte.
const PAGE: usize = 50;
/// Steps that are named.
const STEPS_MAX: usize = 20;
/// Reasons that are told.
const REASONS_MAX: usize = 20;

/// Why some would not be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WhyNot {
    /// Why, of the first of them.
    pub(crate) why: String,
    /// How many, of those that were looked at.
    pub(crate) letters: u64,
    /// One of them.
    pub(crate) sample: Uuid,
}

/// What would be done.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Letters that fit.
    pub(crate) found: u64,
    /// How many of them were looked at, newest first.
    pub(crate) looked_at: u64,
    /// How many of those would go where.
    pub(crate) routes: BTreeMap<&'static str, u64>,
    /// How many of those that would go were replayed already.
    pub(crate) replayed_before: u64,
    /// How many steps of which task type would be tried again.
    pub(crate) types: BTreeMap<String, u64>,
    /// Which, by their letters, and as which attempt: the first of them.
    pub(crate) steps: Vec<(Uuid, AttemptRef)>,
    /// How many of those would be refused.
    pub(crate) refused: u64,
    /// How many of those still cannot be read, and would fail again.
    pub(crate) unreadable: u64,
    /// Why, most frequent first.
    pub(crate) why: Vec<WhyNot>,
}

impl Plan {
    /// One that would go there.
    fn goes(&mut self, row: &LetterRow, route: Route) {
        *self.routes.entry(route.as_str()).or_default() += 1;
        self.replayed_before += u64::from(replays(&row.letter, row.now.replays) > 0);
        let Route::Task(of) = route else { return };
        if let Some(task_type) = &row.about.task_type {
            *self.types.entry(task_type.clone()).or_default() += 1;
        }
        if self.steps.len() < STEPS_MAX {
            self.steps.push((row.letter.id, *of));
        }
    }
}

impl Replay {
    /// Looks at the letters that fit; moves none.
    pub(crate) async fn plan(
        &self,
        filter: &DeadLetterFilter,
        orders: &Orders,
    ) -> Result<Plan, StoreError> {
        let mut plan = Plan {
            found: self.reader.dead_letters_count(filter.clone()).await?,
            ..Plan::default()
        };
        let mut reasons: BTreeMap<String, WhyNot> = BTreeMap::new();
        let (mut after, mut looked_at) = (None, 0);
        while looked_at < LOOKED_AT_MAX {
            let page = self
                .reader
                .dead_letter_heads(filter.clone(), after, PAGE)
                .await?;
            for row in &page.rows {
                looked_at += 1;
                let why = match self.foresee(row, orders).await? {
                    Ok(route) => {
                        plan.goes(row, route);
                        continue;
                    }
                    Err(Never::Refused(why)) => {
                        plan.refused += 1;
                        why
                    }
                    Err(Never::Unreadable(why)) => {
                        plan.unreadable += 1;
                        why
                    }
                };
                let told = reasons.entry(normalised(&why)).or_insert(WhyNot {
                    why,
                    letters: 0,
                    sample: row.letter.id,
                });
                told.letters += 1;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        plan.looked_at = looked_at as u64;
        plan.why = reasons.into_values().collect();
        plan.why.sort_by_key(|why| std::cmp::Reverse(why.letters));
        plan.why.truncate(REASONS_MAX);
        Ok(plan)
    }
}
