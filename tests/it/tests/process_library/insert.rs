//! `insert-line-in-one` for each of many repositories. Its cases stand beside it.

use baton_harness::await_some;
use baton_it::Ran;
use serde_json::{Value, json};

use crate::world::{LONG, World, git};

const TYPES: [&str; 4] = [
    "git.checkout@1",
    "file.ensure-line@1",
    "command.run@1",
    "git.commit-push@1",
];

/// Repositories by name, each with the test it brings, and a worker for them.
async fn with_repositories(all: &[(&str, &str)]) -> World {
    let mut world = World::new().await;
    std::fs::create_dir(world.path("checkouts")).expect("what the test needs can be made");
    for (name, test) in all {
        let folder = format!("source-{name}");
        let source = world.path(&folder);
        std::fs::create_dir(&source).expect("what the test needs can be made");
        git(&source, &["init", "--quiet", "--initial-branch=main"]);
        std::fs::write(source.join("settings.txt"), "colour = blue\n")
            .expect("what the test needs can be made");
        std::fs::write(source.join("test.sh"), test).expect("what the test needs can be made");
        git(&source, &["add", "--all"]);
        git(&source, &["commit", "--quiet", "--message", "first"]);
        let bare = world.text(&format!("git/{name}.git"));
        let clone = ["clone", "--quiet", "--bare", &folder, &bare];
        git(world.system.dir(), &clone);
    }
    let replaced = [
        ("/srv/checkouts", world.text("checkouts")),
        ("/srv/git/", world.text("git/")),
    ];
    world.ship("insert-line-in-one", &replaced, &TYPES).await;
    world
}

/// What the branch holds.
fn pushed_to(world: &World, name: &str) -> String {
    let bare = world.path(&format!("git/{name}.git"));
    git(&bare, &["show", "main:settings.txt"])
}

/// Runs the file of repositories; the same each time.
async fn run_each(world: &World, file: &str, more: &[&str]) -> Ran {
    let mut args = vec!["run", "insert-line-in-one", "--each", file];
    args.extend(["-f", "branch=main", "-f", "file=settings.txt"]);
    args.extend(["-f", "line=size = large", "-f", "message=one more line"]);
    args.extend(more);
    world.system.cli().run(&args).await
}

/// A line of the file of repositories.
fn line_of(world: &World, name: &str) -> String {
    let (repository, folder) = (format!("git/{name}.git"), format!("checkouts/{name}"));
    json!({ "repository": world.text(&repository), "folder": world.text(&folder) }).to_string()
}

#[tokio::test]
async fn many_repositories_get_their_line_and_one_person_lets_all_of_them_through() {
    let free = "! grep -q broken settings.txt\n";
    let all = [
        ("one", free),
        ("two", free),
        ("strict", "! grep -q size settings.txt\n"),
    ];
    let world = with_repositories(&all).await;
    let lines = all.map(|(name, _)| line_of(&world, name));

    // a line that does not fit is named, and none is started
    let wrong = world.text("wrong.jsonl");
    let text = format!("{}\n\n{{\"repository\": 5}}\n{{\n", lines[0]);
    std::fs::write(&wrong, text).expect("what the test needs can be made");
    let said = run_each(&world, &wrong, &[]).await.exits(2);
    assert!(said.err.contains("line 4: no JSON"), "{}", said.err);
    let text = format!("{}\n\n{{\"repository\": 5}}\n", lines[0]);
    std::fs::write(&wrong, text).expect("what the test needs can be made");
    let said = run_each(&world, &wrong, &[]).await.exits(2);
    assert!(said.err.contains("1 of 2 lines"), "{}", said.err);
    assert!(
        said.err.contains("line 3: ") && said.err.contains("folder"),
        "{}",
        said.err
    );
    assert_eq!(world.system.api.sagas().await, Vec::<Value>::new());

    // killed before it was done, and run again: none is started twice
    let file = world.text("repositories.jsonl");
    std::fs::write(&file, lines.join("\n")).expect("what the test needs can be made");
    let begun = run_each(&world, &file, &["--json"]).await.exits(0).json();
    let again = run_each(&world, &file, &["--json"]).await.exits(0).json();
    let ids = |said: &Value| -> Vec<String> {
        let sagas = said["sagas"].as_array().expect("a list");
        sagas.iter().map(|one| one["id"].to_string()).collect()
    };
    assert_eq!(ids(&begun).len(), 3);
    assert_eq!(ids(&begun), ids(&again));
    assert_eq!(again["sagas"][2]["duplicate"], true);
    assert_eq!(world.system.api.sagas().await.len(), 3);

    // who waits sees how many wait for a person, and is told when the time is over
    await_some("two people to be asked", LONG, async || {
        let open = world.system.api.work_items().await;
        (open.len() == 2).then_some(())
    })
    .await;
    let waited = run_each(&world, &file, &["--wait", "--timeout", "3"]).await;
    assert_eq!(waited.code, 6, "{}{}", waited.out, waited.err);
    assert!(
        waited.out.contains("2 waiting for approval"),
        "{}",
        waited.out
    );

    let label = begun["label"].as_str().expect("a label");
    let baton = world.system.cli();
    let note = ["approve", "--label", label, "-m", "as agreed"];
    let said = baton.run(&note).await.exits(0);
    assert!(said.out.contains("approve: 2 sagas"), "{}", said.out);
    let waited = run_each(&world, &file, &["--wait"]).await.exits(3);
    assert!(waited.out.contains("2 completed"), "{}", waited.out);
    assert!(waited.out.contains("1 compensated"), "{}", waited.out);
    for (name, text) in [
        ("one", "colour = blue\nsize = large"),
        ("two", "colour = blue\nsize = large"),
        ("strict", "colour = blue"),
    ] {
        assert_eq!(pushed_to(&world, name), text, "{name}");
    }
    assert!(!world.path("checkouts/strict").exists());
    let said = baton.run(&note).await.exits(1);
    assert!(said.err.contains("none of 3 sagas"), "{}", said.err);
}
