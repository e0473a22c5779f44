//! The same topology as a file that `rabbitmqctl import_definitions` takes, for a broker without the management plugin or one that reads
//! it at its start.

use baton_messages::topology::Topology;
use serde_json::{Value, json};

/// Without users: a file with passwords in it does not belong anywhere.
pub(crate) fn definitions(topology: &Topology, vhost: &str) -> Value {
    let exchanges = topology.exchanges.iter().map(|one| {
        json!({ "vhost": vhost, "name": one.name, "type": one.kind, "durable": true, "auto_delete": false, "internal": false, "arguments": {} })
    });
    let queues = topology.queues.iter().map(|one| {
        json!({ "vhost": vhost, "name": one.name, "durable": true, "auto_delete": false, "arguments": one.arguments() })
    });
    let bindings = topology.bindings.iter().map(|one| {
        json!({ "vhost": vhost, "source": one.exchange, "destination": one.queue, "destination_type": "queue", "routing_key": one.key, "arguments": {} })
    });
    let policies = topology.policies.iter().map(|one| {
        json!({ "vhost": vhost, "name": one.name, "pattern": one.pattern, "apply-to": one.apply_to, "definition": one.definition, "priority": 0 })
    });
    json!({
        "vhosts": [{ "name": vhost }],
        "exchanges": exchanges.collect::<Vec<_>>(),
        "queues": queues.collect::<Vec<_>>(),
        "bindings": bindings.collect::<Vec<_>>(),
        "policies": policies.collect::<Vec<_>>(),
    })
}
