//! Carries out what kept events cause: sagas are started, woken, joined, asked to cancel, each through the loop, each committed; then the event is done.
//! Every input has an id that is derived, so that carrying out twice is the same as once.

use std::collections::BTreeMap;

use baton_driver::SubscriptionRow;
use baton_engine::{Input, Refusal, Verdict};
use baton_messages::{InputId, SagaId, Start, StepId};
use baton_store::{Effect, EventRow, Settled, TriggerRef, Triggers as _};
use futures::future::join_all;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::cancels::cancel_sagas;
use super::mended::is_mended;
use super::{Live, Shared, letters};
use crate::chain::chain;
use crate::hot::trial::DEATHS_MAX;

/// Events read at once after a start.
const UNDONE_MAX: usize = 256;
/// Steps asked for at once that wait for one type of event.
const SUBSCRIBERS_MAX: usize = 256;
/// Inputs handed to the loop at once: a full turn.
pub(super) const INPUTS_MAX: usize = 512;

/// Kept events, and who is told when they are done.
#[derive(Default)]
pub(super) struct Carried {
    pub(super) rows: Vec<EventRow>,
    pub(super) done: Vec<oneshot::Sender<()>>,
}

/// The process stops before it is done: whoever starts next does it again.
pub(super) struct Stopping;

/// Carries out until nobody sends any more or the process stops; first what an earlier process had kept and not finished.
pub(super) async fn carry(shared: Shared, mut kept: mpsc::Receiver<Carried>) {
    let Ok(handled) = left_over(&shared).await else {
        return;
    };
    loop {
        let next = tokio::select! {
            () = shared.stop.cancelled() => return,
            next = kept.recv() => next,
        };
        let Some(mut next) = next else { return };
        while next.rows.len() < INPUTS_MAX
            && let Ok(more) = kept.try_recv()
        {
            next.rows.extend(more.rows);
            next.done.extend(more.done);
        }
        let Ok(rows) = still_undone(&shared, next.rows, handled).await else {
            return;
        };
        if carry_out(&shared, rows).await.is_err() {
            return;
        }
        for done in next.done {
            // whoever waited may have ended
            let _ = done.send(());
        }
    }
}

/// Those that are not done by now. What came again while an earlier process' events were carried out was read before those were done, or given up: it may be what
/// killed that process. Such an event is known by its place, up to the last one that was `handled`, and not by when it was received: clocks may be set.
async fn still_undone(
    shared: &Shared,
    rows: Vec<EventRow>,
    handled: u64,
) -> Result<Vec<EventRow>, Stopping> {
    let mut undone = Vec::with_capacity(rows.len());
    for row in rows {
        if row.done || row.seq > handled {
            undone.push(row);
            continue;
        }
        let before = row.seq.saturating_sub(1);
        let now = stubborn(shared, "read", || shared.tables.undone(before, 1)).await?;
        undone.extend(now.into_iter().filter(|now| now.seq == row.seq));
    }
    Ok(undone)
}

/// Nobody counts how often these were tried, so that each batch is tried alone: after a death over it, its events are, one by one. Answers the place of the last.
async fn left_over(shared: &Shared) -> Result<u64, Stopping> {
    let mut after = 0;
    loop {
        let rows = stubborn(shared, "read", || shared.tables.undone(after, UNDONE_MAX)).await?;
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(after);
        };
        after = last.seq;
        tracing::info!(
            events = rows.len(),
            "events that were kept are carried out again"
        );
        let batch = named(&format!("{}-{}", first.seq, last.seq));
        let begun = shared.router.alone(batch, 0).await.ok_or(Stopping)?;
        if begun.deaths == 0 {
            carry_out(shared, rows).await?;
            begun.over();
            continue;
        }
        drop(begun);
        for row in rows {
            one_left_over(shared, row).await?;
        }
        shared.router.alone(batch, 0).await.ok_or(Stopping)?.over();
    }
}

async fn one_left_over(shared: &Shared, row: EventRow) -> Result<(), Stopping> {
    let event = named(&format!("{} {}", row.event.source, row.event.id));
    let begun = shared.router.alone(event, 0).await.ok_or(Stopping)?;
    if begun.deaths < DEATHS_MAX {
        carry_out(shared, vec![row]).await?;
        begun.over();
        return Ok(());
    }
    let error = format!(
        "the orchestrator died {} times while it carried out this event alone; nothing more is done about it",
        begun.deaths
    );
    drop(begun);
    give_up(shared, row, error).await
}

/// What an event causes is not done; it is a dead letter, whole, and done with.
async fn give_up(shared: &Shared, row: EventRow, error: String) -> Result<(), Stopping> {
    letters::keep_deadly(shared, &row.event, &error).await?;
    let mut settled = Settled {
        seq: row.seq,
        effects: row.effects,
        released: Vec::new(),
    };
    for place in 0..settled.effects.len() {
        refuse(&mut settled, place, error.clone());
    }
    let settled = vec![settled];
    stubborn(shared, "written", || shared.tables.settle(settled.clone())).await
}

fn named(what: &str) -> Uuid {
    let of = Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"baton.left-over");
    Uuid::new_v5(&of, what.as_bytes())
}

/// All of it, until it is committed. An event that came twice stands in it twice, which is once.
async fn carry_out(shared: &Shared, rows: Vec<EventRow>) -> Result<(), Stopping> {
    let mut todo: BTreeMap<u64, EventRow> = BTreeMap::new();
    for row in rows {
        if !row.done {
            todo.insert(row.seq, row);
        }
    }
    if todo.is_empty() {
        return Ok(());
    }
    let rows: Vec<EventRow> = todo.into_values().collect();
    let mut settled: BTreeMap<u64, Settled> = rows
        .iter()
        .map(|row| {
            let one = Settled {
                seq: row.seq,
                effects: row.effects.clone(),
                released: Vec::new(),
            };
            (row.seq, one)
        })
        .collect();
    start_all(shared, &rows, &mut settled).await?;
    wake_all(shared, &rows, &mut settled).await?;
    join_sagas(shared, &rows).await?;
    cancel_sagas(shared, &rows, &mut settled).await?;
    letters::keep_refused(shared, &rows, &settled).await?;
    let settled: Vec<Settled> = settled.into_values().collect();
    stubborn(shared, "written", || shared.tables.settle(settled.clone())).await
}

/// Starts first: what joins has to find them.
async fn start_all(
    shared: &Shared,
    rows: &[EventRow],
    settled: &mut BTreeMap<u64, Settled>,
) -> Result<(), Stopping> {
    let mut asked = Vec::new();
    for row in rows {
        for (place, effect) in row.effects.iter().enumerate() {
            if let Effect::Started { of, saga, .. } = effect {
                asked.push((row, place, of, *saga));
            }
        }
    }
    for some in asked.chunks(INPUTS_MAX) {
        let asking = some.iter().map(|(row, _, of, saga)| async move {
            let (version, start) = match start_of(shared, row, of, *saga) {
                Ok(start) => start,
                Err(why) => return Ok(Err(why)),
            };
            let refused = started(shared, start).await?;
            Ok(refused.map_or(Ok(version), Err))
        });
        for ((row, place, ..), answer) in some.iter().zip(join_all(asking).await) {
            let answer = answer?;
            let Some(one) = settled.get_mut(&row.seq) else {
                continue;
            };
            match answer {
                Ok(version) => started_by(one, *place, version),
                Err(error) => refuse(one, *place, error),
            }
        }
    }
    Ok(())
}

/// The start of a saga by an event, or why there is none.
fn start_of(
    shared: &Shared,
    row: &EventRow,
    of: &TriggerRef,
    saga: SagaId,
) -> Result<(u32, Start), String> {
    let live = shared.live.borrow().clone();
    let (version, hit) = live
        .hit(of, &row.event)
        .ok_or_else(|| found_no_more(&live, of))?;
    if version != of.version {
        tracing::warn!(
            definition = %of.definition, planned = of.version, version,
            event.r#type = %row.event.kind, event.id = %row.event.id,
            "the version an event was kept for cannot be used any more; the newest that can starts instead"
        );
    }
    let start = Start {
        id: InputId(saga.0),
        saga,
        definition: of.definition.clone(),
        version: Some(version),
        input: hit.input,
        labels: BTreeMap::new(),
        by: format!("event {}/{}", row.event.kind, row.event.id),
    };
    Ok((version, start))
}

/// Why an event that was kept for a trigger starts nothing.
fn found_no_more(live: &Live, of: &TriggerRef) -> String {
    let TriggerRef {
        definition,
        version,
        trigger,
    } = of;
    let why = match live.definition(definition, *version) {
        Some(_) => "no longer finds in the event what it found when it was kept",
        None => {
            "cannot be read by this version of the orchestrator, and no other version takes its place"
        }
    };
    format!(
        "trigger {trigger} of {definition}@{version} {why}; register a version that can, and publish the event again under a new id"
    )
}

/// The version that started it, where that is another than the planned one.
fn started_by(one: &mut Settled, place: usize, by: u32) {
    if let Some(Effect::Started { of, .. }) = one.effects.get_mut(place) {
        of.version = by;
    }
}

/// Has a saga started; answers why not when it is refused for good.
pub(super) async fn started(shared: &Shared, start: Start) -> Result<Option<String>, Stopping> {
    let named = format!("{}@{}", start.definition, start.version.unwrap_or_default());
    match decided(shared, start.saga, Input::Start(start)).await? {
        Verdict::Refused(refusal) => Ok(Some(format!("{named} was not started: {refusal}"))),
        _ => Ok(None),
    }
}

/// A start that was refused after all, a joining or a cancel: the event keeps the reason, and the key of the start is free.
pub(super) fn refuse(one: &mut Settled, place: usize, error: String) {
    let Some(effect) = one.effects.get_mut(place) else {
        return;
    };
    let of = match effect {
        Effect::Started { of, saga, key } => {
            if let Some(key) = key {
                one.released
                    .push((of.definition.clone(), key.clone(), *saga));
            }
            of.clone()
        }
        Effect::Joined { of, .. } | Effect::AskedToCancel { of, .. } => of.clone(),
        Effect::NothingToCancel { .. } | Effect::Refused { .. } | Effect::Woke { .. } => return,
    };
    *effect = Effect::Refused { of, error };
}

/// Every step that waits for one of these events is told of it; whether it takes it, the engine says.
async fn wake_all(
    shared: &Shared,
    rows: &[EventRow],
    settled: &mut BTreeMap<u64, Settled>,
) -> Result<(), Stopping> {
    let mut by_kind: BTreeMap<&str, Vec<&EventRow>> = BTreeMap::new();
    let live = shared.live.borrow().clone();
    // whoever waited had the first of a mended one
    let may_wake = |row: &&EventRow| live.is_awaited(&row.event.kind) && !is_mended(&row.event);
    for row in rows.iter().filter(may_wake) {
        by_kind.entry(&row.event.kind).or_default().push(row);
    }
    for (kind, rows) in by_kind {
        let mut after: Option<(SagaId, StepId)> = None;
        loop {
            let waiting = stubborn(shared, "read", || {
                let tables = &shared.tables;
                tables.subscribers(kind.to_owned(), after.clone(), SUBSCRIBERS_MAX)
            })
            .await?;
            let Some(last) = waiting.last() else { break };
            after = Some((last.saga, last.step.clone()));
            // one event after the other: the first that fits is the one a step takes
            for row in &rows {
                for woke in wake(shared, row, &waiting).await? {
                    if let Some(one) = settled.get_mut(&row.seq)
                        && !one.effects.contains(&woke)
                    {
                        one.effects.push(woke);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Tells these steps of one event; answers those that took it.
pub(super) async fn wake(
    shared: &Shared,
    row: &EventRow,
    waiting: &[SubscriptionRow],
) -> Result<Vec<Effect>, Stopping> {
    let told = waiting
        .iter()
        .filter(|waits| waits.since <= row.received_at)
        .map(|waits| async move {
            let (saga, step) = (waits.saga, waits.step.clone());
            let input = Input::EventArrived {
                id: InputId::of_arrival(saga, &step, &row.event.source, &row.event.id),
                step: step.clone(),
                event: Box::new(row.event.clone()),
                received_at: row.received_at,
            };
            let verdict = decided(shared, saga, input).await?;
            let took = matches!(verdict, Verdict::Applied | Verdict::Duplicate);
            Ok(took.then_some(Effect::Woke { saga, step }))
        });
    let answers = join_all(told).await;
    let answers: Result<Vec<Option<Effect>>, Stopping> = answers.into_iter().collect();
    Ok(answers?.into_iter().flatten().collect())
}

/// Events that hit a key are written down on the saga that holds it.
async fn join_sagas(shared: &Shared, rows: &[EventRow]) -> Result<(), Stopping> {
    let mut asked = Vec::new();
    for row in rows {
        for effect in &row.effects {
            if let Effect::Joined { of, saga, .. } = effect {
                asked.push((row, of, *saga));
            }
        }
    }
    for some in asked.chunks(INPUTS_MAX) {
        let asking = some.iter().map(|(row, of, saga)| {
            let (source, event) = (row.event.source.clone(), row.event.id.clone());
            let input = Input::Joined {
                id: InputId::of_joined(*saga, of.trigger, &source, &event),
                trigger: of.trigger,
                source,
                event,
            };
            decided(shared, *saga, input)
        });
        for ((_, of, saga), answer) in some.iter().zip(join_all(asking).await) {
            // an ended saga whose window is open takes no more records; the event names it all the same
            if let Verdict::Refused(Refusal::NoSaga) = answer? {
                tracing::warn!(saga.id = %saga, definition = %of.definition, "an event joins a saga that was never started; the event stays kept");
            }
        }
    }
    Ok(())
}

/// Has an input decided and committed, however long that takes.
pub(super) async fn decided(
    shared: &Shared,
    saga: SagaId,
    input: Input,
) -> Result<Verdict, Stopping> {
    let decided = shared.router.decided_at_last(saga, input);
    tokio::select! {
        decided = decided => decided.map_err(|_| Stopping),
        () = shared.stop.cancelled() => Err(Stopping),
    }
}

/// Asks the store until it answers.
pub(super) async fn stubborn<T, F>(
    shared: &Shared,
    what: &'static str,
    mut ask: impl FnMut() -> F,
) -> Result<T, Stopping>
where
    F: Future<Output = Result<T, baton_driver::StoreError>>,
{
    let mut pause = super::AGAIN_MIN;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if pause == super::AGAIN_MIN => {
                tracing::error!(error = %chain(&error), "what triggers keep could not be {what}; it is tried again until it succeeds");
            }
            Err(_) => {}
        }
        if !shared.pause(&mut pause).await {
            return Err(Stopping);
        }
    }
}
