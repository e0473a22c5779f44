//! Inputs drawn from chance, sensible and not: deciding never fails, the invariants hold, the history replays, a duplicate changes nothing,
//! and what has ended stays ended unless late evidence arrives.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

#[path = "rules/stage.rs"]
#[expect(dead_code, reason = "shared with the rules, which use all of it")]
mod stage;

use baton_engine::input::Resolution;
use baton_engine::{Approval, Input, Operator, Role, Status, TimerKey, Verdict};
use baton_messages::inbox::Checkpoint;
use baton_messages::{
    AttemptRef, CheckpointKind, DeadReason, Direction, Event, InputId, ProbeAnswer, Started,
    StepId, StepKey, Timestamp, WorkerId,
};
use proptest::prelude::*;
use serde_json::json;
use stage::{Stage, done, failed, finished, found, not_run, run, undone, unknown};
use uuid::Uuid;

const TYPES: [&str; 8] = [
    "t.look@1",
    "t.set@1",
    "t.blind@1",
    "t.once@1",
    "t.asked@1",
    "t.stuck@1",
    "t.file@1",
    "t.unheard-of@1",
];

/// Two thousand here, as many as `BATON_CASES` says elsewhere.
fn cases() -> u32 {
    std::env::var("BATON_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2_000)
}

/// The steps of a saga, from a few numbers.
fn document(shape: &[(u8, u8, u8, u8)]) -> String {
    let pivot = shape.iter().position(|(_, _, _, flags)| flags % 7 == 1);
    let mut yaml = String::new();
    for (n, (kind, before, on_error, flags)) in shape.iter().enumerate() {
        let after: Vec<String> = (0..n)
            .filter(|other| before >> other & 1 == 1 || pivot.is_some_and(|p| p < n && *other == p))
            .map(|other| format!("s{other}"))
            .collect();
        yaml.push_str(&format!(
            "  - id: s{n}\n    after: [{}]\n",
            after.join(", ")
        ));
        if flags % 11 == 5 && pivot != Some(n) {
            yaml.push_str("    sleep: 10s\n");
            continue;
        }
        if let Some(idle) = without_a_worker(*kind, *on_error, flags % 11)
            && pivot != Some(n)
        {
            yaml.push_str(&idle);
            continue;
        }
        yaml.push_str(&format!(
            "    task: {}\n    queue_timeout: 60s\n    retry: {{ attempts: {} }}\n",
            TYPES[usize::from(*kind) % TYPES.len()],
            on_error % 3 + 1
        ));
        if pivot == Some(n) {
            yaml.push_str("    pivot: true\n");
        }
        let fan = flags % 3 == 0 && pivot != Some(n);
        if fan {
            let items: Vec<u8> = (0..kind % 6).collect();
            yaml.push_str(&format!(
                "    for_each: {items:?}\n    max_parallel: {}\n    tolerate: {}\n",
                before % 3 + 1,
                ["0", "1", "50%", "100%"][usize::from(on_error / 5) % 4]
            ));
        }
        match on_error % 5 {
            0 => yaml.push_str("    on_error: park\n"),
            1 if !fan => yaml.push_str("    on_error: continue\n"),
            _ => {}
        }
    }
    yaml
}

/// A wait, an approval or an event, where the flags say so.
fn without_a_worker(kind: u8, how: u8, flags: u8) -> Option<String> {
    let on_timeout = ["fail", "park", "continue"][usize::from(how) % 3];
    match flags {
        6 => Some(format!(
            "    wait: {{ event: {}, when: \"${{ event.data.n > 1 }}\", timeout: 30s, on_timeout: {on_timeout} }}\n",
            ["x.y", "x.*"][usize::from(kind) % 2]
        )),
        7 => Some(format!(
            "    approve: {{ by: {}, timeout: 30s, on_timeout: {on_timeout}, on_reject: {} }}\n",
            ["operator", "admin", "anna"][usize::from(kind) % 3],
            ["fail", "continue"][usize::from(how / 3) % 2]
        )),
        8 => Some(format!(
            "    emit: {{ type: x.said, data: {} }}\n",
            ["1", "\"${ input.nothing }\""][usize::from(kind % 5 == 4)]
        )),
        _ => None,
    }
}

/// An event that fits now and then, from now or from before the start.
fn arrival(stage: &Stage, step: StepId, how: u8) -> Input {
    let event: Event = serde_json::from_value(json!({
        "specversion": "1.0", "id": format!("e{}", how % 5), "source": "/x",
        "type": (["x.y", "x.z", "other"][usize::from(how) % 3]), "data": { "n": how % 4 },
    }))
    .unwrap();
    Input::EventArrived {
        id: InputId::of_arrival(stage.state.id, &step, &event.source, &event.id),
        step,
        event: Box::new(event),
        received_at: Timestamp(if how % 11 == 10 { 0 } else { stage.now }),
    }
}

/// One input, from a few numbers; most of them make sense now and then.
fn input(stage: &mut Stage, (what, which, how): (u8, u8, u8)) -> Option<Input> {
    let steps: Vec<StepKey> = stage.state.all().map(|(spot, _)| spot.key()).collect();
    let step = steps.get(usize::from(which) % steps.len())?.clone();
    let at = stage.state.at(&step)?.clone();
    let attempt = at.open_attempt().or(at.attempts.last()).cloned();
    let of = AttemptRef {
        saga: stage.state.id,
        step: step.step.clone(),
        item: step.item,
        direction: attempt.as_ref().map_or(Direction::Do, |a| a.direction),
        round: at.round + u32::from(how % 29 == 28),
        attempt: attempt
            .as_ref()
            .map_or(1, |a| a.number)
            .saturating_sub(u32::from(how % 7 == 6)),
        dispatch: attempt.as_ref().map_or(1, |a| a.dispatch),
    };
    let by = run(u128::from(how % 3));
    let operator = stage.operator();
    Some(match what % 22 {
        0..=4 => {
            let result = match (of.direction, how % 6) {
                (_, 5) => not_run(),
                (Direction::Probe, 0) => found(ProbeAnswer::Happened { output: json!(1) }),
                (Direction::Probe, 1) => found(ProbeAnswer::DidNot),
                (Direction::Probe, 2) => found(ProbeAnswer::CannotTell {
                    reason: "dark".into(),
                }),
                (Direction::Undo, 0..=1) => undone(),
                (_, 0..=1) => done(),
                (_, 2) => failed(true),
                (_, 3) => failed(false),
                (_, _) => unknown(),
            };
            finished(of, by, how % 4 != 3, result)
        }
        5 | 6 => Input::TaskStarted(Started {
            of,
            run: by,
            worker: WorkerId::new("w").unwrap(),
            at: Timestamp(0),
        }),
        7 => Input::Checkpoint(Checkpoint {
            of,
            run: by,
            kind: CheckpointKind::Before,
            number: 1,
            value: json!(how),
        }),
        8 => Input::TaskUnroutable(of),
        9 => Input::TaskUnconfirmed {
            of,
            maybe_sent: how % 2 == 0,
        },
        10 => Input::Resend(of),
        11 => Input::LeaseOver { of, run: by },
        12 => Input::TaskDead {
            message: of.message_id(),
            reason: DeadReason::ALL[usize::from(how) % 10],
            error: "dead".into(),
        },
        13 => Input::TypeServed(TYPES[usize::from(how) % TYPES.len()].parse().ok()?),
        14 => match how % 8 {
            0 => Input::Cancel(operator),
            1 => Input::Pause(operator),
            2 => Input::Resume(operator),
            3 => Input::RetryStep { step, operator },
            4 => Input::SkipStep { step, operator },
            5 => Input::ResolveStep {
                step,
                resolution: Resolution::Done { output: json!(2) },
                operator,
            },
            6 => Input::ResolveStep {
                step,
                resolution: Resolution::Undone,
                operator,
            },
            _ => Input::Acknowledge {
                number: u32::from(which % 4),
                operator,
            },
        },
        15 if how == 0 => Input::Abandon(operator),
        15 if how < 8 => Input::Broken {
            id: InputId(Uuid::from_u128(u128::from(how))),
            error: "broken".into(),
        },
        15 => Input::TimerFired(TimerKey::StepDue { step }),
        16 | 17 => arrival(stage, step.step, how),
        18 => Input::Approve {
            step,
            decision: if how % 3 == 0 {
                Approval::Reject
            } else {
                Approval::Approve
            },
            operator: Operator {
                role: if how % 4 == 0 {
                    Role::Admin
                } else {
                    Role::Operator
                },
                ..operator
            },
        },
        19 if how % 4 == 0 => Input::Joined {
            id: InputId::of_joined(stage.state.id, 0, "/x", &format!("e{how}")),
            trigger: 0,
            source: "/x".into(),
            event: format!("e{how}"),
        },
        _ => {
            let next = stage.state.next_wake()?;
            stage.now = stage.now.max(next.0);
            Input::TimerFired(
                stage
                    .state
                    .due_timers(Timestamp(stage.now))
                    .first()?
                    .clone(),
            )
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_can_come_breaks_a_saga(
        shape in prop::collection::vec(any::<(u8, u8, u8, u8)>(), 1..6),
        inputs in prop::collection::vec(any::<(u8, u8, u8)>(), 1..120),
    ) {
        let mut stage = Stage::with(&document(&shape));
        for drawn in inputs {
            let Some(input) = input(&mut stage, drawn) else { continue };
            let before = stage.state.clone();
            // Deciding looks at the invariants itself; giving replays the history.
            let verdict = stage.give(&input);
            if verdict != Verdict::Applied {
                prop_assert_eq!(&stage.state, &before, "{:?} changed something", verdict);
            }
            if before.status == Status::Abandoned {
                prop_assert_eq!(stage.state.status, Status::Abandoned);
            }
            if before.status.ended() && !stage.state.status.ended() {
                prop_assert!(matches!(input, Input::TaskFinished(_) | Input::Broken { .. }), "{} woke up what had ended", input.kind());
            }
            let report = matches!(input, Input::TaskFinished(_) | Input::Checkpoint(_));
            if verdict == Verdict::Applied && (report || !matches!(input, Input::TaskStarted(_) | Input::Resend(_) | Input::TypeServed(_) | Input::TimerFired(_) | Input::TaskUnconfirmed { .. } | Input::TaskUnroutable(_))) {
                let (once, noted) = (stage.state.clone(), stage.entries.len());
                stage.give(&input);
                // A report that only was noted is noted again; nothing else differs but the count of records and their time.
                let again = baton_engine::SagaState { seq: once.seq, last_at: once.last_at, ..stage.state.clone() };
                prop_assert!(again == once || stage.entries.len() == noted, "{} twice changed more", input.kind());
            }
        }
    }
}
