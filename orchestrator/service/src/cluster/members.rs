//! Which partitions this process drives: in a file the only one; on a database those that fall to it among the members that are there. Whoever drives
//! the first one leads: triggers, schedules and dead letters are taken care of once in all.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_driver::{DriverError, StoreError};
use baton_store::{
    AnyAudit, AnyReader, AnyStore, Owned, PostgresCluster, PostgresStore, SqliteStore, View,
};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet, spawn_local};
use tokio_util::sync::CancellationToken;

use super::refresh::Refresh;
use super::router::{LEADER, Router};
use super::seat::Seats;
use crate::access::Access;
use crate::chain::chain;
use crate::changes::Changes;
use crate::dead_letters::{Adopted, Desk};
use crate::health::Health;
use crate::hot::HotError;
use crate::replay::Replay;
use crate::service::ServiceError;
use crate::triggers;
use crate::types::Types;

/// How often a member says that it is there, and looks who else is: how soon what one gives up is taken by another.
const BEAT: Duration = Duration::from_millis(500);
/// How long another process of the same name is listened for: three of its beats.
const NAMESAKE_WAIT: Duration = Duration::from_millis(1_500);
/// How long who begins waits for its partitions, and for what other members have kept by then. What has not come comes while it runs.
const BEGIN_WAIT: Duration = Duration::from_secs(1);
/// A broker that has been away for so long makes a member give way to others that reach it.
const AWAY_MAX: Duration = Duration::from_secs(10);
/// How long what the leader does may take to end by itself.
const LEAD_WAIT: Duration = Duration::from_secs(1);

/// Where what this process drives comes from.
pub(crate) enum Home {
    /// A file: one partition, for the life of the process.
    File(Box<SqliteStore>),
    /// A database that others may share.
    Database(Box<PostgresCluster>),
}

impl Home {
    /// Whether others may drive a part of it.
    pub(crate) const fn is_shared(&self) -> bool {
        matches!(self, Self::Database(_))
    }
}

/// What the members' keeper is made with.
pub(crate) struct Uses {
    pub(crate) seats: Seats,
    pub(crate) router: Arc<Router>,
    pub(crate) health: Arc<Health>,
    pub(crate) access: Arc<Access>,
    pub(crate) types: Arc<Types>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) reader: AnyReader,
    pub(crate) leading: triggers::Leading,
    pub(crate) replay: Replay,
    /// What operators did, and how often it is said how far that is.
    pub(crate) audit: (AnyAudit, Duration),
    /// Where it is written down that letters that are over go, and after how many milliseconds; none: they stay.
    pub(crate) expiring: Option<(Arc<crate::audit::Audit>, u64)>,
    /// What alerts are looked after with; none: they are not.
    pub(crate) alerts: Option<crate::alerts::Uses>,
    pub(crate) adopted: Vec<Adopted>,
    pub(crate) view: watch::Sender<Arc<View>>,
    pub(crate) stop: CancellationToken,
}

type Ended = (u8, Result<Option<AnyStore>, HotError>);
type Taken = (u8, Result<Option<PostgresStore>, StoreError>);

/// Keeps the seats of this process. Between two beats it waits for no database: a beat that comes late costs this member all that
/// it has.
pub(crate) struct Members {
    home: Option<Box<PostgresCluster>>,
    uses: Uses,
    held: BTreeMap<u8, CancellationToken>,
    running: JoinSet<Ended>,
    /// Partitions the database was asked for, and who waits for what it says, beside the beats.
    asked: BTreeSet<u8>,
    taking: JoinSet<Taken>,
    /// Partitions that are being given up, beside the beats.
    closing: JoinSet<()>,
    /// Who reads what other members have recorded, beside the beats.
    hearing: Option<JoinHandle<()>>,
    lead: Option<Lead>,
    /// When the database last answered, and whether it was said that it does not.
    answered: Instant,
    said: bool,
    up: Instant,
}

/// What the leader does beside its loop.
struct Lead {
    stop: CancellationToken,
    parts: JoinSet<&'static str>,
}

impl Members {
    /// Takes what there is to take.
    ///
    /// # Errors
    /// [`ServiceError`] when the file cannot be driven, or another process has the name of this one.
    pub(crate) async fn begin(home: Home, uses: Uses) -> Result<Self, ServiceError> {
        let mut members = Self {
            home: None,
            uses,
            held: BTreeMap::new(),
            running: JoinSet::new(),
            asked: BTreeSet::new(),
            taking: JoinSet::new(),
            closing: JoinSet::new(),
            hearing: None,
            lead: None,
            answered: Instant::now(),
            said: false,
            up: Instant::now(),
        };
        match home {
            Home::File(store) => {
                let store = AnyStore::Sqlite(*store);
                let (partition, stop) = members.held(&store);
                let seat = members.uses.seats.begin(store, stop).await;
                let seat = seat.map_err(|source| ServiceError::Recover {
                    source: Box::new(source),
                })?;
                members.running.spawn_local(seat.run());
                tracing::debug!(partition, "the store is driven");
            }
            Home::Database(cluster) => {
                let mut refresh = Refresh::of(&members.uses, &cluster);
                members.home = Some(cluster);
                members.step().await?;
                let begun = async {
                    while let Some(taken) = members.taking.join_next().await {
                        members.taken(taken)?;
                    }
                    refresh.once().await;
                    Ok::<(), ServiceError>(())
                };
                if let Ok(begun) = tokio::time::timeout(BEGIN_WAIT, begun).await {
                    begun?;
                }
                spawn_local(refresh.run(members.uses.stop.clone()));
            }
        }
        members.follow_lead();
        Ok(members)
    }

    /// Keeps them until the process stops; the store in a file, which is closed last.
    ///
    /// # Errors
    /// [`ServiceError`] when a loop or a part of the leader fails in a way no other try mends.
    pub(crate) async fn run(mut self) -> Result<Option<AnyStore>, ServiceError> {
        let stop = self.uses.stop.clone();
        let (mut left, mut last, mut failure) = (false, None, None);
        loop {
            let beats = self.home.is_some() && !left;
            tokio::select! {
                biased;
                () = stop.cancelled(), if !left => {
                    left = true;
                    self.leave().await;
                }
                Some(ended) = self.running.join_next(), if !self.running.is_empty() => {
                    match self.ended(ended).await {
                        Ok(store) => last = store.or(last),
                        Err(error) => failure = failure.or(Some(error)),
                    }
                    self.follow_lead();
                }
                Some(taken) = self.taking.join_next(), if !self.taking.is_empty() => {
                    failure = failure.or(self.taken(taken).err());
                    self.follow_lead();
                }
                Some(_) = self.closing.join_next(), if !self.closing.is_empty() => {}
                part = failed(&mut self.lead), if !left => {
                    failure = failure.or(Some(ServiceError::Part { part }));
                }
                () = tokio::time::sleep(BEAT), if beats => {
                    failure = failure.or(self.step().await.err());
                    self.follow_lead();
                }
            }
            if failure.is_some() {
                // the other loops still end in order: what they have committed gets published
                stop.cancel();
            }
            let is_idle = self.taking.is_empty() && self.closing.is_empty();
            if is_idle && self.running.is_empty() && (left || self.home.is_none()) {
                return failure.map_or(Ok(last), Err);
            }
        }
    }

    /// Says that this member is there, and makes what it drives what falls to it.
    ///
    /// # Errors
    /// [`ServiceError::Namesake`] when another process has taken its name.
    async fn step(&mut self) -> Result<(), ServiceError> {
        let Some(cluster) = self.home.clone() else {
            return Ok(());
        };
        let ready = self.reaches_the_broker();
        let lease = Duration::from_millis(cluster.lease_ms());
        let view = match beat(&cluster, ready, lease / 2).await {
            Ok(Some(view)) => view,
            Ok(None) => {
                let name = cluster.name().to_owned();
                return Err(ServiceError::Namesake { name });
            }
            Err(why) => {
                self.does_not_answer(lease, &why);
                return Ok(());
            }
        };
        self.answered = Instant::now();
        self.uses.health.set_database(true);
        if std::mem::take(&mut self.said) {
            tracing::info!("the database answers again");
        }
        let view = Arc::new(view);
        let before = self.uses.view.send_replace(view.clone());
        self.make_so(&cluster, &view);
        let router = self.uses.router.clone();
        self.uses.changes.look_again(|saga| !router.drives(saga));
        self.tell_of_others(&cluster, &before, &view);
        Ok(())
    }

    /// Who watches the list here also hears of what other members have committed: what is recorded in their partitions since the last beat is read.
    fn tell_of_others(&mut self, cluster: &PostgresCluster, before: &View, now: &View) {
        if !self.uses.changes.list_wanted() {
            return;
        }
        let place = |of: &Owned| (of.partition.id, of.log_seq);
        let before: BTreeMap<u8, u64> = before.partitions.iter().map(place).collect();
        let further = now.partitions.iter().map(place).filter_map(|(id, to)| {
            let from = *before.get(&id)?;
            (from < to && !self.held.contains_key(&id)).then_some((id, from..to))
        });
        let further: Vec<(u8, Range<u64>)> = further.collect();
        if further.is_empty() {
            return;
        }
        let is_late = |hearing: &JoinHandle<()>| !hearing.is_finished();
        if self.hearing.as_ref().is_some_and(is_late) {
            self.uses.changes.elsewhere(None);
            return;
        }
        let (cluster, changes) = (cluster.clone(), self.uses.changes.clone());
        self.hearing = Some(spawn_local(async move {
            match cluster.recorded(&further).await {
                Ok(rows) => changes.elsewhere(rows),
                Err(error) => {
                    tracing::debug!(error = %chain(&error), "what other members have recorded could not be read; who watches looks at the list again");
                    changes.elsewhere(None);
                }
            }
        }));
    }

    fn make_so(&mut self, cluster: &PostgresCluster, view: &View) {
        let targets = view.targets(self.uses.seats.layout.count());
        let is_ours = |partition: &u8| {
            targets
                .get(partition)
                .is_some_and(|of| of == cluster.name())
        };
        for (partition, stop) in &self.held {
            if !is_ours(partition) && !stop.is_cancelled() {
                tracing::info!(
                    partition,
                    to = targets.get(partition).map_or("", String::as_str),
                    "a partition is handed over"
                );
                stop.cancel();
            }
        }
        let wanted = targets.keys().filter(|partition| is_ours(partition));
        let mut wanted: Vec<u8> = wanted.copied().collect();
        wanted.retain(|partition| {
            let elsewhere = view
                .owner(*partition)
                .is_some_and(|owner| owner != cluster.name());
            !elsewhere && !self.held.contains_key(partition) && !self.asked.contains(partition)
        });
        for partition in wanted {
            let cluster = cluster.clone();
            self.asked.insert(partition);
            self.taking
                .spawn_local(async move { (partition, cluster.take(partition).await) });
        }
    }

    /// The database has said whether a partition is ours.
    fn taken(&mut self, taken: Result<Taken, JoinError>) -> Result<(), ServiceError> {
        let (partition, taken) = taken.map_err(|error| {
            tracing::error!(%error, "a partition could not be taken");
            ServiceError::Part { part: "taking" }
        })?;
        self.asked.remove(&partition);
        match taken {
            Ok(Some(store)) => {
                let store = AnyStore::Postgres(Box::new(store));
                if self.uses.stop.is_cancelled() {
                    self.give_up(partition, store);
                } else {
                    self.seat(store);
                }
            }
            Ok(None) => {}
            Err(error) => self.not_taken(partition, &error),
        }
        Ok(())
    }

    /// Nothing is driven there any more: whoever should have it may take it.
    fn give_up(&mut self, partition: u8, store: AnyStore) {
        self.closing.spawn_local(async move {
            if let Err(error) = store.close().await {
                tracing::warn!(partition, error = %chain(&error), "a partition was not given up in order; it is taken by another when its lease ends");
            }
        });
    }

    fn not_taken(&mut self, partition: u8, error: &StoreError) {
        if !std::mem::replace(&mut self.said, true) {
            tracing::error!(partition, error = %chain(error), "a partition could not be taken; it is tried again");
        }
    }

    fn does_not_answer(&mut self, lease: Duration, why: &str) {
        if self.answered.elapsed() > lease / 2 {
            self.uses.health.set_database(false);
        }
        if !std::mem::replace(&mut self.said, true) {
            tracing::error!(
                error = why,
                "the database does not answer; it is tried again until it does, and what cannot be kept without it is given up when its lease ends"
            );
        }
    }

    /// Whether the broker is there, or was until a moment ago.
    fn reaches_the_broker(&mut self) -> bool {
        if self.uses.health.reaches_the_broker() {
            self.up = Instant::now();
        }
        self.up.elapsed() < AWAY_MAX
    }

    /// From now on a partition is ours; answers when it is to be given up.
    fn held(&mut self, store: &AnyStore) -> (u8, CancellationToken) {
        let partition = store.partition().id;
        let stop = self.uses.stop.child_token();
        self.held.insert(partition, stop.clone());
        (partition, stop)
    }

    /// Begins to drive a partition. Reading what the store holds of it may take long, and this member has to say meanwhile that it is there.
    fn seat(&mut self, store: AnyStore) {
        let (partition, stop) = self.held(&store);
        let seats = self.uses.seats.clone();
        self.running.spawn_local(async move {
            match seats.begin(store, stop).await {
                Ok(seat) => seat.run().await,
                Err(source) => {
                    let source = Box::new(source);
                    (partition, Err(HotError::Driver { source }))
                }
            }
        });
    }

    /// A loop has ended: in order, its partition is given up at once.
    async fn ended(
        &mut self,
        ended: Result<Ended, JoinError>,
    ) -> Result<Option<AnyStore>, ServiceError> {
        let (partition, ended) = ended.map_err(|error| {
            tracing::error!(%error, "a loop of the orchestrator failed");
            ServiceError::Part { part: "loop" }
        })?;
        self.held.remove(&partition);
        if partition == LEADER {
            self.lead_no_more().await;
        }
        match ended {
            Ok(Some(store)) if self.home.is_none() => Ok(Some(store)),
            Ok(Some(store)) => {
                self.give_up(partition, store);
                Ok(None)
            }
            Ok(None) => Ok(None),
            Err(HotError::Driver { source }) if self.home.is_some() => {
                if matches!(*source, DriverError::Fenced { .. }) {
                    tracing::warn!(partition, error = %chain(source.as_ref()), "a partition has another owner now; nothing more was written there");
                } else {
                    tracing::error!(partition, error = %chain(source.as_ref()), "a partition was taken and could not be read; it is tried again");
                }
                Ok(None)
            }
            Err(source) => Err(ServiceError::Loop { source }),
        }
    }

    /// The others see at once that this member goes, and take what its loops give up.
    async fn leave(&self) {
        if let Some(cluster) = &self.home
            && let Err(error) = cluster.leave().await
        {
            tracing::warn!(error = %chain(&error), "the cluster was not left in order; the others see it when the lease ends");
        }
    }

    /// Leads while the first partition is driven here.
    fn follow_lead(&mut self) {
        let Some(seat) = self.held.get(&LEADER).filter(|stop| !stop.is_cancelled()) else {
            return;
        };
        if self.lead.is_some() {
            return;
        }
        let stop = seat.child_token();
        let ends = stop.clone();
        let (lead, triggers) = self.uses.leading.begin(stop.clone());
        self.uses.router.lead(Some(lead));
        let (router, health) = (self.uses.router.clone(), self.uses.health.clone());
        let desk = Desk::new(router, health, self.uses.replay.clone());
        let (bus, instance) = (
            self.uses.seats.bus.clone(),
            self.uses.seats.instance.clone(),
        );
        let replay = self.uses.replay.clone();
        let mut stands = self.uses.seats.stands.clone();
        let adopted = self.uses.adopted.clone();
        let mut parts = JoinSet::new();
        let mut stand = stands.clone();
        let (log, every) = self.uses.audit.clone();
        if let Some(alerts) = self.uses.alerts.clone() {
            let watching = crate::alerts::watch(alerts, stop.clone());
            parts.spawn(async move {
                watching.await;
                "alerts"
            });
        }
        if let Some((audit, stay_ms)) = self.uses.expiring.clone() {
            let (replay, instance) = (replay.clone(), instance.clone());
            let stop = stop.clone();
            parts.spawn(async move {
                crate::dead_letters::expire(replay, audit, instance, stay_ms, stop).await;
                "retention of dead letters"
            });
        }
        let announcing = crate::audit::announce(log, bus.clone(), every, stop.clone());
        parts.spawn(async move {
            announcing.await;
            "heads of the audit log"
        });
        let giving_back = replay.clone().give_back(stop.clone());
        parts.spawn(async move {
            giving_back.await;
            "reports that were put aside unread"
        });
        // by itself: what it has under way when the others end comes to its end
        parts.spawn(async move {
            if stand.wait_for(|stands| *stands).await.is_ok() {
                replay.lead(stop).await;
            }
            "replays of dead letters"
        });
        parts.spawn(async move {
            // What follows consumes queues that have to stand first.
            if stands.wait_for(|stands| *stands).await.is_err() {
                return "topology";
            }
            let mut after = JoinSet::new();
            crate::dead_letters::take_in_all(&mut after, &bus, &instance, &desk, &adopted);
            after.spawn(triggers.run());
            match after.join_next().await {
                Some(Ok(part)) => part,
                Some(Err(_)) | None => "triggers or dead letters",
            }
        });
        self.lead = Some(Lead { stop: ends, parts });
    }

    async fn lead_no_more(&mut self) {
        let Some(mut lead) = self.lead.take() else {
            return;
        };
        self.uses.router.lead(None);
        lead.stop.cancel();
        let ended = async { while lead.parts.join_next().await.is_some() {} };
        // what they hold is not acknowledged, and comes to whoever leads next
        let _ = tokio::time::timeout(LEAD_WAIT, ended).await;
        self.uses.health.adopts_no_more();
    }
}

/// Says that this member is there, within so long; none when another process has its name. Before the first time it is listened for one: whoever is there goes
/// on, also when this one had to wait for the database.
async fn beat(
    cluster: &PostgresCluster,
    ready: bool,
    within: Duration,
) -> Result<Option<View>, String> {
    if !cluster.has_joined() {
        let namesake = cluster.has_namesake(NAMESAKE_WAIT).await;
        if namesake.map_err(|error| chain(&error))? {
            return Ok(None);
        }
    }
    let beat = cluster.beat(ready, within).await;
    beat.map_err(|error| chain(&error))
}

/// A part of the leader that ended by itself; waits for ever while none has.
async fn failed(lead: &mut Option<Lead>) -> &'static str {
    let Some(lead) = lead else {
        return std::future::pending().await;
    };
    let ended = lead.parts.join_next().await;
    if lead.stop.is_cancelled() {
        return std::future::pending().await;
    }
    match ended {
        Some(Ok(part)) => part,
        Some(Err(error)) => {
            tracing::error!(%error, "a part of the orchestrator failed");
            "unknown"
        }
        None => std::future::pending().await,
    }
}
