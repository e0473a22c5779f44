//! Whatever comes from outside, read: saga definitions, expressions, messages. Guarantee of each function: whatever the bytes, it returns; it says whether they were read,
//! and panics where something was read that must never be. `tests/corpus.rs` gives them what lies in `corpus`, in every run; the programs in `bin` search for more.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use baton_engine::definition::{NoSagas, Unannounced, check_among};
use baton_engine::expr::{Expr, RESULT_BYTES_MAX};
use baton_engine::plan::plan;
use baton_engine::{Catalogue, Definition};
use baton_messages::{
    BODY_BYTES_MAX, ControlMessage, Event, FleetMessage, InboxMessage, Manifest, TaskMessage,
    TasksMessage,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// What became of bytes that were to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// They were read, and everything that follows was done with them.
    Read,
    /// They were refused.
    Refused,
}

/// The most that is said of one document, with the line that says how much more there is.
const SAID_MAX: usize = 101;

/// What separates an expression from the values it is evaluated over.
const OVER: &str = "\n---\n";

/// The task types that are shipped: a document may name them.
static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let text = include_str!("../../../schemas/json/catalogue.json");
    let manifests: Vec<Manifest> = serde_json::from_str(text).unwrap_or_default();
    let mut catalogue = Catalogue::default();
    for manifest in manifests {
        let name = manifest.task_type.to_string();
        let known = catalogue.announce(manifest);
        assert!(known.is_ok(), "{name} is shipped and refused: {known:?}");
    }
    let count = catalogue.manifests().count();
    assert!(count > 10, "the catalogue was not read");
    catalogue
});

/// A saga definition as somebody registers it: read, and checked with its expressions, types and task types; what passes is read again as it is when the orchestrator
/// starts, and planned.
///
/// # Panics
/// Where what is said of it is not bounded or points nowhere, or what has passed cannot be read again.
#[must_use]
pub fn definition(bytes: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(bytes);
    let found = check_among(&text, &CATALOGUE, &NoSagas, Unannounced::RefusedWhenNear);
    for said in [&found.errors, &found.warnings] {
        assert!(said.len() <= SAID_MAX, "{} are said", said.len());
        for one in said {
            assert!(one.line >= 1 && one.column >= 1, "points nowhere: {one:?}");
        }
    }
    if !found.errors.is_empty() {
        return Outcome::Refused;
    }
    let again = Definition::parse(&text);
    let Ok(definition) = again else {
        panic!("was checked and cannot be read: {again:?}");
    };
    let _ = plan(&definition, &CATALOGUE, None);
    let _ = plan(&definition, &CATALOGUE, Some(&json!({})));
    Outcome::Read
}

/// An expression, and after a line `---` the values it is evaluated over, as a JSON object of variables: compiled, evaluated twice, and typed as the output of a saga.
///
/// # Panics
/// Where it gives another value the second time, or one that is larger than may be.
#[must_use]
pub fn expression(bytes: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(bytes);
    let (text, over) = text.split_once(OVER).unwrap_or((&text, "{}"));
    typed(text);
    let Ok(expression) = Expr::compile(text) else {
        return Outcome::Refused;
    };
    let scope: BTreeMap<String, Value> = serde_json::from_str(over).unwrap_or_default();
    let value = expression.eval(&scope);
    assert_eq!(value, expression.eval(&scope), "it depends on chance");
    if let Ok(value) = &value {
        let bytes = value.to_string().len();
        assert!(bytes <= RESULT_BYTES_MAX, "gives {bytes} bytes");
    }
    Outcome::Read
}

/// The expression in a definition whose input has a schema: what it may be is inferred.
fn typed(text: &str) {
    let quoted = json!(format!("${{ {text} }}"));
    let document = format!(
        "saga: s\nversion: 1\ninput: {{ type: object, properties: {{ n: {{ type: integer }}, s: {{ type: string }}, l: {{ type: array, items: {{ type: number }} }}, o: {{ type: object }} }} }}\nsteps:\n  - {{ id: nap, sleep: 1s }}\noutput: {quoted}\n"
    );
    let _ = definition(document.as_bytes());
}

/// A body off the bus, read as each kind of message there is. What was read is written and read again.
///
/// # Panics
/// Where it is something else the second time.
#[must_use]
pub fn messages(bytes: &[u8]) -> Outcome {
    if bytes.len() > BODY_BYTES_MAX {
        // parked by its size, before anybody reads it
        return Outcome::Refused;
    }
    let read = [
        message::<TaskMessage>(bytes),
        message::<TasksMessage>(bytes),
        message::<InboxMessage>(bytes),
        message::<ControlMessage>(bytes),
        message::<FleetMessage>(bytes),
        message::<Event>(bytes),
        message::<Manifest>(bytes),
    ];
    if read.contains(&Outcome::Read) {
        Outcome::Read
    } else {
        Outcome::Refused
    }
}

fn message<T>(bytes: &[u8]) -> Outcome
where
    T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug,
{
    let Ok(message) = serde_json::from_slice::<T>(bytes) else {
        return Outcome::Refused;
    };
    let written = serde_json::to_vec(&message);
    let Ok(written) = written else {
        panic!("was read and cannot be written: {message:?}");
    };
    let again = serde_json::from_slice::<T>(&written);
    let same = again.as_ref().is_ok_and(|again| *again == message);
    assert!(same, "is {again:?} the second time, not {message:?}");
    Outcome::Read
}
