//! `baton top`: where time goes, by task type.

use std::time::Duration;

use serde_json::Value;

use super::away::Away;
use super::{left_out, typed_items};
use crate::args::Top;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::{Line, Out, Tone};
use crate::screens::top::{self, Item};
use crate::time;

/// How often it is shown again.
const EVERY: Duration = Duration::from_secs(2);

pub(crate) async fn top(client: &Client, which: &Top, out: &mut Out) -> Result<Exit, CliError> {
    let mut away = Away::default();
    loop {
        let answer = match client.get("/v1/top", &[]).await {
            Ok(answer) => answer,
            Err(error) if which.watch => {
                away.lost(Some(error), out).await?;
                continue;
            }
            Err(error) => return Err(error),
        };
        away.back(out);
        if out.wants_json() && which.watch {
            out.item(&answer);
        } else if out.wants_json() {
            out.value(&answer);
        } else {
            draw(&answer, which.watch, out)?;
        }
        out.screen.flush();
        if !which.watch || out.screen.is_gone() {
            return Ok(Exit::Ok);
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn draw(answer: &Value, again: bool, out: &mut Out) -> Result<(), CliError> {
    let width = out.screen.width();
    let lines = lines(answer, width)?;
    if again && out.screen.is_terminal() {
        let height = out.screen.height() - 1;
        out.screen.draw(&lines[..lines.len().min(height)]);
    } else {
        for line in &lines {
            out.say(line);
        }
    }
    Ok(())
}

/// The screen.
pub(crate) fn lines(answer: &Value, width: usize) -> Result<Vec<Line>, CliError> {
    let items: Vec<Item> = top::sorted(typed_items(answer, "top")?);
    if items.is_empty() {
        let mut lines = vec![Line::faint("(no task has run yet)")];
        lines.extend(left_out(answer, Some("baton show"), width));
        return Ok(lines);
    }
    let mut lines = top::table(&items).lines(width);
    lines.push(Line::new());
    let words = crate::out::wrapped(&top::bottleneck(&items), width);
    lines.extend(words.into_iter().map(|part| Line::of(part, Tone::Strong)));
    if let Some(words) = top::either(&items) {
        let words = crate::out::wrapped(words, width);
        lines.extend(words.into_iter().map(Line::faint));
    }
    if let Some(rows) = answer["over_rows"].as_u64() {
        let since = time::read(&answer["since"]);
        let since = since.map_or_else(String::new, |at| format!(", since {}", time::instant(at)));
        let words = format!("over the last {rows} rows of the log{since}");
        let words = crate::out::wrapped(&words, width);
        lines.extend(words.into_iter().map(Line::faint));
    }
    lines.extend(left_out(answer, Some("baton show"), width));
    Ok(lines)
}
