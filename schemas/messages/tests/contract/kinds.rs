//! The kinds of messages as a test sees them: a name, a schema on disk, and a way to read the body as its type.

use std::path::{Path, PathBuf};

use baton_messages::{
    ControlMessage, Event, FleetMessage, InboxMessage, Manifest, TaskMessage, TasksMessage,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Where everything that is written down for others stands.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../json")
}

/// Names of what is in a directory, sorted.
pub(crate) fn listed(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap_or_else(|e| panic!("{}: {e}", directory.display()))
        .map(|entry| {
            entry
                .expect("entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    names.sort();
    names
}

/// Every kind that has a schema on disk.
pub(crate) fn all() -> Vec<String> {
    listed(&directory().join("messages"))
        .into_iter()
        .map(|name| name.trim_end_matches(".json").to_owned())
        .collect()
}

/// The schema on disk, ready to validate.
pub(crate) fn validator(kind: &str) -> jsonschema::Validator {
    let path = directory().join(format!("messages/{kind}.json"));
    let text = std::fs::read_to_string(&path).expect("schema");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    jsonschema::draft202012::meta::validate(&schema)
        .unwrap_or_else(|e| panic!("the schema of {kind} is no 2020-12 schema: {e}"));
    jsonschema::draft202012::new(&schema).expect("schema")
}

/// Reads a body as the type of its kind and gives back what is written of it, and the kind the type says it is.
pub(crate) fn read(kind: &str, body: &[u8]) -> Result<(Value, String), String> {
    fn through<T: DeserializeOwned + Serialize>(
        body: &[u8],
        kind: impl Fn(&T) -> &'static str,
    ) -> Result<(Value, String), String> {
        let message: T = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        let written = serde_json::to_value(&message).map_err(|e| e.to_string())?;
        Ok((written, kind(&message).to_owned()))
    }
    match family(kind) {
        "event" => through::<Event>(body, |_| "event"),
        "task" => through::<TaskMessage>(body, TaskMessage::kind),
        "tasks" => through::<TasksMessage>(body, TasksMessage::kind),
        "inbox" => through::<InboxMessage>(body, InboxMessage::kind),
        "control" => through::<ControlMessage>(body, ControlMessage::kind),
        "fleet" => through::<FleetMessage>(body, FleetMessage::kind),
        "manifest" => through::<Manifest>(body, |_| "manifest"),
        other => Err(format!("no reader for family {other}")),
    }
}

fn family(kind: &str) -> &'static str {
    crate::schemas::kinds()
        .expect("kinds")
        .into_iter()
        .find(|known| known.name == kind)
        .unwrap_or_else(|| panic!("{kind} has a file but no type"))
        .family
}
