//! YAML as a tree that remembers where everything stands. Of YAML 1.2 the core schema: `yes` and `on` are text; tags are refused;
//! a key stands once in a mapping; anchors work, within a limit on what they unfold to.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Map, Number, Value};
use serde_saphyr::granit_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput};

use super::diagnostic::{Diagnostic, code};
use super::subschemas;

/// The most values a document may hold, with its anchors unfolded.
const NODES_MAX: usize = 50_000;
/// The most bytes of text they may hold, with its anchors unfolded: a document that names a long text over and over is small, what it stands for is not.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// The deepest nesting.
const DEPTH_MAX: usize = 64;

/// A place in a document, line and column from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) line: usize,
    pub(super) column: usize,
    /// How many characters of the line it covers; 0 when nobody has counted.
    pub(super) width: usize,
}

impl Mark {
    /// Where a document begins.
    pub(super) const START: Self = Self {
        line: 1,
        column: 1,
        width: 0,
    };
}

/// A value and where it starts.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) mark: Mark,
    pub(super) content: Content,
    /// A text with expressions as it stands in the document, quotes included; not for what an alias stands for.
    pub(super) raw: Option<Arc<str>>,
}

impl Node {
    /// What stands for a document nobody looks into.
    pub(super) const fn nothing() -> Self {
        Self {
            mark: Mark::START,
            content: Content::Scalar(Value::Null),
            raw: None,
        }
    }
}

/// What a node holds.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its place, and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) mark: Mark,
    pub(super) value: Node,
}

impl Node {
    /// The value without places.
    pub(super) fn to_json(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Content::Map(entries) => {
                let pairs = entries.iter().map(|e| (e.key.clone(), e.value.to_json()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// Where the value at a JSON pointer stands; the nearest one above it when the pointer leads nowhere.
    pub(super) fn mark_at(&self, pointer: &str) -> Mark {
        self.at(pointer).mark
    }

    /// The value at a JSON pointer; the nearest one above it when the pointer leads nowhere.
    pub(super) fn at(&self, pointer: &str) -> &Self {
        let mut node = self;
        for part in pointer.split('/').skip(1) {
            let part = subschemas::key_of(part);
            let next = match &node.content {
                Content::Map(entries) => entries.iter().find(|e| e.key == part).map(|e| &e.value),
                Content::List(items) => part.parse::<usize>().ok().and_then(|i| items.get(i)),
                Content::Scalar(_) => None,
            };
            let Some(next) = next else { break };
            node = next;
        }
        node
    }

    /// Where the value at a JSON pointer is named: at its key, all of it; at the value itself where it has none.
    pub(super) fn name_mark(&self, pointer: &str) -> Mark {
        let named = pointer.rsplit_once('/').and_then(|(above, part)| {
            let key = subschemas::key_of(part);
            let entry = self.at(above).entry(&key)?;
            let width = entry.key.chars().count();
            Some(Mark {
                width,
                ..entry.mark
            })
        });
        named.unwrap_or_else(|| self.mark_at(pointer))
    }

    /// Where a part of an expression stands, `at` in characters of the expression's text; `nth` counts the expressions of this text that
    /// are the same. The whole text when it is not written here as it is read (a folded text, an alias).
    pub(super) fn part(&self, expression: &str, nth: usize, at: Range<usize>) -> Mark {
        let Some(raw) = &self.raw else {
            return self.mark;
        };
        let opened = |at: &usize| raw[..*at].trim_end().ends_with("${");
        let mut places = raw.match_indices(expression).map(|(at, _)| at);
        let Some(start) = places.by_ref().filter(opened).nth(nth) else {
            return self.mark;
        };
        let part: String = expression.chars().take(at.start).collect();
        let before = &raw[..start + part.len()];
        let marked = expression.chars().skip(at.start).take(at.len());
        let width = marked.take_while(|c| *c != '\n').count();
        let lines = before.matches('\n').count();
        let column = match before.rsplit_once('\n') {
            Some((_, last)) => last.chars().count() + 1,
            None => self.mark.column + before.chars().count(),
        };
        Mark {
            line: self.mark.line + lines,
            column,
            width,
        }
    }

    /// The entry of a key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|entry| entry.key == key),
            Content::Scalar(_) | Content::List(_) => None,
        }
    }
}

/// What could be read of a document.
pub(super) struct Read {
    /// The tree; none where something stops reading. A key that stands twice is in it once, and one that is no key is not.
    pub(super) tree: Option<Node>,
    /// What is wrong.
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Values that are not in the tree as they were written: what else could be said of them only follows from that.
    pub(super) spoilt: Spoilt,
}

/// Places of values, line and column.
pub(super) type Spoilt = BTreeSet<(usize, usize)>;

/// Reads one document.
pub(super) fn read(text: &str) -> Read {
    let mut builder = Builder {
        source: text,
        parser: Parser::new_from_str(text),
        anchors: BTreeMap::new(),
        size: Size::default(),
        diagnostics: Vec::new(),
        spoilt: Spoilt::new(),
    };
    let tree = match builder.document() {
        Ok(node) => Some(node),
        Err(fatal) => {
            builder.diagnostics.push(fatal);
            None
        }
    };
    Read {
        tree,
        diagnostics: builder.diagnostics,
        spoilt: builder.spoilt,
    }
}

/// How much a document holds, or a part of it.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
}

struct Builder<'t> {
    source: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    anchors: BTreeMap<usize, (Node, Size)>,
    size: Size,
    diagnostics: Vec<Diagnostic>,
    spoilt: Spoilt,
}

/// An event, where it starts, and its bytes.
type Next<'t> = (Event<'t>, Mark, Range<usize>);

type Fatal<T> = Result<T, Diagnostic>;

impl<'t> Builder<'t> {
    /// The next event that says something about values.
    fn next(&mut self) -> Fatal<Next<'t>> {
        loop {
            match self.parser.next_event() {
                None => return Ok((Event::StreamEnd, Mark::START, 0..0)),
                Some(Err(error)) => {
                    let mark = mark_of(error.marker());
                    return Err(diagnostic(
                        code::YAML,
                        mark,
                        format!("no YAML: {}", error.info()),
                        &help_near(self.source, mark.line),
                    ));
                }
                Some(Ok((event, span))) => match event {
                    Event::Comment(..)
                    | Event::StreamStart
                    | Event::DocumentStart(..)
                    | Event::Anchor(..) => {}
                    event => {
                        let bytes = span.byte_range().unwrap_or_default();
                        return Ok((event, start_of(&span), bytes));
                    }
                },
            }
        }
    }

    fn document(&mut self) -> Fatal<Node> {
        let (event, mark, bytes) = self.next()?;
        if matches!(event, Event::StreamEnd | Event::DocumentEnd) {
            return Err(diagnostic(
                code::YAML,
                mark,
                "the document is empty".to_owned(),
                "start with `saga: my-saga`",
            ));
        }
        let node = self.node((event, mark, bytes), 0)?;
        loop {
            match self.next()? {
                (Event::DocumentEnd, ..) => {}
                (Event::StreamEnd, ..) => return Ok(node),
                (_, mark, _) => {
                    let message = "a second document begins here".to_owned();
                    return Err(diagnostic(
                        code::YAML,
                        mark,
                        message,
                        "put each saga into a file of its own",
                    ));
                }
            }
        }
    }

    fn node(&mut self, (event, mark, bytes): Next<'t>, depth: usize) -> Fatal<Node> {
        let before = self.size;
        let bytes_of_text = match &event {
            Event::Scalar(text, ..) => text.len(),
            _ => 0,
        };
        self.count(1, bytes_of_text, mark)?;
        if depth > DEPTH_MAX {
            let message = format!("nests deeper than {DEPTH_MAX}");
            return Err(diagnostic(code::TOO_LARGE, mark, message, "flatten it"));
        }
        let (anchor, tagged, content) = match event {
            Event::Scalar(text, style, anchor, tag) => (
                anchor,
                tag.is_some(),
                Content::Scalar(self.scalar(text, style, mark)),
            ),
            Event::SequenceStart(_, anchor, tag) => (anchor, tag.is_some(), self.list(depth)?),
            Event::MappingStart(_, anchor, tag) => (anchor, tag.is_some(), self.map(mark, depth)?),
            Event::Alias(id) => return self.alias(id, mark),
            _ => {
                let message = "a value is missing here".to_owned();
                return Err(diagnostic(
                    code::YAML,
                    mark,
                    message,
                    "check the lines before",
                ));
            }
        };
        if tagged {
            self.spoilt.insert((mark.line, mark.column));
            let message = "a tag (`!…`) has no meaning here".to_owned();
            self.diagnostics.push(diagnostic(
                code::SHAPE,
                mark,
                message,
                "leave it out; put quotes around what is to be text",
            ));
        }
        let raw = match &content {
            Content::Scalar(Value::String(text)) if text.contains("${") => {
                self.source.get(bytes).map(Arc::from)
            }
            _ => None,
        };
        let node = Node { mark, content, raw };
        if anchor != 0 {
            let own = Size {
                nodes: self.size.nodes - before.nodes,
                bytes: self.size.bytes - before.bytes,
            };
            self.anchors.insert(anchor, (node.clone(), own));
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, mark: Mark) -> Fatal<Node> {
        let Some(size) = self.anchors.get(&id).map(|(_, size)| *size) else {
            let message = "an alias stands inside what it names".to_owned();
            return Err(diagnostic(code::YAML, mark, message, "write the value out"));
        };
        // before it is copied
        self.count(size.nodes, size.bytes, mark)?;
        let content = self.anchors.get(&id).map(|(node, _)| node.content.clone());
        Ok(Node {
            mark,
            content: content.unwrap_or(Content::Scalar(Value::Null)),
            raw: None,
        })
    }

    fn count(&mut self, nodes: usize, bytes: usize, mark: Mark) -> Fatal<()> {
        self.size.nodes += nodes;
        self.size.bytes += bytes;
        let message = if self.size.nodes > NODES_MAX {
            format!("the document holds more than {NODES_MAX} values")
        } else if self.size.bytes > TEXT_BYTES_MAX {
            format!(
                "the document holds more than {TEXT_BYTES_MAX} bytes of text, with what its aliases stand for"
            )
        } else {
            return Ok(());
        };
        Err(diagnostic(
            code::TOO_LARGE,
            mark,
            message,
            "split the saga, or hand data over by reference",
        ))
    }

    fn list(&mut self, depth: usize) -> Fatal<Content> {
        let mut items = Vec::new();
        loop {
            let next = self.next()?;
            if matches!(next.0, Event::SequenceEnd) {
                return Ok(Content::List(items));
            }
            items.push(self.node(next, depth + 1)?);
        }
    }

    fn map(&mut self, begins: Mark, depth: usize) -> Fatal<Content> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        loop {
            let next = self.next()?;
            if matches!(next.0, Event::MappingEnd) {
                return Ok(Content::Map(entries));
            }
            let mark = next.1;
            let key = self.key(next, depth)?;
            let next = self.next()?;
            let value = self.node(next, depth + 1)?;
            let Some(key) = key else {
                self.spoilt.insert((begins.line, begins.column));
                continue;
            };
            if let Some(line) = places.get(&key) {
                let message =
                    format!("`{key}` stands here for the second time; the first is in line {line}");
                self.diagnostics
                    .push(diagnostic(code::TWICE, mark, message, "keep one of them"));
                continue;
            }
            places.insert(key.clone(), mark.line);
            entries.push(Entry { key, mark, value });
        }
    }

    /// A key; none where it is no key, which is reported.
    fn key(&mut self, next: Next<'t>, depth: usize) -> Fatal<Option<String>> {
        let mark = next.1;
        let before = self.diagnostics.len();
        let node = self.node(next, depth + 1)?;
        if self.diagnostics.len() > before {
            // what is wrong with it has been said
            return Ok(None);
        }
        if let Some(path) = path_in_braces(&node.content) {
            let message = format!("`{{{{ {path} }}}}` is no expression");
            let help = format!("write `\"${{ {path} }}\"`, with the quotes");
            let wrong = diagnostic(code::SHAPE, mark, message, &help);
            self.diagnostics.push(wrong);
            return Ok(None);
        }
        let (message, help) = match node.content {
            Content::Scalar(Value::String(key)) if key == "<<" => (
                "merge keys (`<<`) are not used here",
                "write the keys out, or give the whole value an anchor",
            ),
            Content::Scalar(Value::String(key)) => return Ok(Some(key)),
            // `1:` and `true:` are keys of JSON objects as text.
            Content::Scalar(value @ (Value::Number(_) | Value::Bool(_))) => {
                return Ok(Some(value.to_string()));
            }
            _ => (
                "a key must be text",
                "a value such as `${ … }` or `{{ … }}` at the start of a line needs quotes",
            ),
        };
        let wrong = diagnostic(code::SHAPE, mark, message.to_owned(), help);
        self.diagnostics.push(wrong);
        Ok(None)
    }

    fn scalar(&mut self, text: Cow<'t, str>, style: ScalarStyle, mark: Mark) -> Value {
        if style != ScalarStyle::Plain {
            return Value::String(text.into_owned());
        }
        plain(&text).unwrap_or_else(|| {
            self.spoilt.insert((mark.line, mark.column));
            let message = format!("`{text}` is a number JSON cannot hold");
            self.diagnostics.push(diagnostic(
                code::RANGE,
                mark,
                message,
                "put quotes around it to make it text",
            ));
            Value::Null
        })
    }
}

/// The value of text without quotes; `None` for a number that has no JSON.
fn plain(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "true" | "True" | "TRUE" => return Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Some(Value::Bool(false)),
        _ => {}
    }
    let unsigned = text.trim_start_matches(['+', '-']);
    let signs = text.len() - unsigned.len();
    if matches!(
        unsigned,
        ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN"
    ) {
        return None;
    }
    if let Some(radix) = [("0x", 16), ("0o", 8)]
        .iter()
        .find(|(p, _)| text.starts_with(p))
    {
        return Some(match u64::from_str_radix(&text[2..], radix.1) {
            Ok(number) => Value::from(number),
            Err(_) => Value::String(text.to_owned()),
        });
    }
    let numeric = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.bytes().any(|b| b.is_ascii_digit())
        && unsigned
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if signs > 1 || !numeric {
        return Some(Value::String(text.to_owned()));
    }
    let positive = text.trim_start_matches('+');
    if unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let whole = positive.parse::<i64>().map(Value::from);
        return whole
            .or_else(|_| positive.parse::<u64>().map(Value::from))
            .ok();
    }
    match positive.parse::<f64>() {
        Ok(number) => Number::from_f64(number).map(Value::Number),
        Err(_) => Some(Value::String(text.to_owned())),
    }
}

/// What is most likely the matter where the parser has lost its way: it says what it did not find, and seldom what was meant.
fn help_near(source: &str, line: usize) -> String {
    let before = line.saturating_sub(2);
    let near = || source.lines().enumerate().skip(before).take(3);
    let indent = |text: &str| text.len() - text.trim_start().len();
    let tab = near().find(|(_, text)| text[..indent(text)].contains('\t'));
    if let Some((at, _)) = tab {
        return format!("line {} is indented with a tab; use spaces", at + 1);
    }
    let bare = |text: &str| {
        let opened = text.find("${");
        opened.is_some_and(|at| !text[..at].contains(['"', '\'', '|', '>', '#']))
    };
    if let Some((at, _)) = near().find(|(_, text)| bare(text)) {
        return format!(
            "put quotes around the expression in line {}: `\"${{ … }}\"`; without them its braces and `: ` are read as YAML",
            at + 1
        );
    }
    if let Some(help) = indented(source, line) {
        return help;
    }
    "check indentation, quotes and brackets near here; text that holds `: ` or starts with a special character needs quotes".to_owned()
}

/// What is said of a line that begins elsewhere than all it could belong to: an item of a list, or a key.
fn indented(source: &str, line: usize) -> Option<String> {
    let lines: Vec<&str> = source.lines().take(line).collect();
    let (last, above) = lines.split_last().filter(|_| lines.len() == line)?;
    let here = begins(last)?;
    let own = here.at;
    let (what, under) = match here.key_of_item {
        Some(_) => ("list", "its dashes"),
        None => ("keys", "them"),
    };
    let mut levels = Vec::new();
    let mut least = usize::MAX;
    for begin in above.iter().rev().filter_map(|text| begins(text)) {
        if begin.at < least {
            least = begin.at;
            levels.push(match (here.key_of_item, begin.key_of_item) {
                (Some(_), Some(_)) => Some(begin.at),
                (Some(_), None) => None,
                (None, key) => Some(key.unwrap_or(begin.at)),
            });
        }
    }
    let mut levels = levels.into_iter().flatten();
    let level = levels.clone().min_by_key(|level| level.abs_diff(own))?;
    let fits = levels.any(|level| level == own);
    (!fits).then(|| {
        format!(
            "line {line} is indented by {own}, the {what} above it by {level}: put it under {under}"
        )
    })
}

/// Where a line begins.
struct Begin {
    /// Its first character.
    at: usize,
    /// Where it is an item of a list: what comes after the dash.
    key_of_item: Option<usize>,
}

fn begins(text: &str) -> Option<Begin> {
    let trimmed = text.trim_start();
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return None;
    }
    let at = text.len() - trimmed.len();
    let after = trimmed.strip_prefix('-');
    let after = after.filter(|after| after.is_empty() || after.starts_with(' '));
    let key_of_item = after.map(|after| text.len() - after.trim_start().len());
    Some(Begin { at, key_of_item })
}

/// The way to a value that a key in braces names: `{{ input.n }}` without quotes is a mapping whose key is one.
fn path_in_braces(key: &Content) -> Option<&str> {
    let Content::Map(entries) = key else {
        return None;
    };
    let [entry] = entries.as_slice() else {
        return None;
    };
    let part = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.chars().all(plain)
    };
    let path = entry.key.as_str();
    let is_empty = matches!(entry.value.content, Content::Scalar(Value::Null));
    let is_path = path.split('.').all(part) && (path.contains('.') || path == "item");
    (is_empty && is_path).then_some(path)
}

fn diagnostic(code: &'static str, mark: Mark, message: String, help: &str) -> Diagnostic {
    Diagnostic {
        code,
        line: mark.line,
        column: mark.column,
        width: mark.width,
        message,
        help: help.to_owned(),
    }
}

fn start_of(span: &Span) -> Mark {
    mark_of(&span.start)
}

fn mark_of(marker: &Marker) -> Mark {
    Mark {
        line: marker.line(),
        column: marker.col() + 1,
        width: 0,
    }
}
