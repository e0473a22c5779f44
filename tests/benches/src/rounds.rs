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
    /// CPU seconds for 10,000 steps.
    pub(crate) cpu_orchestrator: f64,
    pub(crate) cpu_worker: f64,
    pub(crate) cpu_broker: Option<f64>,
    /// Of this process, which asks for the sagas and watches.
    pub(crate) cpu_asking: f64,
    pub(crate) orchestrator_memory: Memory,
    pub(crate) worker_memory: Memory,
    pub(crate) db_bytes: u64,
}

/// Reference, Baton, reference.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round {
    pub(crate) before: Reference,
    pub(crate) baton: Measured,
    pub(crate) after: Reference,
    /// The reference on two connections, for context.
    pub(crate) two_connections: Reference,
    /// Baton's rate divided by the mean of the two references beside it.
    pub(crate) ratio: f64,
    pub(crate) on_postgres: Option<OnPostgres>,
}

/// Baton on PostgreSQL, after the second reference of its round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct OnPostgres {
    pub(crate) baton: Measured,
    pub(crate) after: Reference,
    /// Its rate divided by the mean of the two references beside it.
    pub(crate) ratio: f64,
}

/// Where an orchestrator keeps what is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Sqlite,
    Postgres,
}

/// Latency with nothing else to do.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct AloneFigures {
    /// As many raw steps in sequence as a saga has.
    pub(crate) raw: Latency,
    pub(crate) saga_seen: Latency,
    pub(crate) saga_recorded: Latency,
    /// Seen and recorded, on PostgreSQL.
    pub(crate) on_postgres: Option<[Latency; 2]>,
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
    async fn fresh(&self) -> Result<(Option<Vhost>, String)> {
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
    async fn database(&self, store: Store) -> Result<Option<Database>> {
        match store {
            Store::Sqlite => Ok(None),
            Store::Postgres => {
                let server = self.postgres.as_ref().context("no PostgreSQL")?;
                Ok(Some(server.database().await))
            }
        }
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
        store: Store,
        profile: bool,
    ) -> Result<Measured> {
        let (vhost, url) = self.fresh().await?;
        let baton = Baton::start(&url, options, self.database(store).await?).await?;
        baton.run(options.in_flight, options.in_flight).await?;
        if let Some(pause) = options.profile.filter(|_| profile) {
            let (orchestrator, worker) = baton.pids();
            say(&format!(
                "orchestrator {orchestrator}, worker {worker}; going on in {pause:?}"
            ))?;
            tokio::time::sleep(pause).await;
        }
        let before = self.cpu()?;
        let run = baton.run(options.sagas, options.in_flight).await?;
        let cpu_broker = self.cpu_since(before, run.steps)?;
        baton.check(options.in_flight + options.sagas).await?;
        baton.end().await?;
        self.forget(vhost).await;
        Ok(Measured::of(&run, options.steps, cpu_broker))
    }

    /// Sagas and raw steps with nothing else to do.
    pub(crate) async fn alone(&self, options: &Options) -> Result<AloneFigures> {
        let (vhost, url) = self.fresh().await?;
        let raw = Raw::start(&url, 1).await?;
        raw.run(options.steps, 1).await?;
        let run = raw.run(options.alone * options.steps, 1).await?;
        raw.end().await?;
        self.forget(vhost).await;
        let [saga_seen, saga_recorded] = self.sagas_alone(options, Store::Sqlite).await?;
        let on_postgres = match self.postgres {
            Some(_) => Some(self.sagas_alone(options, Store::Postgres).await?),
            None => None,
        };
        Ok(AloneFigures {
            raw: Latency::of(
                run.trips
                    .chunks(options.steps)
                    .map(|trips| trips.iter().sum()),
            ),
            saga_seen,
            saga_recorded,
            on_postgres,
        })
    }

    /// Seen and recorded.
    async fn sagas_alone(&self, options: &Options, store: Store) -> Result<[Latency; 2]> {
        let (vhost, url) = self.fresh().await?;
        let baton = Baton::start(&url, options, self.database(store).await?).await?;
        baton.alone(1).await?;
        let Alone { seen, recorded } = baton.alone(options.alone).await?;
        baton.end().await?;
        self.forget(vhost).await;
        Ok([Latency::of(seen), Latency::of(recorded)])
    }

    /// Deletes a virtual host, so that what its queues hold does not weigh on the next run.
    async fn forget(&self, vhost: Option<Vhost>) {
        if let (Some(broker), Some(vhost)) = (&self.broker, vhost) {
            broker.ctl(&["delete_vhost", vhost.name()]).await;
        }
    }
}

/// Every round.
pub(crate) async fn run(place: &Place, options: &Options) -> Result<Vec<Round>> {
    let mut rounds = Vec::with_capacity(options.pairs);
    for number in 1..=options.pairs {
        let before = place.reference(options, 1).await?;
        let baton = place.baton(options, Store::Sqlite, number == 1).await?;
        let after = place.reference(options, 1).await?;
        let on_postgres = match options.postgres {
            true => Some(on_postgres(place, options, &after).await?),
            false => None,
        };
        let two_connections = place.reference(options, 2).await?;
        let ratio = ratio(&baton, [&before, &after]);
        say(&format!(
            "round {number} of {}: reference {:.0}, Baton {:.0}, reference {:.0} steps/s: ratio {ratio:.2}",
            options.pairs, before.steps_per_s, baton.steps_per_s, after.steps_per_s
        ))?;
        if let Some(of) = &on_postgres {
            say(&format!(
                "round {number}: on PostgreSQL {:.0}, reference {:.0} steps/s: ratio {:.2}",
                of.baton.steps_per_s, of.after.steps_per_s, of.ratio
            ))?;
        }
        rounds.push(Round {
            before,
            baton,
            after,
            two_connections,
            ratio,
            on_postgres,
        });
    }
    Ok(rounds)
}

/// Baton on PostgreSQL, and one more reference.
async fn on_postgres(place: &Place, options: &Options, before: &Reference) -> Result<OnPostgres> {
    let baton = place.baton(options, Store::Postgres, false).await?;
    let after = place.reference(options, 1).await?;
    let ratio = ratio(&baton, [before, &after]);
    Ok(OnPostgres {
        baton,
        after,
        ratio,
    })
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

impl Measured {
    fn of(run: &BatonRun, steps: usize, cpu_broker: Option<f64>) -> Self {
        Self {
            steps_per_s: run.steps_per_s(),
            sagas_per_s: run.steps_per_s() / steps as f64,
            cpu_orchestrator: run.orchestrator.per_10k(run.steps),
            cpu_worker: run.worker.per_10k(run.steps),
            cpu_broker,
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
