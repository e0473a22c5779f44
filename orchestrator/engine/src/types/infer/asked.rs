//! Conditions that stand in two places: a step has run where what its `if` asks is asked again, and the answer is the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use cel::common::ast::{Expr as Ast, IdedExpr, operators as op};

use super::Infer;
use super::known::{Scope, form, read_by};
use crate::expr::{Expr, parse_with_places};
use crate::types::Type;

/// What a condition asks, without the `!` before it, and how it has to come out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    form: String,
    holds: bool,
    variables: BTreeSet<String>,
}

impl Asked {
    /// What an `if` asks; none where it could not be told again.
    pub(crate) fn of(condition: &Expr) -> Option<Self> {
        let (ast, _) = parse_with_places(condition.text()).ok()?;
        Self::of_part(&ast, true)
    }

    fn of_part(condition: &IdedExpr, holds: bool) -> Option<Self> {
        let (mut asked, mut holds) = (condition, holds);
        while let Ast::Call(call) = &asked.expr
            && call.func_name == op::LOGICAL_NOT
            && let [inner] = call.args.as_slice()
        {
            (asked, holds) = (inner, !holds);
        }
        let mut variables = BTreeSet::new();
        read_by(asked, &mut variables);
        let form = form(asked)?;
        Some(Self {
            form,
            holds,
            variables,
        })
    }
}

/// A step that yields no null, and has run where what its `if` asks comes out as it did.
#[derive(Debug, Clone)]
pub(super) struct Run {
    step: String,
    asked: Arc<Asked>,
}

impl Run {
    /// Whether it is this step, or reads a variable of that name.
    pub(super) fn speaks_of(&self, name: &str) -> bool {
        self.step == name || self.asked.variables.contains(name)
    }
}

impl Scope {
    /// Says of a step that yields no null that it has run where this comes out as it has to.
    pub(crate) fn runs_where(mut self, step: &str, asked: &Arc<Asked>) -> Self {
        self.runs.push(Run {
            step: step.to_owned(),
            asked: Arc::clone(asked),
        });
        self
    }
}

impl Infer {
    /// The steps that have run where a condition holds, or does not: their outputs are there.
    pub(super) fn have_run(&mut self, condition: &IdedExpr, holds: bool) {
        if self.known.runs.is_empty() {
            return;
        }
        let Some(asked) = Asked::of_part(condition, holds) else {
            return;
        };
        let runs = self.known.runs.iter();
        let run: Vec<Run> = runs.filter(|run| *run.asked == asked).cloned().collect();
        for Run { step, .. } in run {
            // what has been found out of it beside that stays known
            if let Some(of) = self.known.get(&step).filter(Type::may_be_null) {
                self.known.learn(step, of.not_null());
            }
        }
    }
}
