//! The stage of these tests: a real broker, a worker under test, and the test itself in the part of the orchestrator.

use std::collections::VecDeque;
use std::time::Duration;

use baton_bus::{Bus, BusConfig, ConsumeSpec, Consumer, ExclusiveQueue, Outgoing, Sent};
use baton_harness::{Broker, Vhost};
use baton_messages::control::CancelTask;
use baton_messages::inbox::Started;
use baton_messages::topology::{self, Topology};
use baton_messages::*;
use baton_worker::{Registry, Worker, WorkerHandle, WorkerOptions};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything that should happen soon may take, on a machine that is building something on every core meanwhile.
pub(crate) const SOON: Duration = Duration::from_secs(90);
/// How long is waited for something that must not come.
pub(crate) const NEVER: Duration = Duration::from_millis(700);

/// One message of the inbox with what it came with.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) message: InboxMessage,
    pub(crate) id: String,
}

pub(crate) struct Stage {
    pub(crate) vhost: Vhost,
    pub(crate) bus: Bus,
    inbox: Consumer,
    seen: VecDeque<Report>,
    /// How many messages came on the inbox: a batch is one.
    pub(crate) messages: usize,
    fleet: Consumer,
}

/// A worker that runs in this process.
pub(crate) struct Running {
    pub(crate) cancel: CancellationToken,
    pub(crate) handle: WorkerHandle,
    pub(crate) id: WorkerId,
    pub(crate) task: JoinHandle<()>,
}

impl Running {
    /// Drains it and waits for its end.
    pub(crate) async fn end(self) {
        self.cancel.cancel();
        tokio::time::timeout(SOON, self.task)
            .await
            .expect("the worker did not end")
            .unwrap();
    }
}

pub(crate) fn bus_at(url: String, instance: &str) -> Bus {
    let config = BusConfig {
        addresses: vec![url],
        role: "test".into(),
        instance: instance.into(),
        reconnect_ms_min: 50,
        reconnect_ms_max: 500,
        confirm_timeout_ms: 5_000,
        ..BusConfig::default()
    };
    Bus::start(config, CancellationToken::new()).unwrap()
}

impl Stage {
    /// A fresh vhost with the whole topology, the queues of `types` included.
    pub(crate) async fn set(types: &[&str]) -> Self {
        let vhost = Broker::shared().await.vhost().await;
        let bus = bus_at(vhost.url(), "orchestrator");
        bus.ready().await;
        bus.declare(&Topology::base(1)).await.unwrap();
        let inbox = bus
            .consume(plain(topology::inbox_queue(&InboxKey::of(0))))
            .await;
        let exclusive = ExclusiveQueue {
            bindings: vec![(topology::FLEET.into(), String::new())],
            arguments: vec![],
        };
        let fleet = bus
            .consume(ConsumeSpec {
                exclusive_queue: Some(exclusive),
                ..plain(topology::fleet_queue("test"))
            })
            .await;
        let stage = Self {
            vhost,
            bus,
            inbox,
            seen: VecDeque::new(),
            messages: 0,
            fleet,
        };
        for task_type in types {
            stage.declare(task_type).await;
        }
        stage
    }

    pub(crate) async fn declare(&self, task_type: &str) {
        let topology = Topology::of_task(
            &PoolName::default_pool(),
            &TaskType::new(task_type).unwrap(),
        );
        self.bus.declare(&topology).await.unwrap();
    }

    pub(crate) fn options(id: &str) -> WorkerOptions {
        WorkerOptions {
            concurrency: 4,
            drain_grace_ms: 2_000,
            kill_grace_ms: 300,
            grant_ask_ms: 300,
            grant_wait_ms_max: 3_000,
            heartbeat_ms: 200,
            announce_ms: 500,
            ..WorkerOptions::new(id).unwrap()
        }
    }

    pub(crate) fn work(&self, registry: Registry, options: WorkerOptions) -> Running {
        self.work_at(self.vhost.url(), registry, options)
    }

    pub(crate) fn work_at(
        &self,
        url: String,
        registry: Registry,
        options: WorkerOptions,
    ) -> Running {
        let bus = bus_at(url, options.id.as_str());
        let id = options.id.clone();
        let worker = Worker::new(bus, registry, options).unwrap();
        let cancel = CancellationToken::new();
        let handle = worker.handle();
        let task = tokio::spawn(worker.run(cancel.clone()));
        Running {
            cancel,
            handle,
            id,
            task,
        }
    }

    pub(crate) async fn send(&self, out: Outgoing) {
        let sent = self.bus.publisher().publish(vec![out]).await;
        assert_eq!(sent, vec![Sent::Confirmed]);
    }

    pub(crate) async fn dispatch(&self, task: &Task) {
        let body = serde_json::to_vec(&TaskMessage::Task(task.clone())).unwrap();
        let key = topology::task_key(&task.pool, &task.task_type);
        let id = task.of.message_id();
        self.send(Outgoing::json(topology::TASKS, key, "task@1", id, body, 0))
            .await;
    }

    /// Several tasks in one message, on the queue of this type.
    pub(crate) async fn dispatch_together(&self, task_type: &str, tasks: &[Task]) -> MessageId {
        let tasks = tasks.iter().cloned().map(TaskMessage::Task).collect();
        let together = TasksMessage::Tasks(TaskBatch { tasks });
        let body = serde_json::to_vec(&together).unwrap();
        self.send_together(task_type, body).await
    }

    /// What says of itself that it is several tasks, on the queue of this type.
    pub(crate) async fn send_together(&self, task_type: &str, body: Vec<u8>) -> MessageId {
        let key = topology::task_key(
            &PoolName::default_pool(),
            &TaskType::new(task_type).unwrap(),
        );
        let id = MessageId(uuid::Uuid::now_v7());
        let kind = TasksMessage::KIND;
        self.send(Outgoing::json(topology::TASKS, key, kind, id, body, 0))
            .await;
        id
    }

    /// Tells a worker something.
    pub(crate) async fn tell(&self, worker: &WorkerId, message: &ControlMessage) {
        assert!(self.told(worker, message).await, "{worker} does not listen");
    }

    /// Tells a worker something; whether it listens.
    async fn told(&self, worker: &WorkerId, message: &ControlMessage) -> bool {
        let body = serde_json::to_vec(message).unwrap();
        let key = topology::control_key(worker);
        let id = MessageId(uuid::Uuid::new_v4());
        let out = Outgoing::json(topology::CONTROL, key, message.kind(), id, body, 0);
        let sent = self.bus.publisher().publish(vec![out]).await;
        sent == [Sent::Confirmed]
    }

    pub(crate) async fn answer(&self, started: &Started, answer: GrantAnswer) {
        assert!(self.answer_heard(started, answer).await, "{started:?}");
    }

    /// Answers a claim; whether its worker listens.
    pub(crate) async fn answer_heard(&self, started: &Started, answer: GrantAnswer) -> bool {
        let grant = Grant {
            of: started.of.clone(),
            run: started.run,
            worker: started.worker.clone(),
            answer,
        };
        let grant = ControlMessage::Grant(grant);
        self.told(&started.worker, &grant).await
    }

    pub(crate) async fn cancel(&self, worker: &WorkerId, of: &AttemptRef) {
        let cancel = CancelTask { of: of.clone() };
        self.tell(worker, &ControlMessage::Cancel(cancel)).await;
    }

    /// The next report of the inbox, acknowledged.
    pub(crate) async fn report(&mut self) -> Report {
        tokio::time::timeout(SOON, self.take_report())
            .await
            .expect("no report came")
    }

    async fn take_report(&mut self) -> Report {
        if let Some(seen) = self.seen.pop_front() {
            return seen;
        }
        let delivery = self.inbox.next().await.unwrap();
        delivery.ack().await.unwrap();
        self.messages += 1;
        let id = delivery.message_id.clone().unwrap();
        let message: InboxMessage = serde_json::from_slice(&delivery.body).unwrap();
        assert_eq!(delivery.kind.as_deref(), Some(message.kind()));
        let InboxMessage::Batch(batch) = message else {
            return Report { message, id };
        };
        let reports = batch.reports.into_iter().map(|report| Report {
            message: report.into(),
            id: id.clone(),
        });
        self.seen.extend(reports);
        self.seen.pop_front().unwrap()
    }

    /// Asserts that no report comes for a while.
    pub(crate) async fn no_report(&mut self) {
        if let Ok(report) = tokio::time::timeout(NEVER, self.take_report()).await {
            panic!("a report came that should not: {report:?}");
        }
    }

    pub(crate) async fn started(&mut self) -> Started {
        match self.report().await.message {
            InboxMessage::Started(started) => started,
            other => panic!("not started but {other:?}"),
        }
    }

    pub(crate) async fn checkpoint(&mut self) -> Checkpoint {
        match self.report().await.message {
            InboxMessage::Checkpoint(checkpoint) => checkpoint,
            other => panic!("not a checkpoint but {other:?}"),
        }
    }

    /// The next end of a run; askings before it are passed over.
    pub(crate) async fn finished(&mut self) -> Finished {
        loop {
            match self.report().await.message {
                InboxMessage::Finished(finished) => return finished,
                InboxMessage::Started(_) => {}
                other => panic!("not finished but {other:?}"),
            }
        }
    }

    /// The next word of the fleet that `want` wants.
    pub(crate) async fn heard<T>(&mut self, want: impl Fn(FleetMessage) -> Option<T>) -> T {
        let hear = async {
            loop {
                let delivery = self.fleet.next().await.unwrap();
                delivery.ack().await.unwrap();
                if let Some(found) = want(serde_json::from_slice(&delivery.body).unwrap()) {
                    return found;
                }
            }
        };
        tokio::time::timeout(SOON, hear)
            .await
            .expect("the fleet was silent")
    }

    /// Waits until the queue of `task_type` holds nothing, ready or unacknowledged.
    pub(crate) async fn emptied(&self, task_type: &str) {
        let queue = topology::task_queue(
            &PoolName::default_pool(),
            &TaskType::new(task_type).unwrap(),
        );
        self.vhost.await_messages(&queue, 0, 0, SOON).await;
    }
}

fn plain(queue: String) -> ConsumeSpec {
    ConsumeSpec {
        consumer_tag: queue.clone(),
        queue,
        prefetch: 100,
        exclusive_queue: None,
    }
}

pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_millis()).unwrap()
}

/// A first attempt of a fresh step, which has ten minutes: longer than any test takes, also one that starts several processes on a busy machine. What comes too late is
/// never begun.
pub(crate) fn task(task_type: &str, hold: Hold, input: Value) -> Task {
    let of = AttemptRef {
        saga: SagaId(uuid::Uuid::now_v7()),
        step: StepId::new("step").unwrap(),
        item: None,
        direction: Direction::Do,
        round: 1,
        attempt: 1,
        dispatch: 1,
    };
    Task {
        idempotency_key: of.idempotency_key(),
        of,
        task_type: TaskType::new(task_type).unwrap(),
        pool: PoolName::default_pool(),
        inbox: InboxKey::of(0),
        hold,
        act: None,
        not_after: Timestamp(now_ms() + 600_000),
        ask_after: None,
        timeout_ms: 30_000,
        lease_ms: 30_000,
        input,
        output: None,
        before: None,
        progress: None,
        fences: std::collections::BTreeMap::new(),
    }
}

pub(crate) fn unknown_code(finished: &Finished) -> &str {
    match &finished.result {
        TaskResult::Unknown(failure) => &failure.code,
        other => panic!("not unknown but {other:?}"),
    }
}

pub(crate) fn not_run_reason(finished: &Finished) -> &str {
    match &finished.result {
        TaskResult::NotRun { reason } => reason,
        other => panic!("not `not run` but {other:?}"),
    }
}
