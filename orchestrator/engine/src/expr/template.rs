//! JSON with holes: what a definition hands to a task, an output, a label.
//!
//! A string that is only `${ … }` yields the expression's value with its type. Otherwise it is text with holes: text goes in as it is,
//! numbers and booleans as JSON writes them, lists and objects as compact JSON; null is an error, because "null" in a host name or a
//! mail is never what somebody meant. `$${` stands for the characters `${`. Keys of objects are literal.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Expr, ExprError, RESULT_BYTES_MAX, SECRET_KEY, Scope, convert};

/// How deep a template may nest: more is no document a person wrote.
const DEPTH_MAX: usize = 64;

/// A JSON tree whose strings may hold `${ … }`, compiled.
#[derive(Debug, Clone)]
pub struct Template {
    root: Node,
    /// Bytes of JSON its fixed parts take, so that evaluation knows what is left for the holes.
    fixed_bytes: usize,
}

#[derive(Debug, Clone)]
enum Node {
    Literal(Value),
    Hole { at: String, expr: Expr },
    Text { at: String, pieces: Vec<Piece> },
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Hole(Expr),
}

impl Template {
    /// Compiles every string of a JSON tree.
    ///
    /// # Errors
    /// The first [`ExprError`], with the JSON pointer of the string it is in.
    pub fn compile(value: &Value) -> Result<Self, ExprError> {
        Self::compile_all(value).map_err(|mut errors| errors.swap_remove(0))
    }

    /// As [`Self::compile`], with every error, in the order of the tree; never an empty list.
    ///
    /// # Errors
    /// All of them.
    pub fn compile_all(value: &Value) -> Result<Self, Vec<ExprError>> {
        let mut errors = Vec::new();
        let root = compile_node(value, "", 0, &mut errors);
        let fixed_bytes = fixed_bytes(&root);
        if fixed_bytes > RESULT_BYTES_MAX && errors.is_empty() {
            let what = format!("is larger than {RESULT_BYTES_MAX} bytes");
            errors.push(ExprError::new("", what, "hand on a reference to the data"));
        }
        if errors.is_empty() {
            Ok(Self { root, fixed_bytes })
        } else {
            Err(errors)
        }
    }

    /// A template that is this very value, whatever its strings look like.
    #[must_use]
    pub fn literal(value: Value) -> Self {
        Self {
            root: Node::Literal(value),
            fixed_bytes: 0,
        }
    }

    /// The value over the variables of `scope`.
    ///
    /// # Errors
    /// [`ExprError`] of the first hole that has no value, or when the whole is too large.
    pub fn eval(&self, scope: &dyn Scope) -> Result<Value, ExprError> {
        if let Node::Literal(value) = &self.root {
            return Ok(value.clone());
        }
        let mut left = RESULT_BYTES_MAX.saturating_sub(self.fixed_bytes);
        eval_node(&self.root, scope, &mut left)
    }

    /// The variables all its expressions read.
    #[must_use]
    pub fn roots(&self) -> BTreeSet<String> {
        self.expressions()
            .into_iter()
            .flat_map(|(_, expr)| expr.roots().iter().cloned())
            .collect()
    }

    /// Whether it is the same value whatever the variables are.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        matches!(self.root, Node::Literal(_))
    }

    /// The value, when it is always the same.
    #[must_use]
    pub fn as_literal(&self) -> Option<&Value> {
        match &self.root {
            Node::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// The expression, when the whole template is one that has to be evaluated.
    #[must_use]
    pub fn as_hole(&self) -> Option<&Expr> {
        match &self.root {
            Node::Hole { expr, .. } => Some(expr),
            _ => None,
        }
    }

    /// Every expression in it that reads something, with the JSON pointer of its string.
    #[must_use]
    pub fn expressions(&self) -> Vec<(&str, &Expr)> {
        let mut found = Vec::new();
        collect(&self.root, &mut found);
        found
    }

    /// Whether a reference to a secret stands in it.
    #[must_use]
    pub fn holds_secret(&self) -> bool {
        node_holds_secret(&self.root)
    }
}

fn node_holds_secret(node: &Node) -> bool {
    match node {
        Node::Literal(value) => convert::holds_secret(value),
        Node::Hole { .. } | Node::Text { .. } => false,
        Node::List(nodes) => nodes.iter().any(node_holds_secret),
        Node::Object(entries) => entries.iter().any(|(_, node)| node_holds_secret(node)),
    }
}

fn collect<'t>(node: &'t Node, found: &mut Vec<(&'t str, &'t Expr)>) {
    match node {
        Node::Literal(_) => {}
        Node::Hole { at, expr } => found.push((at, expr)),
        Node::Text { at, pieces } => {
            for piece in pieces {
                if let Piece::Hole(expr) = piece {
                    found.push((at, expr));
                }
            }
        }
        Node::List(nodes) => nodes.iter().for_each(|node| collect(node, found)),
        Node::Object(entries) => entries.iter().for_each(|(_, node)| collect(node, found)),
    }
}

fn compile_node(value: &Value, at: &str, depth: usize, errors: &mut Vec<ExprError>) -> Node {
    if depth > DEPTH_MAX {
        let what = format!("nests deeper than {DEPTH_MAX}");
        errors.push(ExprError::new("", what, "flatten it").under(at));
        return Node::Literal(Value::Null);
    }
    match value {
        Value::String(text) => compile_text(text, at).unwrap_or_else(|error| {
            errors.push(error.under(at));
            Node::Literal(Value::Null)
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
    for (key, value) in map {
        let at = format!("{at}/{}", pointer_part(key));
        if key.contains("${") {
            let hint = "build the object in one expression instead: `${ {input.name: 1} }`";
            errors.push(ExprError::new(key, "a key cannot be an expression", hint).under(&at));
        }
        entries.push((key.clone(), compile_node(value, &at, depth + 1, errors)));
    }
    let node = fold_object(entries);
    if map.contains_key(SECRET_KEY) && !is_reference(&node) {
        let what = format!(
            "the key `{SECRET_KEY}` stands for a reference to a secret and takes one fixed name"
        );
        errors.push(ExprError::new(SECRET_KEY, what, "write ${ secret(\"name\") }").under(at));
    }
    node
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

fn compile_text(text: &str, at: &str) -> Result<Node, ExprError> {
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
    for piece in &pieces {
        if let Piece::Hole(expr) = piece
            && expr.is_secret()
        {
            let hint = "a secret is a whole value; let the automation put the text together";
            return Err(ExprError::new(
                expr.text(),
                "a secret stands inside a longer text",
                hint,
            ));
        }
    }
    pieces.shrink_to_fit();
    Ok(Node::Text {
        at: at.to_owned(),
        pieces,
    })
}

/// Cuts text at its holes.
fn split(text: &str) -> Result<Vec<Piece>, ExprError> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        plain.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        if let Some(after) = rest.strip_prefix("$${") {
            plain.push_str("${");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            let end = hole_end(after).ok_or_else(|| {
                ExprError::new(
                    rest,
                    "`${` has no `}`",
                    "close it, or write `$${` for the characters themselves",
                )
            })?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Hole(Expr::compile(&after[..end])?));
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
    Ok(pieces)
}

/// Where the `}` of a hole stands: braces nest, and those inside quotes do not count.
fn hole_end(text: &str) -> Option<usize> {
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
            (None, b'}') if depth == 0 => return Some(i),
            (None, b'}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

fn fixed_bytes(node: &Node) -> usize {
    match node {
        Node::Literal(value) => convert::json_bytes(value).unwrap_or(RESULT_BYTES_MAX + 1),
        Node::Hole { .. } => 0,
        Node::Text { pieces, .. } => pieces.iter().fold(2, |sum, piece| match piece {
            Piece::Text(text) => sum + text.len(),
            Piece::Hole(_) => sum,
        }),
        Node::List(nodes) => {
            nodes
                .iter()
                .map(|node| fixed_bytes(node) + 1)
                .sum::<usize>()
                + 2
        }
        Node::Object(entries) => {
            entries
                .iter()
                .map(|(key, node)| key.len() + 4 + fixed_bytes(node))
                .sum::<usize>()
                + 2
        }
    }
}

fn eval_node(node: &Node, scope: &dyn Scope, left: &mut usize) -> Result<Value, ExprError> {
    match node {
        Node::Literal(value) => Ok(value.clone()),
        Node::Hole { at, expr } => eval_hole(expr, scope, left).map_err(|error| error.under(at)),
        Node::Text { at, pieces } => eval_text(pieces, scope, left)
            .map(Value::String)
            .map_err(|error| error.under(at)),
        Node::List(nodes) => {
            let items = nodes.iter().map(|node| eval_node(node, scope, left));
            items.collect::<Result<_, _>>().map(Value::Array)
        }
        Node::Object(entries) => {
            let mut object = Map::new();
            for (key, node) in entries {
                object.insert(key.clone(), eval_node(node, scope, left)?);
            }
            Ok(Value::Object(object))
        }
    }
}

fn eval_hole(expr: &Expr, scope: &dyn Scope, left: &mut usize) -> Result<Value, ExprError> {
    let (value, bytes) = expr.eval_measured(scope, *left)?;
    *left = left.saturating_sub(bytes);
    Ok(value)
}

fn eval_text(pieces: &[Piece], scope: &dyn Scope, left: &mut usize) -> Result<String, ExprError> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(plain) => text.push_str(plain),
            Piece::Hole(expr) => match eval_hole(expr, scope, left)? {
                Value::String(part) => text.push_str(&part),
                Value::Null => {
                    let hint = "take a default, such as `.?name.orValue(\"\")`, or make the expression the whole value";
                    return Err(ExprError::new(
                        expr.text(),
                        "is null, and text has no null",
                        hint,
                    ));
                }
                other => text.push_str(&other.to_string()),
            },
        }
    }
    Ok(text)
}
