//! What an orchestrator dies of each time it works on it takes nothing with it: neither its batch, nor what was in hand with it. It is put aside,
//! whole, after a bounded number of deaths, wherever it came from; and what nobody died of is not put aside.

use baton_it::poison::{Poison, Refusing};
use baton_it::{SOON, Setup, System};
use serde_json::{Value, json};

/// Nobody has to do them: what is reported is reported by hand.
const ONE: &str = "saga: one
version: 1
input: { type: object, properties: { name: { type: string }, dir: { type: string } } }
steps:
  - id: a
    task: test.echo@1
    timeout: 10m
    queue_timeout: 10m
";

/// A saga that waits for the end of its only step, and a worker's word that it is done.
async fn waiting(system: &System, name: &str) -> (String, Value) {
    let id = system.run("one", name).await;
    system.api.await_phase(&id, "a", "trying").await;
    let report = finished(&id, &system.api.saga(&id).await);
    (id, report)
}

/// On a database a commit that is stuck is not given up before its orchestrator is killed.
fn on_postgres(workers: usize) -> Setup {
    let setup = Setup::workers(workers).postgres();
    setup.orchestrator("store.statement_timeout_ms", "600000")
}

/// A system without workers, in which sagas can wait.
async fn begun(setup: Setup) -> System {
    let mut system = setup.start().await;
    system.await_served("test.echo@1").await;
    system.api.apply(ONE).await;
    system.workers[0].kill9();
    system
}

/// A row of the log of this saga that speaks of that.
fn record(poison: &Poison, saga: &str, word: &str) -> String {
    let id = poison.id(saga);
    format!("NEW.saga = (SELECT number FROM sagas WHERE id = {id}) AND NEW.entry LIKE '%{word}%'")
}

async fn letters_now(system: &System) -> Vec<Value> {
    let answer = system.api.ask("GET", "/v1/dead-letters", "", None).await;
    let letters = answer.and_then(|answer| answer.body["dead_letters"].as_array().cloned());
    letters.unwrap_or_default()
}

fn with_id<'a>(letters: &'a [Value], id: &str) -> Option<&'a Value> {
    letters.iter().find(|letter| letter["message_id"] == id)
}

/// Asks something about dead letters, and has an answer.
async fn post(system: &System, path: &str, body: Value) -> Value {
    let path = format!("/v1/dead-letters/{path}");
    let answer = system.api.ask("POST", &path, "", Some(body.to_string()));
    let answer = answer.await.expect("it answers");
    assert!(answer.status < 300, "{}: {}", answer.status, answer.body);
    answer.body
}

async fn one_report_of_a_batch(setup: Setup) {
    let mut system = begun(setup).await;
    let mut sagas = Vec::new();
    for name in ["before", "poison", "after", "behind", "last"] {
        sagas.push(waiting(&system, name).await);
    }
    system.orchestrator().process.kill9();
    let poison = Poison::of_store(&system).await;
    let when = record(&poison, &sagas[1].0, "reported");
    poison.on_insert("records", &when).await;
    let reports: Vec<&Value> = sagas.iter().map(|(_, report)| report).collect();
    let batch = json!({ "batch@1": { "reports": &reports[..3] } }).to_string();
    publish(&system, "baton.inbox", "together", &batch).await;
    publish(&system, "baton.inbox", "alone-1", &reports[3].to_string()).await;
    publish(&system, "baton.inbox", "alone-2", &reports[4].to_string()).await;

    let is_over = async |system: &System| !letters_now(system).await.is_empty();
    let deaths = poison.deaths_until(&mut system, is_over).await;
    // on a database it is delivered again without a death too: when its connection ends
    let least = if system.is_on_database() { 3 } else { 6 };
    assert!(
        deaths >= least,
        "it was killed by the poison: {deaths} deaths"
    );
    for (number, (id, _)) in sagas.iter().enumerate() {
        if number != 1 {
            system.api.await_status(id, "completed", SOON).await;
        }
    }
    let letters = system.api.dead_letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    let letter = &letters[0];
    assert_eq!(letter["reason"], "delivered-too-often", "{letter}");
    assert_eq!(letter["saga"], sagas[1].0, "{letter}");
    assert_eq!(letter["message_id"], "together.2", "{letter}");
    let body: Value = serde_json::from_str(letter["body"].as_str().expect("it is text"))
        .expect("a report as it would be alone");
    assert_eq!(body, sagas[1].1);
    assert_eq!(system.api.status(&sagas[1].0).await, "running");
    system
        .vhost
        .await_messages("baton.inbox.00", 0, 0, SOON)
        .await;
    assert_eq!(system.api.dead_letters().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_by_one_report_of_a_batch_and_only_that_report_is_put_aside() {
    one_report_of_a_batch(Setup::workers(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_kill_by_one_report_of_a_batch_and_only_that_report_is_put_aside() {
    one_report_of_a_batch(on_postgres(1)).await;
}

/// A report that died, as a letter.
async fn dead_report(system: &System, name: &str, report: &Value) -> String {
    let headers = json!({ "baton-dead-reason": "delivered-too-often" });
    let properties = json!({ "message_id": name, "type": "finished@1", "headers": headers });
    let body = report.to_string();
    let routed = system.vhost.publish("baton.dead", "00", properties, &body);
    assert!(routed.await, "it is bound");
    let what = format!("the letter of {name}");
    baton_harness::await_some(&what, SOON, async || {
        let letter = with_id(&letters_now(system).await, name)?.clone();
        Some(letter["id"].as_str()?.to_owned())
    })
    .await
}

/// Sent back to work it kills again. After a few deaths its letter is dead once more, and says why; whoever sent it back lives, and what lay beside it is done.
async fn a_letter_that_is_replayed(setup: Setup, is_one_of_many: bool) {
    let mut system = begun(setup).await;
    let (deadly, report) = waiting(&system, "deadly").await;
    let (beside, its_report) = waiting(&system, "beside").await;
    let letter = dead_report(&system, "deadly", &report).await;
    let its_letter = dead_report(&system, "beside", &its_report).await;
    system.orchestrator().process.kill9();
    let poison = Poison::of_store(&system).await;
    let when = record(&poison, &deadly, "reported");
    poison.on_insert("records", &when).await;
    system.orchestrator().process.start_again();
    system.await_ready().await;
    if is_one_of_many {
        let asked = json!({ "reason": "try", "wait_s": 0, "stop_at": 100 });
        post(&system, "replays", asked).await;
    } else {
        let (api, path) = (
            system.api.clone(),
            format!("/v1/dead-letters/{letter}/replay"),
        );
        // nobody answers: whoever is asked is killed over it
        let because = json!({ "reason": "try" }).to_string();
        drop(tokio::spawn(async move {
            api.ask("POST", &path, "", Some(because)).await
        }));
    }
    poison.kills(&mut system).await;

    let path = format!("/v1/dead-letters/{letter}");
    let is_over = async |system: &System| {
        let answer = system.api.ask("GET", &path, "", None).await;
        answer.is_some_and(|answer| answer.body["state"] == "dead")
    };
    let deaths = poison.deaths_until(&mut system, is_over).await;
    assert!(deaths >= 3, "it was tried alone: {deaths} more deaths");
    let now = system.api.get(&path).await;
    let outcome = now["outcome"].as_str().unwrap_or_default();
    assert!(outcome.contains("the orchestrator died"), "{now}");
    assert_eq!(system.api.status(&deadly).await, "running");
    if !is_one_of_many {
        let because = json!({ "reason": "of its own" });
        post(&system, &format!("{its_letter}/replay"), because).await;
    }
    system.api.await_status(&beside, "completed", SOON).await;
    assert!(system.orchestrator().process.is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_by_a_letter_that_is_replayed_and_it_is_dead_again_and_those_beside_it_are_done() {
    a_letter_that_is_replayed(Setup::workers(1), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_by_one_of_many_that_are_replayed_and_it_is_dead_again_and_those_beside_it_are_done() {
    a_letter_that_is_replayed(Setup::workers(1), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_kill_by_one_of_many_that_are_replayed_and_it_is_dead_again_and_those_beside_it_are_done()
 {
    a_letter_that_is_replayed(on_postgres(1), true).await;
}

/// The store refuses a report, and the process is killed again and again meanwhile: it did not die of the report.
async fn a_store_that_takes_no_commit(setup: Setup) {
    let mut system = begun(setup).await;
    let (id, report) = waiting(&system, "innocent").await;
    system.orchestrator().process.kill9();
    let poison = Poison::of_store(&system).await;
    let when = record(&poison, &id, "reported");
    // no fault of the row, but at this row alone
    poison.refuses_records(&when, Refusing::Full).await;
    publish(&system, "baton.inbox", "innocent", &report.to_string()).await;
    for _ in 0..12 {
        system.orchestrator().process.start_again();
        system
            .await_ready_saying("the store takes no commits")
            .await;
        system.orchestrator().process.kill9();
    }
    let alone = "is decided one by one, each alone";
    let log = system.orchestrator().process.log();
    assert!(log.contains(alone), "it came under suspicion:\n{log}");
    poison.takes_records().await;
    system.orchestrator().process.start_again();
    system.api.await_status(&id, "completed", SOON).await;
    assert_eq!(system.api.dead_letters().await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_while_the_store_takes_no_commit_and_no_report_is_blamed_for_it() {
    a_store_that_takes_no_commit(Setup::workers(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_kill_while_the_store_takes_no_commit_and_no_report_is_blamed_for_it() {
    a_store_that_takes_no_commit(on_postgres(1)).await;
}

/// What cannot be decided, or whose rows the store refuses, is kept, and its saga asks for somebody; its neighbours in the batch go on.
async fn a_report_whose_rows_are_refused(setup: Setup) {
    let mut system = begun(setup).await;
    let mut sagas = Vec::new();
    for name in ["before", "refused", "after"] {
        sagas.push(waiting(&system, name).await);
    }
    system.orchestrator().process.kill9();
    let poison = Poison::of_store(&system).await;
    let when = record(&poison, &sagas[1].0, "reported");
    poison.refuses_records(&when, Refusing::Constraint).await;
    system.orchestrator().process.start_again();
    let reports: Vec<&Value> = sagas.iter().map(|(_, report)| report).collect();
    let batch = json!({ "batch@1": { "reports": reports } }).to_string();
    publish(&system, "baton.inbox", "together", &batch).await;
    for place in [0, 2] {
        let id = &sagas[place].0;
        system.api.await_status(id, "completed", SOON).await;
    }
    let letters = system.api.dead_letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["saga"], sagas[1].0, "{letters:?}");
    let run = sagas[1].1["finished@1"]["run"]
        .as_str()
        .expect("it has one");
    let body = letters[0]["body"].as_str().expect("it is text");
    assert!(body.contains(run), "what was reported is kept: {body}");
    let items = system.api.work_items().await;
    assert_eq!(items.len(), 1, "{items:?}");
    assert_eq!(items[0]["saga"], sagas[1].0, "{items:?}");
    assert_eq!(items[0]["item"]["kind"], "broken", "{items:?}");
    assert_eq!(
        system.api.status(&sagas[1].0).await,
        "running",
        "its attempt is open until somebody reports it or its time is over"
    );
    system
        .vhost
        .await_messages("baton.inbox.00", 0, 0, SOON)
        .await;
    // with the cause gone it is told once more, by its letter
    poison.takes_records().await;
    let letter = letters[0]["id"].as_str().expect("an id");
    let plan = post(&system, "replays", json!({ "dry_run": true })).await;
    assert_eq!(
        plan["plan"]["routes"],
        json!({ "report": 1 }),
        "where it goes: {plan}"
    );
    let because = json!({ "reason": "mended" });
    let told = post(&system, &format!("{letter}/replay"), because).await;
    assert_eq!(told["state"], "resolved", "{told}");
    system.api.await_phase(&sagas[1].0, "a", "succeeded").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_whose_rows_are_refused_is_kept_and_its_saga_alone_asks_for_somebody() {
    a_report_whose_rows_are_refused(Setup::workers(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_report_whose_rows_are_refused_is_kept_and_its_saga_alone_asks_for_somebody()
{
    a_report_whose_rows_are_refused(on_postgres(1)).await;
}

/// A dead letter: what its saga would be told kills. It is kept unread, and what lay beside it is taken in as ever. In a file: on a database the saga may be another
/// loop's, which is told by its inbox, where what kills is put aside as a report is.
async fn a_dead_letter(setup: Setup) {
    let mut system = begun(setup).await;
    let (id, _) = waiting(&system, "deadly").await;
    // committed is not yet published
    let queue = "baton.task.default.test.echo@1";
    system.vhost.await_messages(queue, 1, 0, SOON).await;
    let task = system.vhost.peek_one(queue).await;
    system.orchestrator().process.kill9();
    let poison = Poison::of_store(&system).await;
    let when = record(&poison, &id, "dead");
    poison.on_insert("records", &when).await;
    publish(&system, "baton.dead", "before", "no {JSON").await;
    publish(&system, "baton.dead", "deadly", &task.payload).await;
    publish(&system, "baton.dead", "behind", "no {JSON either").await;

    let is_over = async |system: &System| letters_now(system).await.len() == 3;
    let deaths = poison.deaths_until(&mut system, is_over).await;
    assert!(deaths > 5, "it was killed by the poison: {deaths} deaths");
    let letters = system.api.dead_letters().await;
    for id in ["before", "behind"] {
        let letter = with_id(&letters, id).expect("it is kept");
        assert_eq!(letter["reason"], "broker-rejected", "{letter}");
    }
    let letter = with_id(&letters, "deadly").expect("it is kept");
    assert_eq!(letter["reason"], "delivered-too-often", "{letter}");
    assert_eq!(letter["body"], task.payload);
    assert!(letter["properties"].to_string().contains("of-the-test"));
    assert_eq!(
        system.api.status(&id).await,
        "running",
        "nobody was told of it"
    );
    system.vhost.await_messages("baton.dead", 0, 0, SOON).await;
    system.await_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_by_a_dead_letter_and_it_is_kept_unread_and_its_neighbours_as_ever() {
    a_dead_letter(Setup::workers(1)).await;
}

/// Not even its bytes can be kept: it stays where it is, untouched, and that is said for as long as it lies there.
async fn keeping_a_dead_letter(setup: Setup) {
    let mut system = setup.start().await;
    system.orchestrator().process.kill9();
    let poison = Poison::of_store(&system).await;
    poison
        .on_insert("dead_letters", "NEW.message_id = 'deadly'")
        .await;
    publish(&system, "baton.unroutable", "before", "anything").await;
    publish(&system, "baton.unroutable", "deadly", "anything").await;
    publish(&system, "baton.unroutable", "behind", "anything").await;

    let is_over = async |system: &System| {
        let answer = system.api.ask("GET", "/readyz", "", None).await;
        answer.is_some_and(|answer| {
            answer
                .body
                .to_string()
                .contains("1 dead letters cannot be kept and stay in baton.unroutable")
        })
    };
    let deaths = poison.deaths_until(&mut system, is_over).await;
    assert!(deaths > 8, "it was killed by the poison: {deaths} deaths");
    system
        .vhost
        .await_messages("baton.unroutable", 0, 1, SOON)
        .await;
    publish(&system, "baton.unroutable", "later", "anything").await;
    baton_harness::await_until("those beside it to be kept", SOON, async || {
        letters_now(&system).await.len() == 3
    })
    .await;
    let kept = letters_now(&system).await;
    assert_eq!(with_id(&kept, "deadly"), None);
    let unroutable = |one: &Value| one["reason"] == "unroutable";
    assert!(kept.iter().all(unroutable), "{kept:?}");
    let healthy = system.api.ask("GET", "/healthz", "", None).await;
    assert_eq!(healthy.map(|answer| answer.status), Some(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_by_keeping_a_dead_letter_and_it_is_left_in_its_queue() {
    keeping_a_dead_letter(Setup::workers(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_kill_by_keeping_a_dead_letter_and_it_is_left_in_its_queue() {
    keeping_a_dead_letter(on_postgres(0)).await;
}

/// A saga whose next attempt has no number left, so that deciding upon it overflows: a defect of ours, as real as they come.
const STUCK: &str = "saga: stuck
version: 1
input: { type: object, properties: { name: { type: string }, dir: { type: string } } }
steps:
  - id: a
    task: test.effect@1
    with: { key: stuck, fail: final }
    on_error: park
";

async fn deciding_that_panics(setup: Setup) {
    let mut system = setup.start().await;
    system.await_served("test.effect@1").await;
    system.api.apply(STUCK).await;
    system.api.apply(ONE).await;
    let stuck = system.run("stuck", "stuck").await;
    system.api.await_status(&stuck, "parked", SOON).await;
    system.workers[0].kill9();
    let (beside, report) = waiting(&system, "beside").await;
    system.orchestrator().process.kill9();
    let poison = Poison::of_store(&system).await;
    let id = poison.id(&stuck);
    let numbers = format!(
        r#"UPDATE records SET entry = replace(entry, '"attempt":1', '"attempt":4294967295')
            WHERE saga = (SELECT number FROM sagas WHERE id = {id});
           DELETE FROM snapshots WHERE saga = {id}"#
    );
    poison.run(&numbers).await;
    system.orchestrator().process.start_again();
    system.await_ready().await;
    let act = json!({ "reason": "again" });
    let told = system.api.act(&stuck, "steps/a/retry", act).await;
    assert!(told.status < 300, "{}: {}", told.status, told.body);

    baton_harness::await_until("a work item about the defect", SOON, async || {
        let items = system.api.work_items().await;
        items
            .iter()
            .any(|item| item["item"]["kind"] == "broken" && item["saga"] == *stuck)
    })
    .await;
    let kept = letters_now(&system).await;
    assert_eq!(kept.len(), 1, "the input is kept: {kept:?}");
    let error = kept[0]["error"].as_str().unwrap_or_default();
    assert!(error.contains("panicked"), "{error}");
    assert_eq!(kept[0]["kind"], "input/timer-fired", "{kept:?}");
    assert_eq!(kept[0]["saga"], *stuck, "{kept:?}");
    assert!(system.orchestrator().process.is_running());
    // told once more it is the same, and takes nobody with it: neither a plan nor a replay
    let plan = post(&system, "replays", json!({ "dry_run": true })).await;
    assert_eq!(plan["plan"]["found"], 1, "{plan}");
    let letter = kept[0]["id"].as_str().expect("an id");
    let because = json!({ "reason": "once more" });
    let told = post(&system, &format!("{letter}/replay"), because).await;
    assert_eq!(told["state"], "dead", "{told}");
    publish(&system, "baton.inbox", "beside", &report.to_string()).await;
    system.api.await_status(&beside, "completed", SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deciding_that_panics_parks_its_saga_alone_and_its_input_is_kept() {
    deciding_that_panics(Setup::workers(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_deciding_that_panics_parks_its_saga_alone_and_its_input_is_kept() {
    deciding_that_panics(on_postgres(1)).await;
}

async fn publish(system: &System, exchange: &str, id: &str, body: &str) {
    let properties =
        json!({ "message_id": id, "delivery_mode": 2, "headers": { "from": "of-the-test" } });
    let routed = system.vhost.publish(exchange, "00", properties, body).await;
    assert!(routed, "{exchange} is bound");
}

/// A worker's word that the only step is done.
fn finished(id: &str, saga: &Value) -> Value {
    let dispatch = &saga["steps"][0]["attempts"][0]["dispatch"];
    json!({ "finished@1": {
        "of": { "saga": id, "step": "a", "direction": "do", "round": 1, "attempt": 1, "dispatch": dispatch },
        "run": uuid::Uuid::new_v4(), "worker": "by-hand", "started": true, "sole": true,
        "result": { "succeeded": { "output": { "value": null } } }, "started_at": 1, "finished_at": 2,
    }})
}
