//! What holds for every program, tried on one that has a key of each kind.

use std::io::Write as _;

use serde::Deserialize;

use baton_settings::{ConfigError, Layers, Named, Program};

const PROGRAM: Program = Program {
    name: "baton-example",
    defaults: "[bus]\naddresses = [\"amqp://h/%2f\"]\n[work]\nat_once = 16\npools = [\"default\"]\ntoken = \"\"\nhow = \"fast\"\n",
    named: &[
        Named {
            section: "hooks",
            keys: Some(&["secret_file", "scheme"]),
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
    #[expect(dead_code, reason = "only read")]
    how: How,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum How {
    Fast,
    VerySlow,
    NotAtAll,
}

/// An entry that people name.
#[derive(Debug, Deserialize)]
struct WithHooks {
    #[expect(dead_code, reason = "only read")]
    hooks: std::collections::BTreeMap<String, Hook>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read")]
struct Hook {
    secret_file: String,
    scheme: How,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only read")]
struct WithCommands {
    commands: std::collections::BTreeMap<String, Hook>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only read")]
struct WithAddress {
    commands: std::collections::BTreeMap<String, std::net::SocketAddr>,
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

fn wrong<T: serde::de::DeserializeOwned + std::fmt::Debug>(
    file: &str,
    vars: &[(&str, &str)],
) -> String {
    let layers = layers(file, vars).expect("the keys are known");
    let error = layers.typed::<T>().expect_err("a value is wrong");
    error.to_string()
}

/// Whoever mistypes a value reads his own key and the choices there are, and where he has to look.
#[test]
fn a_value_that_is_none_is_told_in_plain_words_with_its_key_and_where_it_stands() {
    let said = wrong::<Settings>("", &[("BATON__WORK__HOW", "quick")]);
    let words = "cannot be used, in the variable BATON__WORK__HOW: `work.how` is \"quick\", and has to be \"fast\", \"very-slow\" or \"not-at-all\"";
    assert!(said.ends_with(words), "{said}");
    let said = wrong::<Settings>("[work]\nhow = 7\n", &[]);
    assert!(
        said.ends_with("`work.how` has to be one word, in quotes"),
        "{said}"
    );
    for (value, words) in [
        (
            "\"many\"",
            "is the text \"many\", and has to be a whole number",
        ),
        ("-1", "is -1, and has to be a whole number from 0"),
        ("[1]", "is a list, and has to be a whole number"),
        (
            "5000000000",
            "is 5000000000, and has to be a whole number from 0 to 4294967295",
        ),
    ] {
        let file = format!("[work]\nat_once = {value}\n");
        let said = wrong::<Settings>(&file, &[]);
        assert!(said.contains(&format!("`work.at_once` {words}")), "{said}");
        assert!(said.contains(", in /"), "the file is named: {said}");
    }
    let hook = |more: &str| wrong::<WithHooks>(&format!("[hooks.siem]\n{more}\n"), &[]);
    let said = hook("secret_file = \"/s\"");
    assert!(said.ends_with("`hooks.siem.scheme` is missing"), "{said}");
    // keys of an entry that only its type knows
    let file = "[commands.x]\nscheem = 1\n";
    let said = wrong::<WithCommands>(file, &[]);
    assert!(
        said.ends_with("`commands.x` has no key `scheem`; did you mean `scheme`?"),
        "{said}"
    );
    let said = wrong::<WithAddress>("[commands]\nlisten = \"here\"\n", &[]);
    assert!(
        said.ends_with(
            "`commands.listen` has to be an address with a port, such as 127.0.0.1:8470"
        ),
        "{said}"
    );
    let said = hook("secret_file = \"/s\"\nscheme = \"github\"");
    assert!(
        said.contains("`hooks.siem.scheme` is \"github\", and has to be \"fast\", "),
        "{said}"
    );
    assert!(
        !said.contains("variant") && !said.contains("enum"),
        "{said}"
    );
}

#[test]
fn a_value_out_of_range_is_told_with_where_it_stands() {
    let range = || ConfigError::Range {
        key: "work.at_once",
        rule: "has to be at least 1".to_owned(),
    };
    let said = |layers: Layers| layers.place(range()).to_string();
    let variable = said(layers("", &[("BATON__WORK__AT_ONCE", "0")]).unwrap());
    assert!(
        variable.ends_with("has to be at least 1 (it stands in the variable BATON__WORK__AT_ONCE)"),
        "{variable}"
    );
    let file = said(layers("[work]\nat_once = 0\n", &[]).unwrap());
    assert!(file.contains("(it stands in /"), "{file}");
    let flag = Layers::read(&PROGRAM, None, [], &[("work.at_once", 0.into())]).unwrap();
    assert!(said(flag).contains("(it stands in a flag of the command line)"));
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
    assert!(
        said.contains("`wrk.at_once` (it stands in the variable BATON__WRK__AT_ONCE)"),
        "{said}"
    );
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
