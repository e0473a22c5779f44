//! What becomes of alerts, from what there is and what was known: pure.

use std::collections::{BTreeMap, BTreeSet};

use baton_messages::Timestamp;
use baton_store::{AlertRow, AlertState, Saying};
use serde_json::json;
use uuid::Uuid;

use super::Rules;
use super::causes::{Cause, Found};

/// Ids of alerts are derived from their keys.
const NAMESPACE: Uuid = Uuid::from_u128(0x8f2a_6f0e_52b1_5f5e_9b57_6a4d_d0c3_a1e7);

/// The alerts that change, each with its next revision. A kind that could not be looked at whole, or an alert nobody is sure of, is not over.
pub(super) fn decide(
    now: Timestamp,
    rules: &Rules,
    found: &Found,
    known: &BTreeMap<String, AlertRow>,
) -> Vec<AlertRow> {
    let causes = found.causes.iter();
    let there: BTreeSet<&str> = causes.map(|cause| cause.key.as_str()).collect();
    let mut changed = Vec::new();
    for cause in &found.causes {
        let row = match known.get(&cause.key) {
            None => Some(opened(now, cause)),
            Some(row) if row.state == AlertState::Resolved => {
                Some(reopened(now, rules, cause, row))
            }
            Some(row) => stays(now, rules, cause, row),
        };
        changed.extend(row);
    }
    let is_partial = |kind: &str| found.partial.iter().any(|one| one.as_str() == kind);
    let open = known.values().filter(|row| row.state == AlertState::Open);
    let gone = open.filter(|row| !there.contains(row.key.as_str()));
    let over = gone.filter(|row| !is_partial(&row.kind) && !found.unsure.contains(&row.key));
    changed.extend(over.map(|row| resolved(now, row)));
    changed
}

fn next(row: &AlertRow) -> AlertRow {
    AlertRow {
        revision: row.revision + 1,
        ..row.clone()
    }
}

/// From now on something is to be said of it.
fn to_say(row: &mut AlertRow, saying: Saying) {
    row.sayings += 1;
    row.unsaid = Some(saying);
}

fn opened(now: Timestamp, cause: &Cause) -> AlertRow {
    let mut row = AlertRow {
        id: Uuid::new_v5(&NAMESPACE, cause.key.as_bytes()),
        key: cause.key.clone(),
        kind: cause.kind.as_str().to_owned(),
        state: AlertState::Open,
        title: cause.title.clone(),
        object: cause.object.clone(),
        command: cause.command.clone(),
        data: cause.data.clone(),
        silent: cause.silent,
        opened_at: now,
        openings: 1,
        resolved_at: None,
        said_at: None,
        sayings: 0,
        unsaid: None,
        acknowledged: None,
        muted: None,
        revision: 1,
    };
    if !row.silent {
        to_say(&mut row, Saying::Opened);
    }
    row
}

/// The cause is there again.
fn reopened(now: Timestamp, rules: &Rules, cause: &Cause, before: &AlertRow) -> AlertRow {
    let mut row = next(before);
    row.state = AlertState::Open;
    row.resolved_at = None;
    row.openings += 1;
    described(&mut row, cause);
    if row.unsaid == Some(Saying::Resolved) {
        // nobody has heard yet that it was over: it never was
        row.unsaid = None;
        lapse(now, rules, &mut row, before);
        return row;
    }
    row.opened_at = now;
    row.acknowledged = None;
    speak(now, rules, &mut row);
    row
}

fn described(row: &mut AlertRow, cause: &Cause) {
    row.title.clone_from(&cause.title);
    row.object.clone_from(&cause.object);
    row.data.clone_from(&cause.data);
    row.command.clone_from(&cause.command);
    row.silent = cause.silent;
}

/// What is to be said now, oldest first. What was muted before it was said waits until that is over.
pub(super) fn due(known: &BTreeMap<String, AlertRow>, now: Timestamp) -> Vec<&AlertRow> {
    let unsaid = known.values().filter(|row| row.unsaid.is_some());
    let mut due: Vec<&AlertRow> = unsaid.filter(|row| !is_muted(row, now)).collect();
    due.sort_by_key(|row| (row.opened_at, row.id));
    due
}

/// Whether nothing is to be said of it just now.
fn is_muted(row: &AlertRow, now: Timestamp) -> bool {
    let until = row.muted.as_ref().and_then(|muted| muted.until);
    until.is_some_and(|until| until > now)
}

/// Says what is due: that it is there, if nobody was told since it was opened, else that it is still there.
fn speak(now: Timestamp, rules: &Rules, row: &mut AlertRow) {
    if row.silent || row.unsaid.is_some() || is_muted(row, now) {
        return;
    }
    let since_said = row.said_at.map(|at| now.since_ms(at));
    let told = row.said_at.is_some_and(|at| at >= row.opened_at);
    if !told {
        if since_said.is_none_or(|ms| ms >= rules.again_ms) {
            to_say(row, Saying::Opened);
        }
    } else if row.acknowledged.is_none() && since_said.is_some_and(|ms| ms >= rules.repeat_ms) {
        to_say(row, Saying::Repeated);
    }
}

/// The cause is still there.
fn stays(now: Timestamp, rules: &Rules, cause: &Cause, before: &AlertRow) -> Option<AlertRow> {
    let mut row = before.clone();
    described(&mut row, cause);
    speak(now, rules, &mut row);
    lapse(now, rules, &mut row, before);
    if row == *before {
        return None;
    }
    row.revision += 1;
    Some(row)
}

/// Up to when whoever acknowledged it has seen what it is about, where that goes on (`last_at` of its data): what the alert said then, so that no two clocks
/// are compared. From the first look after it that stands in the data as `seen`, with the acknowledgement it is of.
fn seen_until(before: &AlertRow) -> Option<(Timestamp, u64)> {
    let acknowledged = before.acknowledged.as_ref()?;
    let noted = &before.data["seen"];
    let of = match noted["at"] == json!(acknowledged.at) {
        true => noted,
        false => &before.data,
    };
    Some((acknowledged.at, of["last_at"].as_u64()?))
}

/// Who has acknowledged it has not seen what came since: that is said, no oftener than what comes and goes, and then it is nobody's again.
fn lapse(now: Timestamp, rules: &Rules, row: &mut AlertRow, before: &AlertRow) {
    let Some((at, seen)) = seen_until(before) else {
        return;
    };
    let more = row.data["last_at"].as_u64().is_some_and(|last| last > seen);
    let since_said = row.said_at.map(|said| now.since_ms(said));
    let is_time = since_said.is_none_or(|ms| ms >= rules.again_ms);
    if more && is_time && !row.silent && row.unsaid.is_none() && !is_muted(row, now) {
        row.acknowledged = None;
        to_say(row, Saying::Repeated);
    } else if let Some(data) = row.data.as_object_mut() {
        data.insert("seen".to_owned(), json!({ "at": at, "last_at": seen }));
    }
}

/// The cause is gone.
fn resolved(now: Timestamp, before: &AlertRow) -> AlertRow {
    let mut row = next(before);
    row.state = AlertState::Resolved;
    row.resolved_at = Some(now);
    let told = row.said_at.is_some_and(|at| at >= row.opened_at);
    let muted = is_muted(&row, now);
    // what nobody was told of nobody is told the end of; an opening that may be on its way just now is told, and its end after it
    if told && !row.silent && !muted {
        to_say(&mut row, Saying::Resolved);
    } else if row.unsaid == Some(Saying::Repeated) || muted {
        row.unsaid = None;
    }
    row
}

/// It was said.
pub(super) fn said(before: AlertRow, now: Timestamp) -> AlertRow {
    let mut row = next(&before);
    let opening = row.unsaid == Some(Saying::Opened);
    row.unsaid = None;
    row.said_at = Some(now);
    if opening && row.state == AlertState::Resolved {
        // it was over before anybody heard of it: now they have, and hear the end as well
        to_say(&mut row, Saying::Resolved);
    }
    row
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use baton_store::Answered;

    use super::*;
    use crate::alerts::Kind;

    const REPEAT: u64 = 1_000_000;
    const AGAIN: u64 = 10_000;

    fn rules() -> Rules {
        Rules {
            every: Duration::from_secs(1),
            repeat_ms: REPEAT,
            again_ms: AGAIN,
            group_grows: 10,
            unserved_ms: 0,
            no_progress_ms: 0,
            link: "http://here".into(),
        }
    }

    fn cause(key: &str) -> Cause {
        Cause {
            key: key.to_owned(),
            kind: Kind::Parked,
            title: "parked".to_owned(),
            object: "sagas/1".to_owned(),
            command: "baton show 1".to_owned(),
            data: json!({}),
            silent: false,
        }
    }

    /// Alerts as the store would have them, and what was said.
    #[derive(Default)]
    struct World {
        rows: BTreeMap<String, AlertRow>,
        heard: Vec<(u64, Saying)>,
    }

    impl World {
        fn look(&mut self, at: u64, causes: &[Cause]) -> &mut Self {
            self.finds(
                at,
                &Found {
                    causes: causes.to_vec(),
                    ..Found::default()
                },
            )
        }

        fn finds(&mut self, at: u64, found: &Found) -> &mut Self {
            for row in decide(Timestamp(at), &rules(), found, &self.rows) {
                let before = self.rows.insert(row.key.clone(), row.clone());
                assert_eq!(before.map_or(0, |row| row.revision) + 1, row.revision);
            }
            self
        }

        fn speak(&mut self, at: u64) -> &mut Self {
            let due = due(&self.rows, Timestamp(at)).into_iter();
            for row in due.cloned().collect::<Vec<_>>() {
                self.heard.extend(row.unsaid.map(|saying| (at, saying)));
                self.rows.insert(row.key.clone(), said(row, Timestamp(at)));
            }
            self
        }

        fn row(&mut self) -> &mut AlertRow {
            self.rows.get_mut("a").unwrap()
        }
    }

    #[test]
    fn an_alert_is_said_when_it_comes_now_and_then_and_when_it_goes() {
        let mut world = World::default();
        let there = [cause("a")];
        world.look(10, &there).speak(11);
        world.look(20, &there).speak(21);
        world.look(11 + REPEAT - 1, &there).speak(11 + REPEAT - 1);
        world.look(11 + REPEAT, &there).speak(11 + REPEAT);
        world.look(12 + REPEAT, &[]).speak(12 + REPEAT);
        world.look(13 + REPEAT, &[]).speak(13 + REPEAT);
        let heard = [
            (11, Saying::Opened),
            (11 + REPEAT, Saying::Repeated),
            (12 + REPEAT, Saying::Resolved),
        ];
        assert_eq!(world.heard, heard);
        let row = world.row();
        assert_eq!(
            (row.state, row.resolved_at),
            (AlertState::Resolved, Some(Timestamp(12 + REPEAT)))
        );
    }

    #[test]
    fn a_cause_that_comes_and_goes_is_not_said_each_time() {
        let mut world = World::default();
        let there = [cause("a")];
        world.look(10, &there).speak(11).look(12, &[]).speak(13);
        for at in (20..AGAIN).step_by(1_000) {
            world
                .look(at, &there)
                .speak(at)
                .look(at + 1, &[])
                .speak(at + 1);
        }
        assert_eq!(world.heard, [(11, Saying::Opened), (13, Saying::Resolved)]);
        world.look(20_000, &there).speak(20_000);
        assert_eq!(world.heard.last(), Some(&(20_000, Saying::Opened)));
        assert!(world.row().openings > 5);
    }

    #[test]
    fn what_could_not_be_looked_at_whole_is_not_over() {
        let mut world = World::default();
        world.look(10, &[cause("a")]).speak(11);
        let mut state = |at, partial: &[Kind], unsure: &[&str]| {
            let found = Found {
                causes: Vec::new(),
                partial: partial.iter().copied().collect(),
                unsure: unsure.iter().map(|key| (*key).to_owned()).collect(),
            };
            world.finds(at, &found).row().state
        };
        assert_eq!(state(20, &[Kind::Parked], &[]), AlertState::Open);
        assert_eq!(state(21, &[], &["a"]), AlertState::Open);
        let others = state(22, &[Kind::Unserved], &["b"]);
        assert_eq!(others, AlertState::Resolved);
    }

    #[test]
    fn what_somebody_has_seen_is_not_repeated_and_what_is_muted_is_not_said() {
        let answered = |until| {
            Some(Answered {
                by: "anna".to_owned(),
                why: "known".to_owned(),
                at: Timestamp(1),
                until,
            })
        };
        let mut world = World::default();
        let there = [cause("a")];
        world.look(10, &there).speak(11);
        world.row().acknowledged = answered(None);
        world.look(20 + REPEAT, &there).speak(20 + REPEAT);
        assert_eq!(world.heard.len(), 1);
        world.look(30 + REPEAT, &[]).speak(30 + REPEAT);
        assert_eq!(world.heard.len(), 2, "that it is over is said");
        let later = 40 + 2 * REPEAT;
        world.row().muted = answered(Some(Timestamp(later + 10)));
        world.look(later, &there).speak(later);
        assert_eq!(world.heard.len(), 2);
        world.look(later + 10, &there).speak(later + 10);
        assert_eq!(
            world.heard.len(),
            3,
            "the time is over, and it is still there"
        );
    }

    fn acknowledged(at: u64) -> Option<Answered> {
        Some(Answered {
            by: "anna".to_owned(),
            why: "known".to_owned(),
            at: Timestamp(at),
            until: None,
        })
    }

    /// A group whose last letter came then.
    fn group(last_at: u64) -> [Cause; 1] {
        [Cause {
            data: json!({ "last_at": last_at }),
            ..cause("a")
        }]
    }

    #[test]
    fn what_comes_after_it_was_seen_is_said_and_is_nobodys() {
        let mut world = World::default();
        world.look(10, &group(5)).speak(11);
        world.row().acknowledged = acknowledged(12);
        world.look(20, &group(5)).speak(20);
        world.look(30 + REPEAT, &group(5)).speak(30 + REPEAT);
        assert_eq!(world.heard, [(11, Saying::Opened)], "it was seen");
        let later = 40 + REPEAT;
        // by the clock of another, which is behind
        world.look(later, &group(6)).speak(later);
        assert_eq!(world.heard.last(), Some(&(later, Saying::Repeated)));
        assert_eq!(world.row().acknowledged, None);
        world.row().acknowledged = acknowledged(later + 1);
        for at in later + 2..later + 5 {
            world.look(at, &group(6)).speak(at);
        }
        assert_eq!(world.heard.len(), 2, "this one was seen as well");
        assert!(world.row().acknowledged.is_some());
    }

    #[test]
    fn what_comes_after_it_was_seen_is_not_said_each_time() {
        let mut world = World::default();
        world.look(10, &group(5)).speak(11);
        world.row().acknowledged = acknowledged(12);
        for at in (20..AGAIN).step_by(1_000) {
            world.look(at, &group(at)).speak(at);
        }
        assert_eq!(world.heard, [(11, Saying::Opened)]);
        // nothing came any more, and what came is still to be said
        let last = group(AGAIN - 1);
        world.look(11 + AGAIN, &last).speak(11 + AGAIN);
        world.look(12 + AGAIN, &last).speak(12 + AGAIN);
        let said = [(11, Saying::Opened), (11 + AGAIN, Saying::Repeated)];
        assert_eq!(world.heard, said);
    }

    #[test]
    fn what_is_there_again_before_anybody_heard_of_its_end_is_news_to_whoever_had_seen_it() {
        let mut world = World::default();
        world.look(10, &group(5)).speak(11);
        world.row().acknowledged = acknowledged(12);
        world.look(20, &group(5)).look(2 * AGAIN, &[]);
        world
            .look(2 * AGAIN + 1, &group(2 * AGAIN))
            .speak(2 * AGAIN + 2);
        let last = Some(&(2 * AGAIN + 2, Saying::Repeated));
        assert_eq!(world.heard.last(), last);
        assert_eq!(world.row().acknowledged, None);
    }

    #[test]
    fn what_is_muted_before_it_was_said_waits() {
        let mut world = World::default();
        let there = [cause("a")];
        world.look(10, &there);
        world.row().muted = Some(Answered {
            by: "anna".to_owned(),
            why: "known".to_owned(),
            at: Timestamp(11),
            until: Some(Timestamp(100)),
        });
        world.speak(20).look(30, &there).speak(99);
        assert_eq!(world.heard, []);
        world.speak(100);
        assert_eq!(world.heard, [(100, Saying::Opened)]);
    }

    #[test]
    fn what_alerts_start_is_never_said() {
        let mut world = World::default();
        let quiet = Cause {
            silent: true,
            ..cause("a")
        };
        for at in [10, 20 + REPEAT, 30 + 2 * REPEAT] {
            world.look(at, std::slice::from_ref(&quiet)).speak(at);
        }
        assert_eq!(world.row().state, AlertState::Open);
        world.look(40 + 3 * REPEAT, &[]).speak(40 + 3 * REPEAT);
        assert_eq!(world.heard, []);
    }

    #[test]
    fn an_opening_that_was_not_said_yet_is_said_before_its_end() {
        let mut world = World::default();
        world.look(10, &[cause("a")]).look(20, &[]);
        assert_eq!(
            world.row().unsaid,
            Some(Saying::Opened),
            "it may be on its way"
        );
        world.speak(30).speak(31);
        assert_eq!(world.heard, [(30, Saying::Opened), (31, Saying::Resolved)]);
        world
            .look(50_000, &[cause("a")])
            .speak(50_000)
            .look(50_001, &[]);
        world.look(50_002, &[cause("a")]).speak(50_003);
        assert_eq!(
            world.heard.len(),
            3,
            "nobody heard that it was over: {:?}",
            world.heard
        );
    }
}
