//! Services under a real supervisor, with a password.

use std::fs;
use std::time::Duration;

use baton_harness::{Launch, Process, await_until};

use crate::laws;
use crate::stage::Stage;

const SOON: Duration = Duration::from_secs(90);
/// Special characters of the file the password ends up in.
const PASSWORD: &str = "p%s-hunter2";

struct Supervisor {
    dir: tempfile::TempDir,
    _supervisord: Process,
}

impl Supervisor {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        let config = format!(
            "[supervisord]\nnodaemon=true\nlogfile={at}/log\npidfile={at}/pid\nchildlogdir={at}\n\
             [unix_http_server]\nfile={at}/sock\nusername=anna\npassword={}\n\
             [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
             [program:web]\ncommand=/bin/sleep 1000\nautostart=false\nstartsecs=0\n\
             [program:broken]\ncommand=/bin/false\nautostart=false\nstartretries=1\n",
            PASSWORD.replace('%', "%%")
        );
        fs::write(dir.path().join("conf"), config).unwrap();
        fs::write(dir.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        let supervisord = Launch::program("supervisord", "/usr/bin/supervisord")
            .args(["-c".as_ref(), dir.path().join("conf").as_os_str()])
            .start();
        let socket = dir.path().join("sock");
        await_until("supervisor to listen", SOON, async || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        })
        .await;
        Self {
            dir,
            _supervisord: supervisord,
        }
    }

    fn stage(&self, service: &str) -> Stage {
        let at = self.dir.path().display();
        let entry = |name: &str| {
            format!(
                "[{name}]\ndriver = \"supervisor\"\nat = \"unix://{at}/sock\"\nuser = \"anna\"\npassword_file = \"{at}/password\"\nwait_ms = 8000\n"
            )
        };
        let entries = ["web", "broken", "nobody"].map(entry).join("");
        Stage::new(self.dir.path(), &entries, service)
    }
}

#[tokio::test]
async fn the_laws_hold_under_supervisor() {
    let supervisor = Supervisor::start().await;
    laws::hold_for(&supervisor.stage("web")).await;
}

#[tokio::test]
async fn what_fails_or_is_not_there_is_said_so_under_supervisor() {
    let supervisor = Supervisor::start().await;
    laws::a_failing_one_is_not_started(&supervisor.stage("broken")).await;
    laws::an_unknown_one_is_refused(&supervisor.stage("nobody")).await;
}
