//! The sweep: one saga definition, held against everything that can befall its steps. For every step, each way, each [`Trouble`] in turn, on
//! the real engine and driver in simulated time, quietly and with messages doubled and reordered; each play is judged by what has really
//! happened to the world. `baton sweep` shows it to authors; the laws in `tests/laws.rs` hold it over what is shipped and what is drawn.
//!
//! Where steps are sagas, those are played as well, with what is given [`Beside`]: their steps are rows too, and the promise is that of the whole
//! tree. A cell of the matrix is one trouble at one step; its plays have seeds, by which each is played again to the letter.

mod cell;
mod events;
mod given;
mod judge;
mod kinds;
mod outside;
mod play;
mod row;
mod scene;
mod script;
mod setting;
mod tree;
mod trouble;
mod value;
mod values;
mod wants;
mod words;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use baton_engine::definition::StepKind;
use baton_engine::{Catalogue, Definition, Status};
use baton_messages::TaskType;
use serde_json::Value;

pub use cell::{Breach, Cell};
pub use given::{CasesError, Given, by_step};
pub use play::{Asked, Played};
pub use row::{Row, Way};
pub use scene::Scene;
pub use tree::{Beside, SAGAS_MAX, StepPath};
pub use trouble::Trouble;

use crate::fault::Fault;
use scene::Scene as OneScene;
use setting::Setting;
use tree::Tree;

/// Plays of a cell where nobody says how many: one quietly, the others with messages doubled and reordered.
pub const PLAYS: u64 = 3;
/// The most plays of a cell: its seed has three digits for them.
pub const PLAYS_MAX: u64 = 999;
/// The most cells of the steps of sagas within the one that is swept: they are played in a minute or two. Where there are more the deepest are left out.
pub const CELLS_WITHIN_MAX: usize = 2_000;
/// Settings that are tried so that every step is wanted once, and every undo with a condition once wanted and once not.
const SETTINGS_MAX: usize = 48;

/// Why a definition cannot be swept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// Nobody knows a task type.
    #[error("step {step}: nothing is known of {task_type}")]
    Unknown {
        /// Which step.
        step: StepPath,
        /// Which type.
        task_type: TaskType,
    },
    /// No input can be made.
    #[error("no input can be made from the saga's schema: {why}")]
    Input {
        /// Why.
        why: String,
    },
    /// The input that is given is none of this saga.
    #[error("the input that is given does not fit the saga: {why}")]
    Misfit {
        /// Where, and why.
        why: String,
    },
    /// What is given for a step is nothing its task type returns.
    #[error("what is given for {step} is nothing {task_type} returns: {why}")]
    NotReturned {
        /// Which step.
        step: StepPath,
        /// What it runs.
        task_type: TaskType,
        /// Where it does not fit, and why.
        why: String,
    },
    /// What a step returns cannot be made.
    #[error("nothing can be made that {step} could return: {why}")]
    Return {
        /// Which step.
        step: StepPath,
        /// Why.
        why: String,
    },
    /// A step is a saga of its own, whose definition was not given.
    #[error("step {step} is a saga of its own, {saga}, and its definition was not given")]
    NotGiven {
        /// Which step.
        step: StepPath,
        /// Which saga, with its version.
        saga: String,
    },
    /// More sagas lie within it than are played together.
    #[error(
        "with those within it, it is more than {} sagas, each counted as often as a step leads to it",
        SAGAS_MAX
    )]
    TooMany,
    /// Values are given for a step that there is not, or that has none.
    #[error("there is no step {step} that {what}")]
    NoSuchStep {
        /// Which.
        step: String,
        /// What it is said to do.
        what: &'static str,
    },
    /// No cell has that seed.
    #[error("no cell has the seed {seed}")]
    Seed {
        /// Which.
        seed: u64,
    },
}

/// What was played of a sweep.
#[derive(Debug)]
pub struct Ran {
    /// The cells, row by row.
    pub cells: Vec<Cell>,
    /// Whether all cells were played that were to be.
    pub whole: bool,
    /// The steps of sagas within it whose rows were left out, since there are more than [`CELLS_WITHIN_MAX`] cells of such.
    pub left_out: BTreeSet<StepPath>,
}

/// One definition, ready to be swept.
#[derive(Debug)]
pub struct Sweep {
    definition: Arc<Definition>,
    tree: Tree,
    settings: Vec<Arc<Setting>>,
    rows: Vec<Row>,
    /// A rule broken on purpose, to show that the laws can see.
    fault: Option<Fault>,
    undisturbed: Played,
    unmade: Vec<StepPath>,
}

impl Sweep {
    /// Makes a definition ready that has no step that is a saga, as [`Sweep::among`] does.
    ///
    /// # Errors
    /// [`Unready`], with what is missing.
    pub fn new(
        definition: Definition,
        catalogue: &Catalogue,
        given: &Given,
    ) -> Result<Self, Unready> {
        Self::among(Arc::new(definition), &Beside::default(), catalogue, given)
    }

    /// Makes a definition ready, with those that its steps name: their values, how it goes undisturbed, and its rows. What is given for a step of
    /// a saga within it is named by the way there: `restore/put_back`.
    ///
    /// # Errors
    /// [`Unready`], with what is missing.
    pub fn among(
        definition: Arc<Definition>,
        beside: &Beside,
        catalogue: &Catalogue,
        given: &Given,
    ) -> Result<Self, Unready> {
        let tree = Tree::of(definition.clone(), beside, given)?;
        let mut settings: Vec<(Arc<Setting>, Played)> = Vec::new();
        for values in values::values(&tree, catalogue, given, SETTINGS_MAX)? {
            let setting = Setting::new(&tree, catalogue, values)?;
            let played = play::play(undisturbed(&Arc::new(setting.clone())), 0, None, false);
            let shows_nothing_new = |known: &(Arc<Setting>, Played)| {
                let mut answers = played.wants_undo.iter();
                played.ran.iter().all(|step| known.1.ran.contains(step))
                    && answers.all(|(at, wanted)| known.1.wants_undo.get(at) == Some(wanted))
                    && skipped(&tree, &played).is_subset(&skipped(&tree, &known.1))
            };
            let completes = |known: &(Arc<Setting>, Played)| known.0.completes;
            let first_to_complete =
                played.status == Status::Completed && !settings.iter().any(completes);
            if !first_to_complete && settings.iter().any(shows_nothing_new) {
                continue;
            }
            let mut setting = setting.known(&played.ran, &played.items);
            setting.completes = played.status == Status::Completed;
            settings.push((Arc::new(setting), played));
            let ran = |at: &StepPath| settings.iter().any(|known| known.1.ran.contains(at));
            let left_out = |at: &StepPath| {
                let mut all = settings.iter();
                all.any(|known| skipped(&tree, &known.1).contains(at))
            };
            let answered = |at: &StepPath, wanted: bool| {
                let mut all = settings.iter();
                all.any(|known| known.1.wants_undo.get(at) == Some(&wanted))
            };
            let both_ways = || {
                let mut undos = conditional_undos(&tree);
                conditional_pivots(&tree).all(|at| left_out(&at))
                    && undos.all(|at| answered(&at, true) && answered(&at, false))
            };
            if settings.iter().any(completes) && tree.steps().all(|(at, _)| ran(&at)) && both_ways()
            {
                break;
            }
        }
        // of values with which nobody would begin it nothing is told, where there are others
        if settings.iter().any(|(_, played)| played.refused.is_none()) {
            settings.retain(|(_, played)| played.refused.is_none());
        }
        // how it goes when all is well is told of one with which it completes, where there is any
        settings.sort_by_key(|(setting, _)| !setting.completes);
        let (settings, played): (Vec<_>, Vec<_>) = settings.into_iter().unzip();
        let rows = row::rows(&tree, &settings, &played);
        let unmade = unmade(&tree, &played);
        let undisturbed = played.into_iter().next().ok_or(Unready::Input {
            why: "there is none".into(),
        })?;
        Ok(Self {
            definition,
            tree,
            settings,
            rows,
            fault: None,
            undisturbed,
            unmade,
        })
    }

    /// The same with a rule broken on purpose.
    #[must_use]
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        if let Some(setting) = self.settings.first() {
            self.undisturbed = play::play(undisturbed(setting), 0, self.fault, false);
        }
        self
    }

    /// The definition that is swept.
    #[must_use]
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Its rows.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What it was started with.
    #[must_use]
    pub fn input(&self) -> &Value {
        static NONE: Value = Value::Null;
        self.settings
            .first()
            .map_or(&NONE, |setting| &setting.input)
    }

    /// How it goes when all is well.
    #[must_use]
    pub const fn undisturbed(&self) -> &Played {
        &self.undisturbed
    }

    /// Waits for which no event could be made that fits their `when`, whatever was tried.
    pub fn unmade(&self) -> impl Iterator<Item = &StepPath> {
        self.unmade.iter()
    }

    /// The seed that plays the saga undisturbed.
    #[must_use]
    pub fn seed_of_all_well(&self) -> u64 {
        cell::seed_of(0, Trouble::Nothing, 0)
    }

    /// Every step, of the sagas within it as well.
    pub fn steps(&self) -> impl Iterator<Item = StepPath> {
        self.tree.steps().map(|(at, _)| at)
    }

    /// Steps whose events stay published although their saga, or one above it, turns back.
    pub fn told_before(&self) -> impl Iterator<Item = StepPath> {
        self.tree.all.iter().flat_map(|(above, one)| {
            let definition = &one.definition;
            let told = definition.steps.iter().filter(move |step| {
                let is_last = above.is_empty() && definition.ends_with(step);
                let tells = matches!(step.kind, StepKind::Emit(_));
                tells && !is_last && !definition.only_forward(step)
            });
            told.map(move |step| StepPath::new(above, &step.id))
        })
    }

    /// How many sagas lie within it, each counted as often as a step leads to it.
    #[must_use]
    pub fn sagas_within(&self) -> usize {
        self.tree.all.len().saturating_sub(1)
    }

    /// The pivots that have an `if`, each with whether it is sent in a setting, and whether it is skipped in one that completes: what comes after it is taken back
    /// only there.
    pub fn conditional_pivots(&self) -> impl Iterator<Item = (StepPath, bool, bool)> {
        conditional_pivots(&self.tree).map(|at| {
            let mut all = self.settings.iter();
            let wanted = |setting: &Setting| setting.step(&at).is_some_and(|step| step.wanted);
            let sent = all.clone().any(|setting| wanted(setting));
            let skipped = all.any(|setting| setting.completes && !wanted(setting));
            (at, sent, skipped)
        })
    }

    /// Steps that were wanted in no setting; not those of a saga that is itself such a step.
    pub fn never_wanted(&self) -> impl Iterator<Item = StepPath> {
        let wanted = |at: &StepPath| {
            self.settings
                .iter()
                .any(|setting| setting.step(at).is_some_and(|step| step.wanted))
        };
        let begins = move |at: &StepPath| {
            let (step, above) = at.above.split_last()?;
            Some(wanted(&StepPath::new(above, step)))
        };
        self.steps()
            .filter(move |at| !wanted(at) && begins(at).unwrap_or(true))
    }

    /// Its cells, row by row.
    #[must_use]
    pub fn cells(&self) -> Vec<(usize, Trouble)> {
        let mut all = Vec::new();
        for (at, row) in self.rows.iter().enumerate() {
            all.extend(row.troubles().map(|trouble| (at, trouble)));
        }
        all
    }

    /// The cells of the rows that are wanted, row by row, and the steps that are left out: those that lie deepest, where there are too many.
    fn wanted(
        &self,
        wanted: impl Fn(Option<&StepPath>) -> bool,
    ) -> (Vec<(usize, Trouble)>, BTreeSet<StepPath>) {
        let mut rows: Vec<(usize, &Row)> = self.rows.iter().enumerate().collect();
        rows.retain(|(_, row)| wanted(row.step.as_ref()));
        rows.sort_by_key(|(_, row)| row.depth());
        let (mut all, mut left_out, mut within) = (Vec::new(), BTreeSet::new(), 0);
        for (at, row) in rows {
            if row.depth() > 0 {
                within += row.troubles().count();
            }
            if within > CELLS_WITHIN_MAX {
                left_out.extend(row.step.clone());
            } else {
                all.extend(row.troubles().map(|trouble| (at, trouble)));
            }
        }
        all.sort_by_key(|(at, _)| *at);
        (all, left_out)
    }

    /// Plays every cell of the rows that are wanted, by their steps, on as many threads as there are processors. `told` hears how many are
    /// done, and says whether to go on.
    pub fn run(
        &self,
        plays: u64,
        wanted: impl Fn(Option<&StepPath>) -> bool,
        told: impl Fn(usize, usize) -> bool + Sync,
    ) -> Ran {
        let (all, left_out) = self.wanted(wanted);
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let stopped = std::sync::atomic::AtomicBool::new(false);
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let work = || {
            let mut mine = Vec::new();
            while let Some((row, trouble)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                mine.push(self.cell(*row, *trouble, plays));
                let so_far = done.fetch_add(1, Ordering::Relaxed) + 1;
                if !told(so_far, all.len()) {
                    stopped.store(true, Ordering::Relaxed);
                }
            }
            mine
        };
        let mut cells: Vec<Cell> = std::thread::scope(|scope| {
            let shares: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let join = |share: std::thread::ScopedJoinHandle<'_, Vec<Cell>>| {
                // whatever went wrong there is not to be taken for cells that are well
                share
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            shares.into_iter().flat_map(join).collect()
        });
        cells.sort_by_key(|cell| cell.seed);
        Ran {
            whole: cells.len() == all.len(),
            cells,
            left_out,
        }
    }

    /// Plays one seed again.
    ///
    /// # Errors
    /// When no cell has it.
    pub fn again(&self, seed: u64) -> Result<(usize, Trouble, Played), Unready> {
        let (row, trouble) = cell::of_seed(seed);
        let known = self.rows.get(row).zip(trouble);
        let known = known.filter(|(row, trouble)| row.troubles().any(|one| one == *trouble));
        let Some((of, trouble)) = known else {
            return Err(Unready::Seed { seed });
        };
        Ok((row, trouble, self.play(of, trouble, seed, true)))
    }
}

/// A scene in which nothing befalls the saga.
fn undisturbed(setting: &Arc<Setting>) -> OneScene {
    OneScene::new(setting.clone(), None, Trouble::Nothing, false)
}

/// The pivots that have an `if`.
fn conditional_pivots(tree: &Tree) -> impl Iterator<Item = StepPath> {
    let steps = tree.steps();
    let steps = steps.filter(|(_, step)| step.pivot && step.condition.is_some());
    steps.map(|(at, _)| at)
}

/// The steps with a condition for their undo that is asked once for all of the step.
fn conditional_undos(tree: &Tree) -> impl Iterator<Item = StepPath> {
    let steps = tree.steps().filter(|(_, step)| {
        let task = step.task().filter(|_| step.fan.is_none());
        task.is_some_and(|task| task.undo_when.is_some())
    });
    steps.map(|(at, _)| at)
}

/// Those pivots with an `if` that were skipped in a play that went through, in sagas that were begun.
fn skipped(tree: &Tree, played: &Played) -> BTreeSet<StepPath> {
    let began = |at: &StepPath| {
        let above = at.above.split_last();
        above.is_none_or(|(step, above)| played.ran.contains(&StepPath::new(above, step)))
    };
    let through = played.status == Status::Completed;
    let all = conditional_pivots(tree);
    all.filter(|at| through && began(at) && !played.ran.contains(at))
        .collect()
}

/// The waits that no event could be made for in any setting that came to them.
fn unmade(tree: &Tree, played: &[Played]) -> Vec<StepPath> {
    let never = |at: &StepPath| {
        let mut came = played.iter().filter(|one| one.ran.contains(at)).peekable();
        came.peek().is_some() && came.all(|one| one.unmade.contains(at))
    };
    let steps = tree.steps().map(|(at, _)| at);
    steps.filter(never).collect()
}
