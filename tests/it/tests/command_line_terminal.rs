//! `baton` in a terminal, as a person sees it: progress drawn over itself, Ctrl-C, questions, colours, windows of every width.

use std::time::Duration;

use baton_harness::await_until;
use baton_it::sagas::Saga;
use baton_it::{SOON, Setup, System};

const CTRL_C: &[u8] = &[3];

async fn system(sagas: &[&Saga]) -> System {
    let system = Setup::workers(1).start().await;
    system.apply(sagas).await;
    system.await_served("test.effect@1").await;
    system
}

fn sleeps() -> Saga {
    Saga::named("sleeps")
        .effect("first", "")
        .step("  - id: rest\n    sleep: 1h\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_while_waiting_detaches_and_the_saga_goes_on() {
    let system = system(&[&sleeps()]).await;
    let baton = system.cli();
    let mut terminal = baton.terminal(80, 24, &["run", "sleeps", "-f", "name=c", "--wait"]);
    terminal
        .shows("the sleeping step", |text| {
            text.contains("rest") && text.contains("sleeping") && text.contains("✓  first")
        })
        .await;
    terminal.types(CTRL_C).await;
    assert_eq!(terminal.ends().await, 130, "{}", terminal.text());
    let text = terminal.text();
    assert!(text.contains("the saga goes on"), "{text}");
    assert!(text.contains("baton watch "), "{text}");
    // the beginning of its id, as it was shown, finds it again; and it runs
    let id = text
        .split("baton watch ")
        .nth(1)
        .map(|rest| rest[..8].to_owned());
    let id = id.expect("it says how to go on watching");
    let shown = baton.run(&["show", &id, "--json"]).await.exits(0).json();
    assert_eq!(shown["status"], "running");

    let mut again = baton.terminal(160, 40, &["watch", &id]);
    again
        .shows("the saga", |text| text.contains("sleeping"))
        .await;
    baton.run(&["cancel", &id, "-m", "enough"]).await.exits(0);
    assert_eq!(again.ends().await, 3, "{}", again.text());
    assert!(again.text().contains("compensated"), "{}", again.text());
}

/// The first token is for whoever sits at the terminal at the first start, and for nobody later; no log ever has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_token_is_shown_at_the_first_start_alone_and_in_no_log() {
    let system = Setup::workers(0).start_without_orchestrator().await;
    let (data, log) = (system.dir().join("own-data"), system.dir().join("own.log"));
    let runs = || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.matches("the orchestrator runs").count()
    };
    let mut shown = Vec::new();
    for start in 1..=2 {
        let mut terminal = system.orchestrator_in_a_terminal(&data, &log);
        await_until("it to run", SOON, async || runs() == start).await;
        terminal.types(CTRL_C).await;
        assert_eq!(terminal.ends().await, 0, "{}", terminal.text());
        shown.push(terminal.written());
    }
    let token = std::fs::read_to_string(data.join("token")).expect("it was made");
    let token = token.trim();
    assert!(token.len() >= 40);
    assert!(shown[0].contains("shown this once"), "{}", shown[0]);
    assert_eq!(shown[0].matches(token).count(), 1, "{}", shown[0]);
    assert!(!shown[1].contains(token), "{}", shown[1]);
    assert!(!shown[1].contains("the token"), "{}", shown[1]);
    let log = std::fs::read_to_string(&log).expect("there is a log");
    assert!(log.contains("the token `admin` of the HTTP API was made"));
    assert!(!log.contains(token), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_drawn_over_itself_at_every_width() {
    let row = Saga::named("row")
        .effect("one", ", delay_before_ms: 300")
        .effect("two", ", delay_before_ms: 300")
        .effect("three", "");
    let system = system(&[&row]).await;
    let baton = system.cli();
    for (columns, name) in [(60, "narrow"), (80, "usual"), (160, "wide")] {
        let field = format!("name={name}");
        let args = ["run", "row", "-f", &field, "--wait", "--timeout", "50"];
        let mut terminal = baton.terminal(columns, 24, &args);
        assert_eq!(terminal.ends().await, 0, "{}", terminal.text());
        let text = terminal.text();
        for word in ["completed", "one", "two", "three"] {
            assert_eq!(
                text.matches(word).count(),
                1,
                "{word} at {columns} columns:\n{text}"
            );
        }
        let written = terminal.written();
        assert!(
            written.contains("\u{1b}[J"),
            "nothing was drawn over: {written:?}"
        );
        assert!(
            written.contains("\u{1b}[32m"),
            "no colours on a terminal: {written:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_asked_before_what_cannot_be_taken_back() {
    let system = system(&[&sleeps()]).await;
    let baton = system.cli();
    let id = system.run("sleeps", "q").await;
    system.api.await_phase(&id, "rest", "sleeping").await;
    let mut terminal = baton.terminal(80, 24, &["abandon", &id, "-m", "enough"]);
    terminal
        .shows("the question", |text| text.contains("[y/N]"))
        .await;
    terminal.types(b"n\n").await;
    assert_eq!(terminal.ends().await, 1);
    assert!(
        terminal.text().contains("nothing was done"),
        "{}",
        terminal.text()
    );
    assert_eq!(system.api.status(&id).await, "running");
    let mut terminal = baton.terminal(80, 24, &["abandon", &id, "-m", "enough"]);
    terminal
        .shows("the question", |text| text.contains("[y/N]"))
        .await;
    terminal.types(b"y\n").await;
    assert_eq!(terminal.ends().await, 0, "{}", terminal.text());
    system
        .api
        .await_status(&id, "abandoned", Duration::from_secs(30))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_color_means_none_and_a_plain_flag_too() {
    let system = system(&[]).await;
    for args in [["ls", "--no-color"], ["--help", "--no-color"]] {
        let mut terminal = system.cli().terminal(80, 60, &args);
        assert_eq!(terminal.ends().await, 0, "{}", terminal.text());
        assert!(
            !terminal.written().contains("\u{1b}["),
            "{args:?}: {:?}",
            terminal.written()
        );
    }
}
