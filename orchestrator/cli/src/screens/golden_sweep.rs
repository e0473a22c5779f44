//! The screens of a sweep at 60, 80 and 160 columns, from sagas that were really swept: one that keeps the promise, and one in a world in
//! which a rule is broken on purpose.

use std::sync::Arc;

use baton_engine::Definition;
use baton_sim::Fault;
use baton_sim::sweep::{Beside, Given, Sweep, Trouble};

use super::sweep::{self, Swept};
use crate::commands::check::known;
use crate::out::{Line, Screen, width as wide};

const SAGA: &str = r#"
saga: move-host
version: 3
owner: network-team
input:
  type: object
  required: [host, quiet]
  properties: { host: { type: string, pattern: "^[a-z]+-[0-9]+$" }, quiet: { type: boolean } }
steps:
  - id: announced
    task: file.write@1
    with: { path: "${ '/srv/' + input.host }", content: moving }
  - id: moved_to_its_new_place
    task: test.effect@1
    with: { key: "${ input.host }" }
  - id: agreed
    approve: { by: operator, timeout: 2h, on_timeout: park }
  - id: told
    if: ${ !input.quiet }
    task: test.effect@1
    on_error: park
"#;

/// One that has that one as a step, for each of two.
const PARENT: &str = r#"
saga: move-rack
version: 1
owner: site-team
input:
  type: object
  required: [rack]
  properties: { rack: { type: string } }
steps:
  - id: booked
    task: test.effect@1
    with: { key: "${ input.rack }" }
  - id: hosts
    saga: move-host@3
    for_each: [a-1, a-2]
    with: { host: "${ item }", quiet: false }
  - id: closed
    task: test.effect@1
    with: { key: done }
"#;

fn swept(fault: Option<Fault>) -> (Sweep, Swept) {
    swept_among(SAGA, "move-host.yaml", &Beside::default(), fault)
}

fn swept_among(text: &str, file: &str, beside: &Beside, fault: Option<Fault>) -> (Sweep, Swept) {
    let catalogue = known(None).unwrap();
    let definition = Arc::new(Definition::parse(text).unwrap());
    let (saga, steps) = (definition.saga.clone(), definition.steps.len());
    let version = definition.version;
    let ready = Sweep::among(definition, beside, &catalogue, &Given::default()).unwrap();
    let ready = match fault {
        Some(fault) => ready.with_fault(fault),
        None => ready,
    };
    let ran = ready.run(2, |_| true, |_, _| true);
    let swept = Swept {
        file: file.into(),
        command: format!("baton sweep {file}"),
        saga,
        version,
        steps,
        input_from: "made from its schema".into(),
        ends: baton_engine::Status::Completed,
        seconds: 0.5,
        whole: ran.whole,
        left_out: ran.left_out,
        cells: ran.cells,
    };
    (ready, swept)
}

fn seen(draw: impl Fn(usize) -> Vec<Line>) -> String {
    let mut all = String::new();
    for columns in [60, 80, 160] {
        let mut screen = Screen::kept(columns);
        draw(columns).iter().for_each(|line| screen.line(line));
        let text = screen.text();
        for line in text.lines() {
            let command = line.contains("baton sweep");
            assert!(wide(line) <= columns || command, "{columns}: {line}");
            assert_eq!(line.trim_end(), line, "blanks at the end");
        }
        all.push_str(&format!(
            "{:-<columns$}\n{text}\n",
            format!("--- {columns} ")
        ));
    }
    all
}

#[test]
fn what_becomes_of_a_saga() {
    let (ready, swept) = swept(None);
    assert!(swept.cells.iter().all(|cell| cell.broken.is_none()));
    insta::assert_snapshot!(seen(|width| sweep::lines(&swept, &ready, width)));
}

#[test]
fn a_broken_promise() {
    let (ready, mut swept) = swept(Some(Fault::FailedAfterActing));
    swept.cells.retain(|cell| cell.trouble == Trouble::Fails);
    assert!(swept.cells.iter().any(|cell| cell.broken.is_some()));
    insta::assert_snapshot!(seen(|width| sweep::lines(&swept, &ready, width)));
}

#[test]
fn what_is_broken_undisturbed_is_said_whatever_rows_are_wanted() {
    let (_, mut swept) = swept(None);
    swept.cells.clear();
    let rests = "saga: rests\nversion: 1\nsteps:\n  - { id: rest, sleep: 1s }\n";
    let definition = Definition::parse(rests).unwrap();
    let ready = Sweep::new(definition, &known(None).unwrap(), &Given::default()).unwrap();
    assert_eq!(sweep::json(&swept, &ready)["ok"], true);
    let ready = ready.with_fault(Fault::TimersForgotten);
    assert!(ready.undisturbed().broken.is_some());
    let text = seen(|width| sweep::lines(&swept, &ready, width));
    for word in [
        "Broken promises",
        "  undisturbed: ",
        "baton sweep move-host.yaml --seed 0 --trace",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert_eq!(sweep::json(&swept, &ready)["ok"], false);
}

#[test]
fn an_event_that_was_published_is_not_called_undone() {
    let told = "  - { id: told, emit: { type: com.example.told }, because: it is so }\n";
    let rest = "  - { id: rest, sleep: 1s }\n";
    for (steps, word) in [
        (
            format!("{told}{rest}"),
            "un all undone but for events that were published,",
        ),
        (format!("{rest}{told}"), "un all undone,"),
    ] {
        let yaml = format!("saga: tells\nversion: 1\nsteps:\n{steps}");
        let (ready, swept) = swept_among(&yaml, "tells.yaml", &Beside::default(), None);
        let text = seen(|width| sweep::lines(&swept, &ready, width));
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(word), "{word}: {text}");
    }
}

#[test]
fn a_start_that_is_refused_is_said_first_and_nothing_is_proposed_that_is_not_taken() {
    let long = "saga: long\nversion: 1\nlocks: [\"x/${ input.name }\"]\ninput: { type: object, required: [name], properties: { name: { type: string, minLength: 300 } } }\nsteps:\n  - { id: a, task: test.effect@1 }\n";
    let (ready, swept) = swept_among(long, "long.yaml", &Beside::default(), None);
    let why = ready.undisturbed().refused.clone().unwrap();
    assert!(why.contains("lock"), "{why}");
    let text = seen(|width| sweep::lines(&swept, &ready, width));
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let first = format!("Its start is refused, and nothing of it was played: {why}.");
    assert!(words.contains(&first), "{text}");
    for word in ["--ends", "Broken promises", "although nothing befalls it"] {
        assert!(!words.contains(word), "{word}: {text}");
    }
    assert!(sweep::unfinished(&swept, &ready));
    let json = sweep::json(&swept, &ready);
    assert_eq!(json["ok"], false);
    assert_eq!(json["undisturbed"]["refused"], why.as_str());
}

#[test]
fn an_undo_that_was_never_begun_is_named() {
    let saga = |when: &str| {
        format!(
            "saga: keeps\nversion: 1\ninput: {{ type: object, required: [keep], properties: {{ keep: {{ type: boolean }} }} }}\nsteps:\n  - {{ id: a, task: test.effect@1, undo: {{ when: \"${{ {when} }}\" }} }}\n  - {{ id: b, task: test.effect@1, undo: {{ when: \"${{ {when} }}\" }} }}\n  - {{ id: c, task: test.effect@1 }}\n"
        )
    };
    // whatever the first input is, there is one with which it is wanted
    for when in ["input.keep", "!input.keep"] {
        let (ready, swept) = swept_among(&saga(when), "keeps.yaml", &Beside::default(), None);
        let json = sweep::json(&swept, &ready);
        assert_eq!(json["never_undone"], serde_json::json!([]), "{when}");
    }
    let never = saga("input.keep && !input.keep");
    let (ready, swept) = swept_among(&never, "keeps.yaml", &Beside::default(), None);
    let json = sweep::json(&swept, &ready);
    assert_eq!(json["never_undone"], serde_json::json!(["a", "b"]));
    assert_eq!(json["ok"], true, "as where a step was never come to");
    let text = seen(|width| sweep::lines(&swept, &ready, width));
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("Never came to: undo of a, undo of b."),
        "{text}"
    );
}

#[test]
fn a_step_before_a_pivot_that_is_tolerated_is_undone_because_of_doubt() {
    let saga = "saga: tolerated\nversion: 1\nsteps:\n  - { id: a, task: test.effect@1 }\n  - { id: p, task: test.effect@1, pivot: true, on_error: continue }\n";
    let (ready, swept) = swept_among(saga, "tolerated.yaml", &Beside::default(), None);
    let json = sweep::json(&swept, &ready);
    assert_eq!(json["never_undone"], serde_json::json!([]));
    let rows = json["rows"].as_array().unwrap();
    let undo = rows.iter().find(|row| row["way"] == "undo").unwrap();
    assert_eq!(undo["turned_by"], "nobody can tell whether it happened");
    assert_eq!(json["ok"], true);
}

#[test]
fn one_play_again() {
    let (ready, swept) = swept(None);
    let parked = swept.cells.iter().find(|cell| cell.parked()).unwrap();
    let (row, trouble, played) = ready.again(parked.seed).unwrap();
    assert_eq!(played.status.as_str(), "parked");
    let draw = |width| sweep::again(&ready, row, trouble, &played, width);
    insta::assert_snapshot!(seen(draw));
    let json = sweep::json(&swept, &ready);
    assert_eq!(json["ok"], true);
    let cells = json["rows"].as_array().unwrap().iter();
    let cells = cells.flat_map(|row| row["cells"].as_array().unwrap());
    assert_eq!(cells.count(), swept.cells.len());
}

#[test]
fn what_becomes_of_a_saga_with_another_within_it() {
    let mut beside = Beside::default();
    let child = Definition::parse(SAGA).unwrap();
    beside.add(Arc::new(child), Given::default());
    let (ready, mut swept) = swept_among(PARENT, "move-rack.yaml", &beside, None);
    let broken: Vec<_> = swept
        .cells
        .iter()
        .filter_map(|cell| cell.broken.as_ref())
        .collect();
    assert!(broken.is_empty(), "{broken:?}");
    insta::assert_snapshot!(seen(|width| sweep::lines(&swept, &ready, width)));
    let json = sweep::json(&swept, &ready);
    let rows = json["rows"].as_array().unwrap().iter();
    let steps: Vec<&str> = rows.filter_map(|row| row["step"].as_str()).collect();
    assert!(steps.contains(&"hosts/announced"), "{steps:?}");
    let told = ready.steps().find(|step| step.to_string() == "hosts/told");
    swept.left_out.extend(told);
    let text = seen(|width| sweep::lines(&swept, &ready, width));
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in [
        "Left out: the rows of 1 step of the sagas within it, such as hosts/told.",
        "--step hosts/told plays those of one",
    ] {
        assert!(words.contains(word), "{word}: {text}");
    }
    assert_eq!(sweep::json(&swept, &ready)["left_out"][0], "hosts/told");
}
