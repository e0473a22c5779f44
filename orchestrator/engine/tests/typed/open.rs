//! Objects whose schema says nothing of other keys: one that is read and not described is `any`, and `--types` names it. Where such a key is not there, or is of another kind than is
//! taken, the step that reads it fails in so many words, before anything is sent; what is described beside it is as sure as ever.

use std::collections::BTreeMap;

use baton_engine::definition::{Checked, NoSagas, Unannounced, check};
use baton_engine::{Catalogue, Input, Record, Rules, SagaState, Verdict, decide};
use baton_messages::{Failure, InputId, SagaId, Start, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Chance, manifest, object, value};

/// A key that no drawn schema speaks of, and that is near none of theirs.
const OTHER: &str = "elsewhere";

/// Two tasks that take a text each: one the key nobody describes, one that which is. Neither waits for the other.
const STEPS: &str = "steps:\n  - id: unsure\n    task: drawn.text@1\n    with: { v: \"${ input.elsewhere }\" }\n  - id: sure\n    after: []\n    task: drawn.text@1\n    with: { v: \"${ input.told }\" }\n";

/// An object of drawn keys, and of one that is a text; of others nothing is said.
fn open(chance: &mut Chance) -> Value {
    let mut schema = object(chance, 1);
    let map = schema.as_object_mut().unwrap();
    map.remove("additionalProperties");
    map["properties"]["told"] = json!({ "type": "string" });
    map["required"].as_array_mut().unwrap().push(json!("told"));
    schema
}

fn catalogue() -> Catalogue {
    let takes = json!({ "type": "object", "properties": { "v": { "type": "string" } } });
    let mut catalogue = Catalogue::default();
    let made = manifest("drawn.text@1", takes, json!({ "type": "object" }));
    catalogue.announce(made).unwrap();
    catalogue
}

fn looked_at(schema: &Value, catalogue: &Catalogue) -> Checked {
    let source = format!("saga: drawn\nversion: 1\ninput: {schema}\n{STEPS}");
    check(&source, catalogue, Unannounced::Warned)
}

/// The steps that fail for what they read as the saga begins.
fn failed(found: &Checked, catalogue: &Catalogue, input: &Value) -> Vec<(String, Failure)> {
    let rules = Rules {
        definition: found.definition.as_ref().unwrap(),
        catalogue,
        sagas: &NoSagas,
        level: baton_engine::Level::NEWEST,
    };
    let mut state = SagaState::new(SagaId(Uuid::from_u128(7)));
    let start = Input::Start(Start {
        id: InputId(Uuid::from_u128(1)),
        saga: state.id,
        definition: "drawn".into(),
        version: Some(1),
        input: input.clone(),
        labels: BTreeMap::new(),
        by: "test".into(),
    });
    let decision = decide(rules, &mut state, &start, Timestamp(1_000_000), 42).unwrap();
    assert_eq!(decision.verdict, Verdict::Applied, "{input}");
    let failures = decision
        .records
        .into_iter()
        .filter_map(|record| match record {
            Record::Moved {
                step,
                failure: Some(failure),
                ..
            } if failure.code == "expression" || failure.code == "input-misfit" => {
                Some((step.step.to_string(), failure))
            }
            _ => None,
        });
    failures.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 50, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_key_nobody_describes_is_any_and_fails_where_it_is_read_and_nowhere_else(
        drawn in prop::collection::vec(any::<u32>(), 120),
    ) {
        let mut chance = Chance { drawn, next: 0 };
        let schema = open(&mut chance);
        let catalogue = catalogue();
        let found = looked_at(&schema, &catalogue);
        prop_assert!(found.errors.is_empty(), "{:?}\n{schema}", found.errors);
        let is_near = found.warnings.iter().any(|one| one.code == "BT0026");
        prop_assert!(!is_near, "{:?}\n{schema}", found.warnings);
        let of = |text: &str| found.expressions.iter().find(|one| one.text == text).unwrap();
        let other = of("input.elsewhere");
        prop_assert!(other.any && other.unknown == ["input.elsewhere"], "{other:?}");
        let told = of("input.told");
        prop_assert!(!told.any && !told.open && told.unknown.is_empty(), "{told:?}");

        let mut input = value(&mut chance, &schema);
        let absent = failed(&found, &catalogue, &input);
        prop_assert_eq!(absent.len(), 1, "{:?}", absent);
        let (step, failure) = &absent[0];
        prop_assert_eq!((step.as_str(), failure.code.as_str()), ("unsure", "expression"));
        prop_assert!(failure.message.contains(OTHER), "{failure:?}");

        for of_another_kind in [json!(7), json!([true]), json!({ "a": 1 }), json!(null)] {
            input[OTHER] = of_another_kind;
            let misfits = failed(&found, &catalogue, &input);
            prop_assert_eq!(misfits.len(), 1, "{:?}", misfits);
            let (step, failure) = &misfits[0];
            prop_assert_eq!((step.as_str(), failure.code.as_str()), ("unsure", "input-misfit"));
        }

        input[OTHER] = json!("there");
        let fits = failed(&found, &catalogue, &input);
        prop_assert!(fits.is_empty(), "{fits:?}");
    }
}

/// Closed, the same object has no such key: it is refused before anything runs.
#[test]
fn a_key_that_a_closed_object_cannot_have_is_refused() {
    let drawn = vec![3; 120];
    let mut schema = open(&mut Chance { drawn, next: 0 });
    schema["additionalProperties"] = json!(false);
    let found = looked_at(&schema, &catalogue());
    let codes: Vec<&str> = found.errors.iter().map(|one| one.code).collect();
    assert_eq!(codes, ["BT0025"], "{:?}", found.errors);
}
