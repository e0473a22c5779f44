//! `baton-orchestrator`: drives sagas over the bus. See `baton-orchestrator.default.toml` for every setting.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use baton_orchestrator::config::{Config, LogConfig, LogFormat};
use baton_orchestrator::store;
use baton_settings::{Value, told};
use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Many small values are made and dropped for each message: see `.cargo/config.toml` for how it is set.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Drives sagas over the bus.
#[derive(Debug, Parser)]
#[command(name = "baton-orchestrator", version)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// A file of settings, TOML; `baton-orchestrator config` shows all there are
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The broker's address, such as `amqp://user:password@host:5672/%2f`; may be given several times
    #[arg(long, global = true, value_name = "URL")]
    amqp: Vec<String>,
    /// Where the API, health and metrics listen
    #[arg(long, global = true, value_name = "ADDRESS")]
    http: Option<String>,
    /// The folder of the database and the token
    #[arg(long, global = true, value_name = "FOLDER")]
    data_dir: Option<String>,
    /// How a line of log looks
    #[arg(long, global = true, value_enum)]
    log_format: Option<Format>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Human,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Drive sagas (the default)
    Run,
    /// Show the settings in force, with secrets hidden
    Config,
    /// Look at the store, or bring its tables to this version, without driving sagas
    Store {
        #[command(subcommand)]
        action: StoreAction,
        /// On whose behalf it is done, for the audit log of the store
        #[arg(long, global = true, value_name = "NAME")]
        by: Option<String>,
    },
    /// Print the OpenAPI document of the HTTP API
    Openapi,
}

#[derive(Debug, Clone, Subcommand)]
enum StoreAction {
    /// Say where the store is, the version of its tables, who owns it and what is in it
    Status,
    /// Make its tables, or bring them to this version; the orchestrator does so as well when it starts
    Migrate,
    /// Write the whole SQLite store into a file that is not there yet, also while the orchestrator runs: a backup
    Export {
        /// The file
        file: PathBuf,
    },
    /// Take everything from the SQLite file of an orchestrator that was stopped into the configured database, which has to be empty
    Import {
        /// The file: `baton.db` in its `data_dir`
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    match started(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // nobody is left to hear that it cannot be said
            let _ = writeln!(std::io::stderr(), "{}", told(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn started(cli: Cli) -> Result<()> {
    if let Some(Command::Openapi) = cli.command {
        return say(&baton_orchestrator::openapi().context("the document cannot be written")?);
    }
    let layers = Config::layers(cli.flags.config.as_deref(), &cli.flags.overrides())?;
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => drive(Config::of(layers)?),
        Command::Config => say(&layers.shown()),
        Command::Store { action, by } => at_store(action, by.as_deref(), Config::of(layers)?),
        Command::Openapi => Ok(()),
    }
}

impl Flags {
    fn overrides(&self) -> Vec<(&'static str, Value)> {
        let mut all: Vec<(&'static str, Value)> = Vec::new();
        if !self.amqp.is_empty() {
            all.push(("bus.addresses", self.amqp.clone().into()));
        }
        if let Some(http) = &self.http {
            all.push(("http.listen", http.clone().into()));
        }
        if let Some(data_dir) = &self.data_dir {
            all.push(("store.data_dir", data_dir.clone().into()));
        }
        if let Some(format) = self.log_format {
            let word = match format {
                Format::Human => "human",
                Format::Json => "json",
            };
            all.push(("log.format", word.into()));
        }
        all
    }
}

fn at_store(action: StoreAction, by: Option<&str>, config: Config) -> Result<()> {
    log(&config.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let text = runtime.block_on(async {
        match action {
            StoreAction::Status => store::status(&config).await,
            StoreAction::Migrate => store::migrate(&config, by).await,
            StoreAction::Export { file } => store::export(&config, &file, by).await,
            StoreAction::Import { file } => store::import(&config, &file, by).await,
        }
    })?;
    say(&text)
}

/// One thread for the loop: what it shares with nobody needs no lock.
fn drive(config: Config) -> Result<()> {
    log(&config.log)?;
    let numbers = baton_orchestrator::metrics::install().context("metrics cannot be collected")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate()).context("no signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("no signals")?;
        let asked = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!(
                "asked to end: the turn under way is finished, what is published gets confirmed"
            );
            asked.cancel();
        });
        Ok(baton_orchestrator::run(config, stop, Some(numbers)).await?)
    })
}

fn log(config: &LogConfig) -> Result<()> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(filter) if !filter.is_empty() => filter,
        Ok(_) | Err(_) => config.filter.clone(),
    };
    let filter = EnvFilter::try_new(&filter)
        .with_context(|| format!("`log.filter` cannot be used: {filter}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match config.format {
        LogFormat::Human => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// What was asked for goes to the standard output; a reader that has gone away is no error.
fn say(text: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
