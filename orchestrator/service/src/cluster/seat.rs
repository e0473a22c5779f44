//! A seat: one partition, driven here. It begins with reading what the store holds of it, and ends in order, or at once when the partition is lost.

use std::sync::Arc;
use std::time::Duration;

use baton_bus::{Bus, ConsumeSpec};
use baton_driver::{Driver, DriverError, Options};
use baton_messages::{InboxKey, topology};
use baton_store::{AnyReader, AnyStore, AnySuspects, Layout, Ownership};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::router::{LEADER, Router};
use crate::changes::Changes;
use crate::clock;
use crate::config::Config;
use crate::fleet::Workers;
use crate::health::Health;
use crate::hot::mail::{Heard, Post, mail};
use crate::hot::{Carried, HotError, HotLoop, Outbox, Parts, Together};
use crate::retention::{Keeper, Policy};
use crate::triggers;
use crate::types::Types;

/// How long a loop whose partition is lost may take to end by itself: what it still commits is refused.
const LOST_WAIT: Duration = Duration::from_secs(5);

/// What every seat of this process is made with.
#[derive(Clone)]
pub(crate) struct Seats {
    pub(crate) bus: Bus,
    pub(crate) lanes: usize,
    pub(crate) together: Together,
    pub(crate) prefetch: u16,
    pub(crate) batch_max: usize,
    pub(crate) linger: Duration,
    pub(crate) idle_ms: u64,
    pub(crate) grace: Duration,
    pub(crate) instance: String,
    pub(crate) layout: Arc<Layout>,
    pub(crate) suspects: AnySuspects,
    pub(crate) types: Arc<Types>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) health: Arc<Health>,
    pub(crate) router: Arc<Router>,
    pub(crate) triggers: triggers::Shared,
    /// Whether the topology stands.
    pub(crate) stands: watch::Receiver<bool>,
    pub(crate) trials: Arc<Semaphore>,
    /// Turns at a time.
    pub(crate) turns: Arc<Semaphore>,
    /// Told when what sagas take has changed.
    pub(crate) reserved: Arc<Notify>,
    /// What becomes of ended sagas; none: they stay.
    pub(crate) retention: Option<Arc<Policy>>,
}

/// What a seat is made with beside what the configuration says.
pub(crate) struct Uses {
    pub(crate) bus: Bus,
    pub(crate) workers: Arc<Workers>,
    pub(crate) layout: Arc<Layout>,
    pub(crate) suspects: AnySuspects,
    pub(crate) types: Arc<Types>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) health: Arc<Health>,
    pub(crate) router: Arc<Router>,
    pub(crate) triggers: triggers::Shared,
    pub(crate) stands: watch::Receiver<bool>,
    pub(crate) reserved: Arc<Notify>,
}

/// One partition, ready to be driven.
pub(crate) struct Seat {
    partition: u8,
    with: Seats,
    stop: CancellationToken,
    ownership: Ownership,
    inbox: InboxKey,
    hot: HotLoop<AnyStore>,
    post: Post,
    subscribed: tokio::sync::mpsc::Receiver<Vec<baton_driver::SubscriptionRow>>,
}

impl Seats {
    pub(crate) fn new(config: &Config, uses: Uses) -> Self {
        Self {
            lanes: config.bus.lanes,
            together: Together::new(uses.workers, config.tasks.together_max),
            prefetch: config.inbox.prefetch,
            batch_max: config.inbox.batch_max,
            linger: Duration::from_millis(config.inbox.linger_ms),
            idle_ms: config.sagas.idle_ms,
            grace: Duration::from_millis(config.service.grace_ms),
            instance: config.instance().to_owned(),
            bus: uses.bus,
            layout: uses.layout,
            suspects: uses.suspects,
            types: uses.types,
            changes: uses.changes,
            health: uses.health,
            router: uses.router,
            triggers: uses.triggers,
            stands: uses.stands,
            reserved: uses.reserved,
            trials: Arc::new(Semaphore::new(1)),
            turns: Arc::new(Semaphore::new(config.inbox.turns_max)),
            retention: config.retention().map(Arc::new),
        }
    }

    /// Reads what the store holds of its partition.
    ///
    /// # Errors
    /// When it cannot be read, or holds what this version cannot go on with.
    pub(crate) async fn begin(
        &self,
        store: AnyStore,
        stop: CancellationToken,
    ) -> Result<Seat, DriverError> {
        let ownership = store.ownership();
        let (partition, epoch) = (store.partition().id, store.partition().epoch);
        let inbox = InboxKey::of(partition);
        let mut options = Options::new(partition, epoch, inbox.clone());
        options.idle_ms = self.idle_ms;
        let outbox = Outbox::new(self.layout.clone());
        let carried = carried(&store).await?;
        let driver = Driver::recover(store, outbox.clone(), options, clock::steady()).await?;
        for manifest in driver.catalogue().manifests() {
            self.types.put(manifest.clone());
        }
        let health = self.health.begins(partition);
        health.beat();
        let (post, mail, subscribed) = mail(health.clone());
        let hot = HotLoop::new(Parts {
            driver,
            outbox,
            suspects: self.suspects.clone(),
            bus: self.bus.clone(),
            lanes: self.lanes,
            together: self.together.clone(),
            inbox: inbox.clone(),
            instance: self.instance.clone(),
            mail,
            types: self.types.clone(),
            changes: self.changes.clone(),
            health,
            batch_max: self.batch_max,
            linger: self.linger,
            stop: stop.clone(),
            layout: self.layout.clone(),
            partition,
            trials: self.trials.clone(),
            turns: self.turns.clone(),
            reserved: self.reserved.clone(),
            carried,
            router: self.router.clone(),
        });
        self.router.seat(partition, post.clone());
        Ok(Seat {
            partition,
            with: self.clone(),
            stop,
            ownership,
            inbox,
            hot,
            post,
            subscribed,
        })
    }
}

impl Seat {
    /// Drives it until it is stopped, its partition is lost, or it fails; the store, when the loop ended in order.
    pub(crate) async fn run(self) -> (u8, Result<Option<AnyStore>, HotError>) {
        let Self {
            partition,
            with,
            stop,
            mut ownership,
            inbox,
            hot,
            post,
            subscribed,
        } = self;
        let shared = with.triggers.until(stop.clone());
        let keeping = keep(&with, partition, &shared.reader, &post, &stop);
        let consuming = consume(with.clone(), inbox, post);
        let searching = triggers::search(shared, subscribed);
        let beside = async move {
            tokio::join!(consuming, searching, keeping);
            std::future::pending::<()>().await;
        };
        let running = hot.run(with.grace);
        tokio::pin!(beside, running);
        let lost = tokio::select! {
            ended = &mut running => {
                stop.cancel();
                with.router.unseat(partition);
                with.health.ends(partition);
                return (partition, ended.map(Some));
            }
            () = &mut beside => false,
            () = stop.cancelled() => false,
            why = ownership.lost() => {
                tracing::error!(
                    partition, why,
                    "this orchestrator no longer owns the partition, and ends what it does there"
                );
                true
            }
        };
        with.router.unseat(partition);
        stop.cancel();
        let ended = if lost {
            // dropped unfinished, its channel is closed and nothing of what it holds is acknowledged
            let ended = tokio::time::timeout(LOST_WAIT, running).await;
            ended.map_or(Ok(None), |ended| ended.map(|_| None))
        } else {
            running.await.map(Some)
        };
        with.health.ends(partition);
        (partition, ended)
    }
}

/// Whether there is something to wait for, since the store was imported.
async fn carried(store: &AnyStore) -> Result<Carried, DriverError> {
    let partition = store.partition().id;
    let Some(noted) = store.carried() else {
        return Ok(Carried::new(None, partition == LEADER));
    };
    let unread = noted.is_unread().await;
    let unread = unread.map_err(|source| DriverError::Read { partition, source })?;
    if unread {
        tracing::info!(
            partition,
            "the store was imported, and what was on its way then lies in the inbox of partition 0: no partition takes a verdict from time before that was read once"
        );
    }
    Ok(Carried::new(unread.then_some(noted), partition == LEADER))
}

/// Ended sagas are kept for as long as is configured.
fn keep(
    with: &Seats,
    partition: u8,
    reader: &AnyReader,
    post: &Post,
    stop: &CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let keeper = with.retention.clone().map(|policy| Keeper {
        policy,
        partition,
        reader: reader.clone(),
        post: post.clone(),
        stop: stop.clone(),
    });
    async move {
        if let Some(keeper) = keeper {
            keeper.run().await;
        }
    }
}

/// The inbox is consumed as soon as it stands; its consumer then builds itself anew as often as needed.
async fn consume(with: Seats, inbox: InboxKey, post: Post) {
    let mut stands = with.stands.clone();
    if stands.wait_for(|stands| *stands).await.is_err() {
        return;
    }
    let consumer = with
        .bus
        .consume(ConsumeSpec {
            queue: topology::inbox_queue(&inbox),
            prefetch: with.prefetch,
            exclusive_queue: None,
            consumer_tag: format!("inbox-{inbox}-{}", with.instance),
        })
        .await;
    // the loop may have been stopped meanwhile
    let _ = post.heard.send(Heard::Inbox(Box::new(consumer))).await;
}
