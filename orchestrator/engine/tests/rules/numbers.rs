//! Numbers that come in: where a schema says integer, expressions have one, however it was written.

use baton_engine::{Definition, Input, Verdict};
use baton_messages::{TaskResult, TaskType};
use serde_json::json;

use crate::stage::Stage;

#[test]
fn an_integer_is_one_however_it_is_written() {
    let mut stage = Stage::waiting("  - id: a\n    task: t.set@1\n");
    let yaml = "saga: staged\nversion: 1\ninput: { type: object, properties: { n: { type: integer } } }\nsteps:\n  - id: a\n    task: t.count@1\n    with: { n: \"${ input.n + 1 }\" }\n  - id: b\n    task: t.set@1\n    with: { n: \"${ a.n + 1 }\" }\n";
    stage.definition = Definition::parse(yaml).unwrap();
    let of = TaskType::new("t.set@1").unwrap();
    let mut counts = stage.catalogue.get(&of).unwrap().manifest.clone();
    counts.task_type = TaskType::new("t.count@1").unwrap();
    counts.output = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
    stage.catalogue.announce(counts).unwrap();
    let Input::Start(mut start) = stage.start() else {
        unreachable!("a start is one")
    };
    start.input = json!({ "n": 1.0 });
    assert_eq!(stage.give(&Input::Start(start)), Verdict::Applied);
    let given = |stage: &Stage, id: &str| stage.at(id).forward.clone().unwrap().input.to_string();
    assert_eq!(given(&stage, "a"), r#"{"n":2}"#);
    let output = json!({ "n": 5.0 });
    stage.report("a", TaskResult::Succeeded { output });
    assert_eq!(given(&stage, "b"), r#"{"n":6}"#);
}
