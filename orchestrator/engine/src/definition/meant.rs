//! Misspelt keys of the document's top and of its steps: each is told, and then stands in the tree as the key it is near to, so that what is wrong
//! with its value is said in the same breath, and nothing is said to be missing that is there. A document with one stays refused.

use super::reader::{Reader, nearest};
use super::yaml::{Content, Entry, Node};
use super::{read, read_step};

/// Reads them as what they are near to, unless that is there too.
pub(super) fn adopt(reader: &mut Reader, root: &mut Node) {
    keys(reader, root, "a saga", read::KEYS, &[]);
    steps(reader, root);
}

fn steps(reader: &mut Reader, of: &mut Node) {
    let Content::Map(entries) = &mut of.content else {
        return;
    };
    let list = entries.iter_mut().find(|entry| entry.key == STEPS);
    let Some(Content::List(items)) = list.map(|entry| &mut entry.value.content) else {
        return;
    };
    for item in items {
        let (known, later) = (read_step::KEYS, read_step::KEYS_LATER);
        keys(reader, item, "a step", known, later);
        steps(reader, item);
    }
}

const STEPS: &str = "steps";

fn keys(reader: &mut Reader, node: &mut Node, what: &str, known: &[&str], later: &[&str]) {
    let Content::Map(entries) = &mut node.content else {
        return;
    };
    let is_there = |key: &&str| entries.iter().any(|entry| entry.key == *key);
    let mut free: Vec<&str> = known.to_vec();
    free.retain(|key| !is_there(key));
    for entry in entries {
        if known.contains(&entry.key.as_str()) || later.contains(&entry.key.as_str()) {
            continue;
        }
        let near = nearest(&entry.key, known.iter().copied());
        let Some(near) = near.filter(|near| free.contains(near) && could_be(near, entry)) else {
            continue;
        };
        reader.unknown_key(entry, what, known);
        free.retain(|key| *key != near);
        entry.key = near.to_owned();
    }
}

/// Whether a value could be meant for a key: `step: …` with one thing is hardly a group.
fn could_be(key: &str, entry: &Entry) -> bool {
    key != STEPS || matches!(entry.value.content, Content::List(_))
}
