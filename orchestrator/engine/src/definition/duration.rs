//! Durations as people write them: `10s`, `1h30m`, `7d`. A number without a unit is refused, because nobody remembers which it was.

use serde_json::Value;

/// The longest duration, in milliseconds: ten years. Anything longer is a typing error.
pub const DURATION_MS_MAX: u64 = 3_660 * 24 * 60 * 60 * 1_000;

/// Reads a duration, in milliseconds. Zero is refused.
///
/// # Errors
/// What is wrong with it, fitting after "`10`".
pub fn duration_ms(text: &str) -> Result<u64, String> {
    let mut total = 0_u64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("is no duration".to_owned());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let number: u64 = number.parse().map_err(|_| "is no duration".to_owned())?;
        if let Some(short) = after_blank(unit, tail) {
            return Err(format!(
                "has a blank before its unit: write `{number}{short}`"
            ));
        }
        let part = number.checked_mul(unit_ms(unit)?);
        total = part
            .and_then(|part| total.checked_add(part))
            .ok_or_else(too_long)?;
        rest = tail.trim_start();
    }
    within(total)
}

/// Reads what a `sleep:` yields: text with units, or a whole number of milliseconds.
///
/// # Errors
/// What is wrong with it.
pub fn duration_ms_of(value: &Value) -> Result<u64, String> {
    match value {
        Value::String(text) => duration_ms(text).map_err(|why| format!("`{text}` {why}")),
        Value::Number(n) => {
            let ms = n
                .as_u64()
                .ok_or_else(|| format!("{n} is no whole number of milliseconds"))?;
            within(ms).map_err(|why| format!("{n} ms {why}"))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err("is neither text such as `10m` nor a number of milliseconds".to_owned())
        }
    }
}

/// A duration as definitions write it: the largest unit that loses nothing.
#[must_use]
pub fn duration_text(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ];
    let unit = UNITS
        .iter()
        .find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit));
    unit.map_or_else(
        || format!("{ms}ms"),
        |(unit, word)| format!("{}{word}", ms / unit),
    )
}

fn within(ms: u64) -> Result<u64, String> {
    match ms {
        0 => Err("is no time at all".to_owned()),
        1..=DURATION_MS_MAX => Ok(ms),
        _ => Err(too_long()),
    }
}

fn too_long() -> String {
    "is longer than ten years".to_owned()
}

fn unit_ms(unit: &str) -> Result<u64, String> {
    const SECOND: u64 = 1_000;
    match unit {
        "ms" => Ok(1),
        "s" => Ok(SECOND),
        "m" => Ok(60 * SECOND),
        "h" => Ok(3_600 * SECOND),
        "d" => Ok(24 * 3_600 * SECOND),
        "w" => Ok(7 * 24 * 3_600 * SECOND),
        "" => Err("has no unit".to_owned()),
        other => Err(match short(other) {
            Some(short) => format!("has the unit `{other}`, which is written `{short}`"),
            None => format!("has the unit `{other}`, which is none"),
        }),
    }
}

/// The unit of a number that has none by itself, and a word for one behind a blank.
fn after_blank(unit: &str, tail: &str) -> Option<&'static str> {
    let word = tail.trim_start();
    if !unit.is_empty() || word.len() == tail.len() {
        return None;
    }
    short(word.split(|c: char| !c.is_ascii_alphabetic()).next()?)
}

/// The unit people mean by a word.
fn short(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "ms" | "msec" | "millisecond" | "milliseconds" => "ms",
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hrs" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        "w" | "week" | "weeks" => "w",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_are_read_in_milliseconds() {
        for (text, ms) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("15m", 900_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("2w", 1_209_600_000),
            ("1m 5s", 65_000),
        ] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        for (ms, text) in [(300_000, "5m"), (1_500, "1500ms"), (604_800_000, "7d")] {
            assert_eq!(duration_text(ms), text);
        }
        for text in [
            "",
            "10",
            "0s",
            "-1s",
            "1.5h",
            "s",
            "10 s s",
            "5y",
            "99999d",
            "99999999999999999999s",
            "18446744073709551615w",
        ] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_unit_that_is_written_out_or_apart_is_told_as_it_is_written() {
        let said = |text: &str| duration_ms(text).unwrap_err();
        assert_eq!(
            said("15 minutes"),
            "has a blank before its unit: write `15m`"
        );
        assert_eq!(said("1h 30 m"), "has a blank before its unit: write `30m`");
        assert_eq!(
            said("15minutes"),
            "has the unit `minutes`, which is written `m`"
        );
        assert_eq!(said("15 apples"), "has no unit");
        assert_eq!(said("15"), "has no unit");
    }

    #[test]
    fn a_sleep_may_be_a_number_of_milliseconds() {
        assert_eq!(duration_ms_of(&json!(1500)), Ok(1500));
        assert_eq!(duration_ms_of(&json!("2s")), Ok(2000));
        for wrong in [
            json!(0),
            json!(-1),
            json!(1.5),
            json!(null),
            json!([1]),
            json!("soon"),
        ] {
            assert!(duration_ms_of(&wrong).is_err(), "{wrong}");
        }
    }
}
