//! The manifest of an automation, made from its constants and types, so that what is announced cannot differ from what is built.

use baton_messages::{Manifest, NameError, TaskType};
use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::automation::Automation;

/// Why an automation cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Its type's name is none.
    #[error("the automation's type does not fit: {0}")]
    Name(#[from] NameError),
    /// A schema or an example is no JSON.
    #[error("{task_type}: {what} cannot be written as JSON")]
    Json {
        /// The type.
        task_type: String,
        /// Which part.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Its input schema is not one.
    #[error("{task_type}: the input schema is not valid: {why}")]
    Schema {
        /// The type.
        task_type: String,
        /// What the compiler of schemas says.
        why: String,
    },
    /// Two automations of one type.
    #[error("{0} is registered twice: give one of them another major version")]
    Twice(TaskType),
}

/// The manifest of `A`.
///
/// # Errors
/// [`ManifestError`] when its name, schemas or examples are not right.
pub fn manifest_of<A: Automation>() -> Result<Manifest, ManifestError> {
    let json = |what: &'static str| {
        move |source| ManifestError::Json {
            task_type: A::TYPE.to_owned(),
            what,
            source,
        }
    };
    let input = schemars::schema_for!(A::Input).to_value();
    // As it is written: a field that is always there is always there for whoever reads it, whatever may be left out where it is read again.
    let written = SchemaSettings::default().for_serialize().into_generator();
    let output = written.into_root_schema_for::<A::Output>().to_value();
    let examples = A::examples()
        .into_iter()
        .map(serde_json::to_value)
        .collect::<Result<Vec<Value>, _>>()
        .map_err(json("an example"))?;
    Ok(Manifest {
        task_type: TaskType::new(A::TYPE)?,
        summary: A::SUMMARY.to_owned(),
        input,
        output,
        effect: A::EFFECT,
        idempotent: A::IDEMPOTENT,
        before_image: A::BEFORE_IMAGE,
        undo: A::HAS_UNDO,
        probe: A::HAS_PROBE,
        dry_run: false,
        lock: A::LOCK.map(str::to_owned),
        timeout_ms_default: A::TIMEOUT_MS_DEFAULT,
        timeout_ms_max: A::TIMEOUT_MS_MAX,
        settle_ms: A::SETTLE_MS,
        retry: A::retry(),
        needs: A::NEEDS.iter().map(|need| (*need).to_owned()).collect(),
        examples,
    })
}

#[cfg(test)]
mod tests {
    use baton_messages::Effect;
    use serde_json::json;

    use super::*;
    use crate::{Context, TaskError};

    struct Sees;

    #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    struct Seen {
        always: Option<String>,
        #[serde(default)]
        filled: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        sometimes: Option<String>,
    }

    impl Automation for Sees {
        const TYPE: &'static str = "test.see@1";
        const SUMMARY: &'static str = "Sees";
        const EFFECT: Effect = Effect::None;
        const IDEMPOTENT: bool = true;
        type Input = Seen;
        type Output = Seen;

        async fn run(&self, _: &Context, input: Seen) -> Result<Seen, TaskError> {
            Ok(input)
        }
    }

    #[test]
    fn an_input_is_described_as_it_is_read_and_an_output_as_it_is_written() {
        let manifest = manifest_of::<Sees>().unwrap();
        assert_eq!(manifest.output["required"], json!(["always", "filled"]));
        assert_eq!(manifest.input.get("required"), None);
    }
}
