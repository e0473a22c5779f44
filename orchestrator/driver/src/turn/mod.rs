//! One turn: gather what there is, load what is missing, decide all of it, commit once, hand over what follows. The order is the promise:
//! nothing leaves before its row is committed, and the caller acknowledges only after this returned.

mod bare;
mod committing;
mod deciding;
mod gather;
mod item;
mod owing;

use std::collections::BTreeSet;

use baton_engine::{Input, Refusal, Verdict};
use baton_messages::{AttemptRef, DeadReason, InputId, SagaId, Timestamp};
use uuid::Uuid;

pub(crate) use self::committing::flying_again;
pub(crate) use self::item::span;
use self::item::{Item, Origin};
pub(crate) use self::owing::{KEPT_BYTES, KEPT_MAX};
use crate::batch::{Batch, DeadLetterRow};
use crate::driver::{Driver, DriverError};
use crate::outlet::Outlet;
use crate::recover::LOAD_CHUNK;
use crate::store::{CommitError, Store};
use crate::work::{Answer, Work};

/// How long the timers of a saga rest after one of its inputs could not be decided.
const SNOOZE_MS: u64 = 60_000;

impl<S: Store, O: Outlet> Driver<S, O> {
    /// Decides and commits `work`, and with it whatever of the driver's own is due. After `Ok`, acknowledge what is behind the tokens and
    /// answer who waits. Chance for backoffs is drawn from `entropy`.
    ///
    /// # Errors
    /// [`DriverError`]: nothing was answered; acknowledge nothing.
    pub async fn turn(
        &mut self,
        work: Vec<Work>,
        now: Timestamp,
        entropy: u64,
    ) -> Result<Vec<Answer>, DriverError> {
        if self.lost {
            return Err(DriverError::NotRecovered {
                partition: self.options.partition,
            });
        }
        // Until this turn is known to be committed, what is in memory is ahead of the store.
        self.lost = true;
        self.now = self.now.max(now);
        self.write_owed().await?;
        let items = self.gather(work).await?;
        let answers = self.attempt(items, entropy).await?;
        // what this turn decided is committed, and told; the next one begins with a recovery where the store cannot be read
        self.lost = !self.try_owed().await;
        Ok(answers)
    }

    /// Writes the watermark by itself, for an orderly end.
    ///
    /// # Errors
    /// As [`Driver::turn`].
    pub async fn write_watermark(&mut self, now: Timestamp) -> Result<(), DriverError> {
        self.now = self.now.max(now);
        if self.lost {
            return Ok(());
        }
        self.lost = true;
        self.write_owed().await?;
        if self.flight.watermark() == self.watermark_written {
            self.lost = false;
            return Ok(());
        }
        self.commit(Batch {
            watermark: self.flight.watermark(),
            ..self.empty()
        })
        .await?;
        self.lost = false;
        Ok(())
    }

    fn empty(&self) -> Batch {
        Batch {
            partition: self.options.partition,
            epoch: self.options.epoch,
            ..Batch::default()
        }
    }

    /// Decides and commits; what cannot be decided or stored is separated from what can.
    async fn attempt(
        &mut self,
        items: Vec<Item>,
        entropy: u64,
    ) -> Result<Vec<Answer>, DriverError> {
        match self.decide_all(&items, entropy) {
            Ok(built) => match self.commit_built(built).await {
                Err(DriverError::Lost {
                    source: source @ CommitError::Data { .. },
                    ..
                }) => {
                    if items.is_empty() {
                        // a turn of purges alone: nothing else will say it
                        tracing::error!(error = ?source, "the store refuses what a turn without inputs writes; it is left out, and found anew by whoever wanted it");
                    }
                    self.one_by_one(items, entropy).await
                }
                done => done,
            },
            Err(broken) => {
                tracing::error!(saga.id = %broken.saga, error = %broken.why, "could not decide an input; its batch is decided one by one");
                self.one_by_one(items, entropy).await
            }
        }
    }

    /// After a batch failed on its content: every item by itself, so that its neighbours are unharmed.
    async fn one_by_one(
        &mut self,
        items: Vec<Item>,
        entropy: u64,
    ) -> Result<Vec<Answer>, DriverError> {
        let mut answers = Vec::with_capacity(items.len());
        self.forget(&items).await?;
        for (n, item) in items.into_iter().enumerate() {
            let chance = entropy.wrapping_add(n as u64);
            let (saga, origin) = (item.saga, item.origin.clone());
            let failed = match self.decide_all(std::slice::from_ref(&item), chance) {
                Ok(built) => match self.commit_built(built).await {
                    Ok(answered) => {
                        answers.extend(answered);
                        continue;
                    }
                    Err(DriverError::Lost {
                        source: source @ CommitError::Data { .. },
                        ..
                    }) => source.to_string(),
                    Err(error) => return Err(error),
                },
                Err(broken) => broken.why,
            };
            self.forget(std::slice::from_ref(&item)).await?;
            answers.extend(match saga {
                Some(saga) => self.set_aside(saga, origin, &item, &failed, chance).await?,
                None => self.keep_bare(item, &failed, chance).await?,
            });
        }
        Ok(answers)
    }

    /// A letter of no saga that the store does not take as it is: it is kept by what nobody may lose, its body, and the rest in a form that every store takes;
    /// where that is too much, by its body alone. A store that does not take that either is in trouble; nothing is acknowledged then, and it is tried again.
    async fn keep_bare(
        &mut self,
        item: Item,
        why: &str,
        chance: u64,
    ) -> Result<Vec<Answer>, DriverError> {
        if let Some(letter) = &item.letter {
            bare::say(letter, why);
            let with_rest = Item {
                letter: Some(Box::new(bare::with_rest(letter))),
                ..item.clone()
            };
            let built = self.decide_all(&[with_rest], chance).unwrap_or_default();
            match self.commit_built(built).await {
                Err(DriverError::Lost {
                    source: CommitError::Data { .. },
                    ..
                }) => {}
                done => return done,
            }
        }
        let letter = item.letter.as_deref().map(bare::body_alone).map(Box::new);
        let alone = Item { letter, ..item };
        let built = self.decide_all(&[alone], chance).unwrap_or_default();
        self.commit_built(built).await
    }

    /// An item that cannot be decided or stored: its saga is parked and the input kept. Where not even that can be stored, the input alone is kept, so
    /// that one saga never stops the partition.
    async fn set_aside(
        &mut self,
        saga: SagaId,
        origin: Origin,
        item: &Item,
        why: &str,
        chance: u64,
    ) -> Result<Vec<Answer>, DriverError> {
        tracing::error!(saga.id = %saga, error = why, "an input could not be decided; the saga is parked, the input kept as a dead letter");
        // What could not be sent stays to be sent: the broken saga asks for somebody, and after he mended it, it goes on.
        let origin = match origin {
            Origin::Own {
                settles,
                unsent: Some(of),
            } => {
                self.snooze_unsent(of);
                Origin::Own {
                    settles,
                    unsent: None,
                }
            }
            other => other,
        };
        let parked = self.broken(saga, origin, item, why);
        let kept = Item {
            input: None,
            ..parked.clone()
        };
        if let Ok(built) = self.decide_all(&[parked], chance) {
            match self.commit_built(built).await {
                Err(DriverError::Lost {
                    source: CommitError::Data { .. },
                    ..
                }) => {}
                done => {
                    // Its timer would fire at once and fail again: it may wait a while for somebody to look.
                    self.cache.snooze(saga, self.now.plus_ms(SNOOZE_MS));
                    return done.map(|answers| refused(answers, item));
                }
            }
        }
        tracing::error!(saga.id = %saga, "the saga could not be parked either: look at its records in the store");
        self.forget(std::slice::from_ref(item)).await?;
        let built = self.decide_all(&[kept], chance).unwrap_or_default();
        let answers = self.commit_built(built).await?;
        self.cache.snooze(saga, self.now.plus_ms(SNOOZE_MS));
        Ok(refused(answers, item))
    }

    /// What cannot be sent again now has its turn later, and another tries instead.
    pub(super) fn snooze_unsent(&mut self, of: AttemptRef) {
        self.unsent.not_sent(&of, self.now);
        self.keep_unsent(of, self.now.plus_ms(SNOOZE_MS));
    }

    /// Reads the sagas of these items anew: their states in memory are not to be used.
    async fn forget(&mut self, items: &[Item]) -> Result<(), DriverError> {
        let sagas: BTreeSet<SagaId> = items.iter().filter_map(|item| item.saga).collect();
        for saga in &sagas {
            self.cache.remove(*saga);
        }
        let sagas: Vec<SagaId> = sagas.into_iter().collect();
        for chunk in sagas.chunks(LOAD_CHUNK) {
            self.load(chunk.to_vec(), self.now).await?;
        }
        Ok(())
    }

    /// In place of an item that cannot be decided: the saga is parked, and the input kept as a dead letter.
    fn broken(&self, saga: SagaId, origin: Origin, item: &Item, why: &str) -> Item {
        let body = item
            .input
            .as_ref()
            .and_then(|input| serde_json::to_vec(input).ok())
            .unwrap_or_default();
        let id = Uuid::new_v5(&saga.0, &body);
        let letter = DeadLetterRow {
            id,
            at: self.now,
            reason: DeadReason::Other,
            error: format!("could not be decided: {why}"),
            queue: String::new(),
            exchange: String::new(),
            key: String::new(),
            message_id: None,
            kind: item
                .input
                .as_ref()
                .map(|input| format!("input/{}", input.kind())),
            saga: Some(saga),
            properties: serde_json::Value::Null,
            body,
        };
        // Of a letter that came from outside the original is kept; the input is only what we read from it.
        let letter = item.letter.clone().unwrap_or_else(|| Box::new(letter));
        let known = self.cache.get(saga).is_some();
        let input = known.then(|| {
            Box::new(Input::Broken {
                id: InputId(id),
                error: why.into(),
            })
        });
        Item {
            origin,
            saga: Some(saga),
            input,
            letter: Some(letter),
        }
    }
}

/// Whoever gave an input that was set aside is told so.
fn refused(answers: Vec<Answer>, item: &Item) -> Vec<Answer> {
    let action = item
        .input
        .as_ref()
        .map_or("dead letter", |input| input.kind());
    let why = "it could not be decided; it is kept as a dead letter, and the saga is parked where there is one";
    answers
        .into_iter()
        .map(|answer| Answer {
            verdict: match item.letter {
                Some(_) => answer.verdict,
                None => Verdict::Refused(Refusal::NotNow {
                    action,
                    why: why.to_owned(),
                }),
            },
            ..answer
        })
        .collect()
}
