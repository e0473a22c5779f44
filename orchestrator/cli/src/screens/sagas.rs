//! Sagas, a row each.

use crate::out::{Column, Line, Table, Tone, cell, plain, short};
use crate::time;
use crate::view::Row;

/// The list.
pub(crate) fn table(rows: &[Row], now: u64, width: usize) -> Table {
    let mut table = Table::new(&[
        Column::new("id"),
        Column::new("status"),
        Column::new("definition").cut(14),
        Column::new("started").rank(2).right(),
        Column::new("took").rank(3).right(),
        Column::new("labels").rank(4).cut(10),
    ]);
    for row in rows {
        let end = row.ended_at.unwrap_or(now);
        table.row(vec![
            plain(short(&row.id, width)),
            cell(row.standing(), Tone::of(&row.status)),
            plain(row.what()),
            plain(time::ago(row.started_at, now)),
            cell(
                time::span(end.saturating_sub(row.started_at)),
                if row.ended_at.is_some() {
                    Tone::Plain
                } else {
                    Tone::Faint
                },
            ),
            cell(row.labels(), Tone::Faint),
        ]);
    }
    table
}

/// Sagas of a file's lines, the first of them, with the line each is of.
pub(crate) fn by_line(mut rows: Vec<(usize, Row)>, most: usize, width: usize) -> Table {
    rows.sort_by_key(|(line, _)| *line);
    let mut table = Table::new(&[
        Column::new("line").right(),
        Column::new("id"),
        Column::new("status"),
        Column::new("labels").rank(1).cut(10),
    ]);
    for (line, row) in rows.iter().take(most) {
        table.row(vec![
            plain(line.to_string()),
            plain(short(&row.id, width)),
            cell(row.standing(), Tone::of(&row.status)),
            cell(row.labels(), Tone::Faint),
        ]);
    }
    table
}

/// One change of one saga, on one line.
pub(crate) fn change(row: &Row, now: u64, width: usize) -> Line {
    let at = time::instant(row.changed_at.unwrap_or(now));
    let clock = at.get(11..19).unwrap_or(&at);
    Line::of(format!("{clock}  "), Tone::Faint)
        .plain(format!("{}  ", short(&row.id, width)))
        .with(format!("{:<12}", row.standing()), Tone::of(&row.status))
        .plain(format!("  {}  ", row.what()))
        .with(row.labels(), Tone::Faint)
}
