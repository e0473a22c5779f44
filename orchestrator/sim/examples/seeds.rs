//! Simulates many seeds and says which broke the promise: `seeds -- --from 0 --count 10000`, or one with everything that happened in it:
//! `seeds -- --seed 4711 --trace`. `--fault NAME` plants a fault, `--moving` has sagas moved
//! to another version of the same text, `--partitions N` has several partitions shared out over several orchestrators.
#![expect(clippy::print_stdout, reason = "a program for people at a terminal")]

use std::process::ExitCode;
use std::time::Instant;

use baton_sim::{Fault, Setup, simulate};

/// How many lines of a broken seed's trace are shown without `--trace`.
const LINES_SHOWN: usize = 40;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        arguments
            .iter()
            .position(|word| word == name)
            .and_then(|at| arguments.get(at + 1))
    };
    let number = |name: &str, otherwise: u64| {
        value(name)
            .and_then(|text| text.parse().ok())
            .unwrap_or(otherwise)
    };
    let fault = value("--fault").and_then(|name| {
        Fault::ALL
            .into_iter()
            .find(|fault| format!("{fault:?}") == *name)
    });
    let trace = arguments.iter().any(|word| word == "--trace");
    let (from, count) = match value("--seed").and_then(|text| text.parse().ok()) {
        Some(seed) => (seed, 1),
        None => (number("--from", 0), number("--count", 1_000)),
    };
    let moving = arguments.iter().any(|word| word == "--moving");
    let partitions = u8::try_from(number("--partitions", 1)).unwrap_or(1);
    // a seed is another story with another setup
    let how = [
        fault.map_or_else(String::new, |fault| format!(" --fault {fault:?}")),
        if moving { " --moving" } else { "" }.to_owned(),
        match partitions {
            1 => String::new(),
            more => format!(" --partitions {more}"),
        },
    ]
    .concat();
    let began = Instant::now();
    let mut broken = 0_u64;
    let mut ends = std::collections::BTreeMap::<&str, u64>::new();
    let (mut events, mut deaths, mut acts, mut slowest_ms) = (0, 0, 0, 0);
    let (mut taken_over, mut fenced, mut handed_over) = (0, 0, 0);
    for seed in from..from + count {
        match simulate(Setup {
            seed,
            fault,
            trace,
            moving,
            partitions,
            ..Setup::default()
        }) {
            Ok(report) => {
                slowest_ms = slowest_ms.max(report.slowest_ms);
                events += report.events;
                deaths += report.deaths;
                acts += report.acts;
                taken_over += report.taken_over;
                fenced += report.fenced;
                handed_over += report.handed_over;
                for (end, times) in report.ends {
                    *ends.entry(end).or_default() += times;
                }
                report.trace.iter().for_each(|line| println!("{line}"));
            }
            Err(failed) => {
                broken += 1;
                let shown = if trace {
                    failed.trace.len()
                } else if count == 1 {
                    LINES_SHOWN
                } else {
                    0
                };
                failed
                    .trace
                    .iter()
                    .skip(failed.trace.len() - shown.min(failed.trace.len()))
                    .for_each(|line| println!("{line}"));
                println!(
                    "BROKEN {failed}\n  again: cargo run -p baton-sim --example seeds -- --seed {seed} --trace{how}"
                );
            }
        }
        let done = seed - from + 1;
        if done % 1_000 == 0 {
            println!(
                "{done} of {count} seeds, {broken} broken, {:.0} s",
                began.elapsed().as_secs_f64()
            );
        }
    }
    println!(
        "{count} seeds, {broken} broken, {events} events, {acts} acts, {deaths} deaths of the orchestrator, taken over from {taken_over} times ({fenced} fenced), handed over {handed_over} times, sagas {ends:?}, the slowest {slowest_ms} ms after the trouble, {:.1} s",
        began.elapsed().as_secs_f64()
    );
    if broken == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
