//! What workers do with what they hold, by the rules of the two ways of holding: late, and by claim. Every step looks first whether the
//! run may still go on, as the real runtime does on every poll.

use baton_messages::fleet::{Heartbeat, Running};
use baton_messages::inbox::Checkpoint;
use baton_messages::{
    CheckpointKind, ControlMessage, Direction, Failure, GrantAnswer, InboxMessage, ProbeAnswer,
    RunId, Started, Task, TaskResult,
};
use serde_json::json;

use crate::broker::Message;
use crate::event::{Do, Event, Then, Whose};
use crate::fault::Fault;
use crate::ledger::Undone;
use crate::plan::{Kind, Matter, Play, kind_of};
use crate::worker::{ASK_AGAIN_MS, ASK_MS_MAX, HEARTBEAT_MS, Run, Stage};
use crate::world::World;

impl World {
    /// A task comes to a worker.
    pub(crate) fn delivered(&mut self, worker: usize, message: Message<Task>) {
        let id = RunId(self.rng.uuid());
        let task = message.body.clone();
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
            asks: message.redelivered && !careless,
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
        let delay = self.rng.range(1, 20);
        self.go_on(delay, whose, Do::Begin);
    }

    fn play_of(&mut self, task: &Task, redelivered: bool) -> Play {
        let Some(plan) = self
            .plans
            .get(&task.of.saga)
            .and_then(|plan| plan.step(&task.of.step))
        else {
            return Play::Succeed;
        };
        let mut play = plan.script.play(task.of.direction, task.of.attempt);
        if redelivered && self.rng.per_mille(self.mood.fickle) {
            let attempt = u32::try_from(self.rng.range(1, 8)).unwrap_or(1);
            play = plan.script.play(task.of.direction, attempt);
        }
        match play {
            // Nobody dies any more.
            Play::DieActed if self.calm => Play::UnknownActed,
            Play::DieIdle if self.calm => Play::UnknownIdle,
            other => other,
        }
    }

    fn go_on(&mut self, ms: u64, whose: Whose, what: Do) {
        self.after(ms, Event::Run(whose, what));
    }

    fn run_of(&mut self, whose: Whose) -> Option<&mut Run> {
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
            Do::Say(message, then) => self.say(whose, *message, then),
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
        if worker.clock(self.now) > run.task.not_after {
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
            Do::Say(Box::new(InboxMessage::Started(started)), Then::Asked),
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
        let place = (run.task.of.saga, run.task.of.step.clone());
        let images = run.is(Direction::Do)
            && kind_of(&run.task.task_type).is_some_and(|kind| kind.matter == Matter::File);
        let known = run.known_before.is_some() && fault != Some(Fault::ImageRetaken);
        if fault != Some(Fault::ActsTooLate) {
            self.go_on(overdue, whose, Do::Overdue);
        }
        if images && !(known && self.rng.per_mille(500)) {
            let image = Box::new(self.image(whose, &place));
            self.go_on(work / 2, whose, Do::Say(image, Then::Imaged));
        } else {
            self.go_on(work, whose, Do::Act);
        }
    }

    fn image(&mut self, whose: Whose, place: &crate::ledger::Place) -> InboxMessage {
        let value = self.ledger.content(place);
        let retaken = self.fault == Some(Fault::ImageRetaken);
        let mut of = None;
        let mut id = None;
        if let Some(run) = self.run_of(whose) {
            run.stored_before = Some(value.clone());
            of = Some(run.task.of.clone());
            id = Some(run.id);
            if retaken && let Some(of) = &mut of {
                // Handed on as if it came before the others: what a store that keeps the last one would do.
                of.attempt = 1_000_u32.saturating_sub(of.attempt);
                run.stored_before = None;
            }
        }
        let (Some(of), Some(run)) = (of, id) else {
            return InboxMessage::Marker(baton_messages::inbox::Marker {
                from: "nobody".into(),
                number: 0,
            });
        };
        InboxMessage::Checkpoint(Checkpoint {
            of,
            run,
            kind: CheckpointKind::Before,
            number: 1,
            value,
        })
    }

    /// The moment an automation changes the world, if its script says so and it still may.
    fn act(&mut self, whose: Whose) {
        let now = self.now;
        let fault = self.fault;
        let Some(run) = self.run_of(whose).filter(|run| run.stage == Stage::Entered) else {
            return;
        };
        let (killed, why) = run.killed_at();
        if now >= killed && fault != Some(Fault::ActsTooLate) {
            let word = unknown(why, true);
            return self.report_run(whose, word);
        }
        let (task, play, id, asked) = (run.task.clone(), run.play, run.id, run.asks);
        let known = run.known_before.clone().or_else(|| task.before.clone());
        let acts =
            play.acts() || (play == Play::FailFinal && fault == Some(Fault::FailedAfterActing));
        let place = (task.of.saga, task.of.step.clone());
        let kind = self.kind_at(&place);
        let Some(kind) = kind else { return };
        match task.of.direction {
            Direction::Do if acts => {
                self.witness_do(&task, id, asked, kind);
                self.ledger.act(&place, kind.matter, task.idempotency_key);
                self.report.acts += u64::from(kind.matter != Matter::Nothing);
                self.note(&format!(
                    "  ACT {} {} of {} by {whose:?}",
                    task.of.step,
                    task.of.attempt,
                    crate::host::short(task.of.saga)
                ));
                if let Some(run) = self.run_of(whose) {
                    run.acted = true;
                    run.answer = Some(TaskResult::Succeeded {
                        output: json!({ "n": task.of.attempt }),
                    });
                }
            }
            Direction::Undo if acts => {
                let came = self.ledger.undo(
                    &place,
                    kind.matter,
                    task.idempotency_key,
                    task.of.round,
                    known.as_ref(),
                );
                self.note(&format!(
                    "  UNDO {} {} {came:?}",
                    task.of.step, task.of.attempt
                ));
                let answer = match came {
                    Undone::Yes => TaskResult::Succeeded {
                        output: serde_json::Value::Null,
                    },
                    Undone::Conflict => TaskResult::Failed(failure("conflict", false)),
                };
                if let Some(run) = self.run_of(whose) {
                    run.acted = true;
                    run.answer = Some(answer);
                }
            }
            Direction::Probe => self.look_for(whose, &place),
            Direction::Do | Direction::Undo => {}
        }
        match play {
            Play::DieActed | Play::DieIdle => self.worker_dies(whose.worker),
            Play::HangActed | Play::HangIdle => {}
            _ => {
                let rest = self.rng.range(1, 400);
                self.go_on(rest, whose, Do::End);
            }
        }
    }

    /// The kind of the step, whose effect an undo or a probe of another type concerns too.
    fn kind_at(&self, place: &crate::ledger::Place) -> Option<&'static Kind> {
        self.plans.get(&place.0)?.step(&place.1)?.kind
    }

    fn look_for(&mut self, whose: Whose, place: &crate::ledger::Place) {
        let stands = self.ledger.cell(place).standing > 0;
        if let Some(run) = self.run_of(whose) {
            run.answer = Some(TaskResult::Probed(if stands {
                ProbeAnswer::Happened {
                    output: json!({ "n": 0 }),
                }
            } else {
                ProbeAnswer::DidNot
            }));
        }
    }

    fn end(&mut self, whose: Whose) {
        let Some(run) = self.run_of(whose).filter(|run| run.stage == Stage::Entered) else {
            return;
        };
        let probe = run.is(Direction::Probe);
        let result = match run.play {
            Play::Succeed => run
                .answer
                .clone()
                .unwrap_or_else(|| unknown("no-answer", true)),
            Play::FailRetryable => TaskResult::Failed(failure("busy", true)),
            Play::FailFinal => TaskResult::Failed(failure("refused", false)),
            Play::UnknownActed | Play::UnknownIdle if probe => {
                TaskResult::Probed(ProbeAnswer::CannotTell {
                    reason: "nobody knows".into(),
                })
            }
            Play::UnknownActed | Play::UnknownIdle => unknown("lost-answer", true),
            Play::HangActed | Play::HangIdle | Play::DieActed | Play::DieIdle => {
                unknown("timeout", true)
            }
        };
        self.report_run(whose, result);
    }

    fn overdue(&mut self, whose: Whose) {
        let Some(run) = self.run_of(whose).filter(|run| run.stage == Stage::Entered) else {
            return;
        };
        run.play = Play::HangIdle;
        self.report_run(whose, unknown("timeout", true));
    }

    /// A run has ended: its report goes out until it is confirmed, and only then is it forgotten.
    pub(crate) fn report_run(&mut self, whose: Whose, result: TaskResult) {
        let now = self.now;
        let fault = self.fault;
        let Some(worker) = self.workers.get_mut(whose.worker) else {
            return;
        };
        let Some(run) = worker.runs.get_mut(&whose.run) else {
            return;
        };
        if run.stage == Stage::Ended {
            return;
        }
        run.stage = Stage::Ended;
        let run = run.clone();
        let finished = worker.report(&run, result, now, fault);
        let of = &run.task.of;
        self.note(&format!(
            "  end {} {} {}/{} of {} by {whose:?}: {:?} sole {}",
            of.step,
            of.direction,
            of.attempt,
            of.dispatch,
            crate::host::short(of.saga),
            finished.result,
            finished.sole
        ));
        let message = Box::new(InboxMessage::Finished(finished));
        if fault == Some(Fault::ReportedOnce) && self.rng.per_mille(300) {
            return self.forget(whose);
        }
        self.go_on(0, whose, Do::Say(message, Then::Reported));
    }

    fn say(&mut self, whose: Whose, message: InboxMessage, then: Then) {
        let can = self.broker.up
            && self
                .workers
                .get(whose.worker)
                .is_some_and(|worker| worker.connected);
        let again = self.rng.range(300, 1_500);
        if then == Then::Asked
            && !self
                .run_of(whose)
                .is_some_and(|run| run.stage == Stage::Asking)
        {
            return;
        }
        if then == Then::Imaged && self.fault == Some(Fault::ImageLost) {
            return self.go_on(1, whose, Do::Confirmed(then));
        }
        if !can {
            return self.go_on(again, whose, Do::Say(Box::new(message), then));
        }
        let trouble = u64::from(!self.calm);
        if self.rng.per_mille(self.mood.report_lost * trouble) {
            return self.go_on(again, whose, Do::Say(Box::new(message), then));
        }
        let twice = self.rng.per_mille(self.mood.report_twice * trouble);
        if twice {
            self.go_on(again, whose, Do::Say(Box::new(message.clone()), then));
        }
        let late = self.rng.per_mille(self.mood.report_late * trouble);
        let delay = if late {
            self.rng.range(1_000, 20_000)
        } else {
            self.rng.range(1, 15)
        };
        self.after(
            delay,
            Event::InboxArrives {
                message: Box::new(message),
                whose: Some((whose, then)),
                confirmed: !twice,
            },
        );
    }

    /// A message reaches the inbox, if the broker is there; its sender hears of it.
    pub(crate) fn inbox_arrives(
        &mut self,
        message: InboxMessage,
        whose: Option<(Whose, Then)>,
        confirmed: bool,
    ) {
        if !self.broker.up {
            if let Some((whose, then)) = whose
                && confirmed
            {
                let again = self.rng.range(300, 1_500);
                self.go_on(again, whose, Do::Say(Box::new(message), then));
            }
            return;
        }
        self.broker.inbox.push(message);
        self.wake_host(2);
        if let Some((whose, then)) = whose
            && confirmed
        {
            let delay = self.rng.range(1, 10);
            self.go_on(delay, whose, Do::Confirmed(then));
        }
    }

    fn confirmed(&mut self, whose: Whose, then: Then) {
        match then {
            Then::Asked => {
                let ungranted = self.fault == Some(Fault::ActsUngranted);
                if let Some(run) = self.run_of(whose) {
                    run.delivery = None;
                    if ungranted && run.stage == Stage::Asking {
                        self.go_on(1, whose, Do::Enter);
                    }
                }
            }
            Then::Imaged => {
                let work = self.rng.range(1, 800);
                self.go_on(work, whose, Do::Act);
            }
            Then::Reported => self.forget(whose),
        }
    }

    /// A run is over for its worker: acknowledged, its place free.
    pub(crate) fn forget(&mut self, whose: Whose) {
        if let Some(worker) = self
            .workers
            .get_mut(whose.worker)
            .filter(|worker| worker.life == whose.life)
        {
            worker.runs.remove(&whose.run);
        }
        self.pump_soon();
    }

    /// A worker that holds claims has a heartbeat.
    fn heart(&mut self, worker: usize) {
        let Some(at) = self.workers.get_mut(worker) else {
            return;
        };
        if !at.beating {
            at.beating = true;
            let life = at.life;
            self.after(HEARTBEAT_MS, Event::Beat(worker, life));
        }
    }

    /// A heartbeat: says what runs under a lease, and ends what has lost it.
    pub(crate) fn beat(&mut self, worker: usize, life: u64) {
        let now = self.now;
        let Some(at) = self
            .workers
            .get_mut(worker)
            .filter(|at| at.up && at.life == life)
        else {
            return;
        };
        if at.stopped_until > now {
            let late = at.stopped_until - now;
            return self.after(late, Event::Beat(worker, life));
        }
        let claims =
            |run: &Run| run.claims() && matches!(run.stage, Stage::Asking | Stage::Entered);
        let running: Vec<Running> = at
            .runs
            .values()
            .filter(|run| claims(run))
            .map(|run| Running {
                of: run.task.of.clone(),
                run: run.id,
            })
            .collect();
        let lost: Vec<Whose> = at
            .runs
            .iter()
            .filter(|(_, run)| run.stage == Stage::Entered && now >= run.killed_at().0)
            .map(|(number, _)| Whose {
                worker,
                life,
                run: *number,
            })
            .collect();
        if running.is_empty() {
            at.beating = false;
            return;
        }
        at.beats += 1;
        let heartbeat = Heartbeat {
            worker: at.id.clone(),
            number: at.beats,
            running,
            at: at.clock(now),
        };
        let connected = at.connected;
        if self.fault != Some(Fault::ActsTooLate) {
            for whose in lost {
                self.report_run(whose, unknown("lease-lost", true));
            }
        }
        if connected && self.broker.up {
            let delay = self.rng.range(1, 20);
            self.after(delay, Event::HeartbeatArrives(Box::new(heartbeat)));
            self.after(delay + 2, Event::Beaten(worker, life, now));
        }
        self.after(HEARTBEAT_MS, Event::Beat(worker, life));
    }

    /// A heartbeat sent at `sent` is confirmed: what it named has a lease from then.
    pub(crate) fn beaten(&mut self, worker: usize, life: u64, sent: u64) {
        let now = self.now;
        let Some(at) = self
            .workers
            .get_mut(worker)
            .filter(|at| at.up && at.life == life && at.stopped_until <= now)
        else {
            return;
        };
        for run in at.runs.values_mut() {
            run.renewed_at = run.renewed_at.max(sent);
        }
    }
}

fn unknown(code: &str, retryable: bool) -> TaskResult {
    TaskResult::Unknown(failure(code, retryable))
}

fn failure(code: &str, retryable: bool) -> Failure {
    Failure {
        code: code.into(),
        message: format!("simulated: {code}"),
        retryable,
        retry_after_ms: None,
    }
}
