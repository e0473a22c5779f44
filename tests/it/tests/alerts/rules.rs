//! The rules for Prometheus that are shipped: they speak of numbers there are, and fire when they should.

use std::io::ErrorKind;
use std::process::Command;

use baton_harness::not_tested;

use super::*;

const RULES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/prometheus/alerts.yaml"
);
const TESTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/prometheus/alerts_test.yaml"
);

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Each rule has inputs with which it fires and inputs with which it is silent, also where nobody can try them.
#[test]
fn every_rule_of_prometheus_has_a_case_where_it_fires_and_one_where_it_is_silent() {
    let (rules, tests) = (yaml(RULES), yaml(TESTS));
    let cases = tests["tests"].as_array().unwrap().iter();
    let cases = cases.flat_map(|test| test["alert_rule_test"].as_array().unwrap());
    let cases = cases.map(|case| {
        let fires = !case["exp_alerts"].as_array().unwrap().is_empty();
        (case["alertname"].as_str().unwrap(), fires)
    });
    let cases: Vec<(&str, bool)> = cases.collect();
    let groups = rules["groups"].as_array().unwrap().iter();
    for rule in groups.flat_map(|group| group["rules"].as_array().unwrap()) {
        let name = rule["alert"].as_str().unwrap();
        assert!(cases.contains(&(name, true)), "{name} never fires");
        assert!(cases.contains(&(name, false)), "{name} is never silent");
    }
}

#[test]
fn the_rules_of_prometheus_fire_when_they_should_and_are_silent_when_not() {
    let ran = match Command::new("promtool")
        .args(["test", "rules", TESTS])
        .output()
    {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return not_tested(
                "the rules for Prometheus: there is no promtool here (Debian: prometheus)",
            );
        }
        ran => ran.unwrap(),
    };
    let said = String::from_utf8_lossy(&ran.stdout);
    let why = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}{why}");
}

#[tokio::test]
async fn the_rules_of_prometheus_speak_of_numbers_there_are() {
    let setup = looking(Setup::workers(0)).orchestrator("dead_letters.adopt", "orders.dlq");
    let system = setup.start().await;
    dead(&system, "odd").await;
    alert(&system, "dead-letter", "open").await;
    let rules = yaml(RULES);
    // what is there only once somebody has looked
    let counted = [
        "baton_orchestrator_alerts_open{kind=\"dead-letter\"} 1",
        "baton_orchestrator_dead_letters_left{",
        "baton_orchestrator_adopted_queue_consumed{",
        "baton_orchestrator_dead_operations{state=\"stopped\"} 0",
        "baton_orchestrator_dead_operations{state=\"waiting\"} 0",
    ];
    let metrics = await_some("what there is to be counted", SOON, async || {
        let answer = reqwest::get(format!("{}/metrics", system.api.url())).await;
        let text = answer.ok()?.text().await.ok()?;
        counted.iter().all(|one| text.contains(one)).then_some(text)
    })
    .await;
    let number = regex::Regex::new(r"(baton_[a-z_]+)(?:\{([^}]*)\})?").unwrap();
    let label = regex::Regex::new(r#"([a-z_]+)\s*=~?\s*""#).unwrap();
    let by = regex::Regex::new(r"by \(([a-z_, ]+)\)").unwrap();
    let mut found = 0;
    let groups = rules["groups"].as_array().unwrap();
    let all = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap());
    for rule in all {
        for key in ["alert", "expr"] {
            assert!(rule[key].is_string(), "{rule}");
        }
        let command = rule["annotations"]["command"].as_str().unwrap();
        assert!(command.starts_with("baton "), "{rule}");
        let expr = rule["expr"].as_str().unwrap();
        let grouped = by.captures_iter(expr).flat_map(|by| {
            by[1]
                .split(',')
                .map(|one| one.trim().to_owned())
                .collect::<Vec<_>>()
        });
        let grouped: Vec<String> = grouped.collect();
        for said in number.captures_iter(expr) {
            found += 1;
            let name = &said[1];
            // as a number, and not in the words about one: a counter of what never happened yet is there as well
            let is_it = |line: &&str| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
            };
            let lines: Vec<&str> = metrics.lines().filter(is_it).collect();
            assert!(!lines.is_empty(), "there is no number {name}");
            let labels = said.get(2).map_or("", |labels| labels.as_str());
            let labels = label.captures_iter(labels).map(|label| label[1].to_owned());
            // whose it is says whoever asks for the numbers
            let all = labels.chain(grouped.clone());
            for label in all.filter(|label| label != "instance") {
                let has = lines
                    .iter()
                    .any(|line| line.contains(&format!("{label}=\"")));
                assert!(has, "{name} has no label {label}: {lines:?}");
            }
        }
    }
    assert!(found >= 8);
}
