//! An independent ledger of effects, its own process: the outside world that remembers what was done to it.
//!
//! Tests and the benchmark count effects here, not in Baton. The program is `baton-ledger` (see `src/bin`, which holds the
//! HTTP contract); [`Ledger`] starts it and asks it.

mod book;
mod server;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;

pub use book::{Book, Call, Did, Effect, State};
pub use server::{Fault, serve};

use crate::{Launch, Process, binaries, ports};

const READY_LIMIT: Duration = Duration::from_secs(30);
const ASK_LIMIT: Duration = Duration::from_secs(30);

/// A running `baton-ledger` of the test's own.
#[derive(Debug)]
pub struct Ledger {
    process: Process,
    url: String,
    dir: PathBuf,
}

impl Ledger {
    /// Starts one with an empty book on a free port of loopback.
    pub async fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST).await
    }

    /// The same at another address of this machine.
    pub async fn start_at(address: Ipv4Addr) -> Self {
        let dir = binaries::fresh_dir("ledger");
        let [port] = ports::free();
        let launch = Launch::binary("baton-ledger")
            .arg(dir.join("book.jsonl"))
            .arg(port.to_string())
            .arg(address.to_string());
        let url = format!("http://{address}:{port}");
        let mut ledger = Self {
            process: launch.start(),
            url,
            dir,
        };
        ledger.await_ready().await;
        ledger
    }

    /// `http://address:port`, which automations under test are told.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills it. What it has answered for is in its book.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Starts it again with the same book and port.
    pub async fn start_again(&mut self) {
        self.process.start_again();
        self.await_ready().await;
    }

    /// What became of every key it was ever told of.
    pub async fn report(&self) -> BTreeMap<String, Effect> {
        self.ask("/report").await
    }

    /// What became of one key.
    pub async fn effect(&self, key: &str) -> Effect {
        self.ask(&format!("/effects/{}", crate::broker::segment(key)))
            .await
    }

    /// Every call it ever took, in order.
    pub async fn calls(&self) -> Vec<Call> {
        self.ask("/calls").await
    }

    /// Makes coming calls fail or take time; see [`Fault`].
    pub async fn fault(&self, fault: &Fault) {
        let answer = client()
            .post(format!("{}/faults", self.url))
            .json(fault)
            .send()
            .await;
        let () = read(answer).await;
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> T {
        read(client().get(format!("{}{path}", self.url)).send().await).await
    }

    async fn await_ready(&mut self) {
        self.process
            .wait_for_http(&format!("{}/healthz", self.url), READY_LIMIT)
            .await;
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.process.kill9();
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

fn client() -> reqwest::Client {
    let built = reqwest::Client::builder()
        .timeout(ASK_LIMIT)
        .no_proxy()
        .build();
    built.unwrap_or_else(|error| panic!("cannot build an HTTP client: {error}"))
}

async fn read<T: DeserializeOwned>(answer: reqwest::Result<reqwest::Response>) -> T {
    let answer = answer.and_then(reqwest::Response::error_for_status);
    let answer = answer.unwrap_or_else(|error| panic!("the ledger does not answer: {error}"));
    answer
        .json()
        .await
        .unwrap_or_else(|error| panic!("the ledger's answer cannot be read: {error}"))
}
