//! What stands at the broker, seen and changed over RabbitMQ's management API: the one part of `baton` that speaks to anybody but an
//! orchestrator. It only adds and sets right; nothing with messages in it is ever deleted.
//!
//! A client of our own: a dozen calls, read by the few fields that every broker from 3.10 on has.

mod definitions;
mod drift;
mod seen;

use std::time::Duration;

use reqwest::{Method, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) use definitions::definitions;
pub(crate) use drift::{Drift, Mend, Wanted, WantedUser, drifts};
pub(crate) use seen::Seen;

use crate::error::CliError;

/// How long one answer may take: a cluster that lost its majority answers slowly or never.
const ANSWER_WAIT: Duration = Duration::from_secs(20);

/// The management API of one broker, for one virtual host.
pub(crate) struct Broker {
    http: reqwest::Client,
    base: Url,
    user: String,
    password: String,
    vhost: String,
}

impl Broker {
    /// From `http://user:password@host:15672`.
    pub(crate) fn new(url: &str, vhost: &str) -> Result<Self, CliError> {
        let wrong = |what: &str| {
            CliError::usage_then(
                format!("--management: {what}"),
                "write http://USER:PASSWORD@HOST:15672, better in BATON_MANAGEMENT than on the command line; a broker without the management plugin takes a file: baton topology show --definitions > baton.json, rabbitmqctl import_definitions baton.json",
            )
        };
        let mut base = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
        if base.scheme() != "http" {
            return Err(wrong(
                "only http:// is spoken; run it beside the broker, or through a tunnel",
            ));
        }
        let plain = |text: &str| {
            percent_encoding::percent_decode_str(text)
                .decode_utf8()
                .map(std::borrow::Cow::into_owned)
        };
        let user = plain(base.username()).map_err(|_| wrong("the user is no UTF-8"))?;
        let password = plain(base.password().unwrap_or_default())
            .map_err(|_| wrong("the password is no UTF-8"))?;
        // neither fails: the URL has a host
        let _ = base.set_username("");
        let _ = base.set_password(None);
        let http = reqwest::Client::builder()
            .timeout(ANSWER_WAIT)
            .build()
            .map_err(|source| CliError::NoClient { source })?;
        Ok(Self {
            http,
            base,
            user,
            password,
            vhost: vhost.to_owned(),
        })
    }

    /// Where it is, without who asks.
    pub(crate) fn place(&self) -> String {
        format!("{} (virtual host {})", self.base, self.vhost)
    }

    /// All that is there under our names; of a broker that has lost most of its nodes those alone.
    pub(crate) async fn seen(&self) -> Result<Seen, CliError> {
        let nodes = match self.read(&["nodes"]).await {
            // for who may watch the broker; whoever may not sees the rest
            Err(error) if matches!(error.status(), Some(401 | 403)) => Vec::new(),
            nodes => nodes?,
        };
        let alone = Seen {
            nodes,
            ..Seen::default()
        };
        if alone.minority().is_some() {
            return Ok(alone);
        }
        Ok(Seen {
            nodes: alone.nodes,
            exchanges: self.list("exchanges").await?,
            queues: self.list("queues").await?,
            bindings: self.list("bindings").await?,
            policies: self.list("policies").await?,
            permissions: self.list_of("vhosts", "permissions").await?,
            users: self.read(&["users"]).await?,
        })
    }

    /// Makes or sets right what a drift is about. Answers the password of a user that was made, which nobody else knows.
    pub(crate) async fn mend(&self, mend: &Mend) -> Result<Option<String>, CliError> {
        let mut made = None;
        let (method, path, body) = match mend {
            Mend::Exchange(exchange) => (
                Method::PUT,
                vec!["exchanges", &self.vhost, &exchange.name],
                json!({ "type": exchange.kind, "durable": true, "auto_delete": false, "internal": false, "arguments": {} }),
            ),
            Mend::Queue(queue) => (
                Method::PUT,
                vec!["queues", &self.vhost, &queue.name],
                json!({ "durable": true, "auto_delete": false, "arguments": queue.arguments() }),
            ),
            Mend::Binding(binding) => (
                Method::POST,
                vec![
                    "bindings",
                    &self.vhost,
                    "e",
                    &binding.exchange,
                    "q",
                    &binding.queue,
                ],
                json!({ "routing_key": binding.key, "arguments": {} }),
            ),
            Mend::Policy(policy) => (
                Method::PUT,
                vec!["policies", &self.vhost, &policy.name],
                json!({ "pattern": policy.pattern, "definition": policy.definition, "priority": 0, "apply-to": policy.apply_to }),
            ),
            Mend::User { name, tag } => {
                // by chance: what is short or shared is guessed
                let half = || uuid::Uuid::new_v4().simple().to_string();
                let password = made.insert(half() + &half());
                (
                    Method::PUT,
                    vec!["users", name],
                    json!({ "password": password, "tags": tag }),
                )
            }
            Mend::Permissions { user, permissions } => (
                Method::PUT,
                vec!["permissions", &self.vhost, user],
                json!({ "configure": permissions.configure, "write": permissions.write, "read": permissions.read }),
            ),
        };
        self.sent(method, &path, Some(&body)).await?;
        Ok(made)
    }

    /// A virtual host of that name is there from now on; false when it was before.
    pub(crate) async fn vhost_made(&self) -> Result<bool, CliError> {
        let path = ["vhosts", &self.vhost];
        match self.sent(Method::GET, &path, None).await {
            Ok(_) => Ok(false),
            Err(error) if error.status() == Some(404) => {
                self.sent(Method::PUT, &path, Some(&json!({}))).await?;
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    async fn list<T: DeserializeOwned>(&self, what: &str) -> Result<Vec<T>, CliError> {
        self.read(&[what, &self.vhost]).await
    }

    async fn list_of<T: DeserializeOwned>(&self, of: &str, what: &str) -> Result<Vec<T>, CliError> {
        self.read(&[of, &self.vhost, what]).await
    }

    async fn read<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, CliError> {
        let text = self.sent(Method::GET, path, None).await?;
        serde_json::from_str(&text).map_err(|error| CliError::Problem {
            status: 502,
            detail: format!(
                "what answers at {} is no management API of RabbitMQ: {}: {error}",
                self.place(),
                path.join("/")
            ),
            next: Some("--management or BATON_MANAGEMENT names another place".to_owned()),
            document: Box::default(),
        })
    }

    async fn sent(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> Result<String, CliError> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("api").extend(path);
        }
        let mut request = self
            .http
            .request(method, url)
            .basic_auth(&self.user, Some(&self.password));
        if let Some(body) = body {
            request = request.json(body);
        }
        let away = |source: reqwest::Error| CliError::NoBroker {
            place: self.place(),
            source: source.without_url(),
        };
        let response = request.send().await.map_err(away)?;
        let status = response.status();
        let text = response.text().await.map_err(away)?;
        if status.is_success() {
            return Ok(text);
        }
        Err(self.refused(status.as_u16(), path, &text))
    }

    fn refused(&self, status: u16, path: &[&str], text: &str) -> CliError {
        let document: Value = serde_json::from_str(text).unwrap_or_default();
        let reason = document["reason"].as_str().unwrap_or(text);
        let next = match status {
            401 | 403 => {
                "an account with the tag `administrator` may: rabbitmqctl set_user_tags USER administrator"
            }
            404 => "--vhost names another virtual host; baton topology apply makes it",
            _ => "the broker's log tells more",
        };
        CliError::Problem {
            status,
            detail: format!(
                "the broker at {} answers {status} to {}: {reason}",
                self.place(),
                path.join("/")
            ),
            next: Some(next.to_owned()),
            document: Box::new(document),
        }
    }
}
