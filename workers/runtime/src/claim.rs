//! Holding a task by claim: nobody acts before the orchestrator has committed who does.

use std::time::Duration;

use baton_messages::{GrantAnswer, MessageId, Started};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::clock::now;
use crate::hold::{InHand, act, end, not_run};
use crate::lease::Lease;
use crate::parcel::Said;
use crate::runs::Handle;
use crate::shared::Shared;
use crate::stop::Why;

/// How a claim ended.
enum Asked {
    Granted {
        before: Option<Value>,
        progress: Option<Value>,
    },
    Refused,
    GivenUp(&'static str),
}

/// Claims a task, and acts when it is granted.
pub(crate) async fn claim(shared: &Shared, mut in_hand: InHand) {
    // The lease counts from before the claim is first sent: the orchestrator cannot have begun to count earlier.
    let asked_at = Instant::now();
    let lease = Arc::new(Lease::new(in_hand.task.lease_ms, asked_at));
    let handle = shared
        .runs
        .add(in_hand.task.of.clone(), in_hand.run, Some(lease));
    let answer = ask(shared, &mut in_hand, &handle).await;
    metrics::histogram!("baton_worker_grant_wait_seconds").record(asked_at.elapsed().as_secs_f64());
    match answer {
        Asked::Granted { before, progress } => {
            // The answer may come before the confirm of the asking; it says the same.
            shared.acks.acknowledge(in_hand.answering()).await;
            let task = &mut in_hand.task;
            task.before = before.or_else(|| task.before.take());
            task.progress = progress.or_else(|| task.progress.take());
            act(shared, in_hand, &handle).await;
        }
        Asked::Refused => {
            let mut done = shared.runs.remove(in_hand.run);
            done.extend(in_hand.answering());
            shared.acks.acknowledge(done).await;
        }
        Asked::GivenUp(reason) => end(shared, in_hand, not_run(reason), None).await,
    }
}

/// Asks until there is an answer, or a reason to give up. The delivery is acknowledged as soon as the first asking is confirmed.
async fn ask(shared: &Shared, in_hand: &mut InHand, handle: &Handle) -> Asked {
    let mut answer = shared.runs.await_grant(in_hand.run);
    let again = Duration::from_millis(shared.options.grant_ask_ms);
    let wait_ms = shared
        .options
        .grant_wait_ms_max
        .min(in_hand.task.not_after.since_ms(now()));
    let gives_up = Instant::now() + Duration::from_millis(wait_ms);
    let mut number = 0;
    loop {
        number += 1;
        let sent = publish_started(shared, in_hand, number);
        match or_over(shared, handle, &mut answer, gives_up, sent).await {
            Ok(()) => shared.acks.acknowledge(in_hand.answering()).await,
            Err(asked) => return asked,
        }
        if number > 1 {
            metrics::counter!("baton_worker_grants_asked_again_total").increment(1);
        }
        let pause = tokio::time::sleep(again);
        if let Err(asked) = or_over(shared, handle, &mut answer, gives_up, pause).await {
            return asked;
        }
    }
}

/// `step`, unless an answer or a reason to give up comes first.
async fn or_over(
    shared: &Shared,
    handle: &Handle,
    answer: &mut oneshot::Receiver<GrantAnswer>,
    gives_up: Instant,
    step: impl Future<Output = ()>,
) -> Result<(), Asked> {
    tokio::select! {
        biased;
        why = handle.stop.asked() => Err(Asked::GivenUp(match why {
            Why::Drained => "it was given back",
            Why::Cancelled | Why::TimedOut | Why::LeaseLost => "it was cancelled before it began",
        })),
        () = shared.draining.cancelled() => Err(Asked::GivenUp("it was given back")),
        answer = answer => Err(match answer {
            Ok(GrantAnswer::Granted { before, progress }) => Asked::Granted { before, progress },
            Ok(GrantAnswer::Refused { why }) => {
                refused(handle, why);
                Asked::Refused
            }
            Err(_) => Asked::GivenUp("its worker forgot it"),
        }),
        () = sleep_until(gives_up) => Err(Asked::GivenUp("its claim was not answered")),
        () = step => Ok(()),
    }
}

fn refused(handle: &Handle, why: baton_messages::RefusedWhy) {
    metrics::counter!("baton_worker_grants_refused_total").increment(1);
    tracing::info!(
        saga.id = %handle.of.saga, step = %handle.of.step, attempt = handle.of.attempt,
        "a claim was refused ({why:?}): nothing is done"
    );
}

/// Asks once; ready when the asking is confirmed.
async fn publish_started(shared: &Shared, in_hand: &InHand, number: u32) {
    let at = now();
    let started = Started {
        of: in_hand.task.of.clone(),
        run: in_hand.run,
        worker: shared.options.id.clone(),
        at,
    };
    let id = MessageId::of_report("started", in_hand.run, number);
    let sent = shared
        .lane
        .confirmed(&in_hand.task.inbox, Said::Started(&started), id, at)
        .await;
    if sent.is_err() {
        // The worker is ending: nothing more will come, and the claim is given up by whoever ended it.
        std::future::pending::<()>().await;
    }
}
