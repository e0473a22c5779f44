//! Names people write: steps, pools, task types, workers. Each is checked when it is made, so that whatever holds one may put it
//! into a routing key, an expression or a log line without looking again.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a name was refused; the text says what a right one looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no {what}: {rule}")]
pub struct NameError {
    /// What kind of name was asked for.
    pub what: &'static str,
    /// The text that was given, cut to 80 characters.
    pub given: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

fn refuse(what: &'static str, given: &str, rule: &'static str) -> NameError {
    NameError {
        what,
        given: given.chars().take(80).collect(),
        rule,
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $pattern:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes a name.
            ///
            /// # Errors
            /// [`NameError`] with the rule the text breaks.
            pub fn new(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.into())) } else { Err(refuse($what, text, $rule)) }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        /// Compares as its text does, so that maps keyed by it can be asked by text.
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(from)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern, "description": $rule })
            }
        }
    };
}

fn lower_word(text: &str, longest: usize, also: &[u8]) -> bool {
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= longest
        && bytes[0].is_ascii_lowercase()
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || also.contains(b))
}

name!(
    /// The id of a step in its definition; also the name by which expressions reach its output.
    StepId,
    "step id",
    "a lower-case letter, then letters, digits and _, at most 64",
    "^[a-z][a-z0-9_]{0,63}$",
    |text| lower_word(text, 64, b"_")
);
name!(
    /// A named group of workers that takes tasks of its own queues.
    PoolName,
    "pool name",
    "a lower-case letter, then letters, digits and -, at most 64",
    "^[a-z][a-z0-9-]{0,63}$",
    |text| lower_word(text, 64, b"-")
);
name!(
    /// The name and major version of an automation, `switch.set-vlan@1`.
    TaskType,
    "task type",
    "area.verb-noun@major: lower-case words joined by . and -, then @ and a number from 1, at most 128",
    "^[a-z]([a-z0-9.-]{0,116}[a-z0-9])?@[1-9][0-9]{0,8}$",
    |text| {
        let Some((name, major)) = text.split_once('@') else { return false };
        lower_word(name, 118, b".-")
            && !name.ends_with(['.', '-'])
            && (1..=9).contains(&major.len())
            && !major.starts_with('0')
            && major.bytes().all(|b| b.is_ascii_digit())
    }
);
name!(
    /// One worker process: its host and a part of chance, unique among those alive.
    WorkerId,
    "worker id",
    "letters, digits, - and _, at most 96",
    "^[A-Za-z0-9_-]{1,96}$",
    |text| {
        !text.is_empty() && text.len() <= 96 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    }
);
name!(
    /// The key of a partition's inbox, two digits: `00`.
    InboxKey,
    "inbox key",
    "two digits",
    "^[0-9]{2}$",
    |text| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())
);

impl InboxKey {
    /// The key of inbox number `n`; numbers wrap at 100, which no deployment reaches (256 slices map to at most 16 inboxes).
    #[must_use]
    pub fn of(n: u8) -> Self {
        Self(format!("{:02}", n % 100).into())
    }
}

impl TaskType {
    /// The name without its version: `switch.set-vlan`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once('@').map_or(&*self.0, |(name, _)| name)
    }
}

impl PoolName {
    /// The pool a step uses when it names none.
    #[must_use]
    pub fn default_pool() -> Self {
        Self("default".into())
    }
}

/// Which way a task goes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Make the effect.
    Do,
    /// Take the effect back (compensate).
    Undo,
    /// Find out whether `do` happened; changes nothing.
    Probe,
}

impl Direction {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Do => "do",
            Self::Undo => "undo",
            Self::Probe => "probe",
        }
    }
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
