//! The configuration's promises: every default fits, layers win in order, unknown keys are refused, secrets stay hidden.

use std::io::Write as _;

use super::*;

fn layers(file: &str, vars: &[(&str, &str)]) -> Result<Layers, ConfigError> {
    let written = written(file);
    let vars = vars
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Layers::read(&PROGRAM, Some(written.path()), vars, &[])
}

fn config(file: &str, vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::of(layers(file, vars)?)
}

fn written(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn the_defaults_are_a_whole_configuration() {
    let config = config("", &[]).unwrap();
    assert_eq!(
        config.http.listen,
        Listen::At("127.0.0.1:8471".parse().unwrap())
    );
    assert_eq!(config.automations.test_effect.ledger_url, None);
    assert_eq!(config.options().unwrap().concurrency, 16);
}

#[test]
fn every_default_has_a_comment_above_its_section_or_itself() {
    let mut commented = false;
    for line in DEFAULTS.lines() {
        if line.starts_with('#') {
            commented = true;
        } else if line.is_empty() || line.starts_with('[') {
            commented = false;
        } else {
            assert!(commented, "no word about `{line}`");
        }
    }
}

#[test]
fn the_environment_wins_over_the_file_and_lists_are_split() {
    let vars = [
        ("BATON__WORKER__CONCURRENCY", "20"),
        ("BATON__WORKER__POOLS", "oslo,bergen"),
        ("BATON__STORE__DATA_DIR", "/of/the/orchestrator"),
        ("BATON__HTTP__LISTEN", "off"),
    ];
    let file = "[worker]\nconcurrency = 10\nthreads = 2\n";
    let config = config(file, &vars).unwrap();
    assert_eq!((config.worker.concurrency, config.worker.threads), (20, 2));
    let pools: Vec<&str> = config.worker.pools.iter().map(PoolName::as_str).collect();
    assert_eq!(pools, ["oslo", "bergen"]);
    assert_eq!(config.http.listen, Listen::Off);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest() {
    let error = layers("[worker]\nconcurency = 10\n", &[]).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("did you mean `worker.concurrency`?"),
        "{said}"
    );
    let error = layers("", &[("BATON__WORKR__NAME", "x")]).unwrap_err();
    assert!(error.to_string().contains("`workr.name`"), "{error}");
    layers("[zebra]\nstripes = 1\n", &[]).unwrap_err();
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    for (file, key) in [
        ("[worker]\nconcurrency = 0\n", "worker.concurrency"),
        ("[worker]\nconcurrency = 2001\n", "worker.concurrency"),
        ("[worker]\nthreads = 0\n", "worker.threads"),
        ("[worker]\npools = []\n", "worker.pools"),
        ("[worker]\nheartbeat_ms = 1\n", "worker.heartbeat_ms"),
        ("[worker]\nheartbeat_ms = 60000\n", "worker.heartbeat_ms"),
        ("[worker]\nkill_grace_ms = 10001\n", "worker.kill_grace_ms"),
        ("[worker]\nname = \"a b\"\n", "worker.name"),
    ] {
        let error = config(file, &[]).unwrap_err();
        assert!(error.to_string().contains(key), "{file}: {error}");
    }
}

#[test]
fn what_is_shown_hides_passwords_and_can_be_read_again() {
    let file = "[bus]\naddresses = [\"amqp://anna:hunter2@host/%2f\"]\n";
    let shown = layers(file, &[]).unwrap().shown();
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("amqp://anna:***@host/%2f"), "{shown}");
    let again: toml::Table = shown.parse().unwrap();
    assert_eq!(again["worker"]["concurrency"].as_integer(), Some(16));
}
