//! What the processes do whose task types are not all there yet, case by case, as `orchestrator/sagas/cases` tells it under `plays:`. Each case is played on
//! the real engine and driver in simulated time, with the values and the trouble it names: how the saga ends, which steps it has begun and which it never
//! does, and what a person is asked about. What is left of its effects is judged as in every play: all once, none, or somebody is asked about them.
#![expect(clippy::unwrap_used, reason = "a test may fail so")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use baton_engine::definition::{Together, Unannounced, check_among};
use baton_engine::{Catalogue, Definition};
use baton_messages::Manifest;
use baton_sim::sweep::{Beside, Given, Played, Sweep, Trouble, Way};
use serde::Deserialize;
use serde_json::{Value, json};

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it shows, in a sentence.
    case: String,
    /// What it is started with; made from the schema when left out.
    input: Option<Value>,
    /// What steps return; of an object only the fields that matter.
    #[serde(default)]
    returns: BTreeMap<String, Value>,
    /// What the events say that steps wait for.
    #[serde(default)]
    events: BTreeMap<String, Value>,
    /// What goes wrong.
    befalls: Option<Befalls>,
    /// `completed`, `compensated` or `parked`.
    ends: String,
    /// Steps that have begun by then, also those of sagas within it: `rest/stop`.
    #[serde(default)]
    begun: BTreeSet<String>,
    /// Steps that have not.
    #[serde(default)]
    never: BTreeSet<String>,
    /// Steps a person is asked about at the end.
    #[serde(default)]
    asked: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Befalls {
    step: String,
    /// By its name in `baton sweep --json`: `fails`, `rejected` …
    trouble: String,
    /// It befalls its undo.
    #[serde(default)]
    undo: bool,
}

fn library() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sagas")
}

fn manifests(file: &Path) -> Vec<Manifest> {
    let text = std::fs::read_to_string(file).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The task types there are, with those that are planned.
fn catalogue() -> Catalogue {
    let shipped = library().join("../../schemas/json/catalogue.json");
    let planned = library().join("planned.json");
    let mut catalogue = Catalogue::default();
    for manifest in manifests(&shipped).into_iter().chain(manifests(&planned)) {
        catalogue.announce(manifest).unwrap();
    }
    catalogue
}

fn text_of(name: &str) -> String {
    std::fs::read_to_string(library().join(format!("{name}.yaml"))).unwrap()
}

/// The cases a definition has to be played; none where they are run for real.
fn cases_of(name: &str) -> Vec<Case> {
    let file = library().join(format!("cases/{name}.yaml"));
    let Ok(text) = std::fs::read_to_string(&file) else {
        return Vec::new();
    };
    let read: Value = serde_saphyr::from_str(&text).unwrap();
    let plays = read.get("plays").cloned().unwrap_or_else(|| json!([]));
    let cases = serde_json::from_value(plays);
    cases.unwrap_or_else(|wrong| panic!("cases/{name}.yaml: plays: {wrong}"))
}

/// The definitions of the library, by their files.
fn names() -> BTreeSet<String> {
    let files = std::fs::read_dir(library()).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    files
        .filter_map(|file| Some(file.strip_suffix(".yaml")?.to_owned()))
        .collect()
}

/// Whether a step of it, or what takes one back, is of a task type that is only planned.
fn waits_for_types(name: &str) -> bool {
    let text = text_of(name);
    let planned = manifests(&library().join("planned.json"));
    planned
        .iter()
        .any(|one| text.contains(&format!("task: {}", one.task_type)))
}

/// Plays a case: with one trouble at one step, or with none.
fn played(sweep: &Sweep, case: &Case) -> Played {
    let Some(befalls) = &case.befalls else {
        return sweep.undisturbed().clone();
    };
    let way = if befalls.undo { Way::Undo } else { Way::Do };
    let trouble = Trouble::ALL.into_iter().find(|one| {
        let name = serde_json::to_value(one).unwrap();
        name == json!(befalls.trouble)
    });
    let trouble = trouble.unwrap_or_else(|| panic!("there is no trouble {}", befalls.trouble));
    // of an undo, that because its own saga turns back stands before that because one above does
    let row = sweep.rows().iter().position(|row| {
        let step = row.step.as_ref().map(ToString::to_string);
        step.as_ref() == Some(&befalls.step) && row.way == way
    });
    let row = row.unwrap_or_else(|| panic!("{befalls:?}: there is no such step"));
    let cell = sweep.cell(row, trouble, 1);
    let (_, _, played) = sweep.again(cell.seed).unwrap();
    assert!(played.struck, "{befalls:?} has befallen nothing");
    played
}

/// What does not come out as the case says.
fn wrong(played: &Played, case: &Case) -> Vec<String> {
    let begun: BTreeSet<String> = played.began().map(ToString::to_string).collect();
    let asked: BTreeSet<String> = played
        .asked
        .iter()
        .filter_map(|one| one.step.clone())
        .collect();
    let mut wrong: Vec<String> = played.broken.clone().into_iter().collect();
    if played.status.as_str() != case.ends {
        let why = played.why.as_deref().unwrap_or("all went well");
        wrong.push(format!("it is {}: {why}", played.status.as_str()));
    }
    let lacking = case.begun.difference(&begun);
    wrong.extend(lacking.map(|step| format!("{step} has not begun")));
    let odd = case.never.intersection(&begun);
    wrong.extend(odd.map(|step| format!("{step} has begun")));
    if asked != case.asked {
        wrong.push(format!("a person is asked about {asked:?}"));
    }
    wrong
}

/// Plays all cases of a process.
fn plays(name: &str) {
    let path = library().join(format!("{name}.yaml"));
    let (catalogue, text) = (catalogue(), text_of(name));
    let (mut together, mut beside) = (Together::default(), Beside::default());
    for other in names() {
        let definition = Arc::new(Definition::parse(&text_of(&other)).unwrap());
        together.add(definition.clone());
        beside.add(definition, Given::default());
    }
    let found = check_among(&text, &catalogue, &together, Unannounced::RefusedWhenNear);
    let definition = Arc::new(found.definition.unwrap());
    let steps: BTreeSet<String> = {
        let sweep = Sweep::among(definition.clone(), &beside, &catalogue, &given(&path)).unwrap();
        sweep.steps().map(|step| step.to_string()).collect()
    };
    let mut all = Vec::new();
    for case in cases_of(name) {
        let unknown = case
            .begun
            .union(&case.never)
            .filter(|step| !steps.contains(*step));
        let mut odd: Vec<String> = unknown
            .map(|step| format!("there is no step {step}"))
            .collect();
        let of_case = Given {
            input: case.input.clone(),
            returns: case.returns.clone(),
            events: case.events.clone(),
            ends: None,
        };
        let values = laid_over(of_case, given(&path));
        let sweep = Sweep::among(definition.clone(), &beside, &catalogue, &values).unwrap();
        odd.extend(wrong(&played(&sweep, &case), &case));
        all.extend(odd.into_iter().map(|odd| format!("{}: {odd}", case.case)));
    }
    assert!(all.is_empty(), "cases/{name}.yaml\n{}", all.join("\n"));
}

/// What the file says for a sweep.
fn given(path: &Path) -> Given {
    let given = Given::beside(path).unwrap();
    given.map_or_else(Given::default, |(_, given)| given)
}

/// A case's values over those of the file: of a step that both name, field by field.
fn laid_over(mut case: Given, file: Given) -> Given {
    for (step, value) in &mut case.returns {
        if let (Value::Object(own), Some(Value::Object(other))) = (value, file.returns.get(step)) {
            for (field, value) in other {
                own.entry(field.clone()).or_insert_with(|| value.clone());
            }
        }
    }
    case.or(file)
}

macro_rules! plays {
    ($($name:ident: $file:literal,)*) => {
        $(#[test]
        fn $name() {
            plays($file);
        })*

        /// Each of them that cannot be run for real, with one case in which all goes well and one in which it does not, at least.
        #[test]
        fn every_process_that_waits_for_task_types_has_its_cases() {
            let here = BTreeSet::from([$($file.to_owned()),*]);
            let mut there = names();
            there.retain(|name| waits_for_types(name));
            assert_eq!(here, there);
            for name in there {
                let cases = cases_of(&name);
                let fine = |case: &Case| case.ends == "completed" && case.befalls.is_none();
                assert!(cases.iter().any(fine), "{name}");
                assert!(cases.iter().any(|case| case.ends == "compensated"), "{name}");
            }
        }
    };
}

plays! {
    a_disk_that_fills_up: "clean-up-disk",
    a_server_that_is_too_busy: "cpu-alarm",
    a_group_that_is_too_busy: "scale-out",
    an_application_for_a_credit: "credit-approval",
    a_business_day: "end-of-day-close",
    a_host_with_a_virus: "quarantine-host",
    a_release_whose_database_grows: "release-with-database",
    a_release_into_clusters: "release-to-cluster",
    a_host_that_comes_back: "restore-host",
    a_host_that_is_away: "isolated-host",
    a_port_that_is_moved: "move-port",
    a_server_a_customer_asked_for: "server-from-request",
}
