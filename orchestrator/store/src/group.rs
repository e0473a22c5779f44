//! Letters of one cause are one group: the same reason, the same kind of message about the same thing (task type, event type, definition), out of the same queue
//! where it is another system's, and the same error once what differs from one message to the next is taken out of it. What is done about a group is done about
//! all of it, so that no more is one than has one mend. Pure; the key stands with the letter from its intake on.

use baton_driver::DeadLetterRow;
use uuid::Uuid;

use crate::facets::Facets;

/// Digits of a group's key: with thousands of groups two share a key once in tens of millions of stores.
const KEY_DIGITS: usize = 12;
/// Longest error that is looked at: what is behind it tells causes apart no more.
const ERROR_CHARS_MAX: usize = 400;
/// Shortest run of hexadecimal digits that is taken for an id, where one of them is a digit.
const HEX_MIN: usize = 8;

/// Begins the names of our own queues, of which many carry the same messages: slices of the inbox, a queue for each pool.
const OWN_QUEUES: &str = "baton.";

/// The key of a letter's group. `about`: what was read out of it.
#[must_use]
pub fn group_of(letter: &DeadLetterRow, about: &Facets) -> String {
    fn said(text: Option<&String>) -> &str {
        text.map_or("", String::as_str)
    }
    let theirs = Some(&letter.queue).filter(|queue| !queue.starts_with(OWN_QUEUES));
    let error = normalised(&letter.error);
    let parts = [
        letter.reason.as_str(),
        said(letter.kind.as_ref()),
        said(about.task_type.as_ref()),
        said(about.event_type.as_ref()),
        said(about.definition.as_ref()),
        said(theirs),
        &error,
    ];
    let mut key = Uuid::new_v5(&Uuid::NAMESPACE_OID, parts.join("\u{1f}").as_bytes())
        .simple()
        .to_string();
    key.truncate(KEY_DIGITS);
    key
}

/// An error without what differs from one message to the next: ids, numbers, hosts, and what stands in quotes.
#[must_use]
pub fn normalised(error: &str) -> String {
    let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
    let mut made = String::with_capacity(error.len());
    let mut rest = error.as_str();
    while let Some(first) = rest.chars().next() {
        if is_of_word(first) {
            let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let after_scheme = made.ends_with("://");
            made.push_str(&normalised_word(word, after_scheme));
            rest = after;
        } else {
            made.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    made
}

/// What an id, a number, a host or a versioned name is written with.
fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@')
}

fn normalised_word(word: &str, after_scheme: bool) -> String {
    // a full stop ends the sentence, not the word
    let bare = word.trim_end_matches(['.', '-']);
    let tail = &word[bare.len()..];
    let told = if after_scheme || is_host(bare) {
        "<host>".to_owned()
    } else if is_id(bare) {
        "<id>".to_owned()
    } else {
        without_numbers(bare)
    };
    told + tail
}

/// A UUID, or a run of hexadecimal digits long enough for a hash.
fn is_id(word: &str) -> bool {
    let digits = word.chars().filter(|c| *c != '-');
    let hex = word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    hex && digits.clone().count() >= HEX_MIN
        && digits.clone().any(|c| c.is_ascii_digit())
        && digits.clone().any(|c| c.is_ascii_alphabetic())
        || Uuid::parse_str(word).is_ok()
}

/// An address in four parts, or a name with a number in its first part and dots: `db1.example.com`.
fn is_host(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    let sound = |part: &&str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    if parts.len() < 2 || !parts.iter().all(sound) {
        return false;
    }
    let number = |part: &str| part.chars().all(|c| c.is_ascii_digit());
    if parts.iter().all(|part| number(part)) {
        return parts.len() == 4;
    }
    let last_is_name = parts
        .last()
        .is_some_and(|last| last.len() >= 2 && last.chars().all(|c| c.is_ascii_alphabetic()));
    last_is_name && parts[0].chars().any(|c| c.is_ascii_digit())
}

/// Every run of digits replaced; the version behind an `@` says what it is and stays.
fn without_numbers(word: &str) -> String {
    let (name, version) = match word.rsplit_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (word, None),
    };
    let mut made = String::with_capacity(word.len());
    let mut in_number = false;
    for c in name.chars() {
        if c.is_ascii_digit() {
            if !in_number {
                made.push_str("<n>");
            }
            in_number = true;
        } else {
            made.push(c);
            in_number = false;
        }
    }
    if let Some(version) = version {
        made.push('@');
        made.push_str(version);
    }
    made
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::facets::facets_of;

    fn key_of(letter: &DeadLetterRow) -> String {
        group_of(letter, &facets_of(letter))
    }

    #[test]
    fn what_differs_from_message_to_message_is_taken_out() {
        for (error, told) in [
            ("no JSON, line 1 column 17", "no JSON, line <n> column <n>"),
            (
                "saga 7c2e1000-0000-4000-8000-00000000000f is not there.",
                "saga <id> is not there.",
            ),
            (
                "host-7 refused: 10.0.0.12:5432",
                "host-<n> refused: <host>:<n>",
            ),
            ("https://db.example.com/a?b=3", "https://<host>/a?b=<n>"),
            ("cannot reach web12.example.com", "cannot reach <host>"),
            ("digest 9f86d081884c7d65 differs", "digest <id> differs"),
            ("", ""),
            ("naïve – 5 × ß", "naïve – <n> × ß"),
        ] {
            assert_eq!(normalised(error), told, "{error}");
        }
    }

    #[test]
    fn what_tells_causes_apart_stays() {
        for error in [
            "no orchestrator of this version reads \"finished@2\" from its inbox",
            "file.write@1 is served by nobody",
            "the facade is bad",
            "baton.inbox is full",
        ] {
            assert_eq!(normalised(error), error);
        }
    }

    #[test]
    fn letters_of_one_cause_share_a_group_and_others_do_not() {
        let letter = crate::suite::samples::dead_letter(1);
        let with = |error: &str| DeadLetterRow {
            error: error.to_owned(),
            ..letter.clone()
        };
        let key = key_of(&with("line 1 column 2"));
        assert_eq!(key.len(), KEY_DIGITS);
        assert_eq!(key, key_of(&with("line 10 column 3")));
        assert_ne!(key, key_of(&with("it ends too early")));
        let other_kind = DeadLetterRow {
            kind: Some("other@1".to_owned()),
            ..with("line 1 column 2")
        };
        assert_ne!(key, key_of(&other_kind));
        let other_reason = DeadLetterRow {
            reason: baton_messages::DeadReason::TooLarge,
            ..with("line 1 column 2")
        };
        assert_ne!(key, key_of(&other_reason));
    }

    #[test]
    fn what_has_two_mends_is_two_groups() {
        let of = |queue: &str, body: &str| {
            key_of(&DeadLetterRow {
                queue: queue.to_owned(),
                exchange: String::new(),
                body: body.as_bytes().to_vec(),
                ..crate::suite::samples::dead_letter(1)
            })
        };
        assert_ne!(of("orders", "x"), of("mails", "x"), "of two systems");
        let start = |definition: &str| {
            json!({ "start@1": {
                "id": Uuid::nil(), "saga": Uuid::nil(), "definition": definition, "input": {}, "by": "x",
            } })
            .to_string()
        };
        let inbox = |n: &str, definition: &str| of(&format!("baton.inbox.{n}"), &start(definition));
        assert_eq!(inbox("00", "a"), inbox("07", "a"), "slices of one inbox");
        assert_ne!(inbox("00", "a"), inbox("00", "b"), "two definitions");
        let task = |pool: &str, kind: &str| of(&format!("baton.task.{pool}.{kind}"), "x");
        assert_eq!(task("default", "file.write@1"), task("dmz", "file.write@1"));
        assert_ne!(
            task("default", "file.write@1"),
            task("default", "test.echo@1")
        );
    }
}
