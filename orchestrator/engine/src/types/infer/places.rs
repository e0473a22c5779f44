//! Where the parts of an expression stand in its text.

use std::ops::Range;

use cel::common::ast::{IdedExpr, SourceInfo};

use crate::expr::children;

/// The places of one expression's parts, in characters.
pub(super) struct Places {
    info: SourceInfo,
    chars: Vec<char>,
}

impl Places {
    pub(super) fn new(info: SourceInfo) -> Self {
        let chars = info.source.chars().collect();
        Self { info, chars }
    }

    /// From the first character of a part to after its last one.
    pub(super) fn span(&self, node: &IdedExpr) -> Range<usize> {
        let mut all = self.own(node);
        self.widen(node, &mut all);
        self.closed(all.unwrap_or(0..self.chars.len()))
    }

    /// The place of what makes the part what it is: its operator, its dot and name, the name and parenthesis of its call.
    fn own(&self, node: &IdedExpr) -> Option<Range<usize>> {
        let (start, stop) = self.info.offset_for(node.id)?;
        let (start, stop) = (usize::try_from(start).ok()?, usize::try_from(stop).ok()?);
        if start > stop || stop >= self.chars.len() {
            return None;
        }
        // The parser tells where a dot or a parenthesis is; the name stands after the one and before the other.
        Some(match self.chars[start] {
            '.' => start..self.after_name(stop + 1),
            '(' => self.before_name(start)..stop + 1,
            _ => start..stop + 1,
        })
    }

    /// Where the name ends that follows a dot.
    fn after_name(&self, from: usize) -> usize {
        let blank = |c: &char| c.is_whitespace() || matches!(c, '?' | '`');
        let start = from + self.chars[from..].iter().take_while(|c| blank(c)).count();
        start
            + self.chars[start..]
                .iter()
                .take_while(|c| a_part(**c))
                .count()
    }

    /// Where the name begins that a parenthesis follows.
    fn before_name(&self, until: usize) -> usize {
        until
            - self.chars[..until]
                .iter()
                .rev()
                .take_while(|c| a_part(**c))
                .count()
    }

    fn widen(&self, node: &IdedExpr, all: &mut Option<Range<usize>>) {
        for child in children(&node.expr) {
            if let Some(own) = self.own(child) {
                *all = Some(match all.take() {
                    None => own,
                    Some(all) => all.start.min(own.start)..all.end.max(own.end),
                });
            }
            self.widen(child, all);
        }
    }

    /// A word, looked for from the end of a part on: the name after its dot.
    pub(super) fn word_after(&self, node: &IdedExpr, word: &str) -> Range<usize> {
        let span = self.span(node);
        let wanted: Vec<char> = word.chars().collect();
        let last = self.chars.len().saturating_sub(wanted.len());
        (span.end.min(last)..=last)
            .find(|at| self.chars[*at..].starts_with(&wanted))
            .map_or(span, |at| at..at + wanted.len())
    }

    /// The text of a part, as it is written.
    pub(super) fn text(&self, node: &IdedExpr) -> String {
        self.chars[self.span(node)].iter().collect()
    }

    /// A span widened so that what is opened in it is closed.
    fn closed(&self, span: Range<usize>) -> Range<usize> {
        let mut open = 0_usize;
        let mut quote = None;
        for (at, c) in self.chars.iter().enumerate().skip(span.start) {
            if at >= span.end && open == 0 {
                return span.start..at;
            }
            match (quote, c) {
                (Some(mark), c) if *c == mark => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'') => quote = Some(*c),
                (None, '(' | '[' | '{') => open += 1,
                (None, ')' | ']' | '}') => open = open.saturating_sub(1),
                (None, _) => {}
            }
        }
        span.start..self.chars.len()
    }
}

fn a_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
