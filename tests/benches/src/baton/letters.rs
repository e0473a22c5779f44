//! Dead letters through a running Baton: taken in from the queue they lie in, and sent back to another by one operation without a canary that holds it up.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use baton_store::Reader as _;
use serde_json::{Value, json};

use super::{Baton, STALL_LIMIT, TOKEN};

/// How often it is looked how far they are.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Letters a second that are asked for: more than it reaches.
const RATE: u32 = 10_000;

/// What came of so many letters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LettersRun {
    /// From before the first was published until the last is in the store.
    pub(crate) taken_in: Duration,
    /// From the operation's beginning to its end.
    pub(crate) replayed: Duration,
}

impl Baton {
    /// Has so many messages put into `from` by `publish` taken in, and all of them sent back to the queue `to`.
    pub(crate) async fn letters(
        &self,
        count: usize,
        publish: impl Future<Output = Result<()>>,
        to: &str,
    ) -> Result<LettersRun> {
        let started = Instant::now();
        let (published, taken_in) = tokio::join!(publish, self.taken_in(count, started));
        published?;
        let taken_in = taken_in?;
        let started = Instant::now();
        let asked =
            json!({ "reason": "measured", "rate": RATE, "wait_s": 0, "to": format!("/{to}") });
        let made = self.post("/v1/dead-letters/replays", &asked).await?;
        let id = made["operation"]["id"].as_str().unwrap_or_default();
        let path = format!("/v1/dead-letters/operations/{id}");
        loop {
            let now = self.get(&path).await?;
            if now["state"] == "done" {
                ensure!(now["resolved"] == json!(count), "not all went back: {now}");
                break;
            }
            ensure!(now["state"] == "running", "it does not go on: {now}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(LettersRun {
            taken_in,
            replayed: started.elapsed(),
        })
    }

    async fn taken_in(&self, count: usize, started: Instant) -> Result<Duration> {
        let (mut last, mut moved) = (0, started);
        loop {
            let now = self.reader.counts().await?.dead_letters;
            if now >= count as u64 {
                return Ok(started.elapsed());
            }
            if now > last {
                (last, moved) = (now, Instant::now());
            }
            ensure!(
                moved.elapsed() < STALL_LIMIT,
                "{now} of {count} letters are taken in, and none in the last {STALL_LIMIT:?}"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let asked = self
            .http
            .post(format!("{}{path}", self.url))
            .bearer_auth(TOKEN)
            .header("content-type", "application/json")
            .body(body.to_string());
        let answer = asked.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path}: {status} {text}");
        Ok(serde_json::from_str(&text)?)
    }
}
