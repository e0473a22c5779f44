//! The rules for Prometheus that are shipped: they speak of numbers there are, and fire when they should.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

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

/// How long a number may take that is there only once somebody has looked: the loop has taken in a letter, whoever leads has looked for alerts and for replays, the
/// store was counted. Each comes by itself and stays, in an order nobody promises, and each is waited for by itself.
const COUNTED: Duration = Duration::from_secs(180);

/// What a rule asks of a number: its name, a label of it, and what that may say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    number: String,
    label: Option<(String, Says)>,
}

/// What a label says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Says {
    Anything,
    This(String),
    /// Something that a regular expression fits as a whole.
    Like(String),
}

impl Wanted {
    /// Whether it stands in the numbers: as one, and not in the words about it. What never happened yet is there as well.
    fn is_in(&self, metrics: &str) -> bool {
        let labels = metrics
            .lines()
            .filter_map(|line| line.strip_prefix(self.number.as_str()))
            .filter(|rest| rest.starts_with(['{', ' ']));
        let mut labels =
            labels.map(|rest| rest.rsplit_once(' ').map_or(rest, |(labels, _)| labels));
        let Some((name, says)) = &self.label else {
            return labels.next().is_some();
        };
        let value = match says {
            Says::Anything => "[^\"]*".to_owned(),
            Says::This(value) => regex::escape(value),
            Says::Like(pattern) => format!("(?:{pattern})"),
        };
        let label = regex::Regex::new(&format!("[{{,]{name}=\"{value}\"[,}}]")).unwrap();
        labels.any(|labels| label.is_match(labels))
    }
}

/// All that the expression of a rule speaks of.
fn wanted(expr: &str) -> Vec<Wanted> {
    let number = regex::Regex::new(r"(baton_[a-z_]+)(?:\{([^}]*)\})?").unwrap();
    let label = regex::Regex::new(r#"([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)""#).unwrap();
    let by = regex::Regex::new(r"by \(([a-z_, ]+)\)").unwrap();
    let grouped = by.captures_iter(expr).flat_map(|by| {
        let names = by[1].split(',').map(|name| name.trim().to_owned());
        names.collect::<Vec<_>>()
    });
    // whose it is says whoever asks for the numbers
    let grouped: Vec<String> = grouped.filter(|name| name != "instance").collect();
    let mut all = Vec::new();
    for said in number.captures_iter(expr) {
        let of = |label| Wanted {
            number: said[1].to_owned(),
            label,
        };
        all.push(of(None));
        let labels = said.get(2).map_or("", |labels| labels.as_str());
        for label in label.captures_iter(labels) {
            let value = label[3].to_owned();
            let says = match &label[2] {
                "=" | "!=" => Says::This(value),
                _ => Says::Like(value),
            };
            all.push(of(Some((label[1].to_owned(), says))));
        }
        let grouped = grouped.iter().cloned();
        all.extend(grouped.map(|name| of(Some((name, Says::Anything)))));
    }
    all
}

#[test]
fn a_rule_that_speaks_of_what_is_never_said_is_found() {
    let metrics =
        "# TYPE baton_a gauge\nbaton_a{kind=\"dead-letter\",queue=\"x y\"} 1\nbaton_a_total 0\n";
    let missing = |expr: &str| {
        let all = wanted(expr).into_iter();
        all.filter(|one| !one.is_in(metrics)).count()
    };
    let there = [
        "baton_a > 0",
        "increase(baton_a_total[2m]) > 0",
        "sum by (kind, instance) (baton_a{kind=\"dead-letter\"})",
        "baton_a{kind=~\"dead-.*|parked\", queue!=\"x y\"}",
    ];
    for expr in there {
        assert_eq!(missing(expr), 0, "{expr}");
    }
    let never = [
        "baton_b > 0",
        "baton_a_ > 0",
        "max by (pool) (baton_a)",
        "baton_a{kind=\"dead\"}",
        "baton_a{kind=\"dead_letter\"}",
        "baton_a{ind=\"dead-letter\"}",
        "baton_a{kind=~\"dead\"}",
        "baton_a{queue!=\"x\"}",
    ];
    for expr in never {
        assert_eq!(missing(expr), 1, "{expr}");
    }
}

/// Each number, each label of it and each word that a label is asked for is one that an orchestrator says.
#[tokio::test]
async fn the_rules_of_prometheus_speak_of_numbers_there_are() {
    let setup = looking(Setup::workers(0)).orchestrator("dead_letters.adopt", "orders.dlq");
    let mut system = setup.start_without_orchestrator().await;
    system.vhost.declare("orders.dlq", "classic").await;
    system.orchestrator().wait_alive_in(SOON).await;
    system.await_ready().await;
    // how many stay in a queue is said once something was taken in from it
    dead(&system, "odd").await;
    let rules = yaml(RULES);
    let groups = rules["groups"].as_array().unwrap().iter();
    let mut all = BTreeSet::new();
    for rule in groups.flat_map(|group| group["rules"].as_array().unwrap()) {
        for key in ["alert", "expr"] {
            assert!(rule[key].is_string(), "{rule}");
        }
        let command = rule["annotations"]["command"].as_str().unwrap();
        assert!(command.starts_with("baton "), "{rule}");
        all.extend(wanted(rule["expr"].as_str().unwrap()));
    }
    assert!(all.len() >= 8, "{all:?}");
    for one in all {
        let what = format!("{one:?} among the numbers");
        await_until(&what, COUNTED, async || {
            let answer = system.api.ask("GET", "/metrics", "", None).await;
            answer.is_some_and(|answer| answer.body.as_str().is_some_and(|text| one.is_in(text)))
        })
        .await;
    }
}
