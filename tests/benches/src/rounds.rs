//! The order of measuring: reference, Baton, reference, and again, so that each run of Baton has a reference just before
//! and just after it. A machine that is shared swings by a factor of two within minutes; only such neighbours compare.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use baton_harness::postgres::Options as PostgresOptions;
use baton_harness::{Broker, Database, Options as BrokerOptions, Postgres, Vhost};
use serde::Serialize;

use crate::baton::{Alone, Baton, BatonRun};
use crate::cpu::{Cpu, Memory};
use crate::figures::Latency;
use crate::options::Options;
use crate::raw::{Raw, RawRun};

/// Where it is measured: a private broker, or one that was named.
pub(crate) struct Place {
    broker: Option<Broker>,
    url: Option<String>,
    postgres: Option<Postgres>,
}

/// One run of the reference.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Reference {
    pub(crate) connections: usize,
    pub(crate) steps_per_s: f64,
    pub(crate) trip: Latency,
    /// CPU seconds for 10,000 steps.
    pub(crate) cpu_orchestrator: f64,
    pub(crate) cpu_worker: f64,
    pub(crate) cpu_broker: Option<f64>,
}

/// One run of Baton.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) steps_per_s: f64,
    pub(crate) sagas_per_s: f64,
    /// CPU seconds for 10,000 steps, of all orchestrators together.
    pub(crate) cpu_orchestrator: f64,
    /// Of each of them.
    pub(crate) cpu_orchestrators: Vec<f64>,
    pub(crate) cpu_worker: f64,
    pub(crate) cpu_broker: Option<f64>,
    /// Of PostgreSQL, which also answers this process.
    pub(crate) cpu_postgres: Option<f64>,
    /// Of this process, which asks for the sagas and watches.
    pub(crate) cpu_asking: f64,
    pub(crate) orchestrator_memory: Memory,
    pub(crate) worker_memory: Memory,
    pub(crate) db_bytes: u64,
}

/// A reference, then each way to run Baton with a reference after it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round {
    pub(crate) before: Reference,
    pub(crate) runs: Vec<Run>,
    /// The reference on two connections, for context.
    pub(crate) two_connections: Reference,
}

/// Baton, and the reference after it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    pub(crate) way: Way,
    pub(crate) baton: Measured,
    pub(crate) after: Reference,
    /// Baton's rate divided by the mean of the two references beside it.
    pub(crate) ratio: f64,
}

/// One way to run Baton.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Way {
    pub(crate) store: Store,
    pub(crate) orchestrators: usize,
}

impl Way {
    /// Those that are asked for, in the order they are run.
    pub(crate) fn all(options: &Options) -> Vec<Self> {
        let sqlite = Self {
            store: Store::Sqlite,
            orchestrators: 1,
        };
        let postgres = options.orchestrators.iter().map(|of| Self {
            store: Store::Postgres,
            orchestrators: *of,
        });
        let sqlite = (!options.without_sqlite).then_some(sqlite);
        let postgres = options.postgres.then_some(postgres);
        sqlite
            .into_iter()
            .chain(postgres.into_iter().flatten())
            .collect()
    }

    /// In a table.
    pub(crate) fn name(self) -> String {
        match (self.store, self.orchestrators) {
            (Store::Sqlite, _) => "Baton".to_owned(),
            (Store::Postgres, 1) => "Baton on PostgreSQL".to_owned(),
            (Store::Postgres, more) => format!("... {more} orchestrators"),
        }
    }
}

/// Where an orchestrator keeps what is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Store {
    Sqlite,
    Postgres,
}

/// Latency with nothing else to do.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct AloneFigures {
    /// As many raw steps in sequence as a saga has.
    pub(crate) raw: Latency,
    pub(crate) sagas: Vec<SagasAlone>,
}

/// Sagas one at a time.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct SagasAlone {
    pub(crate) way: Way,
    pub(crate) seen: Latency,
    pub(crate) recorded: Latency,
}

impl Place {
    /// Starts a broker unless one is named. Its statistics and its log of writes are as a broker has them by default,
    /// not as quick as tests want them.
    pub(crate) async fn find(asked: &Options) -> Self {
        let postgres = match asked.postgres {
            // as durable as it is by default, and with the memory it has by default
            true => Some(
                Postgres::own(PostgresOptions::default().config("shared_buffers = 128MB")).await,
            ),
            false => None,
        };
        if let Some(url) = &asked.amqp {
            return Self {
                broker: None,
                url: Some(url.clone()),
                postgres,
            };
        }
        let options = BrokerOptions::default()
            .config("collect_statistics_interval = 5000")
            .config("raft.wal_max_size_bytes = 536870912");
        Self {
            broker: Some(Broker::own(options).await),
            url: None,
            postgres,
        }
    }

    /// A virtual host for one run, gone with it; of a named broker always the named one.
    pub(crate) async fn fresh(&self) -> Result<(Option<Vhost>, String)> {
        match (&self.broker, &self.url) {
            (Some(broker), _) => {
                let vhost = broker.vhost().await;
                let url = vhost.url();
                Ok((Some(vhost), url))
            }
            (None, url) => Ok((None, url.clone().context("no broker")?)),
        }
    }

    /// A database for one run, where it is one on PostgreSQL.
    pub(crate) async fn database(&self, store: Store) -> Result<Option<Database>> {
        match store {
            Store::Sqlite => Ok(None),
            Store::Postgres => {
                let server = self.postgres.as_ref().context("no PostgreSQL")?;
                Ok(Some(server.database().await))
            }
        }
    }

    /// What PostgreSQL has used, where it is measured on it.
    fn cpu_of_postgres(&self, store: Store) -> Result<Option<Cpu>> {
        let pid = match store {
            Store::Sqlite => None,
            Store::Postgres => self.postgres.as_ref().map(Postgres::pid),
        };
        pid.map(Cpu::with_children).transpose()
    }

    fn cpu(&self) -> Result<Option<Cpu>> {
        self.broker
            .as_ref()
            .and_then(Broker::pid)
            .map(Cpu::of)
            .transpose()
    }

    /// What the broker has used since then, for 10,000 of so many steps.
    fn cpu_since(&self, before: Option<Cpu>, steps: usize) -> Result<Option<f64>> {
        Ok(self
            .cpu()?
            .zip(before)
            .map(|(now, before)| now.since(before).per_10k(steps)))
    }

    /// One run of the reference, warm.
    pub(crate) async fn reference(
        &self,
        options: &Options,
        connections: usize,
    ) -> Result<Reference> {
        let (vhost, url) = self.fresh().await?;
        let raw = Raw::start(&url, connections).await?;
        raw.run(options.in_flight, options.in_flight).await?;
        let before = self.cpu()?;
        let run = raw.run(options.steps_in_a_run(), options.in_flight).await?;
        let cpu_broker = self.cpu_since(before, run.steps)?;
        raw.end().await?;
        self.forget(vhost).await;
        Ok(Reference::of(&run, connections, cpu_broker))
    }

    /// One run of Baton, warm and checked.
    pub(crate) async fn baton(
        &self,
        options: &Options,
        way: Way,
        profile: bool,
    ) -> Result<Measured> {
        let (vhost, url) = self.fresh().await?;
        let database = self.database(way.store).await?;
        let baton = Baton::start(&url, options, way.orchestrators, database).await?;
        let warmed = baton.warm(options.in_flight).await?;
        if let Some(pause) = options.profile.filter(|_| profile) {
            say(&format!(
                "orchestrators {:?}, worker {}; going on in {pause:?}",
                baton.orchestrators(),
                baton.worker()
            ))?;
            tokio::time::sleep(pause).await;
        }
        let (before, postgres) = (self.cpu()?, self.cpu_of_postgres(way.store)?);
        let run = baton.run(options.sagas, options.in_flight).await?;
        let cpu_broker = self.cpu_since(before, run.steps)?;
        let cpu_postgres = self
            .cpu_of_postgres(way.store)?
            .zip(postgres)
            .map(|(now, before)| now.since(before).per_10k(run.steps));
        baton.check(warmed + options.sagas).await?;
        baton.end().await?;
        self.forget(vhost).await;
        Ok(Measured::of(&run, options.steps, cpu_broker, cpu_postgres))
    }

    /// Sagas and raw steps with nothing else to do.
    pub(crate) async fn alone(&self, options: &Options) -> Result<AloneFigures> {
        let (vhost, url) = self.fresh().await?;
        let raw = Raw::start(&url, 1).await?;
        raw.run(options.steps, 1).await?;
        let run = raw.run(options.alone * options.steps, 1).await?;
        raw.end().await?;
        self.forget(vhost).await;
        let mut sagas = Vec::new();
        for way in Way::all(options) {
            sagas.push(self.sagas_alone(options, way).await?);
        }
        Ok(AloneFigures {
            raw: Latency::of(
                run.trips
                    .chunks(options.steps)
                    .map(|trips| trips.iter().sum()),
            ),
            sagas,
        })
    }

    async fn sagas_alone(&self, options: &Options, way: Way) -> Result<SagasAlone> {
        let (vhost, url) = self.fresh().await?;
        let database = self.database(way.store).await?;
        let baton = Baton::start(&url, options, way.orchestrators, database).await?;
        baton.alone(1).await?;
        let Alone { seen, recorded } = baton.alone(options.alone).await?;
        baton.end().await?;
        self.forget(vhost).await;
        Ok(SagasAlone {
            way,
            seen: Latency::of(seen),
            recorded: Latency::of(recorded),
        })
    }

    /// Deletes a virtual host, so that what its queues hold does not weigh on the next run.
    pub(crate) async fn forget(&self, vhost: Option<Vhost>) {
        if let (Some(broker), Some(vhost)) = (&self.broker, vhost) {
            broker.ctl(&["delete_vhost", vhost.name()]).await;
        }
    }
}

/// Every round.
pub(crate) async fn run(place: &Place, options: &Options) -> Result<Vec<Round>> {
    let ways = Way::all(options);
    let mut rounds = Vec::with_capacity(options.pairs);
    for number in 1..=options.pairs {
        let before = place.reference(options, 1).await?;
        let mut last = before.clone();
        let mut runs = Vec::with_capacity(ways.len());
        for (place_in_round, way) in ways.iter().enumerate() {
            let profile = (number, place_in_round) == (1, 0);
            let baton = place.baton(options, *way, profile).await?;
            let after = place.reference(options, 1).await?;
            let ratio = ratio(&baton, [&last, &after]);
            say(&format!(
                "round {number} of {}: {} {:.0}, references {:.0} and {:.0} steps/s: ratio {ratio:.2}",
                options.pairs,
                way.name(),
                baton.steps_per_s,
                last.steps_per_s,
                after.steps_per_s
            ))?;
            last = after.clone();
            runs.push(Run {
                way: *way,
                baton,
                after,
                ratio,
            });
        }
        rounds.push(Round {
            before,
            runs,
            two_connections: place.reference(options, 2).await?,
        });
    }
    Ok(rounds)
}

fn ratio(baton: &Measured, [before, after]: [&Reference; 2]) -> f64 {
    baton.steps_per_s / f64::midpoint(before.steps_per_s, after.steps_per_s)
}

impl Reference {
    fn of(run: &RawRun, connections: usize, cpu_broker: Option<f64>) -> Self {
        Self {
            connections,
            steps_per_s: run.steps_per_s(),
            trip: Latency::of(run.trips.iter().copied()),
            cpu_orchestrator: run.orchestrator.per_10k(run.steps),
            cpu_worker: run.worker.per_10k(run.steps),
            cpu_broker,
        }
    }
}

/// Cores that were in use at once, on the average of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cores {
    /// Who, and how many cores.
    pub(crate) of: Vec<(String, f64)>,
}

impl Cores {
    /// All of them.
    pub(crate) fn sum(&self) -> f64 {
        self.of.iter().map(|(_, cores)| cores).sum()
    }

    /// Who uses most.
    pub(crate) fn most(&self) -> Option<&(String, f64)> {
        self.of.iter().max_by(|(_, a), (_, b)| a.total_cmp(b))
    }
}

impl Measured {
    /// What each process used while the run lasted.
    pub(crate) fn cores(&self) -> Cores {
        let orchestrators = self.cpu_orchestrators.iter().zip(1..);
        let several = self.cpu_orchestrators.len() > 1;
        let named = orchestrators.map(|(cpu, n)| match several {
            true => (format!("orchestrator {n}"), Some(*cpu)),
            false => ("orchestrator".to_owned(), Some(*cpu)),
        });
        let others = [
            ("worker", Some(self.cpu_worker)),
            ("broker", self.cpu_broker),
            ("store", self.cpu_postgres),
            ("asking", Some(self.cpu_asking)),
        ];
        let others = others.map(|(who, cpu)| (who.to_owned(), cpu));
        // seconds of CPU for ten thousand steps, times as many of these as were done in a second
        let in_use = |cpu: f64| cpu * self.steps_per_s / 10_000.0;
        let all = named.chain(others);
        Cores {
            of: all
                .filter_map(|(who, cpu)| Some((who, in_use(cpu?))))
                .collect(),
        }
    }
    fn of(
        run: &BatonRun,
        steps: usize,
        cpu_broker: Option<f64>,
        cpu_postgres: Option<f64>,
    ) -> Self {
        let each = run.orchestrators.iter();
        let cpu_orchestrators: Vec<f64> = each.map(|cpu| cpu.per_10k(run.steps)).collect();
        Self {
            steps_per_s: run.steps_per_s(),
            sagas_per_s: run.steps_per_s() / steps as f64,
            cpu_orchestrator: cpu_orchestrators.iter().sum(),
            cpu_orchestrators,
            cpu_worker: run.worker.per_10k(run.steps),
            cpu_broker,
            cpu_postgres,
            cpu_asking: run.asking.per_10k(run.steps),
            orchestrator_memory: run.orchestrator_memory,
            worker_memory: run.worker_memory,
            db_bytes: run.db_bytes,
        }
    }
}

/// Progress, for whoever watches.
pub(crate) fn say(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "{text}")?)
}
