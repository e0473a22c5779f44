//! AMQP header values without loss: what comes in can go out again byte for byte.

use base64::Engine as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use baton_messages::headers::{VERSION, VERSION_HEADER};
use lapin::types::{AMQPValue, DecimalValue, FieldTable, LongString, ShortString};

/// Headers of a message, by name.
pub type Headers = BTreeMap<String, HeaderValue>;

/// One value of a message header, as AMQP 0-9-1 types it.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderValue {
    /// A boolean.
    Bool(bool),
    /// 8 bits, signed.
    I8(i8),
    /// 8 bits.
    U8(u8),
    /// 16 bits, signed.
    I16(i16),
    /// 16 bits.
    U16(u16),
    /// 32 bits, signed.
    I32(i32),
    /// 32 bits.
    U32(u32),
    /// 64 bits, signed.
    I64(i64),
    /// Single precision.
    F32(f32),
    /// Double precision.
    F64(f64),
    /// `value` divided by ten to the power of `scale`.
    Decimal {
        /// Digits behind the point.
        scale: u8,
        /// All digits.
        value: u32,
    },
    /// The usual string ("long string") when it is UTF-8.
    Text(String),
    /// A "long string" that is not UTF-8.
    TextBytes(Vec<u8>),
    /// A "short string"; brokers hardly ever use it in headers.
    ShortText(String),
    /// A list.
    Array(Vec<Self>),
    /// Seconds since 1970.
    Timestamp(u64),
    /// A table in the table.
    Table(Headers),
    /// Bytes of their own type (of `RabbitMQ`).
    Bytes(Vec<u8>),
    /// A name without value.
    Void,
}

/// The header with the version of the contract, as every message of ours carries it: as a signed number. AMQP clients there are (Ruby's) that know no
/// unsigned ones, and lose their connection over a message with one.
pub fn version_header() -> (String, HeaderValue) {
    let version = HeaderValue::I64(i64::from(VERSION));
    (VERSION_HEADER.to_owned(), version)
}

impl HeaderValue {
    /// As JSON. Numbers keep their value; a type that JSON does not have is named, so that it can be made again: `{ "base64": … }`, `{ "timestamp": … }`,
    /// `{ "decimal": { "scale": …, "value": … } }`. What is nested too deep for anybody to read comes as bytes, so this ends.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Bool(b) => json!(b),
            Self::I8(n) => json!(n),
            Self::U8(n) => json!(n),
            Self::I16(n) => json!(n),
            Self::U16(n) => json!(n),
            Self::I32(n) => json!(n),
            Self::U32(n) => json!(n),
            Self::I64(n) => json!(n),
            Self::F32(n) => json!(n),
            Self::F64(n) => json!(n),
            Self::Decimal { scale, value } => {
                json!({ "decimal": { "scale": scale, "value": value } })
            }
            Self::Text(text) | Self::ShortText(text) => json!(text),
            Self::TextBytes(bytes) | Self::Bytes(bytes) => {
                json!({ "base64": base64::engine::general_purpose::STANDARD.encode(bytes) })
            }
            Self::Array(items) => items.iter().map(Self::to_json).collect(),
            Self::Timestamp(seconds) => json!({ "timestamp": seconds }),
            Self::Table(table) => {
                let fields = table.iter();
                fields
                    .map(|(name, v)| (name.clone(), v.to_json()))
                    .collect()
            }
            Self::Void => Value::Null,
        }
    }

    /// The text, when it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::ShortText(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, when it is one that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::I8(n) => u64::try_from(n).ok(),
            Self::U8(n) => Some(n.into()),
            Self::I16(n) => u64::try_from(n).ok(),
            Self::U16(n) => Some(n.into()),
            Self::I32(n) => u64::try_from(n).ok(),
            Self::U32(n) => Some(n.into()),
            Self::I64(n) => u64::try_from(n).ok(),
            Self::Timestamp(n) => Some(n),
            _ => None,
        }
    }
}

impl HeaderValue {
    /// About how many bytes it takes on the wire, its type included.
    pub(crate) fn bytes(&self) -> usize {
        const LENGTH: usize = 5;
        match self {
            Self::Void => 1,
            Self::Bool(_) | Self::I8(_) | Self::U8(_) => 2,
            Self::I16(_) | Self::U16(_) => 3,
            Self::I32(_) | Self::U32(_) | Self::F32(_) => 5,
            Self::Decimal { .. } => 6,
            Self::I64(_) | Self::F64(_) | Self::Timestamp(_) => 9,
            Self::Text(text) | Self::ShortText(text) => LENGTH + text.len(),
            Self::TextBytes(bytes) | Self::Bytes(bytes) => LENGTH + bytes.len(),
            Self::Array(values) => LENGTH + values.iter().map(Self::bytes).sum::<usize>(),
            Self::Table(table) => {
                let entries = table.iter();
                LENGTH
                    + entries
                        .map(|(name, value)| 1 + name.len() + value.bytes())
                        .sum::<usize>()
            }
        }
    }
}

impl From<&str> for HeaderValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for HeaderValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for HeaderValue {
    fn from(n: i64) -> Self {
        Self::I64(n)
    }
}

impl From<bool> for HeaderValue {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}

/// A name or text of at most 255 bytes, cut at a character when it is longer: AMQP has no room for more.
pub(crate) fn short(text: impl Into<String>) -> ShortString {
    let mut text = text.into();
    if text.len() > 255 {
        let end = (0..=255)
            .rev()
            .find(|&i| text.is_char_boundary(i))
            .unwrap_or(0);
        text.truncate(end);
    }
    text.into()
}

pub(crate) fn to_table(headers: impl IntoIterator<Item = (String, HeaderValue)>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert(short(name), to_amqp(value));
    }
    table
}

pub(crate) fn from_table(table: &FieldTable) -> Headers {
    table
        .inner()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), from_amqp(value)))
        .collect()
}

fn to_amqp(value: HeaderValue) -> AMQPValue {
    match value {
        HeaderValue::Bool(b) => AMQPValue::Boolean(b),
        HeaderValue::I8(n) => AMQPValue::ShortShortInt(n),
        HeaderValue::U8(n) => AMQPValue::ShortShortUInt(n),
        HeaderValue::I16(n) => AMQPValue::ShortInt(n),
        HeaderValue::U16(n) => AMQPValue::ShortUInt(n),
        HeaderValue::I32(n) => AMQPValue::LongInt(n),
        HeaderValue::U32(n) => AMQPValue::LongUInt(n),
        HeaderValue::I64(n) => AMQPValue::LongLongInt(n),
        HeaderValue::F32(n) => AMQPValue::Float(n),
        HeaderValue::F64(n) => AMQPValue::Double(n),
        HeaderValue::Decimal { scale, value } => {
            AMQPValue::DecimalValue(DecimalValue { scale, value })
        }
        HeaderValue::Text(text) => AMQPValue::LongString(text.into()),
        HeaderValue::TextBytes(bytes) => AMQPValue::LongString(LongString::from(bytes)),
        HeaderValue::ShortText(text) => AMQPValue::ShortString(short(text)),
        HeaderValue::Array(values) => {
            AMQPValue::FieldArray(values.into_iter().map(to_amqp).collect::<Vec<_>>().into())
        }
        HeaderValue::Timestamp(seconds) => AMQPValue::Timestamp(seconds),
        HeaderValue::Table(table) => AMQPValue::FieldTable(to_table(table)),
        HeaderValue::Bytes(bytes) => AMQPValue::ByteArray(bytes.into()),
        HeaderValue::Void => AMQPValue::Void,
    }
}

pub(crate) fn from_amqp(value: &AMQPValue) -> HeaderValue {
    match value {
        AMQPValue::Boolean(b) => HeaderValue::Bool(*b),
        AMQPValue::ShortShortInt(n) => HeaderValue::I8(*n),
        AMQPValue::ShortShortUInt(n) => HeaderValue::U8(*n),
        AMQPValue::ShortInt(n) => HeaderValue::I16(*n),
        AMQPValue::ShortUInt(n) => HeaderValue::U16(*n),
        AMQPValue::LongInt(n) => HeaderValue::I32(*n),
        AMQPValue::LongUInt(n) => HeaderValue::U32(*n),
        AMQPValue::LongLongInt(n) => HeaderValue::I64(*n),
        AMQPValue::Float(n) => HeaderValue::F32(*n),
        AMQPValue::Double(n) => HeaderValue::F64(*n),
        AMQPValue::DecimalValue(d) => HeaderValue::Decimal {
            scale: d.scale,
            value: d.value,
        },
        AMQPValue::ShortString(text) => HeaderValue::ShortText(text.as_str().to_owned()),
        AMQPValue::LongString(text) => match std::str::from_utf8(text.as_bytes()) {
            Ok(text) => HeaderValue::Text(text.to_owned()),
            Err(_) => HeaderValue::TextBytes(text.as_bytes().to_vec()),
        },
        AMQPValue::FieldArray(values) => {
            HeaderValue::Array(values.as_slice().iter().map(from_amqp).collect())
        }
        AMQPValue::Timestamp(seconds) => HeaderValue::Timestamp(*seconds),
        AMQPValue::FieldTable(table) => HeaderValue::Table(from_table(table)),
        AMQPValue::ByteArray(bytes) => HeaderValue::Bytes(bytes.as_slice().to_vec()),
        AMQPValue::Void => HeaderValue::Void,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_the_way_there_and_back() {
        let headers: Headers = [
            ("bool", HeaderValue::Bool(true)),
            ("i8", HeaderValue::I8(-8)),
            ("u8", HeaderValue::U8(8)),
            ("i16", HeaderValue::I16(-16)),
            ("u16", HeaderValue::U16(16)),
            ("i32", HeaderValue::I32(-32)),
            ("u32", HeaderValue::U32(32)),
            ("i64", HeaderValue::I64(-64)),
            ("f32", HeaderValue::F32(0.5)),
            ("f64", HeaderValue::F64(0.25)),
            (
                "decimal",
                HeaderValue::Decimal {
                    scale: 2,
                    value: 314,
                },
            ),
            ("text", HeaderValue::Text("t".into())),
            ("text bytes", HeaderValue::TextBytes(vec![0xff, 0])),
            ("short", HeaderValue::ShortText("s".into())),
            (
                "array",
                HeaderValue::Array(vec![HeaderValue::Void, "x".into()]),
            ),
            ("time", HeaderValue::Timestamp(1)),
            (
                "table",
                HeaderValue::Table(Headers::from([("a".into(), HeaderValue::I64(1))])),
            ),
            ("bytes", HeaderValue::Bytes(vec![1, 2])),
            ("void", HeaderValue::Void),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        assert_eq!(from_table(&to_table(headers.clone())), headers);
    }

    #[test]
    fn long_names_are_cut_at_a_character() {
        let cut = short("ü".repeat(200));
        assert_eq!(cut.as_str().chars().count(), 127);
    }
}
