//! One saga of very many items through a running Baton: what a report costs at its beginning and at its end, told by the CPU time of the orchestrators and by the rows of the log, of
//! which each report makes one.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use baton_store::Reader as _;
use serde_json::json;

use super::{Baton, LOOK_EVERY, STALL_LIMIT, definition};
use crate::cpu::{Cpu, Memory};

/// The name of the definition.
const NAME: &str = "bench-items";

/// What some reports in a row have cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    /// How many: what is looked at now and then is rarely a round number.
    pub(crate) reports: u64,
    pub(crate) took: Duration,
    pub(crate) orchestrators: Cpu,
}

/// What one saga gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ItemsRun {
    pub(crate) took: Duration,
    pub(crate) first: Share,
    pub(crate) last: Share,
    pub(crate) memory: Memory,
    pub(crate) db_bytes: u64,
}

/// How far it is, and what was used by then.
#[derive(Debug, Clone, Copy)]
struct Mark {
    rows: u64,
    at: Instant,
    used: Cpu,
}

impl Mark {
    fn until(self, later: Self) -> Share {
        Share {
            reports: later.rows - self.rows,
            took: later.at - self.at,
            orchestrators: later.used.since(self.used),
        }
    }
}

fn yaml(items: u32, parallel: u32) -> String {
    format!(
        "saga: {NAME}\nversion: 1\ninput: {{ type: object, required: [all], properties: {{ all: {{ type: array }} }} }}\nsteps:\n  - id: each\n    task: {}\n    for_each: ${{ input.all }}\n    max_items: {items}\n    max_parallel: {parallel}\n    with: {{ value: \"${{ item }}\" }}\n",
        definition::TASK_TYPE
    )
}

impl Baton {
    /// Has one saga of so many items run to its end, so many of them at a time.
    pub(crate) async fn items(&self, items: u32, parallel: u32, share: u64) -> Result<ItemsRun> {
        self.register_text(yaml(items, parallel)).await?;
        let ended = self.ended().await?;
        let all: Vec<u32> = (0..items).collect();
        let asked = json!({ "definition": NAME, "input": { "all": all } });
        let begun = Instant::now();
        self.post("/v1/sagas", &asked).await?;
        // its start is one row
        let start = self.mark().await?;
        let first = self.marked(start.rows + share, start).await?;
        let before_last = self
            .marked(start.rows + u64::from(items) - share, first)
            .await?;
        while self.ended().await? == ended {
            tokio::time::sleep(LOOK_EVERY).await;
            ensure!(
                before_last.at.elapsed() < STALL_LIMIT,
                "the saga of {items} items has not ended {STALL_LIMIT:?} after most of them"
            );
        }
        let last = self.mark().await?;
        Ok(ItemsRun {
            took: begun.elapsed(),
            first: start.until(first),
            last: before_last.until(last),
            memory: Memory::of_largest(self.orchestrators())?,
            db_bytes: self.reader.counts().await?.db_bytes,
        })
    }

    async fn mark(&self) -> Result<Mark> {
        let rows = self.reader.counts().await?.log_rows;
        Ok(Mark {
            rows,
            at: Instant::now(),
            used: Cpu::of_all(self.orchestrators())?,
        })
    }

    /// Waits until the log has so many rows.
    async fn marked(&self, rows: u64, since: Mark) -> Result<Mark> {
        let mut seen = since;
        loop {
            let now = self.mark().await?;
            if now.rows >= rows {
                return Ok(now);
            }
            if now.rows > seen.rows {
                seen = now;
            }
            ensure!(
                seen.at.elapsed() < STALL_LIMIT,
                "the log has {} rows of {rows}, and none was written for {STALL_LIMIT:?}",
                seen.rows
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_definition_is_one() {
        let text = yaml(10_000, 256);
        assert!(baton_engine::Definition::parse(&text).is_ok(), "{text}");
    }

    #[test]
    fn a_share_is_what_lies_between_two_marks() {
        let at = Instant::now();
        let used = Cpu::own().unwrap();
        let from = Mark { rows: 5, at, used };
        let until = Mark {
            rows: 1_005,
            at: at + Duration::from_millis(250),
            used,
        };
        let share = from.until(until);
        assert_eq!(
            (share.reports, share.took),
            (1_000, Duration::from_millis(250))
        );
    }
}
