//! Where a dead letter goes when it is sent back to work, and why one does not. Pure: from what was kept of it, and for a task from where its saga stands.
//!
//! A dead task is never published again: its saga is asked for another attempt, and mints it or refuses. Reports and starts are read again, events go in by
//! the door they came by, and what others published goes back as it was.

use baton_driver::DeadLetterRow;
use baton_engine::input::Seen;
use baton_engine::state::{Phase, Stage};
use baton_engine::{Input, SagaState};
use baton_messages::dead::{EXCHANGE_HEADER, KEY_HEADER, REPLAYS_HEADER};
use baton_messages::{AttemptRef, Direction, Event, SagaId, TaskMessage, topology};
use baton_store::letters::Redirect;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::decode::{self, Read, Unusable};
use crate::triggers::{claims_a_hook, cloudevents};

/// So often a letter is sent back to work before somebody has to say why once more.
pub(crate) const REPLAYS_MAX: u32 = 3;

/// Property of a letter that was taken from a queue of another system: that queue.
pub(crate) const ADOPTED: &str = "adopted_from";
/// Property of such a letter: how it is known where it was published first, one of the words below.
pub(crate) const ORIGIN: &str = "origin";
/// It was configured.
pub(crate) const ORIGIN_GIVEN: &str = "given";
/// Its sender, or whoever gave it up, says so in its headers.
pub(crate) const ORIGIN_SAID: &str = "header";
/// The broker wrote it down.
pub(crate) const ORIGIN_NOTED: &str = "x-death";
/// Nobody knows.
pub(crate) const ORIGIN_UNKNOWN: &str = "unknown";

/// An exchange and a routing key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) exchange: String,
    pub(crate) key: String,
}

/// Where a letter goes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Route {
    /// Its saga is asked for another attempt.
    Task(Box<AttemptRef>),
    /// Its saga, or several, are told; and what is wrong with the rest of it.
    Inputs(Vec<(SagaId, Box<Input>)>, Option<Unusable>),
    /// The triggers are asked about it.
    Event(Box<Event>),
    /// It is published as it was.
    Raw(Target),
}

impl Route {
    /// The word for it.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Task(_) => "task",
            Self::Inputs(inputs, _) => {
                let starts = inputs
                    .iter()
                    .any(|(_, input)| matches!(**input, Input::Start(_)));
                if starts { "start" } else { "report" }
            }
            Self::Event(_) => "event",
            Self::Raw(_) => "message",
        }
    }
}

/// What helps where a letter is refused: a word to branch on, beside the sentence for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cure {
    /// Nobody will ever want it: discard it.
    Discard,
    /// Say where to send it, as exchange and routing key.
    Target,
    /// Insist, with a reason.
    Force,
    /// Start a worker that serves its task type; or insist, with a reason, and it waits for one.
    Serve,
    /// Restore it first.
    Restore,
    /// Edit it: what it is called, or what it says.
    Edit,
    /// What can be done is done at its saga.
    Saga,
    /// Look at it: its state and its history say more.
    Look,
}

/// Why a letter is refused, and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) why: String,
    pub(crate) cure: Cure,
}

impl Refused {
    pub(crate) fn new(why: impl Into<String>, cure: Cure) -> Self {
        let why = why.into();
        Self { why, cure }
    }
}

/// Why a letter goes nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Never {
    /// Nobody wants it, or it is not to be sent.
    Refused(Refused),
    /// It still cannot be read.
    Unreadable(String),
}

impl Never {
    fn refused(why: impl Into<String>, cure: Cure) -> Self {
        Self::Refused(Refused::new(why, cure))
    }
}

impl From<Unusable> for Never {
    fn from(why: Unusable) -> Self {
        Self::Unreadable(format!(
            "it still cannot be used ({}): {}",
            why.reason.as_str(),
            why.error
        ))
    }
}

/// A header that was kept.
pub(crate) fn header<'a>(letter: &'a DeadLetterRow, name: &str) -> &'a Value {
    &letter.properties["headers"][name]
}

/// How often it was sent back to work, over all the times it died.
pub(crate) fn replays(letter: &DeadLetterRow, here: u32) -> u32 {
    let before = header(letter, REPLAYS_HEADER).as_u64().unwrap_or_default();
    here.saturating_add(u32::try_from(before).unwrap_or(u32::MAX))
}

/// Why a letter is not sent although it could be, unless somebody insists.
pub(crate) fn held_back(letter: &DeadLetterRow, replays: u32) -> Option<Refused> {
    if replays >= REPLAYS_MAX {
        let why = format!(
            "it was replayed {replays} times already; force it with a reason, or discard it"
        );
        return Some(Refused::new(why, Cure::Force));
    }
    let expired = death(letter).is_some_and(|death| death["reason"] == "expired");
    expired.then(|| {
        let why = "its time to live was over when it died, so nobody may want it any more; force it with a reason";
        Refused::new(why, Cure::Force)
    })
}

/// The broker's own note of the last time it dead-lettered the message.
fn death(letter: &DeadLetterRow) -> Option<&Value> {
    let noted = header(letter, "x-death").as_array();
    // moved by hand before it was adopted: the broker's notes were put aside
    let adopted = letter.properties[ADOPTED].is_string();
    let moved = || header(letter, "baton-dead-x-death").as_array();
    noted.or_else(|| moved().filter(|_| adopted))?.first()
}

/// Whose message a letter is, which says where it may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A task, for its saga.
    Task,
    /// A report, a request to start sagas, or whatever else a saga was told and could not decide.
    Inbox,
    /// An event, for the triggers.
    Event,
    /// A message of others.
    Foreign,
}

/// Whose message it is. What comes from a queue of another system is theirs, whatever it says of itself.
pub(crate) fn kind(letter: &DeadLetterRow) -> Kind {
    if letter.properties[ADOPTED].is_string() {
        Kind::Foreign
    } else if is_task(letter) {
        Kind::Task
    } else if is_of_inbox(letter) {
        Kind::Inbox
    } else if is_event(letter) {
        Kind::Event
    } else {
        Kind::Foreign
    }
}

/// Where a letter goes. `to`: somewhere else than where it came from.
pub(crate) fn route(letter: &DeadLetterRow, to: Option<&Target>) -> Result<Route, Never> {
    let routed = match kind(letter) {
        Kind::Task => task(letter),
        Kind::Inbox => inputs(letter),
        Kind::Event => event(letter),
        Kind::Foreign => return foreign(letter, to),
    };
    match to {
        Some(_) => Err(Never::refused(
            "it is a message of Baton's own and goes where it belongs; only a message of others can be sent elsewhere",
            Cure::Look,
        )),
        None => routed,
    }
}

fn has_kind(letter: &DeadLetterRow, start: &str) -> bool {
    letter
        .kind
        .as_deref()
        .is_some_and(|kind| kind.starts_with(start))
}

fn is_task(letter: &DeadLetterRow) -> bool {
    has_kind(letter, "task@")
        || letter.exchange == topology::TASKS
        || letter.queue.starts_with("baton.task.")
}

/// The saga of an input that was set aside because it could not be decided: the loop itself keeps such a one, and whoever writes that kind on a message of his does
/// not, since that one was delivered.
fn set_aside(letter: &DeadLetterRow) -> Option<SagaId> {
    let was_delivered = !letter.queue.is_empty()
        || !letter.exchange.is_empty()
        || !letter.properties["deliveries"].is_null();
    letter
        .saga
        .filter(|_| has_kind(letter, "input/") && !was_delivered)
}

fn is_of_inbox(letter: &DeadLetterRow) -> bool {
    decode::is_of_inbox(letter.kind.as_deref())
        || set_aside(letter).is_some()
        || letter.exchange == topology::INBOX
        || letter.queue.starts_with("baton.inbox.")
}

fn is_event(letter: &DeadLetterRow) -> bool {
    has_kind(letter, "cloudevent@")
        || letter.exchange == topology::EVENTS
        || letter.queue == topology::TRIGGERS
}

fn task(letter: &DeadLetterRow) -> Result<Route, Never> {
    match serde_json::from_slice(&letter.body) {
        Ok(TaskMessage::Task(task)) => Ok(Route::Task(Box::new(task.of))),
        Err(_) => Err(Never::refused(
            "it is a task, which is never sent again as it is, and its body does not say of which attempt; retry the step at its saga",
            Cure::Saga,
        )),
    }
}

fn inputs(letter: &DeadLetterRow) -> Result<Route, Never> {
    if let Some(saga) = set_aside(letter) {
        let (saga, input) = decode::set_aside(saga, &letter.body)?;
        if decode::is_asked_for(&input) {
            let why = format!(
                "somebody asked this of its saga ({}), and has to ask it again, there",
                input.kind()
            );
            return Err(Never::refused(why, Cure::Saga));
        }
        return Ok(Route::Inputs(vec![(saga, input)], None));
    }
    let version = header(letter, baton_messages::headers::VERSION_HEADER);
    let version = (!version.is_null()).then(|| version.as_u64());
    match decode::again(version, &letter.body, letter.kind.as_deref())? {
        Read::Input(saga, input) => Ok(Route::Inputs(vec![(saga, input)], None)),
        Read::Inputs(inputs, broken) => Ok(Route::Inputs(inputs, broken)),
        Read::Marker(_) => Err(Never::refused(
            "it is a marker an orchestrator sent to itself; nobody waits for it any more",
            Cure::Discard,
        )),
    }
}

fn event(letter: &DeadLetterRow) -> Result<Route, Never> {
    let headers = letter.properties["headers"].as_object();
    let attributes: Map<String, Value> = headers
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((cloudevents::attribute(name)?, value.clone())))
        .collect();
    let content_type = letter.properties["content_type"].as_str();
    let event = cloudevents::of_parts(content_type, attributes, &letter.body)?;
    if claims_a_hook(&event) {
        return Err(Never::refused(
            "it came by a signed request: whoever sent it has to send it again, to POST /v1/hooks/<name>",
            Cure::Discard,
        ));
    }
    Ok(Route::Event(Box::new(event)))
}

fn foreign(letter: &DeadLetterRow, to: Option<&Target>) -> Result<Route, Never> {
    if let Some(to) = to {
        return Ok(Route::Raw(to.clone()));
    }
    let own = [topology::CONTROL, topology::FLEET, topology::PEERS];
    if own.contains(&letter.exchange.as_str()) {
        let why = format!(
            "what is said on {} is of its moment; nobody waits for it any more",
            letter.exchange
        );
        return Err(Never::refused(why, Cure::Discard));
    }
    let exchange = letter.exchange.clone();
    let parked =
        header(letter, EXCHANGE_HEADER).is_string() || header(letter, KEY_HEADER).is_string();
    let origin = letter.properties[ORIGIN].as_str();
    let key_at_death = death(letter)
        .filter(|_| !parked && origin.is_none_or(|origin| origin == ORIGIN_NOTED))
        .and_then(|death| death["routing-keys"][0].as_str());
    let key = key_at_death.unwrap_or(&letter.key).to_owned();
    let put_aside = |name: &str| [topology::DEAD, topology::UNROUTABLE].contains(&name);
    // by the default exchange straight into one of them: sent there again it would only come again
    let came_from_nowhere = origin == Some(ORIGIN_UNKNOWN)
        || put_aside(&exchange)
        || (exchange.is_empty() && (key.is_empty() || put_aside(&key)));
    if came_from_nowhere {
        return Err(Never::refused(
            "it does not say where it was published first; say where to send it, as exchange and routing key",
            Cure::Target,
        ));
    }
    Ok(Route::Raw(Target { exchange, key }))
}

/// Where a message of others goes instead of where it came from: by the first rule that names its exchange and key, or the queue it died in.
pub(crate) fn redirected(letter: &DeadLetterRow, rules: &[Redirect]) -> Option<Target> {
    if kind(letter) != Kind::Foreign {
        return None;
    }
    let (exchange, key) = rule(letter, rules)?.to.clone();
    Some(Target { exchange, key })
}

/// The first rule that names where a message of others came from.
pub(crate) fn rule<'a>(letter: &DeadLetterRow, rules: &'a [Redirect]) -> Option<&'a Redirect> {
    let came_from = match foreign(letter, None) {
        Ok(Route::Raw(target)) => (target.exchange, target.key),
        _ => (letter.exchange.clone(), letter.key.clone()),
    };
    let fits = |rule: &&Redirect| {
        let (exchange, key) = &rule.from;
        rule.from == came_from || (exchange.is_empty() && *key == letter.queue)
    };
    rules.iter().find(fits)
}

/// What a saga is asked about the attempt of a dead task: what has to be seen of the step, and which attempt comes next: one that nobody ran is sent again under its
/// number.
pub(crate) fn retry(of: &AttemptRef, state: &SagaState) -> Result<(Seen, AttemptRef), Refused> {
    let at_saga = |why: String| Err(Refused::new(why, Cure::Saga));
    let step = &of.key();
    if !state.active() {
        let why = format!(
            "its saga is {}: nothing of it is done any more",
            state.status.as_str()
        );
        return Err(Refused::new(why, Cure::Discard));
    }
    let Some(now) = state.at(step) else {
        return at_saga(format!("its saga has no step {step}"));
    };
    let phase = word(now.phase);
    if now.round != of.round {
        return at_saga(format!(
            "step {step} was begun anew since: it is {phase}, in round {}",
            now.round
        ));
    }
    let last = now.last_attempt(of.direction);
    if last > of.attempt {
        return at_saga(format!(
            "step {step} was tried again since: attempt {last} of it is {phase}"
        ));
    }
    let sent = now
        .attempts
        .iter()
        .filter(|attempt| attempt.direction == of.direction && attempt.number == of.attempt);
    if sent.map(|attempt| attempt.dispatch).max() > Some(of.dispatch) {
        return at_saga(format!(
            "attempt {last} of step {step} was sent again since, and is {phase}"
        ));
    }
    let waits = match of.direction {
        Direction::Do => matches!(now.phase, Phase::Parked | Phase::Backoff),
        Direction::Undo => matches!(now.phase, Phase::UndoParked | Phase::UndoBackoff),
        Direction::Probe => {
            return at_saga(format!(
                "it only asked whether step {step} has happened, and is never sent again; the step is {phase}: retry or resolve it"
            ));
        }
    };
    if !waits {
        return at_saga(format!(
            "step {step} is {phase}: nobody waits for another attempt of it"
        ));
    }
    let seen = Seen {
        phase: now.phase,
        attempt: now.last_attempt(Direction::Do),
    };
    let mut tried = now.attempts.iter().rev();
    let not_run = tried
        .find(|attempt| attempt.direction == of.direction && attempt.number == last)
        .filter(|attempt| attempt.stage == Stage::NotRun);
    let (attempt, dispatch) = not_run.map_or((last + 1, 1), |attempt| (last, attempt.dispatch + 1));
    let next = AttemptRef {
        attempt,
        dispatch,
        ..of.clone()
    };
    Ok((seen, next))
}

/// What is said to be seen of a step that does not wait for its letter any more, where that may have been replayed already and the answer was lost: nothing that it
/// can be. Its saga knows the action by its id; where it has not had it, it refuses.
pub(crate) const SEEN_BEFORE: Seen = Seen {
    phase: Phase::Parked,
    attempt: u32::MAX,
};

fn word(phase: Phase) -> String {
    let named = serde_json::to_value(phase).ok();
    let named = named.as_ref().and_then(Value::as_str);
    named.unwrap_or("elsewhere").to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use baton_engine::Status;
    use baton_engine::state::{Attempt, StepState};
    use baton_messages::{DeadReason, Hold, StepId, Timestamp};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    /// A letter of others, rejected by a consumer of theirs.
    pub(crate) fn letter(kind: Option<&str>, body: &[u8]) -> DeadLetterRow {
        DeadLetterRow {
            id: Uuid::from_u128(1),
            at: Timestamp(1),
            reason: DeadReason::BrokerRejected,
            error: String::new(),
            queue: "orders.in".to_owned(),
            exchange: "orders".to_owned(),
            key: "new".to_owned(),
            message_id: None,
            kind: kind.map(str::to_owned),
            saga: None,
            properties: json!({ "headers": {} }),
            body: body.to_vec(),
        }
    }

    fn refused(routed: Result<Route, Never>) -> String {
        match routed {
            Err(Never::Refused(refused)) => refused.why,
            other => panic!("it is not refused: {other:?}"),
        }
    }

    fn to(exchange: &str, key: &str) -> Target {
        Target {
            exchange: exchange.to_owned(),
            key: key.to_owned(),
        }
    }

    const TASK_REF: &str = r#"{"saga":"00000000-0000-0000-0000-000000000002","step":"a","direction":"do","round":1,"attempt":1,"dispatch":1}"#;

    fn started() -> String {
        format!(
            r#"{{"started@1":{{"of":{TASK_REF},"run":"00000000-0000-0000-0000-000000000001","worker":"w","at":1}}}}"#
        )
    }

    #[test]
    fn a_message_of_others_goes_back_where_it_was_published_first_or_where_somebody_says() {
        let of = letter(None, b"x");
        assert_eq!(route(&of, None), Ok(Route::Raw(to("orders", "new"))));
        assert_eq!(route(&of, Some(&to("", "q"))), Ok(Route::Raw(to("", "q"))));
        let mut dead_lettered = letter(Some("theirs"), b"x");
        dead_lettered.key = "the dead-letter key".to_owned();
        dead_lettered.properties = json!({ "headers": { "x-death": [{ "queue": "orders.in", "exchange": "orders", "routing-keys": ["first"], "reason": "rejected" }] } });
        assert_eq!(
            route(&dead_lettered, None),
            Ok(Route::Raw(to("orders", "first")))
        );
        // one that was parked by a program of ours says so itself
        dead_lettered.properties["headers"]["baton-dead-key"] = json!("the dead-letter key");
        assert_eq!(
            route(&dead_lettered, None),
            Ok(Route::Raw(to("orders", "the dead-letter key")))
        );
    }

    #[test]
    fn what_does_not_say_where_it_belongs_is_refused_until_somebody_says() {
        for exchange in ["baton.dead", "baton.unroutable"] {
            let of = DeadLetterRow {
                exchange: exchange.to_owned(),
                ..letter(None, b"x")
            };
            assert!(
                refused(route(&of, None)).contains("say where"),
                "{exchange}"
            );
            assert!(route(&of, Some(&to("a", "b"))).is_ok());
        }
        let of = DeadLetterRow {
            exchange: "baton.fleet".to_owned(),
            ..letter(Some("heartbeat@1"), b"{}")
        };
        assert!(refused(route(&of, None)).contains("of its moment"));
    }

    #[test]
    fn a_task_is_never_published_again_whatever_it_says() {
        for of in [
            letter(Some("task@1"), b"no {JSON"),
            letter(Some("task@2"), b"{}"),
            DeadLetterRow {
                queue: "baton.task.default.a.b@1".to_owned(),
                ..letter(None, b"{}")
            },
            DeadLetterRow {
                exchange: "baton.tasks".to_owned(),
                ..letter(None, b"{}")
            },
        ] {
            assert!(
                refused(route(&of, None)).contains("never sent again"),
                "{of:?}"
            );
            assert!(
                refused(route(&of, Some(&to("a", "b")))).contains("Baton's own"),
                "{of:?}"
            );
        }
    }

    #[test]
    fn a_report_is_read_again_and_one_that_cannot_be_is_said_so() {
        let report = letter(Some("started@1"), started().as_bytes());
        let routed = route(&report, None).unwrap();
        assert_eq!(routed.as_str(), "report");
        assert!(matches!(routed, Route::Inputs(inputs, None) if inputs.len() == 1));
        let nameless = DeadLetterRow {
            queue: "baton.inbox.03".to_owned(),
            ..letter(None, started().as_bytes())
        };
        assert!(matches!(route(&nameless, None), Ok(Route::Inputs(..))));
        for body in [
            "no {JSON".to_owned(),
            started().replace("started@1", "started@9"),
        ] {
            let of = DeadLetterRow {
                body: body.into_bytes(),
                ..nameless.clone()
            };
            assert!(matches!(route(&of, None), Err(Never::Unreadable(_))));
        }
        let mut newer = report;
        newer.properties = json!({ "headers": { "baton-version": 99 } });
        assert!(
            matches!(route(&newer, None), Err(Never::Unreadable(why)) if why.contains("unknown-kind"))
        );
        let marker = letter(
            Some("marker@1"),
            br#"{"marker@1":{"from":"me","number":7}}"#,
        );
        assert!(refused(route(&marker, None)).contains("marker"));
    }

    /// What the loop keeps of an input that could not be decided.
    fn set_aside_as(input: &Input) -> DeadLetterRow {
        DeadLetterRow {
            queue: String::new(),
            exchange: String::new(),
            key: String::new(),
            kind: Some(format!("input/{}", input.kind())),
            saga: Some(SagaId(Uuid::from_u128(7))),
            properties: Value::Null,
            body: serde_json::to_vec(input).unwrap(),
            ..letter(None, b"")
        }
    }

    #[test]
    fn what_could_not_be_decided_goes_back_to_its_saga_and_an_action_is_asked_for_again() {
        let of: AttemptRef = serde_json::from_str(TASK_REF).unwrap();
        let resend = Input::Resend(of);
        let Ok(Read::Input(saga, report)) = decode::again(None, started().as_bytes(), None) else {
            panic!("it is a report")
        };
        for (of, input) in [(saga, &*report), (SagaId(Uuid::from_u128(7)), &resend)] {
            let kept = set_aside_as(input);
            assert_eq!(kind(&kept), Kind::Inbox);
            let told = vec![(of, Box::new(input.clone()))];
            assert_eq!(route(&kept, None), Ok(Route::Inputs(told, None)));
            let mut edited = kept;
            edited.properties = json!({ "content_type": "application/json" });
            assert_eq!(kind(&edited), Kind::Inbox, "a copy of it is the same");
        }
        let by_root = json!({ "id": Uuid::nil(), "by": "root", "reason": "" });
        let asked: Input = serde_json::from_value(json!({ "cancel": by_root })).unwrap();
        assert!(refused(route(&set_aside_as(&asked), None)).contains("ask it again"));
        let mut broken = set_aside_as(&resend);
        broken.body = b"{}".to_vec();
        assert!(matches!(route(&broken, None), Err(Never::Unreadable(_))));
        // a message that calls itself so is whoever's sent it
        let mut theirs = set_aside_as(&resend);
        theirs.properties = json!({ "headers": {}, "deliveries": 1 });
        assert_eq!(kind(&theirs), Kind::Foreign);
    }

    #[test]
    fn a_batch_of_which_a_part_is_broken_gives_the_others() {
        let body = format!(r#"{{"batch@1":{{"reports":[{},{{"x":1}}]}}}}"#, started());
        let routed = route(&letter(Some("batch@1"), body.as_bytes()), None).unwrap();
        assert!(matches!(routed, Route::Inputs(inputs, Some(_)) if inputs.len() == 1));
    }

    #[test]
    fn an_event_is_an_event_however_it_was_written_and_a_hook_has_its_own_door() {
        let body = br#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b","data":1}"#;
        let mut of = letter(Some("cloudevent@1"), body);
        of.properties = json!({ "content_type": "application/cloudevents+json", "headers": {} });
        let Ok(Route::Event(event)) = route(&of, None) else {
            panic!("it is an event")
        };
        assert_eq!((event.source.as_str(), event.kind.as_str()), ("/s", "a.b"));
        let mut binary = letter(None, b"1");
        binary.exchange = "baton.events".to_owned();
        binary.properties = json!({ "content_type": "application/json", "headers": { "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "a.b" } });
        assert!(matches!(route(&binary, None), Ok(Route::Event(_))));
        of.body = br#"{"specversion":"1.0","id":"1","source":"/v1/hooks/h","type":"a.b"}"#.to_vec();
        assert!(refused(route(&of, None)).contains("signed"));
        of.body = b"{}".to_vec();
        assert!(matches!(route(&of, None), Err(Never::Unreadable(_))));
    }

    /// A saga whose only step has come to attempt `last` in this direction and stands in this phase.
    fn saga_with(phase: Phase, direction: Direction, last: u32) -> SagaState {
        let mut saga = SagaState::new(SagaId(Uuid::from_u128(2)));
        saga.status = Status::Running;
        let mut step = StepState::waiting(Timestamp(1));
        step.phase = phase;
        for number in 1..=last {
            step.attempts.push(Attempt {
                direction,
                number,
                dispatch: 1,
                stage: Stage::Offered,
                first_offered_at: Timestamp(1),
                offered_at: Timestamp(1),
                last_moment: Timestamp(1),
                unasked: None,
                sole: true,
                held: false,
                maybe_sent: false,
                hold: Hold::Claim,
                unheard: false,
                runs: Vec::new(),
            });
        }
        saga.steps.insert(StepId::new("a").unwrap(), Box::new(step));
        saga
    }

    /// A saga whose only step stands in this phase, after attempts of `do` with these numbers, each sent so often.
    pub(crate) fn saga_of_attempts(phase: Phase, attempts: &[(u32, u32)]) -> SagaState {
        let mut saga = saga_with(phase, Direction::Do, u32::try_from(attempts.len()).unwrap());
        let step = saga.steps.values_mut().next().unwrap();
        for (attempt, (number, dispatch)) in step.attempts.iter_mut().zip(attempts) {
            (attempt.number, attempt.dispatch) = (*number, *dispatch);
        }
        saga
    }

    #[test]
    fn messages_of_others_go_elsewhere_by_where_they_came_from_or_died() {
        let rule = |from: (&str, &str), to: (&str, &str)| Redirect {
            from: (from.0.to_owned(), from.1.to_owned()),
            to: (to.0.to_owned(), to.1.to_owned()),
        };
        let of = letter(None, b"x");
        let other = rule(("else", "new"), ("", "no"));
        let by_place = rule(("orders", "new"), ("orders", "v2"));
        let by_queue = rule(("", "orders.in"), ("", "orders.in.v2"));
        let rules = [other.clone(), by_place, by_queue.clone()];
        assert_eq!(redirected(&of, &rules), Some(to("orders", "v2")));
        assert_eq!(redirected(&of, &[by_queue]), Some(to("", "orders.in.v2")));
        assert_eq!(redirected(&of, &[other]), None);
        let task = letter(Some("task@1"), b"{}");
        assert_eq!(
            redirected(&task, &rules),
            None,
            "a task goes where it belongs"
        );
    }

    fn task_of(direction: Direction, attempt: u32) -> AttemptRef {
        let mut of: AttemptRef = serde_json::from_str(TASK_REF).unwrap();
        (of.direction, of.attempt) = (direction, attempt);
        of
    }

    #[test]
    fn a_step_or_an_undo_that_is_parked_after_the_attempt_of_the_task_is_tried_again() {
        for (direction, phase, expected) in [
            (Direction::Do, Phase::Parked, 3),
            (Direction::Do, Phase::Backoff, 3),
            (Direction::Undo, Phase::UndoParked, 0),
            (Direction::Undo, Phase::UndoBackoff, 0),
        ] {
            let saga = saga_with(phase, direction, 3);
            let (seen, next) = retry(&task_of(direction, 3), &saga).unwrap();
            let next = (next.attempt, next.dispatch);
            assert_eq!((seen.phase, seen.attempt, next), (phase, expected, (4, 1)));
        }
    }

    #[test]
    fn an_attempt_nobody_ran_is_sent_again_under_its_number() {
        let mut saga = saga_with(Phase::Parked, Direction::Do, 2);
        let step = saga.steps.values_mut().next().unwrap();
        step.attempts[1].stage = Stage::NotRun;
        let (_, next) = retry(&task_of(Direction::Do, 2), &saga).unwrap();
        assert_eq!((next.attempt, next.dispatch), (2, 2));
    }

    #[test]
    fn a_task_nobody_waits_for_is_refused_and_it_is_said_why() {
        let of = task_of(Direction::Do, 2);
        let refused = |saga: &SagaState| retry(&of, saga).unwrap_err().why;
        let mut ended = saga_with(Phase::Parked, Direction::Do, 2);
        ended.status = Status::Compensated;
        assert!(refused(&ended).contains("its saga is compensated"));
        assert_eq!(retry(&of, &ended).unwrap_err().cure, Cure::Discard);
        let moved_on = saga_with(Phase::Trying, Direction::Do, 3);
        assert!(refused(&moved_on).contains("tried again since: attempt 3"));
        let done = saga_with(Phase::Succeeded, Direction::Do, 2);
        assert!(refused(&done).contains("is succeeded: nobody waits"));
        let mut sent_again = saga_with(Phase::Trying, Direction::Do, 2);
        let step = sent_again.steps.values_mut().next().unwrap();
        step.attempts[1].dispatch = 2;
        assert!(refused(&sent_again).contains("sent again since"));
        let mut anew = saga_with(Phase::Parked, Direction::Do, 2);
        anew.steps.values_mut().next().unwrap().round = 2;
        assert!(refused(&anew).contains("begun anew"));
        let stepless = SagaState {
            status: Status::Running,
            ..SagaState::new(SagaId(Uuid::from_u128(2)))
        };
        assert!(refused(&stepless).contains("no step a"));
        let probe = retry(
            &task_of(Direction::Probe, 1),
            &saga_with(Phase::Parked, Direction::Probe, 1),
        );
        assert!(probe.unwrap_err().why.contains("only asked"));
    }

    #[test]
    fn what_was_replayed_often_or_had_expired_waits_for_somebody_who_insists() {
        let mut of = letter(None, b"x");
        assert_eq!(held_back(&of, replays(&of, 2)), None);
        assert!(held_back(&of, replays(&of, 3)).is_some());
        of.properties = json!({ "headers": { "baton-replays": 2 } });
        assert_eq!(replays(&of, 1), 3);
        assert!(
            held_back(&of, replays(&of, 1)).is_some(),
            "it died again and again"
        );
        of.properties = json!({ "headers": { "x-death": [{ "reason": "expired" }] } });
        let expired = held_back(&of, 0).unwrap();
        assert!(expired.why.contains("time to live"));
        assert_eq!(expired.cure, Cure::Force);
    }
}
