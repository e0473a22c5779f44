//! What is done to a store past its orchestrator, written into the audit log of that store: by whom on which host, and how it stood before and after.
//!
//! Guarantee: a copy of a store is not begun before the row that says so is committed, and stands in the copy as well; a database that was imported or brought to another
//! version has the row before anybody drives it, or the command fails. Rows are chained as every other is. Whoever may write the file or the database needs no
//! command for that, and is no more kept from writing the log anew than before.

use std::os::unix::fs::MetadataExt as _;

use baton_messages::{AuditEntry, AuditPhase, Timestamp};
use baton_settings::instance::host;
use serde_json::Value;
use uuid::Uuid;

use crate::clock;
use crate::config::Config;

/// What stands for the role of a token: rights on this host.
const ROLE: &str = "host";
/// What it is done to.
const OBJECT: &str = "store";
/// Where the system says which user has which number.
const USERS: &str = "/etc/passwd";

/// Something that is done to a store, by whom.
#[derive(Debug, Clone)]
pub(super) struct Act(AuditEntry);

impl Act {
    /// Begun now. `behalf`: on whose behalf, as the caller says.
    pub(super) fn new(config: &Config, action: &str, behalf: Option<&str>, asked: Value) -> Self {
        Self(AuditEntry {
            seq: 0,
            prev: String::new(),
            at: clock::now(),
            phase: AuditPhase::Asked,
            of: None,
            action: action.to_owned(),
            object: OBJECT.to_owned(),
            part: None,
            who: user(),
            behalf: behalf.map(str::to_owned),
            role: ROLE.to_owned(),
            why: None,
            from: host().unwrap_or_else(|| "a host without a name".to_owned()),
            forwarded: None,
            request: Uuid::now_v7().to_string(),
            instance: config.instance().to_owned(),
            asked: (!asked.is_null()).then_some(asked),
            before: None,
            after: None,
            outcome: None,
            uncounted: None,
        })
    }

    /// How it stood before.
    pub(super) fn stood(mut self, before: Value) -> Self {
        self.0.before = Some(before);
        self
    }

    /// That it is asked for.
    pub(super) fn asked(&self) -> AuditEntry {
        self.0.clone()
    }

    /// What came of it. `of`: the number of the row in which it was asked for; none where there was no log to write that into.
    pub(super) fn done(&self, of: Option<u64>, after: Value) -> AuditEntry {
        AuditEntry {
            at: now_or_later(self.0.at),
            phase: AuditPhase::Done,
            of,
            after: Some(after),
            ..self.0.clone()
        }
    }
}

/// A clock that is set back while something is done does not have it end before it began.
fn now_or_later(begun: Timestamp) -> Timestamp {
    clock::now().max(begun)
}

/// The user this process runs as: his name where this host knows it by itself, or his number. What the environment says of it anybody may set.
fn user() -> String {
    let Ok(process) = std::fs::metadata("/proc/self") else {
        return "unknown".to_owned();
    };
    let number = process.uid();
    let users = std::fs::read_to_string(USERS).unwrap_or_default();
    name_of(&users, number).unwrap_or_else(|| format!("uid {number}"))
}

/// The name of a user, from lines as `/etc/passwd` has them.
fn name_of(users: &str, number: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next().filter(|name| !name.is_empty())?;
        // a password, or a mark where it is
        let known = parts.nth(1)?.parse::<u32>().ok()?;
        (known == number).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_as_the_host_knows_him() {
        let users = "root:x:0:0:root:/root:/bin/sh\n\n# a comment\nbaton:x:990:980::/var/lib/baton:/usr/sbin/nologin\n";
        assert_eq!(name_of(users, 990).as_deref(), Some("baton"));
        assert_eq!(name_of(users, 0).as_deref(), Some("root"));
        assert_eq!(name_of(users, 980), None, "the number of a group");
        assert!(!user().is_empty());
    }
}
