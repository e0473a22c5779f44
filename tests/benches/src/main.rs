//! m
mod cpu;
mod figures;
mod options;
mod raw;

use anyhow::Result;
use options::{Options, Role};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::read();
    if let Some(Role::RawWorker { url, connections }) = &options.role {
        return raw::worker::run(url, *connections).await;
    }
    let broker = baton_harness::Broker::own(baton_harness::Options::default().config("collect_statistics_interval = 5000").config("raft.wal_max_size_bytes = 536870912")).await;
    println!("{}", std::fs::read_to_string(broker.dir().join("rabbitmq.conf"))?);
    println!("{}", broker.ctl(&["eval", "{application:get_env(ra, wal_max_size_bytes), application:get_env(rabbit, collect_statistics_interval)}."]).await);
    let vhost = broker.vhost().await;
    for c in [1, 2, 1, 2, 1, 2] {
        let raw = raw::Raw::start(&vhost.url(), c).await?;
        raw.run(options.in_flight, options.in_flight).await?;
        let b = cpu::Cpu::of(broker.pid().unwrap())?;
        let run = raw.run(options.steps_in_a_run(), options.in_flight).await?;
        let b = cpu::Cpu::of(broker.pid().unwrap())?.since(b);
        println!("{c}: {:.0} steps/s {:?} cpu orch {:.2} worker {:.2} broker {:.2}", run.steps_per_s(), figures::Latency::of(run.trips.iter().copied()), run.orchestrator.per_10k(run.steps), run.worker.per_10k(run.steps), b.per_10k(run.steps));
        let run = raw.run(1500, 1).await?;
        println!("alone {:?}", figures::Latency::of(run.trips.chunks(3).map(|c| c.iter().sum())));
        raw.end().await?;
    }
    Ok(())
}
