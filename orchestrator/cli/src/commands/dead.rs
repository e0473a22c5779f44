//! `baton dead`: messages nobody could use, searched, and one in full.

use std::io::Write as _;

use base64::Engine as _;
use serde_json::{Value, json};

use super::{
    dead_discard as discard, dead_edit as edit, dead_lines as lines, dead_ops as ops,
    dead_replay as replay, items, more,
};
use crate::args::{Dead, DeadCommand, DeadFilter, DeadLs, DeadShow, PageArgs};
use crate::client::{Client, escaped};
use crate::error::CliError;
use crate::exit::Exit;
use crate::find;
use crate::out::Out;
use crate::screens::dead;
use crate::time;

pub(crate) async fn dead(client: &Client, which: &Dead, out: &mut Out) -> Result<Exit, CliError> {
    if which.command.is_some() && which.list.is_asked() {
        return Err(CliError::usage(
            "filters stand behind what is to be done: baton dead replay --reason …",
        ));
    }
    if which.amqp.is_some() {
        return Err(CliError::usage_then(
            "--amqp names a broker, and only peek and move work there: everything else is asked of the orchestrator",
            "leave --amqp out; or baton dead --amqp URL peek QUEUE",
        ));
    }
    match &which.command {
        None => ls(client, &which.list, out).await,
        Some(DeadCommand::Ls(list)) => ls(client, list, out).await,
        Some(DeadCommand::Show(one)) => show(client, one, out).await,
        Some(DeadCommand::Groups(asked)) => ops::groups(client, asked, out).await,
        Some(DeadCommand::Replay(asked)) => replay::replay(client, asked, out).await,
        Some(DeadCommand::Discard(asked)) => discard::discard(client, asked, out).await,
        Some(DeadCommand::Restore(one)) => discard::restore(client, one, out).await,
        Some(DeadCommand::Note(one)) => discard::note(client, one, out).await,
        Some(DeadCommand::Edit(asked)) => edit::edit(client, asked, out).await,
        Some(DeadCommand::Export(asked)) => lines::export(client, asked, out).await,
        Some(DeadCommand::Import(asked)) => lines::import(client, asked, out).await,
        Some(DeadCommand::Ops(which)) => ops::operations(client, which, out).await,
        // at the broker itself: told apart before anybody asks an orchestrator
        Some(DeadCommand::Peek(_) | DeadCommand::Move(_)) => Err(CliError::usage(
            "peek and move go to the broker itself: --amqp URL",
        )),
    }
}

async fn ls(client: &Client, which: &DeadLs, out: &mut Out) -> Result<Exit, CliError> {
    let mut filters = filters(client, &which.filter).await?;
    if which.state != "all" {
        filters.push(("state", which.state.clone()));
    }
    let answer = page(client, &filters, &which.page).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let width = out.screen.width();
    let table = dead::table(items(&answer, "dead_letters"), time::now_ms(), width);
    let none = if filters.len() <= 1 {
        "(none)"
    } else {
        "(none of that kind)"
    };
    out.table(&table, none);
    more(&answer, &repeated(which), &which.page, out);
    Ok(Exit::Ok)
}

/// Pages that are asked for at most to fill one: each has looked at some tens of thousands of letters.
const PAGES_MAX: usize = 50;

/// One page, as full as it gets: where no index finds what is asked for, an answer may be short and have a place to go on.
async fn page(
    client: &Client,
    filters: &[(&'static str, String)],
    asked: &PageArgs,
) -> Result<Value, CliError> {
    let mut wanted = asked.clone();
    let (mut all, mut unread) = (Vec::new(), Vec::new());
    let mut left = usize::from(asked.limit);
    for _ in 0..PAGES_MAX {
        wanted.limit = u16::try_from(left).unwrap_or(u16::MAX);
        let mut query = wanted.query();
        query.extend(filters.iter().map(|(name, value)| (*name, value.clone())));
        let mut answer = client.get("/v1/dead-letters", &query).await?;
        if let Some(rows) = answer["dead_letters"].as_array_mut() {
            all.append(rows);
        }
        if let Some(names) = answer["unreadable"].as_array_mut() {
            unread.append(names);
        }
        left = usize::from(asked.limit).saturating_sub(all.len());
        wanted.cursor = answer["next"].as_str().map(str::to_owned);
        if left == 0 || wanted.cursor.is_none() {
            break;
        }
    }
    Ok(json!({ "dead_letters": all, "next": wanted.cursor, "unreadable": unread }))
}

/// As the API is asked.
pub(super) async fn filters(
    client: &Client,
    which: &DeadFilter,
) -> Result<Vec<(&'static str, String)>, CliError> {
    let now = time::now_ms();
    let instant = |text: &Option<String>, what: &str| {
        let at = text.as_deref().map(|text| time::when(text, what, now));
        Ok::<_, CliError>(at.transpose()?.map(|at| at.to_string()))
    };
    let saga = match &which.saga {
        Some(saga) => Some(find::saga_id(client, saga).await?),
        None => None,
    };
    let operation = match &which.operation {
        Some(id) => Some(ops::whole_id(client, id).await?),
        None => None,
    };
    let asked = [
        ("reason", which.reason.clone()),
        ("queue", which.queue.clone()),
        ("kind", which.kind.clone()),
        ("saga", saga),
        ("text", which.text.clone()),
        ("group", which.group.clone()),
        ("error", which.error.clone()),
        ("pool", which.pool.clone()),
        ("task_type", which.task_type.clone()),
        ("event_type", which.event_type.clone()),
        ("definition", which.definition.clone()),
        ("worker", which.worker.clone()),
        ("replays", which.replays.map(|n| n.to_string())),
        ("label", which.label.clone()),
        ("operation", operation),
        ("since", instant(&which.since, "--since")?),
        ("until", instant(&which.until, "--until")?),
    ];
    let given = asked.into_iter();
    Ok(given
        .filter_map(|(name, value)| Some((name, value?)))
        .collect())
}

/// The command with its filters, for the next page.
fn repeated(which: &DeadLs) -> String {
    let state = (which.state != "dead").then(|| which.state.clone());
    let which = &which.filter;
    let mut text = "dead ls".to_owned();
    let options = [
        ("--reason", which.reason.clone()),
        ("--queue", which.queue.clone()),
        ("--kind", which.kind.clone()),
        ("--saga", which.saga.clone()),
        ("--text", which.text.clone()),
        ("--since", which.since.clone()),
        ("--until", which.until.clone()),
        ("--group", which.group.clone()),
        ("--error", which.error.clone()),
        ("--pool", which.pool.clone()),
        ("--task-type", which.task_type.clone()),
        ("--event-type", which.event_type.clone()),
        ("--definition", which.definition.clone()),
        ("--worker", which.worker.clone()),
        ("--replays", which.replays.map(|n| n.to_string())),
        ("--label", which.label.clone()),
        ("--operation", which.operation.clone()),
        ("--state", state),
    ];
    for (name, value) in options {
        if let Some(value) = value {
            text.push_str(&format!(" {name} {}", quoted(&value)));
        }
    }
    text
}

/// As a shell reads it back.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

async fn show(client: &Client, which: &DeadShow, out: &mut Out) -> Result<Exit, CliError> {
    let path = format!("/v1/dead-letters/{}", escaped(which.id.trim()));
    let letter = client.get(&path, &[]).await?;
    if out.wants_json() {
        out.value(&letter);
    } else if which.raw && letter["masked"] == true {
        return Err(CliError::usage_then(
            "this token may not read bodies as they came: that wants the role operator",
            "baton token whoami",
        ));
    } else if which.raw {
        // of one that was edited, what is sent
        let sent = &letter["sent"];
        raw(if sent.is_object() && !which.original {
            sent
        } else {
            &letter
        })?;
    } else {
        for line in dead::one(&letter, time::now_ms(), out.screen.width()) {
            out.say(&line);
        }
    }
    Ok(Exit::Ok)
}

/// A body byte for byte, and nothing else.
fn raw(letter: &Value) -> Result<(), CliError> {
    let text = letter["body"].as_str().map(|body| body.as_bytes().to_vec());
    let encoded = letter["body_base64"].as_str().unwrap_or_default();
    let bytes = match text {
        Some(text) => text,
        None => base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .map_err(|error| CliError::Shape {
                what: format!("body_base64: {error}"),
            })?,
    };
    match std::io::stdout().write_all(&bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::Unwritten { source: error })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_repeated_as_a_shell_reads_it() {
        assert_eq!(quoted("baton.inbox.00"), "baton.inbox.00");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }
}
