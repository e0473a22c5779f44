//! How far the audit log is, said outside of the store: into a file of this machine, and as an event on the bus. Who cuts off the newest rows, or writes
//! the log anew, cannot take that back.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_bus::{Bus, Sent};
use baton_messages::event::SPECVERSION;
use baton_messages::{AUDIT_HEAD_EVENT, AuditHead, Event};
use baton_store::{AnyAudit, AuditLog as _};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::api::event_message;
use crate::chain::chain;
use crate::clock;

/// What the events say that they come from.
const SOURCE: &str = "/baton/audit";
/// Heads are no secret, and whoever compares them may be another user of the machine.
const MODE: u32 = 0o644;

/// The last row, if there is another one than the one said last.
async fn new_head(log: &AnyAudit, said: Option<u64>) -> Option<AuditHead> {
    match log.head().await {
        Ok(Some(row)) if said != Some(row.seq) => Some(AuditHead {
            seq: row.seq,
            hash: row.hash,
            at: clock::now(),
        }),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the end of the audit log cannot be read; it is looked at again");
            None
        }
    }
}

/// Adds the head to a file, a line each time it is another; a last time at the end.
pub(crate) async fn keep_file(
    log: AnyAudit,
    path: PathBuf,
    every: Duration,
    stop: CancellationToken,
) {
    let mut said = None;
    loop {
        let ends = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(every) => false,
        };
        if let Some(head) = new_head(&log, said).await {
            let seq = head.seq;
            let file = path.clone();
            let added = tokio::task::spawn_blocking(move || add(&file, &head)).await;
            match added {
                Ok(Ok(())) => said = Some(seq),
                Ok(Err(error)) => {
                    tracing::error!(file = %path.display(), %error, "the head of the audit log cannot be written into audit.heads_file; it is tried again");
                }
                Err(error) => tracing::error!(%error, "a part of the audit log failed"),
            }
        }
        if ends {
            return;
        }
    }
}

fn add(path: &Path, head: &AuditHead) -> std::io::Result<()> {
    let mut line = serde_json::to_string(head)?;
    line.push('\n');
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE)
        .open(path)?;
    file.write_all(line.as_bytes())?;
    file.sync_data()
}

/// Publishes the head each time it is another, as an event that whoever keeps watch can keep.
pub(crate) async fn announce(log: AnyAudit, bus: Bus, every: Duration, stop: CancellationToken) {
    let mut said = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        let Some(head) = new_head(&log, said).await else {
            continue;
        };
        let Ok(out) = event_message(event(&head)) else {
            continue;
        };
        // what nobody took is said again, with what came meanwhile
        if let Some(Sent::Confirmed) = bus.publisher().publish(vec![out]).await.pop() {
            said = Some(head.seq);
        }
    }
}

/// The same head is the same event, whoever publishes it.
fn event(head: &AuditHead) -> Event {
    Event {
        specversion: SPECVERSION.to_owned(),
        id: format!("{}-{}", head.seq, head.hash),
        source: SOURCE.to_owned(),
        kind: AUDIT_HEAD_EVENT.to_owned(),
        subject: Some(head.seq.to_string()),
        time: Some(baton_engine::definition::rfc3339(head.at)),
        datacontenttype: Some("application/json".to_owned()),
        dataschema: None,
        data: Some(json!(head)),
        data_base64: None,
        extensions: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entry, store};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_head_is_a_line_each_time_it_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let log = store.audit();
        let path = folder.path().join("heads");
        let lines = || -> Vec<AuditHead> {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        };
        add(
            &path,
            &AuditHead {
                seq: 9,
                hash: "of before".to_owned(),
                at: clock::now(),
            },
        )
        .unwrap();
        let rows = log.append(vec![entry("a"), entry("b")]).await.unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        keep_file(
            log.clone(),
            path.clone(),
            Duration::from_secs(60),
            stop.clone(),
        )
        .await;
        let kept = lines();
        assert_eq!((kept.len(), kept[1].seq), (2, 2));
        assert_eq!(kept[1].hash, rows[1].hash);
        let named = event(&kept[1]);
        assert_eq!(named.id, format!("2-{}", rows[1].hash));
        store.close().await.unwrap();
    }
}
