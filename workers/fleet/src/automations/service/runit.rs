//! runit, by its own `sv`: it speaks to the `runsv` of a service, whose child the service is; nothing of it is a child of ours.

use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_worker::{Context, TaskError};

use super::State;
use crate::config::ServiceConfig;
use crate::process::{Changes, Ended, Processes, Run, tree};

/// Where services lie unless the configuration says otherwise.
const DIR_DEFAULT: &str = "/etc/service";
/// What `sv` may take longer than the service.
const AIR: Duration = Duration::from_secs(3);
/// How long looking may take.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// One service under runit.
#[derive(Debug)]
pub(super) struct Runit {
    folder: PathBuf,
    processes: Processes,
}

impl Runit {
    pub(super) fn new(
        config: &ServiceConfig,
        name: &str,
        processes: Processes,
    ) -> Result<Self, String> {
        let dir = config.dir.as_deref().unwrap_or(Path::new(DIR_DEFAULT));
        if !dir.is_absolute() {
            return Err("dir has to be an absolute path".to_owned());
        }
        Ok(Self {
            folder: dir.join(name),
            processes,
        })
    }

    pub(super) async fn state(&self, context: &Context) -> Result<State, TaskError> {
        let run = Run::new("sv").arg("status").arg(&self.folder);
        let run = run.timeout(LOOK_LIMIT).keep_nothing();
        let ended = self.processes.run(context, run).await;
        let ended = ended.map_err(|error| error.into_task_error(Changes::Nothing))?;
        parse(&ended.stdout.text).ok_or_else(|| {
            TaskError::failed("service-unknown", ended.complaint("sv status")).retryable()
        })
    }

    pub(super) async fn start(&self, context: &Context, wait: Duration) -> Result<(), TaskError> {
        self.tell(context, "up", wait).await
    }

    pub(super) async fn stop(&self, context: &Context, wait: Duration) -> Result<(), TaskError> {
        self.tell(context, "down", wait).await
    }

    /// Tells it, and waits as long as it may take. That `sv` gives up waiting is no error of its own: how the service stands then is.
    async fn tell(&self, context: &Context, word: &str, wait: Duration) -> Result<(), TaskError> {
        let seconds = wait.as_secs().max(1).to_string();
        let run = Run::new("sv")
            .args(["-w", &seconds, word])
            .arg(&self.folder);
        let run = run.timeout(wait + AIR).keep_nothing();
        let ended = self.processes.run(context, run).await;
        let ended = ended.map_err(|error| error.into_task_error(Changes::Something))?;
        if was_told(&ended) {
            Ok(())
        } else {
            Err(TaskError::failed("service-unknown", ended.complaint("sv")).retryable())
        }
    }
}

/// Whether the service heard it: `sv` says `fail` or `warning` when nobody is there to tell.
fn was_told(ended: &Ended) -> bool {
    ["ok:", "timeout:", "run:", "down:", "finish:", "kill:"]
        .iter()
        .any(|word| ended.stdout.text.starts_with(word))
}

/// Reads the first line of `sv status`: `run: /etc/service/web: (pid 21288) 7s, normally down`.
fn parse(text: &str) -> Option<State> {
    let line = text.lines().next()?;
    // What comes after `;` is about its logger.
    let line = line.split(';').next()?;
    let (word, rest) = line.split_once(": ")?;
    match word {
        "run" => {
            let pid: i32 = rest
                .split_once("(pid ")?
                .1
                .split_once(')')?
                .0
                .parse()
                .ok()?;
            // Its number alone may be given to another one; with when it began it is not.
            let began = tree::stat_of(pid).map_or(0, |stat| stat.began);
            Some(State::Running {
                instance: format!("{pid}.{began}"),
            })
        }
        "down" if rest.contains("want up") => Some(State::Failing),
        "down" => Some(State::Stopped),
        "finish" => Some(State::Failing),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_sv_is_understood() {
        let line = "run: /s/web: (pid 4194305) 5s; run: log: (pid 7) 9s\n";
        let instance = "4194305.0".to_owned();
        assert_eq!(parse(line), Some(State::Running { instance }));
        assert_eq!(
            parse("down: /s/web: 1s, normally up\n"),
            Some(State::Stopped)
        );
        assert_eq!(
            parse("down: /s/web: 1s, normally up, want up\n"),
            Some(State::Failing)
        );
        assert_eq!(parse("finish: /s/web: (pid 9) 1s\n"), Some(State::Failing));
        let nobody = "fail: /s/web: unable to change to service directory: file does not exist\n";
        assert_eq!(parse(nobody), None);
        assert_eq!(
            parse("warning: /s/web: unable to open supervise/ok\n"),
            None
        );
        assert_eq!(parse(""), None);
    }
}
