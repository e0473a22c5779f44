//! The catalogue of scripts: files of one folder of the worker, known by name, read whole and hashed each time one is run.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use baton_worker::TaskError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::ScriptRunConfig;

/// The largest script, in bytes.
const SCRIPT_BYTES_MAX: u64 = 256 * 1024;

/// Why there is no catalogue.
#[derive(Debug, thiserror::Error)]
#[error("`automations.script_run.folder`: {} cannot be used; it has to be a folder only its owner may write to", path.display())]
pub struct ScriptsError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
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
    pub(crate) fn new(config: &ScriptRunConfig) -> Result<Self, ScriptsError> {
        let scripts = Self {
            config: config.clone(),
        };
        if let Some(folder) = &config.folder {
            let trouble = |source| ScriptsError {
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
    use std::fmt::Write as _;
    let digest = Sha256::digest(text.as_bytes());
    let sha256 = digest.iter().fold(String::new(), |mut all, byte| {
        let _ = write!(all, "{byte:02x}");
        all
    });
    Script {
        language,
        text,
        sha256,
    }
}
