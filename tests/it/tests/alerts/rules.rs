//! The rules for Prometheus that are shipped.

use super::*;

/// The rules for Prometheus speak of numbers there are.
#[tokio::test]
async fn the_rules_of_prometheus_speak_of_numbers_there_are() {
    let system = looking(Setup::workers(0)).start().await;
    dead(&system, "odd").await;
    alert(&system, "dead-letter", "open").await;
    let rules = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../deploy/prometheus/alerts.yaml"
    );
    let text = std::fs::read_to_string(rules).unwrap();
    let rules: Value = serde_saphyr::from_str(&text).unwrap();
    let counted = "baton_orchestrator_alerts_open{kind=\"dead-letter\"} 1";
    let metrics = await_some("the alert to be counted", SOON, async || {
        let answer = reqwest::get(format!("{}/metrics", system.api.url())).await;
        let text = answer.ok()?.text().await.ok()?;
        text.contains(counted).then_some(text)
    })
    .await;
    let name = regex::Regex::new("baton_[a-z_]+").unwrap();
    let mut found = 0;
    for rule in rules["groups"][0]["rules"].as_array().unwrap() {
        for key in ["alert", "expr"] {
            assert!(rule[key].is_string(), "{rule}");
        }
        assert!(
            rule["annotations"]["command"]
                .as_str()
                .unwrap()
                .starts_with("baton "),
            "{rule}"
        );
        for name in name.find_iter(rule["expr"].as_str().unwrap()) {
            found += 1;
            // as a number, and not in the words about one: a counter of what never happened yet is there as well
            let is_said = metrics.lines().any(|line| line.starts_with(name.as_str()));
            assert!(is_said, "{}", name.as_str());
        }
    }
    assert!(found >= 8);
}
