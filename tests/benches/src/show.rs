//! What came out, for people as a table and for machines as JSON. Ratios first: rates are for context only.

use std::fmt::Write as _;

use serde::Serialize;

use crate::baton::Sizes;
use crate::figures::{Latency, Spread};
use crate::options::Options;
use crate::rounds::{AloneFigures, Cores, Measured, Reference, Round, Run, SagasAlone, Way};

/// A machine is full when so much of it is in use: the rest goes to what nobody here has started.
const FULL: f64 = 0.9;

/// Everything measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    pub(crate) sagas: usize,
    pub(crate) in_flight: usize,
    pub(crate) steps: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) message_bytes: Sizes,
    /// Baton divided by the mean of the references beside it, each way it was run.
    pub(crate) ratios: Vec<Ratio>,
    pub(crate) rounds: Vec<Round>,
    /// References measured without Baton.
    pub(crate) references: Vec<Reference>,
    pub(crate) alone: Option<AloneFigures>,
}

/// How much of the raw broker is left.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Ratio {
    pub(crate) way: Way,
    pub(crate) ratio: Spread,
}

impl Outcome {
    pub(crate) fn of(
        options: &Options,
        message_bytes: Sizes,
        rounds: Vec<Round>,
        references: Vec<Reference>,
        alone: Option<AloneFigures>,
    ) -> Self {
        Self {
            sagas: options.sagas,
            in_flight: options.in_flight,
            steps: options.steps,
            payload_bytes: options.payload_bytes,
            message_bytes,
            ratios: ways(&rounds)
                .into_iter()
                .map(|way| Ratio {
                    way,
                    ratio: Spread::of(of_way(&rounds, way).map(|run| run.ratio)),
                })
                .collect(),
            rounds,
            references,
            alone,
        }
    }

    /// The table.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        // strings take everything
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Sizes {
            start,
            task,
            finished,
        } = self.message_bytes;
        writeln!(
            out,
            "{} sagas of {} steps, {} in flight; bodies: start {start}, task {task}, finished {finished} bytes; of the reference 500 each\n",
            self.sagas, self.steps, self.in_flight
        )?;
        self.write_rows(out)?;
        if !self.rounds.is_empty() {
            writeln!(
                out,
                "\nBaton / reference, median of {} rounds:",
                self.rounds.len()
            )?;
            for Ratio { way, ratio } in &self.ratios {
                let Spread { median, min, max } = ratio;
                writeln!(out, "{:<22} {median:.2} ({min:.2}-{max:.2})", way.name())?;
            }
            self.write_cores(out)?;
            self.write_memory(out)?;
        }
        if let Some(alone) = &self.alone {
            write_alone(out, alone, self.steps)?;
        }
        Ok(())
    }

    fn write_rows(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "{:<22} {:>24}   CPU seconds for 10,000 steps\n{:<22} {:>24}   {:>7} {:>7} {:>7} {:>7} {:>7}",
            "",
            "steps/s, median (range)",
            "",
            "(for context only)",
            "orch",
            "worker",
            "broker",
            "store",
            "asking"
        )?;
        let one = self.rounds.iter().flat_map(|round| {
            std::iter::once(&round.before).chain(round.runs.iter().map(|run| &run.after))
        });
        let alone = |connections| {
            self.references
                .iter()
                .filter(move |one| one.connections == connections)
        };
        let one: Vec<_> = one.chain(alone(1)).collect();
        let two: Vec<_> = self
            .rounds
            .iter()
            .map(|round| &round.two_connections)
            .chain(alone(2))
            .collect();
        write_references(out, "raw, 1 connection", &one)?;
        write_references(out, "raw, 2 connections", &two)?;
        for way in ways(&self.rounds) {
            let of = |figure: fn(&Measured) -> f64| {
                Spread::of(of_way(&self.rounds, way).map(|run| figure(&run.baton)))
            };
            write_row(
                out,
                &way.name(),
                of(|run| run.steps_per_s),
                [
                    of(|run| run.cpu_orchestrator).median,
                    of(|run| run.cpu_worker).median,
                    of(|run| run.cpu_broker.unwrap_or(f64::NAN)).median,
                    of(|run| run.cpu_postgres.unwrap_or(f64::NAN)).median,
                    of(|run| run.cpu_asking).median,
                ],
            )?;
        }
        Ok(())
    }

    /// Who uses how much of the machine, and whether there is any left: of the round whose rate is in the middle.
    fn write_cores(&self, out: &mut String) -> std::fmt::Result {
        let machine = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        writeln!(out, "\ncores in use, of {machine}, in the middle round:")?;
        for way in ways(&self.rounds) {
            let mut runs: Vec<&Measured> =
                of_way(&self.rounds, way).map(|run| &run.baton).collect();
            runs.sort_by(|a, b| a.steps_per_s.total_cmp(&b.steps_per_s));
            let Some(middle) = runs.get(runs.len() / 2) else {
                continue;
            };
            let cores = middle.cores();
            write!(out, "{:<22}", way.name())?;
            for (who, used) in &cores.of {
                write!(out, " {who} {used:.2};")?;
            }
            writeln!(out, " {}", saturated(&cores, machine))?;
        }
        Ok(())
    }

    fn write_memory(&self, out: &mut String) -> std::fmt::Result {
        let mb = |kb: u64| kb as f64 / 1024.0;
        writeln!(out, "\nmemory, most of all rounds, MB:")?;
        for way in ways(&self.rounds) {
            let most = |figure: fn(&Measured) -> u64| {
                let all = of_way(&self.rounds, way).map(|run| figure(&run.baton));
                mb(all.max().unwrap_or_default())
            };
            writeln!(
                out,
                "{:<22} orchestrator peak {:.0}, at the end {:.0}; worker peak {:.0}; database {:.0}",
                way.name(),
                most(|run| run.orchestrator_memory.peak_kb),
                most(|run| run.orchestrator_memory.now_kb),
                most(|run| run.worker_memory.peak_kb),
                most(|run| run.db_bytes / 1024),
            )?;
        }
        Ok(())
    }
}

/// What the run was held up by, as far as the use of cores tells.
fn saturated(cores: &Cores, machine: usize) -> String {
    let used = cores.sum();
    let (who, most) = cores.most().cloned().unwrap_or_default();
    if used >= FULL * machine as f64 {
        return format!("all {used:.1}: the machine is full, most of it {who} ({most:.1})");
    }
    format!(
        "all {used:.1}: cores are left; it waits for the disk, the broker's confirms or a single thread ({who} has most, {most:.1})"
    )
}

/// The ways Baton was run, the same in each round.
fn ways(rounds: &[Round]) -> Vec<Way> {
    let first = rounds.first();
    first.map_or_else(Vec::new, |round| {
        round.runs.iter().map(|run| run.way).collect()
    })
}

/// One way's run of each round.
fn of_way(rounds: &[Round], way: Way) -> impl Iterator<Item = &Run> {
    rounds
        .iter()
        .flat_map(|round| &round.runs)
        .filter(move |run| run.way == way)
}

fn write_references(out: &mut String, name: &str, all: &[&Reference]) -> std::fmt::Result {
    if all.is_empty() {
        return Ok(());
    }
    let of = |figure: fn(&Reference) -> f64| Spread::of(all.iter().map(|one| figure(one)));
    write_row(
        out,
        name,
        of(|one| one.steps_per_s),
        [
            of(|one| one.cpu_orchestrator).median,
            of(|one| one.cpu_worker).median,
            of(|one| one.cpu_broker.unwrap_or(f64::NAN)).median,
            f64::NAN,
            f64::NAN,
        ],
    )
}

fn write_row(out: &mut String, name: &str, rate: Spread, cpu: [f64; 5]) -> std::fmt::Result {
    let rate = format!("{:.0} ({:.0}-{:.0})", rate.median, rate.min, rate.max);
    write!(out, "{name:<22} {rate:>24}  ")?;
    for seconds in cpu {
        if seconds.is_nan() {
            write!(out, " {:>7}", "-")?;
        } else {
            write!(out, " {seconds:>7.2}")?;
        }
    }
    writeln!(out)
}

fn write_alone(out: &mut String, alone: &AloneFigures, steps: usize) -> std::fmt::Result {
    writeln!(
        out,
        "\n{:<52} {:>8} {:>8} {:>8}",
        "one at a time, milliseconds", "p50", "p99", "max"
    )?;
    let mut row = |name: &str, latency: Latency| {
        let Latency {
            p50_ms,
            p99_ms,
            max_ms,
            ..
        } = latency;
        writeln!(out, "{name:<52} {p50_ms:>8.2} {p99_ms:>8.2} {max_ms:>8.2}")
    };
    row(&format!("{steps} raw steps in sequence"), alone.raw)?;
    for SagasAlone {
        way,
        seen,
        recorded,
    } in &alone.sagas
    {
        let name = way.name();
        row(&format!("{name}: asked for to completed, committed"), *seen)?;
        row(
            &format!("{name}: as recorded (whole milliseconds)"),
            *recorded,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn it_says_whether_the_machine_is_full_and_who_uses_most() {
        let of = [("orchestrator 1", 0.5), ("store", 1.2), ("broker", 0.2)];
        let cores = Cores {
            of: of.map(|(who, used)| (who.to_owned(), used)).to_vec(),
        };
        let full = saturated(&cores, 2);
        assert!(
            full.contains("full") && full.contains("store (1.2)"),
            "{full}"
        );
        let left = saturated(&cores, 4);
        assert!(left.contains("cores are left"), "{left}");
    }

    #[test]
    fn a_table_without_rounds_speaks_of_the_reference_alone() {
        let options = Options::try_parse_from(["baton-bench"]).unwrap();
        let reference = Reference {
            connections: 1,
            steps_per_s: 12_345.0,
            trip: Latency::default(),
            cpu_orchestrator: 0.25,
            cpu_worker: 0.21,
            cpu_broker: None,
        };
        let outcome = Outcome::of(
            &options,
            Sizes::default(),
            Vec::new(),
            vec![reference],
            None,
        );
        let table = outcome.table();
        assert!(table.contains("12345 (12345-12345)"), "{table}");
        assert!(
            table.contains("0.25    0.21       -       -       -"),
            "{table}"
        );
        assert!(!table.contains("Baton"), "{table}");
    }
}
