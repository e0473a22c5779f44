//! Where a worker finds the secrets tasks refer to: a file, a variable of its environment, or what a program prints, as its own
//! configuration says under `[secrets.<name>]`. Read anew for every task, so that a secret that was changed counts at once; kept nowhere.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use baton_worker::{Context, SecretError, SecretSource, TaskType};
use futures::future::BoxFuture;
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;

use crate::process::{Processes, Run};

mod shown;

pub use shown::VeiledStderr;

/// The largest secret, in bytes: a key with its chain of certificates fits.
const SECRET_BYTES_MAX: u64 = 64 * 1024;
/// How long a program that prints a secret may take.
const COMMAND_WAIT: Duration = Duration::from_secs(10);

/// One secret: exactly one of `file`, `env` and `command`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretConfig {
    /// The file that holds it; one line end at its end does not belong to it.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// The variable of the worker's environment that holds it.
    #[serde(default)]
    pub env: Option<String>,
    /// The program that prints it, with its arguments; one line end at the end does not belong to it.
    #[serde(default)]
    pub command: Vec<String>,
    /// The task types that may be given it; all when empty.
    #[serde(default)]
    pub types: Vec<TaskType>,
}

impl SecretConfig {
    /// What types cannot say.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence.
    pub fn checked(&self) -> Result<(), String> {
        let ways = [
            self.file.is_some(),
            self.env.is_some(),
            !self.command.is_empty(),
        ];
        if ways.iter().filter(|given| **given).count() == 1 {
            return Ok(());
        }
        Err("has to say exactly one of `file`, `env` and `command`".to_owned())
    }
}

/// The secrets of one worker.
#[derive(Debug, Clone)]
pub struct ConfiguredSecrets {
    all: BTreeMap<String, SecretConfig>,
    processes: Processes,
}

impl ConfiguredSecrets {
    /// As the configuration says.
    #[must_use]
    pub const fn new(all: BTreeMap<String, SecretConfig>, processes: Processes) -> Self {
        Self { all, processes }
    }

    async fn read(&self, context: &Context, of: &SecretConfig) -> Result<String, String> {
        if let Some(path) = &of.file {
            return read_file(path)
                .await
                .map_err(|error| format!("{}: {error}", path.display()));
        }
        if let Some(variable) = &of.env {
            return std::env::var(variable).map_err(|error| format!("{variable}: {error}"));
        }
        let (program, args) = of.command.split_first().ok_or("it has no source")?;
        let run = Run::new(program)
            .args(args)
            .timeout(COMMAND_WAIT)
            .prints_secret();
        // Neither what it prints nor what it complains of is shown: either may hold the secret.
        let ended = self
            .processes
            .run(context, run)
            .await
            .map_err(|error| format!("{program} did not come to its end ({})", error.code()))?;
        if !ended.success() || ended.stdout.dropped_bytes > 0 {
            return Err(format!(
                "{program} did not print it: it ended as {:?}",
                ended.exit
            ));
        }
        Ok(without_end(ended.stdout.text))
    }
}

impl SecretSource for ConfiguredSecrets {
    fn find<'a>(
        &'a self,
        context: &'a Context,
        task_type: &'a TaskType,
        name: &'a str,
    ) -> BoxFuture<'a, Result<String, SecretError>> {
        Box::pin(async move {
            let name = name.to_owned();
            let Some(of) = self.all.get(&name) else {
                return Err(SecretError::Unknown { name });
            };
            if !of.types.is_empty() && !of.types.contains(task_type) {
                return Err(SecretError::NotForType {
                    name,
                    task_type: task_type.to_string(),
                });
            }
            let read = self.read(context, of).await;
            read.map_err(|why| SecretError::Unreadable { name, why })
        })
    }
}

async fn read_file(path: &std::path::Path) -> std::io::Result<String> {
    let file = tokio::fs::File::open(path).await?;
    let mut text = String::new();
    file.take(SECRET_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .await?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(std::io::Error::other(format!(
            "larger than {SECRET_BYTES_MAX} bytes"
        )));
    }
    Ok(without_end(text))
}

fn without_end(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}
