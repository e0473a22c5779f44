//! Secrets handed to a task: a reference stands only where the task's type takes one, and what is a secret is given by reference. Whatever is
//! given otherwise stands in the definition, in every record and in every message.

use baton_messages::secret_place::{secret_places, takes_secret};
use baton_messages::{Manifest, TaskType};
use serde_json::Value;

use super::Flow;
use crate::definition::diagnostic::code;
use crate::definition::subschemas::part;
use crate::expr::{SECRET_KEY, Shape, Template};

/// Keys that hold a secret, without what separates their words. Other places may hold one (a header, a body), and mostly hold none.
const TELLING: [&str; 10] = [
    "authorization",
    "bearer",
    "cookie",
    "credential",
    "passphrase",
    "passwd",
    "password",
    "secret",
    "token",
    "apikey",
];
/// Places named in a message.
const PLACES_NAMED: usize = 6;

/// A place within an input: the keys that lead there, and where the document has it.
#[derive(Clone)]
struct At {
    path: Vec<String>,
    pointer: String,
}

impl At {
    fn below(&self, key: &str) -> Self {
        let mut path = self.path.clone();
        path.push(key.to_owned());
        Self {
            path,
            pointer: format!("{}/{}", self.pointer, part(key)),
        }
    }
}

impl Flow<'_> {
    /// The secrets of an input, and what should be one.
    pub(super) fn secrets(&mut self, task: &TaskType, with: &Template, pointer: &str) {
        let catalogue = self.catalogue;
        let Some(known) = catalogue.get(task) else {
            return;
        };
        let at = At {
            path: Vec::new(),
            pointer: pointer.to_owned(),
        };
        self.secrets_below(&known.manifest, &with.shape(), &at);
    }

    fn secrets_below(&mut self, manifest: &Manifest, shape: &Shape<'_>, at: &At) {
        match shape {
            Shape::Literal(value) => self.secrets_of_value(manifest, value, at),
            Shape::Hole(expr) if expr.is_unreadable() => {}
            Shape::Hole(_) | Shape::Text(_) => self.should_be_secret(manifest, at),
            Shape::List(items) => {
                for (n, item) in items.iter().enumerate() {
                    self.secrets_below(manifest, item, &at.below(&n.to_string()));
                }
            }
            Shape::Object(entries) => {
                for (key, item) in entries {
                    self.secrets_below(manifest, item, &at.below(key));
                }
            }
        }
    }

    fn secrets_of_value(&mut self, manifest: &Manifest, value: &Value, at: &At) {
        match value {
            Value::Object(map) if map.contains_key(SECRET_KEY) => self.reference(manifest, at),
            Value::Object(map) => {
                for (key, value) in map {
                    self.secrets_of_value(manifest, value, &at.below(key));
                }
            }
            Value::Array(items) => {
                for (n, value) in items.iter().enumerate() {
                    self.secrets_of_value(manifest, value, &at.below(&n.to_string()));
                }
            }
            Value::String(_) | Value::Number(_) => self.should_be_secret(manifest, at),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// A worker refuses a reference where the schema says nothing of a secret.
    fn reference(&mut self, manifest: &Manifest, at: &At) {
        if takes_secret(&manifest.input, &at.path) {
            return;
        }
        let task = &manifest.task_type;
        let message = format!("{task} takes no secret at `{}`", at.path.join("."));
        let places = secret_places(&manifest.input);
        let help = match places.len() {
            0 => format!(
                "leave the secret out: {task} takes none; a task that takes one says so in `baton tasks show TYPE`"
            ),
            n if n <= PLACES_NAMED => format!("it takes secrets at {}", places.join(", ")),
            _ => format!(
                "it takes secrets at {}, …; all of them: baton tasks show {task}",
                places[..PLACES_NAMED].join(", ")
            ),
        };
        let mark = self.tree.mark_at(&at.pointer);
        self.error(code::SECRET_PLACE, mark, message, help);
    }

    fn should_be_secret(&mut self, manifest: &Manifest, at: &At) {
        if !telling(&at.path) || !takes_secret(&manifest.input, &at.path) {
            return;
        }
        let message = format!(
            "`{}` is a secret, and stands here for everybody to read: in the definition, the records and the messages",
            at.path.join(".")
        );
        // an item of a list has no key of its own
        let key = at.path.last().filter(|key| key.parse::<usize>().is_err());
        let key = key.map_or_else(String::new, |key| format!("{key}: "));
        let help = format!(
            "name it: `{key}\"${{ secret('NAME') }}\"`; the worker has it in its configuration, [secrets.NAME]"
        );
        let mark = self.tree.mark_at(&at.pointer);
        self.warning(code::PLAIN_SECRET, mark, message, help);
    }
}

/// Whether the last key, or one above it, says that a secret stands here.
fn telling(path: &[String]) -> bool {
    path.iter().any(|key| {
        let plain: String = key
            .chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect();
        TELLING.iter().any(|word| plain.contains(word))
    })
}
