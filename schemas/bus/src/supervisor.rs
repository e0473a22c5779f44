//! Keeps one connection: connects, watches, tears down on the first sign of death, pauses, connects again.
//!
//! Everybody who needs the connection watches the same cell. What is in the cell is alive, or about to be replaced;
//! each connection has its number (epoch), so that nothing of an old one can be taken for the new.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use lapin::{Connection, Event};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    backoff::Backoff,
    config::Checked,
    connect::{Made, Socket, chain, connect},
    state::{BusState, Link, Use},
};

/// How long a close may take before the connection is just dropped.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// How long a connection has to have lived for the next one to be made without a longer pause.
const LIVED: Duration = Duration::from_secs(10);

/// How long the broker may take to open one more channel, when an answer on another has failed to come.
const SIGN_LIMIT: Duration = Duration::from_secs(5);

/// One live connection.
pub(crate) struct Live {
    pub(crate) connection: Connection,
    pub(crate) epoch: u64,
    pub(crate) socket: Arc<Socket>,
}

impl Live {
    pub(crate) fn is_connected(&self) -> bool {
        self.connection.status().connected()
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// After an answer that did not come: cuts the connection unless the broker still reads from it. A broker may hold
    /// one channel for ever and then read no further on the whole connection, though its heartbeats go on; another
    /// connection is all that helps. Where only one queue is slow or without a leader, all others go on as they were.
    pub(crate) async fn cut_if_silent(&self, unanswered: &str) {
        let sign = tokio::time::timeout(SIGN_LIMIT, self.connection.create_channel()).await;
        if sign.is_err() && !self.is_blocked() {
            warn!(
                epoch = self.epoch,
                unanswered, "the broker reads nothing more from a connection; it is cut"
            );
            self.socket.cut();
        }
    }
}

/// The cell in which the live connection stands while there is one.
pub(crate) type Cell = watch::Receiver<Option<Arc<Live>>>;

pub(crate) struct Supervisor {
    pub(crate) checked: Arc<Checked>,
    pub(crate) what_for: Use,
    pub(crate) cell: watch::Sender<Option<Arc<Live>>>,
    pub(crate) state: Arc<watch::Sender<BusState>>,
    /// When it is over for good.
    pub(crate) closed: CancellationToken,
}

/// What to look at first, by what the broker or the system said.
fn hint(why: &str) -> &'static str {
    let hints = [
        (
            "ACCESS_REFUSED",
            "user, password, or the user's permission for this virtual host; see `rabbitmqctl list_permissions -p VHOST`",
        ),
        (
            "NOT_ALLOWED",
            "the virtual host: does it exist, and may this user enter it? see `rabbitmqctl list_vhosts`",
        ),
        (
            "onnection refused",
            "is the broker running, and does it listen on this address and port?",
        ),
        (
            "certificate",
            "tls.ca_file, and whether the certificate names this host",
        ),
        (
            "no answer within",
            "a firewall on the way, or a port that speaks TLS where amqp:// is used (or the other way round)",
        ),
    ];
    let hint = hints.iter().find(|(said, _)| why.contains(said));
    hint.map_or(
        "the address: scheme amqp:// or amqps://, host, port",
        |(_, hint)| hint,
    )
}

impl Supervisor {
    /// Runs until `closed`; then the connection is closed in order.
    pub(crate) async fn run(self) {
        let config = &self.checked.config;
        let mut backoff = Backoff::new(config.reconnect_ms_min, config.reconnect_ms_max);
        let mut epoch = 0;
        let mut said: Option<String> = None;
        loop {
            let connected = tokio::select! {
                biased;
                () = self.closed.cancelled() => return self.show(closed_link()),
                connected = connect(&self.checked, self.what_for) => connected,
            };
            let why = match connected {
                Ok(Made {
                    connection,
                    socket,
                    address,
                }) => {
                    epoch += 1;
                    said = None;
                    let since = Instant::now();
                    info!(
                        bus.use_ = self.what_for.as_str(),
                        epoch, address, "connected to the broker"
                    );
                    let live = Arc::new(Live {
                        connection,
                        epoch,
                        socket,
                    });
                    let why = self.watch(&live).await;
                    self.cell.send_replace(None);
                    self.blocked_gauge(false);
                    close(&live).await;
                    // One that ends as soon as it is made would otherwise be made again and again without a pause.
                    if since.elapsed() > LIVED {
                        backoff.reset();
                    }
                    why
                }
                Err(why) => Some(why),
            };
            let Some(why) = why else {
                return self.show(closed_link());
            };
            let pause = backoff.pause();
            self.say(&why, said.as_deref() == Some(&*why));
            said = Some(why.clone());
            metrics::counter!("baton_bus_reconnects_total", "use" => self.what_for.as_str())
                .increment(1);
            self.show(Link::Down { why });
            tokio::select! {
                () = self.closed.cancelled() => return self.show(closed_link()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Says why there is no connection, once for each reason and not at every try; `/readyz` goes on saying it.
    fn say(&self, why: &str, again: bool) {
        let what_for = self.what_for.as_str();
        if again {
            return debug!(
                bus.use_ = what_for,
                why, "still no connection to the broker"
            );
        }
        warn!(
            bus.use_ = what_for,
            why,
            hint = hint(why),
            "no connection to the broker; it is tried again until there is one, and this is not said again"
        );
    }

    /// Follows a connection to its end; what ended it, or nothing when the bus is closed.
    async fn watch(&self, live: &Arc<Live>) -> Option<String> {
        let mut events = Box::pin(live.connection.events_listener());
        let epoch = live.epoch;
        self.cell.send_replace(Some(live.clone()));
        self.show(Link::Up { epoch });
        // a second opinion beside the events, in case one is missed
        let mut second =
            tokio::time::interval(Duration::from_secs(self.checked.config.heartbeat_s.into()));
        loop {
            let event = tokio::select! {
                biased;
                () = self.closed.cancelled() => return None,
                event = events.next() => event,
                _ = second.tick() => {
                    if live.is_connected() { continue }
                    return Some("the connection is no longer open".to_owned());
                }
            };
            match event {
                Some(Event::ConnectionBlocked(why)) => {
                    warn!(
                        bus.use_ = self.what_for.as_str(),
                        why, "the broker blocks this connection: it is short of memory or disk"
                    );
                    self.blocked_gauge(true);
                    self.show(Link::Blocked { epoch, why });
                }
                Some(Event::ConnectionUnblocked) => {
                    info!(
                        bus.use_ = self.what_for.as_str(),
                        "the broker takes messages again"
                    );
                    self.blocked_gauge(false);
                    self.show(Link::Up { epoch });
                }
                Some(Event::Error(error)) => {
                    // errors of single channels come by here as well; their owners handle them
                    if !live.is_connected() {
                        return Some(chain(&error));
                    }
                    debug!(
                        bus.use_ = self.what_for.as_str(),
                        error = chain(&error),
                        "a channel was closed"
                    );
                }
                Some(_) => {}
                None => return Some("the client stopped".to_owned()),
            }
        }
    }

    fn show(&self, link: Link) {
        self.state.send_modify(|state| match self.what_for {
            Use::Consuming => state.consuming = link,
            Use::Publishing => state.publishing = link,
        });
    }

    fn blocked_gauge(&self, blocked: bool) {
        if self.what_for == Use::Publishing {
            metrics::gauge!("baton_bus_blocked").set(if blocked { 1.0 } else { 0.0 });
        }
    }
}

fn closed_link() -> Link {
    Link::Down {
        why: "the bus is shut down".to_owned(),
    }
}

async fn close(live: &Live) {
    if live.is_connected() {
        let closing = live.connection.close(200, "bye".into());
        if !matches!(tokio::time::timeout(CLOSE_LIMIT, closing).await, Ok(Ok(()))) {
            debug!(
                epoch = live.epoch,
                "the connection was dropped without a proper close"
            );
        }
    }
}

/// The live connection, as soon as there is one; nothing when the bus is gone.
pub(crate) async fn live(cell: &mut Cell) -> Option<Arc<Live>> {
    let found = cell
        .wait_for(|now| now.as_ref().is_some_and(|live| live.is_connected()))
        .await
        .ok()?;
    found.clone()
}
