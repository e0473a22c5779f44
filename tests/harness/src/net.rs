//! Several hosts on one machine: network namespaces with an address each, on a bridge of the test's own, so that a link can be cut and
//! healed and what runs behind it notices exactly what it would notice in a rack: nothing.
//!
//! Needs root and a kernel that takes namespaces; [`Net::new`] says why there is none, and whoever wanted it says that it was not tested.
//! What an earlier process left behind when it was killed is removed first: names hold the id of the process that made them.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// The range that is set aside for trying out networks (RFC 2544): no real host has such an address.
const RANGE: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// A network has sixteen addresses; so many of them fit into the range.
const NETS: u32 = 1 << 13;
/// The bridge has the first address, hosts the others.
const HOSTS_MAX: u8 = 13;
/// What the names of our namespaces begin with.
const NAME: &str = "baton";

/// Where something runs: this machine's own loopback, or a host of a [`Net`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    namespace: Option<String>,
    address: Ipv4Addr,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            namespace: None,
            address: Ipv4Addr::LOCALHOST,
        }
    }
}

impl Place {
    /// Where it is reached.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Whether it is this machine's own loopback.
    #[must_use]
    pub const fn is_here(&self) -> bool {
        self.namespace.is_none()
    }

    /// A program there. Its process id is the program's own: nothing stands between.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match &self.namespace {
            None => Command::new(program),
            Some(name) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{name}")).arg(program);
                command
            }
        }
    }

    /// The program and the arguments that go before its own, to run it there.
    #[must_use]
    pub fn wrapped(&self, program: &Path) -> (std::path::PathBuf, Vec<std::ffi::OsString>) {
        let command = self.command(program);
        let args = command.get_args().map(OsStr::to_owned).collect();
        (command.get_program().into(), args)
    }
}

/// A network of the test's own.
#[derive(Debug, Clone)]
pub struct Net(Arc<Bridge>);

#[derive(Debug)]
struct Bridge {
    name: String,
    base: u32,
    hosts: AtomicU8,
}

/// A host on it. Gone with its network.
#[derive(Debug, Clone)]
pub struct Host {
    net: Net,
    number: u8,
}

impl Net {
    /// A network without hosts.
    ///
    /// # Errors
    /// Why none can be had on this machine.
    pub fn new() -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "not root");
        sweep();
        let pid = std::process::id();
        let bridge = Bridge {
            // a name of a link has at most fifteen letters
            name: format!("bb{pid}"),
            base: RANGE + (pid % NETS) * 16,
            hosts: AtomicU8::new(0),
        };
        let name = bridge.name.clone();
        ip(&["link", "add", &name, "type", "bridge"])?;
        let net = Self(Arc::new(bridge));
        let address = format!("{}/28", net.gateway());
        ip(&["address", "add", &address, "dev", &name])?;
        ip(&["link", "set", &name, "up"])?;
        Ok(net)
    }

    /// The address of this machine's own end of it.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.0.base + 1)
    }

    /// One more host, with its link up.
    ///
    /// # Errors
    /// What the system says.
    pub fn host(&self) -> Result<Host> {
        let number = self.0.hosts.fetch_add(1, Ordering::Relaxed);
        ensure!(
            number < HOSTS_MAX,
            "a network has {HOSTS_MAX} hosts at most"
        );
        let host = Host {
            net: self.clone(),
            number,
        };
        let (namespace, link) = (host.namespace(), host.link());
        ip(&["netns", "add", &namespace])?;
        ip(&[
            "link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &namespace,
        ])?;
        ip(&["link", "set", &link, "master", &self.0.name, "up"])?;
        let address = format!("{}/28", host.address());
        ip(&["-n", &namespace, "address", "add", &address, "dev", "eth0"])?;
        ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
        ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
        Ok(host)
    }
}

impl Host {
    /// Its address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.net.0.base + 2 + u32::from(self.number))
    }

    /// Where what runs on it runs.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            namespace: Some(self.namespace()),
            address: self.address(),
        }
    }

    /// Cuts its link: no packet comes or goes, and nobody is told.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn cut(&self) {
        self.set("down");
    }

    /// Heals its link.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn heal(&self) {
        self.set("up");
    }

    fn set(&self, how: &str) {
        if let Err(error) = ip(&["link", "set", &self.link(), how]) {
            panic!(
                "the link of {} cannot be set {how}: {error:#}",
                self.address()
            );
        }
    }

    fn namespace(&self) -> String {
        format!("{NAME}-{}-{}", std::process::id(), self.number)
    }

    fn link(&self) -> String {
        format!("bv{}-{}", std::process::id(), self.number)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        remove(std::process::id());
    }
}

/// Removes what a process made; its links go with their namespaces.
fn remove(pid: u32) {
    for number in 0..=HOSTS_MAX {
        let _ = ip(&["netns", "delete", &format!("{NAME}-{pid}-{number}")]);
    }
    let _ = ip(&["link", "delete", &format!("bb{pid}")]);
}

/// Removes what processes left behind that are gone.
fn sweep() {
    let names = std::fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .flatten();
    let mut gone: Vec<u32> = names
        .filter_map(|entry| {
            let name = entry.file_name();
            let (pid, _) = name
                .to_str()?
                .strip_prefix(NAME)?
                .strip_prefix('-')?
                .split_once('-')?;
            pid.parse().ok()
        })
        .filter(|pid| !Path::new(&format!("/proc/{pid}")).exists())
        .collect();
    gone.sort_unstable();
    gone.dedup();
    gone.into_iter().for_each(remove);
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(args)
        .output()
        .context("cannot run ip: install Debian's package iproute2")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("ip {}: {}", args.join(" "), said.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::not_tested;

    /// Whether the two reach each other.
    fn reaches(from: &Host, to: &Host) -> bool {
        // nobody listens there: an answer is a refusal, and at once
        let knock = format!("exec 3<>/dev/tcp/{}/9", to.address());
        let done = from
            .place()
            .command("timeout")
            .args(["1", "bash", "-c", &knock])
            .output();
        const IN_VAIN: i32 = 124;
        done.expect("bash can be run").status.code() != Some(IN_VAIN)
    }

    #[test]
    fn hosts_reach_each_other_until_a_link_is_cut() {
        let net = match Net::new() {
            Ok(net) => net,
            Err(why) => return not_tested(&format!("hosts with links that can be cut: {why:#}")),
        };
        let (one, other) = (net.host().expect("a host"), net.host().expect("a host"));
        assert!(reaches(&one, &other) && reaches(&other, &one));
        other.cut();
        assert!(!reaches(&one, &other));
        other.heal();
        let began = std::time::Instant::now();
        while !reaches(&one, &other) {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "it does not heal"
            );
        }
    }
}
