//! What a replay of many would do, before it does anything: how many letters, where they would go, and why some would not. They are looked at one by one for some
//! seconds; the answer says how many were.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use baton_driver::StoreError;
use baton_messages::{AttemptRef, PoolName, TaskType};
use baton_store::group::normalised;
use baton_store::{DeadLetterFilter, LetterRow, Reader as _};
use uuid::Uuid;

use super::foresee::{Foreseen, Looked};
use super::route::{Kind, Never, Route, kind, replays, rule};
use super::{Needs, Orders, Replay};

/// Letters that are looked at one by one when that takes longer: each may ask for a saga.
const LOOKED_AT_MIN: u64 = 1_000;
/// How long further ones are looked at where nothing is said: whoever asks waits for the answer.
pub(crate) const LOOK: Duration = Duration::from_secs(5);
/// How long they are looked at where nothing longer is said, however few were found: where no index finds them, each page looks at many that do not
/// fit.
const LOOK_END: Duration = Duration::from_secs(20);
/// Letters of a page: each may be half a mebibyte.
const PAGE: usize = 50;
/// Steps that are named.
const STEPS_MAX: usize = 20;
/// Places that are named.
const TARGETS_MAX: usize = 20;
/// Letters of a page that is only counted.
const COUNTED: usize = 500;
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

/// How many steps of which task type, and in which pool; that is none where it is not known.
pub(crate) type Steps = BTreeMap<(TaskType, Option<PoolName>), u64>;

/// What would be done.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Letters that fit.
    pub(crate) found: u64,
    /// How many of them were looked at, newest first.
    pub(crate) looked_at: u64,
    /// How many of those would go where.
    pub(crate) routes: BTreeMap<&'static str, u64>,
    /// Where messages of others would go, as `exchange/key`, and how many there.
    pub(crate) targets: BTreeMap<String, u64>,
    /// Rules by which none of those that were looked at would go elsewhere: from where they name.
    pub(crate) unused: Vec<String>,
    /// Whether more may fit than were found: there was no time to look at all.
    pub(crate) is_part: bool,
    /// How many of those that would go were replayed already.
    pub(crate) replayed_before: u64,
    /// Steps that would be tried again, by the worker that the next attempt needs.
    pub(crate) tried: Steps,
    /// Which, by their letters, and as which attempt: the first of them.
    pub(crate) steps: Vec<(Uuid, AttemptRef)>,
    /// How many of those would wait: there is no queue where they go.
    pub(crate) waiting: u64,
    /// How many of those would be refused.
    pub(crate) refused: u64,
    /// How many of those still cannot be read, and would fail again.
    pub(crate) unreadable: u64,
    /// Why, most frequent first.
    pub(crate) why: Vec<WhyNot>,
}

impl Plan {
    /// One of which that would come; why, where it is not simply sent.
    fn counts(&mut self, row: &LetterRow, foreseen: Foreseen, needs: Needs) -> Option<String> {
        let (count, why) = match foreseen {
            Foreseen::Goes(route) => {
                self.goes(row, route, needs);
                return None;
            }
            Foreseen::Waits(why) => (&mut self.waiting, why),
            Foreseen::Never(Never::Refused(refused)) => (&mut self.refused, refused.why),
            Foreseen::Never(Never::Unreadable(why)) => (&mut self.unreadable, why),
        };
        *count += 1;
        Some(why)
    }

    /// One that would go there.
    fn goes(&mut self, row: &LetterRow, route: Route, needs: Needs) {
        *self.routes.entry(route.as_str()).or_default() += 1;
        self.replayed_before += u64::from(replays(&row.letter, row.now.replays) > 0);
        let of = match route {
            Route::Task(of) => of,
            Route::Raw(target) => {
                let place = format!("{}/{}", target.exchange, target.key);
                if self.targets.len() < TARGETS_MAX || self.targets.contains_key(&place) {
                    *self.targets.entry(place).or_default() += 1;
                }
                return;
            }
            Route::Inputs(..) | Route::Event(_) => return,
        };
        if let Some(task_type) = needs.task_type {
            *self.tried.entry((task_type, needs.pool)).or_default() += 1;
        }
        if self.steps.len() < STEPS_MAX {
            self.steps.push((row.letter.id, *of));
        }
    }
}

impl Replay {
    /// Looks at the letters that fit, for about so long; moves none.
    pub(crate) async fn plan(
        &self,
        filter: &DeadLetterFilter,
        orders: &Orders,
        look: Duration,
    ) -> Result<Plan, StoreError> {
        let (found, is_part) = self.counted(filter, LOOK).await?;
        let mut plan = Plan::default();
        let until = tokio::time::Instant::now() + look.max(LOOK_END);
        let (mut used, mut looked) = (BTreeSet::new(), Looked::until(until));
        let mut reasons: BTreeMap<String, WhyNot> = BTreeMap::new();
        let (mut after, mut looked_at) = (None, 0_u64);
        let began = Instant::now();
        while began.elapsed() < look || (looked_at < LOOKED_AT_MIN && began.elapsed() < LOOK_END) {
            let page = self
                .reader
                .dead_letter_heads(filter.clone(), after, PAGE)
                .await?
                .whole("dead letters, to plan a replay of them")?;
            for row in &page.rows {
                looked_at += 1;
                if kind(&row.letter) == Kind::Foreign {
                    used.extend(rule(&row.letter, &orders.redirect).map(|rule| &rule.from));
                }
                let (foreseen, needs) = match self.foresee(row, orders).await? {
                    Ok((route, needs)) => (self.would_take(route, &mut looked).await?, needs),
                    Err(never) => (Foreseen::Never(never), Needs::default()),
                };
                let Some(why) = plan.counts(row, foreseen, needs) else {
                    continue;
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
        let unused = orders
            .redirect
            .iter()
            .filter(|one| !used.contains(&one.from));
        let place = |(exchange, key): &(String, String)| format!("{exchange}/{key}");
        plan.unused = unused.map(|one| place(&one.from)).collect();
        plan.looked_at = looked_at;
        // who looks longer than is counted may have seen more, or all
        plan.found = found.max(looked_at);
        plan.is_part = is_part && after.is_some();
        plan.why = reasons.into_values().collect();
        plan.why.sort_by_key(|why| std::cmp::Reverse(why.letters));
        plan.why.truncate(REASONS_MAX);
        Ok(plan)
    }

    /// How many letters fit, and whether there may be more: what no index finds is counted for so long and no longer.
    pub(crate) async fn counted(
        &self,
        filter: &DeadLetterFilter,
        look: Duration,
    ) -> Result<(u64, bool), StoreError> {
        if filter.text.is_none() && filter.error.is_none() {
            let found = self.reader.dead_letters_count(filter.clone()).await?;
            return Ok((found, false));
        }
        let began = Instant::now();
        let (mut found, mut after) = (0, None);
        loop {
            let page = self
                .reader
                .dead_letter_heads(filter.clone(), after, COUNTED)
                .await?
                .whole("dead letters, to count them")?;
            found += page.rows.len() as u64;
            after = page.next;
            if after.is_none() {
                return Ok((found, false));
            }
            if began.elapsed() >= look {
                return Ok((found, true));
            }
        }
    }
}
