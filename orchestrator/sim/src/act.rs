//! What the automation of a run does to the world, by its script, and how the run ends: the report it makes of itself.

use crate::event::{Do, Then, Whose};
use crate::fault::Fault;
use crate::ledger::Undone;
use crate::plan::{Kind, Matter, Play};
use crate::worker::Stage;
use crate::world::World;
use baton_messages::{Direction, Failure, ProbeAnswer, Report, TaskResult};

impl World {
    /// The moment an automation changes the world, if its script says so and it still may.
    pub(crate) fn act(&mut self, whose: Whose) {
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
        let mut place = (task.of.saga, task.of.key());
        if fault == Some(Fault::ItemsConfused) {
            place.1.item = place.1.item.map(|_| 0);
        }
        let kind = self.kind_at(&place);
        let Some(kind) = kind else { return };
        match task.of.direction {
            Direction::Do if acts => {
                self.witness_do(&task, id, asked, kind);
                self.ledger.act(&place, kind.matter, task.idempotency_key);
                self.report.acts += u64::from(kind.matter != Matter::Nothing);
                self.note(&format!(
                    "  ACT {} {} of {} by {whose:?}",
                    task.of.key(),
                    task.of.attempt,
                    crate::host::short(task.of.saga)
                ));
                let output = self.returned(&task, task.of.attempt);
                if let Some(run) = self.run_of(whose) {
                    run.acted = true;
                    run.answer = Some(TaskResult::Succeeded { output });
                }
            }
            Direction::Undo if acts => {
                self.witness_undo(&task, id, asked, kind);
                if self.undo_is_once(&place) {
                    self.ledger.undo_ran(&place, task.of.round);
                }
                let came = self.ledger.undo(
                    &place,
                    kind.matter,
                    task.idempotency_key,
                    task.of.round,
                    known.as_ref(),
                );
                self.note(&format!(
                    "  UNDO {} {} {came:?}",
                    task.of.key(),
                    task.of.attempt
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
    pub(crate) fn kind_at(&self, place: &crate::ledger::Place) -> Option<&'static Kind> {
        self.plans.get(&place.0)?.step(&place.1.step)?.kind
    }

    /// Whether the step is taken back by another task of which a second run does harm.
    fn undo_is_once(&self, place: &crate::ledger::Place) -> bool {
        let plan = self.plans.get(&place.0);
        let step = plan.and_then(|plan| plan.step(&place.1.step));
        step.is_some_and(|step| step.undo_once)
    }

    fn look_for(&mut self, whose: Whose, place: &crate::ledger::Place) {
        let stands = self.ledger.cell(place).standing > 0;
        let task = self.run_of(whose).map(|run| run.task.clone());
        let output = task.map_or(serde_json::Value::Null, |task| self.returned(&task, 0));
        if let Some(run) = self.run_of(whose) {
            run.answer = Some(TaskResult::Probed(if stands {
                ProbeAnswer::Happened { output }
            } else {
                ProbeAnswer::DidNot
            }));
        }
    }

    pub(crate) fn end(&mut self, whose: Whose) {
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

    pub(crate) fn overdue(&mut self, whose: Whose) {
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
        self.saw_result(whose, &result);
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
            of.key(),
            of.direction,
            of.attempt,
            of.dispatch,
            crate::host::short(of.saga),
            finished.result,
            finished.sole
        ));
        let report = Box::new(Report::Finished(finished));
        if fault == Some(Fault::ReportedOnce) && self.rng.per_mille(300) {
            return self.forget(whose);
        }
        self.go_on(0, whose, Do::Say(report, Then::Reported));
    }
}

pub(crate) fn unknown(code: &str, retryable: bool) -> TaskResult {
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
