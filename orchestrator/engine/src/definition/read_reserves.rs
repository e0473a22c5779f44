//! The keys of what a saga takes before its first step: `locks`, `concurrency`, `blast_radius`, `lock_timeout`.

use serde_json::Value;

use super::diagnostic::code;
use super::reader::{Object, Reader, nearest, reads};
use super::reserves::{LIMIT_MAX, LOCKS_MAX, Limit, LimitKey, LockName, PER_MS_MAX, Reserves};
use super::yaml::{Content, Entry, Mark, Node};
use crate::expr::Template;

const KEYS_OF_CONCURRENCY: &[&str] = &["max", "key"];
const KEYS_OF_BLAST_RADIUS: &[&str] = &["max", "per", "key"];

/// What expressions there read, and where.
type Reads = Vec<(Mark, String)>;

/// Reads what a saga takes; none where it takes nothing.
pub(super) fn reserves(
    reader: &mut Reader,
    top: &Object<'_>,
    labels: &[(String, Template)],
) -> (Option<Reserves>, Reads) {
    let mut found = Vec::new();
    let mut all = Reserves::default();
    if let Some(entry) = top.get("locks") {
        all.locks = locks(reader, entry, &mut found);
    }
    if let Some(entry) = top.get("concurrency") {
        all.concurrency = limit(reader, entry, KEYS_OF_CONCURRENCY, labels, &mut found);
    }
    if let Some(entry) = top.get("blast_radius") {
        all.blast_radius = limit(reader, entry, KEYS_OF_BLAST_RADIUS, labels, &mut found);
    }
    let takes = ["locks", "concurrency", "blast_radius"];
    let takes = takes.iter().any(|key| top.get(key).is_some());
    if let Some(entry) = top.get("lock_timeout") {
        all.lock_timeout_ms = reader.duration(entry);
        if !takes {
            let message = "`lock_timeout` bounds a wait, and this saga waits for nothing";
            let help = "add `locks: [ … ]`, or leave it out";
            reader.report(code::MISSING, entry.mark, message, help);
        }
    }
    (takes.then_some(all), found)
}

fn locks(reader: &mut Reader, entry: &Entry, found: &mut Reads) -> Vec<LockName> {
    let Some(items) = reader.list(entry) else {
        return Vec::new();
    };
    if items.is_empty() {
        let help = "write `locks: [ \"host/${ input.ip }\" ]`";
        reader.report(code::MISSING, entry.value.mark, "`locks` names none", help);
    }
    if items.len() > LOCKS_MAX {
        let message = format!("{} locks; {LOCKS_MAX} are allowed", items.len());
        let help = "lock something larger that all of them lie in";
        reader.report(code::TOO_LARGE, entry.mark, message, help);
        return Vec::new();
    }
    let names = items.iter();
    names.map(|item| lock(reader, item, found)).collect()
}

fn lock(reader: &mut Reader, item: &Node, found: &mut Reads) -> LockName {
    // One that cannot be read keeps its place, so that the others are found in theirs.
    let unreadable = || LockName {
        text: String::new(),
        template: Template::unreadable(),
    };
    let Content::Scalar(Value::String(text)) = &item.content else {
        let help = "write `\"host/${ input.ip }\"`";
        reader.report(code::SHAPE, item.mark, "a lock is a name", help);
        return unreadable();
    };
    if text.trim().is_empty() {
        let help = "write `\"host/${ input.ip }\"`";
        reader.report(code::NAME, item.mark, "the name of a lock is empty", help);
        return unreadable();
    }
    let template = reader.open_template(item, "the name of a lock");
    found.extend(reads(item, &template));
    LockName {
        text: text.clone(),
        template,
    }
}

fn limit(
    reader: &mut Reader,
    entry: &Entry,
    keys: &[&str],
    labels: &[(String, Template)],
    found: &mut Reads,
) -> Option<Limit> {
    let what = format!("`{}`", entry.key);
    let object = reader.object(&entry.value, &what, keys, &[])?;
    let example = if keys.contains(&"per") {
        "max: 5"
    } else {
        "max: 3"
    };
    let max = reader
        .required(&object, "max", &what, example)
        .and_then(|e| most(reader, e));
    let per = keys.contains(&"per").then(|| {
        let entry = reader.required(&object, "per", &what, "per: 1h")?;
        per_ms(reader, entry)
    });
    let key = object
        .get("key")
        .and_then(|e| key(reader, e, labels, found));
    // What is wrong has been reported, so that nothing is ever counted by what stands in its place.
    Some(Limit {
        max: max.unwrap_or(1),
        per_ms: per.flatten(),
        key,
    })
}

fn most(reader: &mut Reader, entry: &Entry) -> Option<u32> {
    let read = entry.value.to_json().as_u64();
    let max = read.and_then(|n| u32::try_from(n).ok());
    let max = max.filter(|n| (1..=LIMIT_MAX).contains(n));
    if max.is_none() {
        let message = format!("`max` must be a whole number from 1 to {LIMIT_MAX}");
        reader.report(code::RANGE, entry.value.mark, message, "write `max: 3`");
    }
    max
}

fn per_ms(reader: &mut Reader, entry: &Entry) -> Option<u64> {
    let ms = reader.duration(entry)?;
    if (1..=PER_MS_MAX).contains(&ms) {
        return Some(ms);
    }
    let message = "`per` must be a time up to 31d";
    reader.report(code::RANGE, entry.value.mark, message, "write `per: 1h`");
    None
}

/// An expression, or the name of a label of the definition.
fn key(
    reader: &mut Reader,
    entry: &Entry,
    labels: &[(String, Template)],
    found: &mut Reads,
) -> Option<LimitKey> {
    let text = reader.text(entry)?;
    if text.contains("${") {
        let template = reader.open_template(&entry.value, "the key of a limit");
        found.extend(reads(&entry.value, &template));
        return Some(LimitKey::Computed(text.to_owned(), template));
    }
    if labels.iter().any(|(name, _)| name == text) {
        return Some(LimitKey::Label(text.to_owned()));
    }
    let help = match nearest(text, labels.iter().map(|(name, _)| name.as_str())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "name one of the `labels`, or write an expression: `${ input.site }`".to_owned(),
    };
    let message = format!("there is no label `{text}`");
    reader.report(code::REFERENCE, entry.value.mark, message, &help);
    None
}
