//! Keys of objects that are said by a pattern: which it takes, and some of those it does. Whether an object may be handed to what takes another is asked of such keys, each looked up as one
//! of a value is.
//!
//! Guarantee: a key that is named takes part only where it is one that the pattern takes, as the schema itself reads it; a pattern of which none is found is told nothing of.

use std::cmp::Ordering;

use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::{Value, json};

/// The most keys named of one pattern: more of one kind say no more.
const SAMPLES_MAX: usize = 8;
/// How many characters of a range are named, beside its last: what is a property already is none of the others.
const OF_A_RANGE: usize = 3;
/// How often something is repeated in one, at most: a longer key says no more.
const REPEATED_MAX: u32 = 64;
/// The longest that is named.
const SAMPLE_BYTES_MAX: usize = 256;

/// A regular expression for keys, as `patternProperties` has them.
#[derive(Debug)]
pub(crate) struct Pattern {
    text: String,
    takes: jsonschema::Validator,
}

impl Pattern {
    /// None where it cannot be read.
    pub(super) fn read(text: &str) -> Option<Self> {
        let takes = jsonschema::validator_for(&json!({ "pattern": text })).ok()?;
        Some(Self {
            text: text.to_owned(),
            takes,
        })
    }

    /// As it is written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it takes a key.
    pub(crate) fn takes(&self, key: &str) -> bool {
        self.takes.is_valid(&Value::from(key))
    }

    /// Some of the keys it takes; none where none is found.
    pub(super) fn samples(&self) -> Vec<String> {
        let Ok(parsed) = regex_syntax::parse(&self.text) else {
            return Vec::new();
        };
        let mut all = samples(&parsed);
        all.retain(|key| self.takes(key));
        all
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

/// Short texts that an expression matches, as far as what comes before and after them says nothing of them.
fn samples(hir: &Hir) -> Vec<String> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => vec![String::new()],
        HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).into_iter().collect(),
        HirKind::Class(class) => characters(class),
        HirKind::Repetition(repeated) => {
            let inside = samples(&repeated.sub);
            let most = repeated.max.unwrap_or(REPEATED_MAX).min(REPEATED_MAX);
            // one more than needed is another key
            let counts = [repeated.min, repeated.min.saturating_add(1)];
            let counts = counts.into_iter().filter(|count| *count <= most);
            few(counts.flat_map(|count| {
                let often = usize::try_from(count).unwrap_or(0);
                inside.iter().map(move |one| one.repeat(often))
            }))
        }
        HirKind::Capture(group) => samples(&group.sub),
        HirKind::Concat(all) => all.iter().fold(vec![String::new()], |begun, part| {
            let ends = samples(part);
            let joined = begun.iter().flat_map(|begin| {
                let end = ends.iter();
                end.map(move |end| format!("{begin}{end}"))
            });
            few(joined)
        }),
        HirKind::Alternation(all) => few(all.iter().flat_map(samples)),
    }
}

/// The first of them that are not too long, each once.
fn few(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for one in all.filter(|one| one.len() <= SAMPLE_BYTES_MAX) {
        if found.len() == SAMPLES_MAX {
            break;
        }
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

/// Some of the characters of a class.
fn characters(class: &Class) -> Vec<String> {
    match class {
        Class::Unicode(class) => few(class.iter().flat_map(|range| {
            let first = (range.start()..=range.end()).take(OF_A_RANGE);
            first.chain([range.end()]).map(String::from)
        })),
        // patterns of JSON Schema are of characters
        Class::Bytes(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        let read = Pattern::read(text);
        read.as_ref().map_or_else(Vec::new, Pattern::samples)
    }

    #[test]
    fn what_is_named_is_taken() {
        assert_eq!(of("^x-"), ["x-"]);
        assert_eq!(of("-n$"), ["-n"]);
        assert_eq!(of("^[de]$"), ["d", "e"]);
        assert_eq!(of("^(a|b)?$"), ["", "a", "b"]);
        assert_eq!(of("^a{2}$"), ["aa"]);
        for text in [
            "^[a-z][a-z0-9_]*$",
            "^v[0-9]+(\\.[0-9]+){2}$",
            "^\\d{3,}$",
            "^[^a]$",
            "^.+@.+$",
        ] {
            let all = of(text);
            let pattern = Pattern::read(text).unwrap();
            assert!(!all.is_empty() && all.len() <= SAMPLES_MAX, "{text}");
            assert!(all.iter().all(|key| pattern.takes(key)), "{text}: {all:?}");
        }
    }

    #[test]
    fn of_what_is_not_understood_nothing_is_named() {
        assert_eq!(of("^(?=x)y"), Vec::<String>::new());
        assert_eq!(of("^a{100}$"), Vec::<String>::new());
        assert!(Pattern::read("(").is_none());
    }
}
