//! Which events are meant: those of one type, or all whose type begins so. The one place that says what fits, for triggers, for waits
//! and for whoever looks subscriptions up.

use serde::{Deserialize, Serialize};

/// The longest type of an event, in bytes: it is also a routing key, which AMQP holds to this.
pub const EVENT_TYPE_BYTES_MAX: usize = 255;

/// One type of event (`com.example.paid`), or all that begin so (`com.example.*`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventPattern(String);

impl EventPattern {
    /// Reads a type, or a prefix that ends in `.*`.
    ///
    /// # Errors
    /// What is wrong with it, fitting after "`text`".
    pub fn new(text: &str) -> Result<Self, String> {
        event_type(text.strip_suffix(".*").unwrap_or(text))?;
        if text.len() > EVENT_TYPE_BYTES_MAX {
            return Err(too_long());
        }
        Ok(Self(text.to_owned()))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a type begins with to fit, dot included; none when exactly one type does.
    #[must_use]
    pub fn prefix(&self) -> Option<&str> {
        self.0.strip_suffix('*').filter(|rest| rest.ends_with('.'))
    }

    /// Whether events of this type are meant.
    #[must_use]
    pub fn fits(&self, kind: &str) -> bool {
        match self.prefix() {
            Some(prefix) => kind.len() > prefix.len() && kind.starts_with(prefix),
            None => kind == self.0,
        }
    }

    /// Every text of a pattern that means events of this type, the type itself first: what subscriptions are looked up by.
    #[must_use]
    pub fn all_for(kind: &str) -> Vec<String> {
        let dots = kind.match_indices('.').map(|(at, _)| at);
        // A dot at the very end has nothing after it that a prefix could stand for.
        let prefixes = dots
            .filter(|at| at + 1 < kind.len())
            .map(|at| format!("{}.*", &kind[..at]));
        std::iter::once(kind.to_owned()).chain(prefixes).collect()
    }

    /// The key that binds a queue to a topic exchange so that it gets at least these events.
    #[must_use]
    pub fn binding_key(&self) -> String {
        self.prefix()
            .map_or_else(|| self.0.clone(), |prefix| format!("{prefix}#"))
    }
}

impl std::fmt::Display for EventPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<EventPattern> for String {
    fn from(pattern: EventPattern) -> Self {
        pattern.0
    }
}

impl TryFrom<String> for EventPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text).map_err(|why| format!("`{text}` {why}"))
    }
}

/// Whether a text can be the type of an event of ours: a routing key without what a topic exchange gives a meaning to.
///
/// # Errors
/// What is wrong with it, fitting after "`text`".
pub fn event_type(text: &str) -> Result<(), String> {
    if text.is_empty() || text.starts_with('.') || text.ends_with('.') || text.contains("..") {
        return Err("is no type of an event: words joined by dots, `com.example.paid`".to_owned());
    }
    if text.len() > EVENT_TYPE_BYTES_MAX {
        return Err(too_long());
    }
    let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '*' | '#');
    match text.chars().find(|c| bad(*c)) {
        None => Ok(()),
        Some('*' | '#') => Err("has a `*` or `#` inside; only a `.*` at its end is allowed".into()),
        Some(_) => Err("has blanks or control characters in it".into()),
    }
}

fn too_long() -> String {
    format!("is longer than {EVENT_TYPE_BYTES_MAX} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_one_type_or_all_that_begin_so() {
        let one = EventPattern::new("com.example.paid").unwrap();
        assert!(one.fits("com.example.paid") && !one.fits("com.example.paid.late"));
        assert_eq!(one.binding_key(), "com.example.paid");
        let all = EventPattern::new("com.example.*").unwrap();
        assert!(all.fits("com.example.paid") && all.fits("com.example.paid.late"));
        assert!(
            !all.fits("com.example") && !all.fits("com.example.") && !all.fits("com.examples.x")
        );
        assert_eq!(all.binding_key(), "com.example.#");
    }

    #[test]
    fn whatever_pattern_fits_a_type_is_among_those_it_is_looked_up_by() {
        for kind in ["a", "a.b", "a.b.c", "com.example.paid.late"] {
            let all = EventPattern::all_for(kind);
            for text in &all {
                assert!(EventPattern::new(text).unwrap().fits(kind), "{text} {kind}");
            }
            assert_eq!(all.len(), 1 + kind.matches('.').count());
        }
        assert_eq!(EventPattern::all_for("odd."), ["odd."]);
    }

    #[test]
    fn what_is_no_type_is_refused() {
        let long = "a".repeat(EVENT_TYPE_BYTES_MAX + 1);
        for text in [
            "", "*", ".*", "a.*.b", "a.#", "a b", "a.\n", ".a", "a.", "a..b", &long,
        ] {
            assert!(EventPattern::new(text).is_err(), "{text:?}");
        }
    }
}
