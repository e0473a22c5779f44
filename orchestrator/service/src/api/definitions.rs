//! Definitions: registered, listed, shown. What is wrong with a document is answered at line and column.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use baton_engine::Definition;
use baton_engine::definition::Diagnostic;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::extract::{Path, Text};
use super::problem::{Answer, Problem};
use super::sagas::COMMIT_WAIT;
use super::{Api, Shared, auth};
use crate::hot::mail::Request;

/// Most parsed definitions kept for showing; beyond it they are read again when asked for.
const KNOWN_MAX: usize = 256;

/// Parsed definitions, for showing. They never change, so they are never stale.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<BTreeMap<(String, u32), Arc<Definition>>>);

impl Api {
    /// A registered definition, parsed.
    pub(super) async fn definition(
        &self,
        name: &str,
        version: u32,
    ) -> Answer<Option<Arc<Definition>>> {
        let key = (name.to_owned(), version);
        if let Some(known) = self.definitions.get(&key) {
            return Ok(Some(known));
        }
        let all = self.reader.definitions().await;
        let all = all.map_err(|error| Problem::store(&error))?;
        let found = all
            .into_iter()
            .find(|row| row.name == name && row.version == version);
        let parsed = found.and_then(|row| Definition::parse(&row.source).ok());
        Ok(parsed.map(|definition| self.definitions.keep(key, definition)))
    }

    /// Registers a definition; the problem is the caller's when other content stands under its name and version.
    pub(super) async fn register(&self, definition: Definition, by: String) -> Answer<()> {
        let (name, version) = (definition.saga.clone(), definition.version);
        let (answer, registered) = oneshot::channel();
        let request = Request::Register {
            definition: Box::new(definition),
            by,
            answer,
        };
        self.send(request)?;
        let named = || format!("{name}@{version}");
        match tokio::time::timeout(COMMIT_WAIT, registered).await {
            Err(_) => Err(Problem::not_committed(named())),
            Ok(Err(_)) => Err(Problem::stopping()),
            Ok(Ok(Err(why))) => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store",
                "The store cannot keep it",
                why,
            )
            .again_after_s(5)),
            Ok(Ok(Ok(false))) => Err(Problem::new(
                StatusCode::CONFLICT,
                "definition-differs",
                "A registered version never changes",
                format!(
                    "{} is registered with other content; give this one the next version",
                    named()
                ),
            )),
            Ok(Ok(Ok(true))) => Ok(()),
        }
    }
}

impl Known {
    fn get(&self, key: &(String, u32)) -> Option<Arc<Definition>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).cloned()
    }

    fn keep(&self, key: (String, u32), definition: Definition) -> Arc<Definition> {
        let definition = Arc::new(definition);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(key, definition.clone());
        definition
    }
}

/// Registers the YAML of the body.
pub(crate) async fn put(
    State(api): Shared,
    headers: HeaderMap,
    Text(body): Text,
) -> Answer<Json<Value>> {
    let definition = Definition::parse(&body).map_err(|wrong| misshapen(&wrong))?;
    let answer = json!({
        "definition": definition.saga,
        "version": definition.version,
        "steps": definition.steps.len(),
    });
    api.register(definition, auth::by(&headers)).await?;
    Ok(Json(answer))
}

fn misshapen(wrong: &[Diagnostic]) -> Problem {
    let detail: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    let diagnostics: Vec<Value> = wrong
        .iter()
        .map(|one| {
            json!({
                "code": one.code, "line": one.line, "column": one.column,
                "message": one.message, "help": one.help,
            })
        })
        .collect();
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "definition",
        "The definition is not right",
        detail.join("\n"),
    )
    .with("diagnostics", Value::Array(diagnostics))
}

/// Every registered definition, without its text.
pub(crate) async fn list(State(api): Shared) -> Answer<Json<Value>> {
    let all = api.reader.definitions().await;
    let all = all.map_err(|error| Problem::store(&error))?;
    let all: Vec<Value> = all
        .into_iter()
        .map(|row| {
            json!({ "definition": row.name, "version": row.version, "at": row.at, "by": row.by })
        })
        .collect();
    Ok(Json(json!({ "definitions": all })))
}

/// The YAML of one, byte for byte.
pub(crate) async fn one(
    State(api): Shared,
    Path((name, version)): Path<(String, u32)>,
) -> Answer<Response> {
    let all = api.reader.definitions().await;
    let all = all.map_err(|error| Problem::store(&error))?;
    all.into_iter()
        .find(|row| row.name == name && row.version == version)
        .map(|row| ([(header::CONTENT_TYPE, "application/yaml")], row.source).into_response())
        .ok_or_else(|| Problem::not_found(format!("{name}@{version} is not registered")))
}
