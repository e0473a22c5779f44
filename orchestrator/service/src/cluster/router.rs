//! Where what is asked belongs: to a loop of this process, or to another member. Whoever asks need not know.
//!
//! While a partition changes hands nobody has it for a moment: what is asked then is asked again until its time is over. Every input has an id, so
//! that asked twice it is the same.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use baton_engine::{Definition, Input, Level, Verdict};
use baton_messages::fleet::Announcement;
use baton_messages::{Event, SagaId, StepId, TaskType, Timestamp};
use baton_store::{Layout, TriggerRef};
use futures::future::join_all;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::asking::{AGES, Once, Patience, ask_loop, caught_up, keep, schedule, take_in};
use super::peers::Peers;
use super::words::{Answer, Question};
use crate::clock;
use crate::hot::mail::{Heard, Letter, Letters, Post, Request};
use crate::hot::trial::Begun;
use crate::triggers::{Lead, ScheduleAsked, ScheduleDone};

/// The partition whose owner does what happens once in all.
pub(crate) const LEADER: u8 = 0;
/// First and longest pause before somebody is asked again who did not have it.
const AGAIN_MIN: Duration = Duration::from_millis(20);
const AGAIN_MAX: Duration = Duration::from_millis(500);
/// How long the others have to read what is new.
const LEARN_WAIT: Duration = Duration::from_secs(3);
/// The leading partition is driven here sooner, or elsewhere: what waits for it is then taken by whoever does. It ends with the process, too.
const SEAT_WAIT: Duration = Duration::from_secs(30);

/// Why something was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// There is no room.
    Busy,
    /// The process stops.
    Stopping,
    /// It was not done in time, and still may be.
    Late,
}

/// Who is asked.
pub(crate) struct Router {
    layout: Arc<Layout>,
    seats: RwLock<BTreeMap<u8, Post>>,
    lead: RwLock<Option<Lead>>,
    peers: OnceLock<Peers>,
    /// Asks whoever reads definitions for the API to read them now.
    look: mpsc::Sender<oneshot::Sender<()>>,
    /// Grows with every seat that begins.
    seated: watch::Sender<u64>,
    /// The process stops: no seat begins any more.
    stop: CancellationToken,
}

impl Router {
    pub(crate) fn new(
        layout: Arc<Layout>,
        look: mpsc::Sender<oneshot::Sender<()>>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            layout,
            seats: RwLock::default(),
            lead: RwLock::default(),
            peers: OnceLock::new(),
            look,
            seated: watch::Sender::new(0),
            stop,
        }
    }

    /// There may be others.
    pub(crate) fn join(&self, peers: Peers) {
        // called once, before anything is asked
        let _ = self.peers.set(peers);
    }

    /// A loop begins.
    pub(crate) fn seat(&self, partition: u8, post: Post) {
        let mut seats = self.seats.write().unwrap_or_else(PoisonError::into_inner);
        seats.insert(partition, post);
        drop(seats);
        self.seated.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// A loop ends: nothing new for it.
    pub(crate) fn unseat(&self, partition: u8) {
        let mut seats = self.seats.write().unwrap_or_else(PoisonError::into_inner);
        seats.remove(&partition);
    }

    /// This process leads, or no more.
    pub(crate) fn lead(&self, lead: Option<Lead>) {
        *self.lead.write().unwrap_or_else(PoisonError::into_inner) = lead;
    }

    /// Whether it does.
    pub(crate) fn leads(&self) -> bool {
        self.leader().is_some()
    }

    /// Told whenever a loop begins.
    pub(crate) fn seated(&self) -> watch::Receiver<u64> {
        self.seated.subscribe()
    }

    /// Whether a saga is driven here.
    pub(crate) fn drives(&self, saga: SagaId) -> bool {
        self.here(self.layout.of(saga)).is_some()
    }

    /// Whether its loop takes new sagas; that of another member says so when it is asked.
    pub(crate) fn takes_start(&self, saga: SagaId) -> bool {
        let post = self.here(self.layout.of(saga));
        post.is_none_or(|post| post.pulse.takes_starts())
    }

    /// Whether any loop takes new sagas, as far as is known here.
    pub(crate) fn takes_starts(&self) -> bool {
        let posts = self.all_here();
        let elsewhere = posts.len() < usize::from(self.layout.count());
        elsewhere || posts.iter().any(|post| post.pulse.takes_starts())
    }

    /// Whether there is one loop and there can be no other.
    pub(crate) fn is_alone(&self) -> bool {
        self.peers.get().is_none()
    }

    /// For how long nobody drives the partitions of a member that died; zero where there is no other to take them over.
    pub(crate) fn lease(&self) -> Duration {
        self.peers.get().map_or(Duration::ZERO, Peers::lease)
    }

    /// What everybody reads who may come to read what is written here.
    pub(crate) fn level(&self) -> Level {
        self.peers.get().map_or(Level::NEWEST, Peers::level)
    }

    /// The members that do not read so much.
    pub(crate) fn below(&self, level: Level) -> Vec<String> {
        self.peers
            .get()
            .map_or_else(Vec::new, |peers| peers.below(level))
    }

    fn here(&self, partition: u8) -> Option<Post> {
        let seats = self.seats.read().unwrap_or_else(PoisonError::into_inner);
        seats.get(&partition).cloned()
    }

    fn all_here(&self) -> Vec<Post> {
        let seats = self.seats.read().unwrap_or_else(PoisonError::into_inner);
        seats.values().cloned().collect()
    }

    fn leader(&self) -> Option<Lead> {
        let lead = self.lead.read().unwrap_or_else(PoisonError::into_inner);
        lead.clone()
    }

    /// Has an input decided and committed, wherever its saga is driven.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub(crate) async fn decided(
        &self,
        saga: SagaId,
        input: Input,
        limit: Duration,
    ) -> Result<Verdict, NotTaken> {
        let partition = self.layout.of(saga);
        let question = Question::Decide {
            saga,
            input: Box::new(input),
        };
        let answer = self
            .asked(partition, question, Patience::None, limit)
            .await?;
        match answer {
            Answer::Decided(said) => Ok(said.into()),
            _ => Err(NotTaken::Late),
        }
    }

    /// As [`Self::decided`], waiting for room, and for ever.
    ///
    /// # Errors
    /// [`NotTaken::Stopping`], where there is nobody else to ask.
    pub(crate) async fn decided_at_last(
        &self,
        saga: SagaId,
        input: Input,
    ) -> Result<Verdict, NotTaken> {
        let partition = self.layout.of(saga);
        let question = Question::Decide {
            saga,
            input: Box::new(input),
        };
        loop {
            let asking = self.asked(partition, question.clone(), Patience::ForRoom, AGES);
            match asking.await {
                Ok(Answer::Decided(said)) => return Ok(said.into()),
                Err(NotTaken::Stopping) => return Err(NotTaken::Stopping),
                Ok(_) | Err(_) => tokio::time::sleep(AGAIN_MAX).await,
            }
        }
    }

    /// Registers a definition, and has everybody know it.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub(crate) async fn registered(
        &self,
        definition: Definition,
        by: String,
        limit: Duration,
    ) -> Result<Result<bool, String>, NotTaken> {
        let partition = {
            let seats = self.seats.read().unwrap_or_else(PoisonError::into_inner);
            seats.keys().next().copied()
        };
        let question = Question::Register {
            source: definition.source.to_string(),
            by,
        };
        let partition = partition.unwrap_or(LEADER);
        match self
            .asked(partition, question, Patience::None, limit)
            .await?
        {
            Answer::Registered(registered) => Ok(registered),
            _ => Err(NotTaken::Late),
        }
    }

    /// Has everybody read definitions and task types anew; those who do not in time find what is new by themselves, later.
    pub(crate) async fn tell_everybody(&self) {
        let Some(peers) = self.peers.get() else {
            self.look_anew(LEARN_WAIT).await;
            return;
        };
        let others = peers.others();
        let told = others.iter().map(|name| {
            peers.ask(
                name,
                Question::Learn,
                clock::now(),
                Instant::now() + LEARN_WAIT,
            )
        });
        tokio::join!(join_all(told), self.learn());
    }

    /// Every loop here, and the triggers, read anew; whether every loop has, in time.
    pub(super) async fn learn(&self) -> bool {
        let asked = self.all_here().into_iter().map(|post| {
            let learned = async move {
                let (answer, told) = oneshot::channel();
                match post.requests.send(Request::Learn(answer)).await {
                    Ok(()) => told.await.unwrap_or(false),
                    // it ends, and knows it when it begins again
                    Err(_) => true,
                }
            };
            async move {
                let learned = tokio::time::timeout(LEARN_WAIT, learned).await;
                learned.unwrap_or(false)
            }
        });
        let (learned, ()) = tokio::join!(join_all(asked), self.look_anew(LEARN_WAIT));
        learned.into_iter().all(|learned| learned)
    }

    /// The triggers are read anew, and what they need of the bus is bound where that is done here.
    async fn look_anew(&self, limit: Duration) {
        let (done, told) = oneshot::channel();
        let look = self
            .leader()
            .map_or_else(|| self.look.clone(), |lead| lead.look);
        let looked = async {
            if look.send(done).await.is_ok() {
                // it ends, and looks when it begins again
                let _ = told.await;
            }
        };
        let _ = tokio::time::timeout(limit, looked).await;
    }

    /// Has an event of a hook kept.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub(crate) async fn kept(
        &self,
        event: Event,
        secret: String,
        limit: Duration,
    ) -> Result<(), NotTaken> {
        let event = Box::new(event);
        let question = Question::Keep { event, secret };
        let asked = self.asked(LEADER, question, Patience::None, limit).await;
        asked.map(|_| ())
    }

    /// Has an event taken in that was dead, by whoever leads; answers whether anybody wanted it, when all it causes is committed. `again`: it is kept, and only
    /// these triggers, which refused it, look at it again.
    ///
    /// # Errors
    /// [`NotTaken`]: it may be taken in all the same.
    pub(crate) async fn taken_in(
        &self,
        event: Event,
        again: Vec<TriggerRef>,
        limit: Duration,
    ) -> Result<bool, NotTaken> {
        let event = Box::new(event);
        let question = Question::TakeIn { event, again };
        match self.asked(LEADER, question, Patience::None, limit).await? {
            Answer::TakenIn(wanted) => Ok(wanted),
            _ => Err(NotTaken::Late),
        }
    }

    /// Waits until the triggers, which are led here, have carried out what they took in before, and what an earlier process had kept and not finished.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub(crate) async fn caught_up(&self, limit: Duration) -> Result<(), NotTaken> {
        match caught_up(self.leader(), Instant::now() + limit).await {
            Once::Answered(()) => Ok(()),
            Once::Busy => Err(NotTaken::Busy),
            Once::Late => Err(NotTaken::Late),
            Once::Nobody => Err(NotTaken::Stopping),
        }
    }

    /// Acts on a schedule; none when there is no such live schedule.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub(crate) async fn scheduled(
        &self,
        definition: String,
        trigger: u32,
        what: ScheduleAsked,
        limit: Duration,
    ) -> Result<Option<ScheduleDone>, NotTaken> {
        let question = Question::Schedule {
            definition,
            trigger,
            what,
        };
        match self.asked(LEADER, question, Patience::None, limit).await? {
            Answer::Schedule(done) => Ok(done.map(|done| *done)),
            _ => Err(NotTaken::Late),
        }
    }

    /// Asks whoever has a partition until somebody answers, or the time is over.
    async fn asked(
        &self,
        partition: u8,
        question: Question,
        patience: Patience,
        limit: Duration,
    ) -> Result<Answer, NotTaken> {
        let (first, deadline) = (clock::now(), Instant::now() + limit);
        let mut pause = AGAIN_MIN;
        loop {
            let what = question.clone();
            let once = match self.answer_here(partition, what, first, patience, deadline) {
                Some(here) => here.await,
                None => {
                    self.ask_elsewhere(partition, question.clone(), first, deadline)
                        .await
                }
            };
            match once {
                Once::Answered(answer) => return Ok(answer),
                Once::Busy => return Err(NotTaken::Busy),
                Once::Late => return Err(NotTaken::Late),
                Once::Nobody if self.is_alone() => return Err(NotTaken::Stopping),
                Once::Nobody if Instant::now() + pause >= deadline => return Err(NotTaken::Late),
                Once::Nobody => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN_MAX);
        }
    }

    async fn ask_elsewhere(
        &self,
        partition: u8,
        question: Question,
        first: Timestamp,
        deadline: Instant,
    ) -> Once<Answer> {
        let Some(peers) = self.peers.get() else {
            return Once::Nobody;
        };
        let Some(owner) = peers.owner(partition) else {
            return Once::Nobody;
        };
        match peers.ask(&owner, question, first, deadline).await {
            Some(Answer::Busy) => Once::Busy,
            Some(Answer::NotHere) | None => Once::Nobody,
            Some(answer) => Once::Answered(answer),
        }
    }

    /// What another member asks of this one, and asked for the first time at `first`.
    pub(super) async fn answered(
        &self,
        question: Question,
        first: Timestamp,
        limit: Duration,
    ) -> Answer {
        let deadline = Instant::now() + limit;
        if matches!(question, Question::Learn) {
            self.learn().await;
            return Answer::Done;
        }
        let partition = match &question {
            Question::Decide { saga, .. } => self.layout.of(*saga),
            _ => LEADER,
        };
        match self.answer_here(partition, question, first, Patience::None, deadline) {
            None => Answer::NotHere,
            Some(here) => match here.await {
                Once::Answered(answer) => answer,
                Once::Busy => Answer::Busy,
                Once::Late | Once::Nobody => Answer::NotHere,
            },
        }
    }

    /// What a loop of this process answers; none when the partition is not driven here.
    fn answer_here(
        &self,
        partition: u8,
        question: Question,
        first: Timestamp,
        patience: Patience,
        deadline: Instant,
    ) -> Option<impl Future<Output = Once<Answer>> + Send + use<>> {
        let post = self.here(partition)?;
        let lead = self.leader();
        Some(async move {
            match question {
                Question::Decide { saga, input } => {
                    let start = matches!(*input, Input::Start(_));
                    if start && patience == Patience::None && !post.pulse.takes_starts() {
                        return Once::Busy;
                    }
                    let (answer, told) = oneshot::channel();
                    let request = Request::Input {
                        saga,
                        input,
                        answer,
                    };
                    let decided = ask_loop(&post, request, told, patience, deadline).await;
                    decided.map(|verdict: Verdict| Answer::Decided(verdict.into()))
                }
                Question::Register { source, by } => {
                    let Ok(definition) = Definition::parse(&source) else {
                        return Once::Answered(Answer::Registered(Err(
                            "this member of the cluster cannot read it; is it of another version?"
                                .to_owned(),
                        )));
                    };
                    let (answer, told) = oneshot::channel();
                    let request = Request::Register {
                        definition: Box::new(definition),
                        by,
                        answer,
                    };
                    let registered = ask_loop(&post, request, told, patience, deadline).await;
                    registered.map(Answer::Registered)
                }
                Question::Keep { event, secret } => keep(lead, *event, secret, deadline).await,
                Question::TakeIn { event, again } => take_in(lead, *event, again, deadline).await,
                Question::Schedule {
                    definition,
                    trigger,
                    what,
                } => {
                    let command = (definition, trigger, what);
                    schedule(lead, command, first, deadline).await
                }
                Question::Learn => Once::Nobody,
            }
        })
    }

    /// Says something of the fleet to every loop; false when none is there to be told and none will be.
    pub(crate) async fn hear(&self, heard: impl Fn() -> Heard) -> bool {
        let posts = self.all_here();
        let alone = self.is_alone();
        let mut told = !(posts.is_empty() && alone);
        for post in posts {
            // a loop that ends hears it again when it begins again
            told &= post.heard.send(heard()).await.is_ok() || !alone;
        }
        told
    }

    /// Has what a worker announces taken into the catalogue of every loop; the types that all of them took. None when no loop is there, or one
    /// has gone: it is announced again.
    pub(crate) async fn announced(&self, announcement: Announcement) -> Option<Vec<TaskType>> {
        let posts = self.all_here();
        if posts.is_empty() && !self.is_alone() {
            return Some(Vec::new());
        }
        let mut all: Option<Vec<TaskType>> = None;
        for post in posts {
            let (answer, taken) = oneshot::channel();
            let told = Heard::Announced(announcement.clone(), answer);
            let taken = match post.heard.send(told).await {
                Ok(()) => taken.await.ok(),
                Err(_) => None,
            };
            let taken = match taken {
                Some(taken) => taken,
                // it is announced again to the loop that follows
                None if !self.is_alone() => Vec::new(),
                None => return None,
            };
            all = Some(match all {
                None => taken,
                Some(all) => all.into_iter().filter(|one| taken.contains(one)).collect(),
            });
        }
        all
    }

    /// The kept events were searched for these steps of one loop's sagas.
    pub(crate) async fn searched(&self, steps: Vec<(SagaId, StepId)>) -> bool {
        let Some((saga, _)) = steps.first() else {
            return true;
        };
        match self.here(self.layout.of(*saga)) {
            Some(post) => post.heard.send(Heard::Searched(steps)).await.is_ok(),
            None => false,
        }
    }

    /// Has letters kept; false when that cannot be now. A letter is kept with what its saga is told in one commit where that saga is driven here;
    /// else first the letter, then what the saga is told, and both again when this is called again.
    pub(crate) async fn keep(&self, letters: Vec<Letter>) -> bool {
        let mut here: BTreeMap<u8, Vec<Letter>> = BTreeMap::new();
        let mut away = Vec::new();
        for (row, told) in letters {
            let partition = told
                .as_ref()
                .map_or(LEADER, |(saga, _)| self.layout.of(*saga));
            if self.here(partition).is_some() {
                here.entry(partition).or_default().push((row, told));
            } else {
                here.entry(LEADER).or_default().push((row, None));
                away.extend(told);
            }
        }
        for (partition, letters) in here {
            let Some(post) = self.here(partition) else {
                return false;
            };
            let (kept, told) = oneshot::channel();
            if post.dead.send(Letters { letters, kept }).await.is_err() || told.await.is_err() {
                return false;
            }
        }
        for (saga, input) in away {
            if self.decided_at_last(saga, *input).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Waits until nothing else is taken by the loop of the leading partition. None when it ends, or does not begin in time or before the process stops.
    pub(crate) async fn alone(&self, message: Uuid, part: u32) -> Option<Begun> {
        let led = tokio::select! {
            biased;
            // one that is there answers by itself whether it ends
            led = self.led_here() => led,
            () = self.stop.cancelled() => return None,
            () = tokio::time::sleep(SEAT_WAIT) => return None,
        };
        led.alone(message, part).await
    }

    /// Waits until the leading partition is driven here. Whoever takes in what is led may be there a moment before its loop is.
    async fn led_here(&self) -> Post {
        let mut seated = self.seated();
        loop {
            seated.borrow_and_update();
            if let Some(post) = self.here(LEADER) {
                return post;
            }
            if seated.changed().await.is_err() {
                // its sender is ours: it is there as long as we are
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hot::mail::mail;

    /// Asks for a try where nothing is driven; answers how long that took.
    async fn asked_in_vain(stop: CancellationToken) -> Duration {
        let (look, _looks) = mpsc::channel(1);
        let router = Router::new(Arc::new(Layout::one()), look, stop);
        let began = Instant::now();
        assert!(router.alone(Uuid::nil(), 0).await.is_none());
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_leading_loop_waits_no_longer_than_the_process_runs() {
        let never = asked_in_vain(CancellationToken::new()).await;
        assert!(never >= SEAT_WAIT, "{never:?}");
        let (stop, soon) = (CancellationToken::new(), Duration::from_secs(2));
        let stopping = stop.clone();
        let stops = async move {
            tokio::time::sleep(soon).await;
            stopping.cancel();
        };
        let (took, ()) = tokio::join!(asked_in_vain(stop), stops);
        assert!(took >= soon && took < SEAT_WAIT, "{took:?}");
    }

    /// A loop that can read definitions, or cannot.
    fn a_loop(router: &Router, partition: u8, can: bool) {
        let (post, mut ends, _subscribed) = mail(Arc::default());
        router.seat(partition, post);
        tokio::spawn(async move {
            while let Some(Request::Learn(answer)) = ends.requests.recv().await {
                // who asked may have gone
                let _ = answer.send(can);
            }
        });
    }

    #[tokio::test]
    async fn what_one_loop_could_not_read_is_not_known_here() {
        let (look, mut looks) = mpsc::channel::<oneshot::Sender<()>>(1);
        tokio::spawn(async move {
            while let Some(told) = looks.recv().await {
                // who asked may have gone
                let _ = told.send(());
            }
        });
        let router = Router::new(Arc::new(Layout::one()), look, CancellationToken::new());
        a_loop(&router, 0, true);
        assert!(router.learn().await);
        a_loop(&router, 1, false);
        assert!(!router.learn().await);
    }

    /// Whoever leads has not obeyed in time and is asked again: both commands are about one firing.
    #[tokio::test(start_paused = true)]
    async fn a_schedule_that_is_asked_for_again_is_fired_for_the_same_moment() {
        let (look, _looks) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let router = Router::new(Arc::new(Layout::one()), look.clone(), stop);
        let (incoming, _incoming) = mpsc::channel(1);
        let (schedules, mut commands) = mpsc::channel(2);
        router.lead(Some(Lead {
            incoming,
            schedules,
            look,
        }));
        let (post, _ends, _subscribed) = mail(Arc::default());
        router.seat(LEADER, post);
        let first = Timestamp(1_767_319_380_123);
        for _ in 0..2 {
            let question = Question::Schedule {
                definition: "s".to_owned(),
                trigger: 0,
                what: ScheduleAsked::Fire,
            };
            let answer = router.answered(question, first, Duration::from_secs(1));
            assert!(matches!(answer.await, Answer::NotHere));
            let command = commands.recv().await;
            assert_eq!(command.map(|command| command.at), Some(first));
        }
    }
}
