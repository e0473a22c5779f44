//! The cluster as it is shown: who is there, who drives what, and how far behind.

use aide::axum::routing::get_with;
use axum::Json;
use axum::extract::State;
use baton_messages::{InboxKey, Timestamp};
use baton_store::View;
use schemars::JsonSchema;
use serde::Serialize;

use super::auth::Viewer;
use super::document::says;
use super::extract::{Nothing, Query};
use super::problem::{Answer, Problem};
use super::{Api, Routes, Shared};
use crate::clock;

/// The route.
pub(super) fn routes(routes: Routes) -> Routes {
    routes.api_route(
        "/cluster",
        get_with(
            cluster,
            says(
                "getCluster",
                "fleet",
                "The orchestrators on this store, who drives which partition, and how far what is committed there is published.",
                &[503],
            ),
        ),
    )
}

/// The orchestrators on one store.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Cluster {
    /// The one that was asked.
    asked: String,
    /// Who drives the first partition, and with it what happens once in all: triggers, schedules, dead letters.
    leader: Option<String>,
    /// By name.
    members: Vec<Member>,
    /// By number.
    partitions: Vec<Partition>,
    /// By the clock of the one that was asked.
    now: Timestamp,
}

/// An orchestrator.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Member {
    name: String,
    /// Of its program.
    version: String,
    /// Whether it counts as alive.
    alive: bool,
    /// Whether it reaches the broker. One that does not gives way to those that do.
    ready: bool,
    /// When it came.
    joined_at: Timestamp,
    /// For how long it counts as alive without another word, in milliseconds; below 0: since when it does not. None where there can be no other.
    lease_left_ms: Option<i64>,
    /// How many partitions it drives.
    partitions: usize,
}

/// A part of the sagas.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Partition {
    partition: u8,
    /// Who drives it; none: nobody does now.
    owner: Option<String>,
    /// How often it was taken: what an earlier owner still writes is refused.
    epoch: u64,
    /// For how long it is owned without another word, in milliseconds. None where there can be no other.
    lease_left_ms: Option<i64>,
    /// The queue through which its sagas are told.
    inbox: InboxKey,
    /// Rows of its log.
    log_rows: u64,
    /// How many of them are not known to be published.
    unpublished_rows: u64,
}

/// How the cluster stands.
pub(crate) async fn cluster(
    State(api): Shared,
    Viewer(_): Viewer,
    Query(Nothing {}): Query<Nothing>,
) -> Answer<Json<Cluster>> {
    let now = clock::now();
    let view = api.reader.cluster(&alone(&api, now)).await;
    let view = view.map_err(|error| Problem::store(&error))?;
    Ok(Json(shown(&view, api.me.name.clone(), now)))
}

/// The only member there can be on a file.
fn alone(api: &Api, now: Timestamp) -> baton_store::cluster::Member {
    baton_store::cluster::Member {
        name: api.me.name.clone(),
        version: crate::store::announced(),
        ready: api.health.reaches_the_broker(),
        joined_ms_ago: now.since_ms(api.me.began),
        lease_left_ms: i64::MAX,
    }
}

fn shown(view: &View, asked: String, now: Timestamp) -> Cluster {
    let drives = |name: &str| {
        let partitions = view.partitions.iter();
        partitions
            .filter(|one| one.is_leased() && one.owner == name)
            .count()
    };
    Cluster {
        asked,
        leader: view.owner(0).map(str::to_owned),
        members: view
            .members
            .iter()
            .map(|member| Member {
                name: member.name.clone(),
                version: member.version.clone(),
                alive: member.is_alive(),
                ready: member.ready,
                joined_at: Timestamp(now.0.saturating_sub(member.joined_ms_ago)),
                lease_left_ms: for_a_while(member.lease_left_ms),
                partitions: drives(&member.name),
            })
            .collect(),
        partitions: view
            .partitions
            .iter()
            .map(|one| Partition {
                partition: one.partition.id,
                owner: one.is_leased().then(|| one.owner.clone()),
                epoch: one.partition.epoch,
                lease_left_ms: one.lease_left_ms.and_then(for_a_while),
                inbox: InboxKey::of(one.partition.id),
                log_rows: one.log_seq,
                unpublished_rows: one.log_seq.saturating_sub(one.watermark),
            })
            .collect(),
        now,
    }
}

/// A lease that ends only with the process is none that is counted.
fn for_a_while(left_ms: i64) -> Option<i64> {
    (left_ms < i64::MAX).then_some(left_ms)
}
