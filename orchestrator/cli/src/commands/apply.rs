//! `baton apply`: registers definitions. Every file is tried, so that all mistakes are seen at once.

use baton_engine::definition::in_order;
use reqwest::Method;
use serde_json::{Value, json};

use super::check::{draw, read};
use super::{items, typed};
use crate::args::Apply;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::Out;
use crate::screens::applied;
use crate::screens::diagnostics::Diagnostic;

pub(crate) async fn apply(client: &Client, apply: &Apply, out: &mut Out) -> Result<Exit, CliError> {
    let mut exit = Exit::Ok;
    let mut all: Vec<Value> = Vec::new();
    let (files, unread) = read(&apply.files);
    for (_, error) in &unread {
        exit = Exit::Error;
        out.error(error);
    }
    let texts: Vec<&str> = files.iter().map(|(_, text)| text.as_str()).collect();
    // what one of them names has to be there before it
    let order = in_order(&texts);
    for (file, text) in order.into_iter().filter_map(|at| files.get(at)) {
        match client
            .send(
                Method::PUT,
                "/v1/definitions",
                "application/yaml",
                text.clone(),
            )
            .await
        {
            Ok(answer) => {
                if !out.wants_json() {
                    draw(&warnings(&answer)?, file, text, out);
                    for line in applied::registered(&answer, text, out.screen.width()) {
                        out.say(&line);
                    }
                    for line in applied::older(&answer, out.screen.width()) {
                        out.say(&line);
                    }
                    lacks(&answer, out);
                }
                all.push(answer);
            }
            Err(CliError::Problem { document, .. })
                if document["errors"].is_array() || document["diagnostics"].is_array() =>
            {
                exit = Exit::Error;
                let list = if document["errors"].is_array() {
                    &document["errors"]
                } else {
                    &document["diagnostics"]
                };
                let wrong: Vec<Diagnostic> = typed(list.clone())?;
                draw(&wrong, file, text, out);
            }
            Err(
                error @ CliError::Problem {
                    status: 401 | 403 | 429 | 503,
                    ..
                },
            ) => return Err(error),
            Err(CliError::Problem {
                status,
                detail,
                next,
                document,
            }) => {
                exit = Exit::Error;
                let detail = format!("{file}: {detail}");
                out.error(&CliError::Problem {
                    status,
                    detail,
                    next,
                    document,
                });
            }
            Err(error) => return Err(error),
        }
    }
    if out.wants_json() {
        out.value(&Value::Array(all));
    }
    Ok(exit)
}

/// What is likely a mistake, and registered all the same.
fn warnings(answer: &Value) -> Result<Vec<Diagnostic>, CliError> {
    typed(json!(items(answer, "warnings")))
}

/// What the orchestrator's configuration lacks for it.
pub(crate) fn lacks(answer: &Value, out: &mut Out) {
    out.screen.flush();
    for line in applied::lacks(answer, out.side.width()) {
        out.side.line(&line);
    }
    out.side.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_likely_a_mistake_is_read_from_the_answer() {
        let one = json!({ "code": "BT0021", "severity": "warning", "line": 4, "column": 19, "width": 0,
            "message": "no worker has announced `acme.paint@1`", "help": "", "source_line": "" });
        let found =
            warnings(&json!({ "definition": "s", "version": 1, "steps": 1, "warnings": [one] }))
                .unwrap();
        assert_eq!((found.len(), found[0].is_error()), (1, false));
        assert!(warnings(&json!({})).unwrap().is_empty());
    }
}
