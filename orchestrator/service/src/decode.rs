//! From a delivery of the inbox to an input of the engine, or to the reason why nobody can use it. The one gate for bytes from outside:
//! size, version, kind, shape, in this order, cheapest first.

use baton_bus::{DELIVERY_LIMIT, Delivery};
use baton_engine::{Input, Refusal};
use baton_messages::headers::{VERSION, VERSION_HEADER};
use baton_messages::inbox::Marker;
use baton_messages::{BODY_BYTES_MAX, DeadReason, InboxMessage, SagaId};

/// What an inbox message asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Read {
    /// An input about a saga.
    Input(SagaId, Box<Input>),
    /// An orchestrator's own marker, come back.
    Marker(Marker),
}

/// Why a message cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unusable {
    /// One word.
    pub(crate) reason: DeadReason,
    /// A sentence, without the message's content.
    pub(crate) error: String,
}

impl Unusable {
    fn new(reason: DeadReason, error: impl Into<String>) -> Self {
        Self {
            reason,
            error: error.into(),
        }
    }
}

/// The kinds of the inbox this version reads.
const KINDS: [&str; 5] = [
    "started@1",
    "checkpoint@1",
    "finished@1",
    "start@1",
    "marker@1",
];

/// Reads one delivery of the inbox.
///
/// # Errors
/// [`Unusable`]: to be parked with this reason.
pub(crate) fn inbox(delivery: &Delivery) -> Result<Read, Unusable> {
    if delivery.deliveries > DELIVERY_LIMIT {
        return Err(Unusable::new(
            DeadReason::DeliveredTooOften,
            format!(
                "delivered {} times without being answered; it may be what stops its consumers",
                delivery.deliveries
            ),
        ));
    }
    let version = delivery.headers.get(VERSION_HEADER);
    if let Some(version) = version
        && version.as_u64() != Some(u64::from(VERSION))
    {
        return Err(Unusable::new(
            DeadReason::UnknownKind,
            format!("header {VERSION_HEADER} is {version:?}; this orchestrator reads {VERSION}"),
        ));
    }
    bytes(&delivery.body, delivery.kind.as_deref()).map(read)
}

fn bytes(body: &[u8], kind: Option<&str>) -> Result<InboxMessage, Unusable> {
    if body.len() > BODY_BYTES_MAX {
        return Err(Unusable::new(
            DeadReason::TooLarge,
            format!("{} bytes; at most {BODY_BYTES_MAX} are read", body.len()),
        ));
    }
    if let Some(kind) = kind
        && !KINDS.contains(&kind)
    {
        return Err(Unusable::new(
            DeadReason::UnknownKind,
            format!("no orchestrator of this version reads {kind:?} from its inbox"),
        ));
    }
    serde_json::from_slice(body).map_err(|error| misshapen(body, &error))
}

/// Only after it failed is it looked at closer: whether it is another version of something, or nothing.
fn misshapen(body: &[u8], error: &serde_json::Error) -> Unusable {
    let tag = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body)
        .ok()
        .filter(|map| map.len() == 1)
        .and_then(|map| map.into_iter().next())
        .map(|(tag, _)| tag);
    match tag {
        Some(tag) if !KINDS.contains(&tag.as_str()) && tag.contains('@') => Unusable::new(
            DeadReason::UnknownKind,
            format!("no orchestrator of this version reads {tag:?} from its inbox"),
        ),
        _ => Unusable::new(
            DeadReason::Undecodable,
            format!("not of its kind's shape: {}", place(error)),
        ),
    }
}

/// What is wrong and where, without the error's own text: that quotes the message, which may hold what no log should.
fn place(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let what = match error.classify() {
        Category::Io | Category::Eof => "it ends too early",
        Category::Syntax => "no JSON",
        Category::Data => "a field is missing, unknown or of another type",
    };
    format!("{what}, line {} column {}", error.line(), error.column())
}

fn read(message: InboxMessage) -> Read {
    let (saga, input) = match message {
        InboxMessage::Started(m) => (m.of.saga, Input::TaskStarted(m)),
        InboxMessage::Checkpoint(m) => (m.of.saga, Input::Checkpoint(m)),
        InboxMessage::Finished(m) => (m.of.saga, Input::TaskFinished(m)),
        InboxMessage::Start(m) => (m.saga, Input::Start(m)),
        InboxMessage::Marker(m) => return Read::Marker(m),
    };
    Read::Input(saga, Box::new(input))
}

/// Whether a message whose input was refused is to be parked, and why. What a saga has only moved past is not: it was read and understood.
pub(crate) fn refused(refusal: &Refusal) -> Option<Unusable> {
    let reason = match refusal {
        Refusal::NoSaga | Refusal::NoSuch { .. } => DeadReason::UnknownSaga,
        Refusal::Misfit { .. } => DeadReason::Misfit,
        // Kept for whoever mends the saga: what it reports may be the only trace of what was done.
        Refusal::Unreadable => DeadReason::Other,
        Refusal::Ended { .. }
        | Refusal::Moved { .. }
        | Refusal::NotYours { .. }
        | Refusal::NotNow { .. } => return None,
    };
    Some(Unusable::new(reason, refusal.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(body: &[u8], kind: Option<&str>) -> DeadReason {
        bytes(body, kind).unwrap_err().reason
    }

    #[test]
    fn each_way_of_being_unusable_has_its_reason() {
        assert_eq!(reason(b"not json", None), DeadReason::Undecodable);
        assert_eq!(reason(b"{}", Some("finished@1")), DeadReason::Undecodable);
        assert_eq!(
            reason(b"{\"finished@1\":{}}", Some("finished@1")),
            DeadReason::Undecodable
        );
        assert_eq!(
            reason(b"{\"finished@2\":{}}", None),
            DeadReason::UnknownKind
        );
        assert_eq!(reason(b"{}", Some("finished@2")), DeadReason::UnknownKind);
        let large = vec![b' '; BODY_BYTES_MAX + 1];
        assert_eq!(reason(&large, None), DeadReason::TooLarge);
    }

    #[test]
    fn what_is_wrong_is_told_without_the_content() {
        let secret = br#"{"marker@1":{"from":"me","number":"hunter2"}}"#;
        let error = bytes(secret, None).unwrap_err().error;
        assert!(!error.contains("hunter2"), "{error}");
        assert!(error.contains("line 1 column"), "{error}");
        let error = bytes(br#"{"started@1":{"hunter2":1}}"#, None)
            .unwrap_err()
            .error;
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_marker_is_told_from_an_input() {
        let marker = br#"{"marker@1":{"from":"me","number":7}}"#;
        let message = bytes(marker, Some("marker@1")).unwrap();
        assert_eq!(
            read(message),
            Read::Marker(Marker {
                from: "me".into(),
                number: 7
            })
        );
        let start = br#"{"start@1":{"id":"00000000-0000-0000-0000-000000000001","saga":"00000000-0000-0000-0000-000000000002","definition":"a","input":{},"by":"x"}}"#;
        let Read::Input(saga, input) = read(bytes(start, None).unwrap()) else {
            panic!("a start is an input")
        };
        assert_eq!(saga.to_string(), "00000000-0000-0000-0000-000000000002");
        assert_eq!(input.kind(), "start");
    }

    #[test]
    fn only_what_nobody_knows_or_fits_is_parked() {
        assert_eq!(
            refused(&Refusal::NoSaga).unwrap().reason,
            DeadReason::UnknownSaga
        );
        let unreadable = refused(&Refusal::Unreadable).unwrap();
        assert_eq!(unreadable.reason, DeadReason::Other);
        assert!(
            refused(&Refusal::Ended {
                status: "completed"
            })
            .is_none()
        );
    }
}
