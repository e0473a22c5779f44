//! What is to stand at the broker, and what differs.

use baton_messages::topology::Topology;
use serde_json::{Value, json};

use crate::broker::{Drift, WantedUser};
use crate::out::{Column, Table, Tone, cell, plain};

/// The exchanges, with what each carries.
pub(crate) fn exchanges(topology: &Topology) -> Table {
    let mut table = Table::new(&[Column::new("exchange"), Column::new("kind")]);
    for one in &topology.exchanges {
        let kind = json!(one.kind);
        table.row(vec![
            plain(one.name.as_str()),
            plain(kind.as_str().unwrap_or_default().to_owned()),
        ]);
    }
    table
}

/// The queues, each a durable quorum queue, with what is bound to it and the policy it gets.
pub(crate) fn queues(topology: &Topology) -> Table {
    let mut table = Table::new(&[
        Column::new("quorum queue"),
        Column::new("bound to").rank(1),
        Column::new("").rank(2),
    ]);
    for one in &topology.queues {
        let bound = topology
            .bindings
            .iter()
            .filter(|bind| bind.queue == one.name);
        let bound = bound.map(|bind| match bind.key.as_str() {
            "" => bind.exchange.clone(),
            key => format!("{} with {key}", bind.exchange),
        });
        let single = if one.single_active_consumer {
            "one consumer at a time"
        } else {
            ""
        };
        table.row(vec![
            plain(one.name.as_str()),
            plain(bound.collect::<Vec<_>>().join(", ")),
            cell(single, Tone::Faint),
        ]);
    }
    table
}

/// The policies: where each applies, and what it sets.
pub(crate) fn policies(topology: &Topology) -> Table {
    let mut table = Table::new(&[
        Column::new("policy"),
        Column::new("queues"),
        Column::new("sets").cut(30),
    ]);
    for one in &topology.policies {
        let sets = one.definition.iter().map(|(name, value)| match value {
            Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        });
        table.row(vec![
            plain(one.name.as_str()),
            plain(one.pattern.as_str()),
            plain(sets.collect::<Vec<_>>().join(" ")),
        ]);
    }
    table
}

/// How somebody without the management plugin gives a user what it may.
pub(crate) fn permission_commands(users: &[WantedUser], vhost: &str) -> Vec<String> {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let command = |one: &WantedUser| {
        let may = &one.permissions;
        let patterns = [&may.configure, &may.write, &may.read].map(|text| quoted(text));
        let (vhost, name) = (quoted(vhost), quoted(&one.name));
        format!(
            "rabbitmqctl set_permissions -p {vhost} {name} {}",
            patterns.join(" ")
        )
    };
    users.iter().map(command).collect()
}

/// The same for scripts.
pub(crate) fn user(one: &WantedUser) -> Value {
    json!({ "name": one.name, "role": one.role, "permissions": one.permissions })
}

/// What differs, how it stands, and what mends it.
pub(crate) fn drifts(drifts: &[Drift]) -> Table {
    let mut table = Table::new(&[
        Column::new("what"),
        Column::new("stands").cut(24),
        Column::new("mend").cut(24),
    ]);
    for one in drifts {
        let tone = if one.by.is_some() {
            Tone::Waits
        } else {
            Tone::Bad
        };
        table.row(vec![
            plain(one.what.as_str()),
            cell(one.is.as_str(), tone),
            plain(one.mend.as_str()),
        ]);
    }
    table
}
