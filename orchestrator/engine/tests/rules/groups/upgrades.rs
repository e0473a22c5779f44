//! A saga with a group goes on under another version where the group is written the same, once items of it have begun.

use baton_engine::upgrade::ReasonKind;
use baton_engine::{Input, Refusal, Status, Verdict};
use serde_json::json;

use super::{HOSTS, found, gave, input, item, moved};
use crate::children::family::Family;
use crate::stage::done;

fn two(second: &str) -> Family {
    let second = second.replace("version: 1\n", "version: 2\n");
    Family::with(&[HOSTS, &second], input(&["h0", "h1", "h2"]))
}

fn upgrade(family: &mut Family) -> Verdict {
    let operator = family.operator();
    let asked = Input::Upgrade {
        to: 2,
        from: None,
        operator,
    };
    family.give(family.root, &asked)
}

#[track_caller]
fn stays(verdict: &Verdict) -> Vec<(ReasonKind, String)> {
    let Verdict::Refused(Refusal::Stays { reasons }) = verdict else {
        panic!("it does not stay: {verdict:?}");
    };
    let of = |one: &baton_engine::upgrade::Reason| (one.kind, one.what.clone());
    reasons.iter().map(of).collect()
}

fn otherwise() -> String {
    HOSTS.replace(
        "port: '${ find.port }', host: '${ item.name }', none",
        "none",
    )
}

#[test]
fn a_group_that_has_not_begun_may_be_another_one() {
    let mut family = two(&otherwise());
    assert_eq!(upgrade(&mut family), Verdict::Applied);
    family.report(family.root, "a", gave(json!({ "list": [] })));
    let first = item(&family, 0);
    assert_eq!(
        (
            family.state(first).definition.as_str(),
            family.state(first).version
        ),
        ("hosts/each", 2)
    );
}

#[test]
fn one_of_which_items_have_begun_stays_what_it_is() {
    let mut family = two(&otherwise());
    family.report(family.root, "a", gave(json!({ "list": [] })));
    let why = stays(&upgrade(&mut family));
    assert_eq!(why.len(), 1);
    assert_eq!(why[0].0, ReasonKind::StepType);
    assert!(
        why[0].1.contains("its group is written otherwise"),
        "{why:?}"
    );
}

/// What is around the group may change; items under way go on as they began, and those to come run the new version's.
#[test]
fn one_that_is_written_the_same_goes_on_under_the_other_version() {
    let second = HOSTS.replace(
        "  - { id: z, task: t.set@1, with: { all: '${ each }' } }\n",
        "  - { id: z, task: t.once@1 }\n",
    );
    let mut family = two(&second);
    family.report(family.root, "a", gave(json!({ "list": [] })));
    found(&mut family, 0);
    assert_eq!(upgrade(&mut family), Verdict::Applied);
    moved(&mut family, 0);
    let version = |family: &Family, n| family.state(item(family, n)).version;
    assert_eq!(
        [
            version(&family, 0),
            version(&family, 1),
            version(&family, 2)
        ],
        [1, 1, 2]
    );
    family.talk();
    for n in [1, 2] {
        found(&mut family, n);
        moved(&mut family, n);
    }
    family.report(family.root, "z", done());
    assert_eq!(family.status(family.root), Status::Completed);
}

#[test]
fn an_item_is_moved_by_nothing_but_its_parent() {
    let mut family = two(HOSTS);
    family.report(family.root, "a", gave(json!({ "list": [] })));
    let first = item(&family, 0);
    let operator = family.operator();
    let asked = Input::Upgrade {
        to: 2,
        from: None,
        operator,
    };
    let why = stays(&family.give(first, &asked));
    assert_eq!(why[0].0, ReasonKind::Child);
}
