//! The same promise for what stands around the steps and within groups of them: labels, locks, limits, whose work items are, triggers, what a wait looks for, and a group for each item of a
//! list. Expressions are drawn for each of these places, those that fit and those that do not; what the checker takes without a doubt is evaluated by the engine that runs it, triggers and
//! items of groups included, with values the schemas allow. What may be absent is no mistake in a label and in a name of a work item: there the promise is held where the same expression
//! would be taken in a place that wants a value.

use std::collections::{BTreeMap, BTreeSet};

use baton_engine::Catalogue;
use baton_engine::definition::{Unannounced, check};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::decided::{Page, described, drop_unfit, input, numbers, taken};
use super::tree::played;
use super::{Chance, TRIES, expression, hole, manifest, places, value, with};

/// Expressions drawn for one key of what a trigger hands on: there are many keys, and each try reads the whole document.
const KEY_TRIES: usize = 4;

/// What an expression may read of an event.
const OF_EVENT: [&str; 7] = [
    "event.id",
    "event.source",
    "event.type",
    "event.subject",
    "event.data",
    "event.data.a",
    "event.data.b",
];

/// Every place for which an expression is drawn.
const PLACES: [&str; 22] = [
    "with",
    "wait.when",
    "approve.assign",
    "for_each",
    "group.with",
    "group.if",
    "group.wait.when",
    "group.assign",
    "group.output",
    "last.with",
    "output",
    "assign",
    "escalate",
    "label",
    "lock",
    "concurrency.key",
    "blast_radius.key",
    "event.input",
    "event.when",
    "event.key",
    "schedule.input",
    "hook.when",
];

/// Where the expression of a place stands.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub(super) line: usize,
    /// Whether what may be absent would be refused: then it does not fail for that either.
    pub(super) strict: bool,
}

/// Expressions that were drawn for a place, and those of them that were taken without a doubt.
#[derive(Clone, Copy, Default)]
struct Tally {
    drawn: u32,
    taken: u32,
}

/// A definition, with where everything in it stands.
pub(super) struct Around {
    pub(super) page: Page,
    pub(super) input: Value,
    /// What each step that is a task returns.
    pub(super) outputs: BTreeMap<&'static str, Value>,
    pub(super) spots: BTreeMap<&'static str, Spot>,
    tallies: BTreeMap<&'static str, Tally>,
}

impl Around {
    fn tally(&mut self, place: &'static str, is_taken: bool) {
        let tally = self.tallies.entry(place).or_default();
        tally.drawn += 1;
        tally.taken += u32::from(is_taken);
    }

    /// Notes that a place stands in what is written next, so many lines down.
    fn stands(&mut self, place: &'static str, below: usize, strict: bool) {
        let line = self.page.text.lines().count() + 1 + below;
        self.spots.insert(place, Spot { line, strict });
    }

    /// Lines with an expression that is taken without a doubt, or with what is plain.
    fn draw(
        &mut self,
        chance: &mut Chance,
        place: &'static str,
        known: &[String],
        lines: &str,
        plain: &str,
    ) {
        self.lenient(chance, place, known, (lines, plain), None);
    }

    /// The same in a place where what may be absent is no mistake; `wants` is a place that stands next, reads the same, and wants a value.
    fn lenient(
        &mut self,
        chance: &mut Chance,
        place: &'static str,
        known: &[String],
        (lines, plain): (&str, &str),
        wants: Option<&str>,
    ) {
        let below = lines.split('§').next().map_or(0, newlines);
        let written = |text: &str| format!("{}\n", lines.replace('§', text));
        let depth = chance.below(3);
        for _ in 0..TRIES {
            let text = hole(&expression(chance, known, depth));
            let drawn = written(&text);
            let is_taken = self.page.takes(&drawn);
            self.tally(place, is_taken);
            if !is_taken {
                continue;
            }
            let strict = wants.is_none_or(|wants| {
                let wanted = format!("{drawn}{}\n", wants.replace('§', &text));
                self.page.takes(&wanted)
            });
            self.stands(place, below, strict);
            return self.page.text.push_str(&drawn);
        }
        self.stands(place, below, true);
        self.page.text.push_str(&written(plain));
    }

    /// What a task is handed.
    fn handed(&mut self, chance: &mut Chance, place: &'static str, known: &[String], indent: &str) {
        let line = format!("{indent}with: {{ v: § }}");
        self.draw(chance, place, known, &line, "1");
        drop_unfit(&mut self.page);
    }

    /// What a trigger hands to the saga: a value of its schema, in which some keys are expressions.
    fn handed_on(
        &mut self,
        chance: &mut Chance,
        place: &'static str,
        known: &[String],
        lead: &str,
    ) {
        let mut given = value(chance, &self.input);
        let keys: Vec<String> = given.as_object().unwrap().keys().cloned().collect();
        for key in keys {
            let depth = chance.below(2);
            for _ in 0..KEY_TRIES {
                let mut tried = given.clone();
                tried[&key] = json!(format!("${{ {} }}", expression(chance, known, depth)));
                let is_taken = self.page.takes(&format!("{lead}input: {tried}\n"));
                self.tally(place, is_taken);
                if is_taken {
                    given = tried;
                    break;
                }
            }
        }
        self.stands(place, newlines(lead), true);
        self.page.text.push_str(&format!("{lead}input: {given}\n"));
    }
}

fn newlines(text: &str) -> usize {
    text.matches('\n').count()
}

/// The places of an event beside those that are known.
fn with_event(known: &[String]) -> Vec<String> {
    let own = OF_EVENT.iter().map(|place| (*place).to_owned());
    known.iter().cloned().chain(own).collect()
}

fn drawn(chance: &mut Chance) -> Around {
    let input = input(chance);
    let mut outputs = BTreeMap::new();
    let mut catalogue = Catalogue::default();
    for id in ["s0", "t0", "last"] {
        let output = described(chance, 1);
        let takes = json!({ "type": "object", "properties": { "v": taken(chance) } });
        let made = manifest(&format!("drawn.{id}@1"), takes, output.clone());
        catalogue.announce(made).unwrap();
        outputs.insert(id, output);
    }
    let text = format!("saga: drawn\nversion: 1\ninput: {input}\nsteps:\n");
    let mut around = Around {
        page: Page { text, catalogue },
        input,
        outputs,
        spots: BTreeMap::new(),
        tallies: BTreeMap::new(),
    };
    steps(&mut around, chance);
    names(&mut around, chance);
    triggers(&mut around, chance);
    around
}

/// The steps, a group among them, and what the saga returns.
fn steps(around: &mut Around, chance: &mut Chance) {
    let mut known = Vec::new();
    places("input", &around.input, &mut known);
    let head = "  - id: s0\n    task: drawn.s0@1\n";
    around.page.text.push_str(head);
    around.handed(chance, "with", &known, "    ");
    places("s0", &around.outputs["s0"], &mut known);
    around.draw(
        chance,
        "wait.when",
        &with_event(&known),
        "  - id: paid\n    wait:\n      event: x.y\n      timeout: 1h\n      on_timeout: continue\n      when: §",
        "\"${ true }\"",
    );
    known.extend(["paid".to_owned(), "paid.type".to_owned()]);
    around.lenient(
        chance,
        "approve.assign",
        &known,
        (
            "  - id: asked\n    approve: { by: operator, timeout: 1h, on_timeout: continue }\n    work_items:\n      assign: §",
            "team",
        ),
        Some("  - id: strict\n    approve: { by: operator, timeout: 1h, prompt: § }"),
    );
    group(around, chance, &known);
    known.push("g".to_owned());
    around
        .page
        .text
        .push_str("  - id: last\n    task: drawn.last@1\n");
    around.handed(chance, "last.with", &known, "    ");
    places("last", &around.outputs["last"], &mut known);
    around.draw(chance, "output", &known, "output: §", "1");
}

/// A group: what it knows is what is around it, and the item.
fn group(around: &mut Around, chance: &mut Chance, known: &[String]) {
    around.draw(
        chance,
        "for_each",
        known,
        "  - id: g\n    max_items: 4\n    for_each: §\n    steps:\n      - id: t0\n        task: drawn.t0@1",
        "[1, 2]",
    );
    let mut inside = with(known, "item");
    inside.push("index".to_owned());
    around.handed(chance, "group.with", &inside, "        ");
    let plain = "\"${ true }\"";
    around.draw(chance, "group.if", &inside, "        if: §", plain);
    places("t0", &around.outputs["t0"], &mut inside);
    around.draw(
        chance,
        "group.wait.when",
        &with_event(&inside),
        "      - id: heard\n        wait:\n          event: x.y\n          timeout: 1h\n          on_timeout: continue\n          when: §",
        plain,
    );
    around.lenient(
        chance,
        "group.assign",
        &inside,
        (
            "      - id: said\n        approve: { by: operator, timeout: 1h, on_timeout: continue }\n        work_items:\n          assign: §",
            "team",
        ),
        Some("      - id: strict\n        approve: { by: operator, timeout: 1h, prompt: § }"),
    );
    around.draw(chance, "group.output", &inside, "    output: §", "1");
}

/// What is computed from the input alone: names of people, labels, what is taken before the first step.
fn names(around: &mut Around, chance: &mut Chance) {
    let mut known = Vec::new();
    places("input", &around.input, &mut known);
    let wants = Some("locks:\n  - §");
    let lenient = [
        ("assign", "work_items:\n  assign: §"),
        ("escalate", "  escalate:\n    - { after: 1m, to: § }"),
        ("label", "labels:\n  all: one\n  who: §"),
    ];
    for (place, lines) in lenient {
        around.lenient(chance, place, &known, (lines, "team"), wants);
    }
    let strict = [
        ("lock", "locks:\n  - §", "one"),
        ("concurrency.key", "concurrency:\n  max: 1\n  key: §", "all"),
        (
            "blast_radius.key",
            "blast_radius:\n  max: 1\n  per: 1h\n  key: §",
            "all",
        ),
    ];
    for (place, lines, plain) in strict {
        around.draw(chance, place, &known, lines, plain);
    }
}

/// What starts it by itself.
fn triggers(around: &mut Around, chance: &mut Chance) {
    let event = with_event(&[]);
    around.handed_on(chance, "event.input", &event, "on:\n  - event: x.y\n    ");
    let plain = "\"${ true }\"";
    around.draw(chance, "event.when", &event, "    when: §", plain);
    around.draw(chance, "event.key", &event, "    key: §", "\"all\"");
    let time = ["schedule".to_owned(), "schedule.time".to_owned()];
    let lead = "  - schedule: \"0 2 * * *\"\n    ";
    around.handed_on(chance, "schedule.input", &time, lead);
    // what it hands on is the event's data, of which nobody knows anything
    let lines = "  - hook: pushed\n    secret: pushed\n    when: §";
    around.draw(chance, "hook.when", &event, lines, plain);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 50, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_stands_around_the_steps_and_in_groups_does_not_fail_for_its_types(
        shape in prop::collection::vec(any::<u32>(), 6_000),
        values in prop::collection::vec(prop::collection::vec(any::<u32>(), 300), 4),
    ) {
        let mut chance = Chance { drawn: shape, next: 0 };
        let drawn = drawn(&mut chance);
        let source = &drawn.page.text;
        let found = check(source, &drawn.page.catalogue, Unannounced::Warned);
        prop_assert!(found.errors.is_empty(), "{:?}\n{source}", found.errors);
        prop_assert!(found.definition.is_some(), "{source}");
        for values in values {
            let mut chance = Chance { drawn: values, next: 0 };
            let (_, broken) = played(&found, &drawn, &mut chance);
            prop_assert!(broken.is_empty(), "{broken:?}\n{source}");
        }
    }
}

/// The property above says something only when each place is drawn with what the checker takes and with what it does not, and what it took is evaluated.
#[test]
fn each_place_is_drawn_with_what_fits_and_with_what_does_not() {
    let mut tallies: BTreeMap<&'static str, Tally> = BTreeMap::new();
    let mut evaluated = BTreeSet::new();
    for seed in 0..16 {
        let chance = |seed: u32, count: u32| Chance {
            drawn: numbers(seed, count),
            next: 0,
        };
        let drawn = drawn(&mut chance(seed, 6_000));
        for (place, tally) in &drawn.tallies {
            let all = tallies.entry(*place).or_default();
            all.drawn += tally.drawn;
            all.taken += tally.taken;
        }
        let source = &drawn.page.text;
        let found = check(source, &drawn.page.catalogue, Unannounced::Warned);
        for play in 0..3 {
            let (seen, broken) = played(&found, &drawn, &mut chance(100 + 3 * seed + play, 300));
            assert!(broken.is_empty(), "{broken:?}\n{source}");
            evaluated.extend(seen);
        }
    }
    let shares: Vec<String> = tallies
        .iter()
        .map(|(place, tally)| format!("{place}: {} of {} taken", tally.taken, tally.drawn))
        .collect();
    for place in PLACES {
        let tally = tallies.get(place).copied().unwrap_or_default();
        let is_both = tally.taken >= 2 && tally.taken < tally.drawn;
        assert!(is_both, "{place}, of\n{}", shares.join("\n"));
    }
    for place in [
        "wait.when",
        "group.wait.when",
        "approve.assign",
        "group.assign",
        "escalate",
        "label",
        "lock",
    ] {
        assert!(evaluated.contains(place), "{place} of {evaluated:?}");
    }
}
