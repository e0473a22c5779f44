//! Alerts: what needs a person is looked for now and then, kept as one row for each cause, and said on the bus when it comes, now and then while it stays,
//! and when it is gone. Looked after by whoever leads.
//!
//! Guarantee: what is to be said stands in the alert's row before it is said, and is taken out of it after the broker has confirmed it, so that nothing is lost
//! with a process. Said twice it is the same event by its id, whoever says it. An alert about a saga that alerts start is kept and counted and never
//! said on the bus: it cannot feed itself. A storm has bounds: so many alerts of a kind, so many events a minute; beyond them one alert says how many more.

mod causes;
mod decide;
mod say;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use baton_bus::{Bus, Sent};
use baton_driver::StoreError;
use baton_messages::Timestamp;
use baton_store::{AlertRow, AlertState, Alerts as _, AnyAlerts, AnyReader};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::causes::Finder;
use crate::api::event_message;
use crate::chain::chain;
use crate::fleet::Workers;
use crate::triggers::Live;
use crate::types::Types;
use crate::{clock, metrics};

/// Alerts of one kind that are open at once; what is beyond is one alert that says how many there are.
pub(crate) const OPEN_MAX: usize = 50;
/// Alerts that are read to be compared: of every kind as many as may be open, and those that are over and not said yet.
const STANDING_MAX: usize = 600;
/// Events of one look: whoever listens is a person, or sends a mail for each. The others are said at the next ones.
const SAID_MAX: usize = 10;
/// An alert that is over is kept for so long after it was opened; one that was open for longer is forgotten when it is over and that was said.
const KEPT_MS: u64 = 30 * 86_400_000;
/// Alerts that are forgotten in one look.
const FORGOTTEN_MAX: usize = 100;

/// A kind of cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Messages nobody could use, of one cause.
    DeadLetter,
    /// Such a group grows fast.
    GrowingGroup,
    /// A saga waits for a person.
    Parked,
    /// Nobody serves a task type that sagas wait for.
    Unserved,
    /// A saga should have gone on by itself and has not.
    NoProgress,
    /// A worker that holds claimed tasks is silent.
    SilentWorker,
    /// A work item should have been done.
    Overdue,
    /// A work item stayed open and is another's now.
    Escalated,
    /// A replay of dead letters has stopped by itself.
    ReplayStopped,
    /// A definition is wrong by what its task types say, and nobody had announced one of them when it was registered.
    WrongDefinition,
    /// There are more alerts of a kind than are kept one by one.
    Storm,
}

impl Kind {
    /// Every kind.
    pub(crate) const ALL: [Self; 11] = [
        Self::DeadLetter,
        Self::GrowingGroup,
        Self::Parked,
        Self::Unserved,
        Self::NoProgress,
        Self::SilentWorker,
        Self::Overdue,
        Self::Escalated,
        Self::ReplayStopped,
        Self::WrongDefinition,
        Self::Storm,
    ];

    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::DeadLetter => "dead-letter",
            Self::GrowingGroup => "growing-group",
            Self::Parked => "parked",
            Self::Unserved => "unserved",
            Self::NoProgress => "no-progress",
            Self::SilentWorker => "silent-worker",
            Self::Overdue => "overdue",
            Self::Escalated => "escalated",
            Self::ReplayStopped => "replay-stopped",
            Self::WrongDefinition => "wrong-definition",
            Self::Storm => "storm",
        }
    }
}

/// When what is an alert.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// How often it is looked.
    pub(crate) every: Duration,
    /// An alert whose cause stays is said again after so long.
    pub(crate) repeat_ms: u64,
    /// One whose cause comes and goes is said at most so often.
    pub(crate) again_ms: u64,
    /// A group that grows by so many within ten minutes.
    pub(crate) group_grows: u64,
    /// A task type nobody has served for so long.
    pub(crate) unserved_ms: u64,
    /// A saga that should go on by itself and has not for so long.
    pub(crate) no_progress_ms: u64,
    /// What links begin with.
    pub(crate) link: Arc<str>,
}

/// Where to look: derived whenever it is asked for, so that it is the address of today.
pub(crate) fn link(base: &str, object: &str) -> String {
    format!("{base}/v1/{object}")
}

/// What alerts are looked after with.
#[derive(Clone)]
pub(crate) struct Uses {
    pub(crate) alerts: AnyAlerts,
    pub(crate) reader: AnyReader,
    pub(crate) workers: Arc<Workers>,
    pub(crate) types: Arc<Types>,
    pub(crate) live: watch::Receiver<Arc<Live>>,
    pub(crate) bus: Bus,
    pub(crate) rules: Arc<Rules>,
}

/// Looks after alerts until `stop`.
pub(crate) async fn watch(uses: Uses, stop: CancellationToken) {
    let mut finder = Finder::new(&uses);
    let mut said = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(uses.rules.every) => {}
        }
        let looked = look(&uses, &mut finder).await;
        if looked.is_err() {
            metrics::alerts_not_looked();
        }
        match looked {
            Ok(()) => said = false,
            Err(error) if !std::mem::replace(&mut said, true) => {
                tracing::error!(error = %chain(&error), "alerts cannot be looked after; it is tried again");
            }
            Err(_) => {}
        }
    }
    // whoever leads next says how many there are
    metrics::alerts(&BTreeMap::new());
    metrics::dead_operations("stopped", 0);
}

/// One look: what there is, what has become of it, what is to be said.
async fn look(uses: &Uses, finder: &mut Finder) -> Result<(), StoreError> {
    let now = clock::now();
    let standing = uses.alerts.standing(STANDING_MAX).await?;
    finder.leaves_alone(standing.unreadable);
    let mut known: BTreeMap<String, AlertRow> = standing
        .rows
        .into_iter()
        .map(|row| (row.key.clone(), row))
        .collect();
    let found = finder.find(&known, now).await;
    let unknown = found.causes.iter().map(|cause| cause.key.clone());
    let unknown: Vec<String> = unknown.filter(|key| !known.contains_key(key)).collect();
    for row in uses.alerts.keyed(unknown).await? {
        known.insert(row.key.clone(), row);
    }
    let changed = decide::decide(now, &uses.rules, &found, &known);
    if !changed.is_empty() {
        let written: BTreeSet<_> = uses
            .alerts
            .put(changed.clone())
            .await?
            .into_iter()
            .collect();
        for row in changed {
            if written.contains(&row.id) {
                tell(&row);
                known.insert(row.key.clone(), row);
            } else {
                // somebody else has changed it: it is looked at again
                known.remove(&row.key);
            }
        }
    }
    say_all(uses, &known, now).await?;
    count(&known);
    let before = Timestamp(now.0.saturating_sub(KEPT_MS));
    uses.alerts.forget(before, FORGOTTEN_MAX).await
}

/// The log says it as well.
fn tell(row: &AlertRow) {
    match (row.state, row.unsaid) {
        (AlertState::Open, Some(_)) => {
            tracing::warn!(alert = %row.id, kind = row.kind, next = row.command, "{}", row.title);
        }
        (AlertState::Resolved, _) => {
            tracing::info!(alert = %row.id, kind = row.kind, "over: {}", row.title);
        }
        (AlertState::Open, None) => {}
    }
}

/// Publishes what is to be said, oldest first, and writes down that it was.
async fn say_all(
    uses: &Uses,
    known: &BTreeMap<String, AlertRow>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let events = decide::due(known, now).into_iter().filter_map(|row| {
        let event = say::event(row, &uses.rules, now)?;
        Some((row.clone(), event_message(event).ok()?))
    });
    let (rows, out): (Vec<AlertRow>, Vec<_>) = events.take(SAID_MAX).unzip();
    if rows.is_empty() {
        return Ok(());
    }
    let sent = uses.bus.publisher().publish(out).await;
    let mut confirmed = Vec::new();
    for (row, sent) in rows.into_iter().zip(sent) {
        match sent {
            Sent::Confirmed => confirmed.push(decide::said(row, now)),
            // it stays in its row, and is the same event when it is said again
            Sent::NotSent { .. } | Sent::Unknown { .. } | Sent::Returned { .. } | Sent::Nacked => {
                metrics::alert_not_said();
            }
        }
    }
    for row in &confirmed {
        metrics::alert_said(&row.kind);
    }
    uses.alerts.put(confirmed).await.map(drop)
}

fn count(known: &BTreeMap<String, AlertRow>) {
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    for row in known.values().filter(|row| row.state == AlertState::Open) {
        *open.entry(row.kind.as_str()).or_default() += 1;
    }
    metrics::alerts(&open);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_the_object_at_the_address_of_today() {
        let link = link("https://baton.example.com", "dead-letters?group=7");
        assert_eq!(link, "https://baton.example.com/v1/dead-letters?group=7");
    }
}
