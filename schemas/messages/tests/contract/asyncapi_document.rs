//! The `AsyncAPI` document is whole: every exchange and queue of the topology is a channel, every kind is sent by somebody
//! and taken by somebody, and every reference leads somewhere.

use std::collections::BTreeSet;

use baton_messages::topology::Topology;
use serde_json::Value;

use crate::kinds;

fn document() -> Value {
    let text = std::fs::read_to_string(kinds::directory().join("asyncapi.yaml")).expect("document");
    serde_saphyr::from_str(&text).expect("YAML")
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(String::from));
            map.values().for_each(|below| references(below, found));
        }
        Value::Array(items) => items.iter().for_each(|below| references(below, found)),
        _ => {}
    }
}

#[test]
fn what_was_rendered_is_what_is_read() {
    let kinds = crate::schemas::kinds().expect("kinds");
    let mut made = crate::asyncapi::document(&kinds, &Topology::base(1));
    let mut read = document();
    made.sort_all_objects();
    read.sort_all_objects();
    assert_eq!(made, read);
    assert_eq!(read["asyncapi"], "3.0.0");
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50, "{}", found.len());
    for reference in found {
        if let Some(pointer) = reference.strip_prefix('#') {
            assert!(document.pointer(pointer).is_some(), "{reference}");
        } else {
            let path = kinds::directory().join(&reference);
            assert!(path.is_file(), "{reference}");
        }
    }
}

#[test]
fn every_exchange_and_queue_of_the_topology_is_there() {
    let document = document();
    let channels = document["channels"].as_object().expect("channels");
    let topology = Topology::base(3);
    for exchange in &topology.exchanges {
        let binding = &channels[&format!("exchange.{}", exchange.name)]["bindings"]["amqp"];
        assert_eq!(binding["exchange"]["name"], exchange.name.as_str());
        let kind = serde_json::to_value(exchange.kind).expect("kind");
        assert_eq!(binding["exchange"]["type"], kind, "{}", exchange.name);
    }
    let addresses: BTreeSet<String> = channels
        .values()
        .filter(|channel| channel["bindings"]["amqp"]["is"] == "queue")
        .map(|channel| channel["address"].as_str().expect("address").to_owned())
        .collect();
    for queue in &topology.queues {
        let pattern = match queue.name.strip_prefix("baton.inbox.") {
            Some(_) => "baton.inbox.{inbox}",
            None => queue.name.as_str(),
        };
        assert!(addresses.contains(pattern), "{} is no channel", queue.name);
    }
    for made in ["baton.task.{pool}.{type}", "baton.control.{worker}"] {
        assert!(addresses.contains(made), "{made}");
    }
}

#[test]
fn parameters_are_those_of_the_address() {
    for (id, channel) in document()["channels"].as_object().expect("channels") {
        let address = channel["address"].as_str().expect("address");
        let holes: BTreeSet<&str> = address
            .split('{')
            .skip(1)
            .map(|rest| rest.split('}').next().expect("hole"))
            .collect();
        let named: BTreeSet<&str> = channel["parameters"]
            .as_object()
            .map(|map| map.keys().map(String::as_str).collect())
            .unwrap_or_default();
        assert_eq!(holes, named, "{id}");
    }
}

#[test]
fn every_kind_is_sent_and_taken_and_every_message_has_its_schema() {
    let document = document();
    let messages = document["components"]["messages"]
        .as_object()
        .expect("messages");
    let moved = |action: &str| -> BTreeSet<String> {
        let operations = document["operations"].as_object().expect("operations");
        operations
            .values()
            .filter(|operation| operation["action"] == action)
            .flat_map(|operation| operation["messages"].as_array().expect("messages"))
            .filter_map(|message| {
                message["$ref"]
                    .as_str()?
                    .rsplit('/')
                    .next()
                    .map(String::from)
            })
            .collect()
    };
    let (sent, taken) = (moved("send"), moved("receive"));
    for kind in kinds::all().into_iter().filter(|kind| kind != "manifest") {
        assert!(sent.contains(&kind), "nobody sends {kind}");
        assert!(taken.contains(&kind), "nobody takes {kind}");
        let schema = &messages[&kind]["payload"]["schema"]["$ref"];
        assert_eq!(schema, &format!("./messages/{kind}.json"));
        assert_eq!(
            messages[&kind]["bindings"]["amqp"]["messageType"],
            kind.as_str()
        );
    }
    for kind in messages.keys() {
        assert!(taken.contains(kind), "{kind} is a message nobody takes");
    }
}
