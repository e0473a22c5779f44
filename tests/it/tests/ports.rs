//! Two alarms behind one switch port: whoever comes second waits for the port's lock, which `move-port` of the process library takes in the name of the saga at the
//! top, until that has ended, its undo included; only then it sees what has become of the port. And a saga that needs a task type nobody does yet waits, and says so.

use std::path::Path;

use baton_harness::await_until;
use baton_it::{SOON, Setup, System};
use serde_json::{Value, json};

/// In place of quarantine-host: a person says whether it was the right port, while it is locked.
const ALARM: &str = r#"
saga: alarm
version: 1
input:
  type: object
  required: [host, port]
  properties: { host: { type: string }, port: { type: string } }
locks: [ "host/${ input.host }" ]
steps:
  - id: isolate
    saga: move-port@1
    with: { switch: acc1, port: "${ input.port }", site: "${ input.host }", expect_vlan: 10, vlan: 666 }
  - id: right
    approve: { by: operator, timeout: 1h }
"#;

/// `move-port` as it is shipped.
fn shipped() -> String {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../orchestrator/sagas");
    std::fs::read_to_string(library.join("move-port.yaml")).expect("it is shipped")
}

/// The same, but that a port is a file: it is written for a host unless one stands there already, as a port is moved only from where it is expected to be.
fn on_files(system: &System) -> String {
    let text = shipped();
    let (head, rest) = text
        .split_once("    task: switch.set-vlan@1\n")
        .expect("the step that moves the port");
    assert!(rest.contains("\noutput: "), "what stands after it: {rest}");
    let port = system.file("${ input.switch }-${ input.port }");
    format!(
        "{head}    task: file.write@1\n    with: {{ path: \"{}\", content: \"${{ input.site }}\", existing: refuse }}\noutput: {{ path: \"${{ set.path }}\" }}\n",
        port.display()
    )
}

async fn two_alarms(setup: Setup) -> (System, String, String) {
    let system = setup.start().await;
    system.await_served("file.write@1").await;
    system.api.apply(&on_files(&system)).await;
    system.api.apply(ALARM).await;
    let first = alarm(&system, "h1", "p-7").await;
    system.api.await_phase(&first, "right", "asked").await;
    let second = alarm(&system, "h2", "p-7").await;
    await_until("the second to stand in the port's line", SOON, async || {
        let thing = mover(&system, &second).await["reservation"]["things"][0].clone();
        thing["name"] == "port/acc1/p-7" && thing["place"] == 1
    })
    .await;
    (system, first, second)
}

async fn alarm(system: &System, host: &str, port: &str) -> String {
    let input = json!({ "host": host, "port": port });
    system.api.start("alarm", &input, host).await
}

/// The saga within that moves the port; null while it is not there. Its id stands in the step that begins it before it has begun: word of it goes through the
/// broker, in a database to another partition.
async fn mover(system: &System, alarm: &str) -> Value {
    let saga = system.api.saga(alarm).await;
    let Some(id) = saga["steps"][0]["child"]["id"].as_str() else {
        return Value::Null;
    };
    let path = format!("/v1/sagas/{id}");
    let answer = system.api.ask_patiently("GET", &path, "", None).await;
    match answer.status {
        200 => answer.body,
        404 => Value::Null,
        other => panic!("GET {path}: {other} {}", answer.body),
    }
}

async fn says(system: &System, alarm: &str, decision: &str) {
    let action = format!("steps/right/{decision}");
    let said = system.api.act(alarm, &action, json!({ "note": "looked" }));
    let said = said.await;
    assert_eq!(said.status, 200, "{}", said.body);
}

/// When the port was set about for the second, and when the first was over: in this order, also where different partitions drive them. One process has one clock
/// for all of them, which never goes back; a turn reads it before it commits, and who is given what a commit let go of hears of it in a turn that begins later.
async fn apart(system: &System, first: &str, second: &str) -> (u64, u64) {
    let mover = mover(system, second).await;
    let began = mover["steps"][0]["began_at"].as_u64();
    let ended = system.api.saga(first).await["ended_at"].as_u64();
    began
        .zip(ended)
        .unwrap_or_else(|| panic!("the port was never set about: {mover}"))
}

async fn isolated_for_the_first(setup: Setup) {
    let (system, first, second) = two_alarms(setup).await;
    // another port is nobody's business
    let third = alarm(&system, "h3", "p-8").await;
    system.api.await_phase(&third, "right", "asked").await;
    assert_eq!(system.api.phase(&second, "right").await, "waiting");
    says(&system, &first, "approve").await;
    system.api.await_status(&first, "completed", SOON).await;
    // the port is no longer as it was expected to be
    system.api.await_status(&second, "compensated", SOON).await;
    let (began, ended) = apart(&system, &first, &second).await;
    assert!(ended <= began, "let go at {ended}, taken at {began}");
    assert_eq!(system.file_text("acc1-p-7").as_deref(), Some("h1"));
    says(&system, &third, "approve").await;
    system.api.await_status(&third, "completed", SOON).await;
    let left = system.api.get("/v1/reservations").await;
    assert_eq!(left["items"], json!([]), "all is let go");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_alarms_behind_one_port_the_second_waits_and_finds_it_isolated() {
    isolated_for_the_first(Setup::workers(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_alarms_behind_one_port_on_postgres_the_second_waits_and_finds_it_isolated() {
    isolated_for_the_first(Setup::workers(1).postgres()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_is_put_back_before_the_next_alarm_sets_about_it() {
    let (system, first, second) = two_alarms(Setup::workers(1)).await;
    says(&system, &first, "reject").await;
    system.api.await_status(&first, "compensated", SOON).await;
    system.api.await_phase(&second, "right", "asked").await;
    let (began, ended) = apart(&system, &first, &second).await;
    assert!(ended <= began, "let go at {ended}, taken at {began}");
    assert_eq!(system.file_text("acc1-p-7").as_deref(), Some("h2"));
    says(&system, &second, "approve").await;
    system.api.await_status(&second, "completed", SOON).await;
}

/// From the check to the saga that waits: an author, and whoever looks at the saga, are told that the type is planned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_that_needs_a_planned_task_type_waits_and_says_that_it_is_planned() {
    let system = Setup::workers(1).start().await;
    let cli = system.cli();
    std::fs::write(cli.dir().join("move-port.yaml"), shipped()).expect("it is written");
    let checked = cli.run(&["check", "move-port.yaml"]).await.exits(0);
    let planned = "`switch.set-vlan@1` is planned";
    assert!(checked.err.contains(planned), "{}", checked.err);
    cli.run(&["apply", "move-port.yaml"]).await.exits(0);
    let input =
        r#"{ "switch": "acc1", "port": "p-7", "site": "vienna", "expect_vlan": 10, "vlan": 666 }"#;
    let run = ["run", "move-port", "--input", input, "--json"];
    let started = cli.run(&run).await.exits(0).json();
    let id = started["id"].as_str().expect("it has an id");
    system.api.await_phase(id, "set", "unserved").await;
    let shown = cli.run(&["show", id]).await.exits(0);
    // lines are as wide as the screen
    let words: Vec<&str> = shown.out.split_whitespace().collect();
    let shown = words.join(" ");
    for said in [
        "nobody serves switch.set-vlan@1",
        "which is planned: no worker of this version does it",
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
}
