//! Before-images: the lowest attempt wins, whatever the order in which they come.

use baton_engine::Input;
use baton_engine::command::task_message;
use baton_engine::record::AttemptKey;
use baton_messages::inbox::Checkpoint;
use baton_messages::{AttemptRef, CheckpointKind, Direction, InboxKey, TaskMessage};
use serde_json::json;

use crate::stage::{Stage, failed, run, unknown};

fn image(of: AttemptRef, value: &str) -> Input {
    Input::Checkpoint(Checkpoint {
        of,
        run: run(9),
        kind: CheckpointKind::Before,
        number: 1,
        value: json!(value),
    })
}

#[test]
fn the_lowest_attempt_wins_whatever_the_order() {
    for turned in [false, true] {
        let mut stage = Stage::with("  - id: a\n    task: t.file@1\n    retry: { attempts: 3 }\n");
        let first = stage.open("a");
        stage.report("a", failed(true));
        stage.wait();
        let second = stage.open("a");
        let mut images = vec![
            image(first, "the original"),
            image(second, "what attempt 1 wrote"),
        ];
        if turned {
            images.reverse();
        }
        for input in &images {
            stage.give(input);
        }
        assert_eq!(
            stage.at("a").before,
            Some((1, json!("the original"))),
            "turned: {turned}"
        );
    }
}

#[test]
fn it_is_written_once() {
    let mut stage = Stage::with("  - id: a\n    task: t.file@1\n");
    let of = stage.open("a");
    stage.give(&image(of.clone(), "first"));
    stage.give(&image(of, "second"));
    assert_eq!(stage.at("a").before, Some((1, json!("first"))));
}

#[test]
fn an_undo_is_told_the_original() {
    let mut stage = Stage::with("  - id: a\n    task: t.file@1\n    retry: { attempts: 1 }\n");
    let of = stage.open("a");
    stage.give(&image(of, "the original"));
    stage.report("a", unknown());
    stage.wait();
    let of = stage.open("a");
    assert_eq!(of.direction, Direction::Undo);
    let key = AttemptKey {
        step: crate::stage::key("a"),
        direction: of.direction,
        round: of.round,
        attempt: of.attempt,
    };
    let Some(TaskMessage::Task(task)) =
        task_message(&stage.state, &InboxKey::of(0), &key, of.dispatch)
    else {
        panic!("no task")
    };
    assert_eq!(task.before, Some(json!("the original")));
}
