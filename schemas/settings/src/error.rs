//! Why there is no configuration: what is wrong, and what to do.

use std::path::PathBuf;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A layer cannot be read.
    #[error("configuration cannot be read: check that the file is there and is TOML")]
    Read {
        /// What is wrong with it.
        #[source]
        source: config::ConfigError,
    },
    /// A file that is no TOML. The line itself is not shown: it may hold a password.
    #[error("configuration {path} is no TOML: line {line}, column {column}: {what}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The column, counted in characters from 1.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// A key nobody knows.
    #[error(
        "configuration has no key `{key}` (it stands in {whence}){hint}; `{program} config` prints all there are"
    )]
    UnknownKey {
        /// The program.
        program: &'static str,
        /// The key, with its sections.
        key: String,
        /// What has it: a file, a variable.
        whence: String,
        /// The nearest known key, as a sentence.
        hint: String,
    },
    /// A value of the wrong kind.
    #[error("configuration has a value that cannot be used{}: {what}", whence.as_ref().map_or_else(String::new, |whence| format!(", in {whence}")))]
    Value {
        /// What has it: a file, a variable; none where that is not known.
        whence: Option<String>,
        /// Which, and what it should be; a password in it is hidden.
        what: String,
    },
    /// A value out of range.
    #[error("configuration: `{key}` {rule}")]
    Range {
        /// The key.
        key: &'static str,
        /// What it has to be.
        rule: String,
    },
}

/// What went wrong, for people: the error, and why, a line each. Without a backtrace: whoever starts a program looks for his mistake, not for its lines.
#[must_use]
pub fn told(error: &dyn std::error::Error) -> String {
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!("\n  because: {cause}"));
        source = cause.source();
    }
    text
}
