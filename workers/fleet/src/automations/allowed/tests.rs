//! What a task can fill in, and what it cannot.
#![expect(
    clippy::unwrap_in_result,
    reason = "what is prepared for a test must work; only what is tested may fail"
)]

use serde_json::json;

use super::*;

fn list(toml: &str) -> Result<Allowed, AllowError> {
    let config: BTreeMap<String, CommandConfig> = toml::from_str(toml).unwrap();
    Allowed::new(&config)
}

const DEPLOY: &str = r#"
[deploy]
program = "/usr/bin/deploy"
args = ["--release={release}", "{target}", "{note}", "{\"a\": {}}"]
effect = "irreversible"
[deploy.params.release]
pattern = "r[0-9]+"
[deploy.params.target]
values = ["blue", "green", "-x"]
[deploy.params.note]
pattern = ".*"
optional = true
"#;

fn args_of(given: Value) -> Result<String, String> {
    let allowed = list(DEPLOY).unwrap();
    let values = serde_json::from_value(given).unwrap();
    let filling = Filling {
        args: &values,
        secrets: &BTreeMap::new(),
        dir: None,
    };
    let run = allowed.get("deploy").unwrap().run(filling);
    run.map(|run| run.shown_args())
        .map_err(|error| error.to_string())
}

#[test]
fn values_fill_arguments_and_never_make_more() {
    assert_eq!(
        args_of(json!({ "release": "r7", "target": "blue", "note": "a b; $(c)" })).unwrap(),
        r#"["--release=r7", "blue", "a b; $(c)", "{\"a\": {}}"]"#
    );
    assert_eq!(
        args_of(json!({ "release": "r7", "target": "blue" })).unwrap(),
        r#"["--release=r7", "blue", "{\"a\": {}}"]"#
    );
}

#[test]
fn what_does_not_fit_is_refused_with_its_name() {
    let cases = [
        (json!({ "target": "blue" }), "`release` is missing"),
        (
            json!({ "release": "r7 ", "target": "blue" }),
            "`release` does not fit",
        ),
        (
            json!({ "release": "xr7", "target": "blue" }),
            "`release` does not fit",
        ),
        (
            json!({ "release": "r7", "target": "red" }),
            "`target` is none of",
        ),
        (
            json!({ "release": "r7", "target": "-x" }),
            "begins with `-`",
        ),
        (
            json!({ "release": "r7", "target": "blue", "note": "--force" }),
            "begins with `-`",
        ),
        (
            json!({ "release": "r7", "target": "blue", "note": "a\nb" }),
            "control characters",
        ),
        (
            json!({ "release": ["r7"], "target": "blue" }),
            "neither text",
        ),
        (
            json!({ "release": "r7", "target": "blue", "program": "/bin/sh" }),
            "no parameter `program`",
        ),
    ];
    for (given, said) in cases {
        let error = args_of(given.clone()).unwrap_err();
        assert!(error.contains(said), "{given}: {error}");
    }
    let allowed = list(DEPLOY).unwrap();
    let error = allowed.get("rm").unwrap_err();
    assert!(error.to_string().contains("allowed are deploy") && error.nothing_changed());
}

#[test]
fn a_wrong_entry_is_refused_at_the_start() {
    let entry = |rest: &str| format!("[a]\nprogram = \"/bin/true\"\neffect = \"none\"\n{rest}");
    let cases = [
        (
            "[a]\nprogram = \"sh\"\neffect = \"none\"\n".to_owned(),
            "absolute",
        ),
        (entry("args = [\"{x}\"]"), "{x}, which is no parameter"),
        (entry("[a.params.x]"), "needs a pattern or values"),
        (entry("[a.params.x]\npattern = \"(\""), "params.x.pattern"),
        (entry("undo = \"b\""), "undo names `b`"),
        (
            entry("env = [\"LD_PRELOAD=/x.so\"]"),
            "LD_PRELOAD is refused",
        ),
        (entry("[a.secrets.x]"), "secrets.x needs env or file"),
        (
            entry("[a.secrets.x]\nenv = \"X\"\nfile = \"x\""),
            "secrets.x needs env or file",
        ),
        (
            entry("[a.secrets.x]\nenv = \"LD_PRELOAD\""),
            "secrets.x: the variable LD_PRELOAD is refused",
        ),
        (
            entry("[a.secrets.x]\nfile = \"../x\""),
            "no plain file name",
        ),
        (
            "[a]\nprogram = \"/bin/true\"\neffect = \"reversible\"\n".to_owned(),
            "undo names no entry",
        ),
        (
            "[a]\nprogram = \"/bin/true\"\neffect = \"irreversible\"\nundo = \"a\"\n".to_owned(),
            "one or the other",
        ),
        (entry("sha256 = \"abc\""), "no SHA-256"),
        (entry("files_sha256 = { \"/x\" = \"abc\" }"), "/x: `abc`"),
        (entry("capabilities = [\"god\"]"), "`god` is no capability"),
        (
            entry("dir = \"/srv\"\nsandbox.landlock.read = [\"/opt\"]"),
            "runs in /srv",
        ),
        (
            entry("may_gain_privileges = true\nsandbox.landlock.read = [\"/opt\"]"),
            "cannot be shut in",
        ),
        (entry("dirs = [\"/no/such/folder\"]"), "/no/such/folder"),
        (entry("user = \"no-such-user-here\""), "no user"),
        (entry("result_schema = \"/no/such/file\""), "/no/such/file"),
    ];
    for (toml, said) in cases {
        let error = list(&toml).unwrap_err().to_string();
        assert!(
            error.contains(said) && error.contains("[commands.a]"),
            "{toml}: {error}"
        );
    }
}

#[test]
fn a_folder_is_chosen_only_below_those_allowed_and_no_link_leads_out() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("site")).unwrap();
    std::os::unix::fs::symlink("/etc", root.join("out")).unwrap();
    let toml = format!("[a]\nprogram = \"/bin/true\"\neffect = \"none\"\ndirs = [{root:?}]\n");
    let allowed = list(&toml).unwrap();
    let command = allowed.get("a").unwrap();
    let at = |below: &str| {
        command.run(Filling {
            args: &BTreeMap::new(),
            secrets: &BTreeMap::new(),
            dir: root.join(below).to_str(),
        })
    };
    assert!(at("site").is_ok());
    for below in ["out", "..", "site/../..", "missing"] {
        assert_eq!(at(below).unwrap_err().code(), "folder-refused", "{below}");
    }
}

#[test]
fn secrets_are_what_the_entry_takes_no_more_and_no_less_and_no_argument() {
    let toml = "[a]\nprogram = \"/bin/true\"\neffect = \"none\"\nargs = [\"x\"]\n\
                secrets.token.env = \"TOKEN\"\nsecrets.key.file = \"key\"\n";
    let allowed = list(toml).unwrap();
    let command = allowed.get("a").unwrap();
    let run = |given: &[&str]| {
        let secret = |name: &&str| ((*name).to_owned(), SecretText::text("hunter2hunter2"));
        let secrets = given.iter().map(secret).collect();
        command.run(Filling {
            args: &BTreeMap::new(),
            secrets: &secrets,
            dir: None,
        })
    };
    let shown = run(&["token", "key"]).unwrap();
    assert_eq!(shown.shown_args(), r#"["x"]"#);
    for (given, said) in [
        (&["token"][..], "the secret `key` is missing"),
        (
            &["token", "key", "more"],
            "takes no secret `more`; it takes key, token",
        ),
    ] {
        let error = run(given).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.nothing_changed() && !error.to_string().contains("hunter2"));
    }
}
