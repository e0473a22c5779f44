//! Which statements a store has, read out of its source: where plans are looked at, none can be forgotten. A statement is the text of a constant; what a function
//! puts together is named by that function.

use std::path::Path;

/// What a statement looks for rows in stands behind one of these.
const BEFORE_A_TABLE: [&str; 3] = ["FROM", "JOIN", "UPDATE"];

/// One of them.
#[derive(Debug)]
pub(crate) struct Statement {
    /// Such as `load::HOT`.
    pub(crate) name: String,
    /// It.
    pub(crate) text: String,
}

/// Every constant in the source of a store (`sqlite`, `postgres`) that looks for rows in one of these tables.
pub(crate) fn of(store: &str, tables: &[&str]) -> Vec<Statement> {
    let mut all = Vec::new();
    for (module, source) in sources(store) {
        for (name, text) in constants(&source) {
            if looks_in(&text, tables) {
                let name = format!("{module}::{name}");
                all.push(Statement { name, text });
            }
        }
    }
    assert!(all.len() > 50, "the source of {store} is not read");
    all
}

/// Every function that puts a statement together, as it is called from elsewhere: `queries::sagas(`.
pub(crate) fn made(store: &str) -> Vec<String> {
    let mut all = Vec::new();
    for module in ["queries", "triggers", "audit", "reservations"] {
        let found = sources(store).into_iter().find(|(name, _)| name == module);
        let (_, source) = found.unwrap();
        for line in source.lines() {
            let name = line
                .strip_prefix("pub(crate) fn ")
                .filter(|line| line.ends_with("-> String {"))
                .and_then(|line| line.split('(').next());
            // of a value, not of a statement
            let name = name.filter(|name| *name != "type_column");
            all.extend(name.map(|name| format!("{module}::{name}")));
        }
    }
    assert!(all.len() > 10, "the source of {store} is not read");
    all
}

/// The files of a store, by module.
fn sources(store: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src")
        .join(store);
    let files = std::fs::read_dir(folder).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let sources = paths.filter(|path| path.extension().is_some_and(|of| of == "rs"));
    let read = sources.map(|path| {
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (module, std::fs::read_to_string(&path).unwrap())
    });
    read.collect()
}

/// Constants that are texts, or lists of them, by name.
fn constants(source: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for part in source.split("const ").skip(1) {
        let declared = part.split_once(": ").and_then(|(name, rest)| {
            let (of, value) = rest.split_once('=')?;
            Some((name, of.trim(), value))
        });
        let Some((name, of, value)) = declared else {
            continue;
        };
        let is_text = of.starts_with("&str") || of.starts_with("[&str");
        if is_text && name.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
            let texts = texts(value).into_iter();
            all.extend(texts.map(|text| (name.to_owned(), text)));
        }
    }
    all
}

/// The texts of a constant, up to its end.
fn texts(value: &str) -> Vec<String> {
    let (mut all, mut open) = (Vec::new(), None::<String>);
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        let Some(text) = open.as_mut() else {
            match c {
                ';' => break,
                '"' => open = Some(String::new()),
                _ => {}
            }
            continue;
        };
        match c {
            '"' => all.extend(open.take()),
            '\\' => text.extend(rest.next()),
            c => text.push(c),
        }
    }
    all
}

fn looks_in(text: &str, tables: &[&str]) -> bool {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.windows(2).any(|pair| match pair {
        [before, table] => BEFORE_A_TABLE.contains(before) && tables.contains(table),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_found_whatever_their_form() {
        let source = r#"
            const A: &str = "SELECT \"a;b\" FROM sagas";
            pub(crate) const B: [&str; 2] = ["DELETE FROM records", "UPDATE counts SET n = 1"];
            const C: u64 = 1;
            const D: &str =
                "SELECT 1";
        "#;
        let found = constants(source);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["A", "B", "B", "D"]);
        assert_eq!(found[0].1, "SELECT \"a;b\" FROM sagas");
        let looking = found
            .iter()
            .map(|(_, text)| looks_in(text, &["sagas", "records"]));
        assert_eq!(Vec::from_iter(looking), [true, true, false, false]);
    }
}
