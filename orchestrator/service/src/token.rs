//! The token `admin` of the HTTP API: made at the first start and kept where only this user may read it.

use std::io::{ErrorKind, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::access::random;

/// A file of one line; whatever is larger is no token.
const TOKEN_BYTES_MAX: u64 = 4096;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The folder cannot be made.
    #[error("data folder {} cannot be made; set store.data_dir to one this user may write", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file cannot be read or written.
    #[error("token file {} cannot be used; check who owns it, or set http.token", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file holds no token.
    #[error("token file {} holds no token; delete it, and one is made at the next start", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Makes the folder of everything durable, for this user alone.
///
/// # Errors
/// [`TokenError::Folder`].
pub(crate) fn make_folder(path: &Path) -> Result<(), TokenError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| TokenError::Folder {
            path: path.to_path_buf(),
            source,
        })
}

/// The token in the file; made, and its place said once, when there is none yet.
///
/// # Errors
/// [`TokenError`].
pub(crate) fn of_file(path: &Path) -> Result<String, TokenError> {
    let file = |source| TokenError::File {
        path: path.to_path_buf(),
        source,
    };
    let made = random();
    let opened = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match opened {
        Ok(mut new) => {
            new.write_all(made.as_bytes()).map_err(file)?;
            new.write_all(b"\n").map_err(file)?;
            new.sync_all().map_err(file)?;
            tracing::info!(path = %path.display(), "the token `admin` of the HTTP API was made; requests to /v1 carry it as a bearer token");
            shown_once(&made);
            Ok(made)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let mut text = String::new();
            std::fs::File::open(path)
                .and_then(|open| open.take(TOKEN_BYTES_MAX).read_to_string(&mut text))
                .map_err(file)?;
            let token = text.trim();
            if token.is_empty() {
                return Err(TokenError::Empty {
                    path: path.to_path_buf(),
                });
            }
            Ok(token.to_owned())
        }
        Err(error) => Err(file(error)),
    }
}

/// To a person at a terminal, never to a log.
fn shown_once(token: &str) {
    let mut out = std::io::stdout();
    if out.is_terminal() {
        // it stands in the file as well
        let _ = writeln!(out, "the token `admin`, shown this once: {token}");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_for_this_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/token");
        make_folder(path.parent().unwrap()).unwrap();
        let first = of_file(&path).unwrap();
        assert!(first.len() >= 40);
        assert_eq!(of_file(&path).unwrap(), first);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_empty_file_is_no_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, " \n").unwrap();
        assert!(matches!(of_file(&path), Err(TokenError::Empty { .. })));
    }
}
