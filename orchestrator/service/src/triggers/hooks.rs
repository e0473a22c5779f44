//! Signed requests: who may say so, how old it may be, how many there may be. A request whose signature holds becomes an event; what signs
//! is `HMAC-SHA256` over the raw body, by one of two schemes:
//!
//! - `github`: header `x-hub-signature-256: sha256=<hex>` over the body. Nothing else is signed, so that the event's id is made of the body: the
//!   same body is the same event, whatever delivery it says it is.
//! - `standard` (Standard Webhooks): `webhook-id`, `webhook-timestamp`, `webhook-signature: v1,<base64> …` over `id.timestamp.body`; refused
//!   when it is older or newer than the tolerance.
//!
//! Who cannot sign costs little: before a body is read, let alone a signature reckoned, the tries of its address are counted. A try whose
//! signature holds is given back, and counts for its hook instead.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use baton_messages::Timestamp;
use hmac::{Hmac, Mac};
use sha2::{Digest as _, Sha256};

use crate::chain::chain;
use crate::config::{HookConfig, Scheme};

/// What a secret of Standard Webhooks begins with; the rest is base 64.
const SECRET_PREFIX: &str = "whsec_";
/// Shorter ones can be guessed.
const SECRET_BYTES_MIN: usize = 16;
/// Hooks, and addresses, whose requests are counted. With more than these the counting begins anew.
const COUNTED_MAX: usize = 4096;
/// What a delivery of GitHub calls itself; not signed.
pub(crate) const GITHUB_DELIVERY: &str = "x-github-delivery";

/// Why the secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// A file of a secret cannot be read.
    #[error("hooks.{name}: the secret cannot be read from {path}")]
    File {
        /// The section.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A secret is missing or cannot be used.
    #[error("hooks.{name}: {why}")]
    Secret {
        /// The section.
        name: String,
        /// What to do.
        why: String,
    },
}

/// Why a request is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A header is missing or cannot be read.
    Header(&'static str),
    /// The signature is wrong.
    Signature,
    /// Its time is too far from ours.
    Time {
        /// How far it may be, in seconds.
        tolerance_s: u64,
    },
}

/// The headers of a request, by lower-case name.
pub(crate) trait Headers {
    /// The value, where it is text.
    fn text(&self, name: &str) -> Option<&str>;
}

/// What signs: several while one is being replaced.
type Keys = Arc<Vec<Vec<u8>>>;

/// One secret: what signs and how.
struct Secret {
    name: String,
    config: HookConfig,
    last: Mutex<Last>,
}

/// What its file, or the environment, held last.
struct Last {
    keys: Keys,
    /// The trouble that was told of: once, not at every request.
    told: Option<String>,
}

impl Secret {
    /// Read anew each time it is used: a file of a line costs less than the signature. One that cannot be used leaves the last that could.
    fn keys(&self) -> Keys {
        let read = keys(&self.name, &self.config);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(keys) => {
                if *last.keys != keys {
                    last.keys = Arc::new(keys);
                    tracing::info!(secret = %self.name, "the secret of a hook has changed and is used from now on");
                }
                last.told = None;
            }
            Err(error) => {
                let error = chain(&error);
                if last.told.as_ref() != Some(&error) {
                    tracing::warn!(secret = %self.name, %error, "the secret of a hook cannot be used as it is now; the last one goes on being used");
                    last.told = Some(error);
                }
            }
        }
        last.keys.clone()
    }
}

/// The secrets, and how often each hook was called.
pub(crate) struct Hooks {
    secrets: BTreeMap<String, Secret>,
    /// Signed requests, by hook.
    signed: Buckets<String>,
    /// Tries, by address.
    tries: Buckets<IpAddr>,
    /// Most requests of one hook, and most tries of one address, in a minute.
    rate_per_minute: u32,
    /// Largest body, in bytes.
    pub(crate) body_bytes_max: usize,
}

impl Hooks {
    /// Reads the secrets.
    ///
    /// # Errors
    /// [`HookError`], naming the section.
    pub(crate) fn read(
        config: &BTreeMap<String, HookConfig>,
        rate_per_minute: u32,
        body_bytes_max: usize,
    ) -> Result<Self, HookError> {
        let mut secrets = BTreeMap::new();
        for (name, one) in config {
            secrets.insert(name.clone(), secret(name, one)?);
        }
        Ok(Self {
            secrets,
            signed: Mutex::default(),
            tries: Mutex::default(),
            rate_per_minute,
            body_bytes_max,
        })
    }

    /// Whether a secret of this name is configured.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.secrets.contains_key(name)
    }

    /// Checks a request against one secret; answers the id of what it says.
    ///
    /// # Errors
    /// [`Refused`].
    pub(crate) fn verify(
        &self,
        secret: &str,
        headers: &impl Headers,
        body: &[u8],
        now: Timestamp,
    ) -> Result<String, Refused> {
        let secret = self.secrets.get(secret).ok_or(Refused::Signature)?;
        let keys = secret.keys();
        match secret.config.scheme {
            Scheme::Github => github(&keys, headers, body),
            Scheme::Standard => standard(&keys, secret.config.tolerance_s, headers, body, now),
        }
    }

    /// Counts a try before anything of it is read; in how many seconds to try again, when there were too many.
    pub(crate) fn try_from(&self, peer: IpAddr, now: Instant) -> Result<(), u32> {
        self.in_bucket(&self.tries, network(peer), |bucket, rate, most| {
            bucket.take(now, rate, most)
        })
    }

    /// Counts a request whose signature holds: for its hook, and no longer for its address.
    pub(crate) fn count(&self, hook: &str, peer: IpAddr, now: Instant) -> Result<(), u32> {
        self.in_bucket(&self.tries, network(peer), |bucket, _, most| {
            bucket.left = (bucket.left + 1.0).min(most);
        });
        self.in_bucket(&self.signed, hook.to_owned(), |bucket, rate, most| {
            bucket.take(now, rate, most)
        })
    }

    fn in_bucket<K: Ord, T>(
        &self,
        buckets: &Buckets<K>,
        of: K,
        act: impl FnOnce(&mut Bucket, f64, f64) -> T,
    ) -> T {
        let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= COUNTED_MAX && !buckets.contains_key(&of) {
            buckets.clear();
        }
        let rate = f64::from(self.rate_per_minute) / 60.0;
        let most = (f64::from(self.rate_per_minute) / 6.0).max(1.0);
        let bucket = buckets.entry(of).or_insert_with(|| Bucket {
            left: most,
            at: Instant::now(),
        });
        act(bucket, rate, most)
    }
}

type Buckets<K> = Mutex<BTreeMap<K, Bucket>>;

/// What is counted as one address: of IPv6 the network of 64 bits, which one customer has.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// What is left of a hook's requests: refilled steadily, a sixth of a minute's at most.
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant, rate: f64, most: f64) -> Result<(), u32> {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + since * rate).min(most);
        self.at = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        let wait = ((1.0 - self.left) / rate).ceil().clamp(1.0, 60.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 1..=60"
        )]
        let wait = wait as u32;
        Err(wait)
    }
}

/// A secret, read for the first time.
fn secret(name: &str, config: &HookConfig) -> Result<Secret, HookError> {
    let keys = Arc::new(keys(name, config)?);
    Ok(Secret {
        name: name.to_owned(),
        config: config.clone(),
        last: Mutex::new(Last { keys, told: None }),
    })
}

/// One secret on each line: the old one may stand beside the new one while it is replaced.
fn keys(name: &str, config: &HookConfig) -> Result<Vec<Vec<u8>>, HookError> {
    let wrong = |why: &str| HookError::Secret {
        name: name.to_owned(),
        why: why.to_owned(),
    };
    let text = match (&config.secret_file, &config.secret_env) {
        (Some(path), None) => std::fs::read_to_string(path).map_err(|source| HookError::File {
            name: name.to_owned(),
            path: path.clone(),
            source,
        })?,
        (None, Some(variable)) => std::env::var(variable)
            .map_err(|_| wrong("the variable that secret_env names is not set"))?,
        _ => return Err(wrong("give either secret_file or secret_env")),
    };
    let mut keys = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let key = match line.strip_prefix(SECRET_PREFIX) {
            Some(encoded) if config.scheme == Scheme::Standard => STANDARD
                .decode(encoded)
                .map_err(|_| wrong("what follows whsec_ is not base 64"))?,
            Some(_) | None => line.as_bytes().to_vec(),
        };
        if key.len() < SECRET_BYTES_MIN {
            return Err(wrong("the secret is shorter than 16 bytes"));
        }
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(wrong("the secret is empty"));
    }
    Ok(keys)
}

fn github(keys: &[Vec<u8>], headers: &impl Headers, body: &[u8]) -> Result<String, Refused> {
    let given = headers
        .text("x-hub-signature-256")
        .and_then(|text| text.strip_prefix("sha256="))
        .and_then(unhex)
        .ok_or(Refused::Header("x-hub-signature-256"))?;
    if signed(keys, &[body], &given) {
        Ok(id_of_body(body))
    } else {
        Err(Refused::Signature)
    }
}

/// An id for what has none that is signed.
fn id_of_body(body: &[u8]) -> String {
    let hash = Sha256::digest(body);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn standard(
    keys: &[Vec<u8>],
    tolerance_s: u64,
    headers: &impl Headers,
    body: &[u8],
    now: Timestamp,
) -> Result<String, Refused> {
    let id = id_of(headers, "webhook-id")?;
    let stamp = headers
        .text("webhook-timestamp")
        .ok_or(Refused::Header("webhook-timestamp"))?;
    let at: u64 = stamp
        .parse()
        .map_err(|_| Refused::Header("webhook-timestamp"))?;
    let all = headers
        .text("webhook-signature")
        .ok_or(Refused::Header("webhook-signature"))?;
    let parts: [&[u8]; 5] = [id.as_bytes(), b".", stamp.as_bytes(), b".", body];
    let right = all
        .split_ascii_whitespace()
        .filter_map(|one| one.strip_prefix("v1,"))
        .filter_map(|encoded| STANDARD.decode(encoded).ok())
        .any(|given| signed(keys, &parts, &given));
    if !right {
        return Err(Refused::Signature);
    }
    if (now.0 / 1000).abs_diff(at) > tolerance_s {
        return Err(Refused::Time { tolerance_s });
    }
    Ok(id)
}

/// Compared in a time that tells nothing of where they differ.
fn signed(keys: &[Vec<u8>], parts: &[&[u8]], given: &[u8]) -> bool {
    keys.iter().any(|key| {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
            return false;
        };
        for part in parts {
            mac.update(part);
        }
        mac.verify_slice(given).is_ok()
    })
}

/// The id of a delivery: it becomes a part of derived ids.
fn id_of(headers: &impl Headers, name: &'static str) -> Result<String, Refused> {
    headers
        .text(name)
        .filter(|id| (1..=255).contains(&id.len()) && !id.chars().any(char::is_control))
        .map(str::to_owned)
        .ok_or(Refused::Header(name))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Headers for BTreeMap<&str, String> {
        fn text(&self, name: &str) -> Option<&str> {
            self.get(name).map(String::as_str)
        }
    }

    /// The file may be gone after that: the last secret that could be read stays.
    fn hooks(scheme: Scheme, lines: &str) -> Hooks {
        let file = tempfile::NamedTempFile::new().unwrap();
        hooks_of(scheme, file.path(), lines)
    }

    fn hooks_of(scheme: Scheme, file: &std::path::Path, lines: &str) -> Hooks {
        std::fs::write(file, lines).unwrap();
        let config = HookConfig {
            secret_file: Some(file.to_path_buf()),
            secret_env: None,
            scheme,
            tolerance_s: 300,
        };
        Hooks::read(&BTreeMap::from([("s".to_owned(), config)]), 60, 1000).unwrap()
    }

    #[test]
    fn a_secret_that_has_changed_is_used_at_once_and_one_that_is_broken_never() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let hooks = hooks_of(Scheme::Github, file.path(), "the-first-of-two-secrets");
        let signed_with = |key: &str| {
            let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
            mac.update(b"body");
            let hex: String = mac
                .finalize()
                .into_bytes()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let headers = BTreeMap::from([
                ("x-github-delivery", "d-1".to_owned()),
                ("x-hub-signature-256", format!("sha256={hex}")),
            ]);
            hooks.verify("s", &headers, b"body", Timestamp(0)).is_ok()
        };
        assert!(signed_with("the-first-of-two-secrets"));
        std::fs::write(file.path(), "the-other-of-two-secrets").unwrap();
        assert!(!signed_with("the-first-of-two-secrets"));
        assert!(signed_with("the-other-of-two-secrets"));
        std::fs::write(file.path(), "short").unwrap();
        assert!(!signed_with("short"));
        assert!(signed_with("the-other-of-two-secrets"));
        std::fs::remove_file(file.path()).unwrap();
        assert!(signed_with("the-other-of-two-secrets"));
    }

    /// The SHA-256 of `Hello, World!`, as sha256sum has it.
    const HELLO: &str = "sha256:dffd6021bb2bd5b0af676290809ec3a53191dd81c7f70a4b28688a362182986f";

    #[test]
    fn the_example_of_the_github_documentation_holds() {
        let hooks = hooks(Scheme::Github, "It's a Secret to Everybody\n");
        let mut headers = BTreeMap::from([
            ("x-github-delivery", "d-1".to_owned()),
            (
                "x-hub-signature-256",
                "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
                    .to_owned(),
            ),
        ]);
        let now = Timestamp(0);
        assert_eq!(
            hooks.verify("s", &headers, b"Hello, World!", now),
            Ok(HELLO.to_owned())
        );
        // the delivery it says it is makes no other event of it
        headers.insert("x-github-delivery", "d-2".to_owned());
        assert_eq!(
            hooks.verify("s", &headers, b"Hello, World!", now),
            Ok(HELLO.to_owned())
        );
        assert_eq!(
            hooks.verify("s", &headers, b"Hello, World?", now),
            Err(Refused::Signature)
        );
        assert_eq!(
            hooks.verify("t", &headers, b"Hello, World!", now),
            Err(Refused::Signature)
        );
        headers.insert("x-hub-signature-256", "sha256=zz".to_owned());
        assert_eq!(
            hooks.verify("s", &headers, b"Hello, World!", now),
            Err(Refused::Header("x-hub-signature-256"))
        );
    }

    #[test]
    fn the_example_of_standard_webhooks_holds_within_its_time() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let hooks = hooks(
            Scheme::Standard,
            &format!("a-secret-of-tomorrow\n{secret}\n"),
        );
        let at = 1_614_265_330_u64;
        let headers = BTreeMap::from([
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned()),
            ("webhook-timestamp", at.to_string()),
            (
                "webhook-signature",
                "v1a,AAAA v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned(),
            ),
        ]);
        let body = br#"{"test": 2432232314}"#;
        let check = |seconds: u64| hooks.verify("s", &headers, body, Timestamp(seconds * 1000));
        assert_eq!(check(at), Ok("msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned()));
        assert!(check(at + 300).is_ok() && check(at - 300).is_ok());
        let old = Err(Refused::Time { tolerance_s: 300 });
        assert_eq!(check(at + 301), old);
        assert_eq!(check(at - 301), old);
        let mut other = headers.clone();
        other.insert("webhook-id", "msg_other".to_owned());
        assert_eq!(
            hooks.verify("s", &other, body, Timestamp(at * 1000)),
            Err(Refused::Signature)
        );
    }

    #[test]
    fn a_hook_may_be_called_so_often_and_is_told_when_again() {
        let hooks = hooks(Scheme::Github, "0123456789abcdef");
        let now = Instant::now();
        let peer = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..10 {
            assert_eq!(hooks.count("a", peer, now), Ok(()));
        }
        assert_eq!(hooks.count("a", peer, now), Err(1));
        assert_eq!(hooks.count("b", peer, now), Ok(()), "each by itself");
        let later = now + std::time::Duration::from_secs(1);
        assert_eq!(hooks.count("a", peer, later), Ok(()));
        assert!(hooks.count("a", peer, later).is_err());
    }

    #[test]
    fn who_cannot_sign_may_try_so_often_and_who_can_is_not_kept_from_it() {
        let hooks = hooks(Scheme::Github, "0123456789abcdef");
        let now = Instant::now();
        let of = |text: &str| text.parse::<IpAddr>().unwrap();
        let (bad, good) = (of("2001:db8:0:1::5"), of("192.0.2.1"));
        for _ in 0..10 {
            assert_eq!(hooks.try_from(bad, now), Ok(()));
        }
        assert_eq!(hooks.try_from(bad, now), Err(1));
        // the same network, and the same address written otherwise
        assert_eq!(hooks.try_from(of("2001:db8:0:1::6"), now), Err(1));
        assert_eq!(hooks.try_from(of("2001:db8:0:2::5"), now), Ok(()));
        // what is signed is given back, however it is written
        for _ in 0..10 {
            assert_eq!(hooks.try_from(of("::ffff:192.0.2.1"), now), Ok(()));
            assert_eq!(hooks.count("a", good, now), Ok(()));
        }
        assert_eq!(hooks.try_from(good, now), Ok(()));
    }

    #[test]
    fn a_secret_that_is_none_is_refused_by_name() {
        let read = |config: HookConfig| {
            Hooks::read(&BTreeMap::from([("s".to_owned(), config)]), 60, 1000)
                .err()
                .unwrap()
                .to_string()
        };
        let none = HookConfig {
            secret_file: None,
            secret_env: None,
            scheme: Scheme::Github,
            tolerance_s: 300,
        };
        assert!(read(none.clone()).contains("hooks.s"));
        let missing = HookConfig {
            secret_file: Some("/nowhere/at/all".into()),
            ..none
        };
        assert!(read(missing).contains("/nowhere/at/all"));
    }
}
