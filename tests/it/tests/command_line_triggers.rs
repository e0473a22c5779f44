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

/// Whoever mistypes a type is told at once that nothing comes of it, instead of being sent to look at nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_nobody_wants_is_said_to_be_so() {
    let system = Setup::workers(0).start().await;
    let wanted = DEFINITION.replace(
        "    input: { n: \"${ event.data.n }\" }\n",
        "    input: { n: \"${ event.data.n }\" }\n    when: ${ event.data.n > 3 }\n",
    );
    let waits = "saga: waits\nversion: 1\nsteps: [{ id: paid, wait: { event: com.example.paid, timeout: 1h } }]\n";
    system.api.apply(&wanted).await;
    system.api.apply(waits).await;
    let baton = system.cli();
    for (kind, n, is_wanted) in [
        ("com.example.alrm", "n=9", false),
        ("com.example.alarm", "n=2", false),
        ("com.example.alarm", "n=9", true),
        // it cannot be used, and is kept to say so
        ("com.example.alarm", "n=ten", true),
        ("com.example.paid", "n=9", true),
    ] {
        let said = said(&baton, &["event", "publish", kind, "--id", n, "-f", n]).await;
        let at = format!("{kind} {n}: {said}");
        assert_eq!(said.contains("no saga wants it"), !is_wanted, "{at}");
        assert_eq!(said.contains("baton event show"), is_wanted, "{at}");
        let next = if is_wanted {
            "what it caused: "
        } else {
            "what is registered: "
        };
        assert!(said.contains(next), "{at}");
    }
}

/// A hook that refuses every request is not registered in silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_without_its_secret_is_warned_of() {
    let system = Setup::workers(0)
        .orchestrator_variable("SECRET_OF_THE_TEST", "0123456789abcdef")
        .orchestrator("hooks.there.secret_env", "SECRET_OF_THE_TEST")
        .orchestrator("hooks.there.scheme", "github")
        .start()
        .await;
    let baton = system.cli();
    for (secret, lacks) in [("there", false), ("gone", true)] {
        let yaml = format!(
            "saga: of-{secret}\nversion: 1\non: [{{ hook: push, secret: {secret} }}]\nsteps: [{{ id: rest, sleep: 1ms }}]\n"
        );
        let file = system.dir().join(format!("{secret}.yaml"));
        std::fs::write(&file, yaml).expect("it can be written");
        let file = file.display().to_string();
        for args in [&["apply", &file][..], &["check", "--online", &file]] {
            let ran = baton.run(args).await.exits(0);
            let warned = ran.err.contains("the hook `push` refuses every request");
            assert_eq!(warned, lacks, "{args:?}: {}", ran.err);
            // wrapped, so that only words are sure to stand together
            assert_eq!(ran.err.contains("[hooks.gone]"), lacks, "{}", ran.err);
        }
        let applied = baton.run(&["apply", &file, "--json"]).await.exits(0).json();
        let said = applied[0]["lacks"].as_array().map(Vec::len);
        assert_eq!(said, Some(usize::from(lacks)), "{applied}");
    }
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
