//! One run from the moment it is entered to the moment it has an end: what it answers, or what is said of it when it is dropped.
//!
//! Everything that can end a run is looked at before the run itself, on every poll. So a run whose lease or time is over takes no further
//! step, however late its process wakes up.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use baton_messages::{Failure, TaskResult};
use futures::FutureExt as _;
use tokio::time::Instant;

use crate::context::Context;
use crate::lease::passed;
use crate::registry::{Given, Served};
use crate::stop::{Stop, Why};

/// How long the end of a dropped run waits for threads that still work for it. They cannot be killed, only waited for; after this long
/// the run is reported all the same, as unknown, which is what it is.
const BLOCKING_WAIT: Duration = Duration::from_secs(5);

/// Within which bounds a run goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// When its time is over.
    pub(crate) ends: Instant,
    /// How long it may still answer after it was asked to stop.
    pub(crate) kill_grace: Duration,
}

/// Enters the automation; returns how it ended.
pub(crate) async fn enter(
    served: &Served,
    context: &Context,
    given: Given,
    stop: &Stop,
    limits: Limits,
) -> TaskResult {
    let ended = {
        let mut run = pin!(AssertUnwindSafe(served.enter(context, given)).catch_unwind());
        // Most tasks answer at once: no timer is made for them.
        match futures::poll!(run.as_mut()) {
            std::task::Poll::Ready(answer) => Some(answer),
            std::task::Poll::Pending => {
                tokio::select! {
                    biased;
                    () = killed(context, limits) => None,
                    () = asked_and_over(context, stop, limits) => None,
                    answer = run => Some(answer),
                }
            }
        }
    };
    match ended {
        Some(Ok(result)) => result,
        Some(Err(panic)) => panicked(context, panic.as_ref()),
        None => {
            context.cancel.cancel();
            context.blocking.close();
            // What is still at work then is part of the unknown.
            let _ = tokio::time::timeout(BLOCKING_WAIT, context.blocking.wait()).await;
            stop.is_asked()
                .unwrap_or_else(|| found_over(context))
                .unknown()
        }
    }
}

/// Ready when the run must not be polled any more, whatever was asked before.
async fn killed(context: &Context, limits: Limits) {
    passed(|| {
        let time = limits.ends + limits.kill_grace;
        context
            .lease
            .as_ref()
            .map_or(time, |lease| lease.kills().min(time))
    })
    .await;
}

/// Asks the run to stop when there is a reason, and is ready when it has had its grace.
async fn asked_and_over(context: &Context, stop: &Stop, limits: Limits) {
    tokio::select! {
        biased;
        _ = stop.asked() => {}
        () = lease_over(context) => stop.ask(Why::LeaseLost),
        () = passed(|| limits.ends) => stop.ask(Why::TimedOut),
    }
    context.cancel.cancel();
    tokio::time::sleep(limits.kill_grace).await;
}

/// What was over already when a stopped process woke up.
fn found_over(context: &Context) -> Why {
    match &context.lease {
        Some(lease) if lease.kills() <= Instant::now() => Why::LeaseLost,
        Some(_) | None => Why::TimedOut,
    }
}

async fn lease_over(context: &Context) {
    match &context.lease {
        Some(lease) => passed(|| lease.ends()).await,
        None => std::future::pending().await,
    }
}

fn panicked(context: &Context, panic: &(dyn std::any::Any + Send)) -> TaskResult {
    let said = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a word".to_owned());
    TaskResult::Unknown(Failure {
        code: "panicked".to_owned(),
        message: format!("the automation panicked: {}", cut(&context.hide(&said))),
        retryable: true,
        retry_after_ms: None,
    })
}

/// A panic's text can be anything; a report stays small.
fn cut(text: &str) -> String {
    const PANIC_CHARS_MAX: usize = 500;
    text.chars().take(PANIC_CHARS_MAX).collect()
}
