//! `baton dead discard | restore | note`: what is not wanted, or is wanted after all. One at a time by their ids, or all that fit, a thousand in each request; what was cut short is begun
//! anew where it was.

use serde_json::{Value, json};

use super::act::refrained;
use super::dead_next::{of_letter, stands};
use super::dead_replay::{act, as_seen, body_filter, letter_path, one_or_many};
use super::items;
use crate::args::{DeadDiscard, DeadNote, DeadRestore};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::Out;
use crate::screens::dead;

/// Letters that are discarded or restored in one request: as many as the API takes.
const MOVED_AT_ONCE: u64 = 1_000;
/// Letters that are named in one request: as many as the API takes.
const NAMED_AT_ONCE: usize = 500;

pub(crate) async fn discard(
    client: &Client,
    asked: &DeadDiscard,
    out: &mut Out,
) -> Result<Exit, CliError> {
    if asked.message.trim().is_empty() && !asked.dry_run {
        return Err(CliError::usage_then(
            "a discard needs a reason",
            "the same with -m 'why'",
        ));
    }
    let filter = body_filter(client, &asked.filter).await?;
    let wish = Wish {
        action: "discard",
        ids: &asked.ids,
        reason: &asked.message,
        dry_run: asked.dry_run,
        yes: asked.yes,
    };
    wish.done(client, filter, out).await
}

pub(crate) async fn restore(
    client: &Client,
    asked: &DeadRestore,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let filter = body_filter(client, &asked.filter).await?;
    let wish = Wish {
        action: "restore",
        ids: &asked.ids,
        reason: &asked.message,
        dry_run: asked.dry_run,
        yes: asked.yes,
    };
    wish.done(client, filter, out).await
}

/// What is to be done with letters that stand where they are moved from.
struct Wish<'a> {
    action: &'static str,
    ids: &'a [String],
    reason: &'a str,
    dry_run: bool,
    yes: bool,
}

impl Wish<'_> {
    async fn done(&self, client: &Client, filter: Value, out: &mut Out) -> Result<Exit, CliError> {
        one_or_many(self.ids.first().map(String::as_str), &filter)?;
        match self.ids {
            [] => self.all_that_fit(client, filter, out).await,
            _ if self.dry_run => self.looked_at(client, out).await,
            [id] => {
                let body = json!({ "reason": self.reason });
                act(client, id, self.action, body, out).await
            }
            _ => self.each(client, out).await,
        }
    }

    /// `discarded`.
    fn past(&self) -> String {
        format!("{}ed", self.action.trim_end_matches('e'))
    }

    /// Where many of them are moved at once.
    fn path(&self) -> String {
        format!("/v1/dead-letters/{}s", self.action)
    }

    /// Whether each of those that are named stands where it has to.
    async fn looked_at(&self, client: &Client, out: &mut Out) -> Result<Exit, CliError> {
        let mut exit = Exit::Ok;
        for some in self.ids.chunks(NAMED_AT_ONCE) {
            let ids: Vec<&str> = some.iter().map(|id| id.trim()).collect();
            let asked = json!({ "ids": ids, "dry_run": true });
            let answer = client.post(&self.path(), &asked, None).await?;
            for (id, letter) in some.iter().zip(items(&answer, "named")) {
                let would = letter["would"] == true;
                if !would {
                    exit = Exit::Error;
                }
                if out.wants_json() {
                    let state = &letter["state"];
                    out.item(&json!({ "id": letter["id"], "state": state, "would": would }));
                } else if would {
                    out.line(format!("{id}: it would be {}", self.past()));
                } else {
                    out.line(format!("{id}: {}", stands(letter)));
                }
            }
        }
        Ok(exit)
    }

    /// Those that are named, one after the other: one that cannot be moved keeps none of the others back.
    async fn each(&self, client: &Client, out: &mut Out) -> Result<Exit, CliError> {
        let what = format!("{} {} dead letters", self.action, self.ids.len());
        if !out.agreed_of_many(&what, &format!("{what}?"), self.yes)? {
            return Ok(refrained(out));
        }
        let mut exit = Exit::Ok;
        for id in self.ids {
            let body = json!({ "reason": self.reason, "id": uuid::Uuid::now_v7() });
            let path = letter_path(id, self.action);
            match client.post(&path, &body, None).await {
                Ok(answer) if out.wants_json() => out.item(&answer),
                Ok(answer) => {
                    let state = answer["state"].as_str().unwrap_or_default();
                    out.line(format!("{id}: {state}"));
                }
                Err(error) if matches!(error.status(), Some(400 | 404 | 409)) => {
                    out.note(format!("{id}: {error}"));
                    exit = Exit::Error;
                }
                Err(error) => return Err(of_letter(error, id, None)),
            }
        }
        Ok(exit)
    }

    async fn all_that_fit(
        &self,
        client: &Client,
        filter: Value,
        out: &mut Out,
    ) -> Result<Exit, CliError> {
        let path = self.path();
        let planned = json!({ "filter": filter, "dry_run": true });
        let planned = client.post(&path, &planned, None).await?;
        let how_many = dead::how_many(&planned);
        if self.dry_run && out.wants_json() {
            out.value(&planned);
            return Ok(Exit::Ok);
        }
        if planned["found"] == 0 {
            out.note("no dead letter fits");
            return Ok(Exit::Ok);
        }
        if self.dry_run {
            out.line(format!("{how_many} would be {}", self.past()));
            return Ok(Exit::Ok);
        }
        let what = format!("{} {how_many} dead letters", self.action);
        let agreed = match dead::is_one(&planned) {
            true => out.agreed(&format!("{} one dead letter?", self.action), self.yes)?,
            false => out.agreed_of_many(&what, &format!("{what}?"), self.yes)?,
        };
        if !agreed {
            return Ok(refrained(out));
        }
        let mut body = json!({ "filter": filter, "reason": self.reason, "limit": MOVED_AT_ONCE });
        as_seen(&mut body, &planned);
        let moved = all_moved(client, &path, body, &how_many, out).await?;
        if out.wants_json() {
            out.value(&json!({ "found": planned["found"], "moved": moved }));
        } else {
            out.line(format!("{moved} of {how_many} {}", self.past()));
        }
        Ok(Exit::Ok)
    }
}

/// Asks again until none is left: how many were moved.
async fn all_moved(
    client: &Client,
    path: &str,
    mut body: Value,
    how_many: &str,
    out: &mut Out,
) -> Result<u64, CliError> {
    let mut moved = 0;
    loop {
        let answer = client.post(path, &body, None).await?;
        moved += answer["moved"].as_u64().unwrap_or_default();
        if !answer["next"].is_string() {
            return Ok(moved);
        }
        body["cursor"] = answer["next"].clone();
        if !out.wants_json() {
            out.note(format!("{moved} of {how_many} so far"));
        }
    }
}

pub(crate) async fn note(client: &Client, one: &DeadNote, out: &mut Out) -> Result<Exit, CliError> {
    let path = letter_path(&one.id, "note");
    let answer = client
        .post(&path, &json!({ "note": one.message }), None)
        .await?;
    if out.wants_json() {
        out.value(&answer);
    } else if one.message.trim().is_empty() {
        out.line("the note is taken away");
    } else {
        out.line("noted");
    }
    Ok(Exit::Ok)
}
