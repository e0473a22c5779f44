//! From an alert to the end of its cause at a terminal, by somebody who knows nothing but what is on the screen.

use std::time::{Duration, Instant};

use baton_it::{Cli, Terminal};

use super::*;

/// The narrowest terminal in which somebody should get through.
const COLUMNS: u16 = 80;
/// Letters of the group.
const LETTERS: usize = 12;

/// Types a command as it stood on a screen.
fn types(cli: &Cli, command: &str) -> Terminal {
    let words = command.split(' ').map(|word| word.trim_matches('\''));
    let words: Vec<&str> = words.collect();
    assert_eq!(words[0], "baton", "{command}");
    cli.terminal(COLUMNS, 40, &words[1..])
}

/// What a command that ends by itself leaves on the screen.
async fn screen(cli: &Cli, command: &str) -> String {
    let mut terminal = types(cli, command);
    assert_eq!(terminal.ends().await, 0, "{command}:\n{}", terminal.text());
    terminal.text()
}

/// The first command on a screen that begins so.
#[track_caller]
fn printed(screen: &str, beginning: &str) -> String {
    let from_there = |line: &str| {
        line.find(beginning)
            .map(|at| line[at..].trim_end().to_owned())
    };
    let found = screen.lines().find_map(from_there);
    found.unwrap_or_else(|| panic!("{beginning:?} is not on the screen:\n{screen}"))
}

/// From `baton alerts` to the last letter resolved: each command but the first is one that was printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_alert_to_resolved_by_the_commands_that_are_printed() {
    let system = looking(Setup::workers(0)).start().await;
    system.vhost.declare("orders", "quorum").await;
    let began = Instant::now();
    for n in 0..LETTERS {
        let headers = json!({ "baton-dead-exchange": "", "baton-dead-key": "orders", "baton-dead-queue": "orders" });
        let properties =
            json!({ "message_id": format!("m{n}"), "type": "order", "headers": headers });
        system
            .vhost
            .publish("amq.default", "baton.dead", properties, "{}")
            .await;
    }
    await_until("all of them in one alert", SOON, async || {
        let open = alerts(&system, "open").await;
        open.iter().any(|one| one["data"]["dead"] == LETTERS)
    })
    .await;
    let cli = system.cli();
    let list = screen(&cli, "baton alerts").await;
    assert!(list.contains("12 messages of orders are dead"), "{list}");
    let letters = screen(&cli, &printed(&list, "baton dead ls")).await;
    assert!(letters.matches("order").count() >= LETTERS, "{letters}");
    let one = screen(&cli, &printed(&list, "baton alerts show")).await;
    let seen = screen(&cli, &printed(&one, "baton alerts ack")).await;
    assert!(seen.contains("seen by"), "{seen}");
    let mut replay = types(&cli, &printed(&seen, "baton dead replay"));
    replay
        .shows("the plan, and whether to", |screen| {
            screen.contains("12 dead letters fit") && screen.contains("replay them?")
        })
        .await;
    replay.types(b"y\r").await;
    replay
        .shows("the end", |screen| {
            screen.contains("12 resolved") && screen.contains("done")
        })
        .await;
    assert_eq!(replay.ends().await, 0);
    assert_eq!(
        system.vhost.take("orders", LETTERS + 1).await.len(),
        LETTERS
    );
    await_until("the list to say that it is over", SOON, async || {
        screen(&cli, "baton alerts")
            .await
            .contains("nothing needs anybody")
    })
    .await;
    // from the first message that died to the end of the alert, with all the screens between
    let took = began.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
    let show = printed(&list, "baton alerts show");
    let over = screen(&cli, &show).await;
    assert!(over.contains("stands: over"), "{over}");
    assert!(!over.contains("baton dead replay"), "{over}");
}
