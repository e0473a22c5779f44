//! Events: published on the bus as any other client would, and shown with what each of them started, joined, woke and cancelled.

use aide::axum::routing::get_with;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use baton_bus::{Outgoing, Sent};
use baton_messages::{BODY_BYTES_MAX, Event, MessageId, SagaId, StepId, Timestamp, topology};
use baton_store::{Effect, EventCursor, EventRow, Reader as _, TriggerRef};
use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::answer::Accepted;
use super::auth::{Operator, Viewer};
use super::dead_letters::may_read;
use super::document::says;
use super::extract::{EventBody, Query};
use super::hooks::EventName;
use super::page::Limit;
use super::problem::{Answer, Problem};
use super::{Routes, Shared};
use crate::triggers::{claims_a_hook, cloudevents};
use crate::{clock, masks};

/// Longest type: it is the routing key.
const TYPE_BYTES_MAX: usize = 255;
/// The kind of message an event is, as it stands in its AMQP properties.
const KIND: &str = "cloudevent@1";

/// The routes.
pub(super) fn routes(routes: Routes) -> Routes {
    let says = |id, summary, problems| says(id, "events", summary, problems);
    routes
        .api_route(
            "/events",
            get_with(
                list,
                says(
                    "listEvents",
                    "Kept events, newest first, with what each caused.",
                    &[503],
                ),
            )
            .post_with(
                publish,
                says(
                    "publishEvent",
                    "Publish a CloudEvents 1.0 event on the bus: structured, or binary with ce-* headers. Answered when the broker has it.",
                    &[413, 422, 503],
                ),
            ),
        )
        .api_route(
            "/events/one",
            get_with(
                one,
                says("getEvent", "One kept event, with what it caused.", &[404, 503]),
            ),
        )
}

/// An event the broker has.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Published {
    #[serde(flatten)]
    event: EventName,
    /// Whether anybody wants it, as far as is known now: a trigger that takes it, or a step that may wait for its type. What nobody wants is
    /// not kept, and nothing comes of it.
    wanted: bool,
}

/// Publishes an event.
pub(crate) async fn publish(
    State(api): Shared,
    Operator(_): Operator,
    headers: HeaderMap,
    EventBody(body): EventBody,
) -> Answer<Accepted<Published>> {
    let event = read(&headers, &body)?;
    if event.kind.len() > TYPE_BYTES_MAX {
        return Err(Problem::bad_request(format!(
            "`type` has {} bytes; at most {TYPE_BYTES_MAX} can be routed",
            event.kind.len()
        )));
    }
    if claims_a_hook(&event) {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "hook-event",
            "An event of a hook cannot be published",
            "types that begin with `hook.` and sources that begin with `/v1/hooks/` belong to signed requests: send it, signed, to POST /v1/hooks/<name>, or give it another type and source",
        ));
    }
    let live = api.triggers.live.borrow().clone();
    let name = Published {
        wanted: live.wants(&event, clock::now()),
        event: EventName {
            id: event.id.clone(),
            source: event.source.clone(),
        },
    };
    let out = message(event)?;
    if out.body.len() > BODY_BYTES_MAX {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The request cannot be read",
            format!(
                "the event has {} bytes; at most {BODY_BYTES_MAX} are taken",
                out.body.len()
            ),
        ));
    }
    match api.triggers.bus.publisher().publish(vec![out]).await.pop() {
        Some(Sent::Confirmed) => Ok(Accepted(name)),
        Some(Sent::NotSent { .. } | Sent::Unknown { .. } | Sent::Returned { .. } | Sent::Nacked) | None => {
            Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "not-confirmed",
                "The broker did not take the event",
                "it may still have it; publish it again with the same source and id, which is the same event",
            )
            .again_after_s(5))
        }
    }
}

/// An event as it is published, whoever publishes it.
pub(crate) fn message(event: Event) -> Answer<Outgoing> {
    let body = serde_json::to_vec(&event)
        .map_err(|_| Problem::bad_request("the event cannot be written as JSON"))?;
    // the same event has the same message id, whoever publishes it
    let unique = format!("{}\u{1f}{}", event.source, event.id);
    let id = MessageId(Uuid::new_v5(&Uuid::NAMESPACE_URL, unique.as_bytes()));
    let now = clock::now();
    let mut out = Outgoing::json(topology::EVENTS, event.kind, KIND, id, body, now.0);
    out.content_type = "application/cloudevents+json".into();
    // nobody may be listening, which is no error of who speaks
    out.mandatory = false;
    Ok(out)
}

/// An event as HTTP carries it: structured, or binary with percent-encoded headers.
fn read(headers: &HeaderMap, body: &[u8]) -> Answer<Event> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let mut attributes: Map<String, Value> = Map::new();
    for (name, value) in headers {
        let Some(name) = cloudevents::attribute(name.as_str()) else {
            continue;
        };
        let text = value.to_str().ok().map(percent_decode_str);
        let text = text.and_then(|text| text.decode_utf8().ok());
        let Some(text) = text else {
            return Err(Problem::bad_request(format!(
                "header `ce-{name}` is no text; write what is not ASCII with percent signs"
            )));
        };
        attributes.insert(name, json!(text));
    }
    cloudevents::of_parts(content_type, attributes, body).map_err(|wrong| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "event",
            "This is no CloudEvents 1.0 event",
            wrong.error,
        )
    })
}

/// Which events.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichEvents {
    /// Only those of exactly this type.
    r#type: Option<String>,
    limit: Option<Limit>,
    /// The `next` of the last page.
    cursor: Option<String>,
}

/// A page of events.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Events {
    /// Newest first.
    items: Vec<Shown>,
    /// The next page's `cursor`; none: this was the last.
    next: Option<String>,
    /// Those of the page that could not be read, by their numbers in the store: they hide none of the others.
    unreadable: Vec<String>,
}

/// A kept event.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Shown {
    /// It.
    event: Event,
    /// When it was received.
    received_at: Timestamp,
    /// Whether all that it causes is committed.
    done: bool,
    /// What it causes.
    effects: Vec<ShownEffect>,
}

/// What an event causes.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "what")]
enum ShownEffect {
    /// A trigger started a saga.
    Started {
        trigger: OfTrigger,
        saga: SagaId,
        key: Option<String>,
    },
    /// It joined the saga that holds its key.
    Joined {
        trigger: OfTrigger,
        saga: SagaId,
        key: String,
    },
    /// It asks the saga that was started with its key last to cancel; past its pivot that only goes on, and a person is told.
    AskedToCancel {
        trigger: OfTrigger,
        saga: SagaId,
        key: String,
        reason: String,
    },
    /// It was to cancel a saga, and there was none that could be: nothing was done.
    NothingToCancel {
        trigger: OfTrigger,
        saga: Option<SagaId>,
        key: String,
        why: String,
    },
    /// A trigger could not be used on it; a dead letter says the same.
    Refused { trigger: OfTrigger, error: String },
    /// A step that waited for it goes on.
    Woke { saga: SagaId, step: StepId },
}

/// A trigger.
#[derive(Debug, Serialize, JsonSchema)]
struct OfTrigger {
    definition: String,
    version: u32,
    /// Its place in `on:`, from 0.
    trigger: u32,
}

impl From<TriggerRef> for OfTrigger {
    fn from(of: TriggerRef) -> Self {
        Self {
            definition: of.definition,
            version: of.version,
            trigger: of.trigger,
        }
    }
}

impl ShownEffect {
    /// Why a trigger could not be used may quote what is in the event.
    fn covered(self, whole: bool) -> Self {
        match self {
            Self::Refused { trigger, error } => Self::Refused {
                trigger,
                error: masks::text_for(whole, error),
            },
            other => other,
        }
    }
}

impl From<Effect> for ShownEffect {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Started { of, saga, key } => Self::Started {
                trigger: of.into(),
                saga,
                key,
            },
            Effect::Joined { of, saga, key } => Self::Joined {
                trigger: of.into(),
                saga,
                key,
            },
            Effect::AskedToCancel {
                of,
                saga,
                key,
                reason,
            } => Self::AskedToCancel {
                trigger: of.into(),
                saga,
                key,
                reason,
            },
            Effect::NothingToCancel { of, saga, key, why } => Self::NothingToCancel {
                trigger: of.into(),
                saga,
                key,
                why,
            },
            Effect::Refused { of, error } => Self::Refused {
                trigger: of.into(),
                error,
            },
            Effect::Woke { saga, step } => Self::Woke { saga, step },
        }
    }
}

/// An event, its data as it came for whoever may read dead letters in full: what could not be used stands there too.
fn shown(row: EventRow, whole: bool) -> Shown {
    let mut event = row.event;
    if !whole {
        event.data = event.data.as_ref().map(masks::value);
        // of bytes nobody can say what in them is a secret
        event.data_base64 = None;
    }
    Shown {
        event,
        received_at: row.received_at,
        done: row.done,
        effects: row
            .effects
            .into_iter()
            .map(ShownEffect::from)
            .map(|effect| effect.covered(whole))
            .collect(),
    }
}

/// Kept events, newest first.
pub(crate) async fn list(
    State(api): Shared,
    Viewer(caller): Viewer,
    Query(which): Query<WhichEvents>,
) -> Answer<Json<Events>> {
    let after = which.cursor.as_deref().map(cursor).transpose()?;
    let limit = Limit::rows(which.limit);
    let page = api.reader.events(which.r#type, after, limit).await;
    let page = page.map_err(|error| Problem::store(&error))?;
    let whole = may_read(&caller);
    Ok(Json(Events {
        items: page.rows.into_iter().map(|row| shown(row, whole)).collect(),
        next: page
            .next
            .map(|next| format!("{}.{}", next.received_at, next.seq)),
        unreadable: page.unreadable,
    }))
}

fn cursor(text: &str) -> Answer<EventCursor> {
    let parts = text.split_once('.');
    let read = parts.and_then(|(at, seq)| Some((at.parse().ok()?, seq.parse().ok()?)));
    let (at, seq) = read.ok_or_else(|| {
        Problem::bad_request("`cursor` is none of ours; give back the `next` of the last page")
    })?;
    Ok(EventCursor {
        received_at: Timestamp(at),
        seq,
    })
}

/// Which event.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OneEvent {
    /// Where it comes from.
    source: String,
    /// Its id there.
    id: String,
}

/// One kept event.
pub(crate) async fn one(
    State(api): Shared,
    Viewer(caller): Viewer,
    Query(of): Query<OneEvent>,
) -> Answer<Json<Shown>> {
    let found = api.reader.event(of.source, of.id).await;
    let found = found.map_err(|error| Problem::store(&error))?;
    let shown = |row| Json(shown(row, may_read(&caller)));
    found.map(shown).ok_or_else(|| {
        Problem::not_found(
            "no such event is kept: it never came, nobody wanted it, or triggers.keep_events_h is over",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_covered_for_whoever_may_only_look() {
        let row = || {
            let event = json!({
                "specversion": "1.0", "id": "e", "source": "/x", "type": "x.y", "data": { "host": "h1", "password": "hunter2" },
            });
            EventRow {
                seq: 1,
                event: serde_json::from_value(event).unwrap(),
                received_at: Timestamp(1),
                done: true,
                effects: vec![Effect::Refused {
                    of: TriggerRef {
                        definition: "d".to_owned(),
                        version: 1,
                        trigger: 0,
                    },
                    error: "`input` is not what it takes: password=hunter2".to_owned(),
                }],
            }
        };
        let said = |whole| serde_json::to_string(&shown(row(), whole)).unwrap();
        let of_bytes = |whole| {
            let mut row = row();
            (row.event.data, row.event.data_base64) = (None, Some("aHVudGVyMg==".to_owned()));
            serde_json::to_string(&shown(row, whole)).unwrap()
        };
        assert!(!of_bytes(false).contains("aHVudGVyMg=="));
        assert!(of_bytes(true).contains("aHVudGVyMg=="));
        assert!(!said(false).contains("hunter2") && said(false).contains("h1"));
        assert_eq!(said(true).matches("hunter2").count(), 2);
    }
}
