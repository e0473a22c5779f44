//! What a run of the bench is asked to do: the command line, and the one hidden role that makes a second process of it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Sagas of a smoke run: enough to go through every part, done in seconds.
const SMOKE_SAGAS: usize = 200;
const SMOKE_ALONE: usize = 20;

/// Baton beside the raw broker: saga steps per second, CPU, memory and latency, in ratios of one and the same run.
#[derive(Debug, Clone, Parser)]
#[command(name = "baton-bench")]
pub(crate) struct Options {
    /// Sagas in each measured run.
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    pub(crate) sagas: usize,
    /// Sagas (of the reference: steps) in flight.
    #[arg(long, default_value_t = 2_000, value_parser = at_least_one)]
    pub(crate) in_flight: usize,
    /// Steps of a saga, one after the other.
    #[arg(long, default_value_t = 3, value_parser = at_least_one)]
    pub(crate) steps: usize,
    /// Interleaved rounds: reference, Baton, reference.
    #[arg(long, default_value_t = 5, value_parser = at_least_one)]
    pub(crate) pairs: usize,
    /// Sagas run one at a time, for the latency.
    #[arg(long, default_value_t = 500, value_parser = at_least_one)]
    pub(crate) alone: usize,
    /// Bytes of the value that goes through every step; the printed sizes of messages say what comes of it.
    #[arg(long, default_value_t = 160, value_parser = at_least_one)]
    pub(crate) payload_bytes: usize,
    /// Also write everything measured to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// An existing broker to measure on, virtual host included; without it a private one is started. Its CPU is not measured.
    #[arg(long, value_name = "URL")]
    pub(crate) amqp: Option<String>,
    /// A small run that proves that everything works and measures nothing worth reading.
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Only the raw reference, without Baton.
    #[arg(long)]
    pub(crate) raw_only: bool,
    /// Instead of sagas: so many dead letters, taken in and sent back, beside what the broker alone publishes and consumes.
    #[arg(long, value_name = "COUNT", value_parser = at_least_one)]
    pub(crate) letters: Option<usize>,
    /// Instead of many sagas: one of so many items, and what a report costs in its first thousand and in its last. At most 256 are in flight.
    #[arg(long, value_name = "COUNT", conflicts_with = "letters", value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub(crate) items: Option<u32>,
    /// In each round also Baton on a private PostgreSQL, beside Baton on SQLite and between references of its own.
    #[arg(long)]
    pub(crate) postgres: bool,
    /// Only on PostgreSQL.
    #[arg(long, requires = "postgres")]
    pub(crate) without_sqlite: bool,
    /// On PostgreSQL: with so many orchestrators, one measurement for each number.
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = at_least_one)]
    pub(crate) orchestrators: Vec<usize>,
    /// On PostgreSQL: partitions of its database, instead of as many as it has by default.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) partitions: Option<u8>,
    /// Tasks the worker holds at once.
    #[arg(long, default_value_t = 500, value_parser = at_least_one)]
    pub(crate) concurrency: usize,
    /// Extra environment of the orchestrator, as KEY=VALUE; may be repeated. To try a setting.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) orchestrator_env: Vec<String>,
    /// Extra environment of the worker, as KEY=VALUE; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) worker_env: Vec<String>,
    /// After the sagas of the first round have been started, waits so many seconds before going on and prints the process ids: time to attach a profiler.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) profile: Option<Duration>,
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

/// What this process is, when it is not the bench itself.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Role {
    /// The worker of the raw reference, a process of its own.
    #[command(hide = true)]
    RawWorker {
        /// Where the broker is.
        url: String,
        /// 1: all on one connection; 2: one to consume, one to publish.
        connections: usize,
    },
}

impl Options {
    /// Reads the command line; ends the process on `--help` and on what it does not know.
    pub(crate) fn read() -> Self {
        let mut options = Self::parse();
        if options.smoke {
            options.sagas = SMOKE_SAGAS;
            options.in_flight = SMOKE_SAGAS / 2;
            options.pairs = 1;
            options.alone = SMOKE_ALONE;
        }
        options
    }

    /// Steps of one measured run, the same number for both sides.
    pub(crate) const fn steps_in_a_run(&self) -> usize {
        self.sagas * self.steps
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("not a number: {error}")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .map_err(|error| format!("not a number of seconds: {error}"))?;
    Ok(Duration::from_secs(seconds))
}
