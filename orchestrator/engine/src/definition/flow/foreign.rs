//! Text that looks as if it were filled in, in the way of another language: `{{ input.ip }}`, `{input.ip}`, `$input.ip`. Only where it begins with a
//! name that can be read there: what a task is handed may be a template of a language of its own, a script, JSON.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Flow;
use crate::definition::diagnostic::code;
use crate::definition::yaml::{Content, Mark, Node};

/// The longest way to a value that is told.
const PATH_BYTES_MAX: usize = 80;

/// The names expressions may read at a place.
type Names<'t> = BTreeSet<&'t str>;

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    /// Something that may well be of another language.
    Value,
    /// The name of something that is taken or counted.
    Name,
    /// The name of a pool.
    Pool,
}

/// One text that looks so.
struct Look {
    mark: Mark,
    written: String,
    path: String,
    of: Is,
    /// Whether something else in the text is computed.
    is_computed: bool,
}

impl Flow<'_> {
    /// Of the whole document, groups and all. What names something that is taken or counted is refused: it would be one name for every saga, or one nobody
    /// meant. So is the name of a pool: none has such signs in it.
    pub(super) fn foreign(&mut self) {
        let mut found = Vec::new();
        document(&self.tree, &mut found);
        for look in found {
            let (written, mark) = (&look.written, look.mark);
            let help = format!("write `${{ {} }}`", look.path);
            let stays = match (look.of, look.is_computed) {
                (Is::Name, false) => ": every saga has the same here",
                (Is::Name, true) => ", and stays in the name as it is written",
                (Is::Pool, _) => ", and no pool has such a name",
                (Is::Value, _) => ", and stays as it is written",
            };
            let message = format!("`{written}` is no expression{stays}");
            if look.of == Is::Value {
                self.warning(code::CONSTANT, mark, message, help);
            } else {
                self.error(code::CONSTANT, mark, message, help);
            }
        }
    }
}

fn document(root: &Node, found: &mut Vec<Look>) {
    let input = Names::from(["input"]);
    if let Some(labels) = root.entry("labels") {
        texts(&labels.value, &input, Is::Value, found);
    }
    if let Some(locks) = root.entry("locks") {
        texts(&locks.value, &input, Is::Name, found);
    }
    for limit in ["concurrency", "blast_radius"] {
        let key = root.entry(limit).and_then(|limit| limit.value.entry("key"));
        // without an expression in it, it is the name of a label, and there is none of that name
        let computed = key.filter(|key| is_computed(&key.value));
        if let Some(key) = computed {
            texts(&key.value, &input, Is::Name, found);
        }
    }
    let event = Names::from(["event"]);
    for trigger in items(root, "on") {
        if let Some(input) = trigger.entry("input") {
            texts(&input.value, &event, Is::Value, found);
        }
        if let Some(key) = trigger.entry("key") {
            texts(&key.value, &event, Is::Name, found);
        }
    }
    steps(root, &input, found);
}

/// The steps and the output, of a document or of a group.
fn steps(of: &Node, around: &Names<'_>, found: &mut Vec<Look>) {
    let mut names = around.clone();
    let ids = items(of, "steps")
        .iter()
        .filter_map(|step| step.entry("id"));
    names.extend(ids.filter_map(|id| text(&id.value)));
    let mut of_items = names.clone();
    of_items.extend(["item", "index"]);
    for step in items(of, "steps") {
        let names = match step.entry("for_each") {
            Some(_) => &of_items,
            None => &names,
        };
        for (key, below, of) in PLACES {
            let place = step.entry(key).map(|entry| &entry.value);
            let place = match below {
                None => place,
                Some(below) => place.and_then(|place| Some(&place.entry(below)?.value)),
            };
            // a pool of which nothing is computed is refused where it is read
            if let Some(place) = place.filter(|place| of != Is::Pool || is_computed(place)) {
                texts(place, names, of, found);
            }
        }
        if step.entry("steps").is_some() {
            steps(step, names, found);
        }
    }
    if let Some(output) = of.entry("output") {
        texts(&output.value, &names, Is::Value, found);
    }
}

/// Where text of a step may hold expressions and need not be one.
const PLACES: [(&str, Option<&str>, Is); 8] = [
    ("with", None, Is::Value),
    ("pool", None, Is::Pool),
    ("undo", Some("with"), Is::Value),
    ("undo", Some("pool"), Is::Pool),
    ("probe", Some("with"), Is::Value),
    ("approve", Some("prompt"), Is::Value),
    ("emit", Some("subject"), Is::Value),
    ("emit", Some("data"), Is::Value),
];

fn items<'n>(of: &'n Node, key: &str) -> &'n [Node] {
    match of.entry(key).map(|entry| &entry.value.content) {
        Some(Content::List(items)) => items,
        Some(Content::Scalar(_) | Content::Map(_)) | None => &[],
    }
}

fn text(node: &Node) -> Option<&str> {
    match &node.content {
        Content::Scalar(Value::String(text)) => Some(text),
        Content::Scalar(_) | Content::List(_) | Content::Map(_) => None,
    }
}

/// Whether an expression of ours stands in it; `$${` stands for the characters.
fn is_computed(node: &Node) -> bool {
    text(node).is_some_and(|text| text.replace("$${", "").contains("${"))
}

/// Looks at every text below a place.
fn texts(node: &Node, names: &Names<'_>, of: Is, found: &mut Vec<Look>) {
    match &node.content {
        Content::Scalar(_) => {
            if let Some((written, path)) = text(node).and_then(|text| look(text, names)) {
                found.push(Look {
                    mark: node.mark,
                    written,
                    path,
                    of,
                    is_computed: is_computed(node),
                });
            }
        }
        Content::List(items) => items.iter().for_each(|item| texts(item, names, of, found)),
        Content::Map(entries) => entries
            .iter()
            .for_each(|entry| texts(&entry.value, names, of, found)),
    }
}

/// The first thing in a text that looks like an expression of another language, as it is written, and the way it names.
fn look(text: &str, names: &Names<'_>) -> Option<(String, String)> {
    let mut rest = text;
    loop {
        let here = rest.get(rest.find(['$', '{'])?..)?;
        // an expression of ours, or what stands for its characters
        let hole = here.strip_prefix("$${").or_else(|| here.strip_prefix("${"));
        if let Some(hole) = hole {
            rest = hole.get(hole.find('}')?..)?;
            continue;
        }
        if let Some(found) = begins(here, names) {
            return Some(found);
        }
        // all braces of a row at once: `{{{` begins nothing
        rest = match here.strip_prefix('$') {
            Some(after) => after,
            None => here.trim_start_matches('{'),
        };
    }
}

/// What begins with a `$` or a brace.
fn begins(here: &str, names: &Names<'_>) -> Option<(String, String)> {
    if let Some(after) = here.strip_prefix("{{") {
        let (path, tail) = path(after.trim_start(), names)?;
        let ends = tail.trim_start().starts_with("}}") || tail.trim_start().starts_with('|');
        return ends.then(|| (format!("{{{{ {path} }}}}"), path.to_owned()));
    }
    if let Some(after) = here.strip_prefix('{') {
        let (path, tail) = path(after, names)?;
        let ends = path.contains('.') && tail.starts_with('}');
        return ends.then(|| (format!("{{{path}}}"), path.to_owned()));
    }
    let (path, _) = path(here.strip_prefix('$')?, names)?;
    path.contains('.')
        .then(|| (format!("${path}"), path.to_owned()))
}

/// The way to a value a text begins with, and what follows it.
fn path<'t>(text: &'t str, names: &Names<'_>) -> Option<(&'t str, &'t str)> {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let end = text.find(|c: char| !part(c)).unwrap_or(text.len());
    let whole = text.get(..end)?.trim_end_matches('.');
    let root = whole.split('.').next()?;
    let is_known = names.contains(root) && whole.len() <= PATH_BYTES_MAX;
    is_known.then_some((whole, text.get(whole.len()..)?))
}

#[cfg(test)]
mod tests {
    use super::{Names, look};

    #[test]
    fn only_what_names_something_that_is_there_looks_like_an_expression() {
        let names = Names::from(["input", "item", "locate"]);
        let found = |text: &str| look(text, &names).map(|(written, _)| written);
        for (text, written) in [
            ("/tmp/{{ input.name }}", "{{ input.name }}"),
            ("{{input.name | upper}}", "{{ input.name }}"),
            ("{{ item }}", "{{ item }}"),
            ("host/{input.name}", "{input.name}"),
            ("${ input.ip } at $locate.port.", "$locate.port"),
        ] {
            assert_eq!(found(text).as_deref(), Some(written), "{text}");
        }
        for text in [
            "${ input.name }",
            "$${ input.name }",
            "{{ .input.name }}",
            "{{ $value }} of {{ range .Items }}",
            "{{{ input",
            "$HOME and ${HOME} and $input",
            "{\"input\": {\"name\": 1}}",
            "{input} {item}",
            "{{ other.name }}",
            "{ input.name; }",
            "$",
            "{",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
