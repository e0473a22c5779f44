//! Several hosts: three nodes of one broker, a database, orchestrators and workers, each on a host of its own, whose link can be cut.
#![expect(
    clippy::print_stderr,
    reason = "that a node had to be helped is a figure people read"
)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use baton_harness::{
    Broker, Database, Host, Launch, Ledger, Minority, Net, Postgres, Process, Vhost, await_some,
    await_until, binaries, postgres,
};
use serde_json::json;

use crate::system::{TOKEN, variable};
use crate::{AFTER_A_LEASE, Api, Cli, Ran};

/// Nodes of the broker: with two of them it goes on.
const BROKERS: usize = 3;
/// Where an orchestrator listens on its host.
const PORT: u16 = 8470;
/// How long a partition is owned without a word.
const LEASE_MS: &str = "3000";
/// How long nodes of the broker may take to find each other, on a machine that starts all of them at once; then whoever runs them starts one again.
const FIND_EACH_OTHER: Duration = Duration::from_secs(90);
/// How long all of that may take, with as many of them started again.
const WHOLE_LIMIT: Duration = Duration::from_secs(360);
/// How often it is looked whether a broker is whole, or as it should be: each look asks every node.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// As many partitions as a database is made with.
pub const PARTITIONS: i64 = 8;

/// All of it. Fields end in this order: processes before what they use.
#[derive(Debug)]
pub struct Site {
    /// Who drives sagas.
    pub orchestrators: Vec<Member>,
    /// Who acts.
    pub workers: Vec<(Host, Process)>,
    /// What was done to the world; on this machine's own end of the network.
    pub ledger: Ledger,
    /// The virtual host.
    pub vhost: Vhost,
    /// The nodes of the broker, each with its host.
    pub brokers: Vec<(Host, Broker)>,
    /// The database that all orchestrators share.
    pub database: Database,
    /// Its server.
    pub postgres: (Host, Postgres),
    asks: AtomicUsize,
    dir: PathBuf,
    _net: Net,
}

/// One orchestrator on its host.
#[derive(Debug)]
pub struct Member {
    /// Its host.
    pub host: Host,
    /// It.
    pub process: Process,
    /// Its API.
    pub api: Api,
}

impl Site {
    /// Starts so many orchestrators and workers, and waits until they share the partitions and take tasks.
    ///
    /// # Errors
    /// Why this machine cannot have several hosts.
    pub async fn start(orchestrators: usize, workers: usize) -> Result<Self> {
        Self::start_with(orchestrators, workers, Minority::Pauses).await
    }

    /// As [`Self::start`], with nodes that do this when they see no majority of them.
    ///
    /// # Errors
    /// Why this machine cannot have several hosts.
    pub async fn start_with(
        orchestrators: usize,
        workers: usize,
        minority: Minority,
    ) -> Result<Self> {
        let net = Net::new()?;
        let mut hosts = Vec::new();
        for _ in 0..BROKERS {
            hosts.push(net.host()?);
        }
        let nodes = Broker::cluster(&hosts, minority).await;
        await_whole(&nodes[0], BROKERS).await;
        let vhost = nodes[0].vhost().await;
        vhost.await_up().await;
        let host = net.host()?;
        let server = Postgres::own(postgres::Options::default().on(host.place())).await;
        let database = server.database().await;
        let ledger = Ledger::start_at(net.gateway()).await;
        let mut site = Self {
            orchestrators: Vec::new(),
            workers: Vec::new(),
            ledger,
            vhost,
            brokers: hosts.into_iter().zip(nodes).collect(),
            database,
            postgres: (host, server),
            asks: AtomicUsize::new(0),
            dir: binaries::fresh_dir("site"),
            _net: net.clone(),
        };
        site.set_up_broker().await;
        for number in 0..orchestrators {
            let member = site.orchestrator(net.host()?, number);
            site.orchestrators.push(member);
        }
        for _ in 0..workers {
            let host = net.host()?;
            let process = site.worker(&host);
            site.workers.push((host, process));
        }
        site.await_shared(orchestrators).await;
        site.await_taken("test.effect@1", workers).await;
        site.await_taken("test.effect-late@1", workers).await;
        Ok(site)
    }

    /// Queues, spread over the nodes, and policies, as an administrator would.
    async fn set_up_broker(&self) {
        self.topology("apply", 0).await.exits(0);
    }

    /// `baton topology WHAT` at one of the nodes, as an administrator.
    pub async fn topology(&self, what: &str, node: usize) -> Ran {
        let url = self.brokers[node].1.management_url();
        let (user, password) = (baton_harness::USER, baton_harness::PASSWORD);
        let url = url.replacen("//", &format!("//{user}:{password}@"), 1);
        let cli = Cli::new("http://127.0.0.1:9", TOKEN, &self.dir);
        let partitions = PARTITIONS.to_string();
        let args = [
            "topology",
            what,
            "--management",
            &url,
            "--vhost",
            self.vhost.name(),
            "--partitions",
            &partitions,
        ];
        cli.run(&args).await
    }

    /// Asks `baton topology check` at one of the nodes until it answers like this: a node that has just lost or found others knows it a moment later.
    pub async fn await_check(&self, node: usize, what: &str, fits: impl Fn(&Ran) -> bool) -> Ran {
        let begun = Instant::now();
        loop {
            let ran = self.topology("check", node).await;
            if fits(&ran) {
                return ran;
            }
            assert!(
                begun.elapsed() < AFTER_A_LEASE,
                "topology check does not say {what}: {ran:?}"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Every node, for whoever connects: the first that answers is taken.
    fn addresses(&self) -> String {
        let url = |(_, node): &(Host, Broker)| self.vhost.url_at(node.address(), node.amqp_port());
        self.brokers.iter().map(url).collect::<Vec<_>>().join(",")
    }

    fn orchestrator(&self, host: Host, number: usize) -> Member {
        let data = self.dir.join(format!("orchestrator-{number}"));
        let listen = format!("{}:{PORT}", host.address());
        let api = Api::at(&format!("http://{listen}"), TOKEN);
        let process = Launch::binary("baton-orchestrator")
            .env("NO_COLOR", "1")
            .env(variable("store.data_dir"), data)
            .env(variable("bus.addresses"), self.addresses())
            .env(variable("bus.reconnect_ms_max"), "1000")
            .env(variable("http.listen"), listen)
            .env(variable("http.token"), TOKEN)
            .env(variable("store.kind"), "postgres")
            .env(
                variable("store.url"),
                format!("{}?sslmode=disable", self.database.url()),
            )
            .env(variable("store.lease_ms"), LEASE_MS)
            .env(variable("store.connect_timeout_ms"), "1000")
            .env(variable("service.instance"), format!("o{number}"))
            .on(&host.place())
            .start();
        Member { host, process, api }
    }

    fn worker(&self, host: &Host) -> Process {
        Launch::binary("baton-worker")
            .env("NO_COLOR", "1")
            .env(variable("bus.addresses"), self.addresses())
            .env(variable("bus.reconnect_ms_max"), "1000")
            .env(variable("http.listen"), "off")
            .env(variable("worker.heartbeat_ms"), "300")
            .env(variable("worker.announce_ms"), "1000")
            .env(variable("worker.grant_ask_ms"), "500")
            .env(variable("worker.kill_grace_ms"), "500")
            .env(variable("processes.term_grace_ms"), "200")
            .env(
                variable("automations.test_effect.ledger_url"),
                self.ledger.url(),
            )
            .on(&host.place())
            .start()
    }

    /// Waits until so many have their share, and all partitions have an owner.
    pub async fn await_shared(&self, members: usize) {
        let what = format!("{members} orchestrators to share the partitions");
        await_some(&what, AFTER_A_LEASE, async || {
            let sql = "SELECT owner, count(*) FROM partitions WHERE lease_until > clock_timestamp() GROUP BY owner";
            let rows = self.rows(sql).await?;
            let shares: Vec<i64> = rows.iter().map(|row| row.get(1)).collect();
            let all: i64 = shares.iter().sum();
            let least = PARTITIONS / i64::try_from(members).ok()?;
            let fair = shares.len() == members && shares.iter().all(|share| *share >= least);
            (fair && all == PARTITIONS).then_some(())
        })
        .await;
    }

    /// Waits until so many workers take from the queue of a type.
    pub async fn await_taken(&self, task_type: &str, workers: usize) {
        let queue = format!("baton.task.default.{task_type}");
        let consumers = u64::try_from(workers).unwrap_or(u64::MAX);
        self.vhost
            .await_consumers(&queue, consumers, AFTER_A_LEASE)
            .await;
    }

    /// Rows of the database; none while it does not answer.
    pub async fn rows(&self, sql: &str) -> Option<Vec<tokio_postgres::Row>> {
        let asked = async {
            let (client, connection) =
                tokio_postgres::connect(&self.database.url(), tokio_postgres::NoTls)
                    .await
                    .ok()?;
            let driven = tokio::spawn(connection);
            let rows = client.query(sql, &[]).await.ok();
            driven.abort();
            rows
        };
        tokio::time::timeout(Duration::from_secs(5), asked)
            .await
            .ok()
            .flatten()
    }

    /// Starts a saga at whoever answers first.
    pub async fn run(&self, definition: &str, name: &str) -> String {
        let body = json!({ "definition": definition, "input": { "name": name } }).to_string();
        let what = format!("{name} to be started by somebody");
        await_some(&what, AFTER_A_LEASE, async || {
            let asks = self.asks.load(Ordering::Relaxed);
            let api = &self.orchestrators[asks % self.orchestrators.len()].api;
            let asked = api.ask("POST", "/v1/sagas", name, Some(body.clone()));
            let answer = tokio::time::timeout(Duration::from_secs(2), asked).await;
            if let Ok(Some(answer)) = answer
                && (200..300).contains(&answer.status)
            {
                return answer.body["id"].as_str().map(str::to_owned);
            }
            // from here on the other one
            self.asks.store(asks + 1, Ordering::Relaxed);
            None
        })
        .await
    }

    /// Starts nodes that were killed, and waits until every node sees every other. They are started side by side and none is waited for by itself: they
    /// come up only when the one that was there last does.
    pub async fn start_again(&self, killed: &[usize]) {
        for at in killed {
            self.brokers[*at].1.begin();
        }
        self.whole_after(killed).await;
    }

    /// Waits until every node sees every other.
    pub async fn await_whole_again(&self) {
        self.whole_after(&[]).await;
    }

    /// Waits until every node sees every other, those of `begun` having just been started. One that pauses as a minority now and then does not come back by
    /// itself (RabbitMQ 3.10), and the others wait for it: whoever runs them starts one again, first one that was there all the time.
    async fn whole_after(&self, begun: &[usize]) {
        let began = Instant::now();
        let mut line: Vec<usize> = (0..self.brokers.len()).collect();
        line.sort_by_key(|at| begun.contains(at));
        let mut helped = began;
        loop {
            let wrong = self.not_whole(&line).await;
            let Some(first) = wrong.first().copied() else {
                return;
            };
            assert!(
                began.elapsed() < WHOLE_LIMIT,
                "nodes {wrong:?} of the broker do not see the others after {WHOLE_LIMIT:?}"
            );
            if let Some(at) = wrong.iter().find(|at| self.brokers[**at].1.has_ended()) {
                self.help(*at);
            } else if helped.elapsed() > FIND_EACH_OTHER {
                self.help(first);
                // the next time it is another's turn
                line.retain(|other| *other != first);
                line.push(first);
                helped = Instant::now();
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The nodes that are not well, in this order: those that take no connections; where all do, those that do not see all others.
    async fn not_whole(&self, line: &[usize]) -> Vec<usize> {
        let (mut away, mut alone) = (Vec::new(), Vec::new());
        for at in line {
            let node = &self.brokers[*at].1;
            if !node.is_ready().await {
                away.push(*at);
            } else if !is_whole(node, self.brokers.len()).await {
                alone.push(*at);
            }
        }
        if away.is_empty() { alone } else { away }
    }

    fn help(&self, at: usize) {
        let node = &self.brokers[at].1;
        eprintln!(
            "{} does not come back by itself and is started again",
            node.address()
        );
        node.kill9();
        node.begin();
    }

    /// Waits until every orchestrator says that nothing is wrong.
    pub async fn await_ready(&self) {
        for member in &self.orchestrators {
            let what = format!("{} to be ready", member.api.url());
            await_some(&what, AFTER_A_LEASE * 2, async || {
                let answer = member.api.ask("GET", "/readyz", "", None).await?;
                (answer.body.as_str()?.trim() == "ok").then_some(())
            })
            .await;
        }
    }
}

/// Waits until a node sees so many nodes of its broker run.
pub async fn await_whole(node: &Broker, nodes: usize) {
    let what = format!("{} to see {nodes} nodes", node.address());
    await_until(&what, AFTER_A_LEASE * 2, async || {
        is_whole(node, nodes).await
    })
    .await;
}

/// Whether a node sees so many nodes of its broker run.
async fn is_whole(node: &Broker, nodes: usize) -> bool {
    let seen = node.management().try_get("/api/nodes").await;
    let running = seen.ok().and_then(|seen| {
        let seen = seen.as_array()?.iter();
        Some(seen.filter(|one| one["running"] == true).count())
    });
    running == Some(nodes)
}

impl Drop for Site {
    fn drop(&mut self) {
        self.orchestrators.clear();
        self.workers.clear();
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
