//! What a code of the checker means: the list, and a page of one.

use baton_engine::definition::Explanation;

use crate::out::{Line, Tone, width as wide, wrapped};

/// Every code with its title.
pub(crate) fn every(pages: impl Iterator<Item = Explanation>, width: usize) -> Vec<Line> {
    pages
        .flat_map(|page| titled(&page, "  ", width))
        .chain([
            Line::new(),
            Line::of("a page of one, with an example: ", Tone::Faint).plain("baton explain BT0024"),
        ])
        .collect()
}

/// A code and its title, with what does not fit below the title.
fn titled(page: &Explanation, between: &str, width: usize) -> Vec<Line> {
    let indent = wide(page.code) + wide(between);
    let parts = wrapped(page.title, width.saturating_sub(indent).max(20));
    let lines = parts.into_iter().enumerate().map(|(at, part)| match at {
        0 => Line::of(page.code, Tone::Strong).plain(between).plain(part),
        _ => Line::new().plain(" ".repeat(indent)).plain(part),
    });
    lines.collect()
}

/// The page of one.
pub(crate) fn page(page: &Explanation, width: usize) -> Vec<Line> {
    let mut lines = titled(page, ": ", width);
    if !page.text.is_empty() {
        lines.push(Line::new());
        // the page is wrapped for an editor, and here for this screen
        let text = page.text.replace('\n', " ");
        lines.extend(
            wrapped(&text, width)
                .into_iter()
                .map(|part| Line::new().plain(part)),
        );
    }
    for (head, example, tone) in [
        ("wrong", page.wrong, Tone::Bad),
        ("mended", page.mended, Tone::Good),
    ] {
        lines.push(Line::new());
        lines.push(Line::of(head, tone));
        let example = example
            .lines()
            .map(|line| Line::new().plain(format!("  {line}").trim_end()));
        lines.extend(example);
    }
    lines
}
