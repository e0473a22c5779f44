//! The kit itself: makes a run's folder and cgroup, starts its launcher, reads what is printed, and comes back when the tree is gone.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use baton_worker::{Context, Masks};
use tokio::process::{Child, Command};

use super::containment::{Chosen, Containment, choose};
use super::ended::{Ended, last_words, result_of};
use super::folder::Folders;
use super::launch::{LaunchSpec, STAGE_NANNY, SUBCOMMAND, Status, read_launch_error, read_status};
use super::options::ProcessesConfig;
use super::orphans::{MARK, OrphanError, end_orphans, forget_empty_groups, forget_orphaned_groups};
use super::output::{Captured, Collector};
use super::pins::Pin;
use super::place::{Place, RESULT};
use super::run::Run;
use super::run_error::RunError;
use super::umask::Umask;

/// How long a killed tree may take to be gone before that counts as not confirmed. A process in an uninterruptible wait is not killed by
/// anything; everything else is gone within milliseconds.
const CONFIRM_MS: u64 = 5_000;
/// How much longer than its own limits a launcher may take, before its worker looks after the tree itself.
const LAUNCHER_AIR: Duration = Duration::from_secs(2);
/// How long reading goes on after the tree is gone: its pipes are closed then, unless something got away.
const DRAIN: Duration = Duration::from_millis(500);

/// Runs programs. Cheap to clone; one for a whole worker.
#[derive(Debug, Clone)]
pub struct Processes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ProcessesConfig,
    folders: Folders,
    launcher: PathBuf,
    chosen: OnceLock<Option<Chosen>>,
}

impl Processes {
    /// With these settings. Nothing is looked at or made yet.
    #[must_use]
    pub fn new(config: &ProcessesConfig) -> Self {
        // The link, not the path: an upgrade may have put another file there, whose stages may speak another way.
        Self::launched_by(config, PathBuf::from("/proc/self/exe"))
    }

    /// With another program as launcher, which has to be a `baton-worker` of this very version: for tests, which are no worker.
    #[must_use]
    pub fn launched_by(config: &ProcessesConfig, launcher: PathBuf) -> Self {
        let folders = Folders::new(config.work_folder.as_deref(), config.kept_hours);
        Self {
            inner: Arc::new(Inner {
                config: config.clone(),
                folders,
                launcher,
                chosen: OnceLock::new(),
            }),
        }
    }

    /// How runs are held together; none when the way the configuration asks for is not to be had. Blocks for a moment the first time.
    #[must_use]
    pub fn containment(&self) -> Option<Containment> {
        self.chosen().map(|chosen| chosen.containment)
    }

    /// How the limits of memory and of the number of processes hold on this host, as a sentence. Blocks for a moment the first time.
    #[must_use]
    pub fn limits(&self) -> String {
        self.chosen().map(Chosen::limits).unwrap_or_default()
    }

    /// Before the first task: ends what an earlier worker left running, and takes away what was kept long enough. How many processes there
    /// were. Blocks.
    ///
    /// # Errors
    /// [`OrphanError`] when some of them cannot be ended.
    pub fn begin(&self) -> Result<usize, OrphanError> {
        let chosen = self.chosen();
        let base = chosen.and_then(|chosen| chosen.base.as_deref());
        let ended = end_orphans(base)?;
        for (_, base) in chosen.iter().flat_map(|chosen| &chosen.older) {
            forget_orphaned_groups(base);
        }
        self.inner.folders.sweep();
        Ok(ended)
    }

    /// Runs it within the attempt's own bounds. Returns when it has ended and everything it had started is gone; cancelled or out of time it
    /// ends it, first by SIGTERM, then by force. Dropped, it does the same without waiting.
    ///
    /// # Errors
    /// [`RunError`], which says whether anything ran and whether anything may still be alive.
    pub async fn run(&self, context: &Context, run: Run) -> Result<Ended, RunError> {
        run.checked()?;
        if !context.still_allowed() {
            return Err(RunError::NotAllowed);
        }
        pinned(context, &run).await?;
        let place = self.place(context, &run)?;
        let begun = Instant::now();
        let mut child = match self.launch(&place, &run) {
            Ok(child) => child,
            Err(why) => {
                place.discard().await;
                return Err(RunError::NotStarted(format!(
                    "the launcher of {} cannot be started: {why}",
                    run.name()
                )));
            }
        };
        let watched = self.watch(context, &run, &mut child).await;
        let outcome = self.outcome(&place, &run, watched, begun.elapsed());
        place.leave(outcome, run.keep_failed).await
    }

    /// What new files of a run are born without, where nothing else is said.
    #[must_use]
    pub fn umask(&self) -> Umask {
        self.inner.config.umask
    }

    fn umask_of(&self, run: &Run) -> Umask {
        if run.prints_secret {
            return Umask::CLOSED;
        }
        run.umask.unwrap_or(self.inner.config.umask)
    }

    fn chosen(&self) -> Option<&Chosen> {
        let chosen = self.inner.chosen.get_or_init(|| {
            let wish = self.inner.config.containment;
            let chosen = choose(wish);
            match &chosen {
                Some(chosen) => {
                    let (how, limits) = (chosen.containment.sentence(), chosen.limits());
                    if chosen.containment == Containment::ProcessGroup {
                        tracing::warn!("processes are held together by {how}");
                    } else {
                        tracing::info!("processes are held together by {how}");
                    }
                    tracing::info!("{limits}");
                }
                None => tracing::error!(
                    ?wish,
                    "processes.containment asks for what this host does not offer"
                ),
            }
            chosen
        });
        chosen.as_ref()
    }

    fn place(&self, context: &Context, run: &Run) -> Result<Place, RunError> {
        let Some(chosen) = self.chosen() else {
            return Err(RunError::Refused(
                "this host does not offer what processes.containment asks for".to_owned(),
            ));
        };
        if self.inner.folders.is_sweep_due() {
            let folders = self.inner.folders.clone();
            let older = chosen.older.iter().map(|(_, base)| base);
            let bases: Vec<PathBuf> = chosen.base.iter().chain(older).cloned().collect();
            // Nobody waits for it: it is housekeeping.
            drop(tokio::task::spawn_blocking(move || {
                folders.sweep();
                bases.iter().for_each(|base| forget_empty_groups(base));
            }));
        }
        Place::make(&self.inner.folders, chosen, context, run)
    }

    fn launch(&self, place: &Place, run: &Run) -> std::io::Result<Child> {
        let (address_space_bytes, processes_of_user) = place.limit(run);
        let spec = LaunchSpec {
            parent: i32::try_from(std::process::id()).unwrap_or_default(),
            control: place.folder.control(),
            containment: place.containment,
            cgroup: place.cgroup_path(),
            older_groups: place.older_paths(),
            stdin: run.stdin.is_some().then(|| place.stdin()),
            dir: run.dir.clone().unwrap_or_else(|| place.folder.work()),
            limits: run.limits,
            address_space_bytes,
            processes_of_user,
            user: run.user,
            own: place.folder.work(),
            umask: self.umask_of(run),
            capabilities: run.capabilities,
            sandbox: run.sandbox.clone(),
            pin: run.pin.clone(),
            may_gain_privileges: run.may_gain_privileges,
            term_grace_ms: self.inner.config.term_grace_ms,
            confirm_ms: CONFIRM_MS,
        };
        let work = place.folder.work();
        Command::new(&self.inner.launcher)
            .args([SUBCOMMAND, STAGE_NANNY, &serde_json::to_string(&spec)?])
            .arg(&run.program)
            .args(&run.args)
            .env_clear()
            .envs(&run.env)
            .env("PATH", &self.inner.config.path)
            .env("LANG", "C.UTF-8")
            .env("HOME", &work)
            .env("TMPDIR", &work)
            .env("BATON_RESULT", work.join(RESULT))
            .env(MARK, &place.mark)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }

    /// Reads what is printed and waits for the launcher, and tells it to stop when there is a reason.
    async fn watch(&self, context: &Context, run: &Run, child: &mut Child) -> Watched {
        let bytes_max = self.inner.config.output_bytes_max;
        let (mut out, mut err) = (Collector::of(bytes_max), Collector::of(bytes_max));
        let mut told = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let mut why = None;
        {
            let reading = async { tokio::join!(out.fill(stdout), err.fill(stderr)) };
            let mut reading = std::pin::pin!(reading);
            let mut read = false;
            let own_limit = run.timeout.map_or(Duration::MAX, |limit| limit);
            let mut limit = std::pin::pin!(sleep(own_limit));
            loop {
                tokio::select! {
                    biased;
                    // An error to wait is as good as its end: what it wrote down, or did not, is what counts.
                    _ = child.wait() => break,
                    _ = &mut reading, if !read => read = true,
                    () = context.cancelled().cancelled(), if why.is_none() => {
                        why = Some(context.why_cancelled());
                        drop(told.take());
                        limit.set(sleep(self.longest_end()));
                    }
                    () = &mut limit => {
                        if why.is_some() {
                            // It should have ended long ago: whoever looks after it now is us.
                            let _ = child.start_kill();
                            limit.set(sleep(Duration::MAX));
                        } else {
                            why = Some("its own time limit was over");
                            drop(told.take());
                            limit.set(sleep(self.longest_end()));
                        }
                    }
                }
            }
            if !read {
                // What got away may hold the pipes for ever.
                let _ = tokio::time::timeout(DRAIN, &mut reading).await;
            }
        }
        // Only now: what other runs have resolved meanwhile may have come this way.
        let masks = if run.prints_secret {
            Masks::default()
        } else {
            run.masks.clone().and(&context.masks())
        };
        Watched {
            why,
            stdout: out.captured(&masks),
            stderr: err.captured(&masks),
            masks,
        }
    }

    fn longest_end(&self) -> Duration {
        Duration::from_millis(self.inner.config.term_grace_ms + CONFIRM_MS) + LAUNCHER_AIR
    }

    fn outcome(
        &self,
        place: &Place,
        run: &Run,
        watched: Watched,
        took: Duration,
    ) -> Result<Ended, RunError> {
        let program = run.name();
        if let Some(why) = read_launch_error(&place.folder.control()) {
            return Err(RunError::NotStarted(watched.masks.hide(&why)));
        }
        let Some(status) = read_status(&place.folder.control()) else {
            return Err(place.after_a_lost_launcher(program));
        };
        if !status.alive.is_empty() {
            return Err(RunError::alive(program, &status.alive));
        }
        match (watched.why, status) {
            (Some(why), Status { stopped: true, .. }) => Err(RunError::Stopped {
                program,
                why,
                said: last_words(&watched.stderr.text),
            }),
            (
                _,
                Status {
                    exit: Some(exit),
                    left_behind,
                    ..
                },
            ) => Ok(Ended {
                exit,
                stdout: watched.stdout,
                stderr: watched.stderr,
                result: result_of(&place.folder.work().join(RESULT), &watched.masks),
                left_behind,
                took,
                kept: None,
            }),
            (_, Status { exit: None, .. }) => Err(RunError::Lost {
                program,
                why: "its first process was killed from outside".to_owned(),
            }),
        }
    }
}

/// Whether the files it needs are what they have to be.
async fn pinned(context: &Context, run: &Run) -> Result<(), RunError> {
    let pins: Vec<Pin> = run.pin.iter().chain(&run.files_pinned).cloned().collect();
    if pins.is_empty() {
        return Ok(());
    }
    let looked = context.blocking(move || pins.iter().try_for_each(|pin| pin.held().map(drop)));
    match looked.await {
        Ok(held) => held.map_err(RunError::Changed),
        Err(_) => Err(RunError::NotAllowed),
    }
}

/// A time that may be longer than any.
async fn sleep(time: Duration) {
    if time == Duration::MAX {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(time).await;
}

struct Watched {
    why: Option<&'static str>,
    stdout: Captured,
    stderr: Captured,
    masks: Masks,
}
