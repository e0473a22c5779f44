//! The JSON Schema of a saga's input.

use std::sync::Arc;

use serde_json::Value;

use crate::types::whole_numbers;

/// The most complaints shown about one input: enough to mend it, little enough to read.
const COMPLAINTS_MAX: usize = 8;

/// A compiled JSON Schema (2020-12 unless it says otherwise; formats are checked; references stay inside the document).
#[derive(Debug, Clone)]
pub struct InputSchema {
    schema: Arc<Value>,
    validator: Arc<jsonschema::Validator>,
}

impl InputSchema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// Why it is none.
    pub fn compile(schema: Value) -> Result<Self, String> {
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .map_err(|e| e.to_string())?;
        Ok(Self {
            schema: Arc::new(schema),
            validator: Arc::new(validator),
        })
    }

    /// The schema as written.
    #[must_use]
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// Whether a value fits.
    ///
    /// # Errors
    /// What does not fit and where; values are masked.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let misfits = self.misfits(value);
        if misfits.is_empty() {
            return Ok(());
        }
        let complaints: Vec<String> = misfits.iter().map(ToString::to_string).collect();
        Err(complaints.join("; "))
    }

    /// A value that fits with every integer as expressions have it; none where it is so already.
    pub(crate) fn whole_numbers(&self, value: &Value) -> Option<Value> {
        whole_numbers(&self.schema, value)
    }

    /// Where a value does not fit; the first of several places. None when it does.
    #[must_use]
    pub fn misfits(&self, value: &Value) -> Vec<InputMisfit> {
        misfits(&self.validator, value)
    }
}

/// One place where an input does not fit its schema; values are masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputMisfit {
    /// A JSON pointer into the input; empty: the input itself.
    pub path: String,
    /// What does not fit.
    pub message: String,
}

impl std::fmt::Display for InputMisfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path.as_str() {
            "" => write!(f, "the input: {}", self.message),
            path => write!(f, "input{path}: {}", self.message),
        }
    }
}

/// Where a value does not fit.
pub(crate) fn misfits(validator: &jsonschema::Validator, value: &Value) -> Vec<InputMisfit> {
    let errors = validator.iter_errors(value).take(COMPLAINTS_MAX);
    let misfit = |error: jsonschema::ValidationError<'_>| InputMisfit {
        path: error.instance_path().to_string(),
        message: error.masked().to_string(),
    };
    errors.map(misfit).collect()
}
