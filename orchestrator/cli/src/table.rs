//! Tables that fit the terminal: columns as wide as they need, the last ones cut when there is no room.

use crate::out::Tone;

/// Between two columns.
const GAP: usize = 2;
/// A column is not cut below this.
const COLUMN_MIN: usize = 8;

/// Rows of cells.
#[derive(Debug, Default)]
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self {
            head: head.iter().map(|name| (*name).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<(String, Tone)>) {
        self.rows.push(cells);
    }

    /// The lines, padded, none wider than `width` where that is possible.
    pub(crate) fn lines(&self, width: usize) -> Vec<Vec<(String, Tone)>> {
        let widths = self.widths(width);
        let head: Vec<(String, Tone)> = self
            .head
            .iter()
            .map(|name| (name.to_uppercase(), Tone::Faint))
            .collect();
        let has_head = self.head.iter().any(|name| !name.is_empty());
        has_head
            .then_some(&head)
            .into_iter()
            .chain(&self.rows)
            .map(|row| {
                row.iter()
                    .zip(&widths)
                    .map(|((text, tone), width)| (fitted(text, *width), *tone))
                    .collect()
            })
            .collect()
    }

    fn widths(&self, width: usize) -> Vec<usize> {
        let wide = |text: &str| text.chars().count();
        let mut widths: Vec<usize> = self.head.iter().map(|name| wide(name)).collect();
        for row in &self.rows {
            for (column, (text, _)) in widths.iter_mut().zip(row) {
                *column = (*column).max(wide(text));
            }
        }
        let gaps = GAP * widths.len().saturating_sub(1);
        let mut over = (widths.iter().sum::<usize>() + gaps).saturating_sub(width);
        for column in widths.iter_mut().rev() {
            let give = column.saturating_sub(COLUMN_MIN).min(over);
            *column -= give;
            over -= give;
        }
        widths
    }
}

/// Exactly so wide: padded, or cut with a mark.
fn fitted(text: &str, width: usize) -> String {
    let text = text.replace(['\n', '\r', '\t'], " ");
    let long = text.chars().count();
    if long <= width {
        return format!("{text}{}", " ".repeat(width - long));
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_and_cuts_its_last_columns_first() {
        let mut table = Table::new(&["id", "what"]);
        table.row(vec![
            ("12345678-aaaa".into(), Tone::Plain),
            ("a long sentence about it".into(), Tone::Plain),
        ]);
        let lines = table.lines(26);
        let text = |n: usize| {
            lines[n]
                .iter()
                .map(|(text, _)| text.as_str())
                .collect::<Vec<_>>()
                .join("  ")
        };
        assert_eq!(text(0), "ID             WHAT       ");
        assert_eq!(text(1), "12345678-aaaa  a long sen…");
    }
}
