//! The ledger over HTTP, and the faults it can be told to have.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path as InPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::book::{Book, Call, Did, Effect};

/// What the ledger does wrong, on coming calls that match. The first matching fault applies, `times` times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fault {
    /// Matches calls whose key contains this; empty matches all.
    pub key_contains: String,
    /// Matches calls of this direction; none matches both.
    pub direction: Option<Did>,
    /// How many calls it hits before it is used up; 0 is for ever.
    pub times: u32,
    /// Waits this long before the effect.
    pub delay_ms: u64,
    /// Waits this long between the effect and the answer.
    pub delay_after_ms: u64,
    /// Answers 500 and has no effect.
    pub fail: bool,
    /// Has the effect and answers 500.
    pub fail_after_effect: bool,
    /// Has the effect and breaks the connection instead of answering.
    pub drop_after_effect: bool,
}

/// A call with the faults it asks for itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    key: String,
    direction: Did,
    #[serde(default)]
    saga: String,
    #[serde(default)]
    step: String,
    #[serde(default)]
    run: String,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    delay_ms: u64,
    #[serde(default)]
    delay_after_ms: u64,
    #[serde(default)]
    fail: bool,
    #[serde(default)]
    fail_after_effect: bool,
    #[serde(default)]
    drop_after_effect: bool,
}

impl Asked {
    fn split(self) -> (Call, Fault) {
        let fault = Fault {
            delay_ms: self.delay_ms,
            delay_after_ms: self.delay_after_ms,
            fail: self.fail,
            fail_after_effect: self.fail_after_effect,
            drop_after_effect: self.drop_after_effect,
            ..Fault::default()
        };
        let Self {
            key,
            direction,
            saga,
            step,
            run,
            value,
            ..
        } = self;
        (
            Call {
                key,
                direction,
                saga,
                step,
                run,
                value,
            },
            fault,
        )
    }
}

#[derive(Debug)]
struct Shop {
    book: Mutex<Book>,
    faults: Mutex<Vec<Fault>>,
}

impl Shop {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault that hits this call, used up by one.
    fn fault_for(&self, call: &Call) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let hits = |fault: &Fault| {
            call.key.contains(&fault.key_contains)
                && fault.direction.is_none_or(|way| way == call.direction)
        };
        let at = faults.iter().position(hits)?;
        let fault = faults[at].clone();
        match fault.times {
            0 => {}
            1 => drop(faults.remove(at)),
            _ => faults[at].times -= 1,
        }
        Some(fault)
    }
}

/// Serves the book at `path` at an address and port, for ever.
pub async fn serve(path: &Path, at: (Ipv4Addr, u16)) -> Result<()> {
    let book =
        Book::open(path).with_context(|| format!("cannot open the book {}", path.display()))?;
    let shop = Arc::new(Shop {
        book: Mutex::new(book),
        faults: Mutex::default(),
    });
    let router = Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/effects", post(enter))
        .route("/effects/{*key}", get(effect))
        .route("/report", get(report))
        .route("/calls", get(calls))
        .route("/faults", post(add_fault).delete(clear_faults))
        .with_state(shop);
    let listener = tokio::net::TcpListener::bind(at).await;
    let listener = listener.with_context(|| format!("cannot listen on {}:{}", at.0, at.1))?;
    axum::serve(listener, router)
        .await
        .context("the ledger's server ended")
}

async fn enter(State(shop): State<Arc<Shop>>, Json(asked): Json<Asked>) -> Response {
    let (call, own) = asked.split();
    let fault = shop.fault_for(&call).unwrap_or(own);
    pause(fault.delay_ms).await;
    if fault.fail {
        return (
            StatusCode::INTERNAL_SERVER_ERROR,
            "failed as told, without effect\n",
        )
            .into_response();
    }
    let entered = shop.book().enter(call);
    let (changed, effect) = match entered {
        Ok(entered) => entered,
        Err(error) => {
            return (
                StatusCode::INSUFFICIENT_STORAGE,
                format!("not written: {error}\n"),
            )
                .into_response();
        }
    };
    pause(fault.delay_after_ms).await;
    if fault.drop_after_effect {
        // a body that fails before its first byte: the connection breaks with nothing said
        let broken = futures::stream::once(async {
            Err::<Vec<u8>, _>(std::io::Error::other("dropped as told"))
        });
        return Response::new(Body::from_stream(broken));
    }
    if fault.fail_after_effect {
        return (
            StatusCode::INTERNAL_SERVER_ERROR,
            "failed as told, after the effect\n",
        )
            .into_response();
    }
    Json(json!({ "changed": changed, "effect": effect })).into_response()
}

async fn pause(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

async fn effect(State(shop): State<Arc<Shop>>, InPath(key): InPath<String>) -> Json<Effect> {
    Json(shop.book().effect(&key))
}

async fn report(State(shop): State<Arc<Shop>>) -> Json<BTreeMap<String, Effect>> {
    Json(shop.book().effects().clone())
}

async fn calls(State(shop): State<Arc<Shop>>) -> Json<Vec<Call>> {
    Json(shop.book().calls().to_vec())
}

async fn add_fault(State(shop): State<Arc<Shop>>, Json(fault): Json<Fault>) -> Json<()> {
    shop.faults
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(fault);
    Json(())
}

async fn clear_faults(State(shop): State<Arc<Shop>>) -> Json<()> {
    shop.faults
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clear();
    Json(())
}
