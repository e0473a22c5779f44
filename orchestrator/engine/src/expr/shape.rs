//! What a template looks like from outside: what is fixed, what is text, what is read from where. For checks, never for values.

use serde_json::Value;

use super::path::Segment;
use super::template::Node;

/// A template, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape<'t> {
    /// Always this value.
    Literal(&'t Value),
    /// Whatever stands at the end of a path.
    Path {
        /// The variable.
        root: &'t str,
        /// The way down from it.
        way: Vec<Way<'t>>,
        /// As it is written.
        text: &'t str,
    },
    /// Some text.
    Text,
    /// Some value.
    Any,
    /// A list of these.
    List(Vec<Self>),
    /// An object of these.
    Object(Vec<(&'t str, Self)>),
}

/// One step down from a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way<'t> {
    /// Into an object.
    Key(&'t str),
    /// Into a list.
    Index(usize),
}

/// The shape of a part.
pub(super) fn of(node: &Node) -> Shape<'_> {
    match node {
        Node::Literal(value) => Shape::Literal(value),
        Node::Text { .. } => Shape::Text,
        Node::Hole { expr, .. } => expr.path().map_or(Shape::Any, |path| Shape::Path {
            root: &path.root,
            way: path.segments.iter().map(way).collect(),
            text: expr.text(),
        }),
        Node::List(nodes) => Shape::List(nodes.iter().map(of).collect()),
        Node::Object(entries) => {
            let entries = entries.iter().map(|(key, node)| (key.as_str(), of(node)));
            Shape::Object(entries.collect())
        }
    }
}

fn way(segment: &Segment) -> Way<'_> {
    match segment {
        Segment::Key(key) => Way::Key(key),
        Segment::Index(index) => Way::Index(*index),
    }
}
