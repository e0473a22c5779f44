//! `check.ping@1`: finds out whether a host answers echo requests (ICMP), or that it does not. Changes nothing.
//!
//! It uses the sockets the system offers for this without privileges (`net.ipv4.ping_group_range`), or a raw socket where the worker may
//! open one.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket as StdUdpSocket};
use std::time::Duration;

use baton_worker::{Automation, Context, Effect, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};
use url::Host;

use super::check_tcp::{Reach, ReachOutput, host, nobody_there, unlooked};
use super::http_guard::Guard;
use super::looking::{Look, Looks, until};
use super::span::Span;

/// How long one echo may take.
const ECHO_WAIT: Duration = Duration::from_secs(1);
/// How many echo requests one look sends: a single lost packet says nothing.
const ECHOES: u16 = 3;

/// Sends echo requests.
#[derive(Debug, Clone)]
pub struct CheckPing {
    guard: std::sync::Arc<Guard>,
}

/// Who is asked, and what is expected.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckPingInput {
    /// A name or an address. What is private, loopback or link-local has to be named in the worker's `automations.net.allow`.
    #[schemars(length(min = 1, max = 253), extend("x-target" = true))]
    pub host: String,
    /// What is wanted: an answer to one of three echo requests, or to none of them.
    #[serde(default)]
    pub expect: Reach,
    /// Tries again until it is so, for this long, such as `30s`; once when absent. Set the step's `timeout` longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
}

impl CheckPing {
    /// Reaches what the guard lets it.
    pub(crate) const fn guarded(guard: std::sync::Arc<Guard>) -> Self {
        Self { guard }
    }
}

struct Pinging<'a> {
    guard: &'a Guard,
    host: Host<String>,
    expect: Reach,
    at: &'a str,
}

impl Looks for Pinging<'_> {
    type Seen = bool;

    fn at(&self) -> &str {
        self.at
    }

    async fn look(&self, deadline: Instant) -> Look<bool> {
        let addresses = match self.guard.addresses(&self.host, 0).await {
            Ok(addresses) => addresses,
            Err(error) => return unlooked(&error),
        };
        let Some(address) = addresses.first().map(SocketAddr::ip) else {
            return Look::NotYet("it has no address".to_owned());
        };
        let answered = match answers(address, deadline).await {
            Ok(Heard::Answer) => true,
            Ok(Heard::Silence) => false,
            // Whoever was not asked may be there: that is no proof of anything.
            Ok(Heard::NotAsked(error)) => {
                return Look::NotYet(format!("it cannot be asked from here: {error}"));
            }
            Err(error) => return Look::Never(error),
        };
        match (answered, self.expect) {
            (true, Reach::Reachable) | (false, Reach::Unreachable) => Look::Good(answered),
            (true, Reach::Unreachable) => Look::NotYet("it answers".to_owned()),
            (false, Reach::Reachable) => Look::NotYet("it does not answer".to_owned()),
        }
    }
}

/// What came of some echo requests.
#[derive(Debug)]
enum Heard {
    /// One was answered.
    Answer,
    /// All were sent, or found nobody; none was answered.
    Silence,
    /// Not all could be sent: this host has no way there, or may not use it.
    NotAsked(io::Error),
}

/// Whether the address answers one of the echo requests.
async fn answers(address: IpAddr, deadline: Instant) -> Result<Heard, TaskError> {
    let socket = open(address).map_err(|error| {
        let message = format!(
            "no socket for echo requests: {error}; set net.ipv4.ping_group_range to hold the group of the worker, or give it CAP_NET_RAW"
        );
        TaskError::failed("no-socket", message)
    })?;
    let token = *uuid::Uuid::new_v4().as_bytes();
    let mut not_asked = None;
    for number in 0..ECHOES {
        let packet = echo(address, number, &token);
        match socket.send_to(&packet, (address, 0)).await {
            Err(error) if !nobody_there(&error) => {
                not_asked = Some(error);
                continue;
            }
            Err(_) => return Ok(Heard::Silence),
            Ok(_) => {}
        }
        let ends = deadline.min(Instant::now() + ECHO_WAIT);
        if timeout_at(ends, hear(&socket, address, &token)).await == Ok(true) {
            return Ok(Heard::Answer);
        }
    }
    Ok(not_asked.map_or(Heard::Silence, Heard::NotAsked))
}

/// Whether an answer to one of our requests has come; false when the network says that none will.
async fn hear(socket: &UdpSocket, address: IpAddr, token: &[u8]) -> bool {
    let mut buffer = [0; 1500];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            return false;
        };
        let packet = buffer.get(..length).unwrap_or_default();
        // A raw socket of IPv4 hands out the header of the packet as well.
        let header = match packet.first() {
            Some(first) if address.is_ipv4() && first >> 4 == 4 => usize::from(first & 15) * 4,
            _ => 0,
        };
        let echo = packet.get(header..).unwrap_or_default();
        let reply = if address.is_ipv4() { 0 } else { 129 };
        if from.ip() == address && echo.first() == Some(&reply) && echo.ends_with(token) {
            return true;
        }
    }
}

fn open(address: IpAddr) -> io::Result<UdpSocket> {
    let (domain, protocol) = match address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol))
        .or_else(|_| Socket::new(domain, Type::RAW, Some(protocol)))?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(StdUdpSocket::from(socket))
}

/// An echo request. The identifier is the kernel's to choose; ours is the token.
fn echo(address: IpAddr, number: u16, token: &[u8]) -> Vec<u8> {
    let kind = if address.is_ipv4() { 8 } else { 128 };
    let mut packet = vec![kind, 0, 0, 0, 0, 1];
    packet.extend_from_slice(&number.to_be_bytes());
    packet.extend_from_slice(token);
    if address.is_ipv4() {
        let [high, low] = checksum(&packet).to_be_bytes();
        if let Some(field) = packet.get_mut(2..4) {
            field.copy_from_slice(&[high, low]);
        }
    }
    packet
}

/// The internet checksum (RFC 1071).
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

impl Automation for CheckPing {
    const TYPE: &'static str = "check.ping@1";
    const SUMMARY: &'static str = "Finds out whether a host answers echo requests";
    const EFFECT: Effect = Effect::None;
    const IDEMPOTENT: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = 60_000;
    const NEEDS: &'static [&'static str] = &[
        "private targets named in automations.net.allow",
        "net.ipv4.ping_group_range with the group of the worker, or CAP_NET_RAW",
    ];
    type Input = CheckPingInput;
    type Output = ReachOutput;

    fn examples() -> Vec<CheckPingInput> {
        vec![CheckPingInput {
            host: "10.66.0.11".to_owned(),
            expect: Reach::Unreachable,
            within: Some(Span::ms(20_000)),
        }]
    }

    async fn run(
        &self,
        context: &Context,
        input: CheckPingInput,
    ) -> Result<ReachOutput, TaskError> {
        let pinging = Pinging {
            guard: &self.guard,
            host: host(&input.host)?,
            expect: input.expect,
            at: &input.host,
        };
        let within = input.within.unwrap_or_default().0;
        let seen = until(context, within, &pinging).await?;
        Ok(ReachOutput {
            reachable: seen.seen,
            tries: seen.tries,
            took_ms: seen.took_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use baton_harness::not_tested;
    use baton_worker::Direction;
    use baton_worker::testing::TestStep;
    use serde_json::{Value, json};
    use std::sync::Arc;

    use super::*;

    async fn check(allow: &[&str], input: Value) -> Result<ReachOutput, TaskError> {
        let allow: Vec<String> = allow.iter().map(|entry| (*entry).to_owned()).collect();
        let check = CheckPing::guarded(Arc::new(Guard::new(&allow).unwrap()));
        let context = TestStep::new().attempt(Direction::Do).unwrap();
        check
            .run(&context, serde_json::from_value(input).unwrap())
            .await
    }

    /// True where no socket for echo requests may be opened, which is said loudly: then [`who_may_ask_and_who_may_not`] is what proves it.
    fn no_socket(found: &Result<ReachOutput, TaskError>) -> bool {
        let none = found
            .as_ref()
            .is_err_and(|error| error.code() == "no-socket");
        if none {
            not_tested(
                "on this host's own network: it lets this user open no socket for echo requests",
            );
        }
        none
    }

    #[tokio::test]
    async fn who_answers_is_not_unreachable() {
        let here = check(&["127.0.0.1"], json!({ "host": "127.0.0.1" })).await;
        if no_socket(&here) {
            return;
        }
        assert!(here.unwrap().reachable);
        let not = check(
            &["127.0.0.1"],
            json!({ "host": "127.0.0.1", "expect": "unreachable" }),
        )
        .await;
        assert_eq!(not.unwrap_err().code(), "not-as-expected");
    }

    #[tokio::test]
    async fn whom_this_host_cannot_ask_is_not_called_unreachable() {
        // Nothing may be sent to everybody without asking for it, on any host.
        let asked = json!({ "host": "255.255.255.255", "expect": "unreachable" });
        let found = check(&["255.255.255.255"], asked).await;
        if no_socket(&found) {
            return;
        }
        let error = found.unwrap_err();
        assert_eq!(error.code(), "not-as-expected", "{error}");
        assert!(error.to_string().contains("cannot be asked"), "{error}");
    }

    /// What the test below asks of itself in a network of its own: the range of groups that may ping there.
    const RANGE: &str = "BATON_TEST_PING_RANGE";
    /// A network with a loopback and an address nobody is at, and no right to raw sockets.
    const NETWORK: &str = r#"
busybox ip link set lo up
busybox ip route add unreachable 10.66.0.11/32
echo "$BATON_TEST_PING_RANGE" > /proc/sys/net/ipv4/ping_group_range
exec setpriv --bounding-set -net_raw --inh-caps -net_raw "$0" --exact --nocapture "$1"
"#;

    /// Without raw sockets, in networks of their own: with a group that may ping it is found out who is there, without it is said what to do.
    #[tokio::test]
    async fn who_may_ask_and_who_may_not() {
        let Ok(range) = std::env::var(RANGE) else {
            let exe = std::env::current_exe().unwrap();
            for range in ["0 0", "1 0"] {
                let mut child = std::process::Command::new("unshare");
                // Whoever is not root is it in a world of his own, where that is allowed.
                if !rustix::process::geteuid().is_root() {
                    child.args(["--user", "--map-root-user"]);
                }
                child.args(["--net", "sh", "-ec", NETWORK]).arg(&exe);
                let name = format!("{}::who_may_ask_and_who_may_not", module_path!());
                child.arg(name.split_once("::").unwrap().1);
                let ran = child.env(RANGE, range).output().unwrap();
                let said = String::from_utf8_lossy(&ran.stderr).into_owned();
                if said.contains("unshare failed") {
                    return not_tested(
                        "who may ping and who may not, for lack of a network of its own; run it as root",
                    );
                }
                let passed = String::from_utf8_lossy(&ran.stdout).contains("1 passed");
                assert!(ran.status.success() && passed, "{range}: {ran:?}");
            }
            return;
        };
        let allow = ["127.0.0.1", "::1", "10.66.0.11"];
        let asked = async |host: &str, expect: &str| {
            check(
                &allow,
                json!({ "host": host, "expect": expect, "within": "1s" }),
            )
            .await
        };
        if range == "1 0" {
            let error = asked("127.0.0.1", "unreachable").await.unwrap_err();
            assert_eq!(error.code(), "no-socket");
            assert!(error.nothing_changed() && error.to_string().contains("ping_group_range"));
            return;
        }
        for host in ["127.0.0.1", "::1"] {
            assert!(asked(host, "reachable").await.unwrap().reachable, "{host}");
            let error = asked(host, "unreachable").await.unwrap_err();
            assert_eq!(error.code(), "not-as-expected");
        }
        let nobody = asked("10.66.0.11", "unreachable").await.unwrap();
        assert!(!nobody.reachable);
        let error = asked("10.66.0.11", "reachable").await.unwrap_err();
        assert_eq!(error.code(), "not-as-expected");
    }

    #[tokio::test]
    async fn it_asks_nobody_it_may_not() {
        let denied = check(&[], json!({ "host": "127.0.0.1", "expect": "unreachable" })).await;
        assert_eq!(denied.unwrap_err().code(), "target-denied");
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // The example of RFC 1071, section 3.
        assert_eq!(
            checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
        let packet = echo(IpAddr::from([127, 0, 0, 1]), 7, b"token!");
        assert_eq!(
            checksum(&packet),
            0,
            "a packet with its checksum sums up to nothing"
        );
    }
}
