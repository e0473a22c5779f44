//! What a replay of many would do, before it does anything: how many letters, where they would go, and why some would not. Only so many are looked at one by
//! one; the answer says how many.

use std::collections::BTreeMap;

use baton_driver::StoreError;
use baton_store::group::normalised;
use baton_store::{DeadLetterFilter, Reader as _};
use uuid::Uuid;

use super::{Orders, Replay, route::Never};

/// Letters that are looked at one by one at most: each may ask for a saga.
const LOOKED_AT_MAX: usize = 1_000;
/// Letters of a page: each may be half a mebibyte.
const PAGE: usize = 50;
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
    /// How many of those would be refused.
    pub(crate) refused: u64,
    /// How many of those still cannot be read, and would fail again.
    pub(crate) unreadable: u64,
    /// Why, most frequent first.
    pub(crate) why: Vec<WhyNot>,
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
                        *plan.routes.entry(route.as_str()).or_default() += 1;
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
