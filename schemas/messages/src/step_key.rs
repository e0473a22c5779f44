//! The name of what is tracked by itself in a saga: a step, or one item of a step that is done for each of a list. One spelling of it stands
//! everywhere people and programs meet it: `restart`, and `restart[3]`, which is also how an expression reads the item's output.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::inbox::AttemptRef;
use crate::names::{NameError, StepId};

/// A step, or one item of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepKey {
    /// The step.
    pub step: StepId,
    /// Which item, from 0, of a step with `for_each`.
    pub item: Option<u32>,
}

/// The most digits of an item's number: no list is near as long.
const DIGITS_MAX: usize = 6;

impl StepKey {
    /// One item of a step.
    #[must_use]
    pub const fn of_item(step: StepId, item: u32) -> Self {
        Self {
            step,
            item: Some(item),
        }
    }

    /// Reads `restart` or `restart[3]`.
    ///
    /// # Errors
    /// [`NameError`] with the rule the text breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError {
            what: "step or item",
            given: text.chars().take(80).collect(),
            rule: "the id of a step, and for one item of it its number in brackets, from 0: `restart[3]`",
        };
        let Some((step, rest)) = text.split_once('[') else {
            return StepId::new(text).map(Self::from);
        };
        let digits = rest.strip_suffix(']').ok_or_else(wrong)?;
        let canonical = digits == "0" || !digits.starts_with('0');
        if !canonical || digits.len() > DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let item = digits.parse().map_err(|_| wrong())?;
        Ok(Self::of_item(StepId::new(step)?, item))
    }
}

impl From<StepId> for StepKey {
    fn from(step: StepId) -> Self {
        Self { step, item: None }
    }
}

impl From<&StepId> for StepKey {
    fn from(step: &StepId) -> Self {
        step.clone().into()
    }
}

impl PartialEq<StepId> for StepKey {
    fn eq(&self, other: &StepId) -> bool {
        self.item.is_none() && self.step == *other
    }
}

impl AttemptRef {
    /// What it is an attempt of.
    #[must_use]
    pub fn key(&self) -> StepKey {
        StepKey {
            step: self.step.clone(),
            item: self.item,
        }
    }
}

impl std::fmt::Display for StepKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.item {
            None => f.write_str(self.step.as_str()),
            Some(item) => write!(f, "{}[{item}]", self.step),
        }
    }
}

impl std::str::FromStr for StepKey {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl Serialize for StepKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.item {
            None => to.serialize_str(self.step.as_str()),
            Some(_) => to.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for StepKey {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for StepKey {
    fn schema_name() -> Cow<'static, str> {
        "StepKey".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[a-z][a-z0-9_]{0,63}(\\[(0|[1-9][0-9]{0,5})\\])?$",
            "description": "the id of a step, and for one item of it its number in brackets, from 0: `restart[3]`",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::StepKey;

    #[test]
    fn one_spelling_and_no_other() {
        for text in ["restart", "restart[0]", "restart[10000]"] {
            let key = StepKey::new(text).unwrap();
            assert_eq!(key.to_string(), text);
            let json = serde_json::to_string(&key).unwrap();
            assert_eq!(serde_json::from_str::<StepKey>(&json).unwrap(), key);
        }
        for text in [
            "restart[]",
            "restart[01]",
            "restart[-1]",
            "restart[1",
            "restart[1]x",
            "restart[1][2]",
            "[1]",
            "restart#1",
            "restart[1000000]",
        ] {
            StepKey::new(text).expect_err(text);
        }
    }
}
