//! Programs and scripts that have to be what they were: files with the SHA-256 the worker's configuration says, looked at before each start.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// One file, and what it has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The file.
    pub path: PathBuf,
    /// Its SHA-256, hexadecimal, in small letters.
    pub sha256: String,
}

impl Pin {
    /// One file; none when `sha256` is no SHA-256.
    #[must_use]
    pub fn new(path: &Path, sha256: &str) -> Option<Self> {
        const LETTERS: usize = 64;
        let hex = sha256.len() == LETTERS && sha256.chars().all(|c| c.is_ascii_hexdigit());
        hex.then(|| Self {
            path: path.to_owned(),
            sha256: sha256.to_ascii_lowercase(),
        })
    }

    /// Looks at it; the file that was looked at, at its beginning. Blocks.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub(crate) fn held(&self) -> Result<File, String> {
        let trouble = |error: io::Error| {
            format!(
                "{} cannot be held against its sha256: {error}",
                self.path.display()
            )
        };
        let mut file = File::open(&self.path).map_err(trouble)?;
        let found = sha256_of(&mut file).map_err(trouble)?;
        if found == self.sha256 {
            return Ok(file);
        }
        Err(format!(
            "{} has SHA-256 {found}, and the worker's configuration wants {}: it was changed, and is not run",
            self.path.display(),
            self.sha256
        ))
    }
}

fn sha256_of(file: &mut File) -> io::Result<String> {
    use io::Seek as _;
    let mut hash = Sha256::new();
    io::copy(file, &mut hash)?;
    file.rewind()?;
    Ok(hex(&hash.finalize()))
}

/// Bytes as hexadecimal digits in small letters.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut all, byte| {
        let _ = write!(all, "{byte:02x}");
        all
    })
}
