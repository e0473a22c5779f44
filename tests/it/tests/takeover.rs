//! How soon another orchestrator drives what one has lost: killed, stopped, cut off from the database alone or from the broker alone. The database itself
//! writes down, by its own clock and in the very statements, who said that it is there, gave a partition up or took one, and where a saga has completed.
//!
//! What is asserted is no length of time on this machine: nobody takes what is still leased, and whoever may take it does so within a few of its own
//! looks at the database, of which there are two a second. So a take-over is bounded by the lease (or by when the other gives up), and what waits for
//! the broker to let go of a dead consumer by twice the heartbeat. The lengths that came of it are printed.
#![expect(
    clippy::print_stdout,
    reason = "how long nobody drove a partition is a figure people read"
)]

use std::time::SystemTime;

use baton_harness::{Process, await_some, await_until};
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{AFTER_A_LEASE, Api, SOON, Setup, System};
use tokio_postgres::Client;

/// Looks at the database between the moment a partition is free and the moment it is taken: the first that comes after it sees it. One more where it
/// becomes free between the look and the taking, one where an answer did not come in time.
const LOOKS_MAX: i64 = 3;

/// What befalls the first of two orchestrators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Killed,
    /// For longer than its lease.
    Stopped,
    WithoutDatabase,
    WithoutBroker,
}

impl Fault {
    /// Whether it can still say that it gives up what it has.
    const fn gives_up(self) -> bool {
        matches!(self, Self::WithoutBroker)
    }
}

/// What the database writes down of itself. Statements of orchestrators write it, in their own transactions.
const WITNESS: &str = "
CREATE TABLE witness (at timestamptz NOT NULL DEFAULT clock_timestamp(), what text NOT NULL, name text, partition smallint,
    lease_until timestamptz, ready boolean);
CREATE FUNCTION witness_of_partition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.epoch <> OLD.epoch THEN
        INSERT INTO witness (what, name, partition, lease_until) VALUES ('taken', NEW.owner, NEW.id, OLD.lease_until);
    ELSIF NEW.lease_until IS NULL AND OLD.lease_until IS NOT NULL THEN
        INSERT INTO witness (what, name, partition) VALUES ('released', OLD.owner, NEW.id);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER witness_of_partition AFTER UPDATE ON partitions FOR EACH ROW EXECUTE FUNCTION witness_of_partition();
CREATE FUNCTION witness_of_member() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO witness (what, name, lease_until, ready) VALUES ('look', NEW.name, NEW.lease_until, NEW.ready);
    RETURN NULL;
END $$;
CREATE TRIGGER witness_of_member AFTER INSERT OR UPDATE ON members FOR EACH ROW EXECUTE FUNCTION witness_of_member();
CREATE FUNCTION witness_of_saga() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO witness (what, partition) VALUES ('completed', NEW.partition);
    RETURN NULL;
END $$;
CREATE TRIGGER witness_of_saga AFTER UPDATE ON sagas FOR EACH ROW WHEN (NEW.status = 'completed' AND OLD.status <> 'completed')
    EXECUTE FUNCTION witness_of_saga();
";

/// How many of these partitions have completed a saga since the other took them.
const GONE_ON: &str = "SELECT count(*) FROM unnest($1::smallint[]) AS lost (id) WHERE EXISTS (
    SELECT 1 FROM witness t JOIN witness c ON c.partition = t.partition AND c.what = 'completed' AND c.at > t.at
    WHERE t.what = 'taken' AND t.name = 'second' AND t.partition = lost.id AND t.at > $2::timestamptz)";

/// Of each of these partitions: whether it was given up, whether it was still leased when it was taken, looks of who took it since it was free, and
/// milliseconds from the fault until it was taken and until a saga completed there.
const TAKEN: &str = "SELECT lost.id, t.lease_until IS NULL AS given_up, coalesce(t.at < t.lease_until, false) AS leased,
    (SELECT count(*) FROM witness l WHERE l.what = 'look' AND l.name = 'second' AND l.at > free.at AND l.at < t.at) AS looks,
    (extract(epoch FROM t.at - $2::timestamptz) * 1000)::bigint AS taken_ms, (extract(epoch FROM c.at - $2::timestamptz) * 1000)::bigint AS on_ms
FROM unnest($1::smallint[]) AS lost (id)
CROSS JOIN LATERAL (SELECT w.at, w.lease_until FROM witness w WHERE w.what = 'taken' AND w.name = 'second' AND w.partition = lost.id
    AND w.at > $2::timestamptz ORDER BY w.at LIMIT 1) AS t
CROSS JOIN LATERAL (SELECT CASE WHEN t.lease_until IS NULL
    THEN (SELECT max(r.at) FROM witness r WHERE r.what = 'released' AND r.partition = lost.id AND r.at < t.at)
    ELSE greatest(t.lease_until, (SELECT max(m.lease_until) FROM witness m WHERE m.what = 'look' AND m.name = 'first' AND m.at < t.at)) END AS at) AS free
CROSS JOIN LATERAL (SELECT min(w.at) AS at FROM witness w WHERE w.what = 'completed' AND w.partition = lost.id AND w.at > t.at) AS c";

/// Whether the first said that it does not reach the broker before it gave anything up.
const SAID_SO: &str = "SELECT coalesce((SELECT min(at) FROM witness WHERE what = 'look' AND name = 'first' AND NOT ready AND at > $1::timestamptz)
    < (SELECT min(at) FROM witness WHERE what = 'released' AND name = 'first' AND at > $1::timestamptz), false)";

/// Two orchestrators; what the first does to the world goes through relays, what the second does does not.
struct Two {
    system: System,
    _second: Process,
    api: Api,
    client: Client,
}

impl Two {
    async fn start() -> Self {
        let setup = Setup::workers(2).postgres_through_a_relay();
        let system = setup
            .orchestrator("service.instance", "first")
            .start()
            .await;
        let (launch, api) = system.another_orchestrator();
        let second = launch
            .env("BATON__SERVICE__INSTANCE", "second")
            .env("BATON__BUS__ADDRESSES", system.vhost.url())
            .env("BATON__STORE__URL", system.database().url())
            .start();
        system.await_takers("test.effect@1", 2).await;
        system.await_takers("test.effect-late@1", 2).await;
        let client = system.database().client().await;
        let two = Self {
            system,
            _second: second,
            api,
            client,
        };
        two.await_shared().await;
        let witness = two.client.batch_execute(WITNESS).await;
        witness.expect("the database takes triggers");
        two
    }

    /// The partitions of one of them, while all have an owner.
    async fn owned(&self, name: &str) -> Option<Vec<i16>> {
        let sql =
            "SELECT id, owner FROM partitions WHERE lease_until > clock_timestamp() ORDER BY id";
        let rows = self.client.query(sql, &[]).await.ok()?;
        let all: i64 = self.one("SELECT count(*) FROM partitions").await;
        let owned = rows.iter().filter(|row| row.get::<_, &str>(1) == name);
        (i64::try_from(rows.len()).ok()? == all).then(|| owned.map(|row| row.get(0)).collect())
    }

    async fn one<T: for<'a> tokio_postgres::types::FromSql<'a>>(&self, sql: &str) -> T {
        let row = self.client.query_one(sql, &[]).await;
        row.expect("the database answers").get(0)
    }

    async fn await_shared(&self) {
        let what = "two orchestrators to share the partitions";
        await_until(what, AFTER_A_LEASE, async || {
            let (first, second) = (self.owned("first").await, self.owned("second").await);
            let (first, second) = (first.unwrap_or_default(), second.unwrap_or_default());
            !first.is_empty() && first.len() == second.len()
        })
        .await;
    }

    async fn start_one(&self, ids: &mut Vec<String>) {
        let name = format!("n{}", ids.len());
        let input = self.system.input(&name);
        ids.push(self.api.start("row", &input, &name).await);
    }

    fn befall(&mut self, fault: Fault) {
        match fault {
            Fault::Killed => self.system.orchestrator().process.kill9(),
            Fault::Stopped => self.system.orchestrator().process.sigstop(),
            Fault::WithoutDatabase => self.system.database_relay().refuse(),
            Fault::WithoutBroker => self.system.proxy.refuse(),
        }
    }

    fn heal(&mut self, fault: Fault) {
        match fault {
            Fault::Killed => self.system.orchestrator().process.start_again(),
            Fault::Stopped => self.system.orchestrator().process.sigcont(),
            Fault::WithoutDatabase => self.system.database_relay().accept(),
            Fault::WithoutBroker => self.system.proxy.accept(),
        }
    }

    /// Feeds the load until the second has completed a saga in each of these partitions.
    async fn goes_on(&self, lost: &[i16], since: SystemTime, ids: &mut Vec<String>) {
        let wanted = i64::try_from(lost.len()).expect("a few");
        let lost = lost.to_vec();
        let feeding = async {
            loop {
                self.start_one(ids).await;
            }
        };
        let going_on = await_some(
            "every partition to be taken and to go on",
            AFTER_A_LEASE,
            async || {
                let asked = self.client.query_one(GONE_ON, &[&lost, &since]).await;
                let gone_on: i64 = asked.expect("the database answers").get(0);
                (gone_on == wanted).then_some(())
            },
        );
        tokio::select! {
            () = going_on => {}
            () = feeding => unreachable!("it has no end"),
        }
    }

    /// What the database wrote down of it.
    async fn judge(&self, fault: Fault, lost: &[i16], since: SystemTime) {
        let lost = lost.to_vec();
        let rows = self.client.query(TAKEN, &[&lost, &since]).await;
        let rows = rows.expect("the database answers");
        assert_eq!(rows.len(), lost.len(), "each of them was taken");
        let (mut taken, mut gone_on) = (0, 0);
        for row in &rows {
            let partition: i16 = row.get("id");
            let what = format!("partition {partition}, {fault:?}");
            assert!(
                !row.get::<_, bool>("leased"),
                "{what}: taken while it was leased"
            );
            assert_eq!(row.get::<_, bool>("given_up"), fault.gives_up(), "{what}");
            let looks: i64 = row.get("looks");
            assert!(looks <= LOOKS_MAX, "{what}: free for {looks} looks");
            taken = taken.max(row.get::<_, i64>("taken_ms"));
            gone_on = gone_on.max(row.get::<_, i64>("on_ms"));
        }
        if fault.gives_up() {
            let said = self.client.query_one(SAID_SO, &[&since]).await;
            assert!(said.expect("the database answers").get::<_, bool>(0));
        }
        println!(
            "{fault:?}: all of {} partitions taken {taken} ms after it, and gone on with {gone_on} ms after it",
            lost.len()
        );
    }
}

async fn is_taken_over(fault: Fault) {
    let mut two = Two::start().await;
    let row = Saga::named("row").effect("a", "").late("b", "");
    two.system.apply(&[&row.effect("c", "")]).await;
    let mut ids = Vec::new();
    // some are under way
    for _ in 0..12 {
        two.start_one(&mut ids).await;
    }
    let lost = two.owned("first").await.expect("all have an owner");
    let since: SystemTime = two.one("SELECT clock_timestamp()").await;
    two.befall(fault);
    two.goes_on(&lost, since, &mut ids).await;
    two.judge(fault, &lost, since).await;
    two.heal(fault);
    two.await_shared().await;
    // the one whose answer was not waited for is asked for again by its name
    let further = ids.len() + 4;
    while ids.len() < further {
        two.start_one(&mut ids).await;
    }
    for id in &ids {
        two.api.await_status(id, "completed", AFTER_A_LEASE).await;
    }
    let book = Book::of(&two.system.ledger).await;
    for number in 0..ids.len() {
        for step in ["a", "b", "c"] {
            assert_eq!(book.not_done_once(&format!("n{number}-{step}")), None);
        }
    }
    if fault != Fault::Killed {
        let process = two.system.orchestrator().process;
        await_until("it to notice what it lost", SOON, async || {
            let log = process.log();
            let words = [
                "no longer owned",
                "no longer owns",
                "has another owner",
                "is handed over",
            ];
            words.iter().any(|word| log.contains(word))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_kill_leaves_is_taken_when_its_lease_ends_and_not_before() {
    is_taken_over(Fault::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_that_is_stopped_has_is_taken_when_its_lease_ends_and_not_before() {
    is_taken_over(Fault::Stopped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_without_the_database_has_is_taken_when_its_lease_ends_and_not_before() {
    is_taken_over(Fault::WithoutDatabase).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_without_the_broker_says_so_and_what_it_gives_up_is_taken_at_the_next_look() {
    is_taken_over(Fault::WithoutBroker).await;
}
