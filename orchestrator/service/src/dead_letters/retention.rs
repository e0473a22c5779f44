//! Letters that are resolved or discarded go after a while, where the configuration says so; whoever leads looks at its start and once an hour. Nobody has to be surprised by it: it is in
//! the log and in the audit log, and lists say of each letter when it goes. What is dead or on its way stays, however old.

use std::sync::Arc;
use std::time::Duration;

use baton_messages::{AuditEntry, AuditPhase, Timestamp};
use baton_store::Letters as _;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::audit::{Audit, Which};
use crate::chain::chain;
use crate::clock;
use crate::replay::Replay;

/// How often it is looked for what is old enough.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
/// Letters that go in one transaction: intake and operators wait for it.
const ONCE_MAX: usize = 200;
/// Letters of one action in the audit log, which has a hash over all their ids: they are in memory until then. More are another action, at once.
const ACTION_MAX: usize = 10_000;
/// How it calls itself where people are named.
const ITSELF: &str = "itself";

/// Takes out what is over for longer than `stay_ms`, until `stop`.
pub(crate) async fn expire(
    replay: Replay,
    audit: Arc<Audit>,
    instance: String,
    stay_ms: u64,
    stop: CancellationToken,
) {
    tracing::info!(
        days = stay_ms / 86_400_000,
        stay_ms,
        "dead letters that are resolved or discarded go after that (dead_letters.retention)"
    );
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = look.tick() => {}
        }
        let before = Timestamp(clock::now().0.saturating_sub(stay_ms));
        match all_taken_out(&replay, &audit, &instance, before, &stop).await {
            Ok(0) => {}
            Ok(gone) => tracing::info!(
                letters = gone,
                "dead letters that were resolved or discarded long ago are taken out"
            ),
            Err(why) => {
                tracing::warn!(
                    why,
                    "dead letters that are over could not be taken out; it is tried again in an hour"
                );
            }
        }
    }
}

/// Takes out all that is over since then, in as many actions as that takes.
async fn all_taken_out(
    replay: &Replay,
    audit: &Audit,
    instance: &str,
    before: Timestamp,
    stop: &CancellationToken,
) -> Result<usize, String> {
    let mut gone = 0;
    loop {
        let some = taken_out(replay, audit, instance, before, stop).await?;
        gone += some;
        if some < ACTION_MAX || stop.is_cancelled() {
            return Ok(gone);
        }
    }
}

/// Takes out what is over since then, so many at most, and says so where people look for what was done: before it is begun, and again with which went. What cannot be
/// written down is not done.
async fn taken_out(
    replay: &Replay,
    audit: &Audit,
    instance: &str,
    before: Timestamp,
    stop: &CancellationToken,
) -> Result<usize, String> {
    let any = replay.letters.is_any_over(before).await;
    if !any.map_err(|error| chain(&error))? {
        return Ok(0);
    }
    let begun = entry(instance, before);
    let written = audit.write(begun.clone()).await;
    let asked = written.map_err(|error| error.to_string())?;
    let (mut which, mut failed) = (Which::default(), None);
    while !stop.is_cancelled() && which.count() < ACTION_MAX {
        match replay.letters.expire(before, ONCE_MAX).await {
            Ok(some) => {
                which.add_all(&some);
                if some.len() < ONCE_MAX {
                    break;
                }
            }
            Err(error) => {
                failed = Some(chain(&error));
                break;
            }
        }
    }
    let gone = which.count();
    let done = AuditEntry {
        at: clock::now(),
        phase: AuditPhase::Done,
        of: Some(asked.seq),
        after: Some(json!({ "gone": gone, "failed": failed, "which": which.said() })),
        ..begun
    };
    if let Err(error) = audit.write(done).await {
        tracing::warn!(%error, letters = gone, "how many dead letters were taken out is not in the audit log");
    }
    failed.map_or(Ok(gone), Err)
}

/// That it is begun.
fn entry(instance: &str, before: Timestamp) -> AuditEntry {
    AuditEntry {
        seq: 0,
        prev: String::new(),
        at: clock::now(),
        phase: AuditPhase::Asked,
        of: None,
        action: "expireDeadLetters".to_owned(),
        object: "dead-letters".to_owned(),
        part: None,
        who: ITSELF.to_owned(),
        behalf: None,
        role: ITSELF.to_owned(),
        why: Some("dead_letters.retention".to_owned()),
        from: instance.to_owned(),
        forwarded: None,
        request: uuid::Uuid::now_v7().to_string(),
        instance: instance.to_owned(),
        asked: Some(json!({ "before": before })),
        before: None,
        after: None,
        outcome: None,
        uncounted: None,
    }
}
