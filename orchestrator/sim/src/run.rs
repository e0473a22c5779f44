//! What workers do with what they hold, by the rules of the two ways of holding: late, and by claim. Every step looks first whether the
//! run may still go on, as the real runtime does on every poll.

use baton_messages::inbox::Checkpoint;
use baton_messages::{
    CheckpointKind, ControlMessage, Direction, GrantAnswer, Report, RunId, Started, Task,
    TaskResult,
};

use crate::act::unknown;
use crate::broker::Message;
use crate::event::{Do, Event, Then, Whose};
use crate::fault::Fault;
use crate::plan::{Matter, Play};
use crate::worker::{ASK_AGAIN_MS, ASK_MS_MAX, Run, Stage};
use crate::world::World;

impl World {
    /// A task comes to a worker.
    pub(crate) fn delivered(&mut self, worker: usize, message: Message<Task>) {
        let id = RunId(self.rng.uuid());
        let task = message.body.clone();
        let clock = self.workers.get(worker).map(|at| at.clock(self.now));
        let waited = task.ask_after.is_some_and(|after| clock > Some(after));
        let (of, again) = (
            format!(
                "{} {} {}/{} of {}",
                task.of.step,
                task.of.direction,
                task.of.attempt,
                task.of.dispatch,
                crate::host::short(task.of.saga)
            ),
            message.redelivered,
        );
        let play = self.play_of(&task, message.redelivered);
        let now = self.now;
        let careless = self.fault == Some(Fault::ActsRedelivered);
        let Some(at) = self.workers.get_mut(worker) else {
            return;
        };
        let number = at.next_run;
        at.next_run += 1;
        let run = Run {
            id,
            redelivered: message.redelivered,
            asks: (message.redelivered || waited) && !careless,
            delivery: Some(message),
            connection: at.connection,
            stage: Stage::Held,
            entered_at: None,
            renewed_at: now,
            asked_at: now,
            play,
            acted: false,
            known_before: task.before.clone(),
            stored_before: None,
            cancelled: false,
            answer: None,
            task,
        };
        at.runs.insert(number, run);
        let whose = Whose {
            worker,
            life: at.life,
            run: number,
        };
        self.note(&format!("  take {of} again {again} by {whose:?}"));
        if self.dies_holding(whose) {
            return;
        }
        let delay = self.rng.range(1, 20);
        self.go_on(delay, whose, Do::Begin);
    }

    fn play_of(&mut self, task: &Task, redelivered: bool) -> Play {
        if let Some(play) = self.scripted(task) {
            return play;
        }
        let Some(plan) = self
            .plans
            .get(&task.of.saga)
            .and_then(|plan| plan.step(&task.of.step))
        else {
            return Play::Succeed;
        };
        let mut play = plan
            .script_of(task.of.item)
            .play(task.of.direction, task.of.attempt);
        if redelivered && self.rng.per_mille(self.mood.fickle) {
            let attempt = u32::try_from(self.rng.range(1, 8)).unwrap_or(1);
            play = plan
                .script_of(task.of.item)
                .play(task.of.direction, attempt);
        }
        match play {
            // Nobody dies any more.
            Play::DieActed if self.calm => Play::UnknownActed,
            Play::DieIdle if self.calm => Play::UnknownIdle,
            other => other,
        }
    }

    pub(crate) fn go_on(&mut self, ms: u64, whose: Whose, what: Do) {
        self.after(ms, Event::Run(whose, what));
    }

    pub(crate) fn run_of(&mut self, whose: Whose) -> Option<&mut Run> {
        self.workers
            .get_mut(whose.worker)
            .filter(|worker| worker.up && worker.life == whose.life)?
            .runs
            .get_mut(&whose.run)
    }

    /// A run goes on, unless its process is gone; one that is stopped goes on when it wakes up.
    pub(crate) fn run_goes_on(&mut self, whose: Whose, what: Do) {
        let stopped_until = self
            .workers
            .get(whose.worker)
            .map_or(0, |worker| worker.stopped_until);
        if self.run_of(whose).is_none() {
            return;
        }
        if stopped_until > self.now {
            let late = stopped_until - self.now + self.rng.below(50);
            return self.go_on(late, whose, what);
        }
        match what {
            Do::Begin => self.begin(whose),
            Do::AskAgain => self.ask(whose),
            Do::Enter => self.enter(whose),
            Do::Act => self.act(whose),
            Do::End => self.end(whose),
            Do::Overdue => self.overdue(whose),
            Do::Say(report, then) => self.say(whose, *report, then),
            Do::Confirmed(then) => self.confirmed(whose, then),
        }
    }

    /// Why a run may not begin to act: looked at last thing.
    fn too_late(&self, whose: Whose) -> Option<&'static str> {
        let worker = self.workers.get(whose.worker)?;
        let run = worker.runs.get(&whose.run)?;
        if self.fault == Some(Fault::ActsTooLate) {
            return None;
        }
        let unasked = run.task.ask_after.filter(|_| !run.claims());
        let clock = worker.clock(self.now);
        if clock > run.task.not_after || unasked.is_some_and(|after| clock > after) {
            return Some("it came too late");
        }
        if run.cancelled {
            return Some("it was cancelled before it began");
        }
        if worker.draining {
            return Some("it was given back");
        }
        (self.now >= run.killed_at().0).then_some("its lease was over before it began")
    }

    fn begin(&mut self, whose: Whose) {
        if let Some(why) = self.too_late(whose) {
            return self.report_run(whose, TaskResult::NotRun { reason: why.into() });
        }
        let now = self.now;
        let Some(run) = self.run_of(whose) else {
            return;
        };
        if run.claims() {
            run.stage = Stage::Asking;
            run.asked_at = now;
            run.renewed_at = now;
            self.ask(whose);
            self.heart(whose.worker);
        } else {
            self.enter(whose);
        }
    }

    fn ask(&mut self, whose: Whose) {
        let now = self.now;
        let Some(worker) = self.workers.get(whose.worker) else {
            return;
        };
        let Some(run) = worker
            .runs
            .get(&whose.run)
            .filter(|run| run.stage == Stage::Asking)
        else {
            return;
        };
        if now > run.asked_at + ASK_MS_MAX
            || worker.clock(now) > run.task.not_after
            || worker.draining
            || run.cancelled
        {
            return self.report_run(
                whose,
                TaskResult::NotRun {
                    reason: "its claim was not answered".into(),
                },
            );
        }
        let started = Started {
            of: run.task.of.clone(),
            run: run.id,
            worker: worker.id.clone(),
            at: worker.clock(now),
        };
        self.go_on(
            0,
            whose,
            Do::Say(Box::new(Report::Started(started)), Then::Asked),
        );
        self.go_on(ASK_AGAIN_MS, whose, Do::AskAgain);
    }

    /// A word from the orchestrator.
    pub(crate) fn control_arrives(&mut self, message: &ControlMessage) {
        match message {
            ControlMessage::Grant(grant) => {
                let stopped = self
                    .workers
                    .iter()
                    .find(|at| at.id == grant.worker)
                    .map_or(0, |at| at.stopped_until);
                if stopped > self.now {
                    // It lies in the socket until its process wakes up.
                    let late = stopped - self.now + self.rng.below(20);
                    return self.after(late, Event::ControlArrives(Box::new(message.clone())));
                }
                let Some(whose) =
                    self.find(|run, _| run.id == grant.run && run.stage == Stage::Asking)
                else {
                    return;
                };
                let fault = self.fault;
                let Some(run) = self.run_of(whose) else {
                    return;
                };
                match &grant.answer {
                    GrantAnswer::Granted { before, .. } => {
                        run.known_before = before.clone().or_else(|| run.known_before.take());
                        self.go_on(1, whose, Do::Enter);
                    }
                    GrantAnswer::Refused { .. } if fault == Some(Fault::ActsRefused) => {
                        self.go_on(1, whose, Do::Enter)
                    }
                    GrantAnswer::Refused { .. } => self.forget(whose),
                }
            }
            ControlMessage::Cancel(cancel) => {
                while let Some(whose) = self.find(|run, _| {
                    run.task.of == cancel.of && !run.cancelled && run.stage != Stage::Ended
                }) {
                    let may_stop = self.rng.per_mille(500);
                    let Some(run) = self.run_of(whose) else {
                        return;
                    };
                    run.cancelled = true;
                    if may_stop && run.stage == Stage::Entered {
                        let word = unknown("cancelled", true);
                        self.report_run(whose, word);
                    }
                }
            }
            ControlMessage::Drain(_) | ControlMessage::RollCall(_) => {}
        }
    }

    fn find(&self, wanted: impl Fn(&Run, u64) -> bool) -> Option<Whose> {
        self.workers.iter().enumerate().find_map(|(at, worker)| {
            if !worker.hears() || worker.stopped_until > self.now {
                return None;
            }
            let (number, _) = worker
                .runs
                .iter()
                .find(|(number, run)| wanted(run, **number))?;
            Some(Whose {
                worker: at,
                life: worker.life,
                run: *number,
            })
        })
    }

    fn enter(&mut self, whose: Whose) {
        let late = self.too_late(whose);
        let now = self.now;
        let (short, swift) = (
            self.rng.range(2, 1_500),
            self.mood.quiet || self.rng.per_mille(900),
        );
        let fault = self.fault;
        let Some(run) = self.run_of(whose) else {
            return;
        };
        if run.stage == Stage::Entered || run.stage == Stage::Ended {
            return;
        }
        if let Some(why) = late {
            return self.report_run(whose, TaskResult::NotRun { reason: why.into() });
        }
        run.stage = Stage::Entered;
        run.entered_at = Some(now);
        let overdue = run.task.timeout_ms;
        let work = if swift { short } else { short * 8 };
        let place = (run.task.of.saga, run.task.of.key());
        let forward = run.is(Direction::Do);
        let known = run.known_before.is_some() && fault != Some(Fault::ImageRetaken);
        let images = forward
            && self
                .kind_at(&place)
                .is_some_and(|kind| kind.matter == Matter::File);
        self.saw_entered(whose);
        self.cut_off(whose, work / 3);
        if fault != Some(Fault::ActsTooLate) {
            self.go_on(overdue, whose, Do::Overdue);
        }
        if images && !(known && self.rng.per_mille(500)) {
            if let Some(image) = self.image(whose, &place) {
                self.go_on(work / 2, whose, Do::Say(Box::new(image), Then::Imaged));
            }
        } else {
            self.go_on(work, whose, Do::Act);
        }
    }

    fn image(&mut self, whose: Whose, place: &crate::ledger::Place) -> Option<Report> {
        let value = self.ledger.content(place);
        let retaken = self.fault == Some(Fault::ImageRetaken);
        let run = self.run_of(whose)?;
        run.stored_before = Some(value.clone());
        let mut of = run.task.of.clone();
        if retaken {
            // Handed on as if it came before the others: what a store that keeps the last one would do.
            of.attempt = 1_000_u32.saturating_sub(of.attempt);
            run.stored_before = None;
        }
        Some(Report::Checkpoint(Checkpoint {
            of,
            run: run.id,
            kind: CheckpointKind::Before,
            number: 1,
            value,
        }))
    }
}
