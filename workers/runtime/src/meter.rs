//! What one task type is counted by. The handles are made once for each type, on first use, and not looked up again for each task.

use std::sync::OnceLock;
use std::time::Duration;

use baton_messages::{Direction, TaskResult, TaskType};
use metrics::{Counter, Histogram};

const RESULTS: [&str; 5] = ["succeeded", "failed", "unknown", "not-run", "probed"];
const DIRECTIONS: [Direction; 3] = [Direction::Do, Direction::Undo, Direction::Probe];

/// Counts the tasks of one type.
#[derive(Default)]
pub(crate) struct Meter {
    made: OnceLock<Made>,
}

struct Made {
    tasks: Vec<Counter>,
    seconds: Histogram,
}

impl Meter {
    pub(crate) fn ended(
        &self,
        task_type: &TaskType,
        direction: Direction,
        result: &TaskResult,
        took: Duration,
    ) {
        let made = self.made.get_or_init(|| Made::of(task_type));
        let direction = match direction {
            Direction::Do => 0,
            Direction::Undo => 1,
            Direction::Probe => 2,
        };
        let result = match result {
            TaskResult::Succeeded { .. } => 0,
            TaskResult::Failed(_) => 1,
            TaskResult::Unknown(_) => 2,
            TaskResult::NotRun { .. } => 3,
            TaskResult::Probed(_) => 4,
        };
        if let Some(counter) = made.tasks.get(direction * RESULTS.len() + result) {
            counter.increment(1);
        }
        made.seconds.record(took.as_secs_f64());
    }
}

impl Made {
    fn of(task_type: &TaskType) -> Self {
        let tasks = DIRECTIONS
            .iter()
            .flat_map(|direction| RESULTS.iter().map(move |result| (*direction, *result)))
            .map(|(direction, result)| {
                metrics::counter!(
                    "baton_worker_tasks_total",
                    "type" => task_type.to_string(),
                    "direction" => direction.as_str(),
                    "result" => result
                )
            })
            .collect();
        Self {
            tasks,
            seconds: metrics::histogram!("baton_worker_task_seconds", "type" => task_type.to_string()),
        }
    }
}
