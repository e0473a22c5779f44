//! What is said of an expression that cannot be read: the first thing in it a person has to change, in one sentence, and where it stands.
//! It is asked only about a text the parser has refused, so that whatever it takes for a mistake does no harm to what can be read; of what it knows
//! nothing better it says where the parser stopped, and never what a parser generator would have taken instead.

use std::ops::Range;

use super::machine;
use super::tokens::{Kind, Token, tokens};

/// What is wrong with a text, where, in characters, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: Range<usize>,
    pub(super) what: String,
    pub(super) help: String,
}

const HELP: &str = "write one CEL expression, such as `input.ip` or `input.count > 3`";
const TERNARY: &str = "write `condition ? this : otherwise`";

/// What is wrong with a text the parser refused, which stopped at a character, if it said so, with a word of its own about it, if it had one.
pub(super) fn fault(text: &str, stopped: Option<usize>, said: Option<&str>) -> Fault {
    let tokens = match tokens(text) {
        Ok(tokens) => tokens,
        Err(fault) => return fault,
    };
    let neighbours = |n: usize| Around {
        before: n.checked_sub(2).and_then(|n| tokens.get(n)),
        last: n.checked_sub(1).and_then(|n| tokens.get(n)),
        next: tokens.get(n + 1),
    };
    if let Some(fault) = wrapped(text, &tokens) {
        return fault;
    }
    let mut all = tokens.iter().enumerate();
    let found = all.find_map(|(n, token)| odd_one(token, &neighbours(n)));
    found
        .or_else(|| unbalanced(&tokens))
        .unwrap_or_else(|| stopped_at(&tokens, text, stopped, said))
}

/// An expression in a second pair of braces, as `${{ … }}` has it elsewhere.
fn wrapped(text: &str, tokens: &[Token]) -> Option<Fault> {
    let open = tokens.first().filter(|first| first.is("{"))?;
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    // one pair more is looked at, and no further: what begins with another is told as that
    if inner.is_empty() || inner.starts_with('{') || machine::parse(inner).is_err() {
        return None;
    }
    let shown = match inner.chars().count() <= SHOWN_CHARS_MAX {
        true => inner,
        false => "…",
    };
    let what = "a second pair of braces stands around the expression".to_owned();
    Some(open.fault(what, format!("one pair of braces: `${{ {shown} }}`")))
}

/// The longest expression a help repeats.
const SHOWN_CHARS_MAX: usize = 60;

/// Nothing better is known than where the parser stopped.
fn stopped_at(tokens: &[Token], text: &str, stopped: Option<usize>, said: Option<&str>) -> Fault {
    let count = text.chars().count();
    let token = stopped.and_then(|at| tokens.iter().find(|token| token.at.end > at));
    let Some(token) = token else {
        let what = said.map_or_else(|| "it ends too soon".to_owned(), str::to_owned);
        let at = tokens.last().map_or(0..count, |last| last.at.clone());
        let help = HELP.to_owned();
        return Fault { at, what, help };
    };
    let what = said.map_or_else(
        || format!("`{}` does not fit here", token.text),
        |said| format!("`{}`: {said}", token.text),
    );
    token.fault(what, HELP)
}

/// What stands around a token.
struct Around<'t> {
    before: Option<&'t Token>,
    last: Option<&'t Token>,
    next: Option<&'t Token>,
}

impl Around<'_> {
    fn last_is(&self, text: &str) -> bool {
        self.last.is_some_and(|last| last.is(text))
    }

    fn next_is(&self, text: &str) -> bool {
        self.next.is_some_and(|next| next.is(text))
    }

    /// Whether a value ends right before.
    fn after_value(&self) -> bool {
        self.last.is_some_and(Token::ends_value)
    }

    /// Whether it is the name of a key: `.name`, `.?name`.
    fn after_dot(&self) -> bool {
        let optional = self.last_is("?") && self.before.is_some_and(|before| before.is("."));
        self.last_is(".") || optional
    }

    /// Whether nothing follows that could be a value.
    fn before_nothing(&self) -> bool {
        self.next
            .is_none_or(|next| next.kind == Kind::Close || next.is(",") || next.is(":"))
    }
}

/// What is wrong with one token where it stands.
fn odd_one(token: &Token, around: &Around<'_>) -> Option<Fault> {
    match token.kind {
        Kind::Odd => Some(odd_character(token, around)),
        Kind::Sign => foreign_sign(token).or_else(|| misplaced(token, around)),
        Kind::Word if around.after_dot() => None,
        Kind::Word => foreign_word(token, around)
            .or_else(|| misplaced(token, around))
            .or_else(|| side_by_side(token, around)),
        Kind::Number | Kind::Text => side_by_side(token, around),
        Kind::Open if token.is("{") && around.next_is("{") => Some(token.fault(
            "`{{` opens two objects".to_owned(),
            "inside `${ … }` an expression stands as it is, without braces around it",
        )),
        Kind::Open => side_by_side(token, around),
        Kind::Close => None,
    }
}

fn odd_character(token: &Token, around: &Around<'_>) -> Fault {
    let text = &token.text;
    match text.as_str() {
        "`" => token.fault(
            "a backtick quotes no text".to_owned(),
            "write text in quotes: 'text' or \"text\"",
        ),
        "$" if around.next_is("{") => {
            let what = "`${` stands inside an expression already".to_owned();
            let help = "leave the inner `${` and its `}` out: `input.ip` is read as it stands";
            let mut fault = token.fault(what, help);
            fault.at.end = around.next.map_or(fault.at.end, |next| next.at.end);
            fault
        }
        "“" | "”" | "„" | "‘" | "’" | "«" | "»" => {
            let help = "use straight ones: 'text' or \"text\"";
            token.fault(format!("`{text}` is no quote of an expression"), help)
        }
        _ => {
            let help = "text stands in quotes: 'text'; a key that is no plain word is read as `[\"my-key\"]`";
            token.fault(format!("`{text}` means nothing in an expression"), help)
        }
    }
}

/// An operator of other languages.
fn foreign_sign(token: &Token) -> Option<Fault> {
    let help = match token.text.as_str() {
        "=" | "===" => "compare with `==`",
        "!==" | "<>" => "compare with `!=`",
        "&" => "and is written `&&`",
        "|" => {
            "or is written `||`; there are no filters: a default is taken with `.?name.orValue(…)`"
        }
        "=>" | "->" => "a list is walked with `list.map(x, x + 1)` or `list.filter(x, x > 0)`",
        "??" | "?:" => "a default is taken with `.?name.orValue(…)`",
        "?." => "a key that may be absent is read with the dot first: `input.?name`",
        "**" | "++" | "+=" | "-=" | ":=" | "<<" | ">>" => {
            "there are +, -, *, / and %, and nothing is assigned"
        }
        _ => return None,
    };
    Some(token.fault(format!("`{}` is no operator", token.text), help))
}

/// A word of other languages, or one that CEL keeps for itself.
fn foreign_word(token: &Token, around: &Around<'_>) -> Option<Fault> {
    let text = token.text.as_str();
    let lower = text.to_lowercase();
    let no_operator = |help: String| Some(token.fault(format!("`{text}` is no operator"), help));
    let joins = around.after_value() && around.next.is_some();
    let negates = !around.after_value() && around.next.is_some_and(Token::begins_value);
    match lower.as_str() {
        "and" if joins => no_operator("and is written `&&`".to_owned()),
        "or" if joins => no_operator("or is written `||`".to_owned()),
        "not" if joins && around.next_is("in") => {
            no_operator("write `!(value in list)`".to_owned())
        }
        "not" if negates && !around.next_is("(") => no_operator("not is written `!`".to_owned()),
        "is" | "eq" | "equals" if joins => no_operator("compare with `==`".to_owned()),
        "ne" | "gt" | "lt" | "ge" | "le" if joins => {
            no_operator("compare with !=, >, <, >= or <=".to_owned())
        }
        "contains" | "startswith" | "endswith" if joins => {
            let name = match lower.as_str() {
                "startswith" => "startsWith",
                "endswith" => "endsWith",
                _ => "contains",
            };
            no_operator(format!("it is asked of the text: `value.{name}(…)`"))
        }
        "if" | "then" | "else" | "elif" => {
            Some(token.fault(format!("`{text}` is no word of an expression"), TERNARY))
        }
        "for" | "while" | "loop" if lower == text => {
            let help = "a list is walked with `list.map(x, x + 1)` or `list.filter(x, x > 0)`";
            Some(token.fault(format!("`{text}` is no word of an expression"), help))
        }
        _ if KEPT.contains(&text) => {
            let what = format!("`{text}` is a word CEL keeps for itself, and names nothing");
            let help = format!("a key of that name is read as `[\"{text}\"]`");
            Some(token.fault(what, help))
        }
        _ => None,
    }
}

/// Words CEL keeps for itself, beside those above.
const KEPT: [&str; 12] = [
    "as",
    "break",
    "const",
    "continue",
    "function",
    "import",
    "let",
    "package",
    "namespace",
    "return",
    "var",
    "void",
];

/// An operator, a dot or a comma with nothing to stand between.
fn misplaced(token: &Token, around: &Around<'_>) -> Option<Fault> {
    let text = token.text.as_str();
    let away = || format!("put a value there, or take `{text}` away");
    match text {
        "." => return missing_name(token, around),
        "!" if around.before_nothing() => {
            return Some(token.fault("nothing follows `!`".to_owned(), away()));
        }
        "?" if around.after_value() && around.before_nothing() => {
            let what = "a `?` after a value means nothing".to_owned();
            let help = "a key that may be absent is read as `input.?name`, and its default taken with `.orValue(…)`";
            return Some(token.fault(what, help));
        }
        "," if !around.after_value() => {
            return Some(token.fault("a value is missing before `,`".to_owned(), away()));
        }
        _ => {}
    }
    if !token.is_between() {
        return None;
    }
    match around.last {
        Some(last) if !last.ends_value() && text != "-" && last.kind != Kind::Odd => {
            let what = format!(
                "`{text}` follows `{}`, and a value is missing between them",
                last.text
            );
            let help = "put a value between them, or take one of them away";
            Some(token.fault(what, help))
        }
        None if text != "-" => Some(token.fault(format!("nothing stands before `{text}`"), away())),
        _ if around.before_nothing() => {
            Some(token.fault(format!("nothing follows `{text}`"), away()))
        }
        _ => None,
    }
}

fn missing_name(token: &Token, around: &Around<'_>) -> Option<Fault> {
    let named = around
        .next
        .is_some_and(|next| next.kind == Kind::Word || next.is("?"));
    if named {
        return None;
    }
    let help = "write the key's name; one that is no plain word is read as `[\"my-key\"]`, an item of a list as `[0]`";
    Some(token.fault("a name is missing after `.`".to_owned(), help))
}

/// Two values with nothing between them.
fn side_by_side(token: &Token, around: &Around<'_>) -> Option<Fault> {
    let last = around.last.filter(|last| last.ends_value())?;
    // `f(`, `a[`, `Type{`, and a prefix in front of what is not a value
    let belongs = token.kind == Kind::Open && last.kind != Kind::Number;
    if belongs || token.is("in") {
        return None;
    }
    let at = last.at.start..token.at.end;
    let (last_text, text) = (&last.text, &token.text);
    if last.kind == Kind::Number && token.kind == Kind::Word && last.at.end == token.at.start {
        let what = format!("`{last_text}{text}` is no number");
        let help = format!(
            "text, and so a duration, stands in quotes: `\"{last_text}{text}\"`; a name begins with a letter"
        );
        return Some(Fault { at, what, help });
    }
    let what = format!("`{text}` follows `{last_text}` with nothing between them");
    let help = "put an operator between them (`==`, `&&`, `+`), or quotes around what is text";
    Some(token.fault(what, help))
}

/// What has been opened, with the `?` that wait for their `:` in it.
struct Level<'t> {
    open: Option<&'t Token>,
    asked: Vec<&'t Token>,
}

/// What is opened and not closed, or the other way round; also `?` and `:`.
fn unbalanced(tokens: &[Token]) -> Option<Fault> {
    let mut levels = vec![Level {
        open: None,
        asked: Vec::new(),
    }];
    let mut last: Option<&Token> = None;
    for token in tokens {
        let asks = last.is_some_and(Token::ends_value);
        last = Some(token);
        match (token.kind, token.text.as_str()) {
            (Kind::Open, _) => levels.push(Level {
                open: Some(token),
                asked: Vec::new(),
            }),
            (Kind::Close, _) => {
                let level = levels.pop()?;
                if let Some(fault) = closed(&level, token) {
                    return Some(fault);
                }
            }
            (Kind::Sign, "?") if asks => levels.last_mut()?.asked.push(token),
            (Kind::Sign, ":") => {
                let level = levels.last_mut()?;
                let in_object = level.open.is_some_and(|open| open.is("{"));
                if level.asked.pop().is_none() && !in_object {
                    let help =
                        format!("{TERNARY}; an object stands in braces: `{{\"key\": value}}`");
                    return Some(token.fault("`:` has no `?` before it".to_owned(), help));
                }
            }
            (Kind::Sign, ",") => {
                if let Some(fault) = unanswered(levels.last()?) {
                    return Some(fault);
                }
            }
            _ => {}
        }
    }
    let level = levels.last()?;
    let open = level.open.map(|open| {
        let close = closing(&open.text);
        open.fault(
            format!("`{}` is not closed", open.text),
            format!("add the `{close}` where it ends"),
        )
    });
    open.or_else(|| unanswered(level))
}

/// What is wrong with a bracket that closes a level.
fn closed(level: &Level<'_>, close: &Token) -> Option<Fault> {
    let Some(open) = level.open else {
        let what = format!("`{}` closes nothing", close.text);
        return Some(close.fault(what, "take it away, or open it where it should begin"));
    };
    let wanted = closing(&open.text);
    if close.text != wanted {
        let what = format!("`{}` is closed by `{}`", open.text, close.text);
        return Some(close.fault(what, format!("close it with `{wanted}`")));
    }
    unanswered(level)
}

fn unanswered(level: &Level<'_>) -> Option<Fault> {
    let asked = level.asked.last()?;
    Some(asked.fault("`?` has no `:`".to_owned(), TERNARY))
}

fn closing(open: &str) -> &'static str {
    match open {
        "(" => ")",
        "[" => "]",
        _ => "}",
    }
}
