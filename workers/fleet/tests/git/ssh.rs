//! git over ssh, against a real sshd: a key file lets in, a file of known hosts says whom to believe.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use baton_fleet::automations::Git;
use baton_fleet::config::GitConfig;
use baton_harness::{Launch, Process};

use crate::stage::Stage;

const SOON: Duration = Duration::from_secs(90);
const SSHD: &str = "/usr/sbin/sshd";

/// An sshd of the test's own, for whoever runs the test, with one key that is let in.
struct Sshd {
    dir: PathBuf,
    _process: Process,
    base: String,
}

impl Sshd {
    async fn start(dir: &Path) -> Self {
        for key in ["host_key", "key", "other_key"] {
            let made = ran(
                "ssh-keygen",
                &["-q", "-t", "ed25519", "-N", "", "-f"],
                &dir.join(key),
            );
            assert_eq!(made, "");
        }
        fs::copy(dir.join("key.pub"), dir.join("authorized_keys")).unwrap();
        let user = ran("id", &["-un"], Path::new("--"));
        if user == "root" {
            // Where the part of it that faces the network is locked in. The package leaves it to the init system to make.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = free_port();
        let at = |name: &str| dir.join(name).display().to_string();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey \"{}\"\nAuthorizedKeysFile \"{}\"\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n",
            at("host_key"),
            at("authorized_keys")
        );
        fs::write(dir.join("sshd_config"), config).unwrap();
        let mut process = Launch::program("sshd", SSHD)
            .args(["-D", "-e", "-f", &at("sshd_config")])
            .start();
        process.wait_for_line("Server listening", SOON).await;
        let host_key = fs::read_to_string(dir.join("host_key.pub")).unwrap();
        fs::write(
            dir.join("known_hosts"),
            format!("[127.0.0.1]:{port} {host_key}"),
        )
        .unwrap();
        let other = fs::read_to_string(dir.join("other_key.pub")).unwrap();
        fs::write(
            dir.join("other_hosts"),
            format!("[127.0.0.1]:{port} {other}"),
        )
        .unwrap();
        fs::write(dir.join("no_hosts"), "").unwrap();
        Self {
            dir: dir.to_owned(),
            _process: process,
            base: format!("ssh://{user}@127.0.0.1:{port}"),
        }
    }

    fn git(&self, stage: &Stage, key: &str, hosts: &str) -> Git {
        let config = GitConfig {
            repositories: vec![format!("{}/", self.base)],
            ssh_key_file: Some(self.dir.join(key)),
            ssh_known_hosts_file: Some(self.dir.join(hosts)),
            ..GitConfig::default()
        };
        stage.git_of(config, "")
    }
}

fn ran(program: &str, args: &[&str], last: &Path) -> String {
    let mut command = Command::new(program);
    let ran = command.args(args).arg(last).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{program}: {said}");
    String::from_utf8(ran.stdout).unwrap().trim().to_owned()
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn a_key_opens_a_repository_over_ssh_of_a_host_that_is_known() {
    let stage = Stage::new();
    let keys = stage.path("a folder with 'odd' names");
    fs::create_dir(&keys).unwrap();
    let sshd = Sshd::start(&keys).await;
    let address = format!("{}{}", sshd.base, stage.origin());
    for (key, hosts, why) in [
        ("other_key", "known_hosts", "Permission denied"),
        ("key", "no_hosts", "Host key verification failed"),
        ("key", "other_hosts", "Host key verification failed"),
    ] {
        let git = sshd.git(&stage, key, hosts);
        let said = stage.refused(&git, &address, None).await;
        assert!(said.contains(why), "{key} {hosts}: {said}");
    }
    // Nobody is believed for good by having been asked.
    assert_eq!(fs::read_to_string(keys.join("no_hosts")).unwrap(), "");
    let git = sshd.git(&stage, "key", "known_hosts");
    stage.both_go_over(&git, &address, None).await;
    let token = stage.refused(&git, &address, Some("a-token")).await;
    assert!(token.contains("not spoken to over https"), "{token}");
}
