//! From JSON to a template: holes found and compiled, what is constant folded.

use serde_json::{Map, Value};

use super::template::{Node, Piece};
use super::{Expr, ExprError, SECRET_KEY};

/// How deep a template may nest: more is no document a person wrote.
const DEPTH_MAX: usize = 64;

/// Compiles a value and all in it; what is wrong goes to `errors`.
pub(super) fn compile_node(
    value: &Value,
    at: &str,
    depth: usize,
    errors: &mut Vec<ExprError>,
) -> Node {
    if depth > DEPTH_MAX {
        let what = format!("nests deeper than {DEPTH_MAX}");
        errors.push(ExprError::new("", what, "flatten it").under(at));
        return Node::unreadable(at);
    }
    match value {
        Value::String(text) => compile_text(text, at).unwrap_or_else(|wrong| {
            errors.extend(wrong.into_iter().map(|error| error.under(at)));
            Node::unreadable(at)
        }),
        Value::Array(items) => {
            let nodes = items.iter().enumerate();
            let nodes =
                nodes.map(|(i, item)| compile_node(item, &format!("{at}/{i}"), depth + 1, errors));
            fold_list(nodes.collect())
        }
        Value::Object(map) => compile_object(map, at, depth, errors),
        Value::Null | Value::Bool(_) | Value::Number(_) => Node::Literal(value.clone()),
    }
}

fn compile_object(
    map: &Map<String, Value>,
    at: &str,
    depth: usize,
    errors: &mut Vec<ExprError>,
) -> Node {
    let mut entries = Vec::with_capacity(map.len());
    let before = errors.len();
    for key in map.keys().filter(|key| key.contains("${")) {
        let hint = "build the object in one expression instead: `${ {input.name: 1} }`";
        let error = ExprError::new(key, "a key cannot be an expression", hint);
        errors.push(error.under(&format!("{at}/{}", pointer_part(key))));
    }
    let keys_are_fixed = errors.len() == before;
    for (key, value) in map {
        let at = format!("{at}/{}", pointer_part(key));
        entries.push((key.clone(), compile_node(value, &at, depth + 1, errors)));
    }
    let node = fold_object(entries);
    if map.contains_key(SECRET_KEY) && !is_reference(&node) {
        let what = format!(
            "the key `{SECRET_KEY}` stands for a reference to a secret and takes one fixed name"
        );
        errors.push(ExprError::new(SECRET_KEY, what, "write `\"${ secret('NAME') }\"`").under(at));
        return Node::unreadable(at);
    }
    if keys_are_fixed {
        node
    } else {
        Node::unreadable(at)
    }
}

fn is_reference(node: &Node) -> bool {
    let Node::Literal(Value::Object(map)) = node else {
        return false;
    };
    map.len() == 1 && map.get(SECRET_KEY).is_some_and(Value::is_string)
}

/// A key as a part of a JSON pointer.
fn pointer_part(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn fold_list(nodes: Vec<Node>) -> Node {
    if nodes.iter().all(|node| matches!(node, Node::Literal(_))) {
        Node::Literal(Value::Array(
            nodes.into_iter().filter_map(into_literal).collect(),
        ))
    } else {
        Node::List(nodes)
    }
}

fn fold_object(entries: Vec<(String, Node)>) -> Node {
    if entries
        .iter()
        .all(|(_, node)| matches!(node, Node::Literal(_)))
    {
        let entries = entries.into_iter();
        let literals = entries.filter_map(|(key, node)| Some((key, into_literal(node)?)));
        Node::Literal(Value::Object(literals.collect()))
    } else {
        Node::Object(entries)
    }
}

fn into_literal(node: Node) -> Option<Value> {
    match node {
        Node::Literal(value) => Some(value),
        _ => None,
    }
}

fn compile_text(text: &str, at: &str) -> Result<Node, Vec<ExprError>> {
    let mut pieces = split(text)?;
    match pieces.as_slice() {
        [] => return Ok(Node::Literal(Value::String(String::new()))),
        [Piece::Text(text)] => return Ok(Node::Literal(Value::String(text.clone()))),
        [Piece::Hole(expr)] => {
            return Ok(match expr.constant() {
                Some(value) => Node::Literal(value.clone()),
                None => Node::Hole {
                    at: at.to_owned(),
                    expr: expr.clone(),
                },
            });
        }
        _ => {}
    }
    let secrets: Vec<ExprError> = pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Hole(expr) if expr.is_secret() => {
                let hint = "a secret is a whole value; let the automation put the text together";
                let what = "a secret stands inside a longer text";
                Some(ExprError::new(expr.text(), what, hint))
            }
            Piece::Hole(_) | Piece::Text(_) => None,
        })
        .collect();
    if !secrets.is_empty() {
        return Err(secrets);
    }
    pieces.shrink_to_fit();
    Ok(Node::Text {
        at: at.to_owned(),
        pieces,
    })
}

/// Expressions in one text at most: nobody reads more, and to say where one stands all of the text is looked at.
const HOLES_MAX: usize = 1_000;

/// Cuts text at its holes; or says of each of them what is wrong with it.
fn split(text: &str) -> Result<Vec<Piece>, Vec<ExprError>> {
    let (mut pieces, mut holes, mut errors) = (Vec::new(), 0, Vec::new());
    let mut plain = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        plain.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        if let Some(after) = rest.strip_prefix("$${") {
            plain.push_str("${");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            let end = match hole_end(after) {
                Ok(end) => end,
                Err(quote) => {
                    // what follows may be in the hole or behind it
                    errors.push(open_hole(rest, quote));
                    return Err(errors);
                }
            };
            holes += 1;
            if holes > HOLES_MAX {
                let what = format!("more than {HOLES_MAX} expressions stand in one text");
                let hint = "put the text together in one expression, or in the automation";
                return Err(vec![ExprError::new("", what, hint)]);
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            match Expr::compile(&after[..end]) {
                Ok(expr) => pieces.push(Piece::Hole(expr)),
                Err(error) => errors.push(error),
            }
            rest = &after[end + 1..];
        } else {
            plain.push('$');
            rest = &rest[1..];
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    if errors.is_empty() {
        Ok(pieces)
    } else {
        Err(errors)
    }
}

/// What is said of a hole that does not end: a text in it that is not closed swallows its `}`.
fn open_hole(rest: &str, quote: Option<u8>) -> ExprError {
    let hint = "close it, or write `$${` for the characters themselves";
    match quote {
        None => ExprError::new(rest, "`${` has no `}`", hint),
        Some(quote) => {
            let quote = char::from(quote);
            let what = format!(
                "`${{` has no `}}` outside of quotes: a text that begins with {quote} is not closed"
            );
            let hint = format!("add the {quote} where the text ends");
            ExprError::new(rest, what, hint)
        }
    }
}

/// Where the `}` of a hole stands: braces nest, and those inside quotes do not count. Where there is none, the quote that is still open.
fn hole_end(text: &str) -> Result<usize, Option<u8>> {
    let mut depth = 0_usize;
    let mut quote: Option<u8> = None;
    let mut escaped = false;
    for (i, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(open), _) => {
                if byte == open {
                    quote = None;
                }
            }
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'{') => depth += 1,
            (None, b'}') if depth == 0 => return Ok(i),
            (None, b'}') => depth -= 1,
            (None, _) => {}
        }
    }
    Err(quote)
}
