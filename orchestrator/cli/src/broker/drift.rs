//! Where the broker differs from the one definition of our topology, and what mends it. Pure.

use std::collections::BTreeMap;

use baton_messages::roles::{Permissions, Role};
use baton_messages::topology::{Binding, Exchange, ExchangeKind, Policy, Queue, Topology};
use serde::Serialize;
use serde_json::Value;

use super::seen::{self, Seen};

/// What is to stand.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) topology: Topology,
    pub(crate) users: Vec<WantedUser>,
}

/// A user, what for, and what it may.
#[derive(Debug)]
pub(crate) struct WantedUser {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) permissions: Permissions,
}

/// One difference.
#[derive(Debug, Serialize)]
pub(crate) struct Drift {
    /// Which thing.
    pub(crate) what: String,
    /// How it stands.
    pub(crate) is: String,
    /// What mends it, for people.
    pub(crate) mend: String,
    /// What `apply` does about it; none: a person has to.
    #[serde(skip)]
    pub(crate) by: Option<Mend>,
}

/// What can be made, or set right, without touching a message.
#[derive(Debug, Clone)]
pub(crate) enum Mend {
    Exchange(Exchange),
    Queue(Queue),
    Binding(Binding),
    Policy(Policy),
    User {
        name: String,
        tag: &'static str,
    },
    Permissions {
        user: String,
        permissions: Permissions,
    },
}

/// Every difference, in the order in which they can be mended: users need nothing, bindings need queues. Of a broker without a majority that alone.
pub(crate) fn drifts(wanted: &Wanted, seen: &Seen) -> Vec<Drift> {
    if let Some(lost) = majority(seen) {
        return vec![lost];
    }
    let mut found = Vec::new();
    let topology = &wanted.topology;
    found.extend(topology.policies.iter().filter_map(|one| policy(one, seen)));
    found.extend(
        topology
            .exchanges
            .iter()
            .filter_map(|one| exchange(one, seen)),
    );
    found.extend(topology.queues.iter().filter_map(|one| queue(one, seen)));
    found.extend(replicas(topology, seen));
    found.extend(
        topology
            .bindings
            .iter()
            .filter_map(|one| binding(one, seen)),
    );
    found.extend(
        seen.queues
            .iter()
            .filter_map(|one| overruled(one, topology)),
    );
    found.extend(wanted.users.iter().filter_map(|one| user(one, seen)));
    found.extend(wanted.users.iter().filter_map(|one| tags(one, seen)));
    found
}

/// A broker most of whose nodes are gone: whatever else differs is known when they are back.
fn majority(seen: &Seen) -> Option<Drift> {
    let (running, all) = seen.minority()?;
    Some(by_hand(
        "broker".to_owned(),
        format!(
            "{running} of {all} nodes run: without a majority nothing is confirmed and nothing delivered"
        ),
        "start the others, or heal the network between them; sagas wait meanwhile and go on by themselves",
    ))
}

fn missing(what: String, by: Mend) -> Drift {
    Drift {
        what,
        is: "missing".into(),
        mend: "baton topology apply".into(),
        by: Some(by),
    }
}

fn by_hand(what: String, is: impl Into<String>, mend: impl Into<String>) -> Drift {
    Drift {
        what,
        is: is.into(),
        mend: mend.into(),
        by: None,
    }
}

fn exchange(wanted: &Exchange, seen: &Seen) -> Option<Drift> {
    let what = format!("exchange {}", wanted.name);
    let Some(is) = seen.exchanges.iter().find(|one| one.name == wanted.name) else {
        return Some(missing(what, Mend::Exchange(wanted.clone())));
    };
    let again = "stop what uses it, rabbitmqadmin delete exchange, then baton topology apply";
    if is.kind != kind(wanted.kind) {
        return Some(by_hand(
            what,
            format!("{}, and not {}", is.kind, kind(wanted.kind)),
            again,
        ));
    }
    if !is.durable {
        return Some(by_hand(
            what,
            "not durable: gone with the next restart",
            again,
        ));
    }
    if is.internal || is.auto_delete {
        return Some(by_hand(
            what,
            "internal, or deleted with its last queue",
            again,
        ));
    }
    if is.arguments.contains_key("alternate-exchange") {
        return Some(by_hand(
            what,
            "has an alternate exchange, which hides what nobody takes",
            again,
        ));
    }
    let set = is
        .policy
        .as_ref()
        .and_then(|name| seen.policies.iter().find(|one| one.name == *name));
    let hides = set.is_some_and(|one| one.definition.contains_key("alternate-exchange"));
    hides.then(|| {
        by_hand(
            what,
            format!("its policy {} gives it an alternate exchange, which hides what nobody takes", is.policy.as_deref().unwrap_or_default()),
            "take `alternate-exchange` out of that policy, or give it a pattern that leaves baton.* alone",
        )
    })
}

const fn kind(kind: ExchangeKind) -> &'static str {
    match kind {
        ExchangeKind::Direct => "direct",
        ExchangeKind::Fanout => "fanout",
        ExchangeKind::Topic => "topic",
    }
}

fn queue(wanted: &Queue, seen: &Seen) -> Option<Drift> {
    let what = format!("queue {}", wanted.name);
    let Some(is) = seen.queues.iter().find(|one| one.name == wanted.name) else {
        return Some(missing(what, Mend::Queue(wanted.clone())));
    };
    let wrong = shape(is, wanted.single_active_consumer)?;
    Some(by_hand(
        what,
        wrong,
        "stop the orchestrators and workers, let it run empty or move its messages, delete it, then baton topology apply",
    ))
}

/// On so many nodes a quorum queue lies where there are as many: the broker's own number, with which one of them may be lost.
const REPLICAS: usize = 3;
/// So many queues are named; the mend is the same for all.
const NAMED_MAX: usize = 3;

/// Queues on fewer nodes than they could be: whoever declares one while a node is away makes it without that node, and nothing adds it when it is back. So such a
/// queue stands still, or is lost, with the one node it lies on.
fn replicas(topology: &Topology, seen: &Seen) -> Option<Drift> {
    let wanted = REPLICAS.min(seen.nodes.len());
    let is_ours = |one: &&seen::Queue| topology.queues.iter().any(|own| own.name == one.name);
    let members = |one: &seen::Queue| one.members.as_ref().map_or(wanted, Vec::len);
    let few = seen.queues.iter().filter(is_ours);
    let few: Vec<&seen::Queue> = few.filter(|one| members(one) < wanted).collect();
    let least = few.iter().map(|one| members(one)).min()?;
    let mut named: Vec<&str> = few.iter().map(|one| one.name.as_str()).collect();
    named.truncate(NAMED_MAX);
    let more = few.len() - named.len();
    let others = (more > 0).then(|| format!(" and {more} more"));
    let lacks = |node: &&seen::Node| {
        let lies_on = |one: &&seen::Queue| {
            let on = one.members.as_deref().unwrap_or_default();
            on.contains(&node.name)
        };
        node.running && !few.iter().all(lies_on)
    };
    let grow = |node: &seen::Node| {
        format!(
            "rabbitmq-queues grow {} all --queue-pattern '^baton\\.'",
            node.name
        )
    };
    let grow: Vec<String> = seen.nodes.iter().filter(lacks).map(grow).collect();
    let mend = match grow.is_empty() {
        true => "start the nodes that are away, then look again".to_owned(),
        false => grow.join("; "),
    };
    Some(by_hand(
        format!(
            "replicas of {}{}",
            named.join(", "),
            others.unwrap_or_default()
        ),
        format!(
            "on {least} of {wanted} nodes: made while others were away, and with one more gone it stands still"
        ),
        mend,
    ))
}

/// What is wrong with the shape of a queue, which only its making sets.
fn shape(is: &seen::Queue, single_active_consumer: bool) -> Option<String> {
    let argument = |name: &str| is.arguments.get(name);
    let kind = argument("x-queue-type")
        .and_then(Value::as_str)
        .unwrap_or("classic");
    if kind != "quorum" {
        return Some(format!(
            "a {kind} queue, and not a quorum queue: lost with its node"
        ));
    }
    if !is.durable || is.exclusive {
        return Some("not durable, or exclusive".into());
    }
    let single = argument("x-single-active-consumer")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    if single != single_active_consumer {
        return Some(if single_active_consumer {
            "served to several consumers at once: x-single-active-consumer is not set".into()
        } else {
            "served to one consumer at a time: x-single-active-consumer is set".into()
        });
    }
    let other = is
        .arguments
        .keys()
        .find(|name| !matches!(name.as_str(), "x-queue-type" | "x-single-active-consumer"));
    other.map(|name| format!("declared with {name}, which no policy can change"))
}

fn binding(wanted: &Binding, seen: &Seen) -> Option<Drift> {
    let stands = seen.bindings.iter().any(|one| {
        one.source == wanted.exchange
            && one.destination_type == "queue"
            && one.destination == wanted.queue
            && one.routing_key == wanted.key
    });
    let key = if wanted.key.is_empty() {
        String::new()
    } else {
        format!(" with key {}", wanted.key)
    };
    (!stands).then(|| {
        missing(
            format!("binding of {} to {}{key}", wanted.queue, wanted.exchange),
            Mend::Binding(wanted.clone()),
        )
    })
}

fn policy(wanted: &Policy, seen: &Seen) -> Option<Drift> {
    let what = format!("policy {}", wanted.name);
    let mend = Mend::Policy(wanted.clone());
    let Some(is) = seen.policies.iter().find(|one| one.name == wanted.name) else {
        return Some(missing(what, mend));
    };
    let mut differs = Vec::new();
    if is.pattern != wanted.pattern {
        differs.push(format!("pattern {}", is.pattern));
    }
    if is.apply_to != wanted.apply_to {
        differs.push(format!("applies to {}", is.apply_to));
    }
    differs.extend(differences(&is.definition, &wanted.definition));
    (!differs.is_empty()).then(|| Drift {
        what,
        is: differs.join("; "),
        mend: "baton topology apply; what is set on purpose belongs into a policy of its own with a higher priority and all of this in it".into(),
        by: Some(mend),
    })
}

/// What a definition has otherwise, lacks, or has beyond what is wanted.
fn differences(is: &BTreeMap<String, Value>, wanted: &BTreeMap<String, Value>) -> Vec<String> {
    let mut differs: Vec<String> = wanted
        .iter()
        .filter(|(name, value)| is.get(*name) != Some(*value))
        .map(|(name, value)| match is.get(name) {
            Some(other) => format!("{name} is {other}, not {value}"),
            None => format!("{name} is not set"),
        })
        .collect();
    let beyond = is.keys().filter(|name| !wanted.contains_key(*name));
    differs.extend(beyond.map(|name| format!("{name} is set")));
    differs
}

/// A queue of ours to which another policy applies: only one does, the one with the highest priority.
fn overruled(is: &seen::Queue, topology: &Topology) -> Option<Drift> {
    let ours = topology
        .policies
        .iter()
        .find(|one| fits(&one.pattern, &is.name))?;
    let what = format!("queue {}", is.name);
    match is.policy.as_deref().filter(|name| !name.is_empty()) {
        // a policy that is missing is told as that
        None => None,
        Some(name) if name == ours.name => operator(is, what),
        Some(name) => Some(by_hand(
            what,
            format!("the policy {name} applies to it, and not {}", ours.name),
            format!(
                "give {name} a lower priority or another pattern; or all that {} sets",
                ours.name
            ),
        )),
    }
}

/// An operator policy goes before every other, and may take away what ours says.
fn operator(is: &seen::Queue, what: String) -> Option<Drift> {
    let name = is
        .operator_policy
        .as_deref()
        .filter(|name| !name.is_empty())?;
    Some(by_hand(
        what,
        format!("the operator policy {name} applies to it"),
        "see that it sets no `expires`, `message-ttl` or `delivery-limit`: rabbitmqctl list_operator_policies",
    ))
}

/// Our patterns are a beginning, or a choice of whole words.
fn fits(pattern: &str, name: &str) -> bool {
    regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(name))
}

fn user(wanted: &WantedUser, seen: &Seen) -> Option<Drift> {
    let what = format!("user {} ({})", wanted.name, wanted.role.as_str());
    let there = seen.users.iter().any(|one| one.name == wanted.name);
    let permissions = Mend::Permissions {
        user: wanted.name.clone(),
        permissions: wanted.permissions.clone(),
    };
    let is = seen.permissions.iter().find(|one| one.user == wanted.name);
    let Some(is) = is else {
        let by = if there {
            permissions
        } else {
            Mend::User {
                name: wanted.name.clone(),
                tag: wanted.role.tag(),
            }
        };
        return Some(Drift {
            is: if there {
                "may do nothing here".into()
            } else {
                "missing".into()
            },
            ..missing(what, by)
        });
    };
    let parts = [
        ("configure", &is.configure, &wanted.permissions.configure),
        ("write", &is.write, &wanted.permissions.write),
        ("read", &is.read, &wanted.permissions.read),
    ];
    let differs: Vec<String> = parts
        .iter()
        .filter(|(_, is, wanted)| is != wanted)
        .map(|(name, is, _)| format!("{name} is `{is}`"))
        .collect();
    (!differs.is_empty()).then(|| Drift {
        is: differs.join("; "),
        ..missing(what, permissions)
    })
}

/// A tag gives rights over the whole broker, so a person takes it away, or gives it.
fn tags(wanted: &WantedUser, seen: &Seen) -> Option<Drift> {
    let is = seen.users.iter().find(|one| one.name == wanted.name)?;
    let (is, tag) = (is.tags(), wanted.role.tag());
    let right: &[&str] = if tag.is_empty() { &[] } else { &[tag] };
    (is.as_slice() != right).then(|| {
        by_hand(
            format!("user {} ({})", wanted.name, wanted.role.as_str()),
            format!("has the tags [{}], and should have [{tag}]", is.join(", ")),
            format!("rabbitmqctl set_user_tags {} {tag}", wanted.name).trim_end(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_most_of_whose_nodes_are_gone_is_told_and_no_other() {
        let told = |running: &[bool]| {
            let node = |running: &bool| seen::Node {
                name: String::new(),
                running: *running,
            };
            let seen = Seen {
                nodes: running.iter().map(node).collect(),
                ..Seen::default()
            };
            majority(&seen).map(|drift| drift.is)
        };
        assert_eq!(told(&[]), None, "who may not look is told nothing");
        assert_eq!(told(&[true]), None);
        assert_eq!(told(&[true, true, false]), None);
        assert!(told(&[true, false]).is_some());
        let one = told(&[true, false, false]).unwrap_or_default();
        assert!(one.starts_with("1 of 3 nodes run"), "{one}");
    }

    /// A broker of nodes a, b, c, of which those run; `baton.dead` lies on `members`.
    fn with_dead_on(running: &[&str], members: Option<&[&str]>) -> Seen {
        let queue = serde_json::json!({
            "name": "baton.dead", "durable": true, "arguments": { "x-queue-type": "quorum" }, "members": members,
        });
        let node = |name: &str| seen::Node {
            name: name.to_owned(),
            running: running.contains(&name),
        };
        Seen {
            nodes: ["a", "b", "c"].map(node).into(),
            queues: serde_json::from_value(Value::from_iter([queue])).unwrap_or_default(),
            ..Seen::default()
        }
    }

    #[test]
    fn a_queue_on_fewer_nodes_than_there_are_is_told_with_what_adds_them() {
        let topology = Topology::base(1);
        let all = ["a", "b", "c"];
        let told = |running: &[&str], members| {
            let drift = replicas(&topology, &with_dead_on(running, members))?;
            Some((drift.what, drift.is, drift.mend))
        };
        assert_eq!(told(&all, Some(&all)), None);
        assert_eq!(told(&all, None), None, "the broker does not say");
        let alone = Seen {
            nodes: Vec::new(),
            ..with_dead_on(&all, Some(&["a"]))
        };
        assert!(replicas(&topology, &alone).is_none(), "who may not look");
        let (what, is, mend) = told(&all, Some(&["a"])).unwrap_or_default();
        assert_eq!(what, "replicas of baton.dead");
        assert!(is.starts_with("on 1 of 3 nodes"), "{is}");
        assert!(mend.starts_with("rabbitmq-queues grow b all"), "{mend}");
        assert!(mend.contains("; rabbitmq-queues grow c all"), "{mend}");
        let (_, _, mend) = told(&["a", "b"], Some(&["a", "b"])).unwrap_or_default();
        assert!(mend.starts_with("start the nodes"), "{mend}");
    }
}
