//! The configuration's promises: every default fits, layers win in order, unknown keys are refused, secrets stay hidden.

use std::io::Write as _;

use super::*;

fn written(file: &str) -> tempfile::NamedTempFile {
    let mut written = tempfile::NamedTempFile::new().unwrap();
    written.write_all(file.as_bytes()).unwrap();
    written
}

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

#[test]
fn the_defaults_are_a_whole_configuration() {
    let config = config("", &[]).unwrap();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8470");
    assert!(config.http.token.is_none(), "an empty text is not set");
    assert_eq!(config.bus.role, "orchestrator");
    assert!(!config.instance().is_empty());
}

#[test]
fn links_lead_to_where_we_are_found() {
    let link = |file: &str| config(file, &[]).unwrap().link().to_string();
    assert_eq!(link(""), "http://127.0.0.1:8470");
    let configured = link("[alerts]\nlink = \"https://baton.example.com/\"\n");
    assert_eq!(configured, "https://baton.example.com");
    let everywhere = link("[http]\nlisten = \"0.0.0.0:8470\"\ntoken = \"0123456789abcdef\"\n");
    let host = instance::host().unwrap();
    assert_eq!(everywhere, format!("http://{host}:8470"));
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
    let config = config(
        "[inbox]\nprefetch = 10\nbatch_max = 5\n",
        &[
            ("BATON__INBOX__PREFETCH", "20"),
            ("BATON__BUS__ADDRESSES", "amqp://a/%2f,amqp://b/%2f"),
        ],
    )
    .unwrap();
    assert_eq!(config.inbox.prefetch, 20);
    assert_eq!(config.inbox.batch_max, 5);
    assert_eq!(config.bus.addresses, ["amqp://a/%2f", "amqp://b/%2f"]);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest() {
    let error = layers("[inbox]\nprefech = 10\n", &[]).unwrap_err();
    assert!(
        error.to_string().contains("`inbox.prefech`")
            && error.to_string().contains("did you mean `inbox.prefetch`?"),
        "{error}"
    );
    let error = layers("", &[("BATON__HTTP__LISTN", "127.0.0.1:1")]).unwrap_err();
    assert!(error.to_string().contains("`http.listen`"), "{error}");
    let error = layers("[zebra]\nstripes = 1\n", &[]).unwrap_err();
    assert!(!error.to_string().contains("did you mean"), "{error}");
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    for (file, key) in [
        ("[inbox]\nprefetch = 0\n", "inbox.prefetch"),
        ("[inbox]\nbatch_max = 0\n", "inbox.batch_max"),
        ("[inbox]\nlinger_ms = 9999\n", "inbox.linger_ms"),
        ("[tasks]\ntogether_max = 0\n", "tasks.together_max"),
        ("[tasks]\ntogether_max = 65\n", "tasks.together_max"),
        ("[bus]\nlanes = 1\n", "bus.lanes"),
        ("[sagas]\nidle_ms = 1\n", "sagas.idle_ms"),
        ("[http]\ntoken = \"short\"\n", "http.token"),
        ("[triggers]\nprefetch = 0\n", "triggers.prefetch"),
        ("[triggers]\nbatch_max = 0\n", "triggers.batch_max"),
        ("[triggers]\nkeep_events_h = 0\n", "triggers.keep_events_h"),
        (
            "[triggers]\nhook_body_bytes_max = 999999\n",
            "triggers.hook_body_bytes_max",
        ),
        (
            "[triggers]\nhook_rate_per_minute = 0\n",
            "triggers.hook_rate_per_minute",
        ),
        ("[service]\ninstance = \"a b\"\n", "service.instance"),
        (
            "[retention]\nended_sagas = \"59m\"\n",
            "retention.ended_sagas",
        ),
        (
            "[retention]\nended_sagas = \"90\"\n",
            "retention.ended_sagas",
        ),
        (
            "[dead_letters]\nretention = \"59m\"\n",
            "dead_letters.retention",
        ),
    ] {
        let error = config(file, &[]).unwrap_err();
        assert!(error.to_string().contains(key), "{file}: {error}");
    }
}

#[test]
fn nothing_expires_unless_it_is_said_and_archives_lie_beside_the_store() {
    let policy = |file: &str| config(file, &[]).unwrap().retention();
    assert_eq!(policy(""), None);
    assert_eq!(policy("[retention]\narchive_dir = \"/a\"\n"), None);
    let kept = policy("[store]\ndata_dir = \"/d\"\n[retention]\nended_sagas = \"90d\"\n").unwrap();
    assert_eq!(kept.keep_ms, 90 * 86_400_000);
    assert_eq!(kept.archive, Some(PathBuf::from("/d/archive")));
    let kept = policy("[retention]\nended_sagas = \"1h\"\narchive_dir = \"/a\"\n").unwrap();
    assert_eq!(kept.archive, Some(PathBuf::from("/a")));
    let kept = policy("[retention]\nended_sagas = \"1h\"\narchive_dir = \"off\"\n").unwrap();
    assert_eq!(kept.archive, None);
}

#[test]
fn what_is_shown_hides_secrets_and_can_be_read_again() {
    let shown = layers(
        "[bus]\naddresses = [\"amqp://anna:hunter2@host/%2f\"]\n[http]\ntoken = \"0123456789abcdef\"\n",
        &[],
    )
    .unwrap()
    .shown();
    assert!(
        !shown.contains("hunter2") && !shown.contains("0123456789abcdef"),
        "{shown}"
    );
    assert!(shown.contains("amqp://anna:***@host/%2f"), "{shown}");
    let again: toml::Table = shown.parse().unwrap();
    assert_eq!(again["inbox"]["prefetch"].as_integer(), Some(2000));
}

#[test]
fn hooks_have_sections_of_their_own_names() {
    let config = config(
        "[hooks.git-hub]\nsecret_file = \"/s\"\nscheme = \"github\"\n",
        &[
            ("BATON__HOOKS__SIEM__SECRET_ENV", "SIEM_SECRET"),
            ("BATON__HOOKS__SIEM__SCHEME", "standard"),
            ("BATON__HOOKS__SIEM__TOLERANCE_S", "60"),
        ],
    )
    .unwrap();
    assert_eq!(config.hooks["git-hub"].scheme, Scheme::Github);
    assert_eq!(config.hooks["git-hub"].tolerance_s, 300);
    assert_eq!(
        config.hooks["siem"].secret_env.as_deref(),
        Some("SIEM_SECRET")
    );
    assert_eq!(config.hooks["siem"].tolerance_s, 60);
    let error = layers("[hooks.siem]\nsecret = \"plain\"\n", &[]).unwrap_err();
    assert!(error.to_string().contains("`hooks.siem.secret`"), "{error}");
}

#[test]
fn a_database_has_an_address_and_a_file_has_none() {
    let kind = ("BATON__STORE__KIND", "postgres");
    let url = ("BATON__STORE__URL", "postgres://ann:hunter22@db/baton");
    let both = config("", &[kind, url]).unwrap();
    assert_eq!(both.store.kind, StoreKind::Postgres);
    assert!(!format!("{both:?}").contains("hunter22"), "not shown");
    let shown = layers("", &[kind, url]).unwrap().shown();
    assert!(
        !shown.contains("hunter22") && shown.contains("db/baton"),
        "{shown}"
    );
    for (vars, key) in [
        (vec![kind], "store.url"),
        (vec![url], "store.url"),
        (
            vec![kind, url, ("BATON__STORE__LEASE_MS", "100")],
            "store.lease_ms",
        ),
        (vec![("BATON__STORE__READERS", "0")], "store.readers"),
    ] {
        let refused = config("", &vars).unwrap_err().to_string();
        assert!(refused.contains(key), "{refused}");
    }
}
