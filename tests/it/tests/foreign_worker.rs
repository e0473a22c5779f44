//! A real orchestrator with no worker of ours: everything is done, and taken back, by a client in another language, which is killed in the middle.

use std::path::Path;

use baton_harness::ledger::State;
use baton_harness::{Launch, Process, await_until, not_tested};
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{AFTER_A_LEASE, SOON, Setup, System};

/// A client: its program, and what its libraries are tried with. Debian's: an interpreter that comes first in the path need not have them.
struct Client {
    program: &'static str,
    worker: &'static str,
    libraries: [&'static str; 2],
}

const PYTHON: Client = Client {
    program: "/usr/bin/python3",
    worker: "python/example_worker.py",
    libraries: ["-c", "import pika, jsonschema"],
};
const RUBY: Client = Client {
    program: "/usr/bin/ruby",
    worker: "ruby/example_worker.rb",
    libraries: ["-e", "require 'bunny'; require 'json-schema'"],
};

impl Client {
    fn is_there(&self) -> bool {
        let asked = std::process::Command::new(self.program)
            .args(self.libraries)
            .output();
        asked.is_ok_and(|asked| asked.status.success())
    }

    fn start(&self, system: &System) -> Process {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../workers/clients");
        Launch::program("foreign-worker", self.program)
            .arg(clients.join(self.worker))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("BATON__BUS__ADDRESSES", system.vhost.url())
            .env("BATON__AUTOMATIONS__FILES__ROOTS", &system.files)
            .env(
                "BATON__AUTOMATIONS__TEST_EFFECT__LEDGER_URL",
                system.ledger.url(),
            )
            .env("BATON__WORKER__HEARTBEAT_MS", "300")
            .env("BATON__WORKER__ANNOUNCE_MS", "1000")
            .start()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_a_worker_in_python_in_the_middle_and_what_it_did_is_found_and_taken_back_in_python() {
    killed_in_the_middle(&PYTHON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_a_worker_in_ruby_in_the_middle_and_what_it_did_is_found_and_taken_back_in_ruby() {
    killed_in_the_middle(&RUBY).await;
}

/// A type that only this worker has writes a file, an effect stands when the worker is killed before it can say so, the last step fails: the
/// effect is found by the probe, not made again, and all of it is taken back by the same client.
async fn killed_in_the_middle(client: &Client) {
    if !client.is_there() {
        return not_tested(&format!(
            "{} under a real orchestrator: its packages are not installed",
            client.worker
        ));
    }
    let system = Setup::workers(0).start().await;
    let mut worker = client.start(&system);
    for task_type in ["example.put@1", "test.effect@1", "test.echo@1"] {
        system.await_served(task_type).await;
    }
    let saga = Saga::named("in-another-language")
        .step("  - id: put\n    task: example.put@1\n    with: { path: \"${ input.dir }/${ input.name }.txt\", content: \"new\" }\n")
        .effect("a", ", delay_after_ms: 20000")
        .step("  - id: never\n    task: test.echo@1\n    after: [a]\n    with: { value: 1, fail: final }\n");
    system.apply(&[&saga]).await;
    std::fs::write(system.file("p.txt"), "the original").expect("it can be written");

    let id = system.run("in-another-language", "p").await;
    await_until("the effect to stand", SOON, async || {
        Book::of(&system.ledger).await.effect("p-a").state == State::Applied
    })
    .await;
    assert_eq!(system.file_text("p.txt").as_deref(), Some("new"));
    worker.kill9();
    worker.start_again();

    let ended = system
        .api
        .await_status(&id, "compensated", AFTER_A_LEASE)
        .await;
    assert_eq!(system.file_text("p.txt").as_deref(), Some("the original"));
    let book = Book::of(&system.ledger).await;
    assert_eq!(book.not_taken_back("p-a"), None, "{ended}");
    assert_eq!(book.called_twice("p-a"), None, "{ended}");
    assert_eq!((book.effect("p-a").done, book.effect("p-a").undone), (1, 1));
}
