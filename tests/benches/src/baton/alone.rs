//! One saga at a time, with nothing else to do: how long somebody waits for it.
//!
//! Two views. *Seen*: from before the request is published until a reader of the database sees the saga completed and
//! committed; it looks again after a short pause, so up to that much is the looker's. *Recorded*: the orchestrator's own
//! `started_at` to `ended_at`, whole milliseconds, without the way in and the last commit.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use baton_store::{Reader as _, SagaFilter};

use super::{Baton, PAGE, STALL_LIMIT};

/// Pause between two looks: well below what is measured.
const LOOK_EVERY: Duration = Duration::from_micros(100);

/// Latencies of sagas alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alone {
    pub(crate) seen: Vec<Duration>,
    pub(crate) recorded: Vec<Duration>,
}

impl Baton {
    /// Runs so many sagas, one after the other.
    pub(crate) async fn alone(&self, sagas: usize) -> Result<Alone> {
        let mut seen = Vec::with_capacity(sagas);
        let mut ended = self.ended().await?;
        for _ in 0..sagas {
            let started = Instant::now();
            self.requests.ask_for(1).await?;
            ended += 1;
            while self.ended().await? < ended {
                ensure!(
                    started.elapsed() < STALL_LIMIT,
                    "a saga alone has not ended within {STALL_LIMIT:?}"
                );
                // tokio's own timer knows whole milliseconds only
                let pause = tokio::task::spawn_blocking(|| std::thread::sleep(LOOK_EVERY));
                pause.await?;
            }
            seen.push(started.elapsed());
        }
        Ok(Alone {
            seen,
            recorded: self.recorded(sagas).await?,
        })
    }

    /// What the rows of the newest sagas say.
    async fn recorded(&self, sagas: usize) -> Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(sagas);
        let mut after = None;
        while times.len() < sagas {
            let page = self
                .reader
                .sagas(SagaFilter::default(), after, PAGE)
                .await?;
            let ended = page
                .rows
                .iter()
                .filter_map(|row| Some((row.started_at, row.ended_at?)));
            times
                .extend(ended.map(|(from, to)| Duration::from_millis(to.0.saturating_sub(from.0))));
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        times.truncate(sagas);
        Ok(times)
    }
}
