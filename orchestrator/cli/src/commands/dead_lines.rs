//! `baton dead export | import`: dead letters as JSON lines, of any number and size, never more than some of them in memory. An export without its last line is cut off, and is said to be.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use super::dead::filters;
use crate::args::{DeadExport, DeadImport};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::input;
use crate::out::Out;

/// The media type of JSON lines.
const MEDIA_TYPE: &str = "application/x-ndjson";
/// The last line of an export.
const END: &str = "baton_dead_letters_end";
/// Bytes of lines that are sent in one request: each is answered before the next, so that progress is known and a broken line harms no neighbour.
const PART_BYTES: usize = 4 * 1024 * 1024;

pub(crate) async fn export(
    client: &Client,
    asked: &DeadExport,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let mut query = filters(client, &asked.filter).await?;
    if asked.state != "all" {
        query.push(("state", asked.state.clone()));
    }
    let unwritten = |source| CliError::Unwritten { source };
    let mut into: Box<dyn Write> = match &asked.output {
        Some(path) => Box::new(created(path)?),
        None => Box::new(std::io::stdout().lock()),
    };
    let mut pieces = client.stream("/v1/dead-letters/export", &query).await?;
    // the end of what was written: the last line stands in it
    let mut tail = Vec::new();
    let mut lines: u64 = 0;
    while let Some(piece) = pieces.next().await? {
        match into.write_all(&piece) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(Exit::Ok),
            written => written.map_err(unwritten)?,
        }
        lines += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
        tail.extend_from_slice(&piece);
        let last = tail.trim_ascii_end().iter().rposition(|b| *b == b'\n');
        tail.drain(..last.map_or(0, |at| at + 1));
    }
    into.flush().map_err(unwritten)?;
    let said = end_of(&tail);
    if said != Some(lines.saturating_sub(1)) {
        return Err(CliError::Lines {
            what: format!("the export broke off after {lines} lines: it is not whole"),
            next: "the same again".to_owned(),
        });
    }
    out.note(format!("{} dead letters", lines - 1));
    Ok(Exit::Ok)
}

/// A new file that its owner alone may read: bodies hold secrets.
fn created(path: &Path) -> Result<BufWriter<File>, CliError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = File::options()
        .write(true)
        // an export of before is not written over
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.map(BufWriter::new)
        .map_err(|source| CliError::NotMade {
            path: path.display().to_string(),
            source,
        })
}

/// How many letters a last line speaks of.
fn end_of(line: &[u8]) -> Option<u64> {
    let read: Value = serde_json::from_slice(line).ok()?;
    read[END].as_u64()
}

/// What has become of the lines.
#[derive(Debug, Default)]
struct Done {
    lines: u64,
    read: u64,
    added: u64,
    known: u64,
    said: Option<u64>,
}

pub(crate) async fn import(
    client: &Client,
    asked: &DeadImport,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let path = &asked.file;
    let unread = |source| input::unread(path, source);
    let mut from: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        Box::new(BufReader::new(File::open(path).map_err(unread)?))
    };
    let mut done = Done::default();
    let mut part = Vec::new();
    loop {
        let begun = part.len();
        let read = from.read_until(b'\n', &mut part).map_err(unread)?;
        if read == 0 {
            break;
        }
        if let Some(said) = end_of(&part[begun..]) {
            // each request has lines of letters alone: whether all came is reckoned here
            done.said = Some(done.said.unwrap_or_default() + said);
            part[begun..].fill(b' ');
            part.push(b'\n');
        }
        if part.len() >= PART_BYTES {
            send(client, &mut part, &mut done, out).await?;
        }
    }
    send(client, &mut part, &mut done, out).await?;
    let whole = done.said.is_none_or(|said| said == done.read);
    if out.wants_json() {
        out.value(&json!({ "read": done.read, "added": done.added, "known": done.known, "complete": done.said == Some(done.read) }));
    } else {
        out.line(format!(
            "{} dead letters read: {} new, {} known and left as they are",
            done.read, done.added, done.known
        ));
    }
    match done.said {
        None => {
            out.note("it has no last line of an export: whether this is all of it nobody can say")
        }
        Some(said) if !whole => out.note(format!("its last line speaks of {said}")),
        Some(_) => {}
    }
    Ok(if whole { Exit::Ok } else { Exit::Error })
}

async fn send(
    client: &Client,
    part: &mut Vec<u8>,
    done: &mut Done,
    out: &mut Out,
) -> Result<(), CliError> {
    let lines = part.iter().filter(|byte| **byte == b'\n').count() as u64;
    let text = String::from_utf8(std::mem::take(part)).map_err(|_| CliError::Lines {
        what: "it is no text".to_owned(),
        next: "a file of baton dead export".to_owned(),
    })?;
    if text.trim().is_empty() {
        return Ok(());
    }
    let path = "/v1/dead-letters/import";
    let answer = client.send(Method::POST, path, MEDIA_TYPE, text).await;
    let answer = answer.map_err(|error| placed(error, done.lines))?;
    done.lines += lines;
    let of = |name: &str| answer[name].as_u64().unwrap_or_default();
    done.read += of("read");
    done.added += of("added");
    done.known += of("known");
    if !out.wants_json() && done.lines > lines {
        out.note(format!("{} so far", done.read));
    }
    Ok(())
}

/// The line of the file, where the API has counted in its part of it.
fn placed(error: CliError, before: u64) -> CliError {
    match error {
        CliError::Problem {
            document, detail, ..
        } if document["line"].is_u64() => {
            let line = document["line"].as_u64().unwrap_or_default();
            let told = detail.replacen(&format!("line {line} "), "", 1);
            CliError::Lines {
                what: format!("line {}: {told}", before + line),
                next: "baton dead import --help".to_owned(),
            }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_told_from_a_letter() {
        assert_eq!(end_of(br#"{"baton_dead_letters_end":7}"#), Some(7));
        assert_eq!(end_of(br#"{"baton_dead_letter":1}"#), None);
        assert_eq!(end_of(b"no {JSON"), None);
    }
}
