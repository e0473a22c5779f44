//! A saga followed as it goes on: drawn again on a terminal, else one line for each change. An orchestrator that is away for a moment is waited
//! for; Ctrl-C ends the looking, never the saga.

use std::pin::pin;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::away::AGAIN;
use super::typed;
use crate::client::{Client, escaped};
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::{Out, Screen};
use crate::screens::progress::Said;
use crate::screens::saga;
use crate::sse::Events;
use crate::view::Saga;

/// How often a drawn screen is drawn again, for its clocks.
const REDRAW: Duration = Duration::from_secs(1);
/// How long it may be away: a restart with a long recovery.
const AWAY_MAX: Duration = Duration::from_secs(120);

/// How the looking ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The saga has come to where it was followed to.
    There(Value),
    /// The time was over.
    TimeOver(Option<Value>),
    /// Ctrl-C.
    Interrupted,
    /// Nobody reads what is said any more.
    Unread,
}

/// What is followed, how far, and where it is shown.
pub(crate) struct Follow<'f> {
    pub(crate) id: &'f str,
    /// A parked saga is the end too.
    pub(crate) to_parked: bool,
    pub(crate) until: Option<Instant>,
    pub(crate) shown: Shown,
}

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Beside the answer, which comes when it is over.
    Beside,
    /// It is the answer.
    Answer,
}

/// After so many seconds.
pub(crate) fn until(seconds: Option<u64>) -> Option<Instant> {
    seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds))
}

/// Follows it.
pub(crate) async fn follow(
    client: &Client,
    what: &Follow<'_>,
    out: &mut Out,
) -> Result<Ended, CliError> {
    let mut heard = Heard::new(client, what);
    let mut progress = Progress::new(what.shown, out);
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let far = Instant::now() + Duration::from_secs(366 * 86_400);
    let mut over = pin!(tokio::time::sleep_until(what.until.unwrap_or(far).into()));
    loop {
        let next = {
            let mut next = pin!(heard.next());
            loop {
                tokio::select! {
                    // what has happened is said before anybody stops looking
                    biased;
                    next = &mut next => break next,
                    _ = &mut interrupted => {
                        progress.end(out);
                        return Ok(Ended::Interrupted);
                    }
                    () = &mut over => {
                        progress.end(out);
                        return Ok(Ended::TimeOver(progress.last));
                    }
                    () = tokio::time::sleep(REDRAW), if progress.draws => progress.draw(out),
                }
            }
        }?;
        let next = match next {
            News::Saga(value) => Some(value),
            News::End => None,
            News::Lost => {
                progress.say("the orchestrator does not answer; it is asked again", out);
                continue;
            }
            News::Back => {
                progress.say("the orchestrator is back", out);
                continue;
            }
        };
        let Some(value) = next else {
            progress.end(out);
            return progress
                .last
                .map(Ended::There)
                .ok_or_else(|| CliError::Shape {
                    what: "it says nothing of this saga".to_owned(),
                });
        };
        progress.take(value, out)?;
        if progress.unread(out) {
            return Ok(Ended::Unread);
        }
        if let Some(value) = progress.is_there(what.to_parked) {
            progress.end(out);
            return Ok(Ended::There(value));
        }
    }
}

/// What an interrupted person reads.
pub(crate) fn detached(id: &str, out: &mut Out) -> Exit {
    let shown = out.id(id).to_owned();
    out.note(format!(
        "no longer watching; the saga goes on. Watch it again: baton watch {shown}"
    ));
    Exit::Interrupted
}

/// The saga, each time it has changed; asked again where it was lost.
struct Heard<'c> {
    client: &'c Client,
    path: String,
    events: Option<Events>,
    last_id: Option<String>,
    lost: Option<Instant>,
    /// Whether somebody looks, who ends it himself.
    patient: bool,
}

/// What is heard of a saga.
enum News {
    /// It, after a change.
    Saga(Value),
    /// It has ended and everything was said.
    End,
    /// The orchestrator does not answer.
    Lost,
    /// It does again.
    Back,
}

impl<'c> Heard<'c> {
    fn new(client: &'c Client, what: &Follow<'_>) -> Self {
        Self {
            client,
            path: format!("/v1/sagas/{}/events", escaped(what.id)),
            events: None,
            last_id: None,
            lost: None,
            patient: what.shown == Shown::Answer,
        }
    }

    async fn next(&mut self) -> Result<News, CliError> {
        loop {
            let heard = match &mut self.events {
                Some(events) => events.next().await,
                None => {
                    // one that stops still answers for a moment: asking again at once would say that it is back, over and over
                    if self.lost.is_some() {
                        tokio::time::sleep(AGAIN).await;
                    }
                    let last = self.last_id.as_deref();
                    match self.client.events(&self.path, &[], last).await {
                        Ok(events) => {
                            self.events = Some(events);
                            if self.lost.take().is_some() {
                                return Ok(News::Back);
                            }
                            continue;
                        }
                        Err(error) => Err(error),
                    }
                }
            };
            match heard {
                Ok(Some(event)) => {
                    self.last_id = event.id.or(self.last_id.take());
                    match event.kind.as_str() {
                        "saga" => return Ok(News::Saga(event.data)),
                        "end" => return Ok(News::End),
                        // that it stops, which its end says too; or a word of a later version
                        _ => continue,
                    }
                }
                Ok(None) => self.gone(None)?,
                Err(error) => self.gone(Some(error))?,
            }
            if self.lost.is_none() {
                self.lost = Some(Instant::now());
                return Ok(News::Lost);
            }
        }
    }

    /// Gives up on what does not pass, and, where a script waits, on what takes too long.
    fn gone(&mut self, error: Option<CliError>) -> Result<(), CliError> {
        self.events = None;
        let too_long = !self.patient && self.lost.is_some_and(|lost| lost.elapsed() > AWAY_MAX);
        match error {
            Some(error) if !error.may_pass() || too_long => Err(error),
            _ => Ok(()),
        }
    }
}

/// What is shown while it goes on.
struct Progress {
    shown: Shown,
    draws: bool,
    json: bool,
    said: Said,
    last: Option<Value>,
    saga: Option<Saga>,
    heard_at: Instant,
}

impl Progress {
    fn new(shown: Shown, out: &mut Out) -> Self {
        let json = out.wants_json();
        Self {
            shown,
            draws: !json && target(shown, out).is_terminal(),
            json,
            said: Said::default(),
            last: None,
            saga: None,
            heard_at: Instant::now(),
        }
    }

    fn take(&mut self, value: Value, out: &mut Out) -> Result<(), CliError> {
        let saga: Saga = typed(value.clone())?;
        self.heard_at = Instant::now();
        if self.json {
            if self.shown == Shown::Answer {
                out.item(&value);
            }
        } else if !self.draws {
            let screen = target(self.shown, out);
            for line in self.said.changes(&saga) {
                screen.line(&line);
            }
            screen.flush();
        }
        self.last = Some(value);
        self.saga = Some(saga);
        if self.draws {
            self.draw(out);
        }
        Ok(())
    }

    fn draw(&self, out: &mut Out) {
        let Some(saga) = &self.saga else {
            return;
        };
        let since = u64::try_from(self.heard_at.elapsed().as_millis()).unwrap_or(0);
        let screen = target(self.shown, out);
        let (width, height) = (screen.width(), screen.height() - 1);
        screen.draw(&saga::live(saga, saga.now + since, width, height));
    }

    /// A word beside it: what is drawn is drawn again below.
    fn say(&self, words: &str, out: &mut Out) {
        if self.draws {
            target(self.shown, out).erase();
        }
        out.note(words);
        if self.draws {
            self.draw(out);
        }
    }

    /// The answer comes where progress stood.
    fn end(&self, out: &mut Out) {
        if self.draws {
            target(self.shown, out).erase();
        }
    }

    fn unread(&self, out: &mut Out) -> bool {
        self.shown == Shown::Answer && target(self.shown, out).is_gone()
    }

    fn is_there(&self, to_parked: bool) -> Option<Value> {
        let saga = self.saga.as_ref()?;
        let ended = match Exit::of_status(&saga.row.status) {
            Exit::Waiting => false,
            Exit::Parked => to_parked,
            _ => true,
        };
        self.last.clone().filter(|_| ended)
    }
}

fn target(shown: Shown, out: &mut Out) -> &mut Screen {
    match shown {
        Shown::Beside => &mut out.side,
        Shown::Answer => &mut out.screen,
    }
}
