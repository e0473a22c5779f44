//! The automations of this fleet, one file each, and which of them are served under a configuration.

mod echo;
mod effect;
mod file_write;
mod ledger;
mod rooted;

use baton_worker::{ManifestError, Registry};

use crate::config::{AutomationsConfig, Config};
use crate::process::Processes;
pub use echo::Echo;
pub use effect::{TestEffect, TestEffectLate};
pub use file_write::FileWrite;
pub use ledger::{Ledger, LedgerError};
pub use rooted::RootError;

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
    #[error("`automations.file_write.roots` cannot be used")]
    Roots(#[from] RootError),
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
    let mut registry = Registry::new().with(Echo)?;
    if let Some(url) = &of.test_effect.ledger_url {
        registry = with_effects(registry, url)?;
    }
    if !of.file_write.roots.is_empty() {
        registry = registry.with(FileWrite::under(&of.file_write.roots)?)?;
    }
    let _ = processes;
    chosen(registry, config)
}

/// Everything there is, whether configured or not: for the catalogue.
///
/// # Errors
/// [`FleetError`] when one is declared wrongly.
pub fn catalogue() -> Result<Registry, FleetError> {
    let registry = Registry::new().with(Echo)?.with(FileWrite::under(
        &AutomationsConfig::default().file_write.roots,
    )?)?;
    with_effects(registry, "http://127.0.0.1:1")
}

fn with_effects(registry: Registry, url: &str) -> Result<Registry, FleetError> {
    let ledger = Ledger::at(url)?;
    Ok(registry
        .with(TestEffect::on(ledger.clone()))?
        .with(TestEffectLate::on(ledger))?)
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
