//! What the shipped processes act on: a folder for everything, a repository, a web server under runit, workers with the shipped
//! configuration. Only folders and ports are put in place of those in the file.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use baton_harness::{Launch, Process, await_some, await_until};
use baton_it::{SOON, Setup, System};
use serde_json::{Value, json};

/// How long a process may take here: builds and restarts are short, the machine is busy.
pub(crate) const LONG: Duration = Duration::from_secs(180);

pub(crate) struct World {
    // ends before the folder it runs in
    server: Option<Process>,
    pub(crate) system: System,
    pub(crate) port: u16,
}

impl World {
    /// A system without workers yet.
    pub(crate) async fn new() -> Self {
        let system = Setup::workers(0).start().await;
        Self {
            server: None,
            port: free_port(),
            system,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.system.dir().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Registers a shipped definition, and starts a worker with the configuration that is shipped with it.
    pub(crate) async fn ship(&mut self, name: &str, replaced: &[(&str, String)], served: &[&str]) {
        let config = replaced.iter().fold(
            shipped(&format!("{name}.worker.toml")),
            |text, (from, to)| {
                assert!(text.contains(from), "{name}.worker.toml has no {from}");
                text.replace(from, to)
            },
        );
        self.ship_with(name, &config, served).await;
    }

    /// As [`Self::ship`], with every place of the example put below this folder, and with other programs in place of some. Definitions that lie
    /// in a folder of their own have one configuration in common.
    pub(crate) async fn ship_placed(
        &mut self,
        name: &str,
        programs: &[(String, String)],
        served: &[&str],
    ) {
        let file = match name.split_once('/') {
            Some((folder, _)) => format!("{folder}/worker.toml"),
            None => format!("{name}.worker.toml"),
        };
        let config = self.placed(&shipped(&file));
        let config = programs.iter().fold(config, |text, (from, to)| {
            assert!(text.contains(from), "{file} has no {from}");
            text.replace(from, to)
        });
        self.ship_with(name, &config, served).await;
    }

    /// Text of the library with its places put below this folder, and its port in place of that of the example.
    pub(crate) fn placed(&self, text: &str) -> String {
        text.replace("/srv/", &format!("{}/", self.text("srv")))
            .replace("/etc/service", &self.text("service"))
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{}", self.port))
    }

    async fn ship_with(&mut self, name: &str, config: &str, served: &[&str]) {
        let file = self.path("worker.toml");
        std::fs::write(&file, config).expect("what the test needs can be made");
        self.system.add_worker_with_file(&file);
        for task_type in served {
            self.system.await_served(task_type).await;
        }
        let definition = self.placed(&shipped(&format!("{name}.yaml")));
        self.system.api.apply(&definition).await;
    }

    /// Publishes an event on the bus, as a client of another program does; the saga it started.
    pub(crate) async fn published(&self, kind: &str, data: &Value) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        let event = json!({ "specversion": "1.0", "id": id, "source": "/test", "type": kind, "data": data });
        let event = event.to_string();
        let properties = json!({ "content_type": "application/cloudevents+json" });
        let vhost = &self.system.vhost;
        let taken = vhost.publish("baton.events", kind, properties, &event);
        assert!(taken.await, "nobody takes events of type {kind}");
        let path = format!("/v1/events/one?source=/test&id={id}");
        await_some("the event to start a saga", SOON, async || {
            let answer = self.system.api.ask("GET", &path, "", None).await?;
            let effect = &answer.body["effects"][0];
            assert!(
                effect.is_null() || effect["what"] == "started",
                "{}",
                answer.body
            );
            // kept is not yet carried out
            let saga = effect["saga"].as_str().map(str::to_owned);
            saga.filter(|_| answer.body["done"] == true)
        })
        .await
    }

    /// What `sv` says when it is asked to do this with the service.
    pub(crate) fn sv(&self, verb: &str) -> String {
        let ran = Command::new("sv")
            .args(["-w", "20", verb])
            .arg(self.path("service/web"))
            .output()
            .expect("what the test needs can be made");
        String::from_utf8(ran.stdout).expect("what the test needs can be made")
    }

    /// A web server under runit as the service `web`. It serves the folder its link led to when it was started.
    pub(crate) async fn web_server(&mut self, link: &str) {
        let folder = self.path("service/web");
        std::fs::create_dir_all(&folder).expect("what the test needs can be made");
        let run = format!(
            "#!/bin/sh\nexec 2>&1\nuntil cd {} 2>/dev/null; do sleep 0.1; done\ncd \"$(pwd -P)\" && exec busybox httpd -f -p 127.0.0.1:{}\n",
            self.path(link).display(),
            self.port
        );
        std::fs::write(folder.join("run"), run).expect("what the test needs can be made");
        make_executable(&folder.join("run"));
        std::fs::write(folder.join("down"), "").expect("what the test needs can be made");
        self.server = Some(Launch::program("runsv", "runsv").arg(&folder).start());
        await_until("runsv to supervise", SOON, async || {
            baton_harness::is_supervised(&folder)
        })
        .await;
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// The page that is served.
    pub(crate) async fn page(&self) -> Option<String> {
        let answer = reqwest::get(self.url()).await.ok()?;
        answer.text().await.ok()
    }

    /// Runs a process until it ends there.
    pub(crate) async fn run(&self, definition: &str, input: &Value, ends: &str) -> Value {
        let key = uuid::Uuid::new_v4().to_string();
        let id = self.system.api.start(definition, input, &key).await;
        self.system.api.await_status(&id, ends, LONG).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.server.is_some() {
            let _ = Command::new("sv")
                .args(["-w", "5", "force-shutdown"])
                .arg(self.path("service/web"))
                .output();
        }
    }
}

/// A file of the library as it is shipped.
pub(crate) fn shipped(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../orchestrator/sagas");
    let text = std::fs::read_to_string(folder.join(file));
    text.unwrap_or_else(|error| panic!("orchestrator/sagas/{file}: {error}"))
}

pub(crate) fn make_executable(file: &Path) {
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755))
        .expect("what the test needs can be made");
}

/// Runs git, which must do it.
pub(crate) fn git(folder: &Path, args: &[&str]) -> String {
    let ran = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=test", "-c", "user.email=test@localhost"])
        .args(args)
        .output()
        .expect("what the test needs can be made");
    assert!(ran.status.success(), "git {args:?}: {ran:?}");
    String::from_utf8(ran.stdout)
        .expect("what the test needs can be made")
        .trim()
        .to_owned()
}

fn free_port() -> u16 {
    let listener =
        std::net::TcpListener::bind("127.0.0.1:0").expect("what the test needs can be made");
    listener
        .local_addr()
        .expect("what the test needs can be made")
        .port()
}
