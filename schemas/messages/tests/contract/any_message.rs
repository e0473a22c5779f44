//! Strategies that make any message the types allow.

use std::collections::BTreeMap;

use baton_messages::control::{CancelTask, Drain, RollCall};
use baton_messages::fleet::{Announcement, Canary, Heartbeat, Leaving, Running};
use baton_messages::inbox::Marker;
use baton_messages::{
    AttemptRef, Checkpoint, CheckpointKind, ChildSaid, ChildWanted, ControlMessage, Direction,
    Effect, Event, Failure, Finished, FleetMessage, Grant, GrantAnswer, Hold, InboxKey,
    InboxMessage, Manifest, ParentRef, PoolName, ProbeAnswer, RefusedWhy, Report, ReportBatch,
    RetryDefaults, SagaId, Standing, Start, StartBatch, Started, StepId, Task, TaskBatch,
    TaskMessage, TaskResult, TaskType, TasksMessage, Timestamp, Wanted, WorkerId,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;
use uuid::Uuid;

/// A name made of what its rule allows.
macro_rules! named {
    ($function:ident, $type:ident, $pattern:literal) => {
        fn $function() -> impl Strategy<Value = $type> {
            $pattern.prop_map(|text| $type::new(&text).expect("made to its rule"))
        }
    };
}

named!(step, StepId, "[a-z][a-z0-9_]{0,63}");
named!(pool, PoolName, "[a-z][a-z0-9-]{0,63}");
named!(
    task_type,
    TaskType,
    "[a-z]([a-z0-9.-]{0,30}[a-z0-9])?@[1-9][0-9]{0,8}"
);
named!(worker, WorkerId, "[A-Za-z0-9_-]{1,96}");
named!(inbox_key, InboxKey, "[0-9]{2}");

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn instant() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp)
}

fn text() -> impl Strategy<Value = String> {
    ".{0,24}"
}

/// Any JSON. Fractions are quarters: those are written and read to the last bit, which is not what is tested here.
pub(crate) fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 4.0)),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(text(), inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![
        Just(Direction::Do),
        Just(Direction::Undo),
        Just(Direction::Probe)
    ]
}

fn attempt() -> impl Strategy<Value = AttemptRef> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>());
    (
        uuid(),
        step(),
        option::of(any::<u32>()),
        direction(),
        numbers,
    )
        .prop_map(
            |(saga, step, item, direction, (round, attempt, dispatch))| AttemptRef {
                saga: SagaId(saga),
                step,
                item,
                direction,
                round,
                attempt,
                dispatch,
            },
        )
}

pub(crate) fn task() -> impl Strategy<Value = TaskMessage> {
    let names = (attempt(), task_type(), pool(), uuid(), inbox_key());
    let hold = prop_oneof![Just(Hold::Late), Just(Hold::Claim)];
    let limits = (hold, instant(), any::<u64>(), any::<u64>());
    let values = (
        json(),
        option::of(json()),
        option::of(json()),
        option::of(json()),
        fences(),
    );
    (names, limits, values).prop_map(
        |((of, task_type, pool, key, inbox), (hold, not_after, timeout_ms, lease_ms), values)| {
            let (input, output, before, progress, fences) = values;
            TaskMessage::Task(Task {
                of,
                task_type,
                pool,
                idempotency_key: baton_messages::IdempotencyKey(key),
                inbox,
                hold,
                act: (timeout_ms % 2 == 0).then_some(Direction::Do),
                not_after,
                ask_after: (hold == Hold::Late && lease_ms % 2 == 0).then_some(not_after),
                timeout_ms,
                lease_ms,
                input,
                output,
                before,
                progress,
                fences,
            })
        },
    )
}

pub(crate) fn tasks() -> impl Strategy<Value = TasksMessage> {
    vec(task(), 1..4).prop_map(|tasks| TasksMessage::Tasks(TaskBatch { tasks }))
}

fn fences() -> impl Strategy<Value = BTreeMap<String, u64>> {
    btree_map(text(), any::<u64>(), 0..3)
}

fn failure() -> impl Strategy<Value = Failure> {
    (text(), text(), any::<bool>(), option::of(any::<u64>())).prop_map(
        |(code, message, retryable, retry_after_ms)| Failure {
            code,
            message,
            retryable,
            retry_after_ms,
        },
    )
}

fn result() -> impl Strategy<Value = TaskResult> {
    let probed = prop_oneof![
        json().prop_map(|output| ProbeAnswer::Happened { output }),
        Just(ProbeAnswer::DidNot),
        text().prop_map(|reason| ProbeAnswer::CannotTell { reason }),
    ];
    prop_oneof![
        json().prop_map(|output| TaskResult::Succeeded { output }),
        failure().prop_map(TaskResult::Failed),
        failure().prop_map(TaskResult::Unknown),
        text().prop_map(|reason| TaskResult::NotRun { reason }),
        probed.prop_map(TaskResult::Probed),
    ]
}

fn finished() -> impl Strategy<Value = Finished> {
    let who = (attempt(), uuid(), worker(), any::<bool>(), any::<bool>());
    let what = (
        result(),
        option::of(json()),
        option::of(json()),
        instant(),
        instant(),
    );
    (who, what).prop_map(|((of, run, worker, started, sole), what)| {
        let (result, before, progress, started_at, finished_at) = what;
        Finished {
            of,
            run: baton_messages::RunId(run),
            worker,
            started,
            sole,
            result,
            before,
            progress,
            started_at,
            finished_at,
        }
    })
}

fn start() -> impl Strategy<Value = Start> {
    let labels = btree_map(text(), text(), 0..3);
    (
        uuid(),
        uuid(),
        text(),
        option::of(any::<u32>()),
        json(),
        labels,
        text(),
    )
        .prop_map(|(id, saga, definition, version, input, labels, by)| Start {
            id: baton_messages::InputId(id),
            saga: SagaId(saga),
            definition,
            version,
            input,
            labels,
            by,
        })
}

/// What a worker says of one attempt.
fn report() -> impl Strategy<Value = Report> {
    let kind = prop_oneof![Just(CheckpointKind::Before), Just(CheckpointKind::Progress)];
    prop_oneof![
        (attempt(), uuid(), worker(), instant()).prop_map(|(of, run, worker, at)| {
            Report::Started(Started {
                of,
                run: baton_messages::RunId(run),
                worker,
                at,
            })
        }),
        (attempt(), uuid(), kind, any::<u32>(), json()).prop_map(
            |(of, run, kind, number, value)| {
                let run = baton_messages::RunId(run);
                Report::Checkpoint(Checkpoint {
                    of,
                    run,
                    kind,
                    number,
                    value,
                })
            }
        ),
        finished().prop_map(Report::Finished),
    ]
}

pub(crate) fn inbox() -> impl Strategy<Value = InboxMessage> {
    prop_oneof![
        report().prop_map(InboxMessage::from),
        start().prop_map(InboxMessage::Start),
        (text(), any::<u64>())
            .prop_map(|(from, number)| InboxMessage::Marker(Marker { from, number })),
        vec(report(), 1..4).prop_map(|reports| InboxMessage::Batch(ReportBatch { reports })),
        vec(start(), 1..4).prop_map(|starts| InboxMessage::Starts(StartBatch { starts })),
        child_wanted().prop_map(InboxMessage::ChildWanted),
        child_said().prop_map(InboxMessage::ChildSaid),
    ]
}

fn parent() -> impl Strategy<Value = ParentRef> {
    (uuid(), step(), option::of(any::<u32>()), any::<u32>()).prop_map(
        |(saga, step, item, round)| ParentRef {
            saga: SagaId(saga),
            step,
            item,
            round,
        },
    )
}

fn child_wanted() -> impl Strategy<Value = ChildWanted> {
    let want = prop_oneof![Just(Wanted::Done), Just(Wanted::Undone)];
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>());
    let about = (text(), json(), want, any::<bool>(), text(), fences());
    (uuid(), parent(), uuid(), numbers, about).prop_map(
        |(
            child,
            parent,
            root,
            (depth, number, version),
            (definition, input, want, paused, why, fences),
        )| {
            ChildWanted {
                child: SagaId(child),
                parent,
                root: SagaId(root),
                depth,
                number,
                definition,
                version,
                input,
                want,
                paused,
                why,
                fences,
            }
        },
    )
}

fn child_said() -> impl Strategy<Value = ChildSaid> {
    let standing = prop_oneof![
        (any::<bool>(), option::of(text()), any::<bool>()).prop_map(
            |(compensating, parked, only_forward)| Standing::UnderWay {
                compensating,
                parked,
                only_forward,
            }
        ),
        (
            option::of(json()),
            option::of(any::<u64>()),
            option::of(text()),
            any::<bool>(),
        )
            .prop_map(|(output, too_large, no_output, only_forward)| {
                Standing::Completed {
                    output,
                    too_large,
                    no_output,
                    only_forward,
                }
            }),
        option::of(failure()).prop_map(|failure| Standing::Compensated { failure }),
        Just(Standing::Abandoned),
    ];
    (parent(), uuid(), any::<u64>(), standing).prop_map(|(parent, child, seq, standing)| {
        ChildSaid {
            parent,
            child: SagaId(child),
            seq,
            standing,
        }
    })
}

pub(crate) fn control() -> impl Strategy<Value = ControlMessage> {
    let why = prop_oneof![
        Just(RefusedWhy::AnotherRun),
        Just(RefusedWhy::NoLongerWanted),
        Just(RefusedWhy::Unknown),
    ];
    let answer = prop_oneof![
        (option::of(json()), option::of(json()))
            .prop_map(|(before, progress)| GrantAnswer::Granted { before, progress }),
        why.prop_map(|why| GrantAnswer::Refused { why }),
    ];
    prop_oneof![
        (attempt(), uuid(), worker(), answer).prop_map(|(of, run, worker, answer)| {
            ControlMessage::Grant(Grant {
                of,
                run: baton_messages::RunId(run),
                worker,
                answer,
            })
        }),
        attempt().prop_map(|of| ControlMessage::Cancel(CancelTask { of })),
        (worker(), text()).prop_map(|(worker, by)| ControlMessage::Drain(Drain { worker, by })),
        text().prop_map(|orchestrator| ControlMessage::RollCall(RollCall { orchestrator })),
    ]
}

pub(crate) fn manifest() -> impl Strategy<Value = Manifest> {
    let effect = prop_oneof![
        Just(Effect::None),
        Just(Effect::Reversible),
        Just(Effect::Irreversible)
    ];
    let retry = (any::<u32>(), any::<u64>(), any::<u16>(), any::<u64>());
    let names = (task_type(), text(), json(), json(), effect);
    let rest = (
        option::of(text()),
        vec(text(), 0..2),
        vec(json(), 0..2),
        retry,
    );
    (names, any::<[bool; 5]>(), any::<[u64; 3]>(), rest).prop_map(
        |((task_type, summary, input, output, effect), flags, times, rest)| {
            let [idempotent, before_image, undo, probe, dry_run] = flags;
            let [timeout_ms_default, timeout_ms_max, settle_ms] = times;
            let (lock, needs, examples, (attempts, backoff_ms, quarters, max_ms)) = rest;
            let factor = f64::from(quarters) / 4.0;
            let retry = RetryDefaults {
                attempts,
                backoff_ms,
                factor,
                max_ms,
            };
            Manifest {
                task_type,
                summary,
                input,
                output,
                effect,
                idempotent,
                before_image,
                undo,
                probe,
                dry_run,
                lock,
                timeout_ms_default,
                timeout_ms_max,
                settle_ms,
                retry,
                needs,
                examples,
            }
        },
    )
}

pub(crate) fn fleet() -> impl Strategy<Value = FleetMessage> {
    let running = (attempt(), uuid()).prop_map(|(of, run)| Running {
        of,
        run: baton_messages::RunId(run),
    });
    let announcement = (
        worker(),
        vec(pool(), 0..3),
        text(),
        any::<u32>(),
        vec(manifest(), 0..3),
        instant(),
    );
    prop_oneof![
        announcement.prop_map(|(worker, pools, version, concurrency, types, at)| {
            FleetMessage::Announcement(Announcement {
                worker,
                pools,
                version,
                concurrency,
                types,
                at,
            })
        }),
        (worker(), any::<u64>(), vec(running, 0..4), instant()).prop_map(
            |(worker, number, running, at)| {
                FleetMessage::Heartbeat(Heartbeat {
                    worker,
                    number,
                    running,
                    at,
                })
            }
        ),
        worker().prop_map(|worker| FleetMessage::Leaving(Leaving { worker })),
        (text(), any::<u64>()).prop_map(|(orchestrator, number)| {
            FleetMessage::Canary(Canary {
                orchestrator,
                number,
            })
        }),
    ]
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    let plain = || "[^\\x00-\\x1f\\x7f-\\x9f]{1,24}";
    let optional = || option::of(text());
    // Extension attributes are named `x…` here, which none of the others is.
    let extensions = btree_map("x[a-z0-9]{0,10}", json(), 0..3);
    let attributes = (optional(), optional(), optional(), optional());
    let payload = (option::of(json()), optional(), extensions);
    (plain(), plain(), plain(), attributes, payload).prop_map(
        |(id, source, kind, attributes, payload)| {
            let (subject, time, datacontenttype, dataschema) = attributes;
            let (data, data_base64, extensions): (_, _, BTreeMap<_, _>) = payload;
            Event {
                specversion: "1.0".into(),
                id,
                source,
                kind,
                subject,
                time,
                datacontenttype,
                dataschema,
                data,
                data_base64,
                extensions,
            }
        },
    )
}
