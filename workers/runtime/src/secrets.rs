//! Secrets: resolved in the worker, last thing before an automation is entered, and masked in everything that leaves it afterwards.
//!
//! A task carries references only; so do the store, the queues and dead letters. What was resolved lies behind the [`Veil`] of the worker:
//! results, errors and lines of log are masked by all the secrets the worker has ever seen, not only those of the run at hand, since what
//! one run put somewhere another may read. A checkpoint that holds a secret is refused: masked, it would not be what was there.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use baton_messages::{ProbeAnswer, TaskResult, TaskType};
use futures::future::BoxFuture;
use serde_json::Value;

use crate::context::Context;
use crate::masks::Masks;
use crate::secret_refs::{names, replace};
use crate::task_error::TaskError;

/// How many values are masked at most; beyond them the oldest are forgotten. More than this no worker is trusted with.
const VALUES_MAX: usize = 256;
/// A shorter secret cannot be masked without making every text unreadable.
const SECRET_BYTES_MIN: usize = 6;

/// Why a secret is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Nobody has set it up here.
    #[error(
        "the secret {name} is not known to this worker: set [secrets.{name}] in its configuration"
    )]
    Unknown {
        /// Its name.
        name: String,
    },
    /// It is not for this type.
    #[error(
        "the secret {name} is not for {task_type}: see `types` of [secrets.{name}] in the configuration of the worker"
    )]
    NotForType {
        /// Its name.
        name: String,
        /// The type.
        task_type: String,
    },
    /// It could not be read just now.
    #[error("the secret {name} cannot be read: {why}")]
    Unreadable {
        /// Its name.
        name: String,
        /// Why not; nothing of the secret.
        why: String,
    },
    /// It is too short to be masked.
    #[error("the secret {name} is shorter than {SECRET_BYTES_MIN} bytes, and could not be masked")]
    TooShort {
        /// Its name.
        name: String,
    },
}

/// Nothing has been done when a secret is missing.
impl From<SecretError> for TaskError {
    fn from(error: SecretError) -> Self {
        let told = |code: &str| Self::failed(code, error.to_string());
        match &error {
            SecretError::Unknown { .. } => told("secret-unknown"),
            SecretError::NotForType { .. } => told("secret-denied"),
            SecretError::TooShort { .. } => told("secret-too-short"),
            SecretError::Unreadable { .. } => told("secret-unreadable").retryable(),
        }
    }
}

/// Where secrets are found.
pub trait SecretSource: Send + Sync {
    /// The secret of that name, for a task of that type.
    ///
    /// # Errors
    /// [`SecretError`], which says nothing of the secret.
    fn find<'a>(
        &'a self,
        context: &'a Context,
        task_type: &'a TaskType,
        name: &'a str,
    ) -> BoxFuture<'a, Result<String, SecretError>>;
}

/// The secrets of one worker.
#[derive(Clone, Default)]
pub struct Secrets {
    source: Option<Arc<dyn SecretSource>>,
    veil: Veil,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// Found there, masked behind this veil.
    #[must_use]
    pub fn from_source(source: Arc<dyn SecretSource>, veil: Veil) -> Self {
        Self {
            source: Some(source),
            veil,
        }
    }

    pub(crate) const fn veil(&self) -> &Veil {
        &self.veil
    }

    /// Replaces every reference in `input`.
    pub(crate) async fn resolve_in(
        &self,
        context: &Context,
        task_type: &TaskType,
        input: &mut Value,
    ) -> Result<(), SecretError> {
        for name in names(input) {
            let Some(source) = &self.source else {
                return Err(SecretError::Unknown { name });
            };
            let secret = source.find(context, task_type, &name).await?;
            if secret.len() < SECRET_BYTES_MIN {
                return Err(SecretError::TooShort { name });
            }
            // Behind the veil first: from here on nothing may show it.
            self.veil.add(&secret);
            replace(input, &name, &secret);
        }
        Ok(())
    }
}

/// All secrets one worker has seen, and masks for them. Cheap to clone; every clone knows the same.
#[derive(Clone, Default)]
pub struct Veil {
    seen: Arc<RwLock<Seen>>,
}

#[derive(Default)]
struct Seen {
    values: VecDeque<String>,
    masks: Arc<Masks>,
}

impl fmt::Debug for Veil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Veil")
    }
}

impl Veil {
    /// Masks this value from now on.
    pub fn add(&self, secret: &str) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = seen.values.iter().position(|value| value == secret) {
            // The oldest is the one longest not used: a password of every day is not forgotten for tokens that come and go.
            if let Some(value) = seen.values.remove(at) {
                seen.values.push_back(value);
            }
            return;
        }
        if seen.values.len() >= VALUES_MAX {
            seen.values.pop_front();
        }
        seen.values.push_back(secret.to_owned());
        seen.masks = Arc::new(Masks::of(&seen.values));
    }

    /// The masks there are now.
    #[must_use]
    pub fn masks(&self) -> Arc<Masks> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.masks.clone()
    }

    /// The text, masked.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        self.masks().hide(text)
    }

    /// Whether there is a secret in the value.
    pub(crate) fn covers(&self, value: &Value) -> bool {
        let masks = self.masks();
        !masks.is_empty()
            && (masks.hide_in(value.clone()) != *value || hidden_base64(&masks, value))
    }

    /// How an attempt ended, masked.
    pub(crate) fn hide_in(&self, result: TaskResult) -> TaskResult {
        let masks = self.masks();
        if masks.is_empty() {
            return result;
        }
        let told = |mut failure: baton_messages::Failure| {
            failure.code = masks.hide(&failure.code);
            failure.message = masks.hide(&failure.message);
            failure
        };
        match result {
            TaskResult::Succeeded { output } => TaskResult::Succeeded {
                output: masks.hide_in(output),
            },
            TaskResult::Failed(failure) => TaskResult::Failed(told(failure)),
            TaskResult::Unknown(failure) => TaskResult::Unknown(told(failure)),
            TaskResult::Probed(ProbeAnswer::Happened { output }) => {
                TaskResult::Probed(ProbeAnswer::Happened {
                    output: masks.hide_in(output),
                })
            }
            TaskResult::Probed(ProbeAnswer::CannotTell { reason }) => {
                TaskResult::Probed(ProbeAnswer::CannotTell {
                    reason: masks.hide(&reason),
                })
            }
            TaskResult::Probed(ProbeAnswer::DidNot) | TaskResult::NotRun { .. } => result,
        }
    }
}

/// Whether a text of the value is base 64 of something that holds a secret in another form than plain: a before-image is written so.
fn hidden_base64(masks: &Masks, value: &Value) -> bool {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    match value {
        Value::String(text) => STANDARD
            .decode(text)
            .ok()
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .is_some_and(|text| masks.hide(&text) != text),
        Value::Array(items) => items.iter().any(|item| hidden_base64(masks, item)),
        Value::Object(map) => map.values().any(|item| hidden_base64(masks, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use baton_messages::Direction;
    use serde_json::json;

    use super::*;
    use crate::testing::TestStep;

    struct One;

    impl SecretSource for One {
        fn find<'a>(
            &'a self,
            _: &'a Context,
            _: &'a TaskType,
            name: &'a str,
        ) -> BoxFuture<'a, Result<String, SecretError>> {
            Box::pin(async move {
                match name {
                    "db" => Ok("correct horse".to_owned()),
                    "short" => Ok("12345".to_owned()),
                    _ => Err(SecretError::Unknown {
                        name: name.to_owned(),
                    }),
                }
            })
        }
    }

    #[tokio::test]
    async fn what_is_resolved_is_masked_from_then_on_and_never_stored() {
        let secrets = Secrets::from_source(Arc::new(One), Veil::default());
        let mut context = TestStep::new().attempt(Direction::Do).unwrap();
        context.veil = secrets.veil().clone();
        let task_type = TaskType::new("test.echo@1").unwrap();
        let mut input = json!({ "a": { "$secret": "db" }, "b": "plain" });
        secrets
            .resolve_in(&context, &task_type, &mut input)
            .await
            .unwrap();
        assert_eq!(input, json!({ "a": "correct horse", "b": "plain" }));

        let shown = secrets.veil().hide_in(TaskResult::Succeeded {
            output: json!({ "said": "it is correct horse", "correct horse": 1 }),
        });
        assert_eq!(
            shown,
            TaskResult::Succeeded {
                output: json!({ "said": "it is ***", "***": 1 })
            }
        );
        let failed = TaskError::failed("x", "no correct%20horse").into_result();
        let TaskResult::Failed(failure) = secrets.veil().hide_in(failed) else {
            panic!("another result")
        };
        assert_eq!(failure.message, "no ***");
        // "xcorrect horse" in base 64 of base 64 is seen through as well.
        for held in [
            json!("correct horse"),
            json!({ "content_base64": "cGFzcyA9IGNvcnJlY3QgaG9yc2UK" }),
        ] {
            let refused = context.checkpoint_before(held.clone()).await.unwrap_err();
            assert_eq!(TaskError::from(refused).code(), "checkpoint-holds-secret");
            assert!(context.checkpoint_progress(held).await.is_err());
        }
        context.checkpoint_before(json!("plain")).await.unwrap();
    }

    #[test]
    fn what_is_used_again_and_again_is_not_forgotten_for_what_comes_and_goes() {
        let veil = Veil::default();
        for number in 0..VALUES_MAX + 8 {
            veil.add("the password of every day");
            veil.add(&format!("token of the moment {number:05}"));
        }
        assert_eq!(veil.hide("the password of every day"), "***");
    }

    #[tokio::test]
    async fn what_is_not_to_be_had_is_said_without_it() {
        let secrets = Secrets::from_source(Arc::new(One), Veil::default());
        let context = TestStep::new().attempt(Direction::Do).unwrap();
        let task_type = TaskType::new("test.echo@1").unwrap();
        for (name, code) in [("other", "secret-unknown"), ("short", "secret-too-short")] {
            let mut input = json!({ "$secret": name });
            let error = secrets
                .resolve_in(&context, &task_type, &mut input)
                .await
                .unwrap_err();
            let told = TaskError::from(error);
            assert_eq!(told.code(), code);
            assert!(!told.to_string().contains("12345"));
        }
        let mut input = json!({ "$secret": "db" });
        let error = Secrets::default()
            .resolve_in(&context, &task_type, &mut input)
            .await;
        assert!(matches!(error, Err(SecretError::Unknown { .. })));
    }
}
