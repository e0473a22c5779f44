//! The headers and properties our messages carry beside their bodies.

use crate::ids::{MessageId, SagaId};

/// Header with the version of this contract; a reader that knows only older ones parks the message.
pub const VERSION_HEADER: &str = "baton-version";
/// The version of this contract.
pub const VERSION: u32 = 1;
/// Whether a message can be read whose version header reads so: none, or a whole number up to [`VERSION`]. `Some(None)` is a header that is no
/// whole number. Workers and orchestrators hold to the same rule.
#[must_use]
pub fn version_is_known(header: Option<Option<u64>>) -> bool {
    header.is_none_or(|version| {
        version.is_some_and(|version| (1..=u64::from(VERSION)).contains(&version))
    })
}

/// Header with the W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// Header of a heartbeat: a table of how many tasks of a type the worker is glad to be sent in one message, by type, where that is more than one. It is about
/// types whose tasks are over in moments, and changes with what they took of late. A header, since readers of older versions pass over one they do not know.
pub const TOGETHER: &str = "baton-together";
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_none_or_not_ours_is_not_read() {
        assert!(version_is_known(None) && version_is_known(Some(Some(1))));
        for header in [None, Some(0), Some(2), Some(u64::MAX)] {
            assert!(!version_is_known(Some(header)), "{header:?}");
        }
    }
}
