//! Queues of other systems on the same broker, named in the configuration: what they have given up is taken in as dead letters like our own, whole, and acknowledged only once it is in
//! the store. Where a message was published first stands in the configuration, in the broker's notes or in the headers of whoever gave it up; where nobody says, it is not sent
//! back before somebody does.

use baton_bus::{Delivery, HeaderValue, Headers};
use baton_driver::DeadLetterRow;
use serde_json::Value;
use uuid::Uuid;

use super::{arriving, broker_death, given_up, last_death, properties};
use crate::clock;
use crate::replay::route::{
    ADOPTED, ORIGIN, ORIGIN_GIVEN, ORIGIN_NOTED, ORIGIN_SAID, ORIGIN_UNKNOWN,
};

/// What stands between a queue and its origin.
const ARROW: &str = " -> ";
/// Every name of ours begins so.
const OURS: &str = "baton.";
/// Headers in which others say what went wrong: Spring, `MassTransit`, `NServiceBus`.
const ERRORS: [&str; 4] = [
    "x-exception-message",
    "MT-Fault-Message",
    "NServiceBus.ExceptionInfo.Message",
    "x-exception",
];
/// Headers in which they say where it was published first: Spring.
const SAID: [&str; 2] = ["x-original-exchange", "x-original-routingKey"];

/// Where `baton dead move` keeps the broker's notes.
const MOVED: &str = "baton-dead-x-death";

/// A queue that is adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Adopted {
    /// Its name.
    pub(crate) queue: String,
    /// Exchange and routing key its messages go back to, whatever they say.
    pub(crate) origin: Option<(String, String)>,
}

impl Adopted {
    /// Reads `orders.dlq`, or `orders.dlq -> exchange/key`; or what is wrong with it.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let (queue, origin) = match text.split_once(ARROW) {
            Some((queue, origin)) => (queue.trim(), Some(origin.trim())),
            None => (text.trim(), None),
        };
        if queue.is_empty() || queue.len() > 255 {
            return Err(format!("`{text}` names no queue"));
        }
        if queue.starts_with(OURS) {
            return Err(format!(
                "`{queue}` is a queue of Baton's own, which is taken in where it belongs"
            ));
        }
        let origin = match origin.map(|origin| origin.split_once('/')) {
            None => None,
            Some(Some((exchange, key))) => Some((exchange.to_owned(), key.to_owned())),
            Some(None) => {
                return Err(format!(
                    "`{text}`: an origin is written exchange/key, or /queue"
                ));
            }
        };
        let own = origin
            .as_ref()
            .is_some_and(|(exchange, key)| exchange.is_empty() && key == queue);
        if own {
            return Err(format!(
                "`{queue}` is its own origin: what is sent back would only come again"
            ));
        }
        Ok(Self {
            queue: queue.to_owned(),
            origin,
        })
    }

    /// All of them; or what is wrong with one, or with two of one name.
    pub(crate) fn all(texts: &[String]) -> Result<Vec<Self>, String> {
        let mut all: Vec<Self> = Vec::with_capacity(texts.len());
        for text in texts {
            let one = Self::read(text)?;
            if all.iter().any(|other| other.queue == one.queue) {
                return Err(format!("`{}` stands twice", one.queue));
            }
            all.push(one);
        }
        Ok(all)
    }

    /// The row of a message of this queue. No saga is told of it: it is none of ours, whatever it says of itself.
    pub(super) fn row(&self, delivery: &Delivery, error: Option<String>) -> DeadLetterRow {
        let headers = &*delivery.headers;
        let death = broker_death(headers).or_else(|| last_death(headers.get(MOVED)?));
        let noted = |name: &str| text(death?, name);
        let (exchange, key, origin) = self.origin_of(delivery, death);
        let mut properties = properties(delivery);
        properties.insert(ADOPTED.to_owned(), self.queue.as_str().into());
        properties.insert(ORIGIN.to_owned(), origin.into());
        let why = noted("reason");
        let reason = given_up(why.as_deref());
        let said = || ERRORS.iter().find_map(|name| text(headers, name));
        DeadLetterRow {
            id: self.id(delivery, death),
            at: clock::now(),
            reason,
            error: error.or_else(said).unwrap_or_else(|| match why {
                Some(why) => format!("dead-lettered by the broker: {why}"),
                None => format!("put into {} by its sender", self.queue),
            }),
            queue: noted("queue").unwrap_or_else(|| self.queue.clone()),
            exchange,
            key,
            message_id: delivery.message_id.clone(),
            kind: delivery.kind.clone(),
            saga: None,
            properties: Value::Object(properties),
            body: delivery.body.clone(),
        }
    }

    /// Where it was published first, and how that is known.
    fn origin_of(
        &self,
        delivery: &Delivery,
        death: Option<&Headers>,
    ) -> (String, String, &'static str) {
        if let Some((exchange, key)) = &self.origin {
            return (exchange.clone(), key.clone(), ORIGIN_GIVEN);
        }
        if let Some(death) = death
            && let Some(exchange) = text(death, "exchange")
            && let Some(key) = first_key(death)
            && !(exchange.is_empty() && key == self.queue)
        {
            return (exchange, key, ORIGIN_NOTED);
        }
        let [exchange, key] = SAID.map(|name| text(&delivery.headers, name));
        match (exchange, key) {
            (Some(exchange), Some(key)) => (exchange, key, ORIGIN_SAID),
            _ => (
                delivery.exchange.clone(),
                delivery.key.clone(),
                ORIGIN_UNKNOWN,
            ),
        }
    }

    /// The same message that died the same time is the same letter. One that was sent back by others and died again is another, which the broker's notes tell apart; of one that was
    /// given up by its consumer's own code nobody notes that, and it is a death of the letter there is (`arriving.rs`).
    fn id(&self, delivery: &Delivery, death: Option<&Headers>) -> Uuid {
        let message = delivery.message_id.as_deref().unwrap_or("");
        if message.is_empty() {
            return delivery.print();
        }
        let what = [
            self.queue.clone(),
            message.to_owned(),
            arriving::noted(death),
        ];
        arriving::identity(delivery, &what)
    }
}

fn text(headers: &Headers, name: &str) -> Option<String> {
    headers.get(name)?.as_text().map(str::to_owned)
}

fn first_key(death: &Headers) -> Option<String> {
    match death.get("routing-keys")? {
        HeaderValue::Array(keys) => keys.first()?.as_text().map(str::to_owned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_named_with_its_origin_or_without() {
        let read = |text| Adopted::read(text).unwrap();
        assert_eq!(read("orders.dlq").origin, None);
        let with = read(" orders.dlq -> orders/new.v1/x ");
        assert_eq!(with.queue, "orders.dlq");
        assert_eq!(
            with.origin,
            Some(("orders".to_owned(), "new.v1/x".to_owned()))
        );
        assert_eq!(
            read("a -> /b").origin,
            Some((String::new(), "b".to_owned()))
        );
        for wrong in ["", "baton.dead", "a -> b", "a -> /a"] {
            assert!(Adopted::read(wrong).is_err(), "{wrong}");
        }
        let twice = ["a".to_owned(), "a -> b/c".to_owned()];
        assert!(Adopted::all(&twice).is_err());
    }
}
