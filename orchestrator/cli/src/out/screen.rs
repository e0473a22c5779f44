//! A stream of text for a person: how wide it is, whether it is a terminal, whether colours are wanted, and a region at its end that can
//! be drawn again. A reader that has gone away needs nothing more: what is written after that is dropped.

use std::io::{IsTerminal as _, Write};

use super::text;
use super::tone::{Line, Tone};

/// The width where there is no terminal to ask.
const WIDTH_DEFAULT: usize = 120;
/// Narrower than this nothing fits.
const WIDTH_MIN: usize = 40;
/// The height where there is no terminal to ask.
const HEIGHT_DEFAULT: usize = 24;

/// Where it goes.
enum Sink {
    Stdout,
    Stderr,
    #[cfg(test)]
    Kept(Vec<u8>),
}

/// One of the two streams.
pub(crate) struct Screen {
    sink: Sink,
    pending: String,
    terminal: bool,
    colours: bool,
    fixed: Option<(usize, usize)>,
    drawn: usize,
    gone: bool,
    failed: Option<std::io::Error>,
}

impl Screen {
    pub(crate) fn stdout(no_color: bool) -> Self {
        Self::new(Sink::Stdout, std::io::stdout().is_terminal(), no_color)
    }

    pub(crate) fn stderr(no_color: bool) -> Self {
        Self::new(Sink::Stderr, std::io::stderr().is_terminal(), no_color)
    }

    fn new(sink: Sink, terminal: bool, no_color: bool) -> Self {
        let unwanted = no_color
            || std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            sink,
            pending: String::new(),
            terminal,
            colours: terminal && !unwanted,
            fixed: None,
            drawn: 0,
            gone: false,
            failed: None,
        }
    }

    /// One that keeps what is written, of a width of its own.
    #[cfg(test)]
    pub(crate) fn kept(width: usize) -> Self {
        let mut screen = Self::new(Sink::Kept(Vec::new()), false, true);
        screen.fixed = Some((width, HEIGHT_DEFAULT));
        screen
    }

    /// What was written.
    #[cfg(test)]
    pub(crate) fn text(&mut self) -> String {
        self.flush();
        match &self.sink {
            Sink::Kept(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Sink::Stdout | Sink::Stderr => String::new(),
        }
    }

    /// Whether a person looks at it live.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether its reader has gone away.
    pub(crate) const fn is_gone(&self) -> bool {
        self.gone
    }

    /// How many cells a line has, asked anew each time: windows change.
    pub(crate) fn width(&self) -> usize {
        self.size().0
    }

    /// How many lines a person sees.
    pub(crate) fn height(&self) -> usize {
        self.size().1
    }

    fn size(&self) -> (usize, usize) {
        if let Some(fixed) = self.fixed {
            return fixed;
        }
        let asked = match self.sink {
            Sink::Stderr => terminal_size::terminal_size_of(std::io::stderr()),
            _ => terminal_size::terminal_size_of(std::io::stdout()),
        };
        let asked = asked
            .filter(|_| self.terminal)
            .map(|(width, height)| (usize::from(width.0), usize::from(height.0)));
        let of_environment = || std::env::var("COLUMNS").ok()?.parse().ok();
        let (width, height) =
            asked.unwrap_or_else(|| (of_environment().unwrap_or(WIDTH_DEFAULT), HEIGHT_DEFAULT));
        (width.max(WIDTH_MIN), height.max(4))
    }

    /// One line; what steers a terminal is escaped.
    pub(crate) fn line(&mut self, line: &Line) {
        let rendered = self.rendered(line);
        self.pending.push_str(&rendered);
        self.pending.push('\n');
    }

    /// Text that is fit to be written as it is: JSON, a script, a manual page.
    pub(crate) fn raw(&mut self, text: &str) {
        self.pending.push_str(text);
    }

    /// Draws the region at the end again: the lines of before are replaced, none is wider than the screen.
    pub(crate) fn draw(&mut self, lines: &[Line]) {
        let width = self.width();
        let mut frame = self.back();
        for line in lines {
            frame.push_str(&self.rendered(&narrowed(line, width)));
            frame.push_str("\u{1b}[K\n");
        }
        frame.push_str("\u{1b}[J");
        self.drawn = lines.len();
        self.pending.push_str(&frame);
        self.flush();
    }

    /// Takes the region away.
    pub(crate) fn erase(&mut self) {
        if self.drawn > 0 {
            let back = self.back();
            self.pending.push_str(&back);
            self.pending.push_str("\u{1b}[J");
            self.drawn = 0;
            self.flush();
        }
    }

    fn back(&self) -> String {
        match self.drawn {
            0 => String::new(),
            lines => format!("\r\u{1b}[{lines}A"),
        }
    }

    fn rendered(&self, line: &Line) -> String {
        let mut out = String::new();
        for span in &line.0 {
            let text = text::escaped(&span.text);
            match span.tone.code() {
                Some(code) if self.colours => {
                    out.push_str(&format!("\u{1b}[{code}m{text}\u{1b}[0m"));
                }
                _ => out.push_str(&text),
            }
        }
        out
    }

    /// Hands over what is written so far.
    pub(crate) fn flush(&mut self) {
        let text = std::mem::take(&mut self.pending);
        if self.gone || text.is_empty() {
            return;
        }
        let written = match &mut self.sink {
            Sink::Stdout => write(&mut std::io::stdout().lock(), &text),
            Sink::Stderr => write(&mut std::io::stderr().lock(), &text),
            #[cfg(test)]
            Sink::Kept(bytes) => write(bytes, &text),
        };
        if let Err(error) = written {
            self.gone = true;
            if error.kind() != std::io::ErrorKind::BrokenPipe {
                self.failed = Some(error);
            }
        }
    }

    /// Hands over the rest; why something could not be written, where its reader has not just gone away.
    pub(crate) fn finish(&mut self) -> std::io::Result<()> {
        self.flush();
        self.failed.take().map_or(Ok(()), Err)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.flush();
    }
}

fn write(to: &mut impl Write, text: &str) -> std::io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}

/// The line, cut to a width: a line that wraps would not be found again.
fn narrowed(line: &Line, width: usize) -> Line {
    let mut left = width;
    let mut kept = Line::new();
    for span in &line.0 {
        let shown = text::cut(&text::escaped(&span.text), left);
        left = left.saturating_sub(text::width(&shown));
        kept = kept.with(shown, span.tone);
        if left == 0 {
            break;
        }
    }
    kept
}

impl Line {
    /// A line of one tone, for a whole sentence.
    pub(crate) fn faint(text: impl Into<String>) -> Self {
        Self::of(text, Tone::Faint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_drawn_again_over_itself_and_never_wraps() {
        let mut screen = Screen::kept(40);
        screen.draw(&[Line::of("x".repeat(90), Tone::Plain), Line::new()]);
        screen.draw(&[Line::of("y", Tone::Plain)]);
        let text = screen.text();
        assert!(text.contains("\r\u{1b}[2Ay\u{1b}[K\n\u{1b}[J"), "{text:?}");
        let longest = text.split(['\n', '\u{1b}']).map(text::width).max();
        assert_eq!(longest, Some(40));
    }
}
