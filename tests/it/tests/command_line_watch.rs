//! `baton` while somebody looks on: an orchestrator that restarts is said and waited for, what happened meanwhile is told, filters hold, clocks go on.

use std::process::Stdio;
use std::time::Duration;

use baton_it::{SOON, Setup, System};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout};

const SLEEPS: &str = "saga: sleeps\nversion: 1\nlabels: { site: \"${ input.site }\" }\nsteps:\n  - id: rest\n    sleep: 1h\n";

/// A `baton` that goes on, with what it says.
struct Watching {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    err: Lines<BufReader<ChildStderr>>,
}

impl Watching {
    fn new(system: &System, args: &[&str]) -> Self {
        let mut command = system.cli().command(args);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("baton can be run");
        let out = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let err = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        Self { child, out, err }
    }
}

/// The first line with these words.
async fn said(lines: &mut Lines<BufReader<impl AsyncRead + Unpin>>, words: &str) -> String {
    let mut all = String::new();
    let found = tokio::time::timeout(SOON, async {
        while let Some(line) = lines.next_line().await.expect("it can be read") {
            if line.contains(words) {
                return Some(line);
            }
            all.push_str(&line);
            all.push('\n');
        }
        None
    });
    match found.await {
        Ok(Some(line)) => line,
        _ => panic!("{words:?} was not said:\n{all}"),
    }
}

async fn start(system: &System, site: &str) -> String {
    let id = system
        .api
        .start("sleeps", &json!({ "site": site }), site)
        .await;
    system.api.await_phase(&id, "rest", "sleeping").await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_is_watched_through_a_restart_of_the_orchestrator() {
    let mut system = Setup::workers(0).start().await;
    system.api.apply(SLEEPS).await;
    let id = start(&system, "one").await;
    let mut one = Watching::new(&system, &["watch", &id]);
    said(&mut one.out, "sleeping").await;
    let mut all = Watching::new(&system, &["watch", "--all"]);
    said(&mut all.err, "watching").await;
    let mut top = Watching::new(&system, &["top", "--watch"]);
    said(&mut top.out, "").await;
    // while it is away longer than a moment
    system.orchestrator().process.kill9();
    for watching in [&mut one, &mut all, &mut top] {
        said(&mut watching.err, "does not answer").await;
    }
    system.orchestrator().process.start_again();
    system.await_ready().await;
    for watching in [&mut one, &mut all, &mut top] {
        said(&mut watching.err, "is back").await;
        assert!(matches!(watching.child.try_wait(), Ok(None)), "it goes on");
    }
    let cancelled = system
        .api
        .act(&id, "cancel", json!({ "reason": "enough" }))
        .await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.body);
    said(&mut one.out, "compensated").await;
    said(&mut all.out, &id[..8]).await;
    let ended = tokio::time::timeout(SOON, one.child.wait()).await;
    let ended = ended
        .expect("it ends with its saga")
        .expect("it can be waited for");
    assert_eq!(ended.code(), Some(3));
}

/// `/v1/watch` gives no numbers: what has changed while nobody could tell is read when the orchestrator is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_while_the_stream_was_lost_is_told() {
    let mut system = Setup::workers(0).start().await;
    system.api.apply(SLEEPS).await;
    system
        .api
        .apply("saga: short\nversion: 1\nsteps:\n  - { id: rest, sleep: 3s }\n")
        .await;
    let mut all = Watching::new(&system, &["watch", "--all", "--json"]);
    let id = baton_harness::await_some("a saga to be told of", SOON, async || {
        let id = system
            .api
            .start("short", &json!({}), &uuid::Uuid::new_v4().to_string())
            .await;
        let line = tokio::time::timeout(Duration::from_millis(500), all.out.next_line()).await;
        line.is_ok().then_some(id)
    })
    .await;
    // it hears of nothing until the saga has ended
    let cli = all.child.id().expect("it runs").to_string();
    let signal = |name: &str| {
        let sent = std::process::Command::new("kill")
            .args([name, &cli])
            .status();
        assert!(sent.expect("kill is there").success());
    };
    signal("-STOP");
    system.orchestrator().process.kill9();
    system.orchestrator().process.start_again();
    system.await_ready().await;
    system.api.await_status(&id, "completed", SOON).await;
    signal("-CONT");
    // it has not heard of it on a stream that went on
    for words in ["does not answer", "is back"] {
        said(&mut all.err, words).await;
    }
    let told = async {
        loop {
            let line = said(&mut all.out, &id).await;
            let row: Value = serde_json::from_str(&line).expect("each line is JSON");
            if row["status"] == "completed" {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, told)
        .await
        .expect("its end is told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_watched_keeps_its_filters() {
    let system = Setup::workers(0).start().await;
    system.api.apply(SLEEPS).await;
    let args = [
        "ls",
        "--watch",
        "--label",
        "site=vienna",
        "--status",
        "compensated",
        "--json",
    ];
    let mut watching = Watching::new(&system, &args);
    // the first that is told proves that somebody listens: it has the label and the status
    let mut n = 0;
    let row = baton_harness::await_some("a change to be told", SOON, async || {
        n += 1;
        for site in ["graz", "vienna"] {
            let input = json!({ "site": site });
            let id = system
                .api
                .start("sleeps", &input, &format!("{site}-{n}"))
                .await;
            let reason = json!({ "reason": "enough" });
            assert_eq!(system.api.act(&id, "cancel", reason).await.status, 200);
        }
        let line = tokio::time::timeout(Duration::from_millis(500), watching.out.next_line()).await;
        line.ok()?.expect("it can be read")
    })
    .await;
    let row: Value = serde_json::from_str(&row).expect("each line is JSON");
    assert_eq!(row["labels"]["site"], "vienna", "{row}");
    assert_eq!(row["status"], "compensated", "{row}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clocks_of_what_is_drawn_go_on_between_changes() {
    let system = Setup::workers(0).start().await;
    system.api.apply(SLEEPS).await;
    let waits =
        "saga: waits\nversion: 1\nsteps:\n  - { id: a, task: acme.paint@1, queue_timeout: 59s }\n";
    system.api.apply(waits).await;
    let id = system.api.start("waits", &json!({}), "w").await;
    system.api.await_phase(&id, "a", "unserved").await;
    let baton = system.cli();
    let seconds = |text: &str, before: &str, after: &str| -> Option<u64> {
        let rest = text.split(before).nth(1)?;
        rest.split(after).next()?.trim().parse().ok()
    };
    let mut one = baton.terminal(100, 24, &["watch", &id]);
    let why = |text: &str| seconds(text, "for ", "s more");
    one.shows("a clock", |text| why(text).is_some()).await;
    let first = why(&one.text());
    one.shows("a later one", |text| why(text) < first).await;
    let mut list = baton.terminal(100, 24, &["ls", "--watch"]);
    let ago = |text: &str| -> Option<u64> {
        let end = text
            .split("s ago")
            .next()
            .filter(|end| end.len() < text.len())?;
        end.rsplit(' ').next()?.parse().ok()
    };
    list.shows("a list", |text| ago(text).is_some()).await;
    let first = ago(&list.text());
    list.shows("a later one", |text| ago(text) > first).await;
}
