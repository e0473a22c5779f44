//! The automations of this fleet, one file each, and which of them are served under a configuration.

mod abort;
mod allowed;
mod check_command;
mod check_http;
mod check_ping;
mod check_tcp;
mod command_run;
mod confined;
mod echo;
mod effect;
mod file_ensure_line;
mod file_remove;
mod file_symlink;
mod file_whole;
mod file_write;
mod git_checkout;
mod git_commit_push;
mod git_program;
mod http_client;
mod http_guard;
mod http_poll;
mod http_request;
#[cfg(test)]
mod http_testing;
mod http_words;
mod junit;
mod ledger;
mod looking;
mod ran;
mod rooted;
mod script_run;
mod scripts;
mod service;
mod service_restart;
mod service_start;
mod service_stop;
mod span;
mod test_run;
#[cfg(test)]
mod tls_testing;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use baton_worker::{ManifestError, Registry};

use crate::config::{
    AutomationsConfig, CommandConfig, Config, FilesConfig, GitConfig, NetConfig, ScriptConfig,
    ScriptRunConfig, ServiceConfig,
};
use crate::process::{Processes, ProcessesConfig};
use http_client::Client;
use http_guard::Guard;

pub use abort::TestAbort;
pub use allowed::AllowError;
pub use check_command::{CheckCommand, CheckCommandInput, CheckCommandOutput, Expected};
pub use check_http::CheckHttp;
pub use check_ping::CheckPing;
pub use check_tcp::CheckTcp;
pub use command_run::{CommandRun, CommandRunInput, CommandRunIrreversible, CommandRunOutput};
pub use echo::Echo;
pub use effect::{TestEffect, TestEffectLate};
pub use file_ensure_line::FileEnsureLine;
pub use file_remove::FileRemove;
pub use file_symlink::FileSymlink;
pub use file_write::FileWrite;
pub use git_checkout::{GitCheckout, GitCheckoutInput, GitCheckoutOutput};
pub use git_commit_push::{GitCommitPush, GitCommitPushInput, GitCommitPushOutput};
pub use git_program::Git;
pub use http_guard::GuardError;
pub use http_poll::HttpPoll;
pub use http_request::HttpRequest;
pub use ledger::{Ledger, LedgerError};
pub use rooted::RootError;
pub use script_run::{
    Inline, Language, ScriptRun, ScriptRunInput, ScriptRunIrreversible, ScriptRunOutput,
};
pub use scripts::ScriptsError;
pub use service::{ServiceError, ServiceInput, ServiceOutput, Services};
pub use service_restart::ServiceRestart;
pub use service_start::ServiceStart;
pub use service_stop::ServiceStop;
pub use test_run::{TestRun, TestRunInput, TestRunOutput, TestsExpected};

/// Why the fleet cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// An automation's own declaration is wrong.
    #[error("an automation cannot be served")]
    Manifest(#[from] ManifestError),
    /// The ledger cannot be spoken to.
    #[error("`automations.test_effect.ledger_url` cannot be used")]
    Ledger(#[from] LedgerError),
    /// A root cannot be written under.
    #[error("a root under [automations] cannot be used")]
    Roots(#[from] RootError),
    /// A target that may be reached.
    #[error("`automations.net.allow` cannot be used")]
    Allow(#[from] GuardError),
    /// Authorities to trust.
    #[error("`automations.net.ca_file` cannot be read: {}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A command of the allow-list cannot be used.
    #[error(transparent)]
    Command(#[from] AllowError),
    /// A service of the allow-list cannot be used.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The catalogue of scripts cannot be used.
    #[error(transparent)]
    Scripts(#[from] ScriptsError),
    /// A type that is asked for is not there.
    #[error("`worker.types` asks for {asked}, which is not served: {hint}")]
    NotServed {
        /// The type.
        asked: String,
        /// What to do.
        hint: String,
    },
}

/// What this configuration serves; whatever starts processes does it through `processes`.
///
/// # Errors
/// [`FleetError`] with the key at fault.
pub fn registry(config: &Config, processes: &Processes) -> Result<Registry, FleetError> {
    let of = &config.automations;
    let mut registry = with_net(Registry::new().with(Echo)?, &of.net)?;
    if let Some(url) = &of.test_effect.ledger_url {
        registry = with_effects(registry, url)?;
    }
    if !of.files.roots.is_empty() {
        registry = with_files(registry, &of.files)?;
    }
    if !of.git.roots.is_empty() && !of.git.repositories.is_empty() {
        registry = with_git(registry, processes, &of.git, &of.net)?;
    }
    if !config.commands.is_empty() {
        registry = with_commands(registry, &config.commands, processes)?;
    }
    if of.script_run.folder.is_some() || of.script_run.inline {
        registry = with_scripts(registry, &of.script_run, &config.scripts, processes)?;
    } else if let Some(name) = config.scripts.keys().next() {
        return Err(FleetError::Scripts(ScriptsError::Entry {
            name: name.clone(),
            why: "there is no catalogue of scripts: set automations.script_run.folder".to_owned(),
        }));
    }
    if !config.services.is_empty() {
        registry = with_services(registry, &config.services, processes)?;
    }
    chosen(registry, config)
}

/// Everything there is, whether configured or not: for the catalogue.
///
/// # Errors
/// [`FleetError`] when one is declared wrongly.
pub fn catalogue() -> Result<Registry, FleetError> {
    let of = AutomationsConfig::default();
    let registry = with_net(Registry::new().with(Echo)?, &of.net)?;
    let registry = with_files(registry, &of.files)?;
    let processes = Processes::new(&ProcessesConfig::default());
    let registry = with_git(registry, &processes, &of.git, &of.net)?;
    let registry = with_commands(registry, &BTreeMap::new(), &processes)?;
    let registry = with_services(registry, &BTreeMap::new(), &processes)?;
    let registry = with_scripts(registry, &of.script_run, &BTreeMap::new(), &processes)?;
    with_effects(registry, "http://127.0.0.1:1")
}

fn with_files(registry: Registry, of: &FilesConfig) -> Result<Registry, FleetError> {
    Ok(registry
        .with(FileWrite::under(&of.roots)?)?
        .with(FileSymlink::under(&of.roots)?)?
        .with(FileEnsureLine::under(&of.roots)?)?
        .with(FileRemove::under(&of.roots)?)?)
}

fn with_git(
    registry: Registry,
    processes: &Processes,
    of: &GitConfig,
    net: &NetConfig,
) -> Result<Registry, FleetError> {
    let git = Git::new(processes.clone(), of, &authorities(net)?)?;
    Ok(registry
        .with(GitCheckout::by(git.clone()))?
        .with(GitCommitPush::by(git))?)
}

fn with_net(registry: Registry, of: &NetConfig) -> Result<Registry, FleetError> {
    let guard = Arc::new(Guard::new(&of.allow)?);
    let client = Client::new(guard.clone(), authorities(of)?.into_bytes());
    Ok(registry
        .with(CheckTcp::guarded(guard.clone()))?
        .with(CheckPing::guarded(guard))?
        .with(CheckHttp::by(client.clone()))?
        .with(HttpPoll::by(client.clone()))?
        .with(HttpRequest::by(client))?)
}

/// The authorities to trust beside those of the system, as PEM. That there is none in the file is found out now, not when a host is spoken to.
fn authorities(of: &NetConfig) -> Result<String, FleetError> {
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    let Some(path) = &of.ca_file else {
        return Ok(String::new());
    };
    let read = std::fs::read_to_string(path).and_then(|text| {
        let mut all = CertificateDer::pem_slice_iter(text.as_bytes());
        match all.next() {
            Some(Ok(_)) => Ok(text),
            Some(Err(error)) => Err(std::io::Error::other(error)),
            None => Err(std::io::Error::other("there is no certificate in it")),
        }
    });
    read.map_err(|source| FleetError::Authorities {
        path: path.clone(),
        source,
    })
}

fn with_commands(
    registry: Registry,
    config: &BTreeMap<String, CommandConfig>,
    processes: &Processes,
) -> Result<Registry, FleetError> {
    Ok(registry
        .with(CommandRun::allowing(config, processes)?)?
        .with(CommandRunIrreversible::allowing(config, processes)?)?
        .with(CheckCommand::allowing(config, processes)?)?
        .with(TestRun::allowing(config, processes)?)?)
}

fn with_scripts(
    registry: Registry,
    config: &ScriptRunConfig,
    said: &BTreeMap<String, ScriptConfig>,
    processes: &Processes,
) -> Result<Registry, FleetError> {
    Ok(registry
        .with(ScriptRun::from(config, said, processes)?)?
        .with(ScriptRunIrreversible::from(config, said, processes)?)?)
}

fn with_services(
    registry: Registry,
    config: &BTreeMap<String, ServiceConfig>,
    processes: &Processes,
) -> Result<Registry, FleetError> {
    let services = Services::new(config, processes)?;
    Ok(registry
        .with(ServiceStart::of(services.clone()))?
        .with(ServiceStop::of(services.clone()))?
        .with(ServiceRestart::of(services))?)
}

fn with_effects(registry: Registry, url: &str) -> Result<Registry, FleetError> {
    let ledger = Ledger::at(url)?;
    Ok(registry
        .with(TestEffect::on(ledger.clone()))?
        .with(TestEffectLate::on(ledger))?
        .with(TestAbort)?)
}

fn chosen(registry: Registry, config: &Config) -> Result<Registry, FleetError> {
    let wanted = &config.worker.types;
    if wanted.is_empty() {
        return Ok(registry);
    }
    let there: Vec<String> = registry
        .manifests()
        .iter()
        .map(|manifest| manifest.task_type.to_string())
        .collect();
    if let Some(asked) = wanted.iter().find(|w| !there.contains(&w.to_string())) {
        return Err(FleetError::NotServed {
            asked: asked.to_string(),
            hint: format!(
                "it may need its own section under [automations]; served are {}",
                there.join(", ")
            ),
        });
    }
    Ok(registry.only(|task_type| wanted.contains(task_type)))
}
