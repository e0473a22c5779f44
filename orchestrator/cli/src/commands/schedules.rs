//! `baton schedules`: what starts by the clock, paused, resumed, fired by hand.

use serde_json::{Value, json};

use super::items;
use crate::args::{OneSchedule, Schedules, SchedulesCommand};
use crate::client::{Client, escaped};
use crate::error::CliError;
use crate::exit::Exit;
use crate::find;
use crate::out::Out;
use crate::screens::schedules;
use crate::time;

pub(crate) async fn schedules(
    client: &Client,
    which: &Schedules,
    out: &mut Out,
) -> Result<Exit, CliError> {
    match &which.command {
        None | Some(SchedulesCommand::Ls) => ls(client, out).await,
        Some(SchedulesCommand::Pause(one)) => act(client, "pause", one, out).await,
        Some(SchedulesCommand::Resume(one)) => act(client, "resume", one, out).await,
        Some(SchedulesCommand::Fire(one)) => act(client, "fire", one, out).await,
    }
}

async fn ls(client: &Client, out: &mut Out) -> Result<Exit, CliError> {
    let answer = client.get("/v1/schedules", &[]).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let table = schedules::table(
        items(&answer, "schedules"),
        time::now_ms(),
        out.screen.width(),
    );
    out.table(
        &table,
        "(none: a definition gets one by `on: [{ schedule: \"0 2 * * *\" }]`)",
    );
    Ok(Exit::Ok)
}

async fn act(
    client: &Client,
    action: &str,
    one: &OneSchedule,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let answer = client.get("/v1/schedules", &[]).await?;
    let trigger = trigger(items(&answer, "schedules"), one, action)?;
    let path = format!(
        "/v1/schedules/{}/{trigger}/{action}",
        escaped(&one.definition)
    );
    let answer = client.post(&path, &json!({}), None).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    match answer["saga"].as_str() {
        Some(saga) => {
            let command = format!("baton watch {}", out.id(saga));
            out.next("fired; follow it", &command);
        }
        None => out.next("recorded; see", "baton schedules"),
    }
    Ok(Exit::Ok)
}

/// Which trigger is meant: the one that was named, or the only one.
fn trigger(rows: &[Value], one: &OneSchedule, action: &str) -> Result<u64, CliError> {
    let name = one.definition.as_str();
    let own: Vec<u64> = rows
        .iter()
        .filter(|row| row["definition"] == name)
        .filter_map(|row| row["trigger"].as_u64())
        .collect();
    match (one.trigger, own.as_slice()) {
        (_, []) => {
            let known: Vec<String> = rows
                .iter()
                .filter_map(|row| row["definition"].as_str())
                .map(str::to_owned)
                .collect();
            Err(find::unknown(
                "definition with a schedule called",
                name,
                &known,
                "baton schedules",
            ))
        }
        (Some(named), own) if own.contains(&u64::from(named)) => Ok(u64::from(named)),
        (None, [only]) => Ok(*only),
        (_, own) => {
            let all: Vec<String> = own.iter().map(ToString::to_string).collect();
            Err(CliError::usage(format!(
                "the schedules of {name} are triggers {}; name one: baton schedules {action} {name} {}",
                all.join(", "),
                own[0]
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_schedule_needs_no_number() {
        let rows = [
            json!({"definition": "backup", "trigger": 0}),
            json!({"definition": "sync", "trigger": 0}),
            json!({"definition": "sync", "trigger": 2}),
        ];
        let one = |definition: &str, trigger| OneSchedule {
            definition: definition.to_owned(),
            trigger,
        };
        assert_eq!(trigger(&rows, &one("backup", None), "fire").unwrap(), 0);
        assert_eq!(trigger(&rows, &one("sync", Some(2)), "fire").unwrap(), 2);
        let error = trigger(&rows, &one("sync", None), "fire")
            .unwrap_err()
            .to_string();
        assert!(error.contains("0, 2"), "{error}");
        let error = trigger(&rows, &one("bakcup", None), "fire")
            .unwrap_err()
            .to_string();
        assert!(error.contains("did you mean `backup`?"), "{error}");
    }
}
