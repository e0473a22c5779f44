//! Live watching by server-sent events. Fed by the loop's commits and never by looking again and again; who reads too slowly is told so
//! and looks at the whole again. A stream ends by itself when its saga has ended, and when the orchestrator stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response as Documented, StatusCode as Code};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use baton_driver::SagaRow;
use baton_engine::Status;
use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use super::answer::documented;
use super::auth::{Caller, Viewer};
use super::extract::{LastEventId, Path, Query};
use super::page::{Label, Moment};
use super::problem::{Answer, Problem};
use super::sagas::{OneSaga, saga_id, seen};
use super::seen::{Folded, Look, Watching};
use super::view::Row;
use super::{Api, Shared};
use crate::changes::Told;

/// Streams at once: each holds a connection and a place in every turn's notice.
const STREAMS_MAX: usize = 256;
/// A line that means nothing, so that nobody on the way takes silence for death.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The streams there may be.
#[derive(Debug, Clone)]
pub(crate) struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS_MAX)))
    }
}

impl Streams {
    pub(super) fn one(&self) -> Answer<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_owned().map_err(|_| {
            Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "busy",
                "Too much is under way",
                format!("{STREAMS_MAX} streams are open; close one, or ask with wait_s"),
            )
            .again_after_s(5)
        })
    }
}

type Events = BoxStream<'static, Result<Event, Infallible>>;

/// Server-sent events.
pub(crate) struct Live(Events);

impl Live {
    /// Events for as long as whoever reads them may: with his token the stream ends, and he is told why when he asks again.
    fn of(
        events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static,
        api: Arc<Api>,
        caller: Caller,
    ) -> Self {
        let over = async move { api.access.useless(&caller.token).await };
        Self(events.take_until(Box::pin(over)).boxed())
    }
}

impl IntoResponse for Live {
    fn into_response(self) -> Response {
        let events = Sse::new(self.0).keep_alive(KeepAlive::new().interval(HEARTBEAT));
        // a proxy on the way must not gather events
        ([("x-accel-buffering", "no")], events).into_response()
    }
}

impl OperationOutput for Live {
    type Inner = String;

    fn inferred_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<Code>, Documented)> {
        let schema = ctx.schema.subschema_for::<String>();
        let response = documented("Server-sent events.", "text/event-stream", schema);
        vec![(Some(Code::Code(200)), response)]
    }
}

fn event(name: &str, data: &impl Serialize) -> Event {
    let event = Event::default().event(name);
    // what cannot be written as JSON is told as an event without data: the reader looks for himself
    let Ok(data) = serde_json::to_string(data) else {
        return event;
    };
    event.data(data)
}

/// One saga as it changes: `saga` with the whole of it at once and at every change, `end` when it has ended, `stopping` when the
/// orchestrator goes. The events' ids are numbers of records; `Last-Event-ID` leaves out what was seen already.
pub(crate) async fn saga(
    State(api): Shared,
    Viewer(caller): Viewer,
    Path(of): Path<OneSaga>,
    LastEventId(last): LastEventId,
) -> Answer<Live> {
    let saga = saga_id(&of.id)?;
    let permit = api.streams.one()?;
    let mut watched = api.watched.saga(saga);
    // the first look decides between a stream and a problem
    seen(watched.next().await.ok_or_else(Problem::stopping)?)?;
    watched.again();
    let reader = api.clone();
    let one = OneStream {
        api,
        watched,
        after: last.unwrap_or(0),
        end: None,
        _permit: permit,
    };
    Ok(Live::of(
        stream::unfold(Some(one), OneStream::next),
        reader,
        caller,
    ))
}

/// A stream of one saga.
struct OneStream {
    api: Arc<Api>,
    watched: Watching,
    /// The last record its reader knows of.
    after: u64,
    /// It has ended so; all that is left to say.
    end: Option<Status>,
    _permit: OwnedSemaphorePermit,
}

impl OneStream {
    async fn next(this: Option<Self>) -> Option<(Result<Event, Infallible>, Option<Self>)> {
        let mut this = this?;
        if let Some(status) = this.end {
            return Some((Ok(event("end", &json!({ "status": status }))), None));
        }
        let Some(found) = this.newer().await else {
            return Some((Ok(event("stopping", &json!({}))), None));
        };
        if found.state.status.ended() {
            this.end = Some(found.state.status);
        }
        if found.state.seq <= this.after {
            let end = event("end", &json!({ "status": found.state.status }));
            return Some((Ok(end), None));
        }
        this.after = found.state.seq;
        let event = match this.api.shown(&found).await {
            Ok(saga) => event("saga", &saga).id(found.state.seq.to_string()),
            Err(_) => Event::default().event("lagged"),
        };
        Some((Ok(event), Some(this)))
    }

    /// The saga once it has records the reader does not know, or has ended; none when the orchestrator stops.
    async fn newer(&mut self) -> Option<Arc<Folded>> {
        loop {
            let look = tokio::select! {
                biased;
                () = self.api.stopping.cancelled() => return None,
                look = self.watched.next() => look?,
            };
            if let Look::Saga(found) = look
                && (found.state.seq > self.after || found.state.status.ended())
            {
                return Some(found);
            }
        }
    }
}

/// Which sagas are watched.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WatchWhich {
    /// Those of this definition, any version.
    definition: Option<String>,
    /// Those that stand there.
    status: Option<Status>,
    /// Those with this label: `name=value`.
    label: Option<Label>,
    /// Those started then or later.
    since: Option<Moment>,
    /// Those started then or earlier.
    until: Option<Moment>,
}

impl WatchWhich {
    fn wants(&self, row: &SagaRow) -> bool {
        let has = |label: &Label| row.labels.get(&label.name) == Some(&label.value);
        self.status.is_none_or(|status| status == row.status)
            && self
                .definition
                .as_ref()
                .is_none_or(|name| *name == row.definition)
            && self.label.as_ref().is_none_or(has)
            && self.since.is_none_or(|Moment(at)| row.started_at >= at)
            && self.until.is_none_or(|Moment(at)| row.started_at <= at)
    }
}

/// Sagas as they start and change: `watching` at once (list them after it), `saga` with a row, `lagged` when some were left out (list
/// them again), `stopping` when the orchestrator goes.
pub(crate) async fn list(
    State(api): Shared,
    Viewer(caller): Viewer,
    Query(which): Query<WatchWhich>,
) -> Answer<Live> {
    let permit = api.streams.one()?;
    let reader = api.clone();
    let many = ManyStream {
        told: api.changes.rows(),
        api,
        which,
        waiting: Vec::new(),
        _permit: permit,
    };
    let watching = stream::iter([Ok(event("watching", &json!({})))]);
    let events = watching.chain(stream::unfold(Some(many), ManyStream::next));
    Ok(Live::of(events, reader, caller))
}

/// A stream of a list.
struct ManyStream {
    api: Arc<Api>,
    told: broadcast::Receiver<Told>,
    which: WatchWhich,
    /// What is still to be said of the last turn, last first.
    waiting: Vec<Row>,
    _permit: OwnedSemaphorePermit,
}

impl ManyStream {
    async fn next(this: Option<Self>) -> Option<(Result<Event, Infallible>, Option<Self>)> {
        let mut this = this?;
        loop {
            if let Some(row) = this.waiting.pop() {
                return Some((Ok(event("saga", &row)), Some(this)));
            }
            let told = tokio::select! {
                biased;
                () = this.api.stopping.cancelled() => {
                    return Some((Ok(event("stopping", &json!({}))), None));
                }
                told = this.told.recv() => told,
            };
            match told {
                Ok(Told::Rows(rows)) => {
                    let wanted = rows.iter().rev().filter(|row| this.which.wants(row));
                    this.waiting = wanted.map(Row::from).collect();
                }
                Ok(Told::Missed) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    return Some((Ok(event("lagged", &json!({}))), Some(this)));
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use baton_messages::Timestamp;

    use super::*;

    #[test]
    fn a_list_is_watched_with_every_filter_it_is_listed_with() {
        let saga = baton_messages::SagaId(uuid::Uuid::from_u128(7));
        let row = SagaRow {
            saga,
            slice: baton_messages::Slice::of(saga),
            definition: "release".to_owned(),
            version: 1,
            status: Status::Running,
            paused: false,
            labels: [("site".to_owned(), "vienna".to_owned())].into(),
            by: "ci".to_owned(),
            started_at: Timestamp(5_000),
            changed_at: Timestamp(5_000),
            ended_at: None,
            purged: None,
        };
        let wants = |which: serde_json::Value| {
            let which: WatchWhich = serde_json::from_value(which).unwrap();
            which.wants(&row)
        };
        assert!(wants(
            json!({ "definition": "release", "status": "running", "label": "site=vienna", "since": "5000", "until": "5000" })
        ));
        for other in [
            json!({ "definition": "other" }),
            json!({ "status": "parked" }),
            json!({ "label": "site=graz" }),
            json!({ "since": "5001" }),
            json!({ "until": "4999" }),
        ] {
            assert!(!wants(other.clone()), "{other}");
        }
    }
}
