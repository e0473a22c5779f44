//! Signed requests: who may say so, how old it may be, how many there may be. A request whose signature holds becomes an event; what signs
//! is `HMAC-SHA256` over the raw body, by one of two schemes:
//!
//! - `github`: header `x-hub-signature-256: sha256=<hex>` over the body; `x-github-delivery` is the event's id. The signature covers neither
//!   id nor time, so that only the id tells a delivery that is sent again.
//! - `standard` (Standard Webhooks): `webhook-id`, `webhook-timestamp`, `webhook-signature: v1,<base64> …` over `id.timestamp.body`; refused
//!   when it is older or newer than the tolerance.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use baton_messages::Timestamp;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::config::{HookConfig, Scheme};

/// What a secret of Standard Webhooks begins with; the rest is base 64.
const SECRET_PREFIX: &str = "whsec_";
/// Shorter ones can be guessed.
const SECRET_BYTES_MIN: usize = 16;
/// Names of hooks whose requests are counted: as many as live triggers may reasonably name.
const COUNTED_MAX: usize = 4096;

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

/// One secret: what signs and how.
struct Secret {
    /// Several while one is being replaced.
    keys: Vec<Vec<u8>>,
    scheme: Scheme,
    tolerance_s: u64,
}

/// The secrets, and how often each hook was called.
pub(crate) struct Hooks {
    secrets: BTreeMap<String, Secret>,
    buckets: Mutex<BTreeMap<String, Bucket>>,
    /// Most requests of one hook in a minute.
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
            buckets: Mutex::default(),
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
        match secret.scheme {
            Scheme::Github => github(secret, headers, body),
            Scheme::Standard => standard(secret, headers, body, now),
        }
    }

    /// Counts a request; in how many seconds to ask again, when there were too many.
    pub(crate) fn count(&self, hook: &str, now: Instant) -> Result<(), u32> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= COUNTED_MAX && !buckets.contains_key(hook) {
            buckets.clear();
        }
        let rate = f64::from(self.rate_per_minute) / 60.0;
        let most = (f64::from(self.rate_per_minute) / 6.0).max(1.0);
        let bucket = buckets.entry(hook.to_owned()).or_insert(Bucket {
            left: most,
            at: now,
        });
        bucket.take(now, rate, most)
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

/// One secret on each line: the old one may stand beside the new one while it is replaced.
fn secret(name: &str, config: &HookConfig) -> Result<Secret, HookError> {
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
    Ok(Secret {
        keys,
        scheme: config.scheme,
        tolerance_s: config.tolerance_s,
    })
}

fn github(secret: &Secret, headers: &impl Headers, body: &[u8]) -> Result<String, Refused> {
    let id = id_of(headers, "x-github-delivery")?;
    let given = headers
        .text("x-hub-signature-256")
        .and_then(|text| text.strip_prefix("sha256="))
        .and_then(unhex)
        .ok_or(Refused::Header("x-hub-signature-256"))?;
    if signed(secret, &[body], &given) {
        Ok(id)
    } else {
        Err(Refused::Signature)
    }
}

fn standard(
    secret: &Secret,
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
        .any(|given| signed(secret, &parts, &given));
    if !right {
        return Err(Refused::Signature);
    }
    if (now.0 / 1000).abs_diff(at) > secret.tolerance_s {
        return Err(Refused::Time {
            tolerance_s: secret.tolerance_s,
        });
    }
    Ok(id)
}

/// Compared in a time that tells nothing of where they differ.
fn signed(secret: &Secret, parts: &[&[u8]], given: &[u8]) -> bool {
    secret.keys.iter().any(|key| {
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

    fn hooks(scheme: Scheme, lines: &str) -> Hooks {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines).unwrap();
        let config = HookConfig {
            secret_file: Some(file.path().to_path_buf()),
            secret_env: None,
            scheme,
            tolerance_s: 300,
        };
        Hooks::read(&BTreeMap::from([("s".to_owned(), config)]), 60, 1000).unwrap()
    }

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
            Ok("d-1".to_owned())
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
        headers.remove("x-github-delivery");
        assert_eq!(
            hooks.verify("s", &headers, b"Hello, World!", now),
            Err(Refused::Header("x-github-delivery"))
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
        for _ in 0..10 {
            assert_eq!(hooks.count("a", now), Ok(()));
        }
        assert_eq!(hooks.count("a", now), Err(1));
        assert_eq!(hooks.count("b", now), Ok(()), "each by itself");
        let later = now + std::time::Duration::from_secs(1);
        assert_eq!(hooks.count("a", later), Ok(()));
        assert!(hooks.count("a", later).is_err());
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
