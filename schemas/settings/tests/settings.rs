//! What holds for every program, tried on one that has a key of each kind.

use std::io::Write as _;

use serde::Deserialize;

use baton_settings::{ConfigError, Layers, Named, Program};

const PROGRAM: Program = Program {
    name: "baton-example",
    defaults: "[bus]\naddresses = [\"amqp://h/%2f\"]\n[work]\nat_once = 16\npools = [\"default\"]\ntoken = \"\"\n",
    named: &[
        Named {
            section: "hooks",
            keys: Some(&["secret_file"]),
        },
        Named {
            section: "commands",
            keys: None,
        },
    ],
    secrets: &["token"],
};

#[derive(Debug, Deserialize)]
struct Settings {
    work: Work,
}

#[derive(Debug, Deserialize)]
struct Work {
    at_once: u32,
    pools: Vec<String>,
    token: Option<String>,
}

/// A file of settings; gone with the value.
fn written(file: &str) -> tempfile::NamedTempFile {
    let mut written = tempfile::NamedTempFile::new().expect("a file can be made");
    let wrote = written.write_all(file.as_bytes());
    wrote.expect("it can be written");
    written
}

fn layers(file: &str, vars: &[(&str, &str)]) -> Result<Layers, ConfigError> {
    let written = written(file);
    let vars = vars
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Layers::read(&PROGRAM, Some(written.path()), vars, &[])
}

#[test]
fn each_layer_wins_over_the_one_before_and_an_empty_text_is_not_set() {
    let settings = |file, vars: &[_]| -> Settings { layers(file, vars).unwrap().typed().unwrap() };
    let work = settings("", &[]).work;
    assert_eq!((work.at_once, work.token), (16, None));
    let file = "[work]\nat_once = 10\ntoken = \"t\"\n";
    let vars = [
        ("BATON__WORK__AT_ONCE", "20"),
        ("BATON__WORK__POOLS", "oslo,bergen"),
    ];
    let work = settings(file, &vars).work;
    assert_eq!((work.at_once, work.token.as_deref()), (20, Some("t")));
    assert_eq!(work.pools, ["oslo", "bergen"]);
    let flag = [("work.at_once", 30.into())];
    let said = vars.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let flagged = Layers::read(&PROGRAM, None, said, &flag).unwrap();
    assert_eq!(flagged.typed::<Settings>().unwrap().work.at_once, 30);
}

#[test]
fn a_text_stays_as_it_is_written_and_a_list_is_one_however_short() {
    let vars = [
        ("BATON__WORK__TOKEN", "007"),
        ("BATON__WORK__POOLS", "7"),
        ("BATON__WORK__AT_ONCE", "20"),
    ];
    let work = layers("", &vars).unwrap().typed::<Settings>().unwrap().work;
    assert_eq!(work.token.as_deref(), Some("007"));
    assert_eq!(work.pools, ["7"]);
    assert_eq!(work.at_once, 20);
    let vars = [("BATON__WORK__POOLS", "")];
    let work = layers("", &vars).unwrap().typed::<Settings>().unwrap().work;
    assert_eq!(work.pools, ["default"], "empty is not set");
}

#[test]
fn a_value_of_the_wrong_kind_is_named_without_its_password() {
    let file = "[work]\nat_once = \"amqp://anna:hunter2@host\"\n";
    let error = layers(file, &[]).unwrap().typed::<Settings>().unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("work.at_once") && said.contains("anna:***@host"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_file_that_is_no_toml_is_told_by_its_place_and_never_by_its_line() {
    for (file, place) in [
        ("[work]\ntoken = \"hunter2\n", "line 2, column 17"),
        ("[work]\ntoken = hunter2\n", "line 2, column 9"),
        (
            "[bus]\naddresses = [\"amqp://anna:hunter2@host\" \"x\"]\n",
            "line 2, column 41",
        ),
        (
            "[work]\ntoken = \"hunter2\"\ntoken = \"hunter2\"\n",
            "line 3, column 1",
        ),
        ("[work]\n\"hunter2", "line 2, column 9"),
    ] {
        let error = layers(file, &[]).unwrap_err();
        let mut said = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(because) = cause {
            said += &format!(": {because}");
            cause = because.source();
        }
        assert!(said.contains(place), "{file}: {said}");
        assert!(
            !said.contains("hunter2") && !format!("{error:?}").contains("hunter2"),
            "{said} {error:?}"
        );
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_and_what_is_for_another_program_is_not() {
    let refused = |file, vars: &[_]| layers(file, vars).unwrap_err().to_string();
    let said = refused("[work]\nat_onse = 1\n", &[]);
    assert!(said.contains("did you mean `work.at_once`?"), "{said}");
    assert!(said.contains("`baton-example config` prints"), "{said}");
    let said = refused("", &[("BATON__WRK__AT_ONCE", "1")]);
    assert!(said.contains("`wrk.at_once`"), "{said}");
    let said = refused("[zebra]\nstripes = 1\n", &[]);
    assert!(!said.contains("did you mean"), "{said}");
    layers("", &[("BATON__STORE__DATA_DIR", "/of/another")]).unwrap();
}

#[test]
fn entries_have_the_names_people_give_them() {
    layers("[hooks.git-hub]\nsecret_file = \"/s\"\n", &[]).unwrap();
    layers("[commands.x]\nanything = 1\n", &[]).unwrap();
    let error = layers("[hooks.siem]\nsecret = \"plain\"\n", &[]).unwrap_err();
    assert!(error.to_string().contains("`hooks.siem.secret`"), "{error}");
}

#[test]
fn what_is_shown_hides_secrets_and_can_be_read_again() {
    let file = "[bus]\naddresses = [\"amqp://anna:hunter2@host/%2f\"]\n[work]\ntoken = \"0123456789abcdef\"\n";
    let shown = layers(file, &[]).unwrap().shown();
    assert!(
        !shown.contains("hunter2") && !shown.contains("0123456789abcdef"),
        "{shown}"
    );
    assert!(shown.contains("amqp://anna:***@host/%2f"), "{shown}");
    let digits = layers("", &[("BATON__WORK__TOKEN", "1234567890123456")]).unwrap();
    assert!(
        !digits.shown().contains("1234567890123456"),
        "{}",
        digits.shown()
    );
    let again: toml::Table = shown.parse().unwrap();
    assert_eq!(again["work"]["at_once"].as_integer(), Some(16));
}
