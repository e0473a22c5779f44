//! Cases of the process library as they stand in `orchestrator/sagas/cases`, one file for each definition: what there is before, what is asked for, how it ends
//! and what there is afterwards. Read here, and each run for real.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use baton_harness::{await_some, await_until};
use baton_it::SOON;
use baton_it::oracle::Book;
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::world::{LONG, World, below, git, make_executable, page_at, shipped};

/// Cases of one process that are run at once.
const SIDE_BY_SIDE: usize = 3;

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What there is before every case.
    given: BTreeMap<String, Value>,
    cases: Vec<Case>,
    /// Values for `baton sweep`: nothing here reads them.
    #[serde(default, rename = "sweep")]
    _sweep: Value,
}

/// One of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it shows, in a sentence.
    case: String,
    /// What there is before, beside what every case has: by place.
    #[serde(default)]
    given: BTreeMap<String, Value>,
    /// Inputs of sagas that complete before.
    #[serde(default)]
    before: Vec<Value>,
    /// What it is started with;
    input: Option<Value>,
    /// or what starts it.
    event: Option<OfEvent>,
    /// Words of the definition, and what stands there in this case instead: a time nobody waits for.
    #[serde(default)]
    instead: BTreeMap<String, String>,
    /// What a person says when one is asked.
    decide: Option<Decision>,
    /// What the question contains.
    asked: Option<String>,
    /// `completed`, `compensated` …
    ends: String,
    /// The steps that fail without it failing.
    #[serde(default)]
    tolerated: BTreeSet<String>,
    /// What the saga has to say somewhere.
    says: Option<String>,
    /// Fields of its output.
    #[serde(default)]
    output: BTreeMap<String, Value>,
    /// What there is afterwards: by place.
    then: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfEvent {
    r#type: String,
    data: Value,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Decision {
    Approve,
    Reject,
}

fn read(name: &str, text: &str) -> File {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("cases/{name}.yaml: {error}"))
}

/// Runs every case of a process, each in a world of its own.
#[expect(
    clippy::print_stderr,
    reason = "a test that fails shows which case it was at"
)]
pub(crate) async fn run(name: &str) {
    let all = read(name, &shipped(&format!("cases/{name}.yaml"))).cases;
    let fine = |case: &Case| case.ends == "completed" && case.tolerated.is_empty();
    assert!(
        all.iter().any(fine) && !all.iter().all(fine),
        "cases/{name}.yaml: one case in which all goes well and one in which it does not, at least"
    );
    // each has a world of its own, and waits most of the time
    futures::stream::iter(0..all.len())
        .for_each_concurrent(SIDE_BY_SIDE, |at| {
            eprintln!("{name}: {}", all[at].case);
            one(name, at)
        })
        .await;
}

/// Runs one case, by its place in the file.
async fn one(name: &str, at: usize) {
    let mut world = World::new().await;
    let placed = world.placed(&shipped(&format!("cases/{name}.yaml")));
    let mut file = read(name, &placed);
    let case = file.cases.swap_remove(at);
    let mut given = file.given;
    given.extend(case.given.clone());
    let mut stage = Staged {
        name,
        case: &case.case,
        world: &mut world,
        pids: BTreeMap::new(),
    };
    let programs = stage.given(&given).await;
    let instead: Vec<_> = case.instead.clone().into_iter().collect();
    stage.ship(&programs, &instead).await;
    for input in &case.before {
        stage.world.run(definition(name), input, "completed").await;
    }
    for service in given.keys().filter_map(|place| service(place)) {
        let pid = service_pid(stage.world, service);
        stage.pids.insert(service.to_owned(), pid);
    }
    let saga = stage.begin(&case).await;
    if let Some(decision) = case.decide {
        stage.decide(&saga, decision, case.asked.as_deref()).await;
    }
    let ended = stage.world.system.api.await_status(&saga, &case.ends, LONG);
    let ended = ended.await;
    let steps = ended["steps"].as_array().into_iter().flatten();
    let tolerated: BTreeSet<String> = steps
        .filter(|step| step["phase"] == "continued")
        .map(|step| text(&step["id"]))
        .collect();
    assert_eq!(tolerated, case.tolerated, "{stage}: failed and went on");
    if let Some(says) = &case.says {
        // what failed within one of several stands in the history
        let records = stage.world.system.api.records(&saga).await;
        let all = format!("{ended}\n{records}");
        assert!(all.contains(says), "{stage}: not said: {says}\n{all}");
    }
    for (field, value) in &case.output {
        let value = match &value["head_of"] {
            Value::String(repository) => {
                let of = value["ref"]
                    .as_str()
                    .expect("`ref` names one of its commits");
                json!(git(Path::new(repository), &["rev-parse", of]))
            }
            _ => value.clone(),
        };
        assert_eq!(ended["output"][field], value, "{stage}: output {field}");
    }
    for (place, wanted) in &case.then {
        stage.then(place, wanted).await;
    }
}

/// A case on its stage.
struct Staged<'a> {
    name: &'a str,
    case: &'a str,
    world: &'a mut World,
    /// The run of each service before it began.
    pids: BTreeMap<String, Option<String>>,
}

impl std::fmt::Display for Staged<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cases/{}.yaml: {}", self.name, self.case)
    }
}

impl Staged<'_> {
    /// Makes what there is before; the programs that others take the place of.
    async fn given(&mut self, given: &BTreeMap<String, Value>) -> Vec<(String, String)> {
        let mut programs = Vec::new();
        // services come last: what they serve is there by then
        for (place, what) in given {
            let path = Path::new(place);
            match what {
                _ if service(place).is_some() => {}
                Value::String(content) => written(path, content),
                Value::Object(of) if of.is_empty() => made(path),
                Value::Object(of) if of.contains_key("content") => {
                    written(path, &text(&of["content"]));
                    aged(path, of.get("days_old").unwrap_or(&Value::Null));
                    if of.get("executable") == Some(&Value::Bool(true)) {
                        make_executable(path);
                    }
                }
                Value::Object(of) if of.contains_key("commits") => self.repository(path, of),
                Value::Object(of) if of.contains_key("script") => {
                    let name = path.file_name().expect("a program has a name");
                    let instead = self.world.path(&name.to_string_lossy());
                    written(&instead, &format!("#!/bin/sh\n{}", text(&of["script"])));
                    make_executable(&instead);
                    programs.push((place.clone(), instead.display().to_string()));
                }
                _ => panic!("{self}: given `{place}` is none of what LANGUAGE.md names: {what}"),
            }
        }
        for (place, of) in given {
            let Some(service) = service(place) else {
                continue;
            };
            let serves = text(&of["serves"]);
            match of["at"].as_str() {
                Some(at) => self.world.web_server_at(service, &serves, at).await,
                None => self.world.web_server(&serves).await,
            }
            if of["runs"] == true {
                let started = self.world.sv_of(service, "start");
                assert!(started.starts_with("ok: run:"), "{self}: {started}");
            }
        }
        programs
    }

    /// Commits one after another, on `main`, in a repository whole workers may fetch from and push to.
    fn repository(&self, bare: &Path, of: &serde_json::Map<String, Value>) {
        let name = bare.file_name().expect("a repository has a name");
        let source = self
            .world
            .path(&format!("source-{}", name.to_string_lossy()));
        made(&source);
        git(&source, &["init", "--quiet", "--initial-branch=main"]);
        for commit in of["commits"].as_array().into_iter().flatten() {
            for (file, content) in commit["files"].as_object().into_iter().flatten() {
                written(&source.join(file), &format!("{}\n", text(content)));
            }
            git(&source, &["add", "--all"]);
            git(&source, &["commit", "--quiet", "--message", "a commit"]);
            if let Some(tag) = commit["tag"].as_str() {
                git(&source, &["tag", tag]);
            }
        }
        made(bare.parent().expect("it lies in a folder"));
        let (source, bare) = (text_of(&source), text_of(bare));
        let clone = ["clone", "--quiet", "--bare", &source, &bare];
        git(self.world.system.dir(), &clone);
    }

    async fn ship(&mut self, programs: &[(String, String)], instead: &[(String, String)]) {
        let name = self.name;
        let types = task_types_of(name);
        let types: Vec<&str> = types.iter().map(String::as_str).collect();
        self.world
            .ship_changed(name, programs, instead, &types)
            .await;
    }

    /// Starts it, as the case says.
    async fn begin(&self, case: &Case) -> String {
        let system = &self.world.system;
        match (&case.input, &case.event) {
            (Some(input), None) => {
                let key = uuid::Uuid::new_v4().to_string();
                system.api.start(definition(self.name), input, &key).await
            }
            (None, Some(event)) => self.world.published(&event.r#type, &event.data).await,
            _ => panic!("{self}: either `input` or `event`"),
        }
    }

    /// Waits until a person is asked what has to be asked, and answers.
    async fn decide(&self, saga: &str, decision: Decision, asked: Option<&str>) {
        let system = &self.world.system;
        let title = await_some("somebody to be asked", LONG, async || {
            let saga = system.api.saga(saga).await;
            saga["work_items"][0]["title"].as_str().map(str::to_owned)
        })
        .await;
        if let Some(asked) = asked {
            assert!(title.contains(asked), "{self}: not asked: {asked}\n{title}");
        }
        let verb = match decision {
            Decision::Approve => "approve",
            Decision::Reject => "reject",
        };
        let said = system.cli().run(&[verb, saga, "-m", "as agreed"]).await;
        assert_eq!(said.code, 0, "{self}: {}{}", said.out, said.err);
    }

    /// Whether there is afterwards what has to be.
    async fn then(&self, place: &str, wanted: &Value) {
        let path = Path::new(place);
        let at = format!("{self}: {place}");
        if let Some(key) = place.strip_prefix("effect ") {
            return self.effect(key, &text(wanted)).await;
        }
        match wanted {
            _ if place.starts_with("http://") => {
                let page = page_at(place).await;
                assert_eq!(page.as_deref().map(str::trim), wanted.as_str(), "{at}");
            }
            Value::String(how) if service(place).is_some() => {
                self.service(service(place).unwrap_or_default(), how).await;
            }
            Value::Null => {
                let found = std::fs::symlink_metadata(path);
                assert!(found.is_err(), "{at} should not be there");
            }
            Value::String(content) => {
                let found = std::fs::read_to_string(path).ok();
                assert_eq!(found.as_deref(), Some(content.as_str()), "{at}");
            }
            Value::Object(of) if of.contains_key("link") => {
                let found = std::fs::read_link(path).ok();
                assert_eq!(found, Some(PathBuf::from(text(&of["link"]))), "{at}");
            }
            Value::Object(of) if of.contains_key("archive") => {
                assert_eq!(json!(unpacked(self.world, path)), of["archive"], "{at}");
            }
            Value::Object(of) if of.contains_key("branch") => {
                for (file, content) in of["files"].as_object().into_iter().flatten() {
                    let branch = text(&of["branch"]);
                    let found = git(path, &["show", &format!("{branch}:{file}")]);
                    assert_eq!(found, text(content), "{at}: {file}");
                }
            }
            _ => panic!("{at}: `then` is none of what LANGUAGE.md names: {wanted}"),
        }
    }

    /// How an effect stands in the ledger of the test.
    async fn effect(&self, key: &str, how: &str) {
        let book = Book::of(&self.world.system.ledger).await;
        let wrong = match how {
            "done" => book.not_done_once(key),
            "taken back" => book.not_taken_back(key),
            "never" => book.ever_done(key),
            _ => panic!("{self}: effect {key} is none of what LANGUAGE.md names: {how}"),
        };
        assert_eq!(wrong, None, "{self}");
    }

    async fn service(&self, service: &str, how: &str) {
        let status = if how == "stopped" { "down:" } else { "run:" };
        let found = self.world.sv_of(service, "status");
        assert!(
            found.starts_with(status),
            "{self}: {service} {how}? {found}"
        );
        if how == "restarted" {
            let before = self.pids.get(service).cloned().flatten();
            await_until("another run of the service", SOON, async || {
                service_pid(self.world, service) != before
            })
            .await;
        }
    }
}

/// The name of a definition whose file lies in a folder of the library, or not.
fn definition(file: &str) -> &str {
    file.rsplit_once('/').map_or(file, |(_, name)| name)
}

/// The service a place names, if it names one.
fn service(place: &str) -> Option<&str> {
    place.strip_prefix("service ")
}

/// The task types of a shipped definition, and of those its steps name.
pub(crate) fn task_types_of(name: &str) -> BTreeSet<String> {
    let mut files = below(name);
    files.push(name.to_owned());
    let all = files.iter().map(|file| shipped(&format!("{file}.yaml")));
    all.flat_map(|text| task_types(&text)).collect()
}

/// The task types of a definition, with those that take back.
fn task_types(definition: &str) -> BTreeSet<String> {
    fn gather(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(of) => {
                into.extend(of.get("task").and_then(Value::as_str).map(str::to_owned));
                of.values().for_each(|value| gather(value, into));
            }
            Value::Array(of) => of.iter().for_each(|value| gather(value, into)),
            _ => {}
        }
    }
    let value: Value = serde_saphyr::from_str(definition).expect("a shipped definition");
    let mut all = BTreeSet::new();
    gather(&value, &mut all);
    all
}

/// The files of an archive, by name.
fn unpacked(world: &World, archive: &Path) -> BTreeMap<String, String> {
    let folder = world.path("restored");
    made(&folder);
    let ran = Command::new("tar")
        .args(["--extract", "--gzip", "--force-local", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(&folder)
        .status()
        .expect("tar can be run");
    assert!(ran.success(), "{} cannot be unpacked", archive.display());
    let listed = Command::new("find")
        .arg(&folder)
        .args(["-type", "f", "-printf", "%P\n"])
        .output()
        .expect("find can be run");
    let names = String::from_utf8(listed.stdout).expect("names are text");
    let content = |name: &str| std::fs::read_to_string(folder.join(name)).expect("it is there");
    names
        .lines()
        .map(|name| (name.to_owned(), content(name)))
        .collect()
}

fn service_pid(world: &World, service: &str) -> Option<String> {
    let pid = world.path("service").join(service).join("supervise/pid");
    std::fs::read_to_string(pid).ok()
}

fn made(folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder of the test can be made");
}

fn written(path: &Path, content: &str) {
    made(path.parent().expect("a file lies in a folder"));
    std::fs::write(path, content).expect("a file of the test can be written");
}

fn aged(path: &Path, days: &Value) {
    let ran = Command::new("touch")
        .arg(format!("--date={} days ago", days.as_u64().unwrap_or(0)))
        .arg(path)
        .status();
    assert!(ran.expect("touch can be run").success());
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

fn text_of(path: &Path) -> String {
    path.display().to_string()
}
