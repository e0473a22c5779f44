//! The catalogue: the manifests of the shipped fleet as its own program prints them, checked before they are kept.

use std::collections::BTreeSet;

use baton_messages::Manifest;

use crate::documents;

/// The text of `catalogue.json`: the manifests sorted by type, each with usable schemas that its own examples fit.
///
/// # Errors
/// A sentence that names the type and what is wrong with it.
pub(crate) fn rendered(text: &str) -> Result<String, String> {
    let mut manifests: Vec<Manifest> = serde_json::from_str(text)
        .map_err(|e| format!("the catalogue is not a JSON array of manifests: {e}"))?;
    manifests.sort_by(|a, b| a.task_type.cmp(&b.task_type));
    let mut seen = BTreeSet::new();
    for manifest in &manifests {
        if !seen.insert(&manifest.task_type) {
            return Err(format!("{} stands twice", manifest.task_type));
        }
        sound(manifest)?;
    }
    documents::json(serde_json::to_value(&manifests).map_err(|e| e.to_string())?)
}

fn sound(manifest: &Manifest) -> Result<(), String> {
    let of = &manifest.task_type;
    let input = jsonschema::validator_for(&manifest.input)
        .map_err(|e| format!("the input schema of {of} is no JSON Schema: {e}"))?;
    jsonschema::validator_for(&manifest.output)
        .map_err(|e| format!("the output schema of {of} is no JSON Schema: {e}"))?;
    for example in &manifest.examples {
        input
            .validate(example)
            .map_err(|e| format!("an example of {of} does not fit its input: {e}"))?;
    }
    Ok(())
}
