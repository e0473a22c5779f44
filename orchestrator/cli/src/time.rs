//! Times for people: how long ago, how long, and from words of the command line to instants.

use jiff::Timestamp;
use jiff::civil::Date;

use crate::error::CliError;

/// A length of time, two units at most.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms}ms"),
        1..=9 => format!("{seconds}.{}s", ms % 1_000 / 100),
        10..=59 => format!("{seconds}s"),
        60..=3_599 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A length of time for a clock that is shown: from a second on, whole seconds.
pub(crate) fn whole_seconds(ms: u64) -> String {
    match ms / 1_000 {
        seconds @ 0..=59 => format!("{seconds}s"),
        _ => span(ms),
    }
}

/// This machine's clock, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// How long ago, in one unit: precise enough for a list.
pub(crate) fn ago(at_ms: u64, now_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(at_ms) / 1_000;
    match seconds {
        0 => "now".to_owned(),
        1..=59 => format!("{seconds}s ago"),
        60..=3_599 => format!("{}m ago", seconds / 60),
        3_600..=86_399 => format!("{}h ago", seconds / 3_600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// How long until, in one unit.
pub(crate) fn until(at_ms: u64, now_ms: u64) -> String {
    if at_ms <= now_ms {
        return "now".to_owned();
    }
    format!("in {}", span(at_ms - now_ms))
}

/// An instant, in UTC: `2026-01-31 14:00:05Z`.
pub(crate) fn instant(at_ms: u64) -> String {
    let at = i64::try_from(at_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map_or_else(
        || format!("{at_ms} ms"),
        |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}

/// An instant of an answer: milliseconds, or RFC 3339.
pub(crate) fn read(value: &serde_json::Value) -> Option<u64> {
    let of_text = || {
        value
            .as_str()?
            .parse::<Timestamp>()
            .ok()?
            .as_millisecond()
            .try_into()
            .ok()
    };
    value.as_u64().or_else(of_text)
}

/// What `--since` says: `2h` is two hours ago; else a date or a time, UTC.
pub(crate) fn when(text: &str, what: &str, now_ms: u64) -> Result<u64, CliError> {
    if let Ok(ms) = baton_engine::definition::duration_ms(text) {
        return Ok(now_ms.saturating_sub(ms));
    }
    let at = text.parse::<Timestamp>().ok().or_else(|| {
        let day: Date = text.parse().ok()?;
        let midnight = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(midnight.timestamp())
    });
    at.and_then(|at| u64::try_from(at.as_millisecond()).ok())
        .ok_or_else(|| {
            CliError::usage(format!(
                "{what} `{text}` is no time; write 2h, 3d, 2026-01-31 or 2026-01-31T14:00:00Z"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_two_units_at_most() {
        assert_eq!(span(5), "5ms");
        assert_eq!(span(1_250), "1.2s");
        assert_eq!(span(65_000), "1m 5s");
        assert_eq!(span(100_000_000), "1d 3h");
        assert_eq!(ago(1_000, 4_000), "3s ago");
        assert_eq!(ago(1_000, 7_300_000), "2h ago");
        assert_eq!(until(10_000, 4_000), "in 6.0s");
    }

    #[test]
    fn an_instant_is_said_in_many_ways() {
        let now = 1_800_000_000_000;
        assert_eq!(when("2h", "--since", now).unwrap(), now - 7_200_000);
        assert_eq!(when("1970-01-02", "--since", now).unwrap(), 86_400_000);
        assert_eq!(when("1970-01-01T00:00:01Z", "--since", now).unwrap(), 1_000);
        let error = when("yesterday", "--since", now).unwrap_err().to_string();
        assert!(error.contains("2026-01-31"), "{error}");
        assert_eq!(instant(1_000), "1970-01-01 00:00:01Z");
        assert_eq!(
            read(&serde_json::json!("1970-01-01T00:00:01Z")),
            Some(1_000)
        );
    }
}
