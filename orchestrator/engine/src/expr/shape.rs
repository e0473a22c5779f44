//! What a template looks like from outside: what is fixed, what is text, where expressions stand. For checks, never for values.

use serde_json::Value;

use super::Expr;
use super::template::{Node, Piece};

/// A template, or a part of one.
#[derive(Debug, Clone)]
pub(crate) enum Shape<'t> {
    /// Always this value.
    Literal(&'t Value),
    /// Whatever an expression yields.
    Hole(&'t Expr),
    /// Text that these stand in, in their order.
    Text(Vec<&'t Expr>),
    /// A list of these.
    List(Vec<Self>),
    /// An object of these.
    Object(Vec<(&'t str, Self)>),
}

/// The shape of a part.
pub(super) fn of(node: &Node) -> Shape<'_> {
    match node {
        Node::Literal(value) => Shape::Literal(value),
        Node::Text { pieces, .. } => {
            let holes = pieces.iter().filter_map(|piece| match piece {
                Piece::Text(_) => None,
                Piece::Hole(expr) => Some(expr),
            });
            Shape::Text(holes.collect())
        }
        Node::Hole { expr, .. } => Shape::Hole(expr),
        Node::List(nodes) => Shape::List(nodes.iter().map(of).collect()),
        Node::Object(entries) => {
            let entries = entries.iter().map(|(key, node)| (key.as_str(), of(node)));
            Shape::Object(entries.collect())
        }
        // whoever captures looks at what is read where it is read
        Node::Captured(_) => Shape::Object(Vec::new()),
    }
}
