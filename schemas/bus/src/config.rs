//! What a process says about its bus: where the broker is, how to prove who it is, and every bound of the bus.
//!
//! Read from configuration files, so unknown keys are refused; printed in logs, so passwords never show.

use std::{fmt, path::PathBuf};

use lapin::uri::{AMQPScheme, AMQPUri};
use serde::Deserialize;

use crate::error::BusError;

/// Most lanes a publisher may have: each is a channel with its own batch in flight, and beyond a few they only
/// compete for the one socket below them.
const LANES_MAX: usize = 16;

/// Most messages of one batch on one lane; bounds what one lost channel makes unknown.
const PUBLISH_BATCH_LIMIT: usize = 4096;

/// What brokers offer by default.
const FRAME_MAX: u32 = 131_072;

/// Longest wait for confirms, in milliseconds. The orchestrator reckons with it when it waits for what may still arrive.
const CONFIRM_TIMEOUT_MS_MAX: u64 = 30_000;

/// How to reach the broker and within which bounds.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BusConfig {
    /// `amqp://` or `amqps://` addresses of the brokers of one cluster; shuffled, then tried in turn.
    pub addresses: Vec<String>,
    /// The role of this process, shown in the broker's list of connections and as `app_id` of messages.
    pub role: String,
    /// The name of this process among others of its role.
    pub instance: String,
    /// Heartbeat offered to the broker, in seconds; a silent peer is given up after twice this time.
    pub heartbeat_s: u16,
    /// Largest frame in bytes offered to the broker; the client allocates 64 of them for a connection. Not less than the broker's own: a
    /// message whose headers another client was allowed to send would end every connection it is delivered to.
    pub frame_max: u32,
    /// Certificates, for `amqps://`.
    pub tls: TlsConfig,
    /// How long a batch may wait for its confirms (or for a connection to be sent on) before it is unknown; at most 30 s.
    pub confirm_timeout_ms: u64,
    /// Most messages in flight on one lane.
    pub publish_batch_max: usize,
    /// Channels that publish side by side.
    pub lanes: usize,
    /// Shortest pause before connecting or consuming again.
    pub reconnect_ms_min: u64,
    /// Longest pause before connecting or consuming again.
    pub reconnect_ms_max: u64,
    /// How long a consumer may get nothing, in seconds, before it takes a new channel; heals what a broker has forgotten
    /// without a word, at the price of one consumer made anew for each idle queue and interval.
    pub idle_refresh_s: u64,
}

/// Certificates for `amqps://`. With a client certificate, an address that asks for
/// `?auth_mechanism=external` logs in by it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM bundle of the authorities to trust; when given, no other is trusted. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM certificate (chain) of this process, for mutual TLS.
    pub cert_file: Option<PathBuf>,
    /// PEM private key (PKCS#8) of `cert_file`.
    pub key_file: Option<PathBuf>,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            addresses: vec!["amqp://127.0.0.1:5672/%2f".to_owned()],
            role: "baton".to_owned(),
            instance: "0".to_owned(),
            heartbeat_s: 5,
            frame_max: FRAME_MAX,
            tls: TlsConfig::default(),
            confirm_timeout_ms: 30_000,
            publish_batch_max: 512,
            lanes: 2,
            reconnect_ms_min: 200,
            reconnect_ms_max: 15_000,
            idle_refresh_s: 300,
        }
    }
}

impl fmt::Debug for BusConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.addresses.iter().map(|a| shown(a)).collect();
        f.debug_struct("BusConfig")
            .field("addresses", &addresses)
            .field("role", &self.role)
            .field("instance", &self.instance)
            .field("heartbeat_s", &self.heartbeat_s)
            .field("frame_max", &self.frame_max)
            .field("tls", &self.tls)
            .field("confirm_timeout_ms", &self.confirm_timeout_ms)
            .field("publish_batch_max", &self.publish_batch_max)
            .field("lanes", &self.lanes)
            .field("reconnect_ms_min", &self.reconnect_ms_min)
            .field("reconnect_ms_max", &self.reconnect_ms_max)
            .field("idle_refresh_s", &self.idle_refresh_s)
            .finish()
    }
}

/// An address without what must not be read: `amqp://user@host:port/vhost`.
pub(crate) fn shown(address: &str) -> String {
    match address.parse::<AMQPUri>() {
        Ok(uri) if is_address(address) => shown_uri(&uri),
        _ => "(an address that cannot be read)".to_owned(),
    }
}

/// With one slash the parser takes login and host for the name of a virtual host, and everybody would read the password in it.
fn is_address(address: &str) -> bool {
    address.starts_with("amqp://") || address.starts_with("amqps://")
}

pub(crate) fn shown_uri(uri: &AMQPUri) -> String {
    let at = &uri.authority;
    format!(
        "{}://{}@{}:{}/{}",
        uri.scheme, at.userinfo.username, at.host, at.port, uri.vhost
    )
}

/// The configuration after all of it has been checked, with the addresses parsed.
#[derive(Clone)]
pub(crate) struct Checked {
    pub(crate) config: BusConfig,
    pub(crate) uris: Vec<AMQPUri>,
}

impl Checked {
    /// Whether any address wants TLS, or files for it are named all the same.
    pub(crate) fn uses_tls(&self) -> bool {
        self.uris.iter().any(|uri| uri.scheme == AMQPScheme::AMQPS)
            || self.config.tls.ca_file.is_some()
            || self.config.tls.cert_file.is_some()
    }
}

/// Whether a heartbeat and a size of frames may be, from wherever they were given.
fn check_frames(heartbeat_s: u16, frame_max: u32) -> Result<(), BusError> {
    if heartbeat_s == 0 {
        return Err(refused(
            "heartbeat_s",
            "is 0: a dead broker would never be noticed",
        ));
    }
    if frame_max < 4096 {
        return Err(refused("frame_max", "is below 4096, the least AMQP allows"));
    }
    Ok(())
}

impl BusConfig {
    /// Checks every value, so that a mistake is told at the start and not at the first message.
    pub(crate) fn check(self) -> Result<Checked, BusError> {
        if self.addresses.is_empty() {
            return Err(refused(
                "addresses",
                "is empty; give at least one, such as amqp://user:password@host:5672/%2f",
            ));
        }
        let uris = self
            .addresses
            .iter()
            .map(|address| self.check_address(address))
            .collect::<Result<Vec<_>, _>>()?;
        self.check_bounds()?;
        self.check_files()?;
        Ok(Checked { config: self, uris })
    }

    fn check_address(&self, address: &str) -> Result<AMQPUri, BusError> {
        if !is_address(address) {
            return Err(refused(
                "addresses",
                "has one that begins neither with amqp:// nor with amqps://",
            ));
        }
        // the parser's own words may repeat the address, and with it a password
        let mut uri: AMQPUri = address.parse().map_err(|_: String| {
            refused(
                "addresses",
                "has one that is no url such as amqp://user:password@host:5672/%2f or amqps://…",
            )
        })?;
        if address.contains("//[") || address.contains("@[") {
            return Err(refused(
                "addresses",
                "has an IPv6 literal, which the client cannot take; use a host name that resolves to it",
            ));
        }
        let heartbeat_s = *uri.query.heartbeat.get_or_insert(self.heartbeat_s);
        let frame_max = *uri.query.frame_max.get_or_insert(self.frame_max);
        check_frames(heartbeat_s, frame_max)?;
        Ok(uri)
    }

    fn check_bounds(&self) -> Result<(), BusError> {
        if self.role.is_empty() || self.instance.is_empty() {
            return Err(refused("role and instance", "must not be empty"));
        }
        if self.role.len() > 255 {
            return Err(refused("role", "is longer than 255 bytes"));
        }
        check_frames(self.heartbeat_s, self.frame_max)?;
        if self.idle_refresh_s == 0 {
            return Err(refused(
                "idle_refresh_s",
                "is 0: an idle consumer would do nothing else",
            ));
        }
        if !(1..=CONFIRM_TIMEOUT_MS_MAX).contains(&self.confirm_timeout_ms) {
            return Err(refused(
                "confirm_timeout_ms",
                &format!(
                    "must be 1 to {CONFIRM_TIMEOUT_MS_MAX}: how long others wait for what may still arrive is reckoned from it"
                ),
            ));
        }
        if self.lanes == 0 || self.lanes > LANES_MAX {
            return Err(refused("lanes", &format!("must be 1 to {LANES_MAX}")));
        }
        if self.publish_batch_max == 0 || self.publish_batch_max > PUBLISH_BATCH_LIMIT {
            return Err(refused(
                "publish_batch_max",
                &format!("must be 1 to {PUBLISH_BATCH_LIMIT}"),
            ));
        }
        if self.reconnect_ms_min == 0 || self.reconnect_ms_max < self.reconnect_ms_min {
            return Err(refused(
                "reconnect_ms_min and reconnect_ms_max",
                "must be above 0 and in this order",
            ));
        }
        Ok(())
    }

    fn check_files(&self) -> Result<(), BusError> {
        if self.tls.cert_file.is_some() != self.tls.key_file.is_some() {
            return Err(refused("tls", "needs cert_file and key_file together"));
        }
        let files = [&self.tls.ca_file, &self.tls.cert_file, &self.tls.key_file];
        for path in files.into_iter().flatten() {
            std::fs::File::open(path).map_err(|source| BusError::TlsFile {
                path: path.clone(),
                source,
            })?;
        }
        Ok(())
    }
}

fn refused(key: &str, why: &str) -> BusError {
    BusError::Config {
        key: key.to_owned(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut BusConfig)) -> Result<Checked, BusError> {
        let mut config = BusConfig::default();
        change(&mut config);
        config.check()
    }

    #[test]
    fn defaults_are_accepted() {
        let checked = with(|_| {}).map(|c| c.uris);
        let uri = &checked.unwrap()[0];
        assert_eq!(uri.query.heartbeat, Some(5));
        assert_eq!(uri.query.frame_max, Some(131_072));
    }

    type Change = fn(&mut BusConfig);

    #[test]
    fn mistakes_are_named() {
        let cases: [(&str, Change); 13] = [
            ("addresses", |c| c.addresses.clear()),
            ("addresses", |c| c.addresses = vec!["http://x".into()]),
            ("addresses", |c| {
                c.addresses = vec!["amqp://u:p@[::1]:5672/x".into()]
            }),
            ("amqps://", |c| c.addresses = vec!["amqp:/u:p@h/x".into()]),
            ("heartbeat_s", |c| {
                c.addresses = vec!["amqp://h/x?heartbeat=0".into()]
            }),
            ("frame_max", |c| {
                c.addresses = vec!["amqp://h/x?frame_max=100".into()]
            }),
            ("lanes", |c| c.lanes = 0),
            ("publish_batch_max", |c| c.publish_batch_max = 0),
            ("heartbeat_s", |c| c.heartbeat_s = 0),
            ("confirm_timeout_ms", |c| c.confirm_timeout_ms = 0),
            ("confirm_timeout_ms", |c| c.confirm_timeout_ms = 30_001),
            ("tls", |c| c.tls.cert_file = Some("/x".into())),
            ("reconnect_ms_min", |c| c.reconnect_ms_max = 1),
        ];
        for (key, change) in cases {
            let said = with(change).err().unwrap().to_string();
            assert!(said.contains(key), "{key} is not named in: {said}");
        }
    }

    #[test]
    fn a_missing_certificate_file_is_named() {
        let said = with(|c| c.tls.ca_file = Some("/nowhere/ca.pem".into()))
            .err()
            .unwrap()
            .to_string();
        assert!(said.contains("/nowhere/ca.pem"), "{said}");
    }

    #[test]
    fn passwords_do_not_show() {
        let config = BusConfig {
            addresses: vec![
                "amqp://me:hunter2@host/x".into(),
                "nonsense:hunter2".into(),
                "amqp:/me:hunter2@host/x".into(),
            ],
            ..BusConfig::default()
        };
        let shown = format!("{config:?}");
        assert!(shown.contains("me@host"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
        let refused = config.check().err().unwrap().to_string();
        assert!(!refused.contains("hunter2"), "{refused}");
    }

    #[test]
    fn unknown_keys_are_refused() {
        let read: Result<BusConfig, _> = serde_json::from_str(r#"{"adresses": []}"#);
        assert!(read.unwrap_err().to_string().contains("adresses"));
    }
}
