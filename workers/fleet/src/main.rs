//! `baton-worker`: takes tasks from the bus and acts on real systems. See `baton-worker.default.toml` for every setting.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use baton_fleet::automations;
use baton_fleet::config::{Config, Layers, LogConfig, LogFormat};
use baton_fleet::process::{Containment, Processes};
use baton_fleet::secrets::VeiledStderr;
use baton_settings::{Value, told};
use baton_worker::Veil;
use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Many small values are made and dropped for each message: see `.cargo/config.toml` for how it is set.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Takes tasks from the bus and acts on real systems.
#[derive(Debug, Parser)]
#[command(name = "baton-worker", version)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// A file of settings, TOML; `baton-worker config` shows all there are
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A pool to take tasks from; may be given several times
    #[arg(long, global = true, value_name = "NAME")]
    pool: Vec<String>,
    /// The broker's address, such as `amqp://user:password@host:5672/%2f`; may be given several times
    #[arg(long, global = true, value_name = "URL")]
    amqp: Vec<String>,
    /// Where health and metrics listen, or `off`
    #[arg(long, global = true, value_name = "ADDRESS")]
    http: Option<String>,
    /// How many tasks run at once
    #[arg(long, global = true, value_name = "N")]
    concurrency: Option<u32>,
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
    /// Work (the default)
    Run,
    /// Show the settings in force, with secrets hidden
    Config,
    /// List the task types there are
    Types {
        /// As JSON: their whole manifests
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    // A stage of the launcher knows no settings and no logs: it is a part of what it starts.
    if let Some(code) = baton_fleet::process::launch::main(std::env::args_os()) {
        std::process::exit(code);
    }
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
    let layers = Config::layers(cli.flags.config.as_deref(), &cli.flags.overrides())?;
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => work(&Config::of(layers)?),
        Command::Config => show(&layers),
        Command::Types { json } => types(json),
    }
}

impl Flags {
    fn overrides(&self) -> Vec<(&'static str, Value)> {
        let mut all: Vec<(&'static str, Value)> = Vec::new();
        if !self.pool.is_empty() {
            all.push(("worker.pools", self.pool.clone().into()));
        }
        if !self.amqp.is_empty() {
            all.push(("bus.addresses", self.amqp.clone().into()));
        }
        if let Some(http) = &self.http {
            all.push(("http.listen", http.clone().into()));
        }
        if let Some(concurrency) = self.concurrency {
            all.push(("worker.concurrency", i64::from(concurrency).into()));
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

fn work(config: &Config) -> Result<()> {
    let veil = Veil::default();
    log(&config.log, &veil)?;
    let mut runtime = if config.worker.threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(config.worker.threads);
        runtime
    };
    let runtime = runtime.enable_all().build().context("no runtime")?;
    Ok(runtime.block_on(baton_fleet::program::run(config, veil))?)
}

fn log(config: &LogConfig, veil: &Veil) -> Result<()> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(filter) if !filter.is_empty() => filter,
        Ok(_) | Err(_) => config.filter.clone(),
    };
    // lapin logs returned messages whole, body included; what there is to say of them baton_bus says.
    let filter = if filter.contains("lapin") {
        filter
    } else {
        format!("{filter},lapin=off")
    };
    let filter = EnvFilter::try_new(&filter)
        .with_context(|| format!("`log.filter` cannot be used: {filter}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(VeiledStderr(veil.clone()));
    match config.format {
        LogFormat::Human => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    // What a panic says may hold a secret as well: it goes the same way as every other line.
    std::panic::set_hook(Box::new(|panic| {
        let said = panic.payload_as_str().unwrap_or("without a word");
        let at = panic.location().map(ToString::to_string);
        tracing::error!(at, "a panic: {said}");
    }));
    Ok(())
}

/// The settings, and what `auto` comes to on this host.
fn show(layers: &Layers) -> Result<()> {
    let shown = layers.shown();
    let processes = Processes::new(&Config::of(layers.clone())?.processes);
    let found = processes
        .containment()
        .map_or("NOTHING THIS HOST OFFERS", Containment::sentence);
    let root = baton_fleet::program::as_root()
        .map_or_else(String::new, |warning| format!("\n# {warning}"));
    say(&format!(
        "{}\n\n# here, processes are held together by {found}\n# {}{root}",
        shown.trim_end(),
        processes.limits()
    ))
}

fn types(json: bool) -> Result<()> {
    let manifests = automations::catalogue()?.manifests();
    if json {
        return say(&serde_json::to_string_pretty(&manifests)?);
    }
    let line = |m: &baton_messages::Manifest| format!("{:<27} {}", m.task_type.as_str(), m.summary);
    say(&manifests.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// What was asked for goes to the standard output; a reader that has gone away is no error.
fn say(text: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
