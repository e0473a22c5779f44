//! The words in which inputs speak of HTTP: method, credentials, body, what is expected of an answer, and the answer as an output.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use baton_worker::{Masks, SecretText, TaskError};
use bytes::Bytes;
use hyper::Method;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName,
    HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use url::Url;

use super::http_client::{Answer, Ask};

/// What is kept of an answer's body in an output, in bytes: with its headers it fits an output.
pub(crate) const BODY_BYTES_DEFAULT: usize = 16 * 1024;
/// The most that may be asked for.
pub(crate) const BODY_BYTES_MAX: u32 = 32 * 1024;
/// What one header may have in an output, in bytes.
const HEADER_BYTES_MAX: usize = 1024;
/// How many headers an output has at most.
const HEADERS_MAX: usize = 32;

/// Headers of a request that belong to the connection: whoever may set them can make one request look like two.
const OURS: [HeaderName; 7] = [
    HOST,
    CONNECTION,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    TE,
    TRAILER,
    UPGRADE,
];

/// What is done to a resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verb {
    /// Reads it.
    #[default]
    Get,
    /// Reads about it.
    Head,
    /// Hands something in.
    Post,
    /// Puts it in place, whole.
    Put,
    /// Changes a part of it.
    Patch,
    /// Takes it away.
    Delete,
}

impl Verb {
    /// The method itself.
    pub(crate) const fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Head => Method::HEAD,
            Self::Post => Method::POST,
            Self::Put => Method::PUT,
            Self::Patch => Method::PATCH,
            Self::Delete => Method::DELETE,
        }
    }

    /// Whether it changes nothing.
    pub(crate) const fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }

    /// Whether twice is as good as once, by its definition.
    pub(crate) const fn is_repeatable(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete)
    }
}

/// Who asks. Secrets are whole values here, and the text of the header is put together by the worker.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Auth {
    /// `Authorization: Bearer …`
    Bearer(SecretText),
    /// `Authorization: Basic …`
    Basic {
        /// The user's name.
        user: String,
        /// The user's password.
        password: SecretText,
    },
}

/// What is handed in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Body {
    /// As `application/json`.
    Json(#[schemars(extend("x-secret" = true))] Value),
    /// As `text/plain; charset=utf-8`, unless a header says otherwise.
    Text(SecretText),
    /// As `application/x-www-form-urlencoded`.
    Form(BTreeMap<String, SecretText>),
}

/// A request as an input has it.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) verb: Verb,
    pub(crate) url: &'a str,
    pub(crate) headers: &'a BTreeMap<String, SecretText>,
    pub(crate) auth: Option<&'a Auth>,
    pub(crate) body: Option<&'a Body>,
    pub(crate) body_bytes_max: usize,
    pub(crate) redirects_max: u8,
}

impl Wanted<'_> {
    /// The request itself.
    ///
    /// # Errors
    /// A failed attempt when its parts do not fit.
    pub(crate) fn ask(&self) -> Result<Ask, TaskError> {
        let url = Url::parse(self.url)
            .map_err(|error| misfit(format!("`url` is no address: {error}")))?;
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            let (name, value) = header(name, value)?;
            headers.insert(name, value);
        }
        if let Some(auth) = self.auth {
            headers.insert(AUTHORIZATION, authorization(auth)?);
        }
        let body = match self.body {
            Some(body) => body_of(body, &mut headers)?,
            None => Bytes::new(),
        };
        Ok(Ask {
            method: self.verb.method(),
            url,
            confidential: !headers.is_empty(),
            headers,
            body,
            body_bytes_max: self.body_bytes_max,
            redirects_max: self.redirects_max,
        })
    }
}

fn misfit(message: String) -> TaskError {
    TaskError::failed("input-misfit", message)
}

fn header(name: &str, value: &SecretText) -> Result<(HeaderName, HeaderValue), TaskError> {
    let known = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| misfit(format!("{name:?} is no name of a header")))?;
    if OURS.contains(&known) {
        return Err(misfit(format!(
            "the header {name} belongs to the connection and cannot be set"
        )));
    }
    let mut value = HeaderValue::from_str(value.reveal()?)
        .map_err(|_| misfit(format!("the value of the header {name} cannot be sent")))?;
    value.set_sensitive(true);
    Ok((known, value))
}

fn authorization(auth: &Auth) -> Result<HeaderValue, TaskError> {
    let text = match auth {
        Auth::Bearer(token) => format!("Bearer {}", token.reveal()?),
        Auth::Basic { user, password } => {
            let pair = format!("{user}:{}", password.reveal()?);
            format!("Basic {}", BASE64.encode(pair))
        }
    };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| misfit("the credentials of `auth` cannot be sent in a header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn body_of(body: &Body, headers: &mut HeaderMap) -> Result<Bytes, TaskError> {
    let (kind, bytes) = match body {
        Body::Json(value) => {
            let json = serde_json::to_vec(value)
                .map_err(|error| misfit(format!("`body.json` cannot be written: {error}")))?;
            ("application/json", json)
        }
        Body::Text(text) => (
            "text/plain; charset=utf-8",
            text.reveal()?.as_bytes().to_vec(),
        ),
        Body::Form(fields) => {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            for (name, value) in fields {
                form.append_pair(name, value.reveal()?);
            }
            (
                "application/x-www-form-urlencoded",
                form.finish().into_bytes(),
            )
        }
    };
    if !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    Ok(bytes.into())
}

/// What has to be true of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// One of these; any `2xx` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Statuses>,
    /// The body holds this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// The body is JSON, and each of these holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub json: Vec<ExpectJson>,
}

/// One value in a JSON body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectJson {
    /// Where it is: a JSON pointer (RFC 6901) such as `/items/0/state`; the empty text is the whole body.
    #[schemars(regex(pattern = "^(/.*)?$"), length(max = 256))]
    pub at: String,
    /// What it is.
    pub equals: Value,
}

/// One status, or several of which one is enough: `200`, `"2xx"`, `[200, 404]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses(Vec<Status>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    One(u16),
    Class(u16),
}

impl Statuses {
    /// Exactly these.
    #[must_use]
    pub fn of(statuses: &[u16]) -> Self {
        Self(statuses.iter().map(|status| Status::One(*status)).collect())
    }

    fn has(&self, status: u16) -> bool {
        self.0.iter().any(|wanted| match wanted {
            Status::One(one) => *one == status,
            Status::Class(class) => *class == status / 100,
        })
    }
}

impl Status {
    fn of(value: &Value) -> Option<Self> {
        if let Some(number) = value.as_u64() {
            let number = u16::try_from(number).ok()?;
            return (100..600).contains(&number).then_some(Self::One(number));
        }
        let text = value.as_str()?;
        if let Some(class) = text.strip_suffix("xx") {
            let class = class.parse().ok()?;
            return (1..6).contains(&class).then_some(Self::Class(class));
        }
        Self::of(&Value::from(text.parse::<u16>().ok()?))
    }

    fn value(self) -> Value {
        match self {
            Self::One(status) => Value::from(status),
            Self::Class(class) => Value::from(format!("{class}xx")),
        }
    }
}

impl Serialize for Statuses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|status| status.value()))
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = match Value::deserialize(deserializer)? {
            Value::Array(all) => all,
            one => vec![one],
        };
        let read = |value: &Value| {
            Status::of(value).ok_or_else(|| {
                D::Error::custom(format!(
                    "{value} is no status: write 200, or \"2xx\" for all of a class"
                ))
            })
        };
        given.iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

impl JsonSchema for Statuses {
    fn schema_name() -> Cow<'static, str> {
        "Statuses".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = serde_json::json!({
            "anyOf": [
                { "type": "integer", "minimum": 100, "maximum": 599 },
                { "type": "string", "pattern": "^[1-5](xx|[0-9]{2})$" }
            ]
        });
        json_schema!({
            "description": "One status, or several of which one is enough: 200, \"2xx\", [200, 404].",
            "anyOf": [one, { "type": "array", "items": one, "minItems": 1, "maxItems": 32 }]
        })
    }
}

impl Expect {
    /// What is not as expected, if anything is.
    pub(crate) fn misses(&self, answer: &Answer) -> Option<String> {
        let status = answer.status;
        let fits = match &self.status {
            Some(wanted) => wanted.has(status),
            None => status / 100 == 2,
        };
        if !fits {
            return Some(format!("the status is {status}"));
        }
        if let Some(text) = &self.contains
            && !String::from_utf8_lossy(&answer.body).contains(text)
        {
            return Some(format!(
                "status {status}, and the body does not hold {text:?}"
            ));
        }
        if self.json.is_empty() {
            return None;
        }
        let Ok(json) = serde_json::from_slice::<Value>(&answer.body) else {
            return Some(format!("status {status}, and the body is no JSON"));
        };
        self.json.iter().find_map(|wanted| {
            let found = json.pointer(&wanted.at);
            (found != Some(&wanted.equals)).then(|| match found {
                Some(found) => format!("`{}` is {}", wanted.at, short(found)),
                None => format!("`{}` is not there", wanted.at),
            })
        })
    }
}

/// Shown whole or not at all: a part of a secret would not be known for one, and not be masked.
fn short(value: &Value) -> String {
    const SHORT_BYTES: usize = 200;
    let text = value.to_string();
    if text.len() > SHORT_BYTES {
        return format!("another value, of {} bytes", text.len());
    }
    text
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HttpAnswer {
    /// Its status.
    pub status: u16,
    /// Its headers, names in small letters; long ones are left out.
    pub headers: BTreeMap<String, String>,
    /// Its body, where that is JSON; else null.
    pub json: Value,
    /// Its body as text, where it is no JSON; else null.
    pub text: Option<String>,
    /// Whether the body was longer than what is kept of it.
    pub cut: bool,
}

impl HttpAnswer {
    /// What an output keeps of an answer.
    pub(crate) fn of(answer: &Answer, masks: &Masks) -> Self {
        let margin = if answer.whole { 0 } else { masks.longest() };
        let kept = answer.body.len().saturating_sub(margin);
        let body = answer.body.get(..kept).unwrap_or_default();
        let json = serde_json::from_slice(body).ok();
        let text = match json {
            Some(_) => None,
            None if body.is_empty() => None,
            None => Some(String::from_utf8_lossy(body).into_owned()),
        };
        let header = |(name, value): (&HeaderName, &HeaderValue)| {
            let text = String::from_utf8_lossy(value.as_bytes());
            (name.as_str().to_owned(), text.into_owned())
        };
        // A session is a secret of the worker's, not a result.
        let shown = answer
            .headers
            .iter()
            .filter(|(name, _)| **name != hyper::header::SET_COOKIE)
            .filter(|(_, value)| value.len() <= HEADER_BYTES_MAX)
            .take(HEADERS_MAX);
        Self {
            status: answer.status,
            headers: shown.map(header).collect(),
            json: json.unwrap_or(Value::Null),
            text,
            cut: !answer.whole,
        }
    }
}
