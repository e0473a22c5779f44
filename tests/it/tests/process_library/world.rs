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
    // they end before the folder they run in; each by the name of its service
    servers: Vec<(String, Process)>,
    pub(crate) system: System,
    pub(crate) port: u16,
    /// Of a second web server.
    second_port: u16,
}

impl World {
    /// A system without workers yet.
    pub(crate) async fn new() -> Self {
        let system = Setup::workers(0).start().await;
        Self {
            servers: Vec::new(),
            port: free_port(),
            second_port: free_port(),
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
        self.ship_with(name, &config, &[], served).await;
    }

    /// As [`Self::ship`], with every place of the example put below this folder, and with other programs in place of some. Definitions that lie
    /// in a folder of their own have one configuration in common.
    pub(crate) async fn ship_placed(
        &mut self,
        name: &str,
        programs: &[(String, String)],
        served: &[&str],
    ) {
        self.ship_changed(name, programs, &[], served).await;
    }

    /// As [`Self::ship_placed`], with some words of the definition replaced: its times, which nobody here waits for.
    pub(crate) async fn ship_changed(
        &mut self,
        name: &str,
        programs: &[(String, String)],
        instead: &[(String, String)],
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
        self.ship_with(name, &config, instead, served).await;
    }

    /// Text of the library with its places put below this folder, and its ports in place of those of the example.
    pub(crate) fn placed(&self, text: &str) -> String {
        text.replace("/srv/", &format!("{}/", self.text("srv")))
            .replace("/etc/service", &self.text("service"))
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{}", self.port))
            .replace("127.0.0.1:8081", &format!("127.0.0.1:{}", self.second_port))
    }

    async fn ship_with(
        &mut self,
        name: &str,
        config: &str,
        instead: &[(String, String)],
        served: &[&str],
    ) {
        let file = self.path("worker.toml");
        std::fs::write(&file, config).expect("what the test needs can be made");
        self.system.add_worker_with_file(&file);
        for task_type in served {
            self.system.await_served(task_type).await;
        }
        // what a definition names is registered before it
        for one in below(name) {
            let definition = self.placed(&shipped(&format!("{one}.yaml")));
            self.system.api.apply(&definition).await;
        }
        let definition = self.placed(&shipped(&format!("{name}.yaml")));
        let definition = instead.iter().fold(definition, |text, (from, to)| {
            assert!(text.contains(from), "{name}.yaml has no {from}");
            text.replace(from, to)
        });
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

    /// What `sv` says when it is asked to do this with the service `web`.
    pub(crate) fn sv(&self, verb: &str) -> String {
        self.sv_of("web", verb)
    }

    /// What `sv` says when it is asked to do this with a service.
    pub(crate) fn sv_of(&self, service: &str, verb: &str) -> String {
        let ran = Command::new("sv")
            .args(["-w", "20", verb])
            .arg(self.path("service").join(service))
            .output()
            .expect("what the test needs can be made");
        String::from_utf8(ran.stdout).expect("what the test needs can be made")
    }

    /// A web server under runit as the service `web`. It serves the folder its link led to when it was started.
    pub(crate) async fn web_server(&mut self, link: &str) {
        let at = format!("127.0.0.1:{}", self.port);
        self.web_server_at("web", link, &at).await;
    }

    /// A web server under runit as a service of that name, at this address.
    pub(crate) async fn web_server_at(&mut self, service: &str, link: &str, at: &str) {
        let folder = self.path("service").join(service);
        std::fs::create_dir_all(&folder).expect("what the test needs can be made");
        let run = format!(
            "#!/bin/sh\nexec 2>&1\nuntil cd {} 2>/dev/null; do sleep 0.1; done\ncd \"$(pwd -P)\" && exec busybox httpd -f -p {at}\n",
            self.path(link).display(),
        );
        std::fs::write(folder.join("run"), run).expect("what the test needs can be made");
        make_executable(&folder.join("run"));
        std::fs::write(folder.join("down"), "").expect("what the test needs can be made");
        let server = Launch::program("runsv", "runsv").arg(&folder).start();
        self.servers.push((service.to_owned(), server));
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
        page_at(&self.url()).await
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
        for (service, _) in &self.servers {
            let _ = Command::new("sv")
                .args(["-w", "5", "force-shutdown"])
                .arg(self.path("service").join(service))
                .output();
        }
    }
}

/// The page that is served at an address.
pub(crate) async fn page_at(url: &str) -> Option<String> {
    let answer = reqwest::get(url).await.ok()?;
    answer.text().await.ok()
}

/// The definitions that the steps of one name, and those that these name: files of its folder, each before whatever names it.
pub(crate) fn below(name: &str) -> Vec<String> {
    let folder = name.rsplit_once('/').map(|(folder, _)| folder);
    let text = shipped(&format!("{name}.yaml"));
    let value: Value = serde_saphyr::from_str(&text).expect("a shipped definition");
    let mut all = Vec::new();
    for saga in named(&value["steps"]) {
        let file = folder.map_or_else(|| saga.clone(), |folder| format!("{folder}/{saga}"));
        all.extend(below(&file));
        all.push(file);
    }
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|file| seen.insert(file.clone()));
    all
}

/// The sagas these steps name, without their versions.
fn named(steps: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for step in steps.as_array().into_iter().flatten() {
        let saga = step["saga"].as_str().and_then(|saga| saga.split_once('@'));
        all.extend(saga.map(|(name, _)| name.to_owned()));
        all.extend(named(&step["steps"]));
    }
    all
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
