//! The parts of an expression's text, also of one that cannot be read: words, numbers, texts in quotes, brackets and operators, those of other languages
//! too, since those are what somebody may have meant.

use std::ops::Range;

use super::syntax::Fault;

/// What a part of the text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Number,
    Text,
    Open,
    Close,
    /// An operator, a dot, a comma, a colon; also those other languages have.
    Sign,
    /// A character no expression has outside of quotes.
    Odd,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: Range<usize>,
    pub(super) text: String,
}

impl Token {
    pub(super) fn is(&self, text: &str) -> bool {
        self.kind != Kind::Text && self.text == text
    }

    /// Whether a value may end with it.
    pub(super) fn ends_value(&self) -> bool {
        match self.kind {
            Kind::Number | Kind::Text | Kind::Close => true,
            Kind::Word => self.text != "in",
            Kind::Open | Kind::Sign | Kind::Odd => false,
        }
    }

    /// Whether a value may begin with it.
    pub(super) fn begins_value(&self) -> bool {
        match self.kind {
            Kind::Number | Kind::Text | Kind::Open => true,
            Kind::Word => self.text != "in",
            Kind::Sign => matches!(self.text.as_str(), "-" | "!" | "."),
            Kind::Close | Kind::Odd => false,
        }
    }

    /// Whether it stands between two values.
    pub(super) fn is_between(&self) -> bool {
        const SIGNS: [&str; 13] = [
            "==", "!=", "<=", ">=", "<", ">", "&&", "||", "+", "-", "*", "/", "%",
        ];
        match self.kind {
            Kind::Sign => SIGNS.contains(&self.text.as_str()),
            Kind::Word => self.text == "in",
            _ => false,
        }
    }

    pub(super) fn fault(&self, what: String, help: impl Into<String>) -> Fault {
        let (at, help) = (self.at.clone(), help.into());
        Fault { at, what, help }
    }
}

/// Operators of more than one character, the longest first; also those of other languages, which are told as one.
const SIGNS: [&str; 21] = [
    "===", "!==", "==", "!=", "<=", ">=", "&&", "||", "=>", "->", "<>", "??", "?:", "?.", "**",
    "++", "+=", "-=", ":=", "<<", ">>",
];

/// Cuts a text into its parts; refuses a text in quotes that does not end.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = chars.get(at..).filter(|rest| !rest.is_empty()) {
        let blank = rest.iter().take_while(|c| c.is_whitespace()).count();
        if blank > 0 {
            at += blank;
            continue;
        }
        if rest.starts_with(&['/', '/']) {
            at += rest.iter().take_while(|c| **c != '\n').count();
            continue;
        }
        let named = found.last().is_some_and(|last: &Token| last.is("."));
        let Some((kind, count)) = name_in_backticks(rest)
            .filter(|_| named)
            .or_else(|| token(rest))
        else {
            let quote: String = rest.iter().take(1).collect();
            return Err(Fault {
                at: at..at + 1,
                what: "the text that begins here is not closed".to_owned(),
                help: format!(
                    "add the quote where it ends; a quote within it is written `\\{quote}`"
                ),
            });
        };
        let text = rest.iter().take(count).collect();
        let place = at..at + count;
        found.push(Token {
            kind,
            at: place,
            text,
        });
        at += count;
    }
    Ok(found)
}

/// The name of a key in backticks, as it may stand after a dot.
fn name_in_backticks(rest: &[char]) -> Option<(Kind, usize)> {
    let within = rest.strip_prefix(&['`'])?;
    let end = within.iter().position(|c| *c == '`')?;
    Some((Kind::Word, end + 2))
}

/// What begins here, and how many characters it has; none when it is a text that does not end.
fn token(rest: &[char]) -> Option<(Kind, usize)> {
    let prefix = rest
        .iter()
        .take_while(|c| matches!(c, 'r' | 'R' | 'b' | 'B'))
        .count();
    if prefix <= 2 && matches!(rest.get(prefix), Some('"' | '\'')) {
        let raw = rest.iter().take(prefix).any(|c| matches!(c, 'r' | 'R'));
        let count = quoted(rest.get(prefix..).unwrap_or_default(), raw)?;
        return Some((Kind::Text, prefix + count));
    }
    let first = rest.first().copied().unwrap_or(' ');
    if first.is_ascii_digit() {
        return Some((Kind::Number, number(rest)));
    }
    if first.is_alphabetic() || first == '_' {
        let a_part = |c: &&char| c.is_alphanumeric() || **c == '_';
        return Some((Kind::Word, rest.iter().take_while(a_part).count()));
    }
    let begins =
        |sign: &&str| sign.chars().zip(rest).filter(|(a, b)| a == *b).count() == sign.len();
    if let Some(sign) = SIGNS.iter().find(|sign| begins(sign)) {
        return Some((Kind::Sign, sign.len()));
    }
    let kind = match first {
        '(' | '[' | '{' => Kind::Open,
        ')' | ']' | '}' => Kind::Close,
        '+' | '-' | '*' | '/' | '%' | '<' | '>' | '!' | '=' | '?' | ':' | '.' | ',' | '&' | '|' => {
            Kind::Sign
        }
        _ => Kind::Odd,
    };
    Some((kind, 1))
}

/// How many characters a text in quotes has, with its quotes; none when it does not end.
fn quoted(rest: &[char], raw: bool) -> Option<usize> {
    let quote = rest.first()?;
    let three = [*quote; 3];
    let marks = if rest.starts_with(&three) { 3 } else { 1 };
    let ends = three.get(..marks)?;
    let mut at = marks;
    loop {
        let left = rest.get(at..)?;
        if left.starts_with(ends) {
            return Some(at + marks);
        }
        match left.first()? {
            '\n' if marks == 1 => return None,
            '\\' if !raw => at += 2,
            _ => at += 1,
        }
    }
}

/// How many characters a number has.
fn number(rest: &[char]) -> usize {
    let digits = |from: usize| {
        let left = rest.iter().skip(from);
        left.take_while(|c| c.is_ascii_digit()).count()
    };
    let is = |at: usize, known: &[char]| rest.get(at).is_some_and(|c| known.contains(c));
    if is(0, &['0']) && is(1, &['x', 'X']) {
        let hex = rest.iter().skip(2).take_while(|c| c.is_ascii_hexdigit());
        return 2 + hex.count();
    }
    let mut count = digits(0);
    if is(count, &['.']) && digits(count + 1) > 0 {
        count += 1 + digits(count + 1);
    }
    let sign = usize::from(is(count + 1, &['+', '-']));
    if is(count, &['e', 'E']) && digits(count + 1 + sign) > 0 {
        count += 1 + sign + digits(count + 1 + sign);
    }
    count + usize::from(is(count, &['u', 'U']))
}
