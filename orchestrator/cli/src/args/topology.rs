//! `topology`: what is to stand at the broker, and where it is seen.

use std::str::FromStr;

use baton_messages::roles::Role;
use baton_messages::{PoolName, TaskType};
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct Topology {
    #[command(subcommand)]
    pub(crate) command: TopologyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopologyCommand {
    /// What is to stand; nothing is asked
    Show(TopologyShow),
    /// What differs at the broker, and what mends it; 1 when something does
    Check {
        #[command(flatten)]
        wanted: WantedArgs,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Make what is missing and set right what can be; deletes nothing
    Apply {
        #[command(flatten)]
        wanted: WantedArgs,
        #[command(flatten)]
        broker: BrokerArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct TopologyShow {
    #[command(flatten)]
    pub(crate) wanted: WantedArgs,
    #[arg(
        long,
        help = "As a file for rabbitmqctl import_definitions; users are left out"
    )]
    pub(crate) definitions: bool,
    /// The virtual host, for that file and for the permissions
    #[arg(long, default_value = "/", value_name = "NAME")]
    pub(crate) vhost: String,
}

#[derive(Debug, Args)]
pub(crate) struct WantedArgs {
    /// How many inboxes: 1 on SQLite, `store.partitions` on PostgreSQL
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) partitions: u8,
    /// A pool of workers; may be repeated
    #[arg(long, default_value = "default", value_name = "NAME", value_parser = PoolName::from_str)]
    pub(crate) pool: Vec<PoolName>,
    /// A task type whose queue stands before a worker announces it, in each pool; may be repeated
    #[arg(long, value_name = "TYPE", value_parser = TaskType::from_str)]
    pub(crate) task: Vec<TaskType>,
    /// A user of the broker for a role: orchestrator, worker, publisher, monitor; may be repeated
    #[arg(long, value_name = "ROLE=NAME")]
    pub(crate) user: Vec<UserArg>,
}

#[derive(Debug, Args)]
pub(crate) struct BrokerArgs {
    #[arg(
        long,
        help = "The broker's management API, as one who may administer: http://USER:PASSWORD@HOST:15672",
        env = "BATON_MANAGEMENT",
        hide_env_values = true,
        default_value = "http://guest:guest@127.0.0.1:15672",
        value_name = "URL"
    )]
    pub(crate) management: String,
    /// The virtual host
    #[arg(long, default_value = "/", value_name = "NAME")]
    pub(crate) vhost: String,
}

/// `worker=baton-worker`.
#[derive(Debug, Clone)]
pub(crate) struct UserArg {
    pub(crate) role: Role,
    pub(crate) name: String,
}

impl FromStr for UserArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (role, name) = text
            .split_once('=')
            .filter(|(_, name)| !name.is_empty())
            .ok_or("write ROLE=NAME, such as worker=baton-worker")?;
        let role = Role::ALL
            .into_iter()
            .find(|one| one.as_str() == role)
            .ok_or_else(|| {
                let known: Vec<&str> = Role::ALL.iter().map(|one| one.as_str()).collect();
                format!("no role `{role}`; there are {}", known.join(", "))
            })?;
        Ok(Self {
            role,
            name: name.to_owned(),
        })
    }
}
