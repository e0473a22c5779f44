//! Dead letters as JSON lines, however many: written as they are read, one letter in memory at a time, newest first, with a last line that says how many there are. New ones that
//! come meanwhile are not in it.

use std::collections::VecDeque;
use std::sync::Arc;

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response as Documented, StatusCode as Code};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use baton_driver::StoreError;
use baton_store::letters::WholeLetter;
use baton_store::read::PAGE_ROWS_MAX;
use baton_store::{DeadLetterCursor, DeadLetterFilter, LetterRow, Reader as _};
use futures::stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use super::super::answer::documented;
use super::super::auth::Operator;
use super::super::extract::Query;
use super::super::problem::Answer;
use super::super::{Api, Shared};
use super::Stands;
use super::filter::WhichExported;
use super::line::{End, Line};

/// Why an export breaks off: whoever reads it finds no last line.
type Broken = Box<dyn std::error::Error + Send + Sync>;

/// The media type of JSON lines.
pub(super) const MEDIA_TYPE: &str = "application/x-ndjson";
/// Heads of letters that are read at once.
const PAGE: usize = 200;

/// Lines, as they are read.
pub(crate) struct Lines(Body);

impl IntoResponse for Lines {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, MEDIA_TYPE)], self.0).into_response()
    }
}

impl OperationOutput for Lines {
    type Inner = String;

    fn inferred_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<Code>, Documented)> {
        let schema = ctx.schema.subschema_for::<Line>();
        let response = documented(
            "A line of JSON for each letter, newest first, and a last line `{\"baton_dead_letters_end\": n}`: without it the export is cut off.",
            MEDIA_TYPE,
            schema,
        );
        vec![(Some(Code::Code(200)), response)]
    }
}

/// How far an export is.
struct Export {
    api: Arc<Api>,
    filter: DeadLetterFilter,
    heads: VecDeque<LetterRow>,
    after: Option<DeadLetterCursor>,
    is_last: bool,
    written: u64,
    _permit: OwnedSemaphorePermit,
}

/// Writes them.
pub(crate) async fn export(
    State(api): Shared,
    Operator(caller): Operator,
    Query(which): Query<WhichExported>,
) -> Answer<Lines> {
    let permit = api.streams.one()?;
    // bodies in full, secrets and all
    let object = "dead-letters".to_owned();
    api.seen(&caller, "exportDeadLetters", object).await?;
    let export = Export {
        filter: which.filter(which.state.map(Stands::state)),
        api,
        heads: VecDeque::new(),
        after: None,
        is_last: false,
        written: 0,
        _permit: permit,
    };
    let lines = stream::try_unfold(Some(export), async |export| {
        let Some(mut export) = export else {
            return Ok(None);
        };
        let line = export.next().await?;
        let goes_on = line.is_some();
        let line = match line {
            Some(line) => line,
            None => written(&End {
                baton_dead_letters_end: export.written,
            })?,
        };
        Ok::<_, Broken>(Some((line, goes_on.then_some(export))))
    });
    Ok(Lines(Body::from_stream(lines)))
}

fn written(line: &impl Serialize) -> Result<Bytes, Broken> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(text.into())
}

impl Export {
    /// The next line; none when every letter was written.
    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            if let Some(head) = self.heads.pop_front() {
                // gone meanwhile: it is not in it
                if let Some(line) = self.line(head).await? {
                    self.written += 1;
                    return written(&line).map(Some);
                }
                continue;
            }
            if self.is_last {
                return Ok(None);
            }
            let reader = &self.api.reader;
            let page = reader.dead_letter_heads(self.filter.clone(), self.after, PAGE);
            let page = page.await?.whole("dead letters, to export them")?;
            self.after = page.next;
            self.is_last = page.next.is_none();
            self.heads.extend(page.rows);
        }
    }

    async fn line(&self, head: LetterRow) -> Result<Option<Line>, StoreError> {
        let (reader, id) = (&self.api.reader, head.letter.id);
        let row = if head.is_whole() {
            head
        } else {
            match reader.dead_letters_between(id, id).await?.pop() {
                Some(row) => row,
                None => return Ok(None),
            }
        };
        let mut edits = Vec::new();
        for edition in 1..=row.now.edition {
            edits.extend(reader.dead_letter_edit(id, edition).await?);
        }
        let history = reader.dead_letter_history(id, PAGE_ROWS_MAX).await?;
        Ok(Some(Line::of(WholeLetter {
            row,
            edits,
            history,
        })))
    }
}
