//! Objects that are handed on whole, to what takes one that is nearly the same: what is taken without a doubt fits whatever its own schema lets it be, and what is just as it is taken, or said
//! to be more closely, is never refused.

use baton_engine::Catalogue;
use baton_engine::definition::{Checked, Unannounced, check};
use baton_messages::TaskType;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::decided::{described, numbers};
use super::{Chance, PATTERNS, manifest, schema, value};

/// An object like another one, of whose keys something else is said.
pub(super) fn near(chance: &mut Chance, like: &Value) -> Value {
    let mut made = like.clone();
    for _ in 0..=chance.below(2) {
        match chance.below(6) {
            0 => made["required"] = json!([]),
            1 => without(&mut made, "additionalProperties"),
            2 => made["additionalProperties"] = json!(false),
            3 => made["additionalProperties"] = schema(chance, 0),
            4 => {
                let (pattern, _) = PATTERNS[chance.below(PATTERNS.len())];
                made["patternProperties"] = json!({ pattern: schema(chance, 0) });
            }
            _ => without(&mut made, "patternProperties"),
        }
    }
    made
}

fn without(schema: &mut Value, word: &str) {
    schema.as_object_mut().unwrap().remove(word);
}

/// One that takes all that another one does, and more.
fn wider(than: &Value) -> Value {
    let mut made = than.clone();
    made["required"] = json!([]);
    without(&mut made, "additionalProperties");
    without(&mut made, "patternProperties");
    made
}

/// A saga whose input has an object that it hands on whole.
fn looked_at(is: &Value, takes: &Value) -> (Checked, Catalogue) {
    let mut catalogue = Catalogue::default();
    let taker = manifest("drawn.taker@1", takes.clone(), json!({ "type": "object" }));
    catalogue.announce(taker).unwrap();
    let input = json!({ "type": "object", "required": ["w"], "properties": { "w": is } });
    let source = format!(
        "saga: drawn\nversion: 1\ninput: {input}\nsteps:\n  - id: a\n    task: drawn.taker@1\n    with: \"${{ input.w }}\"\n"
    );
    let found = check(&source, &catalogue, Unannounced::Warned);
    (found, catalogue)
}

/// Whether it is taken, and nothing is said of it that may fail.
fn is_sure(found: &Checked) -> bool {
    let is_doubted = found.warnings.iter().any(|one| one.code == "BT0039");
    let mut all = found.expressions.iter();
    let is_unknown = all.any(|one| one.open || !one.unknown.is_empty());
    found.errors.is_empty() && !is_doubted && !is_unknown
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_object_that_is_taken_whole_fits(
        shape in prop::collection::vec(any::<u32>(), 200),
        values in prop::collection::vec(prop::collection::vec(any::<u32>(), 60), 12),
    ) {
        let mut chance = Chance { drawn: shape, next: 0 };
        let is = described(&mut chance, 1);
        let takes = near(&mut chance, &is);
        for right in [&is, &wider(&is)] {
            let (found, _) = looked_at(&is, right);
            prop_assert!(found.errors.is_empty(), "{:?}\n{is}\nto {right}", found.errors);
        }
        let (found, catalogue) = looked_at(&is, &takes);
        if is_sure(&found) {
            let taker = catalogue.get(&TaskType::new("drawn.taker@1").unwrap()).unwrap();
            for values in values {
                let made = value(&mut Chance { drawn: values, next: 0 }, &is);
                let misfit = taker.check_input(&made);
                prop_assert!(misfit.is_ok(), "{misfit:?}: {made}\n{is}\nto {takes}");
            }
        }
    }
}

/// The property above says something only when objects are taken of whose other keys something is said, and when some are refused.
#[test]
fn objects_with_other_keys_are_taken_and_refused() {
    let (mut sure, mut refused) = (0, 0);
    for seed in 0..400 {
        let mut chance = Chance {
            drawn: numbers(seed, 200),
            next: 0,
        };
        let is = described(&mut chance, 1);
        let has_others =
            is["patternProperties"].is_object() || is["additionalProperties"].is_object();
        let takes = near(&mut chance, &is);
        let (found, _) = looked_at(&is, &takes);
        sure += u32::from(has_others && is_sure(&found));
        refused += u32::from(has_others && !found.errors.is_empty());
    }
    assert!(
        sure >= 10 && refused >= 10,
        "{sure} taken, {refused} refused"
    );
}
