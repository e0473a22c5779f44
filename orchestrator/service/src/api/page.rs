//! How lists are asked for: so many rows, after a cursor. Pages are steady: a cursor names the last row seen, so that rows that come
//! meanwhile neither shift nor repeat others.

use std::borrow::Cow;

use baton_messages::{SagaId, Timestamp};
use baton_store::read::PAGE_ROWS_MAX;
use baton_store::{DeadLetterCursor, SagaCursor, WorkItemCursor};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Rows of a page where none are asked for.
const ROWS: usize = 50;

/// How many rows a page may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub(crate) struct Limit(usize);

impl Limit {
    /// As asked for, or the usual.
    pub(crate) fn rows(limit: Option<Self>) -> usize {
        limit.map_or(ROWS, |Self(rows)| rows)
    }

    /// As asked for, or as many as there may be.
    pub(crate) fn most(limit: Option<Self>) -> usize {
        limit.map_or(PAGE_ROWS_MAX, |Self(rows)| rows)
    }
}

impl TryFrom<u64> for Limit {
    type Error = String;

    fn try_from(rows: u64) -> Result<Self, String> {
        match usize::try_from(rows) {
            Ok(rows) if (1..=PAGE_ROWS_MAX).contains(&rows) => Ok(Self(rows)),
            Ok(_) | Err(_) => Err(format!("`limit` has to be from 1 to {PAGE_ROWS_MAX}")),
        }
    }
}

impl JsonSchema for Limit {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "integer", "minimum": 1, "maximum": PAGE_ROWS_MAX,
            "description": "Most rows of the page; 50 where nothing is said, of records 500."
        })
    }
}

/// Where the last page ended: time and id of its last row, and its number among several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    at: Timestamp,
    id: Uuid,
    number: u32,
}

impl Cursor {
    /// As text a caller gives back: `<ms>.<uuid>.<number>`.
    pub(crate) fn text(at: Timestamp, id: Uuid, number: u32) -> String {
        format!("{at}.{}.{number}", id.simple())
    }

    pub(crate) const fn saga(self) -> SagaCursor {
        SagaCursor {
            started_at: self.at,
            saga: SagaId(self.id),
        }
    }

    pub(crate) const fn work_item(self) -> WorkItemCursor {
        WorkItemCursor {
            opened_at: self.at,
            saga: SagaId(self.id),
            number: self.number,
        }
    }

    pub(crate) const fn dead_letter(self) -> DeadLetterCursor {
        DeadLetterCursor {
            at: self.at,
            id: self.id,
        }
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let at = Timestamp(parts.next()?.parse().ok()?);
        let id = Uuid::parse_str(parts.next()?).ok()?;
        let number = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self { at, id, number })
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::read(&text).ok_or_else(|| {
            D::Error::custom("`cursor` is none of ours; give back the `next` of the last page")
        })
    }
}

impl JsonSchema for Cursor {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Cursor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": r"^[0-9]{1,15}\.[0-9a-f]{32}\.[0-9]{1,9}$",
            "description": "The `next` of the last page."
        })
    }
}

/// A label somebody asks for: `name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Serialize for Label {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{}={}", self.name, self.value))
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
        let (name, value) = parts.ok_or_else(|| {
            D::Error::custom("`label` is written name=value, such as site=vienna")
        })?;
        Ok(Self {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }
}

impl JsonSchema for Label {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Label".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[^=]+=.*$", "description": "`name=value`." })
    }
}

/// An instant as it may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) Timestamp);

impl Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // a number in a body, text in a query
        let text = match serde_json::Value::deserialize(from)? {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        if let Ok(ms) = text.parse() {
            return Ok(Self(Timestamp(ms)));
        }
        let read: Option<u64> = text
            .parse::<jiff::Timestamp>()
            .ok()
            .and_then(|at| u64::try_from(at.as_millisecond()).ok());
        read.map(|ms| Self(Timestamp(ms))).ok_or_else(|| {
            D::Error::custom(format!(
                "`{text}` is no instant; give milliseconds since 1970 or RFC 3339, such as 2026-03-01T12:00:00Z"
            ))
        })
    }
}

impl JsonSchema for Moment {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 0, "maximum": 9_007_199_254_740_991_u64 },
                { "type": "string", "pattern": r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$" }
            ],
            "description": "Milliseconds since 1970, or RFC 3339."
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read<T: for<'a> Deserialize<'a>>(value: Value) -> Option<T> {
        serde_json::from_value(value).ok()
    }

    #[test]
    fn a_cursor_that_is_written_is_read() {
        let id = Uuid::from_u128(7);
        let text = Cursor::text(Timestamp(5), id, 3);
        let cursor: Cursor = read(json!(text)).unwrap();
        assert_eq!((cursor.at, cursor.id, cursor.number), (Timestamp(5), id, 3));
        let simple = id.simple();
        for wrong in [
            "",
            "5",
            "x.y.1",
            &format!("5.{simple}"),
            &format!("5.{simple}.1.1"),
        ] {
            assert!(read::<Cursor>(json!(wrong)).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_page_has_a_row_and_an_end() {
        assert_eq!(Limit::rows(None), ROWS);
        assert_eq!(Limit::rows(read(json!(7))), 7);
        assert!(read::<Limit>(json!(0)).is_none());
        assert!(read::<Limit>(json!(PAGE_ROWS_MAX + 1)).is_none());
    }

    #[test]
    fn instants_are_read_both_ways() {
        let ms = read::<Moment>(json!("1772366400000")).unwrap();
        assert_eq!(read::<Moment>(json!("2026-03-01T12:00:00Z")), Some(ms));
        assert!(read::<Moment>(json!("yesterday")).is_none());
    }
}
