//! supervisor, by its own `supervisorctl`. Address and password go into a file of the run's own folder, never into an argument.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use baton_worker::{Context, TaskError};

use super::State;
use crate::config::ServiceConfig;
use crate::process::{Changes, Ended, Masks, Processes, Run, RunError, tree};

/// Where supervisor is unless the configuration says otherwise.
const AT_DEFAULT: &str = "unix:///run/supervisor.sock";
/// The file its own configuration is put into.
const FILE: &str = "supervisorctl.conf";
/// What `supervisorctl` may take longer than the service.
const AIR: Duration = Duration::from_secs(3);
/// How long looking may take.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// One program under supervisor.
#[derive(Debug)]
pub(super) struct Supervisor {
    name: String,
    at: String,
    user: Option<String>,
    password_file: Option<PathBuf>,
    processes: Processes,
}

impl Supervisor {
    pub(super) fn new(
        config: &ServiceConfig,
        name: &str,
        processes: Processes,
    ) -> Result<Self, String> {
        let at = config.at.as_deref().unwrap_or(AT_DEFAULT);
        if !["http://", "unix://"]
            .iter()
            .any(|scheme| at.starts_with(scheme))
        {
            return Err(format!(
                "at: `{at}` begins neither with http:// nor with unix://"
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            at: at.to_owned(),
            user: config.user.clone(),
            password_file: config.password_file.clone(),
            processes,
        })
    }

    pub(super) async fn state(&self, context: &Context) -> Result<State, TaskError> {
        let ended = self
            .ctl(context, "status", LOOK_LIMIT, Changes::Nothing)
            .await?;
        parse(&ended.stdout.text).ok_or_else(|| {
            TaskError::failed("service-unknown", ended.complaint("supervisorctl status"))
                .retryable()
        })
    }

    pub(super) async fn start(&self, context: &Context, wait: Duration) -> Result<(), TaskError> {
        self.ctl(context, "start", wait + AIR, Changes::Something)
            .await
            .map(|_| ())
    }

    pub(super) async fn stop(&self, context: &Context, wait: Duration) -> Result<(), TaskError> {
        self.ctl(context, "stop", wait + AIR, Changes::Something)
            .await
            .map(|_| ())
    }

    /// What its code says depends on its version; how the service stands afterwards is what counts.
    async fn ctl(
        &self,
        context: &Context,
        word: &str,
        limit: Duration,
        changes: Changes,
    ) -> Result<Ended, TaskError> {
        let (file, masks) = self.file().map_err(|error| {
            let why = format!("the password of supervisor cannot be read: {error}");
            TaskError::failed("service-password", why)
        })?;
        let run = Run::new("supervisorctl")
            .args(["-c", FILE, word, &self.name])
            .file(FILE, file)
            .masks(masks)
            .timeout(limit)
            .keep_nothing();
        let ended = self.processes.run(context, run).await;
        ended.map_err(|error: RunError| error.into_task_error(changes))
    }

    fn file(&self) -> std::io::Result<(String, Masks)> {
        let password = self
            .password_file
            .as_ref()
            .map(fs::read_to_string)
            .transpose()?;
        let password = password.as_deref().map(str::trim);
        // Python's configuration files expand what follows a percent sign.
        let plain = |text: &str| text.replace('%', "%%");
        let mut text = format!("[supervisorctl]\nserverurl = {}\n", plain(&self.at));
        if let Some(user) = &self.user {
            text += &format!("username = {}\n", plain(user));
        }
        if let Some(password) = password {
            text += &format!("password = {}\n", plain(password));
        }
        Ok((text, Masks::of(password)))
    }
}

/// Reads `web   RUNNING   pid 4242, uptime 0:00:05`.
fn parse(text: &str) -> Option<State> {
    let mut words = text.lines().next()?.split_whitespace().skip(1);
    match words.next()? {
        "RUNNING" => {
            let pid = words.nth(1)?.trim_end_matches(',');
            let began = tree::stat_of(pid.parse().ok()?).map_or(0, |stat| stat.began);
            Some(State::Running {
                instance: format!("{pid}.{began}"),
            })
        }
        // One that was given up does not run, and nobody tries any more: nothing could stop it further.
        "STOPPED" | "EXITED" | "FATAL" => Some(State::Stopped),
        "STARTING" | "BACKOFF" | "STOPPING" => Some(State::Failing),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_supervisor_is_understood() {
        let instance = "4194305.0".to_owned();
        let line = "web                              RUNNING   pid 4194305, uptime 0:00:05\n";
        assert_eq!(parse(line), Some(State::Running { instance }));
        assert_eq!(parse("web STOPPED Nov 22 07:00 AM\n"), Some(State::Stopped));
        // it has given up, and starts it only when told
        assert_eq!(
            parse("web FATAL Exited too quickly\n"),
            Some(State::Stopped)
        );
        assert_eq!(
            parse("web BACKOFF Exited too quickly\n"),
            Some(State::Failing)
        );
        assert_eq!(parse("web: ERROR (no such process)\n"), None);
        assert_eq!(parse("http://127.0.0.1:1 refused connection\n"), None);
    }
}
