//! Times for people: how long ago, how long.

/// A length of time, two units at most.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms}ms"),
        1..=59 => format!("{seconds}s"),
        60..=3_599 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// How long ago, by the clock of whoever gave both; by this machine's when there is no other.
pub(crate) fn ago(at_ms: u64, now_ms: Option<u64>) -> String {
    let now = now_ms.unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
    });
    format!("{} ago", span(now.saturating_sub(at_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_two_units_at_most() {
        assert_eq!(span(5), "5ms");
        assert_eq!(span(65_000), "1m 5s");
        assert_eq!(span(100_000_000), "1d 3h");
        assert_eq!(ago(1_000, Some(4_000)), "3s ago");
    }
}
