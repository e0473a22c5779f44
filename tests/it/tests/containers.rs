//! The container files against the programs they run: what can be known without a container engine. No
//! test builds or starts the image itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use baton_harness::binaries;
use serde_json::Value;

const PROGRAMS: [&str; 2] = ["baton-orchestrator", "baton-worker"];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

fn services() -> Vec<(String, Value)> {
    let text =
        fs::read_to_string(deploy().join("compose.yaml")).expect("the file is there and reads so");
    let file: Value = serde_saphyr::from_str(&text).expect("the file is there and reads so");
    let services = file["services"]
        .as_object()
        .expect("the file is there and reads so");
    services
        .iter()
        .map(|(name, service)| (name.clone(), service.clone()))
        .collect()
}

fn word(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[test]
fn every_setting_of_the_containers_is_one_that_its_program_knows() {
    let mut checked = 0;
    for (name, service) in services() {
        let program = word(&service["command"][0]);
        if !PROGRAMS.contains(&program.as_str()) {
            continue;
        }
        let environment = service["environment"]
            .as_object()
            .expect("the file is there and reads so");
        let shown = Command::new(binaries::path_of(&program))
            .arg("config")
            .env_clear()
            .envs(environment.iter().map(|(key, value)| (key, word(value))))
            .output()
            .expect("the file is there and reads so");
        let (out, err) = (
            String::from_utf8_lossy(&shown.stdout),
            String::from_utf8_lossy(&shown.stderr),
        );
        assert!(shown.status.success(), "{name}: {err}");
        assert!(out.contains("broker:5672"), "{name}: {out}");
        assert!(
            !out.contains("baton:baton@"),
            "{name} shows its password: {out}"
        );
        checked += 1;
    }
    assert_eq!(checked, PROGRAMS.len());
}

#[test]
fn nothing_but_the_api_is_published_and_that_on_loopback() {
    for (name, service) in services() {
        let ports = service["ports"].as_array().cloned().unwrap_or_default();
        for port in &ports {
            assert!(word(port).starts_with("127.0.0.1:"), "{name}: {port}");
        }
        assert_eq!(ports.is_empty(), name != "orchestrator", "{name}");
    }
}

#[test]
fn the_image_holds_the_programs_and_runs_as_nobody_in_particular() {
    let file =
        fs::read_to_string(deploy().join("Dockerfile")).expect("the file is there and reads so");
    for program in PROGRAMS.iter().chain(&["baton"]) {
        assert!(
            file.contains(&format!("target/release/{program} ")),
            "{program}"
        );
        // it is a program of this workspace
        assert!(binaries::path_of(program).exists(), "{program}");
    }
    let last_user = file
        .lines()
        .filter_map(|line| line.strip_prefix("USER "))
        .next_back();
    assert_eq!(last_user, Some("10001:10001"));
}
