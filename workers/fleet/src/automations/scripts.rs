//! The catalogue of scripts: files of one folder of the worker, known by name, read whole and hashed each time one is run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use baton_worker::{SecretText, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::allowed::secrets;
use super::confined::{Confined, Words};
use crate::config::{CommandEffect, ScriptConfig, ScriptRunConfig, SecretWay};
use crate::process::{Pin, Run, hex};

/// The largest script, in bytes.
const SCRIPT_BYTES_MAX: u64 = 256 * 1024;

/// The script's own file in the folder of its run.
pub(crate) const SCRIPT: &str = "script";
/// What it is given, there.
pub(crate) const ARGS: &str = "args.json";

/// Why there is no catalogue.
#[derive(Debug, thiserror::Error)]
pub enum ScriptsError {
    /// The folder.
    #[error(
        "`automations.script_run.folder`: {} cannot be used; it has to be a folder only its owner may write to",
        path.display()
    )]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// An entry.
    #[error("[scripts.{name}]: {why}")]
    Entry {
        /// The name of the script.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// What a script is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// The shell.
    Sh,
    /// Python 3, isolated from the environment and the user's folders.
    Python,
    /// Tcl.
    Tcl,
}

/// The endings of files, and what they are written in.
const ENDINGS: [(&str, Language); 3] = [
    ("sh", Language::Sh),
    ("py", Language::Python),
    ("tcl", Language::Tcl),
];

/// The catalogue.
#[derive(Debug)]
pub(crate) struct Scripts {
    config: ScriptRunConfig,
    entries: BTreeMap<String, Entry>,
    /// Of what nothing is said.
    plain: Entry,
}

/// What is said of one script.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) config: ScriptConfig,
    confined: Confined,
}

/// One script, whole.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) language: Language,
    pub(crate) text: String,
    pub(crate) sha256: String,
}

impl Scripts {
    /// Looks at the folder, and says in the log what lies there.
    pub(crate) fn new(
        config: &ScriptRunConfig,
        said: &BTreeMap<String, ScriptConfig>,
    ) -> Result<Self, ScriptsError> {
        let entry = |(name, entry): (&String, &ScriptConfig)| {
            let made = Entry::new(entry).map_err(|why| ScriptsError::Entry {
                name: name.clone(),
                why,
            });
            made.map(|made| (name.clone(), made))
        };
        let plain = Entry::new(&ScriptConfig::default()).map_err(|why| ScriptsError::Entry {
            name: String::new(),
            why,
        })?;
        let scripts = Self {
            config: config.clone(),
            entries: said.iter().map(entry).collect::<Result<_, _>>()?,
            plain,
        };
        // A word that holds for nothing is a mistake in a name, and whoever wrote it believes that it holds.
        for name in said.keys() {
            if let Err(error) = scripts.find(name, "") {
                return Err(ScriptsError::Entry {
                    name: name.clone(),
                    why: error.to_string(),
                });
            }
        }
        if let Some(folder) = &config.folder {
            let trouble = |source| ScriptsError::Folder {
                path: folder.clone(),
                source,
            };
            let about = std::fs::metadata(folder).map_err(trouble)?;
            if !about.is_dir() || about.permissions().mode() & 0o022 != 0 {
                return Err(trouble(std::io::Error::other("others may write there")));
            }
            for entry in std::fs::read_dir(folder).map_err(trouble)?.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if let Ok(Some(script)) = read(&entry.path()) {
                    tracing::info!(
                        script = name,
                        sha256 = script.sha256,
                        "a script of the catalogue"
                    );
                }
            }
        }
        Ok(scripts)
    }

    /// The script of that name; `part` is "" for itself, or that of one beside it, of which there may be none.
    pub(crate) fn find(&self, name: &str, part: &str) -> Result<Option<Script>, TaskError> {
        let refused = |why: String| TaskError::failed("not-allowed", why);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.is_empty() || name.starts_with(['-', '_']) || !name.chars().all(plain) {
            return Err(refused(format!("`{name}` is no name of a script")));
        }
        let Some(folder) = &self.config.folder else {
            return Err(refused(
                "this worker has no catalogue of scripts".to_owned(),
            ));
        };
        for (ending, _) in ENDINGS {
            let file = match part {
                "" => format!("{name}.{ending}"),
                part => format!("{name}.{part}.{ending}"),
            };
            let path = folder.join(file);
            if let Some(script) = read(&path).map_err(refused)? {
                return Ok(Some(script));
            }
        }
        if part.is_empty() {
            return Err(refused(format!(
                "there is no script `{name}` in the worker's catalogue"
            )));
        }
        Ok(None)
    }

    /// What is said of the script of that name; of one of a message's own nothing is.
    pub(crate) fn entry(&self, name: Option<&str>) -> &Entry {
        let said = name.and_then(|name| self.entries.get(name));
        said.unwrap_or(&self.plain)
    }

    /// A script of a message's own.
    pub(crate) fn inline(&self, language: Language, text: &str) -> Result<Script, TaskError> {
        if !self.config.inline {
            return Err(TaskError::failed(
                "not-allowed",
                "this worker runs no scripts of messages: automations.script_run.inline is off",
            ));
        }
        Ok(script(language, text.to_owned()))
    }

    /// Who runs it, and with which arguments before the file.
    pub(crate) fn interpreter(&self, language: Language) -> (&Path, &'static [&'static str]) {
        match language {
            Language::Sh => (&self.config.sh, &[]),
            Language::Python => (&self.config.python, &["-I", "-B"]),
            Language::Tcl => (&self.config.tcl, &[]),
        }
    }
}

/// Reads one file; none when there is none, or it ends otherwise.
fn read(path: &Path) -> Result<Option<Script>, String> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    let Some((_, language)) = ENDINGS.iter().find(|(known, _)| Some(*known) == ending) else {
        return Ok(None);
    };
    let trouble = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(trouble(error)),
    };
    let about = file.metadata().map_err(trouble)?;
    if !about.is_file() || about.permissions().mode() & 0o022 != 0 {
        return Err(format!(
            "{} is no plain file, or others may write to it: it is not run",
            path.display()
        ));
    }
    let mut text = String::new();
    file.take(SCRIPT_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(trouble)?;
    if text.len() as u64 > SCRIPT_BYTES_MAX {
        return Err(format!(
            "{} is larger than {SCRIPT_BYTES_MAX} bytes",
            path.display()
        ));
    }
    Ok(Some(script(*language, text)))
}

fn script(language: Language, text: String) -> Script {
    let sha256 = hex(&Sha256::digest(text.as_bytes()));
    Script {
        language,
        text,
        sha256,
    }
}

impl Entry {
    fn new(config: &ScriptConfig) -> Result<Self, String> {
        for (name, way) in &config.secrets {
            secrets::checked(name, way)?;
            if way.file.as_deref().is_some_and(is_ours) {
                return Err(format!(
                    "secrets.{name}: {SCRIPT} and {ARGS} are files of the run itself"
                ));
            }
        }
        let pins = [&config.sha256, &config.undo_sha256, &config.probe_sha256];
        for sha256 in pins.into_iter().flatten() {
            if Pin::new(Path::new(""), sha256).is_none() {
                return Err(format!("`{sha256}` is no SHA-256 of 64 hexadecimal digits"));
            }
        }
        Ok(Self {
            confined: Confined::new(&Words {
                user: config.user.as_deref(),
                may_gain_privileges: config.may_gain_privileges,
                capabilities: &config.capabilities,
                sandbox: &config.sandbox,
                umask: config.umask,
                limits: config.limits,
                env: &config.env,
            })?,
            config: config.clone(),
        })
    }

    /// What it does to the world, where `undo` says whether there is a script that takes it back.
    pub(crate) fn effect(&self, undo: bool) -> CommandEffect {
        match (self.config.effect, undo) {
            (Some(said), _) => said,
            (None, true) => CommandEffect::Reversible,
            (None, false) => CommandEffect::Irreversible,
        }
    }

    /// Whether the script is the one it has to be; `part` as for [`Scripts::find`].
    pub(crate) fn held(&self, part: &str, script: &Script) -> Result<(), TaskError> {
        let wanted = match part {
            "undo" => &self.config.undo_sha256,
            "probe" => &self.config.probe_sha256,
            _ => &self.config.sha256,
        };
        match wanted {
            Some(wanted) if !wanted.eq_ignore_ascii_case(&script.sha256) => {
                Err(changed(script, wanted))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A run with its rights, handed what it takes.
    pub(crate) fn run(
        &self,
        run: Run,
        given: &BTreeMap<String, SecretText>,
    ) -> Result<Run, TaskError> {
        let mut run = self.confined.confine(run);
        if let Some(limit) = self.config.timeout_ms {
            run = run.timeout(std::time::Duration::from_millis(limit));
        }
        if !self.config.secrets.is_empty() {
            return secrets::handed(run, &self.config.secrets, given);
        }
        let mut ways = BTreeMap::new();
        for name in given.keys() {
            let way = SecretWay {
                env: None,
                file: Some(name.clone()),
            };
            if is_ours(name) || secrets::checked(name, &way).is_err() {
                return Err(TaskError::failed(
                    "argument-refused",
                    format!("`{name}` cannot be the name of a secret's file"),
                ));
            }
            ways.insert(name.clone(), way);
        }
        secrets::handed(run, &ways, given)
    }
}

fn is_ours(file: &str) -> bool {
    [SCRIPT, ARGS].contains(&file)
}

/// The script is not the one that is wanted.
pub(crate) fn changed(script: &Script, wanted: &str) -> TaskError {
    TaskError::failed(
        "script-changed",
        format!(
            "the script has SHA-256 {}, and not {wanted}: it was changed, and is not run",
            script.sha256
        ),
    )
}
