//! `baton sweep` as an author and a pipeline run it: offline, the same each time, with exit codes a script can branch on.

use std::path::Path;

use baton_it::Cli;
use serde_json::Value;

/// One that a person has to mend when its undo fails; short, so that it is swept in no time.
const SAGA: &str = r#"
saga: move-host
version: 1
owner: network-team
input:
  type: object
  required: [host]
  properties: { host: { type: string } }
steps:
  - id: moved
    task: test.effect@1
    with: { key: "${ input.host }" }
  - id: paid
    wait: { event: com.example.paid, when: "${ event.data.sums.exists(x, x > 3) }", timeout: 2h }
  - id: checked
    task: test.echo@1
"#;

/// One that has that one as a step.
const PARENT: &str = r#"
saga: move-rack
version: 1
input:
  type: object
  required: [host]
  properties: { host: { type: string } }
steps:
  - id: moving
    saga: move-host@1
    with: { host: "${ input.host }" }
  - id: closed
    task: test.effect@1
    with: { key: "${ input.host }" }
"#;

fn offline(dir: &Path) -> Cli {
    // nobody listens there
    Cli::nowhere(dir)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_is_swept_without_a_server_and_a_seed_says_it_again() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("move.yaml"), SAGA).unwrap();
    let baton = offline(dir.path());
    let lacking = baton.run(&["sweep", "move.yaml"]).await.exits(9);
    for word in [
        "undisturbed: compensated",
        "No event could be made",
        "--events",
    ] {
        assert!(lacking.out.contains(word), "{word}: {}", lacking.out);
    }
    let second = lacking.out.lines().nth(1).unwrap_or_default();
    assert!(second.starts_with("It is compensated although"), "{second}");
    let meant = ["sweep", "move.yaml", "--ends", "compensated"];
    let meant = baton.run(&meant).await.exits(0);
    assert!(!meant.out.contains("although nothing"), "{}", meant.out);
    let parked = ["sweep", "move.yaml", "--ends", "parked", "--json"];
    let parked = baton.run(&parked).await.exits(9).json();
    assert_eq!(parked[0]["ok"], false);
    let events = r#"{ "paid": { "sums": [1, 7] } }"#;
    let all = ["sweep", "move.yaml", "--events", events];
    let swept = baton.run(&all).await.exits(0);
    for word in [
        "undisturbed: completed",
        "P1 network-team: an undo has failed for good",
    ] {
        assert!(swept.out.contains(word), "{word}: {}", swept.out);
    }
    assert!(swept.err.is_empty(), "{}", swept.err);
    let json = baton
        .run(&[&all[..], &["--json"]].concat())
        .await
        .exits(0)
        .json();
    assert_eq!(json[0]["ok"], true);
    let cells: Vec<&Value> = json[0]["rows"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row["cells"].as_array().unwrap())
        .collect();
    let parked = cells
        .iter()
        .find(|cell| cell["ends"][0] == "parked")
        .unwrap();
    let seed = parked["seed"].to_string();
    let again = [&all[..], &["--seed", &seed, "--trace"]].concat();
    let (once, twice) = (
        baton.run(&again).await.exits(0),
        baton.run(&again).await.exits(0),
    );
    let (trace, words) = once.out.split_once("\n\n").unwrap();
    assert!(trace.lines().count() > 10, "{trace}");
    assert!(words.contains("\nparked\n"), "{words}");
    assert_eq!(once.out, twice.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_reads_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let plain = SAGA.replace(", when: \"${ event.data.sums.exists(x, x > 3) }\"", "");
    std::fs::write(dir.path().join("move.yaml"), &plain).unwrap();
    std::fs::write(
        dir.path().join("wrong.yaml"),
        plain.replace("test.echo@1", "test.ehco@1"),
    )
    .unwrap();
    let pattern = plain.replace("type: string", "type: string, pattern: \"(?=a)b\"");
    std::fs::write(dir.path().join("unmade.yaml"), pattern).unwrap();
    let baton = offline(dir.path());
    baton.run(&["sweep", "move.yaml"]).await.exits(0);
    let parked = ["sweep", "move.yaml", "--fail-on", "parked"];
    baton.run(&parked).await.exits(4);
    baton
        .run(&[&parked[..], &["--may-park", "moved"]].concat())
        .await
        .exits(0);
    baton
        .run(&[&parked[..], &["--step", "checked"]].concat())
        .await
        .exits(0);
    let wrong = baton
        .run(&["sweep", "wrong.yaml", "move.yaml"])
        .await
        .exits(1);
    assert!(wrong.err.contains("test.echo@1"), "{}", wrong.err);
    assert!(wrong.out.contains("move-host@1"), "{}", wrong.out);
    let over = ["sweep", "move.yaml", "--within", "1ms", "--plays", "400"];
    baton.run(&over).await.exits(6);
    let near = baton
        .run(&["sweep", "move.yaml", "--step", "chekced"])
        .await
        .exits(1);
    assert!(near.err.contains("did you mean `checked`?"), "{}", near.err);
    let unmade = baton.run(&["sweep", "unmade.yaml"]).await.exits(2);
    for word in [
        "host",
        "pattern",
        "next: baton sweep unmade.yaml --input @input.json",
    ] {
        assert!(unmade.err.contains(word), "{word}: {}", unmade.err);
    }
    let seed = ["sweep", "move.yaml", "--seed", "9900000"];
    let none = baton.run(&seed).await.exits(2);
    assert!(none.err.contains("next: baton sweep move.yaml --json"));
    for of_many in [["--step", "checked"], ["--plays", "4"]] {
        baton.run(&[&seed[..], &of_many].concat()).await.exits(2);
    }
    let there = ["sweep", "nowhere.yaml", "--seed", "1"];
    let there = baton.run(&there).await.exits(1);
    assert!(there.err.contains("nowhere.yaml"), "{}", there.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_file_of_several_keeps_nobody_from_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let plain = SAGA.replace(", when: \"${ event.data.sums.exists(x, x > 3) }\"", "");
    std::fs::write(dir.path().join("move.yaml"), &plain).unwrap();
    let pattern = plain.replace("type: string", "type: string, pattern: \"(?=a)b\"");
    std::fs::write(dir.path().join("unmade.yaml"), pattern).unwrap();
    let baton = offline(dir.path());
    let files = ["sweep", "unmade.yaml", "nowhere.yaml", "move.yaml"];
    let seen = baton.run(&files).await.exits(2);
    assert!(seen.out.contains("move-host@1"), "{}", seen.out);
    for file in ["no text is found", "nowhere.yaml"] {
        assert!(seen.err.contains(file), "{file}: {}", seen.err);
    }
    let json = baton.run(&[&files[..], &["--json"]].concat()).await;
    let json = json.exits(2).json();
    let told: Vec<(&str, bool)> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["file"].as_str().unwrap(), one["ok"] == true))
        .collect();
    let all = [
        ("unmade.yaml", false),
        ("move.yaml", true),
        ("nowhere.yaml", false),
    ];
    assert_eq!(told, all);
    std::fs::write(dir.path().join("again.yaml"), &plain).unwrap();
    let both = ["sweep", "move.yaml", "again.yaml"];
    for option in [
        &["--step", "chekced"][..],
        &["--fail-on", "parked", "--may-park", "chekced"],
    ] {
        let near = baton.run(&[&both[..], option].concat()).await.exits(1);
        assert!(near.err.contains("did you mean `checked`?"), "{}", near.err);
    }
}

/// What is given has to fit; what is wrong with it is said of it, and not of what would have been made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_has_to_fit() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("move.yaml"), SAGA).unwrap();
    let baton = offline(dir.path());
    let input = ["sweep", "move.yaml", "--input", "{\"host\": 7}"];
    let input = baton.run(&input).await.exits(2);
    for word in ["that is given does not fit", "--input @input.json"] {
        assert!(input.err.contains(word), "{word}: {}", input.err);
    }
    let returns = ["sweep", "move.yaml", "--returns", "{\"moved\": 7}"];
    let returns = baton.run(&returns).await.exits(2);
    let word = "what is given for moved is nothing test.effect@1 returns";
    assert!(returns.err.contains(word), "{}", returns.err);
    let nobody = ["sweep", "move.yaml", "--returns", "{\"mvoed\": 7}"];
    let nobody = baton.run(&nobody).await.exits(2);
    let word = "next: baton plan move.yaml";
    assert!(nobody.err.contains(word), "{}", nobody.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cases_beside_a_definition_say_what_it_is_played_with() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("move.yaml"), SAGA).unwrap();
    std::fs::create_dir(dir.path().join("cases")).unwrap();
    let cases = "cases: [{ case: one, input: { host: web-7 } }]\nsweep: { events: { paid: { sums: [9] } } }\n";
    std::fs::write(dir.path().join("cases/move.yaml"), cases).unwrap();
    let baton = offline(dir.path());
    let swept = baton
        .run(&["sweep", "move.yaml", "--json"])
        .await
        .exits(0)
        .json();
    assert_eq!(swept[0]["input"]["host"], "web-7");
    assert_eq!(swept[0]["undisturbed"]["end"], "completed");
    let input = r#"{ "host": "db-1" }"#;
    let typed = ["sweep", "move.yaml", "--json", "--input", input];
    let typed = baton.run(&typed).await.exits(0).json();
    assert_eq!(typed[0]["input"]["host"], "db-1");
    // from wherever it is named
    let folder = dir.path().join("hosts");
    std::fs::create_dir(&folder).unwrap();
    std::fs::create_dir(dir.path().join("cases/hosts")).unwrap();
    std::fs::write(folder.join("move.yaml"), SAGA).unwrap();
    std::fs::write(dir.path().join("cases/hosts/move.yaml"), cases).unwrap();
    let there = offline(&folder);
    let swept = there.run(&["sweep", "move.yaml", "--json"]).await;
    let swept = swept.exits(0).json();
    assert_eq!(swept[0]["input"]["host"], "web-7");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_is_swept_with_those_within_it_wherever_their_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let sagas = dir.path().join("sagas");
    std::fs::create_dir(&sagas).unwrap();
    std::fs::write(sagas.join("rack.yaml"), PARENT).unwrap();
    let baton = offline(dir.path());
    let alone = baton.run(&["sweep", "sagas/rack.yaml"]).await.exits(2);
    for word in [
        "step moving is a saga of its own, move-host@1, and its definition was not given",
        "next: baton sweep sagas/rack.yaml --beside move-host.yaml",
    ] {
        assert!(alone.err.contains(word), "{word}: {}", alone.err);
    }
    std::fs::write(sagas.join("host.yaml"), SAGA).unwrap();
    let events = r#"{ "moving/paid": { "sums": [1, 7] } }"#;
    let beside = ["--beside", "sagas/host.yaml", "--events", events];
    let all = [&["sweep", "sagas/rack.yaml"][..], &beside[..]].concat();
    let swept = baton.run(&all).await.exits(0);
    for word in [
        "move-rack@1  2 steps and 3 in 1 saga within it",
        "undisturbed: completed",
        "moving/moved",
        "  undo above",
        "P1 network-team: an undo has failed for good",
    ] {
        assert!(swept.out.contains(word), "{word}: {}", swept.out);
    }
    let json = baton.run(&[&all[..], &["--json"]].concat()).await.exits(0);
    let json = json.json();
    let rows = json[0]["rows"].as_array().unwrap();
    let from_above = rows.iter().find(|row| row["from_above"] == true).unwrap();
    assert_eq!(from_above["step"], "moving/moved");
    assert_eq!(from_above["turned_by"], "closed fails for good");
    let cells = from_above["cells"].as_array().unwrap();
    let parked = cells
        .iter()
        .find(|cell| cell["trouble"] == "fails")
        .unwrap();
    assert_eq!(parked["asked"][0]["asks"]["step"], "moving/moved");
    let seed = parked["seed"].to_string();
    let again = [&all[..], &["--seed", seed.as_str()]].concat();
    let again = baton.run(&again).await.exits(0);
    assert!(
        again.out.contains("undo of moving/moved from above"),
        "{}",
        again.out
    );
    let may = ["--fail-on", "parked", "--step", "moving/moved"];
    baton.run(&[&all[..], &may].concat()).await.exits(4);
    let may = [&may[..], &["--may-park", "moving"]].concat();
    baton.run(&[&all[..], &may].concat()).await.exits(0);
    // a folder: each of its sagas, known to the others
    let folder = ["sweep", "sagas", "--json"];
    baton.run(&folder).await.exits(9);
    // nothing was said of the event that is waited for
    std::fs::create_dir(sagas.join("cases")).unwrap();
    let cases = "sweep: { events: { paid: { sums: [9] } } }\n";
    std::fs::write(sagas.join("cases/host.yaml"), cases).unwrap();
    let folder = baton.run(&folder).await.exits(0).json();
    let files = folder.as_array().unwrap().iter();
    let files: Vec<&str> = files.map(|one| one["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["sagas/host.yaml", "sagas/rack.yaml"]);
}
