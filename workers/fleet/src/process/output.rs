//! What a program printed: its head and its tail, as text a person can be shown.

use tokio::io::{AsyncRead, AsyncReadExt as _};

use baton_worker::Masks;

/// Read at once.
const CHUNK: usize = 8 * 1024;

/// What a program printed on one of its outputs: UTF-8 (lossy), without control characters and escape sequences, secrets masked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// The text; where bytes were dropped, a line in its middle says how many.
    pub text: String,
    /// How many bytes in the middle were dropped.
    pub dropped_bytes: u64,
}

/// Collects one output within a bound: reading never stops, so the program never waits for its reader.
#[derive(Debug)]
pub(crate) struct Collector {
    half: usize,
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
    dropped: u64,
}

impl Collector {
    /// Keeps so many bytes.
    pub(crate) fn of(bytes_max: usize) -> Self {
        Self {
            half: bytes_max / 2,
            head: Vec::new(),
            tail: std::collections::VecDeque::new(),
            dropped: 0,
        }
    }

    /// Reads until the end, or until the future is dropped; what was read stays.
    pub(crate) async fn fill(&mut self, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut chunk = vec![0; CHUNK];
        // An error ends it as the end does: what was read is all there is.
        while let Ok(read @ 1..) = from.read(&mut chunk).await {
            self.take(chunk.get(..read).unwrap_or_default());
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let room = self.half.saturating_sub(self.head.len()).min(bytes.len());
        let (first, rest) = bytes.split_at(room);
        self.head.extend_from_slice(first);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(self.half);
        self.tail.drain(..over);
        self.dropped += over as u64;
    }

    /// The text, masked. A secret that lies across a cut is masked too: as much beside the cut as could be part of one is dropped.
    pub(crate) fn captured(&self, masks: &Masks) -> Captured {
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        if self.dropped == 0 {
            let whole = [self.head.as_slice(), &tail].concat();
            return Captured {
                text: masks.hide(&clean(&whole)),
                dropped_bytes: 0,
            };
        }
        let margin = masks.longest();
        let head = self
            .head
            .get(..self.head.len().saturating_sub(margin))
            .unwrap_or_default();
        let tail = tail.get(margin.min(tail.len())..).unwrap_or_default();
        let dropped =
            self.dropped + (self.head.len() - head.len() + self.tail.len() - tail.len()) as u64;
        let text = format!(
            "{}\n… {dropped} bytes dropped …\n{}",
            masks.hide(&clean(head)),
            masks.hide(&clean(tail))
        );
        Captured {
            text,
            dropped_bytes: dropped,
        }
    }
}

/// Text without escape sequences and control characters, but for line ends and tabs.
pub(crate) fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let plain = anstream::adapter::strip_str(&text).to_string();
    plain
        .replace("\r\n", "\n")
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_keeps_its_head_and_its_tail_and_counts_the_rest() {
        let mut flood = b"first ".to_vec();
        flood.extend(vec![b'x'; 100_000]);
        flood.extend_from_slice(b" last");
        let mut collector = Collector::of(100);
        collector.fill(Some(flood.as_slice())).await;
        let captured = collector.captured(&Masks::default());
        assert!(captured.text.starts_with("first xx") && captured.text.ends_with("xx last"));
        assert_eq!(captured.dropped_bytes, flood.len() as u64 - 100);
        assert!(captured.text.contains(&captured.dropped_bytes.to_string()));
        assert!(captured.text.len() < 200);
    }

    #[tokio::test]
    async fn a_secret_across_the_cut_does_not_show_in_parts() {
        let masks = Masks::of(["SECRETSECRET"]);
        let mut text = vec![b'.'; 44];
        text.extend_from_slice(b"SECRETSECRET");
        text.extend(vec![b'.'; 200]);
        text.extend_from_slice(b"SECRETSECRET");
        text.extend(vec![b'.'; 44]);
        let mut collector = Collector::of(100);
        collector.fill(Some(text.as_slice())).await;
        let shown = collector.captured(&masks).text;
        assert!(!shown.contains("SEC") && !shown.contains("RET"), "{shown}");
    }

    #[test]
    fn colours_titles_and_bells_are_gone() {
        let shown = clean(b"\x1b[31mred\x1b[0m \x1b]0;title\x07\x07bell\r\nnext\ttab \xff");
        assert_eq!(shown, "red bell\nnext\ttab \u{fffd}");
    }
}
