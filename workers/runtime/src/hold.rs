//! One task from the moment a permit is taken for it to the moment its end is handed to the report lane, and the two ways to hold it.
//!
//! - **late** ([`late`]): run, report confirmed, acknowledge. When the worker dies the broker hands the task on.
//! - **claim** ([`claim`]): ask (`started`, confirmed), acknowledge, act only when granted, from then on under a lease.
//!
//! Which of them is said by the task, which has it from its type. One thing more is asked of a late-held task that was delivered before: that a
//! delivery is not marked proves that nobody had it, that it is marked proves nothing, so another worker may be acting on it, or its
//! saga may have moved on since it reported. Such a task asks first, as a claimed one does; so does one that was offered long ago
//! (`ask_after`), so that whoever lost a worker with such a task need not wait long before he takes its effect back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baton_bus::Delivery;
use baton_messages::{Failure, Finished, Hold, RunId, Task, TaskResult, Timestamp};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::claim::claim;
use crate::clock::now;
use crate::context::{Context, Kept};
use crate::entered::{Limits, enter};
use crate::lane::End;
use crate::registry::{Given, Served};
use crate::runs::Handle;
use crate::secret_refs::check;
use crate::shared::Shared;
use crate::sink::Sink;
use crate::stop::Why;
use crate::task_error::TaskError;

/// One task in hand.
pub(crate) struct InHand {
    pub(crate) task: Task,
    pub(crate) run: RunId,
    pub(crate) served: Arc<Served>,
    /// Not yet acknowledged.
    pub(crate) delivery: Option<Delivery>,
    /// Whether somebody answers for the delivery, or has.
    pub(crate) answered: Arc<AtomicBool>,
    pub(crate) permit: OwnedSemaphorePermit,
    /// When it took its permit.
    pub(crate) taken: Instant,
}

impl InHand {
    /// What is to be answered, for whoever does that now.
    pub(crate) fn answering(&mut self) -> Option<Delivery> {
        self.answered.store(true, Ordering::Relaxed);
        self.delivery.take()
    }
}

/// Holds one task to its end.
pub(crate) async fn hold(shared: Arc<Shared>, in_hand: InHand) {
    if let Some(result) = not_entered(&shared, &in_hand) {
        return end(&shared, in_hand, result, None).await;
    }
    match in_hand.task.hold {
        Hold::Late if !delivered_before(&in_hand) && !asks_by_now(&in_hand.task) => {
            late(&shared, in_hand).await
        }
        Hold::Late | Hold::Claim => claim(&shared, in_hand).await,
    }
}

fn delivered_before(in_hand: &InHand) -> bool {
    let delivery = in_hand.delivery.as_ref();
    // of one whose channel is gone the broker has made another delivery, which somebody else may have by now
    delivery.is_none_or(|delivery| {
        delivery.redelivered || delivery.deliveries > 1 || !delivery.is_current()
    })
}

/// Whether what is held late has waited for so long that it asks: whoever takes it back counts on that.
fn asks_by_now(task: &Task) -> bool {
    task.ask_after.is_some_and(|after| now() > after)
}

/// Why this task is not even begun, if there is a reason.
fn not_entered(shared: &Shared, in_hand: &InHand) -> Option<TaskResult> {
    let task = &in_hand.task;
    if now() > task.not_after {
        return Some(not_run("it came too late"));
    }
    if shared.runs.was_cancelled(&task.of) {
        return Some(not_run("it was cancelled before it began"));
    }
    let refused = |code: &str, message: String| {
        Some(TaskResult::Failed(Failure {
            code: code.to_owned(),
            message,
            retryable: false,
            retry_after_ms: None,
        }))
    };
    if let Err(error) = check(&task.input, &in_hand.served.manifest.input) {
        return refused("secret-misplaced", error.to_string());
    }
    let misfit = in_hand.served.misfit(&task.input)?;
    let message = format!("the input does not fit {}: {misfit}", task.task_type);
    refused("input-misfit", message)
}

async fn late(shared: &Shared, in_hand: InHand) {
    let handle = shared.runs.add(in_hand.task.of.clone(), in_hand.run, None);
    act(shared, in_hand, &handle).await;
}

/// Enters the automation and hands its end on. Whether it may act at all is looked at here, last thing.
pub(crate) async fn act(shared: &Shared, mut in_hand: InHand, handle: &Handle) {
    let kill_grace = Duration::from_millis(shared.options.kill_grace_ms);
    let context = context(shared, &mut in_hand, handle);
    if let Some(reason) = may_not_act(&context, handle) {
        return end(shared, in_hand, not_run(reason), None).await;
    }
    let limits = Limits {
        ends: context.ends,
        kill_grace,
    };
    let secrets = &shared.options.secrets;
    let task_type = in_hand.task.task_type.clone();
    let resolved = secrets
        .resolve_in(&context, &task_type, &mut in_hand.task.input)
        .await;
    if let Err(error) = resolved {
        let entered = Entered { at: now(), context };
        let failed = TaskError::from(error).into_result();
        return end(shared, in_hand, failed, Some(entered)).await;
    }
    // A program that is asked for a secret may take its time.
    if let Some(reason) = may_not_act(&context, handle) {
        return end(shared, in_hand, not_run(reason), None).await;
    }
    let task = &mut in_hand.task;
    let given = Given {
        direction: task.act.unwrap_or(task.of.direction),
        input: std::mem::take(&mut task.input),
        output: task.output.take(),
        before: context.before(),
        progress: context.progress(),
    };
    let began = (now(), Instant::now());
    let result = enter(&in_hand.served, &context, given, &handle.stop, limits).await;
    in_hand.served.meter.ended(
        &in_hand.task.task_type,
        in_hand.task.of.direction,
        &result,
        began.1.elapsed(),
    );
    in_hand.served.pace.took(in_hand.taken.elapsed());
    let entered = Entered {
        at: began.0,
        context,
    };
    end(shared, in_hand, result, Some(entered)).await;
}

fn may_not_act(context: &Context, handle: &Handle) -> Option<&'static str> {
    match handle.stop.is_asked() {
        Some(Why::Drained) => return Some("it was given back"),
        Some(_) => return Some("it was cancelled before it began"),
        None => {}
    }
    let lease_over = context
        .lease
        .as_ref()
        .is_some_and(|lease| lease.ends() <= Instant::now());
    if lease_over {
        return Some("its lease was over before it began");
    }
    context.too_late().then_some("it came too late")
}

fn context(shared: &Shared, in_hand: &mut InHand, handle: &Handle) -> Context {
    let task = &mut in_hand.task;
    let kept = Kept {
        before: task.before.take(),
        progress: task.progress.take(),
        ..Kept::default()
    };
    Context {
        of: task.of.clone(),
        run: in_hand.run,
        worker: shared.options.id.clone(),
        idempotency_key: task.idempotency_key,
        fences: std::mem::take(&mut task.fences),
        not_after: match (&handle.lease, task.ask_after) {
            // nobody was asked: it acts by then or not at all
            (None, Some(ask_after)) => task.not_after.min(ask_after),
            _ => task.not_after,
        },
        ends: Instant::now() + Duration::from_millis(task.timeout_ms),
        cancel: CancellationToken::new(),
        lease: handle.lease.clone(),
        kept: std::sync::Mutex::new(kept),
        sink: Sink::Bus {
            lane: shared.lane.clone(),
            inbox: task.inbox.clone(),
        },
        veil: shared.options.secrets.veil().clone(),
        blocking: TaskTracker::new(),
    }
}

/// What is known of a run that was entered.
pub(crate) struct Entered {
    at: Timestamp,
    context: Context,
}

/// Hands the end of a task to the report lane, with its permit and what is still to be acknowledged.
pub(crate) async fn end(
    shared: &Shared,
    mut in_hand: InHand,
    result: TaskResult,
    entered: Option<Entered>,
) {
    let finished_at = now();
    let result = shared.options.secrets.veil().hide_in(result);
    say(&in_hand.task, &result);
    if entered.is_none() {
        in_hand.served.meter.ended(
            &in_hand.task.task_type,
            in_hand.task.of.direction,
            &result,
            Duration::ZERO,
        );
    }
    let (before, progress) = entered
        .as_ref()
        .map_or((None, None), |entered| entered.context.stored());
    let delivery = in_hand.answering();
    let finished = Finished {
        of: in_hand.task.of,
        run: in_hand.run,
        worker: shared.options.id.clone(),
        started: entered.is_some(),
        sole: false,
        result,
        before,
        progress,
        started_at: entered.as_ref().map_or(finished_at, |entered| entered.at),
        finished_at,
    };
    let ended = End {
        finished,
        inbox: in_hand.task.inbox,
        exclusive: in_hand.task.hold == Hold::Claim,
        delivery,
        permit: Some(in_hand.permit),
    };
    shared.lane.end(ended).await;
}

pub(crate) fn not_run(reason: &str) -> TaskResult {
    TaskResult::NotRun {
        reason: reason.to_owned(),
    }
}

/// Only what did not go well is worth a line; the orchestrator shows the rest.
fn say(task: &Task, result: &TaskResult) {
    let (word, what) = match result {
        TaskResult::Succeeded { .. } | TaskResult::Probed(_) => return,
        TaskResult::Failed(failure) => ("failed", format!("{}: {}", failure.code, failure.message)),
        TaskResult::Unknown(failure) => {
            ("unknown", format!("{}: {}", failure.code, failure.message))
        }
        TaskResult::NotRun { reason } => ("not run", reason.clone()),
    };
    tracing::info!(
        saga.id = %task.of.saga, step = %task.of.step, attempt = task.of.attempt,
        direction = %task.of.direction, task.kind = %task.task_type,
        "a task has ended as {word}: {what}"
    );
}
