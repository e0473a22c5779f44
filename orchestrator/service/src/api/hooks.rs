//! Hooks: signed requests that become events. No token: the signature over the raw body is what lets them in. Answered when the event is
//! kept; what it starts follows, whatever dies in between.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use aide::OperationInput;
use aide::axum::routing::post_with;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response, StatusCode as Code};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequestParts as _, State};
use axum::http::{HeaderMap, StatusCode, header};
use baton_engine::definition::{hook_source, hook_type, rfc3339};
use baton_messages::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::answer::Accepted;
use super::document::says;
use super::extract::{Path, bodies, early, header as described, in_time};
use super::problem::{Answer, Problem};
use super::{Api, Routes, Shared};
use crate::clock;
use crate::cluster::NotTaken;
use crate::http::Peer;
use crate::triggers::cloudevents;
use crate::triggers::hooks::{GITHUB_DELIVERY, Headers, Refused};

/// How long a caller waits until the event is kept.
const KEPT_WAIT: Duration = Duration::from_secs(20);
/// What GitHub says of an event in headers, and the extension attributes they become. Neither is signed.
const GITHUB: [(&str, &str); 2] = [
    ("x-github-event", "githubevent"),
    (GITHUB_DELIVERY, "githubdelivery"),
];

/// A hook.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct OneHook {
    /// Its name, as a trigger has it.
    name: String,
}

/// What a signed request became.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Kept {
    /// The event. The same request again is the same event: its id is signed, or made of the body that is.
    event: EventName,
}

/// An event by what makes it unique.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EventName {
    /// Its id, unique together with its source.
    pub(super) id: String,
    /// Where it comes from.
    pub(super) source: String,
}

impl Headers for HeaderMap {
    fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str().ok()
    }
}

/// The route, which guards itself.
pub(super) fn routes(routes: Routes) -> Routes {
    routes.api_route(
        "/hooks/{name}",
        post_with(
            receive,
            says(
                "receiveHook",
                "events",
                "A signed request becomes an event. No token is needed: the signature says who it is.",
                &[401, 404, 413, 429, 503],
            ),
        )
        // the handler has its own, smaller limit
        .layer(DefaultBodyLimit::disable()),
    )
}

/// Takes a signed request.
pub(crate) async fn receive(
    State(api): Shared,
    Path(hook): Path<OneHook>,
    headers: HeaderMap,
    body: Limited,
) -> Answer<Accepted<Kept>> {
    let Limited { body, peer } = body;
    let live = api.triggers.live.borrow().clone();
    let secrets = live.secrets_of(&hook.name);
    if secrets.is_empty() {
        return Err(no_hook(&hook.name));
    }
    let (secret, id) = api.signed_by(&hook.name, &secrets, &headers, &body)?;
    let counted = api.triggers.hooks.count(&hook.name, peer, Instant::now());
    counted.map_err(|seconds| too_many("Too many requests of this hook", seconds))?;
    let event = event(&hook.name, &id, &headers, &body)?;
    let name = EventName {
        id,
        source: event.source.clone(),
    };
    api.keep(event, secret).await?;
    Ok(Accepted(Kept { event: name }))
}

impl Api {
    /// Which of the secrets signed a request, and the id it says.
    fn signed_by(
        &self,
        hook: &str,
        secrets: &std::collections::BTreeSet<&str>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Answer<(String, String)> {
        let mut why = None;
        for secret in secrets {
            if !self.triggers.hooks.has(secret) {
                tracing::warn!(%hook, %secret, "a hook was called whose secret is not configured: add the section [hooks.{secret}]");
                continue;
            }
            let now = clock::now();
            match self.triggers.hooks.verify(secret, headers, body, now) {
                Ok(id) => return Ok(((*secret).to_owned(), id)),
                Err(refused) => why = Some(refused),
            }
        }
        let detail = match why {
            None => {
                return Err(Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "hook-secret",
                    "The hook has no secret",
                    "the orchestrator's configuration has no section [hooks.<secret>] for it",
                )
                .again_after_s(60));
            }
            Some(Refused::Header(name)) => format!("header `{name}` is missing or cannot be read"),
            Some(Refused::Signature) => {
                "the signature does not fit the body and the secret".to_owned()
            }
            Some(Refused::Time { tolerance_s }) => format!(
                "the request was made more than {tolerance_s} seconds from now; set the clocks, or send it anew"
            ),
        };
        metrics::counter!("baton_orchestrator_hooks_refused_total").increment(1);
        Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "signature",
            "The signature is not good",
            detail,
        ))
    }

    /// Has an event kept; returns when it is.
    async fn keep(&self, event: Event, secret: String) -> Answer<()> {
        match self.router.kept(event, secret, KEPT_WAIT).await {
            Ok(()) => Ok(()),
            Err(NotTaken::Busy) => Err(Problem::busy()),
            Err(NotTaken::Stopping) => Err(Problem::stopping()),
            Err(NotTaken::Late) => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "not-kept",
                "The event was not kept in time",
                "it may still be; send it again with the same id",
            )
            .again_after_s(5)),
        }
    }
}

/// The event a request becomes.
fn event(hook: &str, id: &str, headers: &HeaderMap, body: &[u8]) -> Answer<Event> {
    let content_type = headers.text(header::CONTENT_TYPE.as_str());
    let mut all: Map<String, Value> = Map::new();
    all.insert("specversion".to_owned(), json!("1.0"));
    all.insert("id".to_owned(), json!(id));
    all.insert("source".to_owned(), json!(hook_source(hook)));
    all.insert("type".to_owned(), json!(hook_type(hook)));
    all.insert("time".to_owned(), json!(rfc3339(clock::now())));
    if let Some(content_type) = content_type {
        all.insert("datacontenttype".to_owned(), json!(content_type));
    }
    for (header, attribute) in GITHUB {
        if let Some(said) = headers.text(header) {
            all.insert(attribute.to_owned(), json!(said));
        }
    }
    if !body.is_empty() {
        let data = cloudevents::data(content_type.unwrap_or_default(), body);
        let (name, value) = data.map_err(|wrong| Problem::bad_request(wrong.error))?;
        all.insert(name.to_owned(), value);
    }
    serde_json::from_value(Value::Object(all))
        .map_err(|_| Problem::bad_request("the request cannot be written as an event"))
}

fn too_many(title: &'static str, seconds: u32) -> Problem {
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate",
        title,
        "more in a minute than triggers.hook_rate_per_minute allows; send it again later",
    )
    .again_after_s(seconds)
}

/// A raw body of at most as many bytes as hooks may have, of an address that has tries left.
pub(crate) struct Limited {
    body: Bytes,
    peer: IpAddr,
}

impl axum::extract::FromRequest<std::sync::Arc<Api>> for Limited {
    type Rejection = Problem;

    /// What costs nothing first: nobody has signed anything yet.
    async fn from_request(
        request: axum::extract::Request,
        api: &std::sync::Arc<Api>,
    ) -> Result<Self, Problem> {
        let hooks = &api.triggers.hooks;
        let most = hooks.body_bytes_max;
        let too_large = || {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "The request cannot be read",
                format!("its body has more than {most} bytes, or ends too early"),
            )
        };
        let peer = request.extensions().get::<Peer>();
        // none only where requests do not come over the network
        let peer = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.0);
        hooks
            .try_from(peer, Instant::now())
            .map_err(|seconds| too_many("Too many requests that nobody signed", seconds))?;
        let said = request.headers().text(header::CONTENT_LENGTH.as_str());
        let said = said.and_then(|length| length.parse::<usize>().ok());
        if said.is_some_and(|length| length > most) {
            return Err(too_large());
        }
        let (mut parts, body) = request.into_parts();
        let Path(hook) = Path::<OneHook>::from_request_parts(&mut parts, api).await?;
        let known = !api.triggers.live.borrow().secrets_of(&hook.name).is_empty();
        if !known {
            return Err(no_hook(&hook.name));
        }
        let read = in_time(axum::body::to_bytes(body, most)).await?;
        let body = read.map_err(|_| too_large())?;
        Ok(Self { body, peer })
    }
}

/// How a request is signed, by the scheme of its hook.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only described")]
struct SignatureSchema {
    /// Scheme `standard`: the id of the message.
    #[schemars(rename = "webhook-id")]
    id: Option<String>,
    /// Scheme `standard`: when it was signed, in seconds since 1970.
    #[schemars(rename = "webhook-timestamp")]
    at: Option<String>,
    /// Scheme `standard`: `v1,` and the signature.
    #[schemars(rename = "webhook-signature")]
    signature: Option<String>,
    /// Scheme `github`: `sha256=` and the signature.
    #[schemars(rename = "X-Hub-Signature-256")]
    github: Option<String>,
}

impl OperationInput for Limited {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        described::<SignatureSchema>(ctx, operation);
        let any = ctx.schema.subschema_for::<Value>();
        bodies(operation, ctx, [("application/json", any)]);
    }

    fn inferred_early_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<Code>, Response)> {
        early(ctx, &[400, 408])
    }
}

fn no_hook(name: &str) -> Problem {
    Problem::not_found(format!(
        "no registered definition has a trigger `hook: {name}`"
    ))
}
