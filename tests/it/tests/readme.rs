//! The README's own saga and the commands below it, run as they stand there, from an empty folder. Only the broker, the port and the folder
//! that is written to are those of the test.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use baton_harness::{Broker, Launch, binaries};
use baton_it::AFTER_A_LEASE;

const README: &str = include_str!("../../../README.md");
/// Where the saga writes.
const FOLDER: &str = "/tmp/www";
/// What a newcomer is promised.
const LINES: usize = 10;

/// The first block of this kind after a heading.
fn block<'r>(heading: &str, kind: &str) -> &'r str {
    let section = README.split(heading).nth(1).expect("there is that section");
    let open = format!("```{kind}\n");
    let block = section.split(&open).nth(1).expect("there is that block");
    block.split("```").next().expect("it has an end")
}

/// A folder as a fresh clone would be, as far as the commands see it: with a `deploy/broker` that speaks of the broker of this test.
/// Programs are the real ones; the orchestrator's port is a free one, and the worker has none.
fn clone(amqp: &str, port: u16) -> PathBuf {
    let dir = binaries::fresh_dir("readme");
    let deploy = dir.join("deploy");
    std::fs::create_dir_all(&deploy).expect("it can be made");
    let script = format!("#!/bin/sh\n[ \"$1\" != url ] || echo '{amqp}'\n");
    written(&deploy.join("broker"), &script);
    let programs = dir.join("target/debug");
    std::fs::create_dir_all(&programs).expect("it can be made");
    for (name, more) in [
        ("baton", String::new()),
        ("baton-orchestrator", format!("--http 127.0.0.1:{port}")),
        ("baton-worker", "--http off".to_owned()),
    ] {
        let program = binaries::path_of(name);
        let script = format!("#!/bin/sh\nexec '{}' \"$@\" {more}\n", program.display());
        written(&programs.join(name), &script);
    }
    dir
}

fn written(path: &Path, text: &str) {
    std::fs::write(path, text).expect("it can be written");
    let may_run = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, may_run).expect("it may be run");
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("it has one").port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_the_readme_do_what_it_says() {
    let saga = block("\n## A saga\n", "yaml");
    assert!(saga.lines().count() <= LINES, "{saga}");
    let commands = block("\n## A saga\n", "sh");
    assert!(commands.contains("--wait") && commands.contains(FOLDER));

    let vhost = Broker::shared().await.vhost().await;
    let port = free_port();
    let dir = clone(&vhost.url(), port);
    let www = dir.join("pages");
    let here = |text: &str| text.replace(FOLDER, &www.display().to_string());
    std::fs::write(dir.join("page.yaml"), here(saga)).expect("it can be written");
    let script = format!(
        "set -x\ntrap 'kill $(jobs -p); wait' EXIT\n{}echo \"the last one ended with $?\"\n",
        here(commands)
    );
    let mut shell = Launch::program("readme", "bash")
        .args(["-c".to_owned(), script])
        .dir(&dir)
        .env("BATON_URL", format!("http://127.0.0.1:{port}"))
        .start();
    let ended = shell.wait(AFTER_A_LEASE).await;
    let said = shell.log();
    assert!(ended.success(), "{ended}:\n{said}");
    assert!(!said.contains("no worker after a minute"), "{said}");
    assert!(said.contains("publish-page@1 is registered"), "{said}");
    assert!(said.contains("completed"), "{said}");
    // 3: compensated
    assert!(said.contains("the last one ended with 3"), "{said}");
    let text = |name: &str| std::fs::read_to_string(www.join(name)).unwrap_or_default();
    assert_eq!(text("news/index.html"), "<h1>Hello</h1>");
    assert_eq!(text("site.conf"), "title=Hello", "{said}");
}
