//! The log, behind the veil: no line reaches the standard error with a secret in it, whoever wrote it.

use std::io::{self, Write};

use baton_worker::Veil;
use tracing_subscriber::fmt::MakeWriter;

/// The standard error, masked.
#[derive(Debug, Clone)]
pub struct VeiledStderr(pub Veil);

impl<'a> MakeWriter<'a> for VeiledStderr {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for VeiledStderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A line comes whole, in one piece.
        let masks = self.0.masks();
        if masks.is_empty() {
            io::stderr().write_all(line)?;
        } else {
            let hidden = masks.hide(&String::from_utf8_lossy(line));
            io::stderr().write_all(hidden.as_bytes())?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
