//! A task type is announced only after a definition that names it was registered, and is not what the definition takes it for: whoever looks sees it, and somebody
//! is told.

use super::kinds::is_heard;
use super::*;

const EARLY: &str = "saga: early\nversion: 1\nsteps:\n  - id: a\n    task: test.echo@1\n    with: { value: 1, sleep_ms: soon }\n";
const KEY: &str = "wrong-definition/early";

/// What the checker says of a definition now.
async fn checked(system: &System, path: &str) -> Vec<String> {
    let answer = system.api.get(path).await;
    let word = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    let all = answer["diagnostics"].as_array().unwrap().iter();
    all.map(|one| format!("{} {}", word(one, "severity"), word(one, "code")))
        .collect()
}

#[tokio::test]
async fn a_definition_that_does_not_fit_a_type_announced_later_is_an_alert_until_it_is_mended() {
    let mut system = looking(Setup::workers(0)).start().await;
    system.api.apply(&hears(SLEEPS)).await;
    system.api.apply(EARLY).await;
    let path = "/v1/definitions/early";
    assert_eq!(checked(&system, path).await, ["warning BT0021"]);
    looked(&system, "before").await;
    assert_eq!(heard_of(&system, KEY).await, [""; 0]);

    system.add_worker(&[]);
    system.await_served("test.echo@1").await;
    assert_eq!(checked(&system, path).await, ["error BT0020"]);
    let wrong = alert(&system, "wrong-definition", "open").await;
    assert_eq!(wrong["key"], KEY, "{wrong}");
    let command = "baton definitions show early@1";
    assert_eq!(wrong["command"], command, "{wrong}");
    let (code, line) = (&wrong["data"]["code"], &wrong["data"]["line"]);
    assert_eq!((code, line), (&json!("BT0020"), &json!(6)), "{wrong}");
    let cli = system.cli();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let shown = cli.run(&words).await.exits(0);
    assert_eq!(shown.out, EARLY, "byte for byte: it may go into a file");
    assert!(shown.err.contains("error[BT0020]"), "{}", shown.err);
    assert!(shown.err.contains("early@1:6:"), "{}", shown.err);
    let json = cli.run(&["definitions", "show", "early", "--json"]).await;
    let json = json.exits(0).json();
    assert_eq!(json["diagnostics"][0]["severity"], "error", "{json}");

    // whoever leads next has looked at nothing yet: what was wrong is
    is_heard(&system, KEY, &["opened"]).await;
    system.orchestrator().kill9_and_start();
    system.await_ready().await;
    looked(&system, "leader").await;
    assert_eq!(heard_of(&system, KEY).await, ["opened"]);

    let mended = EARLY.replace("version: 1", "version: 2");
    system.api.apply(&mended.replace("soon", "1")).await;
    is_heard(&system, KEY, &["opened", "resolved"]).await;
    assert_eq!(checked(&system, path).await, [""; 0]);
    let old = format!("{path}?version=1");
    assert_eq!(checked(&system, &old).await, ["error BT0020"]);
    let none = format!("{path}?version=3");
    let none = system.api.ask("GET", &none, "", None).await.unwrap();
    assert_eq!(none.status, 404, "{none:?}");
}
