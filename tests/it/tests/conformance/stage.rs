//! The stage of one case: a virtual host with the topology, the orchestrator's ends of it, a relay before the broker, and the worker.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_bus::{
    Bus, BusConfig, ConsumeSpec, Consumer, Delivery, ExclusiveQueue, HeaderValue, Outgoing, Sent,
    version_header,
};
use baton_harness::{Process, Proxy, Vhost, await_until, binaries};
use baton_messages::headers::{TRACEPARENT, traceparent};
use baton_messages::topology::{self, Binding, Topology};
use baton_messages::{InboxKey, MessageId, PoolName, SagaId, TaskType, WorkerId};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::case::Case;
use crate::cast::{Cast, settle};

/// How long anything that has to come may take, on a machine that is building something on every core meanwhile.
pub(crate) const SOON: Duration = Duration::from_secs(90);

/// The environment variable of a key.
pub(crate) fn variable(key: &str) -> String {
    format!("BATON__{}", key.replace('.', "__").to_uppercase())
}

/// What a worker said, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) kind: String,
    pub(crate) id: String,
    /// The message without its tag.
    pub(crate) said: Value,
    pub(crate) in_a_batch: bool,
}

pub(crate) struct Stage {
    pub(crate) vhost: Vhost,
    pub(crate) proxy: Proxy,
    pub(crate) worker: WorkerId,
    pub(crate) dir: PathBuf,
    pub(crate) bus: Bus,
    process: Process,
    inbox: Consumer,
    dead: Consumer,
    fleet: Option<Consumer>,
    /// Reports that came while another one was waited for.
    pub(crate) waiting: VecDeque<Heard>,
}

fn plain(queue: String) -> ConsumeSpec {
    ConsumeSpec {
        consumer_tag: queue.clone(),
        queue,
        prefetch: 100,
        exclusive_queue: None,
    }
}

impl Stage {
    pub(crate) async fn set(cast: &Cast, case: &Case, id: &str) -> Self {
        let vhost = cast.broker.vhost().await;
        let proxy = Proxy::to_port(cast.broker.amqp_port()).await;
        let config = BusConfig {
            addresses: vec![vhost.url()],
            role: "orchestrator".into(),
            instance: "conformance".into(),
            confirm_timeout_ms: 10_000,
            ..BusConfig::default()
        };
        let bus = Bus::start(config, CancellationToken::new()).expect("the configuration works");
        bus.ready().await;
        let declared = bus.declare(&Topology::base(1)).await;
        declared.expect("the topology can be declared");
        for role in &case.roles {
            declare(&bus, cast.task_type(role)).await;
        }
        let inbox = bus
            .consume(plain(topology::inbox_queue(&InboxKey::of(0))))
            .await;
        let dead = bus.consume(plain(topology::DEAD.to_owned())).await;
        let worker = WorkerId::new(&format!("w-{id}")).expect("that is a name");
        let dir = binaries::fresh_dir("conformance");
        let launch = settle(cast.launch(), case.settings.iter())
            .env(variable("worker.name"), worker.as_str())
            .env(variable("bus.addresses"), vhost.url_through(proxy.port()))
            .env(variable("automations.files.roots"), &dir)
            .env(
                variable("automations.test_effect.ledger_url"),
                cast.ledger.url(),
            )
            .env("NO_COLOR", "1");
        let fleet = if case.fleet_later {
            None
        } else {
            Some(listen(&bus).await)
        };
        let process = launch.start();
        let mut stage = Self {
            vhost,
            proxy,
            worker,
            dir,
            bus,
            process,
            inbox,
            dead,
            fleet,
            waiting: VecDeque::new(),
        };
        if case.worker_later {
            stage.process.kill9();
        } else {
            stage.await_takers(cast, &case.roles).await;
        }
        stage
    }

    pub(crate) async fn declare(&self, task_type: &str) {
        declare(&self.bus, task_type).await;
    }

    pub(crate) async fn listen_to_the_fleet(&mut self) {
        self.fleet = Some(listen(&self.bus).await);
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until the worker takes tasks of every role.
    pub(crate) async fn await_takers(&mut self, cast: &Cast, roles: &[String]) {
        for role in roles {
            let queue = queue_of(cast.task_type(role));
            let what = format!("the worker to take from {queue}");
            await_until(&what, SOON, async || {
                assert!(
                    self.process.is_running(),
                    "the worker has ended:\n{}",
                    tail(&self.process.log())
                );
                let depth = self.bus.queue_depth(&queue).await;
                depth.is_ok_and(|depth| depth.is_some_and(|depth| depth.consumers > 0))
            })
            .await;
        }
    }

    /// Publishes; panics when the broker does not take it.
    pub(crate) async fn send(
        &self,
        exchange: &'static str,
        key: String,
        kind: &'static str,
        id: MessageId,
        message: &Value,
    ) {
        let body = serde_json::to_vec(message).expect("it can be written");
        let mut out = Outgoing::json(exchange, key, kind, id, body, 0);
        // as an orchestrator has it, down to the types of the headers
        out.headers = vec![version_header()];
        if let Some(saga) = saga_of(message) {
            let trace = HeaderValue::Text(traceparent(saga, id));
            (out.correlation_id, out.headers) = (
                Some(saga.to_string()),
                vec![version_header(), (TRACEPARENT.to_owned(), trace)],
            );
        }
        let sent = self.bus.publisher().publish(vec![out]).await;
        assert_eq!(sent, vec![Sent::Confirmed], "{kind} reaches nobody");
    }

    /// Takes the queue `name`, which is bound to the exchange of that name or of the first two words of it, out of reach, or puts it back.
    pub(crate) async fn bound(&self, queue: &str, back: bool) {
        let bindings = Topology::base(1).bindings;
        let binding: Vec<Binding> = bindings
            .into_iter()
            .filter(|binding| binding.queue == queue)
            .collect();
        for binding in binding {
            let done = if back {
                let one = Topology {
                    bindings: vec![binding],
                    ..Topology::default()
                };
                self.bus.declare(&one).await.map(|_| ())
            } else {
                self.bus.unbind(&binding).await
            };
            done.expect("a binding can be changed");
        }
    }

    /// The next report, one of a batch by itself.
    pub(crate) async fn next_report(&mut self, limit: Duration) -> Option<Result<Heard, String>> {
        if let Some(heard) = self.waiting.pop_front() {
            return Some(Ok(heard));
        }
        let delivery = next(&mut self.inbox, limit).await?;
        Some(crate::judge::heard(&delivery).map(|all| {
            self.waiting.extend(all);
            self.waiting.pop_front().expect("a message says something")
        }))
    }

    pub(crate) async fn next_dead(&mut self, limit: Duration) -> Option<Delivery> {
        next(&mut self.dead, limit).await
    }

    pub(crate) async fn next_of_fleet(&mut self, limit: Duration) -> Option<Delivery> {
        let fleet = self.fleet.as_mut().expect("the case listens to the fleet");
        next(fleet, limit).await
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.process.kill9();
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

fn saga_of(message: &Value) -> Option<SagaId> {
    message["task@1"]["of"]["saga"].as_str()?.parse().ok()
}

async fn listen(bus: &Bus) -> Consumer {
    let exclusive = ExclusiveQueue {
        bindings: vec![(topology::FLEET.into(), String::new())],
        arguments: vec![],
    };
    let queue = plain(topology::fleet_queue("conformance"));
    bus.consume(ConsumeSpec {
        exclusive_queue: Some(exclusive),
        ..queue
    })
    .await
}

async fn declare(bus: &Bus, task_type: &str) {
    let task_type = TaskType::new(task_type).expect("that is a type");
    let declared = bus
        .declare(&Topology::of_task(&PoolName::default_pool(), &task_type))
        .await;
    declared.expect("a task queue can be declared");
}

async fn next(consumer: &mut Consumer, limit: Duration) -> Option<Delivery> {
    let delivery = tokio::time::timeout(limit, consumer.next()).await.ok()??;
    delivery.ack().await.expect("it can be acknowledged");
    Some(delivery)
}

pub(crate) fn queue_of(task_type: &str) -> String {
    format!("baton.task.default.{task_type}")
}

/// The end of a worker's log.
pub(crate) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

pub(crate) fn text_of(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}
