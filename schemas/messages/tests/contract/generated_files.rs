//! What is generated is current: the files on disk are what the code says now.

use crate::documents;
use crate::kinds;

#[test]
fn files_on_disk_are_what_the_code_says() {
    let files = documents::all().expect("rendered");
    let wrong = documents::differing(&kinds::directory(), &files);
    assert!(
        wrong.is_empty(),
        "run deploy/generate; these differ: {wrong:?}"
    );
}

#[test]
fn a_changed_a_missing_and_a_stray_file_are_named() {
    let mut files = documents::all().expect("rendered");
    files.insert("topology.json".into(), "{}\n".into());
    files.insert("absent.json".into(), "{}\n".into());
    files.remove("messages/event.json");
    let mut wrong = documents::differing(&kinds::directory(), &files);
    wrong.sort();
    assert_eq!(
        wrong,
        ["absent.json", "messages/event.json", "topology.json"]
    );
}

#[test]
fn rendering_does_not_depend_on_the_order_of_keys() {
    let one = serde_json::json!({ "b": { "y": 1, "x": 2 }, "a": [] });
    let other: serde_json::Value =
        serde_json::from_str(r#"{"a":[],"b":{"x":2,"y":1}}"#).expect("JSON");
    assert_eq!(documents::json(one), documents::json(other));
}
