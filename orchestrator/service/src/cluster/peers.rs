//! The way to other orchestrators and back: `baton.peers`, which no worker may use, and a queue of our own, gone with its connection. A question that is
//! lost is asked again by whoever asks; none of them is worth keeping when its asker or its reader is gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_bus::{Bus, ConsumeSpec, ExclusiveQueue, Outgoing, Sent, version_header};
use baton_engine::Level;
use baton_messages::{BODY_BYTES_MAX, MessageId, Timestamp, topology};
use baton_store::View;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::router::Router;
use super::words::{Answer, KIND, Question, Word, asked_first, asking};
use crate::clock;

/// How long one asking is waited for before the question is asked anew: whoever was asked may be dead.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How long an answer is worked on: whoever asked has asked again by then.
const WORK_MAX: Duration = Duration::from_secs(20);
/// Questions of others worked on at once; each may wait for a commit.
const WORKING_MAX: usize = 1_024;
/// Most words of others not yet read.
const PREFETCH: u16 = 1_000;

/// The other members, as they can be asked.
#[derive(Clone)]
pub(crate) struct Peers {
    bus: Bus,
    name: String,
    view: watch::Receiver<Arc<View>>,
    lease: Duration,
    asked: Arc<Mutex<HashMap<Uuid, oneshot::Sender<Answer>>>>,
}

impl Peers {
    pub(crate) fn new(
        bus: Bus,
        name: String,
        view: watch::Receiver<Arc<View>>,
        lease: Duration,
    ) -> Self {
        Self {
            bus,
            name,
            view,
            lease,
            asked: Arc::default(),
        }
    }

    /// For how long a partition is owned without a word of its owner.
    pub(super) const fn lease(&self) -> Duration {
        self.lease
    }

    /// Who has a partition, if that is another.
    pub(super) fn owner(&self, partition: u8) -> Option<String> {
        let view = self.view.borrow();
        let owner = view.owner(partition)?;
        (owner != self.name).then(|| owner.to_owned())
    }

    /// What everybody reads who is there, this member included.
    pub(super) fn level(&self) -> Level {
        self.view.borrow().level()
    }

    /// Who does not read so much.
    pub(super) fn below(&self, level: Level) -> Vec<String> {
        let view = self.view.borrow();
        view.below(level).into_iter().map(str::to_owned).collect()
    }

    /// Everybody else who is there.
    pub(super) fn others(&self) -> Vec<String> {
        let view = self.view.borrow();
        let alive = view.members.iter().filter(|member| member.is_alive());
        let others = alive.filter(|member| member.name != self.name);
        others.map(|member| member.name.clone()).collect()
    }

    /// Asks once a question that was asked for the first time at `first`; none when there is no answer.
    pub(super) async fn ask(
        &self,
        to: &str,
        what: Question,
        first: Timestamp,
        deadline: Instant,
    ) -> Option<Answer> {
        let id = asking(first);
        let (answer, told) = oneshot::channel();
        let _asked = Asked::new(self, id, answer);
        let from = self.name.clone();
        let until = deadline.min(Instant::now() + ANSWER_WAIT);
        let answered = async {
            if !self.say(to, &Word::Asked { id, from, what }).await {
                return None;
            }
            told.await.ok()
        };
        tokio::time::timeout_at(until, answered)
            .await
            .ok()
            .flatten()
    }

    /// True when it lies in the other's queue.
    async fn say(&self, to: &str, word: &Word) -> bool {
        let Ok(body) = serde_json::to_vec(word) else {
            return false;
        };
        let (id, at) = (MessageId(Uuid::now_v7()), clock::now().0);
        let mut out = Outgoing::json(topology::PEERS, to.to_owned(), KIND, id, body, at);
        out.persistent = false;
        out.headers = vec![version_header()];
        let sent = self.bus.publisher().publish(vec![out]).await;
        matches!(sent.first(), Some(Sent::Confirmed))
    }

    fn answered(&self, id: Uuid, answer: Answer) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = asked.remove(&id) {
            // whoever asked may have given up
            let _ = told.send(answer);
        }
    }
}

/// A question that waits for its answer, for as long as somebody does.
struct Asked<'a> {
    peers: &'a Peers,
    id: Uuid,
}

impl<'a> Asked<'a> {
    fn new(peers: &'a Peers, id: Uuid, answer: oneshot::Sender<Answer>) -> Self {
        let mut asked = peers.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(id, answer);
        drop(asked);
        Self { peers, id }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut asked = self
            .peers
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        asked.remove(&self.id);
    }
}

/// Answers what others ask, and takes their answers, until the bus stops its consumers.
pub(crate) async fn listen(peers: Peers, router: Arc<Router>) {
    let spec = ConsumeSpec {
        queue: topology::peers_queue(&peers.name),
        prefetch: PREFETCH,
        exclusive_queue: Some(ExclusiveQueue {
            bindings: vec![(topology::PEERS.to_owned(), peers.name.clone())],
            arguments: Vec::new(),
        }),
        consumer_tag: format!("peers-{}", peers.name),
    };
    let mut consumer = peers.bus.consume(spec).await;
    let room = Arc::new(Semaphore::new(WORKING_MAX));
    let mut working: JoinSet<()> = JoinSet::new();
    while let Some(delivery) = consumer.next().await {
        while working.try_join_next().is_some() {}
        let word = if delivery.body.len() <= 2 * BODY_BYTES_MAX {
            serde_json::from_slice(&delivery.body).ok()
        } else {
            None
        };
        // a lost one is only heard twice
        let _ = delivery.ack().await;
        match word {
            Some(Word::Answered { id, answer }) => peers.answered(id, answer),
            Some(Word::Asked { id, from, what }) => {
                let (peers, router) = (peers.clone(), router.clone());
                let room = room.clone().acquire_owned().await;
                working.spawn(async move {
                    let _room = room;
                    let answer = router.answered(what, asked_first(id), WORK_MAX).await;
                    peers.say(&from, &Word::Answered { id, answer }).await;
                });
            }
            None => {
                tracing::warn!(
                    kind = delivery.kind.as_deref().unwrap_or(""),
                    "a word of another orchestrator cannot be read; is it of another version? It asks again"
                );
            }
        }
    }
}
