//! A virtual host of the test's own, and what can be seen and done on it from outside the client under test.
//!
//! Counts come from the broker's statistics, half a second old at most (`broker/node.rs` sets the intervals): wait for
//! them with [`await_until`], never look once.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::broker::segment;
use crate::{Broker, Management, USER, await_some, await_until};

/// How long making a virtual host may take.
const MAKE_LIMIT: Duration = Duration::from_secs(120);
/// How long it may take to be up on every node.
const UP_LIMIT: Duration = Duration::from_secs(240);
/// After how long a node that has not begun it by itself is told to.
const UP_BY_ITSELF: Duration = Duration::from_secs(10);
/// How long deleting a virtual host may take before its test stops caring; the broker ends soon anyway.
const DELETE_LIMIT: Duration = Duration::from_secs(20);
/// How long a message that is given back may take to be there again.
const PEEKED_WITHIN: Duration = Duration::from_secs(60);

/// A fresh virtual host on a [`Broker`], deleted with everything in it when dropped.
#[derive(Debug)]
pub struct Vhost {
    broker: Broker,
    name: String,
}

/// A queue as the management API shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Messages ready to be delivered.
    #[serde(default)]
    pub messages_ready: u64,
    /// Messages delivered and not yet acknowledged.
    #[serde(default)]
    pub messages_unacknowledged: u64,
    /// Consumers subscribed.
    #[serde(default)]
    pub consumers: u64,
    /// Arguments it was declared with.
    #[serde(default)]
    pub arguments: Value,
}

/// A message read over the management API.
#[derive(Clone, Debug, Deserialize)]
pub struct Message {
    /// The body, as text.
    pub payload: String,
    /// Exchange it was published to.
    pub exchange: String,
    /// Routing key it was published with.
    pub routing_key: String,
    /// Whether it had been delivered before.
    pub redelivered: bool,
    /// AMQP properties, headers included.
    pub properties: Value,
}

impl Vhost {
    pub(crate) async fn on(broker: Broker) -> Self {
        let name = format!("t{}", uuid::Uuid::new_v4().simple());
        let vhost = Self { broker, name };
        let management = vhost.management();
        let path = format!("/api/vhosts/{}", vhost.segment());
        // nodes that have just found each other make one only when all of them have begun to
        await_until("a virtual host to be made", MAKE_LIMIT, async || {
            management.try_put(&path, &json!({})).await.is_ok()
        })
        .await;
        let rights = json!({ "configure": ".*", "write": ".*", "read": ".*" });
        let path = vhost.permissions_path(USER);
        await_until("a virtual host to be ours", MAKE_LIMIT, async || {
            management.try_put(&path, &rights).await.is_ok()
        })
        .await;
        vhost
    }

    /// Waits until it is up on every node of its broker that runs: where it is not yet, no queue can be made. A node that was just joining when it was made may
    /// not have begun it, and does so only when it is told.
    pub async fn await_up(&self) {
        let path = format!("/api/vhosts/{}", self.segment());
        let what = "a virtual host to be up on every node";
        let begun = Instant::now();
        await_until(what, UP_LIMIT, async || {
            let seen = self.management().try_get(&path).await;
            let states = seen
                .ok()
                .and_then(|one| one["cluster_state"].as_object().cloned());
            let Some(states) = states else { return false };
            let down = states.iter().filter(|(_, state)| *state != "running");
            let down: Vec<&String> = down.map(|(node, _)| node).collect();
            if begun.elapsed() > UP_BY_ITSELF {
                for node in &down {
                    let start = format!("{path}/start/{}", segment(node));
                    // looked at again, whatever it answers
                    let _ = self.management().try_post(&start, &json!({})).await;
                }
            }
            down.is_empty()
        })
        .await;
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `amqp://user:password@127.0.0.1:port/vhost`.
    pub fn url(&self) -> String {
        self.url_at(self.broker.address(), self.broker.amqp_port())
    }

    /// The same through another port of this machine: a [`crate::Proxy`] before the broker.
    pub fn url_through(&self, port: u16) -> String {
        self.url_at(Ipv4Addr::LOCALHOST, port)
    }

    /// The same at another address: another node of the same broker.
    pub fn url_at(&self, address: Ipv4Addr, port: u16) -> String {
        let (user, password) = (USER, crate::PASSWORD);
        format!(
            "amqp://{user}:{password}@{address}:{port}/{}",
            self.segment()
        )
    }

    /// The same as another user, made with [`Self::user`].
    pub fn url_as(&self, user: &str) -> String {
        format!(
            "amqp://{user}:{user}@127.0.0.1:{}/{}",
            self.broker.amqp_port(),
            self.segment()
        )
    }

    /// The broker it is on.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// A client of the broker's management API.
    pub fn management(&self) -> Management {
        self.broker.management()
    }

    /// Makes a broker user whose password is its name, with these permissions here (regular expressions).
    pub async fn user(&self, name: &str, configure: &str, write: &str, read: &str) {
        let user = json!({ "password": name, "tags": "" });
        self.management()
            .put(&format!("/api/users/{}", segment(name)), &user)
            .await;
        self.permit(name, configure, write, read).await;
    }

    /// Changes a user's permissions here.
    pub async fn permit(&self, user: &str, configure: &str, write: &str, read: &str) {
        self.management()
            .put(
                &self.permissions_path(user),
                &json!({ "configure": configure, "write": write, "read": read }),
            )
            .await;
    }

    /// Sets a policy on queues.
    pub async fn policy(&self, name: &str, pattern: &str, definition: Value) {
        let path = format!("/api/policies/{}/{}", self.segment(), segment(name));
        let body = json!({ "pattern": pattern, "definition": definition, "apply-to": "queues", "priority": 10 });
        self.management().put(&path, &body).await;
    }

    /// Declares a durable queue of a type (`quorum`, `classic`), with no other arguments.
    pub async fn declare(&self, queue: &str, queue_type: &str) {
        let body = json!({ "durable": true, "arguments": { "x-queue-type": queue_type } });
        self.management().put(&self.queue_path(queue), &body).await;
    }

    /// Deletes a queue, under whoever consumes from it.
    pub async fn delete_queue(&self, queue: &str) {
        self.management().delete(&self.queue_path(queue)).await;
    }

    /// Every queue.
    pub async fn queues(&self) -> Vec<Queue> {
        let listed = self
            .management()
            .get(&format!("/api/queues/{}", self.segment()))
            .await;
        serde_json::from_value(listed)
            .unwrap_or_else(|error| panic!("cannot read the list of queues: {error}"))
    }

    /// One queue, if it is there.
    pub async fn queue(&self, name: &str) -> Option<Queue> {
        let found = self
            .management()
            .try_get(&self.queue_path(name))
            .await
            .ok()?;
        serde_json::from_value(found).ok()
    }

    /// Waits until a queue holds exactly so many messages ready and so many unacknowledged.
    pub async fn await_messages(
        &self,
        queue: &str,
        ready: u64,
        unacknowledged: u64,
        limit: Duration,
    ) {
        let what =
            format!("{queue} to hold {ready} ready and {unacknowledged} unacknowledged messages");
        await_until(&what, limit, async || {
            let found = self.queue(queue).await;
            found.is_some_and(|q| {
                q.messages_ready == ready && q.messages_unacknowledged == unacknowledged
            })
        })
        .await;
    }

    /// Waits until a queue is there and has exactly so many consumers.
    pub async fn await_consumers(&self, queue: &str, consumers: u64, limit: Duration) {
        let what = format!("{queue} to have {consumers} consumers");
        await_until(&what, limit, async || {
            self.queue(queue)
                .await
                .is_some_and(|q| q.consumers == consumers)
        })
        .await;
    }

    /// Reads up to `count` messages and puts them back; they count as redelivered afterwards.
    pub async fn peek(&self, queue: &str, count: usize) -> Vec<Message> {
        self.get_messages(queue, count, "ack_requeue_true").await
    }

    /// The first message, which stays where it is; waited for, since one that was given back is there again only a moment later.
    pub async fn peek_one(&self, queue: &str) -> Message {
        let what = format!("{queue} to hold a message");
        await_some(&what, PEEKED_WITHIN, async || {
            self.peek(queue, 1).await.pop()
        })
        .await
    }

    /// Takes up to `count` messages off the queue for good.
    pub async fn take(&self, queue: &str, count: usize) -> Vec<Message> {
        self.get_messages(queue, count, "ack_requeue_false").await
    }

    async fn get_messages(&self, queue: &str, count: usize, ackmode: &str) -> Vec<Message> {
        let body = json!({ "count": count, "ackmode": ackmode, "encoding": "auto" });
        let got = self
            .management()
            .post(&format!("{}/get", self.queue_path(queue)), &body)
            .await;
        serde_json::from_value(got)
            .unwrap_or_else(|error| panic!("cannot read messages of {queue}: {error}"))
    }

    /// Publishes text, persistent; `properties` as AMQP names them (`{"message_id": "x", "headers": {…}}`). Returns
    /// whether some queue took it. `amq.default` is the default exchange.
    pub async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        properties: Value,
        payload: &str,
    ) -> bool {
        let mut properties = properties;
        properties["delivery_mode"] = 2.into();
        let path = format!(
            "/api/exchanges/{}/{}/publish",
            self.segment(),
            segment(exchange)
        );
        let body = json!({
            "properties": properties, "routing_key": routing_key, "payload": payload, "payload_encoding": "string",
        });
        self.management().post(&path, &body).await["routed"] == true
    }

    /// Names of the connections open to this virtual host; a connection is listed about half a second after it opened.
    pub async fn connections(&self) -> Vec<String> {
        let listed = self
            .management()
            .get(&format!("/api/vhosts/{}/connections", self.segment()))
            .await;
        let all = listed.as_array().into_iter().flatten();
        all.filter_map(|one| one["name"].as_str().map(str::to_owned))
            .collect()
    }

    /// Has the broker close every connection to this virtual host, as an operator would. Returns how many.
    pub async fn close_connections(&self) -> usize {
        let names = self.connections().await;
        for name in &names {
            // one that has ended meanwhile is as good as closed
            let _ = self
                .management()
                .try_delete(&format!("/api/connections/{}", segment(name)))
                .await;
        }
        names.len()
    }

    fn segment(&self) -> String {
        segment(&self.name)
    }

    fn permissions_path(&self, user: &str) -> String {
        format!("/api/permissions/{}/{}", self.segment(), segment(user))
    }

    fn queue_path(&self, queue: &str) -> String {
        format!("/api/queues/{}/{}", self.segment(), segment(queue))
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        if self.broker.is_own() {
            return; // ends with the test anyway, and may be down or frozen now
        }
        // a test's runtime may be ending: the call gets a thread and a runtime of its own
        let (management, path) = (self.management(), format!("/api/vhosts/{}", self.segment()));
        let deletion = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let Ok(runtime) = runtime else { return };
            let deleting =
                async { tokio::time::timeout(DELETE_LIMIT, management.try_delete(&path)).await };
            let _ = runtime.block_on(deleting);
        });
        let _ = deletion.join();
    }
}
