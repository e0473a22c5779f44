//! Who may act for a task: the first run that asks for the sending that stands. Everybody else is told not to, and what is said of another sending changes nothing.

use baton_engine::command::commands;
use baton_engine::state::{Phase, Stage as How};
use baton_engine::{Command, Record, Status, Verdict};
use baton_messages::{
    AttemptRef, ControlMessage, GrantAnswer, InboxKey, RefusedWhy, RunId, Timestamp,
};

use crate::stage::{Stage, done, not_run, run, started};

const ONE: &str = "  - id: a\n    task: t.once@1\n";

/// What a run that asks is answered.
fn asks(stage: &mut Stage, of: &AttemptRef, by: RunId) -> GrantAnswer {
    assert_eq!(stage.give(&started(of.clone(), by)), Verdict::Applied);
    let records = &stage.entries.last().unwrap().records;
    let all = commands(&stage.state, &InboxKey::of(0), records);
    let answers: Vec<_> = all
        .into_iter()
        .filter_map(|command| match command {
            Command::Grant(message) => match *message {
                ControlMessage::Grant(grant) => Some(grant),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!((&answers[0].of, answers[0].run), (of, by));
    answers[0].answer.clone()
}

fn refused(why: RefusedWhy) -> GrantAnswer {
    GrantAnswer::Refused { why }
}

fn is_granted(answer: &GrantAnswer) -> bool {
    matches!(answer, GrantAnswer::Granted { .. })
}

#[test]
fn of_several_who_ask_the_first_acts_and_hears_the_same_again() {
    // held late it is asked for when it was delivered before
    for name in ["t.once@1", "t.file@1", "t.set@1"] {
        let mut stage = Stage::with(&format!("  - id: a\n    task: {name}\n"));
        let of = stage.open("a");
        assert!(is_granted(&asks(&mut stage, &of, run(1))), "{name}");
        for other in [2, 3] {
            let answer = asks(&mut stage, &of, run(other));
            assert_eq!(answer, refused(RefusedWhy::AnotherRun), "{name}");
        }
        assert!(is_granted(&asks(&mut stage, &of, run(1))), "asked again");
        let claims = |record: &Record| matches!(record, Record::Claimed { .. });
        assert_eq!(stage.recorded(claims), 1, "{name}");
        let held = &stage.at("a").open_attempt().unwrap().stage;
        assert!(matches!(held, How::Claimed { run: by, .. } if *by == run(1)));
        stage.tell(of.clone(), run(1), true, done());
        assert_eq!(stage.status(), Status::Completed);
        let late = asks(&mut stage, &of, run(4));
        assert_eq!(late, refused(RefusedWhy::NoLongerWanted), "{name}");
    }
}

/// An attempt nobody ran is sent again under its number: what is asked or said of the sending before is of no attempt any more.
#[test]
fn whoever_holds_the_sending_before_may_not_act_and_cannot_end_the_one_that_stands() {
    for name in ["t.once@1", "t.set@1"] {
        let mut stage = Stage::with(&format!("  - id: a\n    task: {name}\n"));
        let before = stage.open("a");
        stage.tell(before.clone(), run(1), true, not_run());
        stage.wait();
        let stands = stage.open("a");
        assert_eq!(
            (stands.attempt, stands.dispatch),
            (before.attempt, before.dispatch + 1)
        );
        let answer = asks(&mut stage, &before, run(2));
        assert_eq!(answer, refused(RefusedWhy::NoLongerWanted), "{name}");
        let records = stage.entries.len();
        let said = stage.tell(before.clone(), run(3), true, not_run());
        assert_eq!(said, Verdict::Duplicate, "{name}");
        assert_eq!(stage.entries.len(), records, "nothing is written");
        assert_eq!(
            (stage.phase("a"), stage.open("a")),
            (Phase::Trying, stands.clone())
        );
        assert!(is_granted(&asks(&mut stage, &stands, run(4))), "{name}");
        stage.tell(stands, run(4), true, done());
        assert_eq!(stage.status(), Status::Completed);
    }
}

/// Held late and handed out twice: that one of them did not run it does not say that nobody did.
#[test]
fn one_of_two_who_gives_it_back_does_not_speak_for_the_other() {
    for twice in ["sent twice", "delivered twice"] {
        let mut stage = Stage::with("  - id: a\n    task: t.set@1\n");
        let of = stage.open("a");
        let sole = twice == "sent twice";
        if sole {
            stage.give(&baton_engine::Input::Resend(of.clone()));
        }
        stage.tell(of.clone(), run(1), sole, not_run());
        assert_eq!(stage.phase("a"), Phase::Trying, "{twice}");
        assert_eq!(
            stage.open("a"),
            of,
            "it is not offered anew beside the other"
        );
        stage.tell(of, run(2), sole, done());
        assert_eq!(stage.status(), Status::Completed, "{twice}");
    }
}

/// A claim nobody made is not waited for longer than it may be made, and whoever asks then is refused.
#[test]
fn whoever_asks_after_its_time_is_refused() {
    let mut stage = Stage::with(ONE);
    let of = stage.open("a");
    let end = stage.at("a").open_attempt().unwrap().last_moment;
    assert!(stage.state.due_timers(Timestamp(end.0 - 1)).is_empty());
    stage.wait();
    assert!(stage.now >= end.0);
    assert_eq!(stage.phase("a"), Phase::Backoff, "nobody ran it");
    let answer = asks(&mut stage, &of, run(1));
    assert_eq!(answer, refused(RefusedWhy::NoLongerWanted));
    assert!(!stage.at("a").may_have_effect);
    stage.wait();
    assert_eq!(stage.open("a").attempt, of.attempt, "no attempt was used");
}
