//! `baton topology`: exchanges, queues, bindings, policies and users from one definition; what differs at a broker, and what mends it.

use baton_messages::topology::Topology as Things;
use baton_messages::{PoolName, TaskType};
use serde_json::{Value, json};

use super::broker_noted::Noted;
use crate::args::{BrokerArgs, Global, Topology, TopologyCommand, TopologyShow, WantedArgs};
use crate::broker::{self, Broker, Drift, Mend, Seen, Wanted, WantedUser};
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::{Line, Out, Tone};
use crate::screens::topology as screen;

/// Each pass mends what the last made possible: a user is made, then may something.
const PASSES: usize = 3;

pub(crate) async fn topology(
    global: &Global,
    which: &Topology,
    out: &mut Out,
) -> Result<Exit, CliError> {
    match &which.command {
        TopologyCommand::Show(show) => Ok(shown(show, out)),
        TopologyCommand::Check { wanted, broker } => check(wanted, broker, out).await,
        TopologyCommand::Apply { wanted, broker } => apply(global, wanted, broker, out).await,
    }
}

fn shown(which: &TopologyShow, out: &mut Out) -> Exit {
    let wanted = wanted(&which.wanted, &Seen::default());
    if which.definitions {
        out.value(&broker::definitions(&wanted.topology, &which.vhost));
        return Exit::Ok;
    }
    if out.wants_json() {
        let mut value = json!(wanted.topology);
        value["users"] = wanted.users.iter().map(screen::user).collect();
        out.value(&value);
        return Exit::Ok;
    }
    out.table(&screen::exchanges(&wanted.topology), "(none)");
    out.line("");
    out.table(&screen::queues(&wanted.topology), "(none)");
    out.line("");
    out.table(&screen::policies(&wanted.topology), "(none)");
    if !wanted.users.is_empty() {
        out.line("");
    }
    for command in screen::permission_commands(&wanted.users, &which.vhost) {
        // whole, to be copied
        out.line(command);
    }
    Exit::Ok
}

async fn check(args: &WantedArgs, at: &BrokerArgs, out: &mut Out) -> Result<Exit, CliError> {
    let broker = Broker::new(&at.management, &at.vhost)?;
    let seen = broker.seen().await?;
    let drifts = broker::drifts(&wanted(args, &seen), &seen);
    if out.wants_json() {
        out.value(&json!({ "drifts": drifts }));
    } else {
        told(&drifts, &broker, out);
    }
    Ok(if drifts.is_empty() {
        Exit::Ok
    } else {
        Exit::Error
    })
}

fn told(drifts: &[Drift], broker: &Broker, out: &mut Out) {
    if drifts.is_empty() {
        out.line(format!("all is as it should be at {}", broker.place()));
        return;
    }
    out.table(&screen::drifts(drifts), "");
    if drifts.iter().any(|drift| drift.by.is_some()) {
        out.next(
            "to set right what can be",
            "baton topology apply, with the same options",
        );
    }
}

async fn apply(
    global: &Global,
    args: &WantedArgs,
    at: &BrokerArgs,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let broker = Broker::new(&at.management, &at.vhost)?;
    let noted = Noted::begins(global, "apply-topology", &at.vhost, out).await?;
    let mut done = Vec::new();
    let applied = set_right(&broker, args, &mut done).await;
    if let Some(noted) = noted {
        let came = if applied.is_ok() {
            "done"
        } else {
            "broken off"
        };
        let outcome = format!("{came}: {} things set right", done.len());
        noted.ended(&outcome, out).await;
    }
    let left = applied.as_deref().unwrap_or_default();
    // whatever came in between: a password that was made is known to nobody else
    if out.wants_json() {
        out.value(&json!({ "done": done, "drifts": left }));
    } else {
        report(&done, out);
        if applied.is_ok() {
            told(left, &broker, out);
        }
    }
    applied.map(|left| {
        if left.is_empty() {
            Exit::Ok
        } else {
            Exit::Error
        }
    })
}

/// Sets right what can be, pass by pass, and writes down what was done; what is left for a person.
async fn set_right(
    broker: &Broker,
    args: &WantedArgs,
    done: &mut Vec<Value>,
) -> Result<Vec<Drift>, CliError> {
    if broker.vhost_made().await? {
        done.push(json!({ "what": "virtual host", "was": "missing" }));
    }
    for _ in 0..PASSES {
        let seen = broker.seen().await?;
        let drifts = broker::drifts(&wanted(args, &seen), &seen);
        if drifts.iter().all(|drift| drift.by.is_none()) {
            return Ok(drifts);
        }
        for drift in drifts {
            let Some(mend) = &drift.by else { continue };
            let password = broker.mend(mend).await?;
            let mut row = json!({ "what": drift.what, "was": drift.is });
            if let (Mend::User { name, .. }, Some(password)) = (mend, password) {
                row["user"] = json!(name);
                row["password"] = json!(password);
            }
            done.push(row);
        }
    }
    let seen = broker.seen().await?;
    Ok(broker::drifts(&wanted(args, &seen), &seen))
}

fn report(done: &[Value], out: &mut Out) {
    for row in done {
        let what = row["what"].as_str().unwrap_or_default();
        let was = row["was"].as_str().unwrap_or_default();
        let (did, was) = if was == "missing" {
            ("made: ", String::new())
        } else {
            ("set right: ", format!(" (was: {was})"))
        };
        out.say(&Line::of(did, Tone::Good).plain(format!("{what}{was}")));
        if let (Some(user), Some(password)) = (row["user"].as_str(), row["password"].as_str()) {
            out.say(
                &Line::of("  password of ", Tone::Faint)
                    .plain(format!("{user}, shown once: {password}")),
            );
        }
    }
}

/// The base, the task types asked for, and those that have a queue already.
fn wanted(args: &WantedArgs, seen: &Seen) -> Wanted {
    let mut topology = Things::base(args.partitions);
    let mut add = |pool: &PoolName, task_type: &TaskType| {
        let of = Things::of_task(pool, task_type);
        if !topology
            .queues
            .iter()
            .any(|queue| of.queues.contains(queue))
        {
            topology.queues.extend(of.queues);
            topology.bindings.extend(of.bindings);
        }
    };
    for pool in &args.pool {
        args.task.iter().for_each(|task_type| add(pool, task_type));
    }
    for (pool, task_type) in seen.task_queues() {
        add(&pool, &task_type);
    }
    let users = args.user.iter().map(|user| WantedUser {
        name: user.name.clone(),
        role: user.role,
        permissions: user.role.permissions(&args.pool),
    });
    Wanted {
        topology,
        users: users.collect(),
    }
}
