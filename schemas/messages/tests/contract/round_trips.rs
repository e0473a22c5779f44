//! Whatever can be said is read back as it was said and fits its schema; whatever comes instead is refused without a panic,
//! and what is read of it is written so that it is read again as the same.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::LazyLock;

use baton_messages::{
    ControlMessage, Event, FleetMessage, InboxMessage, Manifest, TaskMessage, TasksMessage,
};
use proptest::prelude::*;
use proptest::sample::Index;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{any_message, kinds};

static SCHEMAS: LazyLock<BTreeMap<String, jsonschema::Validator>> = LazyLock::new(|| {
    kinds::all()
        .into_iter()
        .map(|kind| {
            let schema = kinds::validator(&kind);
            (kind, schema)
        })
        .collect()
});

fn broken(why: serde_json::Error) -> TestCaseError {
    TestCaseError::fail(why.to_string())
}

fn comes_back<T>(kind: &str, message: &T) -> Result<(), TestCaseError>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let body = serde_json::to_vec(message).map_err(broken)?;
    let read: T = serde_json::from_slice(&body).map_err(broken)?;
    prop_assert_eq!(&read, message);
    let value: Value = serde_json::from_slice(&body).map_err(broken)?;
    let verdict = SCHEMAS[kind].validate(&value);
    prop_assert!(verdict.is_ok(), "{}: {:?}", kind, verdict);
    Ok(())
}

/// Reads as every type there is; none may panic, and what one takes must be stable.
fn read_as_anything(body: &[u8]) -> Result<(), TestCaseError> {
    fn once<T>(body: &[u8]) -> Result<(), TestCaseError>
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug,
    {
        if let Ok(message) = serde_json::from_slice::<T>(body) {
            let written = serde_json::to_vec(&message).map_err(broken)?;
            let again: T = serde_json::from_slice(&written).map_err(broken)?;
            let rewritten = serde_json::to_vec(&again).map_err(broken)?;
            prop_assert_eq!(written, rewritten);
        }
        Ok(())
    }
    once::<Event>(body)?;
    once::<TaskMessage>(body)?;
    once::<TasksMessage>(body)?;
    once::<InboxMessage>(body)?;
    once::<ControlMessage>(body)?;
    once::<FleetMessage>(body)?;
    once::<Manifest>(body)
}

/// Bodies of every family.
fn body() -> impl Strategy<Value = Vec<u8>> {
    fn bytes<T: Serialize>(message: T) -> Vec<u8> {
        serde_json::to_vec(&message).expect("written")
    }
    prop_oneof![
        any_message::event().prop_map(bytes),
        any_message::task().prop_map(bytes),
        any_message::tasks().prop_map(bytes),
        any_message::inbox().prop_map(bytes),
        any_message::control().prop_map(bytes),
        any_message::fleet().prop_map(bytes),
        any_message::manifest().prop_map(bytes),
    ]
}

/// One thing that can befall a body.
#[derive(Debug, Clone)]
enum Harm {
    Byte(Index, u8),
    Cut(Index),
    Drop(Index),
    Repeat(Index, Index),
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Harm::Byte(at, byte)),
        (
            any::<Index>(),
            prop::sample::select(b"0-1.e\"{}[],:n\\".to_vec())
        )
            .prop_map(|(at, byte)| Harm::Byte(at, byte)),
        any::<Index>().prop_map(Harm::Cut),
        any::<Index>().prop_map(Harm::Drop),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Harm::Repeat(from, to)),
    ]
}

fn harmed(mut body: Vec<u8>, harms: &[Harm]) -> Vec<u8> {
    for harm in harms {
        if body.is_empty() {
            break;
        }
        let length = body.len();
        match harm {
            Harm::Byte(at, byte) => body[at.index(length)] = *byte,
            Harm::Cut(at) => body.truncate(at.index(length)),
            Harm::Drop(at) => drop(body.remove(at.index(length))),
            Harm::Repeat(one, other) => {
                let (one, other) = (one.index(length), other.index(length));
                body.extend_from_within(one.min(other)..one.max(other));
            }
        }
    }
    body
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_come_back(message in any_message::event()) {
        comes_back("event", &message)?;
    }

    #[test]
    fn tasks_come_back(message in any_message::task()) {
        comes_back(message.kind(), &message)?;
    }

    #[test]
    fn tasks_that_come_together_come_back(message in any_message::tasks()) {
        comes_back(message.kind(), &message)?;
    }

    #[test]
    fn inbox_messages_come_back(message in any_message::inbox()) {
        comes_back(message.kind(), &message)?;
    }

    #[test]
    fn control_messages_come_back(message in any_message::control()) {
        comes_back(message.kind(), &message)?;
    }

    #[test]
    fn fleet_messages_come_back(message in any_message::fleet()) {
        comes_back(message.kind(), &message)?;
    }

    #[test]
    fn manifests_come_back(message in any_message::manifest()) {
        comes_back("manifest", &message)?;
    }

    #[test]
    fn random_bytes_do_no_harm(body in prop::collection::vec(any::<u8>(), 0..256)) {
        read_as_anything(&body)?;
    }

    #[test]
    fn random_json_does_no_harm(value in any_message::json()) {
        read_as_anything(value.to_string().as_bytes())?;
    }

    #[test]
    fn harmed_bodies_do_no_harm(body in body(), harms in prop::collection::vec(harm(), 1..6)) {
        read_as_anything(&harmed(body, &harms))?;
    }
}
