//! What the checker promises of a definition it takes: nothing that is certain only for some, and nothing refused that works.

use serde_json::json;

use super::tests_flow::{catalogue, manifest, said};
use super::*;

/// What is wrong with a saga of these steps.
fn wrong(steps: &str) -> Vec<String> {
    let yaml = format!(
        "saga: x\nversion: 1\ninput: {{ type: object, required: [go, all], properties: {{ go: {{ type: boolean }}, all: {{ type: array, maxItems: 9, items: {{ type: object, required: [go], properties: {{ go: {{ type: boolean }} }} }} }}, more: {{ type: array, maxItems: 9, items: {{ type: string }} }} }} }}\nsteps:\n{steps}"
    );
    let found = check(&yaml, &catalogue(), Unannounced::Warned);
    said(&found.errors)
}

#[test]
fn a_list_is_computed_only_where_an_if_that_asks_nothing_of_an_item_holds() {
    let steps = |condition: &str| {
        format!(
            "  - {{ id: find, if: '${{ input.go }}', task: switch.locate@1 }}\n  - {{ id: each, if: '${{ {condition} }}', for_each: ['${{ find.switch }}'], task: switch.locate@1 }}\n"
        )
    };
    assert_eq!(wrong(&steps("input.go")), Vec::<String>::new());
    let other = wrong(&steps("input.go && index < 3"));
    assert_eq!(other.len(), 1, "{other:?}");
    assert!(other[0].contains("BT0024"), "{other:?}");
    let guarded = "  - { id: each, if: '${ has(input.more) }', for_each: '${ input.more }', task: switch.locate@1 }\n";
    assert_eq!(wrong(guarded), Vec::<String>::new());
    let too_late = guarded.replace("has(input.more)", "has(input.more) && index < 3");
    let too_late = wrong(&too_late);
    assert_eq!(too_late.len(), 1, "{too_late:?}");
    assert!(too_late[0].contains("BT0024"), "{too_late:?}");
}

#[test]
fn the_same_if_of_another_item_is_another_if() {
    let group = |list: &str| {
        format!(
            "  - id: around\n    for_each: ${{ input.all }}\n    steps:\n      - {{ id: find, if: '${{ item.go }}', task: switch.locate@1 }}\n      - {{ id: each, if: '${{ item.go }}', {list}task: switch.locate@1, with: {{ of: '${{ find.switch }}' }} }}\n"
        )
    };
    assert_eq!(wrong(&group("")), Vec::<String>::new());
    let other = wrong(&group("for_each: '${ input.all }', "));
    assert_eq!(other.len(), 1, "{other:?}");
    assert!(other[0].contains("BT0024"), "{other:?}");
}

#[test]
fn an_event_is_published_when_nothing_turns_the_saga_back_any_more() {
    let told = "  - { id: told, emit: { type: com.example.told } }\n";
    let set = |id: &str, more: &str| format!("  - {{ id: {id}, task: switch.locate@1{more} }}\n");
    let because = told.replace(" }\n", ", because: it is so }\n");
    let again = |says: &str| {
        format!("  - {{ id: again, after: [told], emit: {{ type: com.example.told, {says} }} }}\n")
    };
    let group = format!("  - id: each\n    for_each: [1, 2]\n    steps:\n    {told}");
    for right in [
        told.to_owned(),
        format!("{told}{}", again("data: { n: 1 }")),
        // who computes what it says comes first
        format!(
            "{}{told}",
            again("data: '${ input.go }'").replace("after: [told], ", "")
        ),
        format!("{}{told}", set("a", "")),
        format!("{}{told}{}", set("a", ", pivot: true"), set("b", "")),
        format!("{because}{}", set("a", "")),
        format!("{}{group}", set("a", ", pivot: true")),
    ] {
        assert_eq!(wrong(&right), Vec::<String>::new(), "{right}");
    }
    for early in [
        format!("{told}{}", set("a", "")),
        // what the other says cannot always be computed
        format!("{told}{}", again("data: '${ input.go }'")),
        format!("{told}{}", again("subject: 'of ${ input.go }'")),
        format!(
            "{told}{}",
            again("data: 1").replace("emit:", "if: '${ input.go }', emit:")
        ),
        format!("{told}{}", set("a", ", pivot: true")),
        format!("{told}{}", set("a", ", after: []")),
        format!("{told}  - {{ id: nap, sleep: 1s }}\n"),
        format!(
            "{}{told}{}",
            set("a", ", pivot: true, if: '${ input.go }'"),
            set("b", "")
        ),
        group.clone(),
        format!(
            "{}{group}      {}",
            set("a", ", pivot: true"),
            set("b", "").trim_start()
        ),
    ] {
        let found = wrong(&early);
        assert_eq!(found.len(), 1, "{early}: {found:?}");
        assert!(
            found[0].contains("BT0029 what `told` publishes"),
            "{found:?}"
        );
        // last of the group is not last of all, and the pivot of the saga is none of its items
        let help = match (early == group, early.contains("for_each")) {
            (true, _) => {
                "an item of `each` may still turn back | publish it last of all, after `each`, whose items may be taken back when they are done; or put a step with `pivot: true` before `each`; or"
            }
            (false, true) => {
                "an item of `each` may still turn back | put a step with `pivot: true` before it in the group, or publish it last in the group; or"
            }
            (false, false) => {
                "the saga may still turn back | put it after the pivot, or last of all; or"
            }
        };
        assert!(found[0].contains(help), "{found:?}");
    }
}

#[test]
fn what_a_child_publishes_is_out_when_the_saga_above_turns_back() {
    let told = "saga: told\nversion: 1\nsteps:\n  - { id: a, task: switch.locate@1 }\n  - { id: told, emit: { type: com.example.told } }\n";
    let because = told
        .replace("saga: told", "saga: because")
        .replace(" } }\n", " }, because: it is so }\n");
    let around = "saga: around\nversion: 1\nsteps:\n  - { id: below, saga: told@1 }\n";
    let sagas = Together::beside([told, because.as_str(), around]);
    assert_eq!(sagas.names().len(), 3);
    let found = |steps: &str| {
        let yaml = format!("saga: x\nversion: 1\nsteps:\n{steps}");
        said(&check_among(&yaml, &catalogue(), &sagas, Unannounced::Warned).errors)
    };
    let set = "  - { id: set, task: switch.locate@1 }\n";
    let pivot = set.replace(" }", ", pivot: true }");
    for right in [
        format!("  - {{ id: child, saga: because@1 }}\n{set}"),
        format!("{pivot}  - {{ id: child, saga: told@1 }}\n"),
        format!("  - {{ id: child, saga: around@1, pivot: true }}\n{set}"),
    ] {
        assert_eq!(found(&right), Vec::<String>::new(), "{right}");
    }
    for (early, what) in [
        (
            format!("  - {{ id: child, saga: told@1 }}\n{set}"),
            "BT0029 what `told` of told@1 publishes is not taken back, and after `child` this saga may still turn back | make it the pivot",
        ),
        // whoever cancels it, or is above it, takes it back when it is done
        (
            "  - { id: child, saga: told@1 }\n".to_owned(),
            "BT0029 what `told` of told@1",
        ),
        (
            format!("  - {{ id: child, saga: around@1 }}\n{set}"),
            "BT0029 what `below.told` of around@1",
        ),
        (
            format!("  - {{ id: child, saga: told@1, for_each: [1, 2] }}\n{pivot}"),
            "move it below the pivot `set`",
        ),
    ] {
        let found = found(&early);
        assert_eq!(found.len(), 1, "{early}: {found:?}");
        assert!(found[0].contains(what), "{early}: {found:?}");
    }
}

#[test]
fn a_label_that_a_limit_is_counted_by_may_not_be_absent() {
    let found = |limit: &str| {
        let yaml = format!(
            "saga: x\nversion: 1\ninput: {{ type: object, properties: {{ site: {{ type: string }} }} }}\nlabels: {{ site: '${{ input.site }}' }}\n{limit}steps:\n  - {{ id: a, task: switch.locate@1 }}\n"
        );
        said(&check(&yaml, &catalogue(), Unannounced::Warned).errors)
    };
    assert_eq!(found(""), Vec::<String>::new());
    for limit in [
        "concurrency: { max: 2, key: site }\n",
        "blast_radius: { max: 2, per: 1h, key: site }\n",
    ] {
        let found = found(limit);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("BT0024 `input.site` may be absent"),
            "{found:?}"
        );
    }
}

/// What is wrong with a step that hands this to a task type which takes that.
fn wrong_for(takes: &Value, with: &str) -> Vec<String> {
    let mut catalogue = catalogue();
    catalogue
        .announce(manifest("switch.find@1", takes.clone(), json!({})))
        .unwrap();
    let yaml = format!(
        "saga: x\nversion: 1\ninput: {{ type: object, required: [n], properties: {{ n: {{ type: integer }} }} }}\nsteps:\n  - id: a\n    task: switch.find@1\n    with: {with}\n"
    );
    said(&check(&yaml, &catalogue, Unannounced::Warned).errors)
}

#[test]
fn what_is_written_out_is_held_against_all_that_is_said_of_it() {
    let either = json!({
        "type": "object", "properties": { "ip": { "type": "string" }, "mac": { "type": "string" } },
        "anyOf": [{ "required": ["ip"] }, { "required": ["mac"] }],
    });
    let together = json!({
        "type": "object", "properties": { "ip": { "type": "string" }, "mac": { "type": "string" } },
        "dependentRequired": { "ip": ["mac"] }, "minProperties": 1,
    });
    for (takes, right) in [
        (&either, "{ mac: b }"),
        (&together, "{ mac: b, ip: a }"),
        (&together, "{ other: '${ input.n }' }"),
    ] {
        assert_eq!(wrong_for(takes, right), Vec::<String>::new(), "{right}");
    }
    for (takes, odd) in [
        (&either, "{ other: 1 }"),
        (&together, "{ ip: a }"),
        (&together, "{}"),
    ] {
        let found = wrong_for(takes, odd);
        assert_eq!(found.len(), 1, "{odd}: {found:?}");
        assert!(
            found[0].starts_with("7:5 BT0020 does not fit switch.find@1: "),
            "{odd}: {found:?}"
        );
    }
}

#[test]
fn a_key_that_a_pattern_takes_is_taken() {
    let takes = json!({
        "type": "object", "properties": { "ip": { "type": "string" } }, "additionalProperties": false,
        "patternProperties": { "^x-": { "type": "string" } },
    });
    for right in [
        "{ ip: a, x-site: b }",
        "{ x-count: '${ string(input.n) }' }",
    ] {
        assert_eq!(wrong_for(&takes, right), Vec::<String>::new(), "{right}");
    }
    let found = wrong_for(&takes, "{ site: '${ input.n }' }");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("switch.find@1 takes no `site`"),
        "{found:?}"
    );
}

#[test]
fn what_a_key_holds_that_is_described_by_no_name_has_to_fit_too() {
    let of_patterns = json!({
        "type": "object", "properties": { "ip": { "type": "string" } }, "additionalProperties": false,
        "patternProperties": { "^x-": { "type": "string" }, "-count$": { "type": "string", "maxLength": 3 } },
    });
    let no_more = json!({ "type": "object", "patternProperties": { "^x-": { "type": "string" } } });
    let of_others = json!({
        "type": "object", "properties": { "ip": { "type": "string" } }, "patternProperties": { "^n-": { "type": "integer" } },
        "additionalProperties": { "type": "string" },
    });
    for (takes, right) in [
        (&of_patterns, "{ x-count: '${ string(input.n) }', ip: a }"),
        (&no_more, "{ x-count: a, other: '${ input.n }' }"),
        (
            &of_others,
            "{ other: '${ string(input.n) }', n-all: '${ input.n }' }",
        ),
    ] {
        assert_eq!(wrong_for(takes, right), Vec::<String>::new(), "{right}");
    }
    for (takes, odd) in [
        (&of_patterns, "{ x-count: '${ input.n }' }"),
        (&of_patterns, "{ x-count: 'four' }"),
        (&no_more, "{ x-count: '${ input.n }' }"),
        (&of_others, "{ other: '${ input.n }' }"),
        (&of_others, "{ n-all: '${ string(input.n) }' }"),
        (&of_others, "{ other: 7, ip: '${ string(input.n) }' }"),
    ] {
        let found = wrong_for(takes, odd);
        assert_eq!(found.len(), 1, "{odd}: {found:?}");
        assert!(found[0].contains("BT0020"), "{odd}: {found:?}");
    }
}

#[test]
fn what_nobody_can_find_out_is_said_from_the_pivot_on_too() {
    let mut catalogue = catalogue();
    let mut mail = manifest("mail.post@1", json!({ "type": "object" }), json!({}));
    (mail.idempotent, mail.effect) = (false, baton_messages::Effect::Irreversible);
    catalogue.announce(mail).unwrap();
    let found = |first: &str, second: &str| {
        let yaml = format!(
            "saga: x\nversion: 1\nsteps:\n  - {{ id: a, task: mail.post@1, pivot: true{first} }}\n  - {{ id: b, task: mail.post@1{second} }}\n"
        );
        said(&check(&yaml, &catalogue, Unannounced::Warned).errors)
    };
    let right = found(", on_error: park", ", on_error: continue");
    assert_eq!(right, Vec::<String>::new());
    for (first, second, line) in [
        ("", ", on_error: park", "4:"),
        (", on_error: park", "", "5:"),
        (", on_error: park", ", on_error: compensate", "5:"),
    ] {
        let found = found(first, second);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with(line) && found[0].contains("BT0030"),
            "{found:?}"
        );
        // the pivot may not be tolerated where something counts on it
        let is_last = line == "5:";
        assert_eq!(found[0].contains("`continue`"), is_last, "{found:?}");
    }
}

#[test]
fn a_constant_that_is_no_text_is_no_name() {
    for names in [
        "locks: [\"${ null }\"]",
        "concurrency: { max: 1, key: \"${ [1] }\" }",
        "blast_radius: { max: 1, per: 1h, key: \"${ {} }\" }",
    ] {
        let yaml = format!(
            "saga: x\nversion: 1\n{names}\nsteps:\n  - {{ id: a, task: switch.locate@1 }}\n"
        );
        let found = said(&check(&yaml, &catalogue(), Unannounced::Warned).errors);
        assert_eq!(found.len(), 1, "{names}: {found:?}");
        assert!(found[0].contains("BT0020"), "{found:?}");
    }
}
