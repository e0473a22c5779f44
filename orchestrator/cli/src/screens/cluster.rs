//! The orchestrators on one store: a row each, then a row for each partition.

use serde::Deserialize;

use crate::out::{Column, Table, Tone, cell, plain};
use crate::time;

/// What is shown of the cluster.
#[derive(Debug, Deserialize)]
pub(crate) struct Cluster {
    asked: String,
    leader: Option<String>,
    members: Vec<Member>,
    partitions: Vec<Partition>,
    now: u64,
}

#[derive(Debug, Deserialize)]
struct Member {
    name: String,
    version: String,
    alive: bool,
    ready: bool,
    joined_at: u64,
    lease_left_ms: Option<i64>,
    partitions: usize,
}

#[derive(Debug, Deserialize)]
struct Partition {
    partition: u8,
    owner: Option<String>,
    epoch: u64,
    lease_left_ms: Option<i64>,
    unpublished_rows: u64,
}

/// Who is there.
pub(crate) fn members(cluster: &Cluster) -> Table {
    let mut table = Table::new(&[
        Column::new("orchestrator").cut(20),
        Column::new("partitions").right(),
        Column::new("state"),
        Column::new("joined").rank(2).right(),
        Column::new("lease").rank(3).right(),
        Column::new("version").rank(4),
        Column::new("").rank(1),
    ]);
    for member in &cluster.members {
        let (state, tone) = if !member.alive {
            ("gone", Tone::Bad)
        } else if member.ready {
            ("ready", Tone::Good)
        } else {
            ("no broker", Tone::Waits)
        };
        let leads = cluster.leader.as_ref() == Some(&member.name);
        let asked = cluster.asked == member.name;
        let notes = [(leads, "leads"), (asked, "asked")];
        let notes = notes.iter().filter(|(is, _)| *is).map(|(_, word)| *word);
        let notes: Vec<&str> = notes.collect();
        table.row(vec![
            plain(member.name.as_str()),
            plain(member.partitions.to_string()),
            cell(state, tone),
            plain(time::ago(member.joined_at, cluster.now)),
            plain(left(member.lease_left_ms)),
            cell(member.version.as_str(), Tone::Faint),
            cell(notes.join(", "), Tone::Faint),
        ]);
    }
    table
}

/// Who drives what.
pub(crate) fn partitions(cluster: &Cluster) -> Table {
    let mut table = Table::new(&[
        Column::new("partition").right(),
        Column::new("owner").cut(20),
        Column::new("epoch").right(),
        Column::new("lease").rank(2).right(),
        Column::new("unpublished").rank(1).right(),
    ]);
    for one in &cluster.partitions {
        let owner = match &one.owner {
            Some(owner) => plain(owner.as_str()),
            None => cell("nobody", Tone::Bad),
        };
        table.row(vec![
            plain(one.partition.to_string()),
            owner,
            plain(one.epoch.to_string()),
            plain(left(one.lease_left_ms)),
            plain(one.unpublished_rows.to_string()),
        ]);
    }
    table
}

fn left(ms: Option<i64>) -> String {
    match ms {
        None => String::new(),
        Some(ms) => u64::try_from(ms).map_or_else(|_| "over".to_owned(), time::span),
    }
}
