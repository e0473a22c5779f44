//! Tables that fit: a column nobody fills is left out; where there is no room, columns are cut as far as they may be, then those that
//! matter least are dropped; what must not be lost stands folded below its row.

use super::text;
use super::tone::{Line, Span, Tone};

/// Between two columns.
const GAP: usize = 2;

/// How far what is folded stands to the right.
const INDENT: usize = 4;

/// Columns from this rank on go before others are cut.
const NICE_TO_HAVE: u8 = 4;

/// One column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    head: &'static str,
    /// 0 is never dropped; the highest goes first.
    rank: u8,
    /// How far it may be cut; none when it may not.
    cut_to: Option<usize>,
    right: bool,
}

impl Column {
    /// One that is always there, whole.
    pub(crate) const fn new(head: &'static str) -> Self {
        Self {
            head,
            rank: 0,
            cut_to: None,
            right: false,
        }
    }

    /// Dropped where there is no room; the highest rank first.
    pub(crate) const fn rank(mut self, rank: u8) -> Self {
        self.rank = rank;
        self
    }

    /// May be cut down to so many cells.
    pub(crate) const fn cut(mut self, cells: usize) -> Self {
        self.cut_to = Some(cells);
        self
    }

    /// Numbers stand at the right.
    pub(crate) const fn right(mut self) -> Self {
        self.right = true;
        self
    }
}

/// One row, with what stands below it.
#[derive(Debug)]
struct Row {
    cells: Vec<Span>,
    below: Vec<Span>,
}

/// Rows of cells.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Row>,
}

/// A cell.
pub(crate) fn cell(text: impl Into<String>, tone: Tone) -> Span {
    Span {
        text: text.into(),
        tone,
    }
}

/// A cell without colour.
pub(crate) fn plain(text: impl Into<String>) -> Span {
    cell(text, Tone::Plain)
}

impl Table {
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<Span>) {
        self.row_with(cells, Vec::new());
    }

    /// A row, and what stands below it, wrapped.
    pub(crate) fn row_with(&mut self, cells: Vec<Span>, below: Vec<Span>) {
        let cells = cells
            .into_iter()
            .map(|span| cell(text::escaped(&span.text), span.tone))
            .collect();
        self.rows.push(Row { cells, below });
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether all of it stands there, nothing cut and nothing left out.
    pub(crate) fn fits(&self, width: usize) -> bool {
        let columns = self.columns.iter().enumerate();
        let natural: Vec<Option<usize>> =
            columns.map(|(n, column)| self.natural(n, column)).collect();
        total(&natural) <= width
    }

    /// The lines, none wider than `width` where that is possible.
    pub(crate) fn lines(&self, width: usize) -> Vec<Line> {
        let widths = self.widths(width);
        let mut lines = Vec::with_capacity(self.rows.len() + 1);
        if self.columns.iter().any(|column| !column.head.is_empty()) {
            let head = self
                .columns
                .iter()
                .map(|column| cell(column.head.to_uppercase(), Tone::Faint));
            lines.push(self.line(&head.collect::<Vec<_>>(), &widths));
        }
        for row in &self.rows {
            lines.push(self.line(&row.cells, &widths));
            for below in &row.below {
                let room = width.saturating_sub(INDENT + 2).max(20);
                for (n, part) in text::wrapped(&below.text, room).into_iter().enumerate() {
                    let mark = if n == 0 { "└ " } else { "  " };
                    let lead = format!("{}{mark}", " ".repeat(INDENT));
                    lines.push(Line::of(lead, Tone::Faint).with(part, below.tone));
                }
            }
        }
        lines
    }

    fn line(&self, cells: &[Span], widths: &[Option<usize>]) -> Line {
        let mut shown: Vec<Span> = Vec::new();
        let all = self.columns.iter().zip(cells).zip(widths);
        for ((column, span), width) in all.filter_map(|(pair, width)| Some((pair, (*width)?))) {
            if !shown.is_empty() {
                shown.push(plain(" ".repeat(GAP)));
            }
            shown.push(cell(
                text::padded(&span.text, width, column.right),
                span.tone,
            ));
        }
        // no blanks at the end, however wide the last column is
        while let Some(last) = shown.last_mut() {
            last.text.truncate(last.text.trim_end().len());
            if !last.text.is_empty() {
                break;
            }
            shown.pop();
        }
        Line(shown)
    }

    /// How wide each column is; none when it is not shown.
    fn widths(&self, width: usize) -> Vec<Option<usize>> {
        let mut natural: Vec<Option<usize>> = self
            .columns
            .iter()
            .enumerate()
            .map(|(n, column)| self.natural(n, column))
            .collect();
        loop {
            let mut fitted = natural.clone();
            let mut over = total(&fitted).saturating_sub(width);
            let mut order: Vec<usize> = (0..self.columns.len()).collect();
            order.sort_by_key(|n| std::cmp::Reverse((self.columns[*n].rank, *n)));
            for n in &order {
                if let (Some(cells), Some(least)) = (fitted[*n], self.columns[*n].cut_to) {
                    let give = cells.saturating_sub(least).min(over);
                    fitted[*n] = Some(cells - give);
                    over -= give;
                }
            }
            // what is only nice to have goes before anything that matters more is cut
            let last = order.iter().find(|n| natural[**n].is_some());
            let cut_more = last.is_some_and(|last| {
                self.columns[*last].rank >= NICE_TO_HAVE
                    && (0..self.columns.len()).any(|n| n != *last && fitted[n] < natural[n])
            });
            match last {
                Some(n) if self.columns[*n].rank > 0 && (over > 0 || cut_more) => {
                    natural[*n] = None
                }
                _ => return fitted,
            }
        }
    }

    /// None for a column nobody fills.
    fn natural(&self, n: usize, column: &Column) -> Option<usize> {
        let widest = self
            .rows
            .iter()
            .filter_map(|row| Some(text::width(&row.cells.get(n)?.text)))
            .max();
        let widest = widest.unwrap_or(0);
        (widest > 0).then(|| widest.max(text::width(column.head)))
    }
}

fn total(widths: &[Option<usize>]) -> usize {
    let shown: Vec<usize> = widths.iter().flatten().copied().collect();
    shown.iter().sum::<usize>() + GAP * shown.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(table: &Table, width: usize) -> Vec<String> {
        let lines = table.lines(width);
        lines
            .iter()
            .map(|line| line.0.iter().map(|span| span.text.as_str()).collect())
            .collect()
    }

    fn example() -> Table {
        let mut table = Table::new(&[
            Column::new("id"),
            Column::new("state").rank(1),
            Column::new("nothing").rank(2),
            Column::new("what").rank(3).cut(8),
        ]);
        table.row_with(
            vec![
                plain("12345678"),
                plain("running"),
                plain(""),
                plain("a long sentence about it"),
            ],
            vec![plain("why it waits, at length")],
        );
        table
    }

    #[test]
    fn there_is_room() {
        assert_eq!(
            text(&example(), 80),
            [
                "ID        STATE    WHAT",
                "12345678  running  a long sentence about it",
                "    └ why it waits, at length",
            ]
        );
    }

    #[test]
    fn it_is_cut_then_dropped_and_never_loses_what_stands_below() {
        assert_eq!(text(&example(), 30)[1], "12345678  running  a long sen…");
        assert_eq!(text(&example(), 20)[1], "12345678  running");
        assert_eq!(text(&example(), 10)[1], "12345678");
        assert_eq!(
            text(&example(), 20)[2..].join("|"),
            "    └ why it waits, at|      length"
        );
    }

    #[test]
    fn a_cell_cannot_steer_the_terminal() {
        let mut table = Table::new(&[Column::new("a")]);
        table.row(vec![plain("x\u{1b}[31m\ny")]);
        assert_eq!(text(&table, 80)[1], "x\\u{1b}[31m\\ny");
    }
}
