//! Plays one case, step by step. The README beside the cases is the manual of the steps.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use baton_harness::{Direction as Relayed, await_until};
use baton_messages::topology;
use baton_messages::{AttemptRef, Direction, IdempotencyKey, MessageId};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};

use crate::case::Case;
use crate::cast::Cast;
use crate::judge::{Watch, of_fleet};
use crate::matching::misfit;
use crate::stage::{Heard, SOON, Stage, queue_of, tail, text_of};

type Step = Map<String, Value>;
type Seen = Result<(), String>;

/// Messages of the broker's statistics are half a second old at most; what must stay is looked at for longer than that.
const STAYS: Duration = Duration::from_millis(900);

/// A message that was, or will be, sent to a task queue.
#[derive(Debug, Clone)]
struct Sent {
    task: Value,
    role: String,
    id: String,
    body: String,
}

struct Player<'a> {
    cast: &'a Cast,
    case: &'a Case,
    id: String,
    stage: Stage,
    watch: Watch,
    sent: HashMap<String, Sent>,
    /// What was seen, by the name a step gave it.
    kept: HashMap<String, Value>,
    /// The claim of each task that was heard last.
    claims: HashMap<String, Value>,
}

/// Plays a case; what went wrong, with the step and the end of the worker's log.
pub(crate) async fn play(cast: &Cast, case: &Case) -> Seen {
    let id = uuid::Uuid::new_v4().simple().to_string()[..12].to_owned();
    let stage = Stage::set(cast, case, &id).await;
    let (watch, sent) = (Watch::default(), HashMap::new());
    let (kept, claims) = (HashMap::new(), HashMap::new());
    let mut player = Player {
        cast,
        case,
        id,
        stage,
        watch,
        sent,
        kept,
        claims,
    };
    for (number, step) in case.steps.iter().enumerate() {
        let played = player.step(step).await;
        let log = player.stage.process().log();
        played.map_err(|fault| {
            let step = serde_json::to_string(step).unwrap_or_default();
            format!(
                "step {}, {step}\n    {fault}\n    the worker's log:\n{}",
                number + 1,
                tail(&log)
            )
        })?;
    }
    player.nothing_more().await
}

impl Player<'_> {
    async fn step(&mut self, step: &Step) -> Seen {
        let step = self.filled(&Value::Object(step.clone()));
        let step = step.as_object().expect("a step stays one");
        let verbs = [
            "task",
            "send",
            "message",
            "each-example",
            "see",
            "see-none",
            "grant",
            "refuse",
            "cancel",
            "drain",
            "roll-call",
            "control",
            "ledger",
            "queue",
            "inbox",
            "dead",
            "dead-letter",
            "fleet",
            "worker",
            "file",
            "declare",
            "pause_ms",
            "deliver-before",
        ];
        let verb = verbs.into_iter().find(|verb| step.contains_key(*verb));
        let verb = verb.ok_or("no such step")?;
        let of = &step[verb];
        let named = of.as_str().unwrap_or_default();
        match verb {
            "task" => self.task(named, step).await,
            "send" => self.send(named).await,
            "message" => self.message(named, step).await,
            "each-example" => self.each_example(named, step).await,
            "see" => self.see(named, step).await,
            "see-none" => self.see_none(named, step).await,
            "grant" => {
                self.answer(
                    named,
                    step,
                    json!({ "granted": picked(step, &["before", "progress"]) }),
                )
                .await
            }
            "refuse" => {
                self.answer(
                    named,
                    step,
                    json!({ "refused": { "why": "no-longer-wanted" } }),
                )
                .await
            }
            "cancel" => {
                let of = self.sent(named)?.task["of"].clone();
                self.control("cancel@1", json!({ "of": of })).await
            }
            "drain" => {
                self.control(
                    "drain@1",
                    json!({ "worker": self.stage.worker, "by": "a case" }),
                )
                .await
            }
            "roll-call" => {
                self.control("roll-call@1", json!({ "orchestrator": "a-case" }))
                    .await
            }
            "control" => {
                let key = topology::control_key(&self.stage.worker);
                self.stage
                    .vhost
                    .publish(topology::CONTROL, &key, json!({}), named)
                    .await;
                Ok(())
            }
            "ledger" => self.ledger(named, step).await,
            "queue" => self.queue(named, step).await,
            "inbox" => self.bound("baton.inbox.00", named).await,
            "dead" => self.bound("baton.dead", named).await,
            "dead-letter" => self.dead_letter(named, step).await,
            "fleet" => self.fleet(named, step).await,
            "worker" => self.worker(named).await,
            "file" => self.file(named, step).await,
            "declare" => {
                self.stage.declare(self.cast.task_type(named)).await;
                Ok(())
            }
            "pause_ms" => {
                // time that has to pass, such as a lease
                tokio::time::sleep(ms(of)).await;
                Ok(())
            }
            _ => self.deliver_before(named, step).await,
        }
    }

    /// With `${id}`, `${dir}`, `${T.effect_key}` and `{"$kept": name, "at": pointer}` filled in.
    fn filled(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => {
                let mut text = text
                    .replace("${id}", &self.id)
                    .replace("${dir}", &self.stage.dir.to_string_lossy());
                for (name, sent) in &self.sent {
                    let key = format!("${{{name}.effect_key}}");
                    if text.contains(&key) {
                        text = text.replace(&key, &effect_key(&sent.task["of"]));
                    }
                }
                Value::String(text)
            }
            Value::Array(list) => list.iter().map(|value| self.filled(value)).collect(),
            Value::Object(fields) => match fields.get("$kept").and_then(Value::as_str) {
                Some(name) => {
                    let at = fields["at"].as_str().unwrap_or_default();
                    let kept = self
                        .kept
                        .get(name)
                        .unwrap_or_else(|| panic!("nothing is kept as {name:?}"));
                    kept.pointer(at).cloned().unwrap_or_default()
                }
                None => fields
                    .iter()
                    .map(|(key, value)| (key.clone(), self.filled(value)))
                    .collect(),
            },
            _ => value.clone(),
        }
    }

    fn sent(&self, name: &str) -> Result<&Sent, String> {
        self.sent
            .get(name)
            .ok_or_else(|| format!("no task is called {name:?}"))
    }

    async fn task(&mut self, name: &str, step: &Step) -> Seen {
        let like = step
            .get("like")
            .and_then(Value::as_str)
            .map(|like| self.sent(like).cloned())
            .transpose()?;
        let role = match (&like, step.get("role").and_then(Value::as_str)) {
            (_, Some(role)) => role.to_owned(),
            (Some(like), None) => like.role.clone(),
            (None, None) => return Err("a task has a role".to_owned()),
        };
        let mut of = like.as_ref().map_or_else(
            || json!({ "saga": uuid::Uuid::new_v4(), "step": "step", "direction": "do", "round": 1, "attempt": 1, "dispatch": 1 }),
            |like| like.task["of"].clone(),
        );
        for (key, value) in picked(step, &["direction", "attempt", "dispatch", "round", "item"]) {
            of[key] = value;
        }
        let input = match (step.get("input"), &like) {
            (Some(input), _) => self.cast.input(&role, input.clone()),
            (None, Some(like)) => like.task["input"].clone(),
            (None, None) => json!({}),
        };
        let late = ["echo", "late-effect"].contains(&role.as_str());
        let mut task = json!({
            "of": of, "task_type": self.cast.task_type(&role), "pool": "default", "inbox": "00",
            "idempotency_key": attempt(&of).idempotency_key(), "hold": if late { "late" } else { "claim" },
            "not_after": after(60_000), "timeout_ms": 20_000, "lease_ms": 30_000, "input": input,
        });
        for (key, value) in picked(
            step,
            &[
                "hold",
                "timeout_ms",
                "lease_ms",
                "act",
                "output",
                "before",
                "progress",
            ],
        ) {
            task[key] = value;
        }
        for (key, in_ms) in [("not_after", "not_after_ms"), ("ask_after", "ask_after_ms")] {
            if let Some(ms) = step.get(in_ms).and_then(Value::as_i64) {
                task[key] = after(ms);
            }
        }
        let id = attempt(&of).message_id().to_string();
        let body = json!({ "task@1": task }).to_string();
        self.sent.insert(
            name.to_owned(),
            Sent {
                task,
                role,
                id,
                body,
            },
        );
        if step.get("when") == Some(&json!("later")) {
            Ok(())
        } else {
            self.send(name).await
        }
    }

    async fn send(&mut self, name: &str) -> Seen {
        let sent = self.sent(name)?.clone();
        let key = format!("default.{}", self.cast.task_type(&sent.role));
        let id = sent.id.parse().map_err(|_| "a task has an id")?;
        let body = serde_json::from_str(&sent.body).map_err(|error| error.to_string())?;
        self.stage
            .send(topology::TASKS, key, "task@1", MessageId(id), &body)
            .await;
        Ok(())
    }

    /// Any message on a task queue; with `like` the body of a task.
    async fn message(&mut self, name: &str, step: &Step) -> Seen {
        let role = step["role"].as_str().unwrap_or_default().to_owned();
        let mut body = match (step.get("body"), step.get("like").and_then(Value::as_str)) {
            (Some(body), _) => body
                .as_str()
                .map_or_else(|| body.to_string(), str::to_owned),
            (None, Some(like)) => self.sent(like)?.body.clone(),
            (None, None) => String::new(),
        };
        if let Some(bytes) = step.get("padded_to").and_then(Value::as_u64) {
            body += &" ".repeat(
                usize::try_from(bytes)
                    .unwrap_or_default()
                    .saturating_sub(body.len()),
            );
        }
        let id = uuid::Uuid::new_v4().to_string();
        let mut properties = json!({ "message_id": id, "type": "task@1", "headers": {} });
        for (key, value) in step
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            properties[key] = value.clone();
        }
        if properties["message_id"].is_null() {
            properties
                .as_object_mut()
                .map(|all| all.remove("message_id"));
        }
        let key = format!("default.{}", self.cast.task_type(&role));
        if !self
            .stage
            .vhost
            .publish(topology::TASKS, &key, properties, &body)
            .await
        {
            return Err("the message reaches no queue".to_owned());
        }
        let task =
            serde_json::from_str::<Value>(&body).map_or(Value::Null, |body| body["task@1"].clone());
        self.sent.insert(
            name.to_owned(),
            Sent {
                task,
                role,
                id,
                body,
            },
        );
        Ok(())
    }

    /// Every golden example of a folder, one after another, each parked with the same reason.
    async fn each_example(&mut self, folder: &str, step: &Step) -> Seen {
        let folder = crate::root().join("schemas/json/examples").join(folder);
        let files = std::fs::read_dir(&folder).map_err(|error| error.to_string())?;
        let mut files: Vec<_> = files.flatten().map(|file| file.path()).collect();
        files.sort();
        for file in files {
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let sent = json!({ "role": step["role"], "body": text_of(&file) });
            self.message(&name, sent.as_object().expect("it is one"))
                .await?;
            let parked = self.dead_letter(&name, step).await;
            parked.map_err(|fault| format!("{name}: {fault}"))?;
        }
        Ok(())
    }

    /// The next report of a task. Claims that are asked again are passed over when something else is waited for.
    async fn see(&mut self, kind: &str, step: &Step) -> Seen {
        let name = step["of"].as_str().unwrap_or_default();
        loop {
            let heard = self
                .report_of(name, SOON)
                .await?
                .ok_or_else(|| format!("no {kind} came"))?;
            if heard.kind == "started" {
                self.claims.insert(name.to_owned(), heard.said.clone());
                if kind != "started" && !step.contains_key("no-claim") {
                    continue;
                }
            }
            if heard.kind != kind {
                return Err(format!(
                    "wanted {kind}, found {}: {}",
                    heard.kind, heard.said
                ));
            }
            if let Some(fault) = step
                .get("fits")
                .and_then(|fits| misfit(fits, Some(&heard.said), ""))
            {
                return Err(format!("{fault}\n    in {}", heard.said));
            }
            if let Some(kept_as) = step.get("as").and_then(Value::as_str) {
                let mut kept = heard.said;
                kept["message_id"] = heard.id.into();
                self.kept.insert(kept_as.to_owned(), kept);
            }
            return Ok(());
        }
    }

    /// The next new report that speaks of a task; those of others wait.
    async fn report_of(&mut self, name: &str, limit: Duration) -> Result<Option<Heard>, String> {
        let of = self.sent(name)?.task["of"].clone();
        let known: Vec<Value> = self
            .sent
            .values()
            .map(|sent| sent.task["of"].clone())
            .collect();
        let (until, mut others, mut found) = (Instant::now() + limit, Vec::new(), None);
        while found.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            let Some(heard) = self.stage.next_report(left).await else {
                break;
            };
            let heard = heard?;
            if !known.contains(&heard.said["of"]) {
                return Err(format!(
                    "a {} of a task nobody sent: {}",
                    heard.kind, heard.said
                ));
            }
            if heard.said["of"] != of {
                others.push(heard);
            } else if self.watch.is_new(&heard, self.stage.worker.as_str())? {
                found = Some(heard);
            }
        }
        others
            .into_iter()
            .rev()
            .for_each(|heard| self.stage.waiting.push_front(heard));
        Ok(found)
    }

    /// Nothing is said of a task for a while; claims that are asked again are no news.
    async fn see_none(&mut self, name: &str, step: &Step) -> Seen {
        let until = Instant::now() + step.get("for_ms").map_or(STAYS, ms);
        while let Some(heard) = self
            .report_of(name, until.saturating_duration_since(Instant::now()))
            .await?
        {
            if heard.kind != "started" || step.contains_key("no-claim") {
                return Err(format!("a {} came: {}", heard.kind, heard.said));
            }
        }
        Ok(())
    }

    /// At the end of a case nothing may be left that was not waited for.
    async fn nothing_more(&mut self) -> Seen {
        while let Some(heard) = self.stage.next_report(Duration::from_millis(50)).await {
            let heard = heard?;
            if self.watch.is_new(&heard, self.stage.worker.as_str())? && heard.kind != "started" {
                return Err(format!("at the end: a {} came: {}", heard.kind, heard.said));
            }
        }
        match self.stage.next_dead(Duration::from_millis(1)).await {
            Some(dead) => Err(format!(
                "at the end: a dead letter: {}",
                String::from_utf8_lossy(&dead.body)
            )),
            None => Ok(()),
        }
    }

    async fn answer(&mut self, name: &str, step: &Step, answer: Value) -> Seen {
        let of = self.sent(name)?.task["of"].clone();
        let run = match step.get("run") {
            Some(run) => run.clone(),
            None => self.claims.get(name).ok_or("nobody has claimed it")?["run"].clone(),
        };
        let grant = json!({ "of": of, "run": run, "worker": self.stage.worker, "answer": answer });
        self.control("grant@1", grant).await
    }

    async fn control(&mut self, kind: &'static str, message: Value) -> Seen {
        let key = match kind {
            "roll-call@1" => topology::CONTROL_ALL.to_owned(),
            _ => topology::control_key(&self.stage.worker),
        };
        let id = MessageId(uuid::Uuid::new_v4());
        self.stage
            .send(topology::CONTROL, key, kind, id, &json!({ kind: message }))
            .await;
        Ok(())
    }

    /// How an effect stands in the outside world: waits for it, or sees that it stays.
    async fn ledger(&mut self, key: &str, step: &Step) -> Seen {
        let wanted = Value::Object(
            picked(step, &["state", "done", "undone", "repeats"])
                .into_iter()
                .collect(),
        );
        let ledger = &self.cast.ledger;
        let is = async || {
            let effect = ledger.effect(key).await;
            let found = json!({
                "state": format!("{:?}", effect.state).to_lowercase(), "done": effect.done, "undone": effect.undone, "repeats": effect.repeats,
            });
            misfit(&wanted, Some(&found), "")
        };
        await_it(step, is).await
    }

    /// What a task queue holds.
    async fn queue(&mut self, role: &str, step: &Step) -> Seen {
        let queue = queue_of(self.cast.task_type(role));
        let wanted = Value::Object(picked(step, &["ready", "unacked"]).into_iter().collect());
        let vhost = &self.stage.vhost;
        let is = async || {
            let found = vhost.queue(&queue).await;
            let found = found.map(
                |q| json!({ "ready": q.messages_ready, "unacked": q.messages_unacknowledged }),
            );
            misfit(&wanted, found.as_ref(), "")
        };
        await_it(step, is).await
    }

    async fn bound(&mut self, queue: &str, how: &str) -> Seen {
        self.stage.bound(queue, how == "back").await;
        Ok(())
    }

    /// The next dead letter is a message that was sent, whole.
    async fn dead_letter(&mut self, name: &str, step: &Step) -> Seen {
        let sent = self.sent(name)?.clone();
        let dead = self
            .stage
            .next_dead(SOON)
            .await
            .ok_or("no dead letter came")?;
        if dead.body != sent.body.as_bytes() {
            return Err(format!(
                "its body is not what was sent: {}",
                String::from_utf8_lossy(&dead.body)
            ));
        }
        let task_type = self.cast.task_type(&sent.role);
        let queue = queue_of(task_type);
        let text = |name: &str| {
            dead.header(name)
                .and_then(|value| value.as_text().map(str::to_owned))
        };
        let mut wanted = vec![
            (
                "baton-dead-reason",
                step["reason"].as_str().unwrap_or_default().to_owned(),
            ),
            ("baton-dead-queue", queue.clone()),
            ("baton-dead-exchange", topology::TASKS.to_owned()),
            ("baton-dead-key", format!("default.{task_type}")),
        ];
        if let Some(id) = &dead.message_id {
            wanted.push((
                "baton-dead-id",
                baton_messages::dead::id_of(&queue, id, &dead.body).to_string(),
            ));
        }
        for (key, value) in step
            .get("headers")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            wanted.push((key, value.as_str().unwrap_or_default().to_owned()));
        }
        for (header, wanted) in wanted {
            let found = text(header);
            if found.as_deref() != Some(&wanted) {
                return Err(format!(
                    "header {header}: wanted {wanted:?}, found {found:?}"
                ));
            }
        }
        for header in ["baton-dead-at-ms", "baton-dead-deliveries"] {
            if dead
                .header(header)
                .and_then(|value| value.as_u64())
                .is_none_or(|number| number == 0)
            {
                return Err(format!("header {header} is {:?}", dead.header(header)));
            }
        }
        if text("baton-dead-by").is_none_or(|by| by.is_empty()) {
            return Err("it does not say who parked it: header baton-dead-by".to_owned());
        }
        let said = text("baton-dead-error").unwrap_or_default();
        let is_id = |id: Option<String>| id.is_some_and(|id| uuid::Uuid::parse_str(&id).is_ok());
        if said.is_empty() || said.contains("hunter2") || !is_id(text("baton-dead-id")) {
            return Err(format!(
                "its error is {said:?}, its id {:?}",
                text("baton-dead-id")
            ));
        }
        if dead.properties.delivery_mode != Some(2) {
            return Err("it is not persistent".to_owned());
        }
        Ok(())
    }

    /// A word of the fleet that is of a kind, fits, and lists or does not list the run of a task.
    async fn fleet(&mut self, kind: &str, step: &Step) -> Seen {
        if kind == "listen" {
            self.stage.listen_to_the_fleet().await;
            return Ok(());
        }
        let run_of = |name: Option<&Value>| {
            name.and_then(Value::as_str)
                .map(|name| self.claims.get(name).map(|claim| claim["run"].clone()))
        };
        let (lists, lists_not) = (
            run_of(step.get("lists")).flatten(),
            run_of(step.get("lists-not")).flatten(),
        );
        let until = Instant::now() + SOON;
        let mut last = "nothing came".to_owned();
        while let Some(delivery) = self
            .stage
            .next_of_fleet(until.saturating_duration_since(Instant::now()))
            .await
        {
            let (found, said) = of_fleet(&delivery)?;
            if said["worker"] != self.stage.worker.as_str() {
                return Err(format!("a {found} in the name of {}", said["worker"]));
            }
            if found != kind {
                continue;
            }
            let has = |run: &Value| {
                said["running"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|one| one["run"] == *run))
            };
            let misfits = step
                .get("fits")
                .and_then(|fits| misfit(fits, Some(&said), ""));
            match misfits {
                None if lists.as_ref().is_none_or(has) && !lists_not.as_ref().is_some_and(has) => {
                    return Ok(());
                }
                None => last = format!("the last one was {said}"),
                Some(fault) => last = fault,
            }
        }
        Err(format!("no such {kind}: {last}"))
    }

    async fn worker(&mut self, how: &str) -> Seen {
        match how {
            "kill" => self.stage.process().kill9(),
            "start" | "start-only" => {
                self.stage.process().start_again();
                if how == "start" {
                    self.stage.await_takers(self.cast, &self.case.roles).await;
                }
            }
            "takes" => self.stage.await_takers(self.cast, &self.case.roles).await,
            "stop" => self.stage.process().sigstop(),
            "go-on" => self.stage.process().sigcont(),
            "hold" => self.stage.proxy.hold(Relayed::Both),
            "release" => self.stage.proxy.resume(),
            "cut" => self.stage.proxy.cut(),
            "term" => {
                let pid = i32::try_from(self.stage.process().pid())
                    .ok()
                    .and_then(Pid::from_raw);
                let sent = pid.map(|pid| kill_process(pid, Signal::TERM));
                if !matches!(sent, Some(Ok(()))) {
                    return Err(format!("it cannot be told to end: {sent:?}"));
                }
            }
            "ends" => {
                let ended = self.stage.process().wait(SOON).await;
                if !ended.success() {
                    return Err(format!("it ended with {ended}"));
                }
            }
            _ => return Err(format!("a worker cannot {how}")),
        }
        Ok(())
    }

    /// A file in the folder of the case: written, waited for, or watched while nothing may change it.
    async fn file(&mut self, name: &str, step: &Step) -> Seen {
        let path = self.stage.dir.join(name);
        if let Some(text) = step.get("write").and_then(Value::as_str) {
            return std::fs::write(&path, text).map_err(|error| error.to_string());
        }
        if step.contains_key("grows") {
            return await_it(step, async || {
                text_of(&path)
                    .is_none()
                    .then(|| "it does not grow".to_owned())
            })
            .await;
        }
        if step.contains_key("rests") {
            let before = text_of(&path);
            let changed =
                async || (text_of(&path) != before).then(|| "somebody still writes it".to_owned());
            return await_it(&picked(step, &["stays_ms"]).into_iter().collect(), changed).await;
        }
        let wanted = step["is"].as_str();
        let found = async || {
            let found = text_of(&path);
            (found.as_deref() != wanted).then(|| format!("wanted {wanted:?}, found {found:?}"))
        };
        await_it(step, found).await
    }

    /// Delivers what lies in a queue so many times, as to workers that died of it.
    async fn deliver_before(&mut self, role: &str, step: &Step) -> Seen {
        let queue = queue_of(self.cast.task_type(role));
        let (times, count) = (
            step["times"].as_u64().unwrap_or_default(),
            step["messages"].as_u64().unwrap_or(1),
        );
        let count = usize::try_from(count).unwrap_or_default();
        for _ in 0..times {
            let vhost = &self.stage.vhost;
            await_until("the messages to be there", SOON, async || {
                vhost.peek(&queue, count).await.len() == count
            })
            .await;
        }
        Ok(())
    }
}

/// Waits until there is no fault; or, with `stays_ms`, sees that there is none for so long.
async fn await_it(step: &Step, mut fault: impl AsyncFnMut() -> Option<String>) -> Seen {
    let stays = step.get("stays_ms").map(ms);
    let (mut until, mut came) = (Instant::now() + SOON, false);
    loop {
        match (fault().await, stays) {
            (None, None) => return Ok(()),
            (None, Some(stays)) if !came => (until, came) = (Instant::now() + stays, true),
            (Some(fault), Some(_)) if came => return Err(format!("it did not stay so: {fault}")),
            (Some(fault), _) if Instant::now() >= until => return Err(fault),
            (None, Some(_)) if Instant::now() >= until => return Ok(()),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

fn picked(step: &Step, keys: &[&str]) -> Map<String, Value> {
    let there = keys
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), step.get(*key)?.clone())));
    there.collect()
}

fn ms(value: &Value) -> Duration {
    Duration::from_millis(value.as_u64().unwrap_or_default())
}

fn after(ms: i64) -> Value {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    json!(i64::try_from(now.as_millis()).unwrap_or_default() + ms)
}

fn attempt(of: &Value) -> AttemptRef {
    serde_json::from_value(of.clone()).expect("a case names an attempt")
}

fn effect_key(of: &Value) -> String {
    let of = attempt(of);
    IdempotencyKey::of(of.saga, &of.step, of.item, Direction::Do, of.round).to_string()
}
