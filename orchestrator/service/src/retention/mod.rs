//! Retention: sagas that have ended for long enough are archived, and their records are taken out of the store.
//!
//! The order is the promise: what is taken out lies in a whole file on the disk, or was never to be archived. Whatever dies in between, a saga is
//! archived once more at the next pass; readers go by its id. Which sagas may go is said by the store, first when they are looked for and again in the commit
//! that takes them out, which is one of the loop's own, fenced as every other. The loop never waits for any of this: it is given a small bite at a
//! time.

mod archive;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use baton_driver::{PurgeRow, Purged, StoreError};
use baton_engine::child::DEPTH_MAX;
use baton_engine::{Entry, Record};
use baton_messages::{SagaId, Timestamp};
use baton_store::{AnyReader, EndedCursor, Reader as _, SagaLog};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::archive::Archive;
use crate::chain::chain;
use crate::hot::mail::{Post, Request};
use crate::{clock, metrics};

/// The least age anybody may configure, in milliseconds: reports about a saga that has just ended may still be on their way.
pub(crate) const AGE_MS_MIN: u64 = 3_600_000;

/// After a partition is taken, what is under way goes first.
const FIRST_AFTER: Duration = Duration::from_secs(5);
/// How often it looks.
const EVERY: Duration = Duration::from_secs(3_600);
/// How soon after something went wrong.
const AGAIN: Duration = Duration::from_secs(30);
/// Sagas that are read in one go, with all their records.
const PAGE: usize = 20;
/// Sagas of one file, at most.
const FILE_SAGAS: usize = 5_000;
/// Bytes of one file before they are compressed, and a page more: a file may be unpacked anywhere.
const FILE_BYTES: usize = 64 << 20;
/// Sagas and rows of the log of one commit: some milliseconds of the store. A saga with more rows goes alone.
const BITE_SAGAS: usize = 50;
const BITE_ROWS: usize = 500;
/// Pause after each page and each bite.
const BETWEEN: Duration = Duration::from_millis(50);

/// How long ended sagas are kept, and where they go then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    /// How long after its end.
    pub(crate) keep_ms: u64,
    /// The folder of archives; none: they go nowhere.
    pub(crate) archive: Option<PathBuf>,
}

impl Policy {
    /// Says once what is going to happen.
    pub(crate) fn announce(&self) {
        let after_h = self.keep_ms / 3_600_000;
        match &self.archive {
            Some(folder) => tracing::info!(
                after_h, archive = %folder.display(),
                "ended sagas are archived and purged so long after their end (retention.ended_sagas)"
            ),
            None => tracing::warn!(
                after_h,
                "ended sagas are purged so long after their end, and archived nowhere (retention.archive_dir is off)"
            ),
        }
    }
}

/// Why a pass came to no end.
#[derive(Debug, thiserror::Error)]
enum RetentionError {
    #[error("archive ended sagas in {}: nothing is purged that is not archived; see that the folder can be written to and its disk has room", folder.display())]
    Archive {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("archive ended sagas: read them")]
    Read(#[from] StoreError),
    #[error("archive ended sagas: a thread failed")]
    Thread(#[from] tokio::task::JoinError),
    #[error("purge ended sagas: the loop has ended")]
    Ended,
}

/// What a partition is kept tidy with.
pub(crate) struct Keeper {
    pub(crate) policy: Arc<Policy>,
    pub(crate) partition: u8,
    pub(crate) reader: AnyReader,
    pub(crate) post: Post,
    pub(crate) stop: CancellationToken,
}

/// What came of a pass.
#[derive(Debug, Default)]
struct Done {
    archived: usize,
    /// Of these the store let so many not go.
    stayed: usize,
}

impl Done {
    /// That something came for one in the last moment is no trouble; that none could go is.
    const fn works(&self) -> bool {
        self.archived == 0 || self.stayed < self.archived
    }
}

/// What is known of a saga above others: sagas of one page mostly have the same.
#[derive(Debug, Clone, Copy)]
struct Above {
    /// Whether it goes on, or has not been over for long enough.
    goes_on: bool,
    /// The one above it; not asked for where it goes on.
    parent: Option<SagaId>,
}

/// A saga that lies in the archive now, with how many rows of the log it has.
struct Archived {
    row: PurgeRow,
    rows: usize,
}

impl Keeper {
    /// Passes over the partition now and then, until it is given up.
    pub(crate) async fn run(self) {
        let mut pause = FIRST_AFTER;
        let mut said = false;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let passed = self.pass().await;
            if self.stop.is_cancelled() {
                return;
            }
            let works = passed.as_ref().is_ok_and(Done::works);
            self.post.pulse.set_retention(works);
            pause = match passed {
                Ok(done) => {
                    if done.archived > 0 || said {
                        tracing::info!(
                            partition = self.partition,
                            sagas = done.archived,
                            "ended sagas were archived and purged"
                        );
                    }
                    if done.stayed > 0 {
                        tracing::warn!(
                            partition = self.partition,
                            sagas = done.stayed,
                            "some of these the store did not let go: something came for them meanwhile, or it refused; they are looked at again in an hour, and are then archived again"
                        );
                    }
                    said = false;
                    EVERY
                }
                Err(error) => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::error!(partition = self.partition, error = %chain(&error), "ended sagas are not archived and purged; it is tried again until it succeeds");
                    }
                    AGAIN
                }
            };
        }
    }

    /// Everything that has ended for long enough, file by file.
    async fn pass(&self) -> Result<Done, RetentionError> {
        if let Some(root) = self.policy.archive.clone() {
            let partition = self.partition;
            self.blocking(move || archive::clear(&root, partition))
                .await?;
        }
        let before = Timestamp(clock::now().0.saturating_sub(self.policy.keep_ms));
        let (mut after, mut done) = (None, Done::default());
        loop {
            let some = self.archive_some(before, &mut after).await?;
            if some.is_empty() {
                return Ok(done);
            }
            done.archived += some.len();
            done.stayed += self.purge(some).await?;
        }
    }

    /// As many sagas as one file holds, after those of the last; none when there are no more.
    async fn archive_some(
        &self,
        before: Timestamp,
        after: &mut Option<EndedCursor>,
    ) -> Result<Vec<Archived>, RetentionError> {
        let now = clock::now();
        let mut archive: Option<Archive> = None;
        let mut some: Vec<Archived> = Vec::new();
        while some.len() < FILE_SAGAS && archive.as_ref().is_none_or(|of| of.bytes() < FILE_BYTES) {
            let page = self
                .reader
                .ended(self.partition, before, *after, PAGE)
                .await?;
            let Some(last) = page.last() else { break };
            *after = Some(*last);
            let sagas = self.read(&page, before).await?;
            some.extend(sagas.iter().map(|saga| archived(saga, before, now)));
            // of a page that is still needed whole nothing is written, and no file begun
            if let Some(root) = self.policy.archive.clone().filter(|_| !sagas.is_empty()) {
                let (open, partition) = (archive.take(), self.partition);
                let written = self.blocking(move || {
                    let mut open = match open {
                        Some(open) => open,
                        None => Archive::begin(&root, partition, now)?,
                    };
                    sagas.iter().try_for_each(|saga| open.add(saga))?;
                    Ok(open)
                });
                archive = Some(written.await?);
            }
            self.pause().await?;
        }
        if let Some(archive) = archive {
            let name = self.blocking(move || archive.finish()).await?;
            metrics::archived(some.len());
            for one in &mut some {
                one.row.purged.archive = Some(name.clone());
            }
        }
        Ok(some)
    }

    /// Sagas with all their records. One that cannot be read is left where it is, whole.
    async fn read(
        &self,
        page: &[EndedCursor],
        before: Timestamp,
    ) -> Result<Vec<SagaLog>, RetentionError> {
        let mut sagas = Vec::with_capacity(page.len());
        let (mut failed, mut known) = (None, BTreeMap::new());
        for one in page {
            match self.reader.saga(one.saga).await {
                Ok(Some(saga)) if saga.0.status.ended() && saga.0.purged.is_none() => {
                    if !self.is_still_needed(&saga.1, before, &mut known).await? {
                        sagas.push(saga);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(saga.id = %one.saga, error = %chain(&error), "an ended saga cannot be read, and is neither archived nor purged");
                    failed = Some(error);
                }
            }
        }
        match failed {
            // not one of them: whether it is they, or the store, which then has not even the row of one
            Some(error) if sagas.is_empty() => {
                let row = match page.first() {
                    Some(one) => self.reader.saga_row(one.saga).await.is_ok(),
                    None => true,
                };
                if row { Ok(sagas) } else { Err(error.into()) }
            }
            Some(_) | None => Ok(sagas),
        }
    }

    /// Whether a saga is the child of one that may still have it taken back: until all above it have been over for as long as it has to be itself, what it did has to be
    /// known. One that has ended may turn back once more, by a report that comes late.
    async fn is_still_needed(
        &self,
        log: &[(u64, Entry)],
        before: Timestamp,
        known: &mut BTreeMap<SagaId, Above>,
    ) -> Result<bool, RetentionError> {
        let Some((parent, root)) = parent(log) else {
            return Ok(false);
        };
        let mut above = vec![root, parent];
        // each of those between, and the root twice
        for _ in 0..DEPTH_MAX + 2 {
            let Some(saga) = above.pop() else {
                return Ok(false);
            };
            let of = match known.get(&saga) {
                Some(of) => *of,
                None => self.above(saga, root, before).await?,
            };
            known.insert(saga, of);
            if of.goes_on {
                return Ok(true);
            }
            above.extend(of.parent);
        }
        Ok(true)
    }

    async fn above(
        &self,
        saga: SagaId,
        root: SagaId,
        before: Timestamp,
    ) -> Result<Above, RetentionError> {
        let row = self.reader.saga_row(saga).await?;
        // what comes late may have one above it turn back: it has been over for as long as this one has to be
        let goes_on = row.is_some_and(|row| row.ended_at.is_none_or(|at| at >= before));
        let parent = if saga == root || goes_on {
            None
        } else {
            // whose child a saga is stands in its first entry
            let first = self.reader.entries(saga, 0, 1).await?;
            parent(&first).map(|(parent, _)| parent)
        };
        Ok(Above { goes_on, parent })
    }

    /// Has the loop take them out, a bite at a time; how many stayed all the same.
    async fn purge(&self, some: Vec<Archived>) -> Result<usize, RetentionError> {
        let mut stayed = 0;
        for bite in bites(some) {
            let sagas: Vec<SagaId> = bite.iter().map(|row| row.saga).collect();
            let (answer, told) = oneshot::channel();
            let asked = Request::Purge {
                sagas: bite,
                answer,
            };
            let asked = self.post.requests.send(asked).await;
            asked.map_err(|_| RetentionError::Ended)?;
            told.await.map_err(|_| RetentionError::Ended)?;
            for saga in sagas {
                let row = self.reader.saga_row(saga).await?;
                stayed += usize::from(row.is_some_and(|row| row.purged.is_none()));
            }
            self.pause().await?;
        }
        Ok(stayed)
    }

    async fn pause(&self) -> Result<(), RetentionError> {
        tokio::select! {
            () = self.stop.cancelled() => Err(RetentionError::Ended),
            () = tokio::time::sleep(BETWEEN) => Ok(()),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, RetentionError> {
        let done = tokio::task::spawn_blocking(work).await?;
        done.map_err(|source| RetentionError::Archive {
            folder: self.policy.archive.clone().unwrap_or_default(),
            source,
        })
    }
}

/// The saga whose step this one is, and the one at the top.
fn parent(log: &[(u64, Entry)]) -> Option<(SagaId, SagaId)> {
    let mut records = log.iter().flat_map(|(_, entry)| &entry.records);
    records.find_map(|record| match record {
        Record::IsChild { parent, root, .. } => Some((parent.saga, *root)),
        _ => None,
    })
}

/// What may be taken out of a saga: no more than what was read of it.
fn archived((row, log): &SagaLog, before: Timestamp, now: Timestamp) -> Archived {
    Archived {
        row: PurgeRow {
            saga: row.saga,
            log_seq: log.iter().map(|(place, _)| *place).max().unwrap_or(0),
            ended_before: before,
            purged: Purged {
                at: now,
                archive: None,
            },
        },
        rows: log.len(),
    }
}

/// Cut so that no commit takes long.
fn bites(some: Vec<Archived>) -> Vec<Vec<PurgeRow>> {
    let mut bites: Vec<Vec<PurgeRow>> = Vec::new();
    let mut rows = usize::MAX;
    for one in some {
        let full = bites.last().is_none_or(|bite| bite.len() >= BITE_SAGAS);
        if full || rows.saturating_add(one.rows) > BITE_ROWS {
            bites.push(Vec::new());
            rows = 0;
        }
        rows += one.rows;
        if let Some(bite) = bites.last_mut() {
            bite.push(one.row);
        }
    }
    bites
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn one(n: usize, rows: usize) -> Archived {
        let purged = Purged {
            at: Timestamp(1),
            archive: None,
        };
        Archived {
            row: PurgeRow {
                saga: SagaId(Uuid::from_u128(n as u128)),
                log_seq: 1,
                ended_before: Timestamp(1),
                purged,
            },
            rows,
        }
    }

    #[test]
    fn no_bite_is_large_and_none_is_lost() {
        let sizes = |of: &[usize]| {
            let some = of.iter().enumerate().map(|(n, rows)| one(n, *rows));
            let bites = bites(some.collect());
            let ids = bites.iter().flatten().map(|row| row.saga.0.as_u128());
            assert!(ids.eq(0..of.len() as u128), "{of:?}");
            bites.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert!(sizes(&[]).is_empty());
        assert_eq!(sizes(&[1, 2, 3]), [3]);
        assert_eq!(sizes(&[0; 120]), [50, 50, 20]);
        assert_eq!(sizes(&[200, 200, 200]), [2, 1]);
        assert_eq!(sizes(&[1, 9_000, 1]), [1, 1, 1]);
    }
}
