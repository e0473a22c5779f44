//! `baton event` and `baton schedules` against a real orchestrator: what is published is shown with what it caused, a schedule is
//! paused, resumed and fired.

use baton_harness::await_some;
use baton_it::{Cli, SOON, Setup};

const DEFINITION: &str = "saga: alarm
version: 1
on:
  - event: com.example.alarm
    input: { n: \"${ event.data.n }\" }
  - schedule: \"0 3 1 1 *\"
    input: { n: 1 }
input: { type: object, required: [n], properties: { n: { type: integer } } }
steps: [{ id: rest, sleep: 1ms }]
";

/// What `baton` prints; it must do it.
async fn said(baton: &Cli, args: &[&str]) -> String {
    let ran = baton.run(args).await;
    assert_eq!(ran.code, 0, "baton {args:?}: {}{}", ran.out, ran.err);
    ran.out + &ran.err
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_published_and_shown_with_what_it_started() {
    let system = Setup::workers(0).start().await;
    system.api.apply(DEFINITION).await;
    let baton = system.cli();
    let published = said(
        &baton,
        &[
            "event",
            "publish",
            "com.example.alarm",
            "--id",
            "a1",
            "-f",
            "n=2",
        ],
    )
    .await;
    assert!(published.contains("baton event show a1"), "{published}");
    let shown = await_some("the event to have started a saga", SOON, async || {
        let ran = baton.run(&["event", "show", "a1"]).await;
        ran.out.contains("started").then_some(ran.out)
    })
    .await;
    assert!(shown.contains("alarm@1"), "{shown}");
    let listed = said(&baton, &["event", "ls"]).await;
    assert!(listed.contains("1 started"), "{listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_is_paused_resumed_and_fired() {
    let system = Setup::workers(0).start().await;
    system.api.apply(DEFINITION).await;
    let baton = system.cli();
    let listed = said(&baton, &["schedules"]).await;
    assert!(listed.contains("0 3 1 1 *"), "{listed}");
    assert!(!listed.contains("paused"), "{listed}");
    said(&baton, &["schedules", "pause", "alarm"]).await;
    assert!(said(&baton, &["schedules"]).await.contains("paused"));
    said(&baton, &["schedules", "resume", "alarm"]).await;
    assert!(!said(&baton, &["schedules"]).await.contains("paused"));
    let fired = said(&baton, &["schedules", "fire", "alarm"]).await;
    assert!(fired.contains("baton watch "), "{fired}");
    let sagas = system.api.sagas().await;
    let id = sagas[0]["id"].as_str().unwrap_or_default().to_owned();
    system.api.await_status(&id, "completed", SOON).await;
}
