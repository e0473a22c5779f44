//! What came out, for people as a table and for machines as JSON. Ratios first: rates are for context only.

use std::fmt::Write as _;

use serde::Serialize;

use crate::baton::Sizes;
use crate::figures::{Latency, Spread};
use crate::options::Options;
use crate::rounds::{AloneFigures, OnPostgres, Reference, Round};

/// Everything measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    pub(crate) sagas: usize,
    pub(crate) in_flight: usize,
    pub(crate) steps: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) message_bytes: Sizes,
    /// Baton divided by the mean of the references beside it; none without rounds of Baton.
    pub(crate) ratio: Spread,
    /// The same on PostgreSQL, where that was asked for.
    pub(crate) ratio_on_postgres: Option<Spread>,
    pub(crate) rounds: Vec<Round>,
    /// References measured without Baton.
    pub(crate) references: Vec<Reference>,
    pub(crate) alone: Option<AloneFigures>,
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
            ratio: Spread::of(rounds.iter().map(|round| round.ratio)),
            ratio_on_postgres: on_postgres(&rounds)
                .then(|| on_postgres_spread(&rounds, |of| of.ratio)),
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
            let Spread { median, min, max } = self.ratio;
            writeln!(
                out,
                "\nBaton / reference, median of {} rounds: {median:.2} ({min:.2}-{max:.2})",
                self.rounds.len()
            )?;
            if let Some(Spread { median, min, max }) = self.ratio_on_postgres {
                writeln!(
                    out,
                    "Baton on PostgreSQL / reference: {median:.2} ({min:.2}-{max:.2})"
                )?;
            }
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
            "{:<22} {:>24}   CPU seconds for 10,000 steps\n{:<22} {:>24}   {:>7} {:>7} {:>7} {:>7}",
            "",
            "steps/s, median (range)",
            "",
            "(for context only)",
            "orch",
            "worker",
            "broker",
            "asking"
        )?;
        let one = self
            .rounds
            .iter()
            .flat_map(|round| [&round.before, &round.after]);
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
        if self.rounds.is_empty() {
            return Ok(());
        }
        let of = |figure: fn(&Round) -> f64| Spread::of(self.rounds.iter().map(figure));
        write_row(
            out,
            "Baton",
            of(|round| round.baton.steps_per_s),
            [
                of(|round| round.baton.cpu_orchestrator).median,
                of(|round| round.baton.cpu_worker).median,
                of(|round| round.baton.cpu_broker.unwrap_or(f64::NAN)).median,
                of(|round| round.baton.cpu_asking).median,
            ],
        )?;
        if !on_postgres(&self.rounds) {
            return Ok(());
        }
        let of = |figure: fn(&OnPostgres) -> f64| on_postgres_spread(&self.rounds, figure);
        write_row(
            out,
            "Baton on PostgreSQL",
            of(|one| one.baton.steps_per_s),
            [
                of(|one| one.baton.cpu_orchestrator).median,
                of(|one| one.baton.cpu_worker).median,
                of(|one| one.baton.cpu_broker.unwrap_or(f64::NAN)).median,
                of(|one| one.baton.cpu_asking).median,
            ],
        )
    }

    fn write_memory(&self, out: &mut String) -> std::fmt::Result {
        let most =
            |figure: fn(&Round) -> u64| self.rounds.iter().map(figure).max().unwrap_or_default();
        let mb = |kb: u64| kb as f64 / 1024.0;
        writeln!(
            out,
            "memory, most of all rounds: orchestrator peak {:.0} MB, at the end {:.0} MB; worker peak {:.0} MB; database {:.0} MB",
            mb(most(|round| round.baton.orchestrator_memory.peak_kb)),
            mb(most(|round| round.baton.orchestrator_memory.now_kb)),
            mb(most(|round| round.baton.worker_memory.peak_kb)),
            mb(most(|round| round.baton.db_bytes / 1024)),
        )
    }
}

/// Whether PostgreSQL was measured too.
fn on_postgres(rounds: &[Round]) -> bool {
    rounds.iter().any(|round| round.on_postgres.is_some())
}

fn on_postgres_spread(rounds: &[Round], figure: impl Fn(&OnPostgres) -> f64) -> Spread {
    Spread::of(
        rounds
            .iter()
            .filter_map(|round| round.on_postgres.as_ref())
            .map(figure),
    )
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
        ],
    )
}

fn write_row(out: &mut String, name: &str, rate: Spread, cpu: [f64; 4]) -> std::fmt::Result {
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
    row(
        "saga: request published to completed and committed",
        alone.saga_seen,
    )?;
    row(
        "saga: started to ended, as recorded (whole ms)",
        alone.saga_recorded,
    )?;
    if let Some([seen, recorded]) = alone.on_postgres {
        row("the same on PostgreSQL: published to committed", seen)?;
        row("the same on PostgreSQL: as recorded", recorded)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

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
        assert!(table.contains("0.25    0.21       -       -"), "{table}");
        assert!(!table.contains("Baton"), "{table}");
    }
}
