//! Connections, pooled. Each is told at its birth how to be durable, how long a statement may take, and to plan along the indexes.
//!
//! The planner's cost model is for questions nobody has seen before. Ours are known, each has its index, and a plan that was made while a table
//! was empty must not read it whole when it has grown: scans, sorts and joins that read a whole table are put out of reach, and one generic plan
//! is kept for each statement. The tests read the plans.

use std::time::Duration;

use deadpool_postgres::{
    GenericClient, Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime,
};
use tokio_postgres::types::ToSql;
use tokio_postgres::{NoTls, Row};

use super::fault::Fault;
use super::open::PostgresError;
use super::options::{PostgresOptions, Target};

/// What a session is told. `on` is the least: a server that is told to wait for more than its own disk goes on doing so. Documents of more than two kilobytes are
/// compressed as they are written, by what takes a fraction of the time where the server has it; a backup does not know of it.
const SESSION: &str = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write');
SELECT set_config(name, 'lz4', false) FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals);
SET enable_seqscan TO off; SET enable_bitmapscan TO off; SET enable_sort TO off; SET enable_hashjoin TO off; SET enable_mergejoin TO off;
SET plan_cache_mode TO force_generic_plan; SET jit TO off; SET default_transaction_isolation TO 'read committed';
SET client_min_messages TO warning";

/// How much longer than a statement's own limit its answer is waited for: then it is the network that does not answer.
const NETWORK_MARGIN: Duration = Duration::from_secs(5);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Commits and what stands beside them.
    Write,
    /// Leases and beats, which nothing waits behind: not for another statement, and not for a disk. One that is lost with its server was as good as never said, and who
    /// relied on it is fenced by the epoch. So nothing that has to last may go through it, and taking a partition has to.
    Lease,
    /// Questions only: the server refuses anything else.
    Read,
}

/// Some connections of one kind. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    pool: Pool,
    limit: Duration,
}

impl Connections {
    /// Connects when first asked.
    pub(crate) fn new(
        target: &Target,
        options: &PostgresOptions,
        of_use: Use,
        size: usize,
    ) -> Result<Self, PostgresError> {
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let config = target.config.clone();
        let manager = match &target.tls {
            Some(tls) => Manager::from_config(config, tls.clone(), recycling),
            None => Manager::from_config(config, NoTls, recycling),
        };
        let hosts = u32::try_from(target.config.get_hosts().len()).unwrap_or(1);
        let connecting = Duration::from_millis(options.connect_timeout_ms) * (hosts + 1);
        let statement = Duration::from_millis(options.statement_timeout_ms);
        let pool = Pool::builder(manager)
            .max_size(size.max(1))
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(connecting))
            .recycle_timeout(Some(statement))
            .wait_timeout(Some(statement + connecting))
            .post_create(session(options, of_use))
            .build()
            .map_err(|source| PostgresError::Pool { source })?;
        Ok(Self {
            pool,
            limit: statement + NETWORK_MARGIN,
        })
    }

    /// A connection.
    pub(crate) async fn get(&self) -> Result<Object, Fault> {
        Ok(self.pool.get().await?)
    }

    /// How long an answer is waited for.
    pub(crate) const fn limit(&self) -> Duration {
        self.limit
    }

    /// Has `work` done on a connection; one that did not answer is not used again.
    pub(crate) async fn with<T>(
        &self,
        work: impl AsyncFnOnce(&mut Object) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut client = self.get().await?;
        let done = match tokio::time::timeout(self.limit, work(&mut client)).await {
            Ok(done) => done,
            Err(_) => Err(Fault::Late(self.limit)),
        };
        if done
            .as_ref()
            .is_err_and(|fault| !fault.leaves_the_connection())
        {
            drop(Object::take(client));
        }
        done
    }

    /// Has `work` done within so long, the wait for a connection included; one that did not answer is not used again.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut Object) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let end = tokio::time::Instant::now() + limit;
        let got = tokio::time::timeout_at(end, self.get()).await;
        let client = got.unwrap_or(Err(Fault::Late(limit)))?;
        let over = async {
            tokio::time::sleep_until(end).await;
            limit
        };
        unless(client, over, work).await
    }

    /// Every row of a query.
    pub(crate) async fn rows(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        self.with(async |client| rows(client, sql, values).await)
            .await
    }

    /// Runs a statement; answers how many rows it changed.
    pub(crate) async fn execute(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Fault> {
        self.with(async |client| {
            let statement = client.prepare_cached(sql).await?;
            Ok(client.execute(&statement, values).await?)
        })
        .await
    }

    /// Gives up every connection.
    pub(crate) fn close(&self) {
        self.pool.close();
    }
}

/// Has `work` done on a connection unless `over` ends before, which answers how long that was; one that did not answer is not used again.
async fn unless<T>(
    mut client: Object,
    over: impl Future<Output = Duration>,
    work: impl AsyncFnOnce(&mut Object) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let done = tokio::select! {
        biased;
        done = work(&mut client) => done,
        waited = over => Err(Fault::Late(waited)),
    };
    if done
        .as_ref()
        .is_err_and(|fault| !fault.leaves_the_connection())
    {
        drop(Object::take(client));
    }
    done
}

/// Runs a statement on a connection unless `over` ends before; answers how many rows it changed.
pub(crate) async fn execute_unless(
    client: Object,
    over: impl Future<Output = Duration>,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<u64, Fault> {
    unless(client, over, async |client| {
        let statement = client.prepare_cached(sql).await?;
        Ok(client.execute(&statement, values).await?)
    })
    .await
}

/// Every row of a query on this connection, prepared once.
pub(crate) async fn rows(
    client: &impl GenericClient,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, Fault> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query(&statement, values).await?)
}

fn session(options: &PostgresOptions, of_use: Use) -> Hook {
    let limit_ms = options.statement_timeout_ms;
    let read_only = of_use == Use::Read;
    let durable = match of_use {
        Use::Lease => "SET synchronous_commit TO off;",
        Use::Write | Use::Read => "",
    };
    let settings = format!(
        "{SESSION}; {durable} SET statement_timeout TO {limit_ms}; SET idle_in_transaction_session_timeout TO {limit_ms};
         SET default_transaction_read_only TO {read_only}"
    );
    Hook::async_fn(move |client, _| {
        let settings = settings.clone();
        Box::pin(async move {
            client
                .batch_execute(&settings)
                .await
                .map_err(HookError::Backend)
        })
    })
}
