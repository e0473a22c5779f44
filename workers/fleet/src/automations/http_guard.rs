//! Which targets the network automations may reach, and the addresses they reach them at.
//!
//! A saga is written by other people than a worker is set up by; a worker stands where its author may not. So what is private, loopback or
//! link-local (the metadata service of a cloud is) is refused unless the worker's own configuration names it. A name is resolved here,
//! once; what is connected to is the address that was looked at, so that a name that changes its answer meanwhile leads nowhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use url::Host;

/// How long a name may take to be resolved.
const RESOLVE_WAIT: Duration = Duration::from_secs(5);
/// Most addresses of a name that are looked at: more are tried by nobody.
const ADDRESSES_MAX: usize = 16;

/// An entry of `automations.net.allow` that says nothing.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{entry}` is no target: write a host name, an address or a network, each with or without a port, such as \
     intranet.example:443, 127.0.0.1:8080, [::1]:8080 or 10.0.0.0/8"
)]
pub struct GuardError {
    /// The entry.
    entry: String,
}

/// Why a target is not reached. Nothing was sent to it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("{}", denied(host, *address, *port))]
    Denied {
        host: String,
        address: IpAddr,
        port: u16,
    },
    #[error("{host} cannot be resolved: {why}")]
    Unresolved { host: String, why: String },
}

/// Where it is, why that is refused, and the entry that lets it through.
fn denied(host: &str, address: IpAddr, port: u16) -> String {
    let kind = kind(plain(address));
    let at = if host.trim_matches(['[', ']']) == address.to_string() {
        format!("{host} is {kind}")
    } else {
        format!("{host} is at {address}, {kind}")
    };
    let entry = match port {
        0 => host.trim_matches(['[', ']']).to_owned(),
        port => format!("{host}:{port}"),
    };
    format!(
        "{at}: the worker reaches it only when its configuration names it in `automations.net.allow`, such as \"{entry}\""
    )
}

/// What an address that is not public is called.
fn kind(address: IpAddr) -> &'static str {
    let (loopback, link_local, private) = match address {
        IpAddr::V4(v4) => (v4.is_loopback(), v4.is_link_local(), v4.is_private()),
        IpAddr::V6(v6) => (
            v6.is_loopback(),
            v6.is_unicast_link_local(),
            v6.is_unique_local(),
        ),
    };
    match (loopback, link_local, private) {
        (true, ..) => "a loopback address",
        (_, true, _) => "a link-local address",
        (_, _, true) => "a private address",
        _ => "an address for a special purpose",
    }
}

/// What may be reached beside what is public.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guard {
    allowed: Vec<Allowed>,
}

#[derive(Debug, Clone)]
struct Allowed {
    who: Who,
    port: Option<u16>,
}

#[derive(Debug, Clone)]
enum Who {
    Net(IpNet),
    Name(String),
}

impl Guard {
    /// Lets these through as well.
    pub(crate) fn new(entries: &[String]) -> Result<Self, GuardError> {
        let parsed = entries.iter().map(|entry| {
            allowed(entry).ok_or_else(|| GuardError {
                entry: entry.clone(),
            })
        });
        Ok(Self {
            allowed: parsed.collect::<Result<_, _>>()?,
        })
    }

    /// Where `host` may be reached at `port`; port 0 where there are none (an echo request).
    pub(crate) async fn addresses(
        &self,
        host: &Host<String>,
        port: u16,
    ) -> Result<Vec<SocketAddr>, TargetError> {
        let found = match host {
            Host::Ipv4(address) => vec![SocketAddr::new(IpAddr::V4(*address), port)],
            Host::Ipv6(address) => vec![SocketAddr::new(IpAddr::V6(*address), port)],
            Host::Domain(name) => resolve(name, port).await?,
        };
        let denied = found.first().map(SocketAddr::ip);
        let may: Vec<SocketAddr> = found
            .into_iter()
            .filter(|address| self.lets(host, address.ip(), port))
            .take(ADDRESSES_MAX)
            .collect();
        match (may.is_empty(), denied) {
            (false, _) => Ok(may),
            (true, Some(address)) => Err(TargetError::Denied {
                host: host.to_string(),
                address,
                port,
            }),
            (true, None) => Err(TargetError::Unresolved {
                host: host.to_string(),
                why: "it has no address".to_owned(),
            }),
        }
    }

    fn lets(&self, host: &Host<String>, address: IpAddr, port: u16) -> bool {
        let address = plain(address);
        is_public(address)
            || self.allowed.iter().any(|allowed| {
                allowed.port.is_none_or(|only| only == port)
                    && match (&allowed.who, host) {
                        (Who::Net(net), _) => net.contains(&address),
                        (Who::Name(name), Host::Domain(host)) => name.eq_ignore_ascii_case(host),
                        (Who::Name(_), _) => false,
                    }
            })
    }
}

async fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, TargetError> {
    let unresolved = |why: String| TargetError::Unresolved {
        host: name.to_owned(),
        why,
    };
    match tokio::time::timeout(RESOLVE_WAIT, tokio::net::lookup_host((name, port))).await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => Err(unresolved(error.to_string())),
        Err(_) => Err(unresolved(format!(
            "no answer within {} s",
            RESOLVE_WAIT.as_secs()
        ))),
    }
}

fn allowed(entry: &str) -> Option<Allowed> {
    if let Some(net) = net(entry) {
        return Some(Allowed {
            who: Who::Net(net),
            port: None,
        });
    }
    if let Ok(at) = entry.parse::<SocketAddr>() {
        return Some(Allowed {
            who: Who::Net(IpNet::from(plain(at.ip()))),
            port: Some(at.port()),
        });
    }
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (entry, None),
    };
    let who = match net(host) {
        Some(net) => Who::Net(net),
        None => match Host::parse(host).ok()? {
            Host::Domain(name) => Who::Name(name),
            Host::Ipv4(address) => Who::Net(IpNet::from(IpAddr::V4(address))),
            Host::Ipv6(address) => Who::Net(IpNet::from(plain(IpAddr::V6(address)))),
        },
    };
    Some(Allowed { who, port })
}

fn net(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(|a| IpNet::from(plain(a))))
}

/// An IPv4 address that is written as IPv6 is that IPv4 address.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Whether the address is one of the public network, as the registries of special addresses (RFC 6890) have it.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19));
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // NAT64 and 6to4 lead to the IPv4 address they carry
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        // of 2001::/23 (protocol assignments, Teredo among them), nothing is a host of the public network
        [0x2001, second, ..] if second < 0x200 => false,
        [0x2001, 0xdb8, ..] => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_not_of_the_public_network_is_known() {
        for public in [
            "1.1.1.1",
            "192.0.1.1",
            "100.128.0.1",
            "172.32.0.1",
            "2606:4700::1",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(is_public(ip(public)), "{public}");
        }
        for special in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "64:ff9b::127.0.0.1",
            "64:ff9b:1::1",
            "3fff::1",
            "::127.0.0.1",
        ] {
            assert!(!is_public(ip(special)), "{special}");
        }
        assert!(!is_public(plain(ip("::ffff:10.0.0.1"))));
        assert!(is_public(plain(ip("::ffff:1.1.1.1"))));
    }

    #[test]
    fn what_is_refused_is_called_what_it_is_with_the_entry_that_allows_it() {
        let said = |host: &str, address: &str, port| denied(host, ip(address), port);
        let here = said("127.0.0.1", "127.0.0.1", 8080);
        assert!(
            here.starts_with("127.0.0.1 is a loopback address: "),
            "{here}"
        );
        assert!(here.ends_with("\"127.0.0.1:8080\""), "{here}");
        let six = said("[::1]", "::1", 80);
        assert!(six.starts_with("[::1] is a loopback address: "), "{six}");
        assert!(six.ends_with("\"[::1]:80\""), "{six}");
        let named = said("tickets.example", "10.0.0.7", 0);
        assert!(
            named.starts_with("tickets.example is at 10.0.0.7, a private address: "),
            "{named}"
        );
        assert!(named.ends_with("\"tickets.example\""), "{named}");
        assert_eq!(kind(ip("169.254.169.254")), "a link-local address");
        assert_eq!(kind(ip("224.0.0.1")), "an address for a special purpose");
        for (host, address, port) in [("127.0.0.1", "127.0.0.1", 80), ("[::1]", "::1", 0)] {
            let said = said(host, address, port);
            let entry = said.rsplit('"').nth(1).unwrap();
            assert!(allowed(entry).is_some(), "it is told to write {entry}");
        }
    }

    #[tokio::test]
    async fn only_what_is_named_is_let_through_and_only_at_its_port() {
        let entries = [
            "127.0.0.1:8080",
            "10.0.0.0/8",
            "192.168.7.0/24:443",
            "localhost:9000",
            "[fd00::1]:80",
            "fd01::/16",
            "169.254.1.1",
        ];
        let guard = Guard::new(&entries.map(str::to_owned)).unwrap();
        let may = async |host: &str, port| {
            let host = Host::parse(host).unwrap();
            guard.addresses(&host, port).await.is_ok()
        };
        assert!(may("127.0.0.1", 8080).await);
        assert!(may("[::ffff:127.0.0.1]", 8080).await);
        assert!(!may("127.0.0.1", 8081).await);
        assert!(!may("127.0.0.2", 8080).await);
        assert!(may("10.200.0.1", 1).await);
        assert!(may("192.168.7.9", 443).await && !may("192.168.7.9", 80).await);
        assert!(may("localhost", 9000).await && !may("localhost", 9001).await);
        assert!(may("[fd00::1]", 80).await && !may("[fd00::1]", 81).await);
        assert!(may("[fd01::7]", 5).await);
        assert!(may("169.254.1.1", 5).await && !may("169.254.169.254", 80).await);
        assert!(may("8.8.8.8", 53).await);
        // other ways to write 127.0.0.1
        for host in ["2130706433", "0x7f.1", "0177.0.0.1", "127.1"] {
            assert!(may(host, 8080).await && !may(host, 80).await, "{host}");
        }
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_said_to_be_unresolved() {
        let host = Host::parse("no-such-host.invalid").unwrap();
        let error = Guard::default().addresses(&host, 80).await.unwrap_err();
        assert!(matches!(error, TargetError::Unresolved { .. }), "{error}");
    }

    #[test]
    fn an_entry_that_says_nothing_is_refused() {
        for entry in [
            "",
            "a b",
            "10.0.0.0/33",
            "host:",
            "host:99999",
            "http://host/",
            "10.0.0.0/8:x",
        ] {
            Guard::new(&[entry.to_owned()]).unwrap_err();
        }
    }
}
