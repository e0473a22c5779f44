//! `baton dead peek | move --amqp URL`: messages in a queue looked at or moved at the broker itself, where no orchestrator runs.
//!
//! Guarantee of a move: it takes at most what lay there when it began; each message is published as it is, mandatory and confirmed, and acknowledged only then, one after the other, so that
//! their order stays; of what is left where it ends early the broker keeps no order. None is lost. One is in both places only where the connection breaks between the broker's word and our acknowledgement and this process is killed there; within its
//! life such a message is known again. Whatever cannot be said for certain ends the move, and is named.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::time::Duration;

use base64::Engine as _;
use baton_bus::{
    Bus, BusConfig, ConsumeSpec, Consumer, Delivery, HeaderValue, Link, Publisher, Raw, Sent,
};
use baton_engine::masks;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::act::refrained;
use super::broker_noted::{Noted, PEEK};
use crate::args::{Dead, DeadCommand, DeadMove, DeadPeek, Global};
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::{Line, Out, Tone};

/// How long the broker may take to be there.
const READY_WAIT: Duration = Duration::from_secs(15);
/// How long nothing may come before what is left is taken to be gone: others may have taken it.
const IDLE_WAIT: Duration = Duration::from_secs(5);
/// How long a goodbye may take.
const GRACE: Duration = Duration::from_secs(5);
/// Messages the broker hands out ahead: each may be as large as it takes.
const PREFETCH: u32 = 32;
/// How often it is told how far a move is.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Characters of a body that are shown.
const BODY_CHARS_MAX: usize = 400;
/// Messages acknowledged last that are remembered: more than are on their way to a broker at any moment.
const RECENT_MAX: usize = 256;

/// Whether what was typed goes to a broker.
pub(crate) fn is_asked(which: &Dead) -> bool {
    matches!(
        which.command,
        Some(DeadCommand::Peek(_) | DeadCommand::Move(_))
    )
}

pub(crate) async fn at_broker(
    global: &Global,
    which: &Dead,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let Some(url) = &which.amqp else {
        return Err(CliError::usage_then(
            "which broker? peek and move go to it directly",
            "--amqp amqp://user:password@host:5672/%2f, or BATON_AMQP",
        ));
    };
    let stop = CancellationToken::new();
    let bus = begun(url, stop.clone()).await?;
    let ended = match &which.command {
        Some(DeadCommand::Peek(asked)) => peek(global, &bus, asked, out).await,
        Some(DeadCommand::Move(asked)) => moved(global, &bus, asked, out).await,
        _ => Ok(Exit::Usage),
    };
    bus.shutdown(GRACE).await;
    ended
}

fn broker(what: impl Into<String>) -> CliError {
    CliError::not_now(
        what,
        "look at the broker, and at the address in --amqp or BATON_AMQP; then the same again",
    )
}

async fn begun(url: &str, stop: CancellationToken) -> Result<Bus, CliError> {
    let config = BusConfig {
        addresses: vec![url.to_owned()],
        role: "baton".to_owned(),
        instance: format!("cli-{}", std::process::id()),
        ..BusConfig::default()
    };
    let bus = Bus::start(config, stop).map_err(|error| CliError::usage(error.to_string()))?;
    if timeout(READY_WAIT, bus.ready()).await.is_ok() {
        return Ok(bus);
    }
    let state = bus.state().borrow().clone();
    // blocked is there: what is published waits
    if let (Link::Down { why }, _) | (_, Link::Down { why }) = (state.consuming, state.publishing) {
        return Err(broker(format!("the broker cannot be reached: {why}")));
    }
    Ok(bus)
}

/// How many messages wait in a queue.
async fn waiting(bus: &Bus, queue: &str, out: &mut Out) -> Result<u32, CliError> {
    let depth = bus.queue_depth(queue).await;
    let depth = depth.map_err(|error| broker(format!("queue {queue}: {error}")))?;
    let Some(depth) = depth else {
        return Err(broker(format!("there is no queue {queue}")));
    };
    if depth.consumers > 0 {
        out.note(format!(
            "{} others consume {queue} as well, and take of what lies there",
            depth.consumers
        ));
    }
    Ok(depth.ready)
}

async fn consumer(bus: &Bus, queue: &str, prefetch: u32) -> Consumer {
    bus.consume(ConsumeSpec {
        queue: queue.to_owned(),
        prefetch: u16::try_from(prefetch).unwrap_or(u16::MAX).max(1),
        exclusive_queue: None,
        consumer_tag: format!("baton-cli-{}", std::process::id()),
    })
    .await
}

async fn peek(
    global: &Global,
    bus: &Bus,
    asked: &DeadPeek,
    out: &mut Out,
) -> Result<Exit, CliError> {
    if is_worked_on(&asked.queue) && !asked.force {
        return Err(CliError::usage_then(
            format!(
                "{} is a queue of Baton's own: each look counts as a delivery, and a task or a report that is delivered ten times is put aside as the one that kills its consumers",
                asked.queue
            ),
            "baton show SAGA tells of tasks under way; --force looks all the same",
        ));
    }
    let ready = waiting(bus, &asked.queue, out).await?;
    let count = ready.min(u32::from(asked.limit));
    let mut held: Vec<Delivery> = Vec::new();
    if count > 0 {
        // before anything is shown: who sees it stands in the log
        let how = if asked.raw { ", as they came" } else { "" };
        let on = format!("{}{how}", asked.queue);
        let noted = Noted::begins(global, PEEK, &on, out).await?;
        let mut from = consumer(bus, &asked.queue, count).await;
        while (held.len() as u64) < u64::from(count) {
            match timeout(IDLE_WAIT, from.next()).await {
                Ok(Some(delivery)) => held.push(delivery),
                Ok(None) | Err(_) => break,
            }
        }
        for delivery in &held {
            shown(delivery, asked.raw, out);
        }
        if let Some(noted) = noted {
            let outcome = format!("{} of {ready} shown{how}", held.len());
            noted.ended(&outcome, out).await;
        }
        // not given back one by one: a quorum queue puts those behind all others. With the channel they go back to where they were.
    }
    if !out.wants_json() {
        out.line(format!("{} of {ready} in {}", held.len(), asked.queue));
    }
    if let Some(most) = held
        .iter()
        .map(|one| one.deliveries)
        .max()
        .filter(|most| *most > 1)
    {
        out.note(format!(
            "one of them was delivered {most} times by now, looks counted: a delivery limit of the queue gives up what was delivered oftener"
        ));
    }
    Ok(Exit::Ok)
}

/// Whether consumers of ours count what is delivered from it.
fn is_worked_on(queue: &str) -> bool {
    ["baton.task.", "baton.inbox.", "baton.triggers"]
        .iter()
        .any(|start| queue.starts_with(start))
}

/// `raw`: as it came; else with what looks like a secret covered.
fn shown(delivery: &Delivery, raw: bool, out: &mut Out) {
    if out.wants_json() {
        out.item(&as_json(delivery, raw));
        return;
    }
    let id = delivery.message_id.as_deref().unwrap_or("(no id)");
    out.say(&Line::of(id, Tone::Strong).plain(format!(
        "  {} bytes, {} under {:?}",
        delivery.body.len(),
        match delivery.exchange.as_str() {
            "" => "straight",
            exchange => exchange,
        },
        delivery.key
    )));
    if let Some(died) = died(delivery) {
        out.line(format!("  {}", masks::text_for(raw, died)));
    }
    let body = body_words(&delivery.body, raw);
    if !body.trim().is_empty() {
        out.words(2, body.trim(), Tone::Faint);
    }
}

/// The beginning of a body as a person reads it. One that is no text is shown as it came or not at all: nobody can say what in it is a secret.
fn body_words(body: &[u8], raw: bool) -> String {
    let words = match std::str::from_utf8(body) {
        // covered first: what is cut off may be what tells that it is a secret
        Ok(text) => body_for(raw, text),
        Err(_) if raw => String::from_utf8_lossy(body).into_owned(),
        Err(_) => format!("no text, {} bytes: --raw shows them", body.len()),
    };
    words.chars().take(BODY_CHARS_MAX).collect()
}

fn body_for(raw: bool, body: &str) -> String {
    if raw {
        body.to_owned()
    } else {
        masks::body(body).into_owned()
    }
}

/// Why it lies there, in a line.
fn died(delivery: &Delivery) -> Option<String> {
    let headers = &*delivery.headers;
    if let Some(error) = headers
        .get("baton-dead-error")
        .and_then(HeaderValue::as_text)
    {
        return Some(error.to_owned());
    }
    let deaths = headers.get("x-death");
    let deaths = deaths.or_else(|| headers.get("baton-dead-x-death"));
    let HeaderValue::Array(deaths) = deaths? else {
        return None;
    };
    let HeaderValue::Table(last) = deaths.first()? else {
        return None;
    };
    let said = |name: &str| last.get(name).and_then(HeaderValue::as_text).unwrap_or("?");
    Some(format!("{} in {}", said("reason"), said("queue")))
}

/// A body that is no text is shown as it came or not at all: nobody can say what in it is a secret.
fn as_json(delivery: &Delivery, raw: bool) -> Value {
    let headers: Map<String, Value> = delivery
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.to_json()))
        .collect();
    let headers = Value::Object(headers);
    let headers = if raw {
        headers
    } else {
        masks::properties(&headers)
    };
    let mut item = json!({
        "queue": &*delivery.queue, "exchange": delivery.exchange, "key": delivery.key, "message_id": delivery.message_id, "kind": delivery.kind,
        "content_type": delivery.properties.content_type, "redelivered": delivery.redelivered, "deliveries": delivery.deliveries, "headers": headers,
        "body_bytes": delivery.body.len(),
    });
    match std::str::from_utf8(&delivery.body) {
        Ok(text) => item["body"] = body_for(raw, text).into(),
        Err(_) if !raw => {}
        Err(_) => {
            let encoded = base64::engine::general_purpose::STANDARD.encode(&delivery.body);
            item["body_base64"] = encoded.into();
        }
    }
    item
}

/// Where messages go.
struct Target {
    exchange: String,
    /// None: each under its own.
    key: Option<String>,
}

impl Target {
    fn read(text: &str) -> Result<Self, CliError> {
        let parts = text.split_once('/');
        let (exchange, key) =
            parts.ok_or_else(|| CliError::usage("where to is written /QUEUE, or EXCHANGE/KEY"))?;
        if exchange.is_empty() && key.is_empty() {
            return Err(CliError::usage("`/` names no queue"));
        }
        Ok(Self {
            exchange: exchange.to_owned(),
            key: (!key.is_empty()).then(|| key.to_owned()),
        })
    }
}

/// Why a move does not go on.
enum Halt {
    /// All that lay there is moved, or others have taken the rest.
    Over,
    /// Somebody wants it to end.
    Asked,
    /// The next message stays where it is.
    Refused(String),
    /// One message may be in both places.
    Unsure(String),
}

async fn moved(
    global: &Global,
    bus: &Bus,
    asked: &DeadMove,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let to = Target::read(&asked.to)?;
    if let (true, Some(queue)) = (to.exchange.is_empty(), &to.key) {
        if *queue == asked.from {
            return Err(CliError::usage("it lies there already"));
        }
        let there = bus.queue_depth(queue).await;
        if there.is_ok_and(|depth| depth.is_none()) {
            return Err(broker(format!(
                "there is no queue {queue}; nothing was moved"
            )));
        }
    }
    let ready = waiting(bus, &asked.from, out).await?;
    let count = asked.limit.map_or(ready, |limit| limit.min(ready));
    if count == 0 {
        out.line(format!("nothing lies in {}", asked.from));
        return Ok(Exit::Ok);
    }
    let what = format!("move {count} messages from {} to {}", asked.from, asked.to);
    if !out.agreed_of_many(&what, &format!("{what}?"), asked.yes)? {
        return Ok(refrained(out));
    }
    let on = format!("{} to {}", asked.from, asked.to);
    let noted = Noted::begins(global, "move-messages", &on, out).await?;
    let mut moving = Moving {
        from: consumer(bus, &asked.from, count.min(PREFETCH)).await,
        publisher: bus.publisher(),
        bus,
        to,
        count,
        done: 0,
        sent: VecDeque::new(),
        epoch: 0,
    };
    let halt = moving.all(out).await;
    let (done, unsure) = (moving.done, moving.unsure(&halt));
    // what was handed out ahead goes back to its place with the channel; given back one by one a quorum queue would put it behind all others
    drop(moving);
    if let Some(noted) = noted {
        let outcome = format!("{done} of {count} moved");
        noted.ended(&outcome, out).await;
    }
    Ok(ended(&halt, (done, unsure), count, asked, out))
}

/// `unsure`: so many of those that were moved may lie in the queue as well.
fn ended(
    halt: &Halt,
    (done, unsure): (u32, usize),
    count: u32,
    asked: &DeadMove,
    out: &mut Out,
) -> Exit {
    if out.wants_json() {
        let why = match halt {
            Halt::Over => None,
            Halt::Asked => Some("interrupted"),
            Halt::Refused(why) | Halt::Unsure(why) => Some(why.as_str()),
        };
        out.value(&json!({ "moved": done, "of": count, "why": why, "certain": unsure == 0, "unsure": unsure }));
    } else {
        out.line(format!("{done} of {count} moved"));
    }
    if unsure > 0 {
        out.note(format!(
            "at most {unsure} of them may lie in {} as well: the connection was lost before the broker was known to have let go of them; look there before it is done again",
            asked.from
        ));
    }
    match halt {
        Halt::Over if unsure > 0 => return Exit::Error,
        Halt::Over if done == count => return Exit::Ok,
        Halt::Over => {
            out.note("the others are not there any more: somebody else took them");
            return Exit::Ok;
        }
        Halt::Asked => {
            out.note(format!("the others are where they were, in {}", asked.from));
            return Exit::Interrupted;
        }
        Halt::Refused(why) => out.note(format!(
            "{why}; it and the others are where they were, in {}; the same again goes on",
            asked.from
        )),
        Halt::Unsure(why) => out.note(why.clone()),
    }
    Exit::Error
}

struct Moving<'b> {
    from: Consumer,
    publisher: Publisher,
    bus: &'b Bus,
    to: Target,
    count: u32,
    done: u32,
    /// Messages that are moved and may come again: those that could not be acknowledged, and the last that were, since a lost connection may take the word with it.
    sent: VecDeque<Gone>,
    /// The channel of the last delivery.
    epoch: u64,
}

/// A message that is moved.
struct Gone {
    /// All that it is.
    print: Uuid,
    /// On which channel it came.
    epoch: u64,
    /// Whether the broker was told.
    acked: bool,
    /// Whether it has an id: without one another that is left may look the same.
    named: bool,
}

impl Moving<'_> {
    async fn all(&mut self, out: &mut Out) -> Halt {
        let mut interrupted = pin!(tokio::signal::ctrl_c());
        let mut told = Instant::now();
        while self.done < self.count {
            let next = tokio::select! {
                biased;
                _ = &mut interrupted => return Halt::Asked,
                next = timeout(IDLE_WAIT, self.from.next()) => next,
            };
            let Ok(Some(delivery)) = next else {
                if !self.from.is_open() {
                    // no connection, or no queue any more: what is left is where it is
                    return Halt::Refused("the queue cannot be consumed".to_owned());
                }
                return Halt::Over;
            };
            if self.was_moved(&delivery).await {
                continue;
            }
            // an interruption waits for the broker's word on the one message that is on its way
            match self.one(&delivery, interrupted.as_mut(), out).await {
                Ok(()) => self.done += 1,
                Err(halt) => return halt,
            }
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                out.note(format!("{} of {}", self.done, self.count));
            }
        }
        // what the broker was not told, or on a channel that is gone, is there again
        while self
            .sent
            .iter()
            .any(|gone| !gone.acked || gone.epoch < self.epoch)
        {
            match timeout(IDLE_WAIT, self.from.next()).await {
                Ok(Some(delivery)) if self.was_moved(&delivery).await => {}
                // it has come to rest
                _ => break,
            }
        }
        Halt::Over
    }

    /// How many of those that were moved may lie in the queue as well.
    fn unsure(&self, halt: &Halt) -> usize {
        let is_open = self.from.is_open();
        let may_lie = |gone: &&Gone| !gone.acked || (!is_open && gone.epoch == self.epoch);
        let now = usize::from(matches!(halt, Halt::Unsure(_)));
        self.sent.iter().filter(may_lie).count() + now
    }

    /// Whether it came a second time: then it is only acknowledged.
    async fn was_moved(&mut self, delivery: &Delivery) -> bool {
        self.epoch = delivery.tag.epoch;
        if !delivery.redelivered {
            return false;
        }
        let print = delivery.print();
        let is_it = |gone: &Gone| {
            gone.print == print && gone.epoch < delivery.tag.epoch && (gone.named || !gone.acked)
        };
        let Some(at) = self.sent.iter().position(is_it) else {
            return false;
        };
        self.sent.remove(at);
        self.told(delivery, print).await;
        true
    }

    /// Tells the broker that one is moved.
    async fn told(&mut self, delivery: &Delivery, print: Uuid) {
        self.sent.push_back(Gone {
            print,
            epoch: delivery.tag.epoch,
            acked: delivery.ack().await.is_ok(),
            named: delivery.message_id.is_some(),
        });
        if self.sent.len() > RECENT_MAX {
            let oldest = self.sent.iter().position(|gone| gone.acked);
            oldest.map(|at| self.sent.remove(at));
        }
    }

    /// While the broker takes nothing it is waited for, as long as nobody interrupts that: then certainly nothing was sent.
    async fn unblocked(
        &self,
        interrupted: Pin<&mut impl Future<Output = std::io::Result<()>>>,
        said: &mut bool,
        out: &mut Out,
    ) -> Result<(), Halt> {
        let mut state = self.bus.state();
        let why = match &state.borrow().publishing {
            Link::Blocked { why, .. } => why.clone(),
            _ => return Ok(()),
        };
        if !*said {
            *said = true;
            out.note(format!(
                "it waits: the broker takes no messages now ({why})"
            ));
        }
        tokio::select! {
            _ = interrupted => Err(Halt::Asked),
            _ = state.wait_for(|now| !matches!(now.publishing, Link::Blocked { .. })) => Ok(()),
        }
    }

    fn is_blocked(&self) -> bool {
        let state = self.bus.state();
        matches!(state.borrow().publishing, Link::Blocked { .. })
    }

    async fn one(
        &mut self,
        delivery: &Delivery,
        mut interrupted: Pin<&mut impl Future<Output = std::io::Result<()>>>,
        out: &mut Out,
    ) -> Result<(), Halt> {
        let key = self.to.key.as_ref().unwrap_or(&delivery.key);
        let raw = Raw::moved(delivery, self.to.exchange.clone(), key.clone());
        let mut said = false;
        loop {
            self.unblocked(interrupted.as_mut(), &mut said, out).await?;
            let sent = self.publisher.publish_raw(raw.clone()).await;
            match sent {
                Sent::Confirmed => break,
                // a broker that is there and takes nothing now is waited for
                Sent::NotSent { .. } if self.is_blocked() => {}
                Sent::NotSent { why } => return Err(Halt::Refused(why)),
                Sent::Returned { code, text } => {
                    return Err(Halt::Refused(format!(
                        "no queue takes {} there ({code} {text})",
                        called(delivery)
                    )));
                }
                Sent::Nacked => {
                    return Err(Halt::Refused(format!(
                        "the queue there refuses {}: it is full, or has lost its majority",
                        called(delivery)
                    )));
                }
                Sent::Unknown { why }
                    if why.contains("NOT_FOUND") || why.contains("ACCESS_REFUSED") =>
                {
                    return Err(Halt::Refused(format!(
                        "the broker takes nothing there: {why}"
                    )));
                }
                Sent::Unknown { why } => {
                    return Err(Halt::Unsure(format!(
                        "nobody knows whether {} arrived, so it may be in both places: {why}; the others are where they were",
                        called(delivery)
                    )));
                }
            }
        }
        self.told(delivery, delivery.print()).await;
        Ok(())
    }
}

fn called(delivery: &Delivery) -> String {
    let id = delivery.message_id.as_deref();
    id.map_or_else(|| "the message".to_owned(), |id| format!("message {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_no_text_is_shown_as_it_came_or_not_at_all() {
        let body = b"\xff{\"password\":\"hunter2\"}";
        let covered = body_words(body, false);
        assert_eq!(covered, "no text, 23 bytes: --raw shows them");
        assert!(body_words(body, true).contains("hunter2"));
        assert_eq!(body_words(&body[1..], false), r#"{"password":"***"}"#);
        assert_eq!(body_words(&body[1..], true), r#"{"password":"hunter2"}"#);
    }

    #[test]
    fn a_place_is_read_as_it_is_typed() {
        let read = |text| Target::read(text).ok().map(|to| (to.exchange, to.key));
        assert_eq!(read("/q"), Some((String::new(), Some("q".to_owned()))));
        assert_eq!(
            read("x/a.b"),
            Some(("x".to_owned(), Some("a.b".to_owned())))
        );
        assert_eq!(read("x/"), Some(("x".to_owned(), None)));
        assert_eq!(read("x"), None);
        assert_eq!(read("/"), None);
    }
}
