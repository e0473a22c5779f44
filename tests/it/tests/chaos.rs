//! Sagas of three steps while orchestrator, worker and broker, or database, are killed at random moments: each ends as promised, and the ledger shows
//! each effect once, or done and taken back, none lost and none half. `BATON_SEED` repeats the moments; `BATON_LONG=1` makes it a thousand
//! sagas and ten kills of each.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use baton_harness::{Broker, Postgres, Process, await_until};
use baton_it::oracle::Book;
use baton_it::sagas::{Saga, written};
use baton_it::{Chance, Setup, System, long};
use serde_json::Value;

/// How long after the last kill everything has to have ended: leases, and what may have reached two workers, are waited for.
const END_LIMIT: Duration = Duration::from_secs(240);
/// How long one of the killed may take to be back.
const BACK_LIMIT: Duration = Duration::from_secs(120);
/// How long a broker or a database that has been killed stays away, at most.
const AWAY_MAX: Duration = Duration::from_secs(2);

/// Whether a step of a saga is claimed, held late, or a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Claimed,
    Late,
    File,
}

/// One definition and what it must come to.
struct Plan {
    saga: Saga,
    name: &'static str,
    /// The steps with an effect, in order.
    steps: &'static [(&'static str, Kind)],
    /// Steps of which the later must be undone before the earlier.
    order: &'static [(&'static str, &'static str)],
    /// Whether its last step fails for good.
    fails: bool,
}

fn plans() -> Vec<Plan> {
    use Kind::{Claimed, File, Late};
    const FAIL: &str = ", fail: final";
    // long enough for kills to meet tasks in hand
    const BEFORE: &str = ", delay_before_ms: 400";
    const AFTER: &str = ", delay_after_ms: 400";
    let plan = |name, fails, steps, order, made: fn(Saga) -> Saga| Plan {
        saga: made(Saga::named(name)),
        name,
        steps,
        order,
        fails,
    };
    vec![
        plan(
            "row",
            false,
            &[("a", Claimed), ("b", Late), ("c", Claimed)],
            &[],
            |saga| saga.effect("a", AFTER).late("b", AFTER).effect("c", BEFORE),
        ),
        plan(
            "row-fails",
            true,
            &[("a", Claimed), ("b", Claimed)],
            &[("b", "a")],
            |saga| {
                saga.effect("a", BEFORE)
                    .effect("b", AFTER)
                    .effect("c", FAIL)
            },
        ),
        plan(
            "fork",
            false,
            &[("a", Claimed), ("b", Late), ("c", Claimed)],
            &[],
            |saga| {
                saga.effect("a", "")
                    .task(
                        "b",
                        "test.effect-late@1",
                        BEFORE,
                        "after: [a]\n    timeout: 5s\n    ",
                    )
                    .task(
                        "c",
                        "test.effect@1",
                        AFTER,
                        "after: [a]\n    timeout: 30s\n    ",
                    )
            },
        ),
        plan(
            "fork-fails",
            true,
            &[("a", Claimed), ("b", Claimed)],
            &[("b", "a")],
            |saga| {
                saga.effect("a", AFTER)
                    .task(
                        "b",
                        "test.effect@1",
                        BEFORE,
                        "after: [a]\n    timeout: 30s\n    ",
                    )
                    .task(
                        "c",
                        "test.effect@1",
                        FAIL,
                        "after: [a]\n    timeout: 30s\n    ",
                    )
            },
        ),
        plan(
            "file",
            false,
            &[("w", File), ("a", Claimed), ("b", Late)],
            &[],
            |saga| saga.file("w").effect("a", BEFORE).late("b", AFTER),
        ),
        plan(
            "file-fails",
            true,
            &[("w", File), ("a", Claimed)],
            &[],
            |saga| saga.file("w").effect("a", AFTER).effect("c", FAIL),
        ),
        plan(
            "late-fails",
            true,
            &[("a", Late), ("b", Late)],
            &[("b", "a")],
            |saga| saga.late("a", AFTER).late("b", "").late("c", FAIL),
        ),
        plan(
            "flaky",
            false,
            &[("a", Claimed), ("b", Claimed), ("c", Late)],
            &[],
            |saga| {
                saga.effect("a", ", fail_until_attempt: 2")
                    .effect("b", AFTER)
                    .late("c", ", fail_until_attempt: 2")
            },
        ),
    ]
}

/// What stood in the file of a saga before it began; every second one had none.
fn original(number: usize) -> Option<String> {
    number
        .is_multiple_of(2)
        .then(|| format!("the original of {number}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_orchestrator_worker_and_broker_and_every_saga_ends_as_promised() {
    let (count, kills) = if long() { (1_000, 10) } else { (120, 2) };
    let system = Setup::workers(2).own_broker();
    every_saga_ends_as_promised(system, count, kills, |system| {
        Third::Broker(system.broker.clone())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_orchestrator_worker_and_database_and_every_saga_ends_as_promised() {
    let (count, kills) = if long() { (1_000, 10) } else { (60, 2) };
    // a name of its own, so that it need not wait for its own lease; and a lease that a database away for a while does not end
    let system = Setup::workers(2)
        .own_postgres()
        .orchestrator("service.instance", "chaos")
        .orchestrator("store.lease_ms", "60000");
    every_saga_ends_as_promised(system, count, kills, |system| {
        Third::Postgres(system.postgres())
    })
    .await;
}

/// What is killed beside orchestrator and workers.
enum Third {
    Broker(Broker),
    Postgres(Postgres),
}

impl Third {
    async fn killed_for(&self, away: Duration) {
        match self {
            Self::Broker(broker) => {
                broker.kill9();
                tokio::time::sleep(away).await;
                broker.start().await;
            }
            Self::Postgres(server) => {
                server.kill9();
                tokio::time::sleep(away).await;
                server.start().await;
            }
        }
    }
}

async fn every_saga_ends_as_promised(
    setup: Setup,
    count: usize,
    kills: usize,
    third: impl Fn(&System) -> Third,
) {
    let chance = Chance::of_environment();
    let mut system = setup.orchestrator("sagas.idle_ms", "2000").start().await;
    let third = third(&system);
    for task_type in ["test.effect@1", "test.effect-late@1", "file.write@1"] {
        system.await_served(task_type).await;
    }
    let plans = plans();
    for plan in &plans {
        system.apply(&[&plan.saga]).await;
    }
    for number in 0..count {
        if let Some(text) = original(number) {
            std::fs::write(system.file(&format!("n{number}.txt")), text)
                .expect("it can be written");
        }
    }

    let every = Duration::from_millis(150);
    let begun = Instant::now();
    let ids = storm(&mut system, &chance, &plans, (count, kills), every, &third).await;
    let stormed = begun.elapsed();
    all_end(&system, &ids).await;
    says(&format!(
        "{count} sagas, {kills} kills of each: storm {stormed:.1?}, everything ended after {:.1?}",
        begun.elapsed()
    ));
    at_rest(&system).await;
    judge(&system, &plans, &ids).await;
}

/// Starts the sagas one after another while the three are killed side by side. The sagas' ids, by number.
async fn storm(
    system: &mut System,
    chance: &Chance,
    plans: &[Plan],
    (count, kills): (usize, usize),
    every: Duration,
    third: &Third,
) -> Vec<String> {
    let most = every * u32::try_from(count / kills).unwrap_or(u32::MAX);
    let files = system.files.clone();
    let api = system.api.clone();
    let starting = async {
        let mut ids = Vec::new();
        for number in 0..count {
            let plan = &plans[number % plans.len()];
            let name = format!("n{number}");
            let input = serde_json::json!({ "name": name, "dir": files });
            // the same key is the same saga, however often it has to be asked for
            ids.push(api.start(plan.name, &input, &name).await);
            tokio::time::sleep(every).await;
        }
        ids
    };
    let url = system.api.url().to_owned();
    let (orchestrator, workers) = system.processes();
    let (ids, (), (), ()) = tokio::join!(
        starting,
        kill_orchestrator(orchestrator, &url, chance.part(1), kills, most),
        kill_workers(workers, chance.part(2), kills, most),
        kill_third(third, chance.part(3), kills, most),
    );
    ids
}

async fn kill_orchestrator(
    process: &mut Process,
    url: &str,
    mut chance: Chance,
    kills: usize,
    most: Duration,
) {
    for _ in 0..kills {
        tokio::time::sleep(chance.between(Duration::ZERO, most)).await;
        process.kill9();
        process.start_again();
        process
            .wait_for_http(&format!("{url}/healthz"), BACK_LIMIT)
            .await;
    }
}

async fn kill_workers(workers: &mut [Process], mut chance: Chance, kills: usize, most: Duration) {
    for _ in 0..kills {
        tokio::time::sleep(chance.between(Duration::ZERO, most)).await;
        let victim = usize::try_from(chance.below(workers.len() as u64)).unwrap_or(0);
        workers[victim].kill9();
        workers[victim].start_again();
    }
}

async fn kill_third(third: &Third, mut chance: Chance, kills: usize, most: Duration) {
    for _ in 0..kills {
        tokio::time::sleep(chance.between(Duration::ZERO, most)).await;
        third
            .killed_for(chance.between(Duration::ZERO, AWAY_MAX))
            .await;
    }
}

/// Waits until every saga has ended.
async fn all_end(system: &System, ids: &[String]) {
    let mut last = BTreeMap::new();
    let begun = Instant::now();
    while begun.elapsed() < END_LIMIT {
        last = statuses(system, ids).await;
        if last.values().all(|status| ended(status)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let mut open = String::new();
    for (id, status) in last.iter().filter(|(_, status)| !ended(status)).take(5) {
        open += &format!("\n{id} is {status}: {}", system.api.records(id).await);
    }
    panic!("waited {END_LIMIT:?} in vain for every saga to end:{open}");
}

async fn statuses(system: &System, ids: &[String]) -> BTreeMap<String, String> {
    let all = system.api.sagas().await;
    let known: BTreeMap<&str, &str> = all
        .iter()
        .filter_map(|saga| Some((saga["id"].as_str()?, saga["status"].as_str()?)))
        .collect();
    ids.iter()
        .map(|id| {
            let status = known.get(id.as_str()).copied().unwrap_or("not there");
            (id.clone(), status.to_owned())
        })
        .collect()
}

fn ended(status: &str) -> bool {
    ["completed", "compensated"].contains(&status)
}

/// Waits until no message is on its way and nobody has one in hand: whatever could still act has acted.
async fn at_rest(system: &System) {
    await_until("every queue to be empty", END_LIMIT, async || {
        let queues = system.vhost.queues().await;
        let busy = queues.iter().filter(|queue| {
            queue.name.starts_with("baton.task.") || queue.name.starts_with("baton.inbox.")
        });
        busy.map(|queue| queue.messages_ready + queue.messages_unacknowledged)
            .sum::<u64>()
            == 0
    })
    .await;
}

async fn judge(system: &System, plans: &[Plan], ids: &[String]) {
    let statuses = statuses(system, ids).await;
    let book = Book::of(&system.ledger).await;
    let mut wrong = Vec::new();
    let mut tally = BTreeMap::<(&str, &str), u32>::new();
    let mut lost = 0;
    for (number, id) in ids.iter().enumerate() {
        let plan = &plans[number % plans.len()];
        let status = statuses[id].as_str();
        *tally.entry((plan.name, status)).or_default() += 1;
        let faults = faults(system, plan, number, status, &book);
        let records = system.api.records(id).await;
        lost += records.matches("\"why\":\"lease-over\"").count();
        if !faults.is_empty() {
            wrong.push(format!(
                "{} n{number} {id} {status}:\n{}\n{records}",
                plan.name,
                faults.join("\n")
            ));
        }
    }
    says(&format!(
        "{tally:?}; claimed attempts lost with their worker: {lost}"
    ));
    let dead = system.api.dead_letters().await;
    assert_eq!(dead, Vec::<Value>::new(), "nothing here deserves to die");
    assert_eq!(system.api.work_items().await, Vec::<Value>::new());
    assert!(
        wrong.is_empty(),
        "{} sagas are not as promised:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

/// What is wrong with one saga that has ended.
fn faults(system: &System, plan: &Plan, number: usize, status: &str, book: &Book) -> Vec<String> {
    let name = format!("n{number}");
    let file = system.file_text(&format!("{name}.txt"));
    let mut faults = Vec::new();
    let promised = if plan.fails {
        "compensated"
    } else {
        "completed"
    };
    if status != promised {
        faults.push(format!("should be {promised}"));
    }
    for (step, kind) in plan.steps {
        let key = format!("{name}-{step}");
        match (kind, status) {
            (Kind::File, "completed") => {
                faults.extend(
                    (file != Some(written(&name))).then(|| format!("the file holds {file:?}")),
                );
            }
            (Kind::File, _) => {
                faults
                    .extend((file != original(number)).then(|| format!("the file holds {file:?}")));
            }
            (_, "completed") => faults.extend(book.not_done_once(&key)),
            (_, _) => faults.extend(book.not_taken_back(&key)),
        }
        if *kind == Kind::Claimed {
            faults.extend(book.called_twice(&key));
        }
    }
    if plan.fails {
        faults.extend(book.ever_done(&format!("{name}-c")));
    }
    for (first, then) in plan.order {
        let (first, then) = (format!("{name}-{first}"), format!("{name}-{then}"));
        faults.extend(book.undone_out_of_order(&first, &then));
    }
    faults
}

#[expect(
    clippy::print_stderr,
    reason = "what a long run came to belongs in its output"
)]
fn says(line: &str) {
    eprintln!("{line}");
}
