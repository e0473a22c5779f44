//! Inputs drawn from chance, sensible and not: deciding never fails, the invariants hold, the history replays, a duplicate changes nothing,
//! and what has ended stays ended unless late evidence arrives.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

#[path = "rules/stage.rs"]
#[expect(dead_code, reason = "shared with the rules, which use all of it")]
mod stage;

use baton_engine::decide::choices::possible;
use baton_engine::definition::StepKind;
use baton_engine::input::{Resolution, StepEdit};
use baton_engine::state::Phase;
use baton_engine::upgrade::ReasonKind;
use baton_engine::{
    Approval, Assignment, Choice, Input, Operator, Record, Refusal, Role, Rules, Status, TimerKey,
    Verdict, Whose, WorkItem, decide,
};
use baton_messages::inbox::Checkpoint;
use baton_messages::{
    AttemptRef, CheckpointKind, ChildSaid, DeadReason, Direction, Event, InputId, ParentRef,
    ProbeAnswer, SagaId, Standing, Started, StepId, StepKey, TaskResult, TaskType, Timestamp,
    WorkerId,
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
    drawn(shape, false)
}

/// The same; with `groups` some of what is done for each of a list are groups of steps.
fn drawn(shape: &[(u8, u8, u8, u8)], groups: bool) -> String {
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
        let fan = flags % 3 == 0 && pivot != Some(n);
        if groups && fan && kind % 4 >= 2 {
            let timeout = ["", "    timeout: 90s\n"][usize::from(before % 2)];
            yaml.push_str(&format!(
                "    steps: [{{ id: g{n}, task: t.set@1 }}]\n{timeout}"
            ));
        } else {
            yaml.push_str(&format!(
                "    task: {}\n    queue_timeout: 60s\n    retry: {{ attempts: {} }}\n",
                TYPES[usize::from(*kind) % TYPES.len()],
                on_error % 3 + 1
            ));
        }
        if pivot == Some(n) {
            yaml.push_str("    pivot: true\n");
        }
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
    if shape.first().is_some_and(|(kind, ..)| kind % 4 == 3) {
        yaml.push_str("locks: [x, y]\nblast_radius: { max: 1, per: 1h }\n");
    }
    if shape.first().is_some_and(|(kind, ..)| kind % 3 == 1) {
        yaml.push_str("work_items: { assign: net, due: 1s, escalate: [{ after: 2s, to: lead }, { after: 20s, to: boss }] }\n");
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

/// What the saga of an item of a group says of itself, true or not.
fn word(stage: &Stage, step: StepKey, round: u32, child: SagaId, how: u8) -> Input {
    let only_forward = how % 16 == 15;
    let standing = match how % 6 {
        0 | 1 => Standing::Completed {
            output: Some(json!(how)),
            too_large: None,
            no_output: None,
            only_forward,
        },
        2 => Standing::Compensated { failure: None },
        3 => Standing::UnderWay {
            compensating: how % 4 == 1,
            parked: how.is_multiple_of(5).then(|| "it asks".to_owned()),
            only_forward,
        },
        4 => Standing::Abandoned,
        _ => Standing::Completed {
            output: None,
            too_large: (how % 4 == 1).then_some(1 << 20),
            no_output: (how % 4 != 1).then(|| "as told".to_owned()),
            only_forward,
        },
    };
    // mostly newer than what it said before
    let seq = stage.entries.len() as u64 + u64::from(how % 3);
    Input::ChildSaid(ChildSaid {
        parent: ParentRef {
            saga: stage.state.id,
            step: step.step,
            item: step.item,
            round,
        },
        child,
        seq,
        standing,
    })
}

/// One input, from a few numbers; most of them make sense now and then.
fn input(stage: &mut Stage, (what, which, how): (u8, u8, u8)) -> Option<Input> {
    let steps: Vec<StepKey> = stage.state.all().map(|(spot, _)| spot.key()).collect();
    let step = steps.get(usize::from(which) % steps.len())?.clone();
    let at = stage.state.at(&step)?.clone();
    if let Some(child) = at.child.as_deref()
        && what % 22 < 5
    {
        let round = at.round + u32::from(how % 29 == 28);
        return Some(word(stage, step, round, child.id, how));
    }
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
        15 if how < 32 => Input::AssignItem {
            number: u32::from(which % 4),
            assignment: Assignment {
                whose: match how % 4 {
                    0 => None,
                    1 => Some(Whose::Mine),
                    2 => Some(Whose::Of("carl".into())),
                    _ => Some(Whose::Back),
                },
                due_ms: (how % 3 == 0).then_some(u64::from(how)),
            },
            operator,
        },
        15 if how < 48 => Input::TimerFired(TimerKey::Escalation {
            number: u32::from(which % 4),
            rung: u32::from(how % 4),
        }),
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
        19 => match how % 5 {
            0 => Input::HeldBack,
            1 => Input::Admit(operator),
            2 => Input::BreakLock {
                name: "x".into(),
                operator,
            },
            _ => Input::Admitted {
                fences: [("x".to_owned(), 3), ("y".to_owned(), 4)].into(),
            },
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

/// What is typed for a choice about a work item, by somebody who may decide all of it; none of what wants a step where it has none.
fn typed(
    stage: &mut Stage,
    item: &WorkItem,
    choice: Choice,
    other: Option<TaskType>,
) -> Option<Input> {
    let number = item.number;
    let operator = Operator {
        role: Role::Admin,
        ..stage.operator()
    };
    let step = || item.step.clone();
    let resolved = |resolution, operator| {
        let step = step()?;
        Some(Input::ResolveStep {
            step,
            resolution,
            operator,
        })
    };
    let edited = |task_type, operator| {
        let step = step()?;
        let input = json!({});
        Some(Input::EditStep {
            step,
            edit: StepEdit { input, task_type },
            operator,
        })
    };
    let approved = |decision, operator| {
        let step = step()?;
        Some(Input::Approve {
            step,
            decision,
            operator,
        })
    };
    match choice {
        Choice::Admit => Some(Input::Admit(operator)),
        Choice::Cancel => Some(Input::Cancel(operator)),
        Choice::Abandon => Some(Input::Abandon(operator)),
        Choice::Acknowledge => Some(Input::Acknowledge { number, operator }),
        Choice::Retry => Some(Input::RetryStep {
            step: step()?,
            operator,
        }),
        Choice::Skip => Some(Input::SkipStep {
            step: step()?,
            operator,
        }),
        Choice::ResolveDone => resolved(Resolution::Done { output: json!(2) }, operator),
        Choice::ResolveUndone => resolved(Resolution::Undone, operator),
        Choice::Approve => approved(Approval::Approve, operator),
        Choice::Reject => approved(Approval::Reject, operator),
        Choice::Edit => edited(None, operator),
        Choice::Substitute => edited(Some(other.or_else(|| "t.look@1".parse().ok())?), operator),
    }
}

/// What would come of an input.
fn tried(stage: &Stage, input: &Input) -> Verdict {
    let mut state = stage.state.clone();
    let decided = decide(rules(stage), &mut state, input, Timestamp(stage.now), 42);
    decided.unwrap().verdict
}

fn rules(stage: &Stage) -> Rules<'_> {
    Rules {
        definition: &stage.definition,
        catalogue: &stage.catalogue,
        sagas: &stage.sagas,
        level: baton_engine::Level::NEWEST,
    }
}

/// Whether a choice that an item does not offer is refused: a saga is cancelled and let through whatever its work items are about, and whoever may approve may also say what came of it.
fn is_refused_unless_offered(stage: &Stage, item: &WorkItem, choice: Choice) -> bool {
    let step = item.step.as_ref();
    let step = step.and_then(|key| stage.definition.step(&key.step));
    let asks = step.is_some_and(|step| matches!(step.kind, StepKind::Approve(_)));
    match choice {
        Choice::Cancel | Choice::Admit | Choice::Abandon => false,
        Choice::ResolveDone => !asks,
        _ => true,
    }
}

/// What two sagas have in common of which one was moved to the same text: everything but the version, and the count of what was recorded.
fn but_for_the_version(stage: &Stage) -> baton_engine::SagaState {
    baton_engine::SagaState {
        version: 1,
        upgraded: None,
        seq: 0,
        last_at: Timestamp(0),
        applied: Default::default(),
        ..stage.state.clone()
    }
}

/// The document with a step that comes after all others.
fn appended(document: &str, steps: usize) -> String {
    let all: Vec<String> = (0..steps).map(|n| format!("s{n}")).collect();
    let last = format!(
        "  - id: last\n    after: [{}]\n    task: t.look@1\n    queue_timeout: 60s\n    on_error: park\n",
        all.join(", ")
    );
    // before what stands after the steps
    let after = ["locks:", "work_items:"].map(|key| document.find(key));
    match after.into_iter().flatten().min() {
        Some(at) => format!("{}{last}{}", &document[..at], &document[at..]),
        None => format!("{document}{last}"),
    }
}

/// Whether nothing but where the saga stands keeps it from a move.
fn stands_still(verdict: &Verdict) -> bool {
    use baton_engine::upgrade::ReasonKind::{Child, Ended, Unwinding};
    match verdict {
        Verdict::Refused(Refusal::Ended { .. }) => true,
        Verdict::Refused(Refusal::Stays { reasons }) => reasons
            .iter()
            .all(|one| matches!(one.kind, Ended | Unwinding | Child)),
        _ => false,
    }
}

/// The pivot was dead-lettered, the step before it is being undone, somebody gives the saga up, and then the pivot's report says that it was done.
#[test]
fn what_is_learned_of_an_abandoned_saga_while_it_was_undone_is_written_down() {
    let shape = [(225, 0, 0, 34), (11, 5, 27, 43), (0, 0, 0, 0)];
    let mut stage = Stage::with(&document(&shape));
    let drawn = [
        (66, 54, 78),
        (34, 46, 0),
        (152, 0, 0),
        (108, 0, 0),
        (64, 0, 0),
        (20, 0, 0),
        (37, 0, 0),
    ];
    for drawn in drawn {
        let Some(input) = input(&mut stage, drawn) else {
            continue;
        };
        stage.give(&input);
    }
    assert_eq!(stage.state.status, Status::Abandoned);
    let backward = stage.phase("s0").backward();
    assert!(backward, "{:?}", stage.phase("s0"));
    assert!(
        !stage.at("s1").may_have_effect,
        "nobody ran it, it was held"
    );
    let report = input(&mut stage, (0, 82, 192)).unwrap();
    assert_eq!(stage.give(&report), Verdict::Applied);
    let written = |record: &Record| {
        matches!(
            record,
            Record::Evidence { of, result: TaskResult::Succeeded { .. }, .. }
                if of.step == stage::key("s1") && of.direction == Direction::Do
        )
    };
    assert_eq!(stage.recorded(written), 1);
    assert!(stage.at("s1").may_have_effect);
    assert_eq!(stage.state.status, Status::Abandoned);
    assert!(stage.state.work_items.is_empty(), "nobody is asked again");
    assert_eq!(stage.give(&report), Verdict::Duplicate);
}

/// What a step depends on is under way as a child while the step has begun: what lay between was skipped. Where the saga turns back it is taken back after the step, not at once.
#[test]
fn a_child_that_something_depends_on_already_is_taken_back_behind_it() {
    let shape = [
        (58, 83, 21, 111),
        (0, 55, 0, 2),
        (40, 190, 0, 97),
        (0, 0, 0, 0),
    ];
    let mut stage = Stage::with(&drawn(&shape, true));
    for drawn in [(14, 165, 100), (110, 169, 104)] {
        let input = input(&mut stage, drawn).unwrap();
        assert_eq!(stage.give(&input), Verdict::Applied, "{input:?}");
    }
    assert!(stage.state.unwinding.is_some(), "{:?}", stage.state.status);
    let in_child = |stage: &Stage| {
        let live = stage.state.live();
        live.filter(|(_, step)| step.phase == Phase::InChild)
            .count()
    };
    assert!(in_child(&stage) > 0, "they wait");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_can_come_breaks_a_saga(
        shape in prop::collection::vec(any::<(u8, u8, u8, u8)>(), 1..6),
        inputs in prop::collection::vec(any::<(u8, u8, u8)>(), 1..120),
    ) {
        let mut stage = Stage::with(&drawn(&shape, true));
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
                prop_assert!(matches!(input, Input::TaskFinished(_) | Input::ChildSaid(_) | Input::Broken { .. }), "{} woke up what had ended", input.kind());
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

proptest! {
    #![proptest_config(ProptestConfig { cases: (cases() / 20).max(1), failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever has come of a saga: each choice that is possible is taken when it is typed, each that is not is refused; and whichever somebody makes, the saga goes on.
    #[test]
    fn what_a_work_item_offers_is_taken_and_what_it_does_not_offer_is_refused(
        shape in prop::collection::vec(any::<(u8, u8, u8, u8)>(), 1..6),
        inputs in prop::collection::vec((any::<(u8, u8, u8)>(), any::<u8>()), 1..60),
    ) {
        let mut stage = Stage::with(&document(&shape));
        for (drawn, pick) in inputs {
            let Some(given) = input(&mut stage, drawn) else { continue };
            stage.give(&given);
            let items: Vec<WorkItem> = stage.state.work_items.values().cloned().collect();
            let mut taken = Vec::new();
            for item in &items {
                let now = Timestamp(stage.now);
                let offered = possible(rules(&stage), &stage.state, item.number, now).unwrap().unwrap();
                for choice in Choice::ALL {
                    let found = offered.iter().find(|one| one.choice == choice);
                    let is_possible = found.is_some_and(|one| one.refused.is_none());
                    let other = found.and_then(|one| one.task_types.first().cloned());
                    let Some(typed) = typed(&mut stage, item, choice, other) else {
                        prop_assert!(found.is_none(), "{:?} of no step", choice);
                        continue;
                    };
                    let verdict = tried(&stage, &typed);
                    if is_possible {
                        prop_assert_eq!(verdict, Verdict::Applied, "{:?} of {:?}", choice, item);
                        taken.push(typed);
                    } else if is_refused_unless_offered(&stage, item, choice) {
                        prop_assert!(verdict != Verdict::Applied, "{:?} of {:?}", choice, item);
                    }
                }
            }
            let choice = taken.get(usize::from(pick) % taken.len().max(1));
            if let Some(choice) = choice.filter(|_| pick % 3 == 0) {
                stage.now -= 10; // as it was asked about
                prop_assert_eq!(stage.give(choice), Verdict::Applied);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: (cases() / 4).max(1), failure_persistence: None, ..ProptestConfig::default() })]

    /// The law of moving: to the same text it is always possible while the saga goes forward, and nothing that follows is otherwise.
    #[test]
    fn moved_to_the_same_text_a_saga_goes_on_as_it_would_have(
        shape in prop::collection::vec(any::<(u8, u8, u8, u8)>(), 1..6),
        before in prop::collection::vec(any::<(u8, u8, u8)>(), 0..40),
        after in prop::collection::vec(any::<(u8, u8, u8)>(), 1..60),
    ) {
        let document = document(&shape);
        let (mut moved, mut other) = (Stage::with(&document), Stage::with(&document));
        for drawn in before {
            let given = input(&mut moved, drawn);
            prop_assert_eq!(&given, &input(&mut other, drawn));
            let Some(given) = given else { continue };
            prop_assert_eq!(moved.give(&given), other.give(&given));
        }
        let verdict = moved.upgrade(&document);
        other.operator();
        other.now += 10;
        let goes_forward = other.state.active() && other.state.unwinding.is_none();
        prop_assert_eq!(verdict == Verdict::Applied, goes_forward, "{:?}", verdict);
        prop_assert!(goes_forward || stands_still(&verdict), "{:?}", verdict);
        prop_assert_eq!(moved.state.version, if goes_forward { 2 } else { 1 });
        for drawn in after {
            let given = input(&mut moved, drawn);
            prop_assert_eq!(&given, &input(&mut other, drawn));
            let Some(given) = given else { continue };
            let written = (moved.entries.len(), other.entries.len());
            prop_assert_eq!(moved.give(&given), other.give(&given));
            prop_assert_eq!(but_for_the_version(&moved), but_for_the_version(&other));
            let records = |stage: &Stage, from: usize| -> Vec<Record> {
                stage.entries[from..].iter().flat_map(|entry| entry.records.clone()).collect()
            };
            prop_assert_eq!(records(&moved, written.0), records(&other, written.1));
        }
    }

    /// A step that comes after all others is taken wherever the same text is, and a saga that completes has done it; a step that has begun and is called otherwise keeps the
    /// saga where it is.
    #[test]
    fn a_last_step_is_done_and_a_step_that_is_gone_is_not_forgotten(
        shape in prop::collection::vec(any::<(u8, u8, u8, u8)>(), 1..6),
        before in prop::collection::vec(any::<(u8, u8, u8)>(), 0..40),
        after in prop::collection::vec(any::<(u8, u8, u8)>(), 1..80),
    ) {
        let document = document(&shape);
        let mut stage = Stage::with(&document);
        for drawn in before {
            if let Some(given) = input(&mut stage, drawn) {
                stage.give(&given);
            }
        }
        let begun = stage.state.steps.iter().find(|(_, step)| step.phase != Phase::Waiting);
        let begun = begun.map(|(id, _)| id.to_string());
        let goes_forward = stage.state.active() && stage.state.unwinding.is_none();
        if let Some(id) = begun.filter(|_| goes_forward) {
            let renamed = document.replace(&id, &format!("r{}", &id[1..]));
            let state = stage.state.clone();
            let verdict = stage.upgrade(&renamed);
            let gone = |verdict: &Verdict| matches!(verdict, Verdict::Refused(Refusal::Stays { reasons })
                if reasons.iter().any(|one| one.kind == ReasonKind::StepGone && one.step.as_ref().is_some_and(|step| *step.as_str() == *id)));
            prop_assert!(gone(&verdict), "{:?}", verdict);
            prop_assert_eq!(&stage.state, &state);
        }
        let verdict = stage.upgrade(&appended(&document, shape.len()));
        prop_assert_eq!(verdict == Verdict::Applied, goes_forward, "{:?}", verdict);
        for drawn in after {
            if let Some(given) = input(&mut stage, drawn) {
                stage.give(&given);
            }
        }
        if goes_forward && stage.state.status == Status::Completed {
            prop_assert!(stage.phase("last").done());
        }
    }
}
