//! `check.tcp@1`: finds out whether somebody accepts connections at a port, or that nobody does. Sends nothing.

use std::io;
use std::time::Duration;

use baton_worker::{Automation, Context, Effect, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::Instant;
use url::Host;

use super::http_guard::{Guard, TargetError};
use super::looking::{Look, Looks, until};
use super::span::Span;

/// How long one address may take to accept a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(3);

/// Connects.
#[derive(Debug, Clone)]
pub struct CheckTcp {
    guard: std::sync::Arc<Guard>,
}

/// Where to connect to, and what is expected.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckTcpInput {
    /// A name or an address. What is private, loopback or link-local has to be named in the worker's `automations.net.allow`.
    #[schemars(length(min = 1, max = 253), extend("x-target" = true))]
    pub host: String,
    /// The port.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// What is wanted.
    #[serde(default)]
    pub expect: Reach,
    /// Tries again until it is so, for this long, such as `30s`; once when absent. Set the step's `timeout` longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
}

/// Whether somebody has to be there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Somebody answers.
    #[default]
    Reachable,
    /// Nobody does.
    Unreachable,
}

/// That it is as expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReachOutput {
    /// Whether somebody answers.
    pub reachable: bool,
    /// How often it was looked.
    pub tries: u32,
    /// How long it took until then, in milliseconds.
    pub took_ms: u64,
}

impl CheckTcp {
    /// Reaches what the guard lets it.
    pub(crate) const fn guarded(guard: std::sync::Arc<Guard>) -> Self {
        Self { guard }
    }
}

/// A host as an input writes it: an IPv6 address with or without brackets.
pub(crate) fn host(text: &str) -> Result<Host<String>, TaskError> {
    if let Ok(address) = text.parse::<std::net::Ipv6Addr>() {
        return Ok(Host::Ipv6(address));
    }
    Host::parse(text)
        .map_err(|error| TaskError::failed("input-misfit", format!("{text:?} is no host: {error}")))
}

/// Whether an error says of the other side that nobody is there. Everything else (no route, a filter, too many open files) says something
/// of this host alone, and is no proof of anything.
pub(crate) fn nobody_there(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, TimedOut};
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | HostUnreachable | TimedOut
    )
}

/// A target that is not looked at: never, or not just now.
pub(crate) fn unlooked<S>(error: &TargetError) -> Look<S> {
    match error {
        TargetError::Denied { .. } => {
            Look::Never(TaskError::failed("target-denied", error.to_string()))
        }
        TargetError::Unresolved { .. } => Look::NotYet(error.to_string()),
    }
}

struct Connecting<'a> {
    guard: &'a Guard,
    host: Host<String>,
    port: u16,
    expect: Reach,
    at: String,
}

impl Looks for Connecting<'_> {
    type Seen = bool;

    fn at(&self) -> &str {
        &self.at
    }

    async fn look(&self, deadline: Instant) -> Look<bool> {
        // A name nobody knows is no proof that nobody is there.
        let addresses = match self.guard.addresses(&self.host, self.port).await {
            Ok(addresses) => addresses,
            Err(error) => return unlooked(&error),
        };
        let mut why = String::new();
        for address in addresses {
            let ends = deadline.min(Instant::now() + CONNECT_WAIT);
            match tokio::time::timeout_at(ends, TcpStream::connect(address)).await {
                Ok(Ok(_)) if self.expect == Reach::Reachable => return Look::Good(true),
                Ok(Ok(_)) => return Look::NotYet("it accepts connections".to_owned()),
                Ok(Err(error)) if nobody_there(&error) => why = error.to_string(),
                Ok(Err(error)) => {
                    return Look::NotYet(format!("it cannot be asked from here: {error}"));
                }
                Err(_) => why = "no answer in time".to_owned(),
            }
        }
        match self.expect {
            Reach::Reachable => Look::NotYet(why),
            Reach::Unreachable => Look::Good(false),
        }
    }
}

impl Automation for CheckTcp {
    const TYPE: &'static str = "check.tcp@1";
    const SUMMARY: &'static str = "Finds out whether somebody accepts connections at a port";
    const EFFECT: Effect = Effect::None;
    const IDEMPOTENT: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = 60_000;
    const NEEDS: &'static [&'static str] = &["private targets named in automations.net.allow"];
    type Input = CheckTcpInput;
    type Output = ReachOutput;

    fn examples() -> Vec<CheckTcpInput> {
        vec![CheckTcpInput {
            host: "db.example".to_owned(),
            port: 5432,
            expect: Reach::Reachable,
            within: Some(Span::ms(30_000)),
        }]
    }

    async fn run(&self, context: &Context, input: CheckTcpInput) -> Result<ReachOutput, TaskError> {
        let connecting = Connecting {
            guard: &self.guard,
            host: host(&input.host)?,
            port: input.port,
            expect: input.expect,
            at: format!("{}:{}", input.host, input.port),
        };
        let within = input.within.unwrap_or_default().0;
        let seen = until(context, within, &connecting).await?;
        Ok(ReachOutput {
            reachable: seen.seen,
            tries: seen.tries,
            took_ms: seen.took_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use baton_worker::Direction;
    use baton_worker::testing::TestStep;
    use serde_json::{Value, json};
    use std::sync::Arc;

    use super::*;
    use crate::automations::http_testing::dead_port;

    async fn check(allow: &[&str], input: Value) -> Result<ReachOutput, TaskError> {
        let allow: Vec<String> = allow.iter().map(|entry| (*entry).to_owned()).collect();
        let check = CheckTcp::guarded(Arc::new(Guard::new(&allow).unwrap()));
        let context = TestStep::new().attempt(Direction::Do).unwrap();
        check
            .run(&context, serde_json::from_value(input).unwrap())
            .await
    }

    #[tokio::test]
    async fn an_open_port_and_a_closed_one_are_told_apart() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap().port();
        let closed = dead_port().await;
        for (port, expect, good) in [
            (open, "reachable", true),
            (open, "unreachable", false),
            (closed, "reachable", false),
            (closed, "unreachable", true),
        ] {
            let input = json!({ "host": "localhost", "port": port, "expect": expect });
            let checked = check(&["127.0.0.1", "::1"], input).await;
            assert_eq!(checked.is_ok(), good, "{port} {expect}: {checked:?}");
        }
        let denied = check(
            &[],
            json!({ "host": "127.0.0.1", "port": open, "expect": "unreachable" }),
        )
        .await;
        assert_eq!(denied.unwrap_err().code(), "target-denied");
        let nobody = json!({ "host": "no-such-host.invalid", "port": 1, "expect": "unreachable" });
        assert_eq!(
            check(&[], nobody).await.unwrap_err().code(),
            "not-as-expected"
        );
    }

    #[tokio::test]
    async fn a_port_that_opens_is_waited_for() {
        let port = dead_port().await;
        let opens = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
                .await
                .unwrap();
            listener.accept().await.unwrap();
        });
        let input = json!({ "host": "127.0.0.1", "port": port, "within": "20s" });
        assert!(check(&["127.0.0.1"], input).await.unwrap().tries > 1);
        opens.await.unwrap();
    }

    #[test]
    fn what_is_wrong_with_this_host_proves_nothing_of_the_other() {
        let of = |kind| nobody_there(&io::Error::from(kind));
        assert!(of(io::ErrorKind::ConnectionRefused));
        assert!(of(io::ErrorKind::HostUnreachable));
        assert!(!of(io::ErrorKind::NetworkUnreachable));
        assert!(!of(io::ErrorKind::PermissionDenied));
        // EMFILE: too many open files
        assert!(!nobody_there(&io::Error::from_raw_os_error(24)));
    }
}
