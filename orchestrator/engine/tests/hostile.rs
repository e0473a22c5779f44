//! Small documents that stand for much. Guarantee: what is looked at and what is told of them is bounded, whoever wrote them: the checker runs in orchestrators, for
//! everybody who may look.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use baton_engine::Catalogue;
use baton_engine::definition::{Checked, NoSagas, Unannounced, check_among};

fn check(document: &str) -> Checked {
    check_among(
        document,
        &Catalogue::default(),
        &NoSagas,
        Unannounced::Warned,
    )
}

fn codes(document: &str) -> Vec<&'static str> {
    check(document).errors.iter().map(|one| one.code).collect()
}

const STEP: &str = "steps:\n  - id: nap\n    sleep: 1s\n";

/// Schemas of which each refers to the next one twice, by `word`.
fn doubling(levels: usize, word: &str) -> String {
    let mut document = String::from(
        "saga: s\nversion: 1\ninput:\n  type: object\n  $ref: \"#/$defs/d0\"\n  $defs:\n",
    );
    for level in 0..levels {
        let next = format!("{{ $ref: \"#/$defs/d{}\" }}", level + 1);
        let parts = match word {
            "properties" => format!("properties: {{ a: {next}, b: {next} }}"),
            word => format!("{word}: [{next}, {next}]"),
        };
        let _ = writeln!(document, "    d{level}: {{ type: object, {parts} }}");
    }
    let _ = writeln!(
        document,
        "    d{levels}: {{ type: object, required: [n], properties: {{ n: {{ type: integer }} }} }}"
    );
    document + STEP + "output: { n: \"${ input.n }\" }\n"
}

#[test]
fn a_schema_whose_parts_refer_to_the_next_one_twice_is_looked_at_no_further_than_it_is_worth() {
    // unfolded these would be a billion schemas, each for a part of a value of its own
    assert_eq!(codes(&doubling(30, "properties")), [] as [&str; 0]);
    for word in ["allOf", "anyOf", "oneOf"] {
        // and here all of them for the same value
        assert_eq!(codes(&doubling(30, word)), ["BT0015"], "{word}");
        assert_eq!(codes(&doubling(10, word)), [] as [&str; 0], "{word}");
    }
}

#[test]
fn a_schema_that_doubles_with_each_level_of_a_value_is_refused_before_there_is_one() {
    let head = "saga: s\nversion: 1\n";
    let of = |input: &str| format!("{head}input: {input}\n{STEP}");
    let twice = "{ properties: { a: { allOf: [{ $ref: '#' }, { $ref: '#' }] } } }";
    let found = check(&of(twice)).errors;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].code, found[0].line, found[0].column),
        ("BT0015", 3, 1)
    );
    assert_eq!(codes(&of("{ allOf: [{ $ref: '#' }] }")), ["BT0015"]);
    // a tree of two branches is as large as its values
    let tree = "{ properties: { left: { $ref: '#' }, right: { $ref: '#' } } }";
    assert_eq!(codes(&of(tree)), [] as [&str; 0]);
}

#[test]
fn what_aliases_stand_for_is_counted_before_it_is_copied() {
    let mut document = format!(
        "saga: s\nversion: 1\ntitle: &a \"{}\"\nlabels:\n",
        "x".repeat(100_000)
    );
    for n in 0..40_000 {
        let _ = writeln!(document, "  l{n}: *a");
    }
    assert_eq!(codes(&(document + STEP)), ["BT0015"]);
}

#[test]
fn a_text_holds_so_many_expressions_and_no_more() {
    let of = |n: usize| {
        let text = "${ input.a + 1 } ".repeat(n);
        format!("saga: s\nversion: 1\n{STEP}output: \"{text}\"\n")
    };
    assert_eq!(codes(&of(1_000)), [] as [&str; 0]);
    let found = check(&of(8_000));
    assert_eq!(found.errors.len(), 1);
    assert!(
        found.errors[0].message.contains("more than 1000"),
        "{:?}",
        found.errors
    );
}

#[test]
fn of_very_many_mistakes_the_first_are_told_and_how_many_more_there_are() {
    let mut document = format!("saga: s\nversion: 1\n{STEP}");
    for n in 0..20_000 {
        let _ = writeln!(document, "unknown{n}: 1");
    }
    let found = check(&document).errors;
    assert_eq!(found.len(), 101);
    let last = &found[100];
    assert_eq!((last.code, last.line), ("BT0015", 106));
    assert!(last.message.contains("19900 more"), "{last:?}");
}

/// What the check of one text may take, as the page about the language says. Both are many times what it takes: they tell what grows without end from what does not.
const MEMORY_BYTES_MAX: u64 = 256 * 1024 * 1024;
const CHECK_SECONDS_MAX: u64 = 60;

/// Says to a process of this test which of the texts it is to check.
const NTH: &str = "BATON_TEST_HOSTILE_TEXT";

fn texts() -> Vec<(&'static str, String)> {
    let head = "saga: s\nversion: 1\n";
    let input = "input: { type: object, properties: { a: { type: integer } } }\n";
    let returns = |what: &str| format!("{head}{input}{STEP}output: {}\n", serde_json::json!(what));
    let nested = |open: &str, times: usize, close: &str| {
        returns(&format!(
            "${{ {}1{} }}",
            open.repeat(times),
            close.repeat(times)
        ))
    };
    let many =
        |line: &dyn Fn(usize) -> String, count: usize| (0..count).map(line).collect::<String>();
    let tenfold = |n: usize| match n {
        0 => "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n".to_owned(),
        n => format!(
            "a{n}: &a{n} [{}]\n",
            vec![format!("*a{}", n - 1); 10].join(",")
        ),
    };
    let chain = |n: usize| match n {
        0 => "  - { id: s0, task: test.echo@1 }\n".to_owned(),
        n => format!(
            "  - {{ id: s{n}, task: test.echo@1, with: {{ value: \"${{ s{} }}\" }} }}\n",
            n - 1
        ),
    };
    let mut texts = vec![
        (
            "aliases of aliases",
            format!("{head}{}{STEP}", many(&tenfold, 12)),
        ),
        (
            "one alias in many places",
            format!(
                "{head}title: &a \"{}\"\nlabels:\n{}{STEP}",
                "x".repeat(100_000),
                many(&|n| format!("  l{n}: *a\n"), 20_000)
            ),
        ),
        (
            "lists in lists",
            format!(
                "{head}{STEP}output: {}{}\n",
                "[".repeat(100_000),
                "]".repeat(100_000)
            ),
        ),
        (
            "keys nobody knows",
            format!(
                "{head}{STEP}{}",
                many(&|n| format!("unknown{n}: 1\n"), 20_000)
            ),
        ),
        (
            "a thousand steps after each other",
            format!("{head}steps:\n{}", many(&chain, 1_000)),
        ),
        (
            "expressions in a text",
            returns(&"${ input.a + 1 } ".repeat(8_000)),
        ),
        (
            "as many as there may be",
            returns(&"${ input.?a } ".repeat(1_000)),
        ),
        ("a long text", returns(&"x".repeat(380_000))),
        ("brackets", nested("(", 1_900, ")")),
        ("sums", nested("1+", 1_900, "")),
        ("walks in walks", nested("[1].map(a, ", 200, ")")),
        ("guards in guards", nested("has(input.a) ? (", 100, ") : 2")),
    ];
    for word in ["properties", "allOf", "anyOf", "oneOf"] {
        texts.push((word, doubling(30, word)));
    }
    texts
}

/// What a process said that checks one text and does nothing else.
fn alone(name: &str, nth: usize) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "every_text_is_checked_within_the_time_and_the_memory_that_are_stated",
        ])
        .arg("--nocapture")
        .env(NTH, nth.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = String::new();
        let read = stdout.read_to_string(&mut said);
        send.send(read.map(|_| said))
    });
    let said = receive.recv_timeout(Duration::from_secs(CHECK_SECONDS_MAX));
    if said.is_err() {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    let said = said.unwrap_or_else(|_| panic!("{name}: not checked within {CHECK_SECONDS_MAX} s"));
    let said = said.unwrap();
    assert!(status.success(), "{name}: {status}\n{said}");
    said
}

/// The most memory this process has had at once, in KiB, where the kernel says so.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[test]
fn every_text_is_checked_within_the_time_and_the_memory_that_are_stated() {
    let texts = texts();
    if let Ok(nth) = std::env::var(NTH) {
        let (_, text) = &texts[nth.parse::<usize>().unwrap()];
        let found = check(text);
        assert!(found.errors.len() <= 101, "{} mistakes", found.errors.len());
        let peak = peak_kib().unwrap_or_default();
        // before it a test's own line may stand, without an end
        writeln!(std::io::stdout(), "\npeak {peak}").unwrap();
        return;
    }
    for (nth, (name, _)) in texts.iter().enumerate() {
        let said = alone(name, nth);
        let peak = said.lines().find_map(|line| line.strip_prefix("peak "));
        let peak = peak.unwrap_or_else(|| panic!("{name} was not checked: {said}"));
        let bytes = peak.parse::<u64>().unwrap() * 1024;
        assert!(bytes <= MEMORY_BYTES_MAX, "{name} took {bytes} bytes");
    }
}
