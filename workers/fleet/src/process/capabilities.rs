//! What a program may do beyond its user: the capabilities of the kernel. A worker that has some (as root it has all) hands on none of them,
//! but those its configuration names for one entry of the allow-list.

use rustix::io::Errno;
use rustix::process::{getegid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_thread_gid,
    set_thread_groups, set_thread_uid,
};
use serde::{Deserialize, Serialize};

use super::user::User;

/// Capabilities that are kept, of those the worker has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Capabilities(u64);

impl Capabilities {
    /// None: what a program gets that nothing is said of.
    pub const NONE: Self = Self(0);

    /// Those of these names, `dac_read_search` or `CAP_DAC_READ_SEARCH`; `all` is every one.
    ///
    /// # Errors
    /// The name that is none, as a part of a sentence.
    pub fn named(names: &[String]) -> Result<Self, String> {
        names.iter().try_fold(Self::NONE, |all, name| {
            let upper = name.to_ascii_uppercase();
            if upper == "ALL" {
                return Ok(Self(u64::MAX));
            }
            let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
            CapabilitySet::from_name(plain)
                .map(|one| Self(all.0 | one.bits()))
                .ok_or_else(|| format!("`{name}` is no capability; see capabilities(7)"))
        })
    }
}

/// Gives up what is not kept, for good, and becomes `user`. With `may_gain` the way to gain more (sudo) is left open.
pub(super) fn give_up(
    kept: Capabilities,
    user: Option<User>,
    may_gain: bool,
) -> rustix::io::Result<()> {
    let has = capabilities(None)?;
    let kept = CapabilitySet::from_bits_retain(kept.0) & has.permitted;
    if !may_gain {
        bound(kept)?;
    }
    clear_ambient_capability_set()?;
    become_user(user, !kept.is_empty())?;
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: kept,
    };
    set_capabilities(None, sets)?;
    // Else whoever is not root would lose them when the program is entered.
    for one in each().filter(|one| kept.contains(*one)) {
        configure_capability_in_ambient_set(one, true)?;
    }
    Ok(())
}

/// What is not kept cannot be had by any program any more, whoever owns it. Who may not do that has no more to lose: `no_new_privs` is set.
fn bound(kept: CapabilitySet) -> rustix::io::Result<()> {
    for one in each().filter(|one| !kept.contains(*one)) {
        match capability_is_in_bounding_set(one) {
            Ok(true) => {}
            Ok(false) => continue,
            // The kernel knows no more of them.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
        match remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            Err(Errno::PERM) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn become_user(user: Option<User>, keeps: bool) -> rustix::io::Result<()> {
    let Some(user) = user else { return Ok(()) };
    let ours = (geteuid().as_raw(), getegid().as_raw());
    if ours == (user.uid, user.gid) && !geteuid().is_root() {
        return Ok(());
    }
    set_keep_capabilities(keeps)?;
    set_thread_groups(&[])?;
    set_thread_gid(rustix::process::Gid::from_raw(user.gid))?;
    set_thread_uid(rustix::process::Uid::from_raw(user.uid))
}

fn each() -> impl Iterator<Item = CapabilitySet> {
    (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_known_by_either_name() {
        let named = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            Capabilities::named(&names)
        };
        assert_eq!(named(&[]), Ok(Capabilities::NONE));
        let both = named(&["chown", "CAP_NET_RAW"]);
        assert_eq!(both, Ok(Capabilities((1 << 0) | (1 << 13))));
        assert_eq!(named(&["all"]), Ok(Capabilities(u64::MAX)));
        assert!(named(&["root"]).unwrap_err().contains("`root`"));
    }
}
