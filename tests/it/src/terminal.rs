//! A terminal with a program in it: what a person sees is asked of the screen, after everything the program wrote was obeyed; keys are typed.

use std::num::NonZeroU16;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Child;
use tokio::time::{Instant, timeout};

use crate::SOON;

/// Lines that have left the screen at its top, kept to be looked at.
const SCROLLBACK: usize = 1_000;
/// How long a program that was seen to end may take to be gone.
const GONE: Duration = Duration::from_secs(20);

/// A terminal.
pub struct Terminal {
    pty: pty_process::Pty,
    child: Child,
    screen: vt100::Parser,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal")
            .field("screen", &self.text())
            .finish_non_exhaustive()
    }
}

impl Terminal {
    pub(crate) fn start(command: pty_process::Command, columns: u16, rows: u16) -> Self {
        let (pty, pts) = pty_process::open().expect("a terminal can be made");
        pty.resize(pty_process::Size::new(rows, columns))
            .expect("it takes its size");
        let child = command.spawn(pts).expect("the program can be started");
        let size = |cells: u16| NonZeroU16::new(cells).expect("a terminal has cells");
        Self {
            pty,
            child,
            screen: vt100::Parser::new(size(rows), size(columns), SCROLLBACK),
            bytes: Vec::new(),
        }
    }

    /// What stands on the screen now.
    pub fn text(&self) -> String {
        self.screen.screen().contents()
    }

    /// Everything the program wrote, as it wrote it.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Types.
    pub async fn types(&mut self, keys: &[u8]) {
        self.pty
            .write_all(keys)
            .await
            .expect("the terminal takes keys");
    }

    /// Waits until the screen is so, as told by what it shows.
    #[track_caller]
    pub fn shows<'t>(
        &'t mut self,
        what: &'t str,
        is: impl Fn(&str) -> bool + 't,
    ) -> impl Future<Output = ()> + 't {
        let caller = std::panic::Location::caller();
        async move {
            let end = Instant::now() + SOON;
            while !is(&self.text()) {
                let left = end.saturating_duration_since(Instant::now());
                let more = timeout(left, self.more()).await.unwrap_or(false);
                assert!(
                    more || is(&self.text()),
                    "{caller}: the screen never showed {what}:\n{}",
                    self.text()
                );
            }
        }
    }

    /// Waits until the program has ended. Its exit code; the screen stays as it left it.
    pub async fn ends(&mut self) -> i32 {
        let end = Instant::now() + SOON;
        while timeout(end.saturating_duration_since(Instant::now()), self.more())
            .await
            .unwrap_or(false)
        {}
        let ended = timeout(GONE, self.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("it has not ended:\n{}", self.text()));
        ended
            .expect("its exit code can be read")
            .code()
            .unwrap_or(-1)
    }

    /// Reads on; false when the program has closed its end.
    async fn more(&mut self) -> bool {
        let mut bytes = [0_u8; 4096];
        match self.pty.read(&mut bytes).await {
            // a terminal nobody writes to any more answers with an error on Linux
            Ok(0) | Err(_) => false,
            Ok(length) => {
                let bytes = &bytes[..length];
                self.bytes.extend_from_slice(bytes);
                self.screen.process(bytes);
                true
            }
        }
    }
}
