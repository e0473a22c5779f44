//! Where time goes: waiting and running, by task type and pool; and in a sentence what to look at first.

use serde::Deserialize;

use crate::out::{Column, Table, Tone, cell, plain};
use crate::time;

/// One task type in one pool.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Item {
    pub(crate) task_type: String,
    pub(crate) pool: Option<String>,
    #[serde(default)]
    pub(crate) waiting: u64,
    #[serde(default)]
    pub(crate) waiting_or_running: u64,
    pub(crate) longest_wait_ms: Option<u64>,
    #[serde(default)]
    pub(crate) running: u64,
    pub(crate) wait_p50_ms: Option<u64>,
    pub(crate) wait_p95_ms: Option<u64>,
    pub(crate) run_p50_ms: Option<u64>,
    pub(crate) run_p95_ms: Option<u64>,
    pub(crate) failed_share: Option<f64>,
    #[serde(default)]
    pub(crate) workers: u64,
    #[serde(default)]
    pub(crate) concurrency: u64,
}

/// From this share of failures on it is worth a word.
const FAILED_SHARE: f64 = 0.1;

impl Item {
    /// Whether tasks wait for it and no worker serves it.
    const fn is_starved(&self) -> bool {
        self.waiting > 0 && self.workers == 0
    }
}

/// What nobody serves stands first, then what waits longest.
pub(crate) fn sorted(mut items: Vec<Item>) -> Vec<Item> {
    items.sort_by_key(|item| {
        let weight = item
            .waiting
            .saturating_mul(item.wait_p95_ms.unwrap_or(1).max(1));
        let longest = item.longest_wait_ms.filter(|_| item.is_starved());
        std::cmp::Reverse((
            item.is_starved(),
            longest,
            weight,
            item.wait_p95_ms,
            item.run_p95_ms,
            item.running,
        ))
    });
    items
}

/// The list.
pub(crate) fn table(items: &[Item]) -> Table {
    let mut table = Table::new(&[
        Column::new("task type").cut(14),
        Column::new("pool").rank(4).cut(8),
        Column::new("waiting").right(),
        Column::new("either").right(),
        Column::new("running").right(),
        Column::new("wait p50").rank(3).right(),
        Column::new("wait p95").rank(1).right(),
        Column::new("run p50").rank(3).right(),
        Column::new("run p95").rank(1).right(),
        Column::new("failed").rank(2).right(),
        Column::new("workers").rank(5).right(),
        Column::new("at once").rank(6).right(),
    ]);
    let span = |ms: Option<u64>| plain(ms.map_or_else(|| "-".to_owned(), time::span));
    for item in items {
        let share = item.failed_share.unwrap_or(0.0);
        let failed = if share > 0.0 {
            format!("{:.0}%", (share * 100.0).max(1.0))
        } else {
            String::new()
        };
        let starved = item.is_starved();
        let below = starved.then(|| cell(not_served(item), Tone::Bad));
        let cells = vec![
            plain(item.task_type.as_str()),
            plain(item.pool.as_deref().unwrap_or_default()),
            cell(
                item.waiting.to_string(),
                if item.waiting > 0 {
                    Tone::Waits
                } else {
                    Tone::Faint
                },
            ),
            plain(match item.waiting_or_running {
                0 => String::new(),
                n => n.to_string(),
            }),
            plain(item.running.to_string()),
            span(item.wait_p50_ms),
            span(item.wait_p95_ms),
            span(item.run_p50_ms),
            span(item.run_p95_ms),
            cell(
                failed,
                if share >= FAILED_SHARE {
                    Tone::Bad
                } else {
                    Tone::Plain
                },
            ),
            cell(
                item.workers.to_string(),
                if starved { Tone::Bad } else { Tone::Plain },
            ),
            plain(item.concurrency.to_string()),
        ];
        table.row_with(cells, below.into_iter().collect());
    }
    table
}

/// `not served: 3 wait, the first for 4m 10s`.
fn not_served(item: &Item) -> String {
    let waits = if item.waiting == 1 { "waits" } else { "wait" };
    let longest = item.longest_wait_ms.map_or_else(String::new, |ms| {
        format!(", the first for {}", time::span(ms))
    });
    format!("not served: {} {waits}{longest}", item.waiting)
}

/// What the column `either` is, where it says something.
pub(crate) fn either(items: &[Item]) -> Option<&'static str> {
    let is_there = items.iter().any(|item| item.waiting_or_running > 0);
    is_there.then_some(
        "either: sent, and waiting or running: who runs such a task says nothing before its report",
    )
}

/// What to look at first, in a sentence.
pub(crate) fn bottleneck(items: &[Item]) -> String {
    let pool = |item: &Item| {
        let known = item.pool.as_ref().filter(|pool| !pool.is_empty());
        known.map_or_else(String::new, |pool| format!(" in pool {pool}"))
    };
    if let Some(item) = items.iter().find(|item| item.is_starved()) {
        let (tasks, wait) = match item.waiting {
            1 => ("1 task", "waits"),
            n => (&*format!("{n} tasks"), "wait"),
        };
        return format!(
            "{tasks} of {}{} {wait}, and no worker serves that: start one that does (baton workers -a tells what each does)",
            item.task_type,
            pool(item)
        );
    }
    let Some(item) = items.iter().find(|item| item.waiting > 0) else {
        return match items.iter().any(|item| item.waiting_or_running > 0) {
            true => "nothing is known to wait for a worker".to_owned(),
            false => "nothing waits for a worker".to_owned(),
        };
    };
    let taken = item.running + item.waiting_or_running;
    let full = item.concurrency > 0 && taken >= item.concurrency;
    let advice = if full {
        format!(
            "all {} places are taken: more workers, or a higher worker.concurrency, would help",
            item.concurrency
        )
    } else {
        "there are free places: workers may have more types than they take at once".to_owned()
    };
    format!(
        "bottleneck: {}{}, {} waiting; {advice}",
        item.task_type,
        pool(item),
        item.waiting
    )
}
