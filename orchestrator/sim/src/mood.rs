//! How rough a simulated world is: every kind of trouble with its frequency, drawn from the seed. Some worlds are quiet, so that what the
//! sagas do can be foretold exactly; some are rough in everything.

use crate::rng::Rng;

/// Frequencies of trouble. Those of single actions are in a thousand; those of processes say after how many milliseconds, on average.
#[derive(Debug, Clone)]
pub struct Mood {
    /// A task's confirm is lost although the broker has the task.
    pub confirm_lost: u64,
    /// A task is lost on its way to the broker.
    pub publish_lost: u64,
    /// The broker refuses a task.
    pub nacked: u64,
    /// A word to a worker gets lost.
    pub control_lost: u64,
    /// A worker's message arrives, its confirm does not.
    pub report_twice: u64,
    /// A worker's message is lost and sent again.
    pub report_lost: u64,
    /// A worker's message is on its way for long.
    pub report_late: u64,
    /// How long a worker's reports wait for others at most: what is ready when they go goes with them.
    pub gather_ms: u64,
    /// The orchestrator dies at an await.
    pub dies_at_await: u64,
    /// A commit's fate is unknown.
    pub commit_unknown: u64,
    /// A commit fails.
    pub commit_failed: u64,
    /// Between two deaths of a worker.
    pub worker_dies_ms: u64,
    /// Between two stops of a worker (it wakes up again).
    pub worker_stops_ms: u64,
    /// Between two lost connections of a worker.
    pub worker_disconnects_ms: u64,
    /// Between two drains of a worker.
    pub worker_drains_ms: u64,
    /// Between two deaths of the orchestrator.
    pub orchestrator_dies_ms: u64,
    /// Between two stops of the orchestrator that has the partition; another takes over when that lasts. Such worlds have orchestrators
    /// whose clocks differ.
    pub orchestrator_stops_ms: u64,
    /// The orchestrator is stopped between a commit and what follows from it.
    pub stops_after_commit: u64,
    /// Between two times the orchestrator's clock is set, far beyond what clocks may differ. Such worlds hold only what is claimed: who
    /// may act on what is held late is told by the clocks.
    pub clock_steps_ms: u64,
    /// Between two restarts of the broker.
    pub broker_restarts_ms: u64,
    /// A step's outcome is other than success.
    pub bad_outcome: u64,
    /// A saga is cancelled, paused or skipped at some moment.
    pub operator_acts: u64,
    /// The second run of one attempt comes out otherwise than the first.
    pub fickle: u64,
    /// A queue nobody has declared yet.
    pub queue_missing: u64,
    /// Sagas in this world.
    pub sagas: u64,
    /// Workers in this world.
    pub workers: u64,
    /// Whether sagas may meet faults at all; a quiet world is foretold exactly.
    pub quiet: bool,
}

const NEVER: u64 = u64::MAX;

impl Mood {
    /// Draws a mood.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Self {
        let mut mood = Self::calm(rng);
        match rng.below(10) {
            0 | 1 => mood.quiet = true,
            2 => mood.rough_bus(rng),
            3 => mood.rough_workers(rng),
            4 => mood.rough_orchestrator(rng),
            _ => {
                mood.rough_bus(rng);
                mood.rough_workers(rng);
                mood.rough_orchestrator(rng);
                mood.operator_acts = rng.pick(&[0, 200, 500], 0);
            }
        }
        mood
    }

    fn calm(rng: &mut Rng) -> Self {
        Self {
            gather_ms: rng.pick(&[0, 30, 400, 1_500], 0),
            bad_outcome: rng.pick(&[30, 150, 300], 150),
            sagas: rng.range(2, 7),
            workers: rng.range(2, 4),
            quiet: false,
            ..Self::peaceful()
        }
    }

    /// Nothing goes wrong by itself.
    pub(crate) const fn peaceful() -> Self {
        Self {
            confirm_lost: 0,
            publish_lost: 0,
            nacked: 0,
            control_lost: 0,
            report_twice: 0,
            report_lost: 0,
            report_late: 0,
            gather_ms: 0,
            dies_at_await: 0,
            commit_unknown: 0,
            commit_failed: 0,
            worker_dies_ms: NEVER,
            worker_stops_ms: NEVER,
            worker_disconnects_ms: NEVER,
            worker_drains_ms: NEVER,
            orchestrator_dies_ms: NEVER,
            orchestrator_stops_ms: NEVER,
            stops_after_commit: 0,
            clock_steps_ms: NEVER,
            broker_restarts_ms: NEVER,
            bad_outcome: 0,
            operator_acts: 0,
            fickle: 0,
            queue_missing: 0,
            sagas: 1,
            workers: 2,
            quiet: true,
        }
    }

    fn rough_bus(&mut self, rng: &mut Rng) {
        self.confirm_lost = rng.pick(&[10, 50, 150], 10);
        self.publish_lost = rng.pick(&[0, 30, 100], 0);
        self.nacked = rng.pick(&[0, 30, 150], 0);
        self.control_lost = rng.pick(&[0, 50, 300], 0);
        self.report_twice = rng.pick(&[20, 100, 300], 20);
        self.report_lost = rng.pick(&[0, 50, 200], 0);
        self.report_late = rng.pick(&[0, 20, 100], 0);
        self.broker_restarts_ms = rng.pick(&[NEVER, 60_000, 20_000], NEVER);
        self.queue_missing = rng.pick(&[0, 100, 400], 0);
    }

    fn rough_workers(&mut self, rng: &mut Rng) {
        self.worker_dies_ms = rng.pick(&[NEVER, 40_000, 10_000], NEVER);
        self.worker_stops_ms = rng.pick(&[NEVER, 60_000, 20_000], NEVER);
        self.worker_disconnects_ms = rng.pick(&[NEVER, 30_000, 8_000], NEVER);
        self.worker_drains_ms = rng.pick(&[NEVER, 60_000], NEVER);
        self.fickle = rng.pick(&[0, 200, 600], 0);
    }

    fn rough_orchestrator(&mut self, rng: &mut Rng) {
        self.dies_at_await = rng.pick(&[0, 5, 30, 100], 5);
        self.commit_unknown = rng.pick(&[0, 10, 60], 10);
        self.commit_failed = rng.pick(&[0, 10, 60], 10);
        self.orchestrator_dies_ms = rng.pick(&[NEVER, 30_000, 10_000], NEVER);
        self.clock_steps_ms = rng.pick(&[NEVER, NEVER, NEVER, 60_000, 15_000], NEVER);
        self.orchestrator_stops_ms = rng.pick(&[NEVER, 60_000, 20_000], NEVER);
        if self.orchestrator_stops_ms < NEVER {
            self.stops_after_commit = rng.pick(&[0, 5, 30], 0);
        }
    }
}
