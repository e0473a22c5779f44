//! Workers that are silent and hold tasks: leases without heartbeats. Only while this process hears the fleet does silence say anything; what it has not
//! heard long enough to know is neither new nor over.

use std::collections::BTreeSet;

use baton_engine::definition::rfc3339;
use baton_messages::Timestamp;
use baton_messages::fleet::HEARTBEAT_MS;
use baton_store::AlertRow;
use serde_json::json;

use super::{Cause, Found, Look};
use crate::alerts::Kind;
use crate::fleet::{SHOWN_MS, WorkerView, Workers};

/// Sagas that are named of one worker.
const SAGAS_MAX: usize = 20;

fn key(worker: &impl std::fmt::Display) -> String {
    format!("silent-worker/{worker}")
}

pub(super) fn find(look: &Look<'_>, workers: &Workers, found: &mut Found) {
    let Some(since) = workers.heard_since(look.now) else {
        found.part(Kind::SilentWorker);
        return;
    };
    let views = workers.all(look.now);
    let silent = views.iter().filter_map(|view| {
        let for_ms = look.now.since_ms(view.heard_at.max(since));
        let silent = for_ms > 3 * HEARTBEAT_MS && !view.running.is_empty();
        silent.then(|| (key(&view.worker), view))
    });
    let (kept, beyond) = look.kept(silent.collect());
    let causes = kept.into_iter();
    let causes = causes.map(|(key, view)| cause(key, view)).collect();
    found.take(Kind::SilentWorker, causes, beyond);
    found.unsure.extend(unsure(look, &views, since));
}

/// Alerts of an earlier process, or of before it was deaf, whose workers have not been heard since: until they would be forgotten nobody knows whether they
/// are silent.
fn unsure(look: &Look<'_>, views: &[WorkerView], since: Timestamp) -> Vec<String> {
    if look.now.since_ms(since) >= SHOWN_MS {
        return Vec::new();
    }
    let heard = views.iter().filter(|view| view.heard_at >= since);
    let heard: BTreeSet<String> = heard.map(|view| key(&view.worker)).collect();
    let alerts = look.known.values();
    let of_workers = |row: &&AlertRow| row.kind == Kind::SilentWorker.as_str();
    let unheard = alerts.filter(of_workers).map(|row| row.key.clone());
    unheard.filter(|key| !heard.contains(key)).collect()
}

fn cause(key: String, view: &WorkerView) -> Cause {
    let (worker, runs) = (&view.worker, view.running.len());
    let since = rfc3339(view.heard_at);
    let sagas = view.running.iter();
    let sagas: BTreeSet<String> = sagas
        .map(|running| running.of.saga.to_string())
        .take(SAGAS_MAX)
        .collect();
    let tasks = if runs == 1 { "task" } else { "tasks" };
    Cause {
        key,
        kind: Kind::SilentWorker,
        title: format!(
            "the worker {worker} has not been heard since {since} and holds {runs} claimed {tasks}"
        ),
        object: "workers".to_owned(),
        command: "baton workers".to_owned(),
        data: json!({ "worker": worker, "heard_at": view.heard_at, "runs": runs, "sagas": sagas }),
        silent: false,
    }
}
