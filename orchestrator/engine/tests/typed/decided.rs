//! The same promise where it is kept: definitions with drawn expressions in every place of a step are run by `decide`, with answers that the schemas allow, forward and back. No step fails
//! with `expression` or `input-misfit` unless a value is to blame, or the checker has said that something in that step is `any` or open. Drawn are what tasks, undos, probes and items of
//! lists are handed, `if`, `undo.when`, pools, `for_each`, sleeps, questions and events.

use std::collections::BTreeMap;

use baton_engine::definition::{Checked, NoSagas, Unannounced, check};
use baton_engine::state::{Attempt, Stage, StepState};
use baton_engine::{Catalogue, Definition, Input, Record, Rules, SagaState, Verdict, decide};
use baton_messages::{
    AttemptRef, Direction, Effect, Failure, Hold, InputId, Manifest, ProbeAnswer, RunId, SagaId,
    Start, StepId, StepKey, TaskResult, Timestamp,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{failure, finished, started};
use super::{
    Chance, TRIES, expression, hole, is_of_a_value, manifest, object, places, schema, value, with,
};

/// Items a drawn list has at most, so that each is looked at.
const ITEMS: u32 = 4;
/// How often something happens to one saga before it is left.
const TURNS: usize = 300;

struct Whole {
    source: String,
    input: Value,
    /// What each step that is a task returns.
    outputs: BTreeMap<&'static str, Value>,
    catalogue: Catalogue,
}

/// What a task takes: also one of some texts, and whole numbers within bounds.
pub(super) fn taken(chance: &mut Chance) -> Value {
    match chance.below(4) {
        0 => json!({ "enum": ["x", "y"] }),
        1 => json!({ "type": "integer", "minimum": 0, "maximum": 9 }),
        _ => schema(chance, 1),
    }
}

/// An object of which mostly everything is said, so that little of what reads it rests on what nobody knows.
pub(super) fn described(chance: &mut Chance, depth: usize) -> Value {
    let mut drawn = object(chance, depth);
    if chance.below(4) > 0 {
        close(&mut drawn);
    }
    drawn
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(close);
            if map.contains_key("properties") {
                let others = map.entry("additionalProperties");
                others.or_insert(json!(false));
            }
        }
        Value::Array(all) => all.iter_mut().for_each(close),
        _ => {}
    }
}

fn task_type(name: &str, effect: Effect, takes: &Value, output: &Value) -> Manifest {
    let input = json!({ "type": "object", "properties": { "v": takes } });
    let mut made = manifest(name, input, output.clone());
    made.effect = effect;
    made
}

/// A document that grows by lines the checker takes.
pub(super) struct Page {
    pub(super) text: String,
    pub(super) catalogue: Catalogue,
}

impl Page {
    pub(super) fn looked_at(&self, more: &str) -> Checked {
        check(
            &format!("{}{more}", self.text),
            &self.catalogue,
            Unannounced::Warned,
        )
    }

    /// Whether a line is taken, and no doubt is told of it.
    pub(super) fn takes(&self, more: &str) -> bool {
        let found = self.looked_at(more);
        let is_doubted = found.warnings.iter().any(|one| one.code == "BT0039");
        found.errors.is_empty() && !is_doubted
    }

    /// A line with an expression that is taken and of which no doubt is told, or with what is plain.
    fn line(&mut self, chance: &mut Chance, known: &[String], key: &str, plain: &str) {
        let depth = chance.below(3);
        for _ in 0..TRIES {
            let drawn = format!(
                "{}\n",
                key.replace('§', &hole(&expression(chance, known, depth)))
            );
            if self.takes(&drawn) {
                return self.text.push_str(&drawn);
            }
        }
        self.text
            .push_str(&format!("{}\n", key.replace('§', plain)));
    }
}

/// A task with an undo and a probe of other types.
fn task(page: &mut Page, chance: &mut Chance, known: &mut Vec<String>, id: &str, output: &Value) {
    page.text.push_str(&format!(
        "  - id: {id}\n    task: drawn.{id}@1\n    undo:\n      task: drawn.undo@1\n"
    ));
    let mut own = known.clone();
    places(id, output, &mut own);
    page.line(chance, &own, "      with: { v: § }", "1");
    drop_unfit(page);
    page.line(chance, &own, "      when: §", "\"${ true }\"");
    page.line(chance, known, "      pool: §", "office");
    page.text
        .push_str(&format!("    probe:\n      task: drawn.ask-{id}@1\n"));
    page.line(chance, known, "      with: { v: § }", "1");
    drop_unfit(page);
    page.line(chance, known, "    pool: §", "office");
    page.line(chance, known, "    with: { v: § }", "1");
    drop_unfit(page);
    page.line(chance, known, "    if: §", "\"${ true }\"");
    places(id, output, known);
}

/// A plain value that is of another kind than is taken is left out: nothing has to be handed on.
pub(super) fn drop_unfit(page: &mut Page) {
    if page.looked_at("").errors.is_empty() {
        return;
    }
    let line = page.text.trim_end().rfind('\n').unwrap_or_default();
    let (before, last) = page.text.split_at(line + 1);
    let (key, _) = last.split_once(':').unwrap();
    page.text = format!("{before}{key}: {{}}\n");
}

/// What a saga takes: also one of some texts, and a whole number within bounds.
pub(super) fn input(chance: &mut Chance) -> Value {
    let mut input = described(chance, 2);
    for (key, of) in [
        ("f", json!({ "enum": ["x", "y"] })),
        (
            "g",
            json!({ "type": "integer", "minimum": 1, "maximum": 5 }),
        ),
    ] {
        input["properties"][key] = of;
        input["required"].as_array_mut().unwrap().push(json!(key));
    }
    input
}

fn drawn(chance: &mut Chance) -> Whole {
    let input = input(chance);
    let mut outputs = BTreeMap::new();
    let mut catalogue = Catalogue::default();
    for id in ["s0", "s1", "each", "last"] {
        let output = described(chance, 1);
        let made = task_type(
            &format!("drawn.{id}@1"),
            Effect::Reversible,
            &taken(chance),
            &output,
        );
        catalogue.announce(made).unwrap();
        outputs.insert(id, output);
    }
    let open = json!({ "type": "object", "required": [], "properties": {} });
    let undo = task_type("drawn.undo@1", Effect::Reversible, &taken(chance), &open);
    catalogue.announce(undo).unwrap();
    for id in ["s0", "s1"] {
        // what is open may be found, and be nothing that the step returns
        let output = match chance.below(2) {
            0 => &open,
            _ => &outputs[id],
        };
        let name = format!("drawn.ask-{id}@1");
        let mut made = task_type(&name, Effect::None, &taken(chance), output);
        made.probe = true;
        catalogue.announce(made).unwrap();
    }
    let mut known = Vec::new();
    places("input", &input, &mut known);
    let head = format!("saga: drawn\nversion: 1\ninput: {input}\n");
    let text = format!("{head}steps:\n");
    let mut page = Page { text, catalogue };
    for id in ["s0", "s1"] {
        task(&mut page, chance, &mut known, id, &outputs[id]);
    }
    page.text.push_str("  - id: nap\n");
    page.line(chance, &known, "    sleep: §", "1s");
    page.text.push_str(
        "  - id: told\n    because: nobody goes by it\n    emit:\n      type: com.example.drawn\n",
    );
    page.line(chance, &known, "      subject: §", "x");
    page.line(chance, &known, "      data: §", "{}");
    page.text
        .push_str("  - id: asked\n    approve:\n      by: operator\n      timeout: 1h\n      on_timeout: continue\n");
    page.line(chance, &known, "      prompt: §", "so?");
    page.text.push_str(
        "  - id: each\n    task: drawn.each@1\n    undo: none\n    because: it is left\n",
    );
    let of_items = format!("    max_items: {ITEMS}\n    for_each: §");
    page.line(chance, &known, &of_items, "[1, 2]");
    page.line(chance, &with(&known, "item"), "    with: { v: § }", "1");
    drop_unfit(&mut page);
    page.text.push_str(
        "  - id: last\n    task: drawn.last@1\n    undo: none\n    because: it is left\n",
    );
    page.line(chance, &known, "    with: { v: § }", "1");
    drop_unfit(&mut page);
    Whole {
        source: page.text,
        input,
        outputs,
        catalogue: page.catalogue,
    }
}

/// A saga under way, with what went wrong in it.
struct Run<'d> {
    definition: &'d Definition,
    drawn: &'d Whole,
    state: SagaState,
    now: u64,
    minted: u128,
    /// The step, and what was said of it.
    failures: Vec<(String, Failure)>,
    /// What was noted: also that nobody knows whether an undo is wanted, and why not.
    notes: Vec<String>,
}

impl Run<'_> {
    fn give(&mut self, input: &Input) -> Verdict {
        self.now += 10;
        let rules = Rules {
            definition: self.definition,
            catalogue: &self.drawn.catalogue,
            sagas: &NoSagas,
            level: baton_engine::Level::NEWEST,
        };
        let decision = decide(rules, &mut self.state, input, Timestamp(self.now), 42).unwrap();
        for record in decision.records {
            match record {
                Record::Moved {
                    step,
                    failure: Some(failure),
                    ..
                } => self.failures.push((step.step.to_string(), failure)),
                Record::Noted { what } => self.notes.push(what),
                _ => {}
            }
        }
        decision.verdict
    }

    /// The steps, with the items of lists.
    fn all(&self) -> Vec<(StepKey, &StepState)> {
        let ids: Vec<&StepId> = self.state.steps.keys().collect();
        let keys = ids.into_iter().flat_map(|id| {
            let items = (0..ITEMS).map(Some);
            [None].into_iter().chain(items).map(move |item| StepKey {
                step: id.clone(),
                item,
            })
        });
        keys.filter_map(|key| {
            let state = self.state.at(&key)?;
            Some((key, state))
        })
        .collect()
    }

    fn open(&self) -> Option<(AttemptRef, bool)> {
        let all = self.all().into_iter();
        let mut open = all.filter_map(|(key, step)| Some((key, step.round, step.open_attempt()?)));
        let (key, round, attempt): (StepKey, u32, &Attempt) = open.next()?;
        let of = AttemptRef {
            saga: self.state.id,
            step: key.step,
            item: key.item,
            direction: attempt.direction,
            round,
            attempt: attempt.number,
            dispatch: attempt.dispatch,
        };
        let claims = attempt.hold == Hold::Claim && attempt.stage == Stage::Offered;
        Some((of, claims))
    }

    /// Something happens: an attempt is reported, or time passes. False when nothing can.
    fn turn(&mut self, chance: &mut Chance) -> bool {
        if let Some((of, claims)) = self.open() {
            self.minted += 1;
            let run = RunId(Uuid::from_u128(self.minted));
            if claims {
                self.give(&started(of.clone(), run));
            }
            let result = self.result(&of, chance);
            self.give(&finished(of, run, true, result));
            return true;
        }
        let Some(next) = self.state.next_wake() else {
            return false;
        };
        self.now = self.now.max(next.0);
        let due = self.state.due_timers(Timestamp(self.now));
        for timer in due {
            self.give(&Input::TimerFired(timer));
        }
        true
    }

    /// The schema of what a task returns, or finds: of its own type, whichever step it is asked about.
    fn returns(&self, of: &AttemptRef) -> Option<&Value> {
        let own = self.drawn.outputs.get(of.step.as_str());
        if of.direction != Direction::Probe {
            return own;
        }
        let asking = self.state.at(&of.key())?.asking.as_ref()?;
        let known = self.drawn.catalogue.get(&asking.facts.task_type)?;
        Some(&known.manifest.output)
    }

    fn result(&self, of: &AttemptRef, chance: &mut Chance) -> TaskResult {
        let output = match self.returns(of) {
            Some(schema) => value(chance, schema),
            None => Value::Null,
        };
        match (of.direction, chance.below(8)) {
            (Direction::Do, 0) => TaskResult::Failed(failure(false)),
            (Direction::Do, 1) => TaskResult::Unknown(failure(false)),
            (Direction::Do, _) => TaskResult::Succeeded { output },
            (Direction::Undo, _) => TaskResult::Succeeded {
                output: Value::Null,
            },
            (Direction::Probe, 0..4) => TaskResult::Probed(ProbeAnswer::DidNot),
            (Direction::Probe, _) => TaskResult::Probed(ProbeAnswer::Happened { output }),
        }
    }
}

/// Whether the checker says of some expression of a step that it rests on what nobody knows.
fn is_unsure(found: &Checked, source: &str, step: &str) -> bool {
    let head = format!("  - id: {step}");
    let mut inside = false;
    let mut lines = Vec::new();
    for (n, line) in (1..).zip(source.lines()) {
        if line.starts_with("  - id: ") || !line.starts_with(' ') {
            inside = line == head;
        }
        if inside {
            lines.push(n);
        }
    }
    let mut all = found.expressions.iter();
    all.any(|one| lines.contains(&one.line) && (one.open || !one.unknown.is_empty()))
}

/// What no value is to blame for.
fn is_broken(step: &str, failure: &Failure, source: &str) -> bool {
    let of_types = match failure.code.as_str() {
        "expression" => true,
        // whoever converts answers for the value
        "input-misfit" => !source.contains("int("),
        _ => false,
    };
    of_types && !is_of_a_value(&failure.message) && !(step == "nap" && is_no_duration(failure))
}

/// Text or a number, as is wanted, and no time that one can sleep.
fn is_no_duration(failure: &Failure) -> bool {
    failure.message.contains("gives no time: ")
}

/// Plays a definition once.
fn played(found: &Checked, drawn: &Whole, chance: &mut Chance) -> Result<(), String> {
    let definition = found.definition.as_ref().unwrap();
    let input = value(chance, &drawn.input);
    definition.check_input(&input)?;
    let mut run = Run {
        definition,
        drawn,
        state: SagaState::new(SagaId(Uuid::from_u128(7))),
        now: 1_000_000,
        minted: 1_000,
        failures: Vec::new(),
        notes: Vec::new(),
    };
    let start = Input::Start(Start {
        id: InputId(Uuid::from_u128(1)),
        saga: run.state.id,
        definition: "drawn".into(),
        version: Some(1),
        input: input.clone(),
        labels: BTreeMap::new(),
        by: "test".into(),
    });
    let verdict = run.give(&start);
    if verdict != Verdict::Applied {
        return Err(format!("the start: {verdict:?}"));
    }
    for _ in 0..TURNS {
        if run.state.status.ended() || !run.turn(chance) {
            break;
        }
    }
    for (step, failure) in &run.failures {
        let is_sure = !is_unsure(found, &drawn.source, step);
        if is_sure && is_broken(step, failure, &drawn.source) {
            return Err(format!("{step}: {failure:?}\nwith {input}"));
        }
    }
    for note in &run.notes {
        let asked = note.strip_prefix("`undo.when` of ");
        let Some((step, why)) = asked.and_then(|rest| rest.split_once(" says nothing: ")) else {
            continue;
        };
        let is_told = why.starts_with("nobody knows") || is_of_a_value(why);
        if !is_told && !is_unsure(found, &drawn.source, step) {
            return Err(format!("{note}\nwith {input}"));
        }
    }
    Ok(())
}

pub(super) fn numbers(seed: u32, count: u32) -> Vec<u32> {
    let mixed = |n: u32| {
        let mixed = seed.wrapping_mul(7_919).wrapping_add(n);
        let mixed = mixed.wrapping_mul(2_654_435_761);
        mixed ^ (mixed >> 15)
    };
    (0..count).map(mixed).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 50, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_passes_the_checker_without_doubt_is_decided_without_a_failure_of_types(
        shape in prop::collection::vec(any::<u32>(), 1_500),
        values in prop::collection::vec(prop::collection::vec(any::<u32>(), 200), 4),
    ) {
        let mut chance = Chance { drawn: shape, next: 0 };
        let drawn = drawn(&mut chance);
        let found = check(&drawn.source, &drawn.catalogue, Unannounced::Warned);
        prop_assert!(found.errors.is_empty(), "{:?}\n{}", found.errors, drawn.source);
        prop_assert!(found.definition.is_some(), "{}", drawn.source);
        for values in values {
            let mut chance = Chance { drawn: values, next: 0 };
            if let Err(why) = played(&found, &drawn, &mut chance) {
                return Err(TestCaseError::fail(format!("{why}\n{}", drawn.source)));
            }
        }
    }
}

/// The property above says something only when places get expressions of their own, of which mostly everything is known.
#[test]
fn most_places_have_an_expression_of_which_all_is_known() {
    let (mut own, mut sure) = (0, 0);
    for seed in 0..10 {
        let mut chance = Chance {
            drawn: numbers(seed, 1_500),
            next: 0,
        };
        let drawn = drawn(&mut chance);
        let found = check(&drawn.source, &drawn.catalogue, Unannounced::Warned);
        own += found.expressions.len();
        let known = found.expressions.iter();
        sure += known
            .filter(|one| !one.open && one.unknown.is_empty())
            .count();
    }
    assert!(own >= 30, "{own} expressions in 10 definitions");
    assert!(sure * 3 >= own, "{sure} of {own}");
}
