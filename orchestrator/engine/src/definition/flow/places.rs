//! Where the parts of expressions stand in the document.

use std::ops::Range;

use super::Flow;
use crate::definition::yaml::Mark;
use crate::expr::Expr;

/// One expression in the document: its string, and which one of the same text it is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) pointer: &'a str,
    pub(super) nth: usize,
}

impl Flow<'_> {
    /// Where a part of an expression stands.
    pub(super) fn part(&self, expr: &Expr, place: Place<'_>, at: Range<usize>) -> Mark {
        self.tree.at(place.pointer).part(expr.text(), place.nth, at)
    }

    /// Where all of it stands.
    pub(super) fn whole(&self, expr: &Expr, place: Place<'_>) -> Mark {
        self.part(expr, place, 0..expr.text().chars().count())
    }
}
