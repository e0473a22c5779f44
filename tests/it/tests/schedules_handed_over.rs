//! A schedule whose owner goes about the very moment a nominal time comes: killed, stopped past its lease, or ended in order. Every nominal time is fired
//! once, also those that came while nobody led, and by one that wakes up too late none a second time. Counted in the ledger, by their names. So is one that is
//! fired by hand, however often its owner is asked.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_harness::{Process, await_some, await_until};
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{AFTER_A_LEASE, Api, Chance, SOON, Setup, System, long};
use tokio_postgres::Client;

/// Between two nominal times.
const EVERY: Duration = Duration::from_secs(2);
/// How far from a nominal time it may happen, before or after.
const ABOUT: Duration = Duration::from_millis(150);

/// Longer than a member waits for another's answer before it asks again (5 s), and shorter than a client waits.
const STOPPED: Duration = Duration::from_millis(6_500);

const SCHEDULE: &str = "on:
  - schedule: \"*/2 * * * * *\"
    catch_up: all
    overlap: allow
    input: { name: \"${ schedule.time }\" }
steps:";

/// What happens to whoever leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Killed,
    /// Until another leads; then it wakes up and goes on.
    Stopped,
    Ended,
}

const FAULTS: [Fault; 3] = [Fault::Killed, Fault::Stopped, Fault::Ended];

struct Two {
    system: System,
    second: Process,
    api: Api,
    client: Client,
}

impl Two {
    async fn start(setup: Setup) -> Self {
        let system = setup
            .orchestrator("service.instance", "first")
            .start()
            .await;
        let (launch, api) = system.another_orchestrator();
        let second = launch.env("BATON__SERVICE__INSTANCE", "second").start();
        system.await_takers("test.effect@1", 2).await;
        let client = system.database().client().await;
        let two = Self {
            system,
            second,
            api,
            client,
        };
        two.await_both().await;
        two
    }

    async fn await_both(&self) {
        let sql =
            "SELECT count(DISTINCT owner) FROM partitions WHERE lease_until > clock_timestamp()";
        await_until("both to drive something", AFTER_A_LEASE, async || {
            let row = self.client.query_one(sql, &[]).await;
            row.is_ok_and(|row| row.get::<_, i64>(0) == 2)
        })
        .await;
    }

    async fn leader(&self) -> Option<String> {
        let sql = "SELECT owner FROM partitions WHERE id = 0 AND lease_until > clock_timestamp()";
        let row = self.client.query_opt(sql, &[]).await.ok()??;
        Some(row.get(0))
    }

    fn process(&mut self, name: &str) -> &mut Process {
        if name == "first" {
            self.system.orchestrator().process
        } else {
            &mut self.second
        }
    }

    async fn fired(&self) -> usize {
        Book::of(&self.system.ledger).await.keys().count()
    }

    /// Lets it befall whoever leads about a nominal time, waits until another has fired, and has him come back.
    async fn round(&mut self, fault: Fault, chance: &mut Chance) {
        let leader = await_some("somebody to lead", SOON, async || self.leader().await).await;
        about_a_nominal_time(chance).await;
        let process = self.process(&leader);
        match fault {
            Fault::Killed => process.kill9(),
            Fault::Stopped => process.sigstop(),
            Fault::Ended => assert!(process.sigterm_and_wait(SOON).await.success()),
        }
        let what = format!("another to lead: {leader} is {fault:?}");
        await_until(&what, AFTER_A_LEASE, async || {
            self.leader().await.is_some_and(|now| now != leader)
        })
        .await;
        let before = self.fired().await;
        await_until("the schedule to go on", AFTER_A_LEASE, async || {
            self.fired().await > before + 1
        })
        .await;
        let process = self.process(&leader);
        match fault {
            Fault::Killed | Fault::Ended => process.start_again(),
            Fault::Stopped => process.sigcont(),
        }
        self.await_both().await;
    }
}

/// Sleeps until the next nominal time, a little less or a little more.
async fn about_a_nominal_time(chance: &mut Chance) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("it is later than 1970").as_millis();
    let since = u64::try_from(now % EVERY.as_millis()).expect("less than two seconds");
    let until_next = EVERY.saturating_sub(Duration::from_millis(since));
    let moment = until_next + chance.between(Duration::ZERO, ABOUT * 2);
    tokio::time::sleep(moment.saturating_sub(ABOUT)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_nominal_time_is_fired_once_whatever_befalls_who_leads_about_it() {
    let rounds = if long() { 12 } else { FAULTS.len() };
    let mut chance = Chance::of_environment();
    let mut two = Two::start(Setup::workers(2).postgres()).await;
    let tick = Saga::named("tick").effect("a", "");
    let tick = tick.yaml().replacen("steps:", SCHEDULE, 1);
    two.api.apply(&tick).await;
    await_until("the schedule to be fired", SOON, async || {
        two.fired().await > 0
    })
    .await;
    for fault in FAULTS.into_iter().cycle().take(rounds) {
        two.round(fault, &mut chance).await;
    }
    let path = "/v1/schedules/tick/0/pause";
    let paused = two.api.ask_patiently("POST", path, "", None).await;
    assert_eq!(paused.status, 200, "{}", paused.body);
    await_until("every saga to complete", AFTER_A_LEASE, async || {
        let sagas = two.api.sagas().await;
        sagas.iter().all(|saga| saga["status"] == "completed")
    })
    .await;

    let book = Book::of(&two.system.ledger).await;
    let mut seconds = BTreeSet::new();
    for key in book.keys() {
        assert_eq!(book.not_done_once(key), None);
        assert_eq!(book.called_twice(key), None);
        let nominal = key.strip_suffix("-a").expect("an effect of step a");
        let nominal: jiff::Timestamp = nominal.parse().expect("its name is its nominal time");
        seconds.insert(nominal.as_second());
    }
    assert_eq!(
        two.api.sagas().await.len(),
        seconds.len(),
        "one saga for each nominal time"
    );
    let seconds: Vec<i64> = seconds.into_iter().collect();
    let gaps = seconds.windows(2).filter(|pair| pair[1] - pair[0] != 2);
    assert_eq!(gaps.collect::<Vec<_>>(), Vec::<&[i64]>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_fired_by_hand_is_fired_once_however_often_who_leads_is_asked() {
    let setup = Setup::workers(2).postgres();
    // so long that nobody else leads meanwhile
    let mut two = Two::start(setup.orchestrator("store.lease_ms", "30000")).await;
    let tick = Saga::named("tick").effect("a", "");
    let schedule = SCHEDULE.replace("*/2 * * * * *", "0 0 1 1 *");
    let tick = tick.yaml().replacen("steps:", &schedule, 1);
    two.api.apply(&tick).await;
    let leader = await_some("somebody to lead", SOON, async || two.leader().await).await;
    let other = if leader == "first" {
        two.api.clone()
    } else {
        two.system.api.clone()
    };
    two.process(&leader).sigstop();
    let fires = other.clone();
    let fired = tokio::spawn(async move {
        let path = "/v1/schedules/tick/0/fire";
        fires.ask("POST", path, "", None).await
    });
    tokio::time::sleep(STOPPED).await;
    two.process(&leader).sigcont();
    // on a slow machine whoever asked may have given up; what it asked for lies before whoever leads all the same
    fired.await.expect("it is asked");
    let path = "/v1/schedules/tick/0/pause";
    let paused = other.ask_patiently("POST", path, "", None).await;
    assert_eq!(paused.status, 200, "{}", paused.body);
    assert_eq!(two.api.sagas().await.len(), 1, "it was fired once");
}
