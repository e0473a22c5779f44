//! `baton topology`: exchanges, queues, bindings, policies and users from one definition; what differs at a broker, and what mends it.

use baton_messages::topology::Topology as Things;
use baton_messages::{PoolName, TaskType};
use serde_json::json;

use crate::args::{BrokerArgs, Topology, TopologyCommand, TopologyShow, WantedArgs};
use crate::broker::{self, Broker, Drift, Mend, Seen, Wanted, WantedUser};
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::{Line, Out, Tone};
use crate::screens::topology as screen;

/// Each pass mends what the last made possible: a user is made, then may something.
const PASSES: usize = 3;

pub(crate) async fn topology(which: &Topology, out: &mut Out) -> Result<Exit, CliError> {
    match &which.command {
        TopologyCommand::Show(show) => Ok(shown(show, out)),
        TopologyCommand::Check { wanted, broker } => check(wanted, broker, out).await,
        TopologyCommand::Apply { wanted, broker } => apply(wanted, broker, out).await,
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

async fn apply(args: &WantedArgs, at: &BrokerArgs, out: &mut Out) -> Result<Exit, CliError> {
    let broker = Broker::new(&at.management, &at.vhost)?;
    let mut done = Vec::new();
    if broker.vhost_made().await? {
        done.push(json!({ "what": format!("virtual host {}", at.vhost), "was": "missing" }));
    }
    let mut left = Vec::new();
    for _ in 0..PASSES {
        let seen = broker.seen().await?;
        let drifts = broker::drifts(&wanted(args, &seen), &seen);
        let (may, must): (Vec<Drift>, Vec<Drift>) =
            drifts.into_iter().partition(|drift| drift.by.is_some());
        left = must;
        if may.is_empty() {
            break;
        }
        for drift in may {
            let Some(mend) = &drift.by else { continue };
            broker.mend(mend).await?;
            let mut row = json!({ "what": drift.what, "was": drift.is });
            if let Mend::User { name, password, .. } = mend {
                row["user"] = json!(name);
                row["password"] = json!(password);
            }
            done.push(row);
        }
    }
    if out.wants_json() {
        out.value(&json!({ "done": done, "drifts": left }));
    } else {
        report(&done, out);
        told(&left, &broker, out);
    }
    Ok(if left.is_empty() {
        Exit::Ok
    } else {
        Exit::Error
    })
}

fn report(done: &[serde_json::Value], out: &mut Out) {
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
