//! Several hosts: three nodes of one broker, a database, orchestrators and workers, each on a host of its own, whose link can be cut. Where this machine has no hosts to
//! give, that is said, and all of it runs on loopback: relays stand in place of links.
#![expect(
    clippy::print_stderr,
    reason = "that a node had to be helped is a figure people read"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use baton_harness::{
    Broker, Database, Direction, Host, Launch, Ledger, Minority, Net, Place, Postgres, Process,
    Proxy, Vhost, await_some, await_until, binaries, not_tested, postgres,
};
use serde_json::json;

use crate::system::{TOKEN, free_port, variable};
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
/// Set to anything, it has every site on this machine's own loopback, as one is where there are no hosts to be had.
pub const LOOPBACK_ENV: &str = "BATON_SITES_ON_LOOPBACK";

/// Where something runs, and what its link can suffer.
#[derive(Debug)]
pub enum Spot {
    /// A host of its own.
    Host(Host),
    /// This machine's loopback, where these relays lead to it, or away from it.
    Relays(Vec<Arc<Proxy>>),
}

impl Spot {
    /// Cuts its link: nothing comes or goes, and nobody is told.
    pub fn cut(&self) {
        match self {
            Self::Host(host) => host.cut(),
            Self::Relays(relays) => relays.iter().for_each(|relay| relay.hold(Direction::Both)),
        }
    }

    /// Heals its link.
    pub fn heal(&self) {
        match self {
            Self::Host(host) => host.heal(),
            Self::Relays(relays) => relays.iter().for_each(|relay| relay.resume()),
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::Host(host) => host.place(),
            Self::Relays(_) => Place::default(),
        }
    }
}

/// Relays of one client: to each node of the broker, then to the database.
type Relays = Vec<Arc<Proxy>>;

/// All of it. Fields end in this order: processes before what they use.
#[derive(Debug)]
pub struct Site {
    /// Who drives sagas.
    pub orchestrators: Vec<Member>,
    /// Who acts.
    pub workers: Vec<(Spot, Process)>,
    /// What was done to the world; on this machine's own end of the network.
    pub ledger: Ledger,
    /// The virtual host.
    pub vhost: Vhost,
    /// The nodes of the broker, each with its host.
    pub brokers: Vec<(Spot, Broker)>,
    /// The database that all orchestrators share.
    pub database: Database,
    /// Its server.
    pub postgres: (Spot, Postgres),
    asks: AtomicUsize,
    dir: PathBuf,
    _net: Option<Net>,
}

/// One orchestrator on its host.
#[derive(Debug)]
pub struct Member {
    /// Its host.
    pub host: Spot,
    /// It.
    pub process: Process,
    /// Its API.
    pub api: Api,
}

/// What a site stands on: the nodes of its broker, its database, and who is to be started.
struct Ground {
    net: Option<Net>,
    nodes: Vec<(Spot, Broker)>,
    postgres: (Spot, Postgres),
    ledger: Ledger,
    /// Each with its relays, where it has no host of its own.
    clients: Vec<(Spot, Relays)>,
}

impl Ground {
    /// A host for everything.
    async fn of_hosts(net: Net, clients: usize, minority: Minority) -> Result<Self> {
        let mut hosts = Vec::new();
        for _ in 0..BROKERS {
            hosts.push(net.host()?);
        }
        let host = net.host()?;
        let mut spots = Vec::new();
        for _ in 0..clients {
            spots.push((Spot::Host(net.host()?), Relays::new()));
        }
        let nodes = Broker::cluster(&hosts, minority).await;
        let server = Postgres::own(postgres::Options::default().on(host.place())).await;
        let ledger = Ledger::start_at(net.gateway()).await;
        Ok(Self {
            net: Some(net),
            nodes: hosts.into_iter().map(Spot::Host).zip(nodes).collect(),
            postgres: (Spot::Host(host), server),
            ledger,
            clients: spots,
        })
    }

    /// All of it on loopback. A client reaches the broker and the database through relays of its own: they are cut where a link would be, and the nodes of the broker
    /// see each other all the time.
    async fn of_loopback(clients: usize, minority: Minority) -> Self {
        let nodes = Broker::cluster_here(BROKERS, minority).await;
        let server = Postgres::own(postgres::Options::default()).await;
        let mut ports: Vec<u16> = nodes.iter().map(Broker::amqp_port).collect();
        ports.push(server.port());
        let mut of_clients: Vec<Relays> = Vec::new();
        for _ in 0..clients {
            let mut relays = Relays::new();
            for port in &ports {
                relays.push(Arc::new(Proxy::to_port(*port).await));
            }
            of_clients.push(relays);
        }
        let leading_to = |place: usize| {
            let relays = of_clients.iter().filter_map(|of| of.get(place).cloned());
            Spot::Relays(relays.collect())
        };
        let nodes = nodes.into_iter().enumerate();
        Self {
            net: None,
            nodes: nodes
                .map(|(place, node)| (leading_to(place), node))
                .collect(),
            postgres: (leading_to(BROKERS), server),
            ledger: Ledger::start().await,
            clients: of_clients
                .iter()
                .map(|relays| (Spot::Relays(relays.clone()), relays.clone()))
                .collect(),
        }
    }
}

/// Hosts of the test's own, unless this machine has none or they are not wanted.
fn hosts() -> Result<Net> {
    ensure!(
        std::env::var_os(LOOPBACK_ENV).is_none(),
        "{LOOPBACK_ENV} is set"
    );
    Net::new()
}

impl Site {
    /// Starts so many orchestrators and workers, and waits until they share the partitions and take tasks. Where this machine has no hosts to give, that is said, and all of
    /// it runs on loopback.
    pub async fn start(orchestrators: usize, workers: usize) -> Self {
        Self::start_with(orchestrators, workers, Minority::Pauses).await
    }

    /// As [`Self::start`], with nodes that do this when they see no majority of them.
    pub async fn start_with(orchestrators: usize, workers: usize, minority: Minority) -> Self {
        let clients = orchestrators + workers;
        let ground = match hosts() {
            Ok(net) => Ground::of_hosts(net, clients, minority).await,
            Err(why) => Err(why),
        };
        let ground = match ground {
            Ok(ground) => ground,
            Err(why) => {
                let what =
                    "nodes of a broker that lose sight of each other, and links of whole hosts";
                not_tested(&format!(
                    "{what}: {why:#}; all of it runs on loopback, with relays in place of links"
                ));
                Ground::of_loopback(clients, minority).await
            }
        };
        Self::on(ground, orchestrators).await
    }

    /// As [`Self::start`], on loopback, whatever this machine has to give.
    pub async fn start_on_loopback(orchestrators: usize, workers: usize) -> Self {
        let clients = orchestrators + workers;
        let ground = Ground::of_loopback(clients, Minority::Pauses).await;
        Self::on(ground, orchestrators).await
    }

    async fn on(ground: Ground, orchestrators: usize) -> Self {
        await_whole(&ground.nodes[0].1, BROKERS).await;
        let vhost = ground.nodes[0].1.vhost().await;
        vhost.await_up().await;
        let mut site = Self {
            orchestrators: Vec::new(),
            workers: Vec::new(),
            ledger: ground.ledger,
            vhost,
            brokers: ground.nodes,
            database: ground.postgres.1.database().await,
            postgres: ground.postgres,
            asks: AtomicUsize::new(0),
            dir: binaries::fresh_dir("site"),
            _net: ground.net,
        };
        site.set_up_broker().await;
        for (number, (spot, relays)) in ground.clients.into_iter().enumerate() {
            if number < orchestrators {
                let member = site.orchestrator(spot, &relays, number);
                site.orchestrators.push(member);
            } else {
                let process = site.worker(&spot, &relays);
                site.workers.push((spot, process));
            }
        }
        let workers = site.workers.len();
        site.await_shared(orchestrators).await;
        site.await_taken("test.effect@1", workers).await;
        site.await_taken("test.effect-late@1", workers).await;
        site
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
    fn addresses(&self, relays: &[Arc<Proxy>]) -> String {
        let url = |(place, (_, node)): (usize, &(Spot, Broker))| match relays.get(place) {
            Some(relay) => self.vhost.url_through(relay.port()),
            None => self.vhost.url_at(node.address(), node.amqp_port()),
        };
        let urls = self.brokers.iter().enumerate().map(url);
        urls.collect::<Vec<_>>().join(",")
    }

    fn database_url(&self, relays: &[Arc<Proxy>]) -> String {
        let url = match relays.get(BROKERS) {
            Some(relay) => self.database.url_through(relay.port()),
            None => self.database.url(),
        };
        format!("{url}?sslmode=disable")
    }

    fn orchestrator(&self, host: Spot, relays: &[Arc<Proxy>], number: usize) -> Member {
        let data = self.dir.join(format!("orchestrator-{number}"));
        let port = match &host {
            Spot::Host(_) => PORT,
            Spot::Relays(_) => free_port(),
        };
        let listen = format!("{}:{port}", host.place().address());
        let api = Api::at(&format!("http://{listen}"), TOKEN);
        let process = Launch::binary("baton-orchestrator")
            .env("NO_COLOR", "1")
            .env(variable("store.data_dir"), data)
            .env(variable("bus.addresses"), self.addresses(relays))
            .env(variable("bus.reconnect_ms_max"), "1000")
            .env(variable("http.listen"), listen)
            .env(variable("http.token"), TOKEN)
            .env(variable("store.kind"), "postgres")
            .env(variable("store.url"), self.database_url(relays))
            .env(variable("store.lease_ms"), LEASE_MS)
            .env(variable("store.connect_timeout_ms"), "1000")
            .env(variable("service.instance"), format!("o{number}"))
            .on(&host.place())
            .start();
        Member { host, process, api }
    }

    fn worker(&self, host: &Spot, relays: &[Arc<Proxy>]) -> Process {
        Launch::binary("baton-worker")
            .env("NO_COLOR", "1")
            .env(variable("bus.addresses"), self.addresses(relays))
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
