//! Makes a parsed CEL expression fit to stand in a saga, before it ever runs:
//! - every walk over a range (`map`, `filter`, `all`, `exists`) goes through [`RANGE`], which puts the keys of maps in order and charges
//!   the budget of work, so that evaluation ends soon and is the same everywhere;
//! - what grows (`+`, elements of lists and maps made inside a walk) goes through [`CHARGE`];
//! - the operand of `has(…)` becomes optional all the way ([`OR_EMPTY`]), so that `has(step.x.y)` is false when `step` was skipped.

use cel::common::ast::{
    CallExpr, EntryExpr, Expr as Ast, IdedExpr, LiteralValue, SelectExpr, operators,
};
use cel::common::types::CelString;

/// Our function around the range of every comprehension.
pub(super) const RANGE: &str = "@range";
/// Our function around what may grow.
pub(super) const CHARGE: &str = "@charge";
/// Our function around the operand of `has`: the value of an optional, or an empty object for none and null.
pub(super) const OR_EMPTY: &str = "@or_empty";

/// The names CEL gives its types: they are no variables, and no step may be called so.
pub const TYPE_NAMES: [&str; 12] = [
    "bool",
    "bytes",
    "double",
    "dyn",
    "int",
    "list",
    "map",
    "null_type",
    "optional_type",
    "string",
    "type",
    "uint",
];

/// Whether a function of this name is called anywhere, free or as a method.
pub(super) fn calls(ast: &IdedExpr, name: &str) -> bool {
    if let Ast::Call(call) = &ast.expr
        && call.func_name == name
    {
        return true;
    }
    children(&ast.expr)
        .into_iter()
        .any(|child| calls(child, name))
}

/// How deep an expression nests.
pub(super) fn depth(ast: &IdedExpr) -> usize {
    let inner = children(&ast.expr).into_iter().map(depth).max();
    1 + inner.unwrap_or(0)
}

/// The parts of an expression.
pub(crate) fn children(ast: &Ast) -> Vec<&IdedExpr> {
    match ast {
        Ast::Unspecified | Ast::Ident(_) | Ast::Literal(_) => Vec::new(),
        Ast::Call(call) => call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .collect(),
        Ast::Comprehension(walk) => vec![
            &walk.iter_range,
            &walk.accu_init,
            &walk.loop_cond,
            &walk.loop_step,
            &walk.result,
        ],
        Ast::List(list) => list.elements.iter().collect(),
        Ast::Map(map) => map
            .entries
            .iter()
            .flat_map(|entry| entry_parts(&entry.expr))
            .collect(),
        Ast::Select(select) => vec![&select.operand],
        Ast::Struct(made) => made
            .entries
            .iter()
            .flat_map(|entry| entry_parts(&entry.expr))
            .collect(),
    }
}

fn entry_parts(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

/// Rewrites an expression in place; see the head of the file.
pub(super) fn rewrite(ast: &mut IdedExpr) {
    rewrite_at(ast, false);
}

fn rewrite_at(ast: &mut IdedExpr, in_walk: bool) {
    match &mut ast.expr {
        Ast::Unspecified | Ast::Ident(_) | Ast::Literal(_) => {}
        Ast::Call(call) => {
            for child in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
                rewrite_at(child, in_walk);
            }
            if grows(call) {
                wrap(ast, CHARGE);
            }
        }
        Ast::Comprehension(walk) => {
            rewrite_at(&mut walk.iter_range, in_walk);
            wrap(&mut walk.iter_range, RANGE);
            rewrite_at(&mut walk.accu_init, in_walk);
            for inner in [&mut walk.loop_cond, &mut walk.loop_step, &mut walk.result] {
                rewrite_at(inner, true);
            }
        }
        Ast::List(list) => {
            for element in &mut list.elements {
                rewrite_at(element, in_walk);
                // An optional element is charged as the optional it is.
                if in_walk {
                    wrap(element, CHARGE);
                }
            }
        }
        Ast::Map(map) => rewrite_entries(&mut map.entries, in_walk),
        Ast::Struct(made) => rewrite_entries(&mut made.entries, in_walk),
        Ast::Select(select) => {
            if select.test {
                make_optional(&mut select.operand);
                wrap(&mut select.operand, OR_EMPTY);
            } else {
                rewrite_at(&mut select.operand, in_walk);
            }
        }
    }
}

fn rewrite_entries(entries: &mut [cel::common::ast::IdedEntryExpr], in_walk: bool) {
    for entry in entries {
        let value = match &mut entry.expr {
            EntryExpr::StructField(field) => &mut field.value,
            EntryExpr::MapEntry(entry) => {
                rewrite_at(&mut entry.key, in_walk);
                &mut entry.value
            }
        };
        rewrite_at(value, in_walk);
        if in_walk {
            wrap(value, CHARGE);
        }
    }
}

/// `+` makes longer text and lists, `string` and `bytes` copies; CEL's own `@result + […]` is charged by its elements.
fn grows(call: &CallExpr) -> bool {
    match call.func_name.as_str() {
        operators::ADD => !matches!(
            call.args.first().map(|first| &first.expr),
            Some(Ast::Ident(name)) if name.starts_with('@')
        ),
        "string" | "bytes" => true,
        _ => false,
    }
}

/// Turns the plain selections and literal indexes on the way to an operand of `has` into optional ones.
fn make_optional(ast: &mut IdedExpr) {
    match &mut ast.expr {
        Ast::Select(select) if !select.test => {
            let SelectExpr { operand, field, .. } = std::mem::take(select);
            let mut operand = *operand;
            make_optional(&mut operand);
            let id = ast.id;
            let field = IdedExpr {
                id,
                expr: Ast::Literal(LiteralValue::String(CelString::from(field))),
            };
            ast.expr = call(operators::OPT_SELECT, vec![operand, field]);
        }
        Ast::Call(index) if index.func_name == operators::INDEX && index.args.len() == 2 => {
            index.func_name = operators::OPT_INDEX.to_owned();
            make_optional(&mut index.args[0]);
            rewrite_at(&mut index.args[1], false);
        }
        _ => rewrite_at(ast, false),
    }
}

fn wrap(ast: &mut IdedExpr, function: &str) {
    let inner = std::mem::take(ast);
    ast.id = inner.id;
    ast.expr = call(function, vec![inner]);
}

fn call(function: &str, args: Vec<IdedExpr>) -> Ast {
    Ast::Call(CallExpr {
        func_name: function.to_owned(),
        target: None,
        args,
    })
}
