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
