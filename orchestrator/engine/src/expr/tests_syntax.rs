//! What is said of expressions that cannot be read: a table of what people write, and that the words of the parser never come through.

use crate::expr::Expr;

/// Each row: an expression, what is said of it, what is marked, and a part of the help.
const ROWS: &[(&str, &str, &str, &str)] = &[
    ("1 +", "nothing follows `+`", "+", "put a value there"),
    ("input.", "a name is missing after `.`", ".", "key's name"),
    (
        "a b",
        "`b` follows `a` with nothing between them",
        "b",
        "put an operator",
    ),
    ("a and b", "`and` is no operator", "and", "`&&`"),
    ("a OR b", "`OR` is no operator", "OR", "`||`"),
    ("not a", "`not` is no operator", "not", "`!`"),
    (
        "a not in b",
        "`not` is no operator",
        "not",
        "`!(value in list)`",
    ),
    ("a = 1", "`=` is no operator", "=", "`==`"),
    ("a === 1", "`===` is no operator", "===", "`==`"),
    ("a <> 1", "`<>` is no operator", "<>", "`!=`"),
    ("a & b", "`&` is no operator", "&", "`&&`"),
    ("a | b", "`|` is no operator", "|", "orValue"),
    ("a ?? 1", "`??` is no operator", "??", "orValue"),
    ("a?.b", "`?.` is no operator", "?.", "`input.?name`"),
    (
        "input.x?",
        "a `?` after a value means nothing",
        "?",
        "`input.?name`",
    ),
    (
        "null? : 1",
        "a `?` after a value means nothing",
        "?",
        "`input.?name`",
    ),
    (
        "'abc",
        "the text that begins here is not closed",
        "'",
        "quote",
    ),
    ("size(input.x", "`(` is not closed", "(", "`)`"),
    ("[1, 2", "`[` is not closed", "[", "`]`"),
    ("a)", "`)` closes nothing", ")", "take it away"),
    ("(a]", "`(` is closed by `]`", "]", "`)`"),
    (
        "a + ${ b }",
        "`${` stands inside an expression already",
        "${",
        "leave the inner",
    ),
    ("{{ a }}", "`{{` opens two objects", "{", "without braces"),
    (
        "{ input.count > 3 }",
        "a second pair of braces",
        "{",
        "`${ input.count > 3 }`",
    ),
    (
        "1 if a else 2",
        "`if` is no word of an expression",
        "if",
        "condition ? this",
    ),
    (
        "if a then b",
        "`if` is no word of an expression",
        "if",
        "condition ? this",
    ),
    ("a ? 1", "`?` has no `:`", "?", "condition ? this"),
    ("(a ? 1) + 2", "`?` has no `:`", "?", "condition ? this"),
    ("a : 1", "`:` has no `?` before it", ":", "braces"),
    ("a == `b`", "a backtick quotes no text", "`", "quotes"),
    (
        "a == “b”",
        "`“` is no quote of an expression",
        "“",
        "straight",
    ),
    ("x => x + 1", "`=>` is no operator", "=>", "list.map"),
    ("5m", "`5m` is no number", "5m", "\"5m\""),
    (
        "a * / b",
        "`/` follows `*`, and a value is missing between them",
        "/",
        "take one",
    ),
    (
        "== 1",
        "nothing stands before `==`",
        "==",
        "put a value there",
    ),
    (
        "f(, 1)",
        "a value is missing before `,`",
        ",",
        "put a value there",
    ),
    (
        "a contains 'b'",
        "`contains` is no operator",
        "contains",
        "value.contains(",
    ),
    (
        "input.x; 1",
        "`;` means nothing in an expression",
        ";",
        "quotes",
    ),
    (
        "for",
        "`for` is no word of an expression",
        "for",
        "list.map",
    ),
    (
        "let + 1",
        "`let` is a word CEL keeps for itself",
        "let",
        "[\"let\"]",
    ),
];

#[test]
fn what_cannot_be_read_is_said_in_one_sentence_where_it_stands() {
    for (text, what, marked, help) in ROWS {
        let error = Expr::compile(text).unwrap_err();
        let said = error.what.strip_prefix("cannot be read: ");
        assert!(
            said.is_some_and(|said| said.starts_with(what)),
            "{text}: {error:?}"
        );
        let at = error.offset.unwrap();
        let there: String = text.chars().skip(at).take(error.width).collect();
        assert_eq!(there, *marked, "{text}: {error:?}");
        assert!(error.hint.contains(help), "{text}: {error:?}");
    }
}

#[test]
fn what_the_parser_alone_knows_is_said_without_the_words_of_its_generator() {
    for text in [
        "a[",
        "{1 2}",
        "has(",
        "f(a b)",
        "-",
        "!",
        "a..b",
        "{'a' 1}",
        "\"a\nb\"",
        "a ? : b",
        "1 +* 2",
        "\u{7}",
        "99999999999999999999",
    ] {
        let Err(error) = Expr::compile(text) else {
            panic!("{text} was read");
        };
        for word in [
            "mismatched",
            "extraneous",
            "no viable",
            "expecting",
            "token recognition",
            "EOF",
        ] {
            assert!(!error.what.contains(word), "{text}: {error:?}");
        }
        assert!(!error.hint.is_empty(), "{text}: {error:?}");
    }
}

#[test]
fn a_place_in_a_later_line_is_counted_from_the_beginning() {
    let error = Expr::compile("input.a &&\n  input.b = 1").unwrap_err();
    assert_eq!(error.offset, Some(21));
}
