//! The known word somebody may have meant.

/// The known word nearest to one that is not known, if any is near: letters put in, left out, changed or changed over count one each.
/// Of several that are as near the first in the alphabet. Words of one or two letters are near to nothing: any name of a letter would be near to any other.
pub(crate) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let word: String = word.chars().take(WORD_CHARS_MAX).collect();
    if word.chars().count() < WORD_CHARS_MIN {
        return None;
    }
    let distance = |known: &str| strsim::damerau_levenshtein(&word, known);
    let near = known.map(|known| (distance(known), known)).min()?;
    (near.0 <= 1 + word.chars().count() / 4).then_some(near.1)
}

/// The shortest word that says enough of what was meant.
const WORD_CHARS_MIN: usize = 3;
/// How much of a word is looked at: longer ones are no names.
const WORD_CHARS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn letters_changed_over_are_one_mistake() {
        let known = ["id", "task", "wait", "with", "if"];
        assert_eq!(nearest("wiht", known.into_iter()), Some("with"));
        assert_eq!(nearest("wati", known.into_iter()), Some("wait"));
        assert_eq!(nearest("tsak", known.into_iter()), Some("task"));
        assert_eq!(nearest("zebra", known.into_iter()), None);
    }

    #[test]
    fn a_word_of_one_or_two_letters_is_near_to_nothing() {
        let known = ["a", "id", "ids"];
        assert_eq!(nearest("x", known.into_iter()), None);
        assert_eq!(nearest("ix", known.into_iter()), None);
        assert_eq!(nearest("idd", known.into_iter()), Some("id"));
    }
}
