//! The catalogue on disk holds manifests this crate reads, and the generator keeps no unsound one.

use baton_messages::Manifest;
use serde_json::{Value, json};

use crate::{catalogue, kinds};

fn manifest() -> Value {
    let path = kinds::directory().join("examples/valid/manifest/full.json");
    serde_json::from_slice(&std::fs::read(path).expect("example")).expect("JSON")
}

#[test]
fn the_catalogue_on_disk_is_read_and_rendered_as_it_stands() {
    let text = std::fs::read_to_string(kinds::directory().join("catalogue.json")).expect("file");
    let manifests: Vec<Manifest> = serde_json::from_str(&text).expect("manifests");
    assert!(manifests.is_sorted_by(|a, b| a.task_type < b.task_type));
    assert_eq!(catalogue::rendered(&text), Ok(text));
}

/// What is planned is as sound as what is there, and is none of it: a type that is built leaves the one file for the other.
#[test]
fn planned_manifests_are_sound_and_none_is_there_yet() {
    let read = |path: &str| std::fs::read_to_string(kinds::directory().join(path)).expect("file");
    let text = read("../../orchestrator/sagas/planned.json");
    let planned: Vec<Manifest> = serde_json::from_str(&text).expect("manifests");
    let there: Vec<Manifest> = serde_json::from_str(&read("catalogue.json")).expect("manifests");
    for manifest in &planned {
        let name = &manifest.task_type;
        assert!(there.iter().all(|one| one.task_type != *name), "{name}");
        assert_eq!(manifest.examples.len(), 1, "{name}");
    }
    assert_eq!(catalogue::rendered(&text), Ok(text));
}

#[test]
fn manifests_are_sorted_by_type() {
    let (mut late, early) = (manifest(), manifest());
    late["task_type"] = json!("z.last@1");
    let text = catalogue::rendered(&json!([late, early]).to_string()).expect("rendered");
    let kept: Vec<Manifest> = serde_json::from_str(&text).expect("manifests");
    assert_eq!(kept[1].task_type.as_str(), "z.last@1");
}

#[test]
fn unsound_manifests_are_refused_by_name() {
    let mut misfit = manifest();
    misfit["examples"] = json!([{ "port": 7 }]);
    let mut no_schema = manifest();
    no_schema["output"] = json!({ "type": "shape" });
    for (given, part) in [
        (json!([manifest(), manifest()]), "stands twice"),
        (json!([misfit]), "does not fit"),
        (json!([no_schema]), "output schema"),
    ] {
        let said = catalogue::rendered(&given.to_string()).expect_err("refused");
        assert!(
            said.contains("switch.set-vlan@1") && said.contains(part),
            "{said}"
        );
    }
    assert!(catalogue::rendered("{}").is_err());
}
