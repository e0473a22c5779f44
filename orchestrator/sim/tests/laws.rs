//! The laws of the promise, over every saga that is shipped and over sagas that are drawn: fail each step in every way, crash after each
//! commit, run each task and each undo twice, fail each undo, double and reorder every message; every saga ends completed, compensated,
//! or parked with a named task. `BATON_LONG` draws many more. That each law can see is shown by `planted.rs`.
#![expect(clippy::unwrap_used, reason = "a test may fail so")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use baton_engine::definition::{Together, Unannounced, check_among};
use baton_engine::plan::{Fails, How, Plan, Planned, Undo, When, plan};
use baton_engine::{Catalogue, Definition, Status};
use baton_messages::{Manifest, TaskType};
use baton_sim::mood::Mood;
use baton_sim::plan::KINDS;
use baton_sim::rng::Rng;
use baton_sim::sweep::{Beside, Cell, Given, Played, StepPath, Sweep, Trouble, Way};
use baton_sim::{family, generate, grouped};
use serde_json::json;

/// Drawn sagas of an ordinary run, and of a long one: some ten seconds of two cores, and some minutes.
const DRAWN: u64 = 16;
const DRAWN_LONG: u64 = 600;
/// Of those with others within them, each of which is some sagas.
const FAMILIES: [u64; 3] = [0, 5, 7];
const FAMILIES_LONG: u64 = 60;
/// Of those, the ones that are played with what lies within them written in place.
const GROUPS: [u64; 1] = [5];
/// Plays of each cell: one quietly, one with messages doubled and reordered; more of them in a long run.
const PLAYS: u64 = 2;
const PLAYS_LONG: u64 = 12;

fn long() -> bool {
    std::env::var_os("BATON_LONG").is_some()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn shipped_types() -> Catalogue {
    let mut all = Vec::new();
    // what no worker does yet is played as its manifest says
    for file in [
        "schemas/json/catalogue.json",
        "orchestrator/sagas/planned.json",
    ] {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        all.extend(serde_json::from_str::<Vec<Manifest>>(&text).unwrap());
    }
    catalogue(all)
}

fn catalogue(all: impl IntoIterator<Item = Manifest>) -> Catalogue {
    let mut catalogue = Catalogue::default();
    for manifest in all {
        catalogue.announce(manifest).unwrap();
    }
    catalogue
}

/// Every cell; what is broken, each with its seed.
fn swept(sweep: &Sweep) -> (Vec<Cell>, Vec<String>) {
    let plays = if long() { PLAYS_LONG } else { PLAYS };
    let ran = sweep.run(plays, |_| true, |_, _| true);
    let cells = ran.cells;
    let all_is_played = cells.len() == sweep.cells().len() || !ran.left_out.is_empty();
    assert!(ran.whole && all_is_played);
    let broken = cells.iter().filter_map(|cell| cell.broken.as_ref());
    let broken = broken.map(|broken| format!("--seed {}: {}", broken.seed, broken.what));
    let refused = sweep.undisturbed().refused.iter();
    let refused = refused.map(|why| format!("its start is refused: {why}"));
    let broken = broken.chain(refused).collect();
    (cells, broken)
}

fn struck(cells: &[Cell]) -> BTreeSet<Trouble> {
    let struck = cells.iter().filter(|cell| cell.end.is_some());
    struck.map(|cell| cell.trouble).collect()
}

/// Where a task of the saga at the top fails for good, what its plan says of that, with the input of the play, against what was really taken back; how many
/// were taken back, and what differs.
fn planned(sweep: &Sweep, cells: &[Cell], catalogue: &Catalogue) -> (usize, Vec<String>) {
    let (mut count, mut wrong) = (0, Vec::new());
    for cell in cells.iter().filter(|cell| cell.trouble == Trouble::Fails) {
        let row = &sweep.rows()[cell.row];
        let Some(at) = row.step.as_ref().filter(|_| row.depth() == 0) else {
            continue;
        };
        if row.way != Way::Do || cell.end.is_none() {
            continue;
        }
        let plan = plan(sweep.definition(), catalogue, Some(row.input()));
        // what a person leaves lying may be overtaken by the deadline, and is taken back then
        let parks =
            |step: &Planned| step.id.as_str() == at.to_string() && step.fails == Fails::Parks;
        if sweep.definition().deadline_ms.is_some() && plan.steps.iter().any(parks) {
            continue;
        }
        let played = sweep.again(cell.seed).unwrap().2;
        let own = |at: &&StepPath| at.depth() == 0;
        let undone = played.taken_back().filter(own).map(ToString::to_string);
        let undone: BTreeSet<String> = undone.collect();
        count += undone.len();
        if let Err(what) = as_planned(&plan, &at.to_string(), &played, &undone) {
            wrong.push(format!("--seed {}: when {at} fails {what}", cell.seed));
        }
    }
    (count, wrong)
}

fn as_planned(
    plan: &Plan,
    failed: &str,
    played: &Played,
    undone: &BTreeSet<String>,
) -> Result<(), String> {
    let step = plan.steps.iter().find(|step| step.id.as_str() == failed);
    let step = step.ok_or("the plan does not know it")?;
    let ran: BTreeSet<String> = played.began().map(ToString::to_string).collect();
    let nothing = || match undone.is_empty() {
        true => Ok(()),
        false => Err(format!("nothing is to be taken back, and {undone:?} is")),
    };
    let (only_without, undo) = match &step.fails {
        Fails::Never => return Err("it cannot, by its plan".into()),
        Fails::Parks => return nothing(),
        // what reads its null may fail then, and what is tolerated is no failure
        Fails::GoesOn => return Ok(()),
        Fails::Unwinds { .. } if step.each.is_some() && undone.is_empty() => return Ok(()),
        Fails::Unwinds {
            only_without, undo, ..
        } => (only_without, undo),
    };
    if only_without
        .as_ref()
        .is_some_and(|pivot| ran.contains(pivot.as_str()))
    {
        return nothing();
    }
    let by_a_task = |undo: &&Undo| matches!(undo.how, How::Own { .. } | How::Task { .. });
    let may: Vec<&Undo> = undo.iter().flatten().filter(by_a_task).collect();
    let planned = |id: &str| may.iter().any(|undo| undo.step.as_str() == id);
    if let Some(more) = undone.iter().find(|id| !planned(id)) {
        return Err(format!(
            "{more} is taken back, and its plan does not say so"
        ));
    }
    let each = |id: &str| {
        let mut steps = plan.steps.iter();
        steps.any(|step| step.id.as_str() == id && step.each.is_some())
    };
    let left = may.iter().find(|undo| {
        let id = undo.step.as_str();
        let must = undo.when == When::Done && undo.only_when.is_none() && !each(id);
        must && ran.contains(id) && !undone.contains(id)
    });
    match left {
        // what a person is asked about may hold up the others
        Some(left) if played.status == Status::Compensated => Err(format!(
            "{} is left, and its plan says otherwise",
            left.step
        )),
        Some(_) | None => Ok(()),
    }
}

/// The files of a folder, for those whose steps are some of them.
fn beside(folder: &Path) -> (Together, Beside) {
    let (mut together, mut beside) = (Together::default(), Beside::default());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|one| one == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let definition = Arc::new(Definition::parse(&text).unwrap());
            let given = Given::beside(&path).unwrap();
            let given = given.map_or_else(Given::default, |(_, given)| given);
            together.add(definition.clone());
            beside.add(definition, given);
        }
    }
    (together, beside)
}

fn shipped(name: &str) {
    let path = root().join("orchestrator/sagas").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let catalogue = shipped_types();
    // as `baton sweep` reads them; what nobody could make up stands there: rows of a database, answers of a score
    let given = Given::beside(&path).unwrap();
    let given = given.map_or_else(Given::default, |(_, given)| given);
    let (together, beside) = beside(path.parent().unwrap());
    let how = Unannounced::RefusedWhenNear;
    let found = check_among(&text, &catalogue, &together, how);
    assert!(found.errors.is_empty(), "{:?}", found.errors);
    let definition = Arc::new(found.definition.unwrap());
    let sweep = Sweep::among(definition, &beside, &catalogue, &given).unwrap();
    let whole = sweep.undisturbed();
    assert_eq!(whole.status.as_str(), "completed", "{:?}", whole.why);
    assert_eq!(sweep.never_wanted().next(), None, "each step has its turn");
    for (pivot, sent, skipped) in sweep.conditional_pivots() {
        assert!(sent && skipped, "{pivot} is played sent and skipped");
    }
    let (cells, broken) = swept(&sweep);
    assert!(broken.is_empty(), "{name}\n{}", broken.join("\n"));
    let (_, otherwise) = planned(&sweep, &cells, &catalogue);
    assert!(otherwise.is_empty(), "{name}\n{}", otherwise.join("\n"));
    let struck = struck(&cells);
    for trouble in [Trouble::Fails, Trouble::Crash, Trouble::SentTwice] {
        assert!(struck.contains(&trouble), "{trouble:?} struck nowhere");
    }
}

macro_rules! shipped {
    ($($name:ident: $file:literal,)*) => {
        $(#[test]
        fn $name() {
            shipped($file);
        })*

        #[test]
        fn every_shipped_saga_has_its_test() {
            let here = BTreeSet::from([$($file.to_owned()),*]);
            let mut there = BTreeSet::new();
            for (folder, lead) in [("orchestrator/sagas", ""), ("orchestrator/sagas/canonical", "canonical/")] {
                for entry in std::fs::read_dir(root().join(folder)).unwrap() {
                    let name = entry.unwrap().file_name().into_string().unwrap();
                    if name.ends_with(".yaml") {
                        there.insert(format!("{lead}{name}"));
                    }
                }
            }
            assert_eq!(here, there);
        }
    };
}

shipped! {
    a_line_of_code: "insert-line-of-code.yaml",
    a_line_in_one_repository: "insert-line-in-one.yaml",
    a_backup: "nightly-backup.yaml",
    a_release: "release.yaml",
    a_release_with_its_database: "release-with-database.yaml",
    a_release_into_clusters: "release-to-cluster.yaml",
    a_service: "restart-service.yaml",
    somebody_on_call: "tell-on-call.yaml",
    a_disk: "clean-up-disk.yaml",
    a_busy_server: "cpu-alarm.yaml",
    a_busy_group: "scale-out.yaml",
    a_credit: "credit-approval.yaml",
    the_end_of_a_day: "end-of-day-close.yaml",
    a_quarantine: "quarantine-host.yaml",
    a_host_that_comes_back: "restore-host.yaml",
    a_host_that_is_away: "isolated-host.yaml",
    a_port_that_is_moved: "move-port.yaml",
    a_server_that_is_asked_for: "server-from-request.yaml",
    an_approval: "canonical/approval.yaml",
    a_fan_out: "canonical/fan-out.yaml",
    a_transfer: "canonical/money-transfer.yaml",
    an_order: "canonical/order.yaml",
    a_branch_with_an_office_with_a_server: "canonical/nested.yaml",
    an_office_with_a_server: "canonical/nested-office.yaml",
    a_provisioning: "canonical/provisioning.yaml",
    a_roll_out: "canonical/roll-out.yaml",
    a_trip: "canonical/trip.yaml",
}

/// A saga as the simulator draws them, with the task types of the simulated fleet.
fn drawn(seed: u64) -> (String, Sweep) {
    let mut rng = Rng::new(seed);
    let mut mood = Mood::draw(&mut rng);
    mood.quiet = true;
    let plan = generate::saga(&mut rng, &mood, seed, false);
    let known = KINDS.iter();
    let catalogue = catalogue(known.map(|kind| kind.manifest(TaskType::new(kind.name).unwrap())));
    let definition = Definition::parse(&plan.yaml).unwrap();
    let given = Given {
        input: Some(json!({ "never": false, "saga": "this one" })),
        ..Given::default()
    };
    let sweep = Sweep::new(definition, &catalogue, &given).unwrap();
    (plan.yaml, sweep)
}

#[test]
fn sagas_that_are_drawn() {
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    let mut ends = BTreeSet::new();
    let mut undone = 0;
    let known = KINDS.iter();
    let catalogue = catalogue(known.map(|kind| kind.manifest(TaskType::new(kind.name).unwrap())));
    for seed in 0..if long() { DRAWN_LONG } else { DRAWN } {
        let (yaml, sweep) = drawn(seed);
        let (cells, broken) = swept(&sweep);
        seen.extend(struck(&cells));
        ends.extend(
            cells
                .iter()
                .filter_map(|cell| cell.end)
                .map(|end| end.as_str()),
        );
        let (count, otherwise) = planned(&sweep, &cells, &catalogue);
        undone += count;
        let broken = [broken, otherwise].concat();
        if !broken.is_empty() {
            wrong.push(format!("drawn {seed}\n{yaml}{}", broken.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(undone > 20, "{undone} undos were held against a plan");
    assert_eq!(
        seen,
        BTreeSet::from(Trouble::ALL),
        "every trouble strikes somewhere"
    );
    assert_eq!(ends, BTreeSet::from(["compensated", "completed", "parked"]));
}

/// A drawn saga with drawn ones within it.
fn drawn_family(seed: u64) -> (String, Sweep) {
    let mut rng = Rng::new(seed);
    let mut mood = Mood::draw(&mut rng);
    mood.quiet = true;
    let (top, kin) = family(&mut rng, &mood, seed);
    let known = KINDS.iter();
    let catalogue = catalogue(known.map(|kind| kind.manifest(TaskType::new(kind.name).unwrap())));
    let mut beside = Beside::default();
    let mut yaml = top.yaml.clone();
    for plan in kin {
        let definition = Definition::parse(&plan.yaml).unwrap();
        beside.add(Arc::new(definition), Given::default());
        yaml.push_str(&plan.yaml);
    }
    let given = Given {
        input: Some(json!({ "never": false, "saga": "this one" })),
        ..Given::default()
    };
    let definition = Arc::new(Definition::parse(&top.yaml).unwrap());
    let sweep = Sweep::among(definition, &beside, &catalogue, &given).unwrap();
    (yaml, sweep)
}

/// The same sagas, those within written in place as groups.
fn drawn_groups(seed: u64) -> (String, Sweep) {
    let mut rng = Rng::new(seed);
    let mut mood = Mood::draw(&mut rng);
    mood.quiet = true;
    let (top, kin) = family(&mut rng, &mood, seed);
    let yaml = grouped(&top, &kin);
    let known = KINDS.iter();
    let catalogue = catalogue(known.map(|kind| kind.manifest(TaskType::new(kind.name).unwrap())));
    let mut beside = Beside::default();
    for plan in &kin {
        // one that is gone on without stays named
        let definition = Definition::parse(&plan.yaml).unwrap();
        beside.add(Arc::new(definition), Given::default());
    }
    let given = Given {
        input: Some(json!({ "never": false, "saga": "this one" })),
        ..Given::default()
    };
    let definition = Definition::parse(&yaml);
    let definition = definition.unwrap_or_else(|wrong| panic!("{wrong:?}\n{yaml}"));
    let sweep = Sweep::among(Arc::new(definition), &beside, &catalogue, &given).unwrap();
    (yaml, sweep)
}

#[test]
fn groups_that_are_drawn() {
    let seen = within(&drawn_groups, &GROUPS);
    for way in [(1, true, false), (2, true, false), (2, true, true)] {
        assert!(seen.contains(&way), "{way:?}: {seen:?}");
    }
}

#[test]
fn sagas_within_sagas_that_are_drawn() {
    let seen = within(&drawn_family, &FAMILIES);
    for deep in [1, 2] {
        for way in [
            (deep, false, false),
            (deep, true, false),
            (deep, true, true),
        ] {
            assert!(seen.contains(&way), "{way:?}: {seen:?}");
        }
    }
}

/// Every cell of each that is drawn; how deep, which way and from where something struck.
fn within(drawn: &dyn Fn(u64) -> (String, Sweep), some: &[u64]) -> BTreeSet<(usize, bool, bool)> {
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    let seeds: Vec<u64> = match long() {
        true => (0..FAMILIES_LONG).collect(),
        false => some.to_vec(),
    };
    for seed in seeds {
        let (yaml, sweep) = drawn(seed);
        let (cells, broken) = swept(&sweep);
        for cell in cells.iter().filter(|cell| cell.end.is_some()) {
            let row = &sweep.rows()[cell.row];
            seen.insert((row.depth().min(2), row.way == Way::Undo, row.from_above));
        }
        if !broken.is_empty() {
            wrong.push(format!("drawn {seed}\n{yaml}{}", broken.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    seen
}

#[test]
fn all_is_played_when_every_cell_is_whatever_was_said_in_between() {
    let (_, sweep) = drawn(2);
    let count = sweep.cells().len();
    let ran = sweep.run(1, |_| true, |done, of| done < of);
    assert!(
        ran.whole && ran.cells.len() == count,
        "to stop after the last is to play all"
    );
    let ran = sweep.run(1, |_| true, |_, _| false);
    assert!(!ran.whole && ran.cells.len() < count);
}

/// Such a step is done again for as long as nobody knows whether it happened: doubt would never turn its saga back.
#[test]
fn a_step_that_is_tried_for_ever_and_has_nothing_after_it_that_fails_ends_whatever_befalls_it() {
    let known = KINDS.iter();
    let catalogue = catalogue(known.map(|kind| kind.manifest(TaskType::new(kind.name).unwrap())));
    for (task_type, taken_back) in [("sim.set", false), ("sim.add", true)] {
        let yaml = format!(
            "saga: stubborn\nversion: 1\nsteps:\n  - {{ id: a, task: {task_type}@1, with: {{}}, timeout: 8s, heartbeat: 12s, on_error: compensate, retry: {{ attempts: forever, backoff: 1s, max: 10s }} }}\n"
        );
        let definition = Definition::parse(&yaml).unwrap();
        let sweep = Sweep::new(definition, &catalogue, &Given::default()).unwrap();
        let (_, broken) = swept(&sweep);
        assert!(broken.is_empty(), "{}", broken.join("\n"));
        let undo = sweep.rows().iter().any(|row| row.way == Way::Undo);
        assert_eq!(undo, taken_back, "{task_type}");
    }
}

#[test]
fn a_seed_says_it_again_to_the_letter() {
    let (_, sweep) = drawn(2);
    for (row, trouble) in sweep.cells().into_iter().step_by(7) {
        let seed = sweep.cell(row, trouble, 2).seed + 1;
        let (once, twice) = (sweep.again(seed).unwrap(), sweep.again(seed).unwrap());
        assert_eq!(once.2.trace, twice.2.trace, "--seed {seed}");
        assert_eq!(once.2.status, twice.2.status, "--seed {seed}");
    }
}

#[test]
fn an_undo_that_is_not_wanted_is_never_come_to_and_keeps_the_promise() {
    let known = KINDS.iter();
    let catalogue = catalogue(known.map(|kind| kind.manifest(TaskType::new(kind.name).unwrap())));
    let yaml = "saga: kept\nversion: 1\nsteps:\n  - { id: a, task: sim.set@1, with: {}, undo: { when: \"${ a.changed }\" } }\n  - { id: b, task: sim.set@1, with: {} }\n";
    for changed in [false, true] {
        let given = Given {
            input: Some(json!({})),
            returns: [("a".to_owned(), json!({ "changed": changed }))].into(),
            ..Given::default()
        };
        let definition = Definition::parse(yaml).unwrap();
        let sweep = Sweep::new(definition, &catalogue, &given).unwrap();
        let (_, broken) = swept(&sweep);
        assert!(broken.is_empty(), "{}", broken.join("\n"));
        let of_a = |row: &baton_sim::sweep::Row| {
            row.way == Way::Undo && row.step.as_ref().is_some_and(|at| at.to_string() == "a")
        };
        let row = sweep.rows().iter().position(of_a).unwrap();
        let fails = sweep.cell(row, Trouble::Fails, 1);
        assert_eq!(fails.end.is_some(), changed, "{fails:?}");
    }
}

#[test]
fn what_comes_after_a_pivot_that_is_skipped_is_taken_back_and_what_comes_after_one_that_is_sent_is_not()
 {
    let known = KINDS.iter();
    let catalogue = catalogue(known.map(|kind| kind.manifest(TaskType::new(kind.name).unwrap())));
    let of = |condition: &str| {
        let yaml = format!(
            "saga: both\nversion: 1\ninput: {{ type: object, required: [go], properties: {{ go: {{ type: boolean }} }} }}\nsteps:\n  - {{ id: a, task: sim.set@1, with: {{}} }}\n  - {{ id: p, task: sim.set@1, with: {{}}, pivot: true{condition} }}\n  - {{ id: b, task: sim.set@1, with: {{}} }}\n  - {{ id: z, task: sim.set@1, with: {{}} }}\n"
        );
        let definition = Definition::parse(&yaml).unwrap();
        Sweep::new(definition, &catalogue, &Given::default()).unwrap()
    };
    let undone = |sweep: &Sweep| {
        let rows = sweep.rows().iter().enumerate();
        let undo = rows.filter(|(_, row)| row.way == Way::Undo);
        let undo = undo.map(|(n, row)| (row.step.as_ref().unwrap().to_string(), n));
        undo.collect::<std::collections::BTreeMap<String, usize>>()
    };
    let sweep = of(", if: \"${ input.go }\"");
    let pivots: Vec<_> = sweep.conditional_pivots().collect();
    assert!(matches!(pivots.as_slice(), [(at, true, true)] if at.to_string() == "p"));
    let (_, broken) = swept(&sweep);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let back = undone(&sweep);
    assert!(
        back.contains_key("a") && !back.contains_key("p"),
        "{back:?}"
    );
    let fails = sweep.cell(back["b"], Trouble::Fails, 1);
    assert!(fails.end.is_some(), "its undo is come to: {fails:?}");
    let always = undone(&of(""));
    assert!(
        always.contains_key("a") && !always.contains_key("b"),
        "{always:?}"
    );
}

#[test]
fn an_undo_by_a_task_that_does_harm_twice_is_for_a_person_where_nobody_knows_and_runs_once() {
    let known = KINDS.iter();
    let catalogue = catalogue(known.map(|kind| kind.manifest(TaskType::new(kind.name).unwrap())));
    let of = |said: &str| {
        let yaml = format!(
            "saga: once\nversion: 1\nsteps:\n  - {{ id: a, task: sim.set@1, with: {{}}, undo: {{ task: sim.add-blind@1, with: {{}}{said} }} }}\n  - {{ id: b, task: sim.set@1, with: {{}} }}\n"
        );
        let given = Given {
            input: Some(json!({})),
            ..Given::default()
        };
        let definition = Definition::parse(&yaml).unwrap();
        Sweep::new(definition, &catalogue, &given).unwrap()
    };
    for (said, end) in [
        ("", Status::Parked),
        (", idempotent: true", Status::Compensated),
    ] {
        let sweep = of(said);
        let (_, broken) = swept(&sweep);
        assert!(broken.is_empty(), "{said}: {}", broken.join("\n"));
        let row = sweep.rows().iter().position(|row| {
            row.way == Way::Undo && row.step.as_ref().is_some_and(|at| at.to_string() == "a")
        });
        for trouble in [Trouble::Unsure, Trouble::DiesAfter] {
            let cell = sweep.cell(row.unwrap(), trouble, 1);
            assert_eq!(cell.end, Some(end), "{said}: {cell:?}");
        }
    }
}

#[test]
fn a_task_without_a_probe_is_asked_by_nobody() {
    let known = KINDS.iter();
    let catalogue = catalogue(known.map(|kind| kind.manifest(TaskType::new(kind.name).unwrap())));
    for (probe, asked) in [("sim.look@1", false), ("sim.add@1", true)] {
        let yaml = format!(
            "saga: asks\nversion: 1\nsteps:\n  - {{ id: a, task: sim.add-blind@1, with: {{}}, probe: {{ task: {probe}, with: {{}} }} }}\n  - {{ id: b, task: sim.set@1, with: {{}} }}\n"
        );
        let given = Given {
            input: Some(json!({})),
            ..Given::default()
        };
        let definition = Definition::parse(&yaml).unwrap();
        let sweep = Sweep::new(definition, &catalogue, &given).unwrap();
        let mut rows = sweep.rows().iter();
        let asks = rows.any(|row| {
            row.way == Way::Probe && row.step.as_ref().is_some_and(|at| at.to_string() == "a")
        });
        assert_eq!(asks, asked, "{probe}");
        let (_, broken) = swept(&sweep);
        assert!(broken.is_empty(), "{probe}: {}", broken.join("\n"));
    }
}
