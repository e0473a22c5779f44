//! The `AsyncAPI` 3.0 document: who sends what through which exchange and who takes it from which queue, drawn from the topology,
//! the kinds of messages and the one table of operations.

mod channels;
mod messages;
mod operations;

use baton_messages::ids::NAMESPACE;
use baton_messages::topology::Topology;
use baton_messages::{BODY_BYTES_MAX, headers};
use serde_json::{Value, json};

use crate::schemas::Kind;

/// Version of the AMQP binding the document is written in.
const BINDING: &str = "0.3.0";

/// The whole document.
pub(crate) fn document(kinds: &[Kind], topology: &Topology) -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Baton",
            "version": format!("{}.0.0", headers::VERSION),
            "description": format!(
                "Everything that crosses the bus. Bodies are JSON of at most {BODY_BYTES_MAX} bytes, each tagged with its kind and version. \
                 Messages are published with confirms; all but those on baton.control and baton.fleet are persistent and `mandatory`; the AMQP properties message_id, correlation_id (the saga), \
                 type (the kind), timestamp and app_id (`{}`) are set. Derived ids are UUIDv5 in the namespace {NAMESPACE}; \
                 slice-vectors.json has vectors for each.",
                headers::APP_ID,
            ),
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": headers::JSON,
        "servers": { "broker": {
            "host": "localhost:5672", "protocol": "amqp", "protocolVersion": "0.9.1",
            "description": "RabbitMQ 3.10 or later; one vhost for each environment.",
        } },
        "channels": channels::channels(topology),
        "operations": operations::operations(),
        "components": { "messages": messages::messages(kinds) },
    })
}
