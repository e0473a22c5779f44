//! The keys of a `retry:`.

use std::num::NonZeroU32;

use super::diagnostic::code;
use super::reader::Reader;
use super::retry::{ATTEMPTS_MAX, Attempts, FACTOR_MAX, Jitter, RetryPolicy};
use super::yaml::Entry;

/// Reads a `retry:`.
pub(super) fn retry(reader: &mut Reader, entry: &Entry) -> RetryPolicy {
    let keys = ["attempts", "backoff", "factor", "max", "jitter"];
    let Some(object) = reader.object(&entry.value, "a retry", &keys, &[]) else {
        return RetryPolicy::default();
    };
    let policy = RetryPolicy {
        attempts: object.get("attempts").and_then(|e| attempts(reader, e)),
        backoff_ms: object.get("backoff").and_then(|e| reader.duration(e)),
        factor: object.get("factor").and_then(|e| factor(reader, e)),
        max_ms: object.get("max").and_then(|e| reader.duration(e)),
        jitter: object.get("jitter").and_then(|e| jitter(reader, e)),
    };
    if let (Some(backoff), Some(max), Some(at)) =
        (policy.backoff_ms, policy.max_ms, object.get("max"))
        && backoff > max
    {
        reader.report(
            code::RANGE,
            at.value.mark,
            "`max` is shorter than `backoff`",
            "the first wait is `backoff`, the longest is `max`",
        );
    }
    policy
}

fn attempts(reader: &mut Reader, entry: &Entry) -> Option<Attempts> {
    let value = entry.value.to_json();
    if value.as_str() == Some("forever") {
        return Some(Attempts::Forever);
    }
    let times = value
        .as_u64()
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| *n <= ATTEMPTS_MAX);
    let times = times.and_then(NonZeroU32::new).map(Attempts::Times);
    if times.is_none() {
        let message =
            format!("`attempts` must be a whole number from 1 to {ATTEMPTS_MAX}, or forever");
        reader.report(
            code::RANGE,
            entry.value.mark,
            message,
            "1 means: no second try",
        );
    }
    times
}

fn factor(reader: &mut Reader, entry: &Entry) -> Option<f64> {
    let factor = entry
        .value
        .to_json()
        .as_f64()
        .filter(|f| (1.0..=FACTOR_MAX).contains(f));
    if factor.is_none() {
        reader.report(
            code::RANGE,
            entry.value.mark,
            format!("`factor` must be a number from 1 to {FACTOR_MAX}"),
            "1 means: always the same wait",
        );
    }
    factor
}

fn jitter(reader: &mut Reader, entry: &Entry) -> Option<Jitter> {
    match entry.value.to_json().as_str() {
        Some("full") => Some(Jitter::Full),
        Some("none") => Some(Jitter::None),
        _ => {
            reader.report(
                code::RANGE,
                entry.value.mark,
                "`jitter` must be full or none",
                "`full` spreads what fails at the same time; `none` waits just as long as written",
            );
            None
        }
    }
}
