//! Baton as it is deployed: one orchestrator on SQLite, or one or several on PostgreSQL, and one worker, processes of their own, in release mode, on a
//! virtual host of their own. This process only asks for sagas over the bus, as an outside service would, and looks.
//!
//! How it looks is chosen so that the orchestrator is not loaded by it: a second reader of the database sees the counts
//! that every commit keeps. What it sees is committed, and exact.

mod alone;
mod definition;
mod items;
mod letters;
mod requests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use baton_engine::Status;
use baton_harness::{Database, Launch, Process, await_until, binaries};
use baton_store::{
    AnyReader, Layout, PostgresOptions, PostgresReader, Reader as _, SqliteOptions, SqliteReader,
};
use serde_json::Value;

use crate::cpu::{Cpu, Memory};
use crate::options::Options;
pub(crate) use alone::Alone;
pub(crate) use definition::{Sizes, sizes};
pub(crate) use items::{ItemsRun, Share};
use requests::Requests;

/// The token of the API.
const TOKEN: &str = "the-token-of-the-bench";
/// Time for a process to be ready; two cores may be busy.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How often the counts are read while a run is under way: often enough that the window is never more than a few
/// percent below what was asked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A run in which no saga ends for so long is broken.
const STALL_LIMIT: Duration = Duration::from_secs(60);
/// What counts the tasks that left in a message with others.
const TOGETHER: &str = "baton_orchestrator_tasks_together_total";
/// How long that is waited for: a few heartbeats of the worker, and what an orchestrator waits until it has heard everybody.
const SETTLE_LIMIT: Duration = Duration::from_secs(20);
/// How often it is looked, and with how many sagas each time.
const SETTLE_EVERY: Duration = Duration::from_secs(1);
const SETTLE_SAGAS: usize = 100;
/// The largest page of the API.
const PAGE: usize = 500;

/// What one run gave.
#[derive(Debug, Clone)]
pub(crate) struct BatonRun {
    pub(crate) steps: usize,
    /// From before the first request is published until the last saga is seen completed.
    pub(crate) took: Duration,
    /// Each of them.
    pub(crate) orchestrators: Vec<Cpu>,
    pub(crate) worker: Cpu,
    /// This process: asks and looks.
    pub(crate) asking: Cpu,
    pub(crate) orchestrator_memory: Memory,
    pub(crate) worker_memory: Memory,
    /// Size of the database at the end, in bytes.
    pub(crate) db_bytes: u64,
}

impl BatonRun {
    pub(crate) fn steps_per_s(&self) -> f64 {
        self.steps as f64 / self.took.as_secs_f64()
    }
}

/// A running Baton. Fields end in this order: processes before their folder.
pub(crate) struct Baton {
    orchestrators: Vec<Process>,
    worker: Process,
    requests: Requests,
    reader: AnyReader,
    looks: Looks,
    http: reqwest::Client,
    url: String,
    steps: usize,
    dir: PathBuf,
    /// Gone when this is.
    _database: Option<Database>,
}

impl Baton {
    /// Starts every process, registers the definition and waits until its task type is served. Without a database the store is a SQLite file.
    pub(crate) async fn start(
        amqp: &str,
        options: &Options,
        orchestrators: usize,
        database: Option<Database>,
    ) -> Result<Self> {
        let dir = binaries::fresh_dir("bench");
        let mut started = Vec::with_capacity(orchestrators);
        let mut first = None;
        for number in 0..orchestrators {
            let data_dir = dir.join(format!("data-{number}"));
            let (process, url) = orchestrator(amqp, options, &data_dir, database.as_ref()).await?;
            started.push(process);
            first.get_or_insert((url, data_dir));
        }
        let (url, data_dir) = first.context("no orchestrator")?;
        let launch = Launch::binary("baton-worker")
            .env("BATON__BUS__ADDRESSES", amqp)
            .env("BATON__HTTP__LISTEN", "off")
            .env("BATON__WORKER__TYPES", definition::TASK_TYPE)
            .env(
                "BATON__WORKER__CONCURRENCY",
                options.concurrency.to_string(),
            );
        let worker = with_all(launch, &options.worker_env).start();
        let (reader, looks) = match &database {
            Some(database) => {
                let options = PostgresOptions {
                    url: database.url(),
                    ..PostgresOptions::default()
                };
                let reader = PostgresReader::open(&options).await?;
                let looks = Looks::Postgres(Box::new(database.client().await));
                (AnyReader::Postgres(reader), looks)
            }
            None => {
                let file = data_dir.join("baton.db");
                let reader = SqliteReader::open(file, &SqliteOptions::default())?;
                (AnyReader::Sqlite(reader), Looks::Sqlite)
            }
        };
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(READY_LIMIT)
            .build()?;
        let layout = match &looks {
            Looks::Sqlite => Layout::one(),
            Looks::Postgres(client) => layout(client).await?,
        };
        let requests = Requests::open(amqp, options.payload_bytes, layout).await?;
        let steps = options.steps;
        let baton = Self {
            orchestrators: started,
            worker,
            requests,
            reader,
            looks,
            http,
            url,
            steps,
            dir,
            _database: database,
        };
        await_until("the worker to be heard of", READY_LIMIT, async || {
            let workers = baton.get("/v1/workers").await;
            workers.is_ok_and(|workers| workers.to_string().contains(definition::TASK_TYPE))
        })
        .await;
        baton.register().await?;
        Ok(baton)
    }

    /// Process ids of the orchestrators.
    pub(crate) fn orchestrators(&self) -> Vec<u32> {
        self.orchestrators.iter().map(Process::pid).collect()
    }

    /// Process id of the worker.
    pub(crate) fn worker(&self) -> u32 {
        self.worker.pid()
    }

    /// Has sagas run until everything is as it stays: caches are filled, and the worker has shown by its heartbeats how many of its tasks suit it in one message, if the
    /// settings have it. Says how many ran.
    pub(crate) async fn warm(&self, in_flight: usize) -> Result<usize> {
        self.run(in_flight, in_flight).await?;
        let mut ran = in_flight;
        let since = Instant::now();
        while self.sent_together().await? == 0 && since.elapsed() < SETTLE_LIMIT {
            tokio::time::sleep(SETTLE_EVERY).await;
            let some = in_flight.min(SETTLE_SAGAS);
            self.run(some, some).await?;
            ran += some;
        }
        Ok(ran)
    }

    /// Tasks that left in a message with others so far.
    async fn sent_together(&self) -> Result<u64> {
        let asked = self.http.get(format!("{}/metrics", self.url));
        let text = asked.send().await?.error_for_status()?.text().await?;
        let line = text.lines().find_map(|line| line.strip_prefix(TOGETHER));
        let number = line.map(|rest| rest.trim().parse()).transpose()?;
        Ok(number.unwrap_or(0))
    }

    /// Has so many sagas run, at most `in_flight` of them at a time, and waits until each of them has completed.
    pub(crate) async fn run(&self, sagas: usize, in_flight: usize) -> Result<BatonRun> {
        let before = self.ended().await?;
        let (orchestrators, worker) = (
            Cpu::of_each(self.orchestrators())?,
            Cpu::of(self.worker.pid())?,
        );
        let asking = Cpu::own()?;
        let started = Instant::now();
        let mut last_end = started;
        let (mut asked, mut ended) = (0, 0);
        while ended < sagas {
            let wanted = sagas.min(ended + in_flight);
            if wanted > asked {
                self.requests.ask_for(wanted - asked).await?;
                asked = wanted;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            let now_ended = self.ended().await? - before;
            if now_ended > ended {
                (ended, last_end) = (now_ended, Instant::now());
            }
            ensure!(
                last_end.elapsed() < STALL_LIMIT,
                "{ended} of {asked} sagas have ended, and none in the last {STALL_LIMIT:?}"
            );
        }
        let took = last_end - started;
        let counts = self.reader.counts().await?;
        Ok(BatonRun {
            steps: sagas * self.steps,
            took,
            orchestrators: Cpu::of_each(self.orchestrators())?
                .into_iter()
                .zip(orchestrators)
                .map(|(now, before)| now.since(before))
                .collect(),
            worker: Cpu::of(self.worker.pid())?.since(worker),
            asking: Cpu::own()?.since(asking),
            orchestrator_memory: Memory::of_largest(self.orchestrators())?,
            worker_memory: Memory::of(self.worker.pid())?,
            db_bytes: counts.db_bytes,
        })
    }

    /// Asks the API for every saga and fails unless there are so many, all completed, and nothing was left over.
    pub(crate) async fn check(&self, sagas: usize) -> Result<()> {
        let mut completed = 0;
        let mut next = String::new();
        loop {
            let page = self.get(&format!("/v1/sagas?limit={PAGE}{next}")).await?;
            let rows = page["sagas"]
                .as_array()
                .context("the API gave no list of sagas")?;
            let all = rows
                .iter()
                .filter(|row| row["status"] == "completed")
                .count();
            ensure!(all == rows.len(), "not every saga is completed: {page}");
            completed += all;
            match page["next"].as_str() {
                Some(cursor) => next = format!("&cursor={cursor}"),
                None => break,
            }
        }
        ensure!(
            completed == sagas,
            "{completed} sagas are completed, {sagas} were asked for"
        );
        let counts = self.reader.counts().await?;
        ensure!(
            (counts.dead_letters, counts.work_items_open) == (0, 0),
            "something went wrong on the way: {counts:?}"
        );
        Ok(())
    }

    /// Ends every process in order and removes their folder.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.worker.sigterm_and_wait(READY_LIMIT).await;
        for orchestrator in &mut self.orchestrators {
            orchestrator.sigterm_and_wait(READY_LIMIT).await;
        }
        self.requests.close().await?;
        std::fs::remove_dir_all(&self.dir)
            .with_context(|| format!("cannot remove {}", self.dir.display()))
    }

    /// Sagas that have completed so far, as committed. Fails when one went another way.
    async fn ended(&self) -> Result<usize> {
        let sagas = match &self.looks {
            Looks::Sqlite => self.reader.counts().await?.sagas,
            Looks::Postgres(client) => counts_alone(client).await?,
        };
        let strays: Vec<_> = sagas
            .iter()
            .filter(|(status, n)| **n > 0 && !matches!(status, Status::Running | Status::Completed))
            .collect();
        if !strays.is_empty() {
            bail!(
                "sagas went another way than to completed: {strays:?}\n{}",
                self.orchestrators
                    .iter()
                    .map(|one| tail(&one.log()))
                    .collect::<Vec<_>>()
                    .join("\n\n")
            );
        }
        Ok(usize::try_from(
            sagas.get(&Status::Completed).copied().unwrap_or_default(),
        )?)
    }

    async fn register(&self) -> Result<()> {
        self.register_text(definition::yaml(self.steps)).await
    }

    async fn register_text(&self, yaml: String) -> Result<()> {
        let asked = self
            .http
            .put(format!("{}/v1/definitions", self.url))
            .bearer_auth(TOKEN)
            .header("content-type", "application/yaml")
            .body(yaml);
        let answer = asked.send().await?;
        let (status, body) = (answer.status(), answer.text().await?);
        ensure!(
            status.is_success(),
            "the definition is refused: {status} {body}"
        );
        Ok(())
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let asked = self
            .http
            .get(format!("{}{path}", self.url))
            .bearer_auth(TOKEN);
        let answer = asked.send().await?.error_for_status()?;
        Ok(serde_json::from_str(&answer.text().await?)?)
    }
}

/// How the counts are looked at many times a second.
enum Looks {
    /// By the reader: the counts are in its own memory of the file.
    Sqlite,
    /// By a query of these rows alone: what the reader adds, the size of the database, is asked of every file it has.
    Postgres(Box<tokio_postgres::Client>),
}

async fn counts_alone(client: &tokio_postgres::Client) -> Result<BTreeMap<Status, u64>> {
    const SQL: &str =
        "SELECT substr(name, 6), sum(n)::bigint FROM counts WHERE name LIKE 'saga.%' GROUP BY name";
    let rows = client.query_typed(SQL, &[]).await?;
    let mut sagas = BTreeMap::new();
    for row in rows {
        let word: &str = row.try_get(0)?;
        let status = serde_json::from_value(Value::String(word.to_owned()))?;
        sagas.insert(status, u64::try_from(row.try_get::<_, i64>(1)?)?);
    }
    Ok(sagas)
}

/// Which partition has which saga, as the database was laid out.
async fn layout(client: &tokio_postgres::Client) -> Result<Layout> {
    let sql = "SELECT partition FROM slices ORDER BY slice";
    let rows = client.query_typed(sql, &[]).await?;
    let partitions = rows.iter().map(|row| row.try_get(0));
    let partitions = partitions.collect::<std::result::Result<Vec<i16>, _>>()?;
    Layout::read(&partitions).context("the database has no layout")
}

/// One orchestrator, ready, and where its API is.
async fn orchestrator(
    amqp: &str,
    options: &Options,
    data_dir: &Path,
    database: Option<&Database>,
) -> Result<(Process, String)> {
    let listen = format!("127.0.0.1:{}", free_port()?);
    let url = format!("http://{listen}");
    let mut launch = Launch::binary("baton-orchestrator")
        .env("BATON__STORE__DATA_DIR", data_dir)
        .env("BATON__BUS__ADDRESSES", amqp)
        .env("BATON__HTTP__LISTEN", &listen)
        .env("BATON__HTTP__TOKEN", TOKEN);
    if let Some(database) = database {
        launch = launch
            .env("BATON__STORE__KIND", "postgres")
            .env("BATON__STORE__URL", database.url());
        if let Some(partitions) = options.partitions {
            launch = launch.env("BATON__STORE__PARTITIONS", partitions.to_string());
        }
    }
    let mut process = with_all(launch, &options.orchestrator_env).start();
    process
        .wait_for_http(&format!("{url}/readyz"), READY_LIMIT)
        .await;
    Ok((process, url))
}

fn with_all(launch: Launch, env: &[String]) -> Launch {
    env.iter()
        .filter_map(|pair| pair.split_once('='))
        .fold(launch, |launch, (key, value)| launch.env(key, value))
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}

/// The end of a log.
fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
