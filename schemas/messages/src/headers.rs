//! The headers and properties our messages carry beside their bodies.

use crate::ids::{MessageId, SagaId};

/// Header with the version of this contract; a reader that knows only older ones parks the message.
pub const VERSION_HEADER: &str = "baton-version";
/// The version of this contract.
pub const VERSION: u32 = 1;
/// Header with the W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// The `app_id` of everything we publish.
pub const APP_ID: &str = "baton";
/// The content type of our bodies.
pub const JSON: &str = "application/json";
/// The content type of a structured event.
pub const CLOUDEVENTS_JSON: &str = "application/cloudevents+json";

/// The W3C `traceparent` of a message: the saga id is the trace id, so that everything done for a saga is one trace without
/// a word being stored; the parent span is the first half of the message id.
/// Source: W3C Trace Context, section 3.2.
#[must_use]
pub fn traceparent(saga: SagaId, message: MessageId) -> String {
    let (span, _) = message.0.as_u64_pair();
    // A span id of all zeros is invalid; a UUIDv5 never begins so in practice, and one bit makes sure.
    format!("00-{}-{:016x}-01", saga.0.simple(), span | 1)
}
