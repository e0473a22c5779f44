//! From a delivery of the inbox to inputs of the engine, or to the reason why nobody can use it. The one gate for bytes from outside:
//! size, version, kind, shape, in this order, cheapest first.
//!
//! A batch, of reports or of starts, is read whole. Where that fails and the envelope itself is sound, each part of it is read by itself: those
//! that can be used are, and the message is parked whole with what is wrong with the first that cannot. Put back to work later, the good ones are duplicates.
//! A batch that may be what kills its readers is taken apart without being read: each part of it is read when its turn comes.

use baton_bus::{Delivery, HeaderValue};
use baton_engine::{Input, Refusal};
use baton_messages::batch::{REPORTS_MAX, STARTS_MAX};
use baton_messages::headers::{VERSION, VERSION_HEADER, version_is_known};
use baton_messages::inbox::Marker;
use baton_messages::{BODY_BYTES_MAX, DeadReason, InboxMessage, Report, SagaId, Start};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What an inbox message asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Read {
    /// An input about a saga.
    Input(SagaId, Box<Input>),
    /// Several of one batch; and what is wrong with the rest of it, for which it is to be parked.
    Inputs(Vec<(SagaId, Box<Input>)>, Option<Unusable>),
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
    pub(crate) fn new(reason: DeadReason, error: impl Into<String>) -> Self {
        Self {
            reason,
            error: error.into(),
        }
    }
}

/// The kinds of the inbox this version reads.
const KINDS: [&str; 9] = [
    "started@1",
    "checkpoint@1",
    "finished@1",
    "start@1",
    "marker@1",
    "batch@1",
    "starts@1",
    "child-wanted@1",
    "child-said@1",
];

/// Reads one delivery of the inbox.
///
/// # Errors
/// [`Unusable`]: to be parked with this reason.
pub(crate) fn inbox(delivery: &Delivery) -> Result<Read, Unusable> {
    version(delivery)?;
    bytes(&delivery.body, delivery.kind.as_deref())
}

/// Reads one report that was taken out of its batch.
///
/// # Errors
/// [`Unusable`]: to be parked with this reason, by itself.
pub(crate) fn report(delivery: &Delivery) -> Result<Read, Unusable> {
    version(delivery)?;
    one(&delivery.body).map(|(saga, input)| Read::Input(saga, input))
}

/// Reads a dead letter of the inbox once more. `version`: none where its header is not there, within it none where that is no number.
///
/// # Errors
/// [`Unusable`]: it still cannot be read.
pub(crate) fn again(
    version: Option<Option<u64>>,
    body: &[u8],
    kind: Option<&str>,
) -> Result<Read, Unusable> {
    known(version_is_known(version), &version)?;
    bytes(body, kind)
}

/// Reads an input that was set aside because it could not be decided, as the loop has kept it; and the saga it is for, which is `saga` where it does not say.
///
/// # Errors
/// [`Unusable`]: it cannot be read.
pub(crate) fn set_aside(saga: SagaId, body: &[u8]) -> Result<(SagaId, Box<Input>), Unusable> {
    let input: Input = serde_json::from_slice(body).map_err(|error| {
        let error = format!("not of an input's shape: {}", place(&error));
        Unusable::new(DeadReason::Undecodable, error)
    })?;
    let said = match &input {
        Input::Start(m) => m.saga,
        Input::ChildWanted(m) => m.child,
        Input::ChildSaid(m) => m.parent.saga,
        Input::TaskStarted(m) => m.of.saga,
        Input::Checkpoint(m) => m.of.saga,
        Input::TaskFinished(m) => m.of.saga,
        _ => saga,
    };
    Ok((said, Box::new(input)))
}

/// Whether somebody asked for it by name: it is told to its saga by him alone, and by nobody who found it written down.
pub(crate) const fn is_asked_for(input: &Input) -> bool {
    match input {
        Input::Approve { .. }
        | Input::Cancel(_)
        | Input::Pause(_)
        | Input::Resume(_)
        | Input::RetryStep { .. }
        | Input::EditStep { .. }
        | Input::SkipStep { .. }
        | Input::ResolveStep { .. }
        | Input::Acknowledge { .. }
        | Input::AssignItem { .. }
        | Input::Admit(_)
        | Input::BreakLock { .. }
        | Input::Upgrade { .. }
        | Input::Abandon(_) => true,
        Input::Start(_)
        | Input::ChildWanted(_)
        | Input::ChildSaid(_)
        | Input::TaskStarted(_)
        | Input::Checkpoint(_)
        | Input::TaskFinished(_)
        | Input::TaskDead { .. }
        | Input::TaskUnroutable(_)
        | Input::TaskUnconfirmed { .. }
        | Input::Resend(_)
        | Input::TypeServed(_)
        | Input::LeaseOver { .. }
        | Input::TimerFired(_)
        | Input::EventArrived { .. }
        | Input::Joined { .. }
        | Input::Admitted { .. }
        | Input::HeldBack
        | Input::Broken { .. } => false,
    }
}

/// Whether messages of this kind are read from the inbox.
pub(crate) fn is_of_inbox(kind: Option<&str>) -> bool {
    kind.is_some_and(|kind| KINDS.contains(&kind))
}

fn version(delivery: &Delivery) -> Result<(), Unusable> {
    let version = delivery.header(VERSION_HEADER);
    let is_known = version_is_known(version.as_ref().map(HeaderValue::as_u64));
    known(is_known, &version)
}

fn known(is_known: bool, version: &dyn std::fmt::Debug) -> Result<(), Unusable> {
    if !is_known {
        return Err(Unusable::new(
            DeadReason::UnknownKind,
            format!(
                "header {VERSION_HEADER} is {version:?}; this orchestrator reads up to {VERSION}"
            ),
        ));
    }
    Ok(())
}

fn bytes(body: &[u8], kind: Option<&str>) -> Result<Read, Unusable> {
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
    match serde_json::from_slice(body) {
        Ok(message) => Ok(read(message)),
        Err(error) => one_by_one(body).ok_or_else(|| misshapen(body, &error)),
    }
}

/// A batch of which the envelope alone is looked at.
#[derive(Deserialize)]
enum Envelope<'a> {
    #[serde(rename = "batch@1", borrow)]
    Batch(SealedReports<'a>),
    #[serde(rename = "starts@1", borrow)]
    Starts(SealedStarts<'a>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedReports<'a> {
    #[serde(borrow)]
    reports: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedStarts<'a> {
    #[serde(borrow)]
    starts: Vec<&'a RawValue>,
}

/// The parts of a batch, none of them read.
#[derive(Debug)]
pub(crate) enum Apart<'a> {
    /// Each under its own tag.
    Reports(Vec<&'a RawValue>),
    /// Each without a tag.
    Starts(Vec<&'a RawValue>),
}

impl<'a> Apart<'a> {
    /// Takes a batch apart; none when it is no batch, or its envelope is at fault.
    pub(crate) fn of(body: &'a [u8]) -> Option<Self> {
        if body.len() > BODY_BYTES_MAX {
            return None;
        }
        let (apart, most) = match serde_json::from_slice(body).ok()? {
            Envelope::Batch(batch) => (Self::Reports(batch.reports), REPORTS_MAX),
            Envelope::Starts(batch) => (Self::Starts(batch.starts), STARTS_MAX),
        };
        (1..=most).contains(&apart.parts().len()).then_some(apart)
    }

    fn parts(&self) -> &[&'a RawValue] {
        match self {
            Self::Reports(parts) | Self::Starts(parts) => parts,
        }
    }

    /// Each part as the message it would be alone.
    pub(crate) fn messages(&self) -> Vec<Vec<u8>> {
        let alone = |raw: &&RawValue| match self {
            Self::Reports(_) => raw.get().as_bytes().to_vec(),
            Self::Starts(_) => format!("{{\"start@1\":{}}}", raw.get()).into_bytes(),
        };
        self.parts().iter().map(alone).collect()
    }

    /// Each part by itself.
    fn read(&self) -> impl Iterator<Item = Result<(SagaId, Box<Input>), Unusable>> {
        self.parts().iter().map(|raw| match self {
            Self::Reports(_) => one(raw.get().as_bytes()),
            Self::Starts(_) => serde_json::from_str(raw.get())
                .map(start)
                .map_err(|error| misshapen(raw.get().as_bytes(), &error)),
        })
    }
}

fn start(start: Start) -> (SagaId, Box<Input>) {
    (start.saga, Box::new(Input::Start(start)))
}

fn one(report: &[u8]) -> Result<(SagaId, Box<Input>), Unusable> {
    serde_json::from_slice::<Report>(report)
        .map(input)
        .map_err(|error| misshapen(report, &error))
}

/// The parts of a batch that was refused as a whole, each by itself.
fn one_by_one(body: &[u8]) -> Option<Read> {
    let apart = Apart::of(body)?;
    let (what, of) = match &apart {
        Apart::Reports(parts) => ("report", parts.len()),
        Apart::Starts(parts) => ("start", parts.len()),
    };
    let mut inputs = Vec::with_capacity(of);
    let mut broken = None;
    for (number, part) in (1..).zip(apart.read()) {
        match part {
            Ok(told) => inputs.push(told),
            Err(why) if broken.is_none() => {
                let error = format!("{what} {number} of {of}: {}", why.error);
                broken = Some(Unusable { error, ..why });
            }
            Err(_) => {}
        }
    }
    Some(Read::Inputs(inputs, broken))
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
pub(crate) fn place(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let what = match error.classify() {
        Category::Io | Category::Eof => "it ends too early",
        Category::Syntax => "no JSON",
        Category::Data => "a field is missing, unknown or of another type",
    };
    format!("{what}, line {} column {}", error.line(), error.column())
}

fn read(message: InboxMessage) -> Read {
    let report = match message {
        InboxMessage::Started(m) => Report::Started(m),
        InboxMessage::Checkpoint(m) => Report::Checkpoint(m),
        InboxMessage::Finished(m) => Report::Finished(m),
        InboxMessage::Start(m) => {
            let (saga, input) = start(m);
            return Read::Input(saga, input);
        }
        InboxMessage::ChildWanted(m) => {
            return Read::Input(m.child, Box::new(Input::ChildWanted(m)));
        }
        InboxMessage::ChildSaid(m) => {
            return Read::Input(m.parent.saga, Box::new(Input::ChildSaid(m)));
        }
        InboxMessage::Marker(m) => return Read::Marker(m),
        InboxMessage::Batch(m) => {
            return Read::Inputs(m.reports.into_iter().map(input).collect(), None);
        }
        InboxMessage::Starts(m) => {
            return Read::Inputs(m.starts.into_iter().map(start).collect(), None);
        }
    };
    let (saga, input) = input(report);
    Read::Input(saga, input)
}

fn input(report: Report) -> (SagaId, Box<Input>) {
    let (saga, input) = match report {
        Report::Started(m) => (m.of.saga, Input::TaskStarted(m)),
        Report::Checkpoint(m) => (m.of.saga, Input::Checkpoint(m)),
        Report::Finished(m) => (m.of.saga, Input::TaskFinished(m)),
    };
    (saga, Box::new(input))
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
        | Refusal::OutputMisfit { .. }
        | Refusal::NotYours { .. }
        | Refusal::NotNow { .. }
        | Refusal::Stays { .. } => return None,
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
        assert_eq!(
            bytes(marker, Some("marker@1")).unwrap(),
            Read::Marker(Marker {
                from: "me".into(),
                number: 7
            })
        );
        let start = br#"{"start@1":{"id":"00000000-0000-0000-0000-000000000001","saga":"00000000-0000-0000-0000-000000000002","definition":"a","input":{},"by":"x"}}"#;
        let Read::Input(saga, input) = bytes(start, None).unwrap() else {
            panic!("a start is an input")
        };
        assert_eq!(saga.to_string(), "00000000-0000-0000-0000-000000000002");
        assert_eq!(input.kind(), "start");
    }

    /// An asking of the saga with this last digit.
    fn asking(saga: u8) -> String {
        format!(
            r#"{{"started@1":{{"of":{{"saga":"00000000-0000-0000-0000-00000000000{saga}","step":"a","direction":"do","round":1,"attempt":1,"dispatch":1}},"run":"00000000-0000-0000-0000-000000000001","worker":"w","at":1}}}}"#
        )
    }

    fn batch(reports: &[String]) -> Vec<u8> {
        format!(r#"{{"batch@1":{{"reports":[{}]}}}}"#, reports.join(",")).into_bytes()
    }

    fn sagas(read: &Read) -> Vec<u8> {
        let Read::Inputs(inputs, _) = read else {
            panic!("no batch: {read:?}")
        };
        inputs
            .iter()
            .filter_map(|(saga, _)| saga.0.as_bytes().last().copied())
            .collect()
    }

    #[test]
    fn a_batch_is_its_reports_in_order() {
        let read = bytes(&batch(&[asking(2), asking(1), asking(2)]), Some("batch@1")).unwrap();
        assert_eq!(sagas(&read), [2, 1, 2]);
        assert!(matches!(read, Read::Inputs(_, None)));
    }

    #[test]
    fn a_broken_report_harms_no_neighbour_and_is_named_without_its_content() {
        let broken = asking(3).replace("\"round\":1", "\"round\":\"hunter2\"");
        let newer = asking(4).replace("started@1", "started@2");
        let read = bytes(&batch(&[asking(1), broken, newer, asking(2)]), None).unwrap();
        assert_eq!(sagas(&read), [1, 2]);
        let Read::Inputs(_, Some(why)) = read else {
            panic!("it has to be parked")
        };
        assert_eq!(why.reason, DeadReason::Undecodable);
        assert!(why.error.starts_with("report 2 of 4: "), "{}", why.error);
        assert!(!why.error.contains("hunter2"), "{}", why.error);
    }

    #[test]
    fn a_report_that_is_taken_out_of_its_batch_says_what_it_said_in_it() {
        let body = batch(&[asking(1), asking(2)]);
        let parts = Apart::of(&body).unwrap();
        let read: Vec<_> = parts.read().map(Result::unwrap).collect();
        let second = Read::Input(read[1].0, read[1].1.clone());
        let message = &parts.messages()[1];
        assert_eq!(bytes(message, None).unwrap(), second, "it is a message");
        assert_eq!(bytes(&body, None).unwrap(), Read::Inputs(read, None));
        let within = batch(&[asking(2)]);
        assert_eq!(one(&within).unwrap_err().reason, DeadReason::Undecodable);
        assert!(Apart::of(asking(1).as_bytes()).is_none());
    }

    /// A request for the saga with this last digit.
    fn request(saga: u8) -> String {
        format!(
            r#"{{"id":"00000000-0000-0000-0000-00000000000{saga}","saga":"00000000-0000-0000-0000-00000000000{saga}","definition":"a","input":{{}},"by":"x"}}"#
        )
    }

    fn starts(requests: &[String]) -> Vec<u8> {
        format!(r#"{{"starts@1":{{"starts":[{}]}}}}"#, requests.join(",")).into_bytes()
    }

    #[test]
    fn several_starts_are_each_what_it_would_be_alone() {
        let body = starts(&[request(2), request(1)]);
        let read = bytes(&body, Some("starts@1")).unwrap();
        assert_eq!(sagas(&read), [2, 1]);
        let parts = Apart::of(&body).unwrap();
        let each: Vec<_> = parts.read().map(Result::unwrap).collect();
        let second = Read::Input(each[1].0, each[1].1.clone());
        let message = &parts.messages()[1];
        assert_eq!(bytes(message, Some("start@1")).unwrap(), second);
        assert_eq!(read, Read::Inputs(each, None));
    }

    #[test]
    fn a_broken_start_harms_no_neighbour() {
        let broken = request(3).replace("\"definition\":\"a\"", "\"hunter2\":1");
        let read = bytes(&starts(&[request(1), broken, request(2)]), None).unwrap();
        assert_eq!(sagas(&read), [1, 2]);
        let Read::Inputs(_, Some(why)) = read else {
            panic!("it has to be parked")
        };
        assert!(why.error.starts_with("start 2 of 3: "), "{}", why.error);
        assert!(!why.error.contains("hunter2"), "{}", why.error);
        for body in [starts(&[]), starts(&vec![request(1); STARTS_MAX + 1])] {
            assert_eq!(reason(&body, None), DeadReason::Undecodable);
        }
        let tagged = format!(r#"{{"start@1":{}}}"#, request(1));
        let read = bytes(&starts(&[tagged, request(2)]), None).unwrap();
        assert_eq!(sagas(&read), [2], "no tag within");
    }

    #[test]
    fn of_a_broken_envelope_nothing_is_used() {
        for body in [
            batch(&[]),
            batch(&vec![asking(1); REPORTS_MAX + 1]),
            batch(&[
                String::from_utf8(batch(&[asking(1)])).unwrap(),
                "}".to_owned(),
            ]),
            br#"{"batch@1":{"reports":[],"more":1}}"#.to_vec(),
        ] {
            assert_eq!(reason(&body, Some("batch@1")), DeadReason::Undecodable);
        }
    }

    #[test]
    fn a_batch_holds_reports_alone() {
        let marker = r#"{"marker@1":{"from":"me","number":7}}"#.to_owned();
        let within = String::from_utf8(batch(&[asking(2)])).unwrap();
        for foreign in [marker, within] {
            let read = bytes(&batch(&[asking(1), foreign]), None).unwrap();
            assert_eq!(sagas(&read), [1]);
            assert!(matches!(read, Read::Inputs(_, Some(_))));
        }
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
