//! Dead letters from JSON lines, however many: read as they come, a bounded number in each transaction. A letter that is there already stays as it is, so that the same lines sent again
//! add nothing.

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response as Documented, StatusCode as Code};
use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use baton_store::Letters as _;
use baton_store::letters::{Imported, WholeLetter};
use futures::StreamExt as _;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::super::Shared;
use super::super::auth::Admin;
use super::super::extract::{bodies, early, in_time};
use super::super::problem::{Answer, Problem};
use super::export::MEDIA_TYPE;
use super::line::{End, Line};

/// Longest line: a body of sixteen mebibytes, the most a broker takes, in base64, with as much again for edited copies.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Letters of one transaction, and bytes of their lines.
const BATCH_MAX: usize = 100;
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What was imported.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct ImportedLetters {
    /// Letters that were read.
    read: u64,
    /// How many of them are new here.
    added: u64,
    /// How many were here already, and stay as they are.
    known: u64,
    /// Whether the last line of an export was among them, and said as many letters as there were.
    complete: bool,
}

/// The body, as it comes.
pub(crate) struct Incoming(BodyDataStream);

impl<S: Send + Sync> FromRequest<S> for Incoming {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        Ok(Self(Body::into_data_stream(request.into_body())))
    }
}

impl OperationInput for Incoming {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let schema = ctx.schema.subschema_for::<Line>();
        bodies(operation, ctx, [(MEDIA_TYPE, schema)]);
    }

    fn inferred_early_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<Code>, Documented)> {
        early(ctx, &[400, 408])
    }
}

/// Lines out of what comes in pieces.
struct Reader {
    from: BodyDataStream,
    held: Vec<u8>,
    /// Bytes of `held` that were given out, and that were searched for an end.
    given: usize,
    searched: usize,
    number: u64,
}

impl Reader {
    /// The next line that is not empty; none at the end.
    async fn next(&mut self) -> Answer<Option<(u64, Vec<u8>)>> {
        loop {
            let end = self.held[self.searched..].iter().position(|b| *b == b'\n');
            if let Some(end) = end {
                let end = self.searched + end;
                let line = self.held[self.given..end].to_vec();
                (self.given, self.searched) = (end + 1, end + 1);
                self.number += 1;
                if !line.trim_ascii().is_empty() {
                    return Ok(Some((self.number, line)));
                }
                continue;
            }
            self.held.drain(..self.given);
            (self.given, self.searched) = (0, self.held.len());
            if self.held.len() > LINE_BYTES_MAX {
                return Err(unusable(
                    self.number + 1,
                    &format!("is longer than {LINE_BYTES_MAX} bytes"),
                ));
            }
            match in_time(self.from.next()).await? {
                Some(Ok(piece)) => self.held.extend_from_slice(&piece),
                Some(Err(error)) => {
                    return Err(Problem::bad_request(format!("the body broke off: {error}")));
                }
                None if self.held.trim_ascii().is_empty() => return Ok(None),
                // the last line may have no end
                None => self.held.push(b'\n'),
            }
        }
    }
}

fn unusable(number: u64, why: &str) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "line",
        "A line cannot be used",
        format!(
            "line {number} {why}; what stands before it is imported: mend it and send all of it again, nothing is added twice"
        ),
    )
    .with("line", json!(number))
}

/// Reads them.
pub(crate) async fn import(
    State(api): Shared,
    Admin(caller): Admin,
    Incoming(from): Incoming,
) -> Answer<Json<ImportedLetters>> {
    tracing::info!(by = %caller.by(None), "dead letters are imported");
    let mut lines = Reader {
        from,
        held: Vec::new(),
        given: 0,
        searched: 0,
        number: 0,
    };
    let mut done = ImportedLetters::default();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    loop {
        let line = lines.next().await;
        // what was read before a line that cannot be is imported
        let (line, failed) = match line {
            Ok(line) => (line, None),
            Err(problem) => (None, Some(problem)),
        };
        let read = line.map(|(number, line)| (number, line.len(), parsed(&line)));
        let (row, failed) = match read {
            Some((_, len, Ok(Said::Letter(row)))) => {
                bytes += len;
                done.read += 1;
                (Some(row), failed)
            }
            Some((_, _, Ok(Said::End(n)))) => {
                done.complete = n == done.read;
                continue;
            }
            Some((number, _, Err(why))) => (None, Some(unusable(number, &why))),
            None => (None, failed),
        };
        let goes_on = row.is_some();
        batch.extend(row.map(|row| *row));
        if !goes_on || batch.len() >= BATCH_MAX || bytes >= BATCH_BYTES_MAX {
            let added = api.replay.letters.import(std::mem::take(&mut batch)).await;
            let Imported { added, known } = added.map_err(|error| Problem::store(&error))?;
            done.added += added;
            done.known += known;
            bytes = 0;
            let came = json!({ "read": done.read, "added": done.added, "known": done.known });
            caller.said.came(came);
        }
        match failed {
            Some(problem) => return Err(problem.with("imported", json!(done))),
            None if !goes_on => return Ok(Json(done)),
            None => {}
        }
    }
}

enum Said {
    Letter(Box<WholeLetter>),
    End(u64),
}

fn parsed(line: &[u8]) -> Result<Said, String> {
    if let Ok(End {
        baton_dead_letters_end,
    }) = serde_json::from_slice(line)
    {
        return Ok(Said::End(baton_dead_letters_end));
    }
    let line: Line = serde_json::from_slice(line)
        .map_err(|error| format!("is no dead letter of an export: {error}"))?;
    line.letter().map(|letter| Said::Letter(Box::new(letter)))
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use futures::stream;

    use super::*;

    async fn lines(pieces: &[&'static str]) -> Vec<(u64, String)> {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok::<_, std::io::Error>(Bytes::from_static(piece.as_bytes())))
            .collect();
        let from = Body::from_stream(stream::iter(pieces)).into_data_stream();
        let mut reader = Reader {
            from,
            held: Vec::new(),
            given: 0,
            searched: 0,
            number: 0,
        };
        let mut all = Vec::new();
        while let Some((number, line)) = reader.next().await.unwrap() {
            all.push((number, String::from_utf8(line).unwrap()));
        }
        all
    }

    #[tokio::test]
    async fn lines_are_lines_however_they_are_cut() {
        let expected = vec![
            (1, "one".to_owned()),
            (3, "three".to_owned()),
            (4, "4".to_owned()),
        ];
        assert_eq!(lines(&["one\n\nthree\n4"]).await, expected);
        assert_eq!(
            lines(&["o", "ne\n", "\nthr", "ee", "\n4\n", "\n"]).await,
            expected
        );
        assert!(lines(&["\n\n"]).await.is_empty());
    }

    #[test]
    fn what_is_no_letter_is_said_so() {
        for line in ["{}", "no {JSON", r#"{"baton_dead_letter":2}"#] {
            assert!(parsed(line.as_bytes()).is_err(), "{line}");
        }
        assert!(matches!(
            parsed(br#"{"baton_dead_letters_end":7}"#),
            Ok(Said::End(7))
        ));
    }
}
