//! `baton dead edit`: a copy of a dead letter is changed, by options or in an editor, and what differs is shown before anything is kept.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::dead_next::of_letter;
use super::dead_replay::{act, letter_path};
use super::edit::{Wish, shown_and_done};
use crate::args::DeadEdit;
use crate::client::{Client, escaped};
use crate::error::CliError;
use crate::exit::Exit;
use crate::input;
use crate::out::Out;

/// Where the editor stands, as everywhere.
const EDITORS: [&str; 2] = ["VISUAL", "EDITOR"];
/// Where none does.
const EDITOR: &str = "vi";

pub(crate) async fn edit(
    client: &Client,
    asked: &DeadEdit,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let path = format!("/v1/dead-letters/{}", escaped(asked.id.trim()));
    let letter = client.get(&path, &[]).await?;
    let Some((body, draft)) = changes(asked, &letter)? else {
        out.note("nothing was changed");
        return Ok(Exit::Error);
    };
    let kept = keep(client, asked, &letter, body, out).await;
    // an hour's work is not thrown away with a slip in it
    if let Some(draft) = draft
        && !asked.dry_run
        && !matches!(kept, Ok(Exit::Ok))
    {
        draft.stays(out);
    }
    kept
}

/// Shows what differs, and keeps the copy.
async fn keep(
    client: &Client,
    asked: &DeadEdit,
    letter: &Value,
    mut body: Value,
    out: &mut Out,
) -> Result<Exit, CliError> {
    body["edition"] = letter["edition"].clone();
    let wish = Wish {
        path: &letter_path(&asked.id, "edit"),
        question: "keep this copy?",
        reason: &asked.message,
        dry_run: asked.dry_run,
        yes: asked.yes,
    };
    let known = letter["saga_now"].is_object();
    let saga = letter["saga"].as_str().filter(|_| known);
    let kept = shown_and_done(client, body, &wish, out).await;
    let kept = match kept.map_err(|error| of_letter(error, asked.id.trim(), saga))? {
        Ok(kept) => kept,
        Err(exit) => return Ok(exit),
    };
    if asked.replay {
        let replay = json!({ "reason": asked.message });
        return act(client, &asked.id, "replay", replay, out).await;
    }
    if out.wants_json() {
        out.value(&kept);
    } else {
        out.line(format!(
            "copy {} is what is sent from now on",
            kept["edition"]
        ));
        out.next("then", &format!("baton dead replay {}", asked.id.trim()));
    }
    Ok(Exit::Ok)
}

/// What the API is asked to change; none when the editor was left without a change.
fn changes(asked: &DeadEdit, letter: &Value) -> Result<Option<(Value, Option<Draft>)>, CliError> {
    let (mut body, mut draft) = (Map::new(), None);
    let set = asked.set.iter().map(|one| placed(one, "--set"));
    let set = set.collect::<Result<Map<String, Value>, _>>()?;
    let headers = asked.header.iter().map(|one| named(one));
    let mut headers = headers.collect::<Result<Map<String, Value>, _>>()?;
    for gone in &asked.no_header {
        headers.insert(gone.clone(), Value::Null);
    }
    let unset: Vec<String> = asked.unset.iter().map(|place| pointer(place)).collect();
    let by_options = !set.is_empty()
        || !headers.is_empty()
        || !unset.is_empty()
        || asked.content_type.is_some()
        || asked.body.is_some();
    body.insert("set".to_owned(), Value::Object(set));
    body.insert("unset".to_owned(), json!(unset));
    body.insert("headers".to_owned(), Value::Object(headers));
    if let Some(content_type) = &asked.content_type {
        body.insert("content_type".to_owned(), json!(content_type));
    }
    if let Some(path) = &asked.body {
        written(&bytes(path)?, &mut body);
    } else if !by_options {
        match in_editor(letter)? {
            Some((edited, kept)) => {
                written(&edited, &mut body);
                draft = Some(kept);
            }
            None => return Ok(None),
        }
    }
    Ok(Some((Value::Object(body), draft)))
}

fn bytes(path: &Path) -> Result<Vec<u8>, CliError> {
    use std::io::Read as _;
    let read = if path == Path::new("-") {
        let mut all = Vec::new();
        std::io::stdin().read_to_end(&mut all).map(|_| all)
    } else {
        std::fs::read(path)
    };
    read.map_err(|source| input::unread(path, source))
}

fn written(bytes: &[u8], body: &mut Map<String, Value>) {
    let (name, text) = match std::str::from_utf8(bytes) {
        Ok(text) => ("body", text.to_owned()),
        Err(_) => (
            "body_base64",
            base64::engine::general_purpose::STANDARD.encode(bytes),
        ),
    };
    body.insert(name.to_owned(), Value::String(text));
}

/// JSON, or else text. A number that would not arrive as it is typed is refused.
fn value(text: &str) -> Result<Value, CliError> {
    let Ok(read) = serde_json::from_str::<Value>(text) else {
        return Ok(Value::from(text));
    };
    let again = read.to_string();
    let changed = numbers(text).into_iter().zip(numbers(&again));
    match changed.into_iter().find(|(typed, sent)| typed != sent) {
        Some((typed, sent)) => Err(CliError::usage_then(
            format!("the number {typed} would arrive as {sent}"),
            "--body FILE sends a body with every digit; as text, in quotes of JSON, it arrives as typed: 'version=\"1.50\"'",
        )),
        None => Ok(read),
    }
}

/// The numbers of a JSON text, as they are written.
fn numbers(text: &str) -> Vec<String> {
    let (mut all, mut one, mut in_text) = (Vec::new(), String::new(), false);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' if in_text => drop(rest.next()),
            '"' => in_text = !in_text,
            _ if in_text => {}
            // letters of `true` and `null` are none, an exponent is
            '0'..='9' | '-' => one.push(c),
            '+' | '.' | 'e' | 'E' if !one.is_empty() => one.push(c),
            _ if !one.is_empty() => all.push(std::mem::take(&mut one)),
            _ => {}
        }
    }
    all.extend(Some(one).filter(|one| !one.is_empty()));
    all
}

pub(super) fn placed(text: &str, option: &str) -> Result<(String, Value), CliError> {
    let parts = text.split_once('=');
    let (place, new) = parts.ok_or_else(|| {
        CliError::usage(format!(
            "{option} is written /place=value, and `{text}` is not"
        ))
    })?;
    Ok((pointer(place), value(new)?))
}

fn named(text: &str) -> Result<(String, Value), CliError> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, new) = parts.ok_or_else(|| {
        CliError::usage(format!(
            "--header is written name=value, and `{text}` is not"
        ))
    })?;
    Ok((name.to_owned(), value(new)?))
}

/// `order.items.0` as `/order/items/0`.
pub(super) fn pointer(place: &str) -> String {
    if place.is_empty() || place.starts_with('/') {
        return place.to_owned();
    }
    format!(
        "/{}",
        place
            .replace('~', "~0")
            .replace('/', "~1")
            .replace('.', "/")
    )
}

/// The body as somebody left it in an editor, and the file it was written in; none where nothing was changed.
fn in_editor(letter: &Value) -> Result<Option<(Vec<u8>, Draft)>, CliError> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(CliError::usage_then(
            "what is to be changed? There is no terminal for an editor",
            "--set /place=value, --body FILE, or --header name=value",
        ));
    }
    // of one that was edited, what is sent
    let from = if letter["sent"].is_object() {
        &letter["sent"]
    } else {
        letter
    };
    let Some(text) = from["body"].as_str() else {
        return Err(CliError::usage_then(
            "its body is no text, or may not be read with this token: no editor takes it",
            "baton dead show ID --raw > FILE; then baton dead edit ID --body FILE",
        ));
    };
    let is_json = serde_json::from_str::<Value>(text).is_ok();
    let (shown, ending) = if is_json {
        (laid_out(text), "json")
    } else {
        (text.to_owned(), "txt")
    };
    let (edited, draft) = edited(shown.as_bytes(), ending)?;
    Ok((edited != shown.as_bytes()).then_some((edited, draft)))
}

/// A JSON text over several lines: only blanks between its values are others, and each value is written as it was.
fn laid_out(text: &str) -> String {
    let (mut made, mut depth, mut in_text) =
        (String::with_capacity(text.len() * 2), 0_usize, false);
    let mut rest = text.chars().peekable();
    let line = |made: &mut String, depth: usize| {
        made.push('\n');
        made.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = rest.next() {
        if in_text {
            made.push(c);
            match c {
                '\\' => made.extend(rest.next()),
                '"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match c {
            ' ' | '\t' | '\n' | '\r' => {}
            '{' | '[' => {
                made.push(c);
                while rest.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                if let Some(end) = rest.next_if(|c| matches!(c, '}' | ']')) {
                    made.push(end);
                } else {
                    depth += 1;
                    line(&mut made, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut made, depth);
                made.push(c);
            }
            ',' => {
                made.push(c);
                line(&mut made, depth);
            }
            ':' => made.push_str(": "),
            _ => {
                in_text = c == '"';
                made.push(c);
            }
        }
    }
    made.push('\n');
    made
}

/// A file that its owner alone may read, and that is gone afterwards, unless what was written in it came to nothing.
struct Draft(PathBuf);

impl Draft {
    /// It stays, and whoever wrote it is told where.
    fn stays(self, out: &mut Out) {
        out.note(format!(
            "what you wrote is kept in {}; give it by --body, and remove it then",
            self.0.display()
        ));
        std::mem::forget(self);
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // it holds what may be secret; where it cannot be removed the system clears its folder
        let _ = std::fs::remove_file(&self.0);
    }
}

fn edited(text: &[u8], ending: &str) -> Result<(Vec<u8>, Draft), CliError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let name = format!("baton-dead-{}.{ending}", Uuid::new_v4().simple());
    let draft = Draft(std::env::temp_dir().join(name));
    let path = draft.0.display().to_string();
    let failed = |source| CliError::NotMade {
        path: path.clone(),
        source,
    };
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft.0)
        .map_err(failed)?;
    file.write_all(text).map_err(failed)?;
    drop(file);
    let editor = EDITORS.iter().find_map(|name| std::env::var(name).ok());
    let editor = editor.unwrap_or_else(|| EDITOR.to_owned());
    // an editor may come with options of its own
    let ended = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg("sh")
        .arg(&draft.0)
        .status()
        .map_err(|error| {
            CliError::usage(format!(
                "the editor `{editor}` cannot be started: {error}; name one in EDITOR"
            ))
        })?;
    if !ended.success() {
        return Err(CliError::usage(format!(
            "the editor `{editor}` ended with {ended}: nothing was changed"
        )));
    }
    let written = std::fs::read(&draft.0).map_err(failed)?;
    Ok((written, draft))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_editor_is_given_every_value_as_it_was_written() {
        let text = r#"{"n":12345678901234567890123.0,"a":[ ],"b":[1,{"c":"x, {\" y"}],"a":2}"#;
        let shown = laid_out(text);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1], "  \"n\": 12345678901234567890123.0,");
        assert_eq!(lines[2], "  \"a\": [],");
        assert!(shown.contains("\"c\": \"x, {\\\" y\""), "{shown}");
        let again: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(again, serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(laid_out("7"), "7\n");
    }

    #[test]
    fn places_and_values_are_read_as_they_are_typed() {
        let set = |text| placed(text, "--set").ok();
        assert_eq!(set("/a/0=1"), Some(("/a/0".to_owned(), json!(1))));
        assert_eq!(set("a.b=x=y"), Some(("/a/b".to_owned(), json!("x=y"))));
        assert_eq!(
            set("a={\"b\":[]}"),
            Some(("/a".to_owned(), json!({ "b": [] })))
        );
        assert_eq!(set("a"), None);
        assert!(
            set("a=12345678901234567890123").is_none(),
            "not every digit arrives"
        );
        assert!(set("a=1.50").is_none());
        assert_eq!(set("a=1.5"), Some(("/a".to_owned(), json!(1.5))));
        assert!(named("=x").is_err());
        assert_eq!(named("h=007").ok(), Some(("h".to_owned(), json!("007"))));
    }
}
