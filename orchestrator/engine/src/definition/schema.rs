//! The JSON Schema of a saga's input.

use std::sync::Arc;

use serde_json::Value;

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
        let mut complaints = Vec::new();
        for error in self.validator.iter_errors(value).take(COMPLAINTS_MAX) {
            let at = error.instance_path().to_string();
            let at = if at.is_empty() {
                "the input".to_owned()
            } else {
                format!("input{at}")
            };
            complaints.push(format!("{at}: {}", error.masked()));
        }
        if complaints.is_empty() {
            Ok(())
        } else {
            Err(complaints.join("; "))
        }
    }
}
