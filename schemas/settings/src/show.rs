//! Shows what is in force, as TOML that could be read again, but for its secrets.

use std::fmt::Write as _;

use config::{Value, ValueKind};

/// Stands where a secret stood.
const HIDDEN: &str = "***";

/// The whole tree: plain values of a table before its tables, all in the order of their names.
pub(crate) fn shown(value: &Value, secrets: &[&str]) -> String {
    let mut text = String::new();
    table(value, "", secrets, &mut text);
    text
}

fn table(value: &Value, path: &str, secrets: &[&str], text: &mut String) {
    let ValueKind::Table(all) = &value.kind else {
        return;
    };
    let mut names: Vec<&String> = all.keys().collect();
    names.sort();
    let is_table =
        |name: &&String| matches!(all.get(*name).map(|v| &v.kind), Some(ValueKind::Table(_)));
    let (tables, plain): (Vec<&String>, Vec<&String>) = names.into_iter().partition(is_table);
    if !path.is_empty() && !plain.is_empty() {
        let _ = writeln!(text, "\n[{path}]");
    }
    for name in plain {
        if let Some(inner) = all.get(name) {
            let _ = writeln!(text, "{name} = {}", one(name, inner, secrets));
        }
    }
    for name in tables {
        if let Some(inner) = all.get(name) {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            table(inner, &path, secrets, text);
        }
    }
}

fn one(name: &str, value: &Value, secrets: &[&str]) -> String {
    match &value.kind {
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| one(name, item, secrets)).collect();
            format!("[{}]", items.join(", "))
        }
        // nothing is there to be hidden
        ValueKind::Nil => value.to_string(),
        ValueKind::String(text) if text.is_empty() => quoted(text),
        // a secret of digits has become a number on its way here
        _ if secrets.contains(&name) => quoted(HIDDEN),
        ValueKind::String(text) => quoted(&without_password(text)),
        _ => value.to_string(),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// An address, also one within a sentence, with its password hidden: what stands between the first `:` after `//` and the last `@` before the path.
/// Of a word that has an `@` and a `:` before it and is no address (`amqp:/user:password@host`) nothing before the `@` is shown.
pub(crate) fn without_password(text: &str) -> String {
    let Some((front, host)) = text.rsplit_once('@') else {
        return text.to_owned();
    };
    if let Some((scheme, login)) = front.split_once("://") {
        let user = login.split(':').next().unwrap_or_default();
        return format!("{scheme}://{user}:{HIDDEN}@{host}");
    }
    let begins = front.rfind(|c: char| c.is_whitespace() || "\"'`".contains(c));
    let (before, word) = front.split_at(begins.map_or(0, |at| at + 1));
    if word.contains(':') {
        format!("{before}{HIDDEN}@{host}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown_however_the_address_is_written() {
        for (given, shown) in [
            ("amqp://u:p:w@h:1/v", "amqp://u:***@h:1/v"),
            ("amqp:/u:pw@h/v", "***@h/v"),
            ("u:pw@h/v", "***@h/v"),
            ("it says \"u:pw@h\"", "it says \"***@h\""),
            ("nothing: x@h", "nothing: x@h"),
            ("somebody@example.org", "somebody@example.org"),
            ("plain: text", "plain: text"),
        ] {
            assert_eq!(without_password(given), shown, "{given}");
        }
    }
}
