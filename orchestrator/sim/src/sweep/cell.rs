//! A cell of the matrix: its plays, and what came of them together.

use std::collections::BTreeSet;

use baton_engine::Status;

use super::play::{Asked, Played, play};
use super::scene::Scene;
use super::{PLAYS_MAX, Row, Sweep, Trouble, Way};
use crate::plan::Play;
use crate::rng::Rng;

/// What a step does at first that is undone in a play with doubled messages, play by play.
const FIRSTS: [Play; 4] = [
    Play::Succeed,
    Play::HangActed,
    Play::UnknownActed,
    Play::FailRetryable,
];

/// Seeds between two troubles, and between two rows: a seed can be read.
const PER_TROUBLE: u64 = PLAYS_MAX + 1;
const PER_ROW: u64 = 100 * PER_TROUBLE;

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// The seed that shows it.
    pub seed: u64,
    /// What was broken.
    pub what: String,
}

/// What came of one trouble at one step.
#[derive(Debug, Clone)]
pub struct Cell {
    /// Its row.
    pub row: usize,
    /// Its trouble.
    pub trouble: Trouble,
    /// The seed of its first play.
    pub seed: u64,
    /// How the saga ended in the first play; none where the trouble has struck in none.
    pub end: Option<Status>,
    /// How it ended otherwise, where messages were doubled and reordered.
    pub others: BTreeSet<&'static str>,
    /// What people were asked for, with the seed of the first play in which they were.
    pub asked: Vec<(u64, Asked)>,
    /// Why it turned back or stopped.
    pub why: Option<String>,
    /// What was broken, if anything was.
    pub broken: Option<Breach>,
    /// How often it was played.
    pub plays: u64,
}

/// The seed of a play.
pub(super) fn seed_of(row: usize, trouble: Trouble, play: u64) -> u64 {
    row as u64 * PER_ROW + trouble.number() * PER_TROUBLE + play
}

/// Which play a seed is of.
pub(super) fn of_seed(seed: u64) -> (usize, Option<Trouble>) {
    let row = usize::try_from(seed / PER_ROW).unwrap_or(usize::MAX);
    let trouble = usize::try_from(seed % PER_ROW / PER_TROUBLE).unwrap_or(usize::MAX);
    let trouble = Trouble::ALL.get(trouble).copied();
    (row, trouble)
}

impl Sweep {
    /// Plays one cell. Where the orchestrator dies after each commit of the saga, there are as many plays as commits.
    #[must_use]
    pub fn cell(&self, row: usize, trouble: Trouble, plays: u64) -> Cell {
        let commits = self.rows.get(row).map_or(0, |row| row.commits);
        let least = match trouble {
            Trouble::Crash if row == 0 => commits,
            _ => 1,
        };
        let plays = plays.max(least).clamp(1, PLAYS_MAX);
        let mut cell = Cell {
            row,
            trouble,
            seed: seed_of(row, trouble, 0),
            end: None,
            others: BTreeSet::new(),
            asked: Vec::new(),
            why: None,
            broken: None,
            plays,
        };
        let Some(of) = self.rows.get(row) else {
            return cell;
        };
        for n in 0..plays {
            let played = self.play(of, trouble, seed_of(row, trouble, n), false);
            cell.take(played, seed_of(row, trouble, n));
        }
        cell
    }

    /// One play of a cell: the first is quiet, in the others messages are doubled and reordered.
    pub(super) fn play(&self, row: &Row, trouble: Trouble, seed: u64, trace: bool) -> Played {
        let (setting, target) = (row.setting.clone(), row.target.clone());
        let n = seed % PER_TROUBLE;
        let whole = target.is_none();
        let counted = whole && trouble == Trouble::Crash;
        let mixed = n > 0 && !counted;
        let mut scene = Scene::new(setting, target, trouble, mixed);
        if counted {
            scene.dies_after = Some(n + 1);
        }
        if mixed && row.way == Way::Undo {
            let at = usize::try_from(n).unwrap_or(0) % FIRSTS.len();
            scene.first = FIRSTS.get(at).copied().unwrap_or(Play::Succeed);
        }
        play(scene, Rng::new(seed).bits(), self.fault, trace)
    }
}

impl Cell {
    fn take(&mut self, played: Played, seed: u64) {
        let whole = self.row == 0;
        let counts = played.struck || (whole && self.trouble == Trouble::Nothing);
        if let Some(what) = played.broken {
            self.broken.get_or_insert(Breach { seed, what });
        }
        if !counts {
            return;
        }
        match self.end {
            None => {
                self.end = Some(played.status);
                self.why = played.why;
            }
            Some(end) if end != played.status => {
                self.others.insert(played.status.as_str());
            }
            Some(_) => {}
        }
        for asked in played.asked {
            if !self.asked.iter().any(|(_, known)| *known == asked) {
                self.asked.push((seed, asked));
            }
        }
    }

    /// How it ended, each way once, the first first.
    pub fn ends(&self) -> impl Iterator<Item = &'static str> {
        let first = self.end.map(|end| end.as_str());
        let others = self.others.iter().copied();
        first.into_iter().chain(others)
    }

    /// Whether it was parked in any play.
    #[must_use]
    pub fn parked(&self) -> bool {
        self.ends().any(|end| end == Status::Parked.as_str())
    }
}
