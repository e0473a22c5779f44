//! `baton dead replay | discard | restore | note | groups | ops`: dead letters moved by an operator. Of many the plan is shown before anything is done; what was
//! begun goes on at the orchestrator, whoever watches.

use std::pin::pin;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::dead::filters;
use super::items;
use crate::args::{
    DeadDiscard, DeadFilter, DeadNote, DeadOp, DeadOps, DeadOpsCommand, DeadReplay, DeadRestore,
};
use crate::client::{Client, escaped};
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::Out;
use crate::screens::dead;
use crate::time;

/// How often it is looked how far a replay is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often at last, for one: each look is of all that is kept of it.
const LOOK_AT_LAST: Duration = Duration::from_secs(4);

/// How long it is waited for what comes of one, where nobody says.
const WAIT_S: u32 = 60;

/// Letters that are discarded or restored in one request: as many as the API takes.
const MOVED_AT_ONCE: u64 = 1_000;

/// A filter as the API takes it in a body.
async fn body_filter(client: &Client, which: &DeadFilter) -> Result<Value, CliError> {
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
fn one_or_many(id: Option<&str>, filter: &Value) -> Result<(), CliError> {
    match (id, is_empty(filter)) {
        (Some(_), false) => Err(CliError::usage_then(
            "an ID is one message; filters name many",
            "baton dead replay ID; or leave the ID out",
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
    let mut now = client.post(&letter_path(id, "replay"), &body, None).await?;
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let wait = Duration::from_secs(asked.wait.unwrap_or(WAIT_S).into());
    let until = tokio::time::Instant::now() + wait;
    let path = format!("/v1/dead-letters/{}", now["id"].as_str().unwrap_or(id));
    let (mut said, mut pause) = (false, LOOK_EVERY);
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
        now = client.get(&path, &[]).await?;
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
    const PATH: &str = "/v1/dead-letters/replays";
    let mut dry = body.clone();
    dry["dry_run"] = json!(true);
    let look = Duration::from_secs(asked.look.unwrap_or_default().into());
    if let Some(seconds) = asked.look {
        dry["look_s"] = json!(seconds);
        out.note("looking at what it would do, message by message");
    }
    let answer = client.post_long(PATH, &dry, look).await?;
    if asked.dry_run && out.wants_json() {
        out.value(&answer["plan"]);
        return Ok(Exit::Ok);
    }
    if !out.wants_json() {
        for line in dead::plan(&answer["plan"]) {
            out.say(&line);
        }
    }
    if asked.dry_run || answer["plan"]["found"] == 0 {
        if out.wants_json() && !asked.dry_run {
            out.value(&answer);
        }
        return Ok(Exit::Ok);
    }
    let unused = answer["plan"]["unused_redirects"].as_array();
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
    if !out.agreed("replay them?", asked.yes)? {
        out.note("nothing was done");
        return Ok(Exit::Error);
    }
    // minted here: the same request sent twice is one operation
    body["id"] = json!(uuid::Uuid::now_v7());
    let answer = client.post(PATH, &body, None).await?;
    follow(client, &answer["operation"], out).await
}

/// Shows how far it is until it does not run. Whoever interrupts only stops looking.
async fn follow(client: &Client, begun: &Value, out: &mut Out) -> Result<Exit, CliError> {
    let id = begun["id"].as_str().unwrap_or_default().to_owned();
    let path = operation_path(&id, "");
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let mut last = String::new();
    loop {
        let now = match client.get(&path, &[]).await {
            Ok(now) => now,
            Err(error) => {
                goes_on(&id, out);
                return Err(error);
            }
        };
        let running = now["state"] == "running";
        let mut told = dead::progress(&now);
        let why = now["why"].as_str().unwrap_or_default();
        if running && !why.is_empty() {
            told += &format!("; {why}");
        }
        if !out.wants_json() && told != last {
            out.line(told.clone());
            last = told;
        }
        if !running {
            return Ok(ended(&now, &id, out));
        }
        tokio::select! {
            _ = &mut interrupted => {
                goes_on(&id, out);
                return Ok(Exit::Interrupted);
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Nobody looks any longer, and that is all.
fn goes_on(id: &str, out: &mut Out) {
    out.note(format!(
        "it goes on without anybody watching; how far it is: baton dead ops show {id}"
    ));
}

fn ended(now: &Value, id: &str, out: &mut Out) -> Exit {
    let clean = now["state"] == "done" && now["failed"] == 0 && now["refused"] == 0;
    if out.wants_json() {
        out.value(now);
    } else {
        let word = |name: &str| now[name].as_str().unwrap_or_default().to_owned();
        out.line(format!("{}: {}", word("state"), word("why")));
        if now["state"] == "stopped" {
            out.next("what they say", "baton dead");
            out.next("then", &format!("baton dead ops resume {id}"));
        } else if !clean {
            out.next("what is left", "baton dead");
        }
    }
    if clean { Exit::Ok } else { Exit::Error }
}

pub(crate) async fn discard(
    client: &Client,
    asked: &DeadDiscard,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let filter = body_filter(client, &asked.filter).await?;
    one_or_many(asked.id.as_deref(), &filter)?;
    if let Some(id) = &asked.id {
        return act(
            client,
            id,
            "discard",
            json!({ "reason": asked.message }),
            out,
        )
        .await;
    }
    move_many(client, "discard", filter, &asked.message, asked.yes, out).await
}

/// Discards or restores all that fit, a thousand at a time; what was cut short is begun anew where it was.
async fn move_many(
    client: &Client,
    action: &str,
    filter: Value,
    reason: &str,
    yes: bool,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let path = format!("/v1/dead-letters/{action}s");
    let planned = json!({ "filter": filter, "dry_run": true });
    let planned = client.post(&path, &planned, None).await?;
    let (found, how_many) = (&planned["found"], dead::how_many(&planned));
    if *found == 0 {
        out.note("no dead letter fits");
        return Ok(Exit::Ok);
    }
    if !out.agreed(&format!("{action} {how_many} dead letters?"), yes)? {
        out.note("nothing was done");
        return Ok(Exit::Error);
    }
    let mut body = json!({ "filter": filter, "reason": reason, "limit": MOVED_AT_ONCE });
    let mut moved = 0;
    loop {
        let answer = client.post(&path, &body, None).await?;
        let some = answer["moved"].as_u64().unwrap_or_default();
        moved += some;
        if !answer["next"].is_string() {
            break;
        }
        body["cursor"] = answer["next"].clone();
        if !out.wants_json() {
            out.note(format!("{moved} of {how_many} so far"));
        }
    }
    if out.wants_json() {
        out.value(&json!({ "found": found, "moved": moved }));
    } else {
        let done = action.trim_end_matches('e');
        out.line(format!("{moved} of {how_many} {done}ed"));
    }
    Ok(Exit::Ok)
}

pub(crate) async fn restore(
    client: &Client,
    asked: &DeadRestore,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let filter = body_filter(client, &asked.filter).await?;
    one_or_many(asked.id.as_deref(), &filter)?;
    let Some(id) = &asked.id else {
        return move_many(client, "restore", filter, &asked.message, asked.yes, out).await;
    };
    let body = json!({ "reason": asked.message });
    act(client, id, "restore", body, out).await
}

pub(crate) async fn note(client: &Client, one: &DeadNote, out: &mut Out) -> Result<Exit, CliError> {
    let path = letter_path(&one.id, "note");
    let answer = client
        .post(&path, &json!({ "note": one.message }), None)
        .await?;
    told(&answer, out);
    Ok(Exit::Ok)
}

pub(super) fn letter_path(id: &str, action: &str) -> String {
    format!("/v1/dead-letters/{}/{action}", escaped(id.trim()))
}

pub(super) async fn act(
    client: &Client,
    id: &str,
    action: &str,
    mut body: Value,
    out: &mut Out,
) -> Result<Exit, CliError> {
    body["id"] = json!(uuid::Uuid::now_v7());
    let answer = client.post(&letter_path(id, action), &body, None).await?;
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

pub(crate) async fn groups(client: &Client, out: &mut Out) -> Result<Exit, CliError> {
    let answer = client.get("/v1/dead-letters/groups", &[]).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let width = out.screen.width();
    let table = dead::groups(items(&answer, "groups"), time::now_ms(), width);
    out.table(&table, "(none)");
    if let Some(more) = answer["more"].as_u64().filter(|more| *more > 0) {
        out.note(format!("{more} smaller groups more"));
    }
    Ok(Exit::Ok)
}

fn operation_path(id: &str, action: &str) -> String {
    format!("/v1/dead-letters/operations/{}{action}", escaped(id.trim()))
}

pub(crate) async fn operations(
    client: &Client,
    which: &DeadOps,
    out: &mut Out,
) -> Result<Exit, CliError> {
    match &which.command {
        None | Some(DeadOpsCommand::Ls) => ls(client, out).await,
        Some(DeadOpsCommand::Show(one)) => {
            let now = client.get(&operation_path(&one.id, ""), &[]).await?;
            shown(&now, out);
            Ok(Exit::Ok)
        }
        Some(DeadOpsCommand::Pause(one)) => steer(client, one, "/pause", out).await,
        Some(DeadOpsCommand::Resume(one)) => steer(client, one, "/resume", out).await,
        Some(DeadOpsCommand::Cancel(one)) => steer(client, one, "/cancel", out).await,
    }
}

async fn ls(client: &Client, out: &mut Out) -> Result<Exit, CliError> {
    let answer = client.get("/v1/dead-letters/operations", &[]).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let table = dead::operations(items(&answer, "operations"), time::now_ms());
    out.table(&table, "(none)");
    Ok(Exit::Ok)
}

async fn steer(
    client: &Client,
    one: &DeadOp,
    action: &str,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let body = json!({ "reason": one.message });
    let path = operation_path(&one.id, action);
    let now = client.post(&path, &body, None).await?;
    shown(&now, out);
    Ok(Exit::Ok)
}

fn shown(now: &Value, out: &mut Out) {
    if out.wants_json() {
        out.value(now);
        return;
    }
    let word = |name: &str| now[name].as_str().unwrap_or_default().to_owned();
    out.line(format!("{} ({})", word("state"), word("reason")));
    out.line(dead::progress(now));
    let why = word("why");
    if !why.is_empty() {
        out.line(why);
    }
}
