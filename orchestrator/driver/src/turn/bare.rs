//! A letter of no saga that the store does not take as it came: what of it is kept, and what of it is said. Nothing of its properties or its body goes into the log,
//! which everybody may read; they stand with the letter, byte for byte, in a form no store refuses.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use crate::batch::DeadLetterRow;

/// Where all that is known of it beside its body stands among its properties: base64 of JSON. By its name it is covered for whoever may not see secrets.
const REST: &str = "as_came_with_secrets_base64";

/// Says that the store does not take this letter as it came: by what it is found, and how large it is.
pub(super) fn say(letter: &DeadLetterRow, why: &str) {
    tracing::error!(
        error = why, letter = %letter.id, queue = ?letter.queue, message_id = ?letter.message_id,
        body_bytes = letter.body.len(), properties_bytes = letter.properties.to_string().len(),
        "a dead letter could not be stored as it came; its body is kept, and what else was known of it stands in its properties, as base64"
    );
}

/// The letter with all that is known of it in one text of letters and digits.
pub(super) fn with_rest(letter: &DeadLetterRow) -> DeadLetterRow {
    let rest = json!({
        "error": letter.error, "queue": letter.queue, "exchange": letter.exchange, "key": letter.key,
        "message_id": letter.message_id, "kind": letter.kind, "properties": letter.properties,
    });
    DeadLetterRow {
        error: format!(
            "the store did not take what else was known of it as it came: it is base64 of JSON under `{REST}` in its properties"
        ),
        properties: json!({ REST: BASE64.encode(rest.to_string()) }),
        ..body_alone(letter)
    }
}

/// The letter by what nobody may lose.
pub(super) fn body_alone(letter: &DeadLetterRow) -> DeadLetterRow {
    DeadLetterRow {
        id: letter.id,
        at: letter.at,
        reason: letter.reason,
        error: "the store did not take what else was known of it, in whatever form; the orchestrator's log names it".to_owned(),
        queue: String::new(),
        exchange: String::new(),
        key: String::new(),
        message_id: None,
        kind: None,
        saga: letter.saga,
        properties: serde_json::Value::Null,
        body: letter.body.clone(),
    }
}
