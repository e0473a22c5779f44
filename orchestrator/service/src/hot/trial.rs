//! One thing tried alone, because it may be what kills its orchestrator: while it is tried nothing else is taken from the inbox, and around
//! the try stands a committed note. A note that is found was left by a process that died within the try.
//!
//! The loop is the only place that begins one, so that no two notes ever stand at once and a death has one suspect. Others (events, dead
//! letters) ask it for a try, and say when it came to an end.
//!
//! A note is no evidence when the process lived: while the store takes no commits, or a try simply takes long, the note is taken back, so
//! that whoever ends the process then blames nobody.

use std::time::{Duration, Instant};

use baton_driver::{Store, StoreError};
use baton_store::{AnySuspects, Suspects as _};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use uuid::Uuid;

use super::HotLoop;
use super::turn::{AGAIN_MAX, AGAIN_MIN};
use crate::chain::chain;
use crate::clock;

/// A try elsewhere that lasts longer kills nobody by itself: a process that ends from here on was ended for another reason.
pub(crate) const TRY_MAX: Duration = Duration::from_secs(10);
/// How often an orchestrator may die over one thing that it tries alone. More than once, since processes are killed for other reasons too,
/// and what is due by the clock goes into the same turn.
pub(crate) const DEATHS_MAX: u32 = 3;

/// What a note is filed under: a message, the same whenever it is delivered, and a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) message: Uuid,
    pub(crate) part: u32,
}

/// Somebody asks to try something alone.
pub(crate) struct Alone {
    /// It.
    pub(crate) note: Note,
    /// Told when he may.
    pub(crate) begun: oneshot::Sender<Begun>,
}

/// From now on nothing else is taken. Dropped without [`Begun::over`], it says nothing about what was tried.
pub(crate) struct Begun {
    /// How often a process died over it before.
    pub(crate) deaths: u32,
    ended: oneshot::Sender<()>,
}

impl Begun {
    /// The try came to an end, whatever it was.
    pub(crate) fn over(self) {
        // the loop may have ended: what is tried again was done before, and is recognised
        let _ = self.ended.send(());
    }
}

/// What is tried now.
pub(super) struct Trial {
    note: Note,
    begun: Instant,
    /// Whether the note is written; not while the store takes no commits.
    stands: bool,
    /// Where whoever tries it says that it came to an end; none: the loop itself does.
    elsewhere: Option<oneshot::Receiver<()>>,
    /// No other loop of this process tries anything meanwhile.
    _turn: Option<OwnedSemaphorePermit>,
}

impl<S: Store> HotLoop<S> {
    /// Whether somebody else is trying something: nothing is taken from the inbox then.
    pub(super) fn is_tried_elsewhere(&self) -> bool {
        let trial = self.trial.as_ref();
        trial.is_some_and(|trial| trial.elsewhere.is_some())
    }

    /// Begins a try, however long writing it down takes; answers how often a process died over it. None when the process is stopped.
    pub(super) async fn begin(&mut self, note: Note) -> Option<u32> {
        let turn = self.turn_to_try().await?;
        let deaths = self.noted(note).await?;
        self.trial = Some(Trial {
            note,
            begun: Instant::now(),
            stands: true,
            elsewhere: None,
            _turn: turn,
        });
        Some(deaths)
    }

    /// Waits until no other loop of this process tries anything: each try ends by itself, and soon. None when the process is stopped.
    async fn turn_to_try(&mut self) -> Option<Option<OwnedSemaphorePermit>> {
        let turn = self.trials.clone().acquire_owned();
        tokio::pin!(turn);
        loop {
            self.health.beat();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                // closed by nobody
                turn = &mut turn => return Some(turn.ok()),
                () = tokio::time::sleep(AGAIN_MAX) => {}
            }
        }
    }

    /// Lets somebody else try.
    pub(super) async fn let_try(&mut self, asked: Alone) {
        let Some(deaths) = self.begin(asked.note).await else {
            return;
        };
        tracing::info!(
            note = %asked.note.message,
            deaths,
            "what was delivered, or kept, again and again is tried alone; nothing is taken from the inbox meanwhile"
        );
        let (ended, told) = oneshot::channel();
        if let Some(trial) = &mut self.trial {
            trial.elsewhere = Some(told);
        }
        // who asked may have gone; then the try is dropped, and taken back
        let _ = asked.begun.send(Begun { deaths, ended });
    }

    /// The try came to an end.
    pub(super) async fn over(&mut self) {
        if let Some(Trial { note, .. }) = self.trial.take() {
            let Note { message, part } = note;
            self.stubborn(async |notes| notes.done(message, part).await)
                .await;
        }
    }

    /// The try came to no end, and nobody died: it says nothing.
    pub(super) async fn dropped(&mut self) {
        self.take_back().await;
        self.trial = None;
    }

    /// The process lives, and should it be ended from now on, what is tried is not to blame. Tried once: a store that cannot even write
    /// this takes no note of the next try either.
    pub(super) async fn take_back(&mut self) {
        if let Some(trial) = self.trial.as_mut().filter(|trial| trial.stands) {
            let Note { message, part } = trial.note;
            match self.suspects.take_back(message, part).await {
                Ok(()) => trial.stands = false,
                Err(error) => {
                    tracing::debug!(error = %chain(&error), "a note of what is tried alone could not be taken back");
                }
            }
        }
    }

    /// A turn that was lost is given again: the note stands again before it. False when the process is stopped instead.
    pub(super) async fn begin_again(&mut self) -> bool {
        let Some(note) = self
            .trial
            .as_ref()
            .filter(|trial| !trial.stands)
            .map(|trial| trial.note)
        else {
            return true;
        };
        let noted = self.noted(note).await.is_some();
        if let Some(trial) = &mut self.trial {
            trial.stands = noted;
        }
        noted
    }

    /// A try elsewhere that takes long is no danger to the process; nothing waits for it any longer.
    pub(super) async fn look_at_trial(&mut self) {
        let long = self
            .trial
            .as_ref()
            .is_some_and(|trial| trial.elsewhere.is_some() && trial.begun.elapsed() > TRY_MAX);
        if long {
            self.take_back().await;
            self.trial = self.trial.take().filter(|trial| trial.stands);
        }
    }

    async fn noted(&mut self, note: Note) -> Option<u32> {
        let Note { message, part } = note;
        self.stubborn(async |notes| notes.begin(message, part, clock::now()).await)
            .await
    }

    /// Asks the notes until they answer. None when the process is stopped.
    async fn stubborn<T>(
        &mut self,
        ask: impl AsyncFn(AnySuspects) -> Result<T, StoreError>,
    ) -> Option<T> {
        let mut pause = AGAIN_MIN;
        loop {
            let error = match ask(self.suspects.clone()).await {
                Ok(answer) => {
                    if pause != AGAIN_MIN {
                        tracing::info!("the store takes commits again");
                        self.health.set_store(true);
                    }
                    return Some(answer);
                }
                Err(error) => error,
            };
            if pause == AGAIN_MIN {
                tracing::error!(
                    error = %chain(&error),
                    "what is tried alone could not be written down: the store could not be written, see the error; nothing is acknowledged, it is tried again until it succeeds"
                );
                self.health.set_store(false);
            }
            self.health.beat();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(AGAIN_MAX);
        }
    }
}

/// Waits for the end of a try elsewhere, for ever while there is none; false when it was dropped.
pub(super) async fn tried(trial: &mut Option<Trial>) -> bool {
    let told = trial.as_mut().and_then(|trial| trial.elsewhere.as_mut());
    match told {
        Some(told) => told.await.is_ok(),
        None => std::future::pending().await,
    }
}
