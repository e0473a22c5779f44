//! A TCP relay before a server: what the network does to a connection, on purpose and at a chosen moment.
//!
//! The relay listens on a port of its own on loopback and is gone when dropped. It reads no protocol: bytes go through
//! in order or not at all.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Read at once from one side; small enough that a cut by [`Proxy::cut_after`] falls inside a batch of messages.
const CHUNK_BYTES: usize = 4096;

/// Pieces that may be on the way at once, each way: 4 MiB. Then the link is full, and whoever sends waits.
const PIECES_ON_THE_WAY_MAX: usize = 1024;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
    /// Both.
    Both,
}

impl Direction {
    fn covers(self, other: Self) -> bool {
        self == Self::Both || self == other
    }
}

/// What the relay does at the moment; every connection follows it.
#[derive(Clone, Debug, Default)]
struct Rules {
    refuse: bool,
    hold: Option<Direction>,
    delay: Duration,
    /// Connections opened before this cut are dead.
    cuts: u64,
}

#[derive(Debug, Default)]
struct Counters {
    open: AtomicUsize,
    accepted: AtomicUsize,
    to_server: AtomicU64,
    /// Cut when `to_server` reaches this; 0 is never.
    cut_at: AtomicU64,
}

/// A TCP relay to one server.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    rules: Arc<watch::Sender<Rules>>,
    counters: Arc<Counters>,
    _end: DropGuard,
}

impl Proxy {
    /// A relay on a free port of this machine to `port` of this machine.
    pub async fn to_port(port: u16) -> Self {
        Self::to(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
    }

    /// A relay on a free port of this machine to `server`.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener =
            listener.unwrap_or_else(|error| panic!("cannot listen on loopback: {error}"));
        let port = listener.local_addr().map_or(0, |address| address.port());
        let end = CancellationToken::new();
        let relay = Relay {
            server,
            rules: Arc::new(watch::Sender::new(Rules::default())),
            counters: Arc::default(),
            end: end.clone(),
        };
        let (rules, counters) = (Arc::clone(&relay.rules), Arc::clone(&relay.counters));
        tokio::spawn(relay.accept(listener));
        Self {
            port,
            rules,
            counters,
            _end: end.drop_guard(),
        }
    }

    /// The port to connect to instead of the server's.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Breaks every open connection, with a reset on both sides. New ones are accepted.
    pub fn cut(&self) {
        self.rules.send_modify(|rules| rules.cuts += 1);
    }

    /// Breaks every open connection once `bytes` more have gone to the server, within 4 KiB: a cut in the middle of
    /// whatever is being sent.
    pub fn cut_after(&self, bytes: u64) {
        let at = self.counters.to_server.load(Ordering::SeqCst) + bytes.max(1);
        self.counters.cut_at.store(at, Ordering::SeqCst);
    }

    /// Breaks every open connection and refuses new ones, until [`Self::accept`]: the server is away.
    pub fn refuse(&self) {
        self.rules.send_modify(|rules| {
            rules.refuse = true;
            rules.cuts += 1;
        });
    }

    /// Takes connections again after [`Self::refuse`].
    pub fn accept(&self) {
        self.rules.send_modify(|rules| rules.refuse = false);
    }

    /// Stops forwarding; connections stay open and nothing arrives: a half-open network. Bytes wait in the sockets.
    pub fn hold(&self, direction: Direction) {
        self.rules.send_modify(|rules| rules.hold = Some(direction));
    }

    /// Forwards again after [`Self::hold`], beginning with what has been waiting.
    pub fn resume(&self) {
        self.rules.send_modify(|rules| rules.hold = None);
    }

    /// Has everything forwarded from now on arrive so much later, each way. The link is long, not narrow: what is on the way does not wait for
    /// what went before it.
    pub fn delay(&self, each: Duration) {
        self.rules.send_modify(|rules| rules.delay = each);
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.counters.open.load(Ordering::SeqCst)
    }

    /// Connections accepted since the start.
    pub fn accepted(&self) -> usize {
        self.counters.accepted.load(Ordering::SeqCst)
    }

    /// Bytes forwarded to the server since the start.
    pub fn bytes_to_server(&self) -> u64 {
        self.counters.to_server.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct Relay {
    server: SocketAddr,
    rules: Arc<watch::Sender<Rules>>,
    counters: Arc<Counters>,
    end: CancellationToken,
}

impl Relay {
    async fn accept(self, listener: TcpListener) {
        loop {
            let client = tokio::select! {
                () = self.end.cancelled() => return,
                client = listener.accept() => client,
            };
            let Ok((client, _)) = client else { continue };
            if self.rules.borrow().refuse {
                reset(&client);
                continue;
            }
            self.counters.accepted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(self.clone().connection(client));
        }
    }

    async fn connection(self, client: TcpStream) {
        let cuts = self.rules.borrow().cuts;
        let Ok(server) = TcpStream::connect(self.server).await else {
            reset(&client);
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        self.counters.open.fetch_add(1, Ordering::SeqCst);
        let (mut client_in, mut client_out) = client.into_split();
        let (mut server_in, mut server_out) = server.into_split();
        let mut rules = self.rules.subscribe();
        let ended = tokio::select! {
            // a cut comes before whatever waited to be forwarded
            biased;
            () = self.end.cancelled() => Ended::Cut,
            _ = rules.wait_for(|rules| rules.cuts != cuts) => Ended::Cut,
            () = async {
                tokio::join!(
                    self.forward(&mut client_in, &mut server_out, Direction::ToServer),
                    self.forward(&mut server_in, &mut client_out, Direction::ToClient),
                );
            } => Ended::ByPeers,
        };
        if ended == Ended::Cut {
            reset(client_in.as_ref());
            reset(server_in.as_ref());
        }
        self.counters.open.fetch_sub(1, Ordering::SeqCst);
    }

    /// Carries one direction until its source ends, then passes the end on.
    async fn forward(
        &self,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
        direction: Direction,
    ) {
        let (on_the_way, mut arriving) = mpsc::channel(PIECES_ON_THE_WAY_MAX);
        let open = |rules: &Rules| !rules.hold.is_some_and(|held| held.covers(direction));
        let departs = async {
            let on_the_way = on_the_way;
            let mut rules = self.rules.subscribe();
            let mut chunk = [0; CHUNK_BYTES];
            while rules.wait_for(open).await.is_ok()
                && let Ok(count @ 1..) = from.read(&mut chunk).await
            {
                let arrives = Instant::now() + rules.borrow().delay;
                let piece = (arrives, chunk[..count].to_vec());
                if on_the_way.send(piece).await.is_err() {
                    break;
                }
            }
        };
        let arrives = async {
            let mut rules = self.rules.subscribe();
            while let Some((arrives, piece)) = arriving.recv().await {
                if arrives > Instant::now() {
                    tokio::time::sleep_until(arrives).await;
                }
                // what was on the way before a hold began waits here
                if rules.wait_for(open).await.is_err() || to.write_all(&piece).await.is_err() {
                    break;
                }
                if direction == Direction::ToServer {
                    self.count(piece.len() as u64);
                }
            }
            arriving.close();
        };
        tokio::join!(departs, arrives);
        // the other side has gone already when this fails
        let _ = to.shutdown().await;
    }

    fn count(&self, bytes: u64) {
        let total = self.counters.to_server.fetch_add(bytes, Ordering::SeqCst) + bytes;
        let at = self.counters.cut_at.load(Ordering::SeqCst);
        if at > 0 && total >= at && self.counters.cut_at.swap(0, Ordering::SeqCst) > 0 {
            self.rules.send_modify(|rules| rules.cuts += 1);
        }
    }
}

#[derive(PartialEq, Eq)]
enum Ended {
    Cut,
    ByPeers,
}

/// Has the connection end with a reset instead of an orderly close.
fn reset(stream: &TcpStream) {
    // fails only when the peer was faster
    let _ = stream.set_zero_linger();
}
