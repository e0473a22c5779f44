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
use crate::{clock, metrics};

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

/// Adds the head to a file, a line each time it is another; a last time at the end. Nothing is written behind a head that the log cannot have led to: that line is the evidence.
pub(crate) async fn keep_file(
    log: AnyAudit,
    path: PathBuf,
    every: Duration,
    stop: CancellationToken,
) {
    let mut last = None;
    loop {
        let ends = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(every) => false,
        };
        if let Err(why) = keep(&log, &path, &mut last).await {
            tracing::error!(file = %path.display(), why, "the head of the audit log is not in audit.heads_file, since one of them cannot be read or written; it is tried again");
        }
        if ends {
            return;
        }
    }
}

/// Adds the head, where it is another one than the last. `last`: what the file says last, once it was read.
async fn keep(
    log: &AnyAudit,
    path: &Path,
    last: &mut Option<Option<AuditHead>>,
) -> Result<(), String> {
    let before = match last {
        Some(before) => before,
        None => {
            let file = path.to_owned();
            let read = tokio::task::spawn_blocking(move || last_of(&file)).await;
            let read = read.map_err(|error| error.to_string())?;
            last.insert(read.map_err(|error| error.to_string())?)
        }
    };
    if let Some(before) = before
        && let Some(why) = contradicted(log, before).await?
    {
        metrics::audit_log_contradicted();
        tracing::error!(file = %path.display(), why, "THE AUDIT LOG IS NOT WHAT IT WAS: rows were cut off or written anew; compare with `baton audit verify --head`, and keep this file");
        return Ok(());
    }
    let said = before.as_ref().map(|head| head.seq);
    let Some(head) = new_head(log, said).await else {
        return Ok(());
    };
    let (file, added) = (path.to_owned(), head.clone());
    let added = tokio::task::spawn_blocking(move || add(&file, &added)).await;
    let added = added.map_err(|error| error.to_string())?;
    added.map_err(|error| error.to_string())?;
    *before = Some(head);
    Ok(())
}

/// Why the log cannot be the one that had this head; none where it can.
async fn contradicted(log: &AnyAudit, head: &AuditHead) -> Result<Option<String>, String> {
    let found = log.rows(head.seq.saturating_sub(1), 1).await;
    let found = found.map_err(|error| chain(&error))?;
    let row = found.into_iter().next().filter(|row| row.seq == head.seq);
    Ok(match row {
        None => Some(format!(
            "row {} was its last once, and is not there any more",
            head.seq
        )),
        Some(row) if row.hash != head.hash => {
            Some(format!("row {} is another one than it was", head.seq))
        }
        Some(_) => None,
    })
}

/// The last head in a file that can be read; none where there is no file.
fn last_of(path: &Path) -> std::io::Result<Option<AuditHead>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut lines = text.lines().rev();
    Ok(lines.find_map(|line| serde_json::from_str(line).ok()))
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
        let mut rows = log.append(vec![entry("a")]).await.unwrap();
        let before = new_head(&log, None).await.unwrap();
        add(&path, &before).unwrap();
        rows.extend(log.append(vec![entry("b")]).await.unwrap());
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

    #[tokio::test]
    async fn behind_a_head_that_the_log_has_not_led_to_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let log = store.audit();
        let path = folder.path().join("heads");
        let mut last = None;
        keep(&log, &path, &mut last).await.unwrap();
        assert!(!path.exists(), "there is nothing to say");
        log.append(vec![entry("a"), entry("b")]).await.unwrap();
        keep(&log, &path, &mut last).await.unwrap();
        log.append(vec![entry("c")]).await.unwrap();
        keep(&log, &path, &mut last).await.unwrap();
        keep(&log, &path, &mut last).await.unwrap();
        let kept = std::fs::read_to_string(&path).unwrap();
        assert_eq!(kept.lines().count(), 2, "each once: {kept}");
        let head = last_of(&path).unwrap().unwrap();
        assert_eq!(head.seq, 3);
        let cut = AuditHead {
            seq: 9,
            ..head.clone()
        };
        let another = AuditHead {
            hash: "0".repeat(64),
            ..head
        };
        for (forged, words) in [(cut, "row 9"), (another, "another one")] {
            let why = contradicted(&log, &forged).await.unwrap().unwrap();
            assert!(why.contains(words), "{why}");
            std::fs::write(&path, &kept).unwrap();
            add(&path, &forged).unwrap();
            let before = std::fs::read_to_string(&path).unwrap();
            log.append(vec![entry("d")]).await.unwrap();
            keep(&log, &path, &mut None).await.unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
        }
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_log_that_was_emptied_is_not_taken_for_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let path = folder.path().join("heads");
        let head = AuditHead {
            seq: 2,
            hash: "0".repeat(64),
            at: clock::now(),
        };
        add(&path, &head).unwrap();
        let why = contradicted(&store.audit(), &head).await.unwrap();
        assert!(why.is_some());
        keep(&store.audit(), &path, &mut None).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
        store.close().await.unwrap();
    }
}
