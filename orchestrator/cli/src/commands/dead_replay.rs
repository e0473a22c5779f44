//! `baton dead replay`: dead letters sent back to work. Of many the plan is shown before anything is done; what was begun goes on at the orchestrator, whoever
//! watches.

use std::pin::pin;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::act::refrained;
use super::dead::filters;
use super::dead_follow::{LOOK_EVERY, Watched, follow};
use super::dead_next::{of_letter, stands};
use crate::args::{DeadFilter, DeadReplay};
use crate::client::{Client, escaped};
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::Out;
use crate::screens::dead;

/// How often at last it is looked what came of one: each look is of all that is kept of it.
const LOOK_AT_LAST: Duration = Duration::from_secs(4);

/// How long it is waited for what comes of one, where nobody says.
const WAIT_S: u32 = 60;

/// Where replays of many are asked for.
const REPLAYS: &str = "/v1/dead-letters/replays";

/// A filter as the API takes it in a body.
pub(super) async fn body_filter(client: &Client, which: &DeadFilter) -> Result<Value, CliError> {
    let given = filters(client, which).await?.into_iter();
    let fields: Map<String, Value> = given
        .map(|(name, value)| (name.to_owned(), as_asked(name, value)))
        .collect();
    Ok(Value::Object(fields))
}

/// A number where the API takes one in a body.
fn as_asked(name: &str, value: String) -> Value {
    match (name, value.parse::<u32>()) {
        ("replays", Ok(n)) => n.into(),
        _ => value.into(),
    }
}

fn is_empty(filter: &Value) -> bool {
    filter.as_object().is_none_or(Map::is_empty)
}

/// One, or all that fit: both at once is a slip.
pub(super) fn one_or_many(id: Option<&str>, filter: &Value) -> Result<(), CliError> {
    match (id, is_empty(filter)) {
        (Some(_), false) => Err(CliError::usage_then(
            "an ID is one message; filters name many",
            "leave the ID out, or the filters",
        )),
        (None, true) => Err(CliError::usage_then(
            "which? Name one by its ID, or many by a filter (--since 1970-01-01 is all of them)",
            "baton dead groups",
        )),
        (Some(_), true) | (None, false) => Ok(()),
    }
}

pub(crate) async fn replay(
    client: &Client,
    asked: &DeadReplay,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let filter = body_filter(client, &asked.filter).await?;
    if asked.ids.is_empty() {
        one_or_many(None, &filter)?;
    }
    of_many_alone(asked)?;
    let mut body = json!({ "reason": asked.message, "force": asked.force });
    if let Some(to) = &asked.to {
        body["to"] = json!(to);
    }
    if let [id] = asked.ids.as_slice()
        && !asked.dry_run
        && asked.redirect.is_empty()
    {
        one_or_many(Some(id), &filter)?;
        return one(client, asked, id, body, out).await;
    }
    body["filter"] = filter;
    if asked.newest_first {
        body["newest_first"] = json!(true);
    }
    if !asked.ids.is_empty() {
        body["ids"] = json!(asked.ids);
    }
    if !asked.redirect.is_empty() {
        body["redirect"] = redirects(&asked.redirect)?;
    }
    for (name, value) in [
        ("rate", asked.rate.map(u64::from)),
        ("stop_at", asked.stop_at.map(u64::from)),
        ("wait_s", asked.wait.map(u64::from)),
    ] {
        if let Some(value) = value {
            body[name] = json!(value);
        }
    }
    many(client, asked, body, out).await
}

/// What says how many are sent says nothing of one.
fn of_many_alone(asked: &DeadReplay) -> Result<(), CliError> {
    if asked.ids.len() != 1 || !asked.redirect.is_empty() {
        return Ok(());
    }
    let given = [
        ("--rate", asked.rate.is_some()),
        ("--stop-at", asked.stop_at.is_some()),
        ("--look", asked.look.is_some()),
        ("--newest-first", asked.newest_first),
    ];
    let given: Vec<&str> = given
        .into_iter()
        .filter_map(|(name, is_given)| is_given.then_some(name))
        .collect();
    if given.is_empty() {
        return Ok(());
    }
    let are = if given.len() == 1 { "is" } else { "are" };
    Err(CliError::usage_then(
        format!(
            "{} {are} for many: one message is sent at once, and looked at whole",
            given.join(", ")
        ),
        "leave it out; or name several IDs, or a filter",
    ))
}

/// `FROM=TO`, each a queue or `exchange/key`, as the API takes them.
fn redirects(asked: &[String]) -> Result<Value, CliError> {
    let place = |text: &str| {
        if text.contains('/') {
            text.to_owned()
        } else {
            format!("/{text}")
        }
    };
    let mut rules = Map::new();
    for rule in asked {
        let both = rule.split_once('=');
        let both = both.filter(|(from, to)| !from.is_empty() && !to.is_empty());
        let Some((from, to)) = both else {
            return Err(CliError::usage_then(
                format!("--redirect {rule:?} is not FROM=TO"),
                "--redirect orders.in=orders.v2; or --redirect orders/new=orders/v2",
            ));
        };
        rules.insert(place(from), json!(place(to)));
    }
    Ok(Value::Object(rules))
}

/// One, and what came of it, as far as that is known in time.
async fn one(
    client: &Client,
    asked: &DeadReplay,
    id: &str,
    mut body: Value,
    out: &mut Out,
) -> Result<Exit, CliError> {
    body["id"] = json!(uuid::Uuid::now_v7());
    let begun = client.post(&letter_path(id, "replay"), &body, None).await;
    let mut now = begun.map_err(|error| of_letter(error, id, None))?;
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let wait = Duration::from_secs(asked.wait.unwrap_or(WAIT_S).into());
    let until = tokio::time::Instant::now() + wait;
    let path = letter_of(now["id"].as_str().unwrap_or(id));
    let (mut said, mut pause) = (false, LOOK_EVERY);
    let mut watched = Watched::default();
    while now["state"] == "replaying" && tokio::time::Instant::now() < until {
        if !said && !out.wants_json() {
            told(&now, out);
            said = true;
        }
        tokio::select! {
            _ = &mut interrupted => {
                out.note(format!("it goes on without anybody watching: baton dead show {id}"));
                return Ok(Exit::Interrupted);
            }
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LOOK_AT_LAST);
        match watched.asked(client, &path, out).await? {
            Some(seen) => now = seen,
            None if watched.is_over() => break,
            None => {}
        }
    }
    if now["state"] == "replaying" {
        if out.wants_json() {
            out.value(&now);
        } else {
            out.note(format!(
                "not known in time; it goes on. What came of it: baton dead show {id}"
            ));
        }
        return Ok(Exit::Waiting);
    }
    told(&now, out);
    Ok(if now["state"] == "resolved" {
        Exit::Ok
    } else {
        Exit::Error
    })
}

async fn many(
    client: &Client,
    asked: &DeadReplay,
    mut body: Value,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let answer = planned(client, asked, &body, out).await?;
    let found = &answer["plan"]["found"];
    if *found == 0
        && let [id] = asked.ids.as_slice()
    {
        return Err(elsewhere(client, id).await?);
    }
    if out.wants_json() {
        if asked.dry_run {
            out.value(&answer["plan"]);
        } else if *found == 0 {
            out.value(&answer);
        }
    } else {
        for line in dead::plan(&answer["plan"], out.screen.width()) {
            out.say(&line);
        }
    }
    left_out(asked, found, out);
    if asked.dry_run || *found == 0 {
        return Ok(Exit::Ok);
    }
    is_said(asked, &answer["plan"])?;
    if !agreed(asked, &answer["plan"], out)? {
        return Ok(refrained(out));
    }
    // minted here: the same request sent twice is one operation
    let id = uuid::Uuid::now_v7();
    body["id"] = json!(id);
    as_seen(&mut body, &answer["plan"]);
    let begun = client.post(REPLAYS, &body, None).await;
    if begun.as_ref().is_err_and(CliError::in_doubt) {
        out.note(format!(
            "nobody knows whether it has begun; if so it goes on by itself: baton dead ops show {id}"
        ));
    }
    follow(client, &begun?["operation"], out).await
}

/// One is replayed without a question where nobody can be asked, named or found; many are not.
fn agreed(asked: &DeadReplay, plan: &Value, out: &mut Out) -> Result<bool, CliError> {
    if dead::is_one(plan) {
        return out.agreed("replay it?", asked.yes);
    }
    let what = format!("replay {} dead letters", dead::how_many(plan));
    out.agreed_of_many(&what, "replay them?", asked.yes)
}

/// What it would do.
async fn planned(
    client: &Client,
    asked: &DeadReplay,
    body: &Value,
    out: &mut Out,
) -> Result<Value, CliError> {
    let mut dry = body.clone();
    dry["dry_run"] = json!(true);
    let look = Duration::from_secs(asked.look.unwrap_or_default().into());
    if let Some(seconds) = asked.look {
        dry["look_s"] = json!(seconds);
        out.note("looking at what it would do, message by message");
    }
    client.post_long(REPLAYS, &dry, look).await
}

/// That only what was looked at is taken: nothing that has died since. An older orchestrator does not say when it looked.
pub(super) fn as_seen(body: &mut Value, looked: &Value) {
    for name in ["as_of", "died_as_of"] {
        if looked[name].is_u64() {
            body[name] = looked[name].clone();
        }
    }
}

/// Why the one that was named does not fit.
async fn elsewhere(client: &Client, id: &str) -> Result<CliError, CliError> {
    let letter = client.get(&letter_of(id), &[]).await?;
    let next = match letter["state"].as_str() {
        Some("discarded") => format!("baton dead restore {id}"),
        _ => format!("baton dead show {id}"),
    };
    let why = if letter["state"] == "dead" {
        "it does not fit what else was asked for".to_owned()
    } else {
        format!("{}; only what is dead is replayed", stands(&letter))
    };
    Ok(CliError::not_now(why, next))
}

/// Says how many of those that were named are not taken.
fn left_out(asked: &DeadReplay, found: &Value, out: &mut Out) {
    let (named, found) = (asked.ids.len() as u64, found.as_u64().unwrap_or_default());
    if found < named {
        out.note(format!(
            "{} of the {named} that were named are not dead, or do not fit what else was asked for",
            named - found
        ));
    }
}

/// That everything is said that a replay of many needs.
fn is_said(asked: &DeadReplay, plan: &Value) -> Result<(), CliError> {
    let unused = plan["unused_redirects"].as_array();
    if unused.is_some_and(|unused| !unused.is_empty()) && !asked.force {
        return Err(CliError::usage_then(
            "a rule of --redirect fits none of those that were looked at: they would go where they came from",
            "baton dead show ID tells exchange, routing key and queue; with --force it goes on all the same",
        ));
    }
    if asked.message.trim().is_empty() {
        return Err(CliError::usage_then(
            "a replay of many needs a reason",
            "the same with -m 'why'",
        ));
    }
    Ok(())
}

pub(super) fn letter_path(id: &str, action: &str) -> String {
    format!("{}/{action}", letter_of(id))
}

/// Where one letter is.
pub(super) fn letter_of(id: &str) -> String {
    format!("/v1/dead-letters/{}", escaped(id.trim()))
}

pub(super) async fn act(
    client: &Client,
    id: &str,
    action: &str,
    mut body: Value,
    out: &mut Out,
) -> Result<Exit, CliError> {
    body["id"] = json!(uuid::Uuid::now_v7());
    let answer = client.post(&letter_path(id, action), &body, None).await;
    let answer = answer.map_err(|error| of_letter(error, id, None))?;
    told(&answer, out);
    let failed = action == "replay" && answer["state"] != "resolved";
    Ok(if failed { Exit::Error } else { Exit::Ok })
}

fn told(answer: &Value, out: &mut Out) {
    if out.wants_json() {
        out.value(answer);
        return;
    }
    let state = answer["state"].as_str().unwrap_or_default();
    match answer["outcome"].as_str() {
        Some(outcome) => out.line(format!("{state}: {outcome}")),
        None => out.line(state.to_owned()),
    }
}
