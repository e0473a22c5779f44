//! What is said of what may be null, and how it is mended: by why it is null, and by what it is used for. What is proposed is taken by this checker, too.

use cel::common::ast::{Expr as Ast, IdedExpr, LiteralValue, operators as op};

use super::known::{Cause, Scope, place};
use super::mend::{compared, default_of};
use super::places::Places;
use super::{Infer, held};
use crate::expr::{Expr, parse_with_places};
use crate::types::Type;

/// What a value that may be null is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// As a value: there has to be another one in its place.
    Value,
    /// In what is true or false: there it can be asked for first.
    Asked,
}

/// What is said of a whole expression that may be null, before `and …`, and how it is mended. `wanted` is what is taken in its place.
pub(crate) fn may_be_null(expr: &Expr, scope: &Scope, wanted: &Type) -> Option<(String, String)> {
    let (ast, info) = parse_with_places(expr.text()).ok()?;
    let mut infer = Infer::new(Places::new(info), scope.clone());
    let of = infer.quietly(&ast);
    let wanted = match wanted.not_null().is_never() {
        true => of.not_null(),
        false => wanted.not_null(),
    };
    let what = infer.null(&ast, &of);
    let help = match of == Type::Null && infer.always_null(&ast).is_none() {
        true => "write a value, or read another step".to_owned(),
        false => infer.not_null(&ast, &wanted, Use::Value),
    };
    Some((what, help))
}

impl Infer {
    /// What a part is that may be null, and what follows from it.
    pub(super) fn null_and(&self, node: &IdedExpr, of: &Type, follows: &str) -> String {
        format!("{}, and {follows}", self.null(node, of))
    }

    fn null(&self, node: &IdedExpr, of: &Type) -> String {
        let text = self.text(node);
        match self.known.cause(node) {
            Some(Cause::Always { is, .. }) => format!("`{text}` {is}"),
            _ if *of == Type::Null => format!("`{text}` is null"),
            Some(Cause::May(why)) => format!("`{text}` may be null ({why})"),
            None if self.is_of_a_schema(node) => {
                format!("`{text}` may be null (its schema allows it)")
            }
            None => format!("`{text}` may be null"),
        }
    }

    /// Whether it is a key of what a schema describes: of anything but what a saga or a group returns.
    fn is_of_a_schema(&self, node: &IdedExpr) -> bool {
        let mut at = node;
        while let Ast::Select(select) = &at.expr {
            at = &select.operand;
        }
        let is_key = matches!(&node.expr, Ast::Select(select) if !select.test);
        is_key && matches!(&at.expr, Ast::Ident(root) if !self.known.is_made(root))
    }

    /// What a part is that is null whatever happens, and what to do about it.
    pub(super) fn always_null(&self, node: &IdedExpr) -> Option<(&'static str, &'static str)> {
        match self.known.cause(node)? {
            Cause::Always { is, help } => Some((is, help)),
            Cause::May(_) => None,
        }
    }

    /// How something else is put in the place of null. `of` is what is wanted there.
    pub(super) fn not_null(&mut self, node: &IdedExpr, of: &Type, used: Use) -> String {
        if let Some((_, help)) = self.always_null(node) {
            return help.to_owned();
        }
        let default = default_of(of);
        if let Some(help) = self.other_default(node, &default) {
            return help;
        }
        let text = self.operand(node);
        match (place(node), used) {
            (Some(_), Use::Asked) => format!("ask for null first: `{text} != null && …`"),
            (Some(_), Use::Value) => format!("write `{text} != null ? {text} : {default}`"),
            // of what is no place nothing is found out
            (None, _) => format!("write `[{text}].map(v, v != null ? v : {default})[0]`"),
        }
    }

    /// The same, where `orValue` has been written already: null comes from its default, or stands under the key, where it is no default.
    fn other_default(&mut self, node: &IdedExpr, default: &str) -> Option<String> {
        let Ast::Call(call) = &node.expr else {
            return None;
        };
        let optional = call.target.as_deref()?;
        if call.func_name != "orValue" {
            return None;
        }
        let text = self.operand(optional);
        if !held(&self.quietly(optional)).may_be_null() {
            return Some(format!(
                "give another default than null: `{text}.orValue({default})`"
            ));
        }
        let at = key(optional)?;
        Some(format!(
            "`orValue` stands in for a key that is not there, and not for null: write `has({at}) && {at} != null ? {at} : {default}`"
        ))
    }

    /// How what may be null becomes true or false.
    pub(super) fn null_where_truth(&mut self, node: &IdedExpr, of: &Type) -> String {
        let rest = of.not_null();
        let mut rest = rest.alternatives().iter();
        if rest.all(|one| matches!(one, Type::Bool | Type::Any)) {
            return self.not_null(node, &Type::Bool, Use::Asked);
        }
        format!("compare it: `{}`", compared(&self.operand(node), of))
    }
}

/// The place of `a.?b`, as it is read where it is there.
fn key(optional: &IdedExpr) -> Option<String> {
    let Ast::Call(call) = &optional.expr else {
        return None;
    };
    let [operand, field] = call.args.as_slice() else {
        return None;
    };
    let Ast::Literal(LiteralValue::String(field)) = &field.expr else {
        return None;
    };
    let operand = place(operand).filter(|_| call.func_name == op::OPT_SELECT)?;
    Some(format!("{}.{}", operand.replace(".?", "."), field.inner()))
}
