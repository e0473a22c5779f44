//! Headers nested deeper than anybody needs never reach the client's parser: it reads tables in tables by recursion, and
//! a message of a few kilobytes with a thousand of them ends its thread, and with it the process, at every delivery.
//!
//! What lies deeper than [`NESTED_MOST`] is handed on as the bytes it is: the type of the value becomes "byte array",
//! which has the same length in front, so that nothing moves and nothing is lost. The stream of frames is looked at on
//! its way from the socket to the client ([`Guarded`]); whatever is no content header, or too short to nest that deep,
//! is skipped over.

use std::{
    io::{self, IoSliceMut, Read, Write},
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use async_rs::{Runtime, Tokio, traits::Reactor, util::RuntimeParts};
use futures::{
    Stream,
    io::{AsyncRead, AsyncWrite},
};
use lapin::tcp::AsyncTcpStream;

/// Arrays and tables in each other, the table of all headers being the first. What people send nests three or four
/// deep; the parser takes two kilobytes of stack for each, and JSON is read back to a depth of 128.
pub(crate) const NESTED_MOST: usize = 32;

/// The shortest array: its type and its length. A frame with fewer bytes than so many of them cannot nest too deep.
const SHORTEST: u32 = 5;

/// What a frame begins with: type, channel, size; and what it ends with.
const FRAME_HEAD: u32 = 7;
const FRAME_END: u32 = 1;
/// The type of a frame with a content header.
const CONTENT_HEADER: u8 = 2;

/// What the next bytes are.
#[derive(Clone, Copy, Debug)]
enum Token {
    /// The seven bytes that begin a frame.
    Head,
    /// Class, weight and size of the body, before the flags.
    BeforeFlags,
    /// The flags of a content header: which properties follow.
    Flags,
    /// Bytes of no interest.
    Skip(u32),
    /// The length of a short text, which is then skipped.
    Short,
    /// The length of a long text or byte array, which is then skipped.
    Long,
    /// The length of a table or array, whose entries follow.
    Nested { named: bool },
    /// The type of a value.
    Type,
}

/// A table or an array that is open.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Bytes of it still to come.
    left: u32,
    /// A table: each value has a name.
    named: bool,
}

/// Follows the stream of frames of a broker byte by byte.
#[derive(Debug)]
pub(crate) struct Scan {
    token: Token,
    /// What has come of a number that spans two reads.
    number: u64,
    /// Bytes of the token still to come.
    left: u32,
    /// Bytes of the frame still to come, its end included; none between frames.
    frame: u32,
    /// Short texts before the headers.
    texts: u8,
    /// The headers are not begun yet, though the frame has some.
    headers: bool,
    /// The name of a value comes or has come, the value has not.
    name: bool,
    open: Vec<Open>,
}

impl Default for Scan {
    fn default() -> Self {
        Self {
            token: Token::Head,
            number: 0,
            left: FRAME_HEAD,
            frame: 0,
            texts: 0,
            headers: false,
            name: false,
            open: Vec::with_capacity(NESTED_MOST),
        }
    }
}

impl Scan {
    /// Looks at the next bytes of the stream; changes the types of values that nest too deep.
    pub(crate) fn pass(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = usize::try_from(self.left)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            let (now, later) = bytes.split_at_mut(taken);
            bytes = later;
            self.take(now);
            if self.left == 0 {
                self.step(now.last_mut());
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        // a token is at most as long as a frame, whose size is 32 bits
        let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.left -= count;
        self.frame = self.frame.saturating_sub(count);
        for open in &mut self.open {
            open.left -= count;
        }
        if !matches!(self.token, Token::Skip(_)) {
            for byte in bytes {
                self.number = (self.number << 8) | u64::from(*byte);
            }
        }
    }

    /// The token is whole: decides on the next.
    fn step(&mut self, last: Option<&mut u8>) {
        let number = std::mem::take(&mut self.number);
        let low = u32::try_from(number & 0xffff_ffff).unwrap_or(u32::MAX);
        let next = match self.token {
            Token::Head => self.frame_begins(number),
            Token::BeforeFlags => Some(Token::Flags),
            Token::Flags => {
                self.texts = u8::from(low & 0x8000 != 0) + u8::from(low & 0x4000 != 0);
                self.headers = low & 0x2000 != 0;
                self.property()
            }
            Token::Skip(_) if self.frame == 0 => Some(Token::Head),
            Token::Skip(_) => self.value_or_property(),
            Token::Short | Token::Long if low == 0 => self.value_or_property(),
            Token::Short | Token::Long => Some(Token::Skip(low)),
            Token::Nested { named } => self.opens(low, named),
            Token::Type => last.and_then(|kind| self.value(kind)),
        };
        self.begin(next.unwrap_or(Token::Skip(u32::MAX)));
    }

    fn frame_begins(&mut self, head: u64) -> Option<Token> {
        // the type is the first of seven bytes, the size the last four
        let kind = head >> 48;
        let size = u32::try_from(head & 0xffff_ffff).ok()?;
        self.frame = size.saturating_add(FRAME_END);
        let may_nest = u64::from(size) > u64::from(SHORTEST) * (NESTED_MOST as u64);
        if kind == u64::from(CONTENT_HEADER) && may_nest {
            return Some(Token::BeforeFlags);
        }
        None
    }

    /// Goes on after something was skipped or read: with the next value, or the next property.
    fn value_or_property(&mut self) -> Option<Token> {
        if std::mem::take(&mut self.name) {
            return Some(Token::Type);
        }
        while self.open.last().is_some_and(|open| open.left == 0) {
            self.open.pop();
        }
        match self.open.last() {
            Some(Open { named: true, .. }) => {
                self.name = true;
                Some(Token::Short)
            }
            Some(Open { named: false, .. }) => Some(Token::Type),
            None => self.property(),
        }
    }

    fn property(&mut self) -> Option<Token> {
        if self.texts > 0 {
            self.texts -= 1;
            return Some(Token::Short);
        }
        std::mem::take(&mut self.headers).then_some(Token::Nested { named: true })
    }

    fn opens(&mut self, bytes: u32, named: bool) -> Option<Token> {
        self.open.push(Open { left: bytes, named });
        self.fits(bytes).then(|| self.value_or_property()).flatten()
    }

    /// Whether so many bytes are still there, in the frame and in each table around.
    fn fits(&self, bytes: u32) -> bool {
        bytes < self.frame && self.open.iter().all(|open| bytes <= open.left)
    }

    /// What the type of a value says comes next; a table too deep is made bytes of.
    fn value(&mut self, kind: &mut u8) -> Option<Token> {
        Some(match *kind {
            b't' | b'b' | b'B' => Token::Skip(1),
            b's' | b'U' | b'u' => Token::Skip(2),
            b'I' | b'i' | b'f' => Token::Skip(4),
            b'L' | b'l' | b'd' | b'T' => Token::Skip(8),
            b'D' => Token::Skip(5),
            b'S' | b'x' => Token::Long,
            b'A' | b'F' if self.open.len() >= NESTED_MOST => {
                *kind = b'x';
                Token::Long
            }
            b'A' => Token::Nested { named: false },
            b'F' => Token::Nested { named: true },
            b'V' => return self.value_or_property(),
            _ => return None,
        })
    }

    fn begin(&mut self, next: Token) {
        let length = match next {
            Token::Head => FRAME_HEAD,
            Token::BeforeFlags => 12,
            Token::Flags => 2,
            Token::Skip(bytes) => bytes,
            Token::Short | Token::Type => 1,
            Token::Long | Token::Nested { .. } => 4,
        };
        let follows = match next {
            Token::Head => true,
            _ => self.fits(length),
        };
        if follows {
            (self.token, self.left) = (next, length);
        } else {
            // to the end of the frame; the parser sees the same and refuses it, or there is nothing more to see
            self.open.clear();
            (self.headers, self.name, self.texts) = (false, false, 0);
            (self.token, self.left) = (Token::Skip(self.frame), self.frame);
        }
    }
}

/// A stream from a broker whose content headers are flat enough to be parsed.
#[derive(Debug)]
pub(crate) struct Guarded<S> {
    inner: S,
    scan: Scan,
}

impl<S> Guarded<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self {
            inner,
            scan: Scan::default(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Poll::Ready(Ok(count)) = polled {
            self.scan.pass(&mut buf[..count]);
        }
        polled
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_read_vectored(cx, bufs);
        if let Poll::Ready(Ok(mut count)) = polled {
            for buf in bufs {
                let here = count.min(buf.len());
                self.scan.pass(&mut buf[..here]);
                count -= here;
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// What the client runs on: tokio, its sockets guarded.
pub(crate) type GuardedRuntime = Runtime<RuntimeParts<Tokio, Sockets>>;

/// A socket of tokio's, with or without TLS.
pub(crate) type Transport = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// The runtime of the caller, for the client.
pub(crate) fn guarded_runtime() -> GuardedRuntime {
    Runtime::new(RuntimeParts::new(
        Tokio::current(),
        Sockets(Tokio::current()),
    ))
}

/// Sockets and timers of tokio, as the client asks for them.
#[derive(Clone, Debug)]
pub(crate) struct Sockets(Tokio);

impl Reactor for Sockets {
    type TcpStream = Guarded<Transport>;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, dur: Duration) -> Self::Sleep {
        self.0.sleep(dur)
    }

    fn interval(&self, dur: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(dur)
    }

    fn tcp_connect_addr(
        &self,
        addr: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(addr);
        async move { Ok(Guarded::new(AsyncTcpStream::Plain(connecting.await?))) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A value on the wire, written by a hand that shares nothing with the scan.
    #[derive(Clone, Debug)]
    enum Value {
        Fixed(u8, usize),
        Long(u8, Vec<u8>),
        Array(Vec<Self>),
        Table(Vec<(String, Self)>),
    }

    impl Value {
        fn write(&self, out: &mut Vec<u8>, depth: usize, most: usize) {
            let nested = |kind: u8, body: Vec<u8>, out: &mut Vec<u8>| {
                out.push(if depth >= most { b'x' } else { kind });
                out.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
                out.extend(body);
            };
            // what is inside bytes is no longer looked at
            let most = if depth >= most { usize::MAX } else { most };
            match self {
                Self::Fixed(kind, bytes) => {
                    out.push(*kind);
                    out.extend(std::iter::repeat_n(b'A', *bytes));
                }
                Self::Long(kind, bytes) => {
                    out.push(*kind);
                    out.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
                    out.extend(bytes);
                }
                Self::Array(values) => {
                    let mut body = Vec::new();
                    for value in values {
                        value.write(&mut body, depth + 1, most);
                    }
                    nested(b'A', body, out);
                }
                Self::Table(entries) => nested(b'F', table(entries, depth + 1, most), out),
            }
        }
    }

    fn table(entries: &[(String, Value)], depth: usize, most: usize) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, value) in entries {
            body.push(u8::try_from(name.len()).unwrap());
            body.extend(name.as_bytes());
            value.write(&mut body, depth, most);
        }
        body
    }

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![kind, 0, 1];
        out.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        out.extend(payload);
        out.push(0xce);
        out
    }

    /// A content header as a broker sends it, with content type and encoding where `texts` says so.
    fn header(entries: &[(String, Value)], texts: (bool, bool), most: usize) -> Vec<u8> {
        let mut out = vec![0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        let flags = 0x2000 | u16::from(texts.0) << 15 | u16::from(texts.1) << 14 | 0x1000;
        out.extend(flags.to_be_bytes());
        for text in [(texts.0, "application/json"), (texts.1, "")] {
            if text.0 {
                out.push(u8::try_from(text.1.len()).unwrap());
                out.extend(text.1.as_bytes());
            }
        }
        let body = table(entries, 1, most);
        out.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        out.extend(body);
        // the delivery mode, behind the headers
        out.push(2);
        frame(CONTENT_HEADER, &out)
    }

    fn deep(levels: usize) -> Value {
        (0..levels).fold(Value::Fixed(b'V', 0), |inner, level| {
            if level % 3 == 0 {
                Value::Table(vec![("k".to_owned(), inner)])
            } else {
                Value::Array(vec![inner])
            }
        })
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            proptest::sample::select(vec![
                (b't', 1),
                (b's', 2),
                (b'I', 4),
                (b'l', 8),
                (b'D', 5),
                (b'V', 0),
                (b'T', 8)
            ])
            .prop_map(|(kind, bytes)| Value::Fixed(kind, bytes)),
            (
                proptest::sample::select(vec![b'S', b'x']),
                proptest::collection::vec(any::<u8>(), 0..40)
            )
                .prop_map(|(kind, bytes)| Value::Long(kind, bytes)),
            (0usize..200).prop_map(deep),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                proptest::collection::vec(("[a-z]{0,9}", inner), 0..6).prop_map(Value::Table),
            ]
        })
    }

    fn passed(stream: &[u8], cuts: &[usize]) -> Vec<u8> {
        let mut scan = Scan::default();
        let mut out = stream.to_vec();
        let (mut rest, mut cuts) = (&mut out[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let here = (*cuts.next().unwrap()).clamp(1, rest.len());
            let (now, later) = rest.split_at_mut(here);
            scan.pass(now);
            rest = later;
        }
        out
    }

    proptest! {
        /// Whatever nests, however the reads cut it: only types of what is too deep change, and the stream is followed
        /// through to the end.
        #[test]
        fn only_what_is_too_deep_becomes_bytes(
            messages in proptest::collection::vec(
                (proptest::collection::vec(("[a-z]{1,9}", any_value()), 0..5), any::<(bool, bool)>()),
                1..4,
            ),
            body in proptest::collection::vec(any::<u8>(), 0..600),
            cuts in proptest::collection::vec(1usize..300, 1..20),
        ) {
            let (mut sent, mut wanted) = (Vec::new(), Vec::new());
            for (entries, texts) in &messages {
                for between in [frame(1, b"basic.deliver"), frame(8, b"")] {
                    sent.extend_from_slice(&between);
                    wanted.extend_from_slice(&between);
                }
                sent.extend(header(entries, *texts, usize::MAX));
                wanted.extend(header(entries, *texts, NESTED_MOST));
                sent.extend(frame(3, &body));
                wanted.extend(frame(3, &body));
            }
            prop_assert_eq!(passed(&sent, &cuts), wanted);
        }

        /// Bytes that follow no rule change at most their types, and cost nothing but themselves; what follows them is
        /// read as frames again.
        #[test]
        fn nonsense_is_left_to_the_parser(
            payload in proptest::collection::vec(prop_oneof![Just(b'A'), Just(b'F'), Just(0u8), any::<u8>()], 0..3000),
            cuts in proptest::collection::vec(1usize..300, 1..20),
        ) {
            let mut sent = frame(CONTENT_HEADER, &payload);
            let first = sent.len();
            let after = header(&[("deep".to_owned(), deep(300))], (true, false), usize::MAX);
            sent.extend(&after);
            let out = passed(&sent, &cuts);
            for (was, is) in sent[..first].iter().zip(&out) {
                prop_assert!(was == is || (matches!(was, b'A' | b'F') && *is == b'x'));
            }
            let wanted = header(&[("deep".to_owned(), deep(300))], (true, false), NESTED_MOST);
            prop_assert_eq!(&out[first..], &wanted[..]);
        }
    }
}
