//! Server-sent events as they come: `event`, `data`, `id`; comments only prove that somebody is there.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::Response;
use serde_json::Value;

use crate::error::CliError;

/// A heartbeat is due every 15 s: silence for so long means that nobody is there.
const SILENCE: Duration = Duration::from_secs(40);
/// The longest event: some times what a saga may hold; whoever sends more is no orchestrator.
const EVENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// What kind.
    pub(crate) kind: String,
    /// What it says.
    pub(crate) data: Value,
    /// Where to go on after it.
    pub(crate) id: Option<String>,
}

/// A stream of them.
pub(crate) struct Events {
    response: Response,
    url: String,
    reader: Reader,
}

impl Events {
    pub(crate) fn new(response: Response, url: String) -> Self {
        Self {
            response,
            url,
            reader: Reader::default(),
        }
    }

    /// The next one; none when the stream has ended, or nobody is there any more.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, CliError> {
        loop {
            if let Some(event) = self.reader.ready.pop_front() {
                return Ok(Some(event));
            }
            let Ok(heard) = tokio::time::timeout(SILENCE, self.response.chunk()).await else {
                return Ok(None);
            };
            let heard = heard.map_err(|source| CliError::Answer {
                url: self.url.clone(),
                source: source.without_url(),
            })?;
            let Some(bytes) = heard else {
                return Ok(None);
            };
            if !self.reader.take(&bytes) {
                return Err(CliError::Shape {
                    what: "an event without an end".to_owned(),
                });
            }
        }
    }
}

/// From bytes to events (WHATWG HTML, section 9.2).
#[derive(Debug, Default)]
struct Reader {
    rest: Vec<u8>,
    kind: String,
    data: String,
    id: Option<String>,
    ready: VecDeque<Event>,
}

impl Reader {
    /// False when it holds more than any event has.
    fn take(&mut self, bytes: &[u8]) -> bool {
        self.rest.extend_from_slice(bytes);
        let mut begin = 0;
        while let Some(length) = self.rest[begin..].iter().position(|byte| *byte == b'\n') {
            let end = begin + length;
            let line = String::from_utf8_lossy(&self.rest[begin..end]).into_owned();
            self.line(line.trim_end_matches('\r'));
            begin = end + 1;
        }
        self.rest.drain(..begin);
        self.rest.len() + self.data.len() <= EVENT_BYTES_MAX
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            return self.dispatch();
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.kind),
            "id" => self.id = Some(value.to_owned()),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // a comment, or a field of a later version
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        let data = std::mem::take(&mut self.data);
        let kind = std::mem::take(&mut self.kind);
        if data.is_empty() && kind.is_empty() {
            return;
        }
        let data = serde_json::from_str(&data).unwrap_or(Value::String(data));
        let id = self.id.clone();
        self.ready.push_back(Event { kind, data, id });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text = ": heartbeat\r\n\r\nid: 7\nevent: saga\ndata: {\"a\":\ndata: 1}\n\nevent: end\ndata: {}\n\n";
        for size in [1, 2, 7, 1000] {
            let mut reader = Reader::default();
            assert!(text.as_bytes().chunks(size).all(|bytes| reader.take(bytes)));
            let events: Vec<Event> = reader.ready.into_iter().collect();
            assert_eq!(events.len(), 2, "{events:?}");
            assert_eq!(events[0].data, json!({"a": 1}));
            assert_eq!(events[0].id.as_deref(), Some("7"));
            assert_eq!(events[1].kind, "end");
        }
    }
}
