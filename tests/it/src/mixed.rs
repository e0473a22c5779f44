//! A load whose end is known: rows of three effects, every fourth of which fails at the last one and is taken back.

use crate::oracle::Book;
use crate::sagas::Saga;

/// The definitions, to be registered first.
pub fn definitions() -> [Saga; 2] {
    let row = |name: &str, last: &str| {
        Saga::named(name)
            .effect("a", "")
            .late("b", ", value: \"${ a.key }\"")
            .effect("c", last)
    };
    [row("row", ""), row("fails", ", fail: final")]
}

/// The definition of one of them.
pub const fn definition(number: usize) -> &'static str {
    if completes(number) { "row" } else { "fails" }
}

/// How it has to end.
pub const fn promised(number: usize) -> &'static str {
    if completes(number) {
        "completed"
    } else {
        "compensated"
    }
}

/// Its name, with which its effects' names begin.
pub fn name(number: usize) -> String {
    format!("n{number}")
}

const fn completes(number: usize) -> bool {
    number % 4 != 3
}

/// What is wrong with the first so many of them, by what was really done.
pub fn wrong(book: &Book, sagas: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    for number in 0..sagas {
        let [a, b, c] = ["a", "b", "c"].map(|step| format!("{}-{step}", name(number)));
        if completes(number) {
            wrong.extend(
                [&a, &b, &c]
                    .iter()
                    .filter_map(|key| book.not_done_once(key)),
            );
        } else {
            wrong.extend([&a, &b].iter().filter_map(|key| book.not_taken_back(key)));
            wrong.extend(book.ever_done(&c));
        }
        // what is held late may be sent twice by whoever does not know that the broker had it; what is claimed is asked for once
        wrong.extend([&a, &c].iter().filter_map(|key| book.called_twice(key)));
    }
    wrong
}
