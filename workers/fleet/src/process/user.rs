//! As whom a program runs. Only the worker's configuration says so, never a task.

use serde::{Deserialize, Serialize};

/// A user and its group, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Why a program cannot run as somebody.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// /etc/passwd cannot be read.
    #[error("/etc/passwd cannot be read: name the user as `uid:gid`")]
    Unreadable(#[source] std::io::Error),
    /// Nobody of that name.
    #[error("there is no user `{0}` on this host: name one of /etc/passwd, or `uid:gid`")]
    Nobody(String),
    /// Only root may become somebody else.
    #[error("only a worker that runs as root can run programs as `{0}`")]
    NotRoot(String),
}

impl User {
    /// Finds a user by name, or by `uid:gid`.
    ///
    /// # Errors
    /// [`UserError`] when there is none, or the worker may not become it.
    pub fn named(name: &str) -> Result<Self, UserError> {
        let found = match by_number(name) {
            Some(user) => user,
            None => {
                let text = std::fs::read_to_string("/etc/passwd").map_err(UserError::Unreadable)?;
                by_name(&text, name).ok_or_else(|| UserError::Nobody(name.to_owned()))?
            }
        };
        let own = rustix::process::geteuid().as_raw();
        if own != 0 && own != found.uid {
            return Err(UserError::NotRoot(name.to_owned()));
        }
        Ok(found)
    }
}

fn by_number(text: &str) -> Option<User> {
    let (uid, gid) = text.split_once(':')?;
    Some(User {
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
    })
}

fn by_name(passwd: &str, name: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let mut numbers = fields.skip(1);
        Some(User {
            uid: numbers.next()?.parse().ok()?,
            gid: numbers.next()?.parse().ok()?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_by_number_and_nobody_is_not_root() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44::/srv:/bin/false\n";
        assert_eq!(by_name(passwd, "web"), Some(User { uid: 33, gid: 44 }));
        assert_eq!(by_name(passwd, "we"), None);
        assert_eq!(by_number("5:6"), Some(User { uid: 5, gid: 6 }));
        assert_eq!(by_number("5"), None);
        assert!(matches!(
            User::named("no-such-user-here"),
            Err(UserError::Nobody(_))
        ));
    }
}
