//! The id of a job: read from answers, which are not trusted, and written into addresses, of which it stays one part.

use std::collections::BTreeMap;

use baton_worker::{SecretText, TaskError};
use percent_encoding::percent_decode_str;
use regex::{Regex, RegexBuilder};
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

use super::input::{Find, JobAt, JobHeader};
use crate::automations::http_client::Answer;
use crate::automations::http_words::Body;

/// How long the id of a job may be, in bytes: it becomes a part of addresses.
const JOB_BYTES_MAX: usize = 512;
/// What a pattern may take, compiled, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Stands for the id of the job in addresses.
const JOB: &str = "{job}";
/// Stands for the key of the step in addresses and bodies.
const KEY: &str = "{key}";

/// Reads the id from the answer to a submission.
pub(super) enum JobReader<'a> {
    Body(&'a str),
    Header(&'a str, Option<Regex>),
}

impl<'a> JobReader<'a> {
    /// Made before anything is sent: what cannot be read afterwards is not begun.
    pub(super) fn of(at: &'a JobAt) -> Result<Self, TaskError> {
        let JobHeader { header, pattern } = match at {
            JobAt::Body(pointer) => return Ok(Self::Body(pointer)),
            JobAt::Header(header) => header,
        };
        let compile = |pattern: &String| {
            RegexBuilder::new(pattern)
                .size_limit(PATTERN_BYTES_MAX)
                .build()
                .map_err(|error| misfit(format!("`job.pattern` is no regular expression: {error}")))
        };
        Ok(Self::Header(
            header,
            pattern.as_ref().map(compile).transpose()?,
        ))
    }

    /// The id, or where there is none.
    pub(super) fn read(&self, answer: &Answer) -> Result<String, String> {
        match self {
            Self::Body(pointer) => {
                let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                id_at(&json, pointer).ok_or_else(|| format!("at `{pointer}`"))
            }
            Self::Header(name, pattern) => {
                let value = answer.headers.get(*name).and_then(|v| v.to_str().ok());
                let id = value.and_then(|value| match pattern {
                    Some(pattern) => first_group(pattern, value),
                    None => last_part(value),
                });
                let id = id.filter(|id| is_id(id));
                id.ok_or_else(|| format!("in the header `{name}`"))
            }
        }
    }
}

fn first_group(pattern: &Regex, value: &str) -> Option<String> {
    let found = pattern.captures(value)?;
    let group = found.get(1).or_else(|| found.get(0))?;
    Some(group.as_str().to_owned())
}

/// The last part of the path of an address, whole or not.
fn last_part(value: &str) -> Option<String> {
    let path = value.split(['?', '#']).next()?;
    let path = match path.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => path,
    };
    let part = path.split('/').rfind(|part| !part.is_empty())?;
    let decoded = percent_decode_str(part).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

fn id_at(json: &Value, pointer: &str) -> Option<String> {
    let id = match json.pointer(pointer)? {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        _ => return None,
    };
    is_id(&id).then_some(id)
}

/// As a part of an address, dots alone would lead elsewhere.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= JOB_BYTES_MAX && !matches!(id, "." | "..")
}

/// Whether `find` can find anything, and nothing of others.
pub(super) fn check(find: &Find) -> Result<(), TaskError> {
    if find.match_key || find.url.contains(KEY) {
        return Ok(());
    }
    Err(misfit(format!(
        "`find.url` has no `{KEY}` and `find.match_key` is not set: it would find the jobs of others"
    )))
}

/// The one job with this key in the answer, if there is one, or why that cannot be told.
pub(super) fn found(find: &Find, answer: &Answer, key: &str) -> Result<Option<String>, String> {
    if find.jobs.is_none() && matches!(answer.status, 404 | 410) {
        return Ok(None);
    }
    if !answer.whole {
        return Err("the answer is too long to be read whole".to_owned());
    }
    let json: Value = serde_json::from_slice(&answer.body)
        .map_err(|error| format!("the answer is no JSON: {error}"))?;
    let jobs = match &find.jobs {
        None => std::slice::from_ref(&json),
        Some(at) => match json.pointer(at) {
            Some(Value::Array(jobs)) => jobs.as_slice(),
            // an empty list, as some write it
            Some(Value::Null) => &[],
            _ => return Err(format!("the answer has no list at `{at}`")),
        },
    };
    let mut ours = jobs.iter().filter(|job| !find.match_key || has(job, key));
    match (ours.next(), ours.next()) {
        (None, _) => Ok(None),
        (Some(job), None) => {
            let id = id_at(job, &find.job);
            id.map(Some)
                .ok_or_else(|| format!("the job that was found has no id at `{}`", find.job))
        }
        (Some(_), Some(_)) => Err("there is more than one job".to_owned()),
    }
}

/// Whether this is one of the texts in `value`. No deeper than JSON is read at all.
fn has(value: &Value, key: &str) -> bool {
    match value {
        Value::String(text) => text == key,
        Value::Array(all) => all.iter().any(|one| has(one, key)),
        Value::Object(all) => all.values().any(|one| has(one, key)),
        _ => false,
    }
}

/// The id as a part of the address, so written that it stays one part.
pub(super) fn with_job(url: &str, job: &str) -> String {
    let plain: String = byte_serialize(job.as_bytes()).collect();
    // A space is `+` in a form only.
    url.replace(JOB, &plain.replace('+', "%20"))
}

/// The address with the key, which needs no encoding.
pub(super) fn with_key(url: &str, key: &str) -> String {
    url.replace(KEY, key)
}

/// The body with the key in its texts.
pub(super) fn body_with_key(body: &Body, key: &str) -> Result<Body, TaskError> {
    let fill = |text: &SecretText| -> Result<_, TaskError> {
        Ok(SecretText::text(with_key(text.reveal()?, key)))
    };
    Ok(match body {
        Body::Json(value) => Body::Json(json_with_key(value, key)),
        Body::Text(text) => Body::Text(fill(text)?),
        Body::Form(fields) => {
            let one = |(name, text): (&String, &SecretText)| Ok((name.clone(), fill(text)?));
            let fields: Result<BTreeMap<_, _>, TaskError> = fields.iter().map(one).collect();
            Body::Form(fields?)
        }
    })
}

fn json_with_key(value: &Value, key: &str) -> Value {
    match value {
        Value::String(text) => with_key(text, key).into(),
        Value::Array(all) => all.iter().map(|one| json_with_key(one, key)).collect(),
        Value::Object(all) => {
            let one = |(name, value): (&String, &Value)| (name.clone(), json_with_key(value, key));
            all.iter().map(one).collect()
        }
        other => other.clone(),
    }
}

fn misfit(message: String) -> TaskError {
    TaskError::failed("input-misfit", message)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderMap;
    use serde_json::json;

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.insert(*name, value.parse().unwrap());
        }
        Answer {
            status,
            headers: all,
            body: body.into(),
            whole: true,
        }
    }

    #[test]
    fn an_id_is_read_from_a_header() {
        let read = |at: Value, value: &str| {
            let at: JobAt = serde_json::from_value(at).unwrap();
            let answer = answer(201, &[("location", value)], "");
            JobReader::of(&at).unwrap().read(&answer)
        };
        let location = || json!({ "header": "Location" });
        for (value, id) in [
            ("https://ci.example/queue/item/7/", "7"),
            ("/builds/a%2Fb%20c?view=full#end", "a/b c"),
            ("job:1", "job:1"),
        ] {
            assert_eq!(read(location(), value).unwrap(), id, "{value}");
        }
        for none in [
            "https://ci.example",
            "https://ci.example/",
            "/a/..",
            "/%2e",
            "",
        ] {
            let why = read(location(), none).unwrap_err();
            assert_eq!(why, "in the header `Location`", "{none}");
        }
        let pattern = |text: &str| json!({ "header": "Location", "pattern": text });
        let item = "https://ci.example/queue/item/7/api";
        assert_eq!(read(pattern("/item/([0-9]+)/"), item).unwrap(), "7");
        assert_eq!(read(pattern("item/[0-9]+"), item).unwrap(), "item/7");
        assert!(read(pattern("/job/([0-9]+)/"), item).is_err());
        assert!(read(json!({ "header": "X-Job" }), item).is_err());
        let bad: JobAt = serde_json::from_value(pattern("(")).unwrap();
        let error = JobReader::of(&bad).err().unwrap();
        assert_eq!(
            (error.code(), error.nothing_changed()),
            ("input-misfit", true)
        );
    }

    #[test]
    fn one_job_is_found_or_none_and_everything_else_is_no_answer() {
        let key = "k-1";
        let seen = |find: Value, status: u16, body: &str| {
            let find: Find = serde_json::from_value(find).unwrap();
            found(&find, &answer(status, &[], body), key)
        };
        let one = || json!({ "url": "https://ci.example/{key}", "job": "/id" });
        assert_eq!(seen(one(), 200, r#"{"id":7}"#), Ok(Some("7".to_owned())));
        assert_eq!(seen(one(), 404, "gone"), Ok(None));
        for not_told in ["<html>", "", r#"{"other":7}"#, r#"{"id":""}"#] {
            assert!(seen(one(), 200, not_told).is_err(), "{not_told}");
        }

        let list =
            || json!({ "url": "https://ci.example/?k={key}", "jobs": "/items", "job": "/id" });
        let items = |body: &str| seen(list(), 200, body);
        assert_eq!(items(r#"{"items":[{"id":"a"}]}"#), Ok(Some("a".to_owned())));
        assert_eq!(items(r#"{"items":[]}"#), Ok(None));
        assert_eq!(items(r#"{"items":null}"#), Ok(None));
        for not_told in [
            r#"{"other":[]}"#,
            r#"{"items":[{"name":"a"}]}"#,
            r#"{"items":[{"id":1},{"id":2}]}"#,
        ] {
            assert!(items(not_told).is_err(), "{not_told}");
        }
        // the address of a list is there whether it has anything in it or not
        assert!(seen(list(), 404, "").is_err());

        let among = json!({ "url": "https://ci.example/", "jobs": "", "job": "/number", "match_key": true });
        let body = json!([
            { "number": 1, "actions": [{}, { "parameters": [{ "name": "STEP", "value": "k-10" }] }] },
            { "number": 2, "actions": [{}, { "parameters": [{ "name": "STEP", "value": "k-1" }] }] },
        ]);
        assert_eq!(
            seen(among.clone(), 200, &body.to_string()),
            Ok(Some("2".to_owned()))
        );
        assert_eq!(seen(among, 200, "[]"), Ok(None));

        let mut cut = answer(200, &[], r#"{"items":[]}"#);
        cut.whole = false;
        let find: Find = serde_json::from_value(list()).unwrap();
        assert!(found(&find, &cut, key).is_err());
    }
}
