//! The bounds of a whole number, as far as they are said. Says only what is certain: what is computed lies within none.

use serde_json::{Map, Value};

/// From the least to the most, both among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Whole {
    least: i64,
    most: i64,
}

impl Whole {
    /// Any.
    pub(crate) const ANY: Self = Self {
        least: i64::MIN,
        most: i64::MAX,
    };
    /// None below zero.
    pub(crate) const COUNT: Self = Self {
        least: 0,
        most: i64::MAX,
    };

    /// What a conversion makes of text or of a number with a fraction: whoever converts answers for the value, as for the text being a number at all. Among those of any
    /// bounds, and with others it is as those are.
    pub(super) const CONVERTED: Self = Self {
        least: i64::MAX,
        most: i64::MIN,
    };

    /// This one.
    pub(crate) const fn just(n: i64) -> Self {
        Self { least: n, most: n }
    }

    /// What the keywords of a schema allow of whole numbers.
    pub(super) fn of_schema(schema: &Map<String, Value>) -> Self {
        let limit = |word: &str| schema.get(word).filter(|limit| limit.is_number());
        let mut bounds = Self::ANY;
        if let Some(limit) = limit("minimum") {
            bounds = bounds.at_least(lowest(limit));
        }
        if let Some(limit) = limit("exclusiveMinimum") {
            bounds = bounds.at_least(highest(limit).saturating_add(1));
        }
        if let Some(limit) = limit("maximum") {
            bounds = bounds.at_most(highest(limit));
        }
        if let Some(limit) = limit("exclusiveMaximum") {
            bounds = bounds.at_most(lowest(limit).saturating_sub(1));
        }
        bounds
    }

    /// Those from here on.
    pub(super) fn at_least(self, least: i64) -> Self {
        let least = least.max(self.least);
        Self { least, ..self }
    }

    /// Those up to here.
    pub(super) fn at_most(self, most: i64) -> Self {
        let most = most.min(self.most);
        Self { most, ..self }
    }

    /// What is one or the other, and what lies between them.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            most: self.most.max(other.most),
        }
    }

    /// What is both.
    pub(super) fn and(self, other: Self) -> Self {
        self.at_least(other.least).at_most(other.most)
    }

    /// Whether one of these may be this one: of what was converted nobody knows.
    pub(super) fn may_be(self, n: i64) -> bool {
        self.least > self.most || (self.least..=self.most).contains(&n)
    }

    /// Whether all of these are among those.
    pub(super) fn within(self, other: Self) -> bool {
        self.least >= other.least && self.most <= other.most
    }
}

impl std::fmt::Display for Whole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { least, most } = self;
        match (*least == i64::MIN, *most == i64::MAX) {
            (true, true) => write!(f, "any integer"),
            (false, true) => write!(f, "integer from {least}"),
            (true, false) => write!(f, "integer up to {most}"),
            (false, false) if least == most => write!(f, "{least}"),
            (false, false) => write!(f, "integer from {least} to {most}"),
        }
    }
}

/// The least whole number that is not below a limit.
fn lowest(limit: &Value) -> i64 {
    whole(limit, f64::ceil)
}

/// The highest that is not above it.
fn highest(limit: &Value) -> i64 {
    whole(limit, f64::floor)
}

fn whole(limit: &Value, round: fn(f64) -> f64) -> i64 {
    match (limit.as_i64(), limit.as_f64()) {
        (Some(n), _) => n,
        // what lies beyond the integers becomes the last of them
        (None, Some(n)) => round(n) as i64,
        (None, None) => i64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(schema: Value) -> String {
        let Value::Object(schema) = schema else {
            unreachable!("an object is given")
        };
        Whole::of_schema(&schema).to_string()
    }

    #[test]
    fn the_bounds_of_a_schema_are_those_of_the_whole_numbers_it_allows() {
        assert_eq!(of(json!({})), "any integer");
        assert_eq!(of(json!({ "minimum": 0 })), "integer from 0");
        assert_eq!(of(json!({ "maximum": 5.5 })), "integer up to 5");
        assert_eq!(
            of(json!({ "exclusiveMinimum": 0.5, "exclusiveMaximum": 9 })),
            "integer from 1 to 8"
        );
        assert_eq!(of(json!({ "minimum": 0.5, "maximum": 1 })), "1");
        assert_eq!(of(json!({ "maximum": 1e300 })), "any integer");
        assert_eq!(of(json!({ "maximum": u64::MAX })), "any integer");
    }

    #[test]
    fn what_is_one_or_the_other_spans_both() {
        let both = Whole::just(3).or(Whole::just(7));
        assert!(Whole::just(5).within(both) && both.within(Whole::COUNT));
        assert!(!Whole::ANY.within(Whole::COUNT));
        assert!(Whole::CONVERTED.within(Whole::just(1)));
        assert_eq!(both.or(Whole::CONVERTED), both);
        assert_eq!(
            both.and(Whole::ANY.at_least(5)).to_string(),
            "integer from 5 to 7"
        );
    }
}
