//! Plays a drawn definition on the engine itself: a saga and the items of its group, the words between them, events, the store that admits it, and time. Every task succeeds with what its
//! schema allows, so that nothing but an expression can fail.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use baton_engine::command::word;
use baton_engine::definition::{
    Checked, LimitKey, NoSagas, RESERVED_NAME_BYTES_MAX, RulesOfItem, Step, group_in,
};
use baton_engine::expr::Template;
use baton_engine::state::{Attempt, Stage};
use baton_engine::trigger::{TriggerError, on_event, on_schedule};
use baton_engine::{
    Definition, Input, Record, Refusal, ReservationKind, Rules, SagaState, Verdict, decide,
};
use baton_messages::{
    AttemptRef, ChildWanted, Event, Failure, Hold, InboxMessage, InputId, RunId, SagaId, Start,
    StepId, TaskResult, Timestamp,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::around::Around;
use super::stage::{finished, started};
use super::{Chance, is_of_a_value, object, value};

/// How often something happens to one saga and those below it before they are left.
const TURNS: usize = 400;
/// Events that are sent to one saga, at most: then what waits for one waits in vain.
const EVENTS: u32 = 3;

/// Where the expressions stand that a step can fail for.
static OF_STEPS: [(&str, &[&str]); 4] = [
    ("s0", &["with"]),
    ("g", &["for_each"]),
    ("t0", &["group.with", "group.if"]),
    ("last", &["last.with"]),
];

/// One saga under way.
struct One<'d> {
    state: SagaState,
    definition: &'d Definition,
    /// Events it was sent.
    sent: u32,
}

/// A saga and the items of its group, with what they say to each other.
struct Tree<'d> {
    drawn: &'d Around,
    found: &'d Checked,
    /// The one at the top first.
    sagas: Vec<One<'d>>,
    post: VecDeque<InboxMessage>,
    now: u64,
    minted: u128,
    /// What items have failed of: their step fails in the same words.
    below: Vec<String>,
    /// What was evaluated, by its place.
    evaluated: BTreeSet<&'static str>,
    /// What went wrong although the checker had no doubt.
    broken: Vec<String>,
}

impl<'d> Tree<'d> {
    fn new(drawn: &'d Around, found: &'d Checked) -> Self {
        Self {
            drawn,
            found,
            sagas: Vec::new(),
            post: VecDeque::new(),
            now: 1_000_000,
            minted: 1_000,
            below: Vec::new(),
            evaluated: BTreeSet::new(),
            broken: Vec::new(),
        }
    }

    /// Whether `--types` says of an expression of a place that it rests on what nobody knows.
    fn unsure(&self, place: &str) -> bool {
        let line = self.drawn.spots[place].line;
        let mut all = self.found.expressions.iter();
        all.any(|one| one.line == line && (one.open || !one.unknown.is_empty()))
    }

    /// Something in a place failed: which it may where a value is to blame, or where the checker said so.
    fn failed(&mut self, place: &'static str, why: &str) {
        let spot = self.drawn.spots[place];
        if is_of_a_value(why) || !spot.strict || self.unsure(place) {
            return;
        }
        self.broken.push(format!("{place}: {why}"));
    }

    /// What does not fit a schema, unless somebody converts: whoever does answers for the value.
    fn misfit(&mut self, places: &[&'static str], why: &str) {
        let converts = self.drawn.page.text.contains("int(");
        if converts || places.iter().any(|place| self.unsure(place)) {
            return;
        }
        self.broken.push(format!("{places:?}: {why}"));
    }

    /// A text that is computed has to be one, or what has one way to be written as one.
    fn text(&mut self, place: &'static str, template: &Template, given: &BTreeMap<String, Value>) {
        self.evaluated.insert(place);
        match template.eval(given) {
            Ok(Value::String(_) | Value::Number(_) | Value::Bool(_)) => {}
            Ok(other) => self.failed(place, &format!("yields {other}")),
            Err(error) => self.failed(place, &error.to_string()),
        }
    }

    /// What whoever gets the work items of a step, or of the saga, is named by.
    fn people(&mut self, at: usize, rules: RulesOfItem<'_>, place: &'static str) {
        let state = &self.sagas[at].state;
        let given = match at {
            0 => BTreeMap::from([("input".to_owned(), state.input.clone())]),
            // what was captured for the item
            _ => serde_json::from_value(state.input.clone()).unwrap(),
        };
        if let Some(who) = rules.assign {
            self.text(place, &who.template, &given);
        }
        for rung in rules.escalate {
            self.text("escalate", &rung.to.template, &given);
        }
    }

    /// What is computed when a saga starts, as it is written; whether a name is none that can be had, for which the start is refused.
    fn at_the_start(&mut self, definition: &Definition, input: &Value) -> bool {
        let given = BTreeMap::from([("input".to_owned(), input.clone())]);
        for (_, label) in &definition.labels {
            self.text("label", label, &given);
        }
        let reserves = definition.reserves.as_ref().unwrap();
        let mut names: Vec<(&'static str, &Template)> = Vec::new();
        names.extend(reserves.locks.iter().map(|lock| ("lock", &lock.template)));
        let limits = [
            ("concurrency.key", &reserves.concurrency),
            ("blast_radius.key", &reserves.blast_radius),
        ];
        let mut is_refused = false;
        for (place, limit) in limits {
            match limit.as_ref().and_then(|limit| limit.key.as_ref()) {
                Some(LimitKey::Computed(_, template)) => names.push((place, template)),
                // one that is left out is none that anything can be counted by
                Some(LimitKey::Label(_)) => {
                    is_refused |= !is_a_label(&definition.labels[0].1, &given);
                }
                None => {}
            }
        }
        for (place, template) in names {
            self.text(place, template, &given);
            is_refused |= !is_a_name(template, &given);
        }
        is_refused
    }

    fn give(&mut self, at: usize, input: &Input) -> Verdict {
        self.now += 10;
        let One {
            state, definition, ..
        } = &mut self.sagas[at];
        let definition: &Definition = definition;
        let rules = Rules {
            definition,
            catalogue: &self.drawn.page.catalogue,
            sagas: &NoSagas,
            level: baton_engine::Level::NEWEST,
        };
        let decision = decide(rules, state, input, Timestamp(self.now), 42).unwrap();
        for record in &decision.records {
            self.post.extend(word(state, record).map(|told| *told));
        }
        for record in &decision.records {
            self.look(at, record);
        }
        decision.verdict
    }

    /// Holds what has happened against the promise.
    fn look(&mut self, at: usize, record: &Record) {
        match record {
            Record::Moved {
                step,
                failure: Some(failure),
                ..
            } => self.step_failed(at, &step.step, failure),
            Record::Noted { what } => {
                let place = if at == 0 { "output" } else { "group.output" };
                if let Some(why) = what.strip_prefix("output could not be computed: ") {
                    self.failed(place, why);
                }
            }
            Record::WorkItemOpened { item } => {
                let definition = self.sagas[at].definition;
                let step = item.step.as_ref();
                let step: Option<&Step> = step.and_then(|key| definition.step(&key.step));
                let place = match step.map(|step| step.id.as_str()) {
                    Some("asked") => "approve.assign",
                    Some("said") => "group.assign",
                    _ => "assign",
                };
                self.people(at, definition.rules_of_items(step), place);
            }
            _ => {}
        }
    }

    fn step_failed(&mut self, at: usize, step: &StepId, failure: &Failure) {
        let mut below = self.below.iter();
        if at == 0 && below.any(|known| failure.message.contains(known.as_str())) {
            return;
        }
        if at > 0 {
            self.below.push(failure.message.clone());
        }
        let own = OF_STEPS.iter().find(|(id, _)| *id == step.as_str());
        let places = own.map_or(&[][..], |(_, places)| *places);
        match failure.code.as_str() {
            "expression"
                if !places.iter().any(|place| self.unsure(place))
                    && !is_of_a_value(&failure.message) =>
            {
                self.broken.push(format!("{step}: {}", failure.message));
            }
            "input-misfit" => self.misfit(places, &failure.message),
            _ => {}
        }
    }

    /// Something happens: a word arrives, an attempt is reported, an event comes, or time passes. False when nothing can.
    fn turn(&mut self, chance: &mut Chance) -> bool {
        if let Some(told) = self.post.pop_front() {
            self.told(told);
            return true;
        }
        (0..self.sagas.len()).any(|at| self.moved(at, chance)) || self.time_passes()
    }

    fn told(&mut self, told: InboxMessage) {
        match told {
            InboxMessage::ChildWanted(wanted) => {
                let at = self.child(&wanted);
                self.give(at, &Input::ChildWanted(wanted));
            }
            InboxMessage::ChildSaid(said) => {
                let parent = said.parent.saga;
                let at = self.sagas.iter().position(|one| one.state.id == parent);
                self.give(at.unwrap(), &Input::ChildSaid(said));
            }
            _ => {}
        }
    }

    /// The item that is spoken to: it begins where it was not known.
    fn child(&mut self, wanted: &ChildWanted) -> usize {
        let known = |one: &One<'_>| one.state.id == wanted.child;
        if let Some(at) = self.sagas.iter().position(known) {
            return at;
        }
        let (_, way) = group_in(&wanted.definition).unwrap();
        let top = self.sagas[0].definition;
        self.sagas.push(One {
            state: SagaState::new(wanted.child),
            definition: top.group(way).unwrap(),
            sent: 0,
        });
        self.sagas.len() - 1
    }

    fn moved(&mut self, at: usize, chance: &mut Chance) -> bool {
        let state = &self.sagas[at].state;
        if !state.active() {
            return false;
        }
        if state.waits_for_admission() {
            let wants = state.reservation.iter().flat_map(|taken| &taken.wants);
            let locks = wants.filter(|want| want.kind == ReservationKind::Lock);
            let fences = locks.map(|lock| (lock.name.clone(), 1)).collect();
            self.give(at, &Input::Admitted { fences });
            return true;
        }
        if let Some((of, claims)) = open(state) {
            self.reported(at, of, claims, chance);
            return true;
        }
        let waits = state.listening().map(|(id, _)| id.clone()).next();
        match waits.filter(|_| self.sagas[at].sent < EVENTS) {
            Some(step) => self.arrives(at, step, chance),
            None => return false,
        }
        true
    }

    fn reported(&mut self, at: usize, of: AttemptRef, claims: bool, chance: &mut Chance) {
        self.minted += 1;
        let run = RunId(Uuid::from_u128(self.minted));
        if claims {
            self.give(at, &started(of.clone(), run));
        }
        let output = value(chance, &self.drawn.outputs[of.step.as_str()]);
        let result = TaskResult::Succeeded { output };
        self.give(at, &finished(of, run, true, result));
    }

    fn arrives(&mut self, at: usize, step: StepId, chance: &mut Chance) {
        self.sagas[at].sent += 1;
        let place = if at == 0 {
            "wait.when"
        } else {
            "group.wait.when"
        };
        self.evaluated.insert(place);
        self.minted += 1;
        let event = event(chance, "x.y", self.minted);
        let saga = self.sagas[at].state.id;
        let arrived = Input::EventArrived {
            id: InputId::of_arrival(saga, &step, &event.source, &event.id),
            step,
            event: Box::new(event),
            received_at: Timestamp(self.now),
        };
        if let Verdict::Ignored { why } = self.give(at, &arrived)
            && let Some(why) = why.strip_prefix("`when`")
            && why != " is false"
        {
            self.failed(place, why);
        }
    }

    fn time_passes(&mut self) -> bool {
        let all = self.sagas.iter().enumerate();
        let wakes = all.filter_map(|(at, one)| Some((one.state.next_wake()?.0, at)));
        let Some((next, at)) = wakes.min() else {
            return false;
        };
        self.now = self.now.max(next);
        for timer in self.sagas[at].state.due_timers(Timestamp(self.now)) {
            self.give(at, &Input::TimerFired(timer));
        }
        true
    }

    /// What its triggers find in events of a type, and at a time.
    fn triggered(&mut self, definition: &Definition, chance: &mut Chance) {
        for kind in ["x.y", "hook.pushed"] {
            self.minted += 1;
            let event = event(chance, kind, self.minted);
            for error in on_event(definition, &event).errors {
                self.trigger_failed(&error);
            }
        }
        if let Err(error) = on_schedule(definition, 1, Timestamp(1_767_315_600_000)) {
            self.trigger_failed(&error);
        }
    }

    fn trigger_failed(&mut self, error: &TriggerError) {
        let place = match (error.index, error.part) {
            (0, "when") => "event.when",
            (0, "input") => "event.input",
            (0, _) => "event.key",
            (1, _) => "schedule.input",
            (_, "when") => "hook.when",
            // the data of a request, of which nobody knows anything
            _ => return,
        };
        if error.why.starts_with("does not fit") {
            self.misfit(&[place], &error.why);
        // a key without a letter, or of too many
        } else if !error.why.contains("a key has") {
            self.failed(place, &error.why);
        }
    }
}

/// Whether a name comes to something that can be taken.
fn is_a_name(template: &Template, given: &BTreeMap<String, Value>) -> bool {
    match template.eval(given) {
        Ok(Value::String(text)) => is_usable(&text),
        Ok(Value::Number(_) | Value::Bool(_)) => true,
        _ => false,
    }
}

/// The same of a label, which writes out whatever it comes to.
fn is_a_label(template: &Template, given: &BTreeMap<String, Value>) -> bool {
    match template.eval(given) {
        Ok(Value::String(text)) => is_usable(&text),
        Ok(other) => is_usable(&other.to_string()),
        Err(_) => false,
    }
}

fn is_usable(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= RESERVED_NAME_BYTES_MAX
}

/// An attempt that nobody has reported, and whether it is claimed first.
fn open(state: &SagaState) -> Option<(AttemptRef, bool)> {
    state.all().find_map(|(spot, step)| {
        let attempt: &Attempt = step.open_attempt()?;
        let key = spot.key();
        let of = AttemptRef {
            saga: state.id,
            step: key.step,
            item: key.item,
            direction: attempt.direction,
            round: step.round,
            attempt: attempt.number,
            dispatch: attempt.dispatch,
        };
        let claims = attempt.hold == Hold::Claim && attempt.stage == Stage::Offered;
        Some((of, claims))
    })
}

/// An event with some data, and perhaps with a subject.
fn event(chance: &mut Chance, kind: &str, number: u128) -> Event {
    let schema = object(chance, 1);
    let source = match kind {
        "x.y" => "/x",
        _ => "/v1/hooks/pushed",
    };
    let mut event = json!({
        "specversion": "1.0", "id": format!("e{number}"), "source": source, "type": kind,
        "data": value(chance, &schema),
    });
    if chance.below(2) == 0 {
        event["subject"] = json!("x");
    }
    serde_json::from_value(event).unwrap()
}

/// Plays a definition once; what was evaluated, and what went wrong although the checker had no doubt.
pub(super) fn played(
    found: &Checked,
    drawn: &Around,
    chance: &mut Chance,
) -> (BTreeSet<&'static str>, Vec<String>) {
    let definition = found.definition.as_ref().unwrap();
    let input = value(chance, &drawn.input);
    let mut tree = Tree::new(drawn, found);
    tree.triggered(definition, chance);
    tree.sagas.push(One {
        state: SagaState::new(SagaId(Uuid::from_u128(7))),
        definition,
        sent: 0,
    });
    let start = Input::Start(Start {
        id: InputId(Uuid::from_u128(1)),
        saga: tree.sagas[0].state.id,
        definition: "drawn".into(),
        version: Some(1),
        input: input.clone(),
        labels: BTreeMap::new(),
        by: "test".into(),
    });
    let is_refused = tree.at_the_start(definition, &input);
    match tree.give(0, &start) {
        Verdict::Applied if !is_refused => {}
        Verdict::Refused(Refusal::Misfit { .. }) if is_refused => {
            return (tree.evaluated, tree.broken);
        }
        other => tree
            .broken
            .push(format!("the start: {other:?} (refused: {is_refused})")),
    }
    for _ in 0..TURNS {
        if !tree.turn(chance) {
            break;
        }
    }
    (tree.evaluated, tree.broken)
}
